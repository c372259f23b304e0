//! One frame, classified.
//!
//! Owns the comparison with the simulator's reader, which shares no code with `net`. Refuses connections: `worker` has.

use penstock::net::ip::{Class, Host, Segment, finish};
use penstock::port::{Caps, Checksum, RxMeta};
use penstock::sim::packet;

const MAC: packet::Mac = [2, 0, 0, 0, 0, 2];

/// Any bytes as a frame; the first byte says in which VLAN we are, and what the device said.
pub fn classify(input: &[u8]) {
    let Some((&how, frame)) = input.split_first() else { return };
    let mut frame = frame.to_vec();
    let vlan = (how & 1 != 0).then_some(5);
    let mut host = Host::new(MAC, vlan);
    ["10.7.0.2", "fd00:7::2", "fe80::2"].iter().for_each(|own| host.add(own.parse().expect("an address")));
    let sums = match how >> 1 & 3 {
        0 => Checksum::Unknown,
        1 => Checksum::Bad,
        _ => Checksum::Good,
    };
    if how & 8 != 0 {
        finished(&mut frame, if vlan.is_some() { 18 } else { 14 });
    }
    let rx = RxMeta { ip_checksum: sums, l4_checksum: sums, hash: None, vlan: (how & 16 != 0).then_some(5) };
    match host.classify(&frame, rx) {
        Class::Tcp(segment) => segment_is_there(&mut frame, segment, sums),
        Class::Control => assert!(frame.len() >= 14),
        Class::Drop(counter) => assert_eq!(counter.describe().0, "penstock_dropped_frames_total"),
    }
}

/// Checksums that we fill in are right to the other reader.
fn finished(frame: &mut [u8], l2: usize) {
    finish(frame, l2, &Caps::default());
    if let Some(ip) = packet::ip(frame).filter(|ip| ip.l3 == l2 && ip.protocol == packet::TCP) {
        let plain = ip.l4 - ip.l3 == if ip.source.is_ipv4() { 20 } else { 40 };
        let whole = ip.end == frame.len() && ip.end - ip.l4 >= 20;
        assert!(!(plain && whole) || packet::ip_checksum_good(frame, &ip) && packet::l4_checksum_good(frame, &ip));
    }
}

/// The other reader sees the same segment, once extension headers are gone.
fn segment_is_there(frame: &mut [u8], mut segment: Segment, sums: Checksum) {
    let (l3, l4, end) = (usize::from(segment.l3), usize::from(segment.l4), usize::from(segment.end));
    assert!(l3 < l4 && l4 + 20 + usize::from(segment.payload_len) <= end && end <= frame.len());
    segment.strip_extensions(frame);
    let ether_type = if segment.ipv6 { packet::IPV6 } else { packet::IPV4 };
    let bytes = packet::wrap(MAC, MAC, None, ether_type, &frame[usize::from(segment.l3)..end]);
    let ip = packet::ip(&bytes).expect("an IP packet");
    assert_eq!((ip.source, ip.destination), (segment.key.remote_ip(), segment.key.local_ip()));
    assert_eq!(packet::tcp_ports(&bytes), Some((segment.key.remote_port, segment.key.local_port)));
    assert_eq!(end - l4, ip.end - ip.l4);
    if sums == Checksum::Unknown {
        assert!(packet::ip_checksum_good(&bytes, &ip) && packet::l4_checksum_good(&bytes, &ip));
    }
    assert!(sums != Checksum::Bad, "the device called it damaged");
}
