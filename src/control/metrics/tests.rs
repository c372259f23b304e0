//! The exposition of a made-up gateway: valid, complete, described.

use super::lint::{Family, lint, parse};
use super::*;
use crate::control::fake::{Fake, subject};
use std::collections::BTreeSet;
use std::path::Path;

/// A metric's name, labels and expected value.
type Case = (&'static str, &'static [(&'static str, &'static str)], f64);

fn exposition() -> String {
    let subject = subject(Fake::default());
    render(&subject, &subject.view())
}

fn families() -> BTreeMap<String, Family> {
    parse(&exposition()).unwrap()
}

/// The value of the sample with exactly these labels.
fn value(families: &BTreeMap<String, Family>, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels: Vec<(String, String)> = labels.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let family = families.get(name).or_else(|| families.get(name.rsplit_once('_')?.0))?;
    family.samples.iter().find(|sample| sample.name == name && sample.labels == labels).map(|sample| sample.value)
}

#[test]
fn the_exposition_is_valid_and_promtool_would_be_silent() {
    let wrong = lint(&families());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_lint_finds_what_promtool_finds() {
    let good = "# HELP penstock_a_seconds A\n# TYPE penstock_a_seconds gauge\npenstock_a_seconds{x=\"\\\"\"} 1\n";
    assert!(lint(&parse(good).unwrap()).is_empty());
    for (change, to) in [
        ("penstock_a_seconds", "penstock_a_seconds_total"),
        ("penstock_a_seconds", "penstock_a_ms"),
        ("penstock_a_seconds", "penstock_seconds_a"),
        ("penstock_a_seconds", "other_a_seconds"),
        ("penstock_a_seconds", "penstock_gauge_seconds"),
        ("penstock_a_seconds", "penstock_a_sum"),
        ("gauge", "counter"),
        ("HELP penstock_a_seconds A", "HELP penstock_a_seconds  "),
        ("x=", "le="),
        ("} 1", "} -1"),
        ("} 1\n", "} 1\npenstock_a_seconds{x=\"\\\"\"} 2\n"),
    ] {
        let text = good.replace(change, to);
        assert_eq!(lint(&parse(&text).unwrap()).len(), 1, "{text}");
    }
    for (change, to) in
        [("x=\"", "x=\"\\x"), (" gauge", " gauges"), ("} 1", "} one"), ("# HELP", "# HALP"), ("} 1\n", "} 1")]
    {
        assert!(parse(&good.replace(change, to)).is_err(), "{to}");
    }
    let histogram = "# HELP penstock_h_seconds H\n# TYPE penstock_h_seconds histogram\n\
                     penstock_h_seconds_bucket{le=\"1\"} 2\npenstock_h_seconds_bucket{le=\"+Inf\"} 3\n\
                     penstock_h_seconds_sum 4\npenstock_h_seconds_count 3\n";
    assert!(lint(&parse(histogram).unwrap()).is_empty());
    for (change, to) in [("} 2", "} 4"), ("\"1\"", "\"+Inf\""), ("_count 3", "_count 4"), ("le=\"+Inf\"", "le=\"2\"")] {
        assert!(!lint(&parse(&histogram.replace(change, to)).unwrap()).is_empty(), "{to}");
    }
}

#[test]
fn numbers_arrive_where_they_belong() {
    let families = families();
    let cases: [Case; 14] = [
        (
            "penstock_http_requests_total",
            &[("listener", "*:80"), ("route", "/"), ("method", "GET"), ("class", "2xx")],
            2.0,
        ),
        (
            "penstock_http_requests_total",
            &[("listener", "*:80"), ("route", "none"), ("method", "none"), ("class", "4xx")],
            2.0,
        ),
        (
            "penstock_http_requests_total",
            &[("listener", "10.7.0.2:8080"), ("route", "example.org/down"), ("method", "other"), ("class", "5xx")],
            2.0,
        ),
        ("penstock_http_request_duration_seconds_bucket", &[("le", "0.00001")], 2.0),
        ("penstock_http_request_duration_seconds_bucket", &[("le", "0.00002")], 4.0),
        ("penstock_http_request_duration_seconds_bucket", &[("le", "10.48576")], 6.0),
        ("penstock_http_request_duration_seconds_count", &[], 8.0),
        ("penstock_dropped_frames_total", &[("reason", "runt")], 2.0),
        ("penstock_connections", &[("worker", "1"), ("state", "closing")], 4.0),
        ("penstock_worker_turns_total", &[("worker", "0")], 4.0),
        ("penstock_worker_turn_gap_seconds_count", &[("worker", "0")], 4.0),
        ("penstock_port_rx_missed_total", &[("port", "net_fake0")], 7.0),
        ("penstock_mempool_used_frames", &[("pool", "penstock_0")], 100.0),
        ("penstock_ready", &[], 1.0),
    ];
    for (name, labels, expected) in cases {
        assert_eq!(value(&families, name, labels), Some(expected), "{name} {labels:?}");
    }
}

#[test]
fn without_an_answer_from_the_control_thread_the_rest_is_there() {
    let subject = subject(Fake { answers: false, ..Fake::default() });
    let families = parse(&render(&subject, &subject.view())).unwrap();
    assert_eq!(value(&families, "penstock_ready", &[]), Some(0.0));
    assert!(!families.contains_key("penstock_port_up") && families.contains_key("penstock_http_requests_total"));
}

/// Names, types and labels in docs/metrics.md are those of the exposition.
#[test]
fn the_documentation_has_every_metric() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let doc = std::fs::read_to_string(path).unwrap();
    let rows: BTreeSet<String> = doc
        .lines()
        .filter(|line| ["| `penstock_", "| `process_"].iter().any(|start| line.starts_with(start)))
        .map(|line| line.split(" | ").take(3).collect::<Vec<_>>().join(" | "))
        .collect();
    let expected: BTreeSet<String> = families()
        .iter()
        .map(|(name, family)| {
            let labels: BTreeSet<&str> =
                family.samples.iter().flat_map(|s| &s.labels).map(|(l, _)| l.as_str()).filter(|l| *l != "le").collect();
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "-".to_string() } else { labels.join(", ") };
            format!("| `{name}` | {} | {labels}", family.kind)
        })
        .collect();
    let missing: Vec<_> = expected.difference(&rows).collect();
    let stale: Vec<_> = rows.difference(&expected).collect();
    assert!(missing.is_empty() && stale.is_empty(), "docs/metrics.md\nlacks {missing:#?}\nhas {stale:#?}");
    for counter in Counter::ALL {
        let (name, _, value, help) = counter.describe();
        assert!(value.is_empty() || doc.contains(&format!("| `{value}` | {help} |")), "{name}: | `{value}` | {help} |");
    }
}
