//! Searches against synthetic servers, and their documents in every form.

use super::*;
use crate::loadgen::plan::{Aggregation, Arrivals, Check, Class, Comparison, Metric, Plan, Stage, Target, Threshold};
use crate::loadgen::record::{Interval, Outcome as Request, Recording};
use crate::report::collect::{Collector, Ending, Health, Label};
use crate::time::Instant;
use std::time::Duration;

fn plan(rate: f64) -> Plan {
    Plan {
        target: Target { url: "http://10.7.0.2/".into(), address: ([10, 7, 0, 2], 80).into() },
        arrivals: Arrivals::Constant,
        stages: vec![Stage {
            name: "main".into(),
            duration: Duration::from_secs(1),
            from: rate,
            to: rate,
            warmup: false,
        }],
        classes: vec![Class {
            name: "get".into(),
            weight: 1,
            head_only: false,
            head: (*b"GET / HTTP/1.1\r\n\r\n").into(),
            body: (*b"").into(),
            check: Check::default(),
        }],
        connections: 100,
        requests_per_connection: 0,
        pipeline: 1,
        timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(3),
        source_ports: 1024..=65_535,
        seed: 1,
        thresholds: vec![Threshold {
            text: "http_req_duration: p(99)<10ms".into(),
            metric: Metric::Duration,
            stage: None,
            class: None,
            aggregation: Aggregation::Percentile(99.0),
            comparison: Comparison::Less,
            value: 10e6,
            abort: false,
            abort_delay: Duration::ZERO,
        }],
    }
}

/// A run of a second against an M/M/1 queue: the time in it is exponential. Overloaded, it answers at its own rate.
pub(in crate::report) fn run(rate: f64, service: f64, reach: f64) -> Run {
    let plan = plan(rate);
    let mut recording = Recording::new(&plan);
    let answers = rate.min(service * 0.999) as u64;
    let mean = 1e9 / (service - answers as f64);
    const PARTS: u64 = 400;
    for part in 0..PARTS {
        let count = answers * (part + 1) / PARTS - answers * part / PARTS;
        let time = -mean * (1.0 - (part as f64 + 0.5) / PARTS as f64).ln();
        let cell = &mut recording.cells[0];
        cell.service.record_n(time as u64 + 1, count).unwrap();
        let queued = if rate > service { 1e9 } else { 0.0 };
        cell.latency.record_n((time + queued) as u64 + 1, count).unwrap();
    }
    recording.cells[0].counts.outcomes[Request::Ok as usize] = answers;
    let sent = rate.min(reach) as u64;
    recording.cells[0].counts.sent = sent;
    let mut interval = Interval::new();
    interval.end = Instant::from_millis(1_000);
    interval.counts = recording.cells[0].counts;
    let label = Label { name: "test".into(), started: "2026-01-01T00:00:00Z".into() };
    let mut collector = Collector::new(&plan, Stamp::default(), label, 1);
    collector.add_interval(0, &interval);
    let health = Health {
        lcore: 1,
        turns: crate::loadgen::record::histogram(),
        tx_refused: 0,
        rx_missed: 0,
        rx_dropped: 0,
        mempool_exhausted: 0,
    };
    collector.finish(&[recording], &[health], Ending { elapsed: Duration::from_secs(1), aborted: None })
}

fn question() -> Question {
    Question {
        name: "test <1>".into(),
        url: "http://10.7.0.2/?a=1&b=2".into(),
        bounds: Bounds { from: 1e3, to: 1e6, precision: 0.02 },
        step_s: 1.0,
        connections: 100,
        slo: DEFAULT_SLO.map(String::from).to_vec(),
        slo_is_default: true,
    }
}

fn search(service: f64, reach: f64) -> Capacity {
    find(question(), |rate, _| Ok(run(rate, service, reach)), |_| {}).unwrap()
}

#[test]
fn a_queue_has_the_capacity_knee_and_law_that_theory_gives() {
    let capacity = search(100e3, 1e9);
    assert_eq!((capacity.conclusion.limit, capacity.exit_code), (Limit::Target, 0));
    // p99 is ln(100) / (service - rate), which is 10 ms at 99,539/s.
    let best = capacity.conclusion.best.unwrap();
    assert!(best <= 99_540.0 && best * 1.02 > 99_530.0, "{best}");
    // The lowest step is 1,000/s; twice its p99 is at 100k - 99k / 2, on a curve that is known at 32k and 64k.
    let knee = capacity.knee.unwrap();
    assert!((knee.rate / 50_500.0 - 1.0).abs() < 0.06, "{knee:?}");
    let fit = capacity.usl.as_ref().unwrap();
    assert!((fit.law.sigma - 0.5).abs() < 0.02 && fit.hold_out_mape < 0.02, "{fit:?}");
    assert!((fit.peak_rate.unwrap() / 100e3 - 1.0).abs() < 0.02, "{fit:?}");
}

#[test]
fn the_generators_limit_is_never_the_targets() {
    let capacity = search(100e3, 20e3);
    assert_eq!((capacity.conclusion.limit, capacity.exit_code), (Limit::Generator, 0));
    assert!(capacity.conclusion.best.unwrap() < 20_100.0);
    let text = table(&capacity);
    assert!(text.contains("CAPACITY at least") && text.contains("generator was the limit"), "{text}");
    let nothing = search(100e3, 500.0);
    assert_eq!((nothing.conclusion.best, nothing.exit_code), (None, 10));
    assert!(table(&nothing).contains("INVALID: the generator could not even offer 1.00k"), "{}", table(&nothing));
    assert!(nothing.knee.is_none() && nothing.usl.is_none());
}

#[test]
fn a_target_that_ends_keeps_what_was_found() {
    let measure = |rate: f64, _| match rate {
        r if r > 5e3 => Err(Failure::new(Exit::Aborted, "no connection could be made")),
        _ => Ok(run(rate, 100e3, 1e9)),
    };
    let capacity = find(question(), measure, |_| {}).unwrap();
    assert_eq!((capacity.steps.len(), capacity.conclusion.best, capacity.exit_code), (3, Some(4e3), 105));
    assert!(table(&capacity).contains("ABORTED: at 8000 requests/s: no connection"), "{}", table(&capacity));
    let failed = find(question(), |_, _| Err(Failure::new(Exit::Aborted, "nobody is there")), |_| {});
    assert_eq!(failed.unwrap_err().exit, Exit::Aborted);
}

#[test]
fn the_documents_say_the_same() {
    for capacity in [search(100e3, 1e9), search(500.0, 1e9), search(100e3, 500.0), search(1e8, 1e9)] {
        let text = json(&capacity).unwrap();
        assert_eq!(serde_json::from_str::<Capacity>(&text).unwrap().conclusion, capacity.conclusion);
        let page = html(&capacity);
        let body = page.split_once('\n').unwrap().1;
        let parsed = roxmltree::Document::parse(body).unwrap();
        assert!(!page.contains("<script") && !page.contains("src=") && page.contains("test &lt;1&gt;"));
        let marks = parsed.descendants().filter(|node| node.has_tag_name("title") && node.text() == Some("knee"));
        assert_eq!(marks.count(), usize::from(capacity.knee.is_some()));
        assert!(table(&capacity).contains("(default; --threshold changes it)"));
    }
}
