//! Lcores and ports: the only place where `dpdk` meets `worker`.

use crate::config::Config;
use crate::failure::Failure;

/// What `penstock run` was asked to do.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// EAL arguments given before `--`; None: plan them.
    pub eal_args: Option<Vec<String>>,
    /// The checked configuration.
    pub config: Config,
}

/// Runs the gateway until it is told to stop.
pub fn run(_options: RunOptions) -> Result<(), Failure> {
    Err(Failure::new(crate::failure::Exit::Environment, "this build has no DPDK support")
        .fix("build with: cargo build --release --features dpdk"))
}
