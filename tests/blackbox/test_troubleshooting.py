"""Every line of docs/troubleshooting.md about what DPDK, the kernel or the network says, brought about for real.

The document is the list of tests: a line that no entry here is named after fails, and so does an entry without a line.
The doctor's findings, the document's first table, are held by src/control/doctor/tests.rs in the same way.
"""

import contextlib
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
from dataclasses import dataclass, replace

import frames
import gateway_config
from gateway_config import HELLO, Site
from netns import CLIENT_V4, PATIENCE_S, SERVER_V4, Skip, no_hugepages, number, set_hugepages, sh, until
from penstock_bed import Bed, Process
from raw_link import BROADCAST, RawLink
from test_doctor import EMPTY, HUGEPAGES, Room
from test_hostile import STRANGER_MAC, is_connected, serves
from test_metrics import Watched, total

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/troubleshooting.md"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
PLAIN = ("--no-huge", "-m", "256", "--no-pci", "--no-shconf")
NULL = ("--vdev", "net_null0")
DROPPED = "penstock_dropped_frames_total"
QUOTED = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Row:
    seen: str
    fix: str


def rows():
    """The lines of the tables after the doctor's."""
    sections = DOCUMENT.read_text().split("\n## ")[2:]
    lines = [line for section in sections for line in section.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [Row(seen, fix) for seen, _, fix in cells if seen != "Seen"]


# --- messages: the program or a script ends, says what the line quotes, and names one of its fixes ----------------


@contextlib.contextmanager
def room(options, device="", **workers):
    with Room(options, device=device, workers=workers) as made:
        made.folder.chmod(0o755)
        yield made


def said(argv, **how):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_S, **how)
    assert done.returncode != 0, f"it did not fail: {done.stdout}"
    assert "panicked" not in done.stdout, done.stdout
    return done.stdout


def eal(*arguments, device="", prelude=":"):
    """A start with these EAL arguments."""

    def provoke(options):
        with room(options, device) as here:
            return said(here.command(*arguments, "--", "run", "-c", str(here.config), prelude=prelude))

    return provoke


def own(*arguments, device="net_null0", prelude=":", **how):
    """The program with arguments of its own; CONFIG stands for the file."""

    def provoke(options):
        with room(options, device) as here:
            words = [str(here.config) if word == "CONFIG" else word for word in arguments]
            return said(here.command(*words, prelude=prelude), **how)

    return provoke


def as_nobody(options, *arguments, config_mode=0o644, device="net_null0"):
    """The same as a user without rights."""
    with room(options, device) as here:
        program = here.folder / "penstock"
        shutil.copy(options.binary, program)
        program.chmod(0o755)
        here.config.chmod(config_mode)
        words = [str(here.config) if word == "CONFIG" else word for word in arguments]
        return said([*NOBODY, str(program), *words], cwd=here.folder)


def script(name, *arguments, wrap=(), **environment):
    """A script of the repository; run by a user who may not see it, a copy."""

    def provoke(options):
        with room(options) as here:
            copy = here.folder / "copy"
            shutil.copytree(ROOT / "scripts", copy / "scripts")
            return said([*wrap, "bash", str(copy / "scripts" / name), *arguments], env=os.environ | environment, cwd=copy)

    return provoke


def no_cargo(options):
    if any(shutil.which("cargo", path=folder) for folder in ("/usr/bin", "/bin")):
        raise Skip("cargo is among the system's programs")
    return script("bench.sh", "turn", PATH="/usr/bin:/bin", HOME="/nonexistent")(options)


def build_script(prelude=":", **environment):
    """What the build of dpdk-sys says, whose build script lies beside the program."""

    def provoke(options):
        folder = pathlib.Path(options.binary).resolve().parent / "build"
        built = sorted(folder.glob("dpdk-sys-*/build-script-build"))
        if not built:
            raise Skip("the program's build folder is not there")
        with room(options) as here:
            argv = ["unshare", "-m", "sh", "-c", f"({prelude}) && exec {built[-1]}", "sh", str(here.folder)]
            cargo = {"OUT_DIR": str(here.folder), "TARGET": "x86_64-unknown-linux-gnu", "HOST": "x86_64-unknown-linux-gnu",
                     "OPT_LEVEL": "0", "DEBUG": "false"}
            done = subprocess.run(argv, env=os.environ | cargo | environment, cwd=ROOT / "dpdk-sys",
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=2 * PATIENCE_S)
            return done.stdout

    return provoke


def no_libclang(options):
    folders = sorted({str(path.parent) for path in pathlib.Path("/usr/lib").glob("llvm-*/lib/libclang*.so*")})
    if not folders:
        raise Skip("libclang is not where Debian puts it")
    hidden = [f"{EMPTY} {folder}" for folder in folders]
    others = [path for path in pathlib.Path("/usr/lib").glob("*/libclang*.so*") if not path.is_symlink()]
    hidden += [f"mount --bind /dev/null {path}" for path in others]
    return build_script(" && ".join(hidden))(options)


def not_on_the_path(options):
    with room(options) as here:
        (here.folder / "target/release").mkdir(parents=True)
        (here.folder / "target/release/penstock").symlink_to(options.binary)
        shell = ["bash", "-c", "penstock --version"]
        environment = os.environ | {"PATH": "/usr/bin:/bin"}
        text = said(shell, env=environment, cwd=here.folder)
        fixed = ["bash", "-c", "PATH=$PWD/target/release:$PATH; penstock --version"]
        assert subprocess.run(fixed, env=environment, cwd=here.folder, stdout=subprocess.DEVNULL).returncode == 0
        return text + fixed[2]


def metrics_in_use(options):
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", 9902)):
        return with_setting("metrics", "address", "127.0.0.1:9902")(options)
    return with_setting("metrics", "address", "127.0.0.1:9902")(options)


def with_setting(section, key, value):
    """A start with this setting, which is wrong here."""

    def provoke(options):
        with room(options, "net_null0") as here:
            text = re.sub(rf"\[{section}\]\n([^\[]*\n)?", "", here.config.read_text())
            here.config.write_text(f'{text}\n[{section}]\n{key} = "{value}"\n')
            return said(here.command("run", "-c", str(here.config)))

    return provoke


def admin_socket_in_use(options):
    with room(options) as here, socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(here.folder / "taken.sock"))
        taken.listen()
        return with_setting("admin", "socket", here.folder / "taken.sock")(options)


def pages_for_frames_only(options):
    """EAL gets its pages; the doctor, which would say so before, leaves starts with EAL arguments alone."""
    former = number("nr_hugepages")
    with no_hugepages(), room(options, "", hugepages="require") as here:
        set_hugepages(64)
        try:
            if number("free_hugepages") < 64:
                raise Skip("no hugepages are to be had here")
            return said(here.command("-l", "0,1", "--in-memory", "--no-pci", *NULL, "--", "run", "-c", str(here.config)))
        finally:
            set_hugepages(former)


def no_free_hugepages(options):
    with no_hugepages():
        return eal("-l", "0,1", "--in-memory", "--no-pci", *NULL)(options)


def with_hugepages(provoke):
    def checked(options):
        if not options.huge:
            raise Skip("no hugepages are reserved")
        return provoke(options)

    return checked


def same_runtime_folder(options):
    """The first one runs, with files that a second DPDK program finds."""
    prefix = ("--no-huge", "-m", "256", "--no-pci", "--file-prefix", f"penstock_test_{os.getpid()}", *NULL)
    with room(options) as here:
        command = here.command("-l", "0,1", *prefix, "--", "run", "-c", str(here.config))
        first = Process(command)
        here.stack.callback(first.kill)
        until(lambda: re.search(r"\bready\b", first.text()) or not first.alive(), "the first gateway")
        assert first.alive(), first.tail()
        text = said(command)
        first.signal()
        assert first.wait() == 0, first.tail()
        return text


def several_gateways(options):
    site = Site(routes=gateway_config.base_routes(), workers={"connections": 64})
    with Bed(options, site), Bed(options, site):
        return said([options.binary, "status"])


# Of commands that do not fail, what they print instead.
def helped(name, *arguments):
    def provoke(_options):
        done = subprocess.run([str(ROOT / "scripts" / name), *arguments], capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done
        return f"scripts/{name} {' '.join(arguments)}\n{done.stdout}"

    return provoke


MESSAGES = {
    "`Rust is missing: cargo was not found`": no_cargo,
    "`scripts/quickstart.sh needs root`": script("quickstart.sh", wrap=NOBODY),
    "`DPDK (libdpdk 22.11 or newer) was not found`": build_script(PKG_CONFIG_LIBDIR="/nonexistent", PKG_CONFIG_PATH=""),
    "`the bindings to DPDK could not be made`": no_libclang,
    "`penstock: command not found`": not_on_the_path,
    "`No such file or directory`, naming the configuration file": own("run", "-c", "penstock.toml", cwd="/"),
    "`Permission denied`, naming the configuration file": lambda options: as_nobody(
        options, "run", "-c", "CONFIG", config_mode=0o600
    ),
    "`comes before the command, where EAL arguments go`": own("-c", "CONFIG", "run"),
    "`unexpected argument`": own("run", "CONFIG"),
    "`only root can become user`": lambda options: as_nobody(options, "run", "-c", "CONFIG", "--user", "daemon"),
    "`the metrics address 127.0.0.1:9902 is in use`": metrics_in_use,
    "`cannot be listened on: Cannot assign requested address`": with_setting("metrics", "address", f"{SERVER_V4}:9902"),
    "`is in use by another gateway`": admin_socket_in_use,
    "`connection memory:` and `free hugepages of 2 MiB are needed`": pages_for_frames_only,
    "`unrecognized option`": eal("-l", "0,1", "--bogus"),
    "`EAL has no worker lcore beside the main one`": eal("-l", "0", *PLAIN, *NULL),
    "`invalid core list, please check`": eal("-l", "0,100", *PLAIN, *NULL),
    "`invalid core list syntax`": eal("-l", "0,200", *PLAIN, *NULL),
    "`is not compatible with --in-memory`": eal("-l", "0,1", "--no-huge", "--in-memory", "--no-pci", *NULL),
    "`no mounted hugetlbfs found`": with_hugepages(
        eal("-l", "0,1", "--no-pci", *NULL, prelude="umount -a -t hugetlbfs")
    ),
    "`Cannot get hugepage information`": eal("-l", "0,1", "--no-pci", *NULL, prelude=f"{EMPTY} {HUGEPAGES}"),
    "`No free 2048 kB hugepages reported on node 0`": no_free_hugepages,
    "`Not enough memory available!`": with_hugepages(eal("-l", "0,1", "--in-memory", "-m", "60000", "--no-pci", *NULL)),
    "`no memory for`, `frames`": eal("-l", "0,1", "--no-huge", "-m", "8", "--no-pci", "--no-shconf", *NULL),
    "`failed to parse device`": eal("-l", "0,1", *PLAIN, "--vdev", "net_nonesuch0"),
    "`no port for device`, `EAL has no port at all`": eal("-l", "0,1", *PLAIN, device="net_tap0,iface=pgnonesuch"),
    "`no port for device`, `EAL has net_null0`": eal("-l", "0,1", *PLAIN, *NULL, device="net_tap0,iface=pgnonesuch"),
    "`SIOCGIFINDEX`": eal("-l", "0,1", *PLAIN, "--vdev", "net_af_packet0,iface=pgnonesuch"),
    "`TAP invalid remote interface name`": eal("-l", "0,1", *PLAIN, "--vdev", "net_tap0,iface=sixteen-letters-"),
    "`Unable to create TAP interface`": lambda options: as_nobody(
        options, "-l", "0,1", *PLAIN, "--vdev", "net_tap0", "--", "run", "-c", "CONFIG", device=""
    ),
    "`Is another primary process running?`": same_runtime_folder,
    "`no gateway is running`": own("status", prelude=f"mkdir -p /run/penstock && {EMPTY} /run/penstock"),
    "`gateways are running`": several_gateways,
    "figures from tap, veth, af_packet": helped("bench.sh", "--help"),
    "a bench says `INVALID`": helped("bench.sh", "--help"),
    "milliseconds in the tail": helped("tune.sh", "show", "--cores", "1"),
}


def check_message(row, text):
    for fragment in QUOTED.findall(row.seen):
        assert fragment in text, f"no {fragment!r} in:\n{text}"
    fixes = [fix.replace("LIST", "1") for fix in QUOTED.findall(row.fix)]
    # What a command needs beyond its name is the message's to know.
    firsts = [fix.split(" N ")[0] for fix in fixes]
    assert not fixes or any(fix in text for fix in firsts), f"none of {firsts} in:\n{text}"


# --- nobody gets an answer: counted, and mended by what the line says -----------------------------------------------


def dropped(bed, reason):
    return total(bed.scrape(), DROPPED, reason=reason)


def until_dropped(bed, reason):
    until(lambda: serves(bed) or dropped(bed, reason), f"a frame dropped as {reason}")
    assert not serves(bed) and dropped(bed, reason), f"served, or not counted as {reason}"


class WithPort(Watched):
    """A watched bed with more lines under [port]."""

    def __init__(self, options, **port):
        self.port_lines = "".join(f"{key} = {gateway_config.value_of(value)}\n" for key, value in port.items())
        super().__init__(options)

    def write_config(self, device):
        config = super().write_config(device)
        config.write_text(config.read_text().replace("[port]\n", f"[port]\n{self.port_lines}", 1))
        return config


def no_address(options):
    with Bed(options, Site(routes=gateway_config.base_routes())) as bed:
        network = bed.network
        network.ip("addr", "flush", "dev", network.client)
        done = bed.run("curl", "-sS", "--max-time", "5", bed.url("/hello"))
        assert "Failed to connect" in done.stdout, done.stdout
        network.ip("link", "set", network.client, "down")
        network.ip("addr", "add", f"{CLIENT_V4}/24", "dev", network.client)
        assert not serves(bed)
        network.ip("link", "set", network.client, "up")
        until(lambda: serves(bed), "an answer")


def checksums_left_to_hardware(options):
    with Watched(options.with_(kind="af_packet")) as bed:
        ethtool = ("ip", "netns", "exec", bed.network.namespace, "ethtool", "-K", bed.network.client)
        sh(*ethtool, "tx", "on")
        until_dropped(bed, "tcp_checksum")
        sh(*ethtool, "tx", "off")
        until(lambda: serves(bed), "an answer")


def tap_in_a_bridge(options):
    """A client on another port of the bridge, which keeps frames to the tap's own address for itself."""
    with Bed(options.with_(kind="tap"), Site(routes=gateway_config.base_routes())) as bed:
        network = bed.network
        tap, ip, client = network.client, network.ip, network.make_namespace()
        gateway, other = network.gateway_mac(), ip("link", "show", tap).split("link/ether ")[1].split()[0]
        ip("link", "add", "bridge", "type", "bridge")
        ip("link", "add", "port", "master", "bridge", "type", "veth", "peer", "name", "eth", "netns", client)
        ip("addr", "flush", "dev", tap)
        ip("link", "set", tap, "down", "address", gateway, "master", "bridge")
        for name in (tap, "bridge", "port"):
            ip("link", "set", name, "up")
        sh("ip", "-n", client, "addr", "add", f"{CLIENT_V4}/24", "dev", "eth")
        sh("ip", "-n", client, "link", "set", "eth", "up")

        def answered():
            return HELLO in sh("ip", "netns", "exec", client, "curl", "-sS", "--max-time", "2", bed.url("/hello"), check=False)

        assert not answered()
        ip("link", "set", tap, "down", "address", other)
        ip("link", "set", tap, "up")
        until(answered, "an answer")


def beyond_a_router(options):
    far = "10.9.0.1"

    def asked(bed):
        bed.network.ip("addr", "add", f"{far}/32", "dev", bed.network.client)
        return bed.run("curl", "-sS", "--interface", far, "--max-time", "3", bed.url("/hello"))

    with Watched(options) as bed:
        assert asked(bed).returncode != 0 and dropped(bed, "no_route")
    with WithPort(options, gateway=CLIENT_V4) as bed:
        assert asked(bed).stdout == HELLO


def tagged(options):
    """Asks for the gateway's MAC address with and without tag 5."""

    def answered(bed, tag):
        with bed.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003)) as raw:
            raw.bind((bed.network.client, 0))
            raw.settimeout(1)
            mac = frames.mac(STRANGER_MAC)
            body = struct.pack("!HHBBH", 1, frames.ETHERTYPE_V4, 6, 4, 1) + mac
            body += socket.inet_aton("10.7.0.77") + bytes(6) + socket.inet_aton(SERVER_V4)
            raw.send(BROADCAST + mac + tag + struct.pack("!H", frames.ETHERTYPE_ARP) + body)
            with contextlib.suppress(TimeoutError):
                while raw.recv(2048)[:6] != mac:
                    pass
                return True
            return False

    tag = struct.pack("!HH", 0x8100, 5)
    for port, served, refused in (({}, b"", tag), ({"vlan": 5}, tag, b"")):
        with WithPort(options, **port) as bed:
            assert answered(bed, served) and not answered(bed, refused), f"with {port}"
            until(lambda bed=bed: dropped(bed, "vlan"), "a frame dropped as vlan")


def claimed_address(options):
    with Watched(options) as bed, RawLink(bed) as link:
        link.arp(1, SERVER_V4, SERVER_V4, frames.mac(STRANGER_MAC))
        until(lambda: dropped(bed, "address_conflict"), "the claim counted")
        until(lambda: serves(bed), "an answer")


def every_place_taken(options):
    for connections, served in ((16, False), (64, True)):
        with limited(options, connections) as bed, contextlib.ExitStack() as stack:
            for _ in range(16):
                assert stack.enter_context(bed.connect()).get().status == 200
            late = stack.enter_context(bed.socket())
            late.setblocking(False)
            late.connect_ex(bed.address())
            until(lambda: is_connected(late) or dropped(bed, "connection_limit"), "an answer to the SYN")
            assert is_connected(late) == served, f"with {connections} connections"


def limited(options, connections):
    bed = Watched(options)
    bed.site = replace(bed.site, workers={"connections": connections}, tcp={"half_open": 16})
    return bed


SCENES = {
    "curl: `Failed to connect`, or an answer from somewhere else": no_address,
    "`tcp_checksum` is counted, and clients on a veth get nothing (af_packet, af_xdp)": checksums_left_to_hardware,
    "a tap device in a bridge gets nothing": tap_in_a_bridge,
    "`no_route` is counted": beyond_a_router,
    "`vlan` is counted": tagged,
    "`address_conflict` is counted": claimed_address,
    "`connection_limit` is counted": every_place_taken,
}

# --- what other tests hold, or what no machine without a network card shows: file, test, and why not here -----------

NO_CARD = "needs a network card: the words alone are tested, or the fix"
ELSEWHERE = {
    "`this build has no DPDK support`": ("tests/cli.rs", "run_without_dpdk_says_how_to_get_it", "needs the other build"),
    "`Cannot open /dev/vfio/`": ("src/dpdk/explain.rs", "known_causes_name_their_fix", NO_CARD),
    "`group is not viable`": ("src/dpdk/explain.rs", "known_causes_name_their_fix", NO_CARD),
    "tcpdump shows nothing on a card that DPDK owns": (
        "tests/blackbox/test_capture.py", "test_both_ways_in_order", NO_CARD,
    ),
    "only some clients get through, with several workers": ("tests/blackbox/test_load.py", "test_wrk_100_connections", NO_CARD),
    "100 % CPU while idle": ("tests/blackbox/test_idle.py", "test_idle_workers_use_little_of_a_core", "is there"),
    "the first request after a quiet time takes up to `idle_sleep` longer": (
        "src/runtime/idle.rs", "rests_longer_the_longer_nothing_happens_and_not_at_all_after_work", "tap and af_packet wake",
    ),
}


def check_elsewhere(file, test):
    text = (ROOT / file).read_text()
    assert re.search(rf"\b(fn|def) {test}\b", text), f"{file} has no test {test}"


def check_row(row, options):
    options.need_gateway()
    if row.seen in MESSAGES:
        check_message(row, MESSAGES[row.seen](options))
    elif row.seen in SCENES:
        SCENES[row.seen](options)
    elif row.seen in ELSEWHERE:
        check_elsewhere(*ELSEWHERE[row.seen][:2])
    else:
        raise AssertionError(f"no test brings this line of {DOCUMENT.name} about: {row.seen}")


def every_test_has_its_line(_options):
    seen = [row.seen for row in rows()]
    assert len(seen) == len(set(seen)) > 40, seen
    for name in [*MESSAGES, *SCENES, *ELSEWHERE]:
        assert name in seen, f"{DOCUMENT.name} has no line {name!r}"


def cases():
    lines = [(row.seen.replace("`", ""), lambda options, row=row: check_row(row, options)) for row in rows()]
    return [("every test has its line", every_test_has_its_line), *lines]
