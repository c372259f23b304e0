//! Control packets: what is answered, believed and refused.

use super::*;
use crate::limits::{CONTROL_ANSWERS_PER_S, NEWCOMERS_PER_S};
use crate::net::checksum::Sum;
use crate::net::ip::Packet;
use crate::port::Checksum;

/// What becomes of a control packet.
#[derive(PartialEq)]
enum Outcome {
    Answered,
    Believed,
    Dropped,
}

#[test]
fn which_arp_packets_are_believed_and_answered() {
    const OTHER: [u8; 4] = [10, 0, 0, 9];
    const FAR: [u8; 4] = [198, 51, 100, 1];
    const NEW_MAC: Mac = [2, 0, 0, 0, 0, 9];
    // The packet, whether the peer was known before, what happens, the peer's MAC after.
    type Case = (&'static str, Vec<u8>, bool, Outcome, Option<Mac>);
    let cases: &[Case] = &[
        ("request", arp_bytes(1, PEER_MAC, PEER_V4, OUR_V4), false, Outcome::Answered, Some(PEER_MAC)),
        ("request from a new MAC", arp_bytes(1, NEW_MAC, PEER_V4, OUR_V4), true, Outcome::Answered, Some(PEER_MAC)),
        ("probe", arp_bytes(1, PEER_MAC, [0; 4], OUR_V4), false, Outcome::Answered, None),
        ("request from off-link", arp_bytes(1, PEER_MAC, FAR, OUR_V4), false, Outcome::Answered, None),
        ("request for another", arp_bytes(1, PEER_MAC, PEER_V4, OTHER), false, Outcome::Dropped, None),
        ("our own announcement", arp_bytes(1, OUR_MAC, OUR_V4, OUR_V4), false, Outcome::Dropped, None),
        ("reply nobody asked for", arp_bytes(2, PEER_MAC, PEER_V4, OUR_V4), false, Outcome::Dropped, None),
        ("reply of a known one", arp_bytes(2, PEER_MAC, PEER_V4, OUR_V4), true, Outcome::Believed, Some(PEER_MAC)),
        ("reply from a new MAC", arp_bytes(2, NEW_MAC, PEER_V4, OUR_V4), true, Outcome::Dropped, Some(PEER_MAC)),
        ("reply to another", arp_bytes(2, NEW_MAC, PEER_V4, OTHER), true, Outcome::Dropped, Some(PEER_MAC)),
        ("announcement of an unknown one", arp_bytes(1, PEER_MAC, PEER_V4, PEER_V4), false, Outcome::Dropped, None),
        ("announcement", arp_bytes(1, PEER_MAC, PEER_V4, PEER_V4), true, Outcome::Believed, Some(PEER_MAC)),
        (
            "announcement from a new MAC",
            arp_bytes(1, NEW_MAC, PEER_V4, PEER_V4),
            true,
            Outcome::Dropped,
            Some(PEER_MAC),
        ),
        ("announcement by reply", arp_bytes(2, PEER_MAC, PEER_V4, PEER_V4), true, Outcome::Believed, Some(PEER_MAC)),
        ("group MAC", arp_bytes(1, [0xff; 6], PEER_V4, OUR_V4), false, Outcome::Dropped, None),
        ("short", ethernet(0x0806, &[0; 27]), false, Outcome::Dropped, None),
    ];
    for (name, bytes, known, outcome, mac) in cases {
        let pool = FramePool::new(8);
        let mut a = us(&pool);
        if *known {
            a.receive_bytes(&arp_bytes(1, PEER_MAC, PEER_V4, OUR_V4), at(0));
            a.sent();
        }
        a.receive_bytes(bytes, at(1));
        let sent = a.sent();
        assert_eq!(
            a.drops(),
            if *outcome == Outcome::Dropped { vec![(Counter::DropArp, 1)] } else { vec![] },
            "{name}"
        );
        assert_eq!(sent.len(), usize::from(*outcome == Outcome::Answered), "{name}");
        if let [reply] = sent.as_slice() {
            let (asker, sender) = (&bytes[22..28], &bytes[28..32]);
            let arp = [&[0, 1, 8, 0, 6, 4, 0, 2][..], &OUR_MAC, &OUR_V4, asker, sender].concat();
            assert_eq!(*reply, [asker, &OUR_MAC, &[8, 6], &arp].concat(), "{name}");
        }
        assert_eq!(a.link.snapshot.lookup(PEER_V4.into()), *mac, "{name}");
        assert_eq!(pool.live(), 0);
    }
}

fn discovery(kind: Kind, source: [u8; 16], destination: [u8; 16], target: [u8; 16]) -> Vec<u8> {
    let message = Message { kind, source, destination, target, mac: None };
    let mut bytes = ethernet(0x86dd, &message.emit(PEER_MAC));
    if destination[0] == 0xff {
        bytes[..6].copy_from_slice(&multicast_mac(&destination));
    }
    bytes
}

/// Duplicate address detection: no source, no link-layer address option.
fn detection(target: [u8; 16]) -> Vec<u8> {
    let mut packet = ipv6(58, &[&[nd::SOLICITATION, 0, 0, 0, 0, 0, 0, 0][..], &target].concat());
    packet[8..24].fill(0);
    packet[24..40].copy_from_slice(&ip::solicited_node(&target));
    fix_icmpv6(&mut packet);
    let mut bytes = ethernet(0x86dd, &packet);
    bytes[..6].copy_from_slice(&multicast_mac(&ip::solicited_node(&target)));
    bytes
}

fn fix_icmpv6(packet: &mut [u8]) {
    packet[42..44].fill(0);
    let [source, destination] = ip::v6_addresses(packet).unwrap();
    let sum = Sum::pseudo_v6(&source, &destination, 58, (packet.len() - 40) as u16);
    let checksum = sum.plus(Sum::of(&packet[40..])).checksum();
    packet[42..44].copy_from_slice(&checksum);
}

#[test]
fn solicitations_are_answered() {
    let local: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 1];
    let peer_local: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 2];
    let cases = [
        ("global to solicited-node", PEER_V6, ip::solicited_node(&OUR_V6), OUR_V6),
        ("unicast", PEER_V6, OUR_V6, OUR_V6),
        ("from link-local", peer_local, ip::solicited_node(&OUR_V6), OUR_V6),
        ("for link-local", peer_local, ip::solicited_node(&local), local),
    ];
    for (name, source, destination, target) in cases {
        let pool = FramePool::new(8);
        let mut a = us(&pool);
        a.receive_bytes(&discovery(Kind::Solicitation, source, destination, target), at(0));
        let kind = Kind::Advertisement { solicited: true, overrides: true };
        let answer = Message { kind, source: target, destination: source, target, mac: None }.emit(OUR_MAC);
        assert_eq!(a.sent(), [[&PEER_MAC[..], &OUR_MAC, &[0x86, 0xdd], &answer].concat()], "{name}");
        assert_eq!(a.link.snapshot.lookup(source.into()), Some(PEER_MAC), "{name}");
        assert!(a.link.resolve(source.into()).is_some(), "{name}");
        assert_eq!((a.drops(), pool.live()), (vec![], 0), "{name}");
    }
}

#[test]
fn an_address_that_another_claims_is_defended_at_most_every_ten_seconds() {
    const OTHER: [u8; 4] = [10, 0, 0, 9];
    let kind = Kind::Advertisement { solicited: false, overrides: true };
    let advert = discovery(kind, PEER_V6, ip::ALL_NODES, OUR_V6);
    let message = Message { kind, source: OUR_V6, destination: ip::ALL_NODES, target: OUR_V6, mac: None };
    let v6 = [&[0x33, 0x33, 0, 0, 0, 1][..], &OUR_MAC, &[0x86, 0xdd], &message.emit(OUR_MAC)].concat();
    let request = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &OUR_MAC, &OUR_V4, &[0; 6], &OUR_V4].concat();
    let v4 = [&BROADCAST[..], &OUR_MAC, &[8, 6], &request].concat();
    let cases = [
        ("announcement", arp_bytes(1, PEER_MAC, OUR_V4, OUR_V4), &v4),
        ("announcement by reply", arp_bytes(2, PEER_MAC, OUR_V4, OUR_V4), &v4),
        ("request for another", arp_bytes(1, PEER_MAC, OUR_V4, OTHER), &v4),
        ("advertisement", advert, &v6),
    ];
    for (name, claim, defense) in cases {
        let pool = FramePool::new(8);
        let mut a = us(&pool);
        let defended = [0, 9_999, 10_000].map(|ms| {
            a.receive_bytes(&claim, at(ms));
            a.sent()
        });
        assert_eq!(defended, [vec![defense.clone()], vec![], vec![defense.clone()]], "{name}");
        assert_eq!((a.drops(), pool.live()), (vec![(Counter::DropAddressConflict, 3)], 0), "{name}");
        assert!(a.link.snapshot.is_empty(), "{name}");
    }
}

#[test]
fn duplicate_address_detection_is_answered_to_all_nodes() {
    let pool = FramePool::new(8);
    let mut a = us(&pool);
    a.receive_bytes(&detection(OUR_V6), at(0));
    let kind = Kind::Advertisement { solicited: false, overrides: true };
    let answer = Message { kind, source: OUR_V6, destination: ip::ALL_NODES, target: OUR_V6, mac: None }.emit(OUR_MAC);
    assert_eq!(a.sent(), [[&[0x33, 0x33, 0, 0, 0, 1][..], &OUR_MAC, &[0x86, 0xdd], &answer].concat()]);
    assert!(a.link.snapshot.is_empty());
}

#[test]
fn which_discovery_messages_are_refused() {
    let advert = |solicited, destination, target| {
        discovery(Kind::Advertisement { solicited, overrides: true }, PEER_V6, destination, target)
    };
    let icmpv6 = |kind: u8| {
        let mut packet = ipv6(58, &[kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        fix_icmpv6(&mut packet);
        ethernet(0x86dd, &packet)
    };
    let mut broken = discovery(Kind::Solicitation, PEER_V6, OUR_V6, OUR_V6);
    broken[60] ^= 1;
    // Shares the solicited-node group with ours, so it arrives here.
    let twin = {
        let mut twin = OUR_V6;
        twin[8] = 9;
        twin
    };
    let cases: Vec<(&str, Counter, Vec<u8>)> = vec![
        ("an advertisement nobody asked for", Counter::DropNeighbor, advert(true, OUR_V6, PEER_V6)),
        ("a solicitation for another", Counter::DropNeighbor, discovery(Kind::Solicitation, PEER_V6, OUR_V6, v6(9))),
        ("detection of another address", Counter::DropNeighbor, detection(twin)),
        ("router solicitation", Counter::DropNeighbor, icmpv6(133)),
        ("router advertisement", Counter::DropNeighbor, icmpv6(134)),
        ("redirect", Counter::DropNeighbor, icmpv6(137)),
        ("packet too big", Counter::DropIcmp, icmpv6(2)),
        ("a listener query", Counter::DropIcmp, icmpv6(130)),
        ("wrong checksum", Counter::DropIcmp, broken),
    ];
    for (name, counter, bytes) in cases {
        let pool = FramePool::new(8);
        let mut a = us(&pool);
        a.receive_bytes(&bytes, at(0));
        assert_eq!(a.drops(), [(counter, 1)], "{name}");
        assert_eq!((a.sent().len(), pool.live()), (0, 0), "{name}");
    }
}

/// An echo request frame with `len` bytes of payload.
fn echo(ipv6_wanted: bool, len: usize) -> Vec<u8> {
    let kind = if ipv6_wanted { 128 } else { 8 };
    let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
    let mut message = [&[kind, 0, 0, 0, 0x12, 0x34, 0, 1][..], &data].concat();
    if ipv6_wanted {
        let mut packet = ipv6(58, &message);
        fix_icmpv6(&mut packet);
        return ethernet(0x86dd, &packet);
    }
    let checksum = Sum::of(&message).checksum();
    message[2..4].copy_from_slice(&checksum);
    ethernet(0x0800, &ipv4(1, &[], &message))
}

#[test]
fn echo_is_answered_at_every_size() {
    for v6 in [false, true] {
        let header = if v6 { 40 } else { 20 };
        for len in [0, 1, 7, 56, 1001, 1500 - header - 8] {
            let pool = FramePool::new(8);
            let mut a = us(&pool);
            let mut request = echo(v6, len);
            let end = request.len();
            request.resize(end.max(60), 0xee);
            a.receive_bytes(&request, at(0));
            let sent = a.sent();
            let [reply] = sent.as_slice() else { panic!("{len} bytes: {:?}", a.drops()) };
            assert_eq!(reply.len(), end, "without the padding");
            assert_eq!((&reply[..6], &reply[6..12]), (&PEER_MAC[..], &OUR_MAC[..]));
            assert_eq!(reply[14 + header], if v6 { 129 } else { 0 });
            assert_eq!(reply[18 + header..], request[18 + header..end]);
            // The peer's own validation accepts it.
            let (_, mut b) = pair(None, &pool);
            let frame = pool.frame(reply).unwrap();
            assert_eq!(b.link.classify(&frame), Class::Control);
            b.receive(frame, at(0));
            assert_eq!(b.drops(), [(Counter::DropIcmp, 1)], "a reply is valid and of no use");
            let packet = Packet { l3: 14, l4: 14 + header, end, protocol: 0, ipv6: v6, group: false };
            assert!(crate::net::icmp::is_intact(reply, &packet));
            assert_eq!(pool.live(), 0);
        }
    }
}

#[test]
fn an_answer_gets_the_tag_that_the_device_stripped() {
    let pool = FramePool::new(8);
    let mut a = side(config(OUR_MAC, Some(7), OUR_V4, OUR_V6), Neighbors::new(), &pool);
    let stripped = RxMeta { vlan: Some(0x6007), ip_checksum: Checksum::Good, ..RxMeta::default() };
    for request in [echo(false, 1472), echo(true, 9), arp_bytes(1, PEER_MAC, PEER_V4, OUR_V4)] {
        let mut frame = pool.frame(&request).unwrap();
        frame.set_rx(stripped);
        assert_eq!(a.receive(frame, at(0)), None);
        let sent = a.sent();
        assert_eq!(sent[0][12..18], [&[0x81, 0, 0, 7][..], &request[12..14]].concat());
        assert_eq!(sent[0].len(), request.len() + 4);
    }
    assert_eq!((a.drops(), pool.live()), (vec![], 0));
}

#[test]
fn options_and_extension_headers_are_not_echoed() {
    let pool = FramePool::new(8);
    let mut a = us(&pool);
    let message = echo(false, 8)[34..].to_vec();
    a.receive_bytes(&ethernet(0x0800, &ipv4(1, &[148, 4, 0, 0], &message)), at(0));
    let message = echo(true, 8)[54..].to_vec();
    a.receive_bytes(&ethernet(0x86dd, &ipv6(0, &[&[58, 0, 1, 4, 0, 0, 0, 0][..], &message].concat())), at(0));
    let lengths: Vec<usize> = a.sent().iter().map(Vec::len).collect();
    assert_eq!(lengths, [14 + 20 + 16, 14 + 40 + 16]);
    assert_eq!((a.drops(), pool.live()), (vec![], 0));
}

#[test]
fn which_echo_requests_are_not_answered() {
    let change = |mut bytes: Vec<u8>, change: fn(&mut Vec<u8>)| {
        change(&mut bytes);
        bytes
    };
    let no_source = {
        let mut packet = echo(true, 8)[14..].to_vec();
        packet[8..24].fill(0);
        fix_icmpv6(&mut packet);
        ethernet(0x86dd, &packet)
    };
    let all_nodes = {
        let mut packet = echo(true, 8)[14..].to_vec();
        packet[24..40].copy_from_slice(&ip::ALL_NODES);
        fix_icmpv6(&mut packet);
        ethernet(0x86dd, &packet)
    };
    let cases: Vec<(&str, Counter, Vec<u8>)> = vec![
        ("broadcast frame", Counter::DropIcmp, change(echo(false, 8), |f| f[..6].fill(0xff))),
        ("multicast packet", Counter::DropIcmp, all_nodes),
        ("unspecified source", Counter::DropIcmp, no_source),
        ("group source MAC", Counter::DropIcmp, change(echo(false, 8), |f| f[6] |= 1)),
        ("wrong checksum", Counter::DropIcmp, change(echo(false, 8), |f| f[45] ^= 1)),
        ("wrong checksum over IPv6", Counter::DropIcmp, change(echo(true, 8), |f| f[65] ^= 1)),
        ("under a header", Counter::DropIcmp, ethernet(0x0800, &ipv4(1, &[], &[8, 0, 0xf7, 0xff]))),
        (
            "unreachable, quoting nothing",
            Counter::DropIcmp,
            ethernet(0x0800, &ipv4(1, &[], &[3, 4, 0xfc, 0xfb, 0, 0, 0, 0])),
        ),
    ];
    for (name, counter, bytes) in cases {
        let pool = FramePool::new(8);
        let mut a = us(&pool);
        a.receive_bytes(&bytes, at(0));
        assert_eq!(a.drops(), [(counter, 1)], "{name}");
        assert_eq!((a.sent().len(), pool.live()), (0, 0), "{name}");
    }
}

#[test]
fn answers_to_echo_are_limited() {
    let pool = FramePool::new(8);
    let mut a = us(&pool);
    let request = echo(false, 8);
    let sent: usize = (0..CONTROL_ANSWERS_PER_S + 5)
        .map(|_| {
            a.receive_bytes(&request, at(5_000));
            a.sent().len()
        })
        .sum();
    assert_eq!(sent, CONTROL_ANSWERS_PER_S as usize);
    assert_eq!(a.drops(), [(Counter::DropIcmpLimit, 5)]);
    a.receive_bytes(&request, at(5_010));
    assert_eq!(a.sent().len(), 1);
    assert_eq!(pool.live(), 0);
}

#[test]
fn invented_requesters_cause_a_bounded_number_of_snapshots() {
    let pool = FramePool::new(8);
    let mut a = us(&pool);
    for i in 0..CONTROL_ANSWERS_PER_S + 500 {
        a.receive_bytes(&arp_bytes(1, PEER_MAC, (0x0a00_0100 + i).to_be_bytes(), OUR_V4), at(5_000));
        assert_eq!(a.sent().len(), 1, "answered all the same");
    }
    assert_eq!(a.link.neighbors.generation(), u64::from(NEWCOMERS_PER_S));
    assert_eq!(a.counters.read(Counter::NeighborRefused), u64::from(CONTROL_ANSWERS_PER_S - NEWCOMERS_PER_S));
    // Who is known is not held up by them.
    a.receive_bytes(&arp_bytes(1, PEER_MAC, (0x0a00_0100u32).to_be_bytes(), OUR_V4), at(5_001));
    assert_eq!(a.counters.read(Counter::NeighborRefused), u64::from(CONTROL_ANSWERS_PER_S - NEWCOMERS_PER_S));
}

#[test]
fn a_forged_claim_is_put_to_the_neighbor_and_a_takeover_is_found_out() {
    const OTHER: Mac = [2, 0, 0, 0, 0, 9];
    let kind = Kind::Advertisement { solicited: true, overrides: true };
    let message = Message { kind, source: PEER_V6, destination: OUR_V6, target: PEER_V6, mac: None };
    let advert = |mac| ethernet(0x86dd, &message.emit(mac));
    let reply = |mac| arp_bytes(2, mac, PEER_V4, OUR_V4);
    type Answer<'a> = &'a dyn Fn(Mac) -> Vec<u8>;
    let families: [(IpAddr, Vec<u8>, Answer<'_>); 2] = [
        (PEER_V4.into(), arp_bytes(1, PEER_MAC, PEER_V4, OUR_V4), &reply),
        (PEER_V6.into(), discovery(Kind::Solicitation, PEER_V6, OUR_V6, OUR_V6), &advert),
    ];
    for (peer, greeting, answer) in families {
        for answers in [true, false] {
            let pool = FramePool::new(8);
            let mut a = us(&pool);
            a.tick(at(0));
            a.receive_bytes(&greeting, at(4_500));
            a.sent();
            let mut asked = 0;
            a.receive_bytes(&answer(OTHER), at(5_000));
            for ms in (5_000..7_200).step_by(100) {
                a.tick(at(ms));
                for request in a.sent().iter().filter(|frame| frame[..6] == PEER_MAC) {
                    assert_eq!(request[6..12], OUR_MAC);
                    asked += 1;
                    if answers {
                        a.receive_bytes(&answer(PEER_MAC), at(ms));
                    }
                }
            }
            let events = [Counter::NeighborContested, Counter::NeighborUpheld, Counter::NeighborMoved];
            let (counts, owner, requests) = if answers { ([1, 1, 0], PEER_MAC, 1) } else { ([1, 0, 1], OTHER, 3) };
            assert_eq!(events.map(|event| a.counters.read(event)), counts, "{peer}");
            assert_eq!(asked, requests, "{peer}");
            assert_eq!(a.link.snapshot.lookup(peer), Some(owner), "{peer}");
            assert_eq!(pool.live(), 0);
        }
    }
}

#[test]
fn a_million_announcements_of_strangers_teach_nothing() {
    let pool = FramePool::new(8);
    let mut a = us(&pool);
    a.receive_bytes(&arp_bytes(1, PEER_MAC, PEER_V4, OUR_V4), at(0));
    a.sent();
    let generation = a.link.neighbors.generation();
    for i in 0..1_000_000u32 {
        let [_, x, y, z] = i.to_be_bytes();
        a.receive_bytes(&arp_bytes(1, [2, 9, 9, x, y, z], [10, 1 + x, y, z], [10, 1 + x, y, z]), at(1));
    }
    assert_eq!((a.link.neighbors.generation(), a.link.snapshot.len()), (generation, 1));
    assert_eq!((a.drops(), pool.live()), (vec![(Counter::DropArp, 1_000_000)], 0));
}

#[test]
fn a_chained_control_frame_is_dropped() {
    let pool = FramePool::new(8);
    let mut a = us(&pool);
    let mut frame = pool.frame(&echo(false, 8)).unwrap();
    frame.chain(b"more");
    a.receive(frame, at(0));
    assert_eq!((a.drops(), pool.live()), (vec![(Counter::DropChain, 1)], 0));
}

#[test]
fn mutated_control_frames_are_dropped_or_answered_and_never_leak() {
    let pool = FramePool::new(1024);
    let mut a = us(&pool);
    let seeds = [
        arp_bytes(1, PEER_MAC, PEER_V4, OUR_V4),
        arp_bytes(2, PEER_MAC, PEER_V4, OUR_V4),
        discovery(Kind::Solicitation, PEER_V6, OUR_V6, OUR_V6),
        detection(OUR_V6),
        echo(false, 20),
        echo(true, 20),
    ];
    let rounds = if cfg!(debug_assertions) { 50_000 } else { 500_000 };
    let mut random = 7u64;
    let mut next = |below: usize| {
        // SplitMix64.
        random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) as usize % below
    };
    let mut answered = 0;
    for round in 0..rounds {
        let mut bytes = seeds[next(seeds.len())].clone();
        for _ in 0..next(3) {
            let at = next(bytes.len());
            bytes[at] = next(256) as u8;
        }
        bytes.truncate(bytes.len() - if next(4) == 0 { next(bytes.len()) } else { 0 });
        let mut frame = pool.frame(&bytes).unwrap();
        // Past the checksum, so that what it protects is reached as well.
        frame.set_rx(RxMeta { ip_checksum: Checksum::Good, ..RxMeta::default() });
        let now = at(round as u64);
        a.receive(frame, now);
        a.tick(now);
        answered += a.sent().len();
    }
    assert!(answered > rounds / 20, "enough frames stay valid: {answered}");
    assert!(a.counters.read_metric("penstock_dropped_frames_total") > rounds as u64 / 20);
    assert_eq!(pool.live(), a.link.waiting.len());
}
