"""A load of keep-alive connections, one request at a time each, that knows of every request what became of it.

Owns the definition of a failed request: one that was sent, whole, on a connection that the client had no reason to
think closed, and that got no answer. A request is not failed when the answer before it said `Connection: close`, or when
the end of the connection had arrived before its first byte was sent.
"""

import random
import selectors
import socket
import time

from http_raw import request
from netns import PATIENCE_S

REQUEST = request("GET", "/hello")


class Client:
    """One connection: sends, reads the answer, thinks, sends again, until the gateway ends it."""

    def __init__(self, sock, body):
        self.sock = sock
        self.body = body
        self.buffer = b""
        self.waiting = False
        self.last = False
        self.ended = False
        self.answered = 0
        self.failure = None

    def send(self):
        """The next request, unless the connection's end is here."""
        try:
            self.ended = self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            self.sock.send(REQUEST)
            self.waiting = True
        except ConnectionResetError:
            self.ended = True

    def read(self):
        """Takes what has come; true when that completed an answer."""
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self.ended = True
            if self.waiting:
                self.failure = f"closed after {self.answered} answers, with {self.buffer!r} instead of the next"
            return False
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator or len(body) < len(self.body):
            return False
        if not head.startswith(b"HTTP/1.1 200 ") or body != self.body:
            self.ended, self.failure = True, f"a wrong answer: {self.buffer!r}"
            return False
        self.last = b"\r\nconnection: close" in head.lower()
        self.answered, self.waiting, self.buffer = self.answered + 1, False, b""
        return True


class Load:
    """Many clients, driven by `run`. Each thinks for a random part of `think_s` between answer and request."""

    def __init__(self, bed, connections, body, think_s=0.0, seed=1):
        self.rng = random.Random(seed)
        self.think_s = think_s
        self.selector = selectors.DefaultSelector()
        self.clients = []
        self.thinking = []
        for number in range(connections):
            sock = bed.socket(v6=bool(number % 2))
            sock.settimeout(PATIENCE_S)
            sock.connect(bed.address(v6=bool(number % 2)))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            client = Client(sock, body)
            self.clients.append(client)
            self.selector.register(sock, selectors.EVENT_READ, client)
            self._think(client)

    def close(self):
        self.selector.close()
        for client in self.clients:
            client.sock.close()

    def answered(self):
        return sum(client.answered for client in self.clients)

    def failures(self):
        return [client.failure for client in self.clients if client.failure]

    def all_ended(self):
        return all(client.ended for client in self.clients)

    def run(self, until, what):
        """Goes on until `until()`."""
        deadline = time.monotonic() + PATIENCE_S
        while not until():
            assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
            for key, _ in self.selector.select(self._next_s()):
                self._serve(key.data)
            self._send_due()

    def _serve(self, client):
        if client.read() and not client.last:
            self._think(client)
        if client.ended:
            self.selector.unregister(client.sock)

    def _think(self, client):
        if self.think_s:
            self.thinking.append((time.monotonic() + self.rng.uniform(0, self.think_s), client))
        else:
            client.send()

    def _next_s(self):
        return 0.001 if self.thinking else 0.1

    def _send_due(self):
        now = time.monotonic()
        due = [client for at, client in self.thinking if at <= now and not client.ended]
        self.thinking = [(at, client) for at, client in self.thinking if at > now]
        for client in due:
            client.send()
