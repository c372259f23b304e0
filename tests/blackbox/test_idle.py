"""Quiet when idle: a worker that has nothing to do leaves its core, and a frame wakes it.

Nothing here is a time: CPU is compared with a gateway that polls meanwhile, waiting with what the configuration permits.
"""

import contextlib
import statistics

import idle
import gateway_config
from gateway_config import Site
from netns import PATIENCE_S, sh, until
from penstock_bed import Bed
from test_hostile import serves

# The polling one shares its core with others and with the one that sleeps: it is given as long as it needs.
SPUN_S = 2.0
# Far above what is measured (docs/performance.md), far below what polling takes.
SHARE_MAX = 0.1
SLEEP_MAX_S = 0.1
REQUESTS = 15
KINDS = ("tap", "af_packet")


def assert_quiet(sleeping, spinning):
    """While one gateway polls for so much CPU time, the other one uses a small part of that."""
    sleeping, spinning = sleeping.gateway.child.pid, spinning.gateway.child.pid
    slept, spun = idle.worker_cpu_s(sleeping), idle.worker_cpu_s(spinning)
    until(lambda: idle.worker_cpu_s(spinning) - spun > SPUN_S, f"{SPUN_S} s of polling", 3 * PATIENCE_S)
    slept, spun = idle.worker_cpu_s(sleeping) - slept, idle.worker_cpu_s(spinning) - spun
    assert slept < SHARE_MAX * spun, f"{slept:.3f} s of CPU time while the polling one took {spun:.3f} s"


@contextlib.contextmanager
def beds(options, kind):
    options.need_gateway()
    with idle.bed(options.with_(kind=kind), "sleep") as sleeping, idle.bed(options.with_(kind=kind), "poll") as spinning:
        for bed in (sleeping, spinning):
            bed.assert_serves()
        yield sleeping, spinning


def test_idle_workers_use_little_of_a_core(options):
    for kind in KINDS:
        with beds(options, kind) as (sleeping, spinning):
            assert_quiet(sleeping, spinning)
            with contextlib.ExitStack() as stack:
                # Open connections are in no list: they cost nothing.
                opened = [stack.enter_context(sleeping.connect(v6=bool(n % 2))) for n in range(32)]
                assert all(connection.get().status == 200 for connection in opened)
                assert_quiet(sleeping, spinning)
            sleeping.assert_serves()


def test_idle_without_a_link(options):
    """An interface that is down is as quiet, and serves when it is up again."""
    with beds(options, "af_packet") as (sleeping, spinning):
        network = sleeping.network
        for end in (["ip", "link", "set", network.ours], ["ip", "-n", network.namespace, "link", "set", network.client]):
            sh(*end, "down")
            assert_quiet(sleeping, spinning)
            sh(*end, "up")
            network.attach()
            until(lambda: serves(sleeping), "service after the link came up")
        sleeping.stop()


def test_a_frame_wakes_the_worker(options):
    """The first request after a quiet time does not wait for the end of `idle_sleep`."""
    options.need_gateway()
    workers = {"idle_sleep": f"{int(SLEEP_MAX_S * 1000)}ms", "connections": 64}
    for kind in KINDS:
        with Bed(options.with_(kind=kind), Site(routes=gateway_config.base_routes(), workers=workers)) as bed:
            with bed.connect() as connection:
                assert connection.get().status == 200
                latencies = idle.first_latencies_s(connection, REQUESTS, 3 * SLEEP_MAX_S)
            # Without being woken it would wait half of that on average.
            assert statistics.median(latencies) < SLEEP_MAX_S / 4, f"{kind}: {latencies}"
