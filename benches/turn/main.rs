//! The whole turn on one core: frames in to frames out, no NIC, checksums left to hardware.
//!
//! `turn [--list] [--case NAME] [--requests N] [--seconds S]` prints one JSON line per case. With `--requests` it runs
//! that many and measures no time, for instruction counts under callgrind.

mod bed;
#[expect(dead_code, reason = "the tests use more of it")]
mod client;
mod windows;

use bed::GatewayWorker;
use client::Client;
use penstock::config::{Config, Hugepages};
use penstock::mem::{Arena, ArenaOptions};
use penstock::sim::port::FramePool;
use penstock::telemetry::{Counter, Counters};
use penstock::time::{Instant, Now};
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};
use windows::{VALID_MIN, WINDOW, Window};

/// Requests of one turn.
const BATCH: usize = 32;

/// 90 bytes, 4 fields.
const SMALL: &[u8] =
    b"GET / HTTP/1.1\r\nHost: 10.7.0.2\r\nUser-Agent: bench\r\nAccept: */*\r\nX-Request: 01234567890\r\n\r\n";

/// The kinds of load.
#[derive(Clone, Copy, PartialEq)]
enum Load {
    KeepAlive,
    PerRequest,
    /// Kept connections of which a sixteenth has socket and rings: all are parked at first, and each request wakes one.
    Parked,
    /// SYNs that nobody follows up. A request is a SYN that is answered.
    SynFlood,
}

/// A measured case.
struct Case {
    name: &'static str,
    connections: usize,
    load: Load,
    browser: bool,
    /// Every request differs, so that no head is recognized.
    unique: bool,
    /// Clients offer timestamps.
    stamps: bool,
}

const CASES: &[Case] = &[
    Case { name: "keepalive-1", connections: 1, load: Load::KeepAlive, browser: false, unique: false, stamps: false },
    Case {
        name: "keepalive-1000",
        connections: 1_000,
        load: Load::KeepAlive,
        browser: false,
        unique: false,
        stamps: false,
    },
    Case {
        name: "keepalive-30000",
        connections: 30_000,
        load: Load::KeepAlive,
        browser: false,
        unique: false,
        stamps: false,
    },
    Case {
        name: "keepalive-100000",
        connections: 100_000,
        load: Load::KeepAlive,
        browser: false,
        unique: false,
        stamps: false,
    },
    Case {
        name: "keepalive-browser-1000",
        connections: 1_000,
        load: Load::KeepAlive,
        browser: true,
        unique: false,
        stamps: false,
    },
    Case {
        name: "keepalive-stamps-1000",
        connections: 1_000,
        load: Load::KeepAlive,
        browser: false,
        unique: false,
        stamps: true,
    },
    Case {
        name: "keepalive-unique-1000",
        connections: 1_000,
        load: Load::KeepAlive,
        browser: false,
        unique: true,
        stamps: false,
    },
    Case {
        name: "connection-per-request",
        connections: 200_000,
        load: Load::PerRequest,
        browser: false,
        unique: false,
        stamps: false,
    },
    Case {
        name: "parked-20000",
        connections: 20_000,
        load: Load::Parked,
        browser: false,
        unique: false,
        stamps: false,
    },
    Case {
        name: "parked-1000000",
        connections: 1_000_000,
        load: Load::Parked,
        browser: false,
        unique: false,
        stamps: false,
    },
    Case {
        name: "syn-flood",
        connections: 1_000_000,
        load: Load::SynFlood,
        browser: false,
        unique: false,
        stamps: false,
    },
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str| args.iter().position(|a| a == flag).and_then(|i| args.get(i + 1));
    if args.iter().any(|a| a == "--list") {
        CASES.iter().for_each(|case| println!("{}", case.name));
        return;
    }
    let requests: Option<u64> = value("--requests").and_then(|n| n.parse().ok());
    let seconds: u64 = value("--seconds").and_then(|n| n.parse().ok()).unwrap_or(10);
    for case in CASES.iter().filter(|case| value("--case").is_none_or(|name| name == case.name)) {
        let mut bed = Bed::new(case);
        match requests {
            Some(n) => {
                let requests = bed.run_requests(n);
                println!("{{\"case\":\"{}\",\"requests\":{requests}{}}}", case.name, bed.memory());
            }
            None => println!("{}", bed.measure(Duration::from_secs(seconds))),
        }
    }
}

/// A worker and its client.
struct Bed<'a> {
    case: &'a Case,
    worker: GatewayWorker,
    client: Client,
    counters: Arc<Counters>,
    config: Arc<Config>,
    backing: String,
    now: Now,
    next: usize,
    busy: Duration,
    gap: Duration,
}

impl<'a> Bed<'a> {
    fn new(case: &'a Case) -> Self {
        let connections = match case.load {
            Load::KeepAlive | Load::Parked => case.connections.max(1_024) as u32,
            Load::PerRequest | Load::SynFlood => 4_096,
        };
        let mut config = bed::config(connections);
        if case.load == Load::Parked {
            config.workers.active = Some(connections / 16);
            config.tcp.park_after = Duration::from_millis(100);
        }
        config.tcp.timestamps = case.stamps;
        let config = Arc::new(config);
        let options = ArenaOptions { hugepages: Hugepages::Auto, numa_node: None };
        let arena = Arena::new(GatewayWorker::arena_size(&config), options).expect("memory for the arena");
        let backing = arena.backing().to_string();
        let pool = FramePool::new(8_192);
        let (worker, counters) = bed::worker(&config, bed::caps(true), &pool, arena);
        let request = request(case);
        let mut client = Client::new(pool, case.connections, &request);
        if case.stamps {
            client.offer_timestamps();
        }
        if case.unique {
            client.number_requests(b"X-Request: ");
        }
        let now = Now { mono: Instant::ZERO, unix_s: 1_700_000_000 };
        let mut bed = Bed {
            case,
            worker,
            client,
            counters,
            config,
            backing,
            now,
            next: 0,
            busy: Duration::ZERO,
            gap: Duration::ZERO,
        };
        bed.turn();
        if matches!(case.load, Load::KeepAlive | Load::Parked) {
            bed.connect_all();
        }
        if case.load == Load::Parked {
            bed.park_all();
        }
        bed
    }

    /// One turn, and the client's reaction to it. Only the turn is timed.
    fn turn(&mut self) {
        let start = Clock::now();
        self.worker.turn(self.now);
        let took = start.elapsed();
        self.busy += took;
        self.gap = self.gap.max(took);
        // 10 us a turn, so that timers run as they would at three million requests a second. Each of 100,000 clients then
        // acknowledges, with its next request, before the gateway's probe at 40 ms (RFC 8985, 7.2).
        self.now.mono = self.now.mono + Duration::from_micros(10);
        self.client.drain(self.worker.port_mut());
    }

    fn connect_all(&mut self) {
        for first in (0..self.case.connections).step_by(BATCH) {
            let batch = first..self.case.connections.min(first + BATCH);
            batch.clone().for_each(|i| self.client.open(self.worker.port_mut(), i));
            // The first SYN-ACK waits for the router's ARP reply.
            (0..3).for_each(|_| self.turn());
            batch.for_each(|i| self.client.acknowledge(self.worker.port_mut(), i));
            self.turn();
        }
    }

    /// Lets time pass until every connection is parked.
    fn park_all(&mut self) {
        let deadline = self.now.mono + Duration::from_secs(5);
        while self.worker.parked() < self.case.connections {
            self.turn();
            assert!(self.now.mono < deadline, "{} of {} are parked", self.worker.parked(), self.case.connections);
        }
    }

    /// What connections take, as far as the case is about that.
    fn memory(&self) -> String {
        if self.case.load != Load::Parked {
            return String::new();
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        format!(
            ",\"parked\":{},\"active\":{},\"woken\":{},\"bytes_per_parked_connection\":{},\"resident_kib\":{}",
            self.worker.parked(),
            self.config.workers.active(),
            self.counters.read(Counter::ConnWoken),
            GatewayWorker::bytes_per_parked_connection(&self.config),
            resident.unwrap_or("null"),
        )
    }

    /// Asks on the next connections, one turn's worth.
    fn step(&mut self) {
        let batch = BATCH.min(self.case.connections);
        let picked: Vec<usize> = (0..batch).map(|k| (self.next + k) % self.case.connections).collect();
        self.next = (self.next + batch) % self.case.connections;
        if self.case.load == Load::SynFlood {
            picked.iter().for_each(|&i| self.client.open(self.worker.port_mut(), i));
            return self.turn();
        }
        if self.case.load == Load::PerRequest {
            picked.iter().for_each(|&i| self.client.open(self.worker.port_mut(), i));
            self.turn();
        }
        picked.iter().for_each(|&i| self.client.ask(self.worker.port_mut(), i));
        self.turn();
        if self.case.load == Load::Parked {
            // With the next turn's requests. What is not acknowledged is not parked.
            picked.iter().for_each(|&i| self.client.acknowledge(self.worker.port_mut(), i));
        }
        if self.case.load == Load::PerRequest {
            picked.iter().for_each(|&i| self.client.close(self.worker.port_mut(), i));
            self.turn();
        }
    }

    fn answers(&self) -> u64 {
        if self.case.load == Load::SynFlood { self.client.syn_acks } else { self.client.answers }
    }

    fn run_requests(&mut self, requests: u64) -> u64 {
        while self.answers() < requests {
            self.step();
        }
        self.answers()
    }

    fn measure(&mut self, total: Duration) -> String {
        let end = Clock::now() + total;
        let warm = Clock::now() + Duration::from_millis(300);
        while Clock::now() < warm {
            self.step();
        }
        let mut windows = Vec::new();
        while Clock::now() < end {
            (self.busy, self.gap) = (Duration::ZERO, Duration::ZERO);
            let before = self.answers();
            let start = Clock::now();
            while start.elapsed() < WINDOW {
                self.step();
            }
            let (busy, gap) = (self.busy, self.gap);
            windows.push(Window { requests: self.answers() - before, busy, gap, spin: windows::spin() });
        }
        self.report(&windows)
    }

    fn report(&self, windows: &[Window]) -> String {
        let costs = windows::valid_costs(windows);
        let verdict = if costs.len() >= VALID_MIN { "VALID" } else { "INVALID" };
        let at = |share: f64| costs.get((costs.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
        let number = |x: f64| if x.is_finite() { format!("{x:.0}") } else { "null".to_string() };
        let hz = windows::nominal_hz();
        let drops = self.counters.read_metric("penstock_dropped_frames_total");
        format!(
            "{{\"case\":\"{}\",\"connections\":{},\"requests_per_core_s\":{},\"requests_per_core_s_best_decile\":{},\
             \"cycles_per_request\":{},\"cycles_per_request_best_decile\":{},\"verdict\":\"{verdict}\",\
             \"valid_windows\":{},\"windows\":{},\"bytes_per_connection\":{},\"memory\":\"{}\",\"dropped_frames\":{drops}{}}}",
            self.case.name,
            if matches!(self.case.load, Load::KeepAlive | Load::Parked) { self.case.connections } else { BATCH },
            number(1.0 / at(0.5)),
            number(1.0 / at(0.1)),
            number(at(0.5) * hz),
            number(at(0.1) * hz),
            costs.len(),
            windows.len(),
            GatewayWorker::bytes_per_connection(&self.config),
            self.backing,
            self.memory(),
        )
    }
}

fn request(case: &Case) -> Vec<u8> {
    assert_eq!(SMALL.len(), 90, "the fixed request has 90 bytes");
    if case.load == Load::PerRequest {
        return SMALL.iter().copied().take(SMALL.len() - 2).chain(*b"Connection: close\r\n\r\n").collect();
    }
    if !case.browser {
        return SMALL.to_vec();
    }
    let mut request = b"GET / HTTP/1.1\r\nHost: 10.7.0.2\r\nConnection: keep-alive\r\nCache-Control: max-age=0\r\n\
        Upgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like \
        Gecko) Chrome/120.0.0.0 Safari/537.36\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,\
        image/avif,image/webp,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\n\
        Cookie: session="
        .to_vec();
    let padding = 700 - 4 - request.len();
    request.extend(std::iter::repeat_n(b'a', padding));
    request.extend_from_slice(b"\r\n\r\n");
    request
}
