//! A false world: gateway workers, load generators, client hosts, the wires between them, and a clock of its own.
//!
//! Owns virtual time and the order of events. Refuses to know how a node works: it carries frames between machines, which
//! give turns to anything that implements [`Node`]. What must hold is checked where it happens and, for a whole run, in
//! `verdict`.

use super::client::Client;
use super::device::{Device, DeviceTally};
use super::event::{Event, What};
use super::host::{Host, Place};
use super::load::{Load, LoadReport};
use super::machine::{Machine, Node};
use super::packet::{self, Identity};
use super::plan::{EPOCH, EPOCH_UNIX_S, Plan};
use super::port::{FramePool, SimPort};
use super::rng::{Rng, Trace};
use super::stray::nobody;
use super::wire::{Tally, Wire};
use crate::telemetry::{Counter, Counters};
use crate::time::{Instant, Now};
use core::time::Duration;
use std::sync::Arc;

/// Between two turns of an idle worker while something goes on, and while everything rests.
const TICK: Duration = Duration::from_millis(10);
const TICK_AT_REST: Duration = Duration::from_millis(100);
/// The least step of time when somebody has more to do at once.
const SOON: Duration = Duration::from_micros(1);

struct Station {
    host: Host,
    up: Wire,
    down: Wire,
    wake_at: Instant,
}

/// What an event does at one time.
enum Act {
    Cut(usize, bool),
    Drain,
    Abort,
    Pool(usize),
    Once(What),
}

/// A running world.
pub struct World<N> {
    plan: Plan,
    now: Instant,
    rng: Rng,
    gateway: Machine<N>,
    stations: Vec<Station>,
    loads: Vec<Load>,
    clients: Vec<Client>,
    /// What is still to happen, the last first.
    acts: Vec<(Instant, Act)>,
    /// Strangers' frames that a worker got, by the counter that has to show them.
    strays: Vec<Counter>,
    trace: Trace,
    /// Frames from a machine's workers on their way to a wire.
    leaving: Vec<(usize, Vec<u8>)>,
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
    /// A world in which `plan` is about to happen. `build` makes the gateway's worker of a queue, with the counters it shall
    /// use.
    pub fn new(plan: Plan, mut build: impl FnMut(usize, SimPort, Arc<Counters>) -> N) -> World<N> {
        let mut rng = Rng::new(plan.seed);
        let queues = usize::from(plan.config.workers.count.unwrap_or(1));
        let identity = Identity::of(&plan.config, &plan.caps);
        let build = |queue: usize, device: &Device, counters| build(queue, device.port(), counters);
        let gateway = Machine::new("gateway".into(), plan.machine(), identity, queues, &mut rng.fork(), build);
        let stations = plan.hosts.iter().map(|host| Station {
            host: Host::new(host.place.clone(), rng.next_u64(), EPOCH),
            up: Wire::new(host.up.clone(), rng.fork()),
            down: Wire::new(host.down.clone(), rng.fork()),
            wake_at: EPOCH,
        });
        let stations = stations.collect();
        let loads =
            plan.loads.iter().enumerate().map(|(i, load)| Load::new(i, load.clone(), &mut rng.fork())).collect();
        World {
            now: EPOCH,
            rng,
            gateway,
            stations,
            loads,
            clients: plan.clients.iter().cloned().map(Client::new).collect(),
            acts: acts(&plan),
            strays: Vec::new(),
            trace: Trace::default(),
            leaving: Vec::new(),
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

    /// The gateway.
    pub fn gateway(&mut self) -> &mut Machine<N> {
        &mut self.gateway
    }

    /// The load machines.
    pub fn loads(&mut self) -> &mut [Load] {
        &mut self.loads
    }

    /// Ends the load machines; what they recorded.
    pub fn finish_loads(&mut self) -> Vec<LoadReport> {
        self.loads.drain(..).map(Load::finish).collect()
    }

    /// The gateway's frames' pool, to exhaust and refill it.
    pub fn pool(&self) -> &FramePool {
        self.gateway.pool()
    }

    /// The clients, in the order of the plan, then those that joined.
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// What the gateway's device did.
    pub fn device(&self) -> DeviceTally {
        self.gateway.device()
    }

    /// What all wires did.
    pub fn wires(&self) -> Tally {
        let stations = self.stations.iter().map(|station| station.up.tally().plus(station.down.tally()));
        let loads = self.loads.iter().map(|load| load.up.tally().plus(load.down.tally()));
        stations.chain(loads).fold(Tally::default(), Tally::plus)
    }

    /// A counter, summed over the gateway's workers.
    pub fn count(&self, counter: Counter) -> u64 {
        self.gateway.count(counter)
    }

    /// A counter of one of the gateway's workers.
    pub fn count_of(&self, worker: usize, counter: Counter) -> u64 {
        self.gateway.count_of(worker, counter)
    }

    /// Connections of each of the gateway's workers.
    pub fn connections(&self) -> Vec<usize> {
        self.gateway.held().iter().map(|held| held.connections).collect()
    }

    /// Frames the gateway's workers hold.
    pub fn frames_held(&self) -> usize {
        self.gateway.held().iter().map(|held| held.frames).sum()
    }

    /// Frames that strangers sent and a worker got, by the counter that has to show them.
    pub fn strays(&self) -> &[Counter] {
        &self.strays
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

    /// A station's wires, up and down, to cut or impair them. Stations are the hosts, then the loads.
    pub fn wires_of(&mut self, index: usize) -> (&mut Wire, &mut Wire) {
        let hosts = self.stations.len();
        if index < hosts {
            let station = &mut self.stations[index];
            return (&mut station.up, &mut station.down);
        }
        let load = &mut self.loads[index - hosts];
        (&mut load.up, &mut load.down)
    }

    /// A worker of the gateway.
    pub fn node(&mut self, index: usize) -> &mut N {
        self.gateway.node(index)
    }

    /// For this long no transmit ring of the gateway takes a frame.
    pub fn block_device(&mut self, time: Duration) {
        self.gateway.block(self.now + time);
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

    /// Whether every client and every load run has ended.
    pub fn is_over(&self) -> bool {
        self.clients.iter().all(|client| client.outcome().is_some()) && self.loads.iter().all(Load::is_over)
    }

    /// Whether no worker holds a connection, nor what is left of one.
    pub fn waits_for_nobody(&self) -> bool {
        let mut held = self.gateway.held();
        held.extend(self.loads.iter().flat_map(|load| load.machine.held()));
        held.iter().all(|held| held.connections + held.time_waits == 0)
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
        while self.acts.last().is_some_and(|(at, _)| *at <= self.now) {
            if let Some((_, act)) = self.acts.pop() {
                self.act(&act);
            }
        }
        self.deliver();
        for index in 0..self.stations.len() {
            if self.stations[index].wake_at <= self.now {
                self.run_host(index);
            }
        }
        let tick = if self.is_over() && self.acts.is_empty() { TICK_AT_REST } else { TICK };
        self.run_gateway(tick);
        for index in 0..self.loads.len() {
            self.run_load(index, tick);
        }
    }

    fn next_event(&self) -> Instant {
        let mut at = self.gateway.wake_at();
        let wires = |up: &Wire, down: &Wire| [up, down].into_iter().filter_map(Wire::due).min().unwrap_or(Instant::FAR);
        for station in &self.stations {
            at = at.min(station.wake_at).min(wires(&station.up, &station.down));
        }
        for load in &self.loads {
            at = at.min(load.machine.wake_at()).min(wires(&load.up, &load.down));
        }
        self.acts.last().map_or(at, |(act, _)| at.min(*act))
    }

    fn act(&mut self, act: &Act) {
        let now = self.now();
        match act {
            Act::Cut(station, cut) => {
                let (up, down) = self.wires_of(*station);
                up.set_cut(*cut);
                down.set_cut(*cut);
            }
            Act::Drain => self.gateway.nodes().for_each(|node| node.drain(now)),
            Act::Abort => self.gateway.nodes().for_each(|node| node.abort(now)),
            Act::Pool(frames) => self.gateway.pool().set_limit(*frames),
            Act::Once(What::Block(time)) => self.block_device(*time),
            Act::Once(What::Spoof { syns, port }) => self.spoof(*syns, *port),
            Act::Once(What::Ping(requests)) => {
                (0..*requests).for_each(|i| self.host(0).ping(now.mono, i as u16, b"?"));
            }
            Act::Once(What::Stray(stray)) => {
                let (frame, chain) = stray.frame(self.gateway.identity());
                if self.gateway.deliver(&frame, &chain) {
                    self.strays.push(stray.counter());
                }
                show(&mut self.watch, self.now, "a stranger sends", &frame);
            }
            Act::Once(_) => {}
        }
    }

    /// Host 0 sends SYNs of addresses at which there is nobody.
    fn spoof(&mut self, syns: usize, port: u16) {
        let (now, mut rng) = (self.now, self.rng.fork());
        let place = self.host(0).place().clone();
        for _ in 0..syns {
            let source = (nobody(place.ip.is_ipv6(), &mut rng), 1024 + rng.below(60_000) as u16);
            let packet = packet::syn(source, (place.gateway, port), rng.next_u64() as u32);
            self.host(0).send_raw(now, packet);
        }
    }

    fn deliver(&mut self) {
        let World { stations, loads, gateway, now, watch, .. } = self;
        let mut up = |wire: &mut Wire| {
            while let Some(frame) = wire.receive(*now) {
                gateway.receive(&frame);
                show(watch, *now, "gateway receives", &frame);
            }
        };
        stations.iter_mut().for_each(|station| up(&mut station.up));
        loads.iter_mut().for_each(|load| up(&mut load.up));
        for station in stations {
            while let Some(frame) = station.down.receive(*now) {
                station.host.receive(*now, &frame);
                show(watch, *now, "host receives", &frame);
                station.wake_at = *now;
            }
        }
        for load in loads {
            while let Some(frame) = load.down.receive(*now) {
                load.machine.receive(&frame);
                show(watch, *now, "load receives", &frame);
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

    fn run_gateway(&mut self, tick: Duration) {
        let mut leaving = core::mem::take(&mut self.leaving);
        self.failures.extend(self.gateway.run(self.now(), tick, &mut self.rng, &mut leaving));
        for (worker, frame) in leaving.drain(..) {
            if let Err(what) = self.carry(worker, &frame) {
                self.failures.push(format!("gateway, worker {worker} sent a bad frame: {what}"));
            }
        }
        self.leaving = leaving;
    }

    fn run_load(&mut self, index: usize, tick: Duration) {
        let now = self.now();
        let load = &mut self.loads[index];
        let tick = if load.is_over() { tick } else { Duration::ZERO };
        self.failures.extend(load.machine.run(now, tick, &mut self.rng, &mut self.leaving));
        for (worker, frame) in self.leaving.drain(..) {
            if let Err(what) = load.judge(&frame, self.gateway.identity()) {
                self.failures.push(format!("load {index}, worker {worker} sent a bad frame: {what}"));
            }
            self.trace.add(now.mono.nanos() << 8 | 0x40 | (index as u64) << 3 | worker as u64, &frame);
            show(&mut self.watch, now.mono, "load sends", &frame);
            load.up.send(now.mono, frame);
        }
        load.advance(now);
    }

    /// Puts a frame of the gateway on the wires that lead to its stations.
    fn carry(&mut self, worker: usize, frame: &[u8]) -> Result<(), String> {
        let header = packet::ethernet(frame).ok_or("too short")?;
        let destination = packet::ip(frame).map(|ip| ip.destination);
        self.trace.add(self.now.nanos() << 8 | 0x80 | worker as u64, frame);
        show(&mut self.watch, self.now, "gateway sends", frame);
        let group = header.destination[0] & 1 == 1;
        let mut known = group;
        let hosts = self.stations.iter_mut().map(|station| (station.host.place().clone(), &mut station.down));
        let loads = self.loads.iter_mut().map(|load| (load.plan().place.clone(), &mut load.down));
        for (Place { mac, ip, .. }, down) in hosts.chain(loads) {
            if !group && destination == Some(ip) && header.destination != mac {
                return Err(format!("for {ip} to {:02x?}", header.destination));
            }
            if group || header.destination == mac {
                known = true;
                down.send(self.now, frame.to_vec());
            }
        }
        self.report_oversized();
        if known { Ok(()) } else { Err(format!("to the unknown station {:02x?}", header.destination)) }
    }
}

impl<N: Node> World<N> {
    /// The router of each wire tells the gateway what did not fit.
    fn report_oversized(&mut self) {
        let World { stations, loads, gateway, now, .. } = self;
        let hosts =
            stations.iter_mut().map(|station| (station.host.place().clone(), &mut station.up, &mut station.down));
        let loads = loads.iter_mut().map(|load| (load.plan().place.clone(), &mut load.up, &mut load.down));
        for (place, up, down) in hosts.chain(loads) {
            let (frames, mtu) = down.take_oversized();
            for frame in frames {
                if let Some(report) = packet::too_big(&frame, gateway.identity(), place.mac, place.link_ip, mtu) {
                    up.send(*now, report);
                }
            }
        }
    }
}

/// What a plan's events do when, the last first.
fn acts(plan: &Plan) -> Vec<(Instant, Act)> {
    let mut acts = Vec::new();
    for Event { at, what } in &plan.events {
        let at = EPOCH + *at;
        match what {
            What::Partition { station, lasts } => {
                acts.extend([(at, Act::Cut(*station, true)), (at + *lasts, Act::Cut(*station, false))]);
            }
            What::Drain => acts.extend([(at, Act::Drain), (at + plan.config.workers.drain_timeout, Act::Abort)]),
            What::Starve { frames, lasts } => {
                acts.extend([(at, Act::Pool(*frames)), (at + *lasts, Act::Pool(plan.pool))]);
            }
            once => {
                if matches!(once, What::Spoof { .. } | What::Ping(_)) {
                    // The host learns where the gateway is.
                    acts.push((EPOCH, Act::Once(What::Ping(1))));
                }
                acts.push((at, Act::Once(once.clone())));
            }
        }
    }
    acts.sort_by_key(|(at, _)| core::cmp::Reverse(*at));
    acts
}

#[cfg(test)]
mod tests;
