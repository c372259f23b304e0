"""The test bed: a gateway process, the network to it and a client in a namespace of its own.

Owns starting, watching and stopping them, whatever happens to a test. Refuses to judge answers.
"""

import collections
import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from dataclasses import dataclass, replace

import gateway_config
import stand_in
from http_raw import Connection
from netns import PATIENCE_S, SERVER_V4, SERVER_V6, Network, Skip, closing_stack, inside, number, until

READY = re.compile(r"\bready\b")
# Tests read what people read; test_logs reads JSON.
RUN = ("run", "--log-format", "text")
LEAK = re.compile(r"leak", re.IGNORECASE)
NO_LEAK = re.compile(r"\b(no|0)\b[^,;]*leak|leak\w*\W+0\b", re.IGNORECASE)


@dataclass(frozen=True)
class Options:
    """How beds are made: `kind` is tap, af_packet or nginx (the stand-in)."""

    binary: str
    kind: str = "tap"
    huge: bool = True

    def with_(self, **changes):
        return replace(self, **changes)

    def need_gateway(self):
        if self.kind == "nginx":
            raise Skip("needs the gateway, not its stand-in")


class Process:
    """A child whose merged output is kept line by line."""

    def __init__(self, argv):
        self.argv = argv
        self.lines = collections.deque(maxlen=2000)
        self.child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.child.stdout:
            self.lines.append(line.decode(errors="replace").rstrip("\n"))

    def alive(self):
        return self.child.poll() is None

    def text(self):
        return "\n".join(list(self.lines))

    def says(self, pattern):
        return any(pattern.search(line) for line in list(self.lines))

    def signal(self, number=signal.SIGTERM):
        if self.alive():
            self.child.send_signal(number)

    def wait(self, patience_s=PATIENCE_S):
        """The exit status; the output is complete afterwards. A process that stays is killed and reported."""
        try:
            self.child.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {patience_s} s:\n{self.tail()}") from None
        self.reader.join(PATIENCE_S)
        return self.child.returncode

    def kill(self):
        """Ends it and its children, which share its session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait(PATIENCE_S)

    def tail(self, count=15):
        return "\n".join(f"    | {line}" for line in list(self.lines)[-count:])

    def leaks(self):
        """Lines that report frames or connections that were not given back."""
        return [line for line in list(self.lines) if LEAK.search(line) and not NO_LEAK.search(line)]


class Bed:
    """A running gateway and its client. Use as a context manager."""

    def __init__(self, options, site):
        self.options = options
        self.site = site
        self.stack = closing_stack()
        self.network = None
        self.gateway = None

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stack.close()

    def _start(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="penstock-bed-"))
        self.stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        gateway_config.write_files(self.site, self.folder)
        self.network = Network(self.options.kind)
        self.stack.callback(self.network.close)
        self.gateway = self.launch()
        if self.options.kind == "nginx":
            self.network.attach()
            until(lambda: not self.gateway.alive() or self._port_open(), "the stand-in's port")
            assert self.gateway.alive(), f"the stand-in ended:\n{self.gateway.tail()}"
            return
        self.wait_ready(self.gateway)
        self.network.attach()

    def launch(self):
        """Starts a gateway on this bed's link, without waiting for anything."""
        process = Process(self.command())
        self.stack.callback(process.kill)
        return process

    def start_again(self):
        """Starts the gateway again, on the same link and with the same configuration."""
        self.gateway = self.launch()
        self.wait_ready(self.gateway)
        self.network.attach()

    def command(self):
        """The command line, its configuration written."""
        if self.options.kind == "nginx":
            config = self.folder / "nginx.conf"
            config.write_text(stand_in.config(self.site, self.folder))
            return ["ip", "netns", "exec", self.network.server_namespace, "nginx", "-c", str(config)]
        return [self.options.binary, *RUN, "-c", str(self.write_config(self.device()))]

    def device(self):
        if self.options.kind == "tap":
            return f"net_tap0,iface={self.network.client}"
        return f"net_af_packet0,iface={self.network.ours},qdisc_bypass=1"

    def write_config(self, device):
        config = self.folder / "penstock.toml"
        addresses = [f"{SERVER_V4}/24", f"{SERVER_V6}/64"]
        hugepages = "auto" if self.options.huge else "off"
        config.write_text(gateway_config.toml(self.site, self.folder, device, addresses, hugepages))
        return config

    def wait_ready(self, gateway):
        until(lambda: gateway.says(READY) or not gateway.alive(), "the gateway's ready line", 2 * PATIENCE_S)
        if not gateway.alive():
            status = gateway.wait()
            raise AssertionError(f"the gateway ended at start with status {status}:\n{gateway.tail()}")

    def _port_open(self):
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return False
        return True

    # --- the client's side -----------------------------------------------------------------------------------

    def inside(self):
        return inside(self.network.namespace)

    def run(self, *argv, patience_s=2 * PATIENCE_S):
        """Runs a command in the client's namespace: status, output and errors together."""
        if shutil.which(argv[0]) is None:
            raise Skip(f"{argv[0]} is not installed")
        with self.inside():
            return subprocess.run(
                argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=patience_s, errors="replace"
            )

    def start(self, *argv):
        """Starts a command in the client's namespace; it is killed with the bed."""
        with self.inside():
            process = Process(list(argv))
        self.stack.callback(process.kill)
        return process

    def start_or_skip(self, *argv):
        """Like `start`; skips the test where the command is missing."""
        if shutil.which(argv[0]) is None:
            raise Skip(f"{argv[0]} is not installed")
        return self.start(*argv)

    def url(self, path, v6=False):
        return f"http://[{SERVER_V6}]{path}" if v6 else f"http://{SERVER_V4}{path}"

    def curl(self, path, *arguments, v6=False):
        """curl's output for the path; fails if curl does."""
        done = self.run("curl", "-gsS", "--max-time", str(PATIENCE_S), *arguments, self.url(path, v6))
        assert done.returncode == 0, f"curl: exit {done.returncode}: {done.stdout}"
        return done.stdout

    def assert_serves(self):
        """The gateway answers, over IPv4 and IPv6."""
        for v6 in (False, True):
            answer = self.curl("/hello", v6=v6)
            assert answer == gateway_config.HELLO, f"answered {answer!r}"

    def socket(self, v6=False, receive_buffer=None):
        """An unconnected TCP socket of the client."""
        with self.inside():
            made = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        return made

    def address(self, v6=False):
        return (SERVER_V6 if v6 else SERVER_V4, 80)

    def connect(self, v6=False, receive_buffer=None):
        """A raw HTTP connection; close it, or use it as a context manager."""
        made = self.socket(v6, receive_buffer)
        made.settimeout(PATIENCE_S)
        try:
            made.connect(self.address(v6))
        except BaseException:
            made.close()
            raise
        return Connection(made)

    def send_until_answered(self, data, v6=False):
        """One connection, one send, the answer."""
        with self.connect(v6) as connection:
            connection.send(data)
            return connection.response()

    # --- the end ---------------------------------------------------------------------------------------------

    def stop(self, number=signal.SIGTERM):
        """Stops the gateway and asserts that it ended well and gave everything back."""
        self.gateway.signal(number)
        self.stop_wait()

    def stop_wait(self):
        """Waits for a gateway that was told to stop."""
        status = self.gateway.wait()
        assert status == 0, f"exit status {status}:\n{self.gateway.tail()}"
        assert not self.gateway.leaks(), f"leaks: {self.gateway.leaks()}"


def traces():
    """What a gateway must not leave behind: interfaces, namespaces, files on hugetlbfs, used hugepages."""
    interfaces = {name for _, name in socket.if_nameindex() if re.match(r"(pc|pg)\d", name)}
    namespaces = {path.name for path in pathlib.Path("/run/netns").glob("penstock*")}
    mounts = [line.split() for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
    files = {str(path) for mount in mounts if mount[2] == "hugetlbfs" for path in pathlib.Path(mount[1]).iterdir()}
    used = number("nr_hugepages") - number("free_hugepages")
    return {"interfaces": interfaces, "namespaces": namespaces, "hugepage files": files, "used hugepages": used}
