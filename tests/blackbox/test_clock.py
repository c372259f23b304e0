"""The wall clock jumps: the Date field follows, and no deadline, timer or connection notices.

The machine's clock is left alone: a library before the C library's adds an offset from a file to what this one process
reads. CLOCK_MONOTONIC, which the kernel never lets jump, is shifted by a time namespace.
"""

import contextlib
import email.utils
import os
import shutil
import struct
import time
from dataclasses import replace

import gateway_config
from gateway_config import HELLO, Site
from netns import Skip, sh, until
from penstock_bed import Bed
from test_metrics import Watched, total

DAY_S = 86_400
# Between reading the clock here and the Date field there, on a busy machine.
TOLERANCE_S = 120
SHIM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static const volatile long long *offset;
__attribute__((constructor)) static void map(void) {
    int file = open(getenv("CLOCK_OFFSET"), O_RDONLY);
    void *at = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
    offset = at == MAP_FAILED ? 0 : at;
}
int clock_gettime(clockid_t id, struct timespec *t) {
    int code = syscall(SYS_clock_gettime, id, t);
    if (code == 0 && id == CLOCK_REALTIME && offset) t->tv_sec += *offset;
    return code;
}
"""


class Jumping(Watched):
    """A watched bed whose gateway reads a wall clock that `jump` sets."""

    def __init__(self, options):
        super().__init__(options)
        self.site = replace(self.site, http={"head_timeout": "1s"})

    def command(self):
        source, library, self.offset = (self.folder / name for name in ("clock.c", "clock.so", "offset"))
        source.write_text(SHIM)
        self.jump(0)
        sh("cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source))
        return ["env", f"LD_PRELOAD={library}", f"CLOCK_OFFSET={self.offset}", *super().command()]

    def jump(self, seconds):
        """The clock is this much ahead of the machine's from now on."""
        with open(self.offset, "r+b" if self.offset.exists() else "w+b") as file:
            file.write(struct.pack("=q", int(seconds)))


def date(connection):
    """The Date field of an answer, in seconds since 1970."""
    answer = connection.get()
    assert answer.body == HELLO.encode(), answer
    return email.utils.parsedate_to_datetime(answer.one("date")).timestamp()


def deadlines_met(bed):
    """How many connections were ended by a deadline."""
    samples = bed.scrape()
    ends = [("penstock_http_closed_total", "idle"), ("penstock_http_closed_total", "write_timeout"),
            ("penstock_http_rejected_total", "head_timeout"), ("penstock_connections_closed_total", "timeout")]  # fmt: skip
    return sum(total(samples, name, reason=reason) for name, reason in ends)


def test_the_wall_clock_jumps(options):
    if shutil.which("cc") is None:
        raise Skip("cc is not installed")
    with Jumping(options) as bed, contextlib.ExitStack() as stack:
        kept, silent = (stack.enter_context(bed.connect()) for _ in range(2))
        date(silent)
        # A day ahead, two days back, to before 1970, and home.
        for offset in (DAY_S, -DAY_S, -time.time() - 2 * DAY_S, 0):
            bed.jump(offset)
            expected = max(0, time.time() + offset)
            until(lambda expected=expected: abs(date(kept) - expected) < TOLERANCE_S, f"a Date {offset:.0f} s from now")
            assert deadlines_met(bed) == 0, f"a deadline was met by a jump of {offset:.0f} s"
        assert abs(date(silent) - time.time()) < TOLERANCE_S
        with bed.connect() as slow:
            slow.send(b"GET /hello HT")
            assert slow.response().status == 408, "deadlines do not pass any more"
        assert deadlines_met(bed) == 1
        bed.assert_serves()
        bed.stop()


class Shifted(Bed):
    """A bed whose gateway sees a monotonic clock of a machine that has run for long."""

    def command(self):
        return ["unshare", "--time", f"--monotonic={1000 * DAY_S}", f"--boottime={1000 * DAY_S}", *super().command()]


def test_a_machine_that_has_run_for_years(options):
    options.need_gateway()
    if not os.path.exists("/proc/self/ns/time"):
        raise Skip("this kernel has no time namespaces")
    with Shifted(options, Site(routes=gateway_config.base_routes())) as bed:
        bed.assert_serves()
        with bed.connect() as connection:
            assert abs(date(connection) - time.time()) < TOLERANCE_S
        # `unshare` has become the gateway.
        bed.stop()
