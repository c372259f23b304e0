"""scripts/hugepages.sh on a false machine."""

import fcntl
import os

from machine import HostTest

POOL = "sys/devices/system/node/node{}/hugepages/hugepages-{}kB/nr_hugepages"
TMPFILES = "etc/tmpfiles.d/penstock-hugepages.conf"
UNIT = "etc/systemd/system/dev-hugepages1G.mount"
WANTED = "etc/systemd/system/sysinit.target.wants/dev-hugepages1G.mount"


class Hugepages(HostTest):
    script = "hugepages.sh"

    def reserved(self, kib=2048):
        return [int(self.machine.read(POOL.format(node, kib))) for node in (0, 1)]

    def add_gigantic(self, machine=None):
        for node in (0, 1):
            for name in ("nr_hugepages", "free_hugepages"):
                pool = POOL.format(node, 1048576).replace("nr_hugepages", name)
                (machine or self.machine).write(pool, "0")

    def test_reserves_on_each_node_and_undoes(self):
        before = self.machine.snapshot()
        self.expect(0, "reserve", "512", says=["0 -> 512", "node1", "hugepages.undo"])
        self.assertEqual(self.reserved(), [512, 512])
        self.expect_undone(before)

    def test_reserves_on_one_node(self):
        self.expect(0, "reserve", "8", "--node", "1")
        self.assertEqual(self.reserved(), [0, 8])
        self.expect(4, "reserve", "8", "--node", "5", says="no NUMA node 5")

    def test_takes_no_page_away(self):
        for name in ("nr_hugepages", "free_hugepages"):
            self.machine.write(POOL.format(0, 2048).replace("nr_hugepages", name), "600")
        before = self.machine.snapshot()
        self.expect(0, "reserve", "512", says="600 pages of 2M are reserved already")
        self.assertEqual(self.reserved(), [600, 512])
        self.expect_undone(before)

    def test_undo_returns_to_what_was_found_first(self):
        for name in ("nr_hugepages", "free_hugepages"):
            self.machine.write(POOL.format(0, 2048).replace("nr_hugepages", name), "3")
        before = self.machine.snapshot()
        self.expect(0, "reserve", "10")
        self.expect(0, "reserve", "20")
        self.expect(0, "reserve", "15", says="already")
        self.assertEqual(self.reserved(), [20, 20])
        self.expect_undone(before)

    def test_says_when_memory_does_not_suffice(self):
        before = self.machine.snapshot()
        says = ["node 0 gave 100 of 512", "hugepagesz=2M hugepages=512", "compact_memory"]
        self.expect(4, "reserve", "512", says=says, PAGES_MAX="100")
        self.assertEqual(self.reserved(), [100, 0])
        self.expect_undone(before)

    def test_a_machine_without_nodes_or_pages(self):
        self.expect(4, "reserve", "1", "--size", "1G", says=["no hugepages of 1G", "pdpe1gb"])
        nodes = self.machine.root / "sys/devices/system/node"
        nodes.rename(nodes.with_name("gone"))
        self.expect(4, "reserve", "1", says="no hugepages of 2M")
        self.expect(0, says="no hugepages")
        self.machine.write("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "0")
        self.machine.write("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "0")
        self.expect(0, "reserve", "7")
        self.assertEqual(self.machine.read("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"), "7")

    def test_mounts_once(self):
        before = self.machine.snapshot()
        self.expect(0, "reserve", "2", "--mount")
        self.assertIn("hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=2M", self.machine.read("proc/mounts"))
        self.expect(0, "reserve", "2", "--mount", says="mounted already")
        self.expect(0, "show", says="mounted: /dev/hugepages")
        self.expect_undone(before)

    def test_a_mount_in_use_stays_recorded(self):
        before = self.machine.snapshot()
        self.expect(0, "reserve", "2", "--mount")
        self.expect(4, "--undo", says=["is in use", "not everything could be undone"], BUSY="1")
        self.assertEqual(self.reserved(), [0, 0], "the rest is undone all the same")
        self.assertIn("/dev/hugepages", self.machine.read("proc/mounts"))
        self.expect_undone(before)

    def test_persists_by_node_and_size(self):
        self.add_gigantic()
        before = self.machine.snapshot()
        self.expect(0, "reserve", "64", "--persist")
        self.expect(0, "reserve", "4", "--size", "1G", "--node", "1", "--mount", "--persist")
        self.expect(0, "reserve", "128", "--node", "0", "--persist")
        expected = [(1, 2048, 64), (1, 1048576, 4), (0, 2048, 128)]
        expected = [f"w /{POOL.format(node, kib)} - - - - {pages}" for node, kib, pages in expected]
        self.assertEqual(self.machine.read(TMPFILES).splitlines(), expected)
        self.assertIn("Where=/dev/hugepages1G\n", self.machine.read(UNIT))
        self.assertTrue((self.machine.root / WANTED).is_symlink())
        self.assertIn("pagesize=1024M", self.machine.read("proc/mounts"))
        self.expect_undone(before)

    def test_persist_restores_a_file_that_was_there(self):
        self.machine.write(TMPFILES, "# by hand\nw /sys/x - - - - 1")
        before = self.machine.snapshot()
        self.expect(0, "reserve", "2", "--persist")
        self.assertIn("# by hand", self.machine.read(TMPFILES))
        self.expect_undone(before)

    def test_persist_needs_systemd(self):
        (self.machine.root / "run/systemd/system").rmdir()
        before = self.machine.snapshot()
        self.expect(4, "reserve", "2", "--persist", says=["needs systemd", "hugepages=2"])
        self.expect_undone(before)

    def test_a_write_that_is_refused_leaves_no_trace(self):
        before = self.machine.snapshot()
        self.expect(4, "reserve", "2", says="cannot be written", FAULT="fail:2")
        self.assertEqual(self.machine.snapshot(), before)

    def test_a_journal_that_is_damaged_is_kept(self):
        self.expect(0, "reserve", "2")
        journal = self.machine.root / "var/lib/penstock/hugepages.undo"
        journal.write_text("nonsense line\n" + journal.read_text())
        self.expect(4, "--undo", says="does not know: nonsense line")
        self.assertEqual(self.reserved(), [0, 0])
        self.assertEqual(journal.read_text(), "nonsense line\n")

    def test_one_script_at_a_time(self):
        folder = self.machine.root / "var/lib/penstock"
        folder.mkdir()
        descriptor = os.open(folder, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self.expect(4, "reserve", "2", says="another script")
        self.assertEqual(self.reserved(), [0, 0])
        self.expect(0, "show")

    def test_twice(self):
        self.check_twice("reserve", "2", "--mount", "--persist")

    def test_dry_run(self):
        self.check_dry_run("reserve", "2", "--mount", "--persist")

    def test_every_interruption(self):
        self.check_every_interruption("reserve", "2", "--mount", "--persist")

    def test_command_line(self):
        self.check_command_line(
            ["reserve"], ["reserve", "0"], ["reserve", "-1"], ["reserve", "x"], ["reserve", "1", "--size", "4K"],
            ["reserve", "1", "--node", "x"], ["show", "reserve", "1"], ["reserve", "1", "--undo"], ["--what"], ["what"],
            ["reserve", "1", "--size"],
        )
