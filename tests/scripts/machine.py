"""A false machine for the host scripts: a tree like sysfs, procfs and /etc, and tools that act on it.

Owns the tree and how a script is run on it. `machine.sh` is its kernel. Refuses to touch the real machine.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = HERE.parent.parent / "scripts"
TOOLS = ["tee", "mount", "umount", "modprobe", "systemctl", "ip", "ln", "mkdir", "mv", "rm", "rmdir"]
THP = "always [madvise] never"
# Journals are synced before every change, which takes its time on a disk.
IN_MEMORY = "/dev/shm"
PATIENCE_S = 60


class Machine:
    """Two NUMA nodes, four CPUs, three network cards: eth0 with the default route, eth1 on virtio, one without driver."""

    def __init__(self, folder, cpus=4, iommu=True):
        self.bench = pathlib.Path(folder)
        self.root = self.bench / "root"
        self.tools = self.bench / "tools"
        self.tools.mkdir(parents=True)
        for tool in TOOLS:
            (self.tools / tool).symlink_to(HERE / "machine.sh")
        self._memory()
        self._processors(cpus)
        self._cards(iommu)
        for path in ["sys/module", "etc/systemd/system", "etc/tmpfiles.d", "run/systemd/system", "var/lib", "dev"]:
            (self.root / path).mkdir(parents=True)
        self.write("run/service", "inactive")

    def write(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")

    def read(self, path):
        return (self.root / path).read_text().rstrip("\n")

    def link(self, path, target):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def _memory(self):
        for node in (0, 1):
            pool = f"sys/devices/system/node/node{node}/hugepages/hugepages-2048kB"
            self.write(f"{pool}/nr_hugepages", "0")
            self.write(f"{pool}/free_hugepages", "0")
        for name in ("enabled", "defrag"):
            self.write(f"sys/kernel/mm/transparent_hugepage/{name}", "[always] madvise never")
        self.write("proc/mounts", "proc /proc proc rw 0 0")
        self.write("proc/sys/kernel/numa_balancing", "1")

    def _processors(self, cpus):
        everyone = f"0-{cpus - 1}"
        self.write("sys/devices/system/cpu/online", everyone)
        self.write("sys/devices/system/cpu/isolated", "")
        for cpu in range(cpus):
            self.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor", "powersave")
            self.write(f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", str(cpu))
        self.write("proc/cpuinfo", "vendor_id : GenuineIntel")
        self.write("proc/cmdline", "root=/dev/sda1 quiet")
        for number, affinity in [(1, everyone), (24, "3"), (25, "0-1"), (26, everyone)]:
            self.write(f"proc/irq/{number}/smp_affinity_list", affinity)
        words = []
        while cpus > 0:
            words.insert(0, f"{(1 << min(cpus, 32)) - 1:08x}")
            cpus -= 32
        self.mask = ",".join(words)
        self.write("proc/irq/default_smp_affinity", self.mask)
        self.write("sys/devices/virtual/workqueue/cpumask", self.mask)

    def _cards(self, iommu):
        for driver in ("ixgbe", "virtio-pci"):
            for name in ("bind", "unbind"):
                self.write(f"sys/bus/pci/drivers/{driver}/{name}", "")
        for address, pci_class, driver, interface in [
            ("0000:00:1f.0", "0x060100", None, None),
            ("0000:01:00.0", "0x020000", "ixgbe", "net/eth0"),
            ("0000:01:00.1", "0x020000", "ixgbe", "net/eth2"),
            ("0000:02:00.0", "0x020000", "virtio-pci", "virtio0/net/eth1"),
            ("0000:03:00.0", "0x020000", None, None),
        ]:
            device = f"sys/bus/pci/devices/{address}"
            self.write(f"{device}/class", pci_class)
            self.write(f"{device}/driver_override", "(null)")
            self.write(f"{device}/numa_node", "0")
            self.write(f"../native/{address}", driver or "none")
            if iommu:
                self.write(f"sys/kernel/iommu_groups/7/devices/{address}/reset", "")
                self.link(f"{device}/iommu_group", "../../../../kernel/iommu_groups/7")
            if driver:
                self.link(f"{device}/driver", f"../../drivers/{driver}")
            if interface:
                self.write(f"{device}/{interface}/operstate", "up")
                parent = interface.rpartition("/net/")[0]
                base = f"../../../bus/pci/devices/{address}"
                self.link(f"sys/class/net/{interface.rpartition('/')[2]}/device", f"{base}/{parent}".rstrip("/"))

    def run(self, script, *arguments, **environment):
        """The script's outcome; its output and errors are in `stdout`."""
        (self.bench / "count").unlink(missing_ok=True)
        environment = {
            "PATH": f"{self.tools}:{os.environ['PATH']}",
            "PENSTOCK_HOST_ROOT": str(self.root),
            "LC_ALL": "C",
            **environment,
        }
        return subprocess.run(
            [SCRIPTS / script, *arguments], env=environment, text=True, timeout=PATIENCE_S,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )

    def changes(self):
        """How many changes the last run made or tried."""
        count = self.bench / "count"
        return int(count.read_text()) if count.exists() else 0

    def snapshot(self):
        """Every folder, link and file with its content."""
        tree = {}
        for path in self.root.rglob("*"):
            name = str(path.relative_to(self.root))
            tree[name] = os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else "folder"
        return tree


class HostTest(unittest.TestCase):
    """A test with a machine of its own."""

    longMessage = True
    script = None

    def setUp(self):
        self.machine = self.new_machine()

    def new_machine(self, **options):
        folder = tempfile.mkdtemp(dir=IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None)
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return Machine(folder, **options)

    def expect(self, code, *arguments, says=(), machine=None, **environment):
        """Runs the script; it must end with this code and say each of these."""
        done = (machine or self.machine).run(self.script, *arguments, **environment)
        self.assertEqual(done.returncode, code, f"{arguments}\n{done.stdout}")
        for text in [says] if isinstance(says, str) else says:
            self.assertIn(text, done.stdout, f"{arguments}")
        if code in (2, 4):
            self.assertIn("  fix: ", done.stdout, "an error names its fix")
        return done.stdout

    def expect_undone(self, before, *, machine=None, **environment):
        machine = machine or self.machine
        self.expect(0, "--undo", machine=machine, **environment)
        self.assertEqual(machine.snapshot(), before, "as it was found")

    def check_every_interruption(self, *arguments, **options):
        """Killed before and after each change, and refused each change: --undo restores all. A second run after an
        interruption completes what the first began."""
        machine = self.new_machine(**options)
        self.expect(0, *arguments, machine=machine)
        done = machine.snapshot()
        changes = machine.changes()
        self.assertGreater(changes, 0)
        for fault in [f"{kind}:{n}" for n in range(1, changes + 1) for kind in ("kill-before", "kill-after", "fail")]:
            with self.subTest(fault=fault):
                machine = self.new_machine(**options)
                before = machine.snapshot()
                outcome = machine.run(self.script, *arguments, FAULT=fault)
                self.assertIn(outcome.returncode, (0, 4) if fault.startswith("fail") else (-9,), outcome.stdout)
                if fault.startswith("kill-after"):
                    self.expect(0, *arguments, machine=machine)
                    self.assertEqual(self.without_journal(machine.snapshot()), self.without_journal(done))
                self.expect_undone(before, machine=machine)
        # The way back may be interrupted as well.
        machine = self.new_machine(**options)
        before = machine.snapshot()
        self.expect(0, *arguments, machine=machine)
        for n in range(1, changes // 2):
            machine.run(self.script, "--undo", FAULT=f"kill-{'before' if n % 2 else 'after'}:{n}")
        self.expect_undone(before, machine=machine)

    @staticmethod
    def without_journal(tree):
        return {name: content for name, content in tree.items() if not name.endswith(".undo")}

    def check_command_line(self, *wrong):
        before = self.machine.snapshot()
        for arguments in wrong:
            self.expect(2, *arguments, says="--help")
        self.expect(0, "--help", says=["usage: scripts/", "--undo", "--dry-run", "Exit codes: 0"])
        self.assertEqual(self.machine.snapshot(), before)

    def check_dry_run(self, *arguments):
        before = self.machine.snapshot()
        self.expect(0, *arguments, "--dry-run", says="would: ")
        self.assertEqual((self.machine.snapshot(), self.machine.changes()), (before, 0))
        self.expect(0, *arguments)
        changed = self.machine.snapshot()
        self.expect(0, "--undo", "--dry-run", says="would: ")
        self.assertEqual((self.machine.snapshot(), self.machine.changes()), (changed, 0))
        self.expect_undone(before)

    def check_twice(self, *arguments):
        before = self.machine.snapshot()
        self.expect(0, *arguments)
        once = self.machine.snapshot()
        self.expect(0, *arguments, says="already")
        self.assertEqual((self.machine.snapshot(), self.machine.changes()), (once, 0))
        self.expect_undone(before)
        self.expect(0, "--undo", says="nothing to undo")
        self.assertEqual(self.machine.snapshot(), before)
