//! A machine whose workers are under test: a device with several queues, and a worker on each.
//!
//! Owns what is alike for a gateway and for a load generator: frames in, turns, frames out, and the judging of each frame.
//! Refuses to know what its workers do: anything that implements [`Node`] can sit here. The world carries its frames.

use super::conduct::Conduct;
use super::device::{Device, DeviceTally, RssKey};
use super::neighbor::{self, Message};
use super::packet::{self, Identity};
use super::plan::{EPOCH, Hiccups};
use super::port::{FramePool, SimPort};
use super::rng::Rng;
use crate::net::stack::{Session, Stack};
use crate::telemetry::{Counter, Counters};
use crate::time::{Instant, Now};
use crate::worker::client::{Caller, ClientWorker};
use crate::worker::{App, Turn, Worker};
use core::time::Duration;
use std::sync::Arc;

/// Turns of one worker at one instant before it counts as never resting.
const TURNS_AT_ONCE_MAX: usize = 10_000;

/// What a worker still holds; at the end of a run it is all zero.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// Connections that hold a slot.
    pub connections: usize,
    /// Entries of the flow table.
    pub flows: usize,
    /// Armed timers.
    pub timers: usize,
    /// TIME-WAIT entries.
    pub time_waits: usize,
    /// Frames.
    pub frames: usize,
}

/// A worker, as the world sees it.
pub trait Node {
    /// One turn.
    fn turn(&mut self, now: Now) -> Turn;
    /// Its queue pair.
    fn port(&mut self) -> &mut SimPort;
    /// What it holds between turns.
    fn held(&self) -> Held;
    /// Begins an orderly stop.
    fn drain(&mut self, _now: Now) {}
    /// Ends what an orderly stop did not end.
    fn abort(&mut self, _now: Now) {}
}

fn held_by(stack: &Stack<SimPort, impl Session>) -> Held {
    let [flows, timers] = stack.tables();
    let (connections, time_waits) = (stack.connections(), stack.time_waits());
    Held { connections, flows, timers, time_waits, frames: stack.frames_held() }
}

impl<A: App> Node for Worker<SimPort, A> {
    fn turn(&mut self, now: Now) -> Turn {
        Worker::turn(self, now)
    }

    fn port(&mut self) -> &mut SimPort {
        self.port_mut()
    }

    fn held(&self) -> Held {
        held_by(self.stack())
    }

    fn drain(&mut self, now: Now) {
        Worker::drain(self, now);
    }

    fn abort(&mut self, now: Now) {
        self.abort_all(now);
    }
}

impl<C: Caller> Node for ClientWorker<SimPort, C> {
    fn turn(&mut self, now: Now) -> Turn {
        ClientWorker::turn(self, now)
    }

    fn port(&mut self) -> &mut SimPort {
        self.port_mut()
    }

    fn held(&self) -> Held {
        held_by(self.stack())
    }

    fn abort(&mut self, now: Now) {
        self.abort_all(now);
    }
}

struct Seat<N> {
    node: N,
    counters: Arc<Counters>,
    /// Until when a hiccup lasts.
    paused_until: Instant,
    /// Until when its transmit ring takes nothing.
    blocked_until: Instant,
    /// Whether frames arrived since its last turn.
    called: bool,
}

/// What a machine is made of, its workers left out.
#[derive(Clone, PartialEq, Debug)]
pub struct MachinePlan {
    /// Its device's capabilities.
    pub caps: crate::port::Caps,
    /// Whether the device strips VLAN tags.
    pub strips_vlan: bool,
    /// Frames of a receive ring.
    pub rx_ring: usize,
    /// Frames a transmit ring takes in one turn.
    pub tx_ring: usize,
    /// Frames in the pool.
    pub pool: usize,
    /// The workers' pauses.
    pub hiccups: Hiccups,
    /// Between two turns of an idle worker.
    pub tick: Duration,
}

/// A machine.
pub struct Machine<N> {
    name: String,
    plan: MachinePlan,
    identity: Identity,
    pool: FramePool,
    device: Device,
    seats: Vec<Seat<N>>,
    conduct: Conduct,
    tick_at: Instant,
    sent: u64,
}

impl<N: Node> Machine<N> {
    /// A machine of so many queues; `build` makes the worker of each, with its port and the counters it shall use.
    pub fn new(
        name: String,
        plan: MachinePlan,
        identity: Identity,
        queues: usize,
        rng: &mut Rng,
        mut build: impl FnMut(usize, &Device, Arc<Counters>) -> N,
    ) -> Machine<N> {
        let pool = FramePool::new(plan.pool);
        let mut key: RssKey = core::array::from_fn(|_| rng.next_u64() as u8);
        // The bits that a peer's last port bit adds to the hash's last one, by family: neighbouring ports come to different
        // queues, as they nearly always do.
        for bit in [95 + 31, 287 + 31] {
            key[bit / 8] |= 0x80 >> (bit % 8);
        }
        let device = Device::new(plan.caps.clone(), pool.clone(), queues, plan.rx_ring, plan.strips_vlan, key);
        let seats = (0..queues).map(|queue| {
            let counters = Arc::new(Counters::default());
            let node = build(queue, &device, counters.clone());
            Seat { node, counters, paused_until: EPOCH, blocked_until: EPOCH, called: false }
        });
        let seats = seats.collect();
        let conduct = Conduct::default();
        Machine { name, plan, identity, pool, device, seats, conduct, tick_at: EPOCH, sent: 0 }
    }

    /// Its name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is the one that everybody talks to.
    pub fn is_gateway(&self) -> bool {
        self.name == "gateway"
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The frames' pool, to exhaust and refill it.
    pub fn pool(&self) -> &FramePool {
        &self.pool
    }

    /// What the device did.
    pub fn device(&self) -> DeviceTally {
        self.device.tally()
    }

    /// The frames that the workers' ports took to send.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// A counter, summed over the workers.
    pub fn count(&self, counter: Counter) -> u64 {
        self.seats.iter().map(|seat| seat.counters.read(counter)).sum()
    }

    /// A counter of one worker.
    pub fn count_of(&self, worker: usize, counter: Counter) -> u64 {
        self.seats[worker].counters.read(counter)
    }

    /// What each worker holds.
    pub fn held(&self) -> Vec<Held> {
        self.seats.iter().map(|seat| seat.node.held()).collect()
    }

    /// Frames that wait on receive rings.
    pub fn frames_on_rings(&mut self) -> usize {
        self.seats.iter_mut().map(|seat| seat.node.port().rx.len()).sum()
    }

    /// A worker.
    pub fn node(&mut self, index: usize) -> &mut N {
        &mut self.seats[index].node
    }

    /// The workers.
    pub fn nodes(&mut self) -> impl Iterator<Item = &mut N> {
        self.seats.iter_mut().map(|seat| &mut seat.node)
    }

    /// The workers, without the rest.
    pub fn into_nodes(self) -> Vec<N> {
        self.seats.into_iter().map(|seat| seat.node).collect()
    }

    /// Until then no transmit ring takes a frame.
    pub fn block(&mut self, until: Instant) {
        self.seats.iter_mut().for_each(|seat| seat.blocked_until = until);
    }

    /// When a worker next takes a turn by itself.
    pub fn wake_at(&self) -> Instant {
        self.tick_at
    }

    /// A frame arrives from the wire.
    pub fn receive(&mut self, frame: &[u8]) {
        self.conduct.received(frame);
        if self.deliver(frame, &[]) {
            self.device.note_damage(frame);
        }
    }

    /// A frame arrives that no machine of this world sent, with further segments if it is a chain. Returns whether a
    /// worker gets it.
    pub fn deliver(&mut self, frame: &[u8], chain: &[u8]) -> bool {
        let seat = &mut self.seats[self.device.queue_of(frame)];
        seat.called = true;
        self.device.receive(frame, chain, seat.node.port())
    }

    /// Gives turns to the workers that were called, on a tick to all, until each rests. Their frames, with the number of the
    /// worker, are added to `out`; what is wrong with them to `failures`.
    pub fn run(&mut self, now: Now, tick: Duration, rng: &mut Rng, out: &mut Vec<(usize, Vec<u8>)>) -> Vec<String> {
        let ticks = self.tick_at <= now.mono;
        if ticks {
            self.tick_at = now.mono + tick.max(self.plan.tick);
        }
        let mut failures = Vec::new();
        let first = rng.below(self.seats.len() as u64) as usize;
        for i in 0..self.seats.len() {
            let index = (first + i) % self.seats.len();
            let seat = &mut self.seats[index];
            let Hiccups { ppm, max } = self.plan.hiccups;
            if ticks && rng.chance(ppm) {
                seat.paused_until = now.mono + rng.up_to(max);
            }
            if ticks && rng.chance(ppm) {
                seat.blocked_until = now.mono + rng.up_to(max);
            }
            let blocked = seat.blocked_until > now.mono;
            seat.node.port().tx_limit = if blocked { 0 } else { self.plan.tx_ring };
            if seat.paused_until <= now.mono && (ticks || seat.called) {
                seat.called = false;
                self.run_worker(index, now, out, &mut failures);
            }
        }
        failures
    }

    fn run_worker(&mut self, index: usize, now: Now, out: &mut Vec<(usize, Vec<u8>)>, failures: &mut Vec<String>) {
        let Machine { name, seats, device, identity, conduct, sent, .. } = self;
        for _ in 0..TURNS_AT_ONCE_MAX {
            let node = &mut seats[index].node;
            let turn = node.turn(now);
            let before = out.len();
            for frame in node.port().tx.drain(..) {
                *sent += 1;
                let judged = device.transmit(&frame).and_then(|bytes| judge(&bytes, identity, conduct).map(|()| bytes));
                match judged {
                    Ok(bytes) => out.push((index, bytes)),
                    Err(what) => failures.push(format!("{name}, worker {index} sent a bad frame: {what}")),
                }
            }
            if out.len() - before != turn.sent && failures.is_empty() {
                let frames = out.len() - before;
                failures.push(format!("{name}, worker {index}: a turn sent {frames} frames and reports {turn:?}"));
            }
            if turn == Turn::default() {
                return;
            }
        }
        failures.push(format!("{name}, worker {index} did not rest within {TURNS_AT_ONCE_MAX} turns"));
    }
}

/// Judges a frame that is about to leave.
fn judge(frame: &[u8], identity: &Identity, conduct: &mut Conduct) -> Result<(), String> {
    packet::judge(frame, identity)?;
    conduct.sent(frame)?;
    match neighbor::read(frame) {
        Some(Message::Here { address, mac }) if mac != identity.mac || !packet::owns(identity, address) => {
            Err(format!("says that {address} is at {mac:02x?}"))
        }
        _ => Ok(()),
    }
}
