//! Starting and stopping everything, in order: EAL, device, pools, workers; then the reverse.

use super::bed::{Bed, pool_mib, say_dpdk, set_up, tear_down, wait_link, worker_lcores};
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
use crate::control::log::{Logs, events};
use crate::control::subject::Subject;
use crate::dpdk::{self, Clock, Eal, Lcore, Pool, QueuePort, Task};
use crate::failure::{Exit, Failure};
use crate::net::neighbor::Neighbors;
use crate::port::Port;
use crate::worker::Worker;
use crossbeam_utils::CachePadded;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};

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
    let bed = worker_lcores(&eal, &config).and_then(|lcores| set_up(&eal, "penstock", &config, lcores));
    eal.settle(bed.is_ok());
    let (bed, queues) = bed?;
    wait_link(&bed.port);
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
    events::stopped();
    outcome
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
