"""Bodies of all sizes arrive whole, compared by SHA-256; readers that are slow or leave do no harm."""

import concurrent.futures
import hashlib
import subprocess

import gateway_config
from gateway_config import MEGABYTE, SMALL_SIZES, Site
from http_raw import request

HUGE = 100 * MEGABYTE
HUGE_PATIENCE_S = 600
SITE = Site(routes=gateway_config.base_routes() + gateway_config.file_routes(*SMALL_SIZES, MEGABYTE, HUGE))


def fetch_digest(bed, size, v6=False):
    """SHA-256 of the file as curl receives it, and its length."""
    seen, length = hashlib.sha256(), 0
    command = ["curl", "-gsSf", "--max-time", str(HUGE_PATIENCE_S), bed.url(f"/files/{size}", v6)]
    with bed.inside():
        curl = subprocess.Popen(command, stdout=subprocess.PIPE)
    with curl:
        while piece := curl.stdout.read(1 << 20):
            seen.update(piece)
            length += len(piece)
    assert curl.returncode == 0, f"curl: exit {curl.returncode} after {length} of {size} bytes"
    return length, seen.hexdigest()


def assert_whole(bed, size, v6=False):
    assert fetch_digest(bed, size, v6) == (size, gateway_config.digest(size))


def test_small(bed):
    for size in SMALL_SIZES:
        for v6 in (False, True):
            assert_whole(bed, size, v6)


def test_small_on_one_connection(bed):
    with bed.connect() as connection:
        for size in SMALL_SIZES * 2:
            answer = connection.get(f"/files/{size}")
            assert answer.status == 200 and answer.body == gateway_config.content(size), size


def test_pipelined(bed):
    with bed.connect() as connection:
        connection.send(b"".join(request("GET", f"/files/{size}") for size in SMALL_SIZES))
        for size in SMALL_SIZES:
            assert connection.response().body == gateway_config.content(size), size


def test_1_mb(bed):
    assert_whole(bed, MEGABYTE)
    assert_whole(bed, MEGABYTE, v6=True)


def test_1_mb_in_parallel(bed):
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        for done in [pool.submit(assert_whole, bed, MEGABYTE, bool(n % 2)) for n in range(24)]:
            done.result()


def test_100_mb_v4(bed):
    assert_whole(bed, HUGE)


def test_100_mb_v6(bed):
    assert_whole(bed, HUGE, v6=True)


def test_slow_reader(bed):
    seen = hashlib.sha256()
    with bed.connect(receive_buffer=2048) as connection:
        connection.send(request("GET", f"/files/{MEGABYTE}", "Connection: close"))
        while b"\r\n\r\n" not in connection.buffer:
            connection.buffer += connection.receive(64)
        seen.update(connection.buffer.split(b"\r\n\r\n", 1)[1])
        while piece := connection.receive(1024):
            seen.update(piece)
    assert seen.hexdigest() == gateway_config.digest(MEGABYTE)


def test_client_leaves_mid_body(bed):
    for number in range(50):
        connection = bed.connect(v6=bool(number % 3 == 0))
        connection.send(request("GET", f"/files/{HUGE}"))
        assert connection.receive(1024).startswith(b"HTTP/1.1 200 ")
        if number % 2:
            connection.abort()
        else:
            connection.close()
    bed.assert_serves()
    assert_whole(bed, MEGABYTE)


def test_upload_900_kb(bed):
    body = gateway_config.content(900_000)
    for v6 in (False, True):
        with bed.connect(v6) as connection:
            connection.send(request("POST", "/upload", body=body))
            assert connection.response("POST").body == b"received\n"
            assert connection.get().status == 200


def test_upload_by_curl(bed):
    path = bed.folder / "upload"
    path.write_bytes(gateway_config.content(900_000))
    for expect in ("Expect: 100-continue", "Expect:"):
        assert bed.curl("/upload", "-H", expect, "--data-binary", f"@{path}") == "received\n"
