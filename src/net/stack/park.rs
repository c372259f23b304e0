//! Parking: an idle connection gives its socket and rings back and keeps its place.
//!
//! Owns which connections are parked and when, how they wake, what is answered without waking them, and who makes room when
//! every block is taken. Refuses to know what a session waits for: it says itself whether it is idle.
//!
//! Nothing is done per request. A timer that fires anyway looks whether the connection rests and notes its sequence numbers;
//! one that finds the same numbers at the next look was idle between them.

use super::guard::Verdict;
use super::receive::{FIN, RST};
use super::{Phase, Slot, Stack, wire};
use crate::config::{Config, TcpConfig};
use crate::failure::Failure;
use crate::limits::{BULK_MSS_MIN, CHALLENGE_INTERVAL};
use crate::mem::{Arena, Block, BlockPool, Slice};
use crate::net::ip::Segment;
use crate::net::tcb::{Engine, Offer, Parked, Quiescent, Ring, Tcb, Wire};
use crate::port::{BURST_MAX, Port};
use crate::telemetry::{Counter, Counters};
use crate::time::Instant;
use core::time::Duration;

/// Blocks looked at in one turn for one whose connection rests. A turn's frames keep two bursts' worth from resting: those
/// they are for, and those of the turn before that they acknowledge.
const LOOKS_PER_TURN: usize = 8 * BURST_MAX;
/// Blocks looked at for a better one when one has been found.
const LOOKS_FOR_BETTER: usize = 4;
/// When a parked connection whose deadline passed looks for a block again.
const RETRY: Duration = Duration::from_millis(20);
/// How long it looks, before it is reset.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the stack keeps for whoever uses it, in the connection's slot.
pub trait Session: Default {
    /// Whether it waits for the peer and needs nothing of what a socket holds: the connection may then be parked. It is not
    /// told of an RST that arrives while it is.
    fn is_idle(&self) -> bool {
        false
    }
}

/// The blocks of sockets and rings, and who has them.
pub(super) struct Blocks {
    pool: BlockPool,
    /// The slot that each block's connection has or last had.
    owners: Slice<u32>,
    /// The next block to look at for room.
    hand: usize,
    /// Blocks that may still be looked at in this turn.
    looks: usize,
    /// Blocks with a larger transmit ring.
    bulk: BlockPool,
    /// When the turn began.
    now: Instant,
    /// There are fewer blocks than slots: connections are parked.
    scarce: bool,
    park_after: Duration,
    /// A parked connection is closed by then at the latest.
    pub(super) until: Instant,
    parked: usize,
}

fn bulk_footprint(tcp: &TcpConfig) -> usize {
    Tcb::footprint(tcp.rx_ring, tcp.bulk_tx_ring.max(tcp.tx_ring))
}

impl Blocks {
    /// Bytes of arena they take.
    pub(super) fn arena_bytes(config: &Config) -> usize {
        let (tcp, active) = (&config.tcp, config.workers.active() as usize);
        Arena::pool_bytes(Tcb::footprint(tcp.rx_ring, tcp.tx_ring), active)
            .saturating_add(Arena::slice_bytes::<u32>(active))
            .saturating_add(Arena::pool_bytes(bulk_footprint(tcp), tcp.bulk_rings as usize))
    }

    /// As many as the configuration says.
    pub(super) fn new(arena: &Arena, config: &Config) -> Result<Blocks, Failure> {
        let (tcp, workers) = (&config.tcp, &config.workers);
        let active = workers.active() as usize;
        Ok(Blocks {
            pool: arena.pool(Tcb::footprint(tcp.rx_ring, tcp.tx_ring), active)?,
            owners: arena.slice(active, |_| 0)?,
            hand: 0,
            looks: LOOKS_PER_TURN,
            bulk: arena.pool(bulk_footprint(tcp), tcp.bulk_rings as usize)?,
            now: Instant::ZERO,
            scarce: workers.active() < workers.connections,
            park_after: tcp.park_after,
            until: Instant::FAR,
            parked: 0,
        })
    }

    /// Begins a turn.
    #[inline]
    pub(super) fn turn(&mut self, now: Instant) {
        self.looks = LOOKS_PER_TURN;
        self.now = now;
    }

    /// Connections that are parked.
    pub(super) fn parked(&self) -> usize {
        self.parked
    }

    /// Blocks that nobody has.
    pub(super) fn free(&self) -> usize {
        self.pool.available()
    }

    /// Notes whose socket it is.
    pub(super) fn belongs(&mut self, tcb: &Tcb, index: u32) {
        self.owners[tcb.block_index()] = index;
    }

    /// When a connection whose handshake just ended is first looked at.
    pub(super) fn first_look(&self, now: Instant) -> Instant {
        if self.scarce { now + self.park_after } else { Instant::FAR }
    }

    /// Parks a connection that rests, or notes that it does. Returns when to look again. One with a larger ring is parked too
    /// when blocks are not scarce, also one that went on without needing it: it wakes with a small one.
    pub(super) fn look<S: Session>(
        &mut self,
        slot: &mut Slot<S>,
        engine: &mut Engine,
        counters: &Counters,
        now: Instant,
    ) -> Instant {
        let ring = slot.tcb.as_ref().map_or(Ring::Small, Tcb::ring);
        if !(self.scarce || ring.is_large()) || !slot.rests(engine, now) {
            return Instant::FAR;
        }
        if ring != Ring::Spare && !slot.is_unchanged() {
            slot.seen = slot.numbers.position();
            if ring.is_large() {
                slot.tcb.iter_mut().for_each(|tcb| tcb.set_ring(Ring::Spare));
            }
            return now + self.park_after;
        }
        counters.inc(Counter::ConnParked);
        self.park(slot);
        Instant::FAR
    }

    fn park<S>(&mut self, slot: &mut Slot<S>) {
        if let Some(tcb) = slot.tcb.take() {
            slot.path = tcb.path();
        }
        slot.phase = Phase::Parked;
        slot.deadline = slot.deadline.min(self.until);
        self.parked += 1;
    }

    /// A parked connection is one no longer.
    pub(super) fn leaves(&mut self) {
        self.parked -= 1;
    }
}

impl<S: Session> Slot<S> {
    /// Whether nothing is under way on the connection.
    fn rests(&mut self, engine: &mut Engine, now: Instant) -> bool {
        let open = self.phase == Phase::Open && !self.listed && self.numbers.rest() && self.session.is_idle();
        open && self.tcb.as_mut().is_some_and(|tcb| tcb.is_quiescent(engine, now))
    }

    /// Whether it has this one of the blocks with small rings.
    fn has_block(&self, block: usize) -> bool {
        self.tcb.as_ref().is_some_and(|tcb| !tcb.ring().is_large() && tcb.block_index() == block)
    }

    /// Whether nothing was sent or received since the last look.
    fn is_unchanged(&self) -> bool {
        self.seen == self.numbers.position()
    }
}

impl<P: Port, S: Session> Stack<P, S> {
    /// A block for a connection that needs one. When all are taken an idle connection is parked for it.
    pub(super) fn take_block(&mut self, now: Instant) -> Option<Block> {
        if let Some(block) = self.blocks.pool.take() {
            return Some(block);
        }
        if !self.blocks.scarce {
            return None;
        }
        let index = self.find_resting(now)?;
        let slot = &mut self.slots[index as usize];
        self.counters.inc(Counter::ConnDisplaced);
        self.blocks.park(slot);
        slot.arm(index, slot.deadline, &mut self.wheel);
        self.blocks.pool.take()
    }

    /// A connection at rest, of the blocks' in turn: the first, or one soon after it that was at rest when it was last looked at.
    fn find_resting(&mut self, now: Instant) -> Option<u32> {
        let Stack { blocks, slots, engine, .. } = self;
        let total = blocks.owners.len();
        let mut found = None;
        let mut better = LOOKS_FOR_BETTER;
        for _ in 0..total {
            if blocks.looks == 0 || better == 0 {
                break;
            }
            blocks.looks -= 1;
            better -= usize::from(found.is_some());
            let (block, index) = (blocks.hand, blocks.owners[blocks.hand]);
            blocks.hand = if block + 1 == total { 0 } else { block + 1 };
            let slot = &mut slots[index as usize];
            if !slot.has_block(block) || !slot.rests(engine, now) {
                continue;
            }
            if slot.is_unchanged() {
                return Some(index);
            }
            slot.seen = slot.numbers.position();
            found = found.or(Some(index));
        }
        found
    }

    /// Gives a parked connection a socket and rings again, in the state they had; false when no block can be had.
    pub(super) fn wake(&mut self, index: u32, now: Instant) -> bool {
        let Some(block) = self.take_block(now) else { return false };
        let tcb = self.revive(block, index, now);
        debug_assert!(tcb.is_some(), "it was a connection before");
        let Some(tcb) = tcb else { return false };
        self.blocks.belongs(&tcb, index);
        self.blocks.leaves();
        self.counters.inc(Counter::ConnWoken);
        let slot = &mut self.slots[index as usize];
        slot.tcb = Some(tcb);
        slot.phase = Phase::Open;
        slot.arm(index, self.blocks.first_look(now), &mut self.wheel);
        true
    }

    /// Gives a connection that asked for it a larger transmit ring, if it can be made anew and there is one.
    #[cold]
    pub(super) fn enlarge(&mut self, index: u32) {
        let now = self.blocks.now;
        let slot = &mut self.slots[index as usize];
        slot.path = slot.tcb.as_ref().map_or(slot.path, Tcb::path);
        let able = slot.phase == Phase::Open && slot.numbers.rest() && slot.recovery.mss() >= BULK_MSS_MIN;
        let able = able && slot.tcb.as_mut().is_some_and(Tcb::is_replaceable);
        let block = if able { self.blocks.bulk.take() } else { None };
        if able && block.is_none() {
            self.counters.inc(Counter::BulkNone);
        }
        let large = block.and_then(|block| self.revive(block, index, now));
        let slot = &mut self.slots[index as usize];
        match large {
            Some(mut tcb) => {
                tcb.set_ring(Ring::Large);
                slot.tcb = Some(tcb);
                self.counters.inc(Counter::BulkTaken);
            }
            None => slot.tcb.iter_mut().for_each(|tcb| tcb.set_ring(Ring::Refused)),
        }
    }

    /// A socket in this block that is where the connection in this slot is.
    fn revive(&mut self, block: Block, index: u32, now: Instant) -> Option<Tcb> {
        let Slot { key, offer, numbers, recovery, path, stamps, .. } = self.slots[index as usize];
        let offer = Offer { timestamps: stamps.are_on(), ..offer };
        let parked = Parked {
            connection: Quiescent { key, snd_nxt: numbers.snd_nxt(), rcv_nxt: numbers.rcv_nxt(), offer },
            window: numbers.peer_window(),
            round_trip: recovery.round_trip(),
        };
        let mut tcb = self.engine.revive(block, self.settings.rx_ring, &parked, self.caps.mtu, now)?;
        tcb.set_path(path);
        Some(tcb)
    }

    /// A segment for a parked connection, and its verdict; whether it is awake now and gets the segment. What tells the
    /// connection nothing, or is answered by its numbers alone, does not wake it.
    pub(super) fn rouse(
        &mut self,
        port: &mut P,
        index: u32,
        segment: &Segment,
        verdict: Verdict,
        now: Instant,
    ) -> bool {
        let slot = &mut self.slots[index as usize];
        let empty = segment.payload_len == 0 && segment.flags & FIN == 0;
        match verdict {
            // A window update, or an ACK repeated.
            Verdict::Pass if empty => {
                slot.numbers.acknowledged(segment);
                return false;
            }
            Verdict::Cut(_) if segment.flags & RST != 0 => {
                slot.reset = true;
                slot.phase = Phase::Ended;
                self.blocks.leaves();
                self.changed.push(index, slot);
                return false;
            }
            Verdict::Pass | Verdict::Cut(_) => {}
            // A keep-alive probe, or what was acknowledged before. As smoltcp does, it answers content always, and what has
            // none now and then.
            Verdict::Old => {
                let answer = !empty || now >= slot.challenge_at;
                if answer {
                    slot.challenge_at = now + CHALLENGE_INTERVAL;
                }
                self.drop_segment(Counter::DropOutOfWindow);
                if answer {
                    self.bare_ack(port, index, now);
                }
                return false;
            }
            // The guard needs no socket to drop it.
            Verdict::Challenge(_) | Verdict::Beyond | Verdict::Drop(_) | Verdict::Ignore => return true,
        }
        let awake = self.wake(index, now);
        if !awake {
            self.drop_segment(Counter::DropActiveLimit);
        }
        awake
    }

    /// The timer of a parked connection: its deadline has passed, or has moved.
    pub(super) fn parked_timer(&mut self, index: u32, now: Instant) {
        let deadline = self.slots[index as usize].deadline;
        let expired = deadline <= now;
        let awake = expired && self.wake(index, now);
        let slot = &mut self.slots[index as usize];
        if awake {
            slot.expired = true;
            self.changed.push(index, slot);
            return;
        }
        if expired {
            self.counters.inc(Counter::ParkedLate);
        }
        // A drain takes its time, and its deadline is not theirs.
        if deadline + PATIENCE <= now && self.blocks.until == Instant::FAR {
            slot.phase = Phase::Ended;
            self.blocks.leaves();
            self.changed.push(index, slot);
            return;
        }
        slot.arm(index, if expired { now + RETRY } else { deadline }, &mut self.wheel);
    }

    /// Ends a connection that has no socket: it was reset while parked, or is to be. False while there is no room for the
    /// RST.
    pub(super) fn end_parked(&mut self, port: &mut P, index: u32, now: Instant) -> bool {
        let slot = &mut self.slots[index as usize];
        if slot.reset {
            return true;
        }
        let (key, numbers) = (slot.key, slot.numbers);
        let mut wire = wire!(self, port, slot.l2.as_ref());
        if !wire.has_room() {
            return false;
        }
        wire.bare_reset(&key, numbers.snd_nxt(), numbers.rcv_nxt());
        if !self.unresolved.is_empty() {
            self.resolve_later(port, key.remote_ip(), now);
        }
        true
    }
}
