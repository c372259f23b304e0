//! Segments of no connection: TIME-WAIT, a listener, or nobody.
//!
//! Owns who becomes a connection, and the answers to those who do not: SYN cookies, RSTs, silence. Refuses to keep anything
//! about a SYN once as many handshakes are under way as may be.

use super::guard::Numbers;
use super::receive::{ACK, FIN, RST, SYN};
use super::recovery::Recovery;
use super::{Phase, Session, Stack, offered, wire};
use crate::limits::TX_BACKLOG_MAX;
use crate::net::cookie::offered_mss;
use crate::net::ip::Segment;
use crate::net::stamp::{Offered, Stamp, Stamps};
use crate::net::tcb::{Offer, Quiescent, Tcb, Wire};
use crate::net::timewait::{self, Verdict};
use crate::port::Port;
use crate::telemetry::Counter;
use crate::time::Instant;
use core::time::Duration;

/// After an acknowledged cookie found no place, strangers' acknowledgments are answered by silence for so long: the time in
/// which its peer, to which nothing was said, sends it again at first (RFC 6298, 2).
const COOKIE_WAITS: Duration = Duration::from_secs(3);

/// A segment whose 4-tuple no slot has.
#[derive(Copy, Clone)]
pub(super) struct Stranger<'a> {
    pub(super) segment: &'a Segment,
    pub(super) frame: &'a [u8],
    /// The flow table's hash of its key.
    pub(super) hash: u64,
}

impl<'a> Stranger<'a> {
    fn packet(&self) -> &'a [u8] {
        &self.frame[usize::from(self.segment.l3)..usize::from(self.segment.end)]
    }

    fn tcp(&self) -> &'a [u8] {
        &self.frame[usize::from(self.segment.l4)..usize::from(self.segment.end)]
    }

    /// The largest segment that a SYN says its sender takes.
    fn offered_mss(&self) -> u16 {
        offered_mss(self.tcp(), self.segment.ipv6)
    }
}

impl<P: Port, S: Session> Stack<P, S> {
    pub(super) fn stranger(&mut self, port: &mut P, stranger: Stranger<'_>, now: Instant) {
        let segment = stranger.segment;
        if !self.time_wait.is_empty() {
            let seen = timewait::Segment {
                seq: segment.seq,
                flags: segment.flags,
                payload_len: segment.payload_len,
                tsval: self.offered_stamp(stranger).map(|stamp| stamp.value),
            };
            match self.time_wait.segment(&segment.key, &seen, now) {
                Verdict::Absent => {}
                Verdict::Reuse(state) => return self.reuse(port, stranger, state, now),
                Verdict::Ignore => return self.drop_segment(Counter::DropTimeWait),
                Verdict::Acknowledge(state) => {
                    self.drop_segment(Counter::DropTimeWait);
                    return self.acknowledge(port, segment, state, now);
                }
            }
        }
        let Some(listener) = self.listener(segment) else {
            if segment.flags & RST != 0 {
                return self.drop_segment(Counter::DropNoConnection);
            }
            return self.refuse(port, stranger, Counter::DropNoConnection, now);
        };
        if segment.flags & (SYN | ACK | RST | FIN) == SYN {
            if let Err(reason) = self.accept(port, stranger, listener, now) {
                self.turn_away(port, stranger, reason, now);
            }
            return;
        }
        // RFC 9293, 3.10.7.2: a listener answers SYN and ACK only.
        if segment.flags & RST != 0 || segment.flags & ACK == 0 {
            return self.drop_segment(Counter::DropNoConnection);
        }
        if segment.flags & SYN == 0 && self.cookies.are_out(now) {
            let (irs, cookie) = (segment.seq.wrapping_sub(1), segment.ack.wrapping_sub(1));
            if let Some(mss) = self.cookies.judge(&segment.key, irs, cookie, now) {
                if let Err(reason) = self.resume(port, stranger, listener, mss, now) {
                    self.cookie_waits = now + COOKIE_WAITS;
                    self.turn_away(port, stranger, reason, now);
                }
                return;
            }
            self.counters.inc(Counter::SynCookieInvalid);
            // It may come behind one that found no place and will be sent again.
            if now < self.cookie_waits {
                return self.drop_segment(Counter::DropNoConnection);
            }
        }
        self.refuse(port, stranger, Counter::DropNoConnection, now);
    }

    /// No place: the peer sends again and may find one. A source that has its share is told so instead.
    fn turn_away(&mut self, port: &mut P, stranger: Stranger<'_>, reason: Counter, now: Instant) {
        match reason {
            Counter::DropSourceLimit => self.refuse(port, stranger, reason, now),
            _ => self.drop_segment(reason),
        }
    }

    /// A SYN that ends a TIME-WAIT (RFC 6191), unless there is no place for its connection.
    fn reuse(&mut self, port: &mut P, stranger: Stranger<'_>, state: timewait::State, now: Instant) {
        let accepted = match self.listener(stranger.segment) {
            Some(listener) => self.accept(port, stranger, listener, now),
            None => Err(Counter::DropTimeWait),
        };
        match accepted {
            Ok(()) => self.counters.inc(Counter::TimeWaitReused),
            Err(reason) => {
                self.turn_away(port, stranger, reason, now);
                self.time_wait.insert(&stranger.segment.key, state, now);
            }
        }
    }

    /// The place of the segment's listener in the configuration, while connections are accepted.
    fn listener(&self, segment: &Segment) -> Option<u8> {
        let key = &segment.key;
        let listens = self.settings.listeners.iter().position(|listener| {
            listener.port == key.local_port && listener.address.is_none_or(|address| address == key.local_ip())
        });
        listens.filter(|_| self.accepting).map(|place| place as u8)
    }

    /// A SYN for a listener; the reason when it cannot be taken.
    fn accept(&mut self, port: &mut P, stranger: Stranger<'_>, listener: u8, now: Instant) -> Result<(), Counter> {
        if self.free_len == 0 {
            return Err(Counter::DropConnectionLimit);
        }
        if !self.quota.has_room(&stranger.segment.key) {
            return Err(Counter::DropSourceLimit);
        }
        if self.half_open >= self.settings.cookies_from {
            return self.answer_by_cookie(port, stranger, now);
        }
        if self.half_open >= self.settings.half_open_max {
            return Err(Counter::DropHalfOpenLimit);
        }
        let key = &stranger.segment.key;
        // While cookies are out a SYN may have been answered by one before: its copy must get the same answer.
        let isn = match self.cookies.are_out(now) {
            true => self.cookie(stranger, now),
            false => self.isn.at(key, now),
        };
        let (rx_ring, mtu) = (self.settings.rx_ring, self.caps.mtu);
        let block = self.take_block(now).ok_or(Counter::DropActiveLimit)?;
        let mut tcb = Tcb::accept(block, rx_ring, key, stranger.packet(), isn, mtu, now);
        let stamps = self.agreed(stranger, now);
        if stamps.are_on() {
            tcb.use_timestamps();
        }
        let index = self.occupy(stranger, tcb, stamps, listener, now)?;
        self.counters.inc(Counter::ConnSyn);
        let slot = &mut self.slots[index as usize];
        slot.numbers.synchronize(stranger.segment.seq, stranger.segment.window);
        slot.offer = Offer::of(stranger.tcp());
        // smoltcp refuses a SYN whose options it cannot read.
        if slot.advance(&self.counters) {
            self.half_open -= 1;
        }
        self.changed.push(index, slot);
        Ok(())
    }

    /// The timestamps option of a segment that may begin a connection with timestamps.
    fn offered_stamp(&self, stranger: Stranger<'_>) -> Option<Stamp> {
        if self.settings.timestamps { Stamp::of(stranger.tcp()) } else { None }
    }

    /// The timestamps of a connection that begins with this segment.
    fn agreed(&self, stranger: Stranger<'_>, now: Instant) -> Stamps {
        let start = || self.stamp_clock.start(&stranger.segment.key);
        self.offered_stamp(stranger).map_or(Stamps::default(), |stamp| Stamps::agreed(start(), stamp.value, now))
    }

    /// Gives a slot to a connection whose handshake is under way.
    fn occupy(
        &mut self,
        stranger: Stranger<'_>,
        tcb: Tcb,
        stamps: Stamps,
        listener: u8,
        now: Instant,
    ) -> Result<u32, Counter> {
        let last = self.free_len.checked_sub(1).ok_or(Counter::DropConnectionLimit)?;
        let index = self.free[last];
        self.flows.insert(stranger.hash, index).map_err(|_| Counter::DropFlowTable)?;
        self.quota.hold(&stranger.segment.key);
        self.free_len = last;
        self.half_open += 1;
        let slot = &mut self.slots[index as usize];
        self.blocks.belongs(&tcb, index);
        let mss = stranger.offered_mss().min(self.caps.mtu.saturating_sub(40));
        slot.begin(stranger.segment.key, tcb, mss, stamps, now + self.settings.handshake_timeout);
        slot.listener = listener;
        Ok(index)
    }

    /// Answers a SYN by a SYN-ACK of which nothing is kept. It goes back to where the SYN came from while the neighbour is
    /// not known: a flood must not make us ask for hosts that it invents.
    fn answer_by_cookie(&mut self, port: &mut P, stranger: Stranger<'_>, now: Instant) -> Result<(), Counter> {
        // The other half of the backlog is for connections: a flood must not keep them from sending.
        if self.tx.room() < TX_BACKLOG_MAX / 2 {
            return Err(Counter::DropBacklog);
        }
        let Stranger { segment, frame, .. } = stranger;
        let Segment { key, seq, ipv6, .. } = segment;
        let isn = self.cookie(stranger, now);
        self.cookies.send(now);
        let l2 = self.link.resolve(key.remote_ip()).or_else(|| self.link.back(frame, *ipv6));
        let stamp = self.agreed(stranger, now).at(now);
        // Nothing else of the SYN could come back without a timestamp.
        let offer = if stamp.is_some() { Offer::of(stranger.tcp()) } else { Offer::default() };
        let mut wire = wire!(self, port, l2.as_ref());
        wire.stamp = stamp.map(|stamp| offered(&offer).hold(stamp));
        wire.syn_ack(key, isn, seq.wrapping_add(1), self.settings.rx_ring as u16, &offer);
        self.counters.add(Counter::SynCookieSent, wire.sent.segments as u64);
        if self.settings.cookies_from > 0 {
            self.counters.inc(Counter::SynCookieFlood);
        }
        if !self.unresolved.is_empty() {
            self.resolve_later(port, key.remote_ip(), now);
        }
        Ok(())
    }

    fn cookie(&self, stranger: Stranger<'_>, now: Instant) -> u32 {
        self.cookies.make(&stranger.segment.key, stranger.segment.seq, stranger.offered_mss(), now)
    }

    /// Makes a connection of an ACK that brought its cookie back; the reason when there is no place. Then the peer sends
    /// again, and its segment may find one.
    fn resume(
        &mut self,
        port: &mut P,
        stranger: Stranger<'_>,
        listener: u8,
        mss: u16,
        now: Instant,
    ) -> Result<(), Counter> {
        let Segment { key, seq, ack, .. } = *stranger.segment;
        if self.free_len == 0 {
            return Err(Counter::DropConnectionLimit);
        }
        if !self.quota.has_room(&key) {
            return Err(Counter::DropSourceLimit);
        }
        let block = self.take_block(now).ok_or(Counter::DropActiveLimit)?;
        let (offer, stamps) = self.brought_back(stranger, mss, now);
        let begun = Quiescent { key, snd_nxt: ack, rcv_nxt: seq, offer };
        let tcb = Tcb::import(block, self.settings.rx_ring, &begun, self.caps.mtu, now);
        let index = self.occupy(stranger, tcb.ok_or(Counter::DropNoConnection)?, stamps, listener, now)?;
        self.counters.inc(Counter::SynCookieAccepted);
        let slot = &mut self.slots[index as usize];
        slot.recovery = Recovery::new(mss.min(self.caps.mtu.saturating_sub(40)).saturating_sub(stamps.overhead()));
        slot.numbers = Numbers::answered(ack, seq, self.settings.rx_ring as u16);
        slot.offer = offer;
        debug_assert!(slot.phase == Phase::Handshake, "delivery ends the handshake");
        self.deliver(port, index, stranger.segment, stranger.packet(), now);
        Ok(())
    }

    /// What was offered in the SYN of an ACK that brought its cookie back, and its timestamps: nothing but the segment size,
    /// unless it echoes a timestamp that we may have sent.
    fn brought_back(&self, stranger: Stranger<'_>, mss: u16, now: Instant) -> (Offer, Stamps) {
        let mss = Some(mss);
        let stamps = self.agreed(stranger, now);
        let known = self.offered_stamp(stranger).zip(stamps.at(now));
        match known.and_then(|(theirs, ours)| Offered::from_echo(theirs.echo, ours.value)) {
            Some(Offered { window_scale, sack }) => (Offer { mss, window_scale, sack, timestamps: true }, stamps),
            None => (Offer { mss, ..Offer::default() }, Stamps::default()),
        }
    }

    /// Answers a segment by an RST, as that for a closed port (RFC 9293, 3.10.7.1), within the limit.
    fn refuse(&mut self, port: &mut P, stranger: Stranger<'_>, reason: Counter, now: Instant) {
        if !self.rst_limit.take(now) {
            return self.drop_segment(Counter::DropRstLimit);
        }
        self.drop_segment(reason);
        let to = stranger.segment.key.remote_ip();
        let l2 = self.link.resolve(to);
        let mut wire = wire!(self, port, l2.as_ref());
        self.engine.refuse(now, stranger.packet(), &mut wire);
        self.counters.add(Counter::RstTx, wire.sent.segments as u64);
        self.resolve_later(port, to, now);
    }
}
