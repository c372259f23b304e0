//! A search for capacity against a gateway whose capacity is known: it takes so many frames a turn, and so many turns a
//! second.

use super::pair::{self, Pair};
use penstock::loadgen::plan::{Aggregation, Comparison, Metric, Plan, Threshold};
use penstock::loadgen::record;
use penstock::report::capacity::{self, Bounds, Limit, Question};
use penstock::report::{Collector, Ending, Health, Label, Run, Stamp};
use std::time::Duration;

const TURN_EVERY: Duration = Duration::from_micros(200);
const FRAMES_PER_TURN: usize = 4;
/// The request, and the acknowledgement of its answer.
const FRAMES_PER_REQUEST: f64 = 2.0;
const PRECISION: f64 = 0.02;

fn plan(rate: f64) -> Plan {
    let mut plan = pair::plan(rate, 0.5, 100);
    plan.stages.insert(0, pair::stage("warm-up", rate, 0.1));
    plan.stages[0].warmup = true;
    plan.thresholds = vec![Threshold {
        text: "http_req_duration: p(99)<1ms".into(),
        metric: Metric::Duration,
        stage: None,
        class: None,
        aggregation: Aggregation::Percentile(99.0),
        comparison: Comparison::Less,
        value: 1e6,
        abort: false,
        abort_delay: Duration::ZERO,
    }];
    plan
}

/// A run against the limited gateway, by a generator that may stall.
fn measure(rate: f64, stalls: bool) -> Run {
    let plan = plan(rate);
    let mut pair = Pair::new(plan.clone());
    (pair.turn_every, pair.frames_per_turn) = (TURN_EVERY, FRAMES_PER_TURN);
    let start = pair.prepare();
    if stalls {
        // It stands still for 1 ms of 2.
        let end = start + Duration::from_millis(550);
        while pair.now.mono < end {
            if (pair.now.mono.nanos() / 1_000_000).is_multiple_of(2) {
                pair.stalled_until = pair.now.mono + Duration::from_millis(1);
            }
            pair.step();
        }
    }
    let (recording, intervals) = pair.finish();
    let label = Label { name: "simulated".into(), started: String::new() };
    let mut collector = Collector::new(&plan, Stamp::default(), label, 1);
    intervals.iter().for_each(|interval| collector.add_interval(0, interval));
    let health = Health {
        lcore: 1,
        turns: record::histogram(),
        tx_refused: 0,
        rx_missed: 0,
        rx_dropped: 0,
        mempool_exhausted: 0,
    };
    let ending = Ending { elapsed: Duration::from_millis(600), aborted: None };
    collector.finish(&[recording], &[health], ending)
}

fn question() -> Question {
    Question {
        name: "simulated".into(),
        url: "http://10.7.0.2/".into(),
        bounds: Bounds { from: 2e3, to: 200e3, precision: PRECISION },
        step_s: 0.5,
        connections: 100,
        slo: vec!["http_req_duration: p(99)<1ms".into()],
        slo_is_default: false,
    }
}

#[test]
fn the_limit_of_a_gateways_turns_is_found_within_the_precision() {
    let limit = FRAMES_PER_TURN as f64 / TURN_EVERY.as_secs_f64() / FRAMES_PER_REQUEST;
    let found = capacity::find(question(), |rate, _| Ok(measure(rate, false)), |_| {}).unwrap();
    assert_eq!(found.conclusion.limit, Limit::Target, "{}", capacity::table(&found));
    let best = found.conclusion.best.unwrap();
    // The condition allows a queue of 1 ms after half a second, which is 0.2 % more than the limit.
    assert!(best * (1.0 + PRECISION) >= limit && best <= limit * 1.004, "{limit}:\n{}", capacity::table(&found));
    // In a clockwork nothing waits before the limit, so the knee is where the limit is.
    let knee = found.knee.unwrap();
    assert!((knee.rate / limit - 1.0).abs() < 0.05, "{limit}: {knee:?}\n{}", capacity::table(&found));
}

#[test]
fn a_generator_that_stalls_is_the_limit_and_the_target_is_not_blamed() {
    let stalls = |rate: f64, _| Ok(measure(rate, rate > 3e3));
    let found = capacity::find(question(), stalls, |_| {}).unwrap();
    let best = found.conclusion.best.unwrap();
    assert_eq!((found.conclusion.limit, found.exit_code), (Limit::Generator, 0), "{}", capacity::table(&found));
    assert!(best <= 3e3 && best * (1.0 + PRECISION) >= 3e3, "{}", capacity::table(&found));
}
