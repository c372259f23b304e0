//! Starting and stopping everything, in order: EAL, device, pools, workers; then the reverse.

use super::claim::claim;
use super::identity::Identity;
use super::plan::{Machine, Plan};
use super::report::{mac_text, network_texts, offloads_text, say_loss, say_totals};
use super::shutdown::Command;
use super::supervise::{Device, EarlySignals, SignalSource, keep_off, supervise};
use super::turn_loop::{self, Event, Outcome, Remaining, Seat, Shared};
use super::{RunOptions, parts, probe};
use crate::config::Config;
use crate::control::admin::{Doors, Server};
use crate::control::log::watch::Budget;
use crate::control::log::{Logs, events};
use crate::control::subject::Subject;
use crate::dpdk::{
    self, Clock, Eal, EthPort, FRAME_OVERHEAD, Lcore, Pool, PortOptions, PortShape, QueuePort, Severity, Task,
};
use crate::failure::{Exit, Failure};
use crate::net::neighbor::Neighbors;
use crate::port::Port;
use crate::worker::Worker;
use crossbeam_utils::CachePadded;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

/// Time for the frames in the transmit rings to leave: 1024 full ones take 12 ms at 1 Gbit/s.
const TRANSMIT_RINGS: Duration = Duration::from_millis(20);

/// What a link that is down needs.
pub(super) const LINK_DOWN: &str =
    "serving goes on when it comes up: check cable, switch port, or the interface's other end";

/// What DPDK may still log.
pub(super) static DPDK_LINES: Budget = Budget::unlimited();

/// A device that runs, with the pools its frames are from.
struct Bed {
    port: EthPort,
    shape: PortShape,
    lcores: Vec<Lcore>,
    /// By NUMA node.
    pools: Vec<Pool>,
}

pub(super) fn run(options: RunOptions) -> Result<(), Failure> {
    let machine = Machine::look();
    dpdk::show_by(say_dpdk);
    let config = Arc::new(options.config);
    let planned = options.eal_args.is_none();
    let args = eal_args(options.eal_args, &config, &machine)?;
    let device = config.port.device.as_deref().filter(|_| planned);
    let identity = Identity::find(options.user.as_deref())?;
    let _claim = device.map(claim).transpose()?;
    let doors = Doors::open(&config)?;
    let early = EarlySignals::keep()?;
    let eal = Eal::start(&args)?;
    let set_up = set_up_port(&eal, &config);
    eal.settle(set_up.is_ok());
    let (bed, queues) = set_up?;
    let (sender, events) = mpsc::channel();
    let worker_cpus: Vec<usize> = bed.lcores.iter().flat_map(Lcore::cpus).collect();
    let signals = SignalSource::start(early, sender.clone(), &machine.cpus, &worker_cpus)?;
    keep_off(&machine.cpus, &worker_cpus);
    say_port(&bed, &queues, &config);
    doors.say();
    let cpus = machine.cpus.clone();
    let settle = move || {
        keep_off(&cpus, &worker_cpus);
    };
    options.logs.on_writer(settle.clone());
    let logs = &options.logs;
    let outcome = identity.assume().and_then(|()| {
        serve(&eal, &bed, queues, (&config, logs), (sender, &events), |subject| doors.serve(subject, settle))
    });
    drop(signals);
    tear_down(bed);
    outcome
}

/// What DPDK and its drivers log, as events.
fn say_dpdk(severity: Severity, text: &str) {
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

/// The given arguments, or planned ones; said either way.
fn eal_args(given: Option<Vec<String>>, config: &Config, machine: &Machine) -> Result<Vec<String>, Failure> {
    let (args, notices) = match given {
        // EAL takes the first argument for the program's name.
        Some(args) => (std::iter::once("penstock".to_string()).chain(args).collect(), Vec::new()),
        None => {
            let plan = Plan::make(config, machine, |workers| pool_mib(config, workers))?;
            (plan.args, plan.notices)
        }
    };
    events::eal(&args.join(" "), &dpdk::version());
    notices.iter().for_each(|notice| events::plan(notice));
    Ok(args)
}

/// Memory for the frames of so many workers before the device was asked, in MiB.
fn pool_mib(config: &Config, workers: usize) -> u64 {
    let frames = dpdk::pool_frames(u16::try_from(workers).unwrap_or(u16::MAX), 1024, 1024);
    let room = usize::from(config.port.mtu.unwrap_or(0)).max(2048) + 128 + FRAME_OVERHEAD;
    (frames as usize * room).div_ceil(1 << 20) as u64
}

fn set_up_port(eal: &Eal, config: &Config) -> Result<(Bed, Vec<QueuePort>), Failure> {
    let mut port = EthPort::find(eal, config.port.device.as_deref())?;
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
    let by_node = make_pools(eal, &lcores, &shape)?;
    let pools: Vec<Pool> = lcores.iter().filter_map(|lcore| by_node.get(&lcore.node()).cloned()).collect();
    let queues = port.start(&shape, &options, &pools)?;
    if !port.wait_link(|seconds| events::link_wait(port.name(), seconds)) {
        events::link_down(port.name(), 0, LINK_DOWN);
    }
    Ok((Bed { port, shape, lcores, pools: by_node.into_values().collect() }, queues))
}

/// One pool on each NUMA node that has workers, sized for them.
fn make_pools(eal: &Eal, lcores: &[Lcore], shape: &PortShape) -> Result<BTreeMap<Option<u32>, Pool>, Failure> {
    let mut workers = BTreeMap::<Option<u32>, u16>::new();
    for lcore in lcores {
        *workers.entry(lcore.node()).or_default() += 1;
    }
    let pool = |(node, count)| {
        let frames = dpdk::pool_frames(count, shape.rx_descriptors, shape.tx_descriptors);
        Ok((node, Pool::new(eal, node, frames, shape.room)?))
    };
    workers.into_iter().map(pool).collect()
}

fn say_port(bed: &Bed, queues: &[QueuePort], config: &Config) {
    let Bed { port, shape, .. } = bed;
    let Some(caps) = queues.first().map(Port::caps) else { return };
    let spread = match (shape.queues, shape.rss) {
        (1, _) => "none",
        (_, true) => "RSS",
        (_, false) => "driver, if it does",
    };
    events::port(
        port.name(),
        &port.driver(),
        &mac_text(caps.mac),
        caps.mtu as u64,
        shape.queues.into(),
        spread,
        shape.rx_descriptors.into(),
        shape.tx_descriptors.into(),
        &offloads_text(caps),
    );
    let [addresses, listeners] = network_texts(config);
    events::addresses(&addresses);
    events::listening(&listeners);
}

/// Launches the workers and waits for their end.
fn serve(
    eal: &Eal,
    bed: &Bed,
    queues: Vec<QueuePort>,
    (config, logs): (&Arc<Config>, &Logs),
    (sender, inbox): (Sender<Event>, &Receiver<Event>),
    open_doors: impl FnOnce(Subject) -> Result<Server, Failure>,
) -> Result<(), Failure> {
    let shared = Arc::new(Shared {
        command: CachePadded::new(AtomicU8::new(Command::Run as u8)),
        ready: AtomicBool::new(false),
        clock: Clock::start(eal),
        config: Arc::clone(config),
        neighbors: Neighbors::new(),
        remaining: Remaining::default(),
    });
    let counters = probe::make_counters(config, &queues);
    let subject = probe::subject(&shared, &bed.port, &queues, &bed.lcores, &counters, logs, sender.clone());
    let mut tasks = Vec::new();
    // Dropped before the tasks, whose drop waits for the lcores: also an early return ends the workers.
    let _stop = StopOnDrop(&shared);
    for ((lcore, port), counters) in bed.lcores.iter().zip(queues).zip(&counters) {
        let seat = Seat { port, node: lcore.node(), counters: Arc::clone(counters), events: sender.clone() };
        let shared = Arc::clone(&shared);
        tasks.push(eal.launch(*lcore, move || turn_loop::run(seat, &shared))?);
    }
    drop(sender);
    let server = open_doors(subject)?;
    let ready = |backing: &str| {
        say_memory(config, bed, backing);
        events::ready(bed.lcores.len() as u64);
    };
    let mut watch = probe::Sentinel::new(&shared, &bed.port, &counters, logs);
    let mut device = Device { look: &|| probe::look(&bed.port, &bed.pools), watch: &mut |now| watch.look(now) };
    supervise(&shared, inbox, tasks.len(), ready, &mut device, logs);
    drop(server);
    let outcome = join(tasks);
    say_totals(&counters);
    say_loss(&bed.port.stats());
    outcome
}

struct StopOnDrop<'a>(&'a Shared);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.command.store(Command::Stop as u8, Relaxed);
    }
}

fn say_memory(config: &Config, bed: &Bed, backing: &str) {
    let arena = Worker::<QueuePort, parts::Program>::arena_size(config);
    let frames: u32 = bed.pools.iter().map(Pool::frames).sum();
    let bytes: usize = bed.pools.iter().map(Pool::bytes).sum();
    let (connections, workers) = (config.workers.connections.into(), bed.lcores.len() as u64);
    events::memory(frames.into(), bytes as u64, arena as u64, connections, workers, backing);
}

/// Collects the workers' ends: the first failure is the program's.
fn join(tasks: Vec<Task<Result<Outcome, Failure>>>) -> Result<(), Failure> {
    let (mut total, mut failed) = (Outcome::default(), Ok(()));
    for (worker, task) in tasks.into_iter().enumerate() {
        let ended = match task.join() {
            Ok(ended) => ended,
            Err(panic) => Err(Failure::new(Exit::Runtime, format!("worker {worker} panicked: {panic}"))
                .fix("start it again, and report this with what RUST_BACKTRACE=1 prints before it")),
        };
        match ended {
            Ok(outcome) => {
                total.cut += outcome.cut;
                total.refused += outcome.refused;
            }
            Err(failure) => failed = failed.and(Err(failure)),
        }
    }
    if total.cut > 0 {
        events::cut(total.cut as u64);
    }
    if total.refused > 0 {
        events::refused(total.refused);
    }
    failed
}

/// Closes the device and counts the frames: all of them are back in their pool now, or have leaked.
fn tear_down(bed: Bed) {
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
    events::stopped();
}
