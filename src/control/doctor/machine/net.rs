//! The kernel's interfaces, addresses and sockets, and the PCI network cards.
//!
//! Owns what /proc/net, /sys/class/net and /sys/bus/pci say. /proc/net is that of our network namespace; /sys/class/net
//! is that of whoever mounted it, and is believed only when both list the same interfaces. Refuses to send anything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Root, Scope};

/// TCP_LISTEN of include/net/tcp_states.h.
const LISTEN: &str = "0A";
/// IFF_UP of include/uapi/linux/if.h.
const UP: u32 = 1;
/// IFF_MULTI_QUEUE of include/uapi/linux/if_tun.h.
const MULTI_QUEUE: u32 = 0x100;
/// PCI base class of network controllers.
const NETWORK_CLASS: &str = "0x02";

/// The network side of the machine.
#[derive(Clone, Default, Debug)]
pub struct Net {
    /// Interfaces of our network namespace; the loopback is left out. None: unknown.
    pub interfaces: Option<Vec<Interface>>,
    /// Interfaces with a default route.
    pub default_routes: Vec<String>,
    /// The kernel's own addresses and, where known, their interface.
    pub addresses: Vec<(IpAddr, Option<String>)>,
    /// What the kernel listens on; empty unless asked for.
    pub listeners: Vec<(IpAddr, u16)>,
    /// Devices that a running penstock has claimed.
    pub claims: Vec<String>,
    /// PCI network cards.
    pub nics: Vec<Nic>,
    /// Addresses of all PCI devices.
    pub pci: Vec<String>,
    /// The way to give a card to a program.
    pub vfio: Vfio,
    /// Whether /dev/net/tun exists.
    pub tun: bool,
}

/// A kernel interface.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Interface {
    pub name: String,
    /// What only sysfs tells; None where it shows another namespace.
    pub details: Option<Details>,
}

/// Details of a kernel interface.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Details {
    pub up: bool,
    /// Whether the link is up; None while the interface is down.
    pub carrier: Option<bool>,
    pub driver: Option<String>,
    pub node: Option<usize>,
    /// A tap or tun device, and whether several queues may attach to it.
    pub tun_queues: Option<bool>,
}

/// A PCI network card.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Nic {
    pub address: String,
    /// `8086:1572`.
    pub model: String,
    pub driver: Option<String>,
    pub node: Option<usize>,
    /// Its kernel interfaces.
    pub interfaces: Vec<String>,
    pub iommu_group: Option<String>,
}

/// The state of VFIO and of the IOMMU.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Vfio {
    /// IOMMU groups; none means that the IOMMU is off or absent.
    pub groups: usize,
    /// vfio-pci is loaded.
    pub loaded: bool,
    /// vfio-pci could be loaded; None: unknown.
    pub available: Option<bool>,
    /// VFIO without an IOMMU is permitted.
    pub no_iommu: bool,
}

impl Net {
    pub fn read(root: &Root, scope: Scope) -> Net {
        let mut net = Net {
            interfaces: interfaces(root),
            default_routes: default_routes(root),
            claims: claims(&root.text_or_empty("proc/net/unix")),
            nics: nics(root),
            pci: root.names("sys/bus/pci/devices"),
            vfio: vfio(root),
            tun: root.exists("dev/net/tun"),
            ..Net::default()
        };
        net.addresses = addresses_v4(root);
        net.addresses.extend(addresses_v6(&root.text_or_empty("proc/net/if_inet6")));
        if scope == Scope::Everything {
            let tables = ["proc/net/tcp", "proc/net/tcp6"];
            net.listeners = tables.iter().flat_map(|table| listeners(&root.text_or_empty(table))).collect();
        }
        net
    }

    /// Asks the kernel for an interface that was not listed: alternative names are not, and drivers take them.
    pub fn look_up(&mut self, name: &str) {
        use rustix::net::{AddressFamily, SocketType, netdevice, socket};
        if self.interface(name).is_some() {
            return;
        }
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, None);
        if socket.is_ok_and(|socket| netdevice::name_to_index(&socket, name).is_ok()) {
            let interface = Interface { name: name.to_string(), details: None };
            self.interfaces.get_or_insert_default().push(interface);
        }
    }

    /// The interface of that name.
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().flatten().find(|interface| interface.name == name)
    }
}

fn interfaces(root: &Root) -> Option<Vec<Interface>> {
    let text = root.text("proc/net/dev")?;
    // Two lines of headings, then `name: counters`.
    let mut names: Vec<String> =
        text.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_string())).collect();
    names.sort();
    let same_namespace =
        root.names("sys/class/net").into_iter().filter(|name| name != "bonding_masters").eq(names.iter().cloned());
    let interface = |name: String| {
        let details = same_namespace.then(|| details(root, &format!("sys/class/net/{name}")));
        Interface { name, details }
    };
    Some(names.into_iter().filter(|name| name != "lo").map(interface).collect())
}

fn details(root: &Root, folder: &str) -> Details {
    let bits = |file: &str| {
        let text = root.text(&format!("{folder}/{file}"))?;
        u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()
    };
    Details {
        up: bits("flags").is_some_and(|flags| flags & UP != 0),
        carrier: root.number::<u8>(&format!("{folder}/carrier")).map(|carrier| carrier == 1),
        driver: root.link_name(&format!("{folder}/device/driver")),
        node: root.number(&format!("{folder}/device/numa_node")),
        tun_queues: bits("tun_flags").map(|flags| flags & MULTI_QUEUE != 0),
    }
}

fn default_routes(root: &Root) -> Vec<String> {
    let v4 = root.text_or_empty("proc/net/route");
    let v4 = v4.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let v4 = v4.filter(|words| words.get(1) == Some(&"00000000") && words.get(7) == Some(&"00000000"));
    let v6 = root.text_or_empty("proc/net/ipv6_route");
    let v6 = v6.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let v6 = v6
        .filter(|words| words.get(1) == Some(&"00") && words.first().is_some_and(|to| to.trim_matches('0').is_empty()));
    let v4 = v4.map(|words| words[0].to_string());
    let mut names: Vec<String> =
        v4.chain(v6.filter_map(|words| words.get(9).map(|name| (*name).to_string()))).collect();
    names.retain(|name| name != "lo");
    names.sort();
    names.dedup();
    names
}

/// Local IPv4 addresses, with the interface whose on-link route is the narrowest around each.
fn addresses_v4(root: &Root) -> Vec<(IpAddr, Option<String>)> {
    let routes = root.text_or_empty("proc/net/route");
    let routes: Vec<(String, u32, u32)> = routes.lines().filter_map(on_link_route).collect();
    let text = root.text_or_empty("proc/net/fib_trie");
    let mut found: Vec<Ipv4Addr> = Vec::new();
    let mut leaf: Option<Ipv4Addr> = None;
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(leaf);
        }
    }
    found.sort_unstable();
    found.dedup();
    let owner = |address: Ipv4Addr| {
        let around = routes.iter().filter(|(_, to, mask)| address.to_bits() & mask == *to);
        around.max_by_key(|(_, _, mask)| mask.count_ones()).map(|(name, ..)| name.clone())
    };
    found.into_iter().map(|address| (IpAddr::V4(address), owner(address))).collect()
}

/// Interface, destination and mask of a route without a gateway. The kernel writes addresses as they are in memory.
fn on_link_route(line: &str) -> Option<(String, u32, u32)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let bits = |word: usize| Some(u32::from_str_radix(words.get(word)?, 16).ok()?.swap_bytes());
    (bits(2)? == 0).then_some(())?;
    Some((words[0].to_string(), bits(1)?, bits(7)?))
}

fn addresses_v6(text: &str) -> Vec<(IpAddr, Option<String>)> {
    let address = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let bits = u128::from_str_radix(words.first()?, 16).ok()?;
        Some((IpAddr::V6(Ipv6Addr::from_bits(bits)), words.get(5).map(|name| (*name).to_string())))
    };
    text.lines().filter_map(address).collect()
}

/// Addresses and ports of the listening sockets of /proc/net/tcp or tcp6.
fn listeners(text: &str) -> Vec<(IpAddr, u16)> {
    let listener = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (address, port) = words.get(1)?.split_once(':')?;
        (words.get(3) == Some(&LISTEN)).then_some(())?;
        Some((socket_address(address)?, u16::from_str_radix(port, 16).ok()?))
    };
    text.lines().filter_map(listener).collect()
}

/// Words of 32 bits, each in the machine's byte order.
fn socket_address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::from_be);
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from_bits(word(0)?))),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bits = words.iter().fold(0_u128, |bits, word| bits << 32 | u128::from(*word));
            Some(IpAddr::V6(Ipv6Addr::from_bits(bits)))
        }
        _ => None,
    }
}

/// Names in the abstract sockets `penstock/NAME`, which `penstock run` holds while it runs.
fn claims(unix: &str) -> Vec<String> {
    let claim = |line: &str| Some(line.split_once("@penstock/")?.1.to_string());
    unix.lines().filter_map(claim).collect()
}

fn nics(root: &Root) -> Vec<Nic> {
    let nic = |address: String| {
        let folder = format!("sys/bus/pci/devices/{address}");
        let word = |file: &str| root.text(&format!("{folder}/{file}"));
        word("class").filter(|class| class.starts_with(NETWORK_CLASS))?;
        let id = |file: &str| word(file).unwrap_or_default().trim_start_matches("0x").to_string();
        let mut interfaces = root.names(&format!("{folder}/net"));
        // A virtio card's interface is a level below.
        let below = root.names(&folder).into_iter().filter(|name| name.starts_with("virtio"));
        interfaces.extend(below.flat_map(|name| root.names(&format!("{folder}/{name}/net"))));
        Some(Nic {
            model: format!("{}:{}", id("vendor"), id("device")),
            driver: root.link_name(&format!("{folder}/driver")),
            node: root.number(&format!("{folder}/numa_node")),
            interfaces,
            iommu_group: root.link_name(&format!("{folder}/iommu_group")),
            address,
        })
    };
    root.names("sys/bus/pci/devices").into_iter().filter_map(nic).collect()
}

fn vfio(root: &Root) -> Vfio {
    let loaded = root.exists("sys/bus/pci/drivers/vfio-pci");
    let release = root.text_or_empty("proc/sys/kernel/osrelease");
    let modules = root.text(&format!("lib/modules/{release}/modules.dep"));
    let no_iommu = root.text_or_empty("sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
    Vfio {
        groups: root.names("sys/kernel/iommu_groups").len(),
        loaded,
        available: modules.map(|modules| modules.contains("/vfio-pci.ko")),
        no_iommu: no_iommu == "Y",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_tables_tell_who_listens() {
        let text = "sl local_address rem_address st\n 0: 0200070A:0050 00000000:0000 0A 0\n 1: 0200070A:0051 x 01 0\n";
        assert_eq!(listeners(text), [("10.7.0.2".parse().unwrap(), 80)]);
        let text = "0: B80D0120000000000000000001000000:01BB 0:0 0A\n1: short:01BB 0:0 0A\n2: 0200070A:nonsense 0 0A\n";
        assert_eq!(listeners(text), [("2001:db8::1".parse().unwrap(), 443)]);
    }

    #[test]
    fn claims_are_abstract_sockets() {
        let text = "Num RefCount\n0: 2 0 10000 1 01 7 @penstock/pg1\n0: 2 0 10000 1 01 8 /run/penstock/x\n";
        assert_eq!(claims(text), ["pg1"]);
    }
}
