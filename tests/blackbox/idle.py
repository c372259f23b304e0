"""What an idle gateway costs: CPU time of its worker, and how long the first request after a quiet time waits.

Owns the two measurements, for the test that bounds them and the bench that publishes them. Refuses to judge.
"""

import pathlib
import statistics
import time

import gateway_config
from gateway_config import HELLO, Site
from penstock_bed import Bed

WORKER = "worker"


def bed(options, idle):
    """A gateway with few connections whose workers `sleep` or `poll`."""
    workers = {"idle": idle, "connections": 64}
    return Bed(options, Site(routes=gateway_config.base_routes(), workers=workers))


def worker_tasks(pid):
    """The folders in /proc of the process's worker threads, by DPDK's names for them."""
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return [task for task in tasks if WORKER in (task / "comm").read_text()]


def worker_cpu_s(pid):
    """CPU time that the workers have used, in seconds."""
    tasks = worker_tasks(pid)
    assert tasks, f"no worker thread in process {pid}"
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def cpu_share(pid, window_s):
    """The part of a core that the workers use, over a window."""
    cpu, wall = worker_cpu_s(pid), time.monotonic()
    time.sleep(window_s)
    return (worker_cpu_s(pid) - cpu) / (time.monotonic() - wall)


def first_latencies_s(connection, count, quiet_s):
    """Times from sending a request to its answer, each after a quiet time, on a connection that stays."""
    latencies = []
    for _ in range(count):
        time.sleep(quiet_s)
        begin = time.perf_counter()
        answer = connection.get()
        latencies.append(time.perf_counter() - begin)
        assert answer.body == HELLO.encode(), answer
    return latencies


def percentile(values, percent):
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
