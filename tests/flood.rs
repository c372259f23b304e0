//! A flood of SYNs in a false world: clients among it are served, nothing is kept, and nothing is amplified.

mod world;

use penstock::config::SynCookies;
use penstock::sim::client::{ClientPlan, Outcome};
use penstock::sim::packet;
use penstock::sim::plan::{self, EPOCH, HostPlan, Plan};
use penstock::sim::rng::Rng;
use penstock::sim::site::{Content, Request};
use penstock::sim::verdict;
use penstock::sim::world::World;
use penstock::telemetry::Counter;
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;
use world::{Gate, build};

/// Host 0 sends what it likes, host 1 is where clients are.
fn two_hosts(v6: bool) -> Plan {
    let mut plan = Plan::quiet(7);
    let HostPlan { up, down, .. } = plan.hosts[0].clone();
    plan.hosts = (0..2)
        .map(|i| HostPlan { place: plan::place(i, v6, false, None), up: up.clone(), down: down.clone() })
        .collect();
    plan
}

/// A host that does not exist: on the link, or anywhere.
fn nobody(v6: bool, rng: &mut Rng) -> IpAddr {
    let n = rng.below(1 << 16) as u16;
    match (v6, rng.chance(200_000)) {
        (false, true) => Ipv4Addr::new(10, 0, 0, 100 + (n % 100) as u8).into(),
        (false, false) => Ipv4Addr::from(0xc612_0000 | u32::from(n)).into(),
        (true, true) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, n).into(),
        (true, false) => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, n).into(),
    }
}

/// Sends so many SYNs of hosts that do not exist.
fn spoof(world: &mut World<Gate>, rng: &mut Rng, syns: usize) {
    let (now, place) = (world.now().mono, world.host(0).place().clone());
    for _ in 0..syns {
        let source = (nobody(place.ip.is_ipv6(), rng), 1024 + rng.below(60_000) as u16);
        let packet = packet::syn(source, (place.gateway, 80), rng.next_u64() as u32);
        world.host(0).send_raw(now, packet);
    }
}

/// A million a second; the wires' delay is one step.
const STEP: Duration = Duration::from_micros(100);
const PER_STEP: usize = 100;

/// One client after the other, each with a connection of its own, beside a million SYNs a second. Returns the SYNs sent.
fn forty_beside_a_flood(world: &mut World<Gate>, v6: bool) -> u64 {
    let mut rng = Rng::new(11);
    // The attacker learns the gateway's address first.
    spoof(world, &mut rng, 1);
    world.run_for(Duration::from_millis(1));
    let began = world.now().mono;
    let mut syns = 1;
    let mut frames = 0;
    for number in 0..40 {
        let now = world.now().mono;
        let request =
            if number % 2 == 0 { Request::get("/medium") } else { Request::post("/small", Content::Length(9_000)) };
        let client = world.join(ClientPlan { host: 1, start: now, ..ClientPlan::plain(vec![request]) });
        while world.clients()[client].answered() == 0 {
            spoof(world, &mut rng, PER_STEP);
            syns += PER_STEP as u64;
            world.run_for(STEP);
            assert!(world.now().mono.since(now) < Duration::from_secs(2), "client {number} waits, IPv6: {v6}");
            frames = frames.max(world.frames_held());
            let half = world.plan().config.workers.connections / 2;
            assert!(world.connections().iter().all(|n| *n <= half as usize + 4), "{:?}", world.connections());
        }
    }
    let lasted = world.now().mono.since(began);
    println!("IPv6: {v6}: {syns} SYNs in {lasted:?}");
    assert!(syns > 20_000 && u128::from(syns) >= lasted.as_micros(), "{syns} SYNs in {lasted:?} prove nothing");
    assert!(frames < 600, "{frames} frames were held");
    syns
}

#[test]
fn forty_requests_in_a_row_are_answered_beside_a_million_syns_a_second() {
    for (v6, mode) in [(false, SynCookies::Auto), (true, SynCookies::Auto), (false, SynCookies::Always)] {
        let mut plan = two_hosts(v6);
        plan.config.tcp.syn_cookies = mode;
        let mut world = build(plan);
        let syns = forty_beside_a_flood(&mut world, v6);
        world.run_for(Duration::from_millis(1));
        // Each SYN was answered once: by a cookie, or by a handshake.
        let (sent, begun) = (world.count(Counter::SynCookieSent), world.count(Counter::ConnSyn));
        assert_eq!(sent + begun, syns + 40);
        assert_eq!(world.count(Counter::SynCookieFlood), if mode == SynCookies::Auto { sent } else { 0 });
        assert!(world.count(Counter::SynCookieAccepted) > if mode == SynCookies::Auto { 30 } else { 39 });
        assert_eq!((world.count(Counter::ConnAccepted), world.count(Counter::SynCookieInvalid)), (40, 0));
        // Slots, frames and tables are where they were.
        verdict::run(&mut world).unwrap();
        assert_eq!(world.connections(), [0, 0]);
        assert!(world.clients().iter().all(|client| client.outcome() == Some(&Outcome::Done)));
    }
}

#[test]
fn established_connections_go_on_through_a_flood() {
    let mut plan = two_hosts(false);
    let think = Duration::from_millis(2);
    let steady = ClientPlan { host: 1, think, ..ClientPlan::plain(vec![Request::get("/medium"); 20]) };
    plan.clients = vec![steady; 16];
    let mut world = build(plan);
    world.run_for(Duration::from_millis(5));
    let mut rng = Rng::new(5);
    while world.clients().iter().any(|client| client.answered() < 20) {
        spoof(&mut world, &mut rng, PER_STEP);
        world.run_for(STEP);
        assert!(world.now().mono.since(EPOCH) < Duration::from_secs(5));
    }
    assert!(world.count(Counter::SynCookieSent) > 10_000);
    verdict::run(&mut world).unwrap();
    assert!(world.clients().iter().all(|client| client.outcome() == Some(&Outcome::Done)));
}

/// SYN-ACKs that the gateway sends from now on.
fn syn_acks(world: &mut World<Gate>) -> Rc<Cell<usize>> {
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    world.watch(move |_, what, frame| {
        if what == "gateway sends" && packet::summary(frame).contains("[S.]") {
            counted.set(counted.get() + 1);
        }
    });
    count
}

#[test]
fn a_cookie_is_sent_once_and_a_handshake_four_times_at_most() {
    for (mode, most) in [(SynCookies::Always, 1), (SynCookies::Auto, 4)] {
        let mut plan = two_hosts(false);
        plan.config.tcp.syn_cookies = mode;
        let mut world = build(plan);
        let sent = syn_acks(&mut world);
        let (now, place) = (world.now().mono, world.host(0).place().clone());
        world.host(0).go_deaf(2000..2001);
        world.host(0).send_raw(now, packet::syn((place.ip, 2000), (place.gateway, 80), 5));
        world.run_for(Duration::from_millis(100));
        assert_eq!(sent.get(), 1);
        assert_eq!(world.connections().iter().sum::<usize>(), most / 4);
        world.run_for(Duration::from_secs(60));
        assert_eq!((sent.get(), world.connections()), (most, vec![0, 0]), "{mode:?}");
        verdict::run(&mut world).unwrap();
    }
}

/// A segment from host 0's port 2000 to the gateway's port 80.
fn segment(world: &mut World<Gate>, seq: u32, ack: u32, flags: u8, payload: &[u8]) {
    let (now, place) = (world.now().mono, world.host(0).place().clone());
    let head =
        [&[7, 208, 0, 80][..], &seq.to_be_bytes(), &ack.to_be_bytes(), &[0x50, flags, 16, 0, 0, 0, 0, 0]].concat();
    let packet = packet::packet(place.ip, place.gateway, packet::TCP, [&head, payload].concat(), 16);
    world.host(0).send_raw(now, packet);
    world.run_for(Duration::from_millis(20));
}

/// The sequence number of the last SYN-ACK, once there is one.
fn last_cookie(world: &mut World<Gate>) -> Rc<Cell<u32>> {
    let seen = Rc::new(Cell::new(0));
    let shown = Rc::clone(&seen);
    world.watch(move |_, what, frame| {
        if what == "gateway sends" && packet::summary(frame).contains("[S.]") {
            let l4 = packet::ip(frame).expect("a SYN-ACK").l4;
            shown.set(u32::from_be_bytes(frame[l4 + 4..l4 + 8].try_into().expect("four bytes")));
        }
    });
    seen
}

fn always() -> World<Gate> {
    let mut plan = two_hosts(false);
    plan.config.tcp.syn_cookies = SynCookies::Always;
    let mut world = build(plan);
    world.host(0).go_deaf(2000..2001);
    world
}

#[test]
fn an_acknowledged_cookie_makes_a_connection_while_it_is_fresh_and_only_then() {
    const GET: &[u8] = b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n";
    for (age, made) in [(0, 1), (60, 1), (129, 0)] {
        let mut world = always();
        let cookie = last_cookie(&mut world);
        segment(&mut world, 999, 0, 2, b"");
        let first = cookie.get();
        // Another SYN later, so that it is the cookie's age that decides.
        world.run_for(Duration::from_secs(age));
        segment(&mut world, 77_777, 0, 2, b"");
        segment(&mut world, 1000, first.wrapping_add(1), 0x18, GET);
        assert_eq!(world.count(Counter::SynCookieAccepted), made, "after {age} s");
        assert_eq!(world.count(Counter::HttpRequests), made, "data in the first ACK is read");
        assert_eq!(world.count(Counter::SynCookieInvalid), 1 - made);
        assert_eq!(world.count(Counter::RstTx), 1 - made);
        verdict::run(&mut world).unwrap();
    }
}

#[test]
fn forged_acknowledgments_meet_the_limit_of_resets_and_make_nothing() {
    let mut world = always();
    let cookie = last_cookie(&mut world);
    segment(&mut world, 999, 0, 2, b"");
    let mut rng = Rng::new(3);
    for _ in 0..200 {
        for _ in 0..50 {
            let (now, place) = (world.now().mono, world.host(0).place().clone());
            let numbers = [1000 + rng.below(2) as u32, cookie.get().wrapping_add(1) ^ 1 << rng.below(32)];
            let ports = [7, 208, 0, 80];
            let head =
                [&ports[..], numbers.map(u32::to_be_bytes).as_flattened(), &[0x50, 16, 16, 0, 0, 0, 0, 0]].concat();
            world.host(0).send_raw(now, packet::packet(place.ip, place.gateway, packet::TCP, head, 16));
        }
        world.run_for(STEP);
    }
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.count(Counter::SynCookieAccepted), 0);
    assert_eq!(world.count(Counter::SynCookieInvalid), 10_000);
    assert!(world.count(Counter::RstTx) <= 1100, "{}", world.count(Counter::RstTx));
    assert!(world.count(Counter::DropRstLimit) >= 8900);
    verdict::run(&mut world).unwrap();
}

#[test]
fn without_a_place_the_cookie_waits_for_one() {
    let mut plan = two_hosts(false);
    plan.config.workers.connections = 2;
    plan.config.tcp.syn_cookies = SynCookies::Always;
    // Each has its answer, keeps its connection for a while, and leaves.
    let keep =
        ClientPlan { host: 1, think: Duration::from_millis(300), ..ClientPlan::plain(vec![Request::get("/small"); 2]) };
    plan.clients = vec![keep; 24];
    let mut world = build(plan);
    verdict::run(&mut world).unwrap();
    assert!(world.clients().iter().all(|client| client.outcome() == Some(&Outcome::Done)));
    assert!(world.count(Counter::DropConnectionLimit) > 0);
}

#[test]
fn a_blocked_device_leaves_room_for_connections() {
    let mut world = build(two_hosts(false));
    let mut rng = Rng::new(5);
    // The attacker learns the gateway's address first.
    spoof(&mut world, &mut rng, 1);
    world.run_for(Duration::from_millis(1));
    world.block_device(Duration::from_millis(30));
    for _ in 0..200 {
        spoof(&mut world, &mut rng, PER_STEP);
        world.run_for(STEP);
    }
    assert!(world.count(Counter::DropBacklog) > 1000);
    assert!(world.frames_held() < 2 * (256 + 64 + 64 + 260), "{} frames", world.frames_held());
    let now = world.now().mono;
    world.join(ClientPlan { host: 1, start: now, ..ClientPlan::plain(vec![Request::get("/medium"); 3]) });
    verdict::run(&mut world).unwrap();
    assert_eq!(world.clients()[0].outcome(), Some(&Outcome::Done));
}
