"""HTTP/1.1 semantics and framing (RFC 9110, RFC 9112), seen by curl and by a strict raw client."""

import email.utils
import re
import time

import gateway_config
from gateway_config import HELLO, Site
from http_raw import request

SITE = Site(routes=gateway_config.base_routes())
IMF_FIXDATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")


def assert_hello(answer):
    assert answer.status == 200 and answer.body == HELLO.encode(), answer


def test_curl_v4_and_v6(bed):
    bed.assert_serves()


def test_fields(bed):
    answer = bed.send_until_answered(request("GET", "/hello"))
    assert_hello(answer)
    assert answer.one("content-length") == str(len(HELLO))
    assert answer.one("x-test") == "one"


def test_date(bed):
    date = bed.send_until_answered(request("GET", "/hello")).one("date")
    assert IMF_FIXDATE.fullmatch(date), date
    assert abs(email.utils.parsedate_to_datetime(date).timestamp() - time.time()) < 120, date


def test_query_is_not_part_of_the_path(bed):
    assert_hello(bed.send_until_answered(request("GET", "/hello?a=/b&c")))


def test_head(bed):
    with bed.connect() as connection:
        connection.send(request("HEAD", "/hello"))
        answer = connection.response("HEAD")
        assert answer.status == 200 and answer.one("content-length") == str(len(HELLO)), answer
        assert_hello(connection.get())  # so no body followed


def test_options_asterisk(bed):
    with bed.connect() as connection:
        connection.send(request("OPTIONS", "*"))
        answer = connection.response("OPTIONS")
        assert answer.status in (200, 204) and answer.body == b"", answer
        assert_hello(connection.get())


def test_not_found(bed):
    with bed.connect() as connection:
        assert connection.get("/nowhere").status == 404
        assert connection.get("/hello/below-an-exact-path").status == 404
        assert_hello(connection.get())


def test_method_not_allowed(bed):
    with bed.connect() as connection:
        connection.send(request("DELETE", "/only-get"))
        answer = connection.response("DELETE")
        assert answer.status == 405, answer
        assert "GET" in [token.strip() for token in answer.one("allow").split(",")], answer
        assert connection.get("/only-get").body == b"got\n"


def test_http_1_0(bed):
    with bed.connect() as connection:
        connection.send(b"GET /hello HTTP/1.0\r\n\r\n")
        answer = connection.response()
        assert_hello(answer)
        assert not answer.all("transfer-encoding"), answer
        connection.wait_closed()


def test_http_1_0_keep_alive(bed):
    with bed.connect() as connection:
        for _ in range(3):
            connection.send(b"GET /hello HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
            answer = connection.response()
            assert_hello(answer)
            assert "keep-alive" in answer.one("connection").lower(), answer


def test_keep_alive_by_curl(bed):
    url = bed.url("/hello")
    write = ("-w", "%{num_connects} %{http_code}\n")
    done = bed.run("curl", "-sS", *write, *[url, "-o", "/dev/null"] * 20)
    lines = done.stdout.split("\n")[:-1]
    assert lines == ["1 200"] + ["0 200"] * 19, done.stdout


def test_keep_alive_many(bed):
    with bed.connect() as connection:
        for number in range(300):
            assert connection.get(f"/n/{number % 10}").body == f"number {number % 10}\n".encode()


def test_connection_close(bed):
    for value in ("close", "Close", "foo, close"):
        with bed.connect() as connection:
            answer = connection.get("/hello", f"Connection: {value}")
            assert_hello(answer)
            assert answer.closes(), answer
            connection.wait_closed()


def test_client_half_close(bed):
    with bed.connect() as connection:
        connection.send(request("GET", "/hello"))
        connection.sock.shutdown(1)
        assert_hello(connection.response())
        connection.wait_closed()


def test_absolute_form(bed):
    with bed.connect() as connection:
        assert_hello(connection.get("http://penstock.test/hello"))
        assert_hello(connection.get("HTTP://other.test:80/hello?x"))


def test_content_length_body(bed):
    with bed.connect() as connection:
        for size in (1, 4095, 4096, 4097, 70_000):
            connection.send(request("POST", "/upload", body=b"b" * size))
            assert connection.response("POST").body == b"received\n"


def test_chunked_body_with_trailers(bed):
    chunks = b"5\r\nhello\r\n1;name=\"a b\"\r\n!\r\n1000\r\n" + b"c" * 4096 + b"\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"
    head = request("POST", "/upload", "Transfer-Encoding: chunked", "Trailer: X-Sum")
    with bed.connect() as connection:
        connection.send(head + chunks)
        assert connection.response("POST").body == b"received\n"
        connection.send_pieces([head + chunks[:9], chunks[9:20], chunks[20:-3], chunks[-3:]])
        assert connection.response("POST").body == b"received\n"
        assert_hello(connection.get())


def test_chunked_upload_by_curl(bed):
    answer = bed.curl("/upload", "-H", "Transfer-Encoding: chunked", "-H", "Expect:", "-d", "x" * 10_000)
    assert answer == "received\n", answer


def test_expect_100_continue(bed):
    with bed.connect() as connection:
        connection.send(request("POST", "/upload", "Expect: 100-continue", "Content-Length: 5"))
        interim = connection.response("POST", interim=True)
        assert interim.status == 100, interim
        connection.send(b"hello")
        assert connection.response("POST").body == b"received\n"
        assert_hello(connection.get())


def test_pipeline_of_100_in_one_send(bed):
    for v6 in (False, True):
        with bed.connect(v6) as connection:
            connection.send(b"".join(request("GET", f"/n/{number % 10}") for number in range(100)))
            for number in range(100):
                assert connection.response().body == f"number {number % 10}\n".encode(), number


def test_pipeline_split_at_every_odd_boundary(bed):
    pair = request("GET", "/n/1") + request("POST", "/upload", body=b"body") + request("GET", "/n/2")
    with bed.connect() as connection:
        for boundary in range(1, len(pair), 2):
            connection.send_pieces([pair[:boundary], pair[boundary:]])
            bodies = [connection.response().body for _ in range(3)]
            assert bodies == [b"number 1\n", b"received\n", b"number 2\n"], (boundary, bodies)


def test_head_byte_by_byte(bed):
    head = request("GET", "/hello", "X-Padding: abc")
    with bed.connect() as connection:
        connection.send_pieces(head[i : i + 1] for i in range(len(head)))
        assert_hello(connection.response())


def test_head_larger_than_the_receive_ring(bed):
    with bed.connect() as connection:
        fields = [f"X-Large-{n}: {'v' * 1000}" for n in range(8)]
        for _ in range(3):
            assert_hello(connection.get("/hello", *fields))
        head = request("GET", "/hello", *fields)
        connection.send_pieces(head[i : i + 1000] for i in range(0, len(head), 1000))
        assert_hello(connection.response())
