"""scripts/tune.sh on a false machine."""

from machine import HostTest

IRQ = "proc/irq/{}/smp_affinity_list"
GOVERNOR = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"
THP = "sys/kernel/mm/transparent_hugepage/enabled"
DEFAULT = "proc/irq/default_smp_affinity"
WORKQUEUES = "sys/devices/virtual/workqueue/cpumask"
LINE = "isolcpus=managed_irq,domain,2-3 nohz_full=2-3 rcu_nocbs=2-3 irqaffinity=0-1 intel_iommu=on iommu=pt"


class Tune(HostTest):
    script = "tune.sh"

    def test_applies_each_step_and_undoes(self):
        before = self.machine.snapshot()
        self.expect(0, "apply", "--cores", "2,3", says=[LINE, "0-3 -> 0-1"])
        read = self.machine.read
        self.assertEqual([read(IRQ.format(n)) for n in (1, 24, 25, 26)], ["0-1", "0-1", "0-1", "0-1"])
        self.assertEqual((read(DEFAULT), read(WORKQUEUES)), ("3", "3"))
        self.assertEqual(read(THP), "always [madvise] never")
        self.assertEqual(read("proc/sys/kernel/numa_balancing"), "0")
        self.assertEqual([read(GOVERNOR.format(n)) for n in range(4)], ["powersave"] * 2 + ["performance"] * 2)
        self.expect_undone(before)

    def test_masks_beyond_32_cpus(self):
        for cores, mask, line in [
            ("1-33", "fc,00000001", "0,34-39"),
            ("0-31", "ff,00000000", "32-39"),
            ("38,39", "3f,ffffffff", "0-37"),
            ("32-39", "ffffffff", "0-31"),
        ]:
            with self.subTest(cores=cores):
                self.machine = self.new_machine(cpus=40)
                before = self.machine.snapshot()
                self.expect(0, "apply", "--cores", cores, says=f"irqaffinity={line}")
                self.assertEqual((self.machine.read(DEFAULT), self.machine.read(IRQ.format(1))), (mask, line))
                self.expect_undone(before)

    def test_an_interrupt_that_would_have_no_core_that_is_there(self):
        self.machine.write(IRQ.format(24), "3,100-127")
        self.expect(0, "apply", "--cores", "2-3")
        self.assertEqual(self.machine.read(IRQ.format(24)), "0-1")

    def test_interrupts_that_the_kernel_manages_stay(self):
        before = self.machine.snapshot()
        self.expect(0, "apply", "--cores", "2-3", says="interrupt 24 stays", FIXED_IRQ="24")
        self.assertEqual(self.machine.read(IRQ.format(24)), "3")
        self.assertNotIn("/irq/24/", self.machine.read("var/lib/penstock/tune.undo"))
        self.expect_undone(before, FIXED_IRQ="24")

    def test_irqbalance_stops_and_starts_again(self):
        self.machine.write("run/service", "active")
        before = self.machine.snapshot()
        self.expect(0, "apply", "--cores", "2-3", says="stop the service irqbalance")
        self.assertEqual(self.machine.read("run/service"), "inactive")
        self.expect_undone(before)

    def test_steps_that_are_refused_are_counted_and_the_others_done(self):
        self.machine.write(THP, "always [never]")
        before = self.machine.snapshot()
        self.expect(4, "apply", "--cores", "2-3", says=["enabled cannot be set to madvise", "1 steps were refused"])
        self.assertEqual(self.machine.read(GOVERNOR.format(3)), "performance")
        self.expect_undone(before)

    def test_a_kernel_without_the_settings(self):
        for path in ("sys/kernel/mm/transparent_hugepage", "proc/sys/kernel", "sys/devices/virtual"):
            (self.machine.root / path).rename(self.machine.bench / path.replace("/", "-"))
        for cpu in range(4):
            path = self.machine.root / f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
            path.rename(self.machine.bench / f"cpufreq{cpu}")
        before = self.machine.snapshot()
        self.expect(0, "apply", "--cores", "2-3", says=["not in this kernel", "a virtual machine?"])
        self.expect_undone(before)

    def test_shows_what_is_and_what_is_missing(self):
        before = self.machine.snapshot()
        self.expect(0, says=["THP:              always", "powersave on 4 CPUs", "isolated CPUs:    none"])
        says = [f"kernel command line: {LINE}", f"missing now:         {LINE}", "interrupts there: 1 24 26"]
        self.expect(0, "show", "--cores", "2-3", says=[*says, "GRUB_CMDLINE_LINUX", "taskset -c 0,2-3 penstock run"])
        self.machine.write("proc/cmdline", f"quiet {LINE.replace('iommu=pt', '').replace('nohz_full=2-3', '')}")
        self.expect(0, "show", "--cores", "2-3", says="missing now:         nohz_full=2-3 iommu=pt")
        self.machine.write("proc/cmdline", LINE)
        self.expect(0, "show", "--cores", "2-3", says="done: the kernel was started with")
        self.machine.write("proc/cmdline", "root=/dev/sda1 quiet")
        self.assertEqual(self.machine.snapshot(), before)

    def test_the_control_thread_stays_off_the_workers(self):
        self.expect(0, "show", "--cores", "0-1", says="penstock -l 2,0-1 --main-lcore 2 ")

    def test_an_amd_machine_has_its_iommu_on(self):
        self.machine.write("proc/cpuinfo", "vendor_id : AuthenticAMD")
        self.assertNotIn("intel_iommu", self.expect(0, "show", "--cores", "1"))

    def test_the_other_half_of_a_core_is_named(self):
        self.machine.write("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "0,2")
        self.expect(0, "show", "--cores", "2-3", says="CPU 0 is the other half of worker core 2")

    def test_cores_that_cannot_be_had(self):
        self.expect(4, "apply", "--cores", "3-9", says=["CPU 4-9 is not online", "0-3"])
        self.expect(2, "apply", "--cores", "0-3", says="no core is left")

    def test_twice(self):
        self.check_twice("apply", "--cores", "2-3")

    def test_dry_run(self):
        self.check_dry_run("apply", "--cores", "2-3")

    def test_every_interruption(self):
        self.check_every_interruption("apply", "--cores", "1", cpus=2)

    def test_command_line(self):
        self.check_command_line(
            ["apply"], ["--cores"], ["--cores", ""], ["--cores", "3-2"], ["--cores", "a"], ["--cores", "1,"],
            ["--cores", "99999"], ["apply", "--undo"], ["--undo", "show"], ["what"],
        )
