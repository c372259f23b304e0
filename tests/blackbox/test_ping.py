"""Echo: the link, ARP and neighbour discovery, IPv4 and IPv6."""

import re

import gateway_config
from netns import SERVER_V4, SERVER_V6
from gateway_config import Site

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
