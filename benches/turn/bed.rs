//! A gateway worker over a false port, with one route, as the turn bench and the frame tests use it.

use penstock::config::{
    Body, Cidr, Config, DirectResponse, HttpLimits, Listener, PathMatch, PortConfig, Route, TcpConfig, WorkersConfig,
};
use penstock::gateway::Gateway;
use penstock::mem::Arena;
use penstock::net::neighbor::Neighbors;
use penstock::port::Caps;
use penstock::sim::port::{FramePool, SimPort};
use penstock::telemetry::Counters;
use penstock::time::Instant;
use penstock::worker::{Worker, WorkerParts};
use std::sync::Arc;

use crate::client::GATEWAY_MAC;

/// The worker under test.
pub type GatewayWorker = Worker<SimPort, Gateway>;

/// 10.7.0.2/24 and fd00:7::2/64 behind the router 10.7.0.1; `/` answers `hello`.
pub fn config(connections: u32) -> Config {
    Config {
        port: PortConfig {
            addresses: vec![
                Cidr { address: [10, 7, 0, 2].into(), prefix_len: 24 },
                Cidr { address: [0xfd00, 7, 0, 0, 0, 0, 0, 2].into(), prefix_len: 64 },
            ],
            gateways: vec![[10, 7, 0, 1].into()],
            ..PortConfig::default()
        },
        workers: WorkersConfig { connections, ..WorkersConfig::default() },
        listeners: vec![Listener { address: None, port: 80 }],
        http: HttpLimits::default(),
        tcp: TcpConfig::default(),
        metrics: penstock::config::MetricsConfig::default(),
        admin: penstock::config::AdminConfig::default(),
        log: penstock::config::LogConfig::default(),
        routes: vec![Route {
            host: None,
            path: PathMatch::Prefix("/".into()),
            methods: vec![],
            respond: DirectResponse {
                status: 200,
                headers: vec![("Content-Type".into(), "text/plain; charset=utf-8".into())],
                body: Body::Inline(b"hello\n".to_vec()),
            },
        }],
    }
}

/// What a card does that leaves no checksum to software, or nothing.
pub fn caps(checksums: bool) -> Caps {
    Caps {
        mac: GATEWAY_MAC,
        mtu: 1500,
        rx_ip_checksum: checksums,
        rx_tcp_checksum: checksums,
        tx_ip_checksum: checksums,
        tx_tcp_checksum: checksums,
        ..Caps::default()
    }
}

/// A worker over a new port whose frames come from `pool`.
pub fn worker(config: &Arc<Config>, caps: Caps, pool: &FramePool, arena: Arena) -> (GatewayWorker, Arc<Counters>) {
    let counters = Arc::new(Counters::with_requests(1, 1));
    let parts = WorkerParts {
        port: SimPort::new(caps, pool.clone()),
        app: Gateway::new(config).expect("routes"),
        config: Arc::clone(config),
        neighbors: Neighbors::new(),
        counters: Arc::clone(&counters),
        arena,
        secret: [1, 2, 3, 4],
        now: Instant::ZERO,
    };
    (Worker::new(parts).expect("a worker"), counters)
}
