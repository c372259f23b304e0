//! `[port]` and `[[listener]]`: addresses that make sense on a network, and together.

use core::net::IpAddr;

use toml::Spanned;

use super::reader::Section;
use super::report::{Report, Span};
use crate::config::{Cidr, Listener, PortConfig};
use crate::limits;

/// The smallest MTU that IPv6 permits, in bytes (RFC 8200, 5).
const IPV6_MTU_MIN: u16 = 1280;

pub(in crate::control) fn port(section: &Section) -> PortConfig {
    let addresses = addresses(section);
    let port = PortConfig {
        device: section.text("device").and_then(|device| check_device(section.report, &device)),
        gateways: gateways(section, &addresses),
        vlan: section.integer("vlan").map(|n| n.into_inner() as u16),
        mtu: mtu(section),
        addresses,
    };
    if port.mtu.is_some_and(|mtu| mtu < IPV6_MTU_MIN) && port.addresses.iter().any(|a| a.address.is_ipv6()) {
        let what = format!("`mtu` must be at least {IPV6_MTU_MIN} with an IPv6 address (RFC 8200, 5)");
        section.report.add(section.span_of("mtu"), what, format!("write mtu = {IPV6_MTU_MIN} or more"));
    }
    port
}

fn mtu(section: &Section) -> Option<u16> {
    let most = limits::MTU_MAX;
    if let Some(number) = section.number("mtu").filter(|number| *number > u64::from(most)) {
        let what = format!("`mtu` is {number}, but jumbo frames are not supported");
        section.report.add(section.span_of("mtu"), what, format!("write mtu = {most} or less, or leave it out"));
        return None;
    }
    section.integer("mtu").map(|n| n.into_inner() as u16)
}

fn check_device(report: &Report, device: &Spanned<&str>) -> Option<String> {
    let text = *device.get_ref();
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let fix = "examples: \"net_tap0,iface=penstock0\", \"0000:01:00.0\"";
        report.add(device.span(), "`device` is empty or has spaces", fix);
        return None;
    }
    // Bus addresses have a colon; virtual devices have the prefix of DPDK's network drivers.
    if !text.contains(':') && !["net_", "eth_", "virtio_user"].iter().any(|prefix| text.starts_with(prefix)) {
        let what = format!("`device` is neither a DPDK vdev nor a PCI address: {text:?}");
        let fix = format!(
            "for a kernel interface write \"net_af_packet0,iface={text}\"; for a network card its PCI address, \
             such as \"0000:01:00.0\" (dpdk-devbind.py --status lists them)"
        );
        report.add(device.span(), what, fix);
        return None;
    }
    Some(text.to_string())
}

fn addresses(section: &Section) -> Vec<Cidr> {
    let texts = section.texts("address");
    if section.lacks("address") {
        let fix = "add: address = \"10.7.0.2/24\"";
        section.report.add(section.span.clone(), "[port] has no `address`", fix);
    }
    let mut addresses: Vec<Cidr> = Vec::new();
    for text in texts {
        let cidr = match parse_cidr(text.get_ref()) {
            Ok(cidr) => cidr,
            Err((what, fix)) => {
                section.report.add(text.span(), what, fix);
                continue;
            }
        };
        if addresses.iter().any(|other| other.address == cidr.address) {
            section.report.add(text.span(), format!("{} is listed twice", cidr.address), "remove one of them");
        } else if addresses.len() == limits::ADDRESSES_MAX {
            let fix = format!("list at most {} addresses", limits::ADDRESSES_MAX);
            section.report.add(text.span(), "too many addresses", fix);
            break;
        } else {
            addresses.push(cidr);
        }
    }
    addresses
}

/// An address of ours; the error is what is wrong and what fixes it.
fn parse_cidr(text: &str) -> Result<Cidr, (String, String)> {
    let (address, prefix_len) = match text.split_once('/') {
        Some((address, prefix_len)) => (address, Some(prefix_len)),
        None => (text, None),
    };
    let address = parse_address(address)?;
    let (bits, usual) = if address.is_ipv4() { (32, 24) } else { (128, 64) };
    let Some(prefix_len) = prefix_len else {
        let what = format!("{address} has no prefix length, so nobody knows who is on-link");
        return Err((what, format!("add it: \"{address}/{usual}\"")));
    };
    let prefix_len = prefix_len.parse::<u8>().ok().filter(|len| *len <= bits).ok_or_else(|| {
        (format!("not a prefix length: {prefix_len:?}"), format!("prefix lengths are from 0 to {bits}"))
    })?;
    let cidr = Cidr { address, prefix_len };
    if let IpAddr::V4(v4) = address {
        // The ends of a subnet name the subnet and its broadcast (RFC 1122, 3.2.1.3), except in a /31 (RFC 3021).
        let host_bits = u32::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
        let host = v4.to_bits() & host_bits;
        if prefix_len < 31 && (host == 0 || host == host_bits) {
            let end = if host == 0 { "network" } else { "broadcast" };
            let what = format!("{text} is the {end} address of its subnet, not a host's");
            return Err((what, "choose an address between the first and the last of the subnet".to_string()));
        }
    }
    Ok(cidr)
}

fn parse_address(text: &str) -> Result<IpAddr, (String, String)> {
    let address: IpAddr = text.parse().map_err(|_| {
        (format!("not an IP address: {text:?}"), "examples: \"10.7.0.2/24\", \"fd00:7::2/64\"".to_string())
    })?;
    let kind = match address {
        _ if address.is_unspecified() => "unspecified",
        _ if address.is_loopback() => "loopback",
        _ if address.is_multicast() => "multicast",
        IpAddr::V4(v4) if v4.is_broadcast() => "broadcast",
        IpAddr::V4(v4) if v4.octets()[0] == 0 => "reserved",
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => "IPv4-mapped",
        _ => return Ok(address),
    };
    let fix = "name a unicast address of the network the device is connected to";
    Err((format!("{address} is {kind}, not an address a host can have"), fix.to_string()))
}

fn gateways(section: &Section, addresses: &[Cidr]) -> Vec<IpAddr> {
    let mut gateways: Vec<IpAddr> = Vec::new();
    for text in section.texts("gateway") {
        let gateway = match parse_address(text.get_ref()) {
            Ok(gateway) => gateway,
            Err((what, _)) => {
                section.report.add(text.span(), what, "name the router's address, without prefix length");
                continue;
            }
        };
        match check_gateway(gateway, &gateways, addresses) {
            Ok(()) => gateways.push(gateway),
            // Without addresses nothing can be said about gateways, and that has been reported.
            Err(_) if addresses.is_empty() => {}
            Err((what, fix)) => section.report.add(text.span(), what, fix),
        }
    }
    gateways
}

fn check_gateway(gateway: IpAddr, others: &[IpAddr], addresses: &[Cidr]) -> Result<(), (String, String)> {
    let family = if gateway.is_ipv4() { "IPv4" } else { "IPv6" };
    if others.iter().any(|other| other.is_ipv4() == gateway.is_ipv4()) {
        return Err((format!("{gateway} is the second {family} gateway"), "name one for each family".to_string()));
    }
    if addresses.iter().any(|own| own.address == gateway) {
        return Err((format!("{gateway} is our own address"), "name the router's address".to_string()));
    }
    let mut same_family = addresses.iter().filter(|own| own.address.is_ipv4() == gateway.is_ipv4()).peekable();
    if same_family.peek().is_none() {
        let what = format!("{gateway} is an {family} gateway, but `address` has no {family} address");
        return Err((what, format!("add an {family} address or remove the gateway")));
    }
    // Link-local addresses are on-link by definition (RFC 4861, 5.1).
    let link_local = matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local());
    if !link_local && !same_family.any(|own| on_link(own, gateway)) {
        let what = format!("{gateway} is not within the prefix of any {family} `address`");
        return Err((what, "name the router's address on our network, or correct the prefix length".to_string()));
    }
    Ok(())
}

pub(in crate::control) fn on_link(own: &Cidr, other: IpAddr) -> bool {
    let len = u32::from(own.prefix_len);
    match (own.address, other) {
        (IpAddr::V4(own), IpAddr::V4(other)) => {
            (own.to_bits() ^ other.to_bits()).checked_shr(32 - len.min(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(own), IpAddr::V6(other)) => {
            (own.to_bits() ^ other.to_bits()).checked_shr(128 - len.min(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

pub(super) fn listeners(root: &Section, port: &PortConfig) -> Vec<Listener> {
    let report = root.report;
    if root.lacks("listener") {
        report.add_missing("there is no [[listener]], so nobody could connect", "add: [[listener]]\nport = 80");
    }
    let mut listeners: Vec<(Listener, Span)> = Vec::new();
    for section in root.sections("listener") {
        let Some(listener) = listener(&section, port) else { continue };
        let overlaps = |other: &&(Listener, Span)| {
            other.0.port == listener.port
                && (other.0.address == listener.address || other.0.address.is_none() || listener.address.is_none())
        };
        if let Some((_, first)) = listeners.iter().find(overlaps) {
            let line = report.line(first);
            let what = format!("port {} is already listened on, by the [[listener]] of line {line}", listener.port);
            let fix = "remove one of them, or give each its own address; without `address` a listener has them all";
            report.add(section.span_of("port"), what, fix);
        } else if listeners.len() == limits::LISTENERS_MAX {
            let fix = format!("write at most {} [[listener]] sections", limits::LISTENERS_MAX);
            report.add(section.span.clone(), "too many listeners", fix);
            break;
        } else {
            listeners.push((listener, section.span.clone()));
        }
    }
    listeners.into_iter().map(|(listener, _)| listener).collect()
}

fn listener(section: &Section, port: &PortConfig) -> Option<Listener> {
    if section.lacks("port") {
        section.report.add(section.span.clone(), "[[listener]] has no `port`", "add: port = 80");
    }
    let number = section.integer("port").map(|n| n.into_inner() as u16);
    let address = match section.text("address") {
        None => None,
        Some(text) => match text.get_ref().parse::<IpAddr>() {
            Ok(address) if port.addresses.iter().any(|own| own.address == address) => Some(address),
            // The port's addresses could not be read, which has been reported.
            Ok(_) if port.addresses.is_empty() => return None,
            _ => {
                let own: Vec<String> = port.addresses.iter().map(|own| own.address.to_string()).collect();
                let what = format!("`address` is not one of the port's addresses: {:?}", text.get_ref());
                section.report.add(text.span(), what, format!("write one of: {}", own.join(", ")));
                return None;
            }
        },
    };
    Some(Listener { address, port: number? })
}
