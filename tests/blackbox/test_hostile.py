"""Attacks and accidents: each has its expected answer, other clients are served meanwhile, and all of it recovers
without a restart."""

import contextlib
import json
import os
import re
import subprocess
import time

import frames
import gateway_config
from gateway_config import HELLO, MEGABYTE, Site
from http_raw import request
from netns import CLIENT_MAC, CLIENT_V4, PATIENCE_S, SERVER_V4, until
from raw_link import ACK, RST, SYN, RawLink

LARGE = 20 * MEGABYTE
# 100,000 take two minutes on two busy cores: PENSTOCK_ABANDONED=100000 scripts/test.sh abandoned
ABANDONED = int(os.environ.get("PENSTOCK_ABANDONED", 20_000))
ROUND = 1000
PROBES = 20
# Frames a worker keeps ready: they count as used, and may be fewer than that.
STASH = 32
DROPPED, CLOSED = "penstock_dropped_frames_total", "penstock_connections_closed_total"
NEIGHBORS = "penstock_neighbor_changes_total"
STRANGER_MAC = "02:00:0a:07:00:99"
SITE = Site(
    routes=gateway_config.base_routes() + gateway_config.file_routes(LARGE),
    http={"head_timeout": "1s", "body_timeout": "1s", "idle_timeout": "1s", "write_timeout": "1s"},
    tcp={"handshake_timeout": "1s", "fin_timeout": "1s", "half_open": 1024},
    workers={"connections": 2048},
)


def assert_served(bed, times=PROBES):
    """A client among the others is served, every time."""
    for number in range(times):
        assert bed.curl("/hello", v6=bool(number % 2)) == HELLO


def assert_recovered(bed):
    """All slots are free again: as many connections as there are slots, all at once."""
    slots = bed.site.workers["connections"]

    def all_at_once():
        with contextlib.ExitStack() as stack:
            made = []
            for _ in range(slots):
                sock = stack.enter_context(bed.socket())
                sock.setblocking(False)
                sock.connect_ex(bed.address())
                made.append(sock)
            with contextlib.suppress(AssertionError):
                return until(lambda: all(is_connected(sock) for sock in made), "connections", 3)
        return False

    until(all_at_once, f"{slots} free connection slots")
    until(lambda: serves(bed), "an answer")
    bed.assert_serves()


def is_connected(sock):
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def status(bed):
    """What `penstock status --json` says."""
    argv = [bed.options.binary, "status", "--json", "--socket", str(bed.gateway.child.pid)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def frames_used(bed):
    return sum(pool["used_frames"] for pool in status(bed)["pools"])


def differences(before, after):
    pairs = [(metric, label) for metric, labels in after.items() for label in labels]
    grown = {(metric, label): after[metric][label] - before[metric][label] for metric, label in pairs}
    return {key: count for key, count in grown.items() if count}


@contextlib.contextmanager
def counted(bed, *expected):
    """Each (metric, label) grows meanwhile, and afterwards every frame is back in its pool."""
    if bed.options.kind == "nginx":
        yield
        return
    before = status(bed)
    used = sum(pool["used_frames"] for pool in before["pools"])
    yield
    counters = status(bed)["counters"]
    for metric, label in expected:
        grown = counters[metric][label] - before["counters"][metric][label]
        assert grown > 0, f"{metric} {label} did not grow: {differences(before['counters'], counters)}"
    until(lambda: frames_used(bed) <= used + STASH, f"every frame back: {used} were in use")


def serves(bed):
    done = bed.run("curl", "-gsS", "--max-time", "2", bed.url("/hello"))
    return done.returncode == 0 and done.stdout == HELLO


# --- slow clients ---------------------------------------------------------------------------------------------------


def slowhttptest(bed, *arguments):
    """Runs an attack of 400 connections and probes the gateway meanwhile; fails if the tool found it down."""
    attack = bed.start_or_skip("slowhttptest", "-c", "400", "-r", "200", "-i", "1", "-l", "6", "-p", "3", *arguments)
    until(lambda: attack.says(re.compile(r"connected:")) or not attack.alive(), "the attack")
    assert_served(bed)
    attack.wait()
    text = re.sub(r"\x1b\[[0-9;]*m", "", attack.text())
    available = re.findall(r"service available:\s*(\w+)", text)
    assert available and set(available) == {"YES"}, attack.tail(30)


def test_slow_headers(bed):
    slowhttptest(bed, "-H", "-u", bed.url("/hello"))


def test_slow_body(bed):
    slowhttptest(bed, "-B", "-u", bed.url("/upload"))


def test_range_attack(bed):
    slowhttptest(bed, "-R", "-u", bed.url("/hello"))


def test_slow_read(bed):
    slowhttptest(bed, "-X", "-w", "10", "-y", "20", "-n", "2", "-z", "8", "-k", "3", "-u", bed.url(f"/files/{LARGE}"))


def test_recovers_from_slow_clients(bed):
    assert_recovered(bed)


# --- connections that never are ----------------------------------------------------------------------------------------


def spoofed(number):
    """A host that does not exist, in the client's network."""
    return f"10.7.0.{100 + number % 100}", 1024 + number // 100


def test_1000_half_open_clients(bed):
    """SYNs of hosts that do not exist. Each handshake ends after its time; other clients do not notice."""
    with counted(bed, (CLOSED, "timeout")):
        with RawLink(bed) as link:
            for number in range(1000):
                source, port = spoofed(number)
                link.segment(source, port, SYN)
                if number % 50 == 0:
                    assert bed.curl("/hello") == HELLO
        assert_recovered(bed)


def test_syn_flood_while_others_are_served(bed):
    """SYNs of invented hosts, as many as the link takes. Of 40 clients in a row at least 39 are served within 5 s each."""
    flood = bed.start_or_skip("hping3", "-q", "--rand-source", "-S", "-p", "80", "--flood", SERVER_V4)
    before, begun = bed.network.client_packets(), time.monotonic()
    until(lambda: bed.network.client_packets() > before + 4 * bed.site.tcp["half_open"], "more SYNs than handshakes may be")
    served = sum(is_served_within(bed, 5, v6=bool(number % 2)) for number in range(40))
    assert flood.alive(), flood.tail()
    flood.kill()
    rate = (bed.network.client_packets() - before) / (time.monotonic() - begun)
    print(f"     {served} of 40 beside {rate / 1000:.0f},000 frames a second", flush=True)
    assert served >= 39, served
    assert_recovered(bed)


def is_served_within(bed, seconds, v6):
    done = bed.run("curl", "-gsS", "--max-time", str(seconds), bed.url("/hello", v6))
    return done.returncode == 0 and done.stdout == HELLO


def test_abandoned_connections(bed):
    """Clients that connect, ask, and are never heard of again."""
    hosts = {f"10.7.0.{100 + n}" for n in range(100)}
    established = 0
    with counted(bed, ("penstock_connections_accepted_total", ""), ("penstock_http_request_heads_total", "")):
        with RawLink(bed) as link:
            for start in range(0, ABANDONED, ROUND):
                established += abandon(bed, link, hosts, range(start, start + ROUND))
        print(f"     {established} of {ABANDONED} were established", flush=True)
        assert established >= ABANDONED * 0.9, established
        assert_recovered(bed)


def abandon(bed, link, hosts, numbers):
    """Opens these connections, sends a request on half of them, and forgets all. Returns how many were opened."""
    waiting = {spoofed(number) for number in numbers}
    count = len(waiting)

    def handshakes():
        for source, port in waiting:
            link.segment(source, port, SYN, seq=1)
        with contextlib.suppress(AssertionError):
            until(answered, "SYN-ACKs", 1)
        return not waiting

    def answered():
        for segment in link.answer_arp_for(hosts):
            key = (segment.destination, segment.to_port)
            if segment.flags == SYN | ACK and key in waiting:
                waiting.remove(key)
                payload = request("GET", "/hello") if segment.to_port % 2 else b""
                link.segment(*key, ACK, seq=2, ack=segment.seq + 1, payload=payload)
        return not waiting

    until(handshakes, "places for connections")
    return count - len(waiting)


# --- limits reached ---------------------------------------------------------------------------------------------------


def test_many_clients_that_never_read(bed):
    """Their answers fill windows and transmit buffers; frames are not held for them, and others are served."""
    with counted(bed, ("penstock_http_closed_total", "write_timeout")):
        with contextlib.ExitStack() as stack:
            silent = [stack.enter_context(bed.connect(receive_buffer=4096)) for _ in range(300)]
            for connection in silent:
                connection.send(request("GET", f"/files/{LARGE}"))
            assert_served(bed)
            for connection in silent[::50]:
                connection.wait_reset()
        assert_recovered(bed)


# --- scans ------------------------------------------------------------------------------------------------------------


def nmap(bed, *arguments):
    """Port states as nmap sees them."""
    command = ("nmap", "-n", "-Pn", "--max-retries", "3", "--host-timeout", "60s", "-p", "80,81,82,443", *arguments)
    done = bed.run(*command, SERVER_V4, patience_s=90)
    assert done.returncode == 0, done.stdout
    return dict(re.findall(r"^(\d+)/tcp\s+(\S+)", done.stdout, re.MULTILINE))


def test_syn_scan(bed):
    assert nmap(bed, "-sS") == {"80": "open", "81": "closed", "82": "closed", "443": "closed"}


def test_fin_and_xmas_scans(bed):
    """RFC 9293, 3.10.7: a closed port answers RST, a listening one nothing."""
    for kind in ("-sF", "-sX"):
        assert nmap(bed, kind) == {"80": "open|filtered", "81": "closed", "82": "closed", "443": "closed"}, kind


def test_null_scan(bed):
    """Segments without any flag are nobody's and are dropped before ports are looked at."""
    assert set(nmap(bed, "-sN").values()) == {"open|filtered"}


def test_ack_scan(bed):
    assert set(nmap(bed, "-sA").values()) == {"unfiltered"}


def test_fragments_are_dropped(bed):
    """Fragments are not reassembled; a scan by them sees nothing. On af_packet the kernel reassembles them before."""
    seen = set(nmap(bed, "-f", "-sS").values())
    assert seen == ({"open", "closed"} if bed.options.kind == "af_packet" else {"filtered"}), seen
    bed.assert_serves()


def test_resets_are_limited(bed):
    """A flood to a closed port is answered at the limited rate."""
    with counted(bed, (DROPPED, "rst_limit")), RawLink(bed) as link:
        for number in range(20_000):
            link.segment(CLIENT_V4, 1024 + number, SYN, seq=number, to_port=81)
        assert bed.curl("/hello") == HELLO
        resets = 0
        while (frame := link.receive(0.2)) is not None:
            resets += frame[12:14] == b"\x08\x00" and frame[23] == 6 and bool(frame[47] & RST)
    # A second's worth saved up, and what the seconds of sending allow.
    assert 0 < resets < 10_000, resets


# --- the link -----------------------------------------------------------------------------------------------------------


def test_link_down_and_up(bed):
    network = bed.network
    with counted(bed), bed.connect() as connection:
        assert connection.get().body == HELLO.encode()
        network.ip("link", "set", network.client, "down")
        network.ip("link", "set", network.client, "up")
        network.ip("addr", "replace", f"{CLIENT_V4}/24", "dev", network.client)
        network.ip("addr", "replace", "fd00:7::1/64", "dev", network.client, "nodad")
        until(lambda: serves(bed), "service after the link came up")
        bed.assert_serves()


def test_address_conflict_is_defended(bed):
    """Another host announces the gateway's address. The gateway announces it again, which repairs what clients believe."""
    with counted(bed, (DROPPED, "address_conflict")), RawLink(bed) as link:
        link.arp(1, SERVER_V4, SERVER_V4, frames.mac(STRANGER_MAC))
        until(lambda: is_announcement(link.receive(0.1), link.gateway_mac), "the gateway's own announcement")
    until(lambda: serves(bed), "service after the conflict")
    assert_served(bed)


def is_announcement(frame, mac):
    return frame is not None and frame[:6] == b"\xff" * 6 and frame[12:14] == b"\x08\x06" and frame[22:28] == mac


def test_replies_nobody_asked_for_teach_nothing(bed):
    """The gateway does not take a neighbour from a reply it did not ask for: it asks itself when it needs one."""
    stranger = "10.7.0.77"
    with RawLink(bed) as link:
        for _ in range(100):
            link.arp(2, stranger, SERVER_V4, frames.mac(STRANGER_MAC), link.gateway_mac)
        link.segment(stranger, 1024, SYN)
        asked = until(lambda: asks_for(link.receive(0.1), stranger), "an ARP request for the stranger")
        assert asked


def asks_for(frame, host):
    return frame is not None and frame[12:14] == b"\x08\x06" and frame[38:42] == frames.socket.inet_aton(host)


def test_forged_reply_of_a_known_neighbor_is_put_to_it(bed):
    """A reply in the name of a known neighbour changes nothing while that one answers when it is asked."""
    bed.assert_serves()
    with counted(bed, (NEIGHBORS, "contested"), (NEIGHBORS, "upheld")), RawLink(bed) as link:
        link.arp(2, CLIENT_V4, SERVER_V4, frames.mac(STRANGER_MAC), link.gateway_mac)
        bed.assert_serves()
        until(lambda: status(bed)["counters"][NEIGHBORS]["upheld"] > 0, "the client's answer")
    assert_served(bed)


def test_recovers_from_everything(bed):
    assert_recovered(bed)
