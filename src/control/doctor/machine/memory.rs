//! Hugepages, NUMA nodes and the limits on memory.
//!
//! Owns what /sys/kernel/mm, /sys/devices/system/node and the memory controllers say. Refuses to judge.

use super::{Root, cgroup};

/// Memory of the machine.
#[derive(Clone, Default, Debug)]
pub struct Memory {
    /// Memory that programs can still get.
    pub available_kib: Option<u64>,
    /// The least of the limits of our control groups.
    pub limit_kib: Option<u64>,
    /// The least of their limits on 2 MiB pages.
    pub huge_limit_kib: Option<u64>,
    /// Hugepages by size, the smallest first.
    pub pages: Vec<PageSize>,
    /// NUMA nodes.
    pub nodes: Vec<Node>,
    /// Where hugetlbfs is mounted.
    pub hugetlbfs: Vec<String>,
    /// `always`, `madvise` or `never`.
    pub thp: Option<String>,
}

/// Hugepages of one size.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PageSize {
    pub kib: u64,
    pub reserved: u64,
    pub free: u64,
}

/// A NUMA node.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: usize,
    pub cpus: Vec<usize>,
    pub pages: Vec<PageSize>,
}

/// More pages than any machine has; what goes beyond is not a number of pages, and sums stay sums.
const PAGES_MAX: u64 = 1 << 40;

impl Memory {
    pub fn read(root: &Root) -> Memory {
        let meminfo = root.text_or_empty("proc/meminfo");
        let available = super::root::field(&meminfo, "MemAvailable");
        let limit = |controller, files: &[&str]| {
            let folders = cgroup::folders(root, controller);
            let values = folders.iter().flat_map(|folder| files.iter().map(move |file| format!("{folder}/{file}")));
            values.filter_map(|path| root.number::<u64>(&path)).min().map(|bytes| bytes >> 10)
        };
        Memory {
            available_kib: available.and_then(|text| text.trim_end_matches("kB").trim().parse().ok()),
            limit_kib: limit("memory", &["memory.max", "memory.limit_in_bytes"]),
            huge_limit_kib: limit("hugetlb", &["hugetlb.2MB.max", "hugetlb.2MB.limit_in_bytes"]),
            pages: pages(root, "sys/kernel/mm/hugepages"),
            nodes: nodes(root),
            hugetlbfs: hugetlbfs(root),
            thp: chosen(&root.text_or_empty("sys/kernel/mm/transparent_hugepage/enabled")),
        }
    }

    /// The 2 MiB pages, which are those that `penstock run` plans with.
    pub fn two_mib(&self) -> PageSize {
        two_mib(&self.pages)
    }
}

impl Node {
    pub fn two_mib(&self) -> PageSize {
        two_mib(&self.pages)
    }
}

fn two_mib(pages: &[PageSize]) -> PageSize {
    pages.iter().find(|size| size.kib == 2048).copied().unwrap_or(PageSize { kib: 2048, reserved: 0, free: 0 })
}

fn pages(root: &Root, folder: &str) -> Vec<PageSize> {
    let size = |name: String| {
        let kib = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let number = |file: &str| root.number::<u64>(&format!("{folder}/{name}/{file}")).unwrap_or(0).min(PAGES_MAX);
        Some(PageSize { kib, reserved: number("nr_hugepages"), free: number("free_hugepages") })
    };
    let mut pages: Vec<PageSize> = root.names(folder).into_iter().filter_map(size).collect();
    pages.sort_by_key(|size| size.kib);
    pages
}

fn nodes(root: &Root) -> Vec<Node> {
    let folder = "sys/devices/system/node";
    let node = |name: String| {
        let id = name.strip_prefix("node")?.parse().ok()?;
        let cpus = root.list(&format!("{folder}/{name}/cpulist"));
        Some(Node { id, cpus, pages: pages(root, &format!("{folder}/{name}/hugepages")) })
    };
    let mut nodes: Vec<Node> = root.names(folder).into_iter().filter_map(node).collect();
    nodes.sort_by_key(|node| node.id);
    nodes
}

fn hugetlbfs(root: &Root) -> Vec<String> {
    let mounts = root.text_or_empty("proc/mounts");
    let mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    mounts.filter(|words| words.get(2) == Some(&"hugetlbfs")).map(|words| words[1].to_string()).collect()
}

/// The word in brackets of `always [madvise] never`.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_string())
}
