//! The generator's loop on its lcore: read the clock, take a turn, look at the command.
//!
//! Owns the worker of one run on one lcore, and how its turns took. Refuses to sleep: who is late by a wake-up measures
//! himself.

use crate::config::Config;
use crate::dpdk::{Clock, QueuePort};
use crate::failure::{Exit, Failure};
use crate::loadgen::generator::{Generator, GeneratorParts};
use crate::loadgen::plan::Plan;
use crate::loadgen::record::{DURATION_MAX, Recording, histogram};
use crate::loadgen::recorder::IntervalQueues;
use crate::net::isn::Isn;
use crate::net::neighbor::Neighbors;
use crate::net::rss::Rss;
use crate::net::source::Sources;
use crate::runtime::parts;
use crate::runtime::turn_loop::Event;
use crate::telemetry::turns::TurnMeter;
use crate::telemetry::{Counter, Counters};
use crate::time::Instant;
use crate::worker::client::{self, ClientParts, ClientWorker, Fault};
use crossbeam_utils::CachePadded;
use hdrhistogram::Histogram;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::Sender;
use std::time::Duration;

/// Between two looks of the lcore at what it was told, in nanoseconds.
const LOOK_NS: u64 = 1_000_000;
/// How long the last segments may take to get to the device.
const FLUSH_MAX: Duration = Duration::from_millis(100);
/// The length of an interval.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// What the lcores of a run are told.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Order {
    /// Follow the schedule.
    Run = 0,
    /// Send nothing new, wait for answers.
    Stop = 1,
    /// Return at once.
    Abort = 2,
}

/// What all lcores of a run and the control thread share.
pub(super) struct Common {
    /// An [`Order`].
    pub(super) order: CachePadded<AtomicU8>,
    /// When the schedule starts, in nanoseconds of the clock; 0: not yet known.
    pub(super) start_ns: AtomicU64,
    pub(super) clock: Arc<Clock>,
    pub(super) plan: Arc<Plan>,
    pub(super) config: Arc<Config>,
    pub(super) neighbors: Arc<Neighbors>,
    /// How the device spreads answers over the queues of several lcores.
    pub(super) rss: Option<Arc<Rss>>,
    /// Lcores of the run.
    pub(super) workers: usize,
}

/// How far an lcore is; written by it, read by the control thread.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) prepared: AtomicBool,
    pub(super) open: AtomicU32,
    /// The last [`Fault`], plus 1.
    pub(super) fault: AtomicU8,
}

/// One lcore's own.
pub(super) struct Seat {
    pub(super) port: QueuePort,
    pub(super) node: Option<u32>,
    pub(super) number: usize,
    pub(super) counters: Arc<Counters>,
    pub(super) queues: IntervalQueues,
    pub(super) progress: Arc<CachePadded<Progress>>,
    pub(super) events: Sender<Event>,
}

/// What an lcore gives back.
pub(super) struct Done {
    pub(super) port: QueuePort,
    pub(super) recording: Recording,
    /// Lengths of turns that did something, in nanoseconds.
    pub(super) turns: Histogram<u64>,
    /// Frames the driver refused in this run, and connections that had to wait because it took none.
    pub(super) refused: u64,
}

/// Tells the control thread that the lcore is done, also when it unwinds.
struct EndNotice(Sender<Event>);

impl Drop for EndNotice {
    fn drop(&mut self) {
        // Nobody listens only when the control thread is gone.
        let _ = self.0.send(Event::Ended);
    }
}

/// Runs one lcore's share of a plan.
pub(super) fn run(seat: Seat, common: &Common) -> Result<Done, Failure> {
    let _notice = EndNotice(seat.events.clone());
    let (progress, counters) = (Arc::clone(&seat.progress), Arc::clone(&seat.counters));
    let refused_before = seat.port.refused();
    let mut worker = build(seat, common)?;
    let mut turns = histogram::<u64>();
    let mut last = common.clock.instant();
    let mut meter = TurnMeter::start(last.nanos());
    let (mut busy, mut look_at, mut started) = (false, Instant::ZERO, false);
    loop {
        let now = common.clock.now();
        meter.begin(now.mono.nanos(), &counters);
        if busy {
            let took = now.mono.nanos().saturating_sub(last.nanos());
            turns.saturating_record(took.min(DURATION_MAX));
            worker.caller_mut().note_busy(took);
        }
        last = now.mono;
        busy = !worker.turn(now).is_idle();
        meter.end(busy);
        if now.mono >= look_at {
            look_at = now.mono + Duration::from_nanos(LOOK_NS);
            worker.set_gauges();
            let generator = worker.caller_mut();
            progress.open.store(generator.open(), Relaxed);
            progress.prepared.store(generator.is_prepared(), Relaxed);
            progress.fault.store(generator.last_fault().map_or(0, |fault| fault as u8 + 1), Relaxed);
            match common.start_ns.load(Relaxed) {
                0 => {}
                ns if !started => {
                    started = true;
                    generator.start(Instant::from_nanos(ns));
                }
                _ => {}
            }
            match common.order.load(Relaxed) {
                order if order == Order::Stop as u8 => generator.stop(now.mono),
                order if order == Order::Abort as u8 => break,
                _ => {}
            }
            if generator.is_over(now.mono) {
                break;
            }
        }
        if !busy {
            std::hint::spin_loop();
        }
    }
    Ok(finish(worker, &common.clock, turns, refused_before, &counters))
}

fn build(seat: Seat, common: &Common) -> Result<ClientWorker<QueuePort, Generator>, Failure> {
    let Seat { port, node, number, counters, queues, .. } = seat;
    let (plan, config) = (&common.plan, &common.config);
    let (arena, _) = parts::build_arena(config, client::client_arena_size(config), node)?;
    let secret = parts::build_secret()?;
    let locals: Vec<IpAddr> = config.port.addresses.iter().map(|cidr| cidr.address).collect();
    let share = sources(common, &locals, number, secret[3])?;
    let caller = Generator::new(GeneratorParts {
        plan: Arc::clone(plan),
        worker: number,
        workers: common.workers,
        sources: share,
        slots: config.workers.connections as usize,
        queues,
        interval: INTERVAL,
    });
    ClientWorker::new(ClientParts {
        port,
        caller,
        config: Arc::clone(config),
        depth: plan.pipeline,
        neighbors: Arc::clone(&common.neighbors),
        counters,
        arena,
        secret,
        isn: chooser(common),
        now: common.clock.instant(),
    })
}

/// Initial sequence numbers that go on from those of the last run on this machine: its target still has 4-tuples of that one
/// in TIME-WAIT, and takes them up again for greater numbers only (RFC 6191). They need not be hard to guess.
fn chooser(common: &Common) -> Isn {
    let now = common.clock.now();
    let started = now.unix_s.wrapping_mul(1_000_000).wrapping_sub(now.mono.micros());
    Isn::new([0x7065_6e73, 0x746f_636b], (started / 4) as u32)
}

/// The 4-tuples of one lcore: those whose answers come to its queue.
fn sources(common: &Common, locals: &[IpAddr], number: usize, start: u64) -> Result<Sources, Failure> {
    let remote = common.plan.target.address;
    let all = Sources::new(remote, locals, &common.plan.source_ports, start);
    let family = if remote.is_ipv4() { "IPv4" } else { "IPv6" };
    let all = all.ok_or_else(|| {
        Failure::new(Exit::Plan, format!("no {family} address of ours to reach {remote} from"))
            .fix("name one: --source 10.7.0.1/24 or --source fd00:7::1/64, or addresses under [port] of the plan")
    })?;
    let Some(rss) = &common.rss else { return Ok(all) };
    all.for_queue(Arc::clone(rss), number as u16).ok_or_else(|| {
        let range = &common.plan.source_ports;
        let (first, last) = (range.start(), range.end());
        Failure::new(Exit::Plan, format!("no source port of {first} to {last} has its answers come to queue {number}"))
            .fix("take more ports, or more source addresses, or one worker: --source-ports 1024-65535")
    })
}

/// Takes stock, then resets what is still open.
fn finish(
    mut worker: ClientWorker<QueuePort, Generator>,
    clock: &Clock,
    turns: Histogram<u64>,
    refused_before: u64,
    counters: &Counters,
) -> Done {
    let now = clock.now();
    // The resets that follow are more than a backlog holds.
    let stalled = counters.read(Counter::TxStall);
    let mut pending = Vec::new();
    worker.each_pending(|under_way| pending.push(*under_way));
    worker.caller_mut().halt(now.mono);
    worker.abort_all(now);
    let until = now.mono + FLUSH_MAX;
    while !worker.stack().is_flushed() && clock.instant() < until {
        worker.turn(clock.now());
    }
    let (port, generator) = worker.into_parts();
    let refused = port.refused() - refused_before;
    counters.add(Counter::DropDriver, refused);
    Done { port, recording: generator.finish(&pending, now.mono), turns, refused: refused + stalled }
}

/// The fault that a progress names.
pub(super) fn fault_text(fault: u8) -> &'static str {
    const NAMES: [(Fault, &str); 4] = [
        (Fault::Protocol, "its answer is not HTTP/1.1"),
        (Fault::Timeout, "nobody answers"),
        (Fault::Reset, "it refuses connections (RST)"),
        (Fault::Closed, "it closes connections"),
    ];
    NAMES.iter().find(|(known, _)| *known as u8 + 1 == fault).map_or("nothing came back", |(_, text)| text)
}
