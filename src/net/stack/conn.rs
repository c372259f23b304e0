//! A connection as its session sees it: bytes in, bytes out, one deadline.

use super::{Phase, Session, Slot, Stack};
use crate::net::tcb::{Ring, State, Tcb};
use crate::port::Port;
use crate::time::Instant;

/// Names a connection for as long as it lives: a slot is reused with another generation.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ConnId {
    /// The slot's number.
    pub slot: u32,
    /// How often the slot was freed before.
    pub generation: u32,
}

/// Why a session is served.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Bytes, room or the peer's FIN may have arrived.
    Ready,
    /// The deadline the session set has passed.
    Deadline,
    /// The connection is gone: the peer reset it.
    Reset,
}

/// A connection and its byte streams, for the time it is served.
pub struct Conn<'a> {
    pub(super) id: ConnId,
    pub(super) tcb: &'a mut Tcb,
    /// The congestion window in bytes.
    pub(super) window: usize,
    /// The largest segment in bytes.
    pub(super) mss: usize,
    pub(super) phase: &'a mut Phase,
    pub(super) deadline: &'a mut Instant,
    pub(super) listener: u8,
}

impl Conn<'_> {
    /// The connection's name.
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// The place in the configuration of the listener that accepted it.
    #[inline]
    pub fn listener(&self) -> u8 {
        self.listener
    }

    /// Bytes received and not yet consumed.
    #[inline]
    pub fn recv_queue(&mut self) -> usize {
        self.tcb.recv_queue()
    }

    /// Shows received bytes up to the ring's end, and how many were received in all; `f` returns how many it consumed and
    /// its result. None when there are none.
    #[inline]
    pub fn recv<R>(&mut self, f: impl FnOnce(&[u8], usize) -> (usize, R)) -> Option<R> {
        self.tcb.recv(f)
    }

    /// Copies received bytes, across the ring's end, without consuming them; returns how many.
    pub fn peek(&mut self, out: &mut [u8]) -> usize {
        self.tcb.peek(out)
    }

    /// Consumes and discards what was received, at most `max` bytes; returns how many.
    pub fn discard(&mut self, max: usize) -> usize {
        let mut total = 0;
        while total < max {
            let Some(n) = self.tcb.recv(|bytes, _| (bytes.len().min(max - total), bytes.len().min(max - total))) else {
                break;
            };
            if n == 0 {
                break;
            }
            total += n;
        }
        total
    }

    /// Whether the peer sent FIN; what it sent before may still be unread.
    pub fn peer_finished(&mut self) -> bool {
        self.tcb.peer_finished()
    }

    /// The receive ring's size in bytes.
    pub fn recv_capacity(&mut self) -> usize {
        self.tcb.recv_capacity()
    }

    /// Whether the peer sent FIN and everything before it was consumed.
    #[inline]
    pub fn peer_closed(&mut self) -> bool {
        self.tcb.peer_closed()
    }

    /// Whether both directions are open and nothing received is unread.
    #[inline]
    pub fn is_at_rest(&mut self) -> bool {
        self.tcb.state() == State::Established && self.tcb.recv_queue() == 0
    }

    /// Bytes that can be queued; 0 after `close`. What is queued is sent at once, so the congestion window limits it; with
    /// nothing queued the send ring alone does, so that a head finds room in one piece.
    #[inline]
    pub fn send_room(&mut self) -> usize {
        let room = self.tcb.send_room();
        match self.tcb.send_queue() {
            0 => room,
            queued => room.min(self.window.saturating_sub(queued)),
        }
    }

    /// Asks for a larger transmit ring, before anything of an answer is queued. False: the session is to wait, and is served
    /// again in this turn, with a larger ring or without.
    pub fn enlarge(&mut self) -> bool {
        let (next, go_on) = match self.tcb.ring() {
            Ring::Large | Ring::Spare => (Ring::Large, true),
            Ring::Small | Ring::Wanted => (Ring::Wanted, false),
            Ring::Refused => (Ring::Small, true),
        };
        self.tcb.set_ring(next);
        go_on
    }

    /// Bytes queued and not yet acknowledged.
    #[inline]
    pub fn send_queue(&mut self) -> usize {
        self.tcb.send_queue()
    }

    /// Lets `f` write into contiguous free room; it returns how many bytes it wrote and its result. None after `close`.
    #[inline]
    pub fn send_with<R>(&mut self, f: impl FnOnce(&mut [u8]) -> (usize, R)) -> Option<R> {
        self.tcb.send_with(f)
    }

    /// Queues a prefix of `bytes`; returns its length.
    #[inline]
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        self.tcb.send(bytes)
    }

    /// Queues a prefix of `bytes`, as long as the congestion window lets it be, in whole segments if that is less than all;
    /// returns its length.
    #[inline]
    pub fn send_content(&mut self, bytes: &[u8]) -> usize {
        let queued = self.tcb.send_queue();
        if bytes.len() <= self.window.saturating_sub(queued) {
            return self.tcb.send(bytes);
        }
        let room = (self.window - self.window % self.mss).saturating_sub(queued);
        self.tcb.send(&bytes[..bytes.len().min(room)])
    }

    /// Sends FIN after what is queued. The stack then ends the connection by itself, within `tcp.fin_timeout`.
    pub fn close(&mut self) {
        self.tcb.close();
    }

    /// Sends RST at the end of the turn and frees the connection.
    pub fn abort(&mut self) {
        self.tcb.abort();
        *self.phase = Phase::Ended;
    }

    /// When the session is next served with [`Event::Deadline`] if nothing else happens; replaces the former deadline.
    #[inline]
    pub fn set_deadline(&mut self, at: Instant) {
        *self.deadline = at;
    }

    /// The session's present deadline.
    pub fn deadline(&self) -> Instant {
        *self.deadline
    }
}

impl<P: Port, S: Session> Stack<P, S> {
    /// Shows every changed connection to `f`, once. None while the transmit backlog is full: an answer could not leave,
    /// and the receive rings push back.
    #[inline]
    pub fn serve(&mut self, mut f: impl FnMut(&mut S, &mut Conn<'_>, Event)) {
        if self.tx.room() == 0 {
            return;
        }
        let mut i = 0;
        while i < self.changed.now_len {
            let index = self.changed.now[i];
            let slot = &mut self.slots[index as usize];
            serve_slot(slot, index, &mut f);
            // Who asked for a larger ring is served again.
            if slot.tcb.as_ref().is_some_and(|tcb| tcb.ring() == Ring::Wanted) {
                self.enlarge(index);
            } else {
                i += 1;
            }
        }
    }
}

#[inline]
fn serve_slot<S>(slot: &mut Slot<S>, index: u32, f: &mut impl FnMut(&mut S, &mut Conn<'_>, Event)) {
    let Some(tcb) = slot.tcb.as_mut() else { return };
    let state = tcb.state();
    let served = match slot.phase {
        Phase::Open => true,
        // The session may still read, to linger.
        Phase::Closing => matches!(state, State::FinWait1 | State::FinWait2),
        // Who began the connection is told that it was refused, or that nobody answered.
        Phase::Handshake => slot.outgoing && slot.expired,
        Phase::Ended => slot.outgoing && slot.reset,
        Phase::Free | Phase::Parked => false,
    };
    if !served {
        return;
    }
    let event = if slot.reset && state == State::Closed {
        Event::Reset
    } else if slot.phase == Phase::Handshake {
        // The flush ends it.
        Event::Deadline
    } else if slot.expired && slot.phase == Phase::Open {
        slot.expired = false;
        Event::Deadline
    } else {
        Event::Ready
    };
    let id = ConnId { slot: index, generation: slot.generation };
    let (window, mss) = (slot.recovery.window(), slot.recovery.mss());
    let mut conn =
        Conn { id, tcb, window, mss, phase: &mut slot.phase, deadline: &mut slot.deadline, listener: slot.listener };
    f(&mut slot.session, &mut conn, event);
}
