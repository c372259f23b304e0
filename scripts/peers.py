"""Penstock, nginx and HAProxy behind the same veth, asked by the same client: `scripts/bench.sh peers`.

Owns the network, the servers' configurations, the order of runs, what is measured, and clean-up. Refuses to install and to
build: bench.sh does. Needs root.

One server runs at a time, with one worker, on the last CPU this process may use; the client has the CPU before it. Both
ends of the veth steer received packets (RPS) to the CPU of their own side, so that each side's network stack runs on its
own CPU: without that, a veth does the receiver's work on the sender's CPU.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, astuple, dataclass

SERVER, CLIENT, PORT, BODY = "10.99.1.2", "10.99.1.1", 80, "hello"
URL = f"http://{SERVER}/"
CASES = ("keep-alive", "connection per request")
SERVERS = ("penstock", "nginx", "haproxy")
CONNECTIONS = 100
# Steal, or other programs, that took more than this share of the two CPUs spoil a run.
NOISE_MAX = 0.10
PATIENCE_S = 60
TICK = os.sysconf("SC_CLK_TCK")
UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}

PENSTOCK = """[port]
device = "net_af_packet0,iface={interface},qdisc_bypass=1"
address = ["{server}/24"]

[workers]
count = 1

[metrics]
address = "off"

[admin]
socket = "{folder}/admin.sock"

[[listener]]
port = {port}

[[route]]
path = "/"
respond = {{ body = "{body}", headers = {{ Content-Type = "text/plain" }} }}
"""
NGINX = """daemon off;
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.err;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    server_tokens off;
    keepalive_requests 1000000000;
    server {{
        listen {server}:{port} backlog=4096;
        default_type text/plain;
        location / {{ return 200 "{body}"; }}
    }}
}}
"""
HAPROXY = """global
    nbthread 1
    maxconn 8192
defaults
    mode http
    option http-keep-alive
    timeout client 60s
    timeout http-request 60s
    timeout http-keep-alive 60s
frontend bench
    bind {server}:{port} backlog 4096
    http-request return status 200 content-type "text/plain" string "{body}"
"""


@dataclass
class Answer:
    """What a client says of a run."""

    requests: int
    per_s: float
    p50_us: float
    p99_us: float
    errors: list


class Failed(Exception):
    """What went wrong, in words for the user."""


def sh(*argv):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_S)
    if done.returncode != 0:
        raise Failed(f"{' '.join(argv)}: exit {done.returncode}: {done.stdout.strip()}")
    return done.stdout


def until(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"not within {PATIENCE_S} s: {what}")
        time.sleep(0.05)


class Link:
    """A veth between two new namespaces. Closing it removes everything."""

    def __init__(self, stack, cpus):
        self.server, self.client = (f"peers{side}{os.getpid()}" for side in "sc")
        for name in (self.server, self.client):
            sh("ip", "netns", "add", name)
            stack.callback(subprocess.run, ["ip", "netns", "delete", name], stderr=subprocess.DEVNULL)
            sh("ip", "-n", name, "link", "set", "lo", "up")
        sh("ip", "-n", self.server, "link", "add", "peer0", "type", "veth", "peer", "name", "peer1", "netns", self.client)
        for name, end, cpu in ((self.server, "peer0", cpus.server), (self.client, "peer1", cpus.client)):
            steer = f"echo {cpu_mask(cpu)} >/sys/class/net/{end}/queues/rx-0/rps_cpus"
            sh("ip", "netns", "exec", name, "sh", "-ec", f"{steer}; echo 1 >/proc/sys/net/ipv6/conf/{end}/disable_ipv6")
            sh("ip", "-n", name, "link", "set", end, "up")
        ports = "echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range; echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse"
        sh("ip", "netns", "exec", self.client, "sh", "-ec", ports)

    def use(self, side, bypassed, peer_bypassed):
        """Gives an end to DPDK (silent in the kernel) or to the kernel. A sender facing DPDK must finish its checksums."""
        name, end, address = ((self.server, "peer0", SERVER), (self.client, "peer1", CLIENT))[side == "client"]
        sh("ip", "-n", name, "addr", "flush", "dev", end)
        sh("ip", "netns", "exec", name, "ethtool", "-K", end, "tx", "off" if peer_bypassed else "on")
        if not bypassed:
            sh("ip", "-n", name, "addr", "add", f"{address}/24", "dev", end)
        sh("ip", "-n", name, "neigh", "flush", "dev", end)


def cpu_mask(cpu):
    """One CPU as the kernel writes masks: words of 32 bits, the highest first."""
    return ",".join(f"{(1 << cpu) >> shift & 0xFFFFFFFF:x}" for shift in range(cpu // 32 * 32, -1, -32))


class Cpus:
    """The server's CPU and the client's."""

    def __init__(self):
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            raise Failed("one CPU is for the server and one for the client, and this process may use only one")
        self.server, self.client = allowed[-1], allowed[-2]

    def pin(self, side):
        return ["taskset", "-c", str(self.server if side == "server" else self.client)]

    def times(self):
        """Seconds since boot: used and stolen on both CPUs, softirq on the server's."""
        rows = {row[0]: row[1:] for row in map(str.split, pathlib.Path("/proc/stat").read_text().splitlines())}
        both = [[int(field) for field in rows[f"cpu{cpu}"]] for cpu in (self.server, self.client)]
        used = sum(user + nice + system + irq + softirq for user, nice, system, _, _, irq, softirq, *_ in both)
        return used / TICK, sum(row[7] for row in both) / TICK, both[0][6] / TICK


def ksoftirqd(cpu):
    """CPU seconds of this CPU's ksoftirqd."""
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = stat.read_text()
            if f"(ksoftirqd/{cpu})" in text:
                return cpu_s(text)
    return 0.0


def cpu_s(stat):
    """utime + stime of a line of /proc/PID/stat."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


class Server:
    """One running server, by name."""

    def __init__(self, name, stack, link, cpus, binary):
        self.name, self.folder = name, pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-")))
        text = {"penstock": PENSTOCK, "nginx": NGINX, "haproxy": HAPROXY}[name]
        config = self.folder / "config"
        config.write_text(text.format(interface="peer0", server=SERVER, port=PORT, body=BODY, folder=self.folder))
        argv = {
            "penstock": [binary, "run", "--log-format", "text", "-c", str(config)],
            "nginx": ["nginx", "-c", str(config), "-e", str(self.folder / "nginx.err")],
            "haproxy": ["haproxy", "-db", "-f", str(config)],
        }[name]
        self.start(stack, link, cpus, argv, f"{SERVER}:{PORT}")

    def start(self, stack, link, cpus, argv, address):
        """Starts it on its CPU and waits until it listens."""
        log = stack.enter_context(open(self.folder / "log", "w+"))
        argv = ["ip", "netns", "exec", link.server, *cpus.pin("server"), *argv]
        self.child = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        stack.callback(self.stop)
        until(lambda: self.child.poll() is not None or self._ready(link, address), f"{self.name} to be ready")
        if self.child.poll() is not None:
            raise Failed(f"{self.name} ended at start:\n{(self.folder / 'log').read_text()}")

    def _ready(self, link, address):
        if self.name == "penstock":
            return "ready" in (self.folder / "log").read_text()
        return f"{address} " in sh("ip", "netns", "exec", link.server, "ss", "-Hltn")

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGTERM)
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait(20)

    def process_s(self):
        """CPU seconds of the process and its children."""
        stats = {}
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                text = stat.read_text()
                stats[int(stat.parent.name)] = (int(text.rpartition(")")[2].split()[1]), cpu_s(text))

        def ours(pid):
            while pid in stats and pid != self.child.pid:
                pid = stats[pid][0]
            return pid == self.child.pid

        return sum(used for pid, (_, used) in stats.items() if ours(pid))

    def turns_s(self):
        """Penstock's seconds in turns that did something and in others, by the clock: whoever else had the CPU included."""
        if self.name != "penstock":
            return None, None
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(PATIENCE_S)
            admin.connect(str(self.folder / "admin.sock"))
            admin.sendall(b"GET /metrics HTTP/1.1\r\nHost: penstock\r\nConnection: close\r\n\r\n")
            text = b"".join(iter(lambda: admin.recv(65536), b"")).decode()
        found = re.findall(r"^penstock_worker_(busy|idle)_seconds_total\S* (\S+)", text, re.MULTILINE)
        if not found:
            raise Failed("penstock's metrics name no penstock_worker_busy_seconds_total")
        return tuple(sum(float(value) for name, value in found if name == wanted) for wanted in ("busy", "idle"))


def client(link, cpus, seconds, *argv):
    """Runs a client to its end."""
    argv = ["ip", "netns", "exec", link.client, *cpus.pin("client"), *argv]
    return subprocess.run(argv, capture_output=True, text=True, timeout=seconds + PATIENCE_S)


def ask_wrk(link, cpus, case, seconds, _):
    per_request = ["-H", "Connection: close"] if case != CASES[0] else []
    wrk = ["wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s", "--latency", *per_request, URL]
    done = client(link, cpus, seconds, *wrk)
    total, rate = re.search(r"(\d+) requests in", done.stdout), re.search(r"Requests/sec:\s*([\d.]+)", done.stdout)
    found = re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)$", done.stdout, re.MULTILINE)
    at = {name: float(value) * UNITS[unit] for name, value, unit in found}
    if done.returncode != 0 or not total or not rate or len(at) != 2:
        raise Failed(f"wrk: exit {done.returncode}: {done.stdout}{done.stderr}")
    errors = [line.strip() for line in done.stdout.splitlines() if "Socket errors" in line or "Non-2xx" in line]
    return Answer(int(total[1]), float(rate[1]), at["50"], at["99"], errors)


def ask_penstock(link, cpus, case, seconds, binary):
    per_request = ["--new-connections"] if case != CASES[0] else []
    place = ["--device", "net_af_packet0,iface=peer1,qdisc_bypass=1", "--source", f"{CLIENT}/24"]
    how = ["--rate", "max", "--duration", f"{seconds}s", "--connections", str(CONNECTIONS), *per_request]
    done = client(link, cpus, seconds, binary, "load", "run", URL, *place, *how, "--quiet", "--json", "-")
    if not done.stdout.startswith("{"):
        raise Failed(f"penstock load run: exit {done.returncode}: {done.stderr}")
    run = json.loads(done.stdout)
    total = run["total"]
    errors = [f"{total['failed']} requests failed"] if total["failed"] else []
    errors += [reason["what"] for reason in run["verdict"]["reasons"]]
    latency = total["latency"]
    return Answer(total["requests"], total["rate"], latency["p50_ns"] / 1e3, latency["p99_ns"] / 1e3, errors)


ASK = {"wrk": ask_wrk, "penstock": ask_penstock}


@dataclass
class Reading:
    """Clocks in seconds; the difference of two is what a run took."""

    at_s: float
    process_s: float
    busy_s: float | None
    idle_s: float | None
    client_s: float
    used_s: float
    steal_s: float
    softirq_s: float
    ksoftirqd_s: float

    @staticmethod
    def take(server, cpus):
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        daemons = sum(ksoftirqd(cpu) for cpu in (cpus.server, cpus.client))
        clients = spent.ru_utime + spent.ru_stime
        return Reading(time.monotonic(), server.process_s(), *server.turns_s(), clients, *cpus.times(), daemons)

    def since(self, before):
        pairs = zip(astuple(self), astuple(before))
        return Reading(*(None if now is None else now - then for now, then in pairs))


def measure(options, link, cpus, name, case, number):
    """One run: a fresh server, a second of warm-up, the measurement."""
    bypassed, client_bypassed = name == "penstock", options.client == "penstock"
    link.use("server", bypassed, client_bypassed)
    link.use("client", client_bypassed, bypassed)
    with contextlib.ExitStack() as stack:
        server = Server(name, stack, link, cpus, options.binary)
        ask = ASK[options.client]
        ask(link, cpus, case, 1, options.binary)
        before = Reading.take(server, cpus)
        answer = ask(link, cpus, case, options.seconds, options.binary)
        spent = Reading.take(server, cpus).since(before)
    requests = max(1, answer.requests)
    used = spent.process_s if spent.busy_s is None else spent.busy_s
    # The part of its CPU time in which it did something: as busy_s, without the time that other programs took from it.
    scheduled = spent.process_s if spent.busy_s is None else spent.process_s * spent.busy_s / (spent.busy_s + spent.idle_s)
    others = spent.used_s - spent.process_s - spent.client_s - spent.ksoftirqd_s
    run = {"case": case, "server": name, "client": options.client, "run": number, **asdict(answer), **asdict(spent)}
    run |= {"cpu_us_per_request": used * 1e6 / requests, "scheduled_us_per_request": scheduled * 1e6 / requests}
    run |= {"softirq_us_per_request": spent.softirq_s * 1e6 / requests}
    run |= {"steal": spent.steal_s / (2 * spent.at_s), "others": max(0.0, others / (2 * spent.at_s))}
    noisy = max(run["steal"], run["others"]) > NOISE_MAX
    return run | {"verdict": "INVALID" if answer.errors else "NOISY" if noisy else "VALID"}


def show(run):
    why = f" ({'; '.join(run['errors'])})" if run["errors"] else ""
    noise = f"steal {run['steal']:.1%}, other programs {run['others']:.1%}"
    latency = f"p50 {run['p50_us']:.0f} us, p99 {run['p99_us']:.0f} us"
    what = f"{run['case']}, run {run['run']}, {run['server']}: {run['per_s']:.0f}/s, {latency}"
    print(f"{what}, {run['cpu_us_per_request']:.2f} us CPU a request, {noise}: {run['verdict']}{why}", flush=True)


def spread(runs, key, digits):
    values = [run[key] for run in runs]
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}-{max(values):.{digits}f}]"


COLUMNS = (("requests/s", "per_s", 0), ("p50 us", "p50_us", 0), ("p99 us", "p99_us", 0),
           ("CPU us/request", "cpu_us_per_request", 2), ("of it scheduled", "scheduled_us_per_request", 2),
           ("softirq us/request", "softirq_us_per_request", 2))


def summary(runs, servers):
    """Tables of medians with ranges, and Penstock's ratio to each."""
    for case in dict.fromkeys(run["case"] for run in runs):
        mine = {name: [run for run in runs if (run["case"], run["server"]) == (case, name)] for name in servers}
        print(f"\n{case}, {CONNECTIONS} connections: median [range]\n")
        print(f"| server | {' | '.join(name for name, *_ in COLUMNS)} | valid runs |\n|{'---|' * (len(COLUMNS) + 2)}")
        for name, of in mine.items():
            cells = [spread(of, key, digits) for _, key, digits in COLUMNS]
            valid = sum(run["verdict"] == "VALID" for run in of)
            print(f"| {name} | {' | '.join(cells)} | {valid} of {len(of)} |")
        for name in [name for name in servers if "penstock" in servers and name != "penstock"]:
            keys = ("per_s", "cpu_us_per_request", "scheduled_us_per_request")
            rate, cpu, scheduled = (ratio(mine["penstock"], mine[name], key) for key in keys)
            cost = f"{cpu:.2f} times the CPU a request ({scheduled:.2f} of what was scheduled)"
            print(f"penstock to {name}: {rate:.2f} times the requests/s, {cost}")
    bad = sum(run["verdict"] != "VALID" for run in runs)
    verdict = "INVALID" if bad * 2 > len(runs) else "VALID"
    print(f"\nverdict: {verdict}: {bad} of {len(runs)} runs with errors, or steal or other programs over {NOISE_MAX:.0%}")


def ratio(ours, theirs, key):
    return statistics.median(run[key] for run in ours) / statistics.median(run[key] for run in theirs)


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh peers", description="Penstock beside nginx and HAProxy")
    parser.add_argument("--runs", type=int, default=5, help="runs of each server and case (5)")
    parser.add_argument("--seconds", type=int, default=5, help="length of a run (5)")
    parser.add_argument("--client", choices=ASK, default="wrk")
    parser.add_argument("--servers", default=",".join(SERVERS), help="a list of " + ", ".join(SERVERS))
    parser.add_argument("--json", type=argparse.FileType("w"), help="one JSON line for each run")
    parser.add_argument("--binary", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.servers = options.servers.split(",")
    if unknown := [name for name in options.servers if name not in SERVERS]:
        parser.error(f"no server is called {unknown[0]}: choose from {', '.join(SERVERS)}")
    if options.runs < 1 or options.seconds < 1:
        parser.error("--runs and --seconds are 1 or more")
    return options


def main():
    options = arguments()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _: sys.exit(128 + caught))
    runs = []
    try:
        with contextlib.ExitStack() as stack:
            cpus = Cpus()
            link = Link(stack, cpus)
            for number in range(options.runs):
                turn = number % len(options.servers)
                for case in CASES:
                    for name in options.servers[turn:] + options.servers[:turn]:
                        runs.append(measure(options, link, cpus, name, case, number + 1))
                        show(runs[-1])
                        if options.json:
                            print(json.dumps(runs[-1]), file=options.json, flush=True)
    except Failed as failed:
        sys.exit(f"error: {failed}")
    summary(runs, options.servers)


if __name__ == "__main__":
    main()
