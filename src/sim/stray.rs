//! Frames that no decent host sends.
//!
//! Owns one frame for each reason a gateway has to drop it, and that reason. Refuses to share code with `net`: the frames are
//! written byte by byte.

use super::packet::{self, ARP, BROADCAST, ICMP, ICMPV6, IPV4, IPV6, Identity, Mac, TCP, wrap};
use super::rng::Rng;
use crate::telemetry::Counter;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A kind of stray frame.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Stray {
    /// Ten bytes.
    Runt,
    /// An EtherType for experiments (IEEE 802).
    EtherType,
    /// Another VLAN's.
    Vlan,
    /// For another station.
    NotForUs,
    /// The first fragment of a datagram.
    Fragment,
    /// With a source route (RFC 791, 3.1).
    SourceRoute,
    /// UDP.
    Udp,
    /// A TCP header shorter than one.
    TcpHeader,
    /// An ARP operation that does not exist.
    Arp,
    /// Somebody claims the gateway's address.
    Conflict,
    /// A redirect (RFC 4861, 4.5).
    Redirect,
    /// Destination unreachable (RFC 792), about nothing of the gateway's.
    Unreachable,
    /// The same, about a segment that the gateway may have sent.
    SoftError,
    /// A chain of more bytes than a frame has room for.
    Chain,
}

const STRANGER: Mac = [0x02, 0, 0, 0, 9, 9];
const STRANGER_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);
const STRANGER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x77);

impl Stray {
    /// All of them.
    pub const ALL: &[Stray] = &[
        Stray::Runt,
        Stray::EtherType,
        Stray::Vlan,
        Stray::NotForUs,
        Stray::Fragment,
        Stray::SourceRoute,
        Stray::Udp,
        Stray::TcpHeader,
        Stray::Arp,
        Stray::Conflict,
        Stray::Redirect,
        Stray::Unreachable,
        Stray::SoftError,
        Stray::Chain,
    ];

    /// How the gateway has to count it.
    pub fn counter(self) -> Counter {
        match self {
            Stray::Runt => Counter::DropRunt,
            Stray::EtherType => Counter::DropEtherType,
            Stray::Vlan => Counter::DropVlan,
            Stray::NotForUs => Counter::DropNotForUs,
            Stray::Fragment => Counter::DropFragment,
            Stray::SourceRoute => Counter::DropIpOptions,
            Stray::Udp => Counter::DropProtocol,
            Stray::TcpHeader => Counter::DropTcpHeader,
            Stray::Arp => Counter::DropArp,
            Stray::Conflict => Counter::DropAddressConflict,
            Stray::Redirect => Counter::DropNeighbor,
            Stray::Unreachable => Counter::DropIcmp,
            Stray::SoftError => Counter::DropIcmpError,
            Stray::Chain => Counter::DropChain,
        }
    }

    /// The frame, and the further segments of a chain.
    pub fn frame(self, gateway: &Identity) -> (Vec<u8>, Vec<u8>) {
        let (mac, vlan) = (gateway.mac, gateway.vlan);
        let v4 = |edit: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = udp(gateway);
            edit(&mut bytes);
            wrap(mac, STRANGER, vlan, IPV4, &bytes)
        };
        let icmp = |protocol, message: Vec<u8>| {
            let (from, to, ether_type) = match protocol {
                ICMP => (STRANGER_V4.into(), address(gateway, false), IPV4),
                _ => (STRANGER_V6.into(), address(gateway, true), IPV6),
            };
            let mut bytes = packet::packet(from, to, protocol, message, 2);
            if protocol == ICMPV6 {
                bytes[7] = 255;
            }
            wrap(mac, STRANGER, vlan, ether_type, &bytes)
        };
        let frame = match self {
            Stray::Runt => vec![0x33; 10],
            Stray::EtherType => wrap(mac, STRANGER, vlan, 0x88b5, &[0; 46]),
            Stray::Vlan => wrap(mac, STRANGER, Some(vlan.map_or(7, |id| id % 4094 + 1)), IPV4, &udp(gateway)),
            Stray::NotForUs => wrap([0x02, 0, 0, 0, 8, 8], STRANGER, vlan, IPV4, &udp(gateway)),
            Stray::Udp | Stray::Chain => v4(&|_| {}),
            Stray::Fragment => v4(&|bytes| {
                bytes[6] = 0x20;
                sum_header(bytes);
            }),
            Stray::SourceRoute => v4(&|bytes| {
                bytes.splice(20..20, [131, 7, 4, 192, 0, 2, 1, 0]);
                (bytes[0], bytes[3]) = (0x47, bytes[3] + 8);
                sum_header(bytes);
            }),
            Stray::TcpHeader => {
                let mut segment = vec![0; 20];
                (segment[1], segment[3], segment[12]) = (9, 80, 0x30);
                let bytes = packet::packet(STRANGER_V4.into(), address(gateway, false), TCP, segment, 16);
                wrap(mac, STRANGER, vlan, IPV4, &bytes)
            }
            Stray::Arp => wrap(BROADCAST, STRANGER, vlan, ARP, &arp(9, STRANGER_V4, gateway)),
            Stray::Conflict => match address(gateway, false) {
                IpAddr::V4(ours) => wrap(BROADCAST, STRANGER, vlan, ARP, &arp(2, ours, gateway)),
                IpAddr::V6(_) => unreachable!("an IPv4 address was asked for"),
            },
            Stray::Redirect => icmp(ICMPV6, [&[137, 0, 0, 0, 0, 0, 0, 0][..], &[0; 32]].concat()),
            Stray::SoftError => {
                let segment = [&[0, 80, 0, 9][..], &[0; 16]].concat();
                let quoted = packet::packet(address(gateway, false), STRANGER_V4.into(), TCP, segment, 16);
                icmp(ICMP, [&[3, 1, 0, 0, 0, 0, 0, 0][..], &quoted].concat())
            }
            Stray::Unreachable => icmp(ICMP, [&[3, 1, 0, 0, 0, 0, 0, 0][..], &udp(gateway)].concat()),
        };
        let chain = if self == Stray::Chain { vec![0x44; 3000] } else { Vec::new() };
        (frame, chain)
    }
}

/// A UDP datagram to the gateway.
fn udp(gateway: &Identity) -> Vec<u8> {
    packet::packet(STRANGER_V4.into(), address(gateway, false), 17, vec![0, 9, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4], 6)
}

fn arp(operation: u8, sender: Ipv4Addr, gateway: &Identity) -> Vec<u8> {
    let IpAddr::V4(target) = address(gateway, false) else { unreachable!("an IPv4 address was asked for") };
    [&[0, 1, 8, 0, 6, 4, 0, operation][..], &STRANGER, &sender.octets(), &[0; 6], &target.octets()].concat()
}

/// Puts the right checksum into an IPv4 header.
fn sum_header(bytes: &mut [u8]) {
    let len = usize::from(bytes[0] & 15) * 4;
    bytes[10..12].fill(0);
    let sum = !packet::ones_complement(&bytes[..len], 0);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// An address of the gateway; every gateway of a simulation has one of each family.
fn address(gateway: &Identity, v6: bool) -> IpAddr {
    let found = gateway.addresses.iter().find(|address| address.is_ipv6() == v6);
    *found.expect("a gateway has an address of each family")
}

/// An address at which there is nobody: on the link, or anywhere.
pub fn nobody(v6: bool, rng: &mut Rng) -> IpAddr {
    let n = rng.below(1 << 16) as u16;
    match (v6, rng.chance(200_000)) {
        (false, true) => Ipv4Addr::new(10, 0, 0, 100 + (n % 100) as u8).into(),
        (false, false) => Ipv4Addr::from(0xc612_0000 | u32::from(n)).into(),
        (true, true) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, n).into(),
        (true, false) => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, n).into(),
    }
}
