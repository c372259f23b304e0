//! The worker: one turn of receive, serve, expire, transmit on one lcore.

use crate::config::Config;
use crate::failure::Failure;
use crate::mem::Arena;
use crate::net::neighbor::Neighbors;
use crate::port::Port;
use crate::telemetry::Counters;
use crate::time::{Instant, Now};
use std::sync::Arc;

/// The program on top of the sessions.
pub trait App {}

/// What a worker is made of.
pub struct WorkerParts<P, A> {
    /// The queue pair.
    pub port: P,
    /// The program.
    pub app: A,
    /// The checked configuration.
    pub config: Arc<Config>,
    /// The neighbour table all workers share.
    pub neighbors: Arc<Neighbors>,
    /// This worker's counters.
    pub counters: Arc<Counters>,
    /// Memory for connections, at least `arena_size` bytes.
    pub arena: Arena,
    /// Random bits for hashes and initial sequence numbers.
    pub secret: [u64; 4],
    /// The present.
    pub now: Instant,
}

/// What one turn did; all zero: an idle turn.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Turn {
    /// Frames received.
    pub received: usize,
    /// Frames sent.
    pub sent: usize,
    /// Timers that fired.
    pub expired: usize,
}

/// One lcore's share of the gateway.
pub struct Worker<P: Port, A: App> {
    parts: WorkerParts<P, A>,
}

impl<P: Port, A: App> Worker<P, A> {
    /// Bytes of arena a worker with this configuration needs.
    pub fn arena_size(_config: &Config) -> usize {
        0
    }

    /// Builds a worker; all memory is reserved here.
    pub fn new(parts: WorkerParts<P, A>) -> Result<Self, Failure> {
        Ok(Worker { parts })
    }

    /// Receive, serve, expire, transmit: bounded work, no allocation, lock or system call.
    pub fn turn(&mut self, _now: Now) -> Turn {
        Turn::default()
    }

    /// Connections that hold a slot.
    pub fn connections(&self) -> usize {
        0
    }

    /// Begins an orderly stop: no new connections, responses say `Connection: close`, idle connections are closed.
    pub fn drain(&mut self, _now: Now) {}

    /// The port, for what the runtime does between turns (statistics, waiting).
    pub fn port_mut(&mut self) -> &mut P {
        &mut self.parts.port
    }
}
