//! InfluxDB line protocol: the course of a run for time series databases.
//!
//! Owns measurement, tags and fields. Refuses batches over HTTP: it only writes text.

use core::fmt::Write as _;
use std::time::UNIX_EPOCH;

use super::model::{Point, Run};

/// A line `penstock_load` for each interval and a line `penstock_load_total` at the end; timestamps in nanoseconds.
///
/// # Errors
/// When `started` is not RFC 3339.
pub fn influx(run: &Run) -> Result<String, String> {
    let started =
        humantime::parse_rfc3339(&run.started).map_err(|error| format!("started {:?}: {error}", run.started))?;
    let started = started.duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?.as_nanos();
    let tags = tags(&[("run", &run.name), ("host", run.stamps.first().map_or("", |stamp| &stamp.host))]);
    let mut text = String::new();
    for point in &run.intervals {
        let at = started + (point.end_s * 1e9) as u128;
        let stage = self::tags(&[("stage", &point.stage)]);
        let _ = writeln!(text, "penstock_load{tags}{stage} {} {at}", fields(point));
    }
    let total = &run.total;
    let _ = write!(text, "penstock_load_total{tags} requests={}i,failed={}i", total.requests, total.failed);
    let _ = write!(text, ",rate={},verdict=\"{}\"", total.rate, run.verdict.outcome.name());
    for (name, distribution) in [("latency", &total.latency), ("service", &total.service), ("lag", &run.lag)] {
        for (percentile, ns) in distribution.percentiles() {
            let _ = write!(text, ",{name}_{}_ns={ns}i", percentile.replace('.', "_"));
        }
        let _ = write!(text, ",{name}_max_ns={}i", distribution.max_ns);
    }
    let _ = writeln!(text, " {}", started + (run.elapsed_s * 1e9) as u128);
    Ok(text)
}

fn fields(point: &Point) -> String {
    let mut text = format!("sent_rate={},rate={},failed={}i", point.sent_rate, point.rate, point.failed);
    if let Some(rate) = point.intended_rate {
        let _ = write!(text, ",intended_rate={rate}");
    }
    let (ended, waited) = (point.counts.counts().ended(), point.counts.waited);
    let _ = write!(text, ",requests={ended}i,waited={waited}i,open={}i,busy_share={}", point.open, point.busy_share);
    for (name, d) in [("latency", &point.latency), ("service", &point.service), ("lag", &point.lag)] {
        for (percentile, ns) in [("p50", d.p50_ns), ("p99", d.p99_ns), ("p99_9", d.p99_9_ns), ("max", d.max_ns)] {
            let _ = write!(text, ",{name}_{percentile}_ns={ns}i");
        }
    }
    text
}

/// Tags with a comma before each. An empty value is not allowed, so such a tag is left out; neither is a line feed.
fn tags(tags: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in tags {
        let mut safe = String::new();
        for c in value.chars() {
            match c {
                c if c.is_control() => safe.push_str("\\ "),
                ',' | '=' | ' ' => safe.extend(['\\', c]),
                c => safe.push(c),
            }
        }
        // A backslash at the end would escape the comma after it.
        let safe = safe.trim_end_matches('\\');
        if !safe.is_empty() {
            let _ = write!(text, ",{name}={safe}");
        }
    }
    text
}
