//! What a run consists of, drawn from its seed or written by hand.
//!
//! Owns every choice of a run: the network, the device, the hosts, what clients do. Refuses to act: `world` does.

use super::client::{ClientPlan, End};
use super::event::{Event, What};
use super::host::{Place, SocketPlan};
use super::load::LoadPlan;
use super::load_plan;
use super::machine::MachinePlan;
use super::packet::Mac;
use super::rng::Rng;
use super::site::{Content, Request, Site};
use super::wire::Impairment;
use crate::config::{Cidr, Config, HttpLimits, Listener, PortConfig, SynCookies, TcpConfig, WorkersConfig};
use crate::port::Caps;
use crate::time::Instant;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

/// When every run begins: not zero, so that nobody takes an unset time for the present.
pub const EPOCH: Instant = Instant::from_millis(86_400_000);
/// The wall clock at that time, in seconds since 1970.
pub const EPOCH_UNIX_S: u64 = 1_800_000_000;

const GATEWAY_MAC: Mac = [0x02, 0, 0, 0, 0, 1];
const GATEWAY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const GATEWAY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));

/// A host and its two wires.
#[derive(Clone, PartialEq, Debug)]
pub struct HostPlan {
    /// Where it is.
    pub place: Place,
    /// What the wire to the gateway does.
    pub up: Impairment,
    /// What the wire from the gateway does.
    pub down: Impairment,
}

/// How bad the wires of a run are.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Weather {
    Clear,
    Fair,
    Storm,
}

/// Pauses of a worker, as a busy or stolen CPU makes them, and of its transmit ring, as flow control makes them.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Hiccups {
    /// How often a tick begins one, in parts per million.
    pub ppm: u32,
    /// How long one lasts at most.
    pub max: Duration,
}

/// A run.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// Names the run.
    pub seed: u64,
    /// The gateway's configuration.
    pub config: Config,
    /// What it serves.
    pub site: Site,
    /// The device's capabilities.
    pub caps: Caps,
    /// Whether the device strips VLAN tags.
    pub strips_vlan: bool,
    /// Frames of a receive ring.
    pub rx_ring: usize,
    /// Frames a transmit ring takes in one turn.
    pub tx_ring: usize,
    /// Frames in the pool.
    pub pool: usize,
    /// The workers' pauses.
    pub hiccups: Hiccups,
    /// The hosts.
    pub hosts: Vec<HostPlan>,
    /// The clients.
    pub clients: Vec<ClientPlan>,
    /// The machines that generate load.
    pub loads: Vec<LoadPlan>,
    /// What else happens.
    pub events: Vec<Event>,
    /// Virtual time until every client must have ended.
    pub patience: Duration,
}

impl Plan {
    /// Two workers behind a device without offloads, one host on perfect wires of 100 µs, no clients.
    pub fn quiet(seed: u64) -> Plan {
        let mut rng = Rng::new(seed);
        let site = Site::new(&mut rng, false);
        let config = config(&site, None);
        let wire = Impairment { delay: Duration::from_micros(100), ..Impairment::default() };
        Plan {
            seed,
            config,
            site,
            caps: Caps { mac: GATEWAY_MAC, mtu: 1500, ..Caps::default() },
            strips_vlan: false,
            rx_ring: 512,
            tx_ring: 512,
            pool: 8192,
            hiccups: Hiccups::default(),
            hosts: vec![HostPlan { place: place(0, false, false, None), up: wire.clone(), down: wire }],
            clients: Vec::new(),
            loads: Vec::new(),
            events: Vec::new(),
            patience: Duration::from_secs(1200),
        }
    }

    /// Everything drawn from the seed.
    pub fn drawn(seed: u64) -> Plan {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let mut plan = Plan::quiet(seed);
        let vlan = rng.chance(125_000).then(|| rng.within(1..=4094) as u16);
        plan.config = config(&plan.site, vlan);
        plan.config.tcp.rx_ring = *rng.pick(&[2048, 4096, 4096, 8192]);
        plan.config.tcp.tx_ring = *rng.pick(&[2048, 4096, 8192, 32_768]);
        if rng.chance(250_000) {
            plan.site.requests_max = rng.within(1..=4) as usize;
            plan.config.http.requests_per_connection = plan.site.requests_max as u64;
        }
        draw_device(&mut plan, &mut rng);
        draw_limits(&mut plan, &mut rng);
        let family = rng.below(3);
        let hosts = rng.within(1..=3) as usize;
        // Hosts alone, loads alone, or both.
        let kind = rng.below(10);
        let loads = if kind < 4 { 0 } else { rng.within(1..=2) as usize };
        let weather = *rng.pick(&[Weather::Clear, Weather::Fair, Weather::Fair, Weather::Storm]);
        plan.hosts = (0..hosts).map(|i| draw_host(i, family, weather, vlan, &mut rng.fork())).collect();
        if plan.config.port.gateways.is_empty() {
            plan.hosts[0].place = place(0, plan.hosts[0].place.ip.is_ipv6(), false, vlan);
        }
        let clients = if (4..8).contains(&kind) { 0 } else { rng.within(3..=12) };
        plan.clients = (0..clients).map(|_| draw_client(hosts, &mut rng.fork())).collect();
        let wire = |rng: &mut Rng| draw_wire(weather, rng);
        plan.loads = (0..loads).map(|i| load_plan::draw(i, &plan, family, wire, &mut rng.fork())).collect();
        if rng.chance(500_000) {
            plan.events = Event::draw(hosts, hosts + loads, &mut rng.fork());
        }
        if rng.chance(125_000) {
            plan.config.tcp.syn_cookies = SynCookies::Always;
        }
        draw_parking(&mut plan, &mut rng.fork());
        draw_paths(&mut plan, &mut rng.fork());
        if plan.site.requests_max > 0 {
            plan.clients.iter_mut().for_each(|client| client.requests.truncate(plan.site.requests_max));
        }
        plan
    }

    /// The gateway's machine.
    pub fn machine(&self) -> MachinePlan {
        MachinePlan {
            caps: self.caps.clone(),
            strips_vlan: self.strips_vlan,
            rx_ring: self.rx_ring,
            tx_ring: self.tx_ring,
            pool: self.pool,
            hiccups: self.hiccups,
            tick: Duration::ZERO,
        }
    }

    /// Whether something besides the gateway may lose, delay or damage a frame.
    pub fn impaired(&self) -> bool {
        let clean = |wire: &Impairment| {
            wire.loss_ppm + wire.duplicate_ppm + wire.reorder_ppm + wire.corrupt_ppm == 0 && wire.queue + wire.mtu == 0
        };
        let hosts = self.hosts.iter().all(|host| clean(&host.up) && clean(&host.down));
        let loads = self.loads.iter().all(|load| clean(&load.up) && clean(&load.down));
        !hosts || !loads || self.events.iter().any(|event| !matches!(event.what, What::Stray(_)))
    }

    /// Whether the gateway stops in the run.
    pub fn drains(&self) -> bool {
        self.events.iter().any(|event| event.what == What::Drain)
    }

    /// The least of the gateway's timeouts: what must have passed before it may give a connection up.
    pub fn least_timeout(&self) -> Duration {
        let HttpLimits { head_timeout, body_timeout, idle_timeout, write_timeout, .. } = self.config.http;
        let tcp = self.config.tcp.handshake_timeout.min(self.config.tcp.fin_timeout);
        head_timeout.min(body_timeout).min(idle_timeout).min(write_timeout).min(tcp)
    }

    /// Within this time after the last client ended, the gateway holds no connection any more.
    pub fn drain_time(&self) -> Duration {
        let HttpLimits { head_timeout, body_timeout, idle_timeout, write_timeout, .. } = self.config.http;
        let TcpConfig { handshake_timeout, fin_timeout, .. } = self.config.tcp;
        head_timeout + body_timeout + idle_timeout + write_timeout + handshake_timeout + fin_timeout
    }
}

fn config(site: &Site, vlan: Option<u16>) -> Config {
    Config {
        port: PortConfig {
            device: None,
            addresses: vec![Cidr { address: GATEWAY_V4, prefix_len: 24 }, Cidr { address: GATEWAY_V6, prefix_len: 64 }],
            gateways: vec![link_ip(ROUTER, false), link_ip(ROUTER, true)],
            vlan,
            mtu: None,
        },
        workers: WorkersConfig { count: Some(2), connections: 64, ..WorkersConfig::default() },
        listeners: vec![Listener { address: None, port: 80 }],
        http: HttpLimits {
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(20),
            write_timeout: Duration::from_secs(30),
            ..HttpLimits::default()
        },
        tcp: TcpConfig {
            half_open: 64,
            time_wait: Duration::from_secs(10),
            time_wait_entries: 64,
            bulk_rings: 4,
            bulk_tx_ring: 64 * 1024,
            ..TcpConfig::default()
        },
        metrics: crate::config::MetricsConfig::default(),
        admin: crate::config::AdminConfig::default(),
        log: crate::config::LogConfig::default(),
        routes: site.routes(),
    }
}

/// The last octet of the router's addresses on the gateway's link.
const ROUTER: u8 = 254;

fn link_ip(last: u8, v6: bool) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()))
    } else {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
    }
}

/// The place of host `index`; a `remote` one sits behind the router.
pub fn place(index: usize, v6: bool, remote: bool, vlan: Option<u16>) -> Place {
    let last = 10 + index as u8;
    let ip = match (remote, v6) {
        (false, _) => link_ip(last, v6),
        (true, false) => IpAddr::V4(Ipv4Addr::new(203, 0, 113, last)),
        (true, true) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into())),
    };
    Place {
        mac: [0x02, 0, 0, 0, 1, last],
        ip,
        link_ip: if remote { link_ip(ROUTER, v6) } else { ip },
        gateway: if v6 { GATEWAY_V6 } else { GATEWAY_V4 },
        vlan,
        mtu: 1500,
    }
}

fn draw_device(plan: &mut Plan, rng: &mut Rng) {
    let caps = &mut plan.caps;
    (caps.rx_ip_checksum, caps.rx_tcp_checksum) = *rng.pick(&[(false, false), (true, true), (true, false)]);
    (caps.tx_ip_checksum, caps.tx_tcp_checksum) =
        *rng.pick(&[(false, false), (true, true), (false, true), (true, false)]);
    caps.rx_hash = rng.chance(500_000);
    plan.strips_vlan = rng.chance(500_000);
    plan.tx_ring = *rng.pick(&[4, 32, 512]);
    plan.rx_ring = *rng.pick(&[512, 2048]);
    if rng.chance(250_000) {
        plan.hiccups = Hiccups { ppm: 20_000, max: Duration::from_millis(80) };
    }
}

/// Tight limits in some runs, so that each is reached.
fn draw_limits(plan: &mut Plan, rng: &mut Rng) {
    let (workers, tcp, http) = (&mut plan.config.workers, &mut plan.config.tcp, &mut plan.config.http);
    if rng.chance(125_000) {
        workers.count = Some(1);
    }
    if rng.chance(200_000) {
        (workers.count, workers.connections) = (Some(1), *rng.pick(&[8, 16]));
    }
    if rng.chance(125_000) {
        tcp.time_wait_entries = 8;
    }
    tcp.timestamps = rng.chance(500_000);
    if rng.chance(200_000) {
        tcp.half_open = 4;
        tcp.syn_cookies = *rng.pick(&[SynCookies::Auto, SynCookies::Off, SynCookies::Off]);
    }
    (http.request_line, http.head_size, http.header_count, http.body_size) = (400, 6000, 20, 150_000);
    if rng.chance(60_000) {
        plan.pool = 600;
    }
    if rng.chance(250_000) {
        // No way out of the own network: who is not there is not answered.
        plan.config.port.gateways.clear();
    }
}

/// Fewer places with socket and rings than connections in half of the runs, so that idle ones are parked all the time.
fn draw_parking(plan: &mut Plan, rng: &mut Rng) {
    let (workers, tcp) = (&mut plan.config.workers, &mut plan.config.tcp);
    if rng.chance(500_000) {
        workers.active = Some(workers.connections.min(16));
        let ms = *rng.pick(&[2, 50, 1000]);
        tcp.park_after = Duration::from_millis(ms);
    }
    tcp.bulk_rings = *rng.pick(&[0, 1, 4]);
    tcp.bulk_tx_ring = *rng.pick(&[10_000, 64 * 1024, 256 * 1024]);
}

/// Narrow paths to some stations: less fits than both ends think.
fn draw_paths(plan: &mut Plan, rng: &mut Rng) {
    let hosts = plan.hosts.iter_mut().map(|host| (host.place.ip, &mut host.down));
    let loads = plan.loads.iter_mut().map(|load| (load.place.ip, &mut load.down));
    for (ip, down) in hosts.chain(loads) {
        if rng.chance(100_000) {
            down.mtu = if ip.is_ipv6() { *rng.pick(&[1400, 1280]) } else { *rng.pick(&[1400, 1280, 800, 552]) };
            down.tells = rng.chance(700_000);
        }
    }
}

fn draw_host(index: usize, family: u64, weather: Weather, vlan: Option<u16>, rng: &mut Rng) -> HostPlan {
    let v6 = match family {
        0 => false,
        1 => true,
        _ => index % 2 == 1,
    };
    // One router serves both families with one Ethernet address, so at most the first host sits behind it.
    let mut place = place(index, v6, index == 0 && rng.chance(250_000), vlan);
    place.mtu = if v6 { *rng.pick(&[1500, 1280]) } else { *rng.pick(&[1500, 1500, 576]) };
    HostPlan { place, up: draw_wire(weather, rng), down: draw_wire(weather, rng) }
}

fn draw_wire(weather: Weather, rng: &mut Rng) -> Impairment {
    let mut wire = Impairment { delay: Duration::from_micros(rng.within(5..=20_000)), ..Impairment::default() };
    wire.jitter = rng.up_to(wire.delay);
    match weather {
        Weather::Clear => {}
        Weather::Fair => {
            wire.loss_ppm = *rng.pick(&[0, 1000, 10_000, 30_000]);
            wire.duplicate_ppm = *rng.pick(&[0, 0, 10_000]);
            wire.reorder_ppm = *rng.pick(&[0, 10_000, 50_000]);
            wire.reorder_by = Duration::from_millis(rng.within(1..=30));
            wire.corrupt_ppm = *rng.pick(&[0, 0, 5000]);
        }
        Weather::Storm => {
            wire.loss_ppm = rng.within(10_000..=150_000) as u32;
            wire.duplicate_ppm = rng.within(0..=100_000) as u32;
            wire.reorder_ppm = rng.within(0..=200_000) as u32;
            wire.reorder_by = Duration::from_millis(rng.within(1..=1500));
            wire.corrupt_ppm = rng.within(0..=50_000) as u32;
            wire.queue = *rng.pick(&[0, 8, 32]);
        }
    }
    if rng.chance(200_000) {
        wire.bits_per_s = Some(rng.within(10_000_000..=1_000_000_000));
    }
    wire
}

fn draw_client(hosts: usize, rng: &mut Rng) -> ClientPlan {
    let kind = rng.below(100);
    let mut plan = ClientPlan::plain(draw_requests(kind, rng));
    plan.host = rng.below(hosts as u64) as usize;
    plan.start = EPOCH + rng.up_to(Duration::from_secs(2));
    plan.pipeline = if (40..50).contains(&kind) { 2 } else { 1 };
    plan.write_max = *rng.pick(&[usize::MAX, usize::MAX, 700, 7]);
    if rng.chance(100_000) {
        plan.read_max = rng.within(200..=4000) as usize;
        plan.read_every = Duration::from_millis(rng.within(1..=10));
    }
    plan.think = *rng.pick(&[Duration::ZERO, Duration::from_millis(1), Duration::from_millis(300)]);
    plan.end = match kind {
        50..60 => End::HalfClose,
        60..65 => End::Vanish(draw_bytes(rng)),
        65..70 => End::Reset(draw_bytes(rng)),
        70..75 => End::Await,
        _ => End::Close,
    };
    plan.socket = SocketPlan {
        rx_ring: *rng.pick(&[65_535, 16_384, 4096]),
        tx_ring: *rng.pick(&[16_384, 4096]),
        nagle: rng.chance(300_000),
        ack_delay: rng.chance(500_000).then_some(Duration::from_millis(10)),
        timestamps: rng.chance(500_000),
    };
    plan
}

/// How much a client lives through: part of a head, some content, part of a large answer, or everything.
fn draw_bytes(rng: &mut Rng) -> u64 {
    let most = *rng.pick(&[30, 3000, 100_000, 1_000_000]);
    rng.within(1..=most)
}

fn draw_requests(kind: u64, rng: &mut Rng) -> Vec<Request> {
    match kind {
        75..78 => vec![draw_refused(rng)],
        78..82 => vec![Request { close: true, ..Request::get("/small") }],
        82..90 => vec![Request::get("/large")],
        60..70 => match rng.below(3) {
            0 => vec![Request::get("/large")],
            1 => vec![Request::post("/small", Content::Length(100_000))],
            _ => vec![Request::post("/small", Content::Chunked { len: 50_000, chunk: 1000 })],
        },
        _ => (0..rng.within(1..=6)).map(|_| draw_request(rng)).collect(),
    }
}

/// A request that breaks a rule or a limit.
fn draw_refused(rng: &mut Rng) -> Request {
    const LONG: &str = concat!(
        "/x?",
        "0123456789012345678901234567890123456789",
        "0123456789012345678901234567890123456789",
        "0123456789012345678901234567890123456789",
        "0123456789012345678901234567890123456789",
        "0123456789012345678901234567890123456789",
        "0123456789012345678901234567890123456789",
        "0123456789012345678901234567890123456789",
        "0123456789012345678901234567890123456789",
        "0123456789012345678901234567890123456789",
        "0123456789012345678901234567890123456789"
    );
    const MANY: &str = "A: 1\r\nA: 2\r\nA: 3\r\nA: 4\r\nA: 5\r\nA: 6\r\nA: 7\r\nA: 8\r\nA: 9\r\nA: a\r\nA: b\r\nA: c\r\n\
        A: d\r\nA: e\r\nA: f\r\nA: g\r\nA: h\r\nA: i\r\nA: j\r\nA: k\r\nA: l\r\n";
    let (status, request) = match rng.below(7) {
        0 => (400, Request { fields: "Bad Field: x\r\n", ..Request::get("/small") }),
        1 => (413, Request::post("/small", Content::Length(160_000))),
        2 => (414, Request::get(LONG)),
        3 => (431, Request { fields: MANY, ..Request::get("/small") }),
        4 => (417, Request { fields: "Expect: a miracle\r\n", ..Request::get("/small") }),
        5 => (501, Request { fields: "Transfer-Encoding: gzip, chunked\r\n", ..Request::get("/small") }),
        _ => (505, Request { version: "HTTP/2.0", ..Request::get("/small") }),
    };
    Request { refused: Some(status), ..request }
}

fn draw_request(rng: &mut Rng) -> Request {
    let path = *rng.pick(&["/small", "/small", "/empty", "/medium", "/teapot", "/nowhere"]);
    let len = *rng.pick(&[0, 1, 100, 3000, 20_000]);
    match rng.below(10) {
        0..6 => Request::get(path),
        6 => Request { method: "HEAD", ..Request::get(path) },
        7 => Request::post(path, Content::Length(len)),
        8 => Request { fields: "Expect: 100-continue\r\n", ..Request::post("/medium", Content::Length(len)) },
        _ => Request::post(path, Content::Chunked { len, chunk: rng.within(1..=2000) as usize }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_plan_and_seeds_differ() {
        assert_eq!(Plan::drawn(3), Plan::drawn(3));
        assert_ne!(Plan::drawn(3).clients, Plan::drawn(4).clients);
    }

    #[test]
    fn the_mix_contains_every_kind() {
        let plans: Vec<Plan> = (0..200).map(Plan::drawn).collect();
        let clients = || plans.iter().flat_map(|plan| &plan.clients);
        let any = |f: &dyn Fn(&ClientPlan) -> bool| clients().any(f);
        assert!(any(&|c| matches!(c.end, End::Vanish(_))) && any(&|c| matches!(c.end, End::Reset(_))));
        assert!(any(&|c| c.end == End::HalfClose) && any(&|c| c.end == End::Await) && any(&|c| c.pipeline == 2));
        assert!(any(&|c| c.requests[0].close) && any(&|c| c.requests[0].path == "/large"));
        assert!(any(&|c| c.requests.iter().any(|r| matches!(r.content, Content::Chunked { .. }))));
        let impaired = plans.iter().filter(|plan| plan.impaired()).count();
        assert!((110..180).contains(&impaired), "{impaired}");
    }
}
