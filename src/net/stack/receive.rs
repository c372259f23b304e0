//! Receiving: a burst in, connections changed.

use super::{Phase, Stack, wire};
use crate::limits::CHAIN_MAX;
use crate::net::ip::{Class, Segment, linearize};
use crate::net::tcb::{Engine, State, Tcb, Wire};
use crate::net::timewait::{self, Verdict};
use crate::port::{BURST_MAX, Burst, Frame, Port};
use crate::telemetry::Counter;
use crate::time::Instant;
use arrayvec::ArrayVec;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// A classified segment of the burst in hand.
struct Work {
    frame: u8,
    hash: u64,
    /// The slot that the flow table most likely names.
    likely: Option<u32>,
    segment: Segment,
}

impl<P: Port, S: Default> Stack<P, S> {
    /// Takes one burst from the port and gives each segment to its connection. Returns the number of frames.
    pub fn receive(&mut self, port: &mut P, now: Instant) -> usize {
        self.link.refresh();
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
        let packet = &bytes[usize::from(segment.l3)..usize::from(segment.end)];
        let slots = &self.slots;
        let is_it = |slot: u32| slots[slot as usize].key == segment.key;
        // Slots are freed at the end of a turn only, so what the table said is still so.
        match item.likely.filter(|slot| is_it(*slot)).or_else(|| self.flows.get(*hash, is_it)) {
            Some(index) => self.deliver(port, index, segment, packet, now),
            None => self.stranger(port, segment, packet, *hash, now),
        }
    }

    /// A segment for a connection in a slot.
    #[inline]
    fn deliver(&mut self, port: &mut P, index: u32, segment: &Segment, packet: &[u8], now: Instant) {
        let slot = &mut self.slots[index as usize];
        if slot.phase != Phase::Open || !slot.numbers.expects(segment) {
            return self.guard(port, index, segment, packet, now);
        }
        slot.numbers.acknowledged(segment);
        self.take(port, index, segment, packet, now);
    }

    /// Gives smoltcp a segment that may be what it seems.
    #[inline]
    pub(super) fn take(&mut self, port: &mut P, index: u32, segment: &Segment, packet: &[u8], now: Instant) {
        let slot = &mut self.slots[index as usize];
        slot.refresh_header(&self.link);
        let Some(tcb) = slot.tcb.as_mut() else { return };
        let mut wire = wire!(self, port, slot.l2.as_ref());
        let queued = tcb.recv_queue();
        if slot.phase == Phase::Handshake && tcb.state() == State::Listen {
            let isn = self.isn.at(&segment.key, now);
            Engine::choosing(isn, self.caps.mtu, now).receive(now, tcb, packet, &mut wire);
        } else {
            self.engine.receive(now, tcb, packet, &mut wire);
        }
        let sent = wire.sent;
        slot.numbers.received(tcb.recv_queue() - queued);
        if segment.flags & (FIN | RST) != 0 {
            slot.reset |= segment.flags & RST != 0 && tcb.is_closed();
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

    /// A segment of no connection: TIME-WAIT, a listener, or nobody.
    fn stranger(&mut self, port: &mut P, segment: &Segment, packet: &[u8], hash: u64, now: Instant) {
        if !self.time_wait.is_empty() {
            let seen = timewait::Segment {
                seq: segment.seq,
                flags: segment.flags,
                payload_len: segment.payload_len,
                tsval: None,
            };
            match self.time_wait.segment(&segment.key, &seen, now) {
                Verdict::Absent => {}
                Verdict::Reuse(state) => return self.reuse(port, segment, packet, hash, state, now),
                Verdict::Ignore => return self.drop_segment(Counter::DropTimeWait),
                Verdict::Acknowledge(state) => {
                    self.drop_segment(Counter::DropTimeWait);
                    return self.acknowledge(port, segment, state, now);
                }
            }
        }
        if segment.flags & (SYN | ACK | RST | FIN) == SYN && self.listens(segment) {
            if let Err(reason) = self.accept(port, segment, packet, hash, now) {
                self.drop_segment(reason);
            }
            return;
        }
        // RFC 9293, 3.10.7.2: a listener answers SYN and ACK only.
        if segment.flags & RST != 0 || (segment.flags & ACK == 0 && self.listens(segment)) {
            return self.drop_segment(Counter::DropNoConnection);
        }
        self.refuse(port, segment, packet, now);
    }

    /// A SYN that ends a TIME-WAIT (RFC 6191), unless there is no place for its connection.
    fn reuse(
        &mut self,
        port: &mut P,
        segment: &Segment,
        packet: &[u8],
        hash: u64,
        state: timewait::State,
        now: Instant,
    ) {
        let accepted = match self.listens(segment) {
            true => self.accept(port, segment, packet, hash, now),
            false => Err(Counter::DropTimeWait),
        };
        match accepted {
            Ok(()) => self.counters.inc(Counter::TimeWaitReused),
            Err(reason) => {
                self.drop_segment(reason);
                self.time_wait.insert(&segment.key, state, now);
            }
        }
    }

    fn listens(&self, segment: &Segment) -> bool {
        self.accepting && self.listener(segment).is_some()
    }

    /// The place of the segment's listener in the configuration.
    fn listener(&self, segment: &Segment) -> Option<usize> {
        let key = &segment.key;
        self.settings.listeners.iter().position(|listener| {
            listener.port == key.local_port && listener.address.is_none_or(|address| address == key.local_ip())
        })
    }

    /// A SYN for a listener; the reason when it cannot be taken.
    fn accept(
        &mut self,
        port: &mut P,
        segment: &Segment,
        packet: &[u8],
        hash: u64,
        now: Instant,
    ) -> Result<(), Counter> {
        if self.half_open >= self.settings.half_open_max {
            return Err(Counter::DropHalfOpenLimit);
        }
        let last = self.free_len.checked_sub(1).ok_or(Counter::DropConnectionLimit)?;
        let block = self.blocks.take().ok_or(Counter::DropConnectionLimit)?;
        let index = self.free[last];
        self.flows.insert(hash, index).map_err(|_| Counter::DropFlowTable)?;
        self.free_len = last;
        self.half_open += 1;
        self.counters.inc(Counter::ConnSyn);
        let listener = self.listener(segment).unwrap_or(0) as u8;
        let slot = &mut self.slots[index as usize];
        let tcb = Tcb::listen(block, self.settings.rx_ring, &segment.key);
        slot.begin(segment.key, tcb, now + self.settings.handshake_timeout);
        slot.listener = listener;
        self.deliver(port, index, segment, packet, now);
        Ok(())
    }

    /// Answers a segment for a closed port (RFC 9293, 3.10.7.1), within the limit.
    fn refuse(&mut self, port: &mut P, segment: &Segment, packet: &[u8], now: Instant) {
        if !self.rst_limit.take(now) {
            return self.drop_segment(Counter::DropRstLimit);
        }
        self.drop_segment(Counter::DropNoConnection);
        let l2 = self.link.resolve(segment.key.remote_ip());
        let mut wire = wire!(self, port, l2.as_ref());
        self.engine.refuse(now, packet, &mut wire);
        self.counters.add(Counter::RstTx, wire.sent.segments as u64);
        self.resolve_later(port, segment.key.remote_ip(), now);
    }

    /// Sends a bare ACK, within the limit: what TIME-WAIT answers (RFC 9293, 3.10.7.4).
    fn acknowledge(&mut self, port: &mut P, segment: &Segment, state: timewait::State, now: Instant) {
        if !self.challenge_limit.take(now) {
            return self.counters.inc(Counter::ChallengeWithheld);
        }
        let l2 = self.link.resolve(segment.key.remote_ip());
        let mut wire = wire!(self, port, l2.as_ref());
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
