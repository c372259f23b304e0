"""Many connections at once. Nothing here asserts a speed."""

import re
import selectors
import time

import gateway_config
from gateway_config import Site
from http_raw import request
from netns import PATIENCE_S

CONNECTIONS = 1000
REQUESTS = 5
SITE = Site(routes=gateway_config.base_routes())


class Client:
    """One non-blocking keep-alive connection that checks each of its answers."""

    def __init__(self, number, sock, address):
        self.number = number
        self.sock = sock
        self.sent = 0
        self.answered = 0
        self.buffer = b""
        sock.setblocking(False)
        sock.connect_ex(address)

    def send(self):
        self.sock.send(request("GET", f"/n/{self.digit()}"))
        self.sent += 1

    def digit(self):
        return (self.number + self.answered) % 10

    def read(self):
        """Takes what has come; true when an answer is complete and right."""
        data = self.sock.recv(65536)
        assert data, f"connection {self.number} was closed after {self.answered} answers"
        self.buffer += data
        body = f"number {self.digit()}\n".encode()
        if not self.buffer.endswith(b"\r\n\r\n" + body):
            assert len(self.buffer) < 4096, self.buffer
            return False
        assert self.buffer.startswith(b"HTTP/1.1 200 "), self.buffer
        self.buffer = b""
        self.answered += 1
        return True


def serve_event(selector, client, events):
    """One step of a client; true when it has all its answers."""
    if events & selectors.EVENT_WRITE:
        client.send()
        selector.modify(client.sock, selectors.EVENT_READ, client)
    elif client.read():
        if client.answered == REQUESTS:
            return True
        client.send()
    return False


def test_1000_concurrent_keep_alive_connections(bed):
    """All stay open until the last one has its last answer."""
    clients = [Client(n, bed.socket(v6=bool(n % 2)), bed.address(v6=bool(n % 2))) for n in range(CONNECTIONS)]
    done, deadline = 0, time.monotonic() + 4 * PATIENCE_S
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.sock, selectors.EVENT_WRITE, client)
        try:
            while done < CONNECTIONS:
                assert time.monotonic() < deadline, f"only {done} of {CONNECTIONS} are done"
                done += sum(serve_event(selector, key.data, events) for key, events in selector.select(1))
        finally:
            for client in clients:
                client.sock.close()
    assert all(client.answered == REQUESTS for client in clients)


def test_connection_per_request(bed):
    for number in range(300):
        with bed.connect(v6=bool(number % 2)) as connection:
            assert connection.get(f"/n/{number % 10}", "Connection: close").body == f"number {number % 10}\n".encode()
            connection.wait_closed()


def wrk(bed, *arguments):
    done = bed.run("wrk", "-t", "1", "-d", "3s", "--timeout", f"{PATIENCE_S}s", *arguments)
    total = re.search(r"(\d+) requests in", done.stdout)
    assert done.returncode == 0 and total and int(total[1]) > 0, done.stdout
    assert "Socket errors" not in done.stdout and "Non-2xx" not in done.stdout, done.stdout


def test_wrk_100_connections(bed):
    wrk(bed, "-c", "100", bed.url("/hello"))


def test_wrk_100_connections_v6(bed):
    wrk(bed, "-c", "100", bed.url("/hello", v6=True))


def test_serves_afterwards(bed):
    bed.assert_serves()
