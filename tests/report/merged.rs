//! Results of several machines as one.

use penstock::report::verdict::Outcome;
use penstock::report::{Collector, Run, merge};
use proptest::prelude::*;

use super::fixture::{Script, feed};

/// Two machines of one worker each.
fn machines(seed: u64) -> (Script, Script) {
    let one = Script { workers: 1, ..Script::new(seed) };
    let other = Script { host: "beta", seed: seed + 1_000, ..one.clone() };
    (one, other)
}

/// The same records in one collector, as if both workers were one machine's, at twice the rate.
fn together(one: &Script, other: &Script) -> Run {
    let mut both = Script { workers: 2, ..one.clone() };
    for stage in &mut both.plan.stages {
        (stage.from, stage.to) = (stage.from * 2.0, stage.to * 2.0);
    }
    let ((mut intervals, mut recordings), (more, others)) = (one.play(), other.play());
    intervals.extend(more);
    recordings.extend(others);
    let mut collector: Collector = both.collector("one");
    feed(&mut collector, &intervals, 0..intervals[0].len());
    collector.finish(&recordings, &both.health(), both.ending())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn merged_equals_recorded_together(seed in 0..1_000_000_u64) {
        let (one, other) = machines(seed);
        let merged = merge(&[one.run("one"), other.run("other")], false).unwrap();
        let whole = together(&one, &other);
        prop_assert_eq!(&merged.total, &whole.total);
        prop_assert_eq!(&merged.stages, &whole.stages);
        prop_assert_eq!(&merged.classes, &whole.classes);
        prop_assert_eq!(&merged.cells, &whole.cells);
        prop_assert_eq!(&merged.lag, &whole.lag);
        prop_assert_eq!(merged.timestamp_error.count, whole.timestamp_error.count);
        prop_assert_eq!(merged.intervals.len(), whole.intervals.len());
        for (own, expected) in merged.intervals.iter().zip(&whole.intervals) {
            prop_assert_eq!((&own.counts, &own.latency, &own.lag), (&expected.counts, &expected.latency, &expected.lag));
            prop_assert!((own.rate / expected.rate - 1.0).abs() < 1e-3);
            prop_assert!((own.intended_rate.unwrap() / expected.intended_rate.unwrap() - 1.0).abs() < 1e-3);
        }
        prop_assert_eq!(merged.verdict.outcome, Outcome::Pass);
    }
}

#[test]
fn machines_stand_side_by_side_and_merging_goes_on() {
    let (one, other) = machines(5);
    let third = Script { host: "gamma", seed: 77, ..one.clone() };
    let runs = [one.run("a"), other.run("b"), third.run("c")];
    let at_once = merge(&runs, false).unwrap();
    let first = merge(&runs[..2], false).unwrap();
    let stepwise = merge(&[first, runs[2].clone()], false).unwrap();
    assert_eq!(at_once, stepwise);
    assert_eq!((at_once.machines, at_once.stamps.len(), at_once.workers.len()), (3, 3, 3));
    assert_eq!(at_once.workers.iter().map(|worker| worker.machine).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!((at_once.plan.connections, at_once.plan.stages[1].to), (1_200, 6_000.0));
    at_once.check().unwrap();
    assert!(penstock::report::table(&at_once, false).contains("gamma: 1"));
    assert_eq!(merge(&runs[..1], false).unwrap(), runs[0]);
}

#[test]
fn one_broken_machine_breaks_the_whole() {
    let (one, mut other) = machines(5);
    other.busy = 0.995;
    let merged = merge(&[one.run("a"), other.run("b")], false).unwrap();
    assert_eq!(merged.verdict.outcome, Outcome::Invalid);
    assert!(merged.verdict.reasons[0].what.contains("lcore 1 of beta"), "{:?}", merged.verdict);
}

#[test]
fn different_plans_are_refused() {
    let (one, mut other) = machines(5);
    assert!(merge(&[], false).is_err());
    other.plan.connections = 9;
    let runs = [one.run("a"), other.run("b")];
    assert!(merge(&runs, false).unwrap_err().contains("b: its plan is not that of a"));
    assert_eq!(merge(&runs, true).unwrap().plan.connections, 409);
    other.plan.classes[0].name = "else".into();
    assert!(merge(&[one.run("a"), other.run("b")], true).unwrap_err().contains("stages, classes or arrivals"));
}
