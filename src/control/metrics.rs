//! The counters as Prometheus reads them.
//!
//! Owns names, types and labels of what is not in the list of counters; docs/metrics.md describes every metric, and a
//! test compares. Refuses to count: it reads the workers' words when it is asked.

use super::health;
use super::subject::{DeviceView, Subject, View};
use crate::telemetry::histogram::{BUCKETS, Reading, bound_ns};
use crate::telemetry::{Counter, Gauge};
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};
use std::collections::BTreeMap;

#[cfg(test)]
mod lint;
#[cfg(test)]
mod tests;

/// The media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics whose counters are told apart by worker; all others are sums.
const BY_WORKER: [&str; 4] = ["penstock_rx_", "penstock_tx_", "penstock_worker_", "penstock_http_request_heads_"];
/// DPDK's basic counters: `rte_eth_stats` name, metric, help.
const PORT_STATS: [(&str, &str, &str); 8] = [
    ("ipackets", "penstock_port_rx_packets_total", "Packets the device received"),
    ("opackets", "penstock_port_tx_packets_total", "Packets the device sent"),
    ("ibytes", "penstock_port_rx_bytes_total", "Bytes the device received"),
    ("obytes", "penstock_port_tx_bytes_total", "Bytes the device sent"),
    ("imissed", "penstock_port_rx_missed_total", "Packets the device dropped because its receive queues were full"),
    ("ierrors", "penstock_port_rx_errors_total", "Packets the device received damaged"),
    ("oerrors", "penstock_port_tx_errors_total", "Packets the device failed to send"),
    ("rx_nombuf", "penstock_port_rx_no_frame_total", "Receptions that found no free frame in the pool"),
];

/// Everything, in the text format.
pub fn render(subject: &Subject, view: &View) -> String {
    let mut all = Families::default();
    counters(subject, &mut all);
    requests(subject, &mut all);
    workers(subject, view, &mut all);
    if let Some(device) = &view.device {
        port(subject, device, &mut all);
    }
    process(subject, view, &mut all);
    let mut text = Vec::new();
    // The encoder refuses families without metrics only, and those are left out.
    let _ = TextEncoder::new().encode(&all.0.into_values().collect::<Vec<_>>(), &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// Metric families by name.
#[derive(Default)]
struct Families(BTreeMap<String, MetricFamily>);

impl Families {
    fn add(&mut self, (name, help): (&str, &str), kind: MetricType, metric: Metric) {
        let family = self.0.entry(name.to_string()).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_string());
            family.set_help(help.to_string());
            family.set_field_type(kind);
            family
        });
        family.mut_metric().push(metric);
    }

    fn counter(&mut self, about: (&str, &str), labels: &[(&str, &str)], value: f64) {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_counter(counter);
        self.add(about, MetricType::COUNTER, metric);
    }

    fn gauge(&mut self, about: (&str, &str), labels: &[(&str, &str)], value: f64) {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_gauge(gauge);
        self.add(about, MetricType::GAUGE, metric);
    }

    fn histogram(&mut self, about: (&str, &str), labels: &[(&str, &str)], reading: &Reading) {
        let mut histogram = proto::Histogram::default();
        let mut below = 0;
        let mut buckets = Vec::new();
        for (bound, count) in (0..BUCKETS).map(bound_ns).zip(reading.buckets) {
            below += count;
            let Some(bound) = bound else { break };
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(seconds(bound));
            bucket.set_cumulative_count(below);
            buckets.push(bucket);
        }
        histogram.set_bucket(buckets);
        histogram.set_sample_count(below);
        histogram.set_sample_sum(seconds(reading.sum_ns));
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_histogram(histogram);
        self.add(about, MetricType::HISTOGRAM, metric);
    }
}

fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_string());
        pair.set_value(value.to_string());
        pair
    };
    labels.iter().map(pair).collect()
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// What a metric is about when its counters have texts of their own.
fn about(name: &str) -> &'static str {
    match name {
        "penstock_dropped_frames_total" => "Frames dropped, by reason",
        "penstock_connections_closed_total" => "Connections ended, by reason",
        "penstock_http_rejected_total" => "Requests answered with an error before they were routed, by reason",
        "penstock_http_closed_total" => "Connections closed by HTTP limits, by reason",
        "penstock_arp_total" => "ARP packets, by kind",
        "penstock_neighbor_discovery_total" => "Neighbour discovery messages, by kind",
        "penstock_icmp_echo_total" => "ICMP echo messages, by kind",
        "penstock_time_wait_total" => "TIME-WAIT entries, by what happened to them",
        _ => "",
    }
}

fn counters(subject: &Subject, all: &mut Families) {
    for counter in Counter::ALL {
        let (name, label, value, own_help) = counter.describe();
        let help = Some(about(name)).filter(|text| !text.is_empty()).unwrap_or(own_help);
        if !BY_WORKER.iter().any(|prefix| name.starts_with(prefix)) {
            let labels = [(label, value)];
            let labels = if label.is_empty() { &[][..] } else { &labels };
            all.counter((name, help), labels, subject.sum(*counter) as f64);
            continue;
        }
        for (number, worker) in subject.workers.iter().enumerate() {
            all.counter((name, help), &[("worker", &number.to_string())], worker.counters.read(*counter) as f64);
        }
    }
}

fn requests(subject: &Subject, all: &mut Families) {
    const TOTAL: (&str, &str) = ("penstock_http_requests_total", "Requests whose answer was handed to TCP to its end");
    const DURATION: (&str, &str) = (
        "penstock_http_request_duration_seconds",
        "From the turn that saw a request's first byte to the turn that handed the last byte of its answer to TCP",
    );
    for ([listener, route, method, class], count) in &subject.requests() {
        let labels = [("listener", &**listener), ("route", route), ("method", method), ("class", class)];
        all.counter(TOTAL, &labels, *count as f64);
    }
    let mut latency = Reading::default();
    subject.workers.iter().for_each(|worker| latency.merge(&worker.counters.latency.read()));
    all.histogram(DURATION, &[], &latency);
}

fn workers(subject: &Subject, view: &View, all: &mut Families) {
    let connections_max = f64::from(subject.config.workers.connections);
    let active_max = f64::from(subject.config.workers.active());
    for (number, worker) in subject.workers.iter().enumerate() {
        let number = number.to_string();
        let labels = [("worker", number.as_str())];
        let times = worker.counters.times();
        let text = |number: Option<u32>| number.map_or("several".to_string(), |number| number.to_string());
        let place = [
            ("worker", number.as_str()),
            ("lcore", &worker.lcore.to_string()),
            ("cpu", &text(worker.cpu)),
            ("node", &text(worker.node)),
        ];
        all.gauge(("penstock_worker_info", "Where a worker runs"), &place, 1.0);
        let busy = ("penstock_worker_busy_seconds_total", "Time in turns that did something");
        all.counter(busy, &labels, seconds(times.busy_ns));
        let idle = ("penstock_worker_idle_seconds_total", "Time in turns that did nothing");
        all.counter(idle, &labels, seconds(times.idle_ns));
        let asleep = ("penstock_worker_asleep_seconds_total", "Time asleep between turns, for want of work");
        all.counter(asleep, &labels, seconds(times.asleep_ns));
        let gaps =
            ("penstock_worker_turn_gap_seconds", "Time between the beginnings of successive turns, sleep excluded");
        all.histogram(gaps, &labels, &times.gaps);
        let age = ("penstock_worker_last_turn_age_seconds", "Time since the last turn began");
        all.gauge(age, &labels, seconds(view.now_ns.saturating_sub(times.beat_ns)));
        for gauge in Gauge::ALL {
            let labels = [("worker", number.as_str()), ("state", gauge.state())];
            let about = ("penstock_connections", "Connections, by state");
            all.gauge(about, &labels, worker.counters.gauge(*gauge) as f64);
        }
        let limit = ("penstock_connections_limit", "Connections a worker holds at most, TIME-WAIT excluded");
        all.gauge(limit, &labels, connections_max);
        let limit = ("penstock_active_connections_limit", "Connections with socket and rings a worker holds at most");
        all.gauge(limit, &labels, active_max);
    }
}

fn port(subject: &Subject, device: &DeviceView, all: &mut Families) {
    let port = ("port", subject.device.name.as_str());
    if let Some(up) = device.link_up {
        all.gauge(("penstock_port_up", "Whether the link is up"), &[port], f64::from(u8::from(up)));
    }
    for (stat, name, help) in PORT_STATS {
        if let Some((_, value)) = device.stats.iter().find(|(own, _)| own == stat) {
            all.counter((name, help), &[port], *value as f64);
        }
    }
    let xstats = ("penstock_port_xstats_total", "The driver's extended statistics, queues among them");
    // A driver that repeats a name would make the whole text invalid.
    for (stat, value) in device.xstats.iter().cloned().collect::<BTreeMap<_, _>>() {
        all.counter(xstats, &[port, ("stat", &stat)], value as f64);
    }
    for pool in &device.pools {
        let labels = [("pool", pool.name.as_str())];
        all.gauge(("penstock_mempool_frames", "Frames of a pool"), &labels, f64::from(pool.frames));
        let used =
            ("penstock_mempool_used_frames", "Frames outside a pool and its caches: in queues, or held by workers");
        all.gauge(used, &labels, f64::from(pool.in_use));
    }
}

fn process(subject: &Subject, view: &View, all: &mut Families) {
    let build = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("commit", env!("PENSTOCK_GIT_SHA")),
        ("dpdk", subject.dpdk.trim_start_matches("DPDK ")),
    ];
    all.gauge(("penstock_build_info", "The build"), &build, 1.0);
    let hash = [("hash", subject.config_hash.as_str())];
    all.gauge(("penstock_config_info", "The configuration: equal hashes, equal settings"), &hash, 1.0);
    all.gauge(("penstock_uptime_seconds", "Time since the workers were launched"), &[], seconds(view.now_ns));
    let lost = (
        "penstock_log_lost_lines_total",
        "Lines of the log that were not written: its reader was too slow, or writing failed",
    );
    all.counter(lost, &[], subject.logs.lost() as f64);
    if let Some(bytes) = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| resident(&status)) {
        let about = ("process_resident_memory_bytes", "Memory of the process that is in RAM, hugepages excluded");
        all.gauge(about, &[], bytes);
    }
    let ready = health::all_ok(&health::ready(subject, view));
    all.gauge(("penstock_ready", "Whether /readyz says ready"), &[], f64::from(u8::from(ready)));
}

/// Bytes in RAM, of what /proc/PID/status says.
fn resident(status: &str) -> Option<f64> {
    let kib: f64 =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024.0)
}
