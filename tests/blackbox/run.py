#!/usr/bin/env python3
"""Runs the black-box tests: real clients in a network namespace against the gateway on a virtual device.

Each module `test_*.py` says what it needs: a `SITE` (its tests share one gateway and get the bed), or none (its tests
get the options and make their own). Tests are the functions `test_*`, or what `cases()` returns as (name, function).
"""

import argparse
import contextlib
import importlib
import os
import pathlib
import resource
import shutil
import signal
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True

from netns import Hugepages, Skip, closing_stack, number  # noqa: E402
from penstock_bed import Bed, Options, traces  # noqa: E402
from stand_in import DIFFERS  # noqa: E402

ORDER = [
    "ping", "http", "limits", "bodies", "load", "load_run", "load_answers", "selftest", "metrics", "logs", "capture",
    "conformance", "frames", "packets", "hostile", "pressure", "drain", "beds", "idle", "clock", "process", "identity", "doctor",
    "troubleshooting",
]
HUGEPAGES_WANTED = 512
# A gateway that answers nothing costs each test its whole patience.
FAILURES_MAX = 10


class Results:
    """Counts outcomes and prints each as it comes."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def run(self, name, test, bed=None):
        start = time.monotonic()
        try:
            test()
        except Skip as reason:
            self.skipped += 1
            self._print("SKIP", name, start, reason)
        except Exception as error:  # noqa: BLE001 - whatever it is, the rest still runs
            self.failed += 1
            self._print("FAIL", name, start, describe(error))
            if bed is not None and bed.gateway.lines:
                print(bed.gateway.tail(), flush=True)
        else:
            self.passed += 1
            self._print("ok", name, start)

    def _print(self, outcome, name, start, detail=""):
        print(f"{outcome:4} {name} ({time.monotonic() - start:.1f} s){f': {detail}' if detail else ''}", flush=True)


def describe(error):
    """The error and the line of the test that met it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "test_" in frame.filename]
    where = f" ({pathlib.Path(frames[-1].filename).name}:{frames[-1].lineno}: {frames[-1].line})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def tests_of(module, pattern):
    """(name, function) of the module's tests that the pattern selects, in the order they are written."""
    if hasattr(module, "cases"):
        found = module.cases()
    else:
        found = [(name[len("test_"):], value) for name, value in vars(module).items() if name.startswith("test_")]
    area = module.__name__.removeprefix("test_")
    named = [(f"{area}.{name}", function) for name, function in found]
    return [(name, function) for name, function in named if pattern in name]


def run_module(module, options, pattern, results):
    tests = tests_of(module, pattern)
    if not tests:
        return
    if not hasattr(module, "SITE"):
        for name, function in tests:
            results.run(name, lambda function=function: function(options))
        return
    run_on_shared_bed(module, tests, options, results)


def run_on_shared_bed(module, tests, options, results):
    """One gateway for the module's tests. A test that kills it costs the module a new one."""
    area = module.__name__.removeprefix("test_")
    left = list(tests)
    failed_max = results.failed + FAILURES_MAX
    while left:
        with contextlib.ExitStack() as stack:
            try:
                bed = stack.enter_context(Bed(options, module.SITE))
            except Exception as error:  # noqa: BLE001
                results.run(f"{area}: starts", lambda error=error: fail(error))
                for name, _ in left:
                    results.run(name, lambda: fail(Skip("the gateway does not start")))
                return
            run_while_alive(bed, left, results, failed_max)
            if options.kind != "nginx":
                results.run(f"{area}: stops cleanly", bed.stop, bed)


def run_while_alive(bed, left, results, failed_max):
    """Takes tests from `left` until one of them has ended the gateway."""
    while left:
        name, function = left.pop(0)
        if results.failed >= failed_max:
            results.run(name, lambda: fail(Skip(f"{FAILURES_MAX} tests of this module have failed")))
        elif bed.options.kind == "nginx" and name.startswith(DIFFERS):
            results.run(name, lambda: fail(Skip("nginx answers differently")))
        else:
            results.run(name, lambda function=function: function(bed), bed)
        if not bed.gateway.alive():
            return


def fail(error):
    raise error


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("filter", nargs="?", default="", help="run the tests whose names contain this")
    parser.add_argument("--binary", default=str(HERE.parents[1] / "target/release/penstock"))
    parser.add_argument("--bed", choices=["tap", "af_packet"], default="tap")
    parser.add_argument("--no-huge", action="store_true", help="plain pages instead of hugepages")
    parser.add_argument("--server", choices=["nginx"], help="test the tests: put this server in the gateway's place")
    return parser.parse_args()


def options_from(arguments, stack):
    if not arguments.server and not os.access(arguments.binary, os.X_OK):
        sys.exit(f"error: no program at {arguments.binary}\n  fix: cargo build --release --features dpdk, or --binary")
    huge = not arguments.no_huge and not arguments.server
    if huge:
        stack.enter_context(contextlib.closing(Hugepages(HUGEPAGES_WANTED)))
        if number("free_hugepages") < HUGEPAGES_WANTED // 2:
            print("no hugepages to be had here: the tests run on plain pages")
            huge = False
    return Options(binary=os.path.abspath(arguments.binary), kind=arguments.server or arguments.bed, huge=huge)


def main():
    arguments = parse_arguments()
    if os.geteuid() != 0:
        sys.exit("error: the tests make namespaces and interfaces\n  fix: run them as root")
    for tool in ("ip", "ethtool", "curl", "ping"):
        if shutil.which(tool) is None:
            sys.exit(f"error: {tool} is missing\n  fix: scripts/setup.sh")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    results = Results()
    with closing_stack() as stack:
        options = options_from(arguments, stack)
        before = traces()
        for area in ORDER:
            run_module(importlib.import_module(f"test_{area}"), options, arguments.filter, results)
        results.run("nothing is left behind", lambda: assert_same(before, traces()))
    print(f"{results.passed} passed, {results.failed} failed, {results.skipped} skipped")
    return 1 if results.failed else 0


def assert_same(before, after):
    assert before == after, f"before {before}, after {after}"


if __name__ == "__main__":
    sys.exit(main())
