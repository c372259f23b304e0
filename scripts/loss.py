"""Penstock and the Linux kernel's TCP on the same impaired wire: `scripts/bench.sh loss`.

Owns the network, the impairments, the servers' configurations, the order of runs, the client, what is measured, and clean-up.
Refuses to install and to build: bench.sh does. Needs root.

Three namespaces: the server's, the client's, and between them the wire's, in which `impair` (benches/impair) carries frames
from one veth to the other. The client always is the Linux kernel's TCP; the server is Penstock, or nginx on the Linux
kernel's TCP. One server runs at a time, on the last CPU this process may use; wire and client share the CPU before it.
"""

import argparse
import collections
import contextlib
import hashlib
import heapq
import json
import os
import pathlib
import resource
import select
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import peers
from peers import Cpus, Failed, ksoftirqd, sh, until

SERVER, CLIENT, PORT = "10.98.1.2", "10.98.1.1", 80
ENDS = (("server", "peer0"), ("wire", "wire0"), ("wire", "wire1"), ("client", "peer1"))
OFFLOADS = ("tso", "gso", "gro", "tx", "rx")
SMALL_BODY = "x" * 100
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20}
# A run in which steal, or other programs, had more of the two CPUs than this is noisy.
NOISE_MAX = peers.NOISE_MAX
# A small request that took longer met a timer: four round trips of the default wire and what its processes take.
SLOW_S = 0.1
# How long the small requests that are under way at the end are waited for.
LINGER_S = 10
CONTENDERS = ("penstock", "penstock-default", "linux-cubic", "linux-reno", "linux-bbr")

PENSTOCK = """[port]
device = "net_af_packet0,iface=peer0,qdisc_bypass=1"
address = ["{server}/24"]

[workers]
count = 1
connections = 1024

[tcp]
tx_ring = "{tx_ring}"

[metrics]
address = "off"

[admin]
socket = "{folder}/admin.sock"

[[listener]]
port = {port}

[[route]]
exact = "/small"
respond = {{ body = "{small}" }}
"""
PENSTOCK_FILE = """
[[route]]
exact = "/{name}"
respond = {{ file = "{files}/{name}" }}
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
    sendfile on;
    keepalive_requests 1000000000;
    server {{
        listen {server}:{port} backlog=4096;
        root {files};
        location = /small {{ return 200 "{small}"; }}
    }}
}}
"""


def size(text):
    """Bytes of `1MiB` and the like."""
    for unit, bytes_ in UNITS.items():
        if text.endswith(unit) and text[:-len(unit)].isdecimal():
            return int(text[:-len(unit)]) * bytes_
    raise argparse.ArgumentTypeError(f"{text} is no size such as 64KiB or 1MiB")


class Network:
    """Three namespaces and two veths. Closing it removes everything."""

    def __init__(self, stack):
        self.server, self.wire, self.client = (f"loss{side}{os.getpid()}" for side in "swc")
        for name in (self.server, self.wire, self.client):
            sh("ip", "netns", "add", name)
            stack.callback(subprocess.run, ["ip", "netns", "delete", name], stderr=subprocess.DEVNULL)
            sh("ip", "-n", name, "link", "set", "lo", "up")
        for side, peer, end in ((self.server, "peer0", "wire0"), (self.client, "peer1", "wire1")):
            sh("ip", "-n", side, "link", "add", peer, "type", "veth", "peer", "name", end, "netns", self.wire)
        off = [word for offload in OFFLOADS for word in (offload, "off")]
        for side, end in ENDS:
            name = getattr(self, side)
            sh("ip", "netns", "exec", name, "sh", "-ec", f"echo 1 >/proc/sys/net/ipv6/conf/{end}/disable_ipv6")
            sh("ip", "netns", "exec", name, "ethtool", "-K", end, *off)
            sh("ip", "-n", name, "link", "set", end, "up")
        for name in (self.server, self.client):
            # What the kernel remembers of a destination would let one run decide the next.
            sh("ip", "netns", "exec", name, "sh", "-ec", "echo 1 >/proc/sys/net/ipv4/tcp_no_metrics_save")
        sh("ip", "-n", self.client, "addr", "add", f"{CLIENT}/24", "dev", "peer1")

    def serve_by(self, contender):
        """Gives the server's end to DPDK, silent in the kernel, or to the kernel."""
        sh("ip", "-n", self.server, "addr", "flush", "dev", "peer0")
        if contender.startswith("linux-"):
            sh("ip", "-n", self.server, "addr", "add", f"{SERVER}/24", "dev", "peer0")
        sh("ip", "-n", self.server, "neigh", "flush", "dev", "peer0")
        sh("ip", "-n", self.client, "neigh", "flush", "dev", "peer1")


class Impaired:
    """The running wire. Its counts are in `tally` once it has ended."""

    def __init__(self, stack, network, cpus, options, loss, seed):
        flags = {"loss": loss, "delay": options.delay, "reorder": options.reorder if loss else 0.0}
        flags |= {"reorder-by": options.reorder_by, "rate": options.rate, "queue": options.queue, "seed": seed}
        argv = ["ip", "netns", "exec", network.wire, *cpus.pin("client"), options.impair, "--a", "wire0", "--b", "wire1"]
        argv += [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        self.child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.tally = None
        stack.callback(self.stop)
        if self.child.stdout.readline().strip() != "ready":
            raise Failed(f"the impaired wire ended at start: {self.child.stderr.read().strip()}")

    def stop(self):
        if self.tally is None:
            self.child.terminate()
            out, err = self.child.communicate(timeout=20)
            if self.child.returncode != 0:
                raise Failed(f"the impaired wire failed: {err.strip()}")
            self.tally = json.loads(out)


class Origin(peers.Server):
    """A running server, which has the files that are asked for."""

    def __init__(self, stack, network, cpus, options, contender, files):
        self.name = "penstock" if contender.startswith("penstock") else "nginx"
        self.folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loss-")))
        values = {"server": SERVER, "port": PORT, "folder": self.folder, "files": files.folder, "small": SMALL_BODY}
        values["tx_ring"] = options.tx_ring if contender == "penstock" else "8KiB"
        text = (PENSTOCK if self.name == "penstock" else NGINX).format(**values)
        if self.name == "penstock":
            text += "".join(PENSTOCK_FILE.format(name=name, **values) for name in files.sizes)
        config = self.folder / "config"
        config.write_text(text)
        argv = {
            "penstock": [options.binary, "run", "--log-format", "text", "-c", str(config)],
            "nginx": [sys.executable, "-B", __file__, "--listen", contender.removeprefix("linux-"), "nginx", "-c", str(config), "-e", str(self.folder / "nginx.err")],
        }[self.name]
        self.start(stack, network, cpus, argv, f"{SERVER}:{PORT}")


class Files:
    """Random bodies by name."""

    def __init__(self, stack, names):
        # Others' workers may read them.
        self.folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loss-files-")))
        self.folder.chmod(0o755)
        self.sizes = {name: size(name) for name in names}
        for name, length in self.sizes.items():
            (self.folder / name).write_bytes(os.urandom(length))

    def sha256(self, name, length):
        """Of the first bytes of a body."""
        digest = hashlib.sha256()
        with open(self.folder / name, "rb") as body:
            while length > 0 and (part := body.read(min(length, 1 << 20))):
                digest.update(part)
                length -= len(part)
        return digest.hexdigest()


def fetch(path, seconds):
    """The client of a body: asks for it on a new connection and reads for `seconds` at most."""
    begun, digest, length, got, buffer = time.monotonic(), hashlib.sha256(), None, 0, bytearray(1 << 18)
    with socket.create_connection((SERVER, PORT), timeout=seconds) as tcp:
        tcp.sendall(f"GET /{path} HTTP/1.1\r\nHost: loss\r\nConnection: close\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            part = tcp.recv(4096)
            if not part:
                raise Failed(f"the connection ended in the head: {head!r}")
            head += part
        head, _, rest = head.partition(b"\r\n\r\n")
        fields = head.decode().lower().split("\r\n")
        if " 200 " not in fields[0]:
            raise Failed(f"not 200: {fields[0]}")
        length = next(int(field.split(":")[1]) for field in fields if field.startswith("content-length:"))
        digest.update(rest)
        got = len(rest)
        while got < length and (left := begun + seconds - time.monotonic()) > 0:
            tcp.settimeout(left)
            try:
                n = tcp.recv_into(buffer)
            except TimeoutError:
                break
            if n == 0:
                raise Failed(f"the connection ended after {got} of {length} bytes")
            digest.update(memoryview(buffer)[:n])
            got += n
        return {"bytes": got, "of": length, "seconds": time.monotonic() - begun, "sha256": digest.hexdigest()}


class Asker:
    """One kept connection of `small`."""

    def __init__(self):
        self.tcp = socket.socket()
        self.tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tcp.setblocking(False)
        self.tcp.connect_ex((SERVER, PORT))
        self.due, self.received, self.wanted = collections.deque(), b"", None

    def ask(self):
        self.tcp.send(b"GET /small HTTP/1.1\r\nHost: loss\r\n\r\n")

    def answered(self):
        """Reads; whether an answer is complete."""
        part = self.tcp.recv(65536)
        if not part:
            raise Failed("the server closed a kept connection")
        self.received += part
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end or len(body) < len(SMALL_BODY):
            return False
        if b" 200 " not in head.split(b"\r\n")[0] or body != SMALL_BODY.encode():
            raise Failed(f"a wrong answer: {self.received!r}")
        self.received = b""
        return True


def small(connections, rate, seconds):
    """The client of small requests: an open loop on kept connections; times count from when a request was due."""
    askers = [Asker() for _ in range(connections)]
    chooser = selectors.DefaultSelector()
    for asker in askers:
        # All handshakes are under way by now: a lost SYN costs a second, once.
        if not select.select([], [asker.tcp], [], LINGER_S)[1]:
            raise Failed(f"no connection within {LINGER_S} s")
        if error := asker.tcp.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise Failed(f"connecting: {os.strerror(error)}")
        chooser.register(asker.tcp, selectors.EVENT_READ, asker)
    begun = time.monotonic()
    gap = connections / rate
    agenda = [(begun + gap * i / connections, i) for i in range(connections)]
    heapq.heapify(agenda)
    latencies, under_way, end = [], 0, begun + seconds
    while agenda or (under_way and time.monotonic() < end + LINGER_S):
        now = time.monotonic()
        while agenda and agenda[0][0] <= now:
            at, i = heapq.heappop(agenda)
            if at + gap < end:
                heapq.heappush(agenda, (at + gap, i))
            asker = askers[i]
            asker.due.append(at)
            under_way += 1
            if len(asker.due) == 1:
                asker.ask()
        wait = max(0.0, agenda[0][0] - now) if agenda else 0.5
        for key, _ in chooser.select(wait):
            asker = key.data
            if asker.answered():
                latencies.append(time.monotonic() - asker.due.popleft())
                under_way -= 1
                if asker.due:
                    asker.ask()
    return {"latencies": latencies, "unanswered": under_way}


def client(network, cpus, seconds, *argv):
    """Runs this file as a client to its end."""
    argv = ["ip", "netns", "exec", network.client, *cpus.pin("client"), sys.executable, "-B", __file__, *map(str, argv)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode != 0:
        raise Failed(f"{' '.join(argv[6:])}: {done.stderr.strip() or done.stdout.strip()}")
    return json.loads(done.stdout)


class Noise:
    """Steal, and CPU time of programs that are not ours, as shares of the two CPUs since it was made."""

    def __init__(self, server, wire, cpus):
        self.parts = (server, wire, cpus)
        self.before = self.read()

    def read(self):
        server, wire, cpus = self.parts
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = server.process_s() + spent.ru_utime + spent.ru_stime
        ours += peers.cpu_s(pathlib.Path(f"/proc/{wire.child.pid}/stat").read_text())
        ours += sum(ksoftirqd(cpu) for cpu in (cpus.server, cpus.client))
        used, steal, _ = cpus.times()
        return time.monotonic(), used - ours, steal

    def shares(self):
        at, others, steal = (now - then for now, then in zip(self.read(), self.before))
        return {"steal": steal / (2 * at), "others": max(0.0, others / (2 * at))}


def measure(options, network, cpus, files, contender, loss, number):
    """One run: fresh server and wire, each body once, then the small requests."""
    network.serve_by(contender)
    run = {"contender": contender, "loss": loss, "run": number, "bodies": {}, "errors": []}
    with contextlib.ExitStack() as stack:
        wire = Impaired(stack, network, cpus, options, loss, options.seed + number)
        server = Origin(stack, network, cpus, options, contender, files)
        noise = Noise(server, wire, cpus)
        for name in files.sizes:
            if files.sizes[name] > options.bulk_from and number > options.bulk_runs:
                continue
            got = client(network, cpus, options.seconds, "--fetch", name, options.seconds)
            right = got["sha256"] == files.sha256(name, got["bytes"])
            run["bodies"][name] = {key: got[key] for key in ("bytes", "of", "seconds")} | {"right": right}
            if not right:
                run["errors"].append(f"{name}: SHA-256 differs in the first {got['bytes']} bytes")
        if options.small_seconds:
            got = client(network, cpus, options.small_seconds + LINGER_S, "--small", options.connections,
                         options.requests, options.small_seconds)
            run["latencies"] = got["latencies"]
            if got["unanswered"]:
                run["errors"].append(f"{got['unanswered']} small requests unanswered after {LINGER_S} s")
        run |= noise.shares()
        wire.stop()
    run["wire"] = wire.tally
    missed = sum(way["missed"] + way["other_end_unsent"] for way in wire.tally["directions"])
    carried = sum(way["received"] for way in wire.tally["directions"])
    # The wire itself must lose nothing it was not told to lose.
    if missed * 1000 > carried:
        run["errors"].append(f"the wire missed {missed} of {carried} frames")
    noisy = max(run["steal"], run["others"]) > NOISE_MAX
    return run | {"verdict": "INVALID" if run["errors"] else "NOISY" if noisy else "VALID"}


def goodput(body):
    """MB/s."""
    return body["bytes"] / body["seconds"] / 1e6


def show(run):
    cells = []
    for name, body in run["bodies"].items():
        part = "" if body["bytes"] == body["of"] else f" ({body['bytes'] / body['of']:.0%} in the time)"
        cells.append(f"{name} {goodput(body):.2f} MB/s{part}, SHA-256 {'right' if body['right'] else 'WRONG'}")
    if "latencies" in run:
        at = [percentile(run["latencies"], q) * 1e3 for q in (50, 99, 99.9)]
        cells.append("small p50/p99/p99.9 " + "/".join(f"{ms:.1f}" for ms in at) + f" ms of {len(run['latencies'])}")
    ways = run["wire"]["directions"]
    lost, frames = sum(way["lost"] for way in ways), sum(way["received"] for way in ways)
    held, full = sum(way["reordered"] for way in ways), sum(way["queue_full"] for way in ways)
    cells.append(f"wire: seed {run['wire']['seed']}, {frames} frames, {lost} lost, {held} held back, {full} over the queue")
    cells.append(f"steal {run['steal']:.1%}, other programs {run['others']:.1%}")
    why = f" ({'; '.join(run['errors'])})" if run["errors"] else ""
    what = "; ".join(cells)
    print(f"loss {run['loss']:g} %, run {run['run']}, {run['contender']}: {what}: {run['verdict']}{why}", flush=True)


def percentile(values, q):
    """The value at or below which q percent are; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * q / 100))] if ordered else 0.0


def spread(values, digits=2):
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}-{max(values):.{digits}f}]"


def summary(options, runs, files):
    """Tables of medians with ranges, and each contender's ratio to the Linux kernel's TCP."""
    base = next((name for name in options.servers if name.startswith("linux-")), None)
    for name in files.sizes:
        print(f"\n{name}: goodput in MB/s, median [range]; ratio to {base}\n")
        print(f"| loss | {' | '.join(options.servers)} |\n|{'---|' * (len(options.servers) + 1)}")
        for loss in options.loss:
            rates = {who: [goodput(run["bodies"][name]) for run in runs
                           if (run["contender"], run["loss"]) == (who, loss) and name in run["bodies"]]
                     for who in options.servers}
            cells = []
            for who, values in rates.items():
                ratio = f"; {statistics.median(values) / statistics.median(rates[base]):.2f}" if base and who != base else ""
                cells.append(f"{spread(values)}{ratio} (n={len(values)})" if values else "-")
            print(f"| {loss:g} % | {' | '.join(cells)} |")
    if options.small_seconds:
        print(f"\nsmall requests, {options.requests}/s on {options.connections} kept connections: ms from the intended start,")
        print("of all runs together; in brackets the range of the runs\n")
        print("| loss | server | p50 | p99 | p99.9 | over 100 ms | mean | requests |\n|---|---|---|---|---|---|---|---|")
        for loss in options.loss:
            for who in options.servers:
                of = [run["latencies"] for run in runs if (run["contender"], run["loss"]) == (who, loss)]
                pooled, cells = [value for each in of for value in each], []
                for q in (50, 99, 99.9):
                    each = [percentile(values, q) * 1e3 for values in of]
                    cells.append(f"{percentile(pooled, q) * 1e3:.1f} [{min(each):.1f}-{max(each):.1f}]")
                slow = sum(value > SLOW_S for value in pooled) / max(1, len(pooled))
                cells += [f"{slow:.2%}", f"{statistics.fmean(pooled or [0.0]) * 1e3:.1f}", str(len(pooled))]
                print(f"| {loss:g} % | {who} | {' | '.join(cells)} |")
    right = sum(body["right"] for run in runs for body in run["bodies"].values())
    print(f"\nSHA-256: {right} of {sum(len(run['bodies']) for run in runs)} transfers right")
    bad = sum(run["verdict"] != "VALID" for run in runs)
    broken = sum(bool(run["errors"]) for run in runs)
    verdict = "INVALID" if broken or bad * 2 > len(runs) else "VALID"
    print(f"verdict: {verdict}: of {len(runs)} runs {broken} with errors, {bad - broken} with steal or other programs over "
          f"{NOISE_MAX:.0%}")
    return verdict == "VALID"


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh loss", description="Penstock beside Linux on an impaired wire")
    parser.add_argument("--runs", type=int, default=5, help="runs of each server and loss rate (5)")
    parser.add_argument("--loss", default="0,0.1,1,5", help="loss in percent, in each direction (0,0.1,1,5)")
    parser.add_argument("--servers", default=",".join(CONTENDERS[:4]), help="a list of " + ", ".join(CONTENDERS))
    parser.add_argument("--bodies", default="1MiB,100MiB", help="sizes of bodies (1MiB,100MiB)")
    parser.add_argument("--seconds", type=float, default=8, help="a transfer is cut short after this long (8)")
    parser.add_argument("--bulk-runs", type=int, default=2, help="runs of bodies over 16 MiB (2)")
    parser.add_argument("--small-seconds", type=int, default=6, help="small requests for this long in a run; 0: none (6)")
    parser.add_argument("--requests", type=int, default=600, help="small requests a second (600)")
    parser.add_argument("--connections", type=int, default=60, help="connections they use (60)")
    parser.add_argument("--delay", type=float, default=5.0, help="ms in each direction (5)")
    parser.add_argument("--reorder", type=float, default=1.0, help="percent of frames held back, but none without loss (1)")
    parser.add_argument("--reorder-by", type=float, default=1.0, help="ms they are held back at most (1)")
    parser.add_argument("--rate", type=float, default=200.0, help="megabits per second of the wire (200)")
    parser.add_argument("--queue", type=int, default=1000, help="frames on the way in one direction at most (1000)")
    parser.add_argument("--tx-ring", default="32KiB", help="tcp.tx_ring of `penstock`; `penstock-default` has 8KiB (32KiB)")
    parser.add_argument("--seed", type=int, default=1, help="of the wire; each run adds its number (1)")
    parser.add_argument("--json", type=argparse.FileType("w"), help="one JSON line for each run")
    parser.add_argument("--binary", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--impair", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.servers = options.servers.split(",")
    options.bulk_from = 16 << 20
    try:
        options.loss = [float(loss) for loss in options.loss.split(",")]
        options.bodies = [name for name in options.bodies.split(",") if name]
        any(size(name) for name in options.bodies)
    except (ValueError, argparse.ArgumentTypeError) as wrong:
        parser.error(str(wrong))
    if unknown := [name for name in options.servers if name not in CONTENDERS]:
        parser.error(f"no server is called {unknown[0]}: choose from {', '.join(CONTENDERS)}")
    available = pathlib.Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
    controls = [name.removeprefix("linux-") for name in options.servers if name.startswith("linux-")]
    if missing := [name for name in controls if name not in available]:
        parser.error(f"this kernel has no {missing[0]}: `modprobe tcp_{missing[0]}`, or choose other --servers")
    if options.runs < 1:
        parser.error("--runs is 1 or more")
    return options


def listen(control, argv):
    """Becomes nginx, with a listening socket of this congestion control; its connections inherit it. The sysctl would take
    what the machine allows in namespaces only."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, control.encode())
    listener.bind((SERVER, PORT))
    listener.listen(4096)
    listener.set_inheritable(True)
    os.execvpe(argv[0], argv, os.environ | {"NGINX": f"{listener.fileno()};"})


def inside(argv):
    """A process of a namespace: nginx's beginning, or the measuring side."""
    try:
        if argv[0] == "--listen":
            listen(argv[1], argv[2:])
        if argv[0] == "--fetch":
            return print(json.dumps(fetch(argv[1], float(argv[2]))))
        return print(json.dumps(small(int(argv[1]), float(argv[2]), float(argv[3]))))
    except (Failed, OSError) as failed:
        sys.exit(str(failed))


def main():
    if sys.argv[1:2] in (["--fetch"], ["--small"], ["--listen"]):
        return inside(sys.argv[1:])
    options = arguments()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _: sys.exit(128 + caught))
    runs = []
    try:
        with contextlib.ExitStack() as stack:
            cpus, network, files = Cpus(), Network(stack), Files(stack, options.bodies)
            for number in range(1, options.runs + 1):
                for loss in options.loss:
                    turn = number % len(options.servers)
                    for contender in options.servers[turn:] + options.servers[:turn]:
                        runs.append(measure(options, network, cpus, files, contender, loss, number))
                        show(runs[-1])
                        if options.json:
                            print(json.dumps(runs[-1]), file=options.json, flush=True)
            valid = summary(options, runs, files)
    except Failed as failed:
        sys.exit(f"error: {failed}")
    sys.exit(0 if valid else 1)


if __name__ == "__main__":
    main()
