//! Load generators against the gateway in a false world, by hand: what a sweep found, and what it should not have to find.

use crate::world::build;
use penstock::loadgen::plan::Arrivals;
use penstock::loadgen::record::Outcome;
use penstock::sim::event::{Event, What};
use penstock::sim::load::LoadReport;
use penstock::sim::machine::MachinePlan;
use penstock::sim::plan::Plan;
use penstock::sim::verdict;
use penstock::sim::wire::Impairment;
use penstock::telemetry::Counter;
use std::time::Duration;

/// One load machine as some seed draws it, then made plain: so many requests a second for `/small`, on a good wire.
fn plain(rate: f64, seconds: u64, connections: u32, workers: usize) -> Plan {
    let drawn = (1..).map(Plan::drawn).find_map(|plan| plan.loads.into_iter().find(|load| load.place.vlan.is_none()));
    let mut load = drawn.unwrap();
    let wire = Impairment { delay: Duration::from_micros(100), ..Impairment::default() };
    (load.up, load.down, load.workers) = (wire.clone(), wire, workers);
    load.machine = MachinePlan { tick: Duration::from_millis(1), ..machine(&load.machine) };
    let mut run = load.plan.clone();
    run.arrivals = Arrivals::Constant;
    run.stages.truncate(1);
    (run.stages[0].from, run.stages[0].to, run.stages[0].duration) = (rate, rate, Duration::from_secs(seconds));
    run.classes.truncate(1);
    run.classes[0].head = b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n"[..].into();
    (run.classes[0].body, run.classes[0].head_only) = ([][..].into(), false);
    run.classes[0].check = Default::default();
    (run.connections, run.requests_per_connection, run.pipeline) = (connections, 0, 1);
    (run.timeout, run.connect_timeout) = (Duration::from_secs(20), Duration::from_secs(5));
    run.source_ports = 1024..=65_535;
    load.plan = run;
    Plan { loads: vec![load], ..Plan::quiet(1) }
}

fn machine(plan: &MachinePlan) -> MachinePlan {
    let quiet = Plan::quiet(1).machine();
    MachinePlan { caps: penstock::port::Caps { mac: plan.caps.mac, mtu: 1500, ..quiet.caps.clone() }, ..quiet }
}

fn run(plan: Plan) -> LoadReport {
    verdict::run(&mut build(plan)).unwrap().loads[0].clone()
}

#[test]
fn a_load_run_is_answered_in_full_over_two_queues_on_both_sides() {
    let plan = plain(500.0, 2, 16, 2);
    let mut world = build(plan);
    assert!(world.run_until(Duration::from_secs(10), |world| world.is_over()), "{:?}", world.failures());
    let load = &world.loads()[0].machine;
    let opened = [0, 1].map(|worker| load.count_of(worker, Counter::ConnConnected));
    // Nothing came to the queue of another worker.
    assert_eq!((opened, load.count(Counter::DropNoConnection)), ([8, 8], 0));
    let served = [0, 1].map(|worker| world.count_of(worker, Counter::HttpRequests));
    assert!(served.iter().all(|n| *n > 50), "{served:?}");
    let report = verdict::run(&mut world).unwrap();
    let counts = report.loads[0].counts;
    assert_eq!((report.loads[0].arrivals, counts.outcome(Outcome::Ok), counts.sent), (Some(1000), 1000, 1000));
}

#[test]
fn a_partition_fails_or_delays_requests_and_hides_none() {
    for (lasts, answered) in [(Duration::from_millis(300), true), (Duration::from_secs(60), false)] {
        let mut plan = plain(100.0, 2, 4, 1);
        plan.loads[0].plan.timeout = Duration::from_secs(3);
        let at = Duration::from_millis(700);
        plan.events = vec![Event { at, what: What::Partition { station: 1, lasts } }];
        let report = run(plan);
        let (ok, ended) = (report.counts.outcome(Outcome::Ok), report.counts.ended());
        assert_eq!(ended, 200);
        assert_eq!(ok == 200, answered, "{report:?}");
        assert!(ok > 50, "{report:?}");
    }
}

#[test]
fn a_drain_lets_no_request_vanish() {
    let mut plan = plain(200.0, 3, 8, 2);
    plan.events = vec![Event { at: Duration::from_secs(1), what: What::Drain }];
    let report = run(plan);
    let counts = report.counts;
    assert_eq!((counts.ended(), counts.outcome(Outcome::Protocol)), (600, 0));
    assert!(counts.outcome(Outcome::Ok) > 150 && counts.outcome(Outcome::NotSent) > 200, "{counts:?}");
}

/// The first request holds the only 4-tuple, the second waits for it, and nobody answers: when the run is over and the first
/// connection is reset, the second must not take its slot before the first is counted.
#[test]
fn a_request_whose_connection_is_reset_at_the_end_is_counted() {
    let mut plan = plain(100.0, 1, 4, 1);
    let run_plan = &mut plan.loads[0].plan;
    (run_plan.requests_per_connection, run_plan.source_ports) = (1, 1024..=1024);
    run_plan.timeout = Duration::from_millis(400);
    let what = What::Partition { station: 1, lasts: Duration::from_secs(9) };
    plan.events = vec![Event { at: Duration::ZERO, what }];
    let report = run(plan);
    assert_eq!(report.counts.ended(), 100, "{report:?}");
}
