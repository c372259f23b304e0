//! The link: exchanges between two links, limits, refusals.

mod control;

use super::*;
use crate::limits::{TX_BACKLOG_MAX, UNRESOLVED_MAX, UNRESOLVED_PER_NEIGHBOR_MAX};
use crate::net::ip::frames::*;
use crate::port::Caps;
use crate::sim::port::{FramePool, SimFrame, SimPort};

/// One worker's link with everything it needs.
struct Side {
    link: Link<SimFrame>,
    port: SimPort,
    tx: TxQueue<SimFrame>,
    counters: Counters,
    pool: FramePool,
}

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

fn config(mac: Mac, vlan: Option<u16>, v4: [u8; 4], v6: [u8; 16]) -> LinkConfig {
    let addresses =
        vec![Cidr { address: IpAddr::from(v4), prefix_len: 16 }, Cidr { address: IpAddr::from(v6), prefix_len: 64 }];
    LinkConfig { mac, vlan, addresses, gateways: vec![] }
}

fn side(config: LinkConfig, neighbors: Arc<Neighbors>, pool: &FramePool) -> Side {
    let port = SimPort::new(Caps { mac: config.mac, ..Caps::default() }, pool.clone());
    let link = Link::new(config, neighbors, at(0));
    Side { link, port, tx: TxQueue::default(), counters: Counters::default(), pool: pool.clone() }
}

fn us(pool: &FramePool) -> Side {
    side(config(OUR_MAC, None, OUR_V4, OUR_V6), Neighbors::new(), pool)
}

fn pair(vlan: Option<u16>, pool: &FramePool) -> (Side, Side) {
    let peer = config(PEER_MAC, vlan, PEER_V4, PEER_V6);
    (side(config(OUR_MAC, vlan, OUR_V4, OUR_V6), Neighbors::new(), pool), side(peer, Neighbors::new(), pool))
}

impl Side {
    /// A frame with room for the link header and a recognisable packet.
    fn frame(&self, payload: &[u8]) -> SimFrame {
        let mut frame = self.pool.take().unwrap();
        let l3 = self.link.header_len();
        frame.set_len(l3 + payload.len());
        frame.bytes_mut()[l3..].copy_from_slice(payload);
        frame
    }

    fn send(&mut self, payload: &[u8], to: IpAddr, now: Instant) {
        let frame = self.frame(payload);
        self.link.send(frame, to, now, &mut self.tx, &mut self.port, &self.counters);
    }

    fn tick(&mut self, now: Instant) {
        self.link.refresh();
        self.link.tick(now, &mut self.port, &mut self.tx, &self.counters);
    }

    /// What the link sent since the last call, as bytes.
    fn sent(&mut self) -> Vec<Vec<u8>> {
        self.tx.flush(&mut self.port, &self.counters);
        self.port.tx.drain(..).map(|frame| frame.bytes().to_vec()).collect()
    }

    /// Receives one frame as a worker does; returns its bytes when it is neither control nor dropped.
    fn receive(&mut self, frame: SimFrame, now: Instant) -> Option<Vec<u8>> {
        match self.link.classify(&frame) {
            Class::Tcp(_) => return Some(frame.bytes().to_vec()),
            Class::Control => drop(self.link.control(frame, now, &mut self.port, &mut self.tx, &self.counters)),
            Class::Drop(counter) => self.counters.inc(counter),
        }
        None
    }

    fn receive_bytes(&mut self, bytes: &[u8], now: Instant) {
        let frame = self.pool.frame(bytes).unwrap();
        assert_eq!(self.receive(frame, now), None);
    }

    /// Everything dropped so far, by counter.
    fn drops(&self) -> Vec<(Counter, u64)> {
        let dropped = Counter::ALL.iter().filter(|c| c.describe().0 == "penstock_dropped_frames_total");
        dropped.map(|c| (*c, self.counters.read(*c))).filter(|(_, n)| *n > 0).collect()
    }
}

/// Carries frames both ways until both sides are silent; returns what `b` received for TCP.
fn exchange(a: &mut Side, b: &mut Side, now: Instant) -> Vec<Vec<u8>> {
    let mut received = Vec::new();
    for _ in 0..10 {
        a.tx.flush(&mut a.port, &a.counters);
        b.tx.flush(&mut b.port, &b.counters);
        for frame in a.port.tx.split_off(0) {
            received.extend(b.receive(frame, now));
        }
        for frame in b.port.tx.split_off(0) {
            assert_eq!(a.receive(frame, now), None);
        }
    }
    received
}

/// A TCP packet from us to the peer.
fn packet_v4(payload: &[u8]) -> Vec<u8> {
    let mut packet = ipv4(6, &[], &tcp(16, payload));
    packet[12..16].copy_from_slice(&OUR_V4);
    packet[16..20].copy_from_slice(&PEER_V4);
    finish_packet(packet)
}

fn packet_v6(payload: &[u8]) -> Vec<u8> {
    let mut packet = ipv6(6, &tcp(16, payload));
    packet[8..24].copy_from_slice(&OUR_V6);
    packet[24..40].copy_from_slice(&PEER_V6);
    finish_packet(packet)
}

fn finish_packet(mut packet: Vec<u8>) -> Vec<u8> {
    ip::finish(&mut packet, 0, &Caps::default());
    packet
}

fn ip_v4(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

/// An ARP packet to us.
fn arp_bytes(operation: u8, mac: Mac, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let fixed = [0, 1, 8, 0, 6, 4, 0, operation];
    ethernet(0x0806, &[&fixed[..], &mac, &sender, &[0; 6], &target].concat())
}

#[test]
fn a_frame_waits_until_its_neighbor_answers() {
    for vlan in [None, Some(7)] {
        let pool = FramePool::new(64);
        let (mut a, mut b) = pair(vlan, &pool);
        for (packet, to, ethertype) in
            [(packet_v4(b"one"), IpAddr::from(PEER_V4), 0x0800u16), (packet_v6(b"two"), IpAddr::from(PEER_V6), 0x86dd)]
        {
            let before = a.link.generation();
            assert_eq!(a.link.resolve(to), None);
            a.send(&packet, to, at(0));
            let received = exchange(&mut a, &mut b, at(1));
            assert_ne!(a.link.generation(), before, "cached headers are resolved again");
            let header = a.link.resolve(to).unwrap();
            let tag: &[u8] = if vlan.is_some() { &[0x81, 0, 0, 7] } else { &[] };
            assert_eq!(header.as_bytes(), [&PEER_MAC[..], &OUR_MAC, tag, &ethertype.to_be_bytes()].concat());
            assert_eq!(received, [[header.as_bytes(), &packet].concat()], "vlan {vlan:?}");
            // The request told the peer who we are, so its answers need none of its own.
            a.send(&packet, to, at(2));
            assert_eq!(a.sent().len(), 1);
        }
        assert!(b.link.resolve(IpAddr::from(OUR_V4)).is_some());
        assert!(b.link.resolve(IpAddr::from(OUR_V6)).is_some());
        for counter in [Counter::ArpRequestsTx, Counter::ArpRepliesRx, Counter::NdSolicitsTx, Counter::NdAdvertsRx] {
            assert_eq!(a.counters.read(counter), 1, "{counter:?}");
        }
        for counter in [Counter::ArpRequestsRx, Counter::ArpRepliesTx, Counter::NdSolicitsRx, Counter::NdAdvertsTx] {
            assert_eq!(b.counters.read(counter), 1, "{counter:?}");
        }
        assert_eq!((a.drops(), b.drops()), (vec![], vec![]));
        assert_eq!(pool.live(), 0);
    }
}

#[test]
fn frames_leave_in_order_and_the_latest_are_kept() {
    let pool = FramePool::new(64);
    let (mut a, mut b) = pair(None, &pool);
    let payloads: Vec<Vec<u8>> = (0..UNRESOLVED_PER_NEIGHBOR_MAX as u8 + 2).map(|i| packet_v4(&[i])).collect();
    for packet in &payloads {
        a.send(packet, IpAddr::from(PEER_V4), at(0));
    }
    let received: Vec<Vec<u8>> = exchange(&mut a, &mut b, at(1)).iter().map(|frame| frame[14..].to_vec()).collect();
    assert_eq!(received, payloads[2..]);
    assert_eq!(a.drops(), [(Counter::DropUnresolved, 2)]);
    assert_eq!(a.counters.read(Counter::ArpRequestsTx), 1, "one request for all of them");
    assert_eq!(pool.live(), 0);
}

#[test]
fn a_silent_neighbor_is_asked_three_times_and_then_its_frames_are_dropped() {
    let pool = FramePool::new(64);
    let mut a = us(&pool);
    // Announcements use the same counters: let them pass.
    a.tick(at(0));
    a.tick(at(2_000));
    for (start, to, counter) in
        [(10_000, PEER_V4.into(), Counter::ArpRequestsTx), (20_000, PEER_V6.into(), Counter::NdSolicitsTx)]
    {
        let (before, dropped) = (a.counters.read(counter), a.counters.read(Counter::DropUnreachable));
        a.tick(at(start));
        a.send(b"x", to, at(start));
        a.send(b"y", to, at(start + 500));
        for (ms, requests) in [(900, 1), (1000, 2), (1900, 2), (2000, 3), (2900, 3)] {
            a.tick(at(start + ms));
            assert_eq!(a.counters.read(counter) - before, requests, "{counter:?} after {ms} ms");
        }
        assert_eq!(a.counters.read(Counter::DropUnreachable), dropped);
        a.tick(at(start + 3000));
        assert_eq!(a.counters.read(Counter::DropUnreachable), dropped + 2);
    }
    a.sent();
    assert_eq!(pool.live(), 0);
}

#[test]
fn waiting_frames_are_bounded_over_all_neighbors() {
    let pool = FramePool::new(4 * UNRESOLVED_MAX);
    let mut a = us(&pool);
    for i in 0..UNRESOLVED_MAX as u32 + 3 {
        a.send(b"x", IpAddr::from((0x0a00_0100 + i).to_be_bytes()), at(0));
    }
    assert_eq!(a.drops(), [(Counter::DropUnresolved, 3)]);
    assert_eq!(a.sent().len(), UNRESOLVED_MAX);
    assert_eq!(pool.live(), UNRESOLVED_MAX);
    for second in 1..=3 {
        a.tick(at(second * 1100));
        a.sent();
    }
    assert_eq!(a.drops(), [(Counter::DropUnresolved, 3), (Counter::DropUnreachable, UNRESOLVED_MAX as u64)]);
    assert_eq!(pool.live(), 0);
}

#[test]
fn without_a_route_a_frame_is_dropped_and_a_gateway_takes_the_rest() {
    let pool = FramePool::new(8);
    let mut a = us(&pool);
    a.send(b"x", "198.51.100.1".parse().unwrap(), at(0));
    a.send(b"x", "ff02::1".parse().unwrap(), at(0));
    assert_eq!(a.drops(), [(Counter::DropUnroutable, 2)]);
    let gateways = vec![PEER_V4.into()];
    let mut a = side(LinkConfig { gateways, ..config(OUR_MAC, None, OUR_V4, OUR_V6) }, Neighbors::new(), &pool);
    let (_, mut b) = pair(None, &pool);
    a.send(&packet_v4(b"x"), "198.51.100.1".parse().unwrap(), at(0));
    assert_eq!(exchange(&mut a, &mut b, at(0)).len(), 1);
    assert_eq!(pool.live(), 0);
}

#[test]
fn exhausted_frames_and_backlog_are_counted() {
    let pool = FramePool::new(1);
    let mut a = us(&pool);
    a.send(b"x", ip_v4(2), at(0));
    assert_eq!(a.drops(), [(Counter::DropFrameAlloc, 1)], "the request, not the frame that waits");
    assert_eq!(pool.live(), 1);

    let pool = FramePool::new(2 * TX_BACKLOG_MAX);
    let mut a = us(&pool);
    while a.tx.push(pool.frame(b"x").unwrap()).is_ok() {}
    let (full, request) = (a.tx.len(), arp_bytes(1, PEER_MAC, PEER_V4, OUR_V4));
    a.receive_bytes(&request, at(0));
    a.send(b"x", PEER_V4.into(), at(0));
    assert_eq!(a.drops(), [(Counter::DropBacklog, 2)]);
    assert_eq!((a.tx.len(), pool.live()), (full, full));
}

#[test]
fn an_answer_to_another_worker_frees_the_frames_of_this_one() {
    let pool = FramePool::new(64);
    let neighbors = Neighbors::new();
    let mut a = side(config(OUR_MAC, None, OUR_V4, OUR_V6), neighbors.clone(), &pool);
    let mut b = side(config(OUR_MAC, None, OUR_V4, OUR_V6), neighbors, &pool);
    a.send(b"from a", PEER_V4.into(), at(0));
    b.send(b"from b", PEER_V4.into(), at(0));
    assert_eq!((a.sent().len(), b.sent().len()), (1, 0), "one request a second for all workers");
    b.receive_bytes(&arp_bytes(2, PEER_MAC, PEER_V4, OUR_V4), at(1));
    assert_eq!(b.sent().len(), 1);
    a.tick(at(1));
    assert!(a.sent().iter().any(|frame| frame.ends_with(b"from a")));
    assert_eq!(pool.live(), 0);
}

#[test]
fn a_neighbor_in_use_is_probed_at_its_own_address() {
    let pool = FramePool::new(64);
    let mut a = us(&pool);
    a.receive_bytes(&arp_bytes(1, PEER_MAC, PEER_V4, OUR_V4), at(0));
    for ms in [0, 2_000, 4_000] {
        a.tick(at(ms));
    }
    a.sent();
    let before = a.link.generation();
    a.tick(at(16_000));
    assert_ne!(a.link.generation(), before, "cached headers are looked up again, which marks them used");
    a.link.resolve(PEER_V4.into());
    for (ms, probes) in [(29_000, 0), (30_100, 1), (30_300, 0), (31_200, 1)] {
        a.tick(at(ms));
        let sent = a.sent();
        assert_eq!(sent.len(), probes, "at {ms} ms");
        assert!(sent.iter().all(|f| f[..6] == PEER_MAC && f[12..14] == [8, 6] && f[21] == 1));
    }
    a.receive_bytes(&arp_bytes(2, PEER_MAC, PEER_V4, OUR_V4), at(31_300));
    for ms in (31_400..60_000).step_by(400) {
        a.tick(at(ms));
    }
    assert_eq!(a.sent().len(), 0);
    assert!(a.link.resolve(PEER_V4.into()).is_some());
}

#[test]
fn addresses_are_announced_and_gateways_asked_for_after_start() {
    let pool = FramePool::new(16);
    let gateways = vec![PEER_V4.into(), PEER_V6.into()];
    let mut a = side(LinkConfig { gateways, ..config(OUR_MAC, None, OUR_V4, OUR_V6) }, Neighbors::new(), &pool);
    a.tick(at(0));
    let sent = a.sent();
    let gratuitous = arp_bytes(1, OUR_MAC, OUR_V4, OUR_V4)[14..].to_vec();
    assert!(sent.contains(&[&[0xff; 6][..], &OUR_MAC, &[8, 6], &gratuitous].concat()));
    let counts = [Counter::ArpRequestsTx, Counter::NdAdvertsTx, Counter::NdSolicitsTx].map(|c| a.counters.read(c));
    assert_eq!(counts, [2, 2, 1], "one announcement each (IPv6: also link-local), one request per gateway");
    assert_eq!(pool.live(), 0);
}
