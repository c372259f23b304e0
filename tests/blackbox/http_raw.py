"""HTTP/1.1 over a plain socket, where the tests decide every byte and every segment.

Owns reading answers strictly (RFC 9112). Refuses to forgive: what is not exactly right is an AssertionError.
"""

import array
import fcntl
import re
import select
import socket
import struct
import termios

from netns import PATIENCE_S, until

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5]\d\d) ([\t -~]*)")
FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*([\t -~\x80-\xff]*?)[\t ]*")


class Response:
    """An answer: status, fields in order, body."""

    def __init__(self, status, fields):
        self.status = status
        self.fields = fields
        self.body = b""

    def all(self, name):
        return [value for key, value in self.fields if key == name.lower()]

    def one(self, name):
        """The field's only value."""
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values} in {self}"
        return values[0]

    def closes(self):
        return "close" in [token.strip().lower() for value in self.all("connection") for token in value.split(",")]

    def __repr__(self):
        return f"{self.status} {self.fields} {self.body[:200]!r}"


class Connection:
    """A connected socket and the bytes read from it that no answer has taken yet."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""
        sock.settimeout(PATIENCE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def abort(self):
        """Closes with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # --- sending -----------------------------------------------------------------------------------------------

    def send(self, data):
        self.sock.sendall(data)

    def send_pieces(self, pieces):
        """Each piece in segments of its own: the next one leaves after the peer has acknowledged the last."""
        for piece in pieces:
            self.send(piece)
            self.wait_acknowledged()

    def try_send_pieces(self, pieces):
        """Like `send_pieces`, for requests that may be answered and closed before their end."""
        try:
            self.send_pieces(pieces)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def wait_acknowledged(self):
        until(lambda: self._unacknowledged() == 0, "an acknowledgement")

    def _unacknowledged(self):
        count = array.array("i", [0])
        fcntl.ioctl(self.sock, termios.TIOCOUTQ, count)
        return count[0]

    def get(self, path="/hello", *fields):
        """Sends a GET and returns the answer."""
        self.send(request("GET", path, *fields))
        return self.response()

    # --- receiving ---------------------------------------------------------------------------------------------

    def response(self, method="GET", interim=False):
        """The next answer; 1xx answers are passed over unless `interim` asks for them."""
        answer = self.response_head(interim)
        self.read_body(answer, method)
        return answer

    def response_head(self, interim=False):
        """The next answer without its body, for which `read_body` is to be called."""
        answer = self._head()
        while answer.status < 200 and not interim:
            answer = self._head()
        return answer

    def read_body(self, answer, method="GET"):
        answer.body = self._body(answer, method)

    def _head(self):
        while b"\r\n\r\n" not in self.buffer:
            self._more("a response head")
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        first, *lines = head.split(b"\r\n")
        matched = STATUS_LINE.fullmatch(first)
        assert matched, f"not a status line: {first!r}"
        return Response(int(matched[1]), [parse_field(line) for line in lines])

    def _body(self, answer, method):
        if method == "HEAD" or answer.status < 200 or answer.status in (204, 304):
            return b""
        if answer.all("transfer-encoding"):
            assert answer.one("transfer-encoding") == "chunked" and not answer.all("content-length"), answer
            return self._chunks()
        if answer.all("content-length"):
            return self._exactly(int(answer.one("content-length")))
        return self.rest()

    def _exactly(self, count):
        while len(self.buffer) < count:
            self._more(f"{count} bytes of a body")
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def _line(self):
        while b"\r\n" not in self.buffer:
            self._more("a line")
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def _chunks(self):
        body = b""
        while size := int(self._line().split(b";")[0], 16):
            body += self._exactly(size)
            assert self._line() == b"", "a chunk without its CRLF"
        while self._line():
            pass
        return body

    def _more(self, what):
        data = self.receive()
        assert data, f"closed instead of {what}; had {self.buffer[:200]!r}"
        self.buffer += data

    def receive(self, count=65536):
        try:
            return self.sock.recv(count)
        except TimeoutError:
            raise AssertionError(f"nothing received within {PATIENCE_S} s") from None

    def rest(self):
        """Everything up to the peer's FIN."""
        data, self.buffer = self.buffer, b""
        while more := self.receive():
            data += more
        return data

    def drain(self):
        """Reads to the peer's end (FIN or RST), whatever comes."""
        try:
            self.rest()
        except ConnectionResetError:
            pass

    def wait_closed(self):
        """The peer ends the connection (FIN or RST) and sends nothing more."""
        try:
            rest = self.rest()
        except ConnectionResetError:
            rest = b""
        assert rest == b"", f"expected the end, got {rest[:200]!r}"

    def wait_reset(self, patience_s=PATIENCE_S):
        """The peer resets the connection, whatever is unread."""
        poller = select.poll()
        poller.register(self.sock, 0)
        assert poller.poll(patience_s * 1000), f"no reset within {patience_s} s"
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        assert error, "closed without a reset"


def parse_field(line):
    matched = FIELD_LINE.fullmatch(line)
    assert matched, f"not a field line: {line!r}"
    return matched[1].decode().lower(), matched[2].decode("latin-1")


def request(method, path, *fields, body=b""):
    """A request with Host and the given field lines; a body gets a Content-Length."""
    lines = [f"{method} {path} HTTP/1.1", "Host: penstock.test", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
