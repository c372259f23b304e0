//! The EAL command line when the user gave none: CPUs, device and memory from the configuration and the machine.
//!
//! Owns the rules. Refuses to look at the machine by itself except in [`Machine::look`], so that a test can make one
//! up.

use crate::config::{Config, Hugepages};
use crate::failure::{Exit, Failure};
use crate::limits::WORKERS_MAX;
use std::path::Path;

/// EAL's highest lcore number in common builds is 127; number 0 is the main lcore.
const WORKER_LCORES_MAX: usize = if WORKERS_MAX < 127 { WORKERS_MAX } else { 127 };
/// What EAL and the drivers take of EAL's memory beside pools, in MiB.
const EAL_MIB: u64 = 64;
/// Virtual devices that share their memory with another process by passing file descriptors, a handful at most.
const SHARING: [&str; 3] = ["net_memif", "net_vhost", "net_virtio_user"];

/// What the planner knows of the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// CPUs this process may run on, ascending.
    pub cpus: Vec<usize>,
    /// Reserved 2 MiB hugepages that nobody uses.
    pub free_hugepages: u64,
    /// Our process id.
    pub pid: u32,
}

/// A planned EAL command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Program name first.
    pub args: Vec<String>,
    /// Workers it has lcores for.
    pub workers: usize,
    /// What the user should know about the choice.
    pub notices: Vec<String>,
}

impl Machine {
    /// The present machine.
    pub fn look() -> Machine {
        let pages = Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
        let free = std::fs::read_to_string(pages).ok().and_then(|text| text.trim().parse().ok());
        Machine { cpus: allowed_cpus(), free_hugepages: free.unwrap_or(0), pid: std::process::id() }
    }
}

/// The CPUs the calling thread may run on, ascending.
pub fn allowed_cpus() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return vec![0] };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

impl Plan {
    /// Chooses lcores, memory and device. `pool_mib`: memory for the frames of that many workers, in MiB.
    ///
    /// # Errors
    /// `Exit::Config` without a device or with more workers than CPUs; `Exit::Environment` when hugepages are required and
    /// not reserved.
    pub fn make(config: &Config, machine: &Machine, pool_mib: impl Fn(usize) -> u64) -> Result<Plan, Failure> {
        let workers = worker_count(config.workers.count, machine.cpus.len())?;
        Plan::make_for(&[config], workers, machine, EAL_MIB + pool_mib(workers))
    }

    /// As [`Plan::make`], for the devices of several programs in one process that need so many lcores in all. The first
    /// configuration's hugepages count.
    ///
    /// # Errors
    /// As [`Plan::make`].
    pub fn make_for(configs: &[&Config], workers: usize, machine: &Machine, needed_mib: u64) -> Result<Plan, Failure> {
        let devices = configs.iter().map(|config| config.port.device.as_deref().ok_or_else(no_device));
        let devices = devices.collect::<Result<Vec<&str>, Failure>>()?;
        let mut args = vec!["penstock".to_string(), format!("--lcores={}", lcores(&machine.cpus, workers))];
        let mut notices = Vec::new();
        if workers >= machine.cpus.len() {
            notices.push(format!("CPU {} is shared by a worker and the control thread", machine.cpus[0]));
        }
        let hugepages = configs.first().map_or(Hugepages::Auto, |config| config.workers.hugepages);
        args.extend(memory_args(hugepages, machine.free_hugepages, needed_mib, &mut notices)?);
        args.push(format!("--file-prefix=penstock_{}", machine.pid));
        for argument in devices.iter().flat_map(|device| device_args(device)) {
            // Flags of EAL stand once; a device and its option are a pair.
            if argument.starts_with("--vdev") || argument == "-a" || !args.contains(&argument) {
                args.push(argument);
            }
        }
        Ok(Plan { args, workers, notices })
    }
}

fn no_device() -> Failure {
    Failure::new(Exit::Config, "no device: the configuration has no port.device and no EAL arguments were given").fix(
        "set device = \"net_tap0,iface=tap0\" or a PCI address under [port]\nor: penstock --vdev net_tap0,iface=tap0 -- run -c FILE",
    )
}

/// One CPU for each worker and one for control, unless there is none left for it.
fn worker_count(wanted: Option<u16>, cpus: usize) -> Result<usize, Failure> {
    let most = cpus.clamp(1, WORKER_LCORES_MAX);
    match wanted.map(usize::from) {
        None => Ok(cpus.saturating_sub(1).clamp(1, WORKER_LCORES_MAX)),
        Some(count) if count <= most => Ok(count.max(1)),
        Some(count) => {
            let what =
                format!("workers.count = {count}, but this process may use {cpus} CPUs and at most {most} workers");
            Err(Failure::new(Exit::Config, what).fix(format!("set workers.count = {most} or less, or leave it out")))
        }
    }
}

/// `0@CPU,1@CPU...`: lcore 0 is control, numbers are independent of CPU numbers, which may exceed EAL's limit.
fn lcores(cpus: &[usize], workers: usize) -> String {
    let main = cpus.first().copied().unwrap_or(0);
    let spare = usize::from(cpus.len() > workers);
    let worker = |index: usize| format!("{}@{}", index + 1, cpus.get(index + spare).copied().unwrap_or(main));
    std::iter::once(format!("0@{main}")).chain((0..workers).map(worker)).collect::<Vec<_>>().join(",")
}

fn memory_args(mode: Hugepages, free: u64, needed_mib: u64, notices: &mut Vec<String>) -> Result<Vec<String>, Failure> {
    let pages = needed_mib.div_ceil(2);
    let reserve = format!(
        "echo {} > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
        (pages + 256).next_multiple_of(128)
    );
    let enough = free >= pages;
    if mode == Hugepages::Require && !enough {
        let what = format!(
            "workers.hugepages = \"require\", but {pages} free 2 MiB hugepages are needed for frames and {free} are free"
        );
        return Err(Failure::new(Exit::Environment, what)
            .fix(format!("{reserve} (as root)\nor set workers.hugepages = \"auto\"")));
    }
    if mode != Hugepages::Off && enough {
        // Needs no mounted hugetlbfs and leaves no file.
        return Ok(vec!["--in-memory".into()]);
    }
    if mode == Hugepages::Auto {
        notices.push(format!("plain pages: {free} of {pages} 2 MiB hugepages are free; for speed: {reserve}"));
    }
    // EAL refuses --no-huge with --in-memory; --no-shconf likewise leaves out the files that other processes would
    // read.
    Ok(vec!["--no-huge".into(), "-m".into(), needed_mib.to_string(), "--no-shconf".into()])
}

fn device_args(device: &str) -> Vec<String> {
    if device.contains(':') && !device.starts_with("net_") && !device.starts_with("eth_") {
        return vec!["-a".into(), device.into()];
    }
    let mut args = vec!["--no-pci".into(), "--iova-mode=va".into()];
    if SHARING.iter().any(|driver| device.starts_with(driver)) {
        args.push("--single-file-segments".into());
    }
    args.extend(["--vdev".into(), device.into()]);
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HttpLimits, PortConfig, TcpConfig, WorkersConfig};

    fn config(device: Option<&str>, count: Option<u16>, hugepages: Hugepages) -> Config {
        Config {
            port: PortConfig { device: device.map(String::from), ..PortConfig::default() },
            workers: WorkersConfig { count, hugepages, ..WorkersConfig::default() },
            listeners: Vec::new(),
            http: HttpLimits::default(),
            tcp: TcpConfig::default(),
            metrics: crate::config::MetricsConfig::default(),
            admin: crate::config::AdminConfig::default(),
            log: crate::config::LogConfig::default(),
            routes: Vec::new(),
        }
    }

    fn plan(cpus: &[usize], free: u64, count: Option<u16>, device: &str) -> String {
        let machine = Machine { cpus: cpus.to_vec(), free_hugepages: free, pid: 7 };
        let config = config(Some(device), count, Hugepages::Auto);
        Plan::make(&config, &machine, |workers| 10 * workers as u64).unwrap().args.join(" ")
    }

    #[test]
    fn cpus_devices_and_memory_become_one_line() {
        const VDEV: &str = "--no-pci --iova-mode=va";
        let (tap, nic, memif) = ("net_tap0,iface=tap0", "0000:01:00.0", "net_memif0,id=0");
        let plain = |mib| format!("--no-huge -m {mib} --no-shconf");
        let huge = "--in-memory".to_string();
        for (cpus, free, count, device, lcores, memory, last) in [
            (&[0, 1][..], 36, None, tap, "0@0,1@1", plain(74), format!("{VDEV} --vdev {tap}")),
            (&[0, 1], 37, None, tap, "0@0,1@1", huge.clone(), format!("{VDEV} --vdev {tap}")),
            (&[5], 0, None, tap, "0@5,1@5", plain(74), format!("{VDEV} --vdev {tap}")),
            (&[0, 200], 0, Some(2), nic, "0@0,1@0,2@200", plain(84), format!("-a {nic}")),
            (&[0, 2, 4], 42, None, nic, "0@0,1@2,2@4", huge.clone(), format!("-a {nic}")),
            (&[0, 2, 4], 42, Some(1), memif, "0@0,1@2", huge, format!("{VDEV} --single-file-segments --vdev {memif}")),
        ] {
            let expected = format!("penstock --lcores={lcores} {memory} --file-prefix=penstock_7 {last}");
            assert_eq!(plan(cpus, free, count, device), expected);
        }
    }

    #[test]
    fn what_cannot_be_planned_names_the_setting() {
        let machine = Machine { cpus: vec![0, 1], free_hugepages: 3, pid: 7 };
        let fails = |config: &Config| Plan::make(config, &machine, |_| 10).unwrap_err();
        let no_device = fails(&config(None, None, Hugepages::Auto));
        assert_eq!((no_device.exit, no_device.what.contains("port.device")), (Exit::Config, true));
        let many = fails(&config(Some("net_null0"), Some(3), Hugepages::Auto));
        assert_eq!((many.exit, many.fix.unwrap().contains("workers.count = 2")), (Exit::Config, true));
        let huge = fails(&config(Some("net_null0"), None, Hugepages::Require));
        assert_eq!((huge.exit, huge.fix.unwrap().contains("nr_hugepages")), (Exit::Environment, true));
    }

    #[test]
    fn notices_say_what_was_missing() {
        let machine = Machine { cpus: vec![3], free_hugepages: 0, pid: 7 };
        let notices = |mode| Plan::make(&config(Some("net_null0"), None, mode), &machine, |_| 10).unwrap().notices;
        assert!(
            matches!(&notices(Hugepages::Auto)[..], [cpu, pages] if cpu.contains("CPU 3") && pages.contains("nr_hugepages"))
        );
        assert_eq!(notices(Hugepages::Off).len(), 1);
    }
}
