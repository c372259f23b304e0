//! The list of checks.
//!
//! Owns their order. Each check is a function of the machine and the configuration, and says nothing where it knows
//! nothing.

mod cpu;
mod device;
mod memory;
mod network;
mod nic;
mod permissions;

use super::machine::Machine;
use super::{Finding, Severity};
use crate::config::Config;
use crate::failure::Failure;

/// A check.
pub type Check = fn(&Machine, Option<&Config>) -> Vec<Finding>;

/// Area and check, in the order of the report.
pub const CHECKS: &[(&str, Check)] = &[
    ("device", device::build),
    ("device", device::plugins),
    ("device", device::virtual_device),
    ("device", device::claimed),
    ("device", nic::configured),
    ("device", nic::vfio),
    ("device", nic::inventory),
    ("memory", memory::hugepages),
    ("memory", memory::nodes),
    ("memory", memory::limits),
    ("memory", memory::mounted),
    ("memory", memory::transparent),
    ("cpu", cpu::workers),
    ("cpu", cpu::isolation),
    ("cpu", cpu::others),
    ("cpu", cpu::interrupts),
    ("cpu", cpu::quota),
    ("cpu", cpu::clock),
    ("network", network::addresses),
    ("network", network::listeners),
    ("permissions", permissions::capabilities),
    ("permissions", permissions::limits),
];

/// Findings that the configuration file itself is the cause of.
pub const IN_CONFIG: &[&str] = &["config-invalid", "device-none", "workers-too-many"];

/// No configuration was named.
pub fn no_config() -> Finding {
    Finding::note("config-none", "no configuration file was named: only the machine is examined")
        .fix("penstock doctor -c FILE")
}

/// The configuration does not load.
pub fn bad_config(failure: Failure) -> Finding {
    let fix = failure.fix.unwrap_or_else(|| "correct the places named above, then: penstock check -c FILE".into());
    Finding::fatal("config-invalid", failure.what).fix(fix)
}

/// How bad something is that costs speed: virtual devices are for trying things out.
fn slow(config: Option<&Config>) -> Severity {
    let pci = config.and_then(super::device::Device::of).is_some_and(|device| device.is_pci());
    if pci { Severity::Warning } else { Severity::Note }
}

/// `1 worker`, `2 workers`.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
