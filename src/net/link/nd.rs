//! Neighbour solicitations and advertisements (RFC 4861): parse and emit.
//!
//! Owns the messages and the validity rules of 7.1.1 and 7.1.2. Refuses to decide what to believe, and router messages:
//! addresses and gateways are configured.

use crate::net::checksum::Sum;
use crate::net::ip::{self, PROTOCOL_ICMPV6, Packet};
use crate::net::neighbor::Mac;

pub(super) const SOLICITATION: u8 = 135;
pub(super) const ADVERTISEMENT: u8 = 136;
/// Length of an emitted message in bytes: IPv6 header, message, one link-layer address option.
pub(super) const LEN: usize = 40 + 24 + 8;

const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Solicitation,
    Advertisement { solicited: bool, overrides: bool },
}

/// A neighbour discovery message with the addresses of its IPv6 header.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) source: [u8; 16],
    pub(super) destination: [u8; 16],
    pub(super) target: [u8; 16],
    /// The source (solicitation) or target (advertisement) link-layer address option.
    pub(super) mac: Option<Mac>,
}

impl Message {
    /// The message in a packet whose checksum is right; None when it breaks a rule.
    pub(super) fn parse(bytes: &[u8], packet: &Packet) -> Option<Message> {
        let header: &[u8; 40] = bytes.get(packet.l3..)?.first_chunk()?;
        let [source, destination] = ip::v6_addresses(header)?;
        let message = bytes.get(packet.l4..packet.end)?;
        let fixed: &[u8; 24] = message.first_chunk()?;
        let target: [u8; 16] = *fixed[8..].first_chunk()?;
        // Hop limit 255: no router forwarded it. Code 0. A target is never multicast.
        if header[7] != 255 || fixed[1] != 0 || !ip::is_v6_host(&target) {
            return None;
        }
        let (kind, wanted) = match fixed[0] {
            SOLICITATION => (Kind::Solicitation, SOURCE_LINK_LAYER),
            ADVERTISEMENT => {
                let flag = |bit| fixed[4] & bit != 0;
                let (solicited, overrides) = (flag(FLAG_SOLICITED), flag(FLAG_OVERRIDE));
                (Kind::Advertisement { solicited, overrides }, TARGET_LINK_LAYER)
            }
            _ => return None,
        };
        let mac = link_layer_option(&message[24..], wanted)?;
        let message = Message { kind, source, destination, target, mac };
        message.is_valid().then_some(message)
    }

    fn is_valid(&self) -> bool {
        match self.kind {
            // 7.1.1: without a source, to a solicited-node address and without a source link-layer address.
            Kind::Solicitation if ip::is_v6_unspecified(&self.source) => {
                self.destination == ip::solicited_node(&self.target) && self.mac.is_none()
            }
            Kind::Solicitation => true,
            // 7.1.2: one sent to a group answers nobody. 4.4: its source is an address of its interface.
            Kind::Advertisement { solicited, .. } => {
                (!solicited || self.destination[0] != 0xff) && !ip::is_v6_unspecified(&self.source)
            }
        }
    }

    /// The IPv6 packet, always with a link-layer address option, which holds `mac`.
    pub(super) fn emit(&self, mac: Mac) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let (header, message) = bytes.split_at_mut(40);
        header[0] = 0x60;
        header[5] = (LEN - 40) as u8;
        header[6..8].copy_from_slice(&[PROTOCOL_ICMPV6, 255]);
        header[8..24].copy_from_slice(&self.source);
        header[24..40].copy_from_slice(&self.destination);
        let (kind, flags, option) = match self.kind {
            Kind::Solicitation => (SOLICITATION, 0, SOURCE_LINK_LAYER),
            Kind::Advertisement { solicited, overrides } => {
                let flags = (u8::from(solicited) * FLAG_SOLICITED) | (u8::from(overrides) * FLAG_OVERRIDE);
                (ADVERTISEMENT, flags, TARGET_LINK_LAYER)
            }
        };
        message[0] = kind;
        message[4] = flags;
        message[8..24].copy_from_slice(&self.target);
        message[24..26].copy_from_slice(&[option, 1]);
        message[26..32].copy_from_slice(&mac);
        let pseudo = Sum::pseudo_v6(&self.source, &self.destination, PROTOCOL_ICMPV6, message.len() as u16);
        let checksum = pseudo.plus(Sum::of(message)).checksum();
        message[2..4].copy_from_slice(&checksum);
        bytes
    }
}

/// The first link-layer address option of the `wanted` type, if any; None when an option is malformed (4.6: its length,
/// in units of eight bytes, is zero or reaches over the end) or names no host's MAC. Other options are skipped.
fn link_layer_option(mut options: &[u8], wanted: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while let [kind, units @ 1..=255, ..] = options {
        let (option, rest) = options.split_at_checked(usize::from(*units) * 8)?;
        if *kind == wanted && found.is_none() {
            let mac = *option[2..].first_chunk()?;
            found = super::is_host_mac(mac).then_some(mac);
            found?;
        }
        options = rest;
    }
    options.is_empty().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ip::frames::{OUR_V6, PEER_MAC, PEER_V6};

    const PACKET: Packet = Packet { l3: 0, l4: 40, end: LEN, protocol: PROTOCOL_ICMPV6, ipv6: true, group: false };

    fn solicitation() -> Message {
        let kind = Kind::Solicitation;
        Message { kind, source: PEER_V6, destination: OUR_V6, target: OUR_V6, mac: Some(PEER_MAC) }
    }

    fn advertisement(solicited: bool) -> Message {
        Message { kind: Kind::Advertisement { solicited, overrides: true }, ..solicitation() }
    }

    #[test]
    fn emitted_messages_parse() {
        for message in [solicitation(), advertisement(true), advertisement(false)] {
            let bytes = message.emit(PEER_MAC);
            assert!(crate::net::icmp::is_intact(&bytes, &PACKET));
            assert_eq!(Message::parse(&bytes, &PACKET), Some(message));
        }
    }

    #[test]
    fn messages_that_break_a_rule_do_not_parse() {
        type Change = fn(&mut [u8; LEN]);
        let cases: &[(&str, Message, Change)] = &[
            ("forwarded", solicitation(), |b| b[7] = 254),
            ("code", solicitation(), |b| b[41] = 1),
            ("multicast target", solicitation(), |b| b[48] = 0xff),
            ("option of length 0", solicitation(), |b| b[65] = 0),
            ("option over the end", solicitation(), |b| b[65] = 2),
            ("group MAC", solicitation(), |b| b[66] |= 1),
            ("no source, but a source MAC", solicitation(), |b| {
                b[8..24].fill(0);
                b[24..40].copy_from_slice(&ip::solicited_node(&OUR_V6));
            }),
            ("no source, to one host", solicitation(), |b| {
                b[8..24].fill(0);
                b[64] = 14;
            }),
            ("an answer to a group", advertisement(true), |b| b[24..40].copy_from_slice(&ip::ALL_NODES)),
            ("an advertisement from nobody", advertisement(false), |b| b[8..24].fill(0)),
        ];
        for (name, message, change) in cases {
            let mut bytes = message.emit(PEER_MAC);
            change(&mut bytes);
            assert_eq!(Message::parse(&bytes, &PACKET), None, "{name}");
        }
        let mut short = PACKET;
        for end in 40..LEN {
            short.end = end;
            assert_eq!(Message::parse(&solicitation().emit(PEER_MAC), &short).is_some(), end == 64, "end {end}");
        }
    }

    #[test]
    fn duplicate_address_detection_parses() {
        let mut bytes = solicitation().emit(PEER_MAC);
        bytes[8..24].fill(0);
        bytes[24..40].copy_from_slice(&ip::solicited_node(&OUR_V6));
        let got = Message::parse(&bytes, &Packet { end: 64, ..PACKET }).unwrap();
        assert_eq!((got.source, got.mac), ([0; 16], None));
    }
}
