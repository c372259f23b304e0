"""The other ways to run: each driver, with hugepages and without, and with EAL arguments on the command line."""

import gateway_config
from gateway_config import MEGABYTE, Site
from netns import SERVER_V4, SERVER_V6, Skip, no_hugepages
from penstock_bed import RUN, Bed
from test_bodies import assert_whole
from test_ping import ping

ROUTES = gateway_config.base_routes() + gateway_config.file_routes(MEGABYTE)


def check(options, **workers):
    """Everything once, and a clean stop."""
    with Bed(options, Site(routes=ROUTES, workers=workers)) as bed:
        ping(bed, SERVER_V4)
        ping(bed, SERVER_V6)
        bed.assert_serves()
        assert_whole(bed, MEGABYTE)
        bed.stop()


def check_huge(options, kind):
    options.need_gateway()
    if not options.huge:
        raise Skip("no hugepages")
    check(options.with_(kind=kind))


def check_plain(options, kind):
    options.need_gateway()
    check(options.with_(kind=kind, huge=False))


def test_tap_with_hugepages(options):
    check_huge(options, "tap")


def test_tap_with_plain_pages(options):
    check_plain(options, "tap")


def test_af_packet_with_hugepages(options):
    check_huge(options, "af_packet")


def test_af_packet_with_plain_pages(options):
    check_plain(options, "af_packet")


def test_hugepages_auto_where_there_are_none(options):
    options.need_gateway()
    with no_hugepages(), Bed(options, Site(routes=ROUTES, workers={"hugepages": "auto"})) as bed:
        text = bed.gateway.text()
        assert "plain pages: 0 of " in text and "nr_hugepages" in text, text
        bed.assert_serves()
        assert_whole(bed, MEGABYTE)
        bed.stop()


class EalBed(Bed):
    """A bed whose gateway gets its device from EAL arguments instead of the configuration."""

    def command(self):
        memory = ["--in-memory"] if self.options.huge else ["--no-huge", "-m", "512"]
        config = str(self.write_config(None))
        eal = ["-l", "0,1", *memory, "--no-pci", "--vdev", self.device()]
        return [self.options.binary, *eal, "--", *RUN, "-c", config]


def test_eal_arguments(options):
    options.need_gateway()
    with EalBed(options, Site(routes=ROUTES)) as bed:
        bed.assert_serves()
        bed.stop()
