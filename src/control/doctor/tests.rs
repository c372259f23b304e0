//! Machines made up and broken in one place each: every break is found by name, with a fix, and nothing else is.

mod tree;

use std::path::Path;

use super::machine::{Machine, Scope};
use super::{Finding, Group, Report, Severity, checks, examine, refusal};
use crate::config::Config;
use crate::control::load::load_str;
use crate::failure::Exit;
use tree::{HUGE, NIC, PMDS, Tree, node};

const CARD: &str = "0000:01:00.0";
const TAP: &str = "net_tap0,iface=tap0";
const AF_PACKET: &str = "net_af_packet0,iface=veth0";
const AF_XDP: &str = "net_af_xdp0,iface=veth0";

fn config(device: &str, workers: &str) -> Config {
    let text = format!(
        "[port]\n{}address = [\"10.7.0.2/24\", \"fd00:7::2/64\"]\n[workers]\ncount = 1\n{workers}\n[[listener]]\nport = 80\n\
         [[route]]\npath = \"/\"\nrespond = {{ body = \"x\" }}\n",
        if device.is_empty() { String::new() } else { format!("device = \"{device}\"\n") }
    );
    // The later count wins in the cases' words.
    let text = if workers.contains("count") { text.replacen("count = 1\n", "", 1) } else { text };
    load_str("test", &text, Path::new("")).unwrap()
}

fn groups(tree: &Tree, config: Option<&Config>) -> Vec<Group> {
    let mut machine = Machine::read(tree.root(), Scope::Everything);
    machine.dpdk.built_in = true;
    examine(&machine, config)
}

fn found(tree: &Tree, config: Option<&Config>) -> Vec<Finding> {
    groups(tree, config).into_iter().flat_map(|group| group.findings).collect()
}

fn worst(findings: &[Finding]) -> Vec<(&'static str, Severity)> {
    findings.iter().filter(|f| f.severity <= Severity::Warning).map(|f| (f.id, f.severity)).collect()
}

#[test]
fn a_healthy_machine_is_healthy() {
    let tree = Tree::healthy();
    for device in [CARD, TAP, AF_PACKET, AF_XDP, "net_memif0", "net_null0,copy=1"] {
        let findings = found(&tree, Some(&config(device, "hugepages = \"require\"")));
        assert_eq!(worst(&findings), [], "{device}: {findings:#?}");
        assert!(findings.iter().any(|finding| finding.severity == Severity::Ok));
        assert!(refusal(findings.iter()).is_ok());
    }
    assert_eq!(worst(&found(&tree, None)), []);
}

/// What is broken, by the finding's name; the device; further lines under [workers]; and how to break it.
type Break = (&'static str, &'static str, &'static str, fn(&Tree));

const FATAL: &[Break] = &[
    ("device-none", "", "", |_| ()),
    ("pmd-missing", TAP, "", |t| t.remove(&format!("{PMDS}/librte_net_tap.so.23.0"))),
    ("pmd-missing", AF_PACKET, "", |t| t.remove(&format!("{PMDS}/librte_mempool_ring.so.23.0"))),
    ("pmd-missing", CARD, "", |t| t.remove(&format!("{PMDS}/librte_bus_pci.so.23.0"))),
    ("interface-unnamed", "net_af_xdp0", "", |_| ()),
    ("interface-missing", "net_af_packet0,iface=nonesuch", "", |_| ()),
    ("interface-taken", "net_tap0,iface=eth0", "", |_| ()),
    ("interface-taken", "net_tap0,iface=veth0", "", |t| t.set("sys/class/net/veth0/tun_flags", "0x1002")),
    ("interface-name", "net_tap0,iface=sixteen-letters-", "", |_| ()),
    ("tun-missing", TAP, "", |t| t.remove("dev/net/tun")),
    ("device-claimed", TAP, "", |t| t.set("proc/net/unix", "Num\n0: 2 0 10000 1 01 7 @penstock/tap0\n")),
    ("nic-missing", "0000:07:00.0", "", |_| ()),
    ("nic-default-route", "0000:00:03.0", "", |_| ()),
    ("nic-bound-to-kernel", CARD, "", |t| {
        t.link(&format!("{NIC}/driver"), "../i40e");
        t.set(&format!("{NIC}/net/eth1/x"), "");
    }),
    ("nic-unbound", CARD, "", |t| t.remove(&format!("{NIC}/driver"))),
    ("hugepages-none", TAP, "hugepages = \"require\"", |t| t.set(&format!("{HUGE}/nr_hugepages"), "0")),
    ("hugepages-few", TAP, "hugepages = \"require\"", |t| t.set(&format!("{HUGE}/free_hugepages"), "9")),
    ("workers-too-many", TAP, "count = 5", |_| ()),
    ("capability-missing", TAP, "", |t| t.change("proc/self/status", "000001ffffffffff", "0")),
    ("capability-missing", AF_PACKET, "", |t| t.change("proc/self/status", "ffffffffff", "ffffffdfff")),
    ("capability-missing", AF_XDP, "", |t| t.change("proc/self/status", "1ffffffffff", "17fffdfffff")),
    ("nofile-low", TAP, "", |t| t.change("proc/self/limits", "1048576", "12")),
    ("memlock-low", AF_XDP, "", |t| {
        t.change("proc/self/status", "ffffffffff", "ffffffbfff");
        t.change("proc/self/limits", "unlimited", "65536");
    }),
];

const WARNINGS: &[Break] = &[
    ("driver-unknown", "net_tapp0", "", |_| ()),
    ("interface-default-route", "net_af_packet0,iface=eth0", "", |_| ()),
    ("interface-down", AF_PACKET, "", |t| t.set("sys/class/net/veth0/flags", "0x1002")),
    ("interface-no-carrier", AF_PACKET, "", |t| t.set("sys/class/net/veth0/carrier", "0")),
    ("nic-pmd-missing", CARD, "", |t| t.remove(&format!("{PMDS}/librte_net_i40e.so.23.0"))),
    ("nic-remote-node", CARD, "", |t| t.set(&format!("{NIC}/numa_node"), "1")),
    ("iommu-off", CARD, "", |t| t.remove("sys/kernel/iommu_groups/1")),
    ("vfio-unloaded", CARD, "", |t| t.remove("sys/bus/pci/drivers/vfio-pci")),
    ("vfio-missing", CARD, "", |t| {
        t.remove("sys/bus/pci/drivers/vfio-pci");
        t.set("proc/sys/kernel/osrelease", "6.1\n");
        t.set("lib/modules/6.1/modules.dep", "kernel/drivers/net/tun.ko:\n");
    }),
    ("hugepages-none", CARD, "", |t| t.set(&format!("{HUGE}/nr_hugepages"), "0")),
    ("hugepages-few", TAP, "", |t| t.set(&format!("{HUGE}/free_hugepages"), "30")),
    ("hugepages-node", TAP, "", |t| t.set(&format!("{}/free_hugepages", node(0)), "0")),
    ("hugepages-limit", TAP, "", |t| t.set("sys/fs/cgroup/system.slice/hugetlb.2MB.max", "1048576")),
    ("hugepages-size", TAP, "", |t| {
        t.set(&format!("{HUGE}/nr_hugepages"), "0");
        t.set("sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "4");
    }),
    ("memory-short", TAP, "hugepages = \"off\"", |t| t.change("proc/meminfo", "16777216", "65536")),
    ("memory-limit", TAP, "hugepages = \"off\"", |t| {
        t.set("sys/fs/cgroup/system.slice/memory.max", "67108864");
    }),
    ("thp-always", CARD, "", |t| t.set("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never")),
    ("cpu-shared", CARD, "", |t| t.change("proc/self/status", "0-3", "1")),
    ("cpu-not-isolated", CARD, "", |t| t.set("sys/devices/system/cpu/isolated", "")),
    ("cpu-contended", TAP, "", |t| t.thread(8, "a) (b", 'R', "1", 1)),
    ("cpu-busy", CARD, "", |t| t.thread(8, "rustc", 'R', "0-3", 1)),
    ("cpu-irqs", CARD, "", |t| t.set("proc/irq/25/smp_affinity_list", "0-3")),
    ("cpu-quota", TAP, "", |t| t.set("sys/fs/cgroup/system.slice/penstock.service/cpu.max", "50000 100000")),
    ("cpu-throttled", TAP, "", |t| {
        t.set("sys/fs/cgroup/system.slice/penstock.service/cpu.max", "900000 100000");
        t.change("sys/fs/cgroup/system.slice/penstock.service/cpu.stat", "nr_throttled 0", "nr_throttled 3");
    }),
    ("cpu-governor", CARD, "", |t| t.set("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave")),
    ("cpu-steal", TAP, "", |t| t.change("proc/stat", " 1 0 0", " 500 0 0")),
    ("clocksource", TAP, "", |t| {
        t.set("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet");
    }),
    ("tsc-varies", TAP, "", |t| t.change("proc/cpuinfo", "nonstop_tsc", "")),
    ("address-conflict", TAP, "", |t| t.change("proc/net/fib_trie", "192.0.2.2\n", "10.7.0.2\n")),
    ("capability-missing", AF_XDP, "", |t| t.change("proc/self/status", "ffffffffff", "ffffdfffff")),
    ("address-conflict", TAP, "", |t| {
        t.set("proc/net/if_inet6", "fd000007000000000000000000000002 02 40 20 80 eth0\n");
    }),
    ("nofile-low", TAP, "", |t| t.change("proc/self/limits", "1048576", "64")),
    ("memlock-low", AF_XDP, "", |t| {
        t.change("proc/self/status", "ffffffffff", "ffffffbfff");
        t.change("proc/self/limits", "unlimited", "8388608");
    }),
];

/// Worth knowing, whatever else holds.
const NOTES: &[Break] = &[
    ("pmd-folder", TAP, "", |t| t.remove(PMDS)),
    ("interface-shared", AF_PACKET, "", |t| {
        t.set("proc/net/if_inet6", "fd000007000000000000000000000009 02 40 00 80 veth0\n");
    }),
    ("nic-present", TAP, "", |_| ()),
    ("hugetlbfs-unmounted", TAP, "", |t| t.change("proc/mounts", "none /dev/hugepages hugetlbfs rw 0 0\n", "")),
    ("thp-never", TAP, "", |t| {
        t.set("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]");
        t.set(&format!("{HUGE}/free_hugepages"), "0");
        t.set(&format!("{HUGE}/nr_hugepages"), "0");
    }),
    ("cpuset", TAP, "", |t| t.change("proc/self/status", "0-3", "0-2")),
    ("cpu-tick", TAP, "", |t| t.set("sys/devices/system/cpu/nohz_full", "")),
    ("cpu-quota-set", TAP, "", |t| {
        t.set("sys/fs/cgroup/system.slice/penstock.service/cpu.max", "300000 100000");
    }),
    ("port-shared", TAP, "", |t| t.set("proc/net/tcp", "sl\n0: 00000000:0050 0:0 0A 0\n")),
];

#[test]
fn notes_keep_nothing_from_starting() {
    for &(id, device, workers, apply) in NOTES {
        let tree = Tree::healthy();
        apply(&tree);
        let findings = found(&tree, Some(&config(device, workers)));
        assert!(findings.iter().any(|f| f.id == id && f.severity == Severity::Note), "{id}: {findings:#?}");
        assert_eq!(worst(&findings), [], "{id}");
    }
}

#[test]
fn every_break_is_found_with_its_fix_and_nothing_else_is() {
    let fatal = FATAL.iter().map(|case| (Severity::Fatal, case));
    let warnings = WARNINGS.iter().map(|case| (Severity::Warning, case));
    for (severity, &(id, device, workers, apply)) in fatal.chain(warnings) {
        let tree = Tree::healthy();
        apply(&tree);
        let findings = found(&tree, Some(&config(device, workers)));
        assert_eq!(worst(&findings), [(id, severity)], "{id} on {device:?}: {findings:#?}");
        let finding = findings.iter().find(|finding| finding.id == id).unwrap();
        assert!(!finding.fix.is_empty() && !finding.why.is_empty(), "{finding:?}");
        assert!(!finding.what.ends_with('.') && !finding.what.contains("  "), "{finding:?}");
        assert_eq!(refusal(findings.iter()).is_err(), severity == Severity::Fatal, "{id}");
    }
}

/// What is a warning for a card and a note for virtual devices.
const SPARED: &[&str] = &[
    "cpu-not-isolated",
    "cpu-governor",
    "thp-always",
    "hugepages-none",
    "cpu-shared",
    "cpu-irqs",
    "cpu-busy",
    "cpu-contended",
];

#[test]
fn virtual_devices_are_spared_what_only_costs_speed() {
    // Pinned and asleep.
    let asleep: Break = ("cpu-contended", CARD, "", |t| t.thread(8, "a) (b", 'S', "1", 1));
    let cases = WARNINGS.iter().filter(|case| SPARED.contains(&case.0) && case.0 != "cpu-contended");
    for (id, _, _, apply) in cases.chain([&asleep]) {
        let tree = Tree::healthy();
        apply(&tree);
        let findings = found(&tree, Some(&config(TAP, "")));
        assert_eq!(worst(&findings), [], "{id}");
        assert!(findings.iter().any(|f| f.id == *id && f.severity == Severity::Note), "{id}: {findings:#?}");
    }
}

#[test]
fn the_kernels_own_listeners_matter_only_on_a_shared_address() {
    let tree = Tree::healthy();
    tree.set("proc/net/tcp", "sl\n0: 00000000:0050 0:0 0A 0\n");
    let findings = found(&tree, Some(&config(TAP, "")));
    assert_eq!(worst(&findings), []);
    assert!(findings.iter().any(|finding| finding.id == "port-shared"));
    tree.change("proc/net/fib_trie", "192.0.2.2\n", "10.7.0.2\n");
    let findings = found(&tree, Some(&config(TAP, "")));
    let both = [("address-conflict", Severity::Warning), ("port-conflict", Severity::Warning)];
    assert_eq!(worst(&findings), both);
}

#[test]
fn another_namespaces_sysfs_is_not_believed() {
    let tree = Tree::healthy();
    // A process in a new network namespace sees its own interfaces in /proc, and the old ones in /sys.
    tree.set("proc/net/dev", "Inter-|\n face |\n    lo: 0\n veth0: 0\n");
    tree.set("sys/class/net/veth0/flags", "0x1002");
    assert_eq!(worst(&found(&tree, Some(&config(AF_PACKET, "")))), []);
    assert_eq!(worst(&found(&tree, Some(&config("net_tap0,iface=eth0", "")))), []);
}

#[test]
fn version_1_control_groups_are_read_too() {
    let tree = Tree::healthy();
    tree.set("proc/mounts", "cgroup /cg/cpu cgroup rw,cpu,cpuacct 0 0\nnone /h hugetlbfs rw 0 0\n");
    tree.set("proc/self/cgroup", "4:cpu,cpuacct:/docker/x\n0::/\n");
    // The path is the host's; in the container the mount itself is our group.
    tree.set("cg/cpu/cpu.cfs_quota_us", "150000");
    tree.set("cg/cpu/cpu.cfs_period_us", "100000");
    let findings = found(&tree, Some(&config(TAP, "")));
    assert!(
        findings.iter().any(|f| f.id == "cpu-quota-set" && f.what.contains("1.50 CPUs (/cg/cpu)")),
        "{findings:#?}"
    );
    tree.set("cg/cpu/cpu.cfs_quota_us", "100000");
    assert_eq!(worst(&found(&tree, Some(&config(TAP, "")))), [("cpu-quota", Severity::Warning)]);
    tree.set("cg/cpu/cpu.cfs_quota_us", "-1");
    assert_eq!(worst(&found(&tree, Some(&config(TAP, "")))), []);
}

#[test]
fn a_machine_that_says_nothing_is_not_called_broken() {
    let empty = tempfile::tempdir().unwrap();
    for scope in [Scope::Start, Scope::Everything] {
        let mut machine = Machine::read(empty.path(), scope);
        machine.dpdk.built_in = true;
        // No /dev/net/tun is all that an empty folder proves for a tap device.
        for (device, fatal) in [("net_null0", 0), (AF_PACKET, 0), (TAP, 1)] {
            let groups = examine(&machine, Some(&config(device, "")));
            let found = groups.iter().flat_map(|group| &group.findings).filter(|f| f.severity == Severity::Fatal);
            assert_eq!(found.count(), fatal, "{device}");
        }
    }
}

#[test]
fn a_refusal_says_all_that_is_fatal_with_the_right_exit_code() {
    let tree = Tree::healthy();
    tree.remove("dev/net/tun");
    let one = refusal(found(&tree, Some(&config(TAP, ""))).iter()).unwrap_err();
    assert_eq!((one.exit, one.what.as_str()), (Exit::Environment, "/dev/net/tun does not exist"));
    assert!(one.fix.unwrap().contains("modprobe tun"));
    tree.change("proc/self/status", "000001ffffffffff", "0");
    let two = refusal(found(&tree, Some(&config(TAP, ""))).iter()).unwrap_err().to_string();
    assert!(two.starts_with("error: 2 things keep") && two.contains("modprobe tun") && two.contains("setcap"), "{two}");
    let config = config(TAP, "count = 9");
    let file = refusal(found(&Tree::healthy(), Some(&config)).iter()).unwrap_err();
    assert_eq!(file.exit, Exit::Config);
}

#[test]
fn reports_for_people_and_programs_agree() {
    let tree = Tree::healthy();
    let mut report = Report { config: Some("a.toml".into()), groups: groups(&tree, Some(&config(CARD, ""))) };
    assert!(report.text(false).ends_with("\nverdict: healthy: the gateway can start\n"), "{}", report.text(false));
    tree.remove(&format!("{NIC}/driver"));
    tree.set("sys/devices/system/cpu/isolated", "");
    report.groups = groups(&tree, Some(&config(CARD, "")));
    let text = report.text(false);
    let verdict = "\nverdict: the gateway cannot start: 1 fatal finding, 1 warning\n";
    assert!(
        text.ends_with(verdict) && text.contains("  [nic-unbound]\n") && text.contains("fix: modprobe vfio-pci"),
        "{text}"
    );
    assert!(!text.contains('\x1b') && report.text(true).contains("\x1b[1;31m"));
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!((json["verdict"].as_str(), json["exit"].as_u64()), (Some("cannot-start"), Some(4)));
    assert_eq!((json["fatal"].as_u64(), json["warnings"].as_u64()), (Some(1), Some(1)));
    let findings = json["findings"].as_array().unwrap();
    assert_eq!(findings.len(), report.findings().count());
    assert!(findings.iter().all(|f| ["id", "area", "severity", "what", "why", "fix"].iter().all(|k| f[k].is_string())));
}

/// Findings that no made-up machine brings about, with the test that does.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("config-invalid", "fatal", include_str!("../../../tests/doctor.rs")),
    ("config-none", "note", include_str!("../../../tests/doctor.rs")),
    ("build-without-dpdk", "fatal", include_str!("../../../tests/doctor.rs")),
    ("port-conflict", "warning", include_str!("../../../tests/blackbox/test_doctor.py")),
];
/// Of a network card only: no virtual device has them.
const CARDS_ONLY: &[&str] = &["iommu-off", "vfio-unloaded", "vfio-missing"];

/// Finding and severity of each line of the page's table; several findings may share a line.
fn documented() -> Vec<(String, String)> {
    let page = include_str!("../../../docs/troubleshooting.md");
    let table = page.split("\n## ").find(|section| section.starts_with("Findings of the doctor")).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    // Finding, severity, found, fix; the table of JSON fields has two columns.
    let cells = rows.map(|row| row.split(" | ").collect::<Vec<_>>()).filter(|cells| cells.len() == 4);
    let mut found = Vec::new();
    for cells in cells {
        let ids: Vec<&str> = cells[0].split('`').skip(1).step_by(2).collect();
        // `a`, `b` with severities of their own have as many, in order.
        let severities: Vec<&str> = cells[1].split(", ").collect();
        for (at, id) in ids.iter().enumerate() {
            let own = if ids.len() == severities.len() { severities[at] } else { cells[1] };
            found.push((id.to_string(), own.to_string()));
        }
    }
    found
}

#[test]
fn every_line_of_the_page_has_a_test_of_each_of_its_severities() {
    let has = |cases: &[Break], id: &str| cases.iter().any(|case| case.0 == id);
    let elsewhere = |id: &str, severity: &str| {
        ELSEWHERE
            .iter()
            .any(|(other, kind, test)| (*other, *kind) == (id, severity) && test.contains(&format!("\"{id}\"")))
    };
    let lines = documented();
    assert!(lines.len() > 50, "{lines:?}");
    for (id, severity) in lines {
        let speed = severity.contains("*speed*");
        let promised = [
            ("fatal", severity.contains("fatal"), has(FATAL, &id)),
            ("warning", severity.contains("warning") || speed, has(WARNINGS, &id)),
            ("note", severity.contains("note"), has(NOTES, &id)),
            ("note", speed && !CARDS_ONLY.contains(&&*id), SPARED.contains(&&*id)),
        ];
        for (kind, promised, tested) in promised {
            assert!(!promised || tested || elsewhere(&id, kind), "no test brings about {id} as {kind}");
        }
        assert!(promised.iter().any(|(_, promised, _)| *promised), "{id} has no severity: {severity}");
    }
}

#[test]
fn every_finding_is_documented() {
    let documented: Vec<String> = documented().into_iter().map(|(id, _)| id).collect();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/control/doctor/checks");
    let sources =
        std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    let pattern = regex::Regex::new("\"([a-z]+(?:-[a-z]+)+|cpuset|clocksource)\"").unwrap();
    let mut ids: Vec<String> = Vec::new();
    for source in sources {
        ids.extend(pattern.captures_iter(&source).map(|found| found[1].to_string()));
    }
    assert!(ids.len() > 50);
    // A kernel driver's name, not a finding.
    ids.retain(|id| id != "vfio-pci");
    let others = ["config-none", "config-invalid"].map(String::from);
    for id in ids.iter().chain(&others).chain(&checks::IN_CONFIG.iter().map(ToString::to_string).collect::<Vec<_>>()) {
        assert!(documented.contains(id), "docs/troubleshooting.md lacks {id}");
    }
    for id in &documented {
        assert!(ids.contains(id) || others.contains(id), "docs/troubleshooting.md has {id}, which no check finds");
    }
}
