//! What a received frame is, and the checksums of a frame to send.
//!
//! Owns the validation of Ethernet, IPv4, IPv6 and TCP headers on the hot path. Refuses to reassemble fragments, to follow
//! source routes and to answer: it says what a frame is, or which counter its drop belongs to.

mod extension;
#[cfg(test)]
pub(crate) mod frames;
#[cfg(test)]
mod tests;

use crate::limits::{ADDRESSES_MAX, CHAIN_MAX};
use crate::net::checksum::Sum;
use crate::net::key::FlowKey;
use crate::net::options;
use crate::net::stamp::Stamp;
use crate::port::{Caps, Checksum, Frame, RxMeta, TxMeta};
use crate::telemetry::Counter;
use arrayvec::ArrayVec;

pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHERTYPE_ARP: u16 = 0x0806;
pub(crate) const ETHERTYPE_VLAN: u16 = 0x8100;
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;
pub(crate) const PROTOCOL_ICMP: u8 = 1;
pub(crate) const PROTOCOL_TCP: u8 = 6;
pub(crate) const PROTOCOL_ICMPV6: u8 = 58;

const MAC_MASK: u64 = 0xffff_ffff_ffff;

/// What to do with a received frame.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Class {
    /// A valid TCP segment for one of our addresses.
    Tcp(Segment),
    /// ARP, ICMP or neighbour discovery: `Link::control` takes it.
    Control,
    /// Drop it and count it here.
    Drop(Counter),
}

/// Where a TCP segment lies in its frame, and the header fields that decide its fate. Offsets count from the frame's
/// first byte: `l3 < l4 < end <= frame length`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// The connection.
    pub key: FlowKey,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number; meaningful with the ACK flag.
    pub ack: u32,
    /// Offset of the IP header.
    pub l3: u16,
    /// Offset of the TCP header.
    pub l4: u16,
    /// End of the IP packet; Ethernet padding may follow.
    pub end: u16,
    /// Payload length in bytes.
    pub payload_len: u16,
    /// Advertised window, not scaled.
    pub window: u16,
    /// FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32.
    pub flags: u8,
    /// Whether the packet is IPv6.
    pub ipv6: bool,
}

impl Segment {
    /// Removes IPv6 extension headers from `bytes`, which this segment describes, so that TCP follows the IPv6 header
    /// directly; does nothing to other packets.
    pub fn strip_extensions(&mut self, bytes: &mut [u8]) {
        let (l3, l4) = (usize::from(self.l3), usize::from(self.l4));
        if !self.ipv6 || l4 <= l3 + 40 || bytes.len() < usize::from(self.end) {
            return;
        }
        bytes[l3 + 4..l3 + 6].copy_from_slice(&(self.end - self.l4).to_be_bytes());
        bytes[l3 + 6] = PROTOCOL_TCP;
        bytes.copy_within(l3..l3 + 40, l4 - 40);
        self.l3 = self.l4 - 40;
    }
}

/// Who we are on the wire: what decides whether a frame is for us.
#[derive(Clone, Debug)]
pub struct Host {
    /// The MAC in the low 48 bits, as loaded little-endian.
    mac: u64,
    /// VLAN identifier; 0: untagged.
    vlan: u16,
    v4: ArrayVec<[u8; 4], ADDRESSES_MAX>,
    /// One more than the limit: the link-local address is not configured but derived.
    v6: ArrayVec<[u8; 16], { ADDRESSES_MAX + 1 }>,
}

/// The Ethernet header, read.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Ethernet {
    pub(crate) ethertype: u16,
    /// Offset of what follows the header and VLAN tag.
    pub(crate) l3: usize,
    /// Sent to a broadcast or multicast address of ours rather than to us alone.
    pub(crate) group: bool,
}

/// An IP packet for us. `l3 + 20 <= l4 <= end <= frame length`.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) l3: usize,
    pub(crate) l4: usize,
    pub(crate) end: usize,
    pub(crate) protocol: u8,
    pub(crate) ipv6: bool,
    /// The Ethernet or IP destination is a group.
    pub(crate) group: bool,
}

impl Host {
    /// A host with one MAC, in one VLAN or none, without addresses.
    pub fn new(mac: [u8; 6], vlan: Option<u16>) -> Host {
        Host { mac: mac_word(mac), vlan: vlan.unwrap_or(0), v4: ArrayVec::new(), v6: ArrayVec::new() }
    }

    /// Adds an address; beyond `ADDRESSES_MAX` of a family it is ignored.
    pub fn add(&mut self, address: core::net::IpAddr) {
        match address {
            core::net::IpAddr::V4(a) => drop(self.v4.try_push(a.octets())),
            core::net::IpAddr::V6(a) => drop(self.v6.try_push(a.octets())),
        }
    }

    /// Our IPv4 addresses.
    pub fn v4(&self) -> &[[u8; 4]] {
        &self.v4
    }

    /// Our IPv6 addresses, the link-local one included.
    pub fn v6(&self) -> &[[u8; 16]] {
        &self.v6
    }

    /// What a frame's bytes are; a chained frame is linearised first.
    #[inline]
    pub fn classify(&self, bytes: &[u8], rx: RxMeta) -> Class {
        self.try_classify(bytes, rx).unwrap_or_else(Class::Drop)
    }

    #[inline]
    fn try_classify(&self, bytes: &[u8], rx: RxMeta) -> Result<Class, Counter> {
        let ethernet = self.ethernet(bytes, rx)?;
        let packet = if ethernet.ethertype == ETHERTYPE_IPV4 {
            self.ipv4(bytes, ethernet, rx)?
        } else if ethernet.ethertype == ETHERTYPE_IPV6 {
            self.ipv6(bytes, ethernet)?
        } else {
            return not_ip(ethernet.ethertype);
        };
        if packet.protocol == PROTOCOL_TCP {
            return tcp(bytes, packet, rx).map(Class::Tcp);
        }
        let icmp = if packet.ipv6 { PROTOCOL_ICMPV6 } else { PROTOCOL_ICMP };
        if packet.protocol == icmp { Ok(Class::Control) } else { Err(Counter::DropProtocol) }
    }

    #[inline]
    pub(crate) fn ethernet(&self, bytes: &[u8], rx: RxMeta) -> Result<Ethernet, Counter> {
        let header: &[u8; 14] = bytes.first_chunk().ok_or(Counter::DropRunt)?;
        let to = u64::from_le_bytes(*at(header, 0)) & MAC_MASK;
        let group = to != self.mac;
        if group && !self.listens_to(to) {
            return Err(Counter::DropNotForUs);
        }
        let (mut ethertype, mut l3, mut tag) = (be16(header, 12), 14, rx.vlan);
        if ethertype == ETHERTYPE_VLAN && tag.is_none() {
            let tagged: &[u8; 4] = chunk(bytes, 14).ok_or(Counter::DropRunt)?;
            (ethertype, l3, tag) = (be16(tagged, 2), 18, Some(be16(tagged, 0)));
        }
        // A tag with identifier 0 carries a priority only and means untagged (IEEE 802.1Q, 9.6).
        if tag.unwrap_or(0) & 0x0fff != self.vlan {
            return Err(Counter::DropVlan);
        }
        Ok(Ethernet { ethertype, l3, group })
    }

    /// Whether a group address is one we receive: broadcast, all-nodes (RFC 2464, 7) or solicited-node of an address.
    #[cold]
    fn listens_to(&self, to: u64) -> bool {
        const BROADCAST: u64 = MAC_MASK;
        const ALL_NODES: u64 = mac_word([0x33, 0x33, 0, 0, 0, 1]);
        let solicited = |a: &[u8; 16]| to == mac_word([0x33, 0x33, 0xff, a[13], a[14], a[15]]);
        to == BROADCAST || (!self.v6.is_empty() && to == ALL_NODES) || self.v6.iter().any(solicited)
    }

    #[inline]
    pub(crate) fn ipv4(&self, bytes: &[u8], ethernet: Ethernet, rx: RxMeta) -> Result<Packet, Counter> {
        let l3 = ethernet.l3;
        let header: &[u8; 20] = chunk(bytes, l3).ok_or(Counter::DropRunt)?;
        let header_len = match header[0] {
            0x45 => 20,
            first @ 0x46..=0x4f => usize::from(first & 0x0f) * 4,
            _ => return Err(Counter::DropIpHeader),
        };
        let total = usize::from(be16(header, 2));
        if total < header_len || l3 + total > bytes.len() {
            return Err(Counter::DropIpHeader);
        }
        let valid = match rx.ip_checksum {
            Checksum::Good => true,
            Checksum::Bad => false,
            Checksum::Unknown => ipv4_header_sum(&bytes[l3..l3 + header_len]).is_valid(),
        };
        if !valid {
            return Err(Counter::DropIpChecksum);
        }
        let [source, destination]: [[u8; 4]; 2] = [*at(header, 12), *at(header, 16)];
        if !self.v4.contains(&destination) {
            return Err(Counter::DropNotForUs);
        }
        // RFC 1122, 3.2.1.3: a source that is no host address, or our own, is silently discarded.
        if matches!(source[0], 0 | 127 | 224..=239 | 255) || self.v4.contains(&source) {
            return Err(Counter::DropIpHeader);
        }
        if be16(header, 6) & 0x3fff != 0 {
            return Err(Counter::DropFragment);
        }
        if header_len > 20 {
            ipv4_options(&bytes[l3 + 20..l3 + header_len])?;
        }
        // The TTL is not looked at: RFC 1122, 3.2.1.7 forbids to discard a datagram for a TTL under 2.
        let (l4, end) = (l3 + header_len, l3 + total);
        Ok(Packet { l3, l4, end, protocol: header[9], ipv6: false, group: ethernet.group })
    }

    #[inline]
    pub(crate) fn ipv6(&self, bytes: &[u8], ethernet: Ethernet) -> Result<Packet, Counter> {
        let l3 = ethernet.l3;
        let header: &[u8; 40] = chunk(bytes, l3).ok_or(Counter::DropRunt)?;
        let end = l3 + 40 + usize::from(be16(header, 4));
        if header[0] >> 4 != 6 || end > bytes.len() {
            return Err(Counter::DropIpHeader);
        }
        let [source, destination]: [[u8; 16]; 2] = [*at(header, 8), *at(header, 24)];
        let multicast = destination[0] == 0xff;
        let for_us = self.v6.contains(&destination) || (multicast && self.joined(&destination));
        if !for_us {
            return Err(Counter::DropNotForUs);
        }
        let unspecified = is_v6_unspecified(&source);
        if !(is_v6_host(&source) || unspecified) || self.v6.contains(&source) {
            return Err(Counter::DropIpHeader);
        }
        let (mut protocol, mut l4) = (header[6], l3 + 40);
        if protocol != PROTOCOL_TCP && protocol != PROTOCOL_ICMPV6 {
            (protocol, l4) = extension::walk(&bytes[..end], l4, protocol)?;
        }
        // RFC 4291, 2.5.2: only a solicitation for an address not yet assigned has the unspecified source.
        if unspecified && protocol != PROTOCOL_ICMPV6 {
            return Err(Counter::DropIpHeader);
        }
        Ok(Packet { l3, l4, end, protocol, ipv6: true, group: ethernet.group || multicast })
    }

    /// Whether a multicast address is all-nodes or solicited-node of an address of ours (RFC 4291, 2.8).
    #[cold]
    fn joined(&self, group: &[u8; 16]) -> bool {
        *group == ALL_NODES || self.v6.iter().any(|a| *group == solicited_node(a))
    }
}

#[cold]
fn not_ip(ethertype: u16) -> Result<Class, Counter> {
    match ethertype {
        ETHERTYPE_ARP => Ok(Class::Control),
        // A second tag.
        ETHERTYPE_VLAN => Err(Counter::DropVlan),
        _ => Err(Counter::DropEtherType),
    }
}

/// The all-nodes address ff02::1.
pub(crate) const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// The solicited-node multicast address (RFC 4291, 2.7.1).
pub(crate) fn solicited_node(address: &[u8; 16]) -> [u8; 16] {
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, address[13], address[14], address[15]]
}

/// Whether an IPv6 address can be one host's: not multicast, unspecified, loopback or IPv4-mapped (RFC 4291, 2.5).
#[inline]
pub(crate) fn is_v6_host(address: &[u8; 16]) -> bool {
    let value = u128::from_be_bytes(*address);
    value >> 120 != 0xff && value > 1 && value >> 32 != 0xffff
}

#[inline]
pub(crate) fn is_v6_unspecified(address: &[u8; 16]) -> bool {
    *address == [0; 16]
}

/// Refuses source routes (RFC 7126, 4.3 and 4.4) and malformed options; accepts and ignores the others.
#[cold]
fn ipv4_options(mut options: &[u8]) -> Result<(), Counter> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    while let [kind, rest @ ..] = options {
        options = match (*kind, rest) {
            (END, _) => return Ok(()),
            (NO_OPERATION, _) => rest,
            (LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE, _) => return Err(Counter::DropIpOptions),
            (_, [len, ..]) if *len >= 2 => options.get(usize::from(*len)..).ok_or(Counter::DropIpHeader)?,
            _ => return Err(Counter::DropIpHeader),
        };
    }
    Ok(())
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

/// One bit for each combination of the six flags that no TCP sends: none at all, SYN with FIN, SYN with RST.
const INVALID_FLAGS: u64 = {
    let mut set = 0u64;
    let mut flags = 0u8;
    while flags < 64 {
        if flags == 0 || (flags & SYN != 0 && flags & (FIN | RST) != 0) {
            set |= 1 << flags;
        }
        flags += 1;
    }
    set
};

#[inline]
fn tcp(bytes: &[u8], packet: Packet, rx: RxMeta) -> Result<Segment, Counter> {
    let Packet { l3, l4, end, ipv6, group, .. } = packet;
    let (ip, segment) = (&bytes[l3..l4], &bytes[l4..end]);
    let header: &[u8; 20] = segment.first_chunk().ok_or(Counter::DropTcpHeader)?;
    // RFC 9293, 3.9.2.3 (MUST-57) and RFC 1122, 3.3.6: nothing sent to a group, at either layer, is for TCP.
    if group {
        return Err(Counter::DropNotForUs);
    }
    let end = u16::try_from(end).map_err(|_too_long| Counter::DropChain)?;
    let header_len = usize::from(header[12] >> 4) * 4;
    let flags = header[13] & 0x3f;
    let (remote_port, local_port) = (be16(header, 0), be16(header, 2));
    let ports_or_flags_invalid = remote_port == 0 || local_port == 0 || INVALID_FLAGS >> flags & 1 != 0;
    if header_len < 20 || header_len > segment.len() || ports_or_flags_invalid {
        return Err(Counter::DropTcpHeader);
    }
    let key = if ipv6 {
        let [source, destination] = v6_addresses(ip).ok_or(Counter::DropIpHeader)?;
        FlowKey::v6(source, destination, remote_port, local_port)
    } else {
        let [source, destination] = v4_addresses(ip).ok_or(Counter::DropIpHeader)?;
        FlowKey::v4(source, destination, remote_port, local_port)
    };
    let valid = match rx.l4_checksum {
        Checksum::Good => true,
        Checksum::Bad => false,
        Checksum::Unknown => pseudo(ip, ipv6, segment.len()).plus(Sum::of(segment)).is_valid(),
    };
    if !valid {
        return Err(Counter::DropTcpChecksum);
    }
    // The usual timestamps need no second look.
    let plain = header_len == 20 || Stamp::usual(segment).is_some();
    if !plain && !options::are_sound(segment) {
        return Err(Counter::DropTcpHeader);
    }
    Ok(Segment {
        key,
        seq: be32(header, 4),
        ack: be32(header, 8),
        l3: l3 as u16,
        l4: l4 as u16,
        end,
        payload_len: (segment.len() - header_len) as u16,
        window: be16(header, 14),
        flags,
        ipv6,
    })
}

/// Fills in the checksums of the IP packet that follows `l2_len` bytes of link header and extends to the end of `bytes`,
/// or prepares the device to do so as far as `caps` offers it. The checksum fields' content does not matter. Only TCP
/// directly behind the IP header gets a transport checksum; bytes that are no IP packet stay as they are.
#[inline]
pub fn finish(bytes: &mut [u8], l2_len: usize, caps: &Caps) -> TxMeta {
    let Some(ip) = bytes.get_mut(l2_len..) else { return TxMeta::default() };
    let (header_len, protocol, ipv6) = match ip.first() {
        Some(0x60..=0x6f) if ip.len() >= 40 => (40, ip[6], true),
        Some(first @ 0x45..=0x4f) if ip.len() >= 20 => (usize::from(*first & 0x0f) * 4, ip[9], false),
        _ => return TxMeta::default(),
    };
    let Some((header, segment)) = ip.split_at_mut_checked(header_len) else { return TxMeta::default() };
    let mut meta = TxMeta { l2_len: l2_len as u8, l3_len: header_len as u8, ipv6, ..TxMeta::default() };
    if !ipv6 {
        header[10..12].fill(0);
        meta.ip_checksum = caps.tx_ip_checksum;
        if !meta.ip_checksum {
            let checksum = ipv4_header_sum(header).checksum();
            header[10..12].copy_from_slice(&checksum);
        }
    }
    if protocol == PROTOCOL_TCP && segment.len() >= 20 {
        let sum = pseudo(header, ipv6, segment.len());
        meta.l4_len = (segment[12] >> 4) * 4;
        meta.tcp_checksum = caps.tx_tcp_checksum;
        let field = if meta.tcp_checksum {
            sum.folded()
        } else {
            segment[16..18].fill(0);
            sum.plus(Sum::of(segment)).checksum()
        };
        segment[16..18].copy_from_slice(&field);
    }
    if meta.ip_checksum || meta.tcp_checksum { meta } else { TxMeta::default() }
}

/// Copies a chained frame's segments to `out`; returns their length, or None when they do not fit.
pub fn linearize(frame: &impl Frame, out: &mut [u8; CHAIN_MAX]) -> Option<usize> {
    let mut len = 0;
    let mut append = |part: &[u8]| match out.get_mut(len..len + part.len()) {
        Some(room) => {
            room.copy_from_slice(part);
            len += part.len();
            true
        }
        None => false,
    };
    (append(frame.bytes()) && frame.gather(&mut append)).then_some(len)
}

/// The sum of an IPv4 header with its options; a loop only with options.
#[inline]
fn ipv4_header_sum(header: &[u8]) -> Sum {
    match <&[u8; 20]>::try_from(header) {
        Ok(plain) => Sum::of(plain),
        Err(_) => Sum::of(header),
    }
}

/// The pseudo-header's sum for TCP behind an IP header with its options.
#[inline]
fn pseudo(ip: &[u8], ipv6: bool, len: usize) -> Sum {
    let sum = if ipv6 {
        v6_addresses(ip).map(|[s, d]| Sum::pseudo_v6(&s, &d, PROTOCOL_TCP, len as u16))
    } else {
        v4_addresses(ip).map(|[s, d]| Sum::pseudo_v4(s, d, PROTOCOL_TCP, len as u16))
    };
    sum.unwrap_or_default()
}

/// Source and destination of an IPv4 header.
#[inline]
pub(crate) fn v4_addresses(ip: &[u8]) -> Option<[[u8; 4]; 2]> {
    let header: &[u8; 20] = ip.first_chunk()?;
    Some([*at(header, 12), *at(header, 16)])
}

/// Source and destination of an IPv6 header.
#[inline]
pub(crate) fn v6_addresses(ip: &[u8]) -> Option<[[u8; 16]; 2]> {
    let header: &[u8; 40] = ip.first_chunk()?;
    Some([*at(header, 8), *at(header, 24)])
}

const fn mac_word(mac: [u8; 6]) -> u64 {
    u64::from_le_bytes([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], 0, 0])
}

#[inline]
fn chunk<const N: usize>(bytes: &[u8], start: usize) -> Option<&[u8; N]> {
    bytes.get(start..)?.first_chunk()
}

/// `N` bytes inside a header of known size: the bounds check folds away.
#[inline]
fn at<const N: usize, const H: usize>(header: &[u8; H], start: usize) -> &[u8; N] {
    header[start..].first_chunk().expect("callers stay inside the header")
}

#[inline]
fn be16<const H: usize>(header: &[u8; H], start: usize) -> u16 {
    u16::from_be_bytes(*at(header, start))
}

#[inline]
fn be32<const H: usize>(header: &[u8; H], start: usize) -> u32 {
    u32::from_be_bytes(*at(header, start))
}
