"""Seeing in: DPDK's own tools beside a running gateway, and `penstock pcap`."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

import gateway_config
import pcapng
from gateway_config import HELLO, Site
from netns import PATIENCE_S, SERVER_V4, Skip, number, sh, until
from penstock_bed import RUN, Bed

# Small, so that a second process finds hugepages for its copies.
SMALL_SITE = Site(routes=gateway_config.base_routes(), workers={"connections": 512})
REQUESTS = 5
SHARED_PAGES = 64


class Gateway(Bed):
    """A bed whose gateway is asked for captures."""

    def __init__(self, options):
        options.need_gateway()
        super().__init__(options, SMALL_SITE)

    def pid(self):
        return self.gateway.child.pid

    def pcap(self, *arguments):
        """Starts a capture into a file, and waits until it has begun."""
        file = self.folder / "live.pcapng"
        file.unlink(missing_ok=True)
        process = self.start(self.options.binary, "pcap", "--socket", str(self.pid()), "-w", str(file), *arguments)
        until(lambda: not process.alive() or (file.exists() and file.stat().st_size > 0), "the capture's begin")
        assert process.alive(), process.tail()
        return process, file

    def captured(self, process, file):
        """The capture, whose process was told to end or does so by itself."""
        assert process.wait() == 0, process.tail()
        capture = pcapng.read(file.read_bytes())
        assert f"{len(capture.packets)} frames captured, {capture.lost} lost" in process.text(), process.tail()
        return capture


class Shared(Gateway):
    """A gateway whose memory other DPDK processes can map: its hugepages are files on a mount."""

    def _start(self):
        self.prefix = f"penstocktest{os.getpid()}"
        self.mount = tempfile.mkdtemp(prefix="penstock-huge-")
        self.stack.callback(shutil.rmtree, f"/var/run/dpdk/{self.prefix}", ignore_errors=True)
        self.stack.callback(os.rmdir, self.mount)
        sh("mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "none", self.mount)
        self.stack.callback(sh, "umount", "--lazy", self.mount)
        self.stack.callback(lambda: [path.unlink() for path in pathlib.Path(self.mount).iterdir()])
        super()._start()

    def command(self):
        eal = ["--lcores=0@0,1@1" if os.cpu_count() > 1 else "--lcores=0@0,1@0", f"--file-prefix={self.prefix}"]
        eal += [f"--huge-dir={self.mount}", "--no-pci", "--iova-mode=va", "--vdev", self.device()]
        return [self.options.binary, *eal, "--", *RUN, "-c", str(self.write_config(None))]


def ports(packet):
    """Source and destination port of a TCP packet over IPv4; None for another frame."""
    data = packet.data
    if len(data) < 38 or data[12:14] != b"\x08\x00" or data[23] != 6:
        return None
    return int.from_bytes(data[34:36], "big"), int.from_bytes(data[36:38], "big")


def ask(bed):
    for _ in range(REQUESTS):
        assert bed.curl("/hello") == HELLO


def test_dumpcap_beside_a_gateway(options):
    options.need_gateway()
    if shutil.which("dpdk-dumpcap") is None:
        raise Skip("dpdk-dumpcap is not installed (package dpdk)")
    if number("free_hugepages") < SHARED_PAGES:
        raise Skip("two processes need hugepages to share")
    with Shared(options) as bed:
        file = bed.folder / "dumpcap.pcapng"
        name = bed.device().split(",")[0]
        # Some frames more than are asked for come with the last burst.
        count = 4 * REQUESTS
        command = ["dpdk-dumpcap", f"--file-prefix={bed.prefix}", "-i", name, "-c", str(count), "-w", str(file)]
        dumpcap = bed.start(*command)
        until(lambda: (bed.curl("/hello") == HELLO) and not dumpcap.alive(), "the end of dpdk-dumpcap", 3 * PATIENCE_S)
        assert dumpcap.wait() == 0, dumpcap.tail()
        packets = pcapng.read(file.read_bytes()).packets
        assert len(packets) >= count and {80} & {port for packet in packets for port in ports(packet) or ()}
        assert any(HELLO.encode() in packet.data for packet in packets), "the gateway's answers"
        bed.assert_serves()
        bed.stop()


def test_telemetry_in_every_mode(options):
    for made in (Gateway, Shared) if options.huge and number("free_hugepages") >= SHARED_PAGES else (Gateway,):
        with made(options) as bed:
            bed.assert_serves()
            prefix = bed.prefix if made is Shared else f"penstock_{bed.pid()}"
            stats = telemetry(prefix, "/ethdev/stats,0")["/ethdev/stats"]
            assert stats["ipackets"] > 0 and stats["opackets"] > 0, stats
            bed.stop()


def telemetry(prefix, question):
    """What dpdk-telemetry.py shows, by the socket it uses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(PATIENCE_S)
        client.connect(f"/var/run/dpdk/{prefix}/dpdk_telemetry.v2")
        size = json.loads(client.recv(1024))["max_output_len"]
        client.send(question.encode())
        return json.loads(client.recv(size))


def test_both_ways_in_order(options):
    with Gateway(options) as bed:
        process, file = bed.pcap("--port", "80", "--host", SERVER_V4)
        ask(bed)
        bed.connect(v6=True).close()
        until(lambda: file.read_bytes().count(HELLO.encode()) == REQUESTS, "the answers in the file")
        process.signal(signal.SIGINT)
        packets = bed.captured(process, file).packets
        assert all(80 in ports(packet) for packet in packets)
        assert all((ports(packet)[1] == 80) == packet.inbound for packet in packets)
        assert not any(packet.comment for packet in packets)
        times = [packet.time for packet in packets]
        assert times == sorted(times)
        sizes = [packet.length for packet in packets]
        assert sizes == [len(packet.data) for packet in packets]
        bed.stop()


def test_dropped_frames_with_their_reason(options):
    with Gateway(options) as bed:
        process, file = bed.pcap("--drop-reason", "no_connection", "--count", "2", "--snaplen", "40")
        ask(bed)
        for port in (81, 82):
            with bed.socket() as closed, contextlib.suppress(ConnectionRefusedError):
                closed.settimeout(PATIENCE_S)
                closed.connect((SERVER_V4, port))
        packets = bed.captured(process, file).packets
        assert [ports(packet)[1] for packet in packets] == [81, 82], packets
        assert all(packet.inbound and packet.comment.startswith("dropped: no_connection") for packet in packets)
        assert all(len(packet.data) == 40 < packet.length for packet in packets)


def test_a_listener_for_a_time(options):
    with Gateway(options) as bed:
        process, file = bed.pcap("--listener", f"{SERVER_V4}:80", "--duration", "1s")
        ask(bed)
        packets = bed.captured(process, file).packets
        assert {port for packet in packets for port in ports(packet)} >= {80}
        process, file = bed.pcap("--listener", f"{SERVER_V4}:81", "--duration", "1s")
        ask(bed)
        assert not bed.captured(process, file).packets


def test_standard_output_and_a_killed_reader(options):
    with Gateway(options) as bed:
        command = [options.binary, "pcap", "--socket", str(bed.pid()), "--count", "3"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            head = os.read(process.stdout.fileno(), 4096)
            ask(bed)
            rest = process.stdout.read()
            assert process.wait(PATIENCE_S) == 0, process.stderr.read()
        assert len(pcapng.read(head + rest).packets) == 3
        process, file = bed.pcap()
        ask(bed)
        process.kill()
        pcapng.read(file.read_bytes())
        # The gateway notices, and lets the next one begin.
        until(lambda: try_capture(bed) == 0, "the end of the killed capture")
        bed.stop()


def try_capture(bed):
    command = [bed.options.binary, "pcap", "--socket", str(bed.pid()), "--duration", "1ms", "-w", "/dev/null"]
    return subprocess.run(command, capture_output=True, timeout=PATIENCE_S).returncode


def test_one_at_a_time_and_what_is_refused(options):
    with Gateway(options) as bed:
        process, file = bed.pcap()
        command = [options.binary, "pcap", "--socket", str(bed.pid()), "-w", str(bed.folder / "second")]
        second = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        assert second.returncode == 1 and "another capture is running" in second.stderr, second
        assert not (bed.folder / "second").exists()
        wrong = subprocess.run([*command, "--drop-reason", "bad"], capture_output=True, text=True, timeout=PATIENCE_S)
        assert wrong.returncode == 2 and "no_connection" in wrong.stderr, wrong
        bed.stop()
        bed.captured(process, file)


def test_under_load_the_gateway_serves_on(options):
    with Gateway(options) as bed:
        process, file = bed.pcap("--port", "80")
        wrk = bed.start("wrk", "-t", "1", "-c", "20", "-d", "2s", bed.url("/hello"))
        assert wrk.wait() == 0 and "Non-2xx" not in wrk.text(), wrk.tail()
        process.signal(signal.SIGTERM)
        capture = bed.captured(process, file)
        assert len(capture.packets) > 1000, "some of them at least"
        bed.stop()
