//! A gateway's state as data: what `penstock status` shows and `--json` prints.
//!
//! Owns the JSON's fields, which only grow, and the table. Refuses to compare two moments: `top` does.

use super::health;
use super::socket;
use super::subject::{Subject, View};
use crate::failure::{Exit, Failure};
use crate::telemetry::histogram::{Reading, bound_ns};
use crate::telemetry::{Counter, Gauge};
use core::fmt::Write;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// A gateway at one time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Release of Penstock.
    pub version: String,
    /// The commit it was built from.
    pub commit: String,
    /// Release of DPDK.
    pub dpdk: String,
    /// Process id.
    pub pid: u32,
    /// Time since the workers were launched, in seconds.
    pub uptime_s: f64,
    /// `starting`, `serving`, `draining` or `stopping`.
    pub phase: String,
    /// Whether it should get traffic.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// Fingerprint of the configuration.
    pub config_hash: String,
    /// Listeners by name.
    pub listeners: Vec<String>,
    /// The device.
    pub port: Port,
    /// Frame pools.
    pub pools: Vec<Pool>,
    /// Workers by number.
    pub workers: Vec<Worker>,
    /// Answered requests.
    pub requests: Vec<Requests>,
    /// Request latency.
    pub latency: Latency,
    /// Every counter's sum over the workers: by metric, then by its label's value, which may be empty.
    pub counters: BTreeMap<String, BTreeMap<String, u64>>,
}

/// The device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Its hardware address.
    pub mac: String,
    /// Whether the link is up; null: unknown.
    pub link_up: Option<bool>,
    /// DPDK's basic counters.
    pub stats: BTreeMap<String, u64>,
    /// The driver's extended counters.
    pub xstats: BTreeMap<String, u64>,
}

/// A frame pool.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Frames in all.
    pub frames: u32,
    /// Frames outside the pool and its caches.
    pub used_frames: u32,
}

/// A worker.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Worker {
    /// EAL's number of its lcore.
    pub lcore: u32,
    /// Its CPU, if it is one.
    pub cpu: Option<u32>,
    /// Its NUMA node, if it is one.
    pub node: Option<u32>,
    /// Since its last turn began, in seconds.
    pub last_turn_age_s: f64,
    /// Turns.
    pub turns: u64,
    /// Turns that did something.
    pub busy_turns: u64,
    /// Time in those, in seconds.
    pub busy_s: f64,
    /// Time in the others, in seconds.
    pub idle_s: f64,
    /// Time asleep between turns, in seconds.
    pub asleep_s: f64,
    /// The longest time between two turns is at most this, in seconds; null: longer than the last bucket.
    pub longest_gap_s: Option<f64>,
    /// Request heads read.
    pub requests: u64,
    /// Connections by state.
    pub connections: BTreeMap<String, u64>,
}

/// Requests of one listener, route, method and status class.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Requests {
    /// The listener's name.
    pub listener: String,
    /// The route's name; `none`: no route.
    pub route: String,
    /// The method; `other`, or `none` when it was never known.
    pub method: String,
    /// The status class.
    pub class: String,
    /// How many.
    pub count: u64,
}

/// A histogram of request latency.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Requests in each bucket: up to 10 us, then doubled bounds; the last one has none.
    pub buckets: Vec<u64>,
    /// The sum, in seconds.
    pub sum_s: f64,
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

impl Status {
    /// The present state.
    pub fn of(subject: &Subject, view: &View) -> Status {
        let ready = health::ready(subject, view);
        let mut latency = Reading::default();
        subject.workers.iter().for_each(|worker| latency.merge(&worker.counters.latency.read()));
        let mut counters = BTreeMap::<String, BTreeMap<String, u64>>::new();
        for counter in Counter::ALL {
            let (name, _, label, _) = counter.describe();
            counters.entry(name.into()).or_default().insert(label.into(), subject.sum(*counter));
        }
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: env!("PENSTOCK_GIT_SHA").into(),
            dpdk: subject.dpdk.clone(),
            pid: std::process::id(),
            uptime_s: seconds(view.now_ns),
            phase: view.phase.name().into(),
            ready: health::all_ok(&ready),
            reasons: health::reasons(&ready),
            config_hash: subject.config_hash.clone(),
            listeners: subject.listeners(),
            port: port(subject, view),
            pools: pools(view),
            workers: subject.workers.iter().map(|own| worker(own, view)).collect(),
            requests: requests(subject),
            latency: Latency { buckets: latency.buckets.into(), sum_s: seconds(latency.sum_ns) },
            counters,
        }
    }

    /// Asks a running gateway: the one named, or the only one.
    ///
    /// # Errors
    /// `Exit::Runtime` when there is none, several, or one that does not answer as it should.
    pub fn ask(socket: &Path) -> Result<Status, Failure> {
        let bytes = socket::get(socket, "/status")?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let what = format!("the gateway behind {} says what this release does not read: {error}", socket.display());
            Failure::new(Exit::Runtime, what).fix("use the penstock program that the gateway was started with")
        })
    }

    /// A counter's sum over its labels.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).map_or(0, |by_label| by_label.values().sum())
    }

    /// Connections in a state.
    pub fn connections(&self, state: &str) -> u64 {
        self.workers.iter().filter_map(|worker| worker.connections.get(state)).sum()
    }
}

fn port(subject: &Subject, view: &View) -> Port {
    let device = view.device.clone().unwrap_or_default();
    Port {
        name: subject.device.name.clone(),
        driver: subject.device.driver.clone(),
        mac: subject.device.mac.clone(),
        link_up: device.link_up,
        stats: device.stats.into_iter().collect(),
        xstats: device.xstats.into_iter().collect(),
    }
}

fn pools(view: &View) -> Vec<Pool> {
    let pools = view.device.iter().flat_map(|device| &device.pools);
    pools.map(|pool| Pool { name: pool.name.clone(), frames: pool.frames, used_frames: pool.in_use }).collect()
}

fn worker(own: &super::subject::Worker, view: &View) -> Worker {
    let times = own.counters.times();
    let longest = times.gaps.buckets.iter().rposition(|count| *count > 0).unwrap_or(0);
    Worker {
        lcore: own.lcore,
        cpu: own.cpu,
        node: own.node,
        last_turn_age_s: seconds(view.now_ns.saturating_sub(times.beat_ns)),
        turns: own.counters.read(Counter::Turns),
        busy_turns: own.counters.read(Counter::TurnsBusy),
        busy_s: seconds(times.busy_ns),
        idle_s: seconds(times.idle_ns),
        asleep_s: seconds(times.asleep_ns),
        longest_gap_s: bound_ns(longest).map(seconds),
        requests: own.counters.read(Counter::HttpRequests),
        connections: Gauge::ALL.iter().map(|g| (g.state().to_string(), own.counters.gauge(*g))).collect(),
    }
}

fn requests(subject: &Subject) -> Vec<Requests> {
    let one = |([listener, route, method, class], count): ([String; 4], u64)| Requests {
        listener,
        route,
        method,
        class,
        count,
    };
    subject.requests().into_iter().map(one).collect()
}

/// The time that a share of the requests took at most, as text; the bucket's bound, since more is not known.
pub fn quantile_text(buckets: &[u64], share: f64) -> String {
    let total: u64 = buckets.iter().sum();
    if total == 0 {
        return "-".into();
    }
    let rank = ((total as f64 * share).ceil() as u64).clamp(1, total);
    let mut below = 0;
    let bucket = buckets.iter().position(|count| {
        below += count;
        below >= rank
    });
    match bucket.and_then(bound_ns) {
        Some(ns) => format!("<={}", time_text(seconds(ns))),
        None => format!(">{}", time_text(seconds(bound_ns(crate::telemetry::histogram::BOUNDED - 1).unwrap_or(0)))),
    }
}

/// `10 us`, `5.12 ms`, `1.31 s`.
fn time_text(s: f64) -> String {
    let (value, unit) = match s {
        s if s < 1e-3 => (s * 1e6, "us"),
        s if s < 1.0 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    let text = format!("{value:.2}");
    format!("{} {unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A share as a percentage.
pub fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { 100.0 * part / whole } else { 0.0 }
}

/// `1d 02:03:04`.
pub fn uptime_text(s: f64) -> String {
    let s = s as u64;
    let (days, clock) = (s / 86_400, format!("{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60));
    if days > 0 { format!("{days}d {clock}") } else { clock }
}

/// The table of `penstock status`.
pub fn table(status: &Status) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<13}{value}");
    };
    let Status { version, commit, dpdk, pid, phase, port, .. } = status;
    row("gateway", format!("penstock {version} (commit {commit}, {dpdk}), pid {pid}"));
    let ready = if status.ready { "ready".to_string() } else { format!("not ready: {}", status.reasons.join("; ")) };
    row("state", format!("{phase}, {ready}, up {}", uptime_text(status.uptime_s)));
    row("config", status.config_hash.clone());
    row("listening", status.listeners.join(", "));
    let link = port.link_up.map_or("unknown", |up| if up { "up" } else { "down" });
    row("port", format!("{} ({}), {}, link {link}", port.name, port.driver, port.mac));
    for pool in &status.pools {
        row("pool", format!("{}: {} of {} frames used", pool.name, pool.used_frames, pool.frames));
    }
    for (number, worker) in status.workers.iter().enumerate() {
        row(&format!("worker {number}"), worker_text(worker));
    }
    row("latency", latency_text(status));
    for requests in &status.requests {
        let Requests { listener, route, method, class, count } = requests;
        row("requests", format!("{count:>12}  {listener}  {method} {route}  {class}"));
    }
    for (name, kind) in [
        ("penstock_dropped_frames_total", "dropped"),
        ("penstock_connections_closed_total", "closed"),
        ("penstock_http_rejected_total", "rejected"),
        ("penstock_http_closed_total", "limited"),
    ] {
        for (reason, count) in status.counters.get(name).into_iter().flatten().filter(|(_, count)| **count > 0) {
            row(kind, format!("{count:>12}  {reason}"));
        }
    }
    text
}

fn worker_text(worker: &Worker) -> String {
    let cpu = worker.cpu.map_or("several CPUs".into(), |cpu| format!("CPU {cpu}"));
    let node = worker.node.map_or("several nodes".into(), |node| format!("node {node}"));
    let states: Vec<String> = worker.connections.iter().map(|(state, count)| format!("{count} {state}")).collect();
    format!(
        "lcore {}, {cpu}, {node}: {:.1} % busy, {} requests, connections: {}, longest gap {}",
        worker.lcore,
        percent(worker.busy_s, worker.busy_s + worker.idle_s + worker.asleep_s),
        worker.requests,
        states.join(", "),
        worker.longest_gap_s.map_or("over 10 s".into(), |s| format!("<={}", time_text(s)))
    )
}

fn latency_text(status: &Status) -> String {
    let shares = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
    shares.map(|(name, share)| format!("{name} {}", quantile_text(&status.latency.buckets, share))).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fake::{Fake, subject};

    fn status() -> Status {
        let subject = subject(Fake::default());
        Status::of(&subject, &subject.view())
    }

    #[test]
    fn json_is_read_back_as_it_was_written() {
        let status = status();
        let json = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
        let grown = json.replacen('{', "{\"a_later_field\":1,", 1);
        assert_eq!(serde_json::from_str::<Status>(&grown).unwrap(), status, "later releases may say more");
    }

    #[test]
    fn sums_and_states() {
        let status = status();
        assert!(status.ready && status.reasons.is_empty());
        assert_eq!(status.connections("open"), 4);
        assert_eq!(status.counter("penstock_http_request_heads_total"), 2);
        assert_eq!(status.counter("penstock_connections_closed_total"), 8);
        assert_eq!(status.port.stats["imissed"], 7);
        assert_eq!(status.requests.iter().map(|r| r.count).sum::<u64>(), 10);
    }

    #[test]
    fn the_table_tells_what_matters() {
        let text = table(&status());
        for words in [
            "state        serving, ready, up 00:00:05",
            "net_fake0 (net_fake), 02:00:00:00:00:01, link up",
            "100 of 4096 frames used",
            "worker 1     lcore 2, CPU 2, node 0:",
            "2  *:80  POST /  2xx",
            "2  runt",
        ] {
            assert!(text.contains(words), "{words:?} in\n{text}");
        }
        let subject = subject(Fake { link_up: Some(false), ..Fake::default() });
        let text = table(&Status::of(&subject, &subject.view()));
        assert!(text.contains("not ready: the link of net_fake0 is down"), "{text}");
    }

    #[test]
    fn quantiles_name_the_bucket_they_fall_into() {
        let mut buckets = vec![0; 22];
        assert_eq!(quantile_text(&buckets, 0.5), "-");
        buckets[0] = 98;
        buckets[9] = 1;
        buckets[21] = 1;
        let texts = [0.5, 0.98, 0.985, 1.0].map(|share| quantile_text(&buckets, share));
        assert_eq!(texts, ["<=10 us", "<=10 us", "<=5.12 ms", ">10.49 s"]);
        assert_eq!([59.0, 3_661.0, 90_061.0].map(uptime_text), ["00:00:59", "01:01:01", "1d 01:01:01"]);
    }
}
