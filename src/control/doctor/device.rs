//! `port.device` taken apart, and what each kind of device needs.
//!
//! Owns the table of virtual drivers and of card vendors. Refuses to look at the machine.

use crate::config::Config;

/// Capabilities by their number in include/uapi/linux/capability.h, and their name.
pub type Capability = (u32, &'static str);
pub const NET_ADMIN: Capability = (12, "net_admin");
pub const NET_RAW: Capability = (13, "net_raw");
pub const IPC_LOCK: Capability = (14, "ipc_lock");
pub const SYS_ADMIN: Capability = (21, "sys_admin");
pub const BPF: Capability = (39, "bpf");

/// A virtual driver.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Driver {
    /// As in a device argument, without the number.
    pub name: &'static str,
    /// The plug-in that has it.
    pub plugin: &'static str,
    /// What it needs to start.
    pub capabilities: &'static [Capability],
    /// Whether it uses an interface that exists already.
    pub uses_interface: bool,
}

const fn driver(name: &'static str, plugin: &'static str) -> Driver {
    Driver { name, plugin, capabilities: &[], uses_interface: false }
}

/// The drivers that the documents name, and DPDK's other general ones.
pub const DRIVERS: &[Driver] = &[
    Driver { capabilities: &[NET_ADMIN], ..driver("net_tap", "net_tap") },
    Driver { capabilities: &[NET_ADMIN, NET_RAW], uses_interface: true, ..driver("net_af_packet", "net_af_packet") },
    Driver {
        capabilities: &[NET_ADMIN, NET_RAW, SYS_ADMIN],
        uses_interface: true,
        ..driver("net_af_xdp", "net_af_xdp")
    },
    driver("net_memif", "net_memif"),
    driver("net_vhost", "net_vhost"),
    driver("net_virtio_user", "net_virtio"),
    driver("net_ring", "net_ring"),
    driver("net_null", "net_null"),
    driver("net_pcap", "net_pcap"),
];

/// PCI vendors and the plug-ins for their cards; one of them has to be there.
pub const VENDORS: &[(&str, &str, &[&str])] = &[
    ("8086", "Intel", &["net_e1000", "net_igc", "net_ixgbe", "net_i40e", "net_ice", "net_iavf"]),
    ("15b3", "NVIDIA Mellanox", &["net_mlx5", "net_mlx4"]),
    ("1af4", "virtio", &["net_virtio"]),
    ("15ad", "VMware", &["net_vmxnet3"]),
    ("1d0f", "Amazon", &["net_ena"]),
    ("1ae0", "Google", &["net_gve"]),
    ("14e4", "Broadcom", &["net_bnxt", "net_bnx2x"]),
    ("1d6a", "Aquantia", &["net_atlantic"]),
    ("1077", "QLogic", &["net_qede"]),
    ("1425", "Chelsio", &["net_cxgbe"]),
    ("1924", "Solarflare", &["net_sfc"]),
    ("1137", "Cisco", &["net_enic"]),
    ("19e5", "Huawei", &["net_hinic", "net_hns3"]),
    ("1414", "Microsoft", &["net_mana", "net_netvsc"]),
];

/// Vendors whose cards DPDK uses while the kernel keeps them: NVIDIA Mellanox, Microsoft, CESNET.
pub const SHARED_WITH_KERNEL: &[&str] = &["15b3", "1414", "18ec"];

/// `port.device`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Device {
    /// A PCI address, with its domain.
    Pci(String),
    /// A device of another bus, such as `auxiliary:mlx5_core.sf.2`: nothing is known of it.
    Other,
    /// A virtual device.
    Virtual {
        /// Without its number, such as `net_tap`.
        driver: String,
        /// The kernel interface that `iface` names.
        interface: Option<String>,
        /// As written, without arguments.
        name: String,
    },
}

impl Device {
    /// The configuration's device; None where it is left to EAL arguments.
    pub fn of(config: &Config) -> Option<Device> {
        config.port.device.as_deref().map(Device::parse)
    }

    pub fn parse(text: &str) -> Device {
        let mut parts = text.split(',').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let virtual_name = name.starts_with("net_") || name.starts_with("eth_");
        if name.contains(':') && !virtual_name {
            let name = name.strip_prefix("pci:").unwrap_or(name);
            if name.contains(|c: char| !c.is_ascii_hexdigit() && c != ':' && c != '.') {
                return Device::Other;
            }
            let short = name.matches(':').count() == 1;
            return Device::Pci(if short { format!("0000:{name}") } else { name.to_string() }.to_lowercase());
        }
        let driver = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let driver = driver.strip_prefix("eth_").map_or(driver.to_string(), |rest| format!("net_{rest}"));
        let interface = parts.find_map(|part| part.strip_prefix("iface=")).map(str::to_string);
        Device::Virtual { driver, interface, name: name.to_string() }
    }

    /// What is known of its driver.
    pub fn driver(&self) -> Option<&'static Driver> {
        match self {
            Device::Pci(_) | Device::Other => None,
            Device::Virtual { driver, .. } => DRIVERS.iter().find(|known| known.name == driver),
        }
    }

    pub fn is_pci(&self) -> bool {
        matches!(self, Device::Pci(_))
    }

    pub fn interface(&self) -> Option<&str> {
        match self {
            Device::Pci(_) | Device::Other => None,
            Device::Virtual { interface, .. } => interface.as_deref(),
        }
    }
}

/// The name under which `penstock run` claims a device: its kernel interface, or the whole device.
pub fn claim_name(device: &str) -> &str {
    device.split(',').find_map(|argument| argument.trim().strip_prefix("iface=")).unwrap_or(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_taken_apart() {
        let vdev = |driver: &str, interface: Option<&str>, name: &str| Device::Virtual {
            driver: driver.into(),
            interface: interface.map(String::from),
            name: name.into(),
        };
        assert_eq!(Device::parse("net_tap0,iface=t0"), vdev("net_tap", Some("t0"), "net_tap0"));
        assert_eq!(Device::parse("eth_af_packet12"), vdev("net_af_packet", None, "eth_af_packet12"));
        assert_eq!(Device::parse("net_memif0,socket=/a:b"), vdev("net_memif", None, "net_memif0"));
        assert_eq!(Device::parse("0A:00.0,rx=1"), Device::Pci("0000:0a:00.0".into()));
        assert_eq!(Device::parse("0001:01:00.0"), Device::Pci("0001:01:00.0".into()));
        assert_eq!(Device::parse("pci:0001:01:00.0"), Device::Pci("0001:01:00.0".into()));
        assert_eq!(Device::parse("auxiliary:mlx5_core.sf.2"), Device::Other);
        assert_eq!(Device::parse("net_af_xdp0").driver().map(|driver| driver.capabilities.len()), Some(3));
    }
}
