//! Collecting and the verdict.

use std::time::Duration;

use penstock::loadgen::plan::{Aggregation, Arrivals, Comparison, Metric, Threshold};
use penstock::loadgen::record::{Interval, Outcome as What, Recording, histogram};
use penstock::report::distribution::{Distribution, add};
use penstock::report::verdict::Outcome;
use penstock::report::{Ending, Run};
use proptest::prelude::*;

use super::fixture::{Script, class, feed, plan, stage, threshold};

fn codes(run: &Run) -> Vec<&str> {
    run.verdict.reasons.iter().map(|reason| reason.code.as_str()).collect()
}

fn notes(run: &Run) -> Vec<&str> {
    run.verdict.notes.iter().map(|note| note.code.as_str()).collect()
}

#[test]
fn a_quiet_run_passes_and_its_parts_add_up() {
    let run = Script::new(1).run("quiet");
    assert_eq!((run.verdict.outcome, run.verdict.exit_code), (Outcome::Pass, 0), "{:?}", run.verdict);
    assert_eq!(run.total.requests, 40_000);
    assert!((run.total.rate - 2000.0).abs() < 1.0 && (run.judged_s - 20.0).abs() < 1e-9);
    assert_eq!(run.stages.iter().map(|stage| stage.requests).collect::<Vec<_>>(), [2_000, 40_000]);
    assert_eq!(run.classes.iter().map(|class| class.requests).sum::<u64>(), 40_000);
    assert_eq!(run.cells.iter().map(|cell| cell.latency.count).sum::<u64>(), 42_000);
    assert_eq!(run.total.connect.as_ref().unwrap().count, 400);
    assert_eq!(run.stages.iter().map(|s| s.connect.as_ref().unwrap().count).collect::<Vec<_>>(), [400, 0]);
    assert_eq!(run.intervals.len(), 22);
    for point in &run.intervals {
        let intended = if point.judged { 2000.0 } else { 1000.0 };
        assert!((point.intended_rate.unwrap() - intended).abs() < 1.0 && point.workers == 2, "{point:?}");
        assert!((point.sent_rate - intended).abs() < 2.0 && point.open == 400, "{point:?}");
    }
    assert_eq!(run.intervals.iter().filter(|point| !point.judged).count(), 2);
    assert!((run.workers[0].busy_share - 0.4).abs() < 0.001);
}

#[test]
fn intervals_that_are_late_or_missing_are_tolerated() {
    let script = Script::new(4);
    let whole = script.run("whole");
    let (intervals, recordings) = script.play();
    // Worker 1 is five seconds late, and loses second 7.
    let mut collector = script.collector("late");
    for second in 0..22 + 5 {
        if let Some(interval) = intervals[0].get(second) {
            collector.add_interval(0, interval);
        }
        if let Some(late) = second.checked_sub(5).filter(|late| *late != 7) {
            collector.add_interval(1, &intervals[1][late]);
        }
        collector.add_interval(9, &intervals[0][0]);
    }
    let run = collector.finish(&recordings, &script.health(), script.ending());
    assert_eq!(run.total, whole.total);
    assert_eq!(run.intervals.len(), 22);
    for (n, (point, expected)) in run.intervals.iter().zip(&whole.intervals).enumerate() {
        if n == 7 {
            assert_eq!(point.workers, 1);
            assert!(point.latency.count < expected.latency.count);
        } else {
            assert_eq!((&point.counts, &point.latency), (&expected.counts, &expected.latency), "{n}");
            assert!((point.rate - expected.rate).abs() < 0.5 && point.open == 400, "{n}: {point:?}");
        }
    }
    assert_eq!((run.verdict.outcome, notes(&run)), (Outcome::Pass, vec!["intervals"]), "{:?}", run.verdict);
}

#[test]
fn a_fragment_at_the_end_is_a_point_of_its_own() {
    let mut script = Script::new(4);
    (script.workers, script.plan.stages[1].duration) = (1, Duration::from_millis(3_200));
    let run = script.run("short");
    let ends: Vec<f64> = run.intervals.iter().map(|point| (point.end_s * 10.0).round() / 10.0).collect();
    assert_eq!(ends, [1.0, 2.0, 3.0, 4.0, 5.0, 5.2]);
    assert!((run.intervals[5].rate - 2000.0).abs() < 5.0, "{:?}", run.intervals[5].rate);
}

#[test]
fn whatever_breaks_the_schedule_makes_the_run_invalid() {
    type Break = fn(&mut Script);
    let breaks: [(&str, Break); 3] = [
        ("lag", |script| script.lag_ns = 150_000.0),
        ("send_rate", |script| script.sent = 0.995),
        ("busy", |script| script.busy = 0.995),
    ];
    for (code, harm) in breaks {
        let mut script = Script::new(8);
        // Whether thresholds hold does not matter then.
        script.plan.thresholds = vec![threshold(Metric::Failed, Aggregation::Rate, Comparison::Less, 0.0)];
        harm(&mut script);
        let run = script.run(code);
        assert_eq!((run.verdict.outcome, run.verdict.exit_code), (Outcome::Invalid, 10), "{code}");
        assert!(codes(&run).contains(&code), "{code}: {:?}", run.verdict);
        assert!(run.verdict.reasons[0].fix.is_some(), "{code}");
        // In a closed loop there is no schedule to break.
        script.plan.arrivals = Arrivals::Closed;
        script.plan.thresholds.clear();
        assert_eq!(script.run(code).verdict.outcome, Outcome::Pass, "{code}");
    }
    let script = Script::new(8);
    let (intervals, recordings) = script.play();
    for code in ["tx_refused", "rx_missed", "mempool", "rx_dropped"] {
        let mut collector = script.collector(code);
        for (worker, own) in intervals.iter().enumerate() {
            own.iter().for_each(|interval| collector.add_interval(worker, interval));
        }
        let mut health = script.health();
        match code {
            "tx_refused" => health[1].tx_refused = 3,
            "rx_missed" => health[1].rx_missed = 3,
            "mempool" => health[1].mempool_exhausted = 3,
            _ => health[1].rx_dropped = 3,
        }
        let run = collector.finish(&recordings, &health, script.ending());
        let expected = if code == "rx_dropped" { (vec![], vec![code]) } else { (vec![code], vec![]) };
        assert_eq!((codes(&run), notes(&run)), expected);
        assert!(run.verdict.reasons.iter().all(|reason| reason.what.contains("lcore 2: 3 ")), "{:?}", run.verdict);
    }
}

#[test]
fn a_rate_that_is_off_by_little_is_valid_and_by_more_is_not() {
    for (sent, valid) in [(0.9995, true), (1.0005, true), (0.998, false), (1.002, false)] {
        let mut script = Script::new(2);
        script.sent = sent;
        script.plan.stages[1].duration = Duration::from_secs(40);
        assert_eq!(script.run("x").verdict.outcome == Outcome::Pass, valid, "{sent}");
    }
}

#[test]
fn intervals_of_several_workers_that_end_apart_are_not_due_twice() {
    let script = Script::new(2);
    let (mut intervals, recordings) = script.play();
    let last = intervals[0].len() - 1;
    for (at, interval) in intervals[0].iter_mut().enumerate() {
        let late = Duration::from_millis(10);
        interval.start = interval.start + if at == 0 { Duration::ZERO } else { late };
        interval.end = interval.end + if at == last { Duration::ZERO } else { late };
    }
    let mut collector = script.collector("apart");
    for (worker, own) in intervals.iter().enumerate() {
        own.iter().for_each(|interval| collector.add_interval(worker, interval));
    }
    let run = collector.finish(&recordings, &script.health(), script.ending());
    assert!(run.intervals[0].end_s > run.intervals[1].start_s);
    assert_eq!(run.verdict.outcome, Outcome::Pass, "{:?}", run.verdict);
}

#[test]
fn waiting_for_a_connection_is_the_targets_doing() {
    let script = Script::new(6);
    let (mut intervals, recordings) = script.play();
    // The target stands still from 10 s to 12 s: nothing is sent, then all of it.
    for own in &mut intervals {
        (own[10].counts.sent, own[11].counts.sent) = (0, 0);
        own[12].counts.sent *= 3;
        own[12].counts.waited = 2_000;
    }
    let mut collector = script.collector("paused");
    for (worker, own) in intervals.iter().enumerate() {
        own.iter().for_each(|interval| collector.add_interval(worker, interval));
    }
    let mut recordings = recordings;
    recordings[0].cells[2].counts.waited = 4_000;
    let run = collector.finish(&recordings, &script.health(), script.ending());
    assert_eq!((run.verdict.outcome, notes(&run)), (Outcome::Pass, vec!["waited"]), "{:?}", run.verdict);
    assert!(run.verdict.notes[0].fix.as_ref().unwrap().contains("--connections"));
}

#[test]
fn failures_without_a_threshold_are_noted() {
    let mut script = Script::new(6);
    script.failed = 0.1;
    let run = script.run("failing");
    assert_eq!((run.verdict.outcome, notes(&run)), (Outcome::Pass, vec!["unjudged"]));
    assert_eq!(run.total.failed, run.total.counts.outcomes.timeout);
    assert!((run.total.failed_share - 0.1).abs() < 0.01);
}

fn selected(metric: Metric, aggregation: Aggregation, stage: Option<&str>, class: Option<&str>) -> Threshold {
    let chosen = threshold(metric, aggregation, Comparison::Greater, -1.0);
    Threshold { stage: stage.map(Into::into), class: class.map(Into::into), ..chosen }
}

#[test]
fn thresholds_look_at_the_requests_they_select() {
    use Aggregation::{Count, Max, Mean, Median, Min, Percentile, Rate};
    let mut script = Script::new(3);
    script.failed = 0.01;
    let asked = [
        (selected(Metric::Requests, Count, None, None), 40_000.0, true),
        (selected(Metric::Requests, Count, Some("warm"), None), 2_000.0, true),
        (selected(Metric::Requests, Count, Some("steady"), Some("large")), 10_000.0, true),
        (selected(Metric::Requests, Rate, None, Some("small")), 1_500.0, true),
        (selected(Metric::Requests, Rate, Some("warm"), None), 1_000.0, true),
        (selected(Metric::Failed, Rate, None, None), 0.01, true),
        (selected(Metric::Checks, Rate, None, None), 1.0, true),
        (selected(Metric::Connecting, Count, None, None), 400.0, true),
        (selected(Metric::Connecting, Max, Some("steady"), None), 0.0, false),
        (selected(Metric::Duration, Median, None, None), 254_000.0, true),
        (selected(Metric::Service, Median, None, None), 250_000.0, true),
        (selected(Metric::Duration, Percentile(0.0), None, None), 0.0, true),
        (selected(Metric::Duration, Mean, None, None), 275_000.0, true),
        (selected(Metric::Duration, Min, None, None), 0.0, true),
        (selected(Metric::Duration, Max, None, None), 0.0, true),
    ];
    script.plan.thresholds = asked.iter().map(|(threshold, ..)| threshold.clone()).collect();
    let run = script.run("selected");
    for ((asked, expected, measured), judged) in asked.iter().zip(&run.thresholds) {
        assert_eq!(judged.holds, *measured, "{asked:?}: {judged:?}");
        let Some(actual) = judged.actual.filter(|_| *expected > 0.0) else { continue };
        // Failed requests are no answers, which is 1 % here.
        assert!((actual / expected - 1.0).abs() < 0.15, "{asked:?}: {judged:?}");
    }
    let value = |n: usize| run.thresholds[n].actual.unwrap();
    assert_eq!(value(11), run.total.latency.min_ns as f64);
    assert_eq!(value(14), run.total.latency.max_ns as f64);
    assert_eq!(run.verdict.outcome, Outcome::Fail, "what was not measured does not hold");
}

#[test]
fn comparisons_are_what_they_say() {
    use Comparison::*;
    for (comparison, below, equal, above) in [
        (Less, true, false, false),
        (LessOrEqual, true, true, false),
        (Greater, false, false, true),
        (GreaterOrEqual, false, true, true),
        (Equal, false, true, false),
        (NotEqual, true, false, true),
    ] {
        for (value, expected) in [(40_001.0, below), (40_000.0, equal), (39_999.0, above)] {
            let mut script = Script::new(1);
            script.plan.thresholds = vec![threshold(Metric::Requests, Aggregation::Count, comparison, value)];
            let run = script.run("compared");
            assert_eq!(run.thresholds[0].holds, expected, "{comparison:?} {value}");
            assert_eq!(run.verdict.exit_code, if expected { 0 } else { 99 });
        }
    }
}

#[test]
fn a_threshold_ends_the_run_when_its_delay_is_over_and_warm_up_does_not_count() {
    let mut script = Script::new(3);
    script.slow_from = 8.0;
    let slow = threshold(Metric::Duration, Aggregation::Percentile(90.0), Comparison::Less, 700_000.0);
    script.plan.thresholds = vec![Threshold { abort: true, abort_delay: Duration::from_secs(9), ..slow }];
    let (intervals, recordings) = script.play();
    let mut collector = script.collector("aborted");
    let mut at = None;
    for second in 0..22 {
        feed(&mut collector, &intervals, second..second + 1);
        if let Some(reason) = collector.check_abort() {
            at = Some((second + 1, reason));
            break;
        }
    }
    // It is slow since 8 s; 9 s of judged time are over at 11 s.
    let (second, aborted) = at.unwrap();
    assert_eq!(second, 11);
    // Nothing is sent any more while last answers come, which is not the generator's fault.
    let mut rest = intervals.clone();
    rest.iter_mut().flatten().for_each(|interval| interval.counts.sent = 0);
    feed(&mut collector, &rest, 11..14);
    let ending = Ending { elapsed: Duration::from_secs(11), aborted: Some(aborted) };
    let run = collector.finish(&recordings, &script.health(), ending);
    assert_eq!((run.verdict.outcome, run.verdict.exit_code), (Outcome::Fail, 99), "{:?}", run.verdict);
    assert_eq!(run.verdict.reasons[0].code, "aborted");
    assert!((run.judged_s - 9.0).abs() < 1e-9);
}

#[test]
fn who_stops_a_run_gets_105() {
    let script = Script::new(3);
    let (_, recordings) = script.play();
    let aborted = penstock::report::model::Aborted { reason: "interrupted".into(), by_threshold: false };
    let ending = Ending { elapsed: Duration::from_secs(5), aborted: Some(aborted) };
    let run = script.collector("cut").finish(&recordings, &script.health(), ending);
    assert_eq!((run.verdict.outcome, run.verdict.exit_code), (Outcome::Aborted, 105));
}

#[test]
fn a_run_of_nothing_is_a_document_all_the_same() {
    let script = Script::new(1);
    let recordings = vec![Recording::new(&script.plan)];
    let run = script.collector("nothing").finish(&recordings, &[], Ending::default());
    assert!(notes(&run).contains(&"empty"));
    let text = penstock::report::write::json(&run).unwrap();
    assert_eq!(penstock::report::write::parse(&text).unwrap(), run);
    assert!(!penstock::report::table(&run, false).contains("NaN"));
    assert!(!penstock::report::html::html(&run).unwrap().contains("NaN"));
    penstock::report::hdr::hgrm(&run).unwrap();
    penstock::report::hdr::interval_log(&run).unwrap();
}

#[test]
fn the_plan_hash_is_of_the_load_alone() {
    let script = Script::new(1);
    let hash = |change: fn(&mut Script)| {
        let mut script = script.clone();
        change(&mut script);
        penstock::report::shape::Shape::from(&script.plan).hash
    };
    let own = hash(|_| {});
    assert_eq!(own.len(), 64);
    assert_eq!(own, hash(|s| s.plan.thresholds = vec![selected(Metric::Failed, Aggregation::Rate, None, None)]));
    assert_eq!(own, hash(|s| s.plan.source_ports = 2000..=3000));
    let changes: [fn(&mut Script); 6] = [
        |s| s.plan.connections = 401,
        |s| s.plan.stages[1].to = 2001.0,
        |s| s.plan.classes[0].body = std::sync::Arc::from(&b"x"[..]),
        |s| s.plan.classes[0].check.size = Some(3),
        |s| s.plan.seed = 8,
        |s| s.plan.arrivals = Arrivals::Poisson,
    ];
    changes.into_iter().for_each(|change| assert_ne!(own, hash(change)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nearest rank: the smallest value that at least this share does not exceed.
    #[test]
    fn percentiles_are_those_of_a_sort(
        mut values in prop::collection::vec(prop_oneof![0..5_000_u64, 1_000..100_000_000_u64, 1..3_600_000_000_000_u64], 1..3_000),
    ) {
        let mut recorded = histogram::<u64>();
        values.iter().for_each(|value| recorded.record(*value).unwrap());
        values.sort_unstable();
        let distribution = Distribution::of(&recorded);
        let exact = |p: f64| values[((p / 100.0 * values.len() as f64 - 1e-6).ceil() as usize).clamp(1, values.len()) - 1];
        let near = |found: u64, exact: u64| found.abs_diff(exact) as f64 <= exact as f64 * 0.001;
        for ((name, found), p) in distribution.percentiles().into_iter().zip([50.0, 90.0, 95.0, 99.0, 99.9, 99.99]) {
            prop_assert!(near(found, exact(p)), "{name}: {found}, {}", exact(p));
        }
        prop_assert!(near(distribution.min_ns, values[0]) && near(distribution.max_ns, values[values.len() - 1]));
        let mean = values.iter().map(|value| *value as f64).sum::<f64>() / values.len() as f64;
        prop_assert!((distribution.mean_ns - mean).abs() <= mean * 0.001 + 0.5);
        prop_assert_eq!(distribution.decode().unwrap(), recorded);
    }

    /// Histograms of intervals, with smaller counters, lose nothing on their way into the sum.
    #[test]
    fn parts_added_are_the_whole(parts in prop::collection::vec(prop::collection::vec(0..10_000_000_000_u64, 0..200), 1..6)) {
        let (mut whole, mut sum) = (histogram::<u64>(), histogram::<u64>());
        for part in &parts {
            let mut own = histogram::<u32>();
            for value in part {
                own.record(*value).unwrap();
                whole.record(*value).unwrap();
            }
            add(&mut sum, &own);
        }
        prop_assert_eq!(&sum, &whole);
        prop_assert_eq!(Distribution::of(&sum), Distribution::of(&whole));
    }

    /// The requests due in parts of a schedule are those due in all of it.
    #[test]
    fn what_is_due_adds_up(rates in prop::collection::vec((0.0..1e6_f64, 0.0..1e6_f64, 1..60_u32), 1..5), cut in 0.0..1.0_f64) {
        let stages = rates.iter().enumerate().map(|(n, (from, to, s))| stage(&n.to_string(), f64::from(*s), *from, *to, false));
        let shape = penstock::report::shape::Shape::from(&plan(stages.collect(), vec![class("a", 1)]));
        let all: f64 = rates.iter().map(|(from, to, s)| (from + to) / 2.0 * f64::from(*s)).sum();
        let middle = cut * shape.seconds();
        let parts = shape.due(-1.0, middle) + shape.due(middle, 1e9);
        prop_assert!((parts - all).abs() <= 1e-9 * all.max(1.0), "{parts} {all}");
    }
}

#[test]
fn an_empty_interval_or_one_without_length_changes_nothing() {
    let script = Script::new(1);
    let mut collector = script.collector("odd");
    let mut odd = Interval::new();
    odd.counts.outcomes[What::Ok as usize] = 5;
    collector.add_interval(0, &odd);
    assert!(collector.live().point.is_none());
    assert_eq!(collector.live().ended, 0);
}
