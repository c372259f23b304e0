"""A packet socket on the client's link, and forged hosts behind it.

Owns sending frames as fast as the interface takes them, and TCP handshakes of clients that do not exist. Refuses to
decide what is sent: `frames` and the tests do.
"""

import errno
import select
import socket
import struct
import time

import frames
from netns import CLIENT_MAC, PATIENCE_S, SERVER_V4

SYN, RST, ACK = 0x02, 0x04, 0x10
BROADCAST = b"\xff" * 6


class RawLink:
    """Use as a context manager. Received frames come from `receive`."""

    def __init__(self, bed):
        self.gateway_mac = frames.mac(bed.network.gateway_mac())
        with bed.inside():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.sock.bind((bed.network.client, 0))
        self.sock.setblocking(False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, frame):
        """Sends it when the interface has room."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.sock.send(frame)
            except (BlockingIOError, OSError) as error:
                if error.errno not in (errno.EAGAIN, errno.ENOBUFS) or time.monotonic() > deadline:
                    raise

    def receive(self, patience_s=0.0):
        """The next frame that is not our own; None when there is none."""
        while select.select([self.sock], [], [], patience_s)[0]:
            frame, (_, _, kind, _, _) = self.sock.recvfrom(65536)
            if kind != socket.PACKET_OUTGOING:
                return frame
        return None

    def segment(self, source, port, flags, seq=0, ack=0, payload=b"", to_port=80, window=65535):
        """Sends a TCP segment of the host `source`, which has the client's MAC."""
        head = struct.pack("!HHIIHHHH", port, to_port, seq, ack, 5 << 12 | flags, window, 0, 0)
        whole = head + payload
        total = frames.checksum(frames.pseudo(False, source, 6, len(whole)) + whole)
        whole = whole[:16] + struct.pack("!H", total) + whole[18:]
        ethernet = self.gateway_mac + frames.mac(CLIENT_MAC) + struct.pack("!H", frames.ETHERTYPE_V4)
        self.send(ethernet + frames.ipv4(6, whole, source))

    def arp(self, operation, sender, target, sender_mac, to=BROADCAST):
        """Sends an ARP packet in the name of `sender`."""
        body = struct.pack("!HHBBH", 1, frames.ETHERTYPE_V4, 6, 4, operation) + sender_mac
        body += socket.inet_aton(sender) + bytes(6) + socket.inet_aton(target)
        self.send(to + sender_mac + struct.pack("!H", frames.ETHERTYPE_ARP) + body)

    def answer_arp_for(self, hosts):
        """Answers the gateway's waiting ARP requests for these forged hosts; returns the TCP segments that came meanwhile."""
        segments = []
        while (frame := self.receive()) is not None:
            kind = frame[12:14]
            if kind == b"\x08\x06" and frame[20:22] == b"\0\1":
                target = socket.inet_ntoa(frame[38:42])
                if target in hosts:
                    self.arp(2, target, SERVER_V4, frames.mac(CLIENT_MAC), self.gateway_mac)
            elif kind == b"\x08\x00" and frame[23] == 6:
                segments.append(Segment(frame))
        return segments


class Segment:
    """A received TCP segment over IPv4 without options."""

    def __init__(self, frame):
        self.destination = socket.inet_ntoa(frame[30:34])
        self.port, self.to_port, self.seq, self.ack, flags = struct.unpack("!HHIIH", frame[34:48])
        self.flags = flags & 0x1FF
