//! A generator and a gateway, each a whole worker, joined by a wire with a delay, under one virtual clock.

use penstock::config::{
    AdminConfig, Body, Cidr, Config, DirectResponse, HttpLimits, Listener, MetricsConfig, PathMatch, PortConfig, Route,
    TcpConfig, WorkersConfig,
};
use penstock::gateway::Gateway;
use penstock::loadgen::generator::{Generator, GeneratorParts};
use penstock::loadgen::plan::{Arrivals, Check, Class, Plan, Stage, Target};
use penstock::loadgen::record::{Interval, Recording};
use penstock::loadgen::recorder::IntervalQueues;
use penstock::mem::Arena;
use penstock::net::isn::Isn;
use penstock::net::neighbor::Neighbors;
use penstock::net::source::Sources;
use penstock::port::Caps;
use penstock::sim::port::{FramePool, SimFrame, SimPort};
use penstock::telemetry::Counters;
use penstock::time::{Instant, Now};
use penstock::worker::client::{self, ClientParts, ClientWorker};
use penstock::worker::{Worker, WorkerParts};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

const GATEWAY: [u8; 4] = [10, 7, 0, 2];
const CLIENT: [u8; 4] = [10, 7, 0, 1];

/// Between two turns of each worker.
pub const TURN: Duration = Duration::from_micros(20);

/// A plan for `/` of the gateway: constant arrivals, kept connections.
pub fn plan(rate: f64, seconds: f64, connections: u32) -> Plan {
    Plan {
        target: Target { url: "http://10.7.0.2/".into(), address: (GATEWAY, 80).into() },
        arrivals: Arrivals::Constant,
        stages: vec![stage("main", rate, seconds)],
        classes: vec![class("get", "GET / HTTP/1.1\r\nHost: 10.7.0.2\r\n\r\n")],
        connections,
        requests_per_connection: 0,
        pipeline: 1,
        timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(3),
        source_ports: 1024..=65_535,
        seed: 1,
        thresholds: vec![],
    }
}

pub fn stage(name: &str, rate: f64, seconds: f64) -> Stage {
    Stage { name: name.into(), duration: Duration::from_secs_f64(seconds), from: rate, to: rate, warmup: false }
}

pub fn class(name: &str, head: &str) -> Class {
    let (head, body) = head.split_once("\r\n\r\n").unwrap();
    Class {
        name: name.into(),
        weight: 1,
        head_only: head.starts_with("HEAD"),
        head: format!("{head}\r\n\r\n").into_bytes().into(),
        body: body.as_bytes().into(),
        check: Check::default(),
    }
}

fn config(address: [u8; 4], connections: u32, http: HttpLimits, routes: Vec<Route>) -> Arc<Config> {
    Arc::new(Config {
        port: PortConfig { addresses: vec![Cidr { address: address.into(), prefix_len: 24 }], ..PortConfig::default() },
        workers: WorkersConfig { connections, ..WorkersConfig::default() },
        listeners: vec![Listener { address: None, port: 80 }],
        http,
        tcp: TcpConfig::default(),
        metrics: MetricsConfig::default(),
        admin: AdminConfig::default(),
        log: Default::default(),
        routes,
    })
}

fn route(path: &str, status: u16, body: Vec<u8>) -> Route {
    Route {
        host: None,
        path: PathMatch::Prefix(path.into()),
        methods: vec![],
        respond: DirectResponse { status, headers: vec![], body: Body::Inline(body) },
    }
}

/// The content of `/large`.
pub fn large() -> Vec<u8> {
    (0..300_000u32).map(|i| (i * 7 % 251) as u8).collect()
}

pub struct Pair {
    pub client: ClientWorker<SimPort, Generator>,
    pub gateway: Worker<SimPort, Gateway>,
    pub gateway_counters: Arc<Counters>,
    pub intervals: Vec<Interval>,
    pub now: Now,
    /// The gateway takes no turns until then.
    pub paused_until: Instant,
    /// The client takes no turns until then.
    pub stalled_until: Instant,
    /// Nothing arrives before this long.
    pub delay: Duration,
    /// The gateway takes a turn at most this often.
    pub turn_every: Duration,
    /// A turn of the gateway finds this many frames at most.
    pub frames_per_turn: usize,
    next_turn: Instant,
    queues: IntervalQueues,
    wire: [VecDeque<(Instant, SimFrame)>; 2],
    pool: FramePool,
    plan: Arc<Plan>,
}

impl Pair {
    pub fn new(plan: Plan) -> Pair {
        Pair::with_limits(plan, HttpLimits::default())
    }

    pub fn with_limits(plan: Plan, http: HttpLimits) -> Pair {
        let plan = Arc::new(plan);
        let pool = FramePool::new(1 << 17);
        let caps = |last| Caps { mac: [2, 0, 0, 0, 0, last], mtu: 1500, ..Caps::default() };
        let slots = Generator::slots(&plan, 1);
        let routes = vec![
            route("/", 200, b"hello\n".to_vec()),
            route("/missing", 404, b"no\n".to_vec()),
            route("/large", 200, large()),
        ];
        let server = config(GATEWAY, (slots * 4) as u32, http, routes);
        let now = Now { mono: Instant::ZERO, unix_s: 1_700_000_000 };
        let gateway_counters = Arc::new(Counters::with_requests(3, 1));
        let gateway = Worker::new(WorkerParts {
            port: SimPort::new(caps(2), pool.clone()),
            app: Gateway::new(&server).unwrap(),
            config: Arc::clone(&server),
            neighbors: Neighbors::new(),
            counters: Arc::clone(&gateway_counters),
            arena: Arena::heap(Worker::<SimPort, Gateway>::arena_size(&server)),
            secret: [1, 2, 3, 4],
            now: now.mono,
        })
        .unwrap();
        let ours = config(CLIENT, slots as u32, HttpLimits::default(), vec![]);
        let queues = IntervalQueues::default();
        let caller = Generator::new(GeneratorParts {
            plan: Arc::clone(&plan),
            worker: 0,
            workers: 1,
            sources: Sources::new(plan.target.address, &[IpAddr::from(CLIENT)], &plan.source_ports, 99).unwrap(),
            slots,
            queues: queues.clone(),
            interval: Duration::from_secs(1),
        });
        let client = ClientWorker::new(ClientParts {
            port: SimPort::new(caps(1), pool.clone()),
            caller,
            config: Arc::clone(&ours),
            depth: plan.pipeline,
            neighbors: Neighbors::new(),
            counters: Arc::new(Counters::default()),
            arena: Arena::heap(client::client_arena_size(&ours)),
            secret: [5, 6, 7, 8],
            isn: Isn::new([5, 6], 0),
            now: now.mono,
        })
        .unwrap();
        Pair {
            client,
            gateway,
            gateway_counters,
            intervals: vec![],
            now,
            paused_until: Instant::ZERO,
            stalled_until: Instant::ZERO,
            delay: Duration::ZERO,
            turn_every: Duration::ZERO,
            frames_per_turn: usize::MAX,
            next_turn: Instant::ZERO,
            queues,
            wire: Default::default(),
            pool,
            plan,
        }
    }

    /// One turn of each, and the wire between them.
    pub fn step(&mut self) {
        let at = self.now.mono;
        if at >= self.stalled_until {
            self.client.turn(self.now);
        }
        if at >= self.paused_until && at >= self.next_turn {
            self.next_turn = at + self.turn_every;
            let rx = &mut self.gateway.port_mut().rx;
            let later = rx.split_off(rx.len().min(self.frames_per_turn));
            self.gateway.turn(self.now);
            self.gateway.port_mut().rx.extend(later);
        }
        let [to_gateway, to_client] = &mut self.wire;
        let arrival = at + self.delay;
        to_gateway.extend(self.client.port_mut().tx.drain(..).map(|frame| (arrival, frame)));
        to_client.extend(self.gateway.port_mut().tx.drain(..).map(|frame| (arrival, frame)));
        while to_gateway.front().is_some_and(|(due, _)| *due <= at) {
            self.gateway.port_mut().rx.extend(to_gateway.pop_front().map(|(_, frame)| frame));
        }
        while to_client.front().is_some_and(|(due, _)| *due <= at) {
            self.client.port_mut().rx.extend(to_client.pop_front().map(|(_, frame)| frame));
        }
        while let Some(interval) = self.queues.take() {
            self.intervals.push(interval);
        }
        self.now.mono = at + TURN;
    }

    /// Opens the connections, starts the schedule at the next whole millisecond, and returns that time.
    pub fn prepare(&mut self) -> Instant {
        for _ in 0..1_000_000 {
            if self.client.caller().is_prepared() {
                break;
            }
            self.step();
        }
        assert!(self.client.caller().is_prepared(), "connections");
        let start = Instant::from_millis(self.now.mono.millis() + 1);
        self.client.caller_mut().start(start);
        start
    }

    /// Runs to the end.
    pub fn finish(mut self) -> (Recording, Vec<Interval>) {
        let total: Duration = self.plan.stages.iter().map(|stage| stage.duration).sum();
        let limit = self.now.mono + total + self.plan.timeout + Duration::from_secs(10);
        while !self.client.caller().is_over(self.now.mono) {
            assert!(self.now.mono < limit, "the run does not end");
            self.step();
        }
        let mut pending = vec![];
        self.client.each_pending(|p| pending.push(*p));
        let mut intervals = self.intervals;
        let (port, generator) = self.client.into_parts();
        let recording = generator.finish(&pending, self.now.mono);
        drop(port);
        while let Some(interval) = self.queues.take() {
            intervals.push(interval);
        }
        drop((self.wire, self.gateway));
        assert_eq!(self.pool.live(), 0, "every frame is back");
        (recording, intervals)
    }

    pub fn run(mut self) -> (Recording, Vec<Interval>) {
        self.prepare();
        self.finish()
    }
}
