//! The connections of one worker: frames in, byte streams out.
//!
//! Owns the connection slots and all that hangs on them: flow table, sockets, timers, TIME-WAIT, the list of changed
//! connections. Refuses to know what a connection speaks: `S` is the session the worker keeps in the slot. A burst is
//! looked up and prefetched before it is processed; work per turn does not depend on how many connections are idle.

mod accept;
mod conn;
mod connect;
mod drain;
mod guard;
mod mtu;
mod park;
mod receive;
mod recovery;
mod repair;
mod transmit;

pub use conn::{Conn, ConnId, Event};
pub use connect::ConnectError;
pub use drain::Need;
pub use park::Session;

use crate::config::{Config, Listener, SynCookies};
use crate::failure::Failure;
use crate::limits::WITHHELD_PER_TURN;
use crate::mem::{Arena, CACHE_LINE, Slice};
use crate::net::cookie::Cookies;
use crate::net::flow::FlowTable;
use crate::net::isn::{self, Isn};
use crate::net::key::FlowKey;
use crate::net::link::{Link, LinkHeader};
use crate::net::pmtu::{PathMtu, Paths};
use crate::net::quota::SourceQuota;
use crate::net::rate::{AnswerLimit, RandomLimit};
use crate::net::stamp::{Offered, Stamp, StampClock, Stamps};
use crate::net::tcb::{Engine, Offer, State, Tcb, Unresolved};
use crate::net::timer::TimerWheel;
use crate::net::timewait::TimeWait;
use crate::net::tx::TxQueue;
use crate::port::{Burst, Caps, Frame, Port};
use crate::telemetry::{Counter, Counters, Gauge};
use crate::time::Instant;
use arrayvec::ArrayVec;
use core::time::Duration;
use guard::Numbers;
use park::Blocks;
use recovery::Recovery;
use std::sync::Arc;

/// Where a connection is in its life. smoltcp holds the exact state; this is what the stack has acted on.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
enum Phase {
    /// The slot is free.
    #[default]
    Free,
    /// From the SYN to the handshake's last ACK.
    Handshake,
    /// Established, or half closed by the peer.
    Open,
    /// Established and idle, without socket and rings.
    Parked,
    /// Our FIN is queued or sent.
    Closing,
    /// An RST of ours is to be sent, or the peer's arrived: the slot is freed at the end of the turn.
    Ended,
}

/// One connection's place: everything but rings and socket, and all there is of a parked one.
struct Slot<S> {
    key: FlowKey,
    tcb: Option<Tcb>,
    generation: u32,
    phase: Phase,
    /// Is on the changed list.
    listed: bool,
    /// The peer sent an RST that ended the connection.
    reset: bool,
    /// The session's or the handshake's deadline passed.
    expired: bool,
    /// Is counted as closing.
    closing: bool,
    /// We began the connection.
    outgoing: bool,
    /// The listener's place in the configuration.
    listener: u8,
    l2_generation: u64,
    l2: Option<LinkHeader>,
    /// The session's deadline, or that of the handshake or the closing.
    deadline: Instant,
    /// When the timer fires at the latest; FAR when it is not armed.
    armed: Instant,
    /// Bytes not acknowledged when the closing was last given time.
    unsent: usize,
    /// Sequence numbers as both ends know them.
    numbers: Numbers,
    /// Congestion window, round trip and losses.
    recovery: Recovery,
    /// When a challenge ACK may be sent again.
    challenge_at: Instant,
    /// What the connection's timer found.
    stuck: mtu::Stuck,
    /// How large its packets may be, while it has no socket to know.
    path: PathMtu,
    /// The sum of sequence numbers when the connection was last seen at rest.
    seen: u32,
    /// What the peer's SYN said.
    offer: Offer,
    /// Timestamps, where they are in use.
    stamps: Stamps,
    session: S,
}

/// Fixed settings.
struct Settings {
    rx_ring: usize,
    bulk_tx_ring: u32,
    handshake_timeout: Duration,
    fin_timeout: Duration,
    /// The least retransmission timeout and zero-window probe interval: a timer armed this far ahead is a lower bound for both.
    rto_min: Duration,
    half_open_max: usize,
    /// Handshakes under way from which a SYN is answered by a cookie.
    cookies_from: usize,
    timestamps: bool,
    listeners: Vec<Listener>,
}

/// The connections of one worker.
pub struct Stack<P: Port, S> {
    settings: Settings,
    caps: Caps,
    counters: Arc<Counters>,
    engine: Engine,
    isn: Isn,
    cookies: Cookies,
    stamp_clock: StampClock,
    /// Until then an acknowledged cookie that found no place may come again.
    cookie_waits: Instant,
    link: Link<P::Frame>,
    flows: FlowTable,
    quota: SourceQuota,
    slots: Slice<Slot<S>>,
    free: Slice<u32>,
    free_len: usize,
    blocks: Blocks,
    wheel: TimerWheel,
    time_wait: TimeWait,
    half_open: usize,
    closing: usize,
    accepting: bool,
    rst_limit: AnswerLimit,
    /// ACKs that answer what a connection does not expect.
    challenge_limit: RandomLimit,
    /// The same for TIME-WAIT, of which a single 4-tuple could use up what connections need.
    time_wait_limit: RandomLimit,
    /// Destinations with a path MTU below the device's.
    paths: Paths,
    changed: ChangedList,
    /// Segments that may still stay here in this turn.
    withhold_budget: usize,
    burst: Burst<P::Frame>,
    tx: TxQueue<P::Frame>,
    spare: Option<P::Frame>,
    unresolved: Unresolved<P::Frame>,
}

/// Connections with something to do this turn, and those put off to the next, each once.
struct ChangedList {
    now: Slice<u32>,
    now_len: usize,
}

impl ChangedList {
    #[inline]
    fn push<S>(&mut self, index: u32, slot: &mut Slot<S>) {
        if !slot.listed {
            slot.listed = true;
            self.now[self.now_len] = index;
            self.now_len += 1;
        }
    }
}

/// What a stack is made of.
pub struct StackParts<'a, P: Port> {
    /// The checked configuration.
    pub config: &'a Config,
    /// The link of this worker.
    pub link: Link<P::Frame>,
    /// The port's capabilities.
    pub caps: Caps,
    /// This worker's counters.
    pub counters: Arc<Counters>,
    /// Memory, at least [`arena_size`] bytes.
    pub arena: &'a Arena,
    /// Random bits.
    pub secret: [u64; 4],
    /// Chooses initial sequence numbers.
    pub isn: Isn,
    /// The present.
    pub now: Instant,
}

/// Bytes of arena that a stack with this configuration and sessions `S` needs.
pub fn arena_size<S>(config: &Config) -> usize {
    let connections = config.workers.connections as usize;
    let slots = connections * (size_of::<Slot<S>>() + 2 * size_of::<u32>());
    let tables = FlowTable::arena_bytes(connections)
        + SourceQuota::arena_bytes(connections, config.tcp.connections_per_source)
        + TimerWheel::arena_bytes(connections)
        + TimeWait::arena_bytes(config.tcp.time_wait_entries as usize);
    slots + Blocks::arena_bytes(config) + tables + 64 * 1024
}

/// Bytes an established connection with a session `S` occupies: slot, socket, rings and its share of the tables.
pub fn bytes_per_connection<S>(config: &Config) -> usize {
    bytes_per_parked_connection::<S>(config)
        + Tcb::footprint(config.tcp.rx_ring, config.tcp.tx_ring).next_multiple_of(CACHE_LINE)
        + 2 * size_of::<u32>()
}

/// Bytes a parked connection with a session `S` occupies: its slot, and its share of the flow table, the timer wheel, and the
/// lists of free slots and changed connections.
pub fn bytes_per_parked_connection<S>(config: &Config) -> usize {
    let connections = config.workers.connections as usize;
    let tables = FlowTable::arena_bytes(connections) + TimerWheel::arena_bytes(connections);
    size_of::<Slot<S>>() + 2 * size_of::<u32>() + tables.div_ceil(connections)
}

impl<P: Port, S: Session> Stack<P, S> {
    /// Builds the stack; all memory is reserved here.
    pub fn new(parts: StackParts<'_, P>) -> Result<Self, Failure> {
        let StackParts { config, link, caps, counters, arena, secret, isn, now } = parts;
        let connections = config.workers.connections as usize;
        let tcp = &config.tcp;
        let slots = arena.slice(connections, |_| Slot::<S>::default())?;
        // Low slots first, so that few connections stay on few pages.
        let free = arena.slice(connections, |i| (connections - 1 - i) as u32)?;
        Ok(Stack {
            settings: Settings {
                rx_ring: tcp.rx_ring,
                bulk_tx_ring: tcp.bulk_tx_ring as u32,
                handshake_timeout: tcp.handshake_timeout,
                fin_timeout: tcp.fin_timeout,
                rto_min: tcp.rto_min,
                half_open_max: tcp.half_open as usize,
                cookies_from: cookies_from(config),
                timestamps: tcp.timestamps,
                listeners: config.listeners.clone(),
            },
            engine: engine(&caps, isn::subkey(secret, 0)[0], tcp.rto_min, now),
            isn,
            cookies: Cookies::new(isn::subkey(secret, 2)),
            stamp_clock: StampClock::new(isn::subkey(secret, 4)),
            cookie_waits: Instant::ZERO,
            link,
            flows: FlowTable::new(arena, connections, [secret[1], secret[2]])?,
            quota: SourceQuota::new(arena, connections, tcp.connections_per_source, isn::subkey(secret, 3))?,
            slots,
            free,
            free_len: connections,
            blocks: Blocks::new(arena, config)?,
            wheel: TimerWheel::new(arena, connections, now)?,
            time_wait: TimeWait::new(arena, tcp.time_wait_entries as usize, tcp.time_wait, [secret[2], secret[3]])?,
            half_open: 0,
            closing: 0,
            accepting: true,
            rst_limit: AnswerLimit::default(),
            challenge_limit: RandomLimit::new(secret[3] ^ secret[1].rotate_left(32)),
            time_wait_limit: RandomLimit::new(secret[3] ^ secret[2].rotate_left(32)),
            paths: Paths::new(),
            withhold_budget: WITHHELD_PER_TURN,
            changed: ChangedList { now: arena.slice(connections, |_| 0)?, now_len: 0 },
            burst: Burst::new(),
            tx: TxQueue::default(),
            spare: None,
            unresolved: Unresolved::new(),
            caps,
            counters,
        })
    }

    /// Connections that hold a slot.
    pub fn connections(&self) -> usize {
        self.slots.len() - self.free_len
    }

    /// Connections among them that are parked.
    pub fn parked(&self) -> usize {
        self.blocks.parked()
    }

    /// TIME-WAIT entries.
    pub fn time_waits(&self) -> usize {
        self.time_wait.len()
    }

    /// Handshakes under way.
    pub fn half_open(&self) -> usize {
        self.half_open
    }

    /// Connections whose FIN is sent, TIME-WAIT excluded.
    pub fn closing(&self) -> usize {
        self.closing
    }

    /// Entries of the flow table, and armed timers: none when there is no connection.
    pub fn tables(&self) -> [usize; 2] {
        [self.flows.len(), self.wheel.len()]
    }

    /// Sets the gauges of connections; for the loop, now and then.
    pub fn set_gauges(&self) {
        let (slots, half_open, closing) = (self.connections(), self.half_open(), self.closing());
        let parked = self.parked();
        self.counters.set(Gauge::Handshake, half_open as u64);
        self.counters.set(Gauge::Open, slots.saturating_sub(half_open + closing + parked) as u64);
        self.counters.set(Gauge::Parked, parked as u64);
        self.counters.set(Gauge::Closing, closing as u64);
        self.counters.set(Gauge::TimeWait, self.time_waits() as u64);
    }

    /// Frames the stack holds between turns: backlog, spare, waiting for neighbours.
    pub fn frames_held(&self) -> usize {
        self.tx.len() + usize::from(self.spare.is_some()) + self.link.frames_waiting()
    }

    /// From now on SYNs find no listener.
    pub fn stop_accepting(&mut self) {
        self.accepting = false;
    }

    /// Puts every connection that has a socket on the changed list, so that each session is served once. Those that are
    /// parked, now or later, are served at `parked` at the latest, as their deadline; [`Stack::scan`] sees to it.
    pub fn touch_all(&mut self, parked: Instant) {
        self.blocks.until = parked;
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if slot.tcb.is_some() {
                self.changed.push(index as u32, slot);
            }
        }
    }

    /// Acts on reports of packets too big and fires due timers: their connections join the changed list, or are parked. Returns
    /// how many timers fired.
    pub fn expire(&mut self, port: &mut P, now: Instant) -> usize {
        self.link.tick(now, port, &mut self.tx, &self.counters);
        self.hear_reports(now);
        self.time_wait.expire(now, EXPIRE_MAX);
        let mut due = ArrayVec::<u32, EXPIRE_MAX>::new();
        let fired = self.wheel.expire(now, EXPIRE_MAX, |index| due.push(index));
        for index in due {
            self.timer(index, now);
        }
        fired
    }

    fn timer(&mut self, index: u32, now: Instant) {
        let Stack { wheel, slots, changed, engine, blocks, counters, settings, caps, .. } = self;
        let slot = &mut slots[index as usize];
        slot.armed = Instant::FAR;
        if slot.phase == Phase::Parked {
            return self.parked_timer(index, now);
        }
        let Some(tcb) = slot.tcb.as_mut() else { return };
        slot.expired = slot.deadline <= now;
        let tcp = engine.poll_at(now, tcb).unwrap_or(Instant::FAR);
        let tcp = repair::attend(slot, tcp, settings, caps.mtu, counters, now);
        if slot.expired || tcp <= now {
            changed.push(index, slot);
        }
        if !slot.listed {
            let look = blocks.look(slot, engine, counters, now);
            slot.arm(index, tcp.min(slot.deadline).min(look), wheel);
        } else if !slot.expired {
            // A connection on the list arms its timer for all else when it rests, but it may never rest.
            slot.arm(index, slot.deadline, wheel);
        }
    }

    fn free_slot(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        let hash = self.flows.hash(&slot.key);
        self.flows.remove(hash, index);
        self.wheel.cancel(index);
        if !slot.outgoing {
            self.quota.release(&slot.key);
        }
        self.closing -= usize::from(core::mem::take(&mut slot.closing));
        slot.tcb = None;
        slot.session = S::default();
        slot.phase = Phase::Free;
        slot.generation = slot.generation.wrapping_add(1);
        self.free[self.free_len] = index;
        self.free_len += 1;
    }
}

fn engine(caps: &Caps, seed: u64, rto_min: Duration, now: Instant) -> Engine {
    Engine::new(caps.mtu, seed, now).with_rto_min(rto_min).with_paths(caps.mtu, seed, now)
}

/// From how many handshakes on SYNs are answered by cookies. Those that never end must leave places for connections.
fn cookies_from(config: &Config) -> usize {
    match config.tcp.syn_cookies {
        SynCookies::Always => 0,
        SynCookies::Auto => config.tcp.half_open.min(config.workers.active().div_ceil(2)) as usize,
        SynCookies::Off => usize::MAX,
    }
}

/// Timers and TIME-WAIT entries that end in one turn at most.
const EXPIRE_MAX: usize = 64;

impl<S> Slot<S> {
    /// Occupies the slot with a new connection, of segments of at most `mss` bytes, whose handshake ends at `deadline`.
    fn begin(&mut self, key: FlowKey, tcb: Tcb, mss: u16, stamps: Stamps, deadline: Instant) {
        self.key = key;
        self.tcb = Some(tcb);
        self.phase = Phase::Handshake;
        self.reset = false;
        self.outgoing = false;
        self.numbers = Numbers::default();
        self.recovery = Recovery::new(mss.saturating_sub(stamps.overhead()));
        self.challenge_at = Instant::ZERO;
        self.stuck = mtu::Stuck::default();
        self.seen = 0;
        self.offer = Offer::default();
        self.stamps = stamps;
        self.armed = Instant::FAR;
        self.expired = false;
        self.deadline = deadline;
        self.l2 = None;
        self.l2_generation = u64::MAX;
    }

    /// What a segment of ours says now where timestamps are in use.
    #[inline(never)]
    fn stamp(&self, now: Instant) -> Option<Stamp> {
        match self.stamps.at(now)? {
            stamp if self.phase == Phase::Handshake && !self.outgoing => Some(offered(&self.offer).hold(stamp)),
            stamp => Some(stamp),
        }
    }

    /// Resolves the link header again when the neighbours changed.
    #[inline]
    fn refresh_header<F: Frame>(&mut self, link: &Link<F>) {
        if self.l2_generation != link.generation() {
            self.l2 = link.resolve(self.key.remote_ip());
            self.l2_generation = link.generation();
        }
    }

    /// Has the timer fire no later than `at`. A timer that fires earlier is left alone: it costs less to find nothing due
    /// once than to move it with every request.
    #[inline]
    fn arm(&mut self, index: u32, at: Instant, wheel: &mut TimerWheel) {
        if at < self.armed {
            self.armed = at;
            wheel.arm(index, at);
        }
    }

    /// Follows a handshake; true when it is over.
    fn advance(&mut self, counters: &Counters) -> bool {
        let state = self.tcb.as_mut().map_or(State::Closed, Tcb::state);
        match state {
            State::SynReceived | State::SynSent => return false,
            // smoltcp returns to LISTEN on an RST.
            State::Listen | State::Closed => self.phase = Phase::Ended,
            _ => {
                counters.inc(if self.outgoing { Counter::ConnConnected } else { Counter::ConnAccepted });
                self.phase = Phase::Open;
                self.deadline = Instant::FAR;
            }
        }
        true
    }
}

/// What a SYN-ACK's timestamp holds.
fn offered(offer: &Offer) -> Offered {
    Offered { window_scale: offer.window_scale, sack: offer.sack }
}

impl<S: Default> Default for Slot<S> {
    fn default() -> Self {
        Slot {
            key: FlowKey::default(),
            tcb: None,
            generation: 0,
            phase: Phase::Free,
            listed: false,
            reset: false,
            expired: false,
            closing: false,
            outgoing: false,
            listener: 0,
            l2_generation: 0,
            l2: None,
            deadline: Instant::FAR,
            armed: Instant::FAR,
            unsent: 0,
            numbers: Numbers::default(),
            recovery: Recovery::default(),
            challenge_at: Instant::ZERO,
            stuck: mtu::Stuck::default(),
            path: PathMtu::default(),
            seen: 0,
            offer: Offer::default(),
            stamps: Stamps::default(),
            session: S::default(),
        }
    }
}

/// Makes a [`Wire`] from the fields of a stack, which stay otherwise usable.
macro_rules! wire {
    ($stack:ident, $port:expr, $l2:expr) => {
        Wire::new(
            $port,
            &mut $stack.tx,
            &mut $stack.spare,
            &$stack.caps,
            &$stack.counters,
            $stack.link.header_len(),
            $l2,
            &mut $stack.unresolved,
        )
    };
}
use wire;
