"""The program as a process: signals, exit codes, errors that name their fix, and nothing left behind."""

import contextlib
import pathlib
import re
import signal
from dataclasses import replace

import gateway_config
from gateway_config import Site
from netns import no_hugepages, sh, until
from penstock_bed import RUN, Bed, Process, traces

PLAIN_SITE = Site(routes=gateway_config.base_routes())
FIX = re.compile(r"^\s*fix: ", re.MULTILINE)
BUSY_FRAMES = 2000


def bed_of(options, site=PLAIN_SITE):
    options.need_gateway()
    return Bed(options, site)


class Unstarted(Bed):
    """A bed whose gateway the test starts itself."""

    def wait_ready(self, gateway):
        if gateway is not None:
            super().wait_ready(gateway)

    def launch(self):
        return None


@contextlib.contextmanager
def link_only(options, kind="af_packet", site=PLAIN_SITE):
    """The link and the folder, without a gateway."""
    options.need_gateway()
    with Unstarted(options.with_(kind=kind), site) as bed:
        yield bed


def outcome(bed):
    """Launches the gateway on the bed's link and returns how it ended."""
    process = Bed.launch(bed)
    return process.wait(), process


def assert_ends(bed, status, fix=True):
    ended, process = outcome(bed)
    assert ended == status, f"exit status {ended} instead of {status}:\n{process.tail()}"
    assert "error:" in process.text(), process.tail()
    if fix:
        assert FIX.search(process.text()), f"names no fix:\n{process.tail()}"
    assert "panicked" not in process.text(), process.tail()


def stop_under_load(options, number):
    with bed_of(options) as bed:
        wrk = bed.start("wrk", "-t", "1", "-c", "50", "-d", "30s", bed.url("/hello"))
        before = bed.network.client_packets()
        until(lambda: bed.network.client_packets() > before + BUSY_FRAMES, "load from wrk")
        assert wrk.alive(), wrk.tail()
        bed.stop(number)


def test_sigterm_under_load(options):
    stop_under_load(options, signal.SIGTERM)


def test_sigint_under_load(options):
    stop_under_load(options, signal.SIGINT)


def test_sigterm_while_idle(options):
    with bed_of(options) as bed:
        with bed.connect() as connection:
            assert connection.get().status == 200
            bed.stop()


def test_sigterm_mid_body(options):
    large = 20 * gateway_config.MEGABYTE
    site = Site(routes=PLAIN_SITE.routes + gateway_config.file_routes(large))
    with bed_of(options, site) as bed:
        with bed.connect(receive_buffer=4096) as connection:
            connection.send(f"GET /files/{large} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert connection.receive(100)
            bed.stop()


def test_nothing_is_left_after_a_stop(options):
    options.need_gateway()
    before = traces()
    with bed_of(options) as bed:
        bed.assert_serves()
        bed.stop()
        if options.kind == "tap":
            until(lambda: bed.network.client not in bed.network.ip("link", "show"), "the end of the tap device")
        after = traces()
        assert after["hugepage files"] == before["hugepage files"], after
        assert after["used hugepages"] == before["used hugepages"], after
    assert traces() == before


def test_nothing_is_left_after_a_kill(options):
    """SIGKILL: what remains must not keep the next one from starting."""
    with bed_of(options) as bed:
        bed.assert_serves()
        bed.gateway.kill()
    with bed_of(options) as bed:
        bed.assert_serves()
        bed.stop()


def kill_and_start_again(options, at):
    """Kills the gateway at a moment that `at` brings about; the next one starts on the same link and serves."""
    options.need_gateway()
    before = traces()
    for kind in ("tap", "af_packet"):
        with bed_of(options.with_(kind=kind)) as bed:
            at(bed)
            bed.gateway.kill()
            bed.start_again()
            bed.assert_serves()
            bed.stop()
    after = traces()
    assert after["interfaces"] == before["interfaces"] and after["namespaces"] == before["namespaces"], (before, after)


def busy(bed):
    bed.start("wrk", "-t", "1", "-c", "50", "-d", "10s", bed.url("/hello"))
    before = bed.network.client_packets()
    until(lambda: bed.network.client_packets() > before + BUSY_FRAMES, "load from wrk")


def draining(bed):
    connection = bed.connect()
    bed.stack.callback(connection.close)
    connection.send(b"GET /hello HTTP/1.1\r\n")
    bed.gateway.signal()
    until(lambda: bed.gateway.says(re.compile("TERM: draining")), "the announcement")


def starting(bed):
    bed.stop()
    bed.gateway = bed.launch()
    until(lambda: bed.gateway.says(re.compile(r"\bEAL: ")), "the beginning of a start")


def test_killed_under_load(options):
    kill_and_start_again(options, busy)


def test_killed_while_draining(options):
    kill_and_start_again(options, draining)


def test_killed_while_starting(options):
    kill_and_start_again(options, starting)


def test_aborted(options):
    """SIGABRT ends it as a failed assertion of the driver's would."""
    kill_and_start_again(options, lambda bed: bed.gateway.signal(signal.SIGABRT))


def test_the_readme_by_hand(options):
    """Its configuration, and what it says to type in another terminal, in a namespace where nothing else is."""
    readme = (pathlib.Path(__file__).resolve().parents[2] / "README.md").read_text()
    typed = [line for line in readme.splitlines() if line.startswith(("ip addr add ", "curl "))]
    assert len(typed) == 2, typed
    with link_only(options) as bed:
        config = bed.folder / "readme.toml"
        config.write_text(readme.split("```toml\n")[1].split("```")[0])
        within = ["ip", "netns", "exec", bed.network.namespace]
        gateway = Process([*within, options.binary, *RUN, "-c", str(config)])
        bed.stack.callback(gateway.kill)
        bed.wait_ready(gateway)
        bed.network.ip("addr", "flush", "dev", bed.network.client)
        answer = sh(*within, "sh", "-c", "\n".join(typed))
        assert answer.endswith("Hello\n"), answer
        gateway.signal()
        assert gateway.wait() == 0, gateway.tail()


def test_unknown_driver(options):
    with link_only(options) as bed:
        bed.device = lambda: "net_nonesuch0"
        assert_ends(bed, 4)


def test_interface_that_does_not_exist(options):
    with link_only(options) as bed:
        bed.device = lambda: "net_af_packet0,iface=pgnonesuch"
        assert_ends(bed, 4)


def test_pci_device_that_does_not_exist(options):
    with link_only(options) as bed:
        bed.device = lambda: "0000:ff:1f.7"
        assert_ends(bed, 4)


def test_bad_configuration(options):
    with link_only(options) as bed:
        bed.site = Site(routes=PLAIN_SITE.routes, http={"head_timeoutt": "1s"})
        assert_ends(bed, 3, fix=False)


def test_configuration_that_does_not_exist(options):
    with link_only(options) as bed:
        bed.command = lambda: [options.binary, *RUN, "-c", str(bed.folder / "nonesuch.toml")]
        assert_ends(bed, 3, fix=False)


def test_bad_command_line(options):
    with link_only(options) as bed:
        bed.command = lambda: [options.binary, "run", "--nonesuch"]
        assert_ends(bed, 2, fix=False)


def test_hugepages_required_and_missing(options):
    options.need_gateway()
    site = replace(PLAIN_SITE, workers={"hugepages": "require"})
    with no_hugepages(), link_only(options.with_(huge=True), site=site) as bed:
        assert_ends(bed, 4)


def test_check(options):
    with link_only(options) as bed:
        config = str(bed.write_config(bed.device()))
        bed.command = lambda: [options.binary, "check", "-c", config]
        status, process = outcome(bed)
        assert status == 0, process.tail()


def test_second_gateway_on_the_same_device(options):
    """The second one ends with an error; the first one is not disturbed."""
    options.need_gateway()
    with bed_of(options.with_(kind="af_packet")) as bed:
        assert_ends(bed, 4)
        bed.assert_serves()
        bed.stop()
