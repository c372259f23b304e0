//! The size of a connection's packets, and sending again at once those that were too large.
//!
//! Owns an `Interface` for each plateau: smoltcp takes the size from the one it is polled with. Refuses to judge what a path
//! carries: the stack does.

use super::{Engine, Tcb, Wire};
use crate::net::pmtu::{PLATEAUS, PathMtu};
use crate::port::Port;
use crate::time::Instant;

impl Tcb {
    /// How large the connection's packets may be.
    pub fn path(&self) -> PathMtu {
        self.path
    }

    /// Has every packet from now on, retransmissions included, be at most this large.
    pub fn set_path(&mut self, path: PathMtu) {
        self.path = path;
    }
}

/// What [`Engine::hasten`] sent.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Hastened {
    /// Nothing: nothing is under way, or there is no room.
    Nothing,
    /// A segment that was due anyway: what is under way comes behind it.
    Due,
    /// The first segment that is not acknowledged.
    First,
}

impl Engine {
    /// An engine whose connections may have paths below `mtu`.
    #[must_use]
    pub fn with_paths(mut self, mtu: u16, seed: u64, now: Instant) -> Engine {
        self.narrow = PLATEAUS.iter().map(|plateau| Engine::new(mtu.min(*plateau), seed, now).iface).collect();
        self
    }

    /// Sends one segment, as `send` does, but has the retransmission timer end now (RFC 1191, 6.5; RFC 8201, 5.4): smoltcp is
    /// told that this moment has come, and sends again from the first byte that is not acknowledged, in packets of the
    /// present size. That the next timeout is twice as long then, RFC 1191 does not ask.
    pub fn hasten<P: Port>(&mut self, now: Instant, tcb: &mut Tcb, wire: &mut Wire<'_, P>) -> Hastened {
        match self.poll_at(now, tcb) {
            Some(due) if wire.has_room() && self.send(due.max(now), tcb, wire) => {
                if due > now {
                    Hastened::First
                } else {
                    Hastened::Due
                }
            }
            _ => Hastened::Nothing,
        }
    }
}
