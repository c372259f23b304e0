"""scripts/nic.sh on a false machine."""

import os

from machine import HostTest

CARD = "0000:01:00.1"  # eth2, nobody's way out
CARRIER = "0000:01:00.0"  # eth0, the default route
VIRTIO = "0000:02:00.0"  # eth1
BARE = "0000:03:00.0"  # without driver
SSH = "198.51.100.7 50000 192.0.2.9 22"  # routed by eth1


class Nic(HostTest):
    script = "nic.sh"

    def driver(self, address, machine=None):
        link = (machine or self.machine).root / "sys/bus/pci/devices" / address / "driver"
        return link.readlink().name if link.is_symlink() else None

    def test_lists_cards_and_their_use(self):
        text = self.expect(0, SSH_CONNECTION=SSH)
        rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
        self.assertEqual(rows[CARRIER], ["ixgbe", "eth0", "0", "7", "default-route"])
        self.assertEqual(rows[VIRTIO], ["virtio-pci", "eth1", "0", "7", "ssh"])
        self.assertEqual(rows[BARE], ["none", "-", "0", "7"])
        self.assertNotIn("0000:00:1f.0", rows)

    def test_binds_to_vfio_with_an_iommu_and_undoes(self):
        before = self.machine.snapshot()
        self.expect(0, "bind", CARD, says=[f"{CARD}: ixgbe -> vfio-pci", "load the kernel module vfio-pci"])
        self.assertEqual(self.driver(CARD), "vfio-pci")
        self.expect_undone(before)
        self.assertEqual(self.driver(CARD), "ixgbe")

    def test_binds_to_uio_without_one_and_warns(self):
        self.machine = self.new_machine(iommu=False)
        before = self.machine.snapshot()
        self.expect(0, "bind", CARD, says=["uio_pci_generic", "can write to all memory"])
        self.assertEqual(self.driver(CARD), "uio_pci_generic")
        self.expect_undone(before)

    def test_vfio_without_an_iommu_is_refused(self):
        self.machine = self.new_machine(iommu=False)
        before = self.machine.snapshot()
        says = ["needs an IOMMU", "intel_iommu=on"]
        self.expect(4, "bind", CARD, "--driver", "vfio-pci", says=says)
        self.assertEqual(self.machine.snapshot(), before)
        self.machine.write("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y")
        self.expect(0, "bind", CARD, "--driver", "vfio-pci")

    def test_takes_interfaces_and_short_addresses(self):
        for device, address in [("eth2", CARD), ("01:00.1", CARD), ("eth1", VIRTIO), (BARE, BARE)]:
            with self.subTest(device=device):
                self.machine = self.new_machine()
                before = self.machine.snapshot()
                self.expect(0, "bind", device)
                self.assertEqual(self.driver(address), "vfio-pci")
                self.expect_undone(before)

    def test_what_is_no_card(self):
        for device, says in [("0000:00:1f.0", "is not a network card"), ("eth9", "no PCI device or interface")]:
            self.expect(4, "bind", device, says=says)
        (self.machine.root / "sys/class/net/dummy0").mkdir()
        self.expect(4, "bind", "dummy0", says=["is no PCI card", "net_af_packet0,iface=dummy0"])

    def refused(self, device, use, **environment):
        before = self.machine.snapshot()
        self.expect(4, "bind", device, says=[f"carries: {use}", "--force"], **environment)
        self.assertEqual(self.machine.snapshot(), before)

    def test_the_default_route_is_refused(self):
        self.refused(CARRIER, "default-route")
        self.refused("eth0", "default-route")

    def test_the_default_route_is_found_through_bonds_and_vlans(self):
        self.machine.link("sys/class/net/bond0/lower_eth2", "../eth2")
        self.machine.link("sys/class/net/bond0.7/lower_bond0", "../bond0")
        self.refused("eth2", "default-route", DEFAULT_DEV="bond0.7")

    def test_the_ssh_session_is_refused(self):
        self.refused(VIRTIO, "ssh", SSH_CONNECTION=SSH)
        self.refused("eth1", "default-route,ssh", SSH_CONNECTION=SSH, DEFAULT_DEV="eth1")

    def test_the_ssh_session_is_found_behind_sudo(self):
        pid = os.getpid()
        self.machine.write(f"proc/{pid}/environ", "PATH=/bin\0HOME=/")
        self.machine.write(f"proc/{pid}/status", "Name:\tsudo\nPPid:\t77")
        self.machine.write("proc/77/environ", f"A=b\0SSH_CONNECTION={SSH}\0C=d")
        self.machine.write("proc/77/status", "Name:\tbash\nPPid:\t1")
        self.refused("eth1", "ssh")

    def test_force_takes_it_all_the_same(self):
        before = self.machine.snapshot()
        self.expect(0, "bind", CARRIER, "--force", says="warning: 0000:01:00.0 carries: default-route")
        self.assertEqual(self.driver(CARRIER), "vfio-pci")
        self.expect_undone(before)

    def test_unbind_returns_one_card(self):
        self.expect(0, "bind", CARD)
        self.expect(0, "bind", VIRTIO)
        self.expect(0, "unbind", CARD, says="vfio-pci -> ixgbe")
        self.assertEqual((self.driver(CARD), self.driver(VIRTIO)), ("ixgbe", "vfio-pci"))
        self.expect(0, "unbind", CARD, says="nothing is recorded")
        self.expect(0, "list", says="nic.undo")

    def test_undo_returns_to_the_driver_found_first(self):
        self.machine = self.new_machine(iommu=False)
        before = self.machine.snapshot()
        self.machine.write("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y")
        before = self.machine.snapshot()
        self.expect(0, "bind", CARD, "--driver", "uio_pci_generic")
        self.expect(0, "bind", CARD, "--driver", "vfio-pci", says="uio_pci_generic -> vfio-pci")
        self.assertEqual(self.driver(CARD), "vfio-pci")
        self.expect_undone(before)

    def test_a_card_that_does_not_go_returns_to_its_driver(self):
        before = self.machine.snapshot()
        self.expect(4, "bind", CARD, says=["goes back to ixgbe", "cannot be bound"], NOT_BINDING="vfio-pci")
        self.assertEqual(self.driver(CARD), "ixgbe")
        self.expect_undone(before)

    def test_a_driver_that_cannot_be_loaded(self):
        before = self.machine.snapshot()
        self.expect(4, "bind", CARD, says=["cannot be loaded", "linux-modules-extra"], NO_MODULE="vfio-pci")
        self.assertEqual(self.machine.snapshot(), before)

    def test_undo_that_fails_stays_recorded(self):
        before = self.machine.snapshot()
        self.expect(0, "bind", CARD)
        self.expect(4, "--undo", says="did not go back to ixgbe", NOT_BINDING="ixgbe")
        self.assertEqual(self.driver(CARD), None)
        self.expect_undone(before)

    def test_a_card_that_is_gone_is_no_obstacle(self):
        self.expect(0, "bind", CARD)
        device = self.machine.root / "sys/bus/pci/devices" / CARD
        device.rename(self.machine.bench / "pulled")
        self.expect(0, "--undo", says="is gone")

    def test_others_of_the_group_are_named(self):
        text = self.expect(0, "bind", CARD, says=f"{CARRIER} (ixgbe) is in IOMMU group 7 too")
        self.assertNotIn(f"{BARE} (none)", text)

    def test_twice(self):
        self.check_twice("bind", CARD)

    def test_dry_run(self):
        self.check_dry_run("bind", CARD)

    def test_every_interruption(self):
        self.check_every_interruption("bind", CARD)

    def test_command_line(self):
        self.check_command_line(
            ["bind"], ["unbind"], ["bind", "--force"], ["bind", "../x"], ["bind", CARD, "--driver", "ixgbe"],
            ["bind", CARD, "--driver"], ["list", "bind", CARD], ["--undo", "--undo"], ["--what"],
        )
