//! A false world: gateway workers, a device, wires, hosts and a clock of its own.
//!
//! Owns virtual time and the order of events. Refuses to know how a node works: it gives frames and turns to anything that
//! implements [`Node`]. What must hold is checked where it happens and, for a whole run, in `verdict`.

use super::client::Client;
use super::conduct::Conduct;
use super::device::{Device, DeviceTally};
use super::host::Host;
use super::neighbor::{self, Message};
use super::packet::{self, Identity};
use super::plan::{EPOCH, EPOCH_UNIX_S, Hiccups, Plan};
use super::port::{FramePool, SimPort};
use super::rng::{Rng, Trace};
use super::wire::{Tally, Wire};
use crate::telemetry::{Counter, Counters};
use crate::time::{Instant, Now};
use crate::worker::{App, Turn, Worker};
use core::time::Duration;
use std::sync::Arc;

/// Between two turns of an idle worker.
const TICK: Duration = Duration::from_millis(10);
/// The least step of time when somebody has more to do at once.
const SOON: Duration = Duration::from_micros(1);
/// Turns of one worker at one instant before it counts as never resting.
const TURNS_AT_ONCE_MAX: usize = 10_000;

/// A gateway worker, as the world sees it.
pub trait Node {
    /// One turn.
    fn turn(&mut self, now: Now) -> Turn;
    /// Its queue pair.
    fn port(&mut self) -> &mut SimPort;
    /// Connections that hold a slot.
    fn connections(&self) -> usize;
    /// Frames it holds between turns.
    fn frames_held(&self) -> usize;
}

impl<A: App> Node for Worker<SimPort, A> {
    fn turn(&mut self, now: Now) -> Turn {
        Worker::turn(self, now)
    }

    fn port(&mut self) -> &mut SimPort {
        self.port_mut()
    }

    fn connections(&self) -> usize {
        Worker::connections(self)
    }

    fn frames_held(&self) -> usize {
        self.stack().frames_held()
    }
}

struct Station {
    host: Host,
    up: Wire,
    down: Wire,
    wake_at: Instant,
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

/// A running world.
pub struct World<N> {
    plan: Plan,
    now: Instant,
    tick_at: Instant,
    rng: Rng,
    pool: FramePool,
    device: Device,
    identity: Identity,
    seats: Vec<Seat<N>>,
    stations: Vec<Station>,
    clients: Vec<Client>,
    conduct: Conduct,
    trace: Trace,
    sent: u64,
    failures: Vec<String>,
    watch: Option<Watch>,
}

/// What a watcher is shown: the time, what happens to a frame, and the frame.
type Watch = Box<dyn FnMut(Instant, &str, &[u8])>;

fn show(watch: &mut Option<Watch>, now: Instant, what: &str, frame: &[u8]) {
    if let Some(watch) = watch {
        watch(now, what, frame);
    }
}

impl<N: Node> World<N> {
    /// A world in which `plan` is about to happen. `build` makes the worker of a queue, with the counters it shall use.
    pub fn new(plan: Plan, mut build: impl FnMut(usize, SimPort, Arc<Counters>) -> N) -> World<N> {
        let mut rng = Rng::new(plan.seed);
        let queues = usize::from(plan.config.workers.count.unwrap_or(1));
        let pool = FramePool::new(plan.pool);
        let device = Device::new(plan.caps.clone(), pool.clone(), queues, plan.rx_ring, plan.strips_vlan);
        let seats = (0..queues).map(|queue| {
            let counters = Arc::new(Counters::default());
            let node = build(queue, device.port(), counters.clone());
            Seat { node, counters, paused_until: EPOCH, blocked_until: EPOCH, called: false }
        });
        let seats = seats.collect();
        let stations = plan.hosts.iter().map(|host| Station {
            host: Host::new(host.place.clone(), rng.next_u64(), EPOCH),
            up: Wire::new(host.up.clone(), rng.fork()),
            down: Wire::new(host.down.clone(), rng.fork()),
            wake_at: EPOCH,
        });
        let stations = stations.collect();
        let identity = Identity {
            mac: plan.caps.mac,
            addresses: plan.config.port.addresses.iter().map(|cidr| cidr.address).collect(),
            vlan: plan.config.port.vlan,
            mtu: plan.caps.mtu.into(),
        };
        World {
            now: EPOCH,
            tick_at: EPOCH,
            rng,
            pool,
            device,
            identity,
            seats,
            stations,
            clients: plan.clients.iter().cloned().map(Client::new).collect(),
            conduct: Conduct::default(),
            trace: Trace::default(),
            sent: 0,
            failures: Vec::new(),
            watch: None,
            plan,
        }
    }

    /// The run's plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The present.
    pub fn now(&self) -> Now {
        Now { mono: self.now, unix_s: EPOCH_UNIX_S + self.now.since(EPOCH).as_secs() }
    }

    /// The hash of every frame put on a wire, with its time.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The frames' pool, to exhaust and refill it.
    pub fn pool(&self) -> &FramePool {
        &self.pool
    }

    /// The clients, in the order of the plan, then those that joined.
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// What the device did.
    pub fn device(&self) -> DeviceTally {
        self.device.tally()
    }

    /// What all wires did.
    pub fn wires(&self) -> Tally {
        let both = self.stations.iter().map(|station| station.up.tally().plus(station.down.tally()));
        both.fold(Tally::default(), Tally::plus)
    }

    /// The frames that the gateway's port took to send.
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

    /// Connections of each worker.
    pub fn connections(&self) -> Vec<usize> {
        self.seats.iter().map(|seat| seat.node.connections()).collect()
    }

    /// Frames the workers hold.
    pub fn frames_held(&self) -> usize {
        self.seats.iter().map(|seat| seat.node.frames_held()).sum()
    }

    /// Frames that wait on receive rings.
    pub fn frames_on_rings(&mut self) -> usize {
        self.seats.iter_mut().map(|seat| seat.node.port().rx.len()).sum()
    }

    /// From now on shows every frame, sent and delivered, to `watch`.
    pub fn watch(&mut self, watch: impl FnMut(Instant, &str, &[u8]) + 'static) {
        self.watch = Some(Box::new(watch));
    }

    /// What was found wrong so far.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// A host, to do to it what no client does.
    pub fn host(&mut self, index: usize) -> &mut Host {
        self.stations[index].wake_at = self.now;
        &mut self.stations[index].host
    }

    /// A host's wires, up and down, to cut or impair them.
    pub fn wires_of(&mut self, index: usize) -> (&mut Wire, &mut Wire) {
        let station = &mut self.stations[index];
        (&mut station.up, &mut station.down)
    }

    /// A worker.
    pub fn node(&mut self, index: usize) -> &mut N {
        &mut self.seats[index].node
    }

    /// For this long no transmit ring takes a frame.
    pub fn block_device(&mut self, time: Duration) {
        let until = self.now + time;
        self.seats.iter_mut().for_each(|seat| seat.blocked_until = until);
    }

    /// A further client joins; returns its number.
    pub fn join(&mut self, plan: super::client::ClientPlan) -> usize {
        self.stations[plan.host].wake_at = self.now;
        self.clients.push(Client::new(plan));
        self.clients.len() - 1
    }

    /// The clock jumps ahead; what fell due meanwhile happens at the next step, late.
    pub fn jump(&mut self, by: Duration) {
        self.now = self.now + by;
        self.clients.iter_mut().for_each(|client| client.overlook(by));
    }

    /// Goes on until `done` or `max` has passed; returns whether it was `done`.
    pub fn run_until(&mut self, max: Duration, mut done: impl FnMut(&World<N>) -> bool) -> bool {
        let end = self.now + max;
        while !done(self) {
            if self.now >= end || !self.failures.is_empty() {
                return false;
            }
            self.step();
        }
        true
    }

    /// Goes on for this long.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Goes to the next event and lets it happen.
    pub fn step(&mut self) {
        self.now = self.now.max(self.next_event());
        self.deliver();
        for index in 0..self.stations.len() {
            if self.stations[index].wake_at <= self.now {
                self.run_host(index);
            }
        }
        self.run_workers();
    }

    fn next_event(&self) -> Instant {
        let mut at = self.tick_at;
        for station in &self.stations {
            at = at.min(station.wake_at);
            for wire in [&station.up, &station.down] {
                at = at.min(wire.due().unwrap_or(Instant::FAR));
            }
        }
        at
    }

    fn deliver(&mut self) {
        let World { stations, seats, device, conduct, now, watch, .. } = self;
        for station in stations {
            while let Some(frame) = station.up.receive(*now) {
                let seat = &mut seats[device.queue_of(&frame)];
                device.receive(&frame, seat.node.port());
                seat.called = true;
                conduct.received(&frame);
                show(watch, *now, "gateway receives", &frame);
            }
            while let Some(frame) = station.down.receive(*now) {
                station.host.receive(*now, &frame);
                show(watch, *now, "host receives", &frame);
                station.wake_at = *now;
            }
        }
    }

    /// Lets a host take what arrived, its clients act, and its frames leave.
    fn run_host(&mut self, index: usize) {
        let now = self.now();
        let station = &mut self.stations[index];
        let Station { host, up, .. } = station;
        host.poll(now.mono);
        let mut wake_at = Instant::FAR;
        for client in self.clients.iter_mut().filter(|client| client.plan().host == index) {
            client.step(now, host, &self.plan.site);
            wake_at = wake_at.min(client.wake_at(now.mono));
        }
        host.poll(now.mono);
        for frame in host.take_frames() {
            self.trace.add(now.mono.nanos() << 8 | index as u64, &frame);
            show(&mut self.watch, now.mono, "host sends", &frame);
            up.send(now.mono, frame);
        }
        station.wake_at = wake_at.min(host.poll_at(now.mono)).max(now.mono + SOON);
    }

    /// Gives turns to the workers that were called, on a tick to all, until each rests.
    fn run_workers(&mut self) {
        let tick = self.tick_at <= self.now;
        if tick {
            self.tick_at = self.now + TICK;
        }
        let first = self.rng.below(self.seats.len() as u64) as usize;
        for i in 0..self.seats.len() {
            let index = (first + i) % self.seats.len();
            let seat = &mut self.seats[index];
            let Hiccups { ppm, max } = self.plan.hiccups;
            if tick && self.rng.chance(ppm) {
                seat.paused_until = self.now + self.rng.up_to(max);
            }
            if tick && self.rng.chance(ppm) {
                seat.blocked_until = self.now + self.rng.up_to(max);
            }
            let blocked = seat.blocked_until > self.now;
            seat.node.port().tx_limit = if blocked { 0 } else { self.plan.tx_ring };
            if seat.paused_until <= self.now && (tick || seat.called) {
                seat.called = false;
                self.run_worker(index);
            }
        }
    }

    fn run_worker(&mut self, index: usize) {
        let now = self.now();
        for _ in 0..TURNS_AT_ONCE_MAX {
            let seat = &mut self.seats[index];
            let turn = seat.node.turn(now);
            let frames: Vec<_> = seat.node.port().tx.drain(..).collect();
            if frames.len() != turn.sent {
                self.failures.push(format!("worker {index}: a turn sent {} frames and reports {turn:?}", frames.len()));
            }
            for frame in frames {
                self.sent += 1;
                let sent = self.device.transmit(&frame);
                let judged = sent.and_then(|bytes| packet::judge(&bytes, &self.identity).map(|()| bytes));
                let judged = judged.and_then(|bytes| self.conduct.sent(&bytes).map(|()| bytes));
                let carried = judged.and_then(|bytes| self.carry(index, &bytes));
                if let Err(what) = carried {
                    self.failures.push(format!("worker {index} sent a bad frame: {what}"));
                }
            }
            if turn == Turn::default() {
                return;
            }
        }
        self.failures.push(format!("worker {index} did not rest within {TURNS_AT_ONCE_MAX} turns"));
    }

    /// Puts a frame of the gateway on the wires that lead to its stations.
    fn carry(&mut self, worker: usize, frame: &[u8]) -> Result<(), String> {
        let header = packet::ethernet(frame).ok_or("too short")?;
        let destination = packet::ip(frame).map(|ip| ip.destination);
        if let Some(Message::Here { address, mac }) = neighbor::read(frame)
            && !(mac == self.identity.mac && packet::owns(&self.identity, address))
        {
            return Err(format!("says that {address} is at {mac:02x?}"));
        }
        self.trace.add(self.now.nanos() << 8 | 0x80 | worker as u64, frame);
        show(&mut self.watch, self.now, "gateway sends", frame);
        let group = header.destination[0] & 1 == 1;
        let mut known = group;
        for station in &mut self.stations {
            let place = station.host.place();
            if !group && destination == Some(place.ip) && header.destination != place.mac {
                return Err(format!("for {} to {:02x?}", place.ip, header.destination));
            }
            if group || header.destination == place.mac {
                known = true;
                station.down.send(self.now, frame.to_vec());
            }
        }
        if known { Ok(()) } else { Err(format!("to the unknown station {:02x?}", header.destination)) }
    }
}

#[cfg(test)]
mod tests;
