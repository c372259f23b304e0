//! Frames for tests, built byte by byte so that every field can be made wrong.

use crate::net::checksum::Sum;

pub(crate) const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(crate) const OUR_V4: [u8; 4] = [10, 0, 0, 1];
pub(crate) const PEER_V4: [u8; 4] = [10, 0, 0, 2];
pub(crate) const OUR_V6: [u8; 16] = v6(1);
pub(crate) const PEER_V6: [u8; 16] = v6(2);

/// 2001:db8::`last`.
pub(crate) const fn v6(last: u8) -> [u8; 16] {
    [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

/// Ethernet from the peer to us.
pub(crate) fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&OUR_MAC[..], &PEER_MAC, &ethertype.to_be_bytes(), payload].concat()
}

/// As `ethernet`, with an 802.1Q tag.
pub(crate) fn tagged(tci: u16, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    ethernet(0x8100, &[&tci.to_be_bytes()[..], &ethertype.to_be_bytes(), payload].concat())
}

/// An IPv4 packet from the peer to us with `options` (a multiple of four bytes) and a right header checksum.
pub(crate) fn ipv4(protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let total = (header_len + payload.len()) as u16;
    let mut packet = vec![0x40 | (header_len / 4) as u8, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend(PEER_V4);
    packet.extend(OUR_V4);
    packet.extend(options);
    packet.extend(payload);
    fix_ipv4(&mut packet);
    packet
}

/// Makes an IPv4 header's checksum right again.
pub(crate) fn fix_ipv4(packet: &mut [u8]) {
    let header_len = usize::from(packet[0] & 15) * 4;
    packet[10..12].fill(0);
    let checksum = Sum::of(&packet[..header_len]).checksum();
    packet[10..12].copy_from_slice(&checksum);
}

/// An IPv6 packet from the peer to us; `payload` starts with `next_header`.
pub(crate) fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next_header, 255]);
    packet.extend(PEER_V6);
    packet.extend(OUR_V6);
    packet.extend(payload);
    packet
}

/// A TCP segment from port 40000 to 80 without a checksum.
pub(crate) fn tcp(flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0x9c, 0x40, 0, 80, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, flags, 0x10, 0, 0, 0, 0, 0];
    segment.extend(payload);
    segment
}

/// A complete TCP over IPv4 frame, as the far side's `finish` leaves it.
pub(crate) fn tcp_v4(flags: u8, payload: &[u8]) -> Vec<u8> {
    finished(ethernet(0x0800, &ipv4(6, &[], &tcp(flags, payload))))
}

/// A complete TCP over IPv6 frame.
pub(crate) fn tcp_v6(flags: u8, payload: &[u8]) -> Vec<u8> {
    finished(ethernet(0x86dd, &ipv6(6, &tcp(flags, payload))))
}

/// The frame with its checksums filled in by software.
pub(crate) fn finished(mut frame: Vec<u8>) -> Vec<u8> {
    let meta = super::finish(&mut frame, 14, &crate::port::Caps::default());
    assert_eq!(meta, crate::port::TxMeta::default());
    frame
}
