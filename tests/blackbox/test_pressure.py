"""Too many clients for a small gateway: who is in is served, who is not waits, and a place is a place again at once."""

import contextlib

import gateway_config
from gateway_config import HELLO, MEGABYTE, Site
from http_raw import request
from netns import until
from test_hostile import assert_recovered, is_connected

CONNECTIONS = 64
LARGE = 20 * MEGABYTE
SITE = Site(
    routes=gateway_config.base_routes() + gateway_config.file_routes(LARGE),
    http={"write_timeout": "2s"},
    tcp={"fin_timeout": "1s", "handshake_timeout": "1s", "half_open": 16},
    workers={"connections": CONNECTIONS},
)


def test_connection_limit(bed):
    """Beyond the limit a SYN is dropped; the client's kernel repeats it, and it is served once there is a place."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(bed.connect(v6=bool(n % 2))) for n in range(CONNECTIONS)]
        late = stack.enter_context(bed.socket())
        late.setblocking(False)
        late.connect_ex(bed.address())
        assert all(connection.get().body == HELLO.encode() for connection in held)
        assert not is_connected(late)
        held.pop().close()
        until(lambda: is_connected(late), "a place for the late one")
    assert_recovered(bed)


def test_every_place_taken_by_clients_that_never_read(bed):
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(bed.connect(receive_buffer=4096)) for _ in range(CONNECTIONS)]
        for connection in silent:
            connection.send(request("GET", f"/files/{LARGE}"))
        # Their write timeouts make room.
        until(lambda: answers(bed), "an answer")
        for connection in silent:
            connection.wait_reset()
    assert_recovered(bed)


def answers(bed):
    return bed.run("curl", "-gsS", "--max-time", "5", bed.url("/hello")).stdout == HELLO


def test_connections_come_and_go_at_the_limit(bed):
    for _ in range(20):
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(bed.connect()) for _ in range(CONNECTIONS)]
            for connection in connections:
                connection.abort()
    assert_recovered(bed)
