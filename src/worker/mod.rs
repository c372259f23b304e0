//! The worker: one lcore's share of the gateway.
//!
//! Owns the turn, which is receive, expire, serve, transmit, each bounded and none waiting. Refuses to share anything
//! with another worker but the neighbours; to read a clock; to know DPDK.

mod app;
pub mod client;
mod count;
mod drain;
mod h1;
mod memo;
mod shared;

pub use app::{App, ResponseId};
pub use drain::Remaining;

use crate::config::Config;
use crate::failure::Failure;
use crate::http::response::DateCache;
use crate::limits::{DRAIN_IDLE, EMPTY_LINES_MAX, LARGE_HEADS, MTU_MAX};
use crate::mem::Arena;
use crate::net::isn::{self, Isn};
use crate::net::link::{Link, LinkConfig};
use crate::net::neighbor::Neighbors;
use crate::net::stack::{self, Session, Stack, StackParts};
use crate::port::{Caps, Port};
use crate::telemetry::{Counter, Counters};
use crate::time::{Instant, Now};
use drain::Drain;
use h1::H1Server;
use shared::Shared;
use std::sync::Arc;

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
    /// Memory for connections, at least [`Worker::arena_size`] bytes.
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

impl Turn {
    /// Whether the turn did nothing.
    pub fn is_idle(&self) -> bool {
        *self == Turn::default()
    }
}

/// One lcore's share of the gateway.
pub struct Worker<P: Port, A: App> {
    port: P,
    stack: Stack<P, H1Server>,
    shared: Shared<A>,
    date: DateCache,
    drain: Drain,
}

impl<P: Port, A: App> Worker<P, A> {
    /// Bytes of arena a worker with this configuration needs.
    pub fn arena_size(config: &Config) -> usize {
        arena_size(config)
    }

    /// Bytes an established connection occupies, rings and its share of the tables included.
    pub fn bytes_per_connection(config: &Config) -> usize {
        bytes_per_connection(config)
    }

    /// Bytes a parked connection occupies, its share of the tables included.
    pub fn bytes_per_parked_connection(config: &Config) -> usize {
        bytes_per_parked_connection(config)
    }

    /// Builds a worker. All memory is reserved here; the first turn announces its addresses.
    pub fn new(parts: WorkerParts<P, A>) -> Result<Self, Failure> {
        let WorkerParts { port, app, config, neighbors, counters, arena, secret, now } = parts;
        let (link, caps) = open_link(&port, &config, neighbors, now);
        let isn = Isn::new(isn::subkey(secret, 1), 0);
        let counters_of_stack = counters.clone();
        let stack = Stack::new(StackParts {
            config: &config,
            link,
            caps,
            counters: counters_of_stack,
            arena: &arena,
            secret,
            isn,
            now,
        })?;
        let shared = Shared {
            app,
            limits: config.http.clone(),
            counters,
            now,
            date: *DateCache::default().at(0),
            table: Default::default(),
            memo: Default::default(),
            scratch: vec![0; config.tcp.rx_ring.max(config.tcp.tx_ring)].into(),
            tx_ring: config.tcp.tx_ring,
            heads: arena.pool(large_head_len(&config), LARGE_HEADS)?,
            draining: false,
            drain_idle: DRAIN_IDLE.min(config.workers.drain_timeout / 2),
        };
        Ok(Worker { port, stack, shared, date: DateCache::default(), drain: Drain::default() })
    }

    /// Receive, expire, serve, transmit: bounded work, no allocation, lock or system call of ours.
    #[inline(never)]
    pub fn turn(&mut self, now: Now) -> Turn {
        let Worker { port, stack, shared, date, .. } = self;
        shared.now = now.mono;
        shared.date = *date.at(now.unix_s);
        let received = stack.receive(port, now.mono);
        let expired = stack.expire(port, now.mono);
        stack.serve(|session, conn, event| session.serve(conn, event, shared));
        let sent = stack.transmit(port, now.mono);
        let turn = Turn { received, sent, expired };
        shared.counters.inc(Counter::Turns);
        if !turn.is_idle() {
            shared.counters.inc(Counter::TurnsBusy);
        }
        turn
    }

    /// Sets the gauges; for the loop, now and then.
    pub fn set_gauges(&self) {
        self.stack.set_gauges();
    }

    /// Connections that hold a slot.
    pub fn connections(&self) -> usize {
        self.stack.connections()
    }

    /// Connections among them that are parked.
    pub fn parked(&self) -> usize {
        self.stack.parked()
    }

    /// The connections below the sessions, to look at.
    pub fn stack(&self) -> &Stack<P, impl Session> {
        &self.stack
    }

    /// The port, for what is done between turns.
    pub fn port_mut(&mut self) -> &mut P {
        &mut self.port
    }

    /// The port.
    pub fn port(&self) -> &P {
        &self.port
    }
}

/// The link of a worker, and what its port can do with the configured MTU.
fn open_link<P: Port>(port: &P, config: &Config, neighbors: Arc<Neighbors>, now: Instant) -> (Link<P::Frame>, Caps) {
    let mut caps = port.caps().clone();
    caps.mtu = caps.mtu.min(config.port.mtu.unwrap_or(MTU_MAX)).min(MTU_MAX);
    let link = LinkConfig {
        mac: caps.mac,
        vlan: config.port.vlan,
        addresses: config.port.addresses.clone(),
        gateways: config.port.gateways.clone(),
    };
    (Link::new(link, neighbors, now), caps)
}

/// Bytes of arena a worker with this configuration needs, whatever its port and program are.
pub fn arena_size(config: &Config) -> usize {
    stack::arena_size::<H1Server>(config) + Arena::pool_bytes(large_head_len(config), LARGE_HEADS)
}

/// Bytes an established connection occupies, rings and its share of the tables included.
pub fn bytes_per_connection(config: &Config) -> usize {
    stack::bytes_per_connection::<H1Server>(config)
}

/// Bytes a parked connection occupies, its share of the tables included.
pub fn bytes_per_parked_connection(config: &Config) -> usize {
    stack::bytes_per_parked_connection::<H1Server>(config)
}

/// Bytes of a buffer for a large head: all that a full ring or the limit holds, and the empty lines before it.
fn large_head_len(config: &Config) -> usize {
    config.http.head_size.max(config.tcp.rx_ring) + 2 * EMPTY_LINES_MAX
}
