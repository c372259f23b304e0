"""Namespaces, links and hugepages of the test bed, each undone by closing it.

Owns what the kernel has to be told. Refuses to know about the gateway or HTTP.
"""

import atexit
import contextlib
import ctypes
import itertools
import json
import os
import pathlib
import subprocess
import time

PATIENCE_S = 30
CLIENT_V4, SERVER_V4 = "10.7.0.1", "10.7.0.2"
CLIENT_V6, SERVER_V6 = "fd00:7::1", "fd00:7::2"
CLIENT_MAC = "02:00:0a:07:00:01"
HUGEPAGES = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB")

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


class Skip(Exception):
    """A test that cannot run here, with the reason."""


def unique(prefix):
    """A name that no other run uses, short enough for an interface."""
    return f"{prefix}{os.getpid() % 10**6}x{next(_numbers)}"


def sh(*argv, check=True):
    """Runs a command and returns its output; a failure shows what it said."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_S)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stdout.strip()}")
    return done.stdout


def until(condition, what, patience_s=PATIENCE_S):
    """Polls until the condition holds and returns what it returned; fails at the deadline."""
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience_s} s: {what}")
        time.sleep(0.02)
    return value


def closing_stack():
    """An ExitStack that is closed at the latest when the interpreter ends."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack


@contextlib.contextmanager
def inside(namespace):
    """This thread is in the namespace; sockets and processes it makes stay there."""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{namespace}") as away:
        _setns(away)
        try:
            yield
        finally:
            _setns(home)


def _setns(file):
    if _libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")


class Hugepages:
    """Makes `wanted` pages of 2 MiB free; the former number returns on close."""

    def __init__(self, wanted):
        self.former = number("nr_hugepages")
        missing = wanted - number("free_hugepages")
        if missing > 0:
            set_hugepages(self.former + missing)

    def close(self):
        set_hugepages(self.former)


def number(name):
    """One of the kernel's figures on 2 MiB pages; 0 where there are none."""
    try:
        return int((HUGEPAGES / name).read_text())
    except OSError:
        return 0


def set_hugepages(count):
    with contextlib.suppress(OSError):
        (HUGEPAGES / "nr_hugepages").write_text(str(count))


@contextlib.contextmanager
def no_hugepages():
    """The machine has no 2 MiB pages; skips the test where some are in use."""
    former = number("nr_hugepages")
    set_hugepages(0)
    try:
        if number("nr_hugepages"):
            raise Skip("hugepages are in use here")
        yield
    finally:
        set_hugepages(former)


class Network:
    """A client namespace and the link between it and the gateway.

    `tap`: the gateway's driver makes the interface, `attach` moves it. `af_packet`: a veth pair. `nginx`: a veth
    pair whose other end is in a second namespace with the server's addresses, for a stand-in for the gateway.
    """

    def __init__(self, kind):
        self.kind = kind
        self.stack = closing_stack()
        self.namespace = self.make_namespace()
        self.client = unique("pc")
        self.ours = unique("pg")
        self.server_namespace = self.make_namespace() if kind == "nginx" else None
        if kind != "tap":
            self._make_veth()

    def close(self):
        self.stack.close()

    def attach(self):
        """Gives the client its end; a tap must exist by now."""
        if self.kind == "tap":
            self._move_tap()
        self.ip("link", "set", self.client, "up")
        self.ip("addr", "replace", f"{CLIENT_V4}/24", "dev", self.client)
        self.ip("addr", "replace", f"{CLIENT_V6}/64", "dev", self.client, "nodad")

    def ip(self, *arguments):
        """`ip` in the client's namespace."""
        return sh("ip", "-n", self.namespace, *arguments)

    def client_packets(self):
        """Frames the client's interface has sent."""
        link = json.loads(self.ip("-s", "-j", "link", "show", self.client))
        return link[0]["stats64"]["tx"]["packets"]

    def gateway_mac(self):
        """The hardware address that answers for the gateway."""
        self.ip("neigh", "flush", "dev", self.client)

        def answer():
            with inside(self.namespace):
                sh("ping", "-c", "1", "-W", "1", SERVER_V4, check=False)
            neighbors = json.loads(self.ip("-j", "neigh", "show", SERVER_V4))
            return neighbors and neighbors[0].get("lladdr")

        return until(answer, "an answer to ARP")

    def make_namespace(self):
        name = unique("penstock")
        sh("ip", "netns", "add", name)
        self.stack.callback(sh, "ip", "netns", "delete", name)
        sh("ip", "-n", name, "link", "set", "lo", "up")
        return name

    def _make_veth(self):
        sh("ip", "link", "add", self.ours, "type", "veth", "peer", "name", self.client, "netns", self.namespace)
        self.stack.callback(sh, "ip", "link", "delete", self.ours, check=False)
        if self.kind == "nginx":
            sh("ip", "link", "set", self.ours, "netns", self.server_namespace)
            serve = ("ip", "-n", self.server_namespace)
            sh(*serve, "link", "set", self.ours, "up")
            sh(*serve, "addr", "add", f"{SERVER_V4}/24", "dev", self.ours)
            sh(*serve, "addr", "add", f"{SERVER_V6}/64", "dev", self.ours, "nodad")
            return
        # The gateway owns this end: the kernel must stay silent on it.
        with contextlib.suppress(OSError):
            pathlib.Path(f"/proc/sys/net/ipv6/conf/{self.ours}/disable_ipv6").write_text("1")
        sh("ip", "link", "set", self.ours, "up")
        with inside(self.namespace):
            # The kernel leaves TCP checksums to a device that veth does not have; packet sockets see them unfinished.
            sh("ethtool", "-K", self.client, "tx", "off")

    def _move_tap(self):
        until(lambda: os.path.exists(f"/sys/class/net/{self.client}"), f"interface {self.client}")
        # The driver gives the kernel's side its own MAC address: the client needs another one.
        sh("ip", "link", "set", self.client, "down", "address", CLIENT_MAC)
        sh("ip", "link", "set", self.client, "netns", self.namespace)
