//! A whole worker over a false port, and peers that speak just enough TCP to get into every state.
//!
//! Owns what has to hold after every turn: frames are counted and none is lost, and what is sent is well-formed. Refuses
//! to know HTTP.

use penstock::config::{Config, HttpLimits, SynCookies, TcpConfig, WorkersConfig};
use penstock::control::load::load_str;
use penstock::gateway::Gateway;
use penstock::mem::Arena;
use penstock::net::neighbor::Neighbors;
use penstock::port::{Caps, Checksum, Frame, RxMeta};
use penstock::sim::packet::{self, Identity, Mac};
use penstock::sim::port::{FramePool, SimPort};
use penstock::telemetry::{Counter, Counters};
use penstock::time::{Instant, Now};
use penstock::worker::{Worker, WorkerParts};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

pub const GATEWAY_MAC: Mac = [2, 0, 0, 0, 0, 2];
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;
/// Frames of the pool.
const POOL: usize = 1024;
const CONFIG: &str = r#"
[port]
address = ["10.7.0.2/24", "fd00:7::2/64"]
gateway = "10.7.0.1"
[[listener]]
port = 80
[[route]]
path = "/"
respond = { body = "hello\n" }
[[route]]
exact = "/large"
respond = { body = "LARGE" }
[[route]]
path = "/post"
method = "POST"
respond = { status = 204 }
"#;

static SETUP: LazyLock<(Arc<Config>, Identity)> = LazyLock::new(|| {
    let text = CONFIG.replace("LARGE", &"0123456789".repeat(2_000));
    let config = load_str("bed", &text, Path::new("")).expect("a configuration");
    let second = Duration::from_secs(1);
    let config = Config {
        workers: WorkersConfig { connections: 8, ..config.workers },
        http: HttpLimits {
            request_line: 256,
            head_size: 4096,
            body_size: 4096,
            head_timeout: 2 * second,
            body_timeout: 2 * second,
            idle_timeout: 3 * second,
            write_timeout: 3 * second,
            ..config.http
        },
        tcp: TcpConfig {
            rx_ring: 2048,
            tx_ring: 4096,
            bulk_tx_ring: 16_384,
            bulk_rings: 1,
            half_open: 2,
            syn_cookies: SynCookies::Auto,
            timestamps: true,
            connections_per_source: 3,
            handshake_timeout: 2 * second,
            fin_timeout: 2 * second,
            rto_min: Duration::from_millis(200),
            park_after: second,
            time_wait: 3 * second,
            time_wait_entries: 4,
        },
        ..config
    };
    let addresses = config.port.addresses.iter().map(|own| own.address).collect();
    (Arc::new(config), Identity { mac: GATEWAY_MAC, addresses, vlan: None, mtu: 1500 })
});

thread_local! {
    /// One for all beds: its frames keep it, so a pool of each bed's own would stay for ever.
    static FRAMES: FramePool = FramePool::new(POOL);
}

/// The other end of a connection.
#[derive(Clone, Default)]
pub struct Peer {
    /// Our next sequence number.
    pub seq: u32,
    /// What of ours is acknowledged.
    pub acked: u32,
    /// The gateway's next sequence number.
    pub ack: u32,
    /// What the gateway sent, in order.
    pub received: Vec<u8>,
    /// The gateway sent FIN or RST.
    pub ended: bool,
}

/// Peers; the last two speak IPv6.
pub const PEERS: usize = 4;

pub struct Bed {
    worker: Worker<SimPort, Gateway>,
    pub pool: FramePool,
    counters: Arc<Counters>,
    now: Now,
    pub peers: [Peer; PEERS],
    given: u64,
    taken: u64,
}

pub fn peer_address(peer: usize) -> IpAddr {
    let last = peer as u8 + 10;
    if peer < PEERS / 2 { [10, 7, 0, last].into() } else { [0xfd00, 7, 0, 0, 0, 0, 0, u16::from(last)].into() }
}

pub fn gateway_address(peer: usize) -> IpAddr {
    SETUP.1.addresses[usize::from(peer >= PEERS / 2)]
}

pub fn peer_mac(peer: usize) -> Mac {
    [2, 0, 0, 0, 1, peer as u8]
}

impl Bed {
    /// A worker that knows its peers' hardware addresses.
    pub fn new() -> Bed {
        let (config, _) = &*SETUP;
        let pool = FRAMES.with(FramePool::clone);
        assert_eq!(pool.live(), 0);
        let counters = Arc::new(Counters::with_requests(config.listeners.len(), config.routes.len()));
        let parts = WorkerParts {
            port: SimPort::new(Caps { mac: GATEWAY_MAC, mtu: 1500, ..Caps::default() }, pool.clone()),
            app: Gateway::new(config).expect("the loader has tried it"),
            config: Arc::clone(config),
            neighbors: Neighbors::new(),
            counters: Arc::clone(&counters),
            arena: Arena::heap(Worker::<SimPort, Gateway>::arena_size(config)),
            secret: [1, 2, 3, 4],
            now: Instant::ZERO,
        };
        let worker = Worker::new(parts).expect("a worker");
        let now = Now { mono: Instant::ZERO, unix_s: 1_700_000_000 };
        let mut bed = Bed { worker, pool, counters, now, peers: Default::default(), given: 0, taken: 0 };
        (0..PEERS).for_each(|peer| bed.give(&greeting(peer), Checksum::Unknown));
        bed.turn(Duration::from_millis(1));
        bed
    }

    /// Has a frame received at the next turn; at the pool's limit, or longer than a buffer, it is lost before.
    pub fn give(&mut self, bytes: &[u8], sums: Checksum) {
        self.give_chained(bytes, &[], sums);
    }

    /// As `give`, with a second segment unless it is empty.
    pub fn give_chained(&mut self, bytes: &[u8], more: &[u8], sums: Checksum) {
        if bytes.len() > penstock::limits::FRAME_MAX {
            return;
        }
        let Some(mut frame) = self.pool.frame(bytes) else { return };
        frame.set_rx(RxMeta { ip_checksum: sums, l4_checksum: sums, ..RxMeta::default() });
        if !more.is_empty() {
            frame.chain(more);
        }
        self.worker.port_mut().rx.push_back(frame);
    }

    /// A segment of a peer with its present numbers; `seq` is added to its own.
    pub fn segment(&mut self, peer: usize, flags: u8, seq: i8, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let Peer { seq: own, ack, .. } = self.peers[peer];
        let mut options = options[..options.len().min(40)].to_vec();
        options.resize(options.len().next_multiple_of(4), 0);
        let mut segment = Vec::with_capacity(20 + options.len() + payload.len());
        segment.extend_from_slice(&(40_000 + peer as u16).to_be_bytes());
        segment.extend_from_slice(&80u16.to_be_bytes());
        segment.extend_from_slice(&own.wrapping_add_signed(i32::from(seq)).to_be_bytes());
        segment.extend_from_slice(&ack.to_be_bytes());
        segment.extend_from_slice(&[(5 + options.len() as u8 / 4) << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend_from_slice(&options);
        segment.extend_from_slice(payload);
        if seq == 0 {
            let space = payload.len() as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
            self.peers[peer].seq = own.wrapping_add(space);
        }
        frame_of(peer, packet::TCP, segment, 16)
    }

    /// A turn, and everything that has to hold after it.
    pub fn turn(&mut self, later: Duration) {
        let waiting = self.worker.port().rx.len();
        let before = self.worker.port().tx.len();
        let done = self.worker.turn(self.now);
        self.now.mono = self.now.mono + later;
        let left = self.worker.port().rx.len();
        assert_eq!(done.received, waiting - left);
        self.given += done.received as u64;
        assert_eq!(self.worker.port().tx.len(), before + done.sent);
        self.taken += done.sent as u64;
        assert_eq!(self.counters.read(Counter::RxFrames), self.given, "received frames are counted");
        assert_eq!(self.counters.read(Counter::TxFrames), self.taken, "sent frames are counted");
        let held = self.worker.stack().frames_held();
        let queued = self.worker.port().rx.len() + self.worker.port().tx.len();
        assert_eq!(self.pool.live(), held + queued, "a frame leaked");
        assert!(self.worker.connections() <= SETUP.0.workers.connections as usize);
    }

    /// Sets how many sent frames fit the device before `listen` takes them.
    pub fn limit_tx(&mut self, frames: usize) {
        self.worker.port_mut().tx_limit = frames;
    }

    /// Peers take what was sent to them.
    pub fn listen(&mut self) {
        while let Some(frame) = self.worker.port_mut().tx.pop_front() {
            let bytes = frame.bytes();
            packet::judge(bytes, &SETUP.1).unwrap_or_else(|why| panic!("{why}: {}", packet::summary(bytes)));
            self.hear(bytes);
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        let Some((80, port)) = packet::tcp_ports(bytes) else { return };
        let ip = packet::ip(bytes).expect("it has ports");
        let peer = usize::from(port).wrapping_sub(40_000);
        if peer >= PEERS || peer_address(peer) != ip.destination {
            return;
        }
        let tcp = &bytes[ip.l4..ip.end];
        let word = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().expect("four bytes"));
        let (seq, flags, payload) = (word(4), tcp[13], &tcp[usize::from(tcp[12] >> 4) * 4..]);
        let peer = &mut self.peers[peer];
        if flags & RST != 0 {
            peer.ended = true;
        } else if flags & SYN != 0 {
            (peer.ack, peer.acked) = (seq.wrapping_add(1), word(8));
        } else {
            peer.acked = word(8);
            // What was lost comes again; what came again is known.
            if seq == peer.ack {
                peer.received.extend_from_slice(payload);
                peer.ack = peer.ack.wrapping_add(payload.len() as u32 + u32::from(flags & FIN));
                peer.ended |= flags & FIN != 0;
            }
        }
    }

    /// Everything times out, and nothing is held but what waits for the device.
    pub fn end(mut self) {
        self.pool.set_limit(POOL);
        self.limit_tx(usize::MAX);
        self.worker.port_mut().tx.clear();
        for _ in 0..60 {
            self.turn(Duration::from_millis(500));
            self.worker.port_mut().tx.clear();
        }
        assert_eq!(self.worker.connections(), 0, "connections are left");
        assert_eq!(self.worker.stack().time_waits(), 0, "TIME-WAIT entries are left");
        // One frame is kept for the next answer.
        assert!(self.worker.stack().frames_held() <= 1, "frames are left");
        drop(self.worker);
        assert_eq!(self.pool.live(), 0);
    }
}

/// A peer's IP packet in its frame.
pub fn frame_of(peer: usize, protocol: u8, payload: Vec<u8>, sum_at: usize) -> Vec<u8> {
    let packet = packet::packet(peer_address(peer), gateway_address(peer), protocol, payload, sum_at);
    let ether_type = if peer < PEERS / 2 { packet::IPV4 } else { packet::IPV6 };
    packet::wrap(GATEWAY_MAC, peer_mac(peer), None, ether_type, &packet)
}

/// A peer asks for the gateway's hardware address, which tells the gateway the peer's.
pub fn greeting(peer: usize) -> Vec<u8> {
    match (peer_address(peer), gateway_address(peer)) {
        (IpAddr::V4(own), IpAddr::V4(asked)) => arp(1, peer_mac(peer), own.octets(), asked.octets()),
        (_, IpAddr::V6(asked)) => discovery(peer, 135, &asked.octets(), 1),
        _ => Vec::new(),
    }
}

/// An ARP frame.
pub fn arp(operation: u8, mac: Mac, own: [u8; 4], asked: [u8; 4]) -> Vec<u8> {
    let body = [&[0, 1, 8, 0, 6, 4, 0, operation], &mac[..], &own, &[0; 6], &asked].concat();
    packet::wrap(GATEWAY_MAC, mac, None, packet::ARP, &body)
}

/// Neighbour discovery of an IPv6 peer: type 135 or 136, with a link-layer address option of a kind.
pub fn discovery(peer: usize, kind: u8, target: &[u8; 16], option: u8) -> Vec<u8> {
    let body = [&[kind, 0, 0, 0, 0x60, 0, 0, 0], &target[..], &[option, 1], &peer_mac(peer)].concat();
    let mut frame = frame_of(peer, packet::ICMPV6, body, 2);
    // The hop limit is in no checksum.
    frame[14 + 7] = 255;
    frame
}
