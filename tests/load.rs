//! The load generator against the gateway, both whole, over a false wire and a virtual clock: what it records is what
//! happened.

#[path = "load/capacity.rs"]
mod capacity;
#[path = "load/pair.rs"]
mod pair;

use pair::{Pair, TURN, class, large, plan, stage};
use penstock::config::HttpLimits;
use penstock::loadgen::plan::{Arrivals, Check};
use penstock::loadgen::record::{Cell, Counts, Outcome, Recording};
use penstock::telemetry::Counter;
use sha2::{Digest, Sha256};
use std::time::Duration;

fn totals(recording: &Recording) -> Counts {
    let mut counts = Counts::default();
    recording.cells.iter().for_each(|cell| counts.add(&cell.counts));
    counts
}

fn only(recording: &Recording) -> &Cell {
    assert_eq!(recording.cells.len(), 1);
    &recording.cells[0]
}

#[test]
fn every_arrival_is_asked_once_and_answered() {
    let pair = Pair::new(plan(20_000.0, 2.5, 50));
    let counters = pair.gateway_counters.clone();
    let (recording, intervals) = pair.run();
    let counts = totals(&recording);
    assert_eq!((counts.sent, counts.outcome(Outcome::Ok), counts.ended()), (50_000, 50_000, 50_000));
    assert_eq!((counts.connected, counts.connect_failed, counts.statuses[1]), (50, 0, 50_000));
    assert_eq!(counters.read(Counter::HttpRequests), 50_000);
    let of_intervals: u64 = intervals.iter().map(|interval| interval.counts.outcome(Outcome::Ok)).sum();
    assert_eq!(of_intervals, 50_000);
    let merged: u64 = intervals.iter().map(|interval| interval.latency.len()).sum();
    assert_eq!(merged, only(&recording).latency.len());
    // One turn to send, one to answer, one to read.
    assert!(only(&recording).latency.max() <= 4 * TURN.as_nanos() as u64, "{}", only(&recording).latency.max());
    assert!(recording.lag.max() <= 2 * TURN.as_nanos() as u64);
}

#[test]
fn a_pause_of_the_server_shows_as_the_schedule_implies() {
    // 1,000 requests a second, and the server stands still for one second of ten: those due in the pause wait for its end.
    let mut pair = Pair::new(plan(1_000.0, 10.0, 2_000));
    let start = pair.prepare();
    while pair.now.mono < start + Duration::from_secs(4) {
        pair.step();
    }
    pair.paused_until = pair.now.mono + Duration::from_secs(1);
    let (recording, _) = pair.finish();
    let cell = only(&recording);
    assert_eq!(cell.counts.outcome(Outcome::Ok), 10_000);
    for percentile in [50.0, 89.0, 90.5, 91.0, 95.0, 99.0, 99.9, 100.0] {
        // The k-th of 10,000 waits is 0 for the first 9,000, then grows by a millisecond each.
        let expected = (percentile - 90.0f64).max(0.0) / 10.0 * 1_000.0;
        let found = cell.latency.value_at_percentile(percentile) as f64 / 1e6;
        assert!((found - expected).abs() < 1.5 + expected * 0.001, "p{percentile}: {found} ms, not {expected}");
    }
    // The generator was on time, and says so.
    assert!(recording.lag.max() <= 2 * TURN.as_nanos() as u64);
}

#[test]
fn a_pause_with_few_connections_still_counts_from_the_intended_start() {
    // With two connections only two requests can be on their way: all others wait here, and no arrival is skipped.
    let mut pair = Pair::new(plan(1_000.0, 4.0, 2));
    let start = pair.prepare();
    while pair.now.mono < start + Duration::from_secs(1) {
        pair.step();
    }
    pair.paused_until = pair.now.mono + Duration::from_secs(1);
    let (recording, _) = pair.finish();
    let cell = only(&recording);
    assert_eq!(cell.counts.outcome(Outcome::Ok), 4_000);
    assert!((980..1_050).contains(&cell.counts.waited), "{}", cell.counts.waited);
    let (p87, max) = (cell.latency.value_at_percentile(87.5) as f64 / 1e6, cell.latency.max() as f64 / 1e6);
    assert!((p87 - 500.0).abs() < 35.0 && (max - 1_000.0).abs() < 5.0, "p87.5 {p87} ms, max {max} ms");
    // The service time knows nothing of the wait: coordinated omission, as a closed loop would have it.
    assert!(cell.service.value_at_percentile(99.9) < 1_000_000);
    assert!(recording.lag.max() <= 3 * TURN.as_nanos() as u64, "{}", recording.lag.max());
}

#[test]
fn a_stall_of_the_generator_shows_in_its_lag() {
    let mut pair = Pair::new(plan(1_000.0, 2.0, 100));
    let start = pair.prepare();
    while pair.now.mono < start + Duration::from_secs(1) {
        pair.step();
    }
    pair.stalled_until = pair.now.mono + Duration::from_millis(50);
    let (recording, _) = pair.finish();
    assert_eq!(totals(&recording).outcome(Outcome::Ok), 2_000);
    let max = recording.lag.max() as f64 / 1e6;
    assert!((max - 50.0).abs() < 1.5, "{max}");
    assert!((47..=50).contains(&recording.lag.count_between(2_000_000, 60_000_000)));
}

#[test]
fn a_connection_per_request_opens_as_many() {
    let mut wanted = plan(5_000.0, 1.0, 500);
    wanted.requests_per_connection = 1;
    wanted.classes = vec![class("get", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")];
    let pair = Pair::new(wanted);
    let counters = pair.gateway_counters.clone();
    let (recording, _) = pair.run();
    let counts = totals(&recording);
    assert_eq!((counts.outcome(Outcome::Ok), counts.connected), (5_000, 5_000));
    assert_eq!(counters.read(Counter::ConnAccepted), 5_000);
    assert_eq!(recording.connect.len(), 5_000);
    // The handshake is part of the latency, and not of the service time.
    let cell = only(&recording);
    assert!(cell.latency.mean() > cell.service.mean() + TURN.as_nanos() as f64);
}

#[test]
fn handshakes_that_end_after_the_schedule_still_carry_their_requests() {
    let mut wanted = plan(1_000.0, 1.0, 500);
    wanted.requests_per_connection = 1;
    wanted.classes = vec![class("get", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")];
    let mut pair = Pair::new(wanted);
    pair.delay = Duration::from_millis(20);
    let (recording, intervals) = pair.run();
    assert_eq!(totals(&recording).outcome(Outcome::Ok), 1_000);
    // The last one needs three round trips at most, and the run nothing beyond it.
    let end = intervals.iter().map(|interval| interval.end).max().unwrap();
    assert!(end.millis() < 1_200, "{end:?}");
}

#[test]
fn connections_are_renewed_after_so_many_requests() {
    let mut wanted = plan(4_000.0, 1.0, 10);
    wanted.requests_per_connection = 100;
    let (recording, _) = Pair::new(wanted).run();
    let counts = totals(&recording);
    assert_eq!(counts.outcome(Outcome::Ok), 4_000);
    assert!((40..=50).contains(&counts.connected), "{}", counts.connected);
}

#[test]
fn a_server_that_closes_after_some_requests_costs_none() {
    let limits = HttpLimits { requests_per_connection: 7, ..HttpLimits::default() };
    let (recording, _) = Pair::with_limits(plan(4_000.0, 1.0, 10), limits).run();
    let counts = totals(&recording);
    assert_eq!((counts.outcome(Outcome::Ok), counts.ended()), (4_000, 4_000));
    assert!(counts.connected >= 4_000 / 7);
}

#[test]
fn a_closed_loop_keeps_every_connection_busy() {
    let mut wanted = plan(0.0, 0.5, 8);
    wanted.arrivals = Arrivals::Closed;
    for depth in [1, 4] {
        wanted.pipeline = depth;
        let (recording, _) = Pair::new(wanted.clone()).run();
        let counts = totals(&recording);
        // A round trip is some turns; each carries `depth` requests on each connection.
        let rounds = 0.5 / TURN.as_secs_f64() / 4.0;
        assert!(counts.outcome(Outcome::Ok) as f64 > rounds * 8.0 * f64::from(depth) * 0.5, "{counts:?}");
        assert_eq!(counts.ended(), counts.sent);
    }
}

#[test]
fn answers_are_checked() {
    let mut wanted = plan(1_000.0, 1.0, 10);
    let digest: [u8; 32] = Sha256::digest(large()).into();
    let get = |path: &str| class(path, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let check = |status: &[u16], size, sha256| Check {
        status: status.iter().map(|code| *code..=*code).collect(),
        size,
        sha256,
    };
    wanted.classes = vec![get("/large"), get("/large?1"), get("/missing"), get("/missing?1"), get("/"), get("/?1")];
    wanted.classes[0].check = check(&[], Some(300_000), Some(digest));
    wanted.classes[1].check = check(&[200], None, Some([0; 32]));
    wanted.classes[3].check = check(&[404], None, None);
    wanted.classes[4].check = check(&[], Some(6), None);
    wanted.classes[5].check = check(&[], Some(7), None);
    let (recording, _) = Pair::new(wanted).run();
    for (i, outcome) in [Outcome::Ok, Outcome::Content, Outcome::Status, Outcome::Ok, Outcome::Ok, Outcome::Content]
        .into_iter()
        .enumerate()
    {
        let counts = &recording.cells[i].counts;
        assert!(counts.sent > 100, "class {i}");
        assert_eq!(counts.outcome(outcome), counts.sent, "class {i}: {counts:?}");
    }
}

#[test]
fn methods_with_content_and_without_work_on_one_connection() {
    let mut wanted = plan(1_000.0, 1.0, 3);
    let body = "x".repeat(20_000);
    wanted.classes = vec![
        class("head", "HEAD /large HTTP/1.1\r\nHost: a\r\n\r\n"),
        class("post", &format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())),
    ];
    let (recording, _) = Pair::new(wanted).run();
    assert_eq!(totals(&recording).outcome(Outcome::Ok), 1_000);
    assert!(recording.cells.iter().all(|cell| cell.counts.sent > 300));
}

#[test]
fn a_dead_server_fails_requests_by_time_and_leaves_none_out() {
    let mut wanted = plan(1_000.0, 2.0, 20);
    wanted.timeout = Duration::from_millis(300);
    let mut pair = Pair::new(wanted);
    let start = pair.prepare();
    while pair.now.mono < start + Duration::from_secs(1) {
        pair.step();
    }
    pair.paused_until = pair.now.mono + Duration::from_secs(3600);
    let (recording, _) = pair.finish();
    let counts = totals(&recording);
    assert_eq!(counts.ended(), 2_000);
    assert!((990..=1_000).contains(&counts.outcome(Outcome::Ok)), "{counts:?}");
    assert!(counts.outcome(Outcome::Timeout) >= 20 && counts.outcome(Outcome::NotSent) > 800, "{counts:?}");
    // What was never sent counts with the time until the end.
    let latency = &only(&recording).latency;
    assert_eq!(latency.len(), 2_000);
    assert!(latency.max() >= 950_000_000);
}

#[test]
fn stages_and_warm_up_are_kept_apart() {
    let mut wanted = plan(0.0, 0.0, 50);
    wanted.stages = vec![stage("warm", 100.0, 1.0), stage("low", 1_000.0, 1.0), stage("high", 5_000.0, 1.0)];
    wanted.stages[0].warmup = true;
    let (recording, _) = Pair::new(wanted).run();
    let sent: Vec<u64> = recording.cells.iter().map(|cell| cell.counts.sent).collect();
    assert_eq!(sent, [100, 1_000, 5_000]);
    assert_eq!(recording.lag.len(), 6_000);
}

#[test]
fn a_request_on_a_kept_connection_is_one_frame_each_way() {
    let mut wanted = plan(0.0, 0.02, 1_000);
    wanted.arrivals = Arrivals::Closed;
    let pair = Pair::new(wanted);
    let counters = pair.gateway_counters.clone();
    let (recording, _) = pair.run();
    let requests = totals(&recording).ended();
    let frames = (counters.read(Counter::RxFrames), counters.read(Counter::TxFrames));
    // Handshakes, ARP and the end are not more than a few for each connection.
    assert!(frames.0 < requests + 5_000 && frames.1 < requests + 5_000, "{frames:?} for {requests}");
}
