//! ICMP and ICMPv6: echo, and errors about our packets.
//!
//! Owns the turning of a request into its reply inside one frame, and the reading of errors. Refuses to send errors, and to
//! judge whether one is about a packet under way: the stack does. Neighbour discovery is `link::nd`.

use crate::net::checksum::{Sum, replaced};
use crate::net::ip::{self, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, Packet};
use crate::net::key::FlowKey;
use crate::net::pmtu::TooBig;

const ECHO_REPLY_V4: u8 = 0;
const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
/// IPDEFTTL (RFC 1340) and the current hop limit most hosts use.
const TTL: u8 = 64;

/// An error about a TCP packet of ours.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Error {
    /// It was too large: destination unreachable, code 4 (RFC 792, RFC 1191, 4), or packet too big (RFC 4443, 3.2).
    TooBig(TooBig),
    /// Anything else, which tells a TCP nothing that it may act on once a connection is established (RFC 5461; RFC 5927, 5).
    Soft,
}

/// Whether an ICMP or ICMPv6 message (`bytes[l4..end]`) is at least a header long and has the right checksum.
pub(crate) fn is_intact(bytes: &[u8], packet: &Packet) -> bool {
    let message = &bytes[packet.l4..packet.end];
    let sum = Sum::of(message);
    let pseudo = match ip::v6_addresses(&bytes[packet.l3..]) {
        Some([source, destination]) if packet.ipv6 => {
            Sum::pseudo_v6(&source, &destination, PROTOCOL_ICMPV6, message.len() as u16)
        }
        _ => Sum::default(),
    };
    message.len() >= 8 && pseudo.plus(sum).is_valid()
}

/// Whether an intact message is an echo request.
pub(crate) fn is_echo_request(bytes: &[u8], packet: &Packet) -> bool {
    let request = if packet.ipv6 { ECHO_REQUEST_V6 } else { ECHO_REQUEST_V4 };
    bytes[packet.l4..].starts_with(&[request, 0])
}

/// The error that an intact message reports about a TCP packet sent from the address that the message came to; None: it
/// reports none, or about something else.
pub(crate) fn error(bytes: &[u8], packet: &Packet) -> Option<Error> {
    let ip = bytes.get(packet.l3..packet.l4)?;
    let (header, quoted) = bytes.get(packet.l4..packet.end)?.split_first_chunk::<8>()?;
    let [kind, code, _, _, high @ .., third, last] = *header;
    let low = u16::from_be_bytes([third, last]);
    let mtu = match (packet.ipv6, kind, code) {
        (false, 3, 4) => Some(low),
        // Unreachable, source quench (RFC 6633), time exceeded, parameter problem.
        (false, 3 | 4 | 11 | 12, _) => None,
        // RFC 4443, 3.2: the code is ignored. The MTU has 32 bits.
        (true, 2, _) => Some(if high == [0, 0] { low } else { u16::MAX }),
        (true, 1 | 3 | 4, _) => None,
        _ => return None,
    };
    let (key, seq, size) = if packet.ipv6 {
        let [_, own] = ip::v6_addresses(ip)?;
        let [source, destination] = ip::v6_addresses(quoted).filter(|[source, _]| *source == own)?;
        let (local_port, remote_port, seq) = quoted_tcp(quoted.get(40..)?)?;
        let tcp = quoted[0] >> 4 == 6 && quoted[6] == PROTOCOL_TCP;
        let size = u16::from_be_bytes([quoted[4], quoted[5]]).saturating_add(40);
        (tcp.then(|| FlowKey::v6(destination, source, remote_port, local_port))?, seq, size)
    } else {
        let [_, own] = ip::v4_addresses(ip)?;
        let [source, destination] = ip::v4_addresses(quoted).filter(|[source, _]| *source == own)?;
        // Our packets have neither options nor fragments.
        let (local_port, remote_port, seq) = quoted_tcp(quoted.get(20..)?)?;
        let whole = quoted[6] & 0x3f == 0 && quoted[7] == 0;
        let tcp = quoted[0] == 0x45 && quoted[9] == PROTOCOL_TCP && whole;
        let size = u16::from_be_bytes([quoted[2], quoted[3]]);
        (tcp.then(|| FlowKey::v4(destination, source, remote_port, local_port))?, seq, size)
    };
    Some(mtu.map_or(Error::Soft, |mtu| Error::TooBig(TooBig { key, seq, mtu, size })))
}

/// Ports and sequence number of a quoted segment: what RFC 792 provides at least.
fn quoted_tcp(bytes: &[u8]) -> Option<(u16, u16, u32)> {
    let [a, b, c, d, seq @ ..] = *bytes.first_chunk::<8>()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), u32::from_be_bytes(seq)))
}

/// Length of the reply's IP packet in bytes.
pub(crate) fn echo_reply_len(packet: &Packet) -> usize {
    header_len(packet) + packet.end - packet.l4
}

/// Turns an intact echo request into its reply, with a plain IP header (no options, no extension headers) at offset `l3`.
/// `bytes` reach at least to `l3` plus `echo_reply_len`.
pub(crate) fn echo_reply(bytes: &mut [u8], packet: &Packet, l3: usize) {
    let len = echo_reply_len(packet);
    let mut header = [0; 40];
    let header = &mut header[..header_len(packet)];
    header.copy_from_slice(&bytes[packet.l3..packet.l3 + header.len()]);
    bytes.copy_within(packet.l4..packet.end, l3 + header.len());
    let (request, reply) = if packet.ipv6 {
        v6_header(header, len);
        (ECHO_REQUEST_V6, ECHO_REPLY_V6)
    } else {
        v4_header(header, len);
        (ECHO_REQUEST_V4, ECHO_REPLY_V4)
    };
    let (to, message) = bytes[l3..l3 + len].split_at_mut(header.len());
    to.copy_from_slice(header);
    // The pseudo-header's sum does not change when the addresses swap.
    let checksum = replaced([message[2], message[3]], [request, 0], [reply, 0]);
    message[0] = reply;
    message[2..4].copy_from_slice(&checksum);
}

fn header_len(packet: &Packet) -> usize {
    if packet.ipv6 { 40 } else { 20 }
}

/// Rewrites an IPv4 header in place: swapped addresses, no options, same type of service (RFC 1122, 3.2.2.6).
fn v4_header(header: &mut [u8], len: usize) {
    header[0] = 0x45;
    header[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    // An atomic datagram: identification 0 with DF (RFC 6864, 4.1).
    header[4..12].copy_from_slice(&[0, 0, 0x40, 0, TTL, PROTOCOL_ICMP, 0, 0]);
    let (source, destination) = header[12..20].split_at_mut(4);
    source.swap_with_slice(destination);
    let checksum = Sum::of(header).checksum();
    header[10..12].copy_from_slice(&checksum);
}

/// Rewrites an IPv6 header in place: swapped addresses, no extension headers.
fn v6_header(header: &mut [u8], len: usize) {
    header[..4].copy_from_slice(&[0x60, 0, 0, 0]);
    header[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
    header[6..8].copy_from_slice(&[PROTOCOL_ICMPV6, TTL]);
    let (source, destination) = header[8..40].split_at_mut(16);
    source.swap_with_slice(destination);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error of `kind` and `code` about a packet of 1,500 bytes with sequence number 77 from port 80 to port 9.
    fn message(ipv6: bool, kind: u8, code: u8, mtu: u32) -> (Vec<u8>, Packet) {
        let ip_len = if ipv6 { 40 } else { 20 };
        let mut quoted = vec![0; ip_len];
        let mut outer = vec![0; ip_len];
        if ipv6 {
            quoted[..7].copy_from_slice(&[0x60, 0, 0, 0, 0x05, 0xb4, PROTOCOL_TCP]);
            (quoted[8], quoted[24], outer[8], outer[24]) = (2, 1, 9, 2);
        } else {
            quoted[..10].copy_from_slice(&[0x45, 0, 0x05, 0xdc, 0, 0, 0x40, 0, 64, PROTOCOL_TCP]);
            (quoted[12], quoted[16], outer[12], outer[16]) = (2, 1, 9, 2);
        }
        quoted.extend([0, 80, 0, 9, 0, 0, 0, 77]);
        let bytes = [&outer, &[kind, code, 0, 0][..], &mtu.to_be_bytes(), &quoted].concat();
        let packet = Packet { l3: 0, l4: ip_len, end: bytes.len(), protocol: 0, ipv6, group: false };
        (bytes, packet)
    }

    fn key(ipv6: bool) -> FlowKey {
        if ipv6 {
            return FlowKey { remote: 1 << 120, local: 2 << 120, remote_port: 9, local_port: 80 };
        }
        FlowKey::v4([1, 0, 0, 0], [2, 0, 0, 0], 9, 80)
    }

    #[test]
    fn a_report_of_a_packet_too_big_names_connection_number_and_sizes() {
        for (ipv6, kind, code, mtu, read) in [
            (false, 3, 4, 1400, 1400),
            (false, 3, 4, 0, 0),
            (true, 2, 0, 1400, 1400),
            (true, 2, 9, 0x0001_0500, u16::MAX),
        ] {
            let (bytes, packet) = message(ipv6, kind, code, mtu);
            let report = TooBig { key: key(ipv6), seq: 77, mtu: read, size: 1500 };
            assert_eq!(error(&bytes, &packet), Some(Error::TooBig(report)));
        }
    }

    #[test]
    fn other_errors_are_soft_and_other_messages_none() {
        for kind in 0..=255 {
            for code in [0, 3, 4, 13] {
                let read = |ipv6| {
                    let (bytes, packet) = message(ipv6, kind, code, 1400);
                    error(&bytes, &packet)
                };
                match (kind, code) {
                    (3, 4) => assert!(matches!(read(false), Some(Error::TooBig(_)))),
                    (3 | 4 | 11 | 12, _) => assert_eq!(read(false), Some(Error::Soft)),
                    _ => assert_eq!(read(false), None),
                }
                match kind {
                    2 => assert!(matches!(read(true), Some(Error::TooBig(_)))),
                    1 | 3 | 4 => assert_eq!(read(true), Some(Error::Soft)),
                    _ => assert_eq!(read(true), None),
                }
            }
        }
    }

    #[test]
    fn what_quotes_no_tcp_packet_of_ours_is_no_error() {
        for (ipv6, kind, code) in [(false, 3, 4), (true, 2, 0)] {
            let quoted = if ipv6 { 48 } else { 28 };
            let places: &[usize] = if ipv6 { &[0, 6, 8, 23] } else { &[0, 6, 7, 9, 12, 15] };
            for at in places {
                let (mut bytes, packet) = message(ipv6, kind, code, 1400);
                bytes[quoted + at] ^= 0x21;
                assert_eq!(error(&bytes, &packet), None, "{at} changed");
            }
            let (bytes, packet) = message(ipv6, kind, code, 1400);
            for end in 0..bytes.len() {
                assert_eq!(error(&bytes[..end], &packet), None);
                assert_eq!(error(&bytes, &Packet { end, ..packet }), None, "cut to {end}");
            }
        }
    }
}
