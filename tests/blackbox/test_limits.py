"""Every limit that a client can meet has its one defined answer. Deadlines are short here; answers may come late."""

import gateway_config
from gateway_config import HELLO, MEGABYTE, Site
from http_raw import request

REQUESTS_PER_CONNECTION = 5
LARGE = 20 * MEGABYTE
SITE = Site(
    routes=gateway_config.base_routes() + gateway_config.file_routes(LARGE),
    http={
        "head_timeout": "500ms",
        "body_timeout": "500ms",
        "idle_timeout": "700ms",
        "write_timeout": "1s",
        "requests_per_connection": REQUESTS_PER_CONNECTION,
    },
)


def assert_rejected(connection, status, method="GET"):
    """The answer has the status and announces the end, which follows."""
    answer = connection.response(method)
    assert answer.status == status, answer
    assert answer.closes(), f"does not announce the end: {answer}"
    connection.wait_closed()


def test_request_line_too_long(bed):
    with bed.connect() as connection:
        connection.try_send_pieces([request("GET", "/" + "a" * 9000)])
        assert_rejected(connection, 414)


def test_head_too_large(bed):
    with bed.connect() as connection:
        connection.try_send_pieces([request("GET", "/hello", *[f"X-{n}: {'v' * 1000}" for n in range(40)])])
        assert_rejected(connection, 431)


def test_too_many_fields(bed):
    with bed.connect() as connection:
        connection.try_send_pieces([request("GET", "/hello", *[f"X-{n}: v" for n in range(101)])])
        assert_rejected(connection, 431)


def test_body_at_the_limit(bed):
    with bed.connect() as connection:
        connection.send(request("POST", "/upload", body=b"b" * (1024 * 1024)))
        assert connection.response("POST").body == b"received\n"


def test_announced_body_too_large(bed):
    with bed.connect() as connection:
        connection.try_send_pieces([request("POST", "/upload", f"Content-Length: {1024 * 1024 + 1}")])
        assert_rejected(connection, 413, "POST")


def test_unread_body_does_not_destroy_the_answer(bed):
    """Lingering close: the client is still sending when the 413 is under way (RFC 9112, 9.6)."""
    with bed.connect() as connection:
        try:
            connection.send(request("POST", "/upload", body=b"b" * 1_200_000))
        except (BrokenPipeError, ConnectionResetError):
            raise AssertionError("reset while sending") from None
        assert_rejected(connection, 413, "POST")


def test_chunked_body_too_large(bed):
    with bed.connect() as connection:
        chunk = b"10000\r\n" + b"c" * 65536 + b"\r\n"
        connection.try_send_pieces([request("POST", "/upload", "Transfer-Encoding: chunked"), chunk * 17])
        assert_rejected(connection, 413, "POST")


def test_too_large_by_curl(bed):
    with open(bed.folder / "upload", "wb") as file:
        file.write(b"u" * 2 * MEGABYTE)
    write = ("-o", "/dev/null", "-w", "%{http_code}")
    assert bed.curl("/upload", "--data-binary", f"@{file.name}", *write) == "413"


def test_slow_head(bed):
    with bed.connect() as connection:
        connection.send(b"GET /hello HTTP/1.1\r\nHost: ")
        assert_rejected(connection, 408)


def test_slow_head_of_a_second_request(bed):
    with bed.connect() as connection:
        assert connection.get().body == HELLO.encode()
        connection.send(b"GET ")
        assert_rejected(connection, 408)


def test_silent_connection(bed):
    """A client that never sends is answered 408 or closed, whichever the gateway prefers."""
    with bed.connect() as connection:
        rest = connection.rest()
        assert rest == b"" or rest.startswith(b"HTTP/1.1 408 "), rest


def test_slow_body(bed):
    with bed.connect() as connection:
        connection.send(request("POST", "/upload", "Content-Length: 10") + b"12345")
        assert_rejected(connection, 408, "POST")


def test_idle_connection(bed):
    with bed.connect() as connection:
        assert connection.get().body == HELLO.encode()
        connection.wait_closed()


def test_client_that_never_reads(bed):
    with bed.connect(receive_buffer=4096) as connection:
        connection.send(request("GET", f"/files/{LARGE}"))
        connection.wait_reset()


def test_requests_per_connection(bed):
    with bed.connect() as connection:
        for number in range(1, REQUESTS_PER_CONNECTION + 1):
            answer = connection.get()
            assert answer.status == 200 and answer.closes() == (number == REQUESTS_PER_CONNECTION), (number, answer)
        connection.wait_closed()


def test_requests_per_connection_pipelined(bed):
    """Requests after the last one are not answered; the last answer still arrives."""
    with bed.connect() as connection:
        connection.send(request("GET", "/hello") * (REQUESTS_PER_CONNECTION + 2))
        answers = [connection.response() for _ in range(REQUESTS_PER_CONNECTION)]
        assert [answer.closes() for answer in answers] == [False] * (REQUESTS_PER_CONNECTION - 1) + [True], answers
        connection.wait_closed()


def test_serves_afterwards(bed):
    bed.assert_serves()
