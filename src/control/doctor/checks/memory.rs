//! Hugepages, NUMA nodes and limits on memory.

use super::super::machine::{Machine, Node};
use super::super::need::Need;
use super::super::{Finding, Severity};
use super::{counted, slow};
use crate::config::{Config, Hugepages};

const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
const WHY: &str = "on plain pages every packet and connection costs more TLB misses";

fn mode(config: Option<&Config>) -> Hugepages {
    config.map_or(Hugepages::Auto, |config| config.workers.hugepages)
}

/// Reserved enough for `pages` more, with a little to spare.
fn reserve(pages: u64) -> String {
    format!("echo {} > {POOL} (as root)", (pages + 64).next_multiple_of(64))
}

/// Reserved and free 2 MiB pages, as `penstock run` plans with.
pub fn hugepages(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    let pages = machine.memory.two_mib();
    let need = config.map(|config| Need::of(config, machine));
    let needed = need.as_ref().map_or(0, Need::pages);
    let state = format!("{} of {} reserved 2 MiB hugepages are free", pages.free, pages.reserved);
    if mode(config) == Hugepages::Off {
        return vec![Finding::ok("hugepages", format!("{state}; workers.hugepages = \"off\" needs none"))];
    }
    let required = mode(config) == Hugepages::Require;
    let fix = |finding: Finding| {
        let auto = if required { "\nor set workers.hugepages = \"auto\" under [workers]" } else { "" };
        finding.why(WHY).fix(format!("{}{auto}", reserve(pages.reserved - pages.free.min(pages.reserved) + needed)))
    };
    let with = |severity| move |id, what: String| Finding::new(severity, id, what);
    if pages.reserved == 0 {
        let severity = match config {
            _ if required => Severity::Fatal,
            None => Severity::Warning,
            Some(_) => slow(config),
        };
        let what = if required {
            "no 2 MiB hugepages are reserved, and workers.hugepages = \"require\""
        } else {
            "no 2 MiB hugepages are reserved: the gateway runs on plain pages"
        };
        return vec![fix(with(severity)("hugepages-none", what.into()))];
    }
    let Some(need) = need else { return vec![Finding::ok("hugepages", state)] };
    let what = format!("{state}, and about {needed} are needed for {}", counted(need.workers, "worker"));
    if pages.free < need.pages_min() && required {
        return vec![fix(with(Severity::Fatal)("hugepages-few", what))];
    }
    if pages.free < needed {
        return vec![fix(with(Severity::Warning)("hugepages-few", what))];
    }
    vec![Finding::ok("hugepages", format!("{state}, about {needed} are needed"))]
}

/// Whether the nodes of the workers have pages of their own, and pages of another size that nothing uses.
pub fn nodes(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    let mut found = Vec::new();
    let memory = &machine.memory;
    let large = memory.pages.iter().find(|size| size.kib != 2048 && size.reserved > 0);
    if let Some(large) = large.filter(|_| memory.two_mib().reserved == 0 && mode(config) != Hugepages::Off) {
        let what = format!("{} hugepages of {} MiB are reserved, and none of 2 MiB", large.reserved, large.kib >> 10);
        found.push(
            Finding::warning("hugepages-size", what)
                .why("penstock run plans with 2 MiB pages; the others lie idle")
                .fix(format!(
                    "{}\nor use them with EAL arguments of your own: penstock -l 0,1 -- run -c FILE",
                    reserve(512)
                )),
        );
    }
    let Some(config) = config else { return found };
    let cpus = Need::of(config, machine).cpus;
    let works_here = |node: &&Node| node.cpus.iter().any(|cpu| cpus.contains(cpu));
    let bare = memory.nodes.iter().filter(works_here).find(|node| node.two_mib().free == 0);
    if let Some(node) = bare.filter(|_| memory.two_mib().free > 0 && config.workers.hugepages != Hugepages::Off) {
        let what = format!("NUMA node {} has workers and no free 2 MiB hugepages; other nodes have some", node.id);
        let path = format!("/sys/devices/system/node/node{}/hugepages/hugepages-2048kB/nr_hugepages", node.id);
        found.push(
            Finding::warning("hugepages-node", what)
                .why("a worker there reaches all its packets and connections through the other node's memory")
                .fix(format!("echo 512 > {path} (as root)")),
        );
    }
    found
}

/// Memory and the limits on it.
pub fn limits(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    let Some(config) = config else { return Vec::new() };
    let (memory, need) = (&machine.memory, Need::of(config, machine));
    let total = need.frames_kib + need.connections_kib;
    let plain = config.workers.hugepages == Hugepages::Off || memory.two_mib().free < need.pages();
    let mib = |kib: u64| kib.div_ceil(1024);
    let mut found = Vec::new();
    if let Some(available) = memory.available_kib.filter(|available| plain && *available < total) {
        let what = format!("about {} MiB are needed and {} MiB are available", mib(total), mib(available));
        found.push(
            Finding::warning("memory-short", what)
                .why("the gateway fails to start, or the kernel ends it when connections come")
                .fix("lower connections under [workers], or tcp.rx_ring and tcp.tx_ring"),
        );
    }
    if let Some(limit) = memory.limit_kib.filter(|limit| plain && *limit < total) {
        let what = format!("about {} MiB are needed and the container may use {} MiB", mib(total), mib(limit));
        found.push(
            Finding::warning("memory-limit", what)
                .why("the kernel ends a process that exceeds its container's memory")
                .fix("raise the container's limit (docker run --memory, resources.limits.memory), or lower connections under [workers]"),
        );
    }
    let huge = !plain && config.workers.hugepages != Hugepages::Off;
    if let Some(limit) = memory.huge_limit_kib.filter(|limit| huge && *limit < total) {
        let what =
            format!("about {} MiB of hugepages are needed and the container may use {} MiB", mib(total), mib(limit));
        found.push(
            Finding::warning("hugepages-limit", what)
                .why("the kernel refuses pages beyond it, or ends the process with SIGBUS")
                .fix("raise the container's limit (Kubernetes: resources.limits.hugepages-2Mi)"),
        );
    }
    if found.is_empty() {
        found.push(Finding::ok("memory", format!("about {} MiB are needed and available", mib(total))));
    }
    found
}

/// hugetlbfs: not for a planned start, which is in memory, but for other EAL arguments and DPDK's tools.
pub fn mounted(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    let memory = &machine.memory;
    if !memory.hugetlbfs.is_empty() || mode(config) == Hugepages::Off || memory.two_mib().reserved == 0 {
        return Vec::new();
    }
    let note = Finding::note("hugetlbfs-unmounted", "hugetlbfs is not mounted")
        .why("penstock run does without; EAL arguments of your own without --in-memory, and dpdk-dumpcap, do not")
        .fix("mkdir -p /dev/hugepages && mount -t hugetlbfs none /dev/hugepages (as root)");
    vec![note]
}

/// Transparent hugepages, which stand in where none are reserved.
pub fn transparent(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    const PATH: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
    let fix = format!("echo madvise > {PATH} (as root)");
    match machine.memory.thp.as_deref() {
        Some("never") if machine.memory.two_mib().free == 0 && mode(config) == Hugepages::Auto => {
            let note = Finding::note("thp-never", "transparent hugepages are off, and no hugepages are free");
            vec![note.why("connection memory would use them when no hugepages are reserved").fix(fix)]
        }
        Some("always") => {
            let note = Finding::new(slow(config), "thp-always", "transparent hugepages are on for every program");
            vec![
                note.why("the kernel stops programs to compact memory for them; madvise leaves that to who asks")
                    .fix(fix),
            ]
        }
        _ => Vec::new(),
    }
}
