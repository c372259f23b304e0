//! A worker that asks: the turn of a load generator.
//!
//! Owns the same turn as the gateway's worker, with orders of a [`Caller`] between serving and transmitting. Refuses to
//! choose addresses, times and requests.

mod caller;
mod known;
mod session;

pub use caller::{Answer, Ask, Caller, Fault, Order, Request};
pub use session::Pending;

use super::{Turn, open_link};
use crate::config::{Config, HttpLimits};
use crate::failure::Failure;
use crate::mem::Arena;
use crate::net::isn::Isn;
use crate::net::neighbor::Neighbors;
use crate::net::stack::{self, ConnId, Session, Stack, StackParts};
use crate::port::{BURST_MAX, Port};
use crate::telemetry::{Counter, Counters};
use crate::time::{Instant, Now};
use known::KnownAnswers;
use session::H1Client;
use std::sync::Arc;

/// Orders carried out in one turn at most: more than answers in one turn, so that whoever fell behind catches up.
const ORDERS_MAX: usize = 4 * BURST_MAX;

/// What a client worker is made of.
pub struct ClientParts<P, C> {
    /// The queue pair.
    pub port: P,
    /// The program.
    pub caller: C,
    /// Addresses, rings and limits; its listeners and routes are not used.
    pub config: Arc<Config>,
    /// Requests that may be under way on one connection, 1..=64.
    pub depth: u8,
    /// The neighbour table all workers share.
    pub neighbors: Arc<Neighbors>,
    /// This worker's counters.
    pub counters: Arc<Counters>,
    /// Memory for connections, at least [`client_arena_size`] bytes.
    pub arena: Arena,
    /// Random bits for hashes.
    pub secret: [u64; 4],
    /// Chooses initial sequence numbers.
    pub isn: Isn,
    /// The present.
    pub now: Instant,
}

/// What the sessions of one worker share.
pub struct ClientShared<C> {
    /// The program.
    pub(super) caller: C,
    pub(super) now: Instant,
    /// Limits for framing: content has none.
    pub(super) limits: HttpLimits,
    pub(super) known: KnownAnswers,
    /// Room for a head that does not lie in one piece in its ring.
    pub(super) scratch: Box<[u8]>,
    pub(super) depth: u8,
    /// For each slot `depth` requests under way.
    pending: Box<[Pending]>,
}

impl<C> ClientShared<C> {
    #[inline]
    pub(super) fn pending(&mut self, id: ConnId, place: u8) -> &mut Pending {
        &mut self.pending[id.slot as usize * usize::from(self.depth) + usize::from(place)]
    }

    pub(super) fn pending_ref(&self, id: ConnId, place: u8) -> &Pending {
        &self.pending[id.slot as usize * usize::from(self.depth) + usize::from(place)]
    }
}

impl<C: Caller> ClientShared<C> {
    /// Whether the program wants to see the content of the answer to this request.
    pub(super) fn watched(&self, id: ConnId, place: u8) -> bool {
        self.caller.watches(self.pending_ref(id, place).ask.class)
    }
}

/// One lcore's share of a program that asks.
pub struct ClientWorker<P: Port, C: Caller> {
    port: P,
    stack: Stack<P, H1Client>,
    shared: ClientShared<C>,
    counters: Arc<Counters>,
}

/// Bytes of arena a client worker with this configuration needs.
pub fn client_arena_size(config: &Config) -> usize {
    stack::arena_size::<H1Client>(config)
}

impl<P: Port, C: Caller> ClientWorker<P, C> {
    /// Builds a worker. All memory is reserved here; the first turn announces its addresses.
    pub fn new(parts: ClientParts<P, C>) -> Result<Self, Failure> {
        let ClientParts { port, caller, config, depth, neighbors, counters, arena, secret, isn, now } = parts;
        let (link, caps) = open_link(&port, &config, neighbors, now);
        let parts =
            StackParts { config: &config, link, caps, counters: counters.clone(), arena: &arena, secret, isn, now };
        let mut stack = Stack::new(parts)?;
        stack.stop_accepting();
        let depth = depth.max(1);
        let pending = vec![Pending::default(); config.workers.connections as usize * usize::from(depth)];
        let shared = ClientShared {
            caller,
            now,
            limits: HttpLimits { body_size: u64::MAX, ..config.http.clone() },
            known: KnownAnswers::default(),
            scratch: vec![0; config.tcp.rx_ring].into(),
            depth,
            pending: pending.into(),
        };
        Ok(ClientWorker { port, stack, shared, counters })
    }

    /// Receive, expire, serve, carry out orders, transmit: bounded work, no allocation, lock or system call of ours.
    #[inline(never)]
    pub fn turn(&mut self, now: Now) -> Turn {
        let ClientWorker { port, stack, shared, counters } = self;
        shared.now = now.mono;
        let received = stack.receive(port, now.mono);
        let expired = stack.expire(port, now.mono);
        stack.serve(|session, conn, event| session.serve(conn, event, shared));
        let ordered = carry_out(stack, shared);
        let sent = stack.transmit(port, now.mono);
        let turn = Turn { received, sent, expired: expired + ordered };
        counters.inc(Counter::Turns);
        if !turn.is_idle() {
            counters.inc(Counter::TurnsBusy);
        }
        turn
    }

    /// Sets the gauges; for the loop, now and then.
    pub fn set_gauges(&self) {
        self.stack.set_gauges();
    }

    /// Shows every request under way to `f`, with the program.
    pub fn each_pending(&mut self, mut f: impl FnMut(&Pending)) {
        let shared = &self.shared;
        self.stack.each_session(|id, session| session.each_pending(id, shared, &mut f));
    }

    /// Resets every connection at the next turn. Returns how many were established.
    pub fn abort_all(&mut self, now: Now) -> usize {
        self.stack.abort_all(now.mono)
    }

    /// The program.
    pub fn caller(&self) -> &C {
        &self.shared.caller
    }

    /// The program, for what is done between turns.
    pub fn caller_mut(&mut self) -> &mut C {
        &mut self.shared.caller
    }

    /// Ends the worker, all but its port and its program. Frames that were still to be sent are dropped.
    pub fn into_parts(self) -> (P, C) {
        (self.port, self.shared.caller)
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

/// Carries out what the program wants done; nothing while the transmit backlog is full. Returns how many orders it was.
fn carry_out<P: Port, C: Caller>(stack: &mut Stack<P, H1Client>, shared: &mut ClientShared<C>) -> usize {
    let mut done = 0;
    while done < ORDERS_MAX && !stack.is_blocked() {
        let now = shared.now;
        let Some(order) = shared.caller.next(now) else { break };
        done += 1;
        if let Some(id) = shared.caller.upcoming() {
            stack.prefetch_conn(id);
        }
        match order {
            Order::Connect(key) => {
                let result = stack.connect(&key, now);
                if let Ok(id) = result {
                    stack.with_session(id, |session| session.begin(now));
                }
                shared.caller.connecting(result);
            }
            Order::Ask(id, ask) => {
                if stack.visit(id, |session, conn| session.ask(conn, ask, shared)).is_none() {
                    shared.caller.failed(id, &Pending { ask, sent: now }, Fault::Closed, now);
                }
            }
            Order::Close(id) => _ = stack.visit(id, |session, conn| session.retire(conn, shared)),
        }
    }
    done
}
