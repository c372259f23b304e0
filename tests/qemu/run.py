#!/usr/bin/env python3
"""Several workers end to end: a machine in QEMU with a multi-queue card that has RSS, real peers on this side of it.

usage: tests/qemu/run.py [--binary FILE] [--nic virtio|igb] [--qemu FILE] [--cache FOLDER]

scripts/nic.sh binds the card to vfio-pci behind an emulated IOMMU. Timing means nothing here, all is emulated: a load
run may be INVALID for lateness, but whatever it sent has to be answered. Needs root and Debian's packages (installed if
missing), no KVM; one to four minutes. Leaves nothing but those and the unpacked kernel in the cache folder.
"""

import argparse
import collections
import ipaddress
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "blackbox")]
sys.dont_write_bytecode = True

import machine  # noqa: E402
from gateway_config import HELLO, MEGABYTE, Site, base_routes, digest, file_routes, toml, write_files  # noqa: E402
from load_bed import INVALID, Server  # noqa: E402
from netns import CLIENT_V4, CLIENT_V6, SERVER_V4, SERVER_V6, Skip, closing_stack, inside, sh, unique  # noqa: E402

QUEUES = 4
WORKERS = 2
# Control on the first NUMA node; workers on the second, where the card is.
CPUS = "1,2,3"
CONNECTIONS = 64
# The key that DPDK's drivers for these cards give them when they are told no other: the one of Microsoft's "RSS Hashing
# Types".
KEY = bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")
CARDS = {
    "virtio": "virtio-net-pci,mq=on,rss=on,hash=on,vectors=12,iommu_platform=on,ats=on,disable-legacy=on",
    "igb": "igb",
}


class Link:
    """A namespace with a tap, whose other end is the guest's card."""

    def __init__(self, nic, stack):
        self.namespace = unique("penstock")
        self.queues = QUEUES if nic == "virtio" else 1
        sh("ip", "netns", "add", self.namespace)
        stack.callback(sh, "ip", "netns", "delete", self.namespace)
        several = ["multi_queue"] if self.queues > 1 else []
        for words in (
            ["link", "set", "lo", "up"],
            ["tuntap", "add", "dev", "qtap0", "mode", "tap", *several],
            ["addr", "add", f"{CLIENT_V4}/24", "dev", "qtap0"],
            ["addr", "add", f"{CLIENT_V6}/64", "dev", "qtap0", "nodad"],
            ["link", "set", "qtap0", "up"],
        ):
            sh("ip", "-n", self.namespace, *words)

    def card(self, nic):
        several = f",queues={self.queues}" if self.queues > 1 else ""
        return [
            "-netdev", f"tap,id=n0,ifname=qtap0,script=no,downscript=no,vhost=off{several}",
            "-device", f"{CARDS[nic]},netdev=n0,id=card,mac=02:00:0a:07:00:02,romfile=,bus=rp1",
        ]

    def run(self, *argv, patience_s=machine.PATIENCE_S):
        with inside(self.namespace):
            done = subprocess.run(argv, capture_output=True, text=True, timeout=patience_s, errors="replace")
        assert done.returncode == 0, f"{argv[0]}: exit {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout


class Bed:
    """What the checks share."""

    def __init__(self, guest, link, servers):
        self.guest = guest
        self.link = link
        # Over IPv4 and IPv6.
        self.servers = servers
        self.device = None

    def run(self, command, patience_s=machine.PATIENCE_S):
        """A command that has to succeed in the guest."""
        status, text = self.guest.run(command, patience_s)
        assert status == 0, f"{command}: exit {status}: {text}"
        return text

    def samples(self, pattern):
        """Values of the gateway's samples whose name and labels match, by worker."""
        found = collections.Counter()
        for line in self.run("wget -qO- http://127.0.0.1:9902/metrics").splitlines():
            name, _, value = line.rpartition(" ")
            if not line.startswith("#") and re.search(pattern, name):
                worker = re.search(r'worker="(\d+)"', name)
                found[int(worker[1]) if worker else None] += float(value)
        return dict(found)


# --- the checks, in order ----------------------------------------------------------------------------------------


def check_bind(bed):
    """scripts/nic.sh gives the card to vfio-pci"""
    [bed.device] = re.findall(r"^[0-9a-f]{4}:\S+", bed.run("bash /scripts/nic.sh"), re.MULTILINE)
    bed.run(f"bash /scripts/nic.sh bind {bed.device}")
    row = bed.run(f"bash /scripts/nic.sh | grep {bed.device}").split()
    assert row[1] == "vfio-pci" and row[2] == "1", row
    bed.run(f"sed -i s/DEVICE/{bed.device}/ /etc/*.toml")
    return f"{row[0]} on node {row[2]}"


def check_doctor(bed):
    """doctor finds nothing that keeps it from starting"""
    status, text = bed.guest.run(f"taskset -c {CPUS} penstock doctor -c /etc/gateway.toml")
    assert status == 0, text
    return "; ".join(line.split(None, 1)[1] for line in text.splitlines() if "vfio" in line)


def check_gateway_starts(bed):
    """the gateway serves with two workers on the card's node"""
    command = f"taskset -c {CPUS} penstock run --log-format text -c /etc/gateway.toml"
    bed.run(f"{command} >/tmp/gateway 2>&1 & echo $! >/tmp/pid")
    ended = "{ cat /tmp/gateway; exit 1; }"
    bed.run(f"until grep -q ready /tmp/gateway; do kill -0 $(cat /tmp/pid) && sleep 0.2 || {ended}; done")
    nodes = bed.samples(r'^penstock_worker_info\{.*node="1"')
    assert nodes == {worker: 1 for worker in range(WORKERS)}, bed.run("cat /tmp/gateway")
    return bed.run("grep -o 'port: .*' /tmp/gateway")


def check_gateway_answers(bed):
    """curl gets a megabyte intact, over IPv4 and IPv6"""
    for host in (SERVER_V4, f"[{SERVER_V6}]"):
        curl = f"curl -gsS --max-time {machine.PATIENCE_S} http://{host}/files/{MEGABYTE} | sha256sum"
        assert digest(MEGABYTE) in bed.link.run("sh", "-c", curl), host


def check_gateway_spreads(bed):
    """wrk's connections come to both workers"""
    before = bed.samples("^penstock_http_request_heads_total")
    said = bed.link.run("wrk", "-t1", f"-c{CONNECTIONS}", "-d4s", "--timeout", "30s", f"http://{SERVER_V4}/hello")
    assert "Socket errors" not in said and "Non-2xx" not in said, said
    asked = int(re.search(r"(\d+) requests in", said)[1])
    after = bed.samples("^penstock_http_request_heads_total")
    shares = [after[worker] - before.get(worker, 0) for worker in range(WORKERS)]
    assert sum(shares) >= asked and min(shares) > sum(shares) / 10, (asked, shares)
    damaged = bed.samples(r'^penstock_dropped_frames_total\{.*reason="[a-z_]*(checksum|chain|runt|driver)')
    assert not any(damaged.values()), damaged
    return f"{asked} requests: " + " and ".join(f"{share:.0f}" for share in shares)


def check_gateway_rests(bed):
    """both workers sleep most of the time while nothing comes"""
    states = {state: f"^penstock_worker_{state}_seconds_total" for state in ("asleep", "idle", "busy")}
    before = {state: bed.samples(pattern) for state, pattern in states.items()}
    bed.run("sleep 3")
    spent = {state: bed.samples(pattern) for state, pattern in states.items()}
    for worker in range(WORKERS):
        seconds = {state: spent[state][worker] - before[state][worker] for state in states}
        assert seconds["asleep"] > sum(seconds.values()) / 2, seconds


def check_gateway_follows_the_link(bed):
    """it sees the link go down, and serves when it is up again"""
    for state, said in (("off", "link down"), ("on", "link up")):
        bed.guest.monitor(f"set_link card {state}")
        bed.run(f"until penstock status | grep -q '{said}'; do sleep 0.2; done")
    assert bed.link.run("curl", "-sS", "--max-time", "60", f"http://{SERVER_V4}/hello") == HELLO


def check_gateway_ends(bed):
    """TERM ends it with nothing leaked"""
    bed.run("kill -TERM $(cat /tmp/pid); while kill -0 $(cat /tmp/pid) 2>/dev/null; do sleep 0.1; done")
    text = bed.run("cat /tmp/gateway")
    assert not re.search("panicked|leak", text), text


def check_load_v4(bed):
    """two generators share a schedule on connections that stay, over IPv4"""
    return shared_schedule(bed, bed.servers[0], CLIENT_V4, SERVER_V4)


def check_load_v6(bed):
    """two generators share a schedule on connections that stay, over IPv6"""
    return shared_schedule(bed, bed.servers[1], CLIENT_V6, SERVER_V6)


def shared_schedule(bed, server, remote, local):
    result, ports = load_run(bed, server, remote, f"--connections {CONNECTIONS} --rate 200/s --duration 5s")
    answered = assert_all_answered(result, 1000)
    connections = by_queue(remote, local, dict.fromkeys(ports, 1))
    assert connections == [CONNECTIONS // WORKERS] * WORKERS, connections
    return f"{answered}, by queue {assert_shared(result, by_queue(remote, local, ports))}; {verdict(result)}"


def check_load_new_connections(bed):
    """each of 300 new connections gets its answers at the worker that opened it"""
    flags = f"--connections {CONNECTIONS} --new-connections --rate 60/s --duration 5s"
    result, ports = load_run(bed, bed.servers[0], CLIENT_V4, flags)
    answered = assert_all_answered(result, 300)
    assert set(ports.values()) == {1}, ports
    return f"{answered}, by queue {assert_shared(result, by_queue(CLIENT_V4, SERVER_V4, ports))}; {verdict(result)}"


def load_run(bed, server, target, flags):
    """A run of the generator with two workers: its result and how many requests came from each source port."""
    del server.sources[:]
    command = f"taskset -c {CPUS} penstock load run --plan /etc/load.toml --json /tmp/result.json -q"
    host = f"[{target}]" if ":" in target else target
    status, text = bed.guest.run(f"{command} {flags} http://{host}/", machine.BOOT_PATIENCE_S)
    assert status in (0, INVALID), f"exit {status}: {text}"
    return json.loads(bed.run("cat /tmp/result.json")), collections.Counter(port for _, port in server.sources)


def assert_all_answered(result, wanted):
    """Whatever was sent was answered, and no handshake and no frame was lost, as is what comes to another worker. A
    generator that the emulation keeps from running leaves a part of the schedule unsent, and says so."""
    counts, workers = result["total"]["counts"], result["workers"]
    outcomes = {name: count for name, count in counts["outcomes"].items() if count}
    ok, unsent = outcomes.pop("ok"), outcomes.pop("not_sent", 0)
    assert not outcomes and ok == counts["sent"] and ok + unsent == wanted and ok > wanted / 10, (ok, unsent, outcomes)
    assert counts["connect_failed"] == 0 and counts["closed_idle"] == 0, counts
    lost = [worker[key] for worker in workers for key in ("rx_missed", "rx_dropped", "mempool_exhausted")]
    assert len(workers) == WORKERS and not any(lost), workers
    return f"{ok} of {ok} sent answered"


def assert_shared(result, shares):
    """About half the requests each, unless a generator was kept from sending its own."""
    least = 0.1 if result["total"]["counts"]["outcomes"]["not_sent"] else 0.4
    assert min(shares) > sum(shares) * least, shares
    return " and ".join(map(str, shares))


def by_queue(remote, local, ports):
    """Sums by queue of the card, as this file's own hash of the source ports tells."""
    shares = [0] * WORKERS
    for port, count in ports.items():
        shares[toeplitz(remote, local, 80, port) % WORKERS] += count
    return shares


def toeplitz(remote, local, remote_port, local_port):
    """The card's hash of a frame from `remote`. Its table has the queues in turn, so the lowest bits tell the queue."""
    data = ipaddress.ip_address(remote).packed + ipaddress.ip_address(local).packed
    data = int.from_bytes(data + remote_port.to_bytes(2, "big") + local_port.to_bytes(2, "big"), "big")
    size = 8 * (2 * ipaddress.ip_address(remote).max_prefixlen // 8 + 4)
    key = int.from_bytes(KEY, "big")
    found = 0
    for bit in range(size):
        if data >> (size - 1 - bit) & 1:
            found ^= key >> (8 * len(KEY) - 32 - bit) & 0xFFFF_FFFF
    return found


def verdict(result):
    reasons = "; ".join(reason["what"] for reason in result["verdict"]["reasons"])
    return result["verdict"]["outcome"] + (f" ({reasons})" if reasons else "")


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]


# --- running them ------------------------------------------------------------------------------------------------


def guest_files(folder):
    """Configurations and contents, by their path in the guest."""
    site = Site(
        routes=base_routes() + file_routes(MEGABYTE),
        workers={"count": WORKERS, "hugepages": "require", "connections": 1000},
        metrics={},
    )
    addresses = [f"{SERVER_V4}/24", f"{SERVER_V6}/64"]
    config = toml(site, "/srv", "DEVICE", addresses, "require")
    write_files(site, folder)
    load = f"""[load]
timeout = "60s"
connect_timeout = "60s"

[port]
device = "DEVICE"
address = {json.dumps(addresses)}

[workers]
count = {WORKERS}
hugepages = "require"
"""
    return {"etc/gateway.toml": config, "etc/load.toml": load}, {f"srv/body-{MEGABYTE}": folder / f"body-{MEGABYTE}"}


def boot(arguments, stack):
    if not os.path.exists("/dev/net/tun"):
        raise Skip("no /dev/net/tun: this kernel makes no taps")
    machine.need_packages()
    if not machine.has_card(arguments.qemu, CARDS[arguments.nic].split(",")[0]):
        raise Skip(f"this QEMU has no {arguments.nic}: igb needs 8.0")
    cache = pathlib.Path(arguments.cache)
    cache.mkdir(parents=True, exist_ok=True)
    kernel = machine.kernel(cache)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="penstock-qemu-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    texts, copies = guest_files(folder)
    image = machine.initramfs(folder, kernel, arguments.binary, texts, copies)
    link = Link(arguments.nic, stack)
    console = folder / "console"
    with inside(link.namespace):
        argv = machine.arguments(arguments.qemu, kernel, image, console, link.card(arguments.nic))
        guest = machine.Guest(argv, console)
    stack.callback(guest.close)
    servers = [Server(link, address=address) for address in (CLIENT_V4, CLIENT_V6)]
    for server in servers:
        stack.callback(server.close)
    guest.wait_up()
    return Bed(guest, link, servers)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=str(machine.ROOT / "target/release/penstock"))
    parser.add_argument("--nic", choices=list(CARDS), default="virtio")
    parser.add_argument("--qemu", default="qemu-system-x86_64", help="another program than the package's")
    parser.add_argument("--cache", default="/var/tmp/penstock-qemu", help="where the unpacked kernel is kept")
    return parser.parse_args()


def report(outcome, what, start, detail=""):
    print(f"{outcome:4} {what} ({time.monotonic() - start:.1f} s){f': {detail}' if detail else ''}", flush=True)


def main():
    arguments = parse_arguments()
    if os.geteuid() != 0:
        sys.exit("error: the guest's link is a namespace and a tap\n  fix: run this as root")
    if not os.access(arguments.binary, os.X_OK):
        sys.exit(f"error: no program at {arguments.binary}\n  fix: cargo build --release --features dpdk, or --binary")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    passed, failed, skipped = 0, 0, 0
    with closing_stack() as stack:
        start = time.monotonic()
        try:
            bed = boot(arguments, stack)
        except Skip as reason:
            report("SKIP", "boot", start, reason)
            print(f"0 passed, 0 failed, {len(CHECKS)} skipped")
            return 0
        report("ok", "boot", start)
        for check in CHECKS:
            start = time.monotonic()
            try:
                detail = check(bed)
            except Exception as error:  # noqa: BLE001 - whatever it is, the rest still runs
                failed += 1
                report("FAIL", check.__doc__, start, f"{type(error).__name__}: {error}")
                if check is check_bind or bed.guest.process.poll() is not None:
                    skipped = len(CHECKS) - passed - failed
                    break
            else:
                passed += 1
                report("ok", check.__doc__, start, detail)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
