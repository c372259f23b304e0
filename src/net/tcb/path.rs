//! The size of a connection's packets, and sending again at once those that were too large.
//!
//! Owns an `Interface` for each plateau: smoltcp takes the size from the one it is polled with. Refuses to judge what a path
//! carries: the stack does.

use super::{Engine, Tcb, Wire};
use crate::limits::SEGMENTS_PER_TURN;
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

impl Engine {
    /// An engine whose connections may have paths below `mtu`.
    #[must_use]
    pub fn with_paths(mut self, mtu: u16, seed: u64, now: Instant) -> Engine {
        self.narrow = PLATEAUS.iter().map(|plateau| Engine::new(mtu.min(*plateau), seed, now).iface).collect();
        self
    }

    /// Sends again from the first byte that is not acknowledged, now (RFC 1191, 6.5; RFC 8201, 5.4). smoltcp does so when its
    /// retransmission timer ends, so it is told that this moment has come: slow start follows, as RFC 1191 asks; that the
    /// timeout doubles and the threshold is halved, it does not ask. False when nothing was sent.
    pub fn resend<P: Port>(&mut self, now: Instant, tcb: &mut Tcb, wire: &mut Wire<'_, P>) -> bool {
        for _ in 0..SEGMENTS_PER_TURN {
            let Some(due) = self.poll_at(now, tcb) else { return false };
            if !wire.has_room() {
                return false;
            }
            // What is due is sent first: the timer shows behind it.
            if !self.send(due.max(now), tcb, wire) || due > now {
                return due > now;
            }
        }
        false
    }
}
