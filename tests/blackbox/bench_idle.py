#!/usr/bin/env python3
"""What an idle gateway costs and what the first request after a quiet time waits, on tap and af_packet.

Prints a JSON line for each driver and setting of `idle`. Run by scripts/bench.sh idle.
"""

import argparse
import json
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True

import idle  # noqa: E402
from netns import closing_stack  # noqa: E402
from penstock_bed import Options  # noqa: E402


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--seconds", type=float, default=30, help="of each window in which CPU time is counted (30)")
    parser.add_argument("--windows", type=int, default=3, help="how many of them (3)")
    parser.add_argument("--requests", type=int, default=200, help="first requests after a quiet time (200)")
    parser.add_argument("--quiet-ms", type=int, default=200, help="the quiet time before each (200)")
    parser.add_argument("--driver", choices=["tap", "af_packet"], action="append", help="both when left out")
    return parser.parse_args()


def measure(arguments, driver, setting):
    options = Options(binary=arguments.binary, kind=driver, huge=False)
    with idle.bed(options, setting) as bed:
        bed.assert_serves()
        pid = bed.gateway.child.pid
        with bed.connect() as connection:
            latencies = idle.first_latencies_s(connection, arguments.requests, arguments.quiet_ms / 1000)
        shares = [idle.cpu_share(pid, arguments.seconds) for _ in range(arguments.windows)]
        bed.stop()
    return {
        "driver": driver,
        "idle": setting,
        "worker_cpu_percent": [round(100 * share, 2) for share in shares],
        "first_request_us": {f"p{p}": round(idle.percentile(latencies, p) * 1e6) for p in (50, 99)},
        "requests": arguments.requests,
    }


def main():
    arguments = parse_arguments()
    if os.geteuid() != 0:
        sys.exit("error: this bench makes namespaces and interfaces\n  fix: run it as root")
    with closing_stack():
        for driver in arguments.driver or ["tap", "af_packet"]:
            for setting in ("sleep", "poll"):
                print(json.dumps(measure(arguments, driver, setting)), flush=True)


if __name__ == "__main__":
    main()
