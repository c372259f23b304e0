//! Gateway workers, load generators and client hosts in a false world.
//!
//! `sweep` runs what seeds draw, `one_seed` a single one of them, the others are scenarios written by hand.
//! docs/simulation.md says how to run many, and how to look at one that fails.

#[path = "simulation/loads.rs"]
mod loads;
#[path = "simulation/one.rs"]
mod one;
#[path = "simulation/sweep.rs"]
mod sweep;
mod world;

use penstock::config::SynCookies;
use penstock::limits::LARGE_HEADS;
use penstock::sim::client::{ClientPlan, End, Outcome};
use penstock::sim::packet;
use penstock::sim::plan::{self, Plan};
use penstock::sim::rng::Rng;
use penstock::sim::site::{Content, Request, Site};
use penstock::sim::verdict;
use penstock::sim::wire::Impairment;
use penstock::sim::world::World;
use penstock::telemetry::Counter;
use std::time::Duration;
use world::{Gate, build};

/// A quiet plan with these clients.
fn quiet(clients: Vec<ClientPlan>) -> Plan {
    Plan { clients, ..Plan::quiet(1) }
}

fn assert_done(world: &World<Gate>) {
    for client in world.clients() {
        assert_eq!(client.outcome(), Some(&Outcome::Done));
    }
}

fn all_ended(world: &World<Gate>) -> bool {
    world.clients().iter().all(|client| client.outcome().is_some())
}

#[test]
fn one_get_over_a_perfect_wire_takes_three_round_trips_at_most() {
    let mut world = build(quiet(vec![ClientPlan::plain(vec![Request::get("/small")])]));
    // One for ARP, one for the handshake, one for the request.
    let answered = |world: &World<Gate>| world.clients()[0].answered() == 1;
    assert!(world.run_until(Duration::from_micros(610), answered), "{:?}", world.failures());
    let report = verdict::run(&mut world).unwrap();
    assert_eq!((report.answered, world.count(Counter::HttpRequests)), (1, 1));
    assert_done(&world);
    assert_eq!(world.count(Counter::ConnAccepted), 1);
    assert_eq!(world.pool().live(), world.frames_held());
}

#[test]
fn a_mebibyte_arrives_through_loss_and_reordering() {
    let wire = Impairment {
        delay: Duration::from_millis(2),
        loss_ppm: 50_000,
        reorder_ppm: 50_000,
        reorder_by: Duration::from_millis(5),
        ..Impairment::default()
    };
    let mut plan = quiet(vec![ClientPlan::plain(vec![Request::get("/huge")])]);
    plan.site = Site::new(&mut Rng::new(1), true);
    plan.config.routes = plan.site.routes();
    (plan.hosts[0].up, plan.hosts[0].down) = (wire.clone(), wire);
    plan.patience = Duration::from_secs(1200);
    let mut world = build(plan);
    let report = verdict::run(&mut world).unwrap();
    assert_eq!((report.answered, report.excused), (1, 0));
    assert!(world.wires().lost > 20 && world.wires().reordered > 20, "{:?}", world.wires());
}

#[test]
fn both_workers_serve_though_only_the_first_hears_of_neighbors() {
    for v6 in [false, true] {
        let mut plan = quiet(vec![ClientPlan::plain(vec![Request::get("/small")]); 32]);
        plan.hosts[0].place = plan::place(0, v6, false, None);
        let mut world = build(plan);
        verdict::run(&mut world).unwrap();
        assert_done(&world);
        let accepted = [0, 1].map(|i| world.count_of(i, Counter::ConnAccepted));
        assert!(accepted[0] > 4 && accepted[1] > 4, "{accepted:?}");
        let heard = [Counter::ArpRequestsRx, Counter::ArpRepliesRx, Counter::NdSolicitsRx, Counter::NdAdvertsRx];
        assert_eq!(heard.map(|counter| world.count_of(1, counter)), [0; 4]);
    }
}

#[test]
fn hosts_behind_a_router_and_on_a_vlan_are_served() {
    for (v6, strips_vlan) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut plan = quiet(vec![ClientPlan::plain(vec![Request::get("/medium"); 3]); 4]);
        plan.config.port.vlan = Some(100);
        plan.strips_vlan = strips_vlan;
        plan.hosts[0].place = plan::place(0, v6, true, Some(100));
        let mut world = build(plan);
        verdict::run(&mut world).unwrap();
        assert_done(&world);
    }
}

#[test]
fn frames_of_another_vlan_are_dropped_by_name() {
    for (ours, theirs) in [(Some(100), Some(101)), (Some(100), None), (None, Some(101))] {
        let mut plan = quiet(Vec::new());
        plan.config.port.vlan = ours;
        plan.hosts[0].place = plan::place(0, false, false, theirs);
        let mut world = build(plan);
        let now = world.now().mono;
        world.host(0).ping(now, 1, b"");
        verdict::run(&mut world).unwrap();
        // One ARP request a second, and never an answer.
        assert!(world.count(Counter::DropVlan) > 10, "{ours:?} {theirs:?}");
        assert_eq!(world.count(Counter::DropVlan), world.device().delivered);
    }
}

#[test]
fn echo_requests_are_answered_with_their_data() {
    for v6 in [false, true] {
        let mut plan = quiet(Vec::new());
        plan.hosts[0].place = plan::place(0, v6, false, None);
        let mut world = build(plan);
        let now = world.now().mono;
        for (sequence, data) in [(1, &b""[..]), (2, b"x"), (3, &[b'y'; 1400])] {
            world.host(0).ping(now, sequence, data);
        }
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.failures(), [""; 0]);
        let mut echoes = world.host(0).echoes().to_vec();
        echoes.sort();
        assert!(echoes == [(1, vec![]), (2, vec![b'x']), (3, vec![b'y'; 1400])], "{echoes:?}");
    }
}

#[test]
fn a_vanished_client_frees_its_slot_within_the_timeouts() {
    let before_head =
        ClientPlan { write_max: 10, end: End::Vanish(10), ..ClientPlan::plain(vec![Request::get("/small")]) };
    let in_content = ClientPlan {
        write_max: 500,
        end: End::Vanish(1000),
        ..ClientPlan::plain(vec![Request::post("/small", Content::Length(100_000))])
    };
    let in_answer = ClientPlan { end: End::Vanish(50_000), ..ClientPlan::plain(vec![Request::get("/large")]) };
    let idle = ClientPlan { end: End::Vanish(u64::MAX), ..ClientPlan::plain(vec![Request::get("/small")]) };
    for (client, counter) in [
        (before_head, Counter::HttpHeadTimeout),
        (in_content, Counter::HttpBodyTimeout),
        (in_answer, Counter::HttpWriteTimeout),
        (idle, Counter::HttpIdleClosed),
    ] {
        let mut world = build(quiet(vec![client]));
        assert!(world.run_until(Duration::from_secs(2), all_ended), "{:?}", world.failures());
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.connections().iter().sum::<usize>(), 1, "{counter:?}");
        verdict::run(&mut world).unwrap();
        assert_eq!(world.count(counter), 1, "{counter:?}");
        assert_eq!(world.count(Counter::ConnTimedOut) + world.count(Counter::ConnAborted), 1, "{counter:?}");
    }
}

/// SYNs from ports of host 0 at which nobody answers.
fn flood(world: &mut World<Gate>, to_port: u16, ports: std::ops::Range<u16>) {
    let (now, place) = (world.now().mono, world.host(0).place().clone());
    world.host(0).go_deaf(ports.clone());
    for port in ports {
        let packet = packet::syn((place.ip, port), (place.gateway, to_port), u32::from(port) << 16);
        world.host(0).send_raw(now, packet);
    }
}

#[test]
fn a_flood_of_syns_meets_its_limit_and_passes() {
    for (connections, half_open, counter) in
        [(16, 64, Counter::DropConnectionLimit), (64, 8, Counter::DropHalfOpenLimit)]
    {
        let mut plan = quiet(Vec::new());
        plan.config.workers.connections = connections;
        plan.config.tcp.half_open = half_open;
        plan.config.tcp.syn_cookies = SynCookies::Off;
        let most = connections.min(half_open) as usize;
        let mut world = build(plan);
        flood(&mut world, 80, 2000..2001);
        world.run_for(Duration::from_millis(100));
        flood(&mut world, 80, 1000..1400);
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.connections(), [most; 2]);
        assert_eq!(world.count(counter) as usize, 401 - 2 * most);
        world.run_for(Duration::from_secs(15));
        assert_eq!(world.connections(), [0, 0], "the handshake timeout frees them");
        let now = world.now().mono;
        world.join(ClientPlan { start: now, ..ClientPlan::plain(vec![Request::get("/small"); 3]) });
        verdict::run(&mut world).unwrap();
        assert_done(&world);
    }
}

#[test]
fn a_client_beyond_the_limit_is_served_once_there_is_room() {
    let mut plan = quiet(Vec::new());
    plan.config.workers.connections = 16;
    let keep = ClientPlan { think: Duration::from_millis(500), ..ClientPlan::plain(vec![Request::get("/small"); 4]) };
    plan.clients = vec![keep; 48];
    let mut world = build(plan);
    verdict::run(&mut world).unwrap();
    assert_done(&world);
    assert!(world.count(Counter::DropConnectionLimit) > 0);
}

#[test]
fn a_head_that_finds_no_buffer_is_refused_and_those_with_one_are_served() {
    const FIELD: &str = "A: 01234567890123456789012345678901234567890123456789012345678901234567890123456789\r\n";
    let client = |fields: usize| {
        let fields: &'static str = FIELD.repeat(fields).leak();
        ClientPlan::plain(vec![Request { fields, ..Request::get("/small") }])
    };
    let mut plan = quiet(Vec::new());
    plan.config.workers.count = Some(1);
    plan.config.workers.connections = 128;
    plan.config.tcp.rx_ring = 2048;
    let wire = Impairment { delay: Duration::from_millis(20), ..Impairment::default() };
    (plan.hosts[0].up, plan.hosts[0].down) = (wire.clone(), wire);
    let mut world = build(plan);
    let now = world.now().mono;
    // A host lets few packets wait for the gateway's address.
    world.host(0).ping(now, 1, b"");
    world.run_for(Duration::from_millis(100));
    let start = world.now().mono;
    // Those who come last fill their rings before the others have sent all.
    for client in [vec![client(80); LARGE_HEADS], vec![client(30); 8]].concat() {
        world.join(ClientPlan { start, ..client });
    }
    world.run_until(Duration::from_secs(60), all_ended);
    let refused = world.count(Counter::HttpHeadBuffers) as usize;
    let done = world.clients().iter().filter(|client| client.outcome() == Some(&Outcome::Done)).count();
    assert_eq!((refused, done), (8, LARGE_HEADS), "{:?}", world.failures());
}

#[test]
fn an_exhausted_pool_delays_and_loses_nothing_for_good() {
    let requests =
        vec![Request::get("/large"), Request::post("/medium", Content::Length(20_000)), Request::get("/small")];
    let slow = Impairment { delay: Duration::from_millis(5), ..Impairment::default() };
    let mut plan = quiet(vec![ClientPlan::plain(requests); 4]);
    (plan.hosts[0].up, plan.hosts[0].down) = (slow.clone(), slow);
    let mut world = build(plan);
    world.run_for(Duration::from_millis(50));
    for limit in [0, 1, 3] {
        world.pool().set_limit(limit);
        world.run_for(Duration::from_millis(1500));
    }
    assert!(!all_ended(&world));
    assert!(world.device().no_frame > 0);
    world.pool().set_limit(8192);
    verdict::run(&mut world).unwrap();
    assert_done(&world);
}

#[test]
fn a_blocked_device_delays_and_loses_nothing_for_good() {
    let mut plan = quiet(vec![ClientPlan::plain(vec![Request::get("/large")]); 160]);
    plan.config.tcp.tx_ring = 32_768;
    plan.config.workers.connections = 256;
    let slow = Impairment { delay: Duration::from_millis(20), ..Impairment::default() };
    (plan.hosts[0].up, plan.hosts[0].down) = (slow.clone(), slow);
    let mut world = build(plan);
    world.run_for(Duration::from_millis(180));
    world.block_device(Duration::from_millis(900));
    world.run_for(Duration::from_millis(800));
    assert!(world.count(Counter::TxStall) > 0, "{} frames held", world.frames_held());
    verdict::run(&mut world).unwrap();
    assert_done(&world);
    assert_eq!(world.count(Counter::DropFrameAlloc), 0);
}

#[test]
fn a_clock_that_jumps_an_hour_ends_connections_and_nothing_else() {
    let idle = ClientPlan { end: End::Await, ..ClientPlan::plain(vec![Request::get("/small")]) };
    let busy = ClientPlan { end: End::Vanish(100_000), ..ClientPlan::plain(vec![Request::get("/large")]) };
    let mut world = build(quiet(vec![idle, busy]));
    world.run_for(Duration::from_millis(900));
    world.jump(Duration::from_secs(3600));
    world.run_for(Duration::from_secs(1));
    let now = world.now().mono;
    world.join(ClientPlan { start: now, ..ClientPlan::plain(vec![Request::get("/medium"); 2]) });
    verdict::run(&mut world).unwrap();
    let outcomes: Vec<_> = world.clients().iter().map(|client| client.outcome().unwrap().clone()).collect();
    assert_eq!(outcomes, [Outcome::Done, Outcome::Vanished, Outcome::Done]);
}

#[test]
fn a_cut_wire_is_survived() {
    let mut world = build(quiet(vec![ClientPlan::plain(vec![Request::get("/large"); 3])]));
    world.run_for(Duration::from_millis(1));
    for (up, down) in [(true, false), (false, true), (true, true)] {
        let wires = world.wires_of(0);
        wires.0.set_cut(up);
        wires.1.set_cut(down);
        world.run_for(Duration::from_millis(1500));
        let wires = world.wires_of(0);
        wires.0.set_cut(false);
        wires.1.set_cut(false);
        world.run_for(Duration::from_millis(3));
    }
    verdict::run(&mut world).unwrap();
    assert_done(&world);
}

#[test]
fn segments_for_nobody_are_refused_at_a_limited_rate() {
    let mut world = build(Plan { rx_ring: 4096, ..quiet(Vec::new()) });
    flood(&mut world, 80, 1..2);
    world.run_for(Duration::from_millis(10));
    flood(&mut world, 81, 2..5002);
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.failures(), [""; 0]);
    let (sent, withheld) = (world.count(Counter::RstTx), world.count(Counter::DropRstLimit));
    assert_eq!((sent + withheld, world.count(Counter::DropNoConnection)), (5000, sent));
    let limit = 2 * u64::from(penstock::limits::CONTROL_ANSWERS_PER_S);
    assert!((limit / 4..=limit + 100).contains(&sent), "{sent} sent, {withheld} withheld");
    verdict::run(&mut world).unwrap();
}
