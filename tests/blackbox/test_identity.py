"""`run --user`: the process that reads frames is nobody in particular, in every thread, and does its work all the same."""

import pathlib
import pwd
import re

import gateway_config
from gateway_config import MEGABYTE, Site
from http_raw import request
from penstock_bed import Bed
from test_bodies import assert_whole
from test_process import assert_ends, link_only

USER = "nobody"
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapAmb")


class UserBed(Bed):
    """A bed whose gateway becomes an unprivileged user."""

    def command(self):
        return [*super().command(), "--user", USER]


def threads(bed):
    """What the kernel says of each thread: field to value."""
    for path in pathlib.Path(f"/proc/{bed.gateway.child.pid}/task").iterdir():
        lines = (path / "status").read_text().splitlines()
        yield dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def check(options):
    options.need_gateway()
    routes = gateway_config.base_routes() + gateway_config.file_routes(MEGABYTE)
    user = pwd.getpwnam(USER)
    with UserBed(options, Site(routes=routes)) as bed:
        assert bed.gateway.says(re.compile(f" user: {USER} ")), bed.gateway.tail()
        found = list(threads(bed))
        assert len(found) > 2, found
        for status in found:
            assert status["Uid"].split() == [str(user.pw_uid)] * 4, (status["Name"], status["Uid"])
            assert status["Gid"].split() == [str(user.pw_gid)] * 4, (status["Name"], status["Gid"])
            assert status["Groups"].split() in ([], [str(user.pw_gid)]), (status["Name"], status["Groups"])
            assert all(int(status[name], 16) == 0 for name in CAPABILITIES), status
        bed.assert_serves()
        assert_whole(bed, MEGABYTE)
        with bed.connect() as connection:
            connection.send(request("GET", "/hello"))
            assert connection.response().status == 200
            bed.stop()


def test_tap(options):
    check(options.with_(kind="tap"))


def test_af_packet(options):
    check(options.with_(kind="af_packet"))


def test_plain_pages(options):
    check(options.with_(huge=False))


def test_workers_have_no_capability_even_as_root(options):
    options.need_gateway()
    with Bed(options, Site(routes=gateway_config.base_routes())) as bed:
        found = {status["Name"]: status for status in threads(bed)}
        workers = [status for name, status in found.items() if "worker" in name]
        assert workers, sorted(found)
        for status in workers:
            assert all(int(status[name], 16) == 0 for name in CAPABILITIES), status
        bed.assert_serves()
        bed.stop()


def test_user_that_does_not_exist(options):
    with link_only(options) as bed:
        command = bed.command()
        bed.command = lambda: [*command, "--user", "penstock-nonesuch"]
        assert_ends(bed, 4)


def test_root_is_no_user_to_become(options):
    with link_only(options) as bed:
        command = bed.command()
        bed.command = lambda: [*command, "--user", "root"]
        assert_ends(bed, 2)
