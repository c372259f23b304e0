"""Metrics, health, `penstock status` and `penstock top` of a gateway that serves. Nothing here asserts a speed."""

import json
import pathlib
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request

import gateway_config
from gateway_config import Site
from netns import PATIENCE_S, until
from penstock_bed import Bed
from test_process import assert_ends

CONNECTIONS = 50
ROUTES = gateway_config.base_routes()
SAMPLE = re.compile(r'([a-z_0-9]+)(?:\{(.*)\})? ([-+.\dInf]+)')
LABEL = re.compile(r'([a-z]+)="((?:[^"\\]|\\.)*)"')
REQUESTS = "penstock_http_requests_total"


class Watched(Bed):
    """A bed whose gateway serves metrics on a port of its own."""

    def __init__(self, options, routes=ROUTES):
        options.need_gateway()
        self.port = free_port()
        super().__init__(options, Site(routes=routes, metrics={"address": f"127.0.0.1:{self.port}"}))

    def get(self, path):
        """Status and body of an answer from the metrics socket."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def scrape(self):
        """Every sample by name and labels."""
        status, text = self.get("/metrics")
        assert status == 200, text
        return dict(sample(line) for line in text.splitlines() if not line.startswith("#"))

    def pid(self):
        return self.gateway.child.pid

    def penstock(self, *arguments):
        """Runs the program, asking this gateway."""
        command = [self.options.binary, *arguments, "--socket", str(self.pid())]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def sample(line):
    parts = SAMPLE.fullmatch(line)
    assert parts, line
    return (parts[1], frozenset(LABEL.findall(parts[2] or ""))), float(parts[3])


def total(samples, name, **labels):
    """The sum of a metric's samples that have these labels."""
    wanted = set(labels.items())
    return sum(value for (own, has), value in samples.items() if own == name and wanted <= has)


def assert_grown(before, after):
    for key, value in before.items():
        if key[0].endswith(("_total", "_count", "_bucket", "_sum")):
            assert after[key] >= value, f"{key}: {value}, then {after[key]}"


def test_scrapes_during_wrk_add_up(options):
    with Watched(options) as bed:
        wrk = bed.start("wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", "3s", bed.url("/hello"))
        samples = bed.scrape()
        while wrk.alive():
            later = bed.scrape()
            assert_grown(samples, later)
            samples = later
        assert wrk.wait() == 0, wrk.tail()
        answered = int(re.search(r"(\d+) requests in", wrk.text())[1])
        # Connections that wrk resets have left before the last look.
        until(lambda: total(bed.scrape(), "penstock_connections", state="open") == 0, "the end of wrk's connections")
        samples = bed.scrape()
        counted = total(samples, REQUESTS, listener="*:80", route="/hello", method="GET", **{"class": "2xx"})
        # What wrk did not wait for at its end: one request for each connection at most.
        assert answered <= counted <= answered + CONNECTIONS, f"wrk {answered}, gateway {counted}"
        assert counted == total(samples, REQUESTS) == total(samples, "penstock_http_request_heads_total")
        assert counted == total(samples, "penstock_http_request_duration_seconds_count")
        accepted = total(samples, "penstock_connections_accepted_total")
        assert CONNECTIONS <= accepted == total(samples, "penstock_connections_closed_total"), samples
        assert total(samples, "penstock_worker_busy_seconds_total") > 0
        assert total(samples, "penstock_port_rx_packets_total") >= total(samples, "penstock_rx_frames_total") > counted
        assert total(samples, "penstock_mempool_frames") >= total(samples, "penstock_mempool_used_frames") > 0
        bed.stop()


def test_every_outcome_has_its_labels(options):
    expected = [
        (b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", "/hello", "GET", "2xx"),
        (b"HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n", "/hello", "HEAD", "2xx"),
        (b"BREW /hello HTTP/1.1\r\nHost: a\r\n\r\n", "/hello", "other", "2xx"),
        (b"POST /only-get HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "none", "POST", "4xx"),
        (b"GET /nonesuch HTTP/1.1\r\nHost: a\r\n\r\n", "none", "GET", "4xx"),
        (b"GET / HTTP/1.1\r\n\r\n", "none", "none", "4xx"),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", "none", "none", "5xx"),
    ]
    with Watched(options) as bed:
        for request, *_ in expected:
            with bed.connect() as connection:
                connection.send(request)
                connection.response(method="HEAD" if request.startswith(b"HEAD") else "GET")
        samples = bed.scrape()
        for _, route, method, status_class in expected:
            labels = {"route": route, "method": method, "class": status_class}
            assert total(samples, REQUESTS, **labels) == 1, labels
        assert total(samples, REQUESTS) == len(expected)
        assert total(samples, "penstock_http_rejected_total", reason="malformed") == 1


def test_connections_by_state(options):
    def states(bed):
        samples = bed.scrape()
        return [total(samples, "penstock_connections", state=state) for state in ("open", "closing", "time_wait")]

    with Watched(options) as bed, bed.connect() as kept:
        assert kept.get().status == 200
        with bed.connect() as closed:
            assert closed.get("/hello", "Connection: close").status == 200
            closed.wait_closed()
            until(lambda: states(bed) == [1, 1, 0], "one open, one that waits for the client's FIN")
        until(lambda: states(bed) == [1, 0, 1], "the second one in TIME-WAIT")
        kept.close()
        until(lambda: states(bed) == [0, 0, 1], "no connection")
        bed.stop()


def test_a_request_in_pieces_takes_time(options):
    with Watched(options) as bed, bed.connect() as connection:
        connection.send_pieces([b"GET /hello HTTP/1.1\r\n", b"Host: a\r\n", b"\r\n"])
        assert connection.response().status == 200
        samples = bed.scrape()
        assert total(samples, "penstock_http_request_duration_seconds_count") == 1
        assert total(samples, "penstock_http_request_duration_seconds_sum") > 0


def test_ready_until_it_drains(options):
    large = 20 * gateway_config.MEGABYTE
    with Watched(options, ROUTES + gateway_config.file_routes(large)) as bed:
        assert bed.get("/readyz") == (200, "ready\n")
        assert bed.get("/livez") == (200, "live\n")
        status, text = bed.get("/readyz?verbose")
        assert status == 200 and json.loads(text)["ready"] is True, text
        with bed.connect(receive_buffer=4096) as connection:
            connection.send(f"GET /files/{large} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert connection.receive(100)
            bed.gateway.signal(signal.SIGTERM)
            until(lambda: bed.get("/readyz") == (503, "not ready: it is draining\n"), "not ready")
            assert bed.get("/livez") == (200, "live\n")
        assert bed.gateway.wait() == 0, bed.gateway.tail()


def test_ready_while_the_link_is_up(options):
    with Watched(options.with_(kind="af_packet")) as bed:
        name = bed.network.client
        until(lambda: bed.get("/readyz")[0] == 200, "ready")
        bed.network.ip("link", "set", name, "down")
        until(lambda: bed.get("/readyz")[0] == 503, "not ready without a link")
        assert "is down" in bed.get("/readyz")[1]
        assert bed.get("/livez")[0] == 200
        bed.network.ip("link", "set", name, "up")
        until(lambda: bed.get("/readyz")[0] == 200, "ready again")


def test_status(options):
    with Watched(options) as bed:
        bed.assert_serves()
        done = bed.penstock("status", "--json")
        assert done.returncode == 0, done.stderr
        status = json.loads(done.stdout)
        assert (status["pid"], status["phase"], status["ready"]) == (bed.pid(), "serving", True), status
        assert sum(entry["count"] for entry in status["requests"]) == 2
        table = bed.penstock("status")
        assert table.returncode == 0 and "serving, ready" in table.stdout, table
        assert status["config_hash"] in bed.get("/metrics")[1]
        assert_off_worker_cpus(bed, {worker["cpu"] for worker in status["workers"]})
        bed.stop()


def assert_off_worker_cpus(bed, worker_cpus):
    """The control threads may run where no worker does, unless there is no such CPU."""
    allowed = {}
    for task in pathlib.Path(f"/proc/{bed.pid()}/task").iterdir():
        text = (task / "status").read_text()
        cpus = re.search(r"Cpus_allowed_list:\s*(\S+)", text)[1]
        allowed[(task / "comm").read_text().strip()] = cpus
    assert allowed["penstock-admin"] == allowed["penstock-signal"] == allowed["penstock-log"], allowed
    assert not {str(cpu) for cpu in worker_cpus} & set(re.split("[,-]", allowed["penstock-admin"])), allowed


def test_status_without_a_gateway(options):
    options.need_gateway()
    for command in ("status", "top"):
        done = subprocess.run([options.binary, command, "--socket", "/nonexistent.sock"], capture_output=True, text=True)
        assert done.returncode == 1 and "fix: " in done.stderr and "penstock run" in done.stderr, done


def test_top_prints_lines_when_not_on_a_terminal(options):
    with Watched(options) as bed:
        done = bed.penstock("top", "--interval", "100ms", "--count", "2")
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert len(lines) == 2 and all(re.search(r"^\d\d:\d\d:\d\d ready requests/s \d+ ", line) for line in lines), lines
        assert "\x1b" not in done.stdout


def test_top_ends_with_the_gateway(options):
    with Watched(options) as bed:
        top = bed.start(options.binary, "top", "--interval", "100ms", "--socket", str(bed.pid()))
        until(lambda: top.lines, "a line of top")
        bed.stop()
        assert top.wait() == 0 and top.lines[-1] == f"gateway {bed.pid()} ended", top.tail()


def test_metrics_address_in_use(options):
    with Watched(options.with_(kind="af_packet")) as bed:
        bed.stop()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", bed.port))
            taken.listen()
            assert_ends(bed, 5)


def test_the_socket_ends_with_the_gateway_and_a_killed_ones_is_replaced(options):
    with Watched(options) as bed:
        left = pathlib.Path(re.search(r" admin: (\S+)$", bed.gateway.text(), re.MULTILINE)[1])
        assert left.is_socket() and left.stat().st_mode & 0o077 == 0
        bed.gateway.kill()
        assert left.exists()
    with Watched(options) as bed:
        assert not left.exists(), "the next gateway removes it"
        own = pathlib.Path(re.search(r" admin: (\S+)$", bed.gateway.text(), re.MULTILINE)[1])
        bed.stop()
        assert not own.exists()
