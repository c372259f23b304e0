//! Classification and finishing: each reason to drop, arbitrary bytes, checksums against a naive sum.

use super::frames::tcp;
use super::frames::*;
use super::*;
use crate::limits::CHAIN_MAX;
use crate::sim::port::FramePool;
use proptest::prelude::*;

const GOOD: RxMeta = RxMeta { ip_checksum: Checksum::Good, l4_checksum: Checksum::Good, hash: None, vlan: None };

fn host(vlan: Option<u16>) -> Host {
    let mut host = Host::new(OUR_MAC, vlan);
    host.add(core::net::IpAddr::from(OUR_V4));
    host.add(core::net::IpAddr::from(OUR_V6));
    host
}

fn classify(frame: &[u8]) -> Class {
    host(None).classify(frame, RxMeta::default())
}

fn segment(class: Class) -> Segment {
    match class {
        Class::Tcp(segment) => segment,
        other => panic!("{other:?} instead of a segment"),
    }
}

/// A frame after `change` to its bytes.
fn with(mut frame: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut frame);
    frame
}

/// A TCP over IPv4 frame with `change` made to the IP packet and its header checksum made right.
fn with_ipv4(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut packet = ipv4(6, &[], &tcp(16, b"data"));
    change(&mut packet);
    if packet.len() >= 20 && packet[0] & 15 >= 5 {
        fix_ipv4(&mut packet);
    }
    ethernet(0x0800, &packet)
}

fn with_ipv6(next_header: u8, extensions: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut packet = ipv6(next_header, &[extensions, &tcp(16, b"data")].concat());
    change(&mut packet);
    ethernet(0x86dd, &packet)
}

#[test]
fn a_segment_is_described() {
    let got = segment(classify(&tcp_v4(24, b"hello")));
    let key = FlowKey::v4(PEER_V4, OUR_V4, 40000, 80);
    let want =
        Segment { key, seq: 7, ack: 9, l3: 14, l4: 34, end: 59, payload_len: 5, window: 4096, flags: 24, ipv6: false };
    assert_eq!(got, want);
    let got = segment(classify(&tcp_v6(24, b"hello")));
    let key = FlowKey::v6(PEER_V6, OUR_V6, 40000, 80);
    assert_eq!(got, Segment { key, l4: 54, end: 79, ipv6: true, ..want });
}

#[test]
fn ethernet_padding_is_not_payload() {
    let padded = with(tcp_v4(16, b""), |f| f.resize(60, 0xee));
    let got = segment(classify(&padded));
    assert_eq!((got.end, got.payload_len), (54, 0));
}

#[test]
fn every_reason_to_drop_ethernet_and_ipv4_has_its_counter() {
    use Counter::*;
    let arp = ethernet(0x0806, &[0; 28]);
    let cases: Vec<(&str, Counter, Vec<u8>)> = vec![
        ("empty", DropRunt, vec![]),
        ("13 bytes", DropRunt, arp[..13].to_vec()),
        ("tag cut off", DropRunt, tagged(5, 0x0800, &[])[..17].to_vec()),
        ("IPv4 header cut off", DropRunt, tcp_v4(16, b"")[..33].to_vec()),
        ("IPv6 header cut off", DropRunt, tcp_v6(16, b"")[..53].to_vec()),
        ("another MAC", DropNotForUs, with(tcp_v4(16, b""), |f| f[5] = 9)),
        ("a multicast MAC nobody joined", DropNotForUs, with(arp, |f| f[..6].copy_from_slice(&[1, 0, 0x5e, 0, 0, 1]))),
        ("broadcast TCP", DropNotForUs, with(tcp_v4(16, b""), |f| f[..6].fill(0xff))),
        ("LLDP", DropEtherType, ethernet(0x88cc, &[0; 46])),
        ("802.3 length", DropEtherType, ethernet(46, &[0; 46])),
        ("tag on an untagged port", DropVlan, tagged(5, 0x0800, &[0; 46])),
        ("two tags", DropVlan, tagged(0, 0x8100, &[0; 46])),
        ("IPv4 version", DropIpHeader, with_ipv4(|p| p[0] = 0x55)),
        ("IHL 4", DropIpHeader, with_ipv4(|p| p[0] = 0x44)),
        ("total under header", DropIpHeader, with_ipv4(|p| p[2..4].copy_from_slice(&[0, 19]))),
        ("total over frame", DropIpHeader, with_ipv4(|p| p[3] += 1)),
        ("source multicast", DropIpHeader, with_ipv4(|p| p[12] = 224)),
        ("source broadcast", DropIpHeader, with_ipv4(|p| p[12..16].fill(255))),
        ("source unspecified", DropIpHeader, with_ipv4(|p| p[12..16].fill(0))),
        ("source loopback", DropIpHeader, with_ipv4(|p| p[12] = 127)),
        ("source ours", DropIpHeader, with_ipv4(|p| p[12..16].copy_from_slice(&OUR_V4))),
        ("header checksum", DropIpChecksum, with(tcp_v4(16, b""), |f| f[22] ^= 1)),
        ("another IPv4", DropNotForUs, with_ipv4(|p| p[19] = 9)),
        ("more fragments", DropFragment, with_ipv4(|p| p[6] = 0x20)),
        ("last fragment", DropFragment, with_ipv4(|p| p[7] = 1)),
        ("fragment over the flags (RFC 1858, 4)", DropFragment, with_ipv4(|p| (p[6], p[7]) = (0x20, 1))),
        (
            "fragment without flags (RFC 1858, 3)",
            DropFragment,
            with_ipv4(|p| {
                p.truncate(28);
                (p[3], p[6]) = (28, 0x20);
            }),
        ),
        ("UDP", DropProtocol, with_ipv4(|p| p[9] = 17)),
        ("ICMPv6 in IPv4", DropProtocol, with_ipv4(|p| p[9] = 58)),
    ];
    for (name, counter, frame) in cases {
        assert_eq!(classify(&frame), Class::Drop(counter), "{name}");
    }
}

#[test]
fn every_reason_to_drop_ipv6_and_tcp_has_its_counter() {
    use Counter::*;
    let cases: Vec<(&str, Counter, Vec<u8>)> = vec![
        ("IPv6 version", DropIpHeader, with_ipv6(6, &[], |p| p[0] = 0x40)),
        ("payload over frame", DropIpHeader, with_ipv6(6, &[], |p| p[5] += 1)),
        ("v6 source multicast", DropIpHeader, with_ipv6(6, &[], |p| p[8] = 0xff)),
        ("v6 source unspecified", DropIpHeader, with_ipv6(6, &[], |p| p[8..24].fill(0))),
        (
            "v6 source loopback",
            DropIpHeader,
            with_ipv6(6, &[], |p| {
                p[8..23].fill(0);
                p[23] = 1
            }),
        ),
        (
            "v6 source mapped",
            DropIpHeader,
            with_ipv6(6, &[], |p| {
                p[8..18].fill(0);
                p[18..20].fill(255)
            }),
        ),
        ("v6 source ours", DropIpHeader, with_ipv6(6, &[], |p| p[8..24].copy_from_slice(&OUR_V6))),
        ("another IPv6", DropNotForUs, with_ipv6(6, &[], |p| p[39] = 9)),
        ("TCP to all nodes", DropNotForUs, with_ipv6(6, &[], |p| p[24..40].copy_from_slice(&ALL_NODES))),
        ("UDP over IPv6", DropProtocol, with_ipv6(17, &[], |_| ())),
        ("no next header", DropProtocol, with_ipv6(59, &[], |_| ())),
        ("ports 0", DropTcpHeader, with(tcp_v4(16, b""), |f| f[34..36].fill(0))),
        ("port 0", DropTcpHeader, with(tcp_v4(16, b""), |f| f[36..38].fill(0))),
        ("data offset 4", DropTcpHeader, with(tcp_v4(16, b""), |f| f[46] = 0x40)),
        ("data offset over segment", DropTcpHeader, with(tcp_v4(16, b""), |f| f[46] = 0x60)),
        ("TCP header cut off", DropTcpHeader, ethernet(0x0800, &ipv4(6, &[], &[1; 19]))),
        ("null", DropTcpHeader, tcp_v4(0, b"")),
        ("SYN and FIN", DropTcpHeader, tcp_v4(3, b"")),
        ("SYN and RST", DropTcpHeader, tcp_v6(6, b"")),
        ("TCP checksum", DropTcpChecksum, with(tcp_v4(16, b"abc"), |f| f[56] ^= 1)),
        ("TCP checksum over IPv6", DropTcpChecksum, with(tcp_v6(16, b"abc"), |f| f[76] ^= 1)),
    ];
    for (name, counter, frame) in cases {
        assert_eq!(classify(&frame), Class::Drop(counter), "{name}");
    }
}

#[test]
fn ipv4_options() {
    let cases: &[(&str, &[u8], Option<Counter>)] = &[
        ("no operation", &[1, 1, 1, 0], None),
        ("end hides the rest", &[0, 131, 131, 131], None),
        ("router alert", &[148, 4, 0, 0], None),
        ("loose source route", &[1, 131, 3, 4], Some(Counter::DropIpOptions)),
        ("strict source route", &[137, 3, 4, 0], Some(Counter::DropIpOptions)),
        ("length 1", &[7, 1, 0, 0], Some(Counter::DropIpHeader)),
        ("length over header", &[7, 5, 0, 0], Some(Counter::DropIpHeader)),
        ("length cut off", &[1, 1, 1, 7], Some(Counter::DropIpHeader)),
    ];
    for (name, options, drop) in cases {
        let frame = finished(ethernet(0x0800, &ipv4(6, options, &tcp(16, b"data"))));
        match drop {
            Some(counter) => assert_eq!(classify(&frame), Class::Drop(*counter), "{name}"),
            None => assert_eq!(segment(classify(&frame)).l4, 38, "{name}"),
        }
    }
}

#[test]
fn ipv6_extension_headers() {
    let pad = [6, 0, 1, 4, 0, 0, 0, 0];
    let chain = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let long = [chain(60), chain(60), chain(60), chain(60), pad].concat();
    let cases: &[(&str, u8, &[u8], Counter)] = &[
        ("routing", 43, &[6, 0, 0, 0, 0, 0, 0, 0], Counter::DropIpOptions),
        ("fragment", 44, &[6, 0, 0, 1, 0, 0, 0, 0], Counter::DropFragment),
        ("fragment behind options", 60, &[44, 0, 1, 4, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0], Counter::DropFragment),
        ("late hop-by-hop", 60, &[0, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0], Counter::DropIpOptions),
        ("option that discards", 0, &[6, 0, 0x85, 4, 0, 0, 0, 0], Counter::DropIpOptions),
        ("option over header", 0, &[6, 0, 1, 5, 0, 0, 0, 0], Counter::DropIpHeader),
        ("header over packet", 60, &[6, 9, 1, 4, 0, 0, 0, 0], Counter::DropIpHeader),
        ("five headers", 60, &long, Counter::DropIpOptions),
    ];
    for (name, first, extensions, counter) in cases {
        let frame = with_ipv6(*first, extensions, |_| ());
        assert_eq!(host(None).classify(&frame, GOOD), Class::Drop(*counter), "{name}");
    }
    for first in [0, 60] {
        let frame = with_ipv6(first, &pad, |_| ());
        assert_eq!(segment(host(None).classify(&frame, GOOD)).l4, 62);
    }
}

#[test]
fn stripped_extensions_leave_plain_tcp() {
    let mut frame = with_ipv6(60, &[6, 0, 1, 4, 0, 0, 0, 0], |_| ());
    let mut got = segment(host(None).classify(&frame, GOOD));
    got.strip_extensions(&mut frame);
    let plain = ipv6(6, &tcp(16, b"data"));
    assert_eq!(frame[usize::from(got.l3)..usize::from(got.end)], plain[..]);
    let again = got;
    got.strip_extensions(&mut frame);
    assert_eq!(got, again, "nothing left to strip");
}

#[test]
fn device_checksum_results_are_used() {
    let broken_ip = with(tcp_v4(16, b""), |f| f[24] ^= 1);
    let broken_tcp = with(tcp_v4(16, b"abc"), |f| f[56] ^= 1);
    let right = tcp_v4(16, b"abc");
    assert!(matches!(host(None).classify(&broken_ip, GOOD), Class::Tcp(_)));
    assert!(matches!(host(None).classify(&broken_tcp, GOOD), Class::Tcp(_)));
    let bad = RxMeta { ip_checksum: Checksum::Bad, ..GOOD };
    assert_eq!(host(None).classify(&right, bad), Class::Drop(Counter::DropIpChecksum));
    let bad = RxMeta { l4_checksum: Checksum::Bad, ..GOOD };
    assert_eq!(host(None).classify(&right, bad), Class::Drop(Counter::DropTcpChecksum));
}

#[test]
fn vlan_tags_in_frame_and_stripped() {
    let packet = tcp_v4(16, b"abc")[14..].to_vec();
    let plain = ethernet(0x0800, &packet);
    let stripped = |tci| RxMeta { vlan: Some(tci), ..RxMeta::default() };
    let none = RxMeta::default();
    // Priority bits of a tag do not matter; identifier 0 means untagged.
    let cases = [
        ("untagged", None, &plain, none, Some(14)),
        ("priority tag", None, &tagged(0xe000, 0x0800, &packet), none, Some(18)),
        ("stripped priority tag", None, &plain, stripped(0xe000), Some(14)),
        ("stripped tag, untagged port", None, &plain, stripped(7), None),
        ("own tag", Some(7), &tagged(0x6007, 0x0800, &packet), none, Some(18)),
        ("own tag stripped", Some(7), &plain, stripped(0x6007), Some(14)),
        ("other tag", Some(7), &tagged(8, 0x0800, &packet), none, None),
        ("other tag stripped", Some(7), &plain, stripped(8), None),
        ("no tag", Some(7), &plain, none, None),
        ("second tag behind a stripped one", Some(7), &tagged(9, 0x0800, &packet), stripped(7), None),
    ];
    for (name, vlan, frame, rx, l3) in cases {
        match (host(vlan).classify(frame, rx), l3) {
            (Class::Tcp(segment), Some(l3)) => assert_eq!(segment.l3, l3, "{name}"),
            (Class::Drop(Counter::DropVlan), None) => {}
            (other, _) => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn control_frames_are_told_apart() {
    let echo = |protocol| ipv4(protocol, &[], &[8, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(classify(&ethernet(0x0806, &[0; 28])), Class::Control);
    assert_eq!(classify(&ethernet(0x0800, &echo(1))), Class::Control);
    assert_eq!(classify(&ethernet(0x86dd, &ipv6(58, &[135; 24]))), Class::Control);
    for group in [ALL_NODES, solicited_node(&OUR_V6)] {
        let frame = with_ipv6(58, &[], |p| p[24..40].copy_from_slice(&group));
        let frame = with(frame, |f| f[..6].copy_from_slice(&[0x33, 0x33, group[12], group[13], group[14], group[15]]));
        assert_eq!(classify(&frame), Class::Control, "{group:?}");
    }
}

#[test]
fn a_ttl_of_zero_is_received() {
    let frame = finished(with_ipv4(|p| p[8] = 0));
    assert!(matches!(classify(&frame), Class::Tcp(_)));
}

#[test]
fn finishing_in_hardware_leaves_the_pseudo_header_sum() {
    let caps = Caps { tx_ip_checksum: true, tx_tcp_checksum: true, ..Caps::default() };
    let mut frame = ethernet(0x0800, &ipv4(6, &[], &tcp(16, b"abc")));
    let meta = finish(&mut frame, 14, &caps);
    let want =
        TxMeta { l2_len: 14, l3_len: 20, l4_len: 20, ip_checksum: true, tcp_checksum: true, ..TxMeta::default() };
    assert_eq!(meta, want);
    assert_eq!(frame[24..26], [0, 0]);
    assert_eq!(frame[50..52], Sum::pseudo_v4(PEER_V4, OUR_V4, 6, 23).folded());
    // The device adds the segment and inverts: the result is what software writes.
    let device = Sum::of(&frame[34..]).checksum();
    assert_eq!(device, tcp_v4(16, b"abc")[50..52]);

    let mut frame = ethernet(0x86dd, &ipv6(6, &tcp(16, b"abc")));
    let meta = finish(&mut frame, 14, &caps);
    assert_eq!(meta, TxMeta { l3_len: 40, ipv6: true, ip_checksum: false, ..want });
    assert_eq!(Sum::of(&frame[54..]).checksum(), tcp_v6(16, b"abc")[70..72]);
}

#[test]
fn finishing_anything_else_touches_no_transport_header() {
    let caps = Caps::default();
    for frame in [vec![], ethernet(0x0800, &[0x4f; 20]), ethernet(0x0800, &[0x45; 5]), ethernet(0x86dd, &[0x60; 39])] {
        let mut finished = frame.clone();
        assert_eq!(finish(&mut finished, 14, &caps), TxMeta::default());
        assert_eq!(finished, frame);
    }
    let icmp = ethernet(0x0800, &ipv4(1, &[], &[8; 24]));
    assert_eq!(finished(icmp.clone()), icmp);
}

#[test]
fn chained_frames_are_linearised_within_the_limit() {
    let pool = FramePool::new(1);
    let mut out = [0; CHAIN_MAX];
    let mut frame = pool.frame(b"ab").unwrap();
    frame.chain(b"cde");
    assert_eq!(linearize(&frame, &mut out), Some(5));
    assert_eq!(&out[..5], b"abcde");
    frame.chain(&[0; CHAIN_MAX - 5]);
    assert_eq!(linearize(&frame, &mut out), Some(CHAIN_MAX));
    frame.chain(&[0]);
    assert_eq!(linearize(&frame, &mut out), None);
}

/// What callers rely on without checking.
fn assert_consistent(bytes: &[u8], class: Class) {
    if let Class::Tcp(s) = class {
        let (l3, l4, end) = (usize::from(s.l3), usize::from(s.l4), usize::from(s.end));
        assert!(l3 + 20 <= l4 && l4 + 20 <= end && end <= bytes.len());
        assert!(usize::from(s.payload_len) + 20 <= end - l4);
        assert!(s.key.remote_port != 0 && s.key.local_port != 0);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_classified(bytes in proptest::collection::vec(any::<u8>(), 0..200), good: bool) {
        let rx = if good { GOOD } else { RxMeta::default() };
        assert_consistent(&bytes, host(None).classify(&bytes, rx));
        let mut bytes = bytes;
        finish(&mut bytes, 14, &Caps::default());
    }

    #[test]
    fn finished_segments_are_accepted(flags in 16u8..64, payload in proptest::collection::vec(any::<u8>(), 0..1460), v6: bool) {
        prop_assume!(INVALID_FLAGS >> flags & 1 == 0);
        let frame = if v6 { tcp_v6(flags, &payload) } else { tcp_v4(flags, &payload) };
        prop_assert_eq!(usize::from(segment(classify(&frame)).payload_len), payload.len());
    }
}

#[test]
fn mutated_frames_never_break_what_callers_rely_on() {
    let seeds = [
        tcp_v4(24, b"GET / HTTP/1.1\r\n\r\n"),
        tcp_v6(24, b"GET / HTTP/1.1\r\n\r\n"),
        ethernet(0x0800, &ipv4(6, &[148, 4, 0, 0, 1, 1, 1, 0], &tcp(2, b""))),
        with_ipv6(0, &[60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0], |_| ()),
        tagged(0, 0x0800, &ipv4(6, &[], &tcp(17, b"x"))),
    ];
    let host = host(None);
    let rounds = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let (mut random, mut accepted) = (1u64, 0);
    let mut next = |below: usize| {
        // SplitMix64.
        random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) as usize % below
    };
    for _ in 0..rounds {
        let mut frame = seeds[next(seeds.len())].clone();
        for _ in 0..=next(3) {
            // Half the changes hit the headers' first bytes, where lengths and types are.
            let at = if next(2) == 0 { next(24) + 12 } else { next(frame.len()) };
            frame[at] = next(256) as u8;
        }
        if next(8) == 0 {
            frame.truncate(next(frame.len()));
        }
        let class = host.classify(&frame, GOOD);
        assert_consistent(&frame, class);
        if let Class::Tcp(mut segment) = class {
            accepted += 1;
            segment.strip_extensions(&mut frame);
            assert_consistent(&frame, Class::Tcp(segment));
        }
        finish(&mut frame, 14, &Caps::default());
    }
    assert!(accepted > rounds / 100, "the mutations leave enough frames valid: {accepted}");
}
