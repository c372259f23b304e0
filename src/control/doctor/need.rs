//! What a configuration will take of the machine, about.
//!
//! Owns the estimates. Each has a lower bound as well, below which a start is certain to fail. Refuses precision: the
//! device's own wishes are known only once it runs.

use super::machine::{Machine, show_list};
use crate::config::Config;
use crate::limits::WORKERS_MAX;

/// The highest number of workers that EAL's lcore numbers permit, as `runtime::plan` has it.
const WORKER_LCORES_MAX: usize = if WORKERS_MAX < 127 { WORKERS_MAX } else { 127 };
/// What EAL and the drivers take beside frames, in KiB.
const EAL_KIB: u64 = 64 << 10;
/// Frames of a worker: descriptors, caches and backlogs, about, and less than any device makes it.
const FRAMES: u64 = 3744;
const FRAMES_MIN: u64 = 3000;
/// A frame beside its data room, in bytes.
const FRAME_OVERHEAD: u64 = 384;
const FRAME_MIN: u64 = 2368;
/// What a connection's socket takes beside its rings, about, in bytes.
const SOCKET: u64 = 832;
/// What a connection takes that is parked, about, in bytes; the others take it too.
const CONNECTION: u64 = 512;
/// What a TIME-WAIT entry takes, about, in bytes.
const TIME_WAIT_ENTRY: u64 = 64;

/// Workers, the CPUs they get and their memory.
#[derive(Clone, Debug)]
pub struct Need {
    pub workers: usize,
    /// The CPUs that `penstock run` plans for the workers.
    pub cpus: Vec<usize>,
    /// Whether the control thread has a CPU of its own.
    pub spare_cpu: bool,
    /// For frames and EAL, in KiB.
    pub frames_kib: u64,
    /// For frames, at the very least, in KiB.
    pub frames_min_kib: u64,
    /// For connections of all workers, in KiB.
    pub connections_kib: u64,
    /// For connections of one worker, at the very least, in KiB.
    pub connections_min_kib: u64,
}

impl Need {
    pub fn of(config: &Config, machine: &Machine) -> Need {
        let allowed = &machine.cpu.allowed;
        let most = most_workers(machine);
        let planned = allowed.len().saturating_sub(1).clamp(1, WORKER_LCORES_MAX);
        let workers = config.workers.count.map_or(planned, |count| usize::from(count).clamp(1, most));
        let spare_cpu = allowed.len() > workers;
        let room = u64::from(config.port.mtu.unwrap_or(0)).max(2048);
        let (count, connections) = (workers as u64, u64::from(config.workers.connections));
        let active = u64::from(config.workers.active());
        let rings = (config.tcp.rx_ring + config.tcp.tx_ring) as u64;
        let bulk = u64::from(config.tcp.bulk_rings) * (config.tcp.rx_ring + config.tcp.bulk_tx_ring) as u64;
        let time_wait = u64::from(config.tcp.time_wait_entries) * TIME_WAIT_ENTRY;
        Need {
            workers,
            cpus: allowed.iter().skip(usize::from(spare_cpu)).take(workers).copied().collect(),
            spare_cpu,
            frames_kib: EAL_KIB + (count * FRAMES * (room + FRAME_OVERHEAD)).div_ceil(1024),
            frames_min_kib: count * FRAMES_MIN * FRAME_MIN / 1024,
            connections_kib: count
                * (connections * CONNECTION + active * (rings + SOCKET) + bulk + time_wait).div_ceil(1024),
            connections_min_kib: active * rings / 1024,
        }
    }

    /// 2 MiB pages for everything.
    pub fn pages(&self) -> u64 {
        (self.frames_kib + self.connections_kib).div_ceil(2048)
    }

    /// 2 MiB pages without which nothing starts.
    pub fn pages_min(&self) -> u64 {
        (self.frames_min_kib + self.connections_min_kib) / 2048
    }

    /// The workers' CPUs as a list such as `1-3`.
    pub fn cpu_list(&self) -> String {
        show_list(&self.cpus)
    }
}

/// How many workers this process has CPUs for.
pub fn most_workers(machine: &Machine) -> usize {
    machine.cpu.allowed.len().clamp(1, WORKER_LCORES_MAX)
}
