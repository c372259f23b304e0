//! Connections that begin here: a stack without a gateway on it, which reads what it gets and closes after its peer.
//!
//! Owns the turn of that stack. Refuses to know frames and scripts.

use penstock::config::Config;
use penstock::mem::Arena;
use penstock::net::isn::Isn;
use penstock::net::key::FlowKey;
use penstock::net::link::{Link, LinkConfig};
use penstock::net::neighbor::Neighbors;
use penstock::net::stack::{Conn, Event, Session, Stack, StackParts, arena_size};
use penstock::port::Port;
use penstock::sim::port::SimPort;
use penstock::telemetry::Counters;
use penstock::time::Instant;
use std::sync::Arc;

/// Scripts say what the connection says.
#[derive(Default)]
pub struct NoSession;

impl Session for NoSession {}

pub struct Client {
    pub stack: Stack<SimPort, NoSession>,
    pub port: SimPort,
}

impl Client {
    /// A client with the configuration's addresses.
    pub fn new(config: &Config, port: SimPort, neighbors: Arc<Neighbors>, counters: Arc<Counters>) -> Client {
        let (caps, now) = (port.caps().clone(), Instant::ZERO);
        let addresses = config.port.addresses.clone();
        let link = LinkConfig { mac: caps.mac, vlan: None, addresses, gateways: vec![] };
        let stack = Stack::new(StackParts {
            config,
            link: Link::new(link, neighbors, now),
            caps,
            counters,
            arena: &Arena::heap(arena_size::<()>(config)),
            secret: [5, 6, 7, 8],
            isn: Isn::new([9, 10], 0),
            now,
        });
        Client { stack: stack.expect("a stack"), port }
    }

    pub fn connect(&mut self, key: &FlowKey, now: Instant) {
        self.stack.connect(key, now).expect("room for a connection");
    }

    /// A turn; whether it had nothing to do.
    pub fn turn(&mut self, now: Instant) -> bool {
        let received = self.stack.receive(&mut self.port, now);
        let fired = self.stack.expire(&mut self.port, now);
        self.stack.serve(|_, conn, event| Client::serve(conn, event));
        received + fired + self.stack.transmit(&mut self.port, now) == 0
    }

    fn serve(conn: &mut Conn<'_>, event: Event) {
        conn.discard(usize::MAX);
        if event == Event::Ready && conn.peer_closed() {
            conn.close();
        }
    }
}
