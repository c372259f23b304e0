//! The build, DPDK's plug-ins and virtual devices.

use super::super::Finding;
use super::super::device::{DRIVERS, Device, claim_name};
use super::super::machine::Machine;
use crate::config::Config;

const ALL_DRIVERS: &str = "apt-get install librte-meta-all (as root; Debian), or the PMDs of your DPDK build";
/// How alike two driver names have to be for a suggestion.
const ALIKE: f64 = 0.75;

/// Whether this program has DPDK at all.
pub fn build(machine: &Machine, _: Option<&Config>) -> Vec<Finding> {
    if machine.dpdk.built_in {
        return Vec::new();
    }
    let finding = Finding::fatal("build-without-dpdk", "this build has no DPDK support");
    vec![finding.why("it can check configurations only").fix("build with: cargo build --release --features dpdk")]
}

/// DPDK's drivers are plug-ins: those that the device needs have to be installed.
pub fn plugins(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    let dpdk = &machine.dpdk;
    if !dpdk.built_in {
        return Vec::new();
    }
    let Some(folder) = &dpdk.folder else {
        let note = Finding::note("pmd-folder", "DPDK's drivers are not where its own build would put them");
        return vec![note.why("whether the device's driver is installed is unknown until EAL starts")];
    };
    let drivers = dpdk.plugins.iter().filter(|name| name.starts_with("net_")).count();
    let ok = Finding::ok("pmds", format!("{drivers} network drivers in {folder}"));
    let Some(device) = config.and_then(Device::of) else { return vec![ok] };
    let bus = match device {
        Device::Pci(_) => Some("bus_pci"),
        Device::Virtual { .. } => Some("bus_vdev"),
        Device::Other => None,
    };
    let mut needed: Vec<&str> = bus.into_iter().chain(["mempool_ring"]).collect();
    needed.extend(device.driver().map(|driver| driver.plugin));
    let missing: Vec<String> =
        needed.into_iter().filter(|plugin| !dpdk.has(plugin)).map(|plugin| format!("librte_{plugin}")).collect();
    if missing.is_empty() {
        return vec![ok];
    }
    let what = format!("DPDK plug-ins are missing that the device needs: {} in {folder}", missing.join(", "));
    vec![
        Finding::fatal("pmd-missing", what)
            .why("EAL loads its drivers from that folder and knows no others")
            .fix(ALL_DRIVERS),
    ]
}

/// What a virtual device's arguments name.
pub fn virtual_device(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    let Some(config) = config else { return Vec::new() };
    let Some(device) = Device::of(config) else {
        let what = "no device: the configuration has no port.device and no EAL arguments were given";
        return vec![
            Finding::fatal("device-none", what)
                .why("EAL arguments before `--` may name it instead; doctor cannot see those")
                .fix("set device = \"net_tap0,iface=tap0\" or a PCI address under [port]\nor: penstock --vdev net_tap0,iface=tap0 -- run -c FILE"),
        ];
    };
    let Device::Virtual { driver, interface, name } = &device else { return Vec::new() };
    let Some(known) = device.driver() else { return unknown_driver(machine, driver) };
    match interface.as_deref() {
        None if known.uses_interface => vec![
            Finding::fatal("interface-unnamed", format!("{name} names no interface"))
                .why(format!("{driver} works on a kernel interface that exists"))
                .fix(format!("device = \"{name},iface=IFACE\" under [port]; ip link lists the interfaces")),
        ],
        Some(interface) if known.uses_interface => used_interface(machine, name, interface),
        Some(interface) if driver == "net_tap" => tap(machine, interface),
        _ if driver == "net_tap" && !machine.net.tun => vec![no_tun()],
        _ => Vec::new(),
    }
}

fn unknown_driver(machine: &Machine, driver: &str) -> Vec<Finding> {
    let dpdk = &machine.dpdk;
    if dpdk.folder.is_none() || dpdk.has(driver) {
        return Vec::new();
    }
    let alike = |name: &str| strsim::jaro_winkler(name, driver);
    let meant = DRIVERS.iter().map(|known| known.name).max_by(|a, b| alike(a).total_cmp(&alike(b)));
    let meant = meant.filter(|name| alike(name) >= ALIKE).map(|name| format!("did you mean {name}?\n"));
    let finding = Finding::warning("driver-unknown", format!("no plug-in of DPDK is named after the driver {driver}"));
    vec![
        finding
            .why("EAL refuses a device whose driver it does not know")
            .fix(format!("{}correct device under [port], or {ALL_DRIVERS}", meant.unwrap_or_default())),
    ]
}

/// An interface that af_packet or af_xdp is to use.
fn used_interface(machine: &Machine, name: &str, interface: &str) -> Vec<Finding> {
    let net = &machine.net;
    let Some(interfaces) = &net.interfaces else { return Vec::new() };
    let Some(found) = net.interface(interface) else {
        let others: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
        let others = if others.is_empty() { "none but lo".to_string() } else { others.join(", ") };
        let what = format!("{name} names the interface {interface}, which does not exist; there are: {others}");
        return vec![
            Finding::fatal("interface-missing", what)
                .why("the driver attaches to an interface of this network namespace")
                .fix(format!(
                    "correct iface= under [port], or make it: ip link add {interface} type veth peer name client0"
                )),
        ];
    };
    let mut all = Vec::new();
    if net.default_routes.iter().any(|route| route == interface) {
        all.push(
            Finding::warning("interface-default-route", format!("{interface} carries the machine's default route"))
                .why("its frames reach the gateway and the kernel, or the gateway only: the machine may lose its network")
                .fix("use another interface, or a veth or macvlan of it"),
        );
    }
    let Some(details) = &found.details else { return all };
    if !details.up {
        all.push(
            Finding::warning("interface-down", format!("{interface} is down"))
                .why("no frame arrives until it is up")
                .fix(format!("ip link set {interface} up")),
        );
    } else if details.carrier == Some(false) {
        all.push(
            Finding::warning("interface-no-carrier", format!("{interface} has no link"))
                .why("no frame arrives until the other end is up")
                .fix(format!("check the cable or the peer: ip link show {interface}")),
        );
    }
    if all.is_empty() {
        all.push(Finding::ok("interface", format!("{interface} exists and its link is up")));
    }
    all
}

/// The interface that net_tap is to make.
fn tap(machine: &Machine, interface: &str) -> Vec<Finding> {
    /// IFNAMSIZ of include/uapi/linux/if.h, less the final NUL.
    const NAME_MAX: usize = 15;
    if !machine.net.tun {
        return vec![no_tun()];
    }
    if interface.len() > NAME_MAX {
        let what = format!(
            "the interface name {interface} has {} characters, at most {NAME_MAX} are possible",
            interface.len()
        );
        return vec![
            Finding::fatal("interface-name", what)
                .why("the kernel's limit")
                .fix("choose a shorter iface= under [port]"),
        ];
    }
    let details = machine.net.interface(interface).and_then(|found| found.details.as_ref());
    if details.is_some_and(|details| details.tun_queues != Some(true)) {
        let what = format!("{interface} exists and is not a tap device that several queues can attach to");
        return vec![
            Finding::fatal("interface-taken", what)
                .why("net_tap makes its interface itself, and cannot make one of a name that is taken")
                .fix(format!("choose another iface= under [port], or: ip link delete {interface}")),
        ];
    }
    vec![Finding::ok("interface", format!("net_tap can make {interface}"))]
}

fn no_tun() -> Finding {
    Finding::fatal("tun-missing", "/dev/net/tun does not exist")
        .why("net_tap makes its interface through it")
        .fix("modprobe tun (as root); in a container: docker run --device /dev/net/tun")
}

/// A device that another penstock has.
pub fn claimed(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    let name = config.and_then(|config| config.port.device.as_deref()).map(claim_name);
    let Some(name) = name.filter(|name| machine.net.claims.iter().any(|claim| claim == name)) else {
        return Vec::new();
    };
    vec![
        Finding::fatal("device-claimed", format!("another penstock on this machine uses {name}"))
            .why("both would answer every frame")
            .fix("stop it (pgrep -a penstock), or choose another port.device"),
    ]
}
