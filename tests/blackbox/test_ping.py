"""Below HTTP: the link, ARP and neighbour discovery, echo, closed ports, over IPv4 and IPv6."""

import errno
import re

import gateway_config
from gateway_config import Site
from netns import PATIENCE_S, SERVER_V4, SERVER_V6

SITE = Site(routes=gateway_config.base_routes())


def ping(bed, *arguments):
    done = bed.run("ping", "-c", "5", "-i", "0.2", "-W", "10", *arguments)
    received = re.search(r"(\d+) received", done.stdout)
    assert received and int(received[1]) == 5, done.stdout
    assert "wrong" not in done.stdout and "DUP" not in done.stdout, done.stdout


def test_v4(bed):
    ping(bed, SERVER_V4)


def test_v6(bed):
    ping(bed, SERVER_V6)


def test_v4_full_frame(bed):
    ping(bed, "-s", "1472", SERVER_V4)


def test_v6_full_frame(bed):
    ping(bed, "-s", "1452", SERVER_V6)


def test_neighbor_is_found_again(bed):
    bed.network.ip("neigh", "flush", "dev", bed.network.client)
    ping(bed, SERVER_V4)
    ping(bed, SERVER_V6)


def test_closed_port_is_refused(bed):
    for v6 in (False, True):
        with bed.socket(v6) as sock:
            sock.settimeout(PATIENCE_S)
            status = sock.connect_ex((bed.address(v6)[0], 81))
            assert status == errno.ECONNREFUSED, errno.errorcode.get(status, status)
