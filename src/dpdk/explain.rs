//! Failures of EAL and of devices, in words: the line that tells the cause, and the command that fixes it.
//!
//! Owns the table of known causes. Refuses to call DPDK: it reads what was logged.

use crate::failure::{Exit, Failure};

/// Lines quoted in a failure, at most.
const QUOTED_MAX: usize = 4;

struct Cause {
    /// Found in a logged line, compared without regard to case.
    says: &'static str,
    fix: &'static str,
}

const fn cause(says: &'static str, fix: &'static str) -> Cause {
    Cause { says, fix }
}

/// Advice when EAL's memory is used up.
pub(super) const MORE_MEMORY: &str = RESERVE;
const RESERVE: &str = "echo 512 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages (as root)\nor run on plain pages: \
                       workers.hugepages = \"off\" in the configuration, --no-huge -m 512 on an EAL command line";
const MOUNT: &str = "mount -t hugetlbfs none /dev/hugepages (as root), or add --in-memory, which needs no mount\nor run on \
                     plain pages: --no-huge -m 512";
const RIGHTS: &str = "run as root, or give the program the capabilities it needs: setcap \
                      cap_net_admin,cap_net_raw,cap_ipc_lock=ep penstock";
const OPTION: &str = "correct the EAL argument; list all of them with: penstock --no-huge --help -- run -c FILE";
const CPUS: &str = "name CPUs that this process may use: grep Cpus_allowed_list /proc/self/status";
const LCORES: &str =
    "an lcore is a number below 128, as in -l 0,2-3; a CPU beyond that gets a lower one: --lcores 0@0,1@200";
const VFIO: &str = "see who drives the card and the others of its IOMMU group, which must be bound or unbound, too: \
                    scripts/nic.sh\nas another user than root: deploy/systemd/70-penstock-vfio.rules";
const IOMMU: &str = "modprobe vfio_iommu_type1 (as root), through which vfio-pci reaches the IOMMU";
const DRIVER: &str = "check the driver's name in the device argument; install all network drivers with: apt-get install \
                      librte-meta-net";

/// The most telling causes first: the first that any line names is reported.
const CAUSES: &[Cause] = &[
    cause(
        "is not compatible with --in-memory",
        "use one of --no-huge (plain pages) and --in-memory (hugepages), not both",
    ),
    cause("unrecognized option", OPTION),
    cause("invalid option", OPTION),
    cause("requires an argument", OPTION),
    cause("invalid core list syntax", LCORES),
    cause("invalid core list", CPUS),
    cause("invalid lcore", CPUS),
    cause("lcores argument", CPUS),
    cause("/dev/vfio/", VFIO),
    cause("group is not viable", VFIO),
    cause("no supported iommu extensions", IOMMU),
    cause("failed to parse device", DRIVER),
    cause("unable to parse device", DRIVER),
    cause("cannot open shared object", DRIVER),
    cause("is another primary process running", "end the other DPDK program, or add --file-prefix=ANOTHER_NAME"),
    // Before the mount, which EAL complains about with --in-memory, too.
    cause("not enough memory available", RESERVE),
    cause("no free 2048 kb hugepages", RESERVE),
    cause("no mounted hugetlbfs", MOUNT),
    cause("unable to create tap interface", RIGHTS),
    cause("permission denied", RIGHTS),
    cause("operation not permitted", RIGHTS),
    cause("cannot get hugepage information", RESERVE),
    cause("cannot allocate memory", RESERVE),
    cause("cannot init memory", RESERVE),
];

/// A failed `rte_eal_init`.
pub(super) fn start_failure(args: &[String], lines: &[String], errno: &str) -> Failure {
    let found = CAUSES.iter().find_map(|cause| Some((cause, lines.iter().find(|line| says(line, cause.says))?)));
    let Some((cause, line)) = found else {
        let quoted = if lines.is_empty() { errno.to_string() } else { quote(lines) };
        return Failure::new(Exit::Environment, format!("EAL did not start: {quoted}\n  {}", args.join(" ")))
            .fix("add --log-level=debug to the EAL arguments and read what comes before the error");
    };
    Failure::new(Exit::Environment, format!("EAL did not start: {}\n  {}", line.trim(), args.join(" "))).fix(cause.fix)
}

/// A device that EAL has no port for. `errors`: the error lines logged since the start; `ports`: the ports there are.
pub(super) fn no_port(device: Option<&str>, errors: &[String], ports: &[String]) -> Failure {
    let others =
        if ports.is_empty() { "EAL has no port at all".into() } else { format!("EAL has {}", ports.join(", ")) };
    let mut what = match device {
        Some(device) => format!("no port for device {device}; {others}"),
        None => others,
    };
    if !errors.is_empty() {
        what.push_str("\n  ");
        what.push_str(&quote(errors));
    }
    Failure::new(Exit::Environment, what).fix(no_port_fix(device, errors))
}

fn no_port_fix(device: Option<&str>, errors: &[String]) -> String {
    if let Some(cause) = CAUSES.iter().find(|cause| errors.iter().any(|line| says(line, cause.says))) {
        return cause.fix.into();
    }
    match device {
        Some(address) if is_pci(address) => format!(
            "see whether it exists and who drives it: dpdk-devbind.py --status\nthen: modprobe vfio-pci && \
             dpdk-devbind.py --bind=vfio-pci {address}\nand with EAL arguments of your own, add -a {address}"
        ),
        _ if !errors.is_empty() => {
            "check the device's arguments and that the interface or peer they name exists: ip link\n\
             for more, add --log-level=debug to the EAL arguments"
                .into()
        }
        Some(device) => format!(
            "add --vdev {device} to the EAL arguments, or set port.device to the device they name, or leave it out"
        ),
        None => {
            "name a device: port.device in the configuration, or --vdev net_tap0,iface=tap0 or -a PCI_ADDRESS before --"
                .into()
        }
    }
}

/// Whether a device is named by a PCI address, `0000:01:00.0` or `01:00.0`.
pub(super) fn is_pci(device: &str) -> bool {
    let address = device.split(',').next().unwrap_or_default();
    address.contains(':') && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.')
}

fn says(line: &str, what: &str) -> bool {
    line.to_ascii_lowercase().contains(what)
}

/// The last few distinct lines.
fn quote(lines: &[String]) -> String {
    let mut quoted: Vec<&str> = Vec::new();
    for line in lines.iter().rev().map(|line| line.trim()).filter(|line| !line.is_empty()) {
        if !quoted.contains(&line) && quoted.len() < QUOTED_MAX {
            quoted.push(line);
        }
    }
    quoted.reverse();
    quoted.join("\n  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(String::from).collect()
    }

    #[test]
    fn known_causes_name_their_fix() {
        for (logged, fix) in [
            (
                "EAL: No free 2048 kB hugepages reported on node 0\nEAL: FATAL: Cannot get hugepage information.",
                "nr_hugepages",
            ),
            ("EAL: no mounted hugetlbfs found for that size\nEAL: Cannot init EAL: Permission denied", "--in-memory"),
            (
                "EAL: no mounted hugetlbfs found for that size\nEAL: Not enough memory available! Requested: 9MB",
                "nr_hugepages",
            ),
            ("EAL: Not enough memory available! Requested: 64MB, available: 2MB", "workers.hugepages"),
            ("penstock: unrecognized option '--bogus'\nEAL: Invalid 'command line' arguments.", "--help -- run"),
            ("EAL: Option --legacy-mem is not compatible with --in-memory", "not both"),
            ("EAL: failed to parse device \"net_nonsense0\"", "apt-get install"),
            ("EAL: lcore 77 unavailable\nEAL: invalid core list, please check", "Cpus_allowed_list"),
            ("EAL: invalid core list syntax", "--lcores 0@0,1@200"),
            ("EAL: Cannot open /dev/vfio/12: Permission denied", "scripts/nic.sh"),
            ("EAL: 0000:01:00.0 VFIO group is not viable! Not all devices in IOMMU group bound", "scripts/nic.sh"),
        ] {
            let failure = start_failure(&lines("penstock\n-l"), &lines(logged), "-");
            assert!(failure.fix.as_deref().is_some_and(|text| text.contains(fix)), "{failure}");
            assert_eq!(failure.exit, Exit::Environment);
        }
    }

    #[test]
    fn an_unknown_cause_quotes_what_was_logged() {
        let failure = start_failure(&[], &lines("EAL: a\nEAL: b\nEAL: b"), "No error");
        assert!(failure.what.contains("EAL: a\n  EAL: b\n"), "{failure}");
        assert!(start_failure(&[], &[], "Function not implemented").what.contains("Function not implemented"));
    }

    #[test]
    fn a_missing_device_is_named_with_what_its_kind_needs() {
        let failure = no_port(Some("0000:99:00.0"), &[], &[]);
        assert!(failure.what.contains("0000:99:00.0") && failure.fix.unwrap().contains("dpdk-devbind.py"));
        let half =
            lines("EAL: No supported IOMMU extensions found!\nEAL: Requested device 0000:99:00.0 cannot be used");
        assert!(no_port(Some("0000:99:00.0"), &half, &[]).fix.unwrap().contains("modprobe vfio_iommu_type1"));
        let failed = lines("rte_pmd_init_internals(): net_af_packet0: ioctl failed (SIOCGIFINDEX):No such device");
        let failure = no_port(Some("net_af_packet0"), &failed, &["net_null0".into()]);
        assert!(failure.what.contains("SIOCGIFINDEX") && failure.what.contains("EAL has net_null0"), "{failure}");
        assert!(no_port(Some("net_tap0"), &[], &["net_null0".into()]).fix.unwrap().contains("--vdev net_tap0"));
        assert!(no_port(None, &failed, &[]).fix.unwrap().contains("ip link"));
        assert!(no_port(None, &[], &[]).fix.unwrap().contains("port.device"));
        assert!(is_pci("01:00.0") && is_pci("0000:01:00.0,x=1") && !is_pci("net_tap0,iface=a:b"));
    }
}
