//! ICMP and ICMPv6 echo, and the limit on answers.
//!
//! Owns the turning of a request into its reply inside one frame. Refuses error messages: none is sent, and what is
//! received is dropped and counted by `link`. Neighbour discovery is `link::nd`.

use crate::net::checksum::{Sum, replaced};
use crate::net::ip::{self, PROTOCOL_ICMP, PROTOCOL_ICMPV6, Packet};

const ECHO_REPLY_V4: u8 = 0;
const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
/// IPDEFTTL (RFC 1340) and the current hop limit most hosts use.
const TTL: u8 = 64;

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
