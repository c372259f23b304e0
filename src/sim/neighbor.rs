//! ARP and neighbour discovery of a client host, as messages.
//!
//! Owns building and reading them from the RFCs' figures (RFC 826; RFC 4861, 4.3 and 4.4). Refuses to share code with
//! `net`, whose own implementation it judges, and to remember anything: `host` does.

use super::packet::{self, ARP, BROADCAST, ICMPV6, IPV4, IPV6, Mac, wrap};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SOLICIT: u8 = 135;
const ADVERT: u8 = 136;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// What a frame says about neighbours.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Somebody asks who has `target`.
    Who {
        /// The asker's address; unspecified when it probes.
        asker: IpAddr,
        /// The asker's Ethernet address.
        mac: Mac,
        /// The address asked for.
        target: IpAddr,
    },
    /// Somebody says that `address` is at `mac`.
    Here {
        /// The address.
        address: IpAddr,
        /// Its Ethernet address.
        mac: Mac,
    },
}

/// Reads a frame; None when it is not a message about neighbours.
pub fn read(frame: &[u8]) -> Option<Message> {
    let header = packet::ethernet(frame)?;
    if header.ether_type == ARP { read_arp(&frame[header.payload..]) } else { read_nd(frame, header.source) }
}

fn read_arp(bytes: &[u8]) -> Option<Message> {
    let head = [0, 1, 8, 0, 6, 4, 0];
    if bytes.len() < 28 || bytes[..7] != head {
        return None;
    }
    let mac: Mac = bytes[8..14].try_into().ok()?;
    let sender = IpAddr::V4(Ipv4Addr::new(bytes[14], bytes[15], bytes[16], bytes[17]));
    let target = IpAddr::V4(Ipv4Addr::new(bytes[24], bytes[25], bytes[26], bytes[27]));
    match bytes[7] {
        // A gratuitous request announces its sender (RFC 5227, 1.1).
        1 if sender == target => Some(Message::Here { address: sender, mac }),
        1 => Some(Message::Who { asker: sender, mac, target }),
        2 => Some(Message::Here { address: sender, mac }),
        _ => None,
    }
}

fn read_nd(frame: &[u8], source: Mac) -> Option<Message> {
    let ip = packet::ip(frame).filter(|ip| ip.protocol == ICMPV6)?;
    let bytes = &frame[ip.l4..ip.end];
    // RFC 4861, 7.1: the hop limit shows that no router forwarded it.
    if bytes.len() < 24 || frame[ip.l3 + 7] != 255 || !packet::l4_checksum_good(frame, &ip) {
        return None;
    }
    let octets: [u8; 16] = bytes[8..24].try_into().ok()?;
    let target = IpAddr::V6(Ipv6Addr::from(octets));
    let option = bytes.get(26..32).filter(|_| bytes[25] == 1 && matches!(bytes[24], 1 | 2));
    let mac = option.and_then(|mac| mac.try_into().ok()).unwrap_or(source);
    match bytes[0] {
        SOLICIT => Some(Message::Who { asker: ip.source, mac, target }),
        ADVERT => Some(Message::Here { address: target, mac }),
        _ => None,
    }
}

/// Asks, as `from` at `mac`, who has `target`.
pub fn ask(mac: Mac, from: IpAddr, target: IpAddr, vlan: Option<u16>) -> Vec<u8> {
    match (from, target) {
        (IpAddr::V4(from), IpAddr::V4(target)) => wrap(BROADCAST, mac, vlan, ARP, &arp(1, mac, from, [0; 6], target)),
        (IpAddr::V6(from), IpAddr::V6(target)) => {
            let o = target.octets();
            // The solicited-node multicast address (RFC 4291, 2.7.1) and its Ethernet address (RFC 2464, 7).
            let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, o[13], o[14], o[15]]);
            let packet = nd(SOLICIT, 0, from, group, target, 1, mac);
            wrap([0x33, 0x33, 0xff, o[13], o[14], o[15]], mac, vlan, IPV6, &packet)
        }
        _ => unreachable!("a host and its gateway speak one family"),
    }
}

/// Answers `asker` at `to` that `address` is at `mac`.
pub fn answer(mac: Mac, address: IpAddr, asker: IpAddr, to: Mac, vlan: Option<u16>) -> Vec<u8> {
    match (address, asker) {
        (IpAddr::V4(address), IpAddr::V4(asker)) => wrap(to, mac, vlan, ARP, &arp(2, mac, address, to, asker)),
        (IpAddr::V6(address), IpAddr::V6(asker)) => {
            // RFC 4861, 7.2.4: a probe from the unspecified address is answered to all nodes, not solicited.
            let (asker, flags) = if asker.is_unspecified() { (ALL_NODES, 0x20) } else { (asker, 0x60) };
            wrap(to, mac, vlan, IPV6, &nd(ADVERT, flags, address, asker, address, 2, mac))
        }
        _ => unreachable!("a host and its gateway speak one family"),
    }
}

fn arp(operation: u8, mac: Mac, sender: Ipv4Addr, to: Mac, target: Ipv4Addr) -> Vec<u8> {
    let head = [0, 1, IPV4.to_be_bytes()[0], IPV4.to_be_bytes()[1], 6, 4, 0, operation];
    [&head[..], &mac, &sender.octets(), &to, &target.octets()].concat()
}

fn nd(kind: u8, flags: u8, from: Ipv6Addr, to: Ipv6Addr, target: Ipv6Addr, option: u8, mac: Mac) -> Vec<u8> {
    let head = [kind, 0, 0, 0, flags, 0, 0, 0];
    let mut message = [&head[..], &target.octets(), &[option, 1], &mac].concat();
    let start = packet::pseudo_header(from.into(), to.into(), ICMPV6, message.len());
    let sum = !packet::ones_complement(&message, start);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let ip = [0x60, 0, 0, 0, 0, message.len() as u8, ICMPV6, 255];
    [&ip[..], &from.octets(), &to.octets(), &message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_are_read_back() {
        let (me, you) = ([2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 1]);
        for (mine, theirs) in [("10.0.0.9", "10.0.0.1"), ("fd00::9", "fd00::1")] {
            let (mine, theirs): (IpAddr, IpAddr) = (mine.parse().unwrap(), theirs.parse().unwrap());
            for vlan in [None, Some(5)] {
                let who = read(&ask(me, mine, theirs, vlan));
                assert_eq!(who, Some(Message::Who { asker: mine, mac: me, target: theirs }));
                let here = read(&answer(you, theirs, mine, me, vlan));
                assert_eq!(here, Some(Message::Here { address: theirs, mac: you }));
            }
        }
    }

    #[test]
    fn damaged_discovery_is_not_read() {
        let good = ask([2; 6], "fd00::9".parse().unwrap(), "fd00::1".parse().unwrap(), None);
        for at in 14 + 8..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(read(&bad), None, "{at}");
        }
    }
}
