//! Soaks of made-up targets: what leaks, what is steady, what cannot be told.

use super::*;
use crate::report::stats::Random;

fn choices(texts: &[&str]) -> Vec<Choice> {
    texts.iter().map(|text| Choice::parse(text).unwrap()).collect()
}

fn watch() -> Watch {
    Watch::new(Question {
        name: "soak".into(),
        metrics_url: "http://127.0.0.1:9902/metrics".into(),
        resources: choices(&["memory", "descriptors"]),
        others: choices(&["queue{name=\"a\"}"]),
        balanced: choices(&["requests_total"]),
        growth: 0.01,
        latency_growth: 0.1,
        warm_up_s: 60.0,
    })
}

/// A run of four hours whose latency drifts by so many nanoseconds an hour.
fn run(latency_drift: f64) -> Run {
    let mut run = crate::report::capacity::tests::run(1_000.0, 1e5, 1e9);
    run.judged_s = 4.0 * 3600.0;
    run.verdict.outcome = Outcome::Pass;
    run.verdict.reasons.clear();
    let point = run.intervals[0].clone();
    let mut random = Random::new(5);
    let points = (0..1440).map(|i| {
        let mut point = point.clone();
        point.end_s = 60.0 + f64::from(i) * 10.0;
        point.judged = true;
        point.latency.count = 1000;
        point.latency.p99_ns = 100_000 + (f64::from(i) / 360.0 * latency_drift) as u64 + random.below(10_000) as u64;
        point
    });
    run.intervals = points.collect();
    run
}

/// Samples of four hours after warm-up: memory grows by so many bytes an hour, in steps as allocators make them.
fn sampled(growth: f64, missed: u32) -> Watch {
    let (mut watch, mut random) = (watch(), Random::new(7));
    let (sums, parts) = (watch.series(), watch.balanced());
    for i in 0..1446u32 {
        let at = f64::from(i) * 10.0;
        if missed > 0 && i % missed == 0 {
            watch.add(at, Err("no answer within 5000 ms".into()));
            continue;
        }
        let memory = 50e6 + (growth * at / 3600.0 / 65536.0).floor() * 65536.0 + random.below(16) as f64 * 4096.0;
        // Warm-up grows fast, and is not judged.
        let memory = if at < 60.0 { memory - 40e6 + at * 600e3 } else { memory };
        let queue = random.below(5);
        let text = format!(
            "memory {memory}\nqueue{{name=\"a\"}} {queue}\nqueue{{name=\"b\"}} {i}\n\
             requests_total{{worker=\"0\"}} {}\nrequests_total{{worker=\"1\"}} {}\n",
            i * 30,
            i * 10
        );
        watch.add(at, Ok(exposition::read(&text, &sums, &parts)));
    }
    watch
}

fn verdicts(soak: &Soak) -> Vec<Growth> {
    soak.trends.iter().map(|trend| trend.verdict).collect()
}

#[test]
fn a_steady_target_is_steady_though_samples_are_missing() {
    let soak = sampled(0.0, 3).conclude(&run(0.0));
    assert_eq!((soak.verdict, soak.exit_code), (Verdict::Steady, 0), "{soak:?}");
    assert_eq!(verdicts(&soak), [Growth::Steady, Growth::Absent, Growth::Steady, Growth::Steady]);
    assert_eq!((soak.samples.taken, soak.samples.missed), (960, 480));
    let balance = &soak.balance[0];
    assert!((balance.max_over_mean - 1.5).abs() < 0.01, "{balance:?}");
    assert!(table(&soak).contains("not exposed") && table(&soak).contains("\nSTEADY\n"), "{}", table(&soak));
}

#[test]
fn a_leak_above_the_bound_is_one_and_below_it_is_none() {
    // The bound is 1 % of 50 MB an hour.
    let soak = sampled(1e6, 0).conclude(&run(0.0));
    assert_eq!((soak.verdict, soak.exit_code, soak.trends[0].verdict), (Verdict::Growth, 99, Growth::Leak));
    let slope = soak.trends[0].per_hour.unwrap();
    assert!((slope.slope / 1e6 - 1.0).abs() < 0.05 && slope.low > 0.5e6, "{slope:?}");
    assert!(soak.reasons[0].starts_with("LEAK: memory grows by"), "{:?}", soak.reasons);
    let soak = sampled(0.3e6, 0).conclude(&run(0.0));
    assert_eq!((soak.verdict, soak.trends[0].verdict), (Verdict::Steady, Growth::Steady));
}

#[test]
fn latency_that_drifts_is_growth_unless_the_generator_is_at_fault() {
    let soak = sampled(0.0, 0).conclude(&run(30_000.0));
    assert_eq!((soak.verdict, soak.trends[3].verdict), (Verdict::Growth, Growth::Growth));
    let mut invalid = run(30_000.0);
    invalid.verdict.outcome = Outcome::Invalid;
    let soak = sampled(0.0, 0).conclude(&invalid);
    assert_eq!((soak.verdict, soak.exit_code, soak.trends[3].verdict), (Verdict::Invalid, 10, Growth::Unknown));
    // A leak is one whoever is late.
    assert_eq!(sampled(1e6, 0).conclude(&invalid).verdict, Verdict::Growth);
}

#[test]
fn a_restart_and_an_abort_are_told() {
    let mut watch = sampled(0.0, 0);
    let (sums, parts) = (watch.series(), watch.balanced());
    watch.add(14_470.0, Ok(exposition::read("memory 5e7\nrequests_total{worker=\"0\"} 5\n", &sums, &parts)));
    let soak = watch.conclude(&run(0.0));
    assert_eq!((soak.verdict, soak.samples.restarts, soak.exit_code), (Verdict::Fail, 1, 99));
    assert!(soak.reasons[0].contains("restarted"), "{:?}", soak.reasons);
    let mut aborted = run(0.0);
    aborted.verdict.outcome = Outcome::Aborted;
    assert_eq!(sampled(1e6, 0).conclude(&aborted).exit_code, 105);
}

#[test]
fn nothing_is_steady_that_was_not_seen() {
    let soak = sampled(0.0, 1).conclude(&run(0.0));
    assert_eq!((soak.verdict, soak.exit_code), (Verdict::Invalid, 10));
    assert!(soak.reasons[0].contains("0 samples were taken and 1440 missed"), "{:?}", soak.reasons);
    assert!(soak.reasons[0].contains("no answer within 5000 ms"), "{:?}", soak.reasons);
    let text = json(&soak).unwrap();
    assert_eq!(serde_json::from_str::<Soak>(&text).unwrap().reasons, soak.reasons);
}
