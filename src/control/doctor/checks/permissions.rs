//! Capabilities and resource limits.

use super::super::device::{BPF, Capability, Device, IPC_LOCK, SYS_ADMIN};
use super::super::machine::Machine;
use super::super::need::Need;
use super::super::{Finding, Severity};
use crate::config::{Config, Hugepages};

/// With fewer files EAL aborts.
const NOFILE_MIN: u64 = 13;
/// Files that EAL, a device and the gateway open, about, beside one for each hugepage.
const NOFILE: u64 = 64;

/// What the kind of device needs.
pub fn capabilities(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    let Some(device) = config.and_then(Device::of) else { return Vec::new() };
    let Some(driver) = device.driver() else { return Vec::new() };
    let missing: Vec<&Capability> = driver.capabilities.iter().filter(|(bit, _)| !machine.process.has(*bit)).collect();
    if missing.is_empty() {
        return vec![Finding::ok("capabilities", "this user may do what the device needs")];
    }
    let names: Vec<&str> = missing.iter().map(|(_, name)| *name).collect();
    // A tap device that exists may belong to this user.
    let may_own =
        driver.name == "net_tap" && device.interface().is_some_and(|name| machine.net.interface(name).is_some());
    // Some versions of libxdp do with bpf.
    let may_do = machine.process.has(BPF.0) && missing == [&SYS_ADMIN];
    let severity = if may_own || may_do { Severity::Warning } else { Severity::Fatal };
    let all: Vec<String> = driver.capabilities.iter().map(|(_, name)| format!("cap_{name}")).collect();
    let add: Vec<String> = names.iter().map(|name| format!("--cap-add {}", name.to_uppercase())).collect();
    vec![
        Finding::new(
            severity,
            "capability-missing",
            format!("{} needs what this user lacks: {}", driver.name, names.join(", ")),
        )
        .why("the kernel refuses the driver its sockets or interface")
        .fix(format!(
            "run as root, or: setcap {}=ep $(command -v penstock)\nin a container: docker run {}",
            all.join(","),
            add.join(" ")
        )),
    ]
}

/// Locked memory and open files.
pub fn limits(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    let mut found: Vec<Finding> = config.and_then(|config| memlock(machine, config)).into_iter().collect();
    let pages =
        config.filter(|config| config.workers.hugepages != Hugepages::Off).map(|config| Need::of(config, machine));
    let wanted = NOFILE + pages.map_or(0, |need| need.frames_kib.div_ceil(2048).min(machine.memory.two_mib().free));
    if let Some(limit) = machine.process.nofile.filter(|limit| *limit < wanted) {
        let severity = if limit < NOFILE_MIN { Severity::Fatal } else { Severity::Warning };
        found.push(
            Finding::new(
                severity,
                "nofile-low",
                format!("this process may open {limit} files, about {wanted} are needed"),
            )
            .why("EAL opens a file for each hugepage, and the device a few for each queue")
            .fix(format!(
                "ulimit -n {}; systemd: LimitNOFILE=; docker run --ulimit nofile=",
                wanted.next_power_of_two().max(1024)
            )),
        );
    }
    if found.is_empty() {
        found.push(Finding::ok("limits", "the limits on files and locked memory are high enough"));
    }
    found
}

/// AF_XDP and VFIO lock the memory of all frames.
fn memlock(machine: &Machine, config: &Config) -> Option<Finding> {
    let device = Device::of(config)?;
    let xdp = device.driver().is_some_and(|driver| driver.name == "net_af_xdp");
    let limit_kib = machine.process.memlock.filter(|_| xdp || device.is_pci())? >> 10;
    let need = Need::of(config, machine);
    if machine.process.has(IPC_LOCK.0) || limit_kib >= need.frames_kib {
        return None;
    }
    // A device may have one queue only, and then there is one worker.
    let least_kib = need.frames_min_kib / need.workers as u64;
    let severity = if xdp && limit_kib < least_kib { Severity::Fatal } else { Severity::Warning };
    let what = format!("this process may lock {limit_kib} KiB of memory, about {} KiB are needed", need.frames_kib);
    let finding = Finding::new(severity, "memlock-low", what)
        .why("the device reads and writes the frames' memory, which has to stay in place");
    Some(finding.fix("run as root, or with ipc_lock, or: ulimit -l unlimited; systemd: LimitMEMLOCK=infinity; docker run --ulimit memlock=-1"))
}
