//! Losses repaired: what acknowledgments and timers say of a connection's path, and smoltcp led to act on it.
//!
//! Owns the way between [`Recovery`](super::recovery::Recovery), which judges and plans, and the socket: it goes back to the
//! first byte that is not acknowledged, and of what it sends again the segments that were lost leave. Refuses to judge.

use super::guard::header;
use super::receive::{FIN, RST, SYN};
use super::recovery::{Due, Flight, Heard, Plan};
use super::transmit::After;
use super::{Phase, Session, Settings, Slot, Stack, wire};
use crate::limits::SEGMENTS_PER_TURN;
use crate::net::ip::Segment;
use crate::net::sacked::{self, Blocks, earlier};
use crate::net::tcb::{Engine, Wire};
use crate::port::Port;
use crate::telemetry::{Counter, Counters};
use crate::time::Instant;
use core::time::Duration;

impl<S> Slot<S> {
    /// What is under way.
    pub(super) fn flight(&self) -> Flight {
        let (una, nxt) = (self.numbers.snd_una(), self.numbers.snd_nxt());
        Flight { una, nxt, sack: self.offer.sack }
    }

    /// Where the peer takes a segment without content: at SND.NXT, or where its window ends if that is before. An RST from
    /// elsewhere it would not believe (RFC 5961, 3.2).
    pub(super) fn acceptable_seq(&self) -> u32 {
        let window = u32::from(self.numbers.peer_window()) << self.offer.window_scale.unwrap_or(0).min(14);
        earlier(self.numbers.snd_nxt(), self.numbers.snd_una().wrapping_add(window))
    }

    /// The sequence number after what is queued, while smoltcp has it.
    fn stream_end(&mut self) -> Option<u32> {
        let tcb = self.tcb.as_mut().filter(|_| self.phase != Phase::Handshake)?;
        (!tcb.is_closed()).then_some(())?;
        Some(self.numbers.snd_una().wrapping_add(tcb.send_queue() as u32))
    }

    /// Whether smoltcp and we agree on SND.UNA as they did when the stream ended at `end`. Our FIN follows the stream.
    fn ends_at(&mut self, end: Option<u32>) -> bool {
        let ends = self.stream_end();
        ends.is_none() || end.is_none() || ends == end || ends == end.map(|end| end.wrapping_add(1))
    }

    /// Notes what an acceptable segment says of what was sent.
    #[inline]
    pub(super) fn hear(&mut self, segment: &Segment, packet: &[u8], now: Instant) -> Heard {
        let (una, nxt, window) = (self.numbers.snd_una(), self.numbers.snd_nxt(), self.numbers.peer_window());
        self.numbers.acknowledged(segment);
        let acked = segment.ack.wrapping_sub(una);
        if acked > 0 {
            if !self.recovery.advanced(acked, segment.ack, nxt, now) {
                self.hear_in_trouble(segment, packet, acked, now);
            }
        } else if una == nxt {
            self.recovery.resume(now);
        } else if segment.payload_len == 0 && segment.flags & (FIN | SYN | RST) == 0 && self.phase != Phase::Handshake {
            return self.hear_nothing_new(segment, packet, window, now);
        }
        Heard::Pass
    }

    #[cold]
    fn hear_in_trouble(&mut self, segment: &Segment, packet: &[u8], acked: u32, now: Instant) {
        let flight = self.flight();
        let Slot { tcb: Some(tcb), recovery, .. } = self else { return };
        let blocks = blocks(flight, segment, packet);
        tcb.sacked(|held| recovery.relieved(acked, &blocks, flight, held, now));
    }

    /// An acknowledgment of no new data, while some is outstanding. It is a duplicate when its window is the same (RFC 5681,
    /// 2), and when it says that later data arrived (RFC 6675, 2): Linux's window grows with each of them.
    #[cold]
    fn hear_nothing_new(&mut self, segment: &Segment, packet: &[u8], window: u16, now: Instant) -> Heard {
        let flight = self.flight();
        let same = segment.window == window;
        let Slot { tcb: Some(tcb), recovery, .. } = self else { return Heard::Pass };
        let blocks = blocks(flight, segment, packet);
        // What answers the probe of a closed window says nothing of the path.
        if segment.window > 0 && (same || !blocks.is_empty()) {
            tcb.sacked(|held| recovery.duplicate(&blocks, flight, held, now));
        }
        // smoltcp counts no duplicate with another window, and has to know the window.
        if same { Heard::Hold } else { Heard::Pass }
    }

    /// How long what is outstanding may be left alone.
    #[inline]
    pub(super) fn patience(&self, rto_min: Duration) -> Duration {
        self.recovery.patience(self.numbers.snd_nxt().wrapping_sub(self.numbers.snd_una()), rto_min)
    }

    /// `budget`: so many segments may stay here in this turn.
    fn walk<P: Port>(
        &mut self,
        engine: &mut Engine,
        wire: &mut Wire<'_, P>,
        budget: &mut usize,
        now: Instant,
    ) -> Option<After> {
        loop {
            if wire.sent.segments == SEGMENTS_PER_TURN || *budget == 0 {
                return Some(After::Again);
            }
            if !wire.has_room() {
                return Some(After::Blocked);
            }
            let flight = self.flight();
            let Slot { tcb: Some(tcb), recovery, numbers, key, .. } = self else { return None };
            let unsent = tcb.unsent(flight.nxt.wrapping_sub(flight.una));
            let plan = tcb.sacked(|held| recovery.plan(flight, held, unsent));
            let leaves = match plan {
                Plan::Go => return None,
                Plan::Rest => return Some(After::Rest),
                Plan::New | Plan::Send => true,
                Plan::Skip => false,
                Plan::Back { leaves } => leaves,
            };
            (wire.nxt, wire.withhold) = (Some(flight.nxt), !leaves);
            let (sent, withheld) = (wire.sent.segments, wire.sent.withheld);
            if matches!(plan, Plan::Back { .. }) {
                engine.go_back(now, tcb, key, numbers.standing(), wire);
            } else {
                engine.send(now, tcb, wire);
            }
            let left = wire.sent.segments > sent;
            if !left && wire.sent.withheld == withheld {
                if plan != Plan::New {
                    recovery.strayed();
                }
                return Some(After::Rest);
            }
            *budget -= wire.sent.withheld - withheld;
            let last = wire.sent.last;
            if left {
                numbers.sent(&last);
            }
            if last.seq() == last.seq_end() {
                // On the way back smoltcp says so instead of what was asked for: it would say it again.
                let back = matches!(plan, Plan::Back { .. });
                return Some(if back { After::Rest } else { After::Again });
            }
            // What was never sent goes before the way back.
            if plan == Plan::New || last.seq() == flight.nxt {
                recovery.sent(last.seq(), last.seq_end(), flight.nxt, false, now);
                continue;
            }
            // What stays here may end with what was never sent, and leaves then.
            let leaves = leaves && !wire.withhold;
            recovery.walked((last.seq(), last.seq_end()), flight, leaves, now);
            if leaves {
                wire.counters.inc(Counter::SegmentResent);
            }
        }
    }
}

impl<S> Slot<S> {
    /// Tells the peer what smoltcp says with its next segment, which may be far off, or has said in one that stayed here.
    fn tell<P: Port>(&mut self, engine: &mut Engine, wire: &mut Wire<'_, P>, now: Instant) {
        let Slot { tcb: Some(tcb), numbers, key, .. } = self else { return };
        let window = tcb.recv_capacity().saturating_sub(tcb.recv_queue()).min(usize::from(u16::MAX)) as u16;
        if numbers.owes(window) && wire.has_room() {
            // It takes what lies in the window that it has told itself.
            engine.tell(now, tcb, key, numbers.standing(), wire.caps.mtu);
            (wire.nxt, wire.withhold) = (None, false);
            wire.bare_ack(key, numbers.snd_nxt(), numbers.rcv_nxt(), window);
            numbers.sent(&wire.sent.last);
        }
    }
}

/// What a segment acknowledges selectively, if that was agreed on.
fn blocks(flight: Flight, segment: &Segment, packet: &[u8]) -> Blocks {
    if flight.sack { sacked::blocks(header(segment, packet)) } else { Blocks::new() }
}

impl<P: Port, S: Session> Stack<P, S> {
    /// Gives smoltcp an acceptable segment, unless it would take it for a loss.
    #[inline]
    pub(super) fn heed(&mut self, port: &mut P, index: u32, segment: &Segment, packet: &[u8], now: Instant) {
        let slot = &mut self.slots[index as usize];
        let end = if cfg!(debug_assertions) { slot.stream_end() } else { None };
        if slot.hear(segment, packet, now) == Heard::Hold {
            return self.hold(index, now);
        }
        self.take(port, index, segment, packet, now);
        debug_assert!(self.slots[index as usize].ends_at(end), "smoltcp took another acknowledgment than was noted");
    }

    /// Has smoltcp send again what is planned, in a turn's portion. None: it goes on with what was never sent.
    #[cold]
    pub(super) fn mend(&mut self, port: &mut P, index: u32, now: Instant) -> Option<After> {
        let slot = &mut self.slots[index as usize];
        if !matches!(slot.phase, Phase::Open | Phase::Closing) || slot.numbers.peer_window() == 0 {
            return None;
        }
        let (l2, stamp) = (slot.l2, slot.stamps.at(now));
        let mut wire = wire!(self, port, l2.as_ref());
        wire.stamp = stamp;
        let rest = slot.walk(&mut self.engine, &mut wire, &mut self.withhold_budget, now);
        if rest.is_some() || wire.sent.withheld > 0 {
            slot.tell(&mut self.engine, &mut wire, now);
        }
        if !self.unresolved.is_empty() {
            let to = slot.key.remote_ip();
            self.resolve_later(port, to, now);
        }
        match rest {
            Some(After::Rest) => Some(self.settle(index, now)),
            rest => rest,
        }
    }

    /// What was heard may open the window, or have something sent again.
    #[cold]
    fn hold(&mut self, index: u32, now: Instant) {
        let slot = &mut self.slots[index as usize];
        self.changed.push(index, slot);
        // smoltcp's timer knows nothing of the reordering window.
        let wait = slot.patience(self.settings.rto_min);
        slot.arm(index, now + wait, &mut self.wheel);
    }
}

/// Looks after what is outstanding when a connection's timer fires. `tcp` is when smoltcp has something to do; returns the
/// same, or when to look again if that is sooner. In trouble smoltcp's own timer says nothing.
#[inline]
pub(super) fn attend<S>(
    slot: &mut Slot<S>,
    tcp: Instant,
    settings: &Settings,
    device: u16,
    counters: &Counters,
    now: Instant,
) -> Instant {
    let flight = slot.flight();
    let open = matches!(slot.phase, Phase::Open | Phase::Closing) && slot.numbers.peer_window() > 0;
    let troubled = slot.recovery.is_troubled();
    if flight.una == flight.nxt || !open || (tcp <= now && !troubled) {
        if tcp <= now && !slot.listed {
            slot.overdue(device, counters);
        }
        return tcp;
    }
    let tcp = if troubled { Instant::FAR } else { tcp };
    match slot.due(flight, settings.rto_min, now) {
        Due::Later(wait) => tcp.min(now + wait),
        Due::Mend => now,
        Due::Timeout => {
            slot.overdue(device, counters);
            let Slot { tcb: Some(tcb), recovery, .. } = slot else { return tcp };
            tcb.sacked(|held| recovery.timed_out(flight, held));
            now
        }
    }
}

impl<S> Slot<S> {
    #[inline]
    fn due(&mut self, flight: Flight, rto_min: Duration, now: Instant) -> Due {
        let Slot { tcb: Some(tcb), recovery, .. } = self else { return Due::Later(rto_min) };
        // A FIN alone is left to the timer.
        let probe = tcb.send_queue() > 0;
        tcb.sacked(|held| recovery.due(flight, held, probe, now, rto_min))
    }
}
