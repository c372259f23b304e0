//! Lcores and ports: the only place where `dpdk` meets `worker`.
//!
//! Owns the order of starting and stopping, the worker loop, signals, and what is said about them. Refuses to know
//! protocols.

#[cfg(feature = "dpdk")]
mod bed;
#[cfg(feature = "dpdk")]
mod claim;
#[cfg(feature = "dpdk")]
mod identity;
pub mod idle;
#[cfg(feature = "dpdk")]
mod launch;
#[cfg(feature = "dpdk")]
pub mod load;
#[cfg(feature = "dpdk")]
mod parts;
pub mod plan;
#[cfg(feature = "dpdk")]
mod probe;
pub mod report;
pub mod shutdown;
#[cfg(feature = "dpdk")]
mod supervise;
#[cfg(feature = "dpdk")]
mod turn_loop;

use crate::config::Config;
use crate::control::log::Logs;
use crate::failure::Failure;

/// What `penstock run` was asked to do.
#[derive(Clone)]
pub struct RunOptions {
    /// EAL arguments given before `--`; None: plan them.
    pub eal_args: Option<Vec<String>>,
    /// The checked configuration.
    pub config: Config,
    /// The user to become once the device runs; None: stay.
    pub user: Option<String>,
    /// Where to say what happens.
    pub logs: Logs,
}

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// `Exit::Environment` when EAL, the device or memory cannot be had, `Exit::Runtime` when a worker panicked.
#[cfg(feature = "dpdk")]
pub fn run(options: RunOptions) -> Result<(), Failure> {
    launch::run(options)
}

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// Always: this build has no DPDK.
#[cfg(not(feature = "dpdk"))]
pub fn run(_options: RunOptions) -> Result<(), Failure> {
    Err(without_dpdk())
}

/// What every command that needs DPDK says without it.
#[cfg(not(feature = "dpdk"))]
pub fn without_dpdk() -> Failure {
    Failure::new(crate::failure::Exit::Environment, "this build has no DPDK support")
        .fix("build with: cargo build --release --features dpdk")
}
