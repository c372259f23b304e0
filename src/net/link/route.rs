//! Routes: on-link prefixes and one default gateway per address family.
//!
//! Owns the choice of next hop and of our address towards it. Refuses routing tables: addresses with their prefixes and
//! gateways are all there is.

use crate::config::Cidr;
use core::net::{IpAddr, Ipv6Addr};

pub(super) struct Routes {
    addresses: Vec<Cidr>,
    gateways: Vec<IpAddr>,
}

impl Routes {
    /// Routes over `addresses`; the link-local ones among them make fe80::/10 on-link.
    pub(super) fn new(addresses: Vec<Cidr>, gateways: Vec<IpAddr>) -> Routes {
        Routes { addresses, gateways }
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().map(|cidr| cidr.address)
    }

    pub(super) fn gateways(&self) -> &[IpAddr] {
        &self.gateways
    }

    /// The neighbour that takes packets to `destination`, which may be itself.
    pub(super) fn next_hop(&self, destination: IpAddr) -> Option<IpAddr> {
        if self.is_on_link(destination) {
            return Some(destination);
        }
        let routable = is_host(destination) && !self.addresses.iter().any(|c| contains(c, destination));
        self.gateways.iter().copied().find(|g| routable && g.is_ipv4() == destination.is_ipv4())
    }

    /// Whether `ip` can be a neighbour: another host of one of our prefixes, or a configured gateway.
    pub(super) fn is_on_link(&self, ip: IpAddr) -> bool {
        let ours = self.addresses().any(|a| a == ip);
        let prefixed = || self.addresses.iter().any(|c| contains(c, ip) && !is_edge(c, ip));
        !ours && is_host(ip) && (prefixed() || self.gateways.contains(&ip))
    }

    /// Our address to ask `neighbor` from: one that shares its prefix, else the first of its family.
    pub(super) fn source_for(&self, neighbor: IpAddr) -> Option<IpAddr> {
        let family = || self.addresses.iter().filter(|c| c.address.is_ipv4() == neighbor.is_ipv4());
        family().find(|c| contains(c, neighbor)).or_else(|| family().next()).map(|c| c.address)
    }
}

/// The link-local address of a MAC (RFC 4291, appendix A).
pub(super) fn link_local(mac: [u8; 6]) -> Cidr {
    let [a, b, c, d, e, f] = mac;
    let address = Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Cidr { address: IpAddr::V6(address), prefix_len: 10 }
}

fn is_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_multicast() && !ip.is_broadcast() && !ip.is_loopback() && ip.octets()[0] != 0,
        IpAddr::V6(ip) => crate::net::ip::is_v6_host(&ip.octets()),
    }
}

fn contains(cidr: &Cidr, ip: IpAddr) -> bool {
    match (cidr.address, ip) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()) & v4_mask(cidr.prefix_len) == 0,
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(cidr.prefix_len)).unwrap_or(0);
            (a.to_bits() ^ b.to_bits()) & mask == 0
        }
        _ => false,
    }
}

/// Whether `ip` is the prefix's own number or its directed broadcast (RFC 1122, 3.2.1.3); prefixes of 31 and 32 bits have
/// neither (RFC 3021).
fn is_edge(cidr: &Cidr, ip: IpAddr) -> bool {
    let IpAddr::V4(ip) = ip else { return false };
    let host = !v4_mask(cidr.prefix_len);
    cidr.prefix_len < 31 && [0, host].contains(&(ip.to_bits() & host))
}

fn v4_mask(prefix_len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(address: &str, prefix_len: u8) -> Cidr {
        Cidr { address: address.parse().unwrap(), prefix_len }
    }

    #[test]
    fn next_hops() {
        let routes = Routes::new(
            vec![cidr("10.0.0.1", 24), cidr("192.0.2.0", 31), cidr("2001:db8::1", 64), link_local([2, 0, 0, 0, 0, 1])],
            vec!["10.0.0.254".parse().unwrap(), "fe80::99".parse().unwrap()],
        );
        let cases = [
            ("10.0.0.2", Some("10.0.0.2")),
            ("10.0.1.2", Some("10.0.0.254")),
            ("192.0.2.1", Some("192.0.2.1")),
            ("10.0.0.255", None),
            ("10.0.0.0", None),
            ("10.0.0.1", None),
            ("255.255.255.255", None),
            ("224.0.0.1", None),
            ("127.0.0.1", None),
            ("0.0.0.0", None),
            ("2001:db8::2", Some("2001:db8::2")),
            ("2001:db8:1::2", Some("fe80::99")),
            ("fe80::5", Some("fe80::5")),
            ("2001:db8::1", None),
            ("ff02::1", None),
            ("::", None),
        ];
        for (destination, next_hop) in cases {
            let want: Option<IpAddr> = next_hop.map(|n| n.parse().unwrap());
            assert_eq!(routes.next_hop(destination.parse().unwrap()), want, "{destination}");
        }
    }

    #[test]
    fn without_a_gateway_there_is_no_way_out_and_prefix_0_holds_everything() {
        let routes = Routes::new(vec![cidr("10.0.0.1", 32)], vec![]);
        assert_eq!(routes.next_hop("10.0.0.2".parse().unwrap()), None);
        let routes = Routes::new(vec![cidr("10.0.0.1", 0), cidr("2001:db8::1", 0)], vec![]);
        for ip in ["198.51.100.1", "2001:db8:ffff::1"].map(|ip| ip.parse().unwrap()) {
            assert_eq!(routes.next_hop(ip), Some(ip));
        }
    }

    #[test]
    fn requests_come_from_the_address_that_shares_the_prefix() {
        let local = link_local([2, 0, 0, 0, 0, 1]);
        assert_eq!(local.address, "fe80::ff:fe00:1".parse::<IpAddr>().unwrap());
        let routes =
            Routes::new(vec![cidr("10.0.0.1", 24), cidr("10.1.0.1", 24), cidr("2001:db8::1", 64), local], vec![]);
        let source = |ip: &str| routes.source_for(ip.parse().unwrap()).unwrap().to_string();
        assert_eq!(source("10.1.0.9"), "10.1.0.1");
        assert_eq!(source("10.9.0.9"), "10.0.0.1");
        assert_eq!(source("fe80::9"), "fe80::ff:fe00:1");
        assert_eq!(source("2001:db8::9"), "2001:db8::1");
    }
}
