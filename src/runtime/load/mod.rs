//! Load runs: EAL, a port and lcores on which plans run one after the other, with a gateway beside them or without.
//!
//! Owns starting and stopping them in order, and the control thread's part of a run: when the schedule starts, who watches,
//! what ends it early. Refuses to judge results and to write them: `report` does.

mod inner;
mod seat;
pub mod selftest;

use super::bed::{Bed, pool_mib, say_dpdk, set_up, tear_down, wait_link};
use super::claim::{Claim, claim};
use super::plan::{Machine, Plan as EalPlan};
use super::supervise::{EarlySignals, SignalSource, keep_off};
use super::turn_loop::Event;
use crate::config::Config;
use crate::dpdk::{self, Clock, Eal, Lcore, QueuePort, Task};
use crate::failure::{Exit, Failure};
use crate::loadgen::plan::Plan;
use crate::loadgen::recorder::IntervalQueues;
use crate::net::neighbor::Neighbors;
use crate::net::rss::Rss;
use crate::report::collect::{Ending, Health, Label};
use crate::report::model::Aborted;
use crate::report::{Collector, Live, Run, Stamp};
use crate::telemetry::{Counter, Counters};
use crate::time::Instant;
use crossbeam_utils::CachePadded;
use inner::InnerGateway;
use seat::{Common, Done, Order, Progress, Seat, fault_text};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

/// Between two looks at the lcores.
const TICK: Duration = Duration::from_millis(20);
/// From the order to the start of the schedule, so that every lcore has it before.
const HEAD_START: Duration = Duration::from_millis(10);
/// Preparing may take this long without another connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where load comes from.
pub struct FieldOptions {
    /// EAL arguments given before `--`; None: plan them.
    pub eal_args: Option<Vec<String>>,
    /// The generator's device, addresses and lcores.
    pub config: Config,
    /// A gateway in this process, on a device and lcores of its own.
    pub gateway: Option<Config>,
    /// What results are stamped with: host, build and CPU; DPDK, EAL and device are filled in.
    pub stamp: Stamp,
}

/// A plan to run.
pub struct Job<'a> {
    /// The checked plan.
    pub plan: Arc<Plan>,
    /// The run's name.
    pub name: String,
    /// Who watches: called about every second, and while connections are opened.
    pub watch: &'a mut dyn FnMut(&View<'_>),
    /// Called with the lcores' counters about every 20 ms while the schedule is followed.
    pub tick: &'a mut dyn FnMut(&[Arc<Counters>]),
}

/// What a watcher sees.
pub enum View<'a> {
    /// Connections are opened.
    Preparing {
        /// Open ones.
        open: u32,
        /// Wanted ones.
        wanted: u32,
    },
    /// The schedule is followed.
    Running(&'a Live),
    /// The schedule is over; answers are waited for.
    Stopping,
}

/// EAL, a started port and its lcores.
pub struct Field {
    eal: Eal,
    bed: Bed,
    /// None while a run has them.
    queues: Option<Vec<QueuePort>>,
    clock: Arc<Clock>,
    config: Config,
    stamp: Stamp,
    neighbors: Arc<Neighbors>,
    rss: Option<Arc<Rss>>,
    gateway: Option<InnerGateway>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    signals: SignalSource,
    interrupted: bool,
    _claim: Option<Claim>,
}

impl Field {
    /// Starts EAL and the devices, and the gateway if there is to be one.
    ///
    /// # Errors
    /// `Exit::Environment` when EAL, a device or memory cannot be had.
    pub fn open(options: FieldOptions) -> Result<Field, Failure> {
        let FieldOptions { eal_args, config, gateway, mut stamp } = options;
        let machine = Machine::look();
        dpdk::show_by(say_dpdk);
        let planned = eal_args.is_none();
        let args = match eal_args {
            Some(args) => std::iter::once("penstock".to_string()).chain(args).collect(),
            None => planned_args(&config, gateway.as_ref(), &machine)?,
        };
        let claim = config.port.device.as_deref().filter(|_| planned).map(claim).transpose()?;
        let early = EarlySignals::keep()?;
        let eal = Eal::start(&args)?;
        let started = start_ports(&eal, &config, gateway.as_ref());
        eal.settle(started.is_ok());
        let (bed, queues, inner) = started?;
        let rss = spread(&bed)?;
        let (sender, events) = mpsc::channel();
        let mut worker_cpus: Vec<usize> = bed.lcores.iter().flat_map(Lcore::cpus).collect();
        worker_cpus.extend(inner.iter().flat_map(|(bed, _, _)| &bed.lcores).flat_map(Lcore::cpus));
        let signals = SignalSource::start(early, sender.clone(), &machine.cpus, &worker_cpus)?;
        keep_off(&machine.cpus, &worker_cpus);
        let clock = Arc::new(Clock::start(&eal));
        let gateway = inner.map(|(bed, queues, config)| InnerGateway::start(&eal, bed, queues, &config)).transpose()?;
        wait_link(&bed.port);
        stamp.dpdk = dpdk::version().trim_start_matches("DPDK ").to_string();
        stamp.eal = args.join(" ");
        stamp.device = format!("{} ({})", bed.port.name(), bed.port.driver());
        Ok(Field {
            eal,
            bed,
            queues: Some(queues),
            clock,
            config,
            stamp,
            neighbors: Neighbors::new(),
            rss,
            gateway,
            events,
            sender,
            signals,
            interrupted: false,
            _claim: claim,
        })
    }

    /// The gateway in this process.
    pub fn gateway(&self) -> Option<&InnerGateway> {
        self.gateway.as_ref()
    }

    /// Whether somebody wants this process to end.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// Runs a plan.
    ///
    /// # Errors
    /// `Exit::Aborted` when no connection could be made; `Exit::Runtime` when an lcore panicked; `Exit::Environment` without
    /// memory for the connections.
    pub fn run(&mut self, job: Job<'_>) -> Result<Run, Failure> {
        let Some(queues) = self.queues.take() else {
            return Err(Failure::new(Exit::Runtime, "the port was lost with a run that failed"));
        };
        let workers = queues.len();
        let mut config = self.config.clone();
        config.workers.connections = crate::loadgen::generator::Generator::slots(&job.plan, workers) as u32;
        config.tcp.handshake_timeout = job.plan.connect_timeout;
        config.tcp.half_open = config.workers.connections;
        let common = Arc::new(Common {
            order: CachePadded::new(AtomicU8::new(Order::Run as u8)),
            start_ns: AtomicU64::new(0),
            clock: Arc::clone(&self.clock),
            plan: Arc::clone(&job.plan),
            config: Arc::new(config),
            neighbors: Arc::clone(&self.neighbors),
            rss: self.rss.clone(),
            workers,
        });
        let before = self.bed.port.stats();
        let mut lanes: Vec<Lane> = (0..workers).map(|_| Lane::default()).collect();
        let mut tasks = Vec::new();
        // Also an early return ends the lcores.
        let _abort = AbortOnDrop(Arc::clone(&common));
        for (number, (port, lcore)) in queues.into_iter().zip(&self.bed.lcores).enumerate() {
            let lane = &lanes[number];
            let seat = Seat {
                port,
                node: lcore.node(),
                number,
                counters: Arc::clone(&lane.counters),
                queues: lane.queues.clone(),
                progress: Arc::clone(&lane.progress),
                events: self.sender.clone(),
            };
            let common = Arc::clone(&common);
            tasks.push(self.eal.launch(*lcore, move || seat::run(seat, &common))?);
        }
        let mut control = Control { common: &common, lanes: &mut lanes, phase: Phase::Preparing, aborted: None };
        let ended = control.follow(&self.events, &mut self.interrupted, &self.stamp, job);
        let done = collect(tasks)?;
        let (mut collector, elapsed, aborted) = ended?;
        for (number, lane) in lanes.iter().enumerate() {
            lane.drain(number, &mut collector);
        }
        let health = self.health(&done, &lanes, &before);
        let (mut queues, mut recordings) = (Vec::new(), Vec::new());
        for done in done {
            queues.push(done.port);
            recordings.push(done.recording);
        }
        self.queues = Some(queues);
        Ok(collector.finish(&recordings, &health, Ending { elapsed, aborted }))
    }

    fn health(&self, done: &[Done], lanes: &[Lane], before: &[(String, u64)]) -> Vec<Health> {
        let after = self.bed.port.stats();
        let value = |stats: &[(String, u64)], name: &str| {
            stats.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value)
        };
        let grown = |name: &str| value(&after, name).saturating_sub(value(before, name));
        let missed = grown("imissed");
        let health = |((number, done), lane): ((usize, &Done), &Lane)| Health {
            lcore: self.bed.lcores[number].id(),
            turns: done.turns.clone(),
            tx_refused: done.refused,
            rx_missed: if number == 0 { missed } else { 0 },
            rx_dropped: DAMAGE.iter().map(|counter| lane.counters.read(*counter)).sum(),
            mempool_exhausted: lane.counters.read(Counter::DropFrameAlloc),
        };
        done.iter().enumerate().zip(lanes).map(health).collect()
    }

    /// Ends the gateway and closes the devices.
    ///
    /// # Errors
    /// `Exit::Runtime` when the gateway panicked.
    pub fn close(self) -> Result<(), Failure> {
        let Field { eal, bed, queues, gateway, signals, .. } = self;
        drop(queues);
        let ended = gateway.map_or(Ok(()), InnerGateway::stop);
        drop(signals);
        tear_down(bed);
        drop(eal);
        ended
    }
}

/// How answers find the queue of the worker that asked. With one queue they cannot miss it.
fn spread(bed: &Bed) -> Result<Option<Arc<Rss>>, Failure> {
    let queues = bed.lcores.len();
    if queues == 1 {
        return Ok(None);
    }
    let rss = bed.port.rss().and_then(|(key, table, ports)| Rss::new(key, table, ports));
    rss.map(|rss| Some(Arc::new(rss))).ok_or_else(|| {
        let what = format!(
            "{queues} workers: {} does not tell how it spreads answers over its queues (no RSS key and table)",
            bed.port.name()
        );
        Failure::new(Exit::Environment, what)
            .fix("--workers 1; or run several machines, and join their results: penstock load merge")
    })
}

/// Frames dropped for these reasons were meant for us.
const DAMAGE: [Counter; 5] =
    [Counter::DropRunt, Counter::DropIpChecksum, Counter::DropTcpChecksum, Counter::DropChain, Counter::DropFlowTable];

type StartedPorts = (Bed, Vec<QueuePort>, Option<(Bed, Vec<QueuePort>, Arc<Config>)>);

fn planned_args(config: &Config, gateway: Option<&Config>, machine: &Machine) -> Result<Vec<String>, Failure> {
    let count = |config: &Config| usize::from(config.workers.count.unwrap_or(1));
    let workers = count(config) + gateway.map_or(0, count);
    let configs: Vec<&Config> = gateway.into_iter().chain([config]).collect();
    let mib: u64 = 64 + configs.iter().map(|config| pool_mib(config, count(config))).sum::<u64>();
    Ok(EalPlan::make_for(&configs, workers, machine, mib)?.args)
}

fn start_ports(eal: &Eal, config: &Config, gateway: Option<&Config>) -> Result<StartedPorts, Failure> {
    let count = |config: &Config| usize::from(config.workers.count.unwrap_or(1));
    let mut lcores = eal.worker_lcores();
    let needed = count(config) + gateway.map_or(0, count);
    if lcores.len() < needed {
        let what = format!("EAL has {} worker lcores beside the main one, and {needed} are needed", lcores.len());
        return Err(Failure::new(Exit::Environment, what).fix("give it more: -l 0,1,2, or lower --workers"));
    }
    lcores.truncate(needed);
    let own = lcores.split_off(needed - count(config));
    let inner = gateway.map(|gateway| {
        let (bed, queues) = set_up(eal, "penstock", gateway, lcores)?;
        Ok::<_, Failure>((bed, queues, Arc::new(gateway.clone())))
    });
    let inner = inner.transpose()?;
    let (bed, queues) = set_up(eal, "penstock_load", config, own)?;
    Ok((bed, queues, inner))
}

/// The control thread's view of one lcore.
#[derive(Default)]
struct Lane {
    counters: Arc<Counters>,
    queues: IntervalQueues,
    progress: Arc<CachePadded<Progress>>,
}

impl Lane {
    fn drain(&self, number: usize, collector: &mut Collector) -> bool {
        let mut any = false;
        while let Some(interval) = self.queues.take() {
            collector.add_interval(number, &interval);
            any = true;
        }
        any
    }
}

struct AbortOnDrop(Arc<Common>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.order.store(Order::Abort as u8, Relaxed);
    }
}

/// Where the control thread is in a run.
enum Phase {
    Preparing,
    Running(Box<Collector>, Instant),
}

struct Control<'a> {
    common: &'a Common,
    lanes: &'a mut [Lane],
    phase: Phase,
    aborted: Option<(Aborted, Instant)>,
}

impl Control<'_> {
    /// Follows a run to its end: what was collected, how long the schedule was followed, why it ended early.
    fn follow(
        &mut self,
        events: &Receiver<Event>,
        interrupted: &mut bool,
        stamp: &Stamp,
        job: Job<'_>,
    ) -> Result<(Collector, Duration, Option<Aborted>), Failure> {
        let Job { plan, name, watch, tick } = job;
        let counters: Vec<Arc<Counters>> = self.lanes.iter().map(|lane| Arc::clone(&lane.counters)).collect();
        let total: Duration = plan.stages.iter().map(|stage| stage.duration).sum();
        let mut running = self.common.workers;
        let (mut most_open, mut since) = (0, self.common.clock.instant());
        let mut stopping = false;
        while running > 0 {
            match events.recv_timeout(TICK) {
                Ok(Event::Ended) => running -= 1,
                Ok(Event::Signal(_)) => {
                    self.interrupt(*interrupted);
                    *interrupted = true;
                }
                Ok(Event::Ready { .. } | Event::Look(_)) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.common.clock.synchronise();
            let now = self.common.clock.instant();
            match &mut self.phase {
                Phase::Preparing if running == self.common.workers => {
                    let open: u32 = self.lanes.iter().map(|lane| lane.progress.open.load(Relaxed)).sum();
                    if open > most_open {
                        (most_open, since) = (open, now);
                    }
                    watch(&View::Preparing { open, wanted: plan.connections });
                    let prepared = self.lanes.iter().all(|lane| lane.progress.prepared.load(Relaxed));
                    if prepared || now > since + PATIENCE.max(plan.connect_timeout * 2) {
                        self.begin(open, &plan, stamp, &name, now)?;
                    }
                }
                Phase::Preparing => {}
                Phase::Running(collector, start) => {
                    tick(&counters);
                    let mut any = false;
                    for (number, lane) in self.lanes.iter().enumerate() {
                        any |= lane.drain(number, collector);
                    }
                    if any {
                        watch(&View::Running(&collector.live()));
                        if self.aborted.is_none()
                            && let Some(aborted) = collector.check_abort()
                        {
                            self.aborted = Some((aborted, now));
                            self.common.order.store(Order::Stop as u8, Relaxed);
                        }
                    }
                    if !stopping && running > 0 && now > *start + total + TICK * 5 {
                        stopping = true;
                        watch(&View::Stopping);
                    }
                }
            }
        }
        let aborted = self.aborted.take();
        match core::mem::replace(&mut self.phase, Phase::Preparing) {
            Phase::Running(collector, start) => {
                let until = aborted.as_ref().map_or(total, |(_, at)| at.since(start).min(total));
                Ok((*collector, until, aborted.map(|(why, _)| why)))
            }
            Phase::Preparing => Err(Failure::new(Exit::Aborted, "the run was ended before its schedule began")),
        }
    }

    /// A signal: the first ends the schedule, a second the run.
    fn interrupt(&mut self, again: bool) {
        let now = self.common.clock.instant();
        let started = matches!(self.phase, Phase::Running(..));
        let order = if again || !started { Order::Abort } else { Order::Stop };
        self.common.order.store(order as u8, Relaxed);
        if self.aborted.is_none() {
            self.aborted = Some((Aborted { reason: "interrupted".into(), by_threshold: false }, now));
        }
    }

    /// Starts the schedule, unless there is nobody to ask.
    fn begin(&mut self, open: u32, plan: &Plan, stamp: &Stamp, name: &str, now: Instant) -> Result<(), Failure> {
        if open == 0 && plan.requests_per_connection != 1 {
            self.common.order.store(Order::Abort as u8, Relaxed);
            let fault = self.lanes.iter().map(|lane| lane.progress.fault.load(Relaxed)).max().unwrap_or(0);
            let what = format!("no connection to {} could be made: {}", plan.target.address, fault_text(fault));
            let mut fix = "see whether it listens: curl URL from another host of that link; whether the addresses and \
                           gateway given with --source and --gateway belong to the link of --device: ping, penstock pcap"
                .to_string();
            let strays: u64 = self.lanes.iter().map(|lane| lane.counters.read(Counter::DropNoConnection)).sum();
            if self.common.workers > 1 && strays > 0 {
                fix += &format!(
                    "\nor --workers 1: {strays} segments came to a worker that has no such connection, as they do when the \
                     device spreads them in another way than its RSS key and table tell"
                );
            }
            return Err(Failure::new(Exit::Aborted, what).fix(fix));
        }
        let start = now + HEAD_START;
        self.common.start_ns.store(start.nanos().max(1), Relaxed);
        let label = Label {
            name: name.into(),
            started: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
        };
        let collector = Collector::new(plan, stamp.clone(), label, self.common.workers);
        self.phase = Phase::Running(Box::new(collector), start);
        Ok(())
    }
}

/// Waits for the lcores: the first failure is the run's.
fn collect(tasks: Vec<Task<Result<Done, Failure>>>) -> Result<Vec<Done>, Failure> {
    let mut done = Vec::new();
    let mut failed = None;
    for (number, task) in tasks.into_iter().enumerate() {
        match task.join() {
            Ok(Ok(one)) => done.push(one),
            Ok(Err(failure)) => failed = failed.or(Some(failure)),
            Err(panic) => {
                let what = format!("generator {number} panicked: {panic}");
                failed = failed.or(Some(Failure::new(Exit::Runtime, what)));
            }
        }
    }
    failed.map_or(Ok(done), Err)
}
