#!/usr/bin/env python3
"""Frames for packet-level tests of a gateway, as a pcap file that testpmd and Pktgen-DPDK replay.

Owns what each case sends and which of the gateway's counters each frame moves (`--list`). Refuses to send anything.
Standard library only.
"""

import argparse
import ipaddress
import struct
import sys

IPV4, ARP = 0x0800, 0x0806
SYN, ACK = 0x02, 0x10
ICMP, TCP, UDP = 1, 6, 17
# The least payload of an Ethernet frame; a driver for a network card pads by itself, af_packet does not.
PAYLOAD_MIN = 46
STRANGER_MAC = bytes.fromhex("02ffffffffff")

CASES = {
    "arp": "ARP requests for the gateway: penstock_arp_total{kind=request_rx}, and a reply each",
    "icmp": "echo requests: penstock_icmp_echo_total{kind=request_rx}",
    "syn": "SYNs from rising source ports: penstock_handshakes_total, and what limits it",
    "rss": "ACKs without a connection, from rising source ports: penstock_rx_frames_total of each worker",
    "malformed": "one frame of each kind in turn: penstock_dropped_frames_total by reason, in equal parts",
}


def mac(text):
    value = bytes.fromhex(text.replace(":", ""))
    if len(value) != 6:
        raise argparse.ArgumentTypeError(f"{text} is not a hardware address such as 02:00:00:00:00:01")
    return value


def checksum(data):
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Frames:
    """Builds frames from one host to the gateway."""

    def __init__(self, options):
        self.to_mac, self.from_mac = options.gateway_mac, options.source_mac
        self.to, self.source, self.port = options.gateway_ip.packed, options.source_ip.packed, options.port
        self.first_port = options.first_port

    def ethernet(self, kind, payload, to=None):
        return (to or self.to_mac) + self.from_mac + struct.pack("!H", kind) + payload.ljust(PAYLOAD_MIN, b"\0")

    def ipv4(self, protocol, payload, first=0x45, options=b"", flags=0, wrong=0):
        length = 20 + len(options) + len(payload)
        head = struct.pack("!BBHHHBBH", first + len(options) // 4, 0, length, 1, flags, 64, protocol, 0)
        head += self.source + self.to + options
        head = head[:10] + struct.pack("!H", checksum(head) ^ wrong) + head[12:]
        return self.ethernet(IPV4, head + payload)

    def tcp(self, number, flags, words=5, wrong=0):
        port = self.first_port + number % (65536 - self.first_port)
        head = struct.pack("!HHIIHHHH", port, self.port, 1000 + number, 1, words << 12 | flags, 65535, 0, 0)
        total = checksum(self.source + self.to + struct.pack("!HH", TCP, len(head)) + head)
        return head[:16] + struct.pack("!H", total ^ wrong) + head[18:]

    def arp(self, number):
        return self.ethernet(ARP, self.arp_packet(1), b"\xff" * 6)

    def arp_packet(self, hardware):
        return struct.pack("!HHBBH", hardware, IPV4, 6, 4, 1) + self.from_mac + self.source + bytes(6) + self.to

    def icmp(self, number):
        head = struct.pack("!BBHHH", 8, 0, 0, 1, number & 0xFFFF) + b"penstock"
        return self.ipv4(ICMP, head[:2] + struct.pack("!H", checksum(head)) + head[4:])

    def syn(self, number):
        return self.ipv4(TCP, self.tcp(number, SYN))

    def rss(self, number):
        return self.ipv4(TCP, self.tcp(number, ACK))

    def malformed(self, number):
        """In the order of REASONS."""
        tcp = self.tcp(number, SYN)
        return [
            lambda: self.ethernet(0x88B5, b"an experiment"),
            lambda: self.ethernet(IPV4, bytes(PAYLOAD_MIN), STRANGER_MAC),
            lambda: self.ipv4(TCP, tcp, first=0x55),
            lambda: self.ipv4(TCP, tcp, wrong=1),
            lambda: self.ipv4(TCP, tcp, options=b"\x83\x07\x04" + self.to + b"\0"),
            lambda: self.ipv4(TCP, tcp, flags=0x2000),
            lambda: self.ipv4(UDP, struct.pack("!HHHH", 9, 9, 8, 0)),
            lambda: self.ipv4(TCP, self.tcp(number, SYN, words=4)),
            lambda: self.ipv4(TCP, self.tcp(number, SYN, wrong=1)),
            lambda: self.ethernet(ARP, self.arp_packet(7)),
        ][number % len(REASONS)]()


REASONS = (
    "ethertype", "not_for_us", "ip_header", "ip_checksum", "ip_options",
    "fragment", "protocol", "tcp_header", "tcp_checksum", "arp",
)


def write(file, frames):
    """A pcap file of link type Ethernet, in microseconds."""
    file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
    for number, frame in enumerate(frames):
        file.write(struct.pack("<IIII", 0, number % 1_000_000, len(frame), len(frame)) + frame)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", nargs="?", choices=CASES)
    parser.add_argument("--list", action="store_true", help="the cases, and the counters they move")
    parser.add_argument("--gateway-mac", type=mac)
    parser.add_argument("--gateway-ip", type=ipaddress.IPv4Address)
    parser.add_argument("--source-mac", type=mac, default=mac("02:00:00:00:00:01"))
    parser.add_argument("--source-ip", type=ipaddress.IPv4Address)
    parser.add_argument("--port", type=int, default=80, help="the listener's (80)")
    parser.add_argument("--first-port", type=int, default=1024, help="the source ports begin here (1024)")
    parser.add_argument("--count", type=int, default=4096, help="frames (4096)")
    parser.add_argument("--output", "-o", help="the pcap file")
    options = parser.parse_args()
    needed = [name for name in ("case", "gateway_mac", "gateway_ip", "source_ip", "output") if not getattr(options, name)]
    if needed and not options.list:
        parser.error("needed: " + ", ".join(name.replace("_", "-") for name in needed))
    return options


def main():
    options = arguments()
    if options.list:
        print("\n".join(f"{name:10} {text}" for name, text in CASES.items()))
        print(f"{'':10} reasons of malformed: {', '.join(REASONS)}")
        return
    make = getattr(Frames(options), options.case)
    with open(options.output, "wb") as file:
        write(file, map(make, range(options.count)))


if __name__ == "__main__":
    sys.exit(main())
