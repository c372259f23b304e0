//! Large bodies get a larger transmit ring, and arrive sooner over a long wire.

mod world;

use penstock::sim::client::{ClientPlan, Outcome};
use penstock::sim::plan::Plan;
use penstock::sim::rng::Rng;
use penstock::sim::site::{Request, Site};
use penstock::sim::verdict;
use penstock::sim::wire::Impairment;
use penstock::sim::world::World;
use penstock::telemetry::Counter;
use std::time::Duration;
use world::{Gate, build};

const MEBIBYTE: u32 = 1 << 20;

/// Clients that each ask for these pages, over 5 ms each way, and so many large rings.
fn served(clients: usize, pages: &[&'static str], rings: u32) -> (World<Gate>, Duration) {
    let requests: Vec<Request> = pages.iter().map(|page| Request::get(page)).collect();
    let mut plan = Plan { clients: vec![ClientPlan::plain(requests); clients], ..Plan::quiet(1) };
    plan.site = Site::new(&mut Rng::new(1), true);
    plan.config.routes = plan.site.routes();
    plan.config.workers.count = Some(1);
    (plan.config.tcp.bulk_rings, plan.config.tcp.bulk_tx_ring) = (rings, 512 * 1024);
    let wire = Impairment { delay: Duration::from_millis(5), ..Impairment::default() };
    (plan.hosts[0].up, plan.hosts[0].down) = (wire.clone(), wire);
    let mut world = build(plan);
    let start = world.now().mono;
    let all = |world: &World<Gate>| world.clients().iter().all(|client| client.answered() == pages.len());
    assert!(world.run_until(Duration::from_secs(120), all), "{:?}", world.failures());
    let took = world.now().mono.since(start);
    verdict::run(&mut world).unwrap();
    assert!(world.clients().iter().all(|client| client.outcome() == Some(&Outcome::Done)));
    (world, took)
}

#[test]
fn a_mebibyte_arrives_several_times_as_fast_through_a_larger_ring() {
    let (small, slow) = served(1, &["/huge"], 0);
    let (large, fast) = served(1, &["/huge"], 1);
    let rate = |took: Duration| f64::from(MEBIBYTE) / took.as_secs_f64() / 1e6;
    println!(
        "1 MiB over a round trip of 10 ms: {:.2} MB/s through 8 KiB, {:.2} MB/s through 512 KiB",
        rate(slow),
        rate(fast)
    );
    assert_eq!((small.count(Counter::BulkTaken), small.count(Counter::BulkNone)), (0, 1));
    assert_eq!((large.count(Counter::BulkTaken), large.count(Counter::BulkNone)), (1, 0));
    assert!(fast * 3 < slow, "{fast:?} and {slow:?}");
}

#[test]
fn the_ring_is_kept_for_the_next_body_and_given_back_at_the_end() {
    let (world, _) = served(1, &["/small", "/large", "/small", "/large", "/large"], 1);
    assert_eq!((world.count(Counter::BulkTaken), world.count(Counter::BulkNone)), (1, 0));
    // One ring serves one after the other.
    let (world, _) = served(12, &["/large", "/large"], 2);
    assert!(world.count(Counter::BulkTaken) >= 2 && world.count(Counter::BulkNone) > 0);
}
