//! A load run, drawn.
//!
//! Owns every choice of a load machine: what it asks and when, its limits, its device and wires. Refuses to choose for the
//! gateway: what is asked follows from the gateway's site, which plays the origin, for the gateway answers by itself.

use super::host::Place;
use super::load::LoadPlan;
use super::machine::MachinePlan;
use super::plan::{self, Hiccups, Plan};
use super::rng::Rng;
use super::site::{Content, Page, Request};
use super::wire::Impairment;
use crate::config::{Cidr, Config, PortConfig, TcpConfig, WorkersConfig};
use crate::loadgen::plan::{self as load, Arrivals, Check, Class, Stage, Target};
use crate::port::Caps;
use core::time::Duration;
use sha2::{Digest, Sha256};

/// Requests of one run at most, as far as the schedule decides.
const REQUESTS_MAX: f64 = 250.0;

/// Draws load machine `index` of a run whose gateway `world` describes.
pub fn draw(index: usize, world: &Plan, family: u64, wire: impl Fn(&mut Rng) -> Impairment, rng: &mut Rng) -> LoadPlan {
    let v6 = match family {
        0 => false,
        1 => true,
        _ => rng.chance(500_000),
    };
    let mut place = plan::place(40 + index, v6, false, world.config.port.vlan);
    place.mtu = *rng.pick(&[1500, 1500, if v6 { 1280 } else { 576 }]);
    let workers = rng.within(1..=2) as usize;
    LoadPlan {
        plan: draw_run(world, &place, workers, rng),
        config: config(world, &place, rng),
        machine: draw_machine(&place, rng),
        workers,
        up: wire(rng),
        down: wire(rng),
        place,
    }
}

fn config(world: &Plan, place: &Place, rng: &mut Rng) -> Config {
    let prefix_len = if place.ip.is_ipv4() { 24 } else { 64 };
    Config {
        port: PortConfig {
            addresses: vec![Cidr { address: place.ip, prefix_len }],
            gateways: Vec::new(),
            ..world.config.port.clone()
        },
        workers: WorkersConfig::default(),
        listeners: Vec::new(),
        tcp: TcpConfig {
            rx_ring: *rng.pick(&[2048, 4096, 8192]),
            tx_ring: *rng.pick(&[2048, 4096, 8192]),
            time_wait_entries: *rng.pick(&[8, 64, 64]),
            fin_timeout: world.config.tcp.fin_timeout,
            ..world.config.tcp.clone()
        },
        routes: Vec::new(),
        ..world.config.clone()
    }
}

fn draw_machine(place: &Place, rng: &mut Rng) -> MachinePlan {
    let mut caps = Caps { mac: place.mac, mtu: place.mtu as u16, ..Caps::default() };
    (caps.rx_ip_checksum, caps.rx_tcp_checksum) = *rng.pick(&[(false, false), (true, true)]);
    (caps.tx_ip_checksum, caps.tx_tcp_checksum) = *rng.pick(&[(false, false), (true, true)]);
    let hiccups = Hiccups { ppm: 20_000, max: Duration::from_millis(80) };
    MachinePlan {
        caps,
        strips_vlan: rng.chance(500_000),
        rx_ring: 512,
        tx_ring: *rng.pick(&[4, 32, 512]),
        pool: 8192,
        hiccups: if rng.chance(125_000) { hiccups } else { Hiccups::default() },
        tick: *rng.pick(&[Duration::from_micros(500), Duration::from_millis(1), Duration::from_millis(5)]),
    }
}

fn draw_run(world: &Plan, place: &Place, workers: usize, rng: &mut Rng) -> load::Plan {
    let arrivals = *rng.pick(&[Arrivals::Constant, Arrivals::Poisson, Arrivals::Closed]);
    let connections = *rng.pick(&[1, 2, 4, 8, 16, 32]).max(&workers);
    let ports = *rng.pick(&[60_000, 60_000, 4 * connections as u16 + 8]);
    load::Plan {
        target: Target { url: "http://gateway/".into(), address: (place.gateway, 80).into() },
        arrivals,
        stages: draw_stages(arrivals, connections, rng),
        classes: draw_classes(world, rng),
        connections: connections as u32,
        requests_per_connection: *rng.pick(&[0, 0, 1, 1, 3]),
        pipeline: *rng.pick(&[1, 1, 2, 8]),
        timeout: *rng.pick(&[
            Duration::from_secs(20),
            Duration::from_secs(20),
            Duration::from_secs(20),
            Duration::from_millis(400),
        ]),
        connect_timeout: *rng.pick(&[Duration::from_secs(5), Duration::from_secs(5), Duration::from_millis(500)]),
        source_ports: 1024..=1023 + ports,
        seed: rng.next_u64(),
        thresholds: Vec::new(),
    }
}

/// Rates of which the connections can mostly hold half, over wires as far as these are.
fn draw_stages(arrivals: Arrivals, connections: usize, rng: &mut Rng) -> Vec<Stage> {
    let stages = rng.within(1..=2);
    let feasible = connections as f64 * *rng.pick(&[1.0, 4.0, 20.0]);
    let stage = |number| {
        let most = if arrivals == Arrivals::Closed { 100 } else { 1500 };
        let duration = Duration::from_millis(rng.within(50..=most));
        let rate_max = (REQUESTS_MAX / stages as f64 / duration.as_secs_f64()).min(feasible) as u64;
        let from = rng.within(0..=rate_max) as f64;
        let to = rng.within(1..=rate_max.max(1)) as f64;
        let steady = rng.chance(500_000);
        let from = if steady { to } else { from };
        Stage { name: format!("stage {number}"), duration, from, to, warmup: number == 0 && rng.chance(250_000) }
    };
    (0..stages).map(stage).collect()
}

fn draw_classes(world: &Plan, rng: &mut Rng) -> Vec<Class> {
    let classes = rng.within(1..=4);
    let class = |number| {
        let path = *rng.pick(&["/small", "/small", "/empty", "/medium", "/medium", "/page", "/teapot", "/large"]);
        let len = *rng.pick(&[0, 1, 900, 5000, 65_536]);
        let chunk = rng.within(1..=3000) as usize;
        let request = match rng.below(10) {
            0 => Request { method: "HEAD", ..Request::get(path) },
            1 | 2 => Request::post(path, Content::Length(len)),
            3 => Request::post(path, Content::Chunked { len, chunk }),
            4 => Request { close: true, ..Request::get(path) },
            _ => Request::get(path),
        };
        let page = world.site.pages().iter().find(|page| page.path == path);
        let (head, body) = request.bytes();
        Class {
            name: format!("class {number}"),
            weight: rng.within(1..=3) as u32,
            head_only: request.method == "HEAD",
            check: page.map_or_else(Check::default, |page| check(page, request.method == "HEAD")),
            head: head.into(),
            body: body.into(),
        }
    };
    (0..classes).map(class).collect()
}

/// The right answer to a request for this page.
fn check(page: &Page, head_only: bool) -> Check {
    Check {
        status: vec![page.status..=page.status],
        size: (!head_only).then_some(page.body.len() as u64),
        sha256: (!head_only).then(|| Sha256::digest(&page.body).into()),
    }
}
