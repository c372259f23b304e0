"""Answers as servers really send them, and as they must not: what `penstock load run` makes of each. No speed is asserted.

Owns a server that writes each path's bytes as scripted. One run asks for all of them, so a connection that one answer breaks
must not harm the next request.
"""

import contextlib
import socket
import threading

from load_bed import Field, INVALID, PASS
from netns import CLIENT_V4, PATIENCE_S, inside

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"
LARGE = bytes(i * 7 % 251 for i in range(100_000))
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n"
    b'4;name="a;b"\r\nhell\r\n2\r\no\n\r\n0\r\nSum: 1\r\n\r\n'
)


def head(*fields, status="200 OK"):
    return "\r\n".join((f"HTTP/1.1 {status}", *fields, "", "")).encode()


def bytewise(data):
    return [data[i : i + 1] for i in range(len(data))]


# Path: pieces, each a write of its own, whether the connection is kept, and what the generator is to say.
ANSWERS = {
    "whole": ([HELLO], True, "ok"),
    "bytewise": (bytewise(HELLO), True, "ok"),
    "head-then-content": ([HELLO[:-6], HELLO[-6:]], True, "ok"),
    "large": ([head(f"Content-Length: {len(LARGE)}") + LARGE], True, "ok"),
    "interim": ([head(status="100 Continue"), head("Link: </a>", status="103 Early Hints"), HELLO], True, "ok"),
    "interim-at-once": ([head(status="103 Early Hints") + HELLO], True, "ok"),
    "chunked": ([CHUNKED], True, "ok"),
    "chunked-bytewise": (bytewise(CHUNKED), True, "ok"),
    "no-content": ([head(status="204 No Content")], True, "ok"),
    "not-modified": ([head("Content-Length: 6", status="304 Not Modified")], True, "ok"),
    "until-close": ([head() + b"hello\n"], False, "ok"),
    "close": ([HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")], False, "ok"),
    "old": ([HELLO.replace(b"HTTP/1.1", b"HTTP/1.0")], False, "ok"),
    # The answer is whole; what comes after it costs the connection, not the request.
    "kept-but-closed": ([HELLO], False, "ok"),
    "junk-after": ([HELLO + b"junk"], False, "ok"),
    "twice": ([HELLO + HELLO], False, "ok"),
    # Broken.
    "nothing": ([], False, "closed"),
    "half-a-head": ([HELLO[:20]], False, "closed"),
    "half-the-content": ([HELLO[:-3]], False, "closed"),
    "half-a-chunk": ([CHUNKED[:-12]], False, "closed"),
    "no-http": ([b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], False, "protocol"),
    "two-lengths": ([head("Content-Length: 6", "Content-Length: 7") + b"hello\n"], False, "protocol"),
    "length-and-chunks": ([head("Content-Length: 6", "Transfer-Encoding: chunked") + b"0\r\n\r\n"], False, "protocol"),
    "bad-chunk": ([head("Transfer-Encoding: chunked") + b"xyz\r\n"], False, "protocol"),
    "switching": ([head("Upgrade: x", "Connection: upgrade", status="101 Switching Protocols")], False, "protocol"),
    "endless-head": ([head(*(f"X-{i}: {'x' * 1000}" for i in range(100)))], False, "protocol"),
}


class Scripted:
    """A server that answers a path with its bytes."""

    def __init__(self, network):
        with inside(network.namespace):
            self.listener = socket.create_server((CLIENT_V4, 80), backlog=128)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        client.settimeout(PATIENCE_S)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A connection that the generator resets ends here.
        with client, contextlib.suppress(OSError), client.makefile("rb") as requests:
            while line := requests.readline():
                while requests.readline() not in (b"\r\n", b""):
                    pass
                pieces, keep, _ = ANSWERS[line.split()[1].decode().lstrip("/")]
                for piece in pieces:
                    client.sendall(piece)
                if not keep:
                    return client.shutdown(socket.SHUT_WR)

    def close(self):
        self.listener.close()


def requests():
    """Each answer as a class of requests."""
    return "\n".join(f'[[requests]]\nname = "{name}"\npath = "/{name}"\n' for name in ANSWERS)


def outcomes(field, *arguments):
    """By class: how its requests ended."""
    result = field.run(*arguments, requests=requests())
    assert result.status in (PASS, INVALID), f"exit status {result.status}:\n{result.text}"
    classes = {entry["class"]: entry["counts"]["outcomes"] for entry in result.document["classes"]}
    assert set(classes) == set(ANSWERS), classes
    return classes


def assert_as_scripted(classes):
    """A server's FIN after an answer can cross the next request, which then gets none, or an RST (RFC 9112, 9.3.1)."""
    crossed, wrong = 0, []
    for name, (_, _, expected) in ANSWERS.items():
        ended = {outcome: n for outcome, n in classes[name].items() if n and outcome != "not_sent"}
        crossed += sum(ended.pop(outcome, 0) for outcome in ("closed", "reset") if outcome != expected)
        if set(ended) != {expected}:
            wrong.append(f"{name}: {ended} instead of {expected}")
    assert not wrong, "; ".join(wrong)
    unannounced = sum(classes[name]["ok"] for name in ("kept-but-closed", "junk-after", "twice"))
    assert crossed <= unannounced, f"{crossed} requests without an answer, {unannounced} connections closed without notice"


def test_each_answer_is_what_it_is(options):
    with Field(options, serve=False) as field:
        server = Scripted(field.network)
        field.stack.callback(server.close)
        assert_as_scripted(outcomes(field, "--rate", "300/s", "-d", "2s", "-c", "8"))


def test_on_one_connection_at_a_time(options):
    with Field(options, serve=False) as field:
        server = Scripted(field.network)
        field.stack.callback(server.close)
        assert_as_scripted(outcomes(field, "--rate", "max", "-d", "2s", "-c", "1"))
