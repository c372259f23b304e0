"""Frames as no healthy sender makes them: seeded mutations of frames that are almost right.

Owns building and breaking Ethernet, ARP, IPv4, IPv6, ICMP and TCP. Refuses to send anything.
"""

import socket
import struct

from netns import CLIENT_MAC, CLIENT_V4, CLIENT_V6, SERVER_V4, SERVER_V6

ETHERTYPE_V4, ETHERTYPE_ARP, ETHERTYPE_V6 = 0x0800, 0x0806, 0x86DD
# A neighbour that does not exist: forged frames must not teach the gateway a wrong address for the client.
STRANGER_V4, STRANGER_V6 = "10.7.0.200", "fd00:7::200"
FRAME_MAX = 1514
# TCP options: none, a segment size, one of zero, a window shift too large, a SACK option longer than the header, lengths
# of zero and one, one that ends beyond the header, SACK blocks and timestamps of all ones, a cookie, a signature, two
# segment sizes.
OPTIONS = (b"", b"\x02\x04\x05\xb4", b"\x02\x04\0\0", b"\x03\x03\xff\0", b"\x05\xff\0\0", b"\x02\0\x02\0", b"\x08\x01\0\0",
           b"\x01\x01\x01\x08", b"\x05\x1a" + b"\xff" * 24 + b"\0\0", b"\x08\x0a" + b"\xff" * 8 + b"\0\0",
           b"\x22\x12" + b"c" * 16 + b"\0\0", b"\x13\x12" + b"s" * 16 + b"\0\0", b"\x02\x04\x05\xb4\x02\x04\0\x01")


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def checksum(data):
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(protocol, payload, source=CLIENT_V4, options=b"", fragment=0, ttl=64):
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH", 0x40 | words, 0, words * 4 + len(payload), 7, fragment, ttl, protocol, 0)
    head += socket.inet_aton(source) + socket.inet_aton(SERVER_V4) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(protocol, payload, source=CLIENT_V6, hops=64):
    head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops)
    return head + socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, SERVER_V6) + payload


def pseudo(v6, source, protocol, length):
    if v6:
        both = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, SERVER_V6)
        return both + struct.pack("!II", length, protocol)
    return socket.inet_aton(source) + socket.inet_aton(SERVER_V4) + struct.pack("!HH", protocol, length)


def tcp(rng, v6, source, flags, payload=b"", options=b""):
    words = 5 + len(options) // 4
    head = struct.pack("!HHIIHHHH", rng.randrange(1024, 65536), rng.choice((80, 80, 80, 81)), rng.getrandbits(32),
                       rng.getrandbits(32), words << 12 | flags, rng.getrandbits(16), 0, 0)
    segment = head + options + payload
    total = checksum(pseudo(v6, source, 6, len(segment)) + segment)
    return segment[:16] + struct.pack("!H", total) + segment[18:]


def random_tcp(rng, v6):
    """A segment with any flags, a correct checksum, and options that may be nonsense."""
    source = rng.choice(((CLIENT_V4, STRANGER_V4), (CLIENT_V6, STRANGER_V6))[v6])
    flags = rng.choice((0x02, 0x10, 0x18, 0x11, 0x04, 0x12, 0x00, 0x29, 0x1FF, rng.getrandbits(9)))
    options = rng.choice(OPTIONS + (rng.randbytes(40),))
    payload = rng.choice((b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", rng.randbytes(rng.randrange(600))))
    return source, tcp(rng, v6, source, flags, payload, options)


def arp_frame(rng):
    operation = rng.choice((1, 1, 2, rng.getrandbits(16)))
    sender = mac(CLIENT_MAC) + socket.inet_aton(STRANGER_V4)
    body = struct.pack("!HHBBH", 1, ETHERTYPE_V4, 6, 4, operation) + sender + bytes(6) + socket.inet_aton(SERVER_V4)
    return ETHERTYPE_ARP, body


def tcp4_frame(rng):
    source, segment = random_tcp(rng, False)
    return ETHERTYPE_V4, ipv4(6, segment, source, rng.choice((b"", b"", b"\x01" * 8, rng.randbytes(40))))


def tcp6_frame(rng):
    source, segment = random_tcp(rng, True)
    return ETHERTYPE_V6, ipv6(6, segment, source)


def echo4_frame(rng):
    kind = rng.choice((8, 0, 3, 5, 11, rng.getrandbits(8)))
    echo = struct.pack("!BBHHH", kind, 0, 0, 1, 1) + rng.randbytes(rng.randrange(1400))
    echo = echo[:2] + struct.pack("!H", checksum(echo)) + echo[4:]
    return ETHERTYPE_V4, ipv4(1, echo, STRANGER_V4)


def icmp6_frame(rng):
    """Echo, router and neighbour messages about us or others, with options whose lengths may be lies."""
    kind = rng.choice((1, 2, 128, 129, 133, 134, 135, 135, 136, 136, 137, rng.getrandbits(8)))
    target = socket.inet_pton(socket.AF_INET6, rng.choice((SERVER_V6, STRANGER_V6)))
    body = struct.pack("!BBHI", kind, 0, 0, rng.choice((0, rng.getrandbits(32)))) + target
    for _ in range(rng.choice((0, 1, 1, 2, 9))):
        body += bytes((rng.choice((1, 2, 3, 14, 255)), rng.choice((0, 1, 1, 2, 255)))) + mac(CLIENT_MAC)
    total = checksum(pseudo(True, STRANGER_V6, 58, len(body)) + body)
    body = body[:2] + struct.pack("!H", total) + body[4:]
    return ETHERTYPE_V6, ipv6(58, body, STRANGER_V6, rng.choice((255, 255, 64)))


def fragment4_frame(rng):
    fragment = rng.choice((0x2000, 0x2001, 0x1FFF, 0x3FFF, 0x0001, 0x8000, rng.getrandbits(16)))
    payload = rng.randbytes(rng.randrange(8, 1400))
    return ETHERTYPE_V4, ipv4(rng.choice((1, 6, 17)), payload, STRANGER_V4, fragment=fragment)


def extension6_frame(rng):
    """Extension headers: hop-by-hop, routing, fragment, destination options, none, chained and cut off."""
    kinds = [rng.choice((0, 43, 44, 60, 59, 51)) for _ in range(rng.randrange(1, 9))]
    chain = b""
    for following in [*kinds[1:], 6]:
        chain += bytes((following, rng.choice((0, 0, 1, 255)))) + rng.randbytes(6)
    _, segment = random_tcp(rng, True)
    return ETHERTYPE_V6, ipv6(kinds[0], (chain + segment)[: rng.randrange(1400)], STRANGER_V6)


def noise_frame(rng):
    kind = rng.choice((ETHERTYPE_V4, ETHERTYPE_V6, ETHERTYPE_ARP, 0x8100, 0x88A8, 0x0026, rng.getrandbits(16)))
    return kind, rng.randbytes(rng.randrange(1500))


def flip_bits(rng, body):
    for _ in range(rng.choice((1, 1, 2, 8))):
        position = rng.randrange(len(body))
        body[position] ^= 1 << rng.randrange(8)
    return body


def damage_head(rng, body):
    body[rng.randrange(min(len(body), 60))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.getrandbits(8)))
    return body


def set_length(rng, body):
    """Lies in the length field of IPv4 (offset 2) or IPv6 (offset 4)."""
    offset = rng.choice((2, 4))
    body[offset : offset + 2] = struct.pack("!H", rng.choice((0, 1, 19, 20, 39, len(body) - 1, len(body) + 1, 65535)))
    return body


def cut(rng, body):
    return body[: rng.randrange(len(body))]


def pad(rng, body):
    return body + rng.randbytes(rng.randrange(1, 64))


MAKERS = (arp_frame, tcp4_frame, tcp4_frame, tcp6_frame, tcp6_frame, echo4_frame, icmp6_frame, fragment4_frame,
          extension6_frame, noise_frame)
MUTATIONS = (flip_bits, damage_head, set_length, cut, pad)


def mutated(rng, gateway_mac):
    """One frame for the gateway, or rarely for everybody, mutated more often than not."""
    kind, body = rng.choice(MAKERS)(rng)
    if body and rng.random() < 0.7:
        body = rng.choice(MUTATIONS)(rng, bytearray(body))
    destination = rng.choice((gateway_mac,) * 12 + (b"\xff" * 6, bytes.fromhex("333300000001"), rng.randbytes(6)))
    return (destination + mac(CLIENT_MAC) + struct.pack("!H", kind) + bytes(body))[:FRAME_MAX]
