//! Which frames a capture wants.
//!
//! Owns the conditions and the little reading of headers they need. Refuses to judge frames: what it cannot read has no
//! addresses and ports, and matches no condition on them.

use crate::telemetry::Counter;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// IPv6 extension headers that are skipped on the way to the ports, at most.
const EXTENSIONS_MAX: usize = 8;

/// Which way a frame goes, seen from the gateway.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Received.
    Inbound,
    /// Sent, or meant to be.
    Outbound,
}

/// Which dropped frames are wanted; the others are not.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Drops {
    /// Each of them.
    Any,
    /// Those counted here.
    For(Counter),
}

/// Conditions, all of which a frame has to meet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// The address of either end.
    pub host: Option<IpAddr>,
    /// The TCP or UDP port of either end.
    pub port: Option<u16>,
    /// The gateway's end: address, if it matters, and port.
    pub listener: Option<(Option<IpAddr>, u16)>,
    /// Dropped frames only.
    pub drops: Option<Drops>,
}

impl Filter {
    /// Whether a frame's headers are what is wanted.
    pub fn takes(&self, direction: Direction, frame: &[u8]) -> bool {
        if self.host.is_none() && self.port.is_none() && self.listener.is_none() {
            return true;
        }
        let Some(ends) = Ends::read(frame) else { return false };
        let local = ends.get(match direction {
            Direction::Inbound => 1,
            Direction::Outbound => 0,
        });
        let either = [ends.get(0), ends.get(1)];
        self.host.is_none_or(|host| either.iter().any(|(address, _)| *address == host))
            && self.port.is_none_or(|port| either.iter().any(|(_, own)| *own == Some(port)))
            && self
                .listener
                .is_none_or(|(address, port)| local.1 == Some(port) && address.is_none_or(|address| address == local.0))
    }

    /// Whether a frame's fate is what is wanted.
    pub fn takes_fate(&self, dropped: Option<Counter>) -> bool {
        match self.drops {
            None => true,
            Some(Drops::Any) => dropped.is_some(),
            Some(Drops::For(reason)) => dropped == Some(reason),
        }
    }
}

/// Source and destination of a frame.
struct Ends {
    addresses: [IpAddr; 2],
    ports: Option<[u16; 2]>,
}

impl Ends {
    fn get(&self, end: usize) -> (IpAddr, Option<u16>) {
        (self.addresses[end], self.ports.map(|ports| ports[end]))
    }

    fn read(frame: &[u8]) -> Option<Ends> {
        let (ethertype, at) = match u16_at(frame, 12)? {
            ETHERTYPE_VLAN => (u16_at(frame, 16)?, 18),
            ethertype => (ethertype, 14),
        };
        let packet = frame.get(at..)?;
        match ethertype {
            ETHERTYPE_IPV4 => Ends::read_v4(packet),
            ETHERTYPE_IPV6 => Ends::read_v6(packet),
            ETHERTYPE_ARP => Some(Ends { addresses: [v4_at(packet, 14)?, v4_at(packet, 24)?], ports: None }),
            _ => None,
        }
    }

    fn read_v4(packet: &[u8]) -> Option<Ends> {
        let addresses = [v4_at(packet, 12)?, v4_at(packet, 16)?];
        // Only a packet's first fragment has ports.
        let first = u16_at(packet, 6)? & 0x1fff == 0;
        let header = usize::from(packet[0] & 15) * 4;
        let ports = if first { ports(packet[9], packet.get(header..)) } else { None };
        Some(Ends { addresses, ports })
    }

    fn read_v6(packet: &[u8]) -> Option<Ends> {
        let addresses = [v6_at(packet, 8)?, v6_at(packet, 24)?];
        let (mut next, mut rest) = (packet[6], packet.get(40..));
        for _ in 0..EXTENSIONS_MAX {
            // Hop-by-hop options, routing, destination options (RFC 8200, 4.1).
            let (0 | 43 | 60, Some(&[following, units, ..])) = (next, rest) else { break };
            next = following;
            rest = rest.and_then(|rest| rest.get((usize::from(units) + 1) * 8..));
        }
        Some(Ends { addresses, ports: ports(next, rest) })
    }
}

fn ports(protocol: u8, segment: Option<&[u8]>) -> Option<[u16; 2]> {
    let segment = segment.filter(|_| matches!(protocol, TCP | UDP))?;
    Some([u16_at(segment, 0)?, u16_at(segment, 2)?])
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|two| u16::from_be_bytes(*two))
}

fn v4_at(bytes: &[u8], at: usize) -> Option<IpAddr> {
    bytes.get(at..)?.first_chunk::<4>().map(|address| Ipv4Addr::from(*address).into())
}

fn v6_at(bytes: &[u8], at: usize) -> Option<IpAddr> {
    bytes.get(at..)?.first_chunk::<16>().map(|address| Ipv6Addr::from(*address).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame from 10.7.0.1:40000 to 10.7.0.2:80, or from fd00::1 to fd00::2, or an ARP request between the former.
    fn frame(kind: &str) -> Vec<u8> {
        let mut bytes = vec![2; 12];
        let segment = [40_000u16.to_be_bytes(), 80u16.to_be_bytes()].concat();
        let v4 = |fragment: u16, protocol: u8, rest: &[u8]| {
            let mut packet = [&[0x46, 0, 0, 0, 0, 0][..], &fragment.to_be_bytes(), &[64, protocol, 0, 0]].concat();
            packet.extend_from_slice(&[10, 7, 0, 1, 10, 7, 0, 2, 1, 1, 1, 1]);
            [&[8, 0], &packet[..], rest].concat()
        };
        let v6 = |next: u8, rest: &[u8]| {
            let ends: [Ipv6Addr; 2] = ["fd00::1".parse().unwrap(), "fd00::2".parse().unwrap()];
            let ends = ends.map(|end| end.octets()).concat();
            [&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, next, 64][..], &ends, rest].concat()
        };
        bytes.extend(match kind {
            "tcp" => v4(0, TCP, &segment),
            "tagged" => [vec![0x81, 0, 0, 5], v4(0, TCP, &segment)].concat(),
            "fragment" => v4(5, TCP, &segment),
            "icmp" => v4(0, 1, &segment),
            "tcp6" => v6(TCP, &segment),
            "options6" => v6(0, &[&[TCP, 0, 0, 0, 0, 0, 0, 0], &segment[..]].concat()),
            "arp" => [&[8, 6][..], &[0; 14], &[10, 7, 0, 1], &[0; 6], &[10, 7, 0, 2]].concat(),
            _ => vec![0x88, 0xcc, 1, 2, 3],
        });
        bytes
    }

    #[test]
    fn conditions_on_headers() {
        let host = |text: &str| Filter { host: Some(text.parse().unwrap()), ..Filter::default() };
        let port = |port| Filter { port: Some(port), ..Filter::default() };
        let listener = |address: Option<&str>, port| Filter {
            listener: Some((address.map(|a| a.parse().unwrap()), port)),
            ..Filter::default()
        };
        let (inbound, outbound) = (Direction::Inbound, Direction::Outbound);
        for (filter, kind, direction, taken) in [
            (Filter::default(), "lldp", inbound, true),
            (host("10.7.0.1"), "tcp", inbound, true),
            (host("10.7.0.2"), "tcp", inbound, true),
            (host("10.7.0.3"), "tcp", inbound, false),
            (host("10.7.0.1"), "arp", inbound, true),
            (host("10.7.0.2"), "arp", inbound, true),
            (host("10.7.0.1"), "lldp", inbound, false),
            (host("fd00::2"), "tcp6", inbound, true),
            (host("fd00::2"), "tcp", inbound, false),
            (port(80), "tcp", inbound, true),
            (port(40_000), "tcp", outbound, true),
            (port(80), "tagged", inbound, true),
            (port(80), "options6", inbound, true),
            (port(80), "fragment", inbound, false),
            (port(80), "icmp", inbound, false),
            (port(80), "arp", inbound, false),
            (port(81), "tcp", inbound, false),
            (listener(None, 80), "tcp", inbound, true),
            (listener(None, 80), "tcp", outbound, false),
            (listener(None, 40_000), "tcp", outbound, true),
            (listener(Some("10.7.0.2"), 80), "tcp", inbound, true),
            (listener(Some("10.7.0.1"), 80), "tcp", inbound, false),
            (Filter { port: Some(80), ..host("10.7.0.3") }, "tcp", inbound, false),
        ] {
            assert_eq!(filter.takes(direction, &frame(kind)), taken, "{filter:?} {kind} {direction:?}");
        }
    }

    #[test]
    fn conditions_on_fate() {
        let runt = Some(Counter::DropRunt);
        for (drops, dropped, taken) in [
            (None, None, true),
            (None, runt, true),
            (Some(Drops::Any), None, false),
            (Some(Drops::Any), runt, true),
            (Some(Drops::For(Counter::DropRunt)), runt, true),
            (Some(Drops::For(Counter::DropArp)), runt, false),
            (Some(Drops::For(Counter::DropArp)), None, false),
        ] {
            let filter = Filter { drops, ..Filter::default() };
            assert_eq!(filter.takes_fate(dropped), taken, "{drops:?} {dropped:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(
            kind in prop::sample::select(vec!["tcp", "tagged", "options6", "arp"]),
            cut in 0usize..80,
            at in 0usize..80,
            value: u8,
        ) {
            let mut bytes = frame(kind);
            bytes.truncate(cut);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            let filter = Filter { port: Some(80), ..Filter::default() };
            filter.takes(Direction::Inbound, &bytes);
        }
    }
}
