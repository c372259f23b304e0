//! Transmitting: each changed connection flushes a bounded number of segments, then its slot is brought up to date.

use super::{Phase, Session, Slot, Stack, wire};
use crate::limits::{SEGMENTS_PER_TURN, WITHHELD_PER_TURN};
use crate::net::tcb::{State, Tcb, Wire};
use crate::net::timewait;
use crate::port::Port;
use crate::telemetry::Counter;
use crate::time::Instant;

/// What a connection needs after its flush.
pub(super) enum After {
    /// Nothing until a packet or timer.
    Rest,
    /// Another turn: more to send than one turn may.
    Again,
    /// Another turn, as for every connection after it: there is no room for frames.
    Blocked,
    /// Its slot is to be freed, for this reason.
    Free(Counter),
}

impl<P: Port, S: Session> Stack<P, S> {
    /// Flushes the changed connections, then the queue. Returns how many frames the port took.
    pub fn transmit(&mut self, port: &mut P, now: Instant) -> usize {
        self.withhold_budget = WITHHELD_PER_TURN;
        let changed = self.changed.now_len;
        let mut kept = 0;
        for i in 0..changed {
            let index = self.changed.now[i];
            let after = match self.flush(port, index, now) {
                After::Again if self.slots[index as usize].expired => self.press(index, now),
                after => after,
            };
            match after {
                After::Rest => self.slots[index as usize].listed = false,
                After::Again => {
                    self.changed.now[kept] = index;
                    kept += 1;
                }
                After::Blocked => {
                    self.counters.add(Counter::TxStall, (changed - i) as u64);
                    self.changed.now.copy_within(i..changed, kept);
                    kept += changed - i;
                    break;
                }
                After::Free(reason) => {
                    self.slots[index as usize].listed = false;
                    self.counters.inc(reason);
                    self.free_slot(index);
                }
            }
        }
        self.changed.now_len = kept;
        self.tx.flush(port, &self.counters)
    }

    fn flush(&mut self, port: &mut P, index: u32, now: Instant) -> After {
        let slot = &mut self.slots[index as usize];
        slot.refresh_header(&self.link);
        if slot.recovery.is_troubled()
            && let Some(rest) = self.mend(port, index, now)
        {
            return rest;
        }
        let slot = &mut self.slots[index as usize];
        let mut wire = wire!(self, port, slot.l2.as_ref());
        if slot.stamps.are_on() {
            wire.stamp = slot.stamp(now);
        }
        if slot.phase == Phase::Ended || slot.recovery.is_back() {
            wire.nxt = Some(slot.acceptable_seq());
        }
        let Some(tcb) = slot.tcb.as_mut() else { return self.flush_parked(port, index, now) };
        if tcb.finish() {
            (slot.unsent, slot.deadline) = (0, now + self.settings.fin_timeout);
        }
        let mut rest = None;
        let mut more = true;
        while more {
            if wire.sent.segments == SEGMENTS_PER_TURN {
                rest = Some(After::Again);
                break;
            }
            if !wire.has_room() {
                rest = Some(After::Blocked);
                break;
            }
            let queued = tcb.send_queue();
            let before = wire.sent.segments;
            let sent = self.engine.send(now, tcb, &mut wire);
            if wire.sent.segments > before {
                let (last, nxt, closed) = (&wire.sent.last, slot.numbers.snd_nxt(), slot.numbers.peer_window() == 0);
                slot.numbers.sent(last);
                if slot.phase != Phase::Handshake {
                    if !slot.recovery.sent(last.seq(), last.seq_end(), nxt, closed, now) {
                        self.counters.inc(Counter::SegmentResent);
                        break;
                    }
                } else if !slot.outgoing {
                    slot.recovery.sent_syn(last.seq_end(), now);
                }
            }
            // One segment that carried all there is needs no second call to say so.
            more = sent && wire.sent.payload < queued;
        }
        if !self.unresolved.is_empty() {
            let to = slot.key.remote_ip();
            self.resolve_later(port, to, now);
        }
        rest.unwrap_or_else(|| self.settle(index, now))
    }

    /// A deadline ends a connection also when there is always more to send.
    #[cold]
    fn press(&mut self, index: u32, now: Instant) -> After {
        match self.settle(index, now) {
            After::Rest => After::Again,
            after => after,
        }
    }

    /// A connection on the list without a socket was parked when it ended.
    #[cold]
    fn flush_parked(&mut self, port: &mut P, index: u32, now: Instant) -> After {
        if self.slots[index as usize].phase != Phase::Ended {
            return After::Rest;
        }
        if self.end_parked(port, index, now) { After::Free(ended(&self.slots[index as usize])) } else { After::Blocked }
    }

    /// Follows the socket's state and arms the timer.
    #[inline]
    pub(super) fn settle(&mut self, index: u32, now: Instant) -> After {
        let slot = &mut self.slots[index as usize];
        let Some(tcb) = slot.tcb.as_mut() else { return After::Rest };
        let state = tcb.state();
        if state == State::Established && slot.phase == Phase::Open {
            let at = match tcb.send_queue() {
                0 => slot.deadline,
                _ => slot.deadline.min(now + slot.patience(self.settings.rto_min)),
            };
            slot.arm(index, at, &mut self.wheel);
            return After::Rest;
        }
        self.follow(index, state, now)
    }

    /// The cold part of `settle`: anything but an established connection at rest.
    fn follow(&mut self, index: u32, state: State, now: Instant) -> After {
        let Stack { slots, half_open, closing, counters, settings, time_wait, wheel, .. } = self;
        let slot = &mut slots[index as usize];
        let expired = core::mem::take(&mut slot.expired);
        match state {
            State::Closed | State::Listen => return After::Free(ended(slot)),
            State::TimeWait => {
                let state = timewait::State {
                    snd_nxt: slot.numbers.snd_nxt(),
                    rcv_nxt: slot.numbers.rcv_nxt(),
                    ts_recent: slot.stamps.recent(),
                };
                if time_wait.insert(&slot.key, state, now) {
                    counters.inc(Counter::TimeWaitRecycled);
                }
                counters.inc(Counter::TimeWaitEntered);
                return After::Free(Counter::ConnClosed);
            }
            State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck => {
                let unsent = slot.tcb.as_mut().map_or(0, Tcb::send_queue);
                let progress = unsent < slot.unsent;
                if slot.phase == Phase::Open || (expired && progress) {
                    slot.phase = Phase::Closing;
                    if !core::mem::replace(&mut slot.closing, true) {
                        *closing += 1;
                    }
                    slot.unsent = unsent;
                    slot.deadline = now + settings.fin_timeout;
                } else if expired && unsent > 0 {
                    // Part of an answer is lost with the connection: say so.
                    slot.tcb.iter_mut().for_each(Tcb::abort);
                    slot.phase = Phase::Ended;
                    return After::Again;
                } else if expired {
                    return After::Free(Counter::ConnTimedOut);
                }
            }
            State::SynReceived | State::SynSent if expired && slot.phase == Phase::Handshake => {
                *half_open -= 1;
                return After::Free(Counter::ConnTimedOut);
            }
            // Nothing was left to send, not even the RST.
            _ if slot.phase == Phase::Ended => return After::Free(ended(slot)),
            _ => {}
        }
        let wait = slot.patience(settings.rto_min);
        slot.arm(index, slot.deadline.min(now + wait), wheel);
        After::Rest
    }
}

/// Why a connection whose socket is closed ended.
fn ended<S>(slot: &Slot<S>) -> Counter {
    match slot.phase {
        _ if slot.reset => Counter::ConnReset,
        Phase::Ended => Counter::ConnAborted,
        _ => Counter::ConnClosed,
    }
}
