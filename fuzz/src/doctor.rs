//! The doctor on made-up machines.
//!
//! Owns a healthy one as a folder, and what an input changes in it. Refuses to look at this machine.

use penstock::config::{Config, PortConfig};
use penstock::control::doctor::{self, Severity};
use penstock::control::load::load_str;
use std::cell::RefCell;
use std::fs;
use std::path::Path;

#[path = "../../src/control/doctor/tests/tree.rs"]
#[allow(dead_code)]
mod tree;

/// The files that an input can replace.
const FILES: [&str; 41] = [
    "proc/self/status",
    "proc/self/limits",
    "proc/self/cgroup",
    "proc/self/maps",
    "proc/mounts",
    "proc/meminfo",
    "proc/cpuinfo",
    "proc/stat",
    "proc/irq/24/smp_affinity_list",
    "proc/7/task/7/stat",
    "proc/7/task/7/status",
    "proc/net/dev",
    "proc/net/route",
    "proc/net/fib_trie",
    "proc/net/if_inet6",
    "proc/net/tcp",
    "proc/net/tcp6",
    "proc/net/udp",
    "proc/net/unix",
    "proc/net/ipv6_route",
    "proc/sys/vm/overcommit_memory",
    "sys/fs/cgroup/system.slice/penstock.service/cpu.max",
    "sys/fs/cgroup/system.slice/penstock.service/cpu.stat",
    "sys/fs/cgroup/system.slice/penstock.service/memory.max",
    "sys/fs/cgroup/system.slice/penstock.service/hugetlb.2MB.max",
    "sys/kernel/mm/transparent_hugepage/enabled",
    "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
    "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages",
    "sys/devices/system/node/node0/cpulist",
    "sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages",
    "sys/devices/system/cpu/online",
    "sys/devices/system/cpu/isolated",
    "sys/devices/system/cpu/nohz_full",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "sys/devices/system/clocksource/clocksource0/current_clocksource",
    "sys/class/net/eth0/flags",
    "sys/class/net/eth0/carrier",
    "sys/bus/pci/devices/0000:01:00.0/class",
    "sys/bus/pci/devices/0000:01:00.0/vendor",
    "sys/bus/pci/devices/0000:01:00.0/device",
    "sys/bus/pci/devices/0000:01:00.0/numa_node",
];
const CONFIG: &str = "[port]\naddress = \"10.7.0.2/24\"\ngateway = \"10.7.0.1\"\n[[listener]]\nport = 80\n[[route]]\npath = \"/\"\nrespond = {}\n";

struct Bed {
    tree: tree::Tree,
    config: Config,
}

thread_local! {
    static BED: RefCell<Bed> = RefCell::new(Bed {
        tree: tree::Tree::healthy(),
        config: load_str("base", CONFIG, Path::new("")).expect("a configuration"),
    });
}

/// Parts between NULs: a byte that names a file, and its content. Behind the last file's number: `port.device`.
pub fn doctor(input: &[u8]) {
    BED.with_borrow(|bed| {
        let mut config = None;
        let mut former = Vec::new();
        for part in input.split(|byte| *byte == 0).take(8) {
            let Some((file, content)) = part.split_first() else { continue };
            match FILES.get(usize::from(*file)) {
                Some(path) => former.push(replace(&bed.tree, path, content)),
                None => config = with_device(&bed.config, content),
            }
        }
        let root = bed.tree.root();
        let report = doctor::report_below(root, config.as_ref());
        let again = doctor::report_below(root, config.as_ref());
        assert_eq!(report, again, "one machine, one report");
        for finding in report.findings() {
            assert!(finding.severity == Severity::Ok || !finding.what.is_empty());
            assert!(finding.severity != Severity::Fatal || !finding.fix.is_empty(), "no way out of {finding:?}");
        }
        serde_json::from_str::<serde_json::Value>(&report.json()).expect("JSON");
        assert!(report.text(false).ends_with('\n'));
        // In reverse: a file may have been replaced twice.
        former.into_iter().rev().for_each(|(path, content)| match content {
            Some(content) => fs::write(root.join(path), content).expect("the file was written before"),
            None => fs::remove_file(root.join(path)).expect("the file was made before"),
        });
    });
}

/// Writes a file; its former content, if it was there.
fn replace<'a>(tree: &tree::Tree, path: &'a str, content: &[u8]) -> (&'a str, Option<Vec<u8>>) {
    let whole = tree.root().join(path);
    let former = fs::read(&whole).ok();
    fs::create_dir_all(whole.parent().expect("a folder")).expect("a folder can be made");
    fs::write(&whole, content).expect("a file can be written");
    (path, former)
}

fn with_device(config: &Config, device: &[u8]) -> Option<Config> {
    let device = std::str::from_utf8(device).ok()?.to_string();
    Some(Config { port: PortConfig { device: Some(device), ..config.port.clone() }, ..config.clone() })
}
