//! Receiving: a burst in, connections changed.

use super::accept::Stranger;
use super::{Phase, Session, Stack, mtu, wire};
use crate::limits::CHAIN_MAX;
use crate::net::ip::{Class, Segment, linearize};
use crate::net::stamp::{self, Stamp};
use crate::net::tcb::Wire;
use crate::net::timewait;
use crate::port::{BURST_MAX, Burst, Frame, Port};
use crate::telemetry::Counter;
use crate::time::Instant;
use arrayvec::ArrayVec;

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;

/// A classified segment of the burst in hand.
struct Work {
    frame: u8,
    hash: u64,
    /// The slot that the flow table most likely names.
    likely: Option<u32>,
    segment: Segment,
}

impl<P: Port, S: Session> Stack<P, S> {
    /// Takes one burst from the port and gives each segment to its connection. Returns the number of frames.
    pub fn receive(&mut self, port: &mut P, now: Instant) -> usize {
        self.link.refresh();
        self.blocks.turn(now);
        self.tx.tap.follow(&self.counters.tap, now.nanos());
        let mut burst = core::mem::take(&mut self.burst);
        let received = port.receive(&mut burst);
        if received > 0 {
            self.process(port, &mut burst, now);
        }
        burst.clear();
        self.burst = burst;
        received
    }

    fn process(&mut self, port: &mut P, burst: &mut Burst<P::Frame>, now: Instant) {
        let mut bytes = 0;
        for frame in burst.iter() {
            frame.prefetch();
        }
        if self.tx.tap.is_on() {
            self.tx.tap.stage(burst);
        }
        let mut work: ArrayVec<Work, BURST_MAX> = ArrayVec::new();
        let mut control: ArrayVec<u8, BURST_MAX> = ArrayVec::new();
        for (i, frame) in burst.iter_mut().enumerate() {
            bytes += frame.bytes().len();
            if frame.is_chained() && !flatten(frame) {
                self.drop_at(i as u8, Counter::DropChain);
                continue;
            }
            match self.link.classify_bytes(frame.bytes(), frame.rx()) {
                Class::Tcp(mut segment) => {
                    if segment.l4 > segment.l3 + 40 {
                        segment.strip_extensions(frame.bytes_mut());
                    }
                    let hash = self.flows.hash(&segment.key);
                    self.flows.prefetch(hash);
                    work.push(Work { frame: i as u8, hash, likely: None, segment });
                }
                Class::Control => control.push(i as u8),
                Class::Drop(reason) => self.drop_at(i as u8, reason),
            }
        }
        self.counters.add(Counter::RxFrames, burst.len() as u64);
        self.counters.add(Counter::RxBytes, bytes as u64);
        self.prefetch(&mut work);
        for item in &work {
            self.tx.tap.at(item.frame);
            self.segment(port, burst[usize::from(item.frame)].bytes(), item, now);
        }
        // Taken out from the back, so that the positions stay right, and answered in the order received.
        let mut taken = Burst::<P::Frame>::new();
        control.iter().rev().for_each(|i| taken.push(burst.swap_remove(usize::from(*i))));
        for index in control {
            let Some(frame) = taken.pop() else { break };
            if let Some(reason) = self.link.control(frame, now, port, &mut self.tx, &self.counters) {
                self.tx.tap.at(index);
                self.tx.tap.mark(reason);
            }
        }
        if self.tx.tap.is_on() {
            self.tx.tap.commit();
        }
    }

    /// Counts the drop of a frame of the burst.
    #[cold]
    #[inline(never)]
    fn drop_at(&mut self, index: u8, reason: Counter) {
        self.tx.tap.at(index);
        self.drop_segment(reason);
    }

    /// Counts the drop of the frame being processed.
    #[cold]
    #[inline(never)]
    pub(super) fn drop_segment(&mut self, reason: Counter) {
        self.counters.inc(reason);
        self.tx.tap.mark(reason);
    }

    /// Loads the slots of the whole burst, then their sockets.
    fn prefetch(&self, work: &mut [Work]) {
        for item in &mut *work {
            item.likely = self.flows.get(item.hash, |_| true);
            if let Some(slot) = item.likely {
                self.slots.prefetch(slot as usize, 3);
            }
        }
        for item in work {
            if let Some(tcb) = item.likely.and_then(|slot| self.slots[slot as usize].tcb.as_ref()) {
                tcb.prefetch();
            }
        }
    }

    fn segment(&mut self, port: &mut P, bytes: &[u8], item: &Work, now: Instant) {
        let Work { hash, segment, .. } = item;
        let slots = &self.slots;
        let is_it = |slot: u32| slots[slot as usize].key == segment.key;
        // Slots are freed at the end of a turn only, so what the table said is still so.
        match item.likely.filter(|slot| is_it(*slot)).or_else(|| self.flows.get(*hash, is_it)) {
            Some(index) => {
                let packet = &bytes[usize::from(segment.l3)..usize::from(segment.end)];
                self.deliver(port, index, segment, packet, now);
            }
            None => self.stranger(port, Stranger { segment, frame: bytes, hash: *hash }, now),
        }
    }

    /// A segment for a connection in a slot.
    // Out of line it costs a request 1 % more.
    #[inline(always)]
    pub(super) fn deliver(&mut self, port: &mut P, index: u32, segment: &Segment, packet: &[u8], now: Instant) {
        let slot = &mut self.slots[index as usize];
        if slot.phase != Phase::Open || !slot.numbers.expects(segment) || !slot.heed_stamp(segment, packet, now) {
            return self.guard(port, index, segment, packet, now);
        }
        self.heed(port, index, segment, packet, now);
    }

    /// Gives smoltcp a segment that may be what it seems.
    #[inline]
    pub(super) fn take(&mut self, port: &mut P, index: u32, segment: &Segment, packet: &[u8], now: Instant) {
        let slot = &mut self.slots[index as usize];
        slot.refresh_header(&self.link);
        let mut wire = wire!(self, port, slot.l2.as_ref());
        if slot.stamps.are_on() {
            wire.stamp = slot.stamp(now);
        }
        if slot.recovery.is_back() {
            wire.nxt = Some(slot.numbers.snd_nxt());
        }
        let Some(tcb) = slot.tcb.as_mut() else { return };
        let queued = tcb.recv_queue();
        self.engine.receive(now, tcb, packet, &mut wire);
        let sent = wire.sent;
        slot.numbers.received(tcb.recv_queue().saturating_sub(queued));
        if segment.flags & (FIN | RST) != 0 {
            if segment.flags & RST != 0 && tcb.is_closed() {
                slot.reset = true;
                slot.numbers.end();
            }
            if segment.flags & FIN != 0 && tcb.peer_finished() {
                slot.numbers.finish();
            }
        }
        if sent.segments > 0 {
            slot.numbers.sent(&sent.last);
            if sent.last.is_reset() {
                self.counters.inc(Counter::RstTx);
            }
        }
        if slot.phase == Phase::Handshake && slot.advance(&self.counters) {
            self.half_open -= 1;
            if slot.outgoing && slot.phase == Phase::Open {
                slot.numbers.acknowledged(segment);
            }
            let path = mtu::path_to(&self.paths, &self.flows, segment.key.remote, now);
            slot.recovery.limit(mtu::payload(path, self.caps.mtu, &segment.key) - slot.stamps.overhead());
            slot.tcb.iter_mut().for_each(|tcb| {
                tcb.quicken(now);
                tcb.set_path(path);
            });
            slot.arm(index, self.blocks.first_look(now), &mut self.wheel);
        }
        self.changed.push(index, slot);
        if !self.unresolved.is_empty() {
            self.resolve_later(port, segment.key.remote_ip(), now);
        }
    }

    /// Hands frames without a link header to the link, which asks for the neighbour.
    pub(super) fn resolve_later(&mut self, port: &mut P, to: core::net::IpAddr, now: Instant) {
        for frame in core::mem::take(&mut self.unresolved) {
            self.link.send(frame, to, now, &mut self.tx, port, &self.counters);
        }
    }

    /// Sends a bare ACK, within the limit: what TIME-WAIT answers (RFC 9293, 3.10.7.4), and a challenge (RFC 5961).
    pub(super) fn acknowledge(&mut self, port: &mut P, segment: &Segment, state: timewait::State, now: Instant) {
        if !self.time_wait_limit.take(now) {
            return self.counters.inc(Counter::ChallengeWithheld);
        }
        let l2 = self.link.resolve(segment.key.remote_ip());
        let mut wire = wire!(self, port, l2.as_ref());
        wire.stamp = state.ts_recent.map(|echo| {
            let start = self.stamp_clock.start(&segment.key);
            Stamp { value: stamp::value_at(start, now), echo }
        });
        wire.bare_ack(&segment.key, state.snd_nxt, state.rcv_nxt, 0);
        self.counters.add(Counter::ChallengeAck, wire.sent.segments as u64);
        self.resolve_later(port, segment.key.remote_ip(), now);
    }
}

/// Gathers a chained frame into its first segment, or reports that it does not fit.
fn flatten<F: Frame>(frame: &mut F) -> bool {
    let mut scratch = [0; CHAIN_MAX];
    let Some(len) = linearize(frame, &mut scratch) else { return false };
    frame.set_len(len);
    if frame.bytes().len() != len {
        return false;
    }
    frame.bytes_mut().copy_from_slice(&scratch[..len]);
    true
}
