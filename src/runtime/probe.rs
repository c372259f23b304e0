//! What the control side asks of the runtime.
//!
//! Owns the way to the device, which belongs to the main thread: a question by its channel, an answer in time or none.

use super::shutdown::Command;
use super::turn_loop::{Event, Shared};
use crate::config::Config;
use crate::control::fingerprint::fingerprint;
use crate::control::log::watch::{Sight, Watch};
use crate::control::log::{Logs, events};
use crate::control::subject::{Device, DeviceView, Phase, PoolView, Probe, Subject, Worker};
use crate::dpdk::{self, EthPort, Lcore, Pool, QueuePort};
use crate::port::Port;
use crate::telemetry::{Counter, Counters};
use crate::time::Instant;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

/// The main thread has this long to answer; it looks at its channel twice a second at least.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Lines of DPDK's and its drivers' that are shown in a second.
const DPDK_LINES_MAX: u32 = 100;
/// The names of DPDK's basic counters, which come first.
const BASIC: [&str; 8] = ["ipackets", "opackets", "ibytes", "obytes", "imissed", "ierrors", "oerrors", "rx_nombuf"];

struct Runtime {
    shared: Arc<Shared>,
    events: Sender<Event>,
}

impl Probe for Runtime {
    fn now_ns(&self) -> u64 {
        self.shared.clock.instant().nanos()
    }

    fn phase(&self) -> Phase {
        match self.shared.command.load(Relaxed) {
            command if command == Command::Drain as u8 => Phase::Draining,
            command if command == Command::Stop as u8 => Phase::Stopping,
            _ if self.shared.ready.load(Relaxed) => Phase::Serving,
            _ => Phase::Starting,
        }
    }

    fn look(&self) -> Option<DeviceView> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.events.send(Event::Look(answer)).ok()?;
        answered.recv_timeout(ANSWER_MAX).ok()
    }
}

/// One set of counters for each queue.
pub(super) fn make_counters(config: &Config, queues: &[QueuePort]) -> Vec<Arc<Counters>> {
    let make = |_| Arc::new(Counters::with_requests(config.listeners.len(), config.routes.len()));
    queues.iter().map(make).collect()
}

/// The gateway as its control side sees it.
pub(super) fn subject(
    shared: &Arc<Shared>,
    port: &EthPort,
    queues: &[QueuePort],
    lcores: &[Lcore],
    counters: &[Arc<Counters>],
    logs: &Logs,
    events: Sender<Event>,
) -> Subject {
    let mac = queues.first().map_or([0; 6], |queue| queue.caps().mac);
    let worker = |(lcore, counters): (&Lcore, &Arc<Counters>)| Worker {
        lcore: lcore.id(),
        cpu: only_cpu(lcore),
        node: lcore.node(),
        counters: Arc::clone(counters),
    };
    Subject {
        config: Arc::clone(&shared.config),
        config_hash: fingerprint(&shared.config),
        dpdk: dpdk::version(),
        device: Device { name: port.name().into(), driver: port.driver(), mac: super::report::mac_text(mac) },
        workers: lcores.iter().zip(counters).map(worker).collect(),
        logs: logs.clone(),
        probe: Box::new(Runtime { shared: Arc::clone(shared), events }),
    }
}

/// The CPU an lcore is pinned to, if it is one.
fn only_cpu(lcore: &Lcore) -> Option<u32> {
    let cpus: Vec<usize> = lcore.cpus().into_iter().collect();
    if let [cpu] = cpus[..] { u32::try_from(cpu).ok() } else { None }
}

/// Whether the link is up. A device that is an interface of the kernel's has the state of that: af_packet knows none, and
/// a tap's driver takes an interface that was moved to another network namespace for one that is down.
fn link_up(port: &EthPort) -> Option<bool> {
    match port.interface().and_then(carrier) {
        Some(up) => Some(up),
        None if port.driver() == "net_tap" => None,
        None => Some(port.link_up()),
    }
}

/// Whether an interface has a carrier; None: it is not here.
fn carrier(index: u32) -> Option<bool> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None).ok()?;
    let name = rustix::net::netdevice::index_to_name(socket, index).ok()?;
    // An interface that is administratively down has no carrier to read.
    let carrier = std::fs::read_to_string(format!("/sys/class/net/{name}/carrier"));
    Some(carrier.is_ok_and(|text| text.trim() == "1"))
}

/// Looks once a second at the counters and the device, and says what moved; for the main thread.
pub(super) struct Sentinel<'a> {
    watch: Watch,
    port: &'a EthPort,
    counters: &'a [Arc<Counters>],
    logs: &'a Logs,
}

impl<'a> Sentinel<'a> {
    pub(super) fn new(
        shared: &Shared,
        port: &'a EthPort,
        counters: &'a [Arc<Counters>],
        logs: &'a Logs,
    ) -> Sentinel<'a> {
        Sentinel { watch: Watch::new(shared.clock.instant()), port, counters, logs }
    }

    pub(super) fn look(&mut self, now: Instant) {
        if !self.watch.is_due(now) {
            return;
        }
        match super::bed::DPDK_LINES.renew(DPDK_LINES_MAX) {
            0 => {}
            count => events::dpdk_held_back(count),
        }
        let sum = |counter: Counter| self.counters.iter().map(|counters| counters.read(counter)).sum();
        // While there is no room, the line that tells of it would be lost as well.
        let lost = if self.logs.has_room() { self.logs.lost() } else { 0 };
        let sight = Sight { sum: &sum, stats: &self.port.basic_stats(), link_up: link_up(self.port), lost };
        let (notices, link) = self.watch.look(now, &sight, self.logs.level());
        notices.iter().for_each(|notice| notice.say());
        match link {
            Some(link) if link.up => events::link_up(self.port.name(), link.changes),
            Some(link) => events::link_down(self.port.name(), link.changes, super::bed::LINK_DOWN),
            None => {}
        }
    }
}

/// How the device does; for the main thread.
pub(super) fn look(port: &EthPort, pools: &[Pool]) -> DeviceView {
    let (stats, xstats) = port.stats().into_iter().partition(|(name, _)| BASIC.contains(&name.as_str()));
    let pool = |pool: &Pool| PoolView { name: pool.name().into(), frames: pool.frames(), in_use: pool.in_use() };
    DeviceView { link_up: link_up(port), stats, xstats, pools: pools.iter().map(pool).collect() }
}
