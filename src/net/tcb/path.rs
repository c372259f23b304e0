//! The size of a connection's packets.
//!
//! Owns an `Interface` for each plateau: smoltcp takes the size from the one it is polled with. Refuses to judge what a path
//! carries: the stack does.

use super::{Engine, Tcb};
use crate::net::pmtu::{PLATEAUS, PathMtu};
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
}
