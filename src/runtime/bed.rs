//! A device that runs: its queue pairs, the lcores that have them, the pools their frames are from.
//!
//! Owns setting one up from the configuration, and taking it down. Refuses to know what the lcores do.

use crate::config::Config;
use crate::control::log::events;
use crate::control::log::watch::Budget;
use crate::dpdk::{self, Eal, EthPort, FRAME_OVERHEAD, Lcore, Pool, PortOptions, PortShape, QueuePort, Severity};
use crate::failure::{Exit, Failure};
use std::collections::BTreeMap;
use std::time::Duration;

/// Time for the frames in the transmit rings to leave: 1024 full ones take 12 ms at 1 Gbit/s.
const TRANSMIT_RINGS: Duration = Duration::from_millis(20);

/// What a link that is down needs.
pub(super) const LINK_DOWN: &str =
    "serving goes on when it comes up: check cable, switch port, or the interface's other end";

/// What DPDK may still log.
pub(super) static DPDK_LINES: Budget = Budget::unlimited();

/// A device that runs, with the pools its frames are from.
pub(super) struct Bed {
    pub(super) port: EthPort,
    pub(super) shape: PortShape,
    pub(super) lcores: Vec<Lcore>,
    /// By NUMA node.
    pub(super) pools: Vec<Pool>,
}

/// What DPDK and its drivers log, as events.
pub(super) fn say_dpdk(severity: Severity, text: &str) {
    // Also called on lcores: a driver may have something to say of each frame.
    if !DPDK_LINES.take() {
        return;
    }
    match severity {
        Severity::Error => events::dpdk_error(text),
        Severity::Warning => events::dpdk_warning(text),
        Severity::Note => events::dpdk_note(text),
    }
}

/// Memory for the frames of so many workers before the device was asked, in MiB.
pub(super) fn pool_mib(config: &Config, workers: usize) -> u64 {
    let frames = dpdk::pool_frames(u16::try_from(workers).unwrap_or(u16::MAX), 1024, 1024);
    let room = usize::from(config.port.mtu.unwrap_or(0)).max(2048) + 128 + FRAME_OVERHEAD;
    (frames as usize * room).div_ceil(1 << 20) as u64
}

/// The lcores for the configured number of workers.
pub(super) fn worker_lcores(eal: &Eal, config: &Config) -> Result<Vec<Lcore>, Failure> {
    let mut lcores = eal.worker_lcores();
    if let Some(count) = config.workers.count {
        if usize::from(count) > lcores.len() && !lcores.is_empty() {
            events::lcores_missing(count.into(), lcores.len() as u64);
        }
        lcores.truncate(usize::from(count));
    }
    if lcores.is_empty() {
        let what = "EAL has no worker lcore beside the main one";
        return Err(Failure::new(Exit::Environment, what).fix("give it two: -l 0,1, or on one CPU --lcores 0@0,1@0"));
    }
    Ok(lcores)
}

/// Starts the configured device with a queue pair for each of `lcores`, as far as it has so many. `owner` begins the names
/// of its pools.
pub(super) fn set_up(
    eal: &Eal,
    owner: &str,
    config: &Config,
    lcores: Vec<Lcore>,
) -> Result<(Bed, Vec<QueuePort>), Failure> {
    let mut lcores = lcores;
    let mut port = EthPort::find(eal, config.port.device.as_deref())?;
    let options = PortOptions {
        queues: u16::try_from(lcores.len()).unwrap_or(u16::MAX),
        mtu: config.port.mtu,
        multicast: config.port.addresses.iter().any(|cidr| cidr.address.is_ipv6()),
        room: None,
    };
    let shape = port.configure(&options)?;
    if usize::from(shape.queues) < lcores.len() {
        let idle = lcores.len() - usize::from(shape.queues);
        events::lcores_idle(port.name(), shape.queues.into(), lcores.len() as u64, idle as u64);
        lcores.truncate(usize::from(shape.queues));
    }
    let by_node = make_pools(eal, owner, &lcores, &shape)?;
    let pools: Vec<Pool> = lcores.iter().filter_map(|lcore| by_node.get(&lcore.node()).cloned()).collect();
    let queues = port.start(&shape, &options, &pools)?;
    Ok((Bed { port, shape, lcores, pools: by_node.into_values().collect() }, queues))
}

/// Waits for the link, and says so if that takes long.
pub(super) fn wait_link(port: &EthPort) {
    if !port.wait_link(|seconds| events::link_wait(port.name(), seconds)) {
        events::link_down(port.name(), 0, LINK_DOWN);
    }
}

/// One pool on each NUMA node that has workers, sized for them.
fn make_pools(
    eal: &Eal,
    owner: &str,
    lcores: &[Lcore],
    shape: &PortShape,
) -> Result<BTreeMap<Option<u32>, Pool>, Failure> {
    let mut workers = BTreeMap::<Option<u32>, u16>::new();
    for lcore in lcores {
        *workers.entry(lcore.node()).or_default() += 1;
    }
    let pool = |(node, count)| {
        let frames = dpdk::pool_frames(count, shape.rx_descriptors, shape.tx_descriptors);
        Ok((node, Pool::new(eal, owner, node, frames, shape.room)?))
    };
    workers.into_iter().map(pool).collect()
}

/// Closes the device and counts the frames: all of them are back in their pool now, or have leaked.
pub(super) fn tear_down(bed: Bed) {
    let Bed { port, pools, .. } = bed;
    // Stopping a device throws away what its transmit rings hold: the last answers and FINs.
    std::thread::sleep(TRANSMIT_RINGS);
    drop(port);
    for pool in pools {
        match pool.in_use() {
            0 => {}
            leaked => events::leaked(pool.name(), leaked.into()),
        }
    }
}
