//! A made-up machine as a folder: two sockets of two CPUs, two cards, everything in order.
//!
//! Owns what a healthy machine looks like. Refuses to know what the checks look at.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Plug-ins of the made-up DPDK.
const PLUGINS: &str = "bus_vdev bus_pci mempool_ring net_tap net_af_packet net_af_xdp net_memif net_null net_i40e";
pub const PMDS: &str = "usr/lib/dpdk/pmds-23.0";
pub const NIC: &str = "sys/bus/pci/devices/0000:01:00.0";
pub const HUGE: &str = "sys/kernel/mm/hugepages/hugepages-2048kB";
const NODES: &str = "sys/devices/system/node";

/// Removed when dropped.
pub struct Tree(tempfile::TempDir);

impl Tree {
    pub fn healthy() -> Tree {
        let tree = Tree(tempfile::tempdir().unwrap());
        tree.process();
        tree.memory();
        tree.cpus();
        tree.network();
        tree.cards();
        tree
    }

    pub fn root(&self) -> &Path {
        self.0.path()
    }

    fn path(&self, path: &str) -> PathBuf {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub fn set(&self, path: &str, text: impl AsRef<str>) {
        fs::write(self.path(path), text.as_ref()).unwrap();
    }

    /// Replaces a part of a file, which has to be there.
    pub fn change(&self, path: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(path)).unwrap();
        assert!(text.contains(from), "{path} has no {from:?}");
        self.set(path, text.replace(from, to));
    }

    pub fn link(&self, path: &str, target: &str) {
        let path = self.path(path);
        let _ = fs::remove_file(&path);
        symlink(target, path).unwrap();
    }

    pub fn remove(&self, path: &str) {
        let path = self.0.path().join(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }

    fn process(&self) {
        self.set("proc/self/status", "Name:\tpenstock\nPid:\t99\nCapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-3\n");
        self.set(
            "proc/self/limits",
            "Limit  Soft Limit  Hard Limit  Units\nMax open files            1048576   1048576   files\n\
             Max locked memory         unlimited   unlimited   bytes\n",
        );
        self.set("proc/self/cgroup", "0::/system.slice/penstock.service\n");
        let group = "sys/fs/cgroup/system.slice/penstock.service";
        self.set(&format!("{group}/cpu.max"), "max 100000\n");
        self.set(&format!("{group}/cpu.stat"), "usage_usec 5\nnr_periods 0\nnr_throttled 0\n");
        self.set(&format!("{group}/memory.max"), "max\n");
        self.set("proc/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\nnone /dev/hugepages hugetlbfs rw 0 0\n");
        self.set("proc/self/maps", "7f00-7f01 r--p 00000000 fe:00 7 /usr/lib/librte_eal.so.23.0\n");
        for plugin in PLUGINS.split(' ') {
            self.set(&format!("{PMDS}/librte_{plugin}.so.23.0"), "");
        }
        self.set("dev/net/tun", "");
    }

    fn memory(&self) {
        self.set("proc/meminfo", "MemTotal:  33554432 kB\nMemAvailable:   16777216 kB\n");
        self.set("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
        for (folder, pages) in [(HUGE, 4096), (&node(0), 2048), (&node(1), 2048)] {
            self.set(&format!("{folder}/nr_hugepages"), pages.to_string());
            self.set(&format!("{folder}/free_hugepages"), pages.to_string());
        }
        self.set(&format!("{NODES}/node0/cpulist"), "0-1\n");
        self.set(&format!("{NODES}/node1/cpulist"), "2-3\n");
    }

    fn cpus(&self) {
        let folder = "sys/devices/system/cpu";
        self.set(&format!("{folder}/online"), "0-3\n");
        self.set(&format!("{folder}/isolated"), "1\n");
        self.set(&format!("{folder}/nohz_full"), "1\n");
        for cpu in 0..4 {
            self.set(&format!("{folder}/cpu{cpu}/cpufreq/scaling_governor"), "performance\n");
        }
        self.set("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n");
        self.set("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu constant_tsc nonstop_tsc\n");
        self.set("proc/stat", "cpu  1000 0 1000 90000 0 0 0 1 0 0\ncpu0 1 2\n");
        self.set("proc/irq/24/smp_affinity_list", "0\n");
        self.thread(7, "sshd", 'S', "0-3", 0);
        self.set("proc/99/task/99/stat", "99 (penstock) R");
    }

    /// A thread of another program.
    pub fn thread(&self, id: u32, name: &str, state: char, allowed: &str, cpu: usize) {
        let folder = format!("proc/{id}/task/{id}");
        let numbers = "0 ".repeat(29);
        self.set(&format!("{folder}/stat"), format!("{id} ({name}) {state} 1 1 1 0 -1 4194560 {numbers}{cpu} 0 0 0\n"));
        self.set(&format!("{folder}/status"), format!("Name:\t{name}\nCpus_allowed_list:\t{allowed}\n"));
    }

    fn network(&self) {
        self.set("proc/net/dev", "Inter-|\n face |\n    lo: 0 0\n  eth0: 1 2\n veth0: 3 4\n");
        for (name, flags) in [("lo", "0x9"), ("eth0", "0x1003"), ("veth0", "0x1003")] {
            self.set(&format!("sys/class/net/{name}/flags"), flags);
            self.set(&format!("sys/class/net/{name}/carrier"), "1\n");
        }
        self.set(
            "proc/net/route",
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
             eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\neth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n",
        );
        self.set(
            "proc/net/fib_trie",
            "Local:\n  |-- 192.0.2.2\n     /32 host LOCAL\n  |-- 192.0.2.255\n     /32 link BROADCAST\n",
        );
        self.set("proc/net/if_inet6", "fe800000000000000000000000000001 02 40 20 80 eth0\n");
        self.set("proc/net/tcp", "  sl\n   0: 00000000:0016 00000000:0000 0A 0\n");
        self.set("proc/net/unix", "Num\n");
    }

    /// The kernel's card, and one that is bound to vfio-pci.
    fn cards(&self) {
        for (address, vendor, driver) in [("0000:00:03.0", "0x8086", "i40e"), ("0000:01:00.0", "0x8086", "vfio-pci")] {
            let folder = format!("sys/bus/pci/devices/{address}");
            self.set(&format!("{folder}/class"), "0x020000\n");
            self.set(&format!("{folder}/vendor"), vendor);
            self.set(&format!("{folder}/device"), "0x1572\n");
            self.set(&format!("{folder}/numa_node"), "0\n");
            self.link(&format!("{folder}/driver"), &format!("../../drivers/{driver}"));
        }
        self.set("sys/bus/pci/devices/0000:00:03.0/net/eth0/x", "");
        self.set("sys/bus/pci/drivers/vfio-pci/bind", "");
        self.set("sys/kernel/iommu_groups/1/x", "");
    }
}

/// The folder of a node's 2 MiB pages.
pub fn node(id: usize) -> String {
    format!("{NODES}/node{id}/hugepages/hugepages-2048kB")
}
