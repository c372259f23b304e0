"""Packet-level tests: testpmd beside the gateway on a veth, by the scripts of dpdk-config/pktgen, judged by its counters.

The files for Pktgen-DPDK, which is not packaged, are only checked for syntax.
"""

import pathlib
import re
import shutil
import subprocess

import gateway_config
from gateway_config import Site
from netns import PATIENCE_S, SERVER_V4, Skip, inside, sh, until
from penstock_bed import Bed

PKTGEN = pathlib.Path(__file__).resolve().parents[2] / "dpdk-config" / "pktgen"
# Not the client's: its kernel would answer what the gateway sends back.
SOURCE_V4 = "10.7.0.77"
# Less than af_packet's receive ring holds, so that none is lost while the gateway has no CPU.
COUNT = 250
REASONS = 10


class PacketBed(Bed):
    """An af_packet bed with an admin socket to read counters from."""

    def write_config(self, device):
        config = super().write_config(device)
        with open(config, "a") as file:
            file.write(f'\n[admin]\nsocket = "{self.folder}/admin.sock"\n')
        return config

    def metrics(self):
        """Every sample by name and labels."""
        socket = ("--unix-socket", str(self.folder / "admin.sock"))
        text = sh("curl", "-sS", "--max-time", "10", *socket, "http://penstock/metrics")
        samples = re.findall(r"^(penstock_\S+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in samples}

    def metric(self, name):
        """The sum over the workers of the samples whose name and labels begin so."""
        return sum(value for key, value in self.metrics().items() if key.startswith(name))

    def send(self, case, *arguments):
        """Runs a case to its end; the bed's link must not lose frames, so few are sent."""
        mac = self.network.gateway_mac()
        command = [
            str(PKTGEN / "testpmd.sh"), case, "--device", f"net_af_packet0,iface={self.network.client}",
            "--gateway-mac", mac, "--gateway-ip", SERVER_V4, "--source-ip", SOURCE_V4, "--count", str(COUNT),
            "--seconds", "2", "--lcores", "0@0,1@0", "--no-huge", *arguments,
        ]
        with inside(self.network.namespace):
            done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE_S)
        assert done.returncode == 0, done.stdout + done.stderr

    def counts(self, case, *names, least=COUNT, arguments=()):
        """Sends the case and waits until each of these has grown by so much."""
        before = {name: self.metric(name) for name in names}
        self.send(case, *arguments)
        for name in names:
            until(lambda: self.metric(name) >= before[name] + least, f"{name} to grow by {least}")
        return {name: self.metric(name) - before[name] for name in names}


def bed_of(options):
    options.need_gateway()
    if shutil.which("dpdk-testpmd") is None:
        raise Skip("dpdk-testpmd is not installed")
    return PacketBed(options.with_(kind="af_packet"), Site(routes=gateway_config.base_routes()))


def dropped(reason):
    return f'penstock_dropped_frames_total{{reason="{reason}"'


def assert_exact(grown, count=COUNT):
    assert all(value == count for value in grown.values()), f"{grown} instead of {count} each"


def test_arp_requests_are_counted_and_answered(options):
    with bed_of(options) as bed:
        name = 'penstock_arp_total{kind="request_rx"'
        # The test's own look-up of the gateway's address is an ARP request as well.
        grown = bed.counts("arp", name)[name]
        assert COUNT <= grown <= COUNT + 5, grown
        bed.assert_serves()
        bed.stop()


def test_echo_requests_are_counted(options):
    with bed_of(options) as bed:
        name = 'penstock_icmp_echo_total{kind="request_rx"'
        grown = bed.counts("icmp", name)[name]
        # As is its ping.
        assert COUNT <= grown <= COUNT + 5, grown
        bed.assert_serves()
        bed.stop()


def test_syns_begin_handshakes(options):
    with bed_of(options) as bed:
        assert_exact(bed.counts("syn", "penstock_handshakes_total"))
        bed.assert_serves()
        bed.stop()


def test_segments_without_a_connection_are_refused(options):
    with bed_of(options) as bed:
        reasons = [dropped("no_connection"), dropped("rst_limit")]
        before = sum(map(bed.metric, reasons))
        bed.send("rss")
        until(lambda: sum(map(bed.metric, reasons)) >= before + COUNT, "every segment to be dropped")
        bed.assert_serves()
        bed.stop()


def test_malformed_frames_are_dropped_each_for_its_reason(options):
    with bed_of(options) as bed:
        listed = subprocess.run([PKTGEN / "frames.py", "--list"], capture_output=True, text=True, check=True).stdout
        reasons = re.search(r"reasons of malformed: (.*)", listed)[1].split(", ")
        assert len(reasons) == REASONS, reasons
        # af_packet has the kernel reassemble what it hands out, so fragments without the rest do not arrive.
        reasons.remove("fragment")
        grown = bed.counts("malformed", *map(dropped, reasons), least=COUNT // REASONS)
        # The client's kernel sends to multicast groups that are not the gateway's.
        strangers = grown.pop(dropped("not_for_us"))
        assert strangers >= COUNT // REASONS, strangers
        assert_exact(grown, COUNT // REASONS)
        bed.assert_serves()
        bed.stop()


def test_endless_datagrams_do_not_stop_it(options):
    """testpmd sends as fast as it can meanwhile."""
    with bed_of(options) as bed:
        bed.counts("udp", dropped("protocol"), least=1000)
        bed.assert_serves()
        bed.stop()


def test_endless_flows_do_not_stop_it(options):
    with bed_of(options) as bed:
        bed.counts("flows", dropped("not_for_us"), least=1000)
        bed.assert_serves()
        bed.stop()


def test_endless_syns_do_not_stop_it(options):
    """More handshakes than may be under way: the rest is counted, and clients are served afterwards."""
    with bed_of(options) as bed:
        bed.counts("syn", "penstock_handshakes_total", least=1000, arguments=("--loop", "--count", "20000"))
        bed.assert_serves()
        bed.stop()


def test_mistakes_on_the_command_line(options):
    for arguments, words in [
        (("nothing",), "needed"),
        (("syn", "--device"), "needs a value"),
        (("syn", "--device", "net_null0"), "needed"),
        (("syn", "--count", "x"), "numbers"),
        (("syn", "--what", "x"), "unknown option"),
    ]:
        done = subprocess.run([PKTGEN / "testpmd.sh", *arguments], capture_output=True, text=True)
        assert done.returncode == 2 and words in done.stderr, (arguments, done.returncode, done.stderr)


def test_a_device_that_does_not_come_up(options):
    """testpmd goes on without it; the script does not."""
    if shutil.which("dpdk-testpmd") is None:
        raise Skip("dpdk-testpmd is not installed")
    place = ("--gateway-mac", "02:00:00:00:00:02", "--gateway-ip", SERVER_V4, "--source-ip", SOURCE_V4)
    device = ("--device", "net_af_packet0,iface=nosuchlink0")
    command = [PKTGEN / "testpmd.sh", "syn", *device, *place, "--no-huge", "--seconds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 4 and "fix: " in done.stderr, (done.returncode, done.stdout, done.stderr)


def test_pktgen_scripts_parse(options):
    scripts = sorted(PKTGEN.glob("*.lua"))
    assert scripts
    compiler = next(filter(shutil.which, ("luac", "luac5.4", "luac5.3")), None)
    if compiler is None:
        raise Skip("luac is not installed (the package lua5.4)")
    for script in scripts:
        sh(compiler, "-p", str(script))
