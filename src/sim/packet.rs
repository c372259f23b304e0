//! Frames read and judged by somebody other than the gateway.
//!
//! Owns a small Ethernet and IP reader, the Internet checksum and the rules every frame the gateway sends must keep.
//! Refuses to share code with `net`: two sides that share a belief cannot find each other wrong. TCP and IP checksums are
//! judged by smoltcp's `wire`, which the gateway does not use for them.

use crate::config::Config;
use crate::port::Caps;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use smoltcp::wire::{Icmpv4Packet, Icmpv6Packet, IpAddress, Ipv4Packet, Ipv6Packet, TcpPacket};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// The Ethernet broadcast address.
pub const BROADCAST: Mac = [0xff; 6];
/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of a VLAN tag (IEEE 802.1Q).
pub const VLAN: u16 = 0x8100;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// IP protocol numbers.
pub const TCP: u8 = 6;
/// ICMP in IPv4.
pub const ICMP: u8 = 1;
/// ICMP in IPv6.
pub const ICMPV6: u8 = 58;

/// An Ethernet header, read.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Ethernet {
    /// To whom.
    pub destination: Mac,
    /// From whom.
    pub source: Mac,
    /// The VLAN identifier of a tagged frame.
    pub vlan: Option<u16>,
    /// What follows, past a VLAN tag.
    pub ether_type: u16,
    /// Where it follows.
    pub payload: usize,
}

/// Reads an Ethernet header; None when the frame is shorter than it.
pub fn ethernet(frame: &[u8]) -> Option<Ethernet> {
    let mut destination = [0; 6];
    let mut source = [0; 6];
    destination.copy_from_slice(frame.get(..6)?);
    source.copy_from_slice(frame.get(6..12)?);
    let outer = word(frame, 12)?;
    if outer != VLAN {
        return Some(Ethernet { destination, source, vlan: None, ether_type: outer, payload: 14 });
    }
    let vlan = Some(word(frame, 14)? & 0xfff);
    Some(Ethernet { destination, source, vlan, ether_type: word(frame, 16)?, payload: 18 })
}

/// Wraps a packet, padded to Ethernet's least length.
pub fn wrap(destination: Mac, source: Mac, vlan: Option<u16>, ether_type: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(18 + packet.len().max(46));
    frame.extend_from_slice(&destination);
    frame.extend_from_slice(&source);
    if let Some(id) = vlan {
        frame.extend_from_slice(&VLAN.to_be_bytes());
        frame.extend_from_slice(&id.to_be_bytes());
    }
    frame.extend_from_slice(&ether_type.to_be_bytes());
    frame.extend_from_slice(packet);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// Where the IP header starts; None for other frames.
pub fn ip_offset(frame: &[u8]) -> Option<usize> {
    let header = ethernet(frame)?;
    (matches!(header.ether_type, IPV4 | IPV6) && frame.len() > header.payload).then_some(header.payload)
}

/// An IP packet inside a frame, read. Fragments and extension headers are not looked into.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Ip {
    /// From whom.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// What follows the header.
    pub protocol: u8,
    /// Where the IP header starts.
    pub l3: usize,
    /// Where it ends.
    pub l4: usize,
    /// Where the packet ends; padding may follow.
    pub end: usize,
}

/// Reads the IP packet of a frame; None when there is none or its lengths do not fit the frame.
pub fn ip(frame: &[u8]) -> Option<Ip> {
    let l3 = ip_offset(frame)?;
    let packet = &frame[l3..];
    let version = packet[0] >> 4;
    let (l4, end, protocol, source, destination) = match (version, ethernet(frame)?.ether_type) {
        (4, IPV4) => {
            let header = usize::from(packet[0] & 15) * 4;
            (header, word(packet, 2)?.into(), *packet.get(9)?, v4(packet, 12)?, v4(packet, 16)?)
        }
        (6, IPV6) => (40, 40 + usize::from(word(packet, 4)?), *packet.get(6)?, v6(packet, 8)?, v6(packet, 24)?),
        _ => return None,
    };
    (l4 <= end && end <= packet.len() && l4 >= 20).then_some(Ip {
        source,
        destination,
        protocol,
        l3,
        l4: l3 + l4,
        end: l3 + end,
    })
}

/// Source and destination port of a frame's TCP segment.
pub fn tcp_ports(frame: &[u8]) -> Option<(u16, u16)> {
    let packet = ip(frame).filter(|packet| packet.protocol == TCP)?;
    let segment = &frame[packet.l4..packet.end];
    Some((word(segment, 0)?, word(segment, 2)?))
}

/// A frame in one line, as tcpdump would put it.
pub fn summary(frame: &[u8]) -> String {
    let Some(packet) = ip(frame) else {
        return ethernet(frame).map_or("truncated".into(), |header| format!("EtherType {:#06x}", header.ether_type));
    };
    let (from, to, l4) = (packet.source, packet.destination, &frame[packet.l4..packet.end]);
    let Some(tcp) = TcpPacket::new_checked(l4).ok().filter(|_| packet.protocol == TCP) else {
        return format!("{from} > {to} protocol {} type {:?}", packet.protocol, l4.first());
    };
    let flags = [(tcp.syn(), 'S'), (tcp.fin(), 'F'), (tcp.rst(), 'R'), (tcp.psh(), 'P'), (tcp.ack(), '.')];
    let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect();
    let (source, destination) = (tcp.src_port(), tcp.dst_port());
    let (seq, ack, window, len) = (tcp.seq_number().0, tcp.ack_number().0, tcp.window_len(), tcp.payload().len());
    let damaged = if l4_checksum_good(frame, &packet) { "" } else { ", damaged" };
    format!(
        "{from}.{source} > {to}.{destination} [{flags}] seq {} ack {} win {window} length {len}{damaged}",
        seq as u32, ack as u32
    )
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn v4(packet: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
    Some(IpAddr::V4(Ipv4Addr::from(octets)))
}

fn v6(packet: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
    Some(IpAddr::V6(Ipv6Addr::from(octets)))
}

/// The ones' complement sum of RFC 1071, folded, not inverted.
pub fn ones_complement(bytes: &[u8], start: u32) -> u16 {
    let pairs = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u64 = pairs.map(u64::from).sum::<u64>() + u64::from(start);
    let folded = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let folded = (folded & 0xffff) + (folded >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

/// The sum of a pseudo-header (RFC 9293, 3.1; RFC 8200, 8.1) over a payload of `len` bytes.
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> u32 {
    let mut bytes = Vec::with_capacity(40);
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => bytes.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes.extend_from_slice(&address.octets()),
        }
    }
    bytes.extend_from_slice(&(len as u32).to_be_bytes());
    bytes.extend_from_slice(&u32::from(protocol).to_be_bytes());
    ones_complement(&bytes, 0).into()
}

/// Whether the IPv4 header's checksum is right; true for IPv6, which has none.
pub fn ip_checksum_good(frame: &[u8], packet: &Ip) -> bool {
    packet.source.is_ipv6() || ones_complement(&frame[packet.l3..packet.l4], 0) == 0xffff
}

/// Whether the checksum of a TCP segment or an ICMP or ICMPv6 message is right.
pub fn l4_checksum_good(frame: &[u8], packet: &Ip) -> bool {
    let len = packet.end - packet.l4;
    // ICMP for IPv4 has no pseudo-header (RFC 792).
    let covered = packet.protocol != ICMP;
    let start = if covered { pseudo_header(packet.source, packet.destination, packet.protocol, len) } else { 0 };
    ones_complement(&frame[packet.l4..packet.end], start) == 0xffff
}

/// An IP packet of `protocol` around `payload`, whose checksum field is at `sum_at`.
pub fn packet(source: IpAddr, destination: IpAddr, protocol: u8, mut payload: Vec<u8>, sum_at: usize) -> Vec<u8> {
    let start = if protocol == ICMP { 0 } else { pseudo_header(source, destination, protocol, payload.len()) };
    let sum = !ones_complement(&payload, start);
    payload[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    let len = payload.len() as u16;
    let mut header = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = (len + 20).to_be_bytes();
            let head = [0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
            let mut header = [&head[..], &source.octets(), &destination.octets()].concat();
            let sum = !ones_complement(&header, 0);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            header
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let len = len.to_be_bytes();
            let head = [0x60, 0, 0, 0, len[0], len[1], protocol, 64];
            [&head[..], &source.octets(), &destination.octets()].concat()
        }
        _ => unreachable!("both ends speak one family"),
    };
    header.extend(payload);
    header
}

/// What a router at `ip` says of a frame of the gateway's whose packet is larger than `mtu` (RFC 792 and 1191; RFC 4443,
/// 3.2).
pub fn too_big(frame: &[u8], gateway: &Identity, mac: Mac, router: IpAddr, mtu: usize) -> Option<Vec<u8>> {
    let Ip { source, l3, l4, end, .. } = ip(frame)?;
    let (head, protocol, quoted, ether_type) = match source {
        IpAddr::V4(_) => ([3, 4], ICMP, l4 + 8, IPV4),
        IpAddr::V6(_) => ([2, 0], ICMPV6, end.min(l3 + 1232), IPV6),
    };
    let message = [&head[..], &[0, 0], &(mtu as u32).to_be_bytes(), &frame[l3..quoted.min(end)]].concat();
    Some(wrap(gateway.mac, mac, gateway.vlan, ether_type, &packet(router, source, protocol, message, 2)))
}

/// A SYN with an MSS option (RFC 9293, 3.1).
pub fn syn(source: (IpAddr, u16), destination: (IpAddr, u16), seq: u32) -> Vec<u8> {
    let mut segment = Vec::with_capacity(24);
    segment.extend_from_slice(&source.1.to_be_bytes());
    segment.extend_from_slice(&destination.1.to_be_bytes());
    segment.extend_from_slice(&seq.to_be_bytes());
    segment.extend_from_slice(&[0, 0, 0, 0, 0x60, 0x02, 0x20, 0, 0, 0, 0, 0, 2, 4, 0x05, 0xb4]);
    packet(source.0, destination.0, TCP, segment, 16)
}

/// An echo request (RFC 792; RFC 4443, 4.1).
pub fn echo_request(source: IpAddr, destination: IpAddr, sequence: u16, data: &[u8]) -> Vec<u8> {
    let (kind, protocol) = if source.is_ipv4() { (8, ICMP) } else { (128, ICMPV6) };
    let [high, low] = sequence.to_be_bytes();
    packet(source, destination, protocol, [&[kind, 0, 0, 0, 0, 7, high, low], data].concat(), 2)
}

/// Sequence number and data of an echo reply.
pub fn echo_reply(frame: &[u8]) -> Option<(u16, &[u8])> {
    let packet = ip(frame).filter(|packet| l4_checksum_good(frame, packet))?;
    let message = &frame[packet.l4..packet.end];
    let reply = matches!((packet.protocol, message.first()?), (ICMP, 0) | (ICMPV6, 129));
    if reply { Some((word(message, 6)?, message.get(8..)?)) } else { None }
}

/// Who the gateway is: what its frames are judged by.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The VLAN of its frames.
    pub vlan: Option<u16>,
    /// Its largest IP packet.
    pub mtu: usize,
}

impl Identity {
    /// Who a machine with this configuration and device is.
    pub fn of(config: &Config, caps: &Caps) -> Identity {
        Identity {
            mac: caps.mac,
            addresses: config.port.addresses.iter().map(|cidr| cidr.address).collect(),
            vlan: config.port.vlan,
            mtu: caps.mtu.into(),
        }
    }
}

/// Judges a frame that the gateway put on the wire, before anything can have happened to it.
pub fn judge(frame: &[u8], gateway: &Identity) -> Result<(), String> {
    let header = ethernet(frame).ok_or("shorter than an Ethernet header")?;
    if header.source != gateway.mac {
        return Err(format!("source address {:02x?} is not the device's", header.source));
    }
    if header.vlan != gateway.vlan {
        return Err(format!("VLAN {:?} instead of {:?}", header.vlan, gateway.vlan));
    }
    if frame.len() - header.payload > gateway.mtu.max(46) {
        return Err(format!("{} bytes exceed the MTU", frame.len() - header.payload));
    }
    match header.ether_type {
        ARP => Ok(()),
        IPV4 | IPV6 => {
            let packet = ip(frame).ok_or("inconsistent IP lengths")?;
            if !owns(gateway, packet.source) {
                return Err(format!("source {} is not ours", packet.source));
            }
            match packet.source {
                IpAddr::V4(_) => judge_v4(&frame[packet.l3..packet.end]),
                IpAddr::V6(_) => judge_v6(&frame[packet.l3..packet.end]),
            }
        }
        other => Err(format!("EtherType {other:#06x}")),
    }
}

/// Whether the gateway may speak for an address: its own, or a link-local one it made.
pub fn owns(gateway: &Identity, address: IpAddr) -> bool {
    let link_local = matches!(address, IpAddr::V6(address) if address.segments()[0] == 0xfe80);
    link_local || gateway.addresses.contains(&address)
}

fn judge_v4(bytes: &[u8]) -> Result<(), String> {
    let packet = Ipv4Packet::new_checked(bytes).map_err(|_| "malformed IPv4 header")?;
    if !packet.verify_checksum() {
        return Err("wrong IPv4 header checksum".into());
    }
    if packet.hop_limit() == 0 || packet.more_frags() || packet.frag_offset() > 0 {
        return Err("TTL 0 or a fragment".into());
    }
    let (from, to) = (IpAddress::Ipv4(packet.src_addr()), IpAddress::Ipv4(packet.dst_addr()));
    match u8::from(packet.next_header()) {
        TCP => judge_tcp(packet.payload(), from, to),
        ICMP => match Icmpv4Packet::new_checked(packet.payload()) {
            Ok(message) if message.verify_checksum() => Ok(()),
            _ => Err("malformed ICMP message".into()),
        },
        other => Err(format!("IP protocol {other}")),
    }
}

fn judge_v6(bytes: &[u8]) -> Result<(), String> {
    let packet = Ipv6Packet::new_checked(bytes).map_err(|_| "malformed IPv6 header")?;
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    match u8::from(packet.next_header()) {
        TCP => judge_tcp(packet.payload(), IpAddress::Ipv6(from), IpAddress::Ipv6(to)),
        ICMPV6 => match Icmpv6Packet::new_checked(packet.payload()) {
            Ok(message) if !message.verify_checksum(&from, &to) => Err("wrong ICMPv6 checksum".into()),
            // RFC 4861, 7.1.1 and 7.1.2: a receiver discards neighbour discovery with another hop limit.
            Ok(message) if message.msg_type().is_ndisc() && packet.hop_limit() != 255 => {
                Err("neighbour discovery with a hop limit other than 255".into())
            }
            Ok(_) => Ok(()),
            Err(_) => Err("malformed ICMPv6 message".into()),
        },
        other => Err(format!("next header {other}")),
    }
}

fn judge_tcp(bytes: &[u8], from: IpAddress, to: IpAddress) -> Result<(), String> {
    let segment = TcpPacket::new_checked(bytes).map_err(|_| "malformed TCP header")?;
    if !segment.verify_checksum(&from, &to) {
        return Err("wrong TCP checksum".into());
    }
    if segment.rst() && (segment.syn() || segment.fin()) || segment.syn() && segment.fin() {
        return Err("contradictory TCP flags".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { mac: [2, 0, 0, 0, 0, 1], addresses: vec!["10.0.0.1".parse().unwrap()], vlan: None, mtu: 1500 }
    }

    /// An ICMP echo reply, wrapped.
    fn echo() -> Vec<u8> {
        let (from, to) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let reply = packet(from, to, ICMP, vec![0, 0, 0, 0, 0, 7, 0, 9], 2);
        wrap([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1], None, IPV4, &reply)
    }

    #[test]
    fn a_good_frame_passes_and_every_flipped_header_bit_is_noticed() {
        let good = echo();
        assert_eq!(judge(&good, &identity()), Ok(()));
        // All but the Ethernet destination and the padding.
        for bit in 6 * 8..(14 + 28) * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 0x80 >> (bit % 8);
            assert!(judge(&bad, &identity()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn ones_complement_follows_rfc_1071() {
        // The example of RFC 1071, 3.
        assert_eq!(ones_complement(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], 0), 0xddf2);
        assert_eq!(ones_complement(&[0xff], 0), 0xff00);
        assert_eq!(ones_complement(&[0xff; 4], 0), 0xffff);
    }

    #[test]
    fn what_is_built_passes_the_judge_and_is_read_back() {
        for (from, to) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let gateway = Identity { addresses: vec![from], ..identity() };
            let ether_type = if from.is_ipv4() { IPV4 } else { IPV6 };
            for packet in [syn((from, 1), (to, 2), 3), echo_request(from, to, 9, b"data")] {
                assert_eq!(judge(&wrap([2; 6], gateway.mac, None, ether_type, &packet), &gateway), Ok(()));
            }
            let frame = wrap([2; 6], gateway.mac, None, ether_type, &syn((from, 1), (to, 2), 3));
            assert_eq!(tcp_ports(&frame), Some((1, 2)));
        }
        assert_eq!(echo_reply(&echo()), Some((9, &b""[..])));
    }

    #[test]
    fn readers_refuse_truncated_frames() {
        let good = echo();
        assert_eq!(ip(&good).map(|packet| (packet.l3, packet.l4, packet.end)), Some((14, 34, 42)));
        for len in 0..42 {
            assert_eq!(ip(&good[..len]), None, "{len}");
        }
        let tagged = wrap([0; 6], [0; 6], Some(7), IPV4, &good[14..]);
        assert_eq!(ip(&tagged).map(|packet| packet.l3), Some(18));
    }
}
