//! PCI network cards: the configured one, the way to bind it, and all there are.

use super::super::device::{Device, SHARED_WITH_KERNEL, VENDORS};
use super::super::machine::{Machine, Nic, show_list};
use super::super::need::Need;
use super::super::{Finding, Severity};
use crate::config::Config;

/// Kernel drivers through which a program owns a card.
const FOR_PROGRAMS: &[&str] = &["vfio-pci", "uio_pci_generic", "igb_uio"];
/// virtio's vendor: an old virtio card works through ports, without a driver.
const VIRTIO: &str = "1af4";
const IOMMU: &str = "turn it on in the firmware (VT-d, AMD-Vi) and add to the kernel's command line: intel_iommu=on iommu=pt\n\
                     or, without protection: modprobe vfio enable_unsafe_noiommu_mode=1, or uio_pci_generic instead of vfio-pci";

fn vendor(nic: &Nic) -> &str {
    nic.model.split(':').next().unwrap_or_default()
}

fn shared(nic: &Nic) -> bool {
    SHARED_WITH_KERNEL.contains(&vendor(nic))
}

fn for_programs(nic: &Nic) -> bool {
    nic.driver.as_deref().is_some_and(|driver| FOR_PROGRAMS.contains(&driver))
}

fn bind(nic: &Nic) -> String {
    let down = nic.interfaces.iter().map(|interface| format!("ip link set {interface} down && ")).collect::<String>();
    format!("modprobe vfio-pci && {down}dpdk-devbind.py --bind=vfio-pci {} (as root)", nic.address)
}

/// The card that `port.device` names.
pub fn configured(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    let Some(Device::Pci(address)) = config.and_then(Device::of) else { return Vec::new() };
    let Some(nic) = machine.net.nics.iter().find(|nic| nic.address == address) else {
        if machine.net.pci.contains(&address) {
            // Of another class, which some DPDK drivers take.
            return Vec::new();
        }
        let others: Vec<&str> = machine.net.nics.iter().map(|nic| nic.address.as_str()).collect();
        let others =
            if others.is_empty() { "there is none".to_string() } else { format!("there are: {}", others.join(", ")) };
        let what = format!("no PCI network card has the address {address}; {others}");
        return vec![
            Finding::fatal("nic-missing", what)
                .why("the card is absent, hidden from this container, or has another address")
                .fix("correct device under [port]; dpdk-devbind.py --status lists the cards\nor try without a card: dpdk-config/tap.toml"),
        ];
    };
    let mut found = vec![binding(machine, nic)];
    found.extend(plugin(machine, nic));
    found.extend(config.and_then(|config| remote(machine, config, nic)));
    found
}

fn binding(machine: &Machine, nic: &Nic) -> Finding {
    let (address, interfaces) = (&nic.address, nic.interfaces.join(", "));
    let route = nic.interfaces.iter().find(|interface| machine.net.default_routes.contains(interface));
    match &nic.driver {
        Some(driver) if for_programs(nic) => Finding::ok("nic", format!("{address} is bound to {driver}")),
        Some(driver) if shared(nic) => Finding::ok("nic", format!("{address} is shared with the kernel's {driver}")),
        Some(driver) if route.is_some() => {
            let what = format!(
                "{address} ({interfaces}) carries the machine's default route and is bound to the kernel's {driver}"
            );
            Finding::fatal("nic-default-route", what)
                .why("DPDK needs the whole card: binding it cuts the machine off")
                .fix("use another card, or the kernel's interface through AF_PACKET: dpdk-config/af_packet.toml")
        }
        Some(driver) => {
            let severity = if nic.interfaces.is_empty() { Severity::Warning } else { Severity::Fatal };
            let with = if interfaces.is_empty() { String::new() } else { format!(", as {interfaces}") };
            Finding::new(
                severity,
                "nic-bound-to-kernel",
                format!("{address} is bound to the kernel's driver {driver}{with}"),
            )
            .why("DPDK drives the card itself and skips one that the kernel drives")
            .fix(bind(nic))
        }
        None => {
            let severity = if vendor(nic) == VIRTIO { Severity::Warning } else { Severity::Fatal };
            Finding::new(severity, "nic-unbound", format!("{address} is bound to no driver"))
                .why("DPDK reaches a card through vfio-pci or uio_pci_generic")
                .fix(bind(nic))
        }
    }
}

/// The driver on DPDK's side.
fn plugin(machine: &Machine, nic: &Nic) -> Option<Finding> {
    let dpdk = &machine.dpdk;
    let (_, name, plugins) = VENDORS.iter().find(|(id, ..)| *id == vendor(nic))?;
    if !dpdk.built_in || plugins.iter().any(|plugin| dpdk.has(plugin)) {
        return None;
    }
    let what = format!("no DPDK driver for {name} cards ({}) is installed: {}", nic.model, plugins.join(", "));
    let finding = Finding::warning("nic-pmd-missing", what).why("EAL leaves a card without a driver alone");
    Some(finding.fix("apt-get install librte-meta-net (as root; Debian)"))
}

/// Whether the workers are on the card's NUMA node.
fn remote(machine: &Machine, config: &Config, nic: &Nic) -> Option<Finding> {
    let nodes = &machine.memory.nodes;
    let home = nodes.iter().find(|node| Some(node.id) == nic.node).filter(|_| nodes.len() > 1)?;
    let cpus = Need::of(config, machine).cpus;
    let away: Vec<usize> = cpus.iter().filter(|cpu| !home.cpus.contains(cpu)).copied().collect();
    if away.is_empty() {
        return None;
    }
    let what =
        format!("{} is on NUMA node {}, and the workers of CPU {} are not", nic.address, home.id, show_list(&away));
    let finding = Finding::warning("nic-remote-node", what).why("every frame crosses between the sockets");
    Some(finding.fix(format!("taskset -c {} penstock run -c FILE", show_list(&home.cpus))))
}

/// VFIO and the IOMMU: needed for a card, of no use to virtual devices.
pub fn vfio(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    let vfio = &machine.net.vfio;
    let nic = config.and_then(Device::of).and_then(|device| match device {
        Device::Pci(address) => machine.net.nics.iter().find(|nic| nic.address == address),
        _ => None,
    });
    // A virtual device needs none of it, and without any card there is nothing to say.
    let wanted = match config {
        Some(_) => nic.is_some_and(|nic| !shared(nic)),
        None => !machine.net.nics.is_empty(),
    };
    let uio = nic.is_some_and(|nic| for_programs(nic) && nic.driver.as_deref() != Some("vfio-pci"));
    if !wanted || uio {
        return Vec::new();
    }
    let severity = super::slow(config);
    let mut found = Vec::new();
    if vfio.groups == 0 && !vfio.no_iommu {
        found.push(
            Finding::new(severity, "iommu-off", "there are no IOMMU groups: the IOMMU is off or absent")
                .why("vfio-pci gives a card to a program only behind an IOMMU")
                .fix(IOMMU),
        );
    }
    if !vfio.loaded && vfio.available == Some(false) {
        found.push(
            Finding::new(severity, "vfio-missing", "this kernel has no vfio-pci module")
                .why("it is the driver through which DPDK reaches a card")
                .fix("install the kernel's module package, or use uio_pci_generic"),
        );
    } else if !vfio.loaded {
        found.push(
            Finding::new(severity, "vfio-unloaded", "vfio-pci is not loaded")
                .why("it is the driver through which DPDK reaches a card")
                .fix("modprobe vfio-pci (as root)"),
        );
    }
    if found.is_empty() {
        found.push(Finding::ok("vfio", format!("vfio-pci is loaded, {} IOMMU groups", vfio.groups)));
    }
    found
}

/// Each card and interface, and what it would take to use it.
pub fn inventory(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    let device = config.and_then(Device::of);
    let cards = machine.net.nics.iter().filter(|nic| device != Some(Device::Pci(nic.address.clone())));
    let mut found: Vec<Finding> = cards.map(|nic| card(machine, nic)).collect();
    let of_cards: Vec<&String> = machine.net.nics.iter().flat_map(|nic| &nic.interfaces).collect();
    for interface in machine.net.interfaces.iter().flatten().filter(|interface| !of_cards.contains(&&interface.name)) {
        let Some(details) = interface.details.as_ref().filter(|details| details.driver.is_some()) else { continue };
        let (name, driver) = (&interface.name, details.driver.as_deref().unwrap_or_default());
        let what = format!("{name}: {driver}, {}", link(details.up, details.carrier));
        found.push(
            Finding::note("nic-present", what).fix(format!("device = \"net_af_packet0,iface={name}\" under [port]")),
        );
    }
    found
}

fn card(machine: &Machine, nic: &Nic) -> Finding {
    let mut what = format!("{} ({}): {}", nic.address, nic.model, nic.driver.as_deref().unwrap_or("no driver"));
    for name in &nic.interfaces {
        what.push_str(&format!(", {name}"));
        if let Some(details) = machine.net.interface(name).and_then(|interface| interface.details.as_ref()) {
            what.push_str(&format!(" {}", link(details.up, details.carrier)));
        }
        if machine.net.default_routes.contains(name) {
            what.push_str(", default route");
        }
    }
    if let Some(node) = nic.node {
        what.push_str(&format!(", node {node}"));
    }
    let ready = for_programs(nic) || shared(nic);
    let routed = nic.interfaces.iter().any(|name| machine.net.default_routes.contains(name));
    let finding = Finding::note("nic-present", what);
    if routed {
        return finding.why("binding it would cut the machine off").fix("leave it to the kernel");
    }
    let device = format!("device = \"{}\" under [port]", nic.address);
    finding.fix(if ready { device } else { format!("{}, then {device}", bind(nic)) })
}

fn link(up: bool, carrier: Option<bool>) -> &'static str {
    match (up, carrier) {
        (false, _) => "down",
        (true, Some(false)) => "no link",
        (true, _) => "link up",
    }
}
