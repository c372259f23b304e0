//! What stands between a connection's segments and smoltcp: RFC 5961, and what smoltcp would take for something it is not.
//!
//! Owns each connection's sequence numbers as both ends know them, the judgement of every segment that is not simply the
//! next one (RFC 9293, 3.10.7.4), and how often such segments are answered. Refuses to hold data, and to judge handshakes
//! that have no sequence number yet.

use super::recovery::Recovery;
use super::{Phase, Session, Slot, Stack, wire};
use crate::limits::{CHAIN_MAX, CHALLENGE_INTERVAL};
use crate::net::cookie::offered_mss;
use crate::net::ip::Segment;
use crate::net::stamp::Stamp;
use crate::net::tcb::{Last, Offer, Standing, Tcb, Wire};
use crate::port::Port;
use crate::telemetry::Counter;
use crate::time::Instant;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// How far behind SND.UNA an acknowledgment may be: MAX.SND.WND of RFC 5961, 5.2, taken for the largest window without
/// scaling. Send rings are smaller, but for bulk, so what is older was sent many windows ago.
const ACK_AGE_MAX: u32 = 65_535;
const _: () = assert!(crate::limits::RING_MAX <= ACK_AGE_MAX as usize);

/// The sequence numbers of a connection (RFC 9293, 3.3.1).
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Numbers {
    /// SND.UNA.
    una: u32,
    /// SND.NXT: after everything ever sent.
    nxt: u32,
    /// RCV.NXT.
    rcv_nxt: u32,
    /// The end of the receive window as the peer was told.
    right: u32,
    /// The end of what was received behind a hole.
    ahead: u32,
    /// Last.ACK.sent (RFC 7323, 4.3).
    told: u32,
    /// The peer's window as last told, not scaled.
    peer_window: u16,
    /// RCV.NXT is known.
    synchronized: bool,
    /// The peer's FIN was received: no sequence number follows.
    finished: bool,
}

/// What to do with a segment.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// smoltcp judges it alike.
    Pass,
    /// smoltcp drops it, and acknowledges it: without content once a second at most.
    Old,
    /// Content from beyond the window: drop it, and acknowledge it as it stands.
    Beyond,
    /// There is nothing in it.
    Ignore,
    /// smoltcp gets part of it, or another acknowledgment.
    Cut(Cut),
    /// Drop it and send a challenge ACK.
    Challenge(Counter),
    /// Drop it.
    Drop(Counter),
}

/// The part of a segment that lies in the window.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Cut {
    /// Payload bytes left out in front.
    skip: u16,
    /// Payload bytes after these.
    len: u16,
    fin: bool,
    ack: u32,
    window: u16,
    /// Nothing of it can be taken: it has to be acknowledged as it stands.
    answer: bool,
}

impl Numbers {
    /// Those of a connection of which nothing but a SYN-ACK, telling this window, was sent.
    pub(super) fn answered(snd_nxt: u32, rcv_nxt: u32, window: u16) -> Numbers {
        let right = rcv_nxt.wrapping_add(u32::from(window));
        let una = snd_nxt.wrapping_sub(1);
        Numbers { una, nxt: snd_nxt, rcv_nxt, right, told: rcv_nxt, synchronized: true, ..Numbers::default() }
    }

    /// SND.NXT.
    pub(super) fn snd_nxt(&self) -> u32 {
        self.nxt
    }

    /// SND.UNA.
    #[inline]
    pub(super) fn snd_una(&self) -> u32 {
        self.una
    }

    /// The peer's window as last told, not scaled.
    #[inline]
    pub(super) fn peer_window(&self) -> u16 {
        self.peer_window
    }

    /// RCV.NXT.
    pub(super) fn rcv_nxt(&self) -> u32 {
        self.rcv_nxt
    }

    /// Whether a segment with this sequence number is sent and not acknowledged.
    pub(super) fn is_under_way(&self, seq: u32) -> bool {
        seq.wrapping_sub(self.una) < self.nxt.wrapping_sub(self.una)
    }

    /// SND.UNA, and how many sequence numbers from there on were sent.
    pub(super) fn unacknowledged(&self) -> (u32, u32) {
        (self.una, self.nxt.wrapping_sub(self.una))
    }

    /// The peer's part of an acknowledgment that says nothing new.
    pub(super) fn standing(&self) -> Standing {
        Standing { seq: self.rcv_nxt, ack: self.una, window: self.peer_window }
    }

    /// Whether the peer is to be told of what was received, or of a window that has doubled.
    pub(super) fn owes(&self, window: u16) -> bool {
        self.told != self.rcv_nxt || (!self.finished && window > 0 && u32::from(window) / 2 >= self.window())
    }

    /// Whether everything sent was acknowledged, nothing waits behind a hole, and the peer may still send.
    pub(super) fn rest(&self) -> bool {
        self.una == self.nxt && self.synchronized && !self.finished && !self.has_hole()
    }

    /// Whether something was received behind a hole. What is kept lies in the window.
    fn has_hole(&self) -> bool {
        self.ahead.wrapping_sub(self.rcv_nxt).wrapping_sub(1) < self.window()
    }

    /// Changes whenever something is sent or received.
    pub(super) fn position(&self) -> u32 {
        self.nxt.wrapping_add(self.rcv_nxt)
    }

    /// Notes how far a segment that smoltcp may keep reaches.
    fn reaches(&mut self, segment: &Segment) {
        let end = segment.seq.wrapping_add(u32::from(segment.payload_len));
        if !self.has_hole() || end.wrapping_sub(self.ahead).cast_signed() > 0 {
            self.ahead = end;
        }
    }

    /// Whether this is what an established connection mostly gets: an acknowledgment of what was sent, with the next bytes
    /// or none, inside the window.
    #[inline]
    pub(super) fn expects(&self, segment: &Segment) -> bool {
        segment.flags & (FIN | SYN | RST | ACK) == ACK
            && segment.seq == self.rcv_nxt
            && u32::from(segment.payload_len) <= self.right.wrapping_sub(self.rcv_nxt)
            && segment.ack.wrapping_sub(self.una) <= self.nxt.wrapping_sub(self.una)
            && !self.finished
    }

    /// Notes what an acceptable segment acknowledges.
    #[inline]
    pub(super) fn acknowledged(&mut self, segment: &Segment) {
        self.una = segment.ack;
        self.peer_window = segment.window;
    }

    /// Notes that smoltcp took `bytes` in order.
    #[inline]
    pub(super) fn received(&mut self, bytes: usize) {
        self.rcv_nxt = self.rcv_nxt.wrapping_add(bytes as u32);
    }

    /// Notes that smoltcp took the peer's FIN.
    pub(super) fn finish(&mut self) {
        if !self.finished {
            self.finished = true;
            self.rcv_nxt = self.rcv_nxt.wrapping_add(1);
        }
    }

    /// Notes that no segment is expected any more.
    pub(super) fn end(&mut self) {
        self.finished = true;
    }

    /// Notes the peer's initial sequence number and window. What we told of ours, with a SYN, counts from here.
    pub(super) fn synchronize(&mut self, isn: u32, window: u16) {
        if !self.synchronized {
            self.synchronized = true;
            self.peer_window = window;
            self.rcv_nxt = isn.wrapping_add(1);
            self.told = self.rcv_nxt;
            // smoltcp counts the window that its SYN told from the peer's.
            self.right = self.right.saturating_sub(1).wrapping_add(self.rcv_nxt);
        }
    }

    /// Notes what was sent. A retransmission does not take SND.NXT back, and an RST says nothing about it.
    #[inline]
    pub(super) fn sent(&mut self, last: &Last) {
        if last.flags() & (SYN | RST) != 0 {
            return self.sent_control(last);
        }
        self.rcv_nxt = last.ack();
        self.told = self.rcv_nxt;
        self.right = self.rcv_nxt.wrapping_add(u32::from(last.window()));
        let end = last.seq_end();
        if end.wrapping_sub(self.nxt).cast_signed() > 0 {
            self.nxt = end;
        }
    }

    #[cold]
    fn sent_control(&mut self, last: &Last) {
        if last.flags() & RST != 0 {
            return;
        }
        self.nxt = last.seq_end();
        self.una = self.nxt.wrapping_sub(1);
        self.right = u32::from(last.window());
        if last.flags() & ACK != 0 {
            self.rcv_nxt = last.ack();
            self.told = self.rcv_nxt;
            self.right = self.right.wrapping_add(self.rcv_nxt);
        }
    }

    /// The window we told, from RCV.NXT on.
    fn window(&self) -> u32 {
        if self.finished { 0 } else { self.right.wrapping_sub(self.rcv_nxt) }
    }

    /// Judges a segment of a synchronized connection, in the order of RFC 9293, 3.10.7.4 with the changes of RFC 5961.
    /// An acknowledgment may be `ack_age` behind SND.UNA.
    pub(super) fn judge(&self, segment: &Segment, ack_age: u32) -> Verdict {
        let Numbers { una, nxt, rcv_nxt, peer_window, .. } = *self;
        let window = self.window();
        let offset = segment.seq.wrapping_sub(rcv_nxt).cast_signed();
        let starts_inside = offset >= 0 && offset.cast_unsigned() < window;
        if segment.flags & RST != 0 {
            return match offset {
                // RFC 9293, 3.5.3 (SHLD-2): its data is ignored.
                0 => Verdict::Cut(Cut { skip: 0, len: 0, fin: false, ack: segment.ack, window: 0, answer: false }),
                _ if starts_inside => Verdict::Challenge(Counter::DropUnexpectedRst),
                _ => Verdict::Drop(Counter::DropOutOfWindow),
            };
        }
        // RFC 5961, 4.2: wherever it lies.
        if segment.flags & SYN != 0 {
            return Verdict::Challenge(Counter::DropUnexpectedSyn);
        }
        let payload = i64::from(segment.payload_len);
        let (start, end) = (i64::from(offset), i64::from(offset) + payload);
        // A second FIN means nothing, and smoltcp would take nothing of its segment. One behind a full window comes again: with
        // it smoltcp's window would end before it begins.
        let fin = segment.flags & FIN != 0 && !self.finished && end < i64::from(window);
        let last = end + i64::from(fin);
        let occupies = last > start;
        let at_next = start <= 0 && last > 0;
        let acceptable = if occupies { at_next || (starts_inside && last > 0) } else { start == 0 || starts_inside };
        if segment.flags & ACK == 0 {
            return Verdict::Drop(Counter::DropTcpHeader);
        }
        let old = segment.ack.wrapping_sub(una).cast_signed() < 0;
        if !acceptable {
            // smoltcp looks at the ACK first, and answers nothing to an old one. Its window may be larger than the peer was told,
            // after a FIN for example, and it would take the acknowledgment of what lies there.
            return match start > 0 {
                true if payload > 0 && !old => Verdict::Beyond,
                false if !old => Verdict::Old,
                _ => Verdict::Challenge(Counter::DropOutOfWindow),
            };
        }
        // RFC 5961, 5.2.
        let oldest = una.wrapping_sub(ack_age);
        if segment.ack.wrapping_sub(oldest) > nxt.wrapping_sub(oldest) {
            return Verdict::Challenge(Counter::DropAckRange);
        }
        let skip = (-start).clamp(0, payload);
        let len = (i64::from(window) - start.max(0)).clamp(0, payload - skip);
        let whole = skip + len == payload;
        if whole && skip == 0 && !old && fin == (segment.flags & FIN != 0) {
            return Verdict::Pass;
        }
        // RFC 9293, 3.10.7.4: a duplicate ACK can be ignored. smoltcp ignores its segment.
        if old && !occupies {
            return Verdict::Ignore;
        }
        let (ack, window) = if old { (una, peer_window) } else { (segment.ack, segment.window) };
        let answer = len == 0 && !(fin && whole);
        Verdict::Cut(Cut { skip: skip as u16, len: len as u16, fin: fin && whole, ack, window, answer })
    }
}

impl Cut {
    /// Writes the part of `packet`, which `segment` describes, to `out`. smoltcp looks at no checksum.
    fn apply<'a>(&self, segment: &Segment, packet: &[u8], out: &'a mut [u8; CHAIN_MAX]) -> Option<(Segment, &'a [u8])> {
        let headers = packet.len().checked_sub(usize::from(segment.payload_len))?;
        let tcp = usize::from(segment.l4 - segment.l3);
        let total = headers + usize::from(self.len);
        let part = packet[headers..].get(usize::from(self.skip)..)?.get(..usize::from(self.len))?;
        let out = out.get_mut(..total)?;
        out[..headers].copy_from_slice(&packet[..headers]);
        out[headers..].copy_from_slice(part);
        let seq = segment.seq.wrapping_add(u32::from(self.skip));
        let flags = if self.fin { segment.flags } else { segment.flags & !FIN };
        out[tcp + 4..tcp + 8].copy_from_slice(&seq.to_be_bytes());
        out[tcp + 8..tcp + 12].copy_from_slice(&self.ack.to_be_bytes());
        out[tcp + 13] = flags;
        out[tcp + 14..tcp + 16].copy_from_slice(&self.window.to_be_bytes());
        // IPv4 counts its own header, IPv6 does not.
        let (at, len) = if segment.ipv6 { (4, total - 40) } else { (2, total) };
        out[at..at + 2].copy_from_slice(&(len as u16).to_be_bytes());
        let end = segment.l3 + total as u16;
        let (ack, window, payload_len) = (self.ack, self.window, self.len);
        Some((Segment { seq, ack, flags, window, payload_len, end, ..*segment }, out))
    }
}

/// A segment from its TCP header on.
#[inline]
pub(super) fn header<'a>(segment: &Segment, packet: &'a [u8]) -> &'a [u8] {
    packet.get(usize::from(segment.l4 - segment.l3)..).unwrap_or_default()
}

/// Protection against wrapped sequence numbers (RFC 7323, 5).
impl<S> Slot<S> {
    /// Of a segment that the connection expects: notes its timestamp, where timestamps are in use. False when the guard has to
    /// look at it.
    #[inline]
    pub(super) fn heed_stamp(&mut self, segment: &Segment, packet: &[u8], now: Instant) -> bool {
        !self.stamps.are_on() || self.heed_stamp_in(segment, packet, now)
    }

    #[inline(never)]
    fn heed_stamp_in(&mut self, segment: &Segment, packet: &[u8], now: Instant) -> bool {
        match Stamp::usual(header(segment, packet)) {
            Some(stamp) if !self.stamps.is_old(stamp.value, now) => {
                self.note_stamp(segment, stamp, now);
                true
            }
            _ => false,
        }
    }

    /// Notes the timestamp of an acceptable segment that is not older than the last.
    #[inline]
    fn note_stamp(&mut self, segment: &Segment, stamp: Stamp, now: Instant) {
        if self.stamps.are_on() && segment.seq.wrapping_sub(self.numbers.told).cast_signed() <= 0 {
            self.stamps.note(stamp.value, now);
        }
    }

    /// How far behind SND.UNA an acknowledgment may be: at least as much as was ever under way.
    fn ack_age(&self, bulk_tx_ring: u32) -> u32 {
        let bulk = self.tcb.as_ref().is_some_and(|tcb| tcb.ring().is_large());
        if bulk { bulk_tx_ring.max(ACK_AGE_MAX) } else { ACK_AGE_MAX }
    }

    /// Whether it is a segment of long ago. One without a timestamp is taken, as Linux does (RFC 7323, 3.2 would have it
    /// dropped): routers that strip options are more likely than an attacker who knows the window and no timestamp.
    fn is_replay(&self, segment: &Segment, packet: &[u8], now: Instant) -> bool {
        // R1: not an RST. A SYN is challenged anyway.
        self.stamps.are_on()
            && segment.flags & (RST | SYN) == 0
            && Stamp::of(header(segment, packet)).is_some_and(|stamp| self.stamps.is_old(stamp.value, now))
    }

    /// Notes what the SYN, or SYN-ACK, that answers ours says. Segments carry at most `mss` bytes without options.
    fn agree(&mut self, header: &[u8], ipv6: bool, mss: u16, now: Instant) {
        self.offer = Offer::of(header);
        self.stamps.answered(Stamp::of(header), now);
        let mss = mss.min(offered_mss(header, ipv6));
        self.recovery = Recovery::new(mss.saturating_sub(self.stamps.overhead()));
    }
}

impl<P: Port, S: Session> Stack<P, S> {
    /// A segment that is not simply the next one of an open connection.
    #[cold]
    #[inline(never)]
    pub(super) fn guard(&mut self, port: &mut P, index: u32, segment: &Segment, packet: &[u8], now: Instant) {
        let slot = &mut self.slots[index as usize];
        match slot.phase {
            // The slot is freed at the end of the turn; its socket may be back in LISTEN.
            Phase::Ended | Phase::Free => return self.drop_segment(Counter::DropNoConnection),
            // Nothing can be acknowledged before the SYN has left, which will tell the peer.
            Phase::Handshake
                if slot.numbers.una == slot.numbers.nxt && (slot.outgoing || segment.flags & (ACK | RST) == ACK) =>
            {
                return self.drop_segment(Counter::DropAckRange);
            }
            Phase::Handshake => {
                let refused = segment.flags & (ACK | RST) == ACK && segment.ack != slot.numbers.nxt;
                // RFC 9293, 3.10.7.4: an ACK of what was not sent is answered by RST.
                if refused && !self.rst_limit.take(now) {
                    return self.drop_segment(Counter::DropRstLimit);
                }
                let opens = segment.flags & SYN != 0 && (slot.outgoing || segment.flags & ACK == 0);
                if opens && !refused {
                    slot.numbers.synchronize(segment.seq, segment.window);
                    if slot.outgoing {
                        slot.agree(header(segment, packet), segment.ipv6, self.caps.mtu.saturating_sub(40), now);
                    }
                }
                if opens || refused || (slot.outgoing && !slot.numbers.synchronized) {
                    return self.take(port, index, segment, packet, now);
                }
            }
            // What the peer sent behind the end of the connection: smoltcp would answer each by an RST.
            Phase::Open | Phase::Closing if slot.tcb.as_mut().is_some_and(Tcb::is_closed) => {
                return self.drop_segment(Counter::DropNoConnection);
            }
            Phase::Parked | Phase::Open | Phase::Closing => {}
        }
        let slot = &mut self.slots[index as usize];
        if slot.is_replay(segment, packet, now) {
            self.drop_segment(Counter::DropPaws);
            return self.challenge(port, index, now);
        }
        let verdict = slot.numbers.judge(segment, slot.ack_age(self.settings.bulk_tx_ring));
        let acceptable = matches!(verdict, Verdict::Pass | Verdict::Cut(_)) && segment.flags & RST == 0;
        if acceptable && let Some(stamp) = Stamp::of(header(segment, packet)) {
            slot.note_stamp(segment, stamp, now);
        }
        if slot.phase == Phase::Parked && !self.rouse(port, index, segment, verdict, now) {
            return;
        }
        match verdict {
            Verdict::Pass => {
                self.slots[index as usize].numbers.reaches(segment);
                self.heed(port, index, segment, packet, now);
            }
            Verdict::Old => {
                self.drop_segment(Counter::DropOutOfWindow);
                self.take(port, index, segment, packet, now);
            }
            Verdict::Beyond => {
                self.drop_segment(Counter::DropOutOfWindow);
                self.bare_ack(port, index, now);
            }
            Verdict::Cut(cut) => self.take_part(port, index, &cut, segment, packet, now),
            Verdict::Challenge(reason) => {
                self.drop_segment(reason);
                self.challenge(port, index, now);
            }
            Verdict::Drop(reason) => self.drop_segment(reason),
            Verdict::Ignore => {}
        }
    }

    fn take_part(&mut self, port: &mut P, index: u32, cut: &Cut, segment: &Segment, packet: &[u8], now: Instant) {
        let mut scratch = [0; CHAIN_MAX];
        let Some((part, packet)) = cut.apply(segment, packet, &mut scratch) else {
            return self.drop_segment(Counter::DropChain);
        };
        if part.payload_len != segment.payload_len {
            self.counters.inc(Counter::SegmentTrimmed);
        }
        let numbers = &mut self.slots[index as usize].numbers;
        let counts = part.flags & RST == 0;
        if counts {
            numbers.reaches(&part);
        }
        if counts && part.ack != numbers.una {
            self.heed(port, index, &part, packet, now);
        } else if !counts || cut.fin || part.payload_len > 0 || part.window != numbers.peer_window {
            if counts {
                numbers.acknowledged(&part);
            }
            self.take(port, index, &part, packet, now);
        }
        if cut.answer {
            self.bare_ack(port, index, now);
        }
    }

    /// Sends a challenge ACK (RFC 5961, 7), within the limit of the connection and that of the worker. Nobody can learn
    /// from the latter what happens on another's connection: it changes at random.
    fn challenge(&mut self, port: &mut P, index: u32, now: Instant) {
        let slot = &mut self.slots[index as usize];
        if now < slot.challenge_at || !self.challenge_limit.take(now) {
            return self.counters.inc(Counter::ChallengeWithheld);
        }
        slot.challenge_at = now + CHALLENGE_INTERVAL;
        self.counters.inc(Counter::ChallengeAck);
        self.bare_ack(port, index, now);
    }

    /// Tells the peer where a connection stands.
    pub(super) fn bare_ack(&mut self, port: &mut P, index: u32, now: Instant) {
        let slot = &mut self.slots[index as usize];
        slot.refresh_header(&self.link);
        slot.numbers.told = slot.numbers.rcv_nxt;
        let (key, numbers) = (slot.key, slot.numbers);
        let mut wire = wire!(self, port, slot.l2.as_ref());
        wire.stamp = slot.stamps.at(now);
        wire.bare_ack(&key, numbers.nxt, numbers.rcv_nxt, numbers.window() as u16);
        if !self.unresolved.is_empty() {
            self.resolve_later(port, key.remote_ip(), now);
        }
    }
}

#[cfg(test)]
mod tests;
