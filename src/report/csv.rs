//! The run's course as CSV (RFC 4180): a line for each interval.
//!
//! Owns the columns. Refuses to lose digits: durations are whole nanoseconds.

use super::model::{Point, Run};

type Column = (&'static str, fn(&Point) -> String);

/// Columns in order.
const COLUMNS: &[Column] = &[
    ("start_s", |p| format!("{:.6}", p.start_s)),
    ("end_s", |p| format!("{:.6}", p.end_s)),
    ("stage", |p| quoted(&p.stage)),
    ("judged", |p| u8::from(p.judged).to_string()),
    ("workers", |p| p.workers.to_string()),
    ("intended_rate", |p| p.intended_rate.map_or_else(String::new, |rate| format!("{rate:.3}"))),
    ("sent_rate", |p| format!("{:.3}", p.sent_rate)),
    ("rate", |p| format!("{:.3}", p.rate)),
    ("requests", |p| p.counts.counts().ended().to_string()),
    ("failed", |p| p.failed.to_string()),
    ("status", |p| p.counts.outcomes.status.to_string()),
    ("content", |p| p.counts.outcomes.content.to_string()),
    ("protocol", |p| p.counts.outcomes.protocol.to_string()),
    ("timeout", |p| p.counts.outcomes.timeout.to_string()),
    ("reset", |p| p.counts.outcomes.reset.to_string()),
    ("closed", |p| p.counts.outcomes.closed.to_string()),
    ("refused", |p| p.counts.outcomes.refused.to_string()),
    ("connect_timeout", |p| p.counts.outcomes.connect_timeout.to_string()),
    ("not_sent", |p| p.counts.outcomes.not_sent.to_string()),
    ("unanswered", |p| p.counts.outcomes.unanswered.to_string()),
    ("waited", |p| p.counts.waited.to_string()),
    ("open", |p| p.open.to_string()),
    ("connected", |p| p.counts.connected.to_string()),
    ("bytes_in", |p| p.counts.bytes_in.to_string()),
    ("bytes_out", |p| p.counts.bytes_out.to_string()),
    ("latency_mean_ns", |p| p.latency.mean_ns.to_string()),
    ("latency_p50_ns", |p| p.latency.p50_ns.to_string()),
    ("latency_p90_ns", |p| p.latency.p90_ns.to_string()),
    ("latency_p95_ns", |p| p.latency.p95_ns.to_string()),
    ("latency_p99_ns", |p| p.latency.p99_ns.to_string()),
    ("latency_p99_9_ns", |p| p.latency.p99_9_ns.to_string()),
    ("latency_p99_99_ns", |p| p.latency.p99_99_ns.to_string()),
    ("latency_max_ns", |p| p.latency.max_ns.to_string()),
    ("service_p50_ns", |p| p.service.p50_ns.to_string()),
    ("service_p99_ns", |p| p.service.p99_ns.to_string()),
    ("service_p99_9_ns", |p| p.service.p99_9_ns.to_string()),
    ("service_max_ns", |p| p.service.max_ns.to_string()),
    ("connect_p50_ns", |p| p.connect.p50_ns.to_string()),
    ("connect_p99_ns", |p| p.connect.p99_ns.to_string()),
    ("connect_max_ns", |p| p.connect.max_ns.to_string()),
    ("lag_p50_ns", |p| p.lag.p50_ns.to_string()),
    ("lag_p99_ns", |p| p.lag.p99_ns.to_string()),
    ("lag_max_ns", |p| p.lag.max_ns.to_string()),
    ("busy_share", |p| format!("{:.6}", p.busy_share)),
];

/// A header line and one line for each interval.
pub fn csv(run: &Run) -> String {
    let header = COLUMNS.iter().map(|(name, _)| (*name).to_string()).collect::<Vec<_>>().join(",");
    let line = |point: &Point| COLUMNS.iter().map(|(_, value)| value(point)).collect::<Vec<_>>().join(",");
    let lines = std::iter::once(header).chain(run.intervals.iter().map(line));
    lines.map(|line| line + "\r\n").collect()
}

/// Between quotes where it has to be (RFC 4180, 2).
fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_string() }
}
