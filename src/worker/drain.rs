//! The orderly stop of one worker.
//!
//! Owns its order: nobody new is accepted; answers say `Connection: close`; who asks nothing for a while is closed, late
//! enough that a request already on its way is still answered; done is who has acknowledged everything up to our FIN.
//! Refuses to know the deadline: the runtime does.

use super::{App, Worker};
use crate::net::stack::Need;
use crate::port::Port;
use crate::time::{Instant, Now};

/// Slots looked at in one turn.
const SCAN_MAX: usize = 4096;

/// An orderly stop under way.
#[derive(Default)]
pub struct Drain {
    began: Instant,
    /// The next slot to look at.
    next: usize,
    round: Remaining,
}

/// What an orderly stop still waits for.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Remaining {
    /// Connections.
    pub connections: usize,
    /// Requests of theirs that have begun to arrive and are not answered yet.
    pub requests: usize,
}

impl<P: Port, A: App> Worker<P, A> {
    /// Begins an orderly stop.
    pub fn drain(&mut self, now: Now) {
        self.shared.draining = true;
        self.drain = Drain { began: now.mono, ..Drain::default() };
        self.stack.stop_accepting();
        self.stack.touch_all(now.mono + self.shared.drain_idle);
    }

    /// Looks at some of the connections; call it after each turn. At the end of each round through all of them it says
    /// what remains.
    pub fn drained(&mut self, now: Now) -> Option<Remaining> {
        let Drain { began, next, round } = &mut self.drain;
        // A handshake that takes longer is not waited for.
        let handshakes = now.mono < *began + self.shared.drain_idle;
        *next = self.stack.scan(*next, SCAN_MAX, now.mono, |need, session| {
            if need != Need::Handshake || handshakes {
                round.connections += 1;
                round.requests += usize::from(need == Need::Session && session.is_busy());
            }
        });
        (*next == 0).then(|| core::mem::take(round))
    }

    /// Resets every connection that would otherwise wait for an answer in vain. Returns how many had been
    /// established.
    pub fn abort_all(&mut self, now: Now) -> usize {
        self.stack.stop_accepting();
        self.stack.abort_all(now.mono)
    }
}
