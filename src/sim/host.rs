//! A client host: an Ethernet station with smoltcp's TCP/IP above it.
//!
//! Owns its sockets, its place on the link and the gateway's Ethernet address as it learnt it. smoltcp verifies and fills
//! in every checksum here, so it is a foreign judge of the gateway's. Refuses to know HTTP: `client` does.

use super::neighbor::{self, Message};
use super::packet::{self, BROADCAST, IPV4, IPV6, Mac};
use crate::mem::{Arena, Borrower, Lent};
use crate::time::Instant;
use core::cell::Cell;
use core::net::IpAddr;
use core::ops::Range;
use core::time::Duration;
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet, SocketStorage};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, Ipv4Address, Ipv6Address};
use std::collections::VecDeque;

/// How long a host waits for an answer about a neighbour before it asks again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Packets that wait for the gateway's Ethernet address.
const WAITING_MAX: usize = 64;

thread_local! {
    /// The TSval of the host that works: smoltcp asks a function without state for it.
    static TSVAL: Cell<u32> = const { Cell::new(0) };
}

/// Where a host is.
#[derive(Clone, PartialEq, Debug)]
pub struct Place {
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its own address.
    pub ip: IpAddr,
    /// The address it has on the gateway's link: its own, or that of the router it sits behind.
    pub link_ip: IpAddr,
    /// The gateway.
    pub gateway: IpAddr,
    /// The VLAN of its frames.
    pub vlan: Option<u16>,
    /// Its largest IP packet.
    pub mtu: usize,
}

/// Ring sizes and habits of one connection's socket.
#[derive(Clone, PartialEq, Debug)]
pub struct SocketPlan {
    /// Receive ring in bytes, at most 65,535.
    pub rx_ring: usize,
    /// Transmit ring in bytes.
    pub tx_ring: usize,
    /// Nagle's algorithm.
    pub nagle: bool,
    /// Delay of ACKs; None: at once.
    pub ack_delay: Option<Duration>,
    /// Offers timestamps (RFC 7323).
    pub timestamps: bool,
}

/// Names a socket of a host.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Line(usize);

struct OneSocket;

impl Borrower for OneSocket {
    type With<'a> = SocketSet<'a>;
}

/// A socket with memory of its own, which is freed with it.
struct Open {
    local_port: u16,
    /// None while it listens.
    remote_port: Option<u16>,
    set: Lent<OneSocket>,
}

impl Open {
    fn with<R>(&mut self, f: impl for<'a> FnOnce(&mut Socket<'a>) -> R) -> R {
        self.set.with(|set| f(set.get_mut(SocketHandle::default())))
    }
}

/// An IP packet for smoltcp.
struct Received {
    /// Source and destination port of a TCP segment.
    ports: Option<(u16, u16)>,
    packet: Vec<u8>,
}

/// A client host.
pub struct Host {
    place: Place,
    iface: Interface,
    packets: Packets,
    lines: Vec<Option<Open>>,
    received: VecDeque<Received>,
    gateway_mac: Option<Mac>,
    asked_at: Option<Instant>,
    waiting: VecDeque<Vec<u8>>,
    /// Ports that behave as if nobody were there.
    deaf: Vec<Range<u16>>,
    abandoned: Vec<Line>,
    next_port: u16,
    echoes: Vec<(u16, Vec<u8>)>,
    out: Vec<Vec<u8>>,
    /// What it adds to the time in its timestamps.
    clock: u32,
}

impl Host {
    /// A host at its place; `seed` chooses its initial sequence numbers.
    pub fn new(place: Place, seed: u64, now: Instant) -> Host {
        let mut packets = Packets { mtu: place.mtu, rx: None, tx: VecDeque::new() };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut iface = Interface::new(config, &mut packets, smol(now));
        let prefix_len = if place.ip.is_ipv4() { 24 } else { 64 };
        iface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(address(place.ip), prefix_len)).expect("the first address has room");
        });
        // On Medium::Ip a route's router is never asked for; the route only says that the packet may leave.
        let routed = match place.ip {
            IpAddr::V4(_) => iface.routes_mut().add_default_ipv4_route(Ipv4Address::new(0, 0, 0, 1)).is_ok(),
            IpAddr::V6(_) => iface.routes_mut().add_default_ipv6_route(Ipv6Address::LOCALHOST).is_ok(),
        };
        assert!(routed, "the first route has room");
        Host {
            place,
            iface,
            packets,
            lines: Vec::new(),
            received: VecDeque::new(),
            gateway_mac: None,
            asked_at: None,
            waiting: VecDeque::new(),
            deaf: Vec::new(),
            abandoned: Vec::new(),
            echoes: Vec::new(),
            next_port: 49_152 + (seed % 16_000) as u16,
            out: Vec::new(),
            clock: seed as u32,
        }
    }

    /// Where the host is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Begins a connection to the gateway's `port`; returns its socket and local port.
    pub fn connect(&mut self, port: u16, plan: &SocketPlan) -> (Line, u16) {
        let local_port = self.next_port;
        self.next_port = self.next_port.checked_add(1).unwrap_or(49_152);
        let mut open = Open { local_port, remote_port: Some(port), set: socket_set(plan) };
        let (remote, context) = ((address(self.place.gateway), port), self.iface.context());
        open.with(|socket| socket.connect(context, remote, local_port)).expect("both ends are specified");
        self.lines.push(Some(open));
        (Line(self.lines.len() - 1), local_port)
    }

    /// Opens a socket that takes one connection to the host's own `port`.
    pub fn listen(&mut self, port: u16, plan: &SocketPlan) -> Line {
        let mut open = Open { local_port: port, remote_port: None, set: socket_set(plan) };
        open.with(|socket| socket.listen(port)).expect("the port is not zero");
        self.lines.push(Some(open));
        Line(self.lines.len() - 1)
    }

    /// Shows a socket to `f`.
    ///
    /// # Panics
    /// When the socket was forgotten.
    pub fn with<R>(&mut self, line: Line, f: impl for<'a> FnOnce(&mut Socket<'a>) -> R) -> R {
        self.lines[line.0].as_mut().expect("the socket was not forgotten").with(f)
    }

    /// Forgets a socket; further segments for it are answered with RST.
    pub fn forget(&mut self, line: Line) {
        self.lines[line.0] = None;
    }

    /// Forgets an aborted socket once its RST is sent.
    pub fn abandon(&mut self, line: Line) {
        self.abandoned.push(line);
    }

    /// From now on nobody answers at these local ports, not even with RST: a client that vanished.
    pub fn go_deaf(&mut self, ports: Range<u16>) {
        self.deaf.push(ports);
    }

    /// Sends an echo request to the gateway.
    pub fn ping(&mut self, now: Instant, sequence: u16, data: &[u8]) {
        let packet = packet::echo_request(self.place.ip, self.place.gateway, sequence, data);
        self.forward(now, packet);
    }

    /// Sequence numbers and data of the echo replies that came.
    pub fn echoes(&self) -> &[(u16, Vec<u8>)] {
        &self.echoes
    }

    /// Sends an IP packet as it is.
    pub fn send_raw(&mut self, now: Instant, packet: Vec<u8>) {
        self.forward(now, packet);
    }

    /// Takes a frame from the wire.
    pub fn receive(&mut self, now: Instant, frame: &[u8]) {
        let Some(header) = packet::ethernet(frame) else { return };
        let multicast = header.destination[0] & 1 == 1;
        if header.vlan != self.place.vlan || (header.destination != self.place.mac && !multicast) {
            return;
        }
        if let Some(message) = neighbor::read(frame) {
            return self.learn(now, message);
        }
        if let Some((sequence, data)) = packet::echo_reply(frame) {
            return self.echoes.push((sequence, data.to_vec()));
        }
        let ports = packet::tcp_ports(frame);
        let for_deaf = ports.is_some_and(|(_, to)| self.deaf.iter().any(|deaf| deaf.contains(&to)));
        if matches!(header.ether_type, IPV4 | IPV6) && header.destination != BROADCAST && !for_deaf {
            self.received.push_back(Received { ports, packet: frame[header.payload..].to_vec() });
        }
    }

    fn learn(&mut self, now: Instant, message: Message) {
        match message {
            Message::Who { asker, mac, target } if target == self.place.link_ip => {
                self.out.push(neighbor::answer(self.place.mac, target, asker, mac, self.place.vlan));
            }
            // As Linux does, an announcement nobody asked for updates what is known and adds nothing.
            Message::Here { address, mac }
                if address == self.place.gateway && (self.asked_at.is_some() || self.gateway_mac.is_some()) =>
            {
                self.gateway_mac = Some(mac);
                self.asked_at = None;
                for packet in core::mem::take(&mut self.waiting) {
                    self.forward(now, packet);
                }
            }
            _ => {}
        }
    }

    /// Lets TCP work; frames to send are then in [`Host::take_frames`].
    pub fn poll(&mut self, now: Instant) {
        let Host { iface, packets, lines, received, clock, .. } = self;
        TSVAL.set(clock.wrapping_add(now.millis() as u32));
        for Received { ports, packet } in received.drain(..) {
            packets.rx = Some(packet);
            match ports.and_then(|ports| find(lines, ports)) {
                Some(open) => open.set.with(|set| iface.poll_ingress_single(smol(now), packets, set)),
                None => iface.poll_ingress_single(smol(now), packets, &mut SocketSet::new(&mut [][..])),
            };
        }
        for open in lines.iter_mut().flatten() {
            let mut egress = || open.set.with(|set| iface.poll_egress(smol(now), packets, set));
            while egress() == PollResult::SocketStateChanged {}
        }
        for line in core::mem::take(&mut self.abandoned) {
            self.forget(line);
        }
        for packet in core::mem::take(&mut self.packets.tx) {
            self.forward(now, packet);
        }
        if self.asked_at.is_some_and(|at| at + ASK_AGAIN <= now) {
            self.ask(now);
        }
    }

    /// The frames that leave.
    pub fn take_frames(&mut self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.out)
    }

    /// When the host next does something by itself.
    pub fn poll_at(&mut self, now: Instant) -> Instant {
        let Host { iface, lines, .. } = self;
        let at = lines.iter_mut().flatten().filter_map(|open| open.set.with(|set| iface.poll_at(smol(now), set)));
        let tcp = at.min().map_or(Instant::FAR, |at| Instant::from_nanos(at.total_micros().unsigned_abs() * 1000));
        self.asked_at.map_or(tcp, |at| tcp.min(at + ASK_AGAIN))
    }

    fn forward(&mut self, now: Instant, packet: Vec<u8>) {
        let Some(mac) = self.gateway_mac else {
            if self.waiting.len() < WAITING_MAX {
                self.waiting.push_back(packet);
            }
            if self.asked_at.is_none() {
                self.ask(now);
            }
            return;
        };
        let ether_type = if self.place.ip.is_ipv4() { IPV4 } else { IPV6 };
        self.out.push(packet::wrap(mac, self.place.mac, self.place.vlan, ether_type, &packet));
    }

    fn ask(&mut self, now: Instant) {
        self.asked_at = Some(now);
        let Place { mac, link_ip, gateway, vlan, .. } = self.place;
        self.out.push(neighbor::ask(mac, link_ip, gateway, vlan));
    }
}

/// A set of one socket with the planned rings.
fn socket_set(plan: &SocketPlan) -> Lent<OneSocket> {
    let (rx_ring, tx_ring) = (plan.rx_ring.min(65_535), plan.tx_ring);
    let len = size_of::<SocketStorage<'static>>() + align_of::<SocketStorage<'static>>() + rx_ring + tx_ring;
    let pool = Arena::heap(Arena::pool_bytes(len, 1)).pool(len, 1).expect("the arena was made for one block");
    Lent::new(pool.take().expect("the pool has one block"), |room| {
        let storage = room.place([SocketStorage::EMPTY]);
        let mut socket = Socket::new(SocketBuffer::new(room.bytes(rx_ring)), SocketBuffer::new(room.bytes(tx_ring)));
        socket.set_nagle_enabled(plan.nagle);
        socket.set_ack_delay(plan.ack_delay.map(Into::into));
        socket.set_tsval_generator(plan.timestamps.then_some(|| TSVAL.get()));
        let mut set = SocketSet::new(&mut storage[..]);
        set.add(socket);
        set
    })
}

/// The socket for a segment with these source and destination ports; a listening one then belongs to its source.
fn find(lines: &mut [Option<Open>], (remote, local): (u16, u16)) -> Option<&mut Open> {
    let is = |open: &Open, port| open.local_port == local && open.remote_port == port;
    let at = |port| lines.iter().position(|open| open.as_ref().is_some_and(|open| is(open, port)));
    let index = at(Some(remote)).or_else(|| at(None))?;
    let open = lines[index].as_mut()?;
    open.remote_port = Some(remote);
    Some(open)
}

fn address(ip: IpAddr) -> IpAddress {
    match ip {
        IpAddr::V4(ip) => IpAddress::Ipv4(ip),
        IpAddr::V6(ip) => IpAddress::Ipv6(ip),
    }
}

fn smol(now: Instant) -> SmolInstant {
    SmolInstant::from_micros(now.micros() as i64)
}

/// IP packets in and out: smoltcp's device.
struct Packets {
    mtu: usize,
    rx: Option<Vec<u8>>,
    tx: VecDeque<Vec<u8>>,
}

struct PacketIn(Vec<u8>);
struct PacketOut<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for PacketIn {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for PacketOut<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Packets {
    type RxToken<'a> = PacketIn;
    type TxToken<'a> = PacketOut<'a>;

    fn receive(&mut self, _now: SmolInstant) -> Option<(PacketIn, PacketOut<'_>)> {
        let packet = self.rx.take()?;
        Some((PacketIn(packet), PacketOut(&mut self.tx)))
    }

    fn transmit(&mut self, _now: SmolInstant) -> Option<PacketOut<'_>> {
        Some(PacketOut(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ip;
        caps.max_transmission_unit = self.mtu;
        caps
    }
}
