"""Reads pcapng files: packets with time, direction and comment, and the last statistics.

Owns the block format (draft-ietf-opsawg-pcapng) as far as the tests need it. Refuses to dissect frames.
"""

import struct
from dataclasses import dataclass

SECTION, INTERFACE, STATISTICS, PACKET = 0x0A0D0D0A, 1, 5, 6
OPT_COMMENT, EPB_FLAGS, ISB_IFDROP = 1, 2, 5


@dataclass(frozen=True)
class Packet:
    """A captured frame; `inbound` is None where the file does not say."""

    time: int
    data: bytes
    length: int
    inbound: bool | None
    comment: str


@dataclass(frozen=True)
class Capture:
    packets: list
    lost: int


def read(data):
    """Everything in a file, which must be whole."""
    packets, lost = [], 0
    assert data[:4] == struct.pack("<I", SECTION), data[:16]
    assert data[8:12] == struct.pack("<I", 0x1A2B3C4D), "little-endian files only"
    # A view: cutting it copies nothing.
    data = memoryview(data)
    while data:
        kind, size = struct.unpack_from("<II", data)
        assert size >= 12 and size % 4 == 0 and len(data) >= size, f"a block of {size} bytes, {len(data)} left"
        assert struct.unpack_from("<I", data, size - 4)[0] == size
        body, data = data[8 : size - 4], data[size:]
        if kind == PACKET:
            packets.append(packet(body))
        elif kind == STATISTICS:
            lost = int.from_bytes(options(body[12:]).get(ISB_IFDROP, b""), "little")
    return Capture(packets, lost)


def packet(body):
    _, high, low, captured, length = struct.unpack_from("<IIIII", body)
    found = options(body[20 + (captured + 3) // 4 * 4 :])
    way = int.from_bytes(found.get(EPB_FLAGS, b""), "little") & 3
    inbound = None if way == 0 else way == 1
    comment = bytes(found.get(OPT_COMMENT, b"")).decode()
    return Packet(high << 32 | low, bytes(body[20 : 20 + captured]), length, inbound, comment)


def options(data):
    found = {}
    while len(data) >= 4:
        code, size = struct.unpack_from("<HH", data)
        if code == 0:
            break
        found[code] = data[4 : 4 + size]
        data = data[4 + (size + 3) // 4 * 4 :]
    return found
