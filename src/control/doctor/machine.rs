//! The machine as the checks see it: plain data, read once.
//!
//! Owns the snapshot and the reader. Everything is read below a root folder, so that a test can make a machine up.
//! Refuses to judge. What cannot be read is absent from the snapshot, and no check may call it broken for that.

mod cgroup;
mod cpu;
mod dpdk;
mod memory;
mod net;
mod process;
mod root;

use std::path::Path;

pub use cpu::{Cpu, Thread};
pub use dpdk::Dpdk;
pub use memory::{Memory, Node};
pub use net::{Net, Nic};
pub use process::Process;
pub use root::{Root, show_list};

/// How much is looked at.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    /// What decides whether the gateway can start: some hundred small files.
    Start,
    /// Also every thread and socket of the machine.
    Everything,
}

/// A snapshot.
#[derive(Clone, Default, Debug)]
pub struct Machine {
    pub memory: Memory,
    pub cpu: Cpu,
    pub net: Net,
    pub process: Process,
    pub dpdk: Dpdk,
}

impl Machine {
    /// Reads the machine whose /proc, /sys, /dev and /usr are below `root`.
    pub fn read(root: &Path, scope: Scope) -> Machine {
        let root = &Root::new(root);
        Machine {
            memory: Memory::read(root),
            cpu: Cpu::read(root, scope),
            net: Net::read(root, scope),
            process: Process::read(root),
            dpdk: Dpdk::read(root),
        }
    }
}
