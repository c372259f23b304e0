//! Ending: what an orderly stop waits for, and the end of what it does not wait for.
//!
//! Owns which connections still need this worker. Refuses to decide how long to wait: the worker does.

use super::{Phase, Session, Settings, Slot, Stack};
use crate::net::tcb::{State, Tcb};
use crate::port::Port;
use crate::time::Instant;
use core::time::Duration;

/// How long a FIN alone is waited for: its first retransmission and the answer to that.
fn fin_alone(settings: &Settings) -> Duration {
    settings.rto_min + Duration::from_millis(500)
}

/// What a connection still needs.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Need {
    /// The end of its handshake.
    Handshake,
    /// Its session: it is open.
    Session,
    /// Acknowledgments of what was sent, or a turn to send an RST.
    Delivery,
}

impl<P: Port, S: Session> Stack<P, S> {
    /// Shows each connection that still needs this worker to `f`, in pieces of `max` slots: begins at slot `from`, returns
    /// where to go on, or 0 at the end. Whoever has read everything up to our FIN needs nothing.
    pub fn scan(&mut self, from: usize, max: usize, now: Instant, mut f: impl FnMut(Need, &S)) -> usize {
        let end = self.slots.len().min(from.saturating_add(max));
        let Stack { settings, slots, blocks, wheel, .. } = self;
        for (index, slot) in slots[from..end].iter_mut().enumerate() {
            if slot.phase == Phase::Parked && slot.deadline > blocks.until {
                slot.deadline = blocks.until;
                slot.arm((from + index) as u32, slot.deadline, wheel);
            }
            if let Some(need) = need(slot, now, settings) {
                f(need, &slot.session);
            }
        }
        if end == self.slots.len() { 0 } else { end }
    }

    /// Resets every connection that still needs something, at the next turn. Returns how many had been established. The
    /// others are left alone: an RST would take from their clients what these have not read yet.
    pub fn abort_all(&mut self, now: Instant) -> usize {
        let settings = &self.settings;
        let mut aborted = 0;
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if need(slot, now, settings).is_none() {
                continue;
            }
            match slot.phase {
                Phase::Handshake => self.half_open -= 1,
                Phase::Parked => self.blocks.leaves(),
                _ => {}
            }
            aborted += usize::from(slot.phase != Phase::Handshake);
            slot.tcb.iter_mut().for_each(Tcb::abort);
            slot.phase = Phase::Ended;
            self.changed.push(index as u32, slot);
        }
        aborted
    }

    /// Whether everything that was to be sent is with the port, frames that wait for a neighbour excepted.
    pub fn is_flushed(&self) -> bool {
        self.changed.now_len == 0 && self.tx.is_empty()
    }
}

fn need<S>(slot: &mut Slot<S>, now: Instant, settings: &Settings) -> Option<Need> {
    match slot.phase {
        Phase::Free => None,
        Phase::Handshake => Some(Need::Handshake),
        Phase::Open | Phase::Parked => Some(Need::Session),
        Phase::Ended => Some(Need::Delivery),
        Phase::Closing => {
            let tcb = slot.tcb.as_mut()?;
            let sent = matches!(tcb.state(), State::FinWait1 | State::Closing | State::LastAck);
            // The closing's deadline counts from the FIN or the last acknowledgment.
            let waits = tcb.send_queue() > 0 || now + settings.fin_timeout < slot.deadline + fin_alone(settings);
            (sent && waits).then_some(Need::Delivery)
        }
    }
}
