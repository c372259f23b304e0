//! One worker with the gateway on it, and peers whose every frame a script writes.
//!
//! With `set role client` a stack that begins connections stands in for the gateway.
//!
//! Owns frames and virtual time. Refuses to be a TCP: what a peer sends and acknowledges is the script's.

use crate::client::Client;
use crate::script::{ACK, Icmp, Opt, SYN, Segment, duration};
use penstock::config::{
    Body, Cidr, Config, DirectResponse, HttpLimits, Listener, PathMatch, PortConfig, Route, SynCookies, TcpConfig,
    WorkersConfig,
};
use penstock::gateway::Gateway;
use penstock::mem::Arena;
use penstock::net::key::FlowKey;
use penstock::net::neighbor::Neighbors;
use penstock::port::{Caps, Frame};
use penstock::sim::packet;
use penstock::sim::port::{FramePool, SimPort};
use penstock::telemetry::{Counter, Counters};
use penstock::time::{Instant, Now};
use penstock::worker::{Worker, WorkerParts, arena_size};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The router that reports what it cannot pass on: another address, and the peer's MAC.
const ROUTER: u8 = 9;
/// Head of an answer without the digits of its length, in bytes.
const HEAD: usize = 74;
/// Answers there are, in bytes, head included.
const ANSWERS: [usize; 6] = [100, 500, 1000, 3000, 6000, 20_000];
/// A worker that has not come to rest after as many turns never does.
const TURNS: usize = 1_000;

/// A peer's numbers and streams.
#[derive(Default)]
struct Peer {
    /// The gateway's initial sequence number, from its latest SYN.
    base: u32,
    /// The timestamp of that.
    stamp: u32,
    /// What the gateway sent, from its first byte on.
    received: Vec<u8>,
    /// How much of that was looked at by `answer`.
    seen: usize,
}

/// A worker under a script.
pub struct Bed {
    worker: Worker<SimPort, Gateway>,
    /// Another worker of the same port: the one under the script, if that begins connections.
    other: Client,
    is_client: bool,
    pool: FramePool,
    counters: Arc<Counters>,
    pub now: Now,
    peers: HashMap<u16, Peer>,
    /// The stream that peers send, the first byte at 1.
    stream: Vec<u8>,
    isn: u32,
    ipv6: bool,
    draining: bool,
    sent: VecDeque<(u16, Segment)>,
}

/// What a script may set before its first segment.
pub struct Settings {
    config: Config,
    isn: u32,
    ipv6: bool,
    is_client: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        let route = |len: usize| Route {
            host: None,
            path: PathMatch::Exact(format!("/{len}")),
            methods: vec![],
            respond: DirectResponse { status: 200, headers: vec![], body: Body::Inline(body(len)) },
        };
        let config = Config {
            port: PortConfig {
                addresses: [false, true].map(|ipv6| Cidr { address: host(ipv6, 2), prefix_len: 24 }).to_vec(),
                ..PortConfig::default()
            },
            workers: WorkersConfig { connections: 8, ..WorkersConfig::default() },
            listeners: vec![Listener { address: None, port: 80 }],
            http: HttpLimits::default(),
            // What RFC 6298, 2.4 asks for; scripts set less.
            tcp: TcpConfig { rto_min: Duration::from_secs(1), bulk_rings: 0, timestamps: true, ..TcpConfig::default() },
            metrics: penstock::config::MetricsConfig::default(),
            admin: penstock::config::AdminConfig::default(),
            log: penstock::config::LogConfig::default(),
            routes: ANSWERS.map(route).to_vec(),
        };
        Settings { config, isn: 1_000_000, ipv6: false, is_client: false }
    }
}

impl Settings {
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let (tcp, http) = (&mut self.config.tcp, &mut self.config.http);
        let number = || value.parse::<u32>().map_err(|_| format!("`{value}` is not a number"));
        match key {
            "rx_ring" => tcp.rx_ring = number()? as usize,
            "tx_ring" => tcp.tx_ring = number()? as usize,
            "half_open" => tcp.half_open = number()?,
            "syn_cookies" if value == "always" => tcp.syn_cookies = SynCookies::Always,
            "syn_cookies" if value == "off" => tcp.syn_cookies = SynCookies::Off,
            "time_wait_entries" => tcp.time_wait_entries = number()?,
            "connections_per_source" => tcp.connections_per_source = number()?,
            "connections" => self.config.workers.connections = number()?,
            "bulk_rings" => tcp.bulk_rings = number()?,
            "active" => self.config.workers.active = Some(number()?),
            "timestamps" => tcp.timestamps = value == "true",
            "isn" => self.isn = number()?,
            "role" => self.is_client = value == "client",
            "family" => self.ipv6 = number()? == 6,
            "mtu" => self.config.port.mtu = Some(number()? as u16),
            "handshake_timeout" => tcp.handshake_timeout = duration(value)?,
            "fin_timeout" => tcp.fin_timeout = duration(value)?,
            "rto_min" => tcp.rto_min = duration(value)?,
            "park_after" => tcp.park_after = duration(value)?,
            "time_wait" => tcp.time_wait = duration(value)?,
            "head_timeout" => http.head_timeout = duration(value)?,
            "body_timeout" => http.body_timeout = duration(value)?,
            "idle_timeout" => http.idle_timeout = duration(value)?,
            "write_timeout" => http.write_timeout = duration(value)?,
            _ => return Err(format!("`{key}` cannot be set")),
        }
        Ok(())
    }
}

/// An address of the link: 1 is the peers', 2 the gateway's.
fn host(ipv6: bool, last: u8) -> IpAddr {
    if ipv6 { [0xfd00, 7, 0, 0, 0, 0, 0, u16::from(last)].into() } else { [10, 7, 0, last].into() }
}

/// Content that makes an answer `len` bytes long.
fn body(len: usize) -> Vec<u8> {
    let with_digits = |digits: usize| len.saturating_sub(HEAD + digits);
    let digits = (1..6).find(|digits| with_digits(*digits).to_string().len() == *digits).expect("a length");
    (0..with_digits(digits)).map(|i| b'a' + (i % 26) as u8).collect()
}

impl Bed {
    pub fn new(settings: Settings) -> Bed {
        let config = Arc::new(settings.config);
        let pool = FramePool::new(1_024);
        let caps = Caps { mac: GATEWAY_MAC, mtu: config.port.mtu.unwrap_or(1500), ..Caps::default() };
        let counters = [(); 2].map(|()| Arc::new(Counters::with_requests(1, ANSWERS.len())));
        let neighbors = Neighbors::new();
        let port = || SimPort::new(caps.clone(), pool.clone());
        let other = Client::new(&config, port(), neighbors.clone(), counters[1].clone());
        let worker = Worker::new(WorkerParts {
            port: port(),
            app: Gateway::new(&config).expect("routes"),
            arena: Arena::heap(arena_size(&config)),
            config,
            neighbors,
            counters: counters[0].clone(),
            secret: [1, 2, 3, 4],
            now: Instant::ZERO,
        });
        let [gateways, clients] = counters;
        let mut bed = Bed {
            worker: worker.expect("a worker"),
            other,
            is_client: settings.is_client,
            pool,
            counters: if settings.is_client { clients } else { gateways },
            now: Now { mono: Instant::from_millis(1_000), unix_s: 1_700_000_000 },
            peers: HashMap::new(),
            stream: Vec::new(),
            isn: settings.isn,
            ipv6: settings.ipv6,
            draining: false,
            sent: VecDeque::new(),
        };
        bed.greet();
        bed
    }

    /// Tells the gateway who has the peers' addresses, as their questions for its own do.
    fn greet(&mut self) {
        let mut question = [0; 42];
        question[..6].fill(0xff);
        question[6..12].copy_from_slice(&PEER_MAC);
        question[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        question[22..28].copy_from_slice(&PEER_MAC);
        question[28..32].copy_from_slice(&[10, 7, 0, 1]);
        question[38..42].copy_from_slice(&[10, 7, 0, 2]);
        self.push(&question);
        let IpAddr::V6(own) = host(true, 2) else { unreachable!("it is IPv6") };
        let question = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &own.octets(), &[1, 1], &PEER_MAC].concat();
        let mut question = packet::packet(host(true, 1), host(true, 2), packet::ICMPV6, question, 2);
        question[7] = 255;
        self.push(&packet::wrap(GATEWAY_MAC, PEER_MAC, None, packet::IPV6, &question));
        self.settle();
    }

    pub fn connections(&self) -> usize {
        if self.is_client { self.other.stack.connections() } else { self.worker.connections() }
    }

    pub fn parked(&self) -> usize {
        self.worker.stack().parked()
    }

    pub fn time_waits(&self) -> usize {
        if self.is_client { self.other.stack.time_waits() } else { self.worker.stack().time_waits() }
    }

    /// Frames that nobody gave back.
    pub fn leaked(&self) -> usize {
        self.pool.live() - self.worker.stack().frames_held() - self.other.stack.frames_held()
    }

    /// The client begins a connection to a peer's port.
    pub fn connect(&mut self, peer: u16) {
        assert!(self.is_client, "`set role client` comes first");
        let key = FlowKey::v4([10, 7, 0, 1], [10, 7, 0, 2], 1_024 + peer, 80);
        self.other.connect(&key, self.now.mono);
        self.settle();
    }

    pub fn drain(&mut self) {
        self.worker.drain(self.now);
        self.draining = true;
        self.settle();
    }

    /// The value of a counter, by name without prefix and suffix, and label.
    pub fn count(&self, name: &str, label: &str) -> Option<u64> {
        let is_it = |counter: &&Counter| {
            let (full, _, value, _) = counter.describe();
            full.trim_start_matches("penstock_").trim_end_matches("_total") == name && value == label
        };
        Counter::ALL.iter().find(is_it).map(|counter| self.counters.read(*counter))
    }

    /// Adds to what peers send.
    pub fn stream(&mut self, bytes: &[u8]) {
        self.stream.extend_from_slice(bytes);
    }

    /// The next segment that the gateway sent.
    pub fn next_sent(&mut self) -> Option<(u16, Segment)> {
        self.sent.pop_front()
    }

    /// Bytes of the answer that the gateway sent in order and that were not looked at before.
    pub fn take_answer(&mut self, peer: u16) -> Vec<u8> {
        let peer = self.peers.entry(peer).or_default();
        let bytes = peer.received[peer.seen..].to_vec();
        peer.seen = peer.received.len();
        bytes
    }

    /// Lets time pass until the gateway sends something, at most `time`; returns how much passed.
    pub fn wait(&mut self, time: Duration) -> Duration {
        let start = self.now.mono;
        let step = Duration::from_millis(if time > Duration::from_secs(20) { 10 } else { 1 });
        while self.sent.is_empty() && self.now.mono.since(start) < time {
            self.now.mono = self.now.mono + step;
            self.settle();
        }
        self.now.mono.since(start)
    }

    /// Sends a peer's segment; the worker sees it at once unless it is held.
    pub fn inject(&mut self, peer: u16, segment: &Segment, held: bool) {
        let Peer { base, stamp, .. } = *self.peers.entry(peer).or_default();
        let bytes = tcp(peer, segment, self.isn, (base, stamp), &self.stream);
        let mut bytes = packet::packet(host(self.ipv6, 1), host(self.ipv6, 2), packet::TCP, bytes, 16);
        if segment.damaged {
            bytes[ip_len(self.ipv6) + 16] ^= 0x55;
        }
        self.push(&self.wrap(&bytes));
        if !held {
            self.settle();
        }
    }

    /// Has a router report an error about a segment of the gateway's to a peer.
    pub fn report(&mut self, peer: u16, icmp: &Icmp) {
        let base = self.peers.entry(peer).or_default().base;
        let ports = [80, icmp.port.unwrap_or(1_024 + peer)].map(u16::to_be_bytes);
        let seq = base.wrapping_add(icmp.seq as u32).to_be_bytes();
        // No more of it than RFC 792 provides at least; the length in its header is that of the whole.
        let quoted = [ports.as_flattened(), &seq, &[0; 12]].concat();
        let mut quoted = packet::packet(host(self.ipv6, 2), host(self.ipv6, 1), packet::TCP, quoted, 16);
        let total = (icmp.len + 20 + if self.ipv6 { 0 } else { 20 }) as u16;
        let at = if self.ipv6 { 4 } else { 2 };
        quoted[at..at + 2].copy_from_slice(&total.to_be_bytes());
        quoted.truncate(ip_len(self.ipv6) + 8);
        let message = [&[icmp.kind, icmp.code, 0, 0][..], &icmp.mtu.to_be_bytes(), &quoted].concat();
        let protocol = if self.ipv6 { packet::ICMPV6 } else { packet::ICMP };
        let mut bytes = packet::packet(host(self.ipv6, ROUTER), host(self.ipv6, 2), protocol, message, 2);
        if icmp.damaged {
            bytes[ip_len(self.ipv6) + 2] ^= 0x55;
        }
        for _ in 0..icmp.times {
            if icmp.elsewhere {
                let frame = self.pool.frame(&self.wrap(&bytes)).expect("the pool holds all frames");
                self.other.port.rx.push_back(frame);
                self.other.turn(self.now.mono);
            } else {
                self.push(&self.wrap(&bytes));
            }
            self.settle();
        }
    }

    fn wrap(&self, packet: &[u8]) -> Vec<u8> {
        let kind = if self.ipv6 { packet::IPV6 } else { packet::IPV4 };
        packet::wrap(GATEWAY_MAC, PEER_MAC, None, kind, packet)
    }

    fn push(&mut self, bytes: &[u8]) {
        let frame = self.pool.frame(bytes).expect("the pool holds all frames");
        self.port().rx.push_back(frame);
    }

    fn port(&mut self) -> &mut SimPort {
        if self.is_client { &mut self.other.port } else { self.worker.port_mut() }
    }

    fn settle(&mut self) {
        for _ in 0..TURNS {
            let idle =
                if self.is_client { self.other.turn(self.now.mono) } else { self.worker.turn(self.now).is_idle() };
            if self.draining {
                self.worker.drained(self.now);
            }
            let frames: Vec<Vec<u8>> = self.port().tx.drain(..).map(|frame| frame.bytes().to_vec()).collect();
            frames.iter().for_each(|bytes| self.take(bytes));
            if idle && self.port().rx.is_empty() {
                return;
            }
        }
        panic!("the worker does not come to rest");
    }

    /// Reads a frame of the gateway's, whose checksums and stream have to be right, and that no router may cut.
    fn take(&mut self, bytes: &[u8]) {
        let Some(ip) = packet::ip(bytes).filter(|ip| ip.protocol == packet::TCP) else { return };
        assert!(packet::ip_checksum_good(bytes, &ip) && packet::l4_checksum_good(bytes, &ip), "checksums");
        assert!(self.ipv6 || bytes[20] == 0x40, "don't fragment");
        let tcp = &bytes[ip.l4..ip.end];
        let name = u16::from_be_bytes([tcp[2], tcp[3]]) - 1_024;
        let peer = self.peers.entry(name).or_default();
        let word = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().expect("four bytes"));
        let (seq, ack, flags) = (word(4), word(8), tcp[13] & 0x3f);
        let options_end = usize::from(tcp[12] >> 4) * 4;
        if flags & SYN != 0 {
            // A retransmission changes nothing.
            *peer = if peer.base == seq { std::mem::take(peer) } else { Peer { base: seq, ..Peer::default() } };
        }
        let mut options = read_options(&tcp[20..options_end], self.isn);
        for option in &mut options {
            let Opt::Timestamps(Some(value), _) = option else { continue };
            if flags & SYN != 0 {
                peer.stamp = *value;
            }
            *value = value.wrapping_sub(peer.stamp);
            // Milliseconds, and up to 31 that a SYN-ACK's holds something else in.
            assert!(u64::from(*value) <= self.now.mono.millis() + 31, "a timestamp of another clock: {value}");
        }
        let relative = |number: u32, base: u32| i64::from(number.wrapping_sub(base).cast_signed());
        let (seq, payload) = (relative(seq, peer.base), &tcp[options_end..]);
        collect(&mut peer.received, seq, payload);
        let segment = Segment {
            flags,
            seq: Some(seq),
            len: Some(payload.len()),
            ack: (flags & ACK != 0).then(|| relative(ack, self.isn)),
            window: Some(u16::from_be_bytes([tcp[14], tcp[15]])),
            urgent: Some(u16::from_be_bytes([tcp[18], tcp[19]])),
            options: Some(options),
            damaged: false,
        };
        self.sent.push_back((name, segment));
    }
}

fn ip_len(ipv6: bool) -> usize {
    if ipv6 { 40 } else { 20 }
}

/// Adds a payload to what was received; what was sent before has to be the same again.
fn collect(received: &mut Vec<u8>, seq: i64, payload: &[u8]) {
    let Ok(at) = usize::try_from(seq - 1) else { return };
    if payload.is_empty() || at > received.len() {
        return;
    }
    let again = payload.len().min(received.len() - at);
    assert!(received[at..at + again] == payload[..again], "a retransmission with other bytes, at {seq}");
    received.extend_from_slice(&payload[again..]);
}

/// A peer's segment, without checksum.
fn tcp(peer: u16, segment: &Segment, isn: u32, (base, stamp): (u32, u32), stream: &[u8]) -> Vec<u8> {
    let (seq, len) = (segment.seq.expect("parsed"), segment.len.expect("parsed"));
    let mut options = write_options(segment.options.as_deref().unwrap_or(&[]), base, stamp);
    options.resize(options.len().next_multiple_of(4), 0);
    let mut bytes = vec![0; 20];
    bytes[..2].copy_from_slice(&(1_024 + peer).to_be_bytes());
    bytes[2..4].copy_from_slice(&80u16.to_be_bytes());
    bytes[4..8].copy_from_slice(&isn.wrapping_add(seq as u32).to_be_bytes());
    let ack = segment.ack.map_or(0, |ack| base.wrapping_add(ack as u32));
    bytes[8..12].copy_from_slice(&ack.to_be_bytes());
    bytes[12] = (((20 + options.len()) / 4) << 4) as u8;
    bytes[13] = segment.flags;
    bytes[14..16].copy_from_slice(&segment.window.unwrap_or(65_535).to_be_bytes());
    bytes[18..20].copy_from_slice(&segment.urgent.unwrap_or(0).to_be_bytes());
    bytes.extend_from_slice(&options);
    // A SYN's data begins behind it.
    let first = seq - 1 + i64::from(segment.flags & SYN != 0);
    bytes.extend((0..len as i64).map(|i| {
        let at = usize::try_from(first + i).ok();
        at.and_then(|at| stream.get(at)).copied().unwrap_or(b'?')
    }));
    bytes
}

fn write_options(options: &[Opt], base: u32, stamp: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for option in options {
        match option {
            Opt::Mss(mss) => bytes.extend([&[2, 4][..], &mss.to_be_bytes()].concat()),
            Opt::Wscale(shift) => bytes.extend([3, 3, *shift]),
            Opt::SackOk => bytes.extend([4, 2]),
            Opt::Sack(blocks) => {
                bytes.extend([5, 2 + 8 * blocks.len() as u8]);
                for edge in blocks.iter().flat_map(|(from, to)| [from, to]) {
                    bytes.extend(base.wrapping_add(*edge as u32).to_be_bytes());
                }
            }
            Opt::Timestamps(value, echo) => {
                let (value, echo) = (value.expect("a number"), stamp.wrapping_add(echo.expect("a number")));
                bytes.extend([&[8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat());
            }
            Opt::Raw(byte) => bytes.push(*byte),
        }
    }
    bytes
}

/// Options in their order, without padding.
fn read_options(mut bytes: &[u8], isn: u32) -> Vec<Opt> {
    let mut options = Vec::new();
    while let [kind, rest @ ..] = bytes {
        let len = rest.first().map_or(0, |len| usize::from(*len));
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let edge = |at: usize| i64::from(word(at).wrapping_sub(isn).cast_signed());
        match (kind, len) {
            (0, _) => break,
            (1, _) => {
                bytes = rest;
                continue;
            }
            (2, 4) => options.push(Opt::Mss(word(0) as u16)),
            (3, 3) => options.push(Opt::Wscale(bytes[2])),
            (4, 2) => options.push(Opt::SackOk),
            (5, _) => options.push(Opt::Sack((2..len).step_by(8).map(|at| (edge(at), edge(at + 4))).collect())),
            (8, 10) => options.push(Opt::Timestamps(Some(word(2)), Some(word(6)))),
            _ => options.push(Opt::Raw(*kind)),
        }
        bytes = bytes.get(len.max(2)..).unwrap_or(&[]);
    }
    options
}
