//! The schedule against the integral of its rates, an exact merge, and the distributions it promises.

use super::super::plan::{Check, Class, Plan, Stage, Target};
use super::*;
use core::time::Duration;
use proptest::prelude::*;

/// A plan with one class; stages as duration in milliseconds and rates at the start and at the end.
fn plan(arrivals: Arrivals, stages: &[(u64, f64, f64)]) -> Plan {
    let stage = |(ms, from, to): &(u64, f64, f64)| Stage {
        name: String::new(),
        duration: Duration::from_millis(*ms),
        from: *from,
        to: *to,
        warmup: false,
    };
    Plan {
        target: Target { url: String::new(), address: "10.0.0.1:80".parse().unwrap() },
        arrivals,
        stages: stages.iter().map(stage).collect(),
        classes: classes(&[1]),
        connections: 1,
        requests_per_connection: 0,
        pipeline: 1,
        timeout: Duration::from_secs(1),
        connect_timeout: Duration::from_secs(1),
        source_ports: 1024..=65535,
        seed: 7,
        thresholds: Vec::new(),
    }
}

fn classes(weights: &[u32]) -> Vec<Class> {
    let class = |weight: &u32| Class {
        name: String::new(),
        weight: *weight,
        head_only: false,
        head: (*b"").into(),
        body: (*b"").into(),
        check: Check::default(),
    };
    weights.iter().map(class).collect()
}

/// All arrivals of one worker.
fn all(plan: &Plan, worker: usize, workers: usize) -> Vec<Arrival> {
    let mut schedule = Schedule::new(plan, worker, workers);
    let mut arrivals = Vec::new();
    while let Some(arrival) = schedule.due(u64::MAX) {
        arrivals.push(arrival);
        schedule.take();
    }
    arrivals
}

/// All arrivals of all workers, by time.
fn merged(plan: &Plan, workers: usize) -> Vec<Arrival> {
    let mut arrivals: Vec<Arrival> = (0..workers).flat_map(|worker| all(plan, worker, workers)).collect();
    arrivals.sort_by_key(|arrival| arrival.at);
    arrivals
}

fn stages() -> impl Strategy<Value = Vec<(u64, f64, f64)>> {
    let rate = prop_oneof![Just(0.0), 0.1..100.0f64, 100.0..20_000.0f64];
    let stage = (1..700u64, rate.clone(), rate, any::<bool>());
    proptest::collection::vec(stage.prop_map(|(ms, from, to, flat)| (ms, from, if flat { from } else { to })), 1..6)
}

proptest! {
    #[test]
    fn workers_together_are_the_schedule_of_one(stages in stages(), workers in 1..9usize) {
        let mut plan = plan(Arrivals::Constant, &stages);
        plan.classes = classes(&[1, 2, 30]);
        let (one, several) = (all(&plan, 0, 1), merged(&plan, workers));
        let key = |arrivals: &[Arrival]| {
            let mut keys: Vec<_> = arrivals.iter().map(|a| (a.at, a.stage, a.class)).collect();
            keys.sort_unstable();
            keys
        };
        prop_assert_eq!(key(&one), key(&several));
    }

    #[test]
    fn counts_are_the_integral_and_times_do_not_go_back(stages in stages()) {
        let arrivals = all(&plan(Arrivals::Constant, &stages), 0, 1);
        prop_assert!(arrivals.windows(2).all(|pair| pair[0].at <= pair[1].at && pair[0].stage <= pair[1].stage));
        let (mut start, mut integral) = (0, 0.0);
        for (n, (ms, from, to)) in stages.iter().enumerate() {
            let end = start + ms * 1_000_000;
            let own: Vec<&Arrival> = arrivals.iter().filter(|a| usize::from(a.stage) == n).collect();
            prop_assert!(own.iter().all(|a| (start..end).contains(&a.at)));
            prop_assert!(own.is_empty() || from + to > 0.0, "a stage without a rate has no arrivals");
            integral += (from + to) / 2.0 * *ms as f64 / 1e3;
            let by_now = arrivals.iter().filter(|a| usize::from(a.stage) <= n).count() as f64;
            prop_assert!((by_now - integral).abs() <= 1.0 + 1e-6, "{by_now} {integral}");
            start = end;
        }
    }

    #[test]
    fn due_is_what_at_says(stages in stages(), looks in proptest::collection::vec(1..50_000_000u64, 1..60)) {
        let plan = plan(Arrivals::Poisson, &stages);
        let (expected, mut schedule) = (all(&plan, 1, 2), Schedule::new(&plan, 1, 2));
        let (mut now, mut found) = (0, Vec::new());
        for look in looks {
            now += look;
            prop_assert_eq!(schedule.next_at(), expected.get(found.len()).map(|arrival| arrival.at));
            while let Some(arrival) = schedule.due(now) {
                prop_assert_eq!(schedule.due(now), Some(arrival), "it stays until it is taken");
                found.push(arrival);
                schedule.take();
            }
        }
        let expected: Vec<Arrival> = expected.into_iter().filter(|arrival| arrival.at <= now).collect();
        prop_assert_eq!(found, expected);
    }

    /// From 0.1/s to 10 M/s in stages of an hour: request i is where the curve, computed the other way round, is i.
    #[test]
    fn the_inverse_is_exact_at_any_rate(
        from in -1.0..7.0f64, to in -1.0..7.0f64, zero in 0..4u8, at in 0.0..1.0f64, worker in 0..4usize,
    ) {
        let from = if zero == 1 { 0.0 } else { 10f64.powf(from) };
        let to = if zero == 2 { 0.0 } else { 10f64.powf(to) };
        let mut schedule = Schedule::new(&plan(Arrivals::Constant, &[(3_600_000, from, to)]), worker, 4);
        let total = (from + to) / 2.0 * 3600.0;
        schedule.number = (at * total) as u64 / 4 * 4 + worker as u64;
        schedule.take();
        let Some(arrival) = schedule.due(u64::MAX) else {
            prop_assert!(schedule.number as f64 >= total);
            return Ok(());
        };
        let x = arrival.at as f64 / 1e9;
        let (curve, rate) = (from * x + (to - from) / 3600.0 * x * x / 2.0, from + (to - from) / 3600.0 * x);
        // A nanosecond of rounding, and that of the 16 digits this test computes with.
        let slack = rate * 1.5e-9 + total * 1e-14 + 1e-6;
        prop_assert!((curve - schedule.number as f64).abs() <= slack, "{curve} {}", schedule.number);
    }
}

#[test]
fn round_rates_have_round_times() {
    let arrivals = all(&plan(Arrivals::Constant, &[(1000, 1000.0, 1000.0)]), 0, 1);
    assert_eq!(arrivals.len(), 1000);
    assert!(arrivals.iter().enumerate().all(|(n, arrival)| arrival.at == n as u64 * 1_000_000));
}

#[test]
fn nothing_drifts_in_a_billion_arrivals() {
    // 3 M/s: the distance of two arrivals is no whole number of nanoseconds.
    let plan = plan(Arrivals::Constant, &[(3_600_000, 3e6, 3e6)]);
    let mut schedule = Schedule::new(&plan, 2, 3);
    for number in [1_000_000_001u64, 3_000_000_002, 10_799_999_999] {
        schedule.number = number / 3 * 3 + 2 - 3;
        schedule.take();
        let exact = (u128::from(schedule.number) * 1_000 + 1) / 3;
        let arrival = schedule.due(u64::MAX).unwrap();
        assert!(u128::from(arrival.at).abs_diff(exact) <= 1, "{number}: {} {exact}", arrival.at);
    }
    schedule.take();
    assert_eq!((schedule.due(u64::MAX), schedule.next_at()), (None, None), "10.8 billion requests are all");
    schedule.take();
    assert_eq!(schedule.due(u64::MAX), None, "taking beyond the end is harmless");
}

#[test]
fn steps_and_spikes_keep_their_rates() {
    let stages = [(100, 1000.0, 1000.0), (10, 50_000.0, 50_000.0), (50, 0.0, 0.0), (100, 1000.0, 0.0)];
    let plan = plan(Arrivals::Constant, &stages);
    let arrivals = all(&plan, 0, 1);
    let of = |stage| arrivals.iter().filter(|arrival| arrival.stage == stage).count();
    assert_eq!([of(0), of(1), of(2), of(3)], [100, 500, 0, 50]);
    let schedule = Schedule::new(&plan, 0, 1);
    let ms = 1_000_000;
    let under_way = [0, 100 * ms - 1, 100 * ms, 110 * ms, 159 * ms, 160 * ms, u64::MAX].map(|at| schedule.stage(at));
    assert_eq!(under_way, [0, 0, 1, 2, 2, 3, 3]);
    assert_eq!(schedule.end(), 260 * ms);
}

/// Gaps of a Poisson process of 10,000/s, in operational time: the rate doubles half way.
fn poisson_gaps(workers: usize, seed: u64) -> Vec<f64> {
    let mut plan = plan(Arrivals::Poisson, &[(5000, 10_000.0, 10_000.0), (2500, 20_000.0, 20_000.0)]);
    plan.seed = seed;
    let operational = |at: u64| if at < 5_000_000_000 { at as f64 / 1e5 } else { at as f64 / 5e4 - 5e4 };
    let places: Vec<f64> = merged(&plan, workers).iter().map(|arrival| operational(arrival.at)).collect();
    places.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn poisson_gaps_are_exponential_however_many_workers() {
    for (workers, seed) in [(1, 1), (1, 2), (2, 3), (4, 4), (7, 5)] {
        let mut gaps = poisson_gaps(workers, seed);
        let n = gaps.len() as f64;
        // 100,000 are expected with a standard deviation of 316.
        assert!((n - 100_000.0).abs() < 4.0 * 316.0, "{workers} {seed}: {n}");
        let mean = gaps.iter().sum::<f64>() / n;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / n;
        assert!((mean - 1.0).abs() < 0.0127 && (variance - 1.0).abs() < 0.036, "{workers} {seed}: {mean} {variance}");
        // Neighbours do not depend on each other.
        let pairs = gaps.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum::<f64>() / n;
        assert!(pairs.abs() < 0.0127, "{workers} {seed}: {pairs}");
        // Kolmogorov and Smirnov: at 1.95 one in a thousand samples of the right distribution would fail.
        gaps.sort_by(f64::total_cmp);
        let distance = |(i, gap): (usize, &f64)| ((1.0 - (-gap).exp()) - i as f64 / n).abs();
        let worst = gaps.iter().enumerate().map(distance).fold(0.0, f64::max);
        assert!(worst * n.sqrt() < 1.95, "{workers} {seed}: {worst}");
    }
}

#[test]
fn the_seed_alone_chooses() {
    let mut plan = plan(Arrivals::Poisson, &[(1000, 100.0, 900.0)]);
    plan.classes = classes(&[3, 4]);
    let first = merged(&plan, 3);
    assert_eq!(first, merged(&plan, 3));
    plan.seed += 1;
    assert_ne!(first, merged(&plan, 3));
    assert_ne!(all(&plan, 0, 3)[0].at, all(&plan, 1, 3)[0].at, "each worker walks alone");
}

#[test]
fn classes_have_their_shares() {
    let mut plan = plan(Arrivals::Constant, &[(1000, 100_000.0, 100_000.0)]);
    plan.classes = classes(&[1, 89, 10]);
    let arrivals = all(&plan, 0, 1);
    for (class, share) in [(0, 0.01), (1, 0.89), (2, 0.1)] {
        let found = arrivals.iter().filter(|arrival| arrival.class == class).count() as f64 / 1e5;
        let deviation = (share * (1.0 - share) / 1e5f64).sqrt();
        assert!((found - share).abs() < 4.0 * deviation, "class {class}: {found}");
    }
    let of_closed: Vec<u16> = {
        plan.arrivals = Arrivals::Closed;
        let mut schedule = Schedule::new(&plan, 0, 1);
        (0..100_000).map(|_| (schedule.due(5).unwrap().class, schedule.take()).0).collect()
    };
    assert_eq!(of_closed, arrivals.iter().map(|arrival| arrival.class).collect::<Vec<_>>());
    plan.classes = classes(&[u32::MAX, u32::MAX]);
    let mut schedule = Schedule::new(&plan, 0, 1);
    assert!((0..1000).all(|_| (schedule.due(5).unwrap().class < 2, schedule.take()).0));
}

#[test]
fn a_closed_loop_is_due_until_the_end() {
    let plan = plan(Arrivals::Closed, &[(10, 0.0, 0.0), (5, 1000.0, 1000.0)]);
    let mut schedule = Schedule::new(&plan, 1, 2);
    for at in [0, 3, 3, 9_999_999, 10_000_000, 14_999_999] {
        let stage = u16::from(at >= 10_000_000);
        assert_eq!(schedule.due(at), Some(Arrival { at, stage, class: 0 }));
        schedule.take();
    }
    assert_eq!((schedule.due(15_000_000), schedule.due(u64::MAX), schedule.next_at()), (None, None, None));
}
