//! The link: Ethernet, VLAN, ARP, neighbour discovery, routes.
//!
//! Owns everything between a `Port` and IP packets for one worker: which frames are ours, the link header of every frame
//! sent, the frames that wait for one, and the answers to control packets. Refuses TCP (`classify` describes a segment and
//! leaves it), router discovery and duplicate address detection of its own: addresses and gateways are configured.

mod arp;
mod control;
mod io;
mod nd;
mod reports;
mod route;
#[cfg(test)]
mod tests;
mod waiting;

use crate::config::Cidr;
use crate::limits::{L2_MAX, NEWCOMERS_PER_S};
use crate::net::ip::{self, Class, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN, Host};
use crate::net::neighbor::{Ask, Mac, Neighbors, REACHABLE_TIME, Snapshot};
use crate::net::rate::AnswerLimit;
use crate::net::tx::TxQueue;
use crate::port::{Frame, Port, RxMeta};
use crate::telemetry::{Counter, Counters};
use crate::time::Instant;
use arp::{Arp, Operation};
use core::net::IpAddr;
use core::time::Duration;
use io::Io;
use nd::{Kind, Message};
use reports::Reports;
use route::Routes;
use std::sync::Arc;
use waiting::{Due, Pushed, Waiting};

/// How precisely retries, probes and announcements happen.
const TICK: Duration = Duration::from_millis(100);
/// How often the generation moves without a change, so that neighbours whose headers are cached count as used.
const EPOCH: Duration = Duration::from_secs(REACHABLE_TIME.as_secs() / 2);
/// Between two announcements that defend an address (DEFEND_INTERVAL of RFC 5227, 1.1).
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
const BROADCAST: Mac = [0xff; 6];

/// Who we are and whom we can reach.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Our Ethernet address.
    pub mac: [u8; 6],
    /// VLAN identifier 1..=4094 of a tagged port.
    pub vlan: Option<u16>,
    /// Our addresses with their on-link prefix lengths.
    pub addresses: Vec<Cidr>,
    /// Default gateways, the first of each address family counts.
    pub gateways: Vec<IpAddr>,
}

/// The bytes in front of an IP packet: Ethernet header and VLAN tag.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct LinkHeader {
    bytes: [u8; L2_MAX],
    len: u8,
}

/// One worker's link.
pub struct Link<F> {
    mac: Mac,
    vlan: Option<u16>,
    host: Host,
    routes: Routes,
    neighbors: Arc<Neighbors>,
    snapshot: Arc<Snapshot>,
    generation: u64,
    waiting: Waiting<F>,
    /// The generation for which waiting frames were last looked up.
    flushed: u64,
    next_tick: Instant,
    next_epoch: Instant,
    echo_limit: AnswerLimit,
    /// What those who ask us say of themselves, and of those the unknown ones.
    learn_limit: AnswerLimit,
    newcomer_limit: AnswerLimit<NEWCOMERS_PER_S>,
    /// Reports of packets too big that wait for the end of the burst.
    pub(crate) reports: Reports,
    /// No address is defended before this.
    next_defense: Instant,
}

impl LinkHeader {
    /// The header's bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&self.bytes)
    }

    /// Writes the header to the start of a frame that has room for it.
    #[inline]
    pub fn write(&self, frame: &mut [u8]) {
        if let Some(room) = frame.get_mut(..usize::from(self.len)) {
            room.copy_from_slice(self.as_bytes());
        }
    }
}

impl<F: Frame> Link<F> {
    /// A link that knows the neighbours in `neighbors`. With an IPv6 address configured it also has the link-local address
    /// of its MAC, unless one is configured.
    pub fn new(config: LinkConfig, neighbors: Arc<Neighbors>, now: Instant) -> Link<F> {
        let LinkConfig { mac, vlan, mut addresses, gateways } = config;
        let is_local = |c: &Cidr| matches!(c.address, IpAddr::V6(a) if a.is_unicast_link_local());
        if addresses.iter().any(|c| c.address.is_ipv6()) && !addresses.iter().any(is_local) {
            addresses.push(route::link_local(mac));
        }
        neighbors.keep(&gateways);
        let mut host = Host::new(mac, vlan);
        addresses.iter().for_each(|cidr| host.add(cidr.address));
        Link {
            mac,
            vlan,
            host,
            routes: Routes::new(addresses, gateways),
            snapshot: neighbors.snapshot(),
            reports: Reports::from(&neighbors.board),
            neighbors,
            generation: 1,
            waiting: Waiting::new(),
            flushed: 1,
            next_tick: now,
            next_epoch: now + EPOCH,
            echo_limit: AnswerLimit::default(),
            learn_limit: AnswerLimit::default(),
            newcomer_limit: AnswerLimit::default(),
            next_defense: now,
        }
    }

    /// What a received, unchained frame is.
    #[inline]
    pub fn classify(&self, frame: &impl Frame) -> Class {
        self.host.classify(frame.bytes(), frame.rx())
    }

    /// As `classify`, for the bytes of a linearised chain.
    #[inline]
    pub fn classify_bytes(&self, bytes: &[u8], rx: RxMeta) -> Class {
        self.host.classify(bytes, rx)
    }

    /// Bytes to leave in front of the IP packet of a frame to send.
    #[inline]
    pub fn header_len(&self) -> usize {
        if self.vlan.is_some() { 18 } else { 14 }
    }

    /// Frames that wait for a neighbour.
    pub fn frames_waiting(&self) -> usize {
        self.waiting.frames()
    }

    /// Changes whenever headers from `resolve` may be out of date; never 0.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes over what other workers learnt; once per turn.
    #[inline]
    pub fn refresh(&mut self) {
        if self.neighbors.generation() != self.snapshot.generation() {
            self.snapshot = self.neighbors.snapshot();
            self.generation += 1;
        }
    }

    /// The link header of packets to `destination`, or None when its neighbour is not known yet or there is no route.
    pub fn resolve(&self, destination: IpAddr) -> Option<LinkHeader> {
        let next_hop = self.routes.next_hop(destination)?;
        self.snapshot.lookup(next_hop).map(|mac| self.header(mac, ethertype_of(destination)))
    }

    /// The link header of an answer to whoever sent this frame; None when its sender claims to be a group.
    pub fn back(&self, frame: &[u8], ipv6: bool) -> Option<LinkHeader> {
        let from: &Mac = frame.get(6..)?.first_chunk()?;
        let ethertype = if ipv6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
        (from[0] & 1 == 0).then(|| self.header(*from, ethertype))
    }

    /// Sends a frame whose IP packet to `destination` is finished and follows `header_len` bytes of room. Without a known
    /// neighbour the frame waits until one answers, for about `SOLICITS_MAX` seconds.
    pub fn send<P: Port<Frame = F>>(
        &mut self,
        frame: F,
        destination: IpAddr,
        now: Instant,
        tx: &mut TxQueue<F>,
        port: &mut P,
        counters: &Counters,
    ) {
        let mut io = Io { now, port, tx, counters };
        let Some(next_hop) = self.routes.next_hop(destination) else {
            return io.tx.discard(frame, Counter::DropUnroutable, counters);
        };
        if self.snapshot.lookup(next_hop).is_none() {
            self.refresh();
        }
        match self.snapshot.lookup(next_hop) {
            Some(mac) => io.push_with_header(frame, &self.header(mac, ethertype_of(destination))),
            None => self.wait(frame, next_hop, &mut io),
        }
    }

    /// Takes a frame that `classify` called `Class::Control`: answers it, learns from it, or drops and counts it, and says
    /// so.
    pub fn control<P: Port<Frame = F>>(
        &mut self,
        frame: F,
        now: Instant,
        port: &mut P,
        tx: &mut TxQueue<F>,
        counters: &Counters,
    ) -> Option<Counter> {
        let mut io = Io { now, port, tx, counters };
        let dropped = self.try_control(frame, &mut io).err()?;
        counters.inc(dropped);
        Some(dropped)
    }

    /// Does what time brings: requests again, gives frames up, probes neighbours in use, announces our addresses after
    /// start. Costs two comparisons when nothing is due; call it every turn.
    pub fn tick<P: Port<Frame = F>>(&mut self, now: Instant, port: &mut P, tx: &mut TxQueue<F>, counters: &Counters) {
        let mut io = Io { now, port, tx, counters };
        if self.flushed != self.generation {
            self.flush(&mut io);
        }
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        if now >= self.next_epoch {
            self.next_epoch = now + EPOCH;
            self.generation += 1;
        }
        self.retry(&mut io);
        let pass = self.neighbors.pass(now);
        counters.add(Counter::NeighborContested, pass.events.contested);
        counters.add(Counter::NeighborUpheld, pass.events.upheld);
        counters.add(Counter::NeighborMoved, pass.events.moved);
        counters.add(Counter::NeighborEvicted, pass.events.evicted);
        for (neighbor, mac) in pass.probes {
            self.request(neighbor, Some(mac), &mut io);
        }
        if pass.announce {
            self.announce(&mut io);
        }
    }

    fn header(&self, to: Mac, ethertype: u16) -> LinkHeader {
        let mut header = LinkHeader { bytes: [0; L2_MAX], len: self.header_len() as u8 };
        header.bytes[..6].copy_from_slice(&to);
        header.bytes[6..12].copy_from_slice(&self.mac);
        let mut at = 12;
        if let Some(vlan) = self.vlan {
            header.bytes[12..14].copy_from_slice(&ETHERTYPE_VLAN.to_be_bytes());
            header.bytes[14..16].copy_from_slice(&vlan.to_be_bytes());
            at = 16;
        }
        header.bytes[at..at + 2].copy_from_slice(&ethertype.to_be_bytes());
        header
    }

    /// Queues a frame for an unknown neighbour and asks for it.
    fn wait<P: Port<Frame = F>>(&mut self, frame: F, next_hop: IpAddr, io: &mut Io<'_, P>) {
        if self.waiting.is_full() {
            return self.give_up(frame, next_hop, Counter::DropUnresolved, io);
        }
        match self.waiting.push(next_hop, frame) {
            Ok(Pushed::Queued) => {}
            Ok(Pushed::Replaced(oldest)) => self.give_up(oldest, next_hop, Counter::DropUnresolved, io),
            Err(frame) => match self.neighbors.ask(next_hop, io.now) {
                Ask::Full => self.give_up(frame, next_hop, Counter::DropNeighborLimit, io),
                ask => {
                    self.waiting.start(next_hop, frame, io.now);
                    if ask == Ask::Send {
                        self.request(next_hop, None, io);
                    }
                }
            },
        }
    }

    /// Sends the waiting frames whose neighbour is known by now.
    fn flush<P: Port<Frame = F>>(&mut self, io: &mut Io<'_, P>) {
        self.flushed = self.generation;
        // Downwards: `take` moves the last one to the index it empties.
        for index in (0..self.waiting.len()).rev() {
            let Some(next_hop) = self.waiting.neighbor(index) else { continue };
            let Some(mac) = self.snapshot.lookup(next_hop) else { continue };
            let header = self.header(mac, ethertype_of(next_hop));
            for frame in self.waiting.take(index) {
                io.push_with_header(frame, &header);
            }
        }
    }

    /// Asks again for neighbours that frames wait for, and drops the frames of those who never answered.
    fn retry<P: Port<Frame = F>>(&mut self, io: &mut Io<'_, P>) {
        for index in (0..self.waiting.len()).rev() {
            match self.waiting.due(index, io.now) {
                Due::Nothing => {}
                Due::Ask(next_hop) => {
                    if self.neighbors.ask(next_hop, io.now) == Ask::Send {
                        self.request(next_hop, None, io);
                    }
                }
                Due::GiveUp(next_hop, frames) => {
                    for frame in frames {
                        self.give_up(frame, next_hop, Counter::DropUnreachable, io);
                    }
                }
            }
        }
    }

    /// Drops a frame that lacks its link header. It gets one to nobody, for who may look at it.
    fn give_up<P: Port<Frame = F>>(&self, mut frame: F, next_hop: IpAddr, reason: Counter, io: &mut Io<'_, P>) {
        self.header([0; 6], ethertype_of(next_hop)).write(frame.bytes_mut());
        io.tx.discard(frame, reason, io.counters);
    }

    /// Sends an ARP request or neighbour solicitation, to the neighbour's known MAC or to all who might have it.
    fn request<P: Port<Frame = F>>(&self, neighbor: IpAddr, mac: Option<Mac>, io: &mut Io<'_, P>) {
        match (neighbor, self.routes.source_for(neighbor)) {
            (IpAddr::V4(target), Some(IpAddr::V4(source))) => {
                let arp = self.arp_request(source.octets(), target.octets());
                let header = self.header(mac.unwrap_or(BROADCAST), ETHERTYPE_ARP);
                io.emit(&header, &arp.emit(), Counter::ArpRequestsTx);
            }
            (IpAddr::V6(target), Some(IpAddr::V6(source))) => {
                let (source, target) = (source.octets(), target.octets());
                let destination = if mac.is_some() { target } else { ip::solicited_node(&target) };
                let message = Message { kind: Kind::Solicitation, source, destination, target, mac: None };
                let header = self.header(mac.unwrap_or_else(|| multicast_mac(&destination)), ETHERTYPE_IPV6);
                io.emit(&header, &message.emit(self.mac), Counter::NdSolicitsTx);
            }
            _ => {}
        }
    }

    fn arp_request(&self, sender: [u8; 4], target: [u8; 4]) -> Arp {
        Arp { operation: Operation::Request, sender_mac: self.mac, sender, target_mac: [0; 6], target }
    }

    /// Tells everybody our addresses (RFC 5227, 2.3 and RFC 4861, 7.2.6), and asks for the gateways ahead of need.
    fn announce<P: Port<Frame = F>>(&self, io: &mut Io<'_, P>) {
        self.host.v4().iter().for_each(|address| self.announce_address(IpAddr::from(*address), io));
        self.host.v6().iter().for_each(|address| self.announce_address(IpAddr::from(*address), io));
        for gateway in self.routes.gateways() {
            if self.snapshot.lookup(*gateway).is_none() && self.neighbors.ask(*gateway, io.now) == Ask::Send {
                self.request(*gateway, None, io);
            }
        }
    }

    /// Tells everybody one of our addresses.
    fn announce_address<P: Port<Frame = F>>(&self, address: IpAddr, io: &mut Io<'_, P>) {
        match address {
            IpAddr::V4(address) => {
                let arp = self.arp_request(address.octets(), address.octets());
                io.emit(&self.header(BROADCAST, ETHERTYPE_ARP), &arp.emit(), Counter::ArpRequestsTx);
            }
            IpAddr::V6(address) => {
                let kind = Kind::Advertisement { solicited: false, overrides: true };
                let (source, destination) = (address.octets(), ip::ALL_NODES);
                let message = Message { kind, source, destination, target: source, mac: None };
                let header = self.header(multicast_mac(&destination), ETHERTYPE_IPV6);
                io.emit(&header, &message.emit(self.mac), Counter::NdAdvertsTx);
            }
        }
    }
}

/// Whether a MAC can be one host's: neither zero nor a group's.
fn is_host_mac(mac: Mac) -> bool {
    mac[0] & 1 == 0 && mac != [0; 6]
}

/// The MAC of an IPv6 multicast address (RFC 2464, 7).
fn multicast_mac(group: &[u8; 16]) -> Mac {
    [0x33, 0x33, group[12], group[13], group[14], group[15]]
}

fn ethertype_of(ip: IpAddr) -> u16 {
    if ip.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 }
}
