//! selftest: a gateway and a generator in one process, joined by memif, on a core each.
//!
//! Owns the set-up, the three cases and the windows. Refuses to judge what is fast: it prints this machine's card.

use super::{Field, FieldOptions, Job, View};
use crate::config::{
    AdminConfig, AdminSocket, Body, Cidr, Config, DirectResponse, HttpLimits, Listener, LogConfig, MetricsConfig,
    PathMatch, PortConfig, Route, TcpConfig, WorkersConfig,
};
use crate::failure::{Exit, Failure};
use crate::loadgen::plan::{Arrivals, Check, Class, Plan, Stage, Target};
use crate::report::card::{CARD_SCHEMA, Card, LatencyAt, Throughput, VALID_MIN};
use crate::report::{Run, Stamp};
use crate::telemetry::histogram::bound_ns;
use crate::telemetry::{Counter, Counters};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The length of a window.
const WINDOW_NS: u64 = 20_000_000;
/// Gaps between turns from this on spoil a window; the first bound of the histogram over a millisecond.
const GAP_NS: u64 = 1_280_000;
/// How long a case's rate is looked for.
const PROBE: Duration = Duration::from_secs(2);
/// Offered, over what the closed loop was answered.
const OVERLOAD: f64 = 1.6;
const GATEWAY: [u8; 4] = [10, 99, 0, 2];
const CLIENT: [u8; 4] = [10, 99, 0, 1];

/// What to measure.
pub struct SelftestOptions {
    /// EAL arguments given before `--`; None: plan them.
    pub eal_args: Option<Vec<String>>,
    /// Connections held.
    pub connections: u32,
    /// The length of each case, warm-up excluded.
    pub length: Duration,
    /// The machine and the build.
    pub stamp: Stamp,
}

/// A folder for memif's socket that goes when dropped.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Folder, Failure> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("penstock-selftest-{}", std::process::id()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| {
            Failure::new(Exit::Environment, format!("cannot make {}: {error}", path.display()))
                .fix("set TMPDIR to a folder that can be written to")
        })?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is a socket in a folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Measures this machine. `progress` is told what happens.
///
/// # Errors
/// `Exit::Environment` when EAL or memif cannot be had; as [`Field::run`].
pub fn run(options: SelftestOptions, mut progress: impl FnMut(&str)) -> Result<Card, Failure> {
    let SelftestOptions { eal_args, connections, length, stamp } = options;
    let folder = Folder::make()?;
    let mut field = Field::open(FieldOptions {
        eal_args,
        config: client_config(&folder.0),
        gateway: Some(gateway_config(&folder.0, connections)),
        stamp,
    })?;
    let gateway: Vec<Arc<Counters>> = field.gateway().map(|gateway| gateway.counters().to_vec()).unwrap_or_default();
    let hz = crate::dpdk::cycles_per_second();
    let mut case = |field: &mut Field, name: &str, plan: Plan| {
        progress(&format!("{name}: {} s", total(&plan).as_secs_f64()));
        let mut windows = Windows::new(gateway.clone());
        let mut tick = |generator: &[Arc<Counters>]| windows.sample(generator);
        let mut watch = |_: &View<'_>| {};
        let run = field.run(Job { plan: Arc::new(plan), name: name.into(), watch: &mut watch, tick: &mut tick })?;
        if field.is_interrupted() {
            return Err(Failure::new(Exit::Aborted, "interrupted"));
        }
        Ok((run, windows))
    };
    let mut overload = |field: &mut Field, name: &str, connections: u32, per_request: bool| {
        // A closed loop finds what to offer too much of.
        let (run, _) = case(field, &format!("{name}, closed loop"), plan(connections, PROBE, 0.0, per_request))?;
        let rate = run.total.rate * OVERLOAD;
        let (run, windows) = case(field, name, plan(connections, length, rate, per_request))?;
        Ok::<_, Failure>(Throughput { offered_per_s: rate, ..throughput(&run, &windows, hz) })
    };
    let keep_alive = overload(&mut field, "keep-alive", connections, false)?;
    let per_request = overload(&mut field, "a connection per request", connections.min(500), true)?;
    let half = keep_alive.per_s / 2.0;
    let (run, _) = case(&mut field, "half load", plan(connections, length, half, false))?;
    let stamp = run.stamps.first().cloned().unwrap_or_default();
    let half_load = latency(&run, half);
    field.close()?;
    let at = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    Ok(Card { schema: CARD_SCHEMA, at, stamp, keep_alive, connections: per_request, half_load })
}

fn total(plan: &Plan) -> Duration {
    plan.stages.iter().map(|stage| stage.duration).sum()
}

/// Rate 0: a closed loop.
fn plan(connections: u32, length: Duration, rate: f64, per_request: bool) -> Plan {
    let stage = |name: &str, duration, warmup| Stage { name: name.into(), duration, from: rate, to: rate, warmup };
    let close = if per_request { "Connection: close\r\n" } else { "" };
    let head = format!("GET / HTTP/1.1\r\nHost: 10.99.0.2\r\nUser-Agent: penstock\r\nAccept: */*\r\n{close}\r\n");
    Plan {
        target: Target { url: "http://10.99.0.2/".into(), address: (GATEWAY, 80).into() },
        arrivals: if rate == 0.0 { Arrivals::Closed } else { Arrivals::Constant },
        stages: vec![stage("warm-up", Duration::from_secs(1), true), stage("measured", length, false)],
        classes: vec![Class {
            name: "get".into(),
            weight: 1,
            head_only: false,
            head: head.into_bytes().into(),
            body: Arc::from([]),
            check: Check { status: vec![200..=200], ..Check::default() },
        }],
        connections,
        requests_per_connection: u32::from(per_request),
        pipeline: 1,
        timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
        source_ports: 1024..=65_535,
        seed: 1,
        thresholds: Vec::new(),
    }
}

fn client_config(folder: &Path) -> Config {
    let device =
        format!("net_memif1,role=client,id=0,socket={}/./memif.sock,socket-abstract=no,rsize=11", folder.display());
    config(device, CLIENT, WorkersConfig { count: Some(1), ..WorkersConfig::default() }, Vec::new())
}

fn gateway_config(folder: &Path, connections: u32) -> Config {
    let device =
        format!("net_memif0,role=server,id=0,socket={}/memif.sock,socket-abstract=no,rsize=11", folder.display());
    let route = Route {
        host: None,
        path: PathMatch::Prefix("/".into()),
        methods: Vec::new(),
        respond: DirectResponse {
            status: 200,
            headers: vec![("Content-Type".into(), "text/plain; charset=utf-8".into())],
            body: Body::Inline(b"hello\n".to_vec()),
        },
    };
    let workers =
        WorkersConfig { count: Some(1), connections: (connections * 4).max(4096), ..WorkersConfig::default() };
    config(device, GATEWAY, workers, vec![route])
}

fn config(device: String, address: [u8; 4], workers: WorkersConfig, routes: Vec<Route>) -> Config {
    Config {
        port: PortConfig {
            device: Some(device),
            addresses: vec![Cidr { address: address.into(), prefix_len: 24 }],
            ..PortConfig::default()
        },
        workers,
        listeners: vec![Listener { address: None, port: 80 }],
        http: HttpLimits::default(),
        tcp: TcpConfig { time_wait: Duration::from_secs(1), bulk_rings: 0, ..TcpConfig::default() },
        metrics: MetricsConfig { address: None },
        admin: AdminConfig { socket: AdminSocket::Off },
        log: LogConfig::default(),
        routes,
    }
}

/// A reading of the gateway and the generator at one time.
#[derive(Copy, Clone, Debug, Default)]
struct Reading {
    at_ns: u64,
    requests: u64,
    gateway_busy_ns: u64,
    generator_busy_ns: u64,
    gaps: u64,
}

/// One window's figures.
#[derive(Copy, Clone, Debug)]
struct Window {
    ns: u64,
    requests: u64,
    gateway_busy_ns: u64,
    generator_busy_ns: u64,
    valid: bool,
}

/// Cuts a run into windows and tells those in which a core was taken away.
struct Windows {
    gateway: Vec<Arc<Counters>>,
    last: Option<Reading>,
    all: Vec<Window>,
}

impl Windows {
    fn new(gateway: Vec<Arc<Counters>>) -> Windows {
        Windows { gateway, last: None, all: Vec::new() }
    }

    fn sample(&mut self, generator: &[Arc<Counters>]) {
        let (gateway, generator) = (Sum::of(&self.gateway), Sum::of(generator));
        let now = Reading {
            at_ns: gateway.beat_ns,
            requests: self.gateway.iter().map(|counters| counters.read(Counter::HttpRequests)).sum(),
            gateway_busy_ns: gateway.busy_ns,
            generator_busy_ns: generator.busy_ns,
            gaps: gateway.gaps + generator.gaps,
        };
        let Some(last) = self.last else {
            self.last = Some(now);
            return;
        };
        if now.at_ns < last.at_ns + WINDOW_NS {
            return;
        }
        self.last = Some(now);
        let requests = now.requests - last.requests;
        if requests > 0 {
            self.all.push(Window {
                ns: now.at_ns - last.at_ns,
                requests,
                gateway_busy_ns: now.gateway_busy_ns - last.gateway_busy_ns,
                generator_busy_ns: now.generator_busy_ns.saturating_sub(last.generator_busy_ns),
                valid: now.gaps == last.gaps,
            });
        }
    }
}

#[derive(Default)]
struct Sum {
    beat_ns: u64,
    busy_ns: u64,
    gaps: u64,
}

impl Sum {
    fn of(counters: &[Arc<Counters>]) -> Sum {
        let mut sum = Sum::default();
        for counters in counters {
            let times = counters.times();
            sum.beat_ns = sum.beat_ns.max(times.beat_ns);
            sum.busy_ns += times.busy_ns;
            let long = times.gaps.buckets.iter().enumerate();
            sum.gaps +=
                long.filter(|(i, _)| bound_ns(*i).is_none_or(|bound| bound > GAP_NS)).map(|(_, n)| n).sum::<u64>();
        }
        sum
    }
}

fn throughput(run: &Run, windows: &Windows, hz: u64) -> Throughput {
    let valid: Vec<&Window> = windows.all.iter().filter(|window| window.valid && window.gateway_busy_ns > 0).collect();
    let undisturbed = valid.len() as u64;
    let valid = if (valid.len() as u64) < VALID_MIN { Vec::new() } else { valid };
    let mut rates: Vec<f64> =
        valid.iter().map(|window| window.requests as f64 * 1e9 / window.gateway_busy_ns as f64).collect();
    rates.sort_by(f64::total_cmp);
    let at = |share: f64| rates.get((rates.len() as f64 * share) as usize).copied().unwrap_or(0.0);
    let sum = |get: fn(&Window) -> u64| valid.iter().map(|window| get(window)).sum::<u64>() as f64;
    let share = |get| sum(get) / sum(|window| window.ns).max(1.0);
    Throughput {
        per_s: run.total.rate,
        per_busy_s: at(0.5),
        per_busy_s_range: [at(0.1), at(0.9)],
        cycles: if at(0.5) > 0.0 { hz as f64 / at(0.5) } else { 0.0 },
        valid_windows: [undisturbed, windows.all.len() as u64],
        offered_per_s: 0.0,
        gateway_busy: share(|window| window.gateway_busy_ns),
        generator_busy: share(|window| window.generator_busy_ns),
    }
}

fn latency(run: &Run, rate: f64) -> LatencyAt {
    let latency = &run.total.latency;
    LatencyAt {
        rate,
        latency_ns: [latency.p50_ns, latency.p99_ns, latency.p99_9_ns],
        verdict: run.verdict.outcome.name().into(),
        reasons: run.verdict.reasons.iter().map(|finding| finding.what.clone()).collect(),
    }
}
