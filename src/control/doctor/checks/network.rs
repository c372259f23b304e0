//! Addresses and ports that the kernel uses as well.

use std::net::IpAddr;

use super::super::Finding;
use super::super::device::Device;
use super::super::machine::Machine;
use crate::config::Config;

/// The configured addresses that the kernel has, too.
fn shared(machine: &Machine, config: &Config) -> Vec<(IpAddr, Option<String>)> {
    let ours = |address: &IpAddr| config.port.addresses.iter().any(|own| own.address == *address);
    machine.net.addresses.iter().filter(|(address, _)| ours(address)).cloned().collect()
}

/// Addresses. Whether another host has one of them cannot be known without sending.
pub fn addresses(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    let Some(config) = config else { return Vec::new() };
    let conflict = |(address, interface): (IpAddr, Option<String>)| {
        let on = interface.as_ref().map_or(String::new(), |interface| format!(" on {interface}"));
        let prefix = config.port.addresses.iter().find(|own| own.address == address).map_or(32, |own| own.prefix_len);
        let what = format!("the gateway's address {address} is also the kernel's{on}");
        let interface = interface.unwrap_or_else(|| "IFACE".into());
        Finding::warning("address-conflict", what)
            .why("the kernel answers for it: this machine never reaches the gateway, other clients get resets or the wrong one")
            .fix(format!("ip addr del {address}/{prefix} dev {interface}, or choose another address under [port]"))
    };
    let mut found: Vec<Finding> = shared(machine, config).into_iter().map(conflict).collect();
    let device = Device::of(config);
    let used = device.as_ref().filter(|device| device.driver().is_some_and(|driver| driver.uses_interface));
    if let Some(interface) = used.and_then(Device::interface).filter(|_| found.is_empty()) {
        let own = machine.net.addresses.iter().filter(|(_, on)| on.as_deref() == Some(interface));
        let others: Vec<String> =
            own.filter(|(address, _)| !link_local(*address)).map(|(at, _)| at.to_string()).collect();
        if !others.is_empty() {
            let note = Finding::note(
                "interface-shared",
                format!("the kernel uses {interface}, too, with {}", others.join(", ")),
            );
            found.push(
                note.why("both see every frame; the kernel may forward or answer what is meant for the gateway")
                    .fix(format!("give the gateway an interface of its own, or: ip addr flush dev {interface}")),
            );
        }
    }
    if found.is_empty() {
        found.push(Finding::ok("addresses", "no address of the gateway is the kernel's"));
    }
    found
}

fn link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Ports. The gateway has its own TCP, so a port of the kernel's is in its way only on an address that both have.
pub fn listeners(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    let Some(config) = config else { return Vec::new() };
    let shared = shared(machine, config);
    let mut found = Vec::new();
    for listener in &config.listeners {
        let reaches = |address: IpAddr| listener.address.is_none_or(|only| only == address);
        let both = shared.iter().map(|(address, _)| *address).find(|address| {
            let taken = |(at, port): &(IpAddr, u16)| {
                *port == listener.port
                    && (at == address || (at.is_unspecified() && (at.is_ipv6() || address.is_ipv4())))
            };
            reaches(*address) && machine.net.listeners.iter().any(taken)
        });
        let port = listener.port;
        if let Some(address) = both {
            let what = format!("a program listens on port {port} of {address} through the kernel");
            let why = "clients that the kernel answers get that program, not the gateway";
            let fix = format!("end it (ss -tlnp 'sport = :{port}'), or change the address or port of the [[listener]]");
            found.push(Finding::warning("port-conflict", what).why(why).fix(fix));
        } else if machine.net.listeners.iter().any(|(_, taken)| *taken == port) {
            let what = format!(
                "a program listens on port {port} through the kernel, on addresses that the gateway does not have"
            );
            found
                .push(Finding::note("port-shared", what).why("no conflict: the gateway has its own TCP and addresses"));
        }
    }
    found
}
