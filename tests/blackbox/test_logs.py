"""The log of a gateway that serves, as programs read it: JSON, levels, limits on what is said, readers that do not read."""

import contextlib
import datetime
import fcntl
import http.client
import json
import pathlib
import re
import signal
import socket
import subprocess
import threading

import frames
import gateway_config
from gateway_config import Site
from netns import CLIENT_MAC, PATIENCE_S, SERVER_V4, until
from penstock_bed import Process
from raw_link import RawLink
from test_metrics import Watched, total

DOC = pathlib.Path(__file__).resolve().parents[2] / "docs/logs.md"
QUIET_S = 10
NOISE = 7
# More than pipe, queue and the reader's own buffer hold.
CHANGES = 2500
PIPE_BYTES = 4096
LOST = "penstock_log_lost_lines_total"


def distinct(pairs):
    """An object without a name that is there twice."""
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


def parse(line):
    event = json.loads(line, object_pairs_hook=distinct)
    assert {"timestamp", "level", "target", "event", "message"} <= set(event), line
    time_of(event)
    return event


def time_of(event):
    return datetime.datetime.strptime(event["timestamp"], "%Y-%m-%dT%H:%M:%S.%f%z")


class Logged(Watched):
    """A bed whose gateway writes to a pipe, with its defaults: JSON."""

    def command(self):
        return [self.options.binary, "run", "-c", str(self.write_config(self.device()))]

    def events(self, name=None, **fields):
        """All of them; or those of a name with these fields."""
        found = [parse(line) for line in list(self.gateway.lines)]
        return [e for e in found if name in (None, e["event"]) and fields.items() <= e.items()]


def noise(bed, ethertype=0x88B5, body=b"\0" * 46):
    """A frame that the gateway drops."""
    with RawLink(bed) as link:
        link.send(link.gateway_mac + frames.mac(CLIENT_MAC) + ethertype.to_bytes(2, "big") + body)


def damaged_segment():
    """A TCP segment whose checksum is wrong."""
    return frames.ipv4(6, bytes.fromhex("3039 0050 00000001 00000000 5002 ffff dead 0000"))


def test_every_line_is_json_under_load(options):
    with Logged(options) as bed:
        wrk = bed.start_or_skip("wrk", "-t", "1", "-c", "50", "-d", "2s", bed.url("/hello"))
        assert wrk.wait() == 0, wrk.tail()
        noise(bed)
        bed.stop()
        events = bed.events()
        names = [event["event"] for event in events]
        expected = ["eal", "port", "addresses", "listening", "metrics", "admin", "memory", "ready", "draining", "served"]
        assert [name for name in names if name in expected] == expected and names[-1] == "stopped", names
        documented = set(re.findall(r"^\| `(\w+)` \| [A-Z]+ \|", DOC.read_text(), re.MULTILINE))
        assert set(names) <= documented, set(names) - documented
        served = bed.events("served")[0]
        answered = int(re.search(r"(\d+) requests in", wrk.text())[1])
        assert served["requests"] >= answered > 0 and served["rx_frames"] > answered, served
        assert not bed.events("leaked") and times_ascend(events)


def times_ascend(events):
    times = [time_of(event) for event in events]
    return times == sorted(times)


def test_the_level_changes_at_run_time(options):
    with Logged(options) as bed:
        for _ in range(NOISE):
            noise(bed)
        # Counted later: one look says this and would have said the other.
        noise(bed, 0x0800, damaged_segment())
        until(lambda: bed.events("network_fault", reason="tcp_checksum"), "a warning")
        assert not bed.events("counter_moved")
        done = bed.penstock("log-level", "debug")
        assert (done.returncode, done.stdout) == (0, "debug, was info\n"), done
        until(lambda: bed.events("counter_moved", reason="ethertype", count=NOISE, total=NOISE, level="DEBUG"), "debug")
        assert bed.events("log_level", new_level="debug", former_level="info")
        assert bed.penstock("log-level").stdout == "debug\n"
        assert json.loads(bed.penstock("log-level", "--json").stdout) == {"level": "debug", "former": None}
        done = bed.penstock("log-level", "info", "--json")
        assert json.loads(done.stdout) == {"level": "info", "former": "debug"}, done
        noise(bed, 0x0800, frames.ipv4(6, b"\0" * 24, fragment=0x2000))
        with RawLink(bed) as link:
            link.arp(2, SERVER_V4, SERVER_V4, frames.mac("02:00:0a:07:00:66"))
        until(lambda: bed.events("address_conflict"), "a warning")
        assert total(bed.scrape(), "penstock_dropped_frames_total", reason="fragment") == 1
        assert not bed.events("counter_moved", reason="fragment")
        done = bed.penstock("log-level", "loud")
        assert done.returncode == 2 and "error, warn, info or debug" in done.stderr, done
        bed.assert_serves()
        bed.stop()


def test_a_flood_is_said_every_ten_seconds(options):
    with Logged(options) as bed, RawLink(bed) as link:
        frame = link.gateway_mac + frames.mac(CLIENT_MAC) + b"\x08\x00" + damaged_segment()

        def flood():
            for _ in range(500):
                link.send(frame)
            return len(bed.events("network_fault", reason="tcp_checksum")) == 2

        until(flood, "the second warning", 3 * PATIENCE_S)
        first, second = bed.events("network_fault", reason="tcp_checksum")
        apart = (time_of(second) - time_of(first)).total_seconds()
        # Two clocks: the rate is held by the monotonic one.
        assert apart > QUIET_S - 1, (first, second)
        assert first["count"] == first["total"] > 0
        assert second["total"] - first["total"] == second["count"] > 500 and second["fix"], (first, second)
        counted = total(bed.scrape(), "penstock_dropped_frames_total", reason="tcp_checksum")
        assert second["total"] <= counted
        bed.assert_serves()
        bed.stop()
        assert bed.events("dropped", reason="tcp_checksum")[0]["count"] >= counted, bed.gateway.tail()


def test_a_limit_names_its_setting(options):
    with Logged(options) as bed:
        bed.stop()
        bed.site = Site(routes=bed.site.routes, metrics=bed.site.metrics, tcp={"half_open": 16}, workers={"connections": 16})
        bed.start_again()
        held = [bed.stack.enter_context(bed.connect()) for _ in range(16)]
        late = bed.stack.enter_context(bed.socket())
        late.setblocking(False)
        late.connect_ex(bed.address())
        found = until(lambda: bed.events("limit_reached", reason="connection_limit"), "the limit")[0]
        assert found["level"] == "WARN" and "workers.connections" in found["fix"], found
        assert found["metric"] == "penstock_dropped_frames_total" and held
        bed.stop()


def test_the_link_goes_and_comes(options):
    with Logged(options.with_(kind="af_packet")) as bed:
        bed.network.ip("link", "set", bed.network.client, "down")
        down = until(lambda: bed.events("link_down"), "the link's end")[0]
        assert down["level"] == "WARN" and down["changes"] == 1 and down["fix"], down
        bed.network.ip("link", "set", bed.network.client, "up")
        up = until(lambda: bed.events("link_up"), "the link's return")[0]
        assert up["level"] == "INFO" and up["changes"] == 1, up


# --- readers that do not read --------------------------------------------------------------------------------


class Reluctant(Process):
    """A process whose output is read while it is told to be."""

    def __init__(self, argv):
        self.reads = threading.Event()
        self.reads.set()
        super().__init__(argv)
        fcntl.fcntl(self.child.stdout.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def _read(self):
        # A closed pipe ends it.
        with contextlib.suppress(ValueError):
            for line in self.child.stdout:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self.reads.wait()


class Unread(Logged):
    def launch(self):
        process = Reluctant(self.command())
        self.stack.callback(process.kill)
        self.stack.callback(process.reads.set)
        return process

    def block(self):
        """Nobody reads, and the gateway has more to say than fits anywhere."""
        self.gateway.reads.clear()
        path = self.events("admin")[0]["path"]
        with socket.socket(socket.AF_UNIX) as made:
            made.settimeout(PATIENCE_S)
            made.connect(path)
            talk = http.client.HTTPConnection("penstock")
            talk.sock = made
            for number in range(CHANGES):
                talk.request("PUT", f"/log-level?level={'debug' if number % 2 == 0 else 'info'}")
                answer = talk.getresponse()
                assert answer.status == 200, answer.read()
                answer.read()
        return until(lambda: total(self.scrape(), LOST), "lost lines")


def test_a_blocked_pipe_costs_lines_only(options):
    with Unread(options) as bed:
        bed.block()
        bed.assert_serves()
        assert bed.get("/readyz") == (200, "ready\n")
        assert bed.penstock("status").returncode == 0
        bed.gateway.reads.set()
        until(lambda: bed.events("log_lost"), "the count of lost lines")
        bed.stop()
        told = bed.events("log_lost")
        changes = len(bed.events("log_level"))
        assert told[-1]["total"] == sum(event["count"] for event in told) > 0
        # The lines that tell of it may be lost as well.
        assert 0 <= changes + told[-1]["total"] - CHANGES <= 10, (changes, told)


def test_a_blocked_pipe_does_not_keep_it_from_ending(options):
    for number in (signal.SIGTERM, signal.SIGINT):
        with Unread(options) as bed:
            bed.block()
            bed.gateway.signal(number)
            assert bed.gateway.child.wait(PATIENCE_S) == 0


def test_a_closed_pipe_costs_lines_only(options):
    with Unread(options) as bed:
        bed.gateway.reads.clear()
        # The thread that reads waits; without its end of the pipe, writing fails.
        bed.gateway.child.stdout.raw.close()
        for _ in range(3):
            assert bed.penstock("log-level", "debug").returncode == 0
        until(lambda: total(bed.scrape(), LOST), "lost lines")
        bed.assert_serves()
        bed.gateway.signal()
        assert bed.gateway.child.wait(PATIENCE_S) == 0


# --- starts that fail ----------------------------------------------------------------------------------------


def test_a_failed_start_is_an_event_and_words(options):
    with Logged(options.with_(kind="af_packet")) as bed:
        bed.stop()
        bed.device = lambda: "net_af_packet0,iface=pgnonesuch"
        nowhere = [options.binary, "run", "-c", str(bed.folder / "nonesuch.toml")]
        for command, status in ((bed.command(), 4), (nowhere, 3)):
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
            assert done.returncode == status, done
            last = [parse(line) for line in done.stdout.splitlines()][-1]
            assert (last["event"], last["level"], last["exit_code"]) == ("failed", "ERROR", status), last
            assert f"error: {last['message']}\n  fix: " in done.stderr and last["fix"], done
            text = subprocess.run([*command, "--log-format", "text"], capture_output=True, text=True, timeout=PATIENCE_S)
            assert text.stderr == done.stderr and "error:" not in text.stdout, text
