"""The test bed of the load generator: `penstock load run` on one end of a veth, and what it asks on the other.

Owns the HTTP server that remembers what it was asked, running the generator, and what its runs must leave nothing of.
Refuses to judge results.
"""

import contextlib
import http.server
import json
import pathlib
import re
import shutil
import signal
import socket
import tempfile
import threading

import gateway_config
from gateway_config import Site
from netns import CLIENT_V4, PATIENCE_S, SERVER_V4, Network, Skip, closing_stack, inside, sh, unique, until
from penstock_bed import READY, RUN, Process

PASS, INVALID, FAIL, PLAN, ABORTED = 0, 10, 99, 104, 105
# Shared CPUs make a generator late; a run that says so is repeated so often.
TRIES = 4
# The gateway of a pair has CPU 1, so the generator's worker gets CPU 0.
GENERATOR_LCORES = "0@1,1@0"


class Server:
    """Answers as the path says and keeps the methods, headers and bodies it was sent, and from where."""

    def __init__(self, network, port=80, address=CLIENT_V4):
        self.asked = []
        self.sources = []
        self.connections = 0
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self):
                super().setup()
                server.connections += 1

            def answer(self):
                length = int(self.headers.get("Content-Length", 0))
                server.sources.append(self.client_address[:2])
                server.asked.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
                status = int(self.path.removeprefix("/status/")) if self.path.startswith("/status/") else 200
                body = b"an answer\n"
                head = f"HTTP/1.1 {status} Any\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                self.wfile.write(head + (b"" if self.command == "HEAD" else body))

            do_GET = do_POST = do_PUT = do_HEAD = answer

            def log_message(self, *_):
                pass

        class Threaded(http.server.ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
            request_queue_size = 1024
            daemon_threads = True

            def handle_error(self, *_):
                """Connections that the generator resets at the end of a run are no news."""

        with inside(network.namespace):
            self.http = Threaded((address, port), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join(PATIENCE_S)


class Result:
    """How a run ended: exit status, what it printed, the result document if there is one."""

    def __init__(self, status, text, document):
        self.status = status
        self.text = text
        self.document = document

    def total(self):
        return self.document["total"]

    def outcomes(self):
        return self.total()["counts"]["outcomes"]


class Field:
    """A veth with the generator's end outside and a kernel's end in a namespace. Use as a context manager."""

    def __init__(self, options, serve=True):
        options.need_gateway()
        self.options = options
        self.stack = closing_stack()
        self.server = None
        try:
            self.folder = pathlib.Path(tempfile.mkdtemp(prefix="penstock-load-"))
            self.stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.network = Network("af_packet")
            self.stack.callback(self.network.close)
            self.network.attach()
            if serve:
                self.server = Server(self.network)
                self.stack.callback(self.server.close)
        except BaseException:
            self.stack.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()

    def place(self, device):
        """The flags that say where the generator is."""
        device = device or f"net_af_packet0,iface={self.network.ours},qdisc_bypass=1"
        return ["--device", device, "--source", f"{SERVER_V4}/24"]

    def url(self, path="/"):
        return f"http://{CLIENT_V4}{path}"

    def command(self, *arguments, url=None, device=None, requests=""):
        """The command line; its workers' pages follow the options by a plan, which flags then win over."""
        plan = self.folder / "plan.toml"
        plan.write_text(f'[workers]\nhugepages = "{"auto" if self.options.huge else "off"}"\n\n{requests}')
        return [self.options.binary, "load", "run", url or self.url(), "--plan", str(plan), *self.place(device), *arguments]

    def start(self, *arguments, **how):
        """Starts a run whose result goes to a file."""
        (self.folder / "result.json").unlink(missing_ok=True)
        process = Process([*self.command(*arguments, **how), "--json", str(self.folder / "result.json")])
        self.stack.callback(process.kill)
        return process

    def finish(self, process, patience_s=3 * PATIENCE_S):
        status = process.wait(patience_s)
        assert "panicked" not in process.text(), process.tail()
        file = self.folder / "result.json"
        return Result(status, process.text(), json.loads(file.read_text()) if file.exists() else None)

    def run(self, *arguments, **how):
        """A run to its end, whatever it is."""
        if self.server:
            self.server.asked.clear()
        return self.finish(self.start(*arguments, **how))

    def run_valid(self, *arguments):
        """A run on time; skips the test where the CPUs do not allow one."""
        for _ in range(TRIES):
            result = self.run(*arguments)
            if result.status != INVALID:
                return result
        reasons = [reason["what"] for reason in result.document["verdict"]["reasons"]]
        raise Skip(f"{TRIES} runs were late: {'; '.join(reasons)}")


class Pair(Field):
    """A veth inside one namespace, the gateway on one end and the generator on the other."""

    def __init__(self, options):
        options.need_gateway()
        self.options = options
        self.stack = closing_stack()
        try:
            self.server = None
            self.folder = pathlib.Path(tempfile.mkdtemp(prefix="penstock-load-"))
            self.stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self._make_link()
            self._start_gateway()
        except BaseException:
            self.stack.close()
            raise

    def _make_link(self):
        self.namespace = unique("penstock")
        sh("ip", "netns", "add", self.namespace)
        self.stack.callback(sh, "ip", "netns", "delete", self.namespace)
        self.ends = ("pair0", "pair1")
        sh("ip", "-n", self.namespace, "link", "add", self.ends[0], "type", "veth", "peer", "name", self.ends[1])
        with inside(self.namespace):
            for end in self.ends:
                # Both ends are DPDK's: the kernel must stay silent on them.
                sh("ip", "netns", "exec", self.namespace, "sysctl", "-qw", f"net.ipv6.conf.{end}.disable_ipv6=1", check=False)
                sh("ip", "link", "set", end, "up")

    def _start_gateway(self):
        site = Site(routes=gateway_config.base_routes())
        device = f"net_af_packet0,iface={self.ends[0]},qdisc_bypass=1"
        config = self.folder / "penstock.toml"
        hugepages = "auto" if self.options.huge else "off"
        config.write_text(gateway_config.toml(site, self.folder, device, [f"{SERVER_V4}/24"], hugepages))
        with inside(self.namespace):
            self.gateway = Process([self.options.binary, *RUN, "-c", str(config)])
        self.stack.callback(self.gateway.kill)
        until(lambda: self.gateway.says(READY) or not self.gateway.alive(), "the gateway's ready line", 2 * PATIENCE_S)
        assert self.gateway.alive(), self.gateway.tail()

    def url(self, path="/hello"):
        return f"http://{SERVER_V4}{path}"

    def command(self, *arguments, url=None):
        memory = ["--in-memory"] if self.options.huge else ["--no-huge", "-m", "512", "--no-shconf"]
        device = f"net_af_packet0,iface={self.ends[1]},qdisc_bypass=1"
        eal = ["--lcores", GENERATOR_LCORES, *memory, "--no-pci", "--iova-mode=va"]
        eal += ["--file-prefix", unique("penstock_load")]
        run = ["load", "run", url or self.url(), "--source", f"{CLIENT_V4}/24", *arguments]
        return [self.options.binary, *eal, "--vdev", device, "--", *run]

    def start(self, *arguments, **how):
        with inside(self.namespace):
            return super().start(*arguments, **how)

    def stop(self):
        """Ends the gateway and asserts that it gave everything back."""
        self.gateway.signal(signal.SIGTERM)
        status = self.gateway.wait()
        assert status == 0 and not self.gateway.leaks(), self.gateway.tail()


def remains(process):
    """What is still there of a run: its EAL folder, claims on devices, sockets."""
    pid = process.child.pid
    folders = [path for path in pathlib.Path("/run/dpdk").glob("*") if str(pid) in path.name]
    claims = re.findall(r"@penstock/\S+", pathlib.Path("/proc/net/unix").read_text())
    temporary = list(pathlib.Path(tempfile.gettempdir()).glob(f"penstock-*{pid}*"))
    return {"EAL folders": folders, "claims": claims, "temporary files": temporary}


@contextlib.contextmanager
def nobody(options):
    """A field whose kernel's end refuses connections."""
    with Field(options, serve=False) as field:
        yield field
