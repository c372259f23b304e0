//! A machine that generates load: the generator on client workers, as `penstock load run` has it, and its two wires.
//!
//! Owns the course of a load run: prepare, start the schedule, take stock when it is over, reset what is left. Refuses to
//! judge: it gives back what the generator recorded, and `verdict` holds that against the plan and the counters.

use super::device::Device;
use super::host::Place;
use super::machine::{Machine, MachinePlan};
use super::packet::{self, Identity};
use super::plan::EPOCH;
use super::rng::Rng;
use super::wire::{Impairment, Wire};
use crate::config::Config;
use crate::loadgen::generator::{Generator, GeneratorParts};
use crate::loadgen::plan::{Arrivals, Plan};
use crate::loadgen::record::Counts;
use crate::loadgen::recorder::IntervalQueues;
use crate::loadgen::schedule::Schedule;
use crate::mem::Arena;
use crate::net::isn::Isn;
use crate::net::neighbor::Neighbors;
use crate::net::rss::Rss;
use crate::net::source::Sources;
use crate::telemetry::Counters;
use crate::time::{Instant, Now};
use crate::worker::client::{self, ClientParts, ClientWorker, Pending};
use core::time::Duration;
use std::sync::Arc;

/// How long the connections may take to open before the schedule starts without them.
const PREPARE_MAX: Duration = Duration::from_secs(5);
/// The length of an interval of the recording.
const INTERVAL: Duration = Duration::from_millis(250);

/// A load run, and the machine it runs on.
#[derive(Clone, PartialEq, Debug)]
pub struct LoadPlan {
    /// What is asked and when.
    pub plan: Plan,
    /// The machine's own configuration; its connections follow from the plan.
    pub config: Config,
    /// Where it is.
    pub place: Place,
    /// Workers, each with a queue.
    pub workers: usize,
    /// The machine.
    pub machine: MachinePlan,
    /// What the wire to the gateway does.
    pub up: Impairment,
    /// What the wire from the gateway does.
    pub down: Impairment,
}

/// A worker of a load machine.
pub type Asker = ClientWorker<super::port::SimPort, Generator>;

#[derive(Copy, Clone, PartialEq, Eq)]
enum Phase {
    Preparing,
    Running,
    Over,
}

/// A load machine and its wires.
pub struct Load {
    plan: LoadPlan,
    /// The machine.
    pub machine: Machine<Asker>,
    /// To the gateway.
    pub up: Wire,
    /// From the gateway.
    pub down: Wire,
    queues: Vec<IntervalQueues>,
    intervals: Counts,
    phase: Phase,
    over_at: Instant,
    /// What was under way on each worker when the run was over.
    stock: Vec<Vec<Pending>>,
}

/// What a load run recorded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LoadReport {
    /// Arrivals of the schedule; None: a closed loop has none.
    pub arrivals: Option<u64>,
    /// Sums over all cells.
    pub counts: Counts,
    /// Sums over all intervals.
    pub intervals: Counts,
    /// Latencies recorded.
    pub latencies: u64,
    /// Service times recorded.
    pub services: u64,
}

impl Load {
    /// A load machine whose workers prepare.
    pub fn new(number: usize, plan: LoadPlan, rng: &mut Rng) -> Load {
        let slots = Generator::slots(&plan.plan, plan.workers);
        let mut config = plan.config.clone();
        config.workers.connections = slots as u32;
        config.tcp.handshake_timeout = plan.plan.connect_timeout;
        let identity = Identity::of(&config, &plan.machine.caps);
        let (config, run, neighbors) = (Arc::new(config), Arc::new(plan.plan.clone()), Neighbors::new());
        let queues: Vec<IntervalQueues> = (0..plan.workers).map(|_| IntervalQueues::default()).collect();
        let (isn, start, mut secrets) = (Isn::new([rng.next_u64(), rng.next_u64()], 0), rng.next_u64(), rng.fork());
        let build = |queue: usize, device: &Device, counters: Arc<Counters>| {
            let generator = Generator::new(GeneratorParts {
                plan: Arc::clone(&run),
                worker: queue,
                workers: plan.workers,
                sources: sources(&plan, device, queue, start),
                slots,
                queues: queues[queue].clone(),
                interval: INTERVAL,
            });
            let parts = ClientParts {
                port: device.port(),
                caller: generator,
                config: Arc::clone(&config),
                depth: run.pipeline,
                neighbors: Arc::clone(&neighbors),
                counters,
                arena: Arena::heap(client::client_arena_size(&config)),
                secret: core::array::from_fn(|_| secrets.next_u64()),
                isn: isn.clone(),
                now: EPOCH,
            };
            ClientWorker::new(parts).expect("the arena is large enough")
        };
        let (name, machine) = (format!("load {number}"), plan.machine.clone());
        let machine = Machine::new(name, machine, identity, plan.workers, &mut rng.fork(), build);
        Load {
            machine,
            up: Wire::new(plan.up.clone(), rng.fork()),
            down: Wire::new(plan.down.clone(), rng.fork()),
            queues,
            intervals: Counts::default(),
            phase: Phase::Preparing,
            over_at: Instant::FAR,
            stock: Vec::new(),
            plan,
        }
    }

    /// Its plan.
    pub fn plan(&self) -> &LoadPlan {
        &self.plan
    }

    /// Whether its run is over.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// What the lcores and the control thread do between turns.
    pub fn advance(&mut self, now: Now) {
        for queue in &self.queues {
            while let Some(interval) = queue.take() {
                self.intervals.add(&interval.counts);
            }
        }
        match self.phase {
            Phase::Preparing => {
                let late = now.mono >= EPOCH + PREPARE_MAX;
                if late || self.machine.nodes().all(|worker| worker.caller().is_prepared()) {
                    let start = Instant::from_millis(now.mono.millis() + 1);
                    self.machine.nodes().for_each(|worker| worker.caller_mut().start(start));
                    self.phase = Phase::Running;
                }
            }
            Phase::Running if self.machine.nodes().all(|worker| worker.caller().is_over(now.mono)) => {
                self.take_stock(now);
            }
            _ => {}
        }
    }

    fn take_stock(&mut self, now: Now) {
        for worker in self.machine.nodes() {
            let mut pending = Vec::new();
            worker.each_pending(|under_way| pending.push(*under_way));
            self.stock.push(pending);
            worker.caller_mut().halt(now.mono);
            worker.abort_all(now);
        }
        (self.phase, self.over_at) = (Phase::Over, now.mono);
    }

    /// What was recorded; the machine ends.
    pub fn finish(mut self) -> LoadReport {
        let mut report = LoadReport { arrivals: self.arrivals(), ..LoadReport::default() };
        for (worker, pending) in self.machine.into_nodes().into_iter().zip(self.stock) {
            let (_port, generator) = worker.into_parts();
            for cell in generator.finish(&pending, self.over_at).cells {
                report.counts.add(&cell.counts);
                report.latencies += cell.latency.len();
                report.services += cell.service.len();
            }
        }
        for queue in &self.queues {
            while let Some(interval) = queue.take() {
                self.intervals.add(&interval.counts);
            }
        }
        LoadReport { intervals: self.intervals, ..report }
    }

    fn arrivals(&self) -> Option<u64> {
        let LoadPlan { plan, workers, .. } = &self.plan;
        let count = |worker| {
            let mut schedule = Schedule::new(plan, worker, *workers);
            let end = schedule.end();
            let mut arrivals = 0;
            while schedule.due(end).is_some_and(|arrival| arrival.at < end) {
                schedule.take();
                arrivals += 1;
            }
            arrivals
        };
        (plan.arrivals != Arrivals::Closed).then(|| (0..*workers).map(count).sum())
    }

    /// Whether a frame for the gateway goes where it should.
    pub fn judge(&self, frame: &[u8], gateway: &Identity) -> Result<(), String> {
        let header = packet::ethernet(frame).ok_or("too short")?;
        let group = header.destination[0] & 1 == 1;
        if group || header.destination == gateway.mac {
            return Ok(());
        }
        Err(format!("to the unknown station {:02x?}", header.destination))
    }
}

/// The 4-tuples of a worker: with several workers, those whose answers come to its queue.
fn sources(plan: &LoadPlan, device: &Device, queue: usize, start: u64) -> Sources {
    let LoadPlan { plan: run, place, workers, .. } = plan;
    let all = Sources::new(run.target.address, &[place.ip], &run.source_ports, start);
    let all = all.expect("the machine has an address of the target's family");
    if *workers == 1 {
        return all;
    }
    let (key, table) = device.rss();
    let rss = Rss::new(key.to_vec(), table, true).expect("a key of 40 bytes");
    all.for_queue(Arc::new(rss), queue as u16).expect("neighbouring ports come to different queues")
}
