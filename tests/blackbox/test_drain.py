"""The orderly stop: no request that was accepted is lost, and nothing that is idle or gone delays it for long."""

import contextlib
import re
import signal
import time

import gateway_config
from gateway_config import HELLO, MEGABYTE, Site
from http_raw import request
from load_client import Load
from netns import until
from penstock_bed import Bed

LARGE = 4 * MEGABYTE
RUNS = 5
CONNECTIONS = 50
# Well above what an orderly stop of idle connections takes, well below the deadline of `patient`.
PROMPT_S = 6


def site(drain_timeout="5s", **workers):
    routes = gateway_config.base_routes() + gateway_config.file_routes(LARGE)
    return Site(routes=routes, workers={"drain_timeout": drain_timeout} | workers)


def bed_of(options, drain_timeout="5s"):
    options.need_gateway()
    return Bed(options, site(drain_timeout))


def patient(options):
    """A gateway whose deadline is no help to a test that ends in time."""
    return bed_of(options, "60s")


def assert_prompt(bed, began):
    bed.stop_wait()
    took = time.monotonic() - began
    assert took < PROMPT_S, f"took {took:.1f} s:\n{bed.gateway.tail()}"
    assert not bed.gateway.says(re.compile(r"\bcut: ")), bed.gateway.tail()


def drain_once(options, think_s, seed):
    with patient(options) as bed, contextlib.closing(Load(bed, CONNECTIONS, HELLO.encode(), think_s, seed)) as load:
        load.run(lambda: load.answered() >= 20 * CONNECTIONS, "load")
        began = time.monotonic()
        bed.gateway.signal(signal.SIGTERM)
        load.run(load.all_ended, "the end of every connection")
        assert not load.failures(), f"{len(load.failures())} failed: {load.failures()[:3]}"
        assert_prompt(bed, began)
        served = re.search(r"served: (\d+) requests", bed.gateway.text())
        assert served and int(served[1]) == load.answered(), f"{served and served[0]}, {load.answered()} answered"


def test_under_load_no_request_fails(options):
    for number in range(RUNS):
        drain_once(options, 0, number)


def test_with_thinking_clients_no_request_fails(options):
    for number in range(RUNS):
        drain_once(options, 0.2, number)


def wrk_once(options):
    with patient(options) as bed:
        wrk = bed.start("wrk", "-t", "1", "-c", "100", "-d", "2s", "--timeout", "60s", bed.url("/hello"))
        before = bed.network.client_packets()
        until(lambda: bed.network.client_packets() > before + 5000, "load from wrk")
        began = time.monotonic()
        bed.gateway.signal(signal.SIGTERM)
        assert_prompt(bed, began)
        wrk.wait()
        # Connecting again is refused, which is no failed request; wrk notices it by the first write.
        errors = re.search(r"read (\d+), write \d+, timeout (\d+)", wrk.text())
        assert not errors or errors.groups() == ("0", "0"), wrk.text()
        assert "Non-2xx" not in wrk.text(), wrk.text()
        answered = re.search(r"(\d+) requests in", wrk.text())
        served = re.search(r"served: (\d+) requests", bed.gateway.text())
        assert answered and served and served[1] == answered[1], f"{served and served[0]}: {wrk.text()}"


def test_under_wrk_no_request_fails(options):
    for _ in range(RUNS):
        wrk_once(options)


def test_idle_connections_are_closed_and_do_not_delay(options):
    """Kept ones and ones that never asked; the clients do not close their side."""
    with patient(options) as bed, contextlib.ExitStack() as stack:
        connections = [stack.enter_context(bed.connect(v6=bool(n % 2))) for n in range(20)]
        for connection in connections[:10]:
            assert connection.get().body == HELLO.encode()
        began = time.monotonic()
        bed.gateway.signal(signal.SIGTERM)
        for connection in connections:
            connection.wait_closed()
        assert_prompt(bed, began)


def test_a_request_that_arrives_while_draining_is_answered(options):
    with patient(options) as bed, bed.connect() as other, bed.connect() as connection:
        assert connection.get().body == HELLO.encode()
        other.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n")
        bed.gateway.signal(signal.SIGTERM)
        until(lambda: bed.gateway.says(re.compile("TERM: draining")), "the announcement")
        answer = connection.get()
        assert answer.body == HELLO.encode() and answer.closes(), answer
        connection.wait_closed()
        # What has begun is finished, and its progress shown.
        until(lambda: bed.gateway.says(re.compile("draining: 1 connections, 1 requests in progress")), "progress")
        other.send(b"\r\n")
        answer = other.response()
        assert answer.body == HELLO.encode() and answer.closes(), answer
        other.wait_closed()
        bed.stop_wait()


def test_new_connections_are_refused(options):
    with patient(options) as bed, bed.connect() as busy:
        busy.send(b"GET /hello HTTP/1.1\r\n")
        bed.gateway.signal(signal.SIGTERM)
        until(lambda: bed.gateway.says(re.compile("TERM: draining")), "the announcement")
        until(lambda: is_refused(bed), "a refused connection")
        busy.send(b"Host: a\r\n\r\n")
        assert busy.response().closes()
        bed.stop_wait()


def is_refused(bed):
    try:
        bed.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_slow_reader_gets_its_whole_answer(options):
    with patient(options) as bed, bed.connect(receive_buffer=4096) as connection:
        connection.send(request("GET", f"/files/{LARGE}"))
        head = connection.response_head()
        bed.gateway.signal(signal.SIGTERM)
        connection.read_body(head)
        assert head.body == gateway_config.content(LARGE)
        connection.wait_closed()
        bed.stop_wait()


def test_deadline_resets_what_is_left(options):
    with bed_of(options, "1s") as bed, bed.connect(receive_buffer=4096) as connection:
        connection.send(request("GET", f"/files/{LARGE}"))
        assert connection.receive(100)
        began = time.monotonic()
        bed.gateway.signal(signal.SIGTERM)
        connection.wait_reset()
        bed.stop_wait()
        assert time.monotonic() - began < PROMPT_S, bed.gateway.tail()
        assert bed.gateway.says(re.compile(r"\bcut: 1 connection")), bed.gateway.tail()


def test_second_int_ends_at_once(options):
    with patient(options) as bed, bed.connect() as connection:
        connection.send(b"GET /hello HTTP/1.1\r\n")
        bed.gateway.signal(signal.SIGINT)
        until(lambda: bed.gateway.says(re.compile("INT: draining")), "the announcement")
        began = time.monotonic()
        bed.gateway.signal(signal.SIGINT)
        bed.stop_wait()
        assert time.monotonic() - began < PROMPT_S, bed.gateway.tail()


def test_clients_that_vanished_do_not_delay(options):
    """Their FINs are never acknowledged; half-open ones never were connections."""
    with patient(options) as bed, contextlib.ExitStack() as stack:
        connections = [stack.enter_context(bed.connect()) for _ in range(20)]
        assert all(connection.get().status == 200 for connection in connections)
        bed.network.ip("link", "set", bed.network.client, "down")
        began = time.monotonic()
        bed.gateway.signal(signal.SIGTERM)
        assert_prompt(bed, began)
