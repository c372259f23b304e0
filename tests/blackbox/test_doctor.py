"""The doctor on this machine, broken in one place at a time: each break is found by name, with a fix.

Mounts, limits and addresses are changed in namespaces of the test's own. Where the finding is fatal, `penstock run`
refuses to start and says the same.
"""

import contextlib
import glob
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field

import gateway_config
from gateway_config import Site
from netns import PATIENCE_S, SERVER_V4, SERVER_V6, Network, Skip, inside, sh, until
from penstock_bed import RUN, Bed, Process

ROUTES = gateway_config.base_routes()
TAP, AF_PACKET, AF_XDP = "net_tap0,iface={new}", "net_af_packet0,iface={ours}", "net_af_xdp0,iface={ours}"
# What other programs on this machine may cause at any time.
FOREIGN = {"cpu-contended", "cpu-throttled", "cpu-quota", "memory-short", "hugepages-few"}
NO_STEAL = "cpu  1000 0 1000 9000 0 0 0 0 0 0"


@dataclass(frozen=True)
class Break:
    """`prelude` is run by a shell in a mount namespace of its own, with the test's folder as $1."""

    finding: str
    severity: str
    device: str = TAP
    prelude: str = ":"
    wrap: tuple = ()
    workers: dict = field(default_factory=dict)
    exit: int = 4


def fake(path, text):
    """A shell line that puts a file with that text in the place of another."""
    return f'echo "{text}" > $1/fake && mount --bind $1/fake {path}'


def without(*capabilities):
    dropped = ",".join(f"-{name}" for name in capabilities)
    return ("setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}")


EMPTY = "mkdir -p $1/empty && mount --bind $1/empty"
HUGEPAGES = "/sys/kernel/mm/hugepages"
ONE_CPU = ("taskset", "-c", str(min(os.sched_getaffinity(0))))

BREAKS = {
    "device not named": Break("device-none", "fatal", device="", exit=3),
    "interface that does not exist": Break("interface-missing", "fatal", device="net_af_packet0,iface=pgnonesuch"),
    "interface not named": Break("interface-unnamed", "fatal", device="net_af_xdp0"),
    "tap of a taken name": Break("interface-taken", "fatal", device="net_tap0,iface={ours}"),
    "tap of a long name": Break("interface-name", "fatal", device="net_tap0,iface=sixteen-letters-"),
    "interface down": Break("interface-down", "warning", device=AF_PACKET, prelude="ip link set {ours} down"),
    "peer down": Break("interface-no-carrier", "warning", device=AF_PACKET),
    "card that does not exist": Break("nic-missing", "fatal", device="0000:ff:1f.7"),
    "driver misspelt": Break("driver-unknown", "warning", device="net_tapp0"),
    "no /dev/net/tun": Break("tun-missing", "fatal", prelude=f"{EMPTY} /dev/net"),
    "no drivers": Break("pmd-missing", "fatal", prelude=f"{EMPTY} {{pmds}}"),
    "no mempool driver": Break(
        "pmd-missing",
        "fatal",
        prelude="mkdir -p $1/pmds && cp -a {pmds}/. $1/pmds && rm $1/pmds/librte_mempool_ring.* && mount --bind $1/pmds {pmds}",
    ),
    "hugepages required, none reserved": Break(
        "hugepages-none", "fatal", prelude=f"{EMPTY} {HUGEPAGES}", workers={"hugepages": "require"}
    ),
    "hugepages required, few free": Break(
        "hugepages-few",
        "fatal",
        prelude="mkdir -p $1/h/hugepages-2048kB && cd $1/h/hugepages-2048kB && echo 64 > nr_hugepages && echo 3 > "
        f"free_hugepages && mount --bind $1/h {HUGEPAGES}",
        workers={"hugepages": "require"},
    ),
    "more workers than CPUs": Break(
        "workers-too-many", "fatal", wrap=ONE_CPU, workers={"count": 2}, exit=3
    ),
    "tap without net_admin": Break("capability-missing", "fatal", wrap=without("net_admin")),
    "af_packet without net_raw": Break("capability-missing", "fatal", device=AF_PACKET, wrap=without("net_raw")),
    "af_packet without net_admin": Break("capability-missing", "fatal", device=AF_PACKET, wrap=without("net_admin")),
    "af_xdp without sys_admin": Break("capability-missing", "fatal", device=AF_XDP, wrap=without("sys_admin", "bpf")),
    "af_xdp without memlock": Break(
        "memlock-low", "fatal", device=AF_XDP, wrap=("prlimit", "--memlock=65536", *without("ipc_lock"))
    ),
    "no open files to speak of": Break("nofile-low", "fatal", wrap=("prlimit", "--nofile=12")),
    "few open files": Break("nofile-low", "warning", wrap=("prlimit", "--nofile=48")),
    "time stolen": Break("cpu-steal", "warning", prelude=fake("/proc/stat", "cpu 1000 0 1000 9000 0 0 0 900 0 0")),
    "clock source": Break(
        "clocksource",
        "warning",
        prelude=fake("/sys/devices/system/clocksource/clocksource0/current_clocksource", "acpi_pm"),
    ),
    "little memory": Break("memory-short", "warning", prelude=fake("/proc/meminfo", "MemAvailable: 1000 kB")),
    "compaction by transparent hugepages": Break(
        "thp-always", "note", prelude=fake("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never")
    ),
    "one CPU": Break("cpu-shared", "note", wrap=ONE_CPU),
}


class Room:
    """A folder with a configuration, a link for it, and the program under test."""

    def __init__(self, options, device=TAP, workers=None):
        options.need_gateway()
        self.options, self.device = options, device
        self.workers = {"hugepages": "off"} | (workers or {})
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        self.folder = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-doctor-")))
        self.network = Network("af_packet")
        self.stack.callback(self.network.close)
        self.names = {"ours": self.network.ours, "new": self.network.client, "pmds": plugin_folder()}
        self.config = self.folder / "penstock.toml"
        site = Site(routes=ROUTES, workers=self.workers)
        addresses = [f"{SERVER_V4}/24", f"{SERVER_V6}/64"]
        device = self.device.format(**self.names)
        self.config.write_text(gateway_config.toml(site, self.folder, device, addresses, "off"))
        return self

    def __exit__(self, *_):
        self.stack.close()

    def command(self, *arguments, prelude=":", wrap=()):
        for name, value in self.names.items():
            prelude = prelude.replace("{" + name + "}", value)
        if wrap and shutil.which(wrap[0]) is None:
            raise Skip(f"{wrap[0]} is not installed")
        shell = f'({prelude}) && shift && exec "$@"'
        return ["unshare", "-m", "sh", "-c", shell, "sh", str(self.folder), *wrap, self.options.binary, *arguments]

    def examine(self, *arguments, prelude=":", wrap=()):
        """The doctor's exit status and report."""
        argv = self.command("doctor", "--json", *(arguments or ("-c", str(self.config))), prelude=prelude, wrap=wrap)
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S)
        assert done.stdout.startswith("{"), f"exit {done.returncode}, no report: {done.stdout}{done.stderr}"
        report = json.loads(done.stdout)
        assert report["exit"] == done.returncode, f"says {report['exit']}, exits with {done.returncode}"
        return report


def plugin_folder():
    folders = glob.glob("/usr/lib/*/dpdk/pmds-*") + glob.glob("/usr/lib*/dpdk/pmds-*")
    return folders[0] if folders else "/nonexistent"


def the(report, name):
    found = [finding for finding in report["findings"] if finding["id"] == name]
    assert found, f"no {name} among {[(f['id'], f['severity']) for f in report['findings']]}"
    return found[0]


def assert_found(report, name, severity):
    finding = the(report, name)
    assert finding["severity"] == severity, finding
    assert finding["fix"] and finding["what"], finding
    fatal = {f["id"] for f in report["findings"] if f["severity"] == "fatal"}
    assert fatal == ({name} if severity == "fatal" else set()), fatal
    assert report["exit"] == (4 if severity == "fatal" else 0), report["exit"]
    return finding


def assert_refused(room, finding, status, **how):
    """`penstock run` ends with that status and the doctor's words."""
    process = Process(room.command(*RUN, "-c", str(room.config), **how))
    room.stack.callback(process.kill)
    ended = process.wait()
    text = process.text()
    assert ended == status, f"exit status {ended} instead of {status}:\n{process.tail()}"
    assert text.startswith(f"error: {finding['what']}\n  fix: "), f"not {finding['what']!r}:\n{process.tail()}"
    for line in finding["fix"].splitlines():
        assert line in text, f"no {line!r}:\n{process.tail()}"
    assert "EAL" not in text.replace(finding["what"], "").replace(finding["fix"], ""), "EAL was started"


def examine_break(options, broken):
    with Room(options, broken.device, broken.workers) as room:
        if broken.device == AF_PACKET and broken.finding != "interface-no-carrier":
            sh("ip", "-n", room.network.namespace, "link", "set", room.network.client, "up")
        how = {"prelude": broken.prelude, "wrap": broken.wrap}
        finding = assert_found(room.examine(**how), broken.finding, broken.severity)
        if broken.severity == "fatal":
            assert_refused(room, finding, broken.exit, **how)


def healthy(options):
    """Nothing is wrong, the doctor says so, and the gateway starts."""
    with Room(options, workers={"hugepages": "require" if options.huge else "off"}) as room:
        report = room.examine(prelude=fake("/proc/stat", NO_STEAL))
        bad = {f["id"] for f in report["findings"] if f["severity"] in ("fatal", "warning")} - FOREIGN
        assert not bad, [f for f in report["findings"] if f["id"] in bad]
        assert report["verdict"] == "healthy" or report["warnings"], report["verdict"]
    with Bed(options, Site(routes=ROUTES)) as bed:
        bed.assert_serves()
        bed.stop()


def without_a_file(options):
    with Room(options) as room:
        report = room.examine("--")
        assert report["exit"] == 0 and report["config"] is None, report
        assert the(report, "config-none")["severity"] == "note"


def as_anyone(options):
    """Without root it sees less and still answers."""
    with Room(options, device="net_null0") as room:
        shutil.copy(options.binary, room.folder / "penstock")
        for path in (room.folder, room.config, room.folder / "penstock"):
            path.chmod(0o755)
        argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(room.folder / "penstock")]
        done = subprocess.run([*argv, "doctor", "-c", str(room.config)], stdout=subprocess.PIPE, text=True)
        assert done.returncode == 0 and "verdict: " in done.stdout, done
        assert "\x1b" not in done.stdout


def alternative_name(options):
    """An interface may be named by an alternative name, which no list has."""
    with Room(options, device="net_af_packet0,iface={ours}a") as room:
        sh("ip", "link", "property", "add", "dev", room.network.ours, "altname", f"{room.network.ours}a")
        assert room.examine()["fatal"] == 0


def configuration_broken(options):
    with Room(options) as room:
        room.config.write_text(room.config.read_text().replace("count = 1", "cuont = 1"))
        finding = assert_found(room.examine(), "config-invalid", "fatal")
        assert "cuont" in finding["what"], finding
        assert_refused(room, finding, 3)


def device_in_use(options):
    with Room(options, device=AF_PACKET) as room:
        first = Process(room.command(*RUN, "-c", str(room.config)))
        room.stack.callback(first.kill)
        until(lambda: "ready" in first.text() or not first.alive(), "the first gateway")
        assert first.alive(), first.tail()
        finding = assert_found(room.examine(), "device-claimed", "fatal")
        assert_refused(room, finding, 4)
        first.signal()
        assert first.wait() == 0, first.tail()
        assert room.examine()["fatal"] == 0


def address_of_the_kernel(options):
    with Room(options) as room, inside(room.network.namespace):
        room.network.ip("addr", "add", f"{SERVER_V4}/24", "dev", room.network.client)
        room.network.ip("addr", "add", f"{SERVER_V6}/64", "dev", room.network.client, "nodad")
        room.network.ip("link", "set", room.network.client, "up")
        report = room.examine()
        both = [finding for finding in report["findings"] if finding["id"] == "address-conflict"]
        assert len(both) == 2 and all(room.network.client in finding["fix"] for finding in both), both
        with socket.create_server((SERVER_V4, 80)):
            assert_found(room.examine(), "port-conflict", "warning")


def port_of_the_kernel(options):
    with Room(options) as room, inside(room.network.namespace), socket.create_server(("127.0.0.1", 80)):
        assert the(room.examine(), "port-shared")["severity"] == "note"


def another_program_on_the_workers_cpu(options):
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise Skip("needs two CPUs")
    with Room(options) as room:
        hog = Process(["taskset", "-c", str(cpus[1]), "sh", "-c", "while :; do :; done"])
        room.stack.callback(hog.kill)
        state = pathlib.Path(f"/proc/{hog.child.pid}/stat")
        until(lambda: ") R " in state.read_text() and "(sh)" in state.read_text(), "a busy program")
        assert "sh" in assert_found(room.examine(), "cpu-contended", "warning")["what"]


def cpu_quota(options):
    group = next(iter(glob.glob("/sys/fs/cgroup/cpu") + glob.glob("/sys/fs/cgroup/cpu,cpuacct")), None)
    if group is None:
        raise Skip("no CPU controller of version 1")
    group = pathlib.Path(group) / f"penstock-doctor-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        raise Skip(f"control groups cannot be made here: {error}") from error
    with contextlib.ExitStack() as stack:
        stack.callback(group.rmdir)
        (group / "cpu.cfs_quota_us").write_text("50000")
        room = stack.enter_context(Room(options))
        assert_found(room.examine(prelude=f"echo $$ > {group}/tasks"), "cpu-quota", "warning")


def the_machines_own_card(options):
    """The card with the default route is not offered for binding. Not run: were it wrong, the machine would be gone."""
    route = json.loads(sh("ip", "-j", "route", "show", "default"))
    device = pathlib.Path(f"/sys/class/net/{route[0]['dev']}/device").resolve() if route else pathlib.Path()
    cards = [path.name for path in (device, device.parent) if path.name.count(":") == 2]
    if not cards:
        raise Skip("the default route is not on a PCI card")
    with Room(options, device=cards[0]) as room:
        report = room.examine()
        assert the(report, "nic-default-route")["severity"] == "fatal" and report["exit"] == 4
        assert not any("--bind" in finding["fix"] and cards[0] in finding["fix"] for finding in report["findings"])


def hugetlbfs_not_mounted(options):
    if not options.huge:
        raise Skip("no hugepages are reserved")
    with Room(options, workers={"hugepages": "auto"}) as room:
        report = room.examine(prelude="umount -a -t hugetlbfs")
        assert_found(report, "hugetlbfs-unmounted", "note")


def cases():
    broken = [(name, lambda options, broken=broken: examine_break(options, broken)) for name, broken in BREAKS.items()]
    others = [
        healthy, without_a_file, as_anyone, alternative_name, configuration_broken, device_in_use, address_of_the_kernel,
        port_of_the_kernel, another_program_on_the_workers_cpu, cpu_quota, the_machines_own_card, hugetlbfs_not_mounted,
    ]  # fmt: skip
    return [*broken, *((test.__name__.replace("_", " "), test) for test in others)]
