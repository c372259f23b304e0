//! Connections that we begin.
//!
//! Owns the way from a 4-tuple to a slot whose SYN leaves at the end of the turn, and access to a connection outside of its
//! own events. Refuses to choose addresses and ports: the program does.

use super::conn::{Conn, ConnId};
use super::{Phase, Session, Stack};
use crate::net::key::FlowKey;
use crate::net::stamp::Stamps;
use crate::net::tcb::Tcb;
use crate::port::Port;
use crate::telemetry::Counter;
use crate::time::Instant;

/// Why a connection was not begun.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ConnectError {
    /// No slot, or as many handshakes as permitted are under way: later there may be.
    Full,
    /// The 4-tuple is in use or in TIME-WAIT: take another port.
    InUse,
    /// No connection can have this 4-tuple: a port or address is zero, or the families differ.
    Unaddressable,
}

impl<P: Port, S: Session> Stack<P, S> {
    /// Begins a connection. Its session is served when the handshake is over, with [`super::Event::Reset`] if the peer
    /// refuses, or with [`super::Event::Deadline`] when `tcp.handshake_timeout` passed.
    pub fn connect(&mut self, key: &FlowKey, now: Instant) -> Result<ConnId, ConnectError> {
        let hash = self.flows.hash(key);
        let slots = &self.slots;
        let taken = self.flows.get(hash, |slot| slots[slot as usize].key == *key);
        if taken.is_some() || self.time_wait.holds(key, now) {
            return Err(ConnectError::InUse);
        }
        if self.half_open >= self.settings.half_open_max {
            return Err(ConnectError::Full);
        }
        let last = self.free_len.checked_sub(1).ok_or(ConnectError::Full)?;
        let block = self.take_block(now).ok_or(ConnectError::Full)?;
        let isn = self.isn.at(key, now);
        let tcb = Tcb::connect(block, self.settings.rx_ring, key, isn, self.caps.mtu, now);
        let mut tcb = tcb.ok_or(ConnectError::Unaddressable)?;
        let stamps = match self.settings.timestamps {
            true => Stamps::offering(self.stamp_clock.start(key)),
            false => Stamps::default(),
        };
        if stamps.are_on() {
            tcb.use_timestamps();
        }
        let index = self.free[last];
        self.flows.insert(hash, index).map_err(|_| ConnectError::Full)?;
        self.free_len = last;
        self.half_open += 1;
        self.counters.inc(Counter::ConnSyn);
        let slot = &mut self.slots[index as usize];
        self.blocks.belongs(&tcb, index);
        // What the peer takes is not known yet; its answer is smaller than the first window.
        slot.begin(*key, tcb, self.caps.mtu.saturating_sub(40), stamps, now + self.settings.handshake_timeout);
        slot.outgoing = true;
        self.changed.push(index, slot);
        Ok(ConnId { slot: index, generation: slot.generation })
    }

    /// Shows an open connection to `f`, which may queue bytes: they leave at the end of the turn. None when the connection
    /// is no longer open.
    #[inline]
    pub fn visit<R>(&mut self, id: ConnId, f: impl FnOnce(&mut S, &mut Conn<'_>) -> R) -> Option<R> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation != id.generation || slot.phase != Phase::Open {
            return None;
        }
        self.changed.push(id.slot, slot);
        let tcb = slot.tcb.as_mut()?;
        let deadline = &mut slot.deadline;
        let (window, mss) = (slot.recovery.window(), slot.recovery.mss());
        let mut conn = Conn { id, tcb, window, mss, phase: &mut slot.phase, deadline, listener: slot.listener };
        Some(f(&mut slot.session, &mut conn))
    }

    /// Shows the session of a connection that is not freed to `f`, whatever the connection's state.
    pub fn with_session<R>(&mut self, id: ConnId, f: impl FnOnce(&mut S) -> R) -> Option<R> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        (slot.generation == id.generation && slot.phase != Phase::Free).then(|| f(&mut slot.session))
    }

    /// Shows every session to `f`.
    pub fn each_session(&self, mut f: impl FnMut(ConnId, &S)) {
        for (index, slot) in self.slots.iter().enumerate() {
            if slot.phase != Phase::Free {
                f(ConnId { slot: index as u32, generation: slot.generation }, &slot.session);
            }
        }
    }

    /// Starts loading what `visit` will touch.
    #[inline]
    pub fn prefetch_conn(&self, id: ConnId) {
        self.slots.prefetch(id.slot as usize, 3);
    }

    /// Whether the transmit backlog is full: what a session would queue could not leave.
    pub fn is_blocked(&self) -> bool {
        self.tx.room() == 0
    }

    /// Connections that could still be begun.
    pub fn free_slots(&self) -> usize {
        self.free_len.min(self.blocks.free())
    }
}
