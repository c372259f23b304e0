//! The worker's loop on its lcore: read the clock, take a turn, look at the command.

use super::identity::drop_capabilities;
use super::idle::{Ladder, Rest};
use super::parts;
use super::shutdown::Command;
use crate::config::Config;
use crate::control::subject::DeviceView;
use crate::dpdk::{Clock, QueuePort};
use crate::failure::Failure;
use crate::net::neighbor::Neighbors;
use crate::port::Port;
use crate::telemetry::turns::TurnMeter;
use crate::telemetry::{Counter, Counters};
use crate::worker::{self, Worker, WorkerParts};
use crossbeam_utils::CachePadded;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Sender, SyncSender};
use std::time::Duration;

/// What the control thread waits for.
pub(super) enum Event {
    /// A signal arrived.
    Signal(super::shutdown::Signal),
    /// A worker holds all its memory, and serves.
    Ready {
        /// What backs its arena.
        backing: String,
        /// Whether it gave up its capabilities.
        capabilities: Result<(), String>,
    },
    /// A worker returned or panicked.
    Ended,
    /// The control side wants to know how the device does.
    Look(SyncSender<DeviceView>),
}

/// What all workers and the control thread share.
pub(super) struct Shared {
    /// A `Command`.
    pub(super) command: CachePadded<AtomicU8>,
    /// Every worker serves.
    pub(super) ready: AtomicBool,
    pub(super) clock: Clock,
    pub(super) config: Arc<Config>,
    pub(super) neighbors: Arc<Neighbors>,
    pub(super) remaining: Remaining,
}

/// What the orderly stop of all workers still waits for.
#[derive(Default)]
pub(super) struct Remaining {
    pub(super) connections: AtomicUsize,
    pub(super) requests: AtomicUsize,
}

impl Remaining {
    /// Replaces what one worker said before.
    fn replace(&self, before: worker::Remaining, now: worker::Remaining) {
        // Additions wrap, so they subtract as well.
        self.connections.fetch_add(now.connections.wrapping_sub(before.connections), Relaxed);
        self.requests.fetch_add(now.requests.wrapping_sub(before.requests), Relaxed);
    }
}

/// One worker's own.
pub(super) struct Seat {
    pub(super) port: QueuePort,
    /// The lcore's NUMA node.
    pub(super) node: Option<u32>,
    pub(super) counters: Arc<Counters>,
    pub(super) events: Sender<Event>,
}

/// Tells the control thread that the worker is gone, also when it unwinds.
struct EndNotice(Sender<Event>);

impl Drop for EndNotice {
    fn drop(&mut self) {
        // Nobody listens only when the control thread is gone.
        let _ = self.0.send(Event::Ended);
    }
}

/// Builds the worker on its own lcore, so that its memory is touched there first, and runs it until told to stop.
/// Returns the connections that were cut and the frames that the driver refused.
pub(super) fn run(seat: Seat, shared: &Shared) -> Result<Outcome, Failure> {
    let Seat { port, node, counters, events } = seat;
    let _notice = EndNotice(events.clone());
    let bytes = Worker::<QueuePort, parts::Program>::arena_size(&shared.config);
    let (arena, backing) = parts::build_arena(&shared.config, bytes, node)?;
    let mut worker = Worker::new(WorkerParts {
        port,
        app: parts::Program::new(&shared.config)?,
        config: Arc::clone(&shared.config),
        neighbors: Arc::clone(&shared.neighbors),
        counters: Arc::clone(&counters),
        arena,
        secret: parts::build_secret()?,
        now: shared.clock.instant(),
    })?;
    let capabilities = drop_capabilities();
    let _ = events.send(Event::Ready { backing, capabilities });
    let mut draining = None;
    let mut meter = TurnMeter::start(shared.clock.instant().nanos());
    let mut ladder = Ladder::new(shared.config.workers.idle, shared.clock.instant());
    loop {
        let now = shared.clock.now();
        if meter.begin(now.mono.nanos(), &counters) {
            worker.set_gauges();
            let refused = worker.port_mut().refused();
            counters.add(Counter::DropDriver, refused - counters.read(Counter::DropDriver));
        }
        let turn = worker.turn(now);
        meter.end(!turn.is_idle());
        match ladder.after(turn.is_idle(), now.mono, worker.port().caps().can_wait) {
            Rest::Poll => {}
            Rest::Pause => std::hint::spin_loop(),
            Rest::Wait(max) => {
                let max = if draining.is_some() { max.min(DRAIN_SLEEP_MAX) } else { max };
                // The driver may be told of the frame a moment later than we are.
                let woken = worker.port_mut().wait(max);
                let now = shared.clock.instant();
                meter.wake(now.nanos(), &counters);
                if woken {
                    ladder.wake(now);
                }
            }
        }
        let command = shared.command.load(Relaxed);
        if command == Command::Run as u8 {
            continue;
        }
        if command == Command::Stop as u8 {
            break;
        }
        let Some(before) = draining else {
            worker.drain(now);
            draining = Some(worker::Remaining::default());
            continue;
        };
        let Some(remaining) = worker.drained(now) else { continue };
        shared.remaining.replace(before, remaining);
        draining = Some(remaining);
        if remaining.connections == 0 {
            break;
        }
    }
    let cut = finish(&mut worker, &shared.clock);
    Ok(Outcome { cut, refused: worker.port_mut().refused() })
}

/// The longest sleep while draining: each turn looks at some of the connections only.
const DRAIN_SLEEP_MAX: Duration = Duration::from_millis(1);
/// How long the last segments may take to get to the device, which may have no link.
const FLUSH_MAX: Duration = Duration::from_millis(100);

/// Resets the connections that are cut, whose clients would otherwise wait until they lose patience, and sends what is
/// to be sent. Returns how many.
fn finish(worker: &mut Worker<QueuePort, parts::Program>, clock: &Clock) -> usize {
    let now = clock.now();
    let cut = worker.abort_all(now);
    let until = now.mono + FLUSH_MAX;
    while !worker.stack().is_flushed() && clock.instant() < until {
        worker.turn(clock.now());
    }
    cut
}

/// How a worker ended.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Connections that were still open.
    pub(super) cut: usize,
    /// Frames that the driver could not send.
    pub(super) refused: u64,
}
