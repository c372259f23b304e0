//! IPv6 extension headers: a bounded walk to the upper-layer protocol.
//!
//! Owns which extension headers are accepted: hop-by-hop and destination options that ask for nothing. Refuses routing
//! headers (DropIpOptions) and fragments (DropFragment), those of a single fragment included.

use crate::telemetry::Counter;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// Extension headers in one packet and options in one header, at most (RFC 8504, 5.3 permits both limits).
const HEADERS_MAX: usize = 4;
const OPTIONS_MAX: usize = 16;

/// Follows the headers from `protocol` at offset `l4` of `bytes`, which end with the packet; returns the first protocol
/// that is no extension header, and its offset.
#[cold]
pub(super) fn walk(bytes: &[u8], mut l4: usize, mut protocol: u8) -> Result<(u8, usize), Counter> {
    for position in 0..=HEADERS_MAX {
        match protocol {
            // RFC 8200, 4.3: hop-by-hop options directly follow the IPv6 header.
            HOP_BY_HOP if position > 0 => return Err(Counter::DropIpOptions),
            HOP_BY_HOP | DESTINATION_OPTIONS => {}
            ROUTING | AUTHENTICATION => return Err(Counter::DropIpOptions),
            FRAGMENT => return Err(Counter::DropFragment),
            upper => return Ok((upper, l4)),
        }
        let rest = bytes.get(l4..).unwrap_or_default();
        let [next, units, ..] = rest else { return Err(Counter::DropIpHeader) };
        let len = (usize::from(*units) + 1) * 8;
        options(rest.get(2..len).ok_or(Counter::DropIpHeader)?)?;
        protocol = *next;
        l4 += len;
    }
    Err(Counter::DropIpOptions)
}

/// RFC 8200, 4.2: an unknown option whose two highest bits are not zero discards the packet.
fn options(mut options: &[u8]) -> Result<(), Counter> {
    const PAD_1: u8 = 0;
    for _ in 0..OPTIONS_MAX {
        options = match options {
            [] => return Ok(()),
            [PAD_1, rest @ ..] => rest,
            [kind, _, ..] if kind >> 6 != 0 => return Err(Counter::DropIpOptions),
            [_, len, rest @ ..] => rest.get(usize::from(*len)..).ok_or(Counter::DropIpHeader)?,
            [_] => return Err(Counter::DropIpHeader),
        };
    }
    if options.is_empty() { Ok(()) } else { Err(Counter::DropIpOptions) }
}
