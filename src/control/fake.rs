//! A gateway made up for the tests of the control side: two workers that counted one of everything.

use super::load::load_str;
use super::log::Logs;
use super::subject::{Device, DeviceView, Phase, PoolView, Probe, Subject, Worker};
use crate::config::LogLevel;
use crate::telemetry::turns::TurnMeter;
use crate::telemetry::{Counter, Counters, Gauge};
use std::path::Path;
use std::sync::Arc;

const CONFIG: &str = r#"
port = { address = "10.7.0.2/24" }
listener = [{ port = 80 }, { port = 8080, address = "10.7.0.2" }]
route = [
    { path = "/", respond = { body = "hello" } },
    { exact = "/", method = "POST", respond = { status = 201 } },
    { host = "example.org", path = "/down", respond = { status = 503 } },
]
"#;

/// What the made-up runtime says.
#[derive(Clone)]
pub(super) struct Fake {
    pub(super) now_ns: u64,
    pub(super) phase: Phase,
    pub(super) link_up: Option<bool>,
    /// The control thread answers.
    pub(super) answers: bool,
}

impl Default for Fake {
    fn default() -> Self {
        Fake { now_ns: 5_000_000_000, phase: Phase::Serving, link_up: Some(true), answers: true }
    }
}

impl Probe for Fake {
    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn phase(&self) -> Phase {
        self.phase
    }

    fn look(&self) -> Option<DeviceView> {
        const STATS: [&str; 8] =
            ["ipackets", "opackets", "ibytes", "obytes", "imissed", "ierrors", "oerrors", "rx_nombuf"];
        let count = |names: &[&str]| names.iter().map(|name| (name.to_string(), 7)).collect();
        self.answers.then(|| DeviceView {
            link_up: self.link_up,
            stats: count(&STATS),
            xstats: count(&["rx_good_packets", "rx_q0_errors"]),
            pools: vec![PoolView { name: "penstock_0".into(), frames: 4096, in_use: 100 }],
        })
    }
}

/// The gateway behind it.
pub(super) fn subject(fake: Fake) -> Subject {
    let config = Arc::new(load_str("fake.toml", CONFIG, Path::new("")).unwrap());
    let worker = |lcore| Worker { lcore, cpu: Some(lcore), node: Some(0), counters: Arc::new(counters(&config)) };
    Subject {
        config_hash: super::fingerprint::fingerprint(&config),
        dpdk: "DPDK 22.11.11".into(),
        device: Device { name: "net_fake0".into(), driver: "net_fake".into(), mac: "02:00:00:00:00:01".into() },
        workers: vec![worker(1), worker(2)],
        logs: Logs::to(std::io::sink(), LogLevel::Info, true).unwrap(),
        probe: Box::new(fake),
        config,
    }
}

fn counters(config: &crate::config::Config) -> Counters {
    let counters = Counters::with_requests(config.listeners.len(), config.routes.len());
    let mut meter = TurnMeter::start(0);
    for (now_ns, busy) in [(1_000, true), (1_500, false), (4_999_900_000, false), (4_999_999_000, false)] {
        meter.begin(now_ns, &counters);
        counters.inc(Counter::Turns);
        meter.end(busy);
    }
    for counter in Counter::ALL.iter().filter(|counter| **counter != Counter::Turns) {
        counters.inc(*counter);
    }
    for (value, gauge) in (1..).zip(Gauge::ALL) {
        counters.set(*gauge, value);
    }
    for (listener, route, method, status) in
        [(0, Some(0), 0, 200), (0, Some(1), 2, 201), (1, Some(2), 9, 503), (1, None, 0, 404), (0, None, 10, 400)]
    {
        counters.requests.count(listener, counters.requests.cell(route, method, status));
    }
    [0, 10_001, 3_000_000, 60_000_000_000].into_iter().for_each(|ns| counters.latency.record(ns));
    counters
}
