//! CPUs: which ones we may use, what disturbs them, and what limits our time on them.
//!
//! Owns what /proc/stat, /proc/irq, /sys/devices/system/cpu, the CPU controllers and, in full scope, the threads of
//! /proc say. Refuses to choose CPUs.

use super::root::{field, number_list};
use super::{Root, Scope, cgroup};

/// Threads that are looked at, at most.
const THREADS_MAX: usize = 20_000;
/// PF_KTHREAD of include/linux/sched.h.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// CPUs of the machine.
#[derive(Clone, Default, Debug)]
pub struct Cpu {
    /// Those this process may run on.
    pub allowed: Vec<usize>,
    pub online: Vec<usize>,
    /// `isolcpus` of the kernel's command line.
    pub isolated: Vec<usize>,
    /// `nohz_full` of the kernel's command line.
    pub nohz_full: Vec<usize>,
    /// Frequency governors by CPU.
    pub governors: Vec<(usize, String)>,
    pub clocksource: Option<String>,
    /// Whether the time stamp counter runs at one rate always; None: not an x86 machine.
    pub constant_tsc: Option<bool>,
    /// Time since start that the hypervisor gave to others while we had work, in per mille.
    pub steal_permille: u64,
    /// The tightest CFS quota of our control groups.
    pub quota: Option<Quota>,
    /// Periods in which it made us wait.
    pub throttled: u64,
    /// Interrupts by number that may be delivered to these CPUs.
    pub irqs: Vec<(u32, Vec<usize>)>,
    /// Threads other than ours; empty unless asked for.
    pub threads: Vec<Thread>,
}

/// CPU time that a control group may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quota {
    pub folder: String,
    pub quota_us: u64,
    pub period_us: u64,
}

/// A thread of another program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thread {
    pub process: u32,
    pub name: String,
    /// Where it may run.
    pub allowed: Vec<usize>,
    /// Where it ran last.
    pub cpu: usize,
    pub runnable: bool,
}

impl Cpu {
    pub fn read(root: &Root, scope: Scope) -> Cpu {
        let status = root.text_or_empty("proc/self/status");
        let folder = "sys/devices/system/cpu";
        let online = root.list(&format!("{folder}/online"));
        let governor = |cpu: &usize| Some((*cpu, root.text(&format!("{folder}/cpu{cpu}/cpufreq/scaling_governor"))?));
        let groups = cgroup::folders(root, "cpu");
        let throttled = |folder: &String| {
            let stat = root.text(&format!("{folder}/cpu.stat"))?;
            stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.trim().parse::<u64>().ok())
        };
        Cpu {
            allowed: field(&status, "Cpus_allowed_list").map(number_list).unwrap_or_default(),
            isolated: root.list(&format!("{folder}/isolated")),
            nohz_full: root.list(&format!("{folder}/nohz_full")),
            governors: online.iter().filter_map(governor).collect(),
            online,
            clocksource: root.text("sys/devices/system/clocksource/clocksource0/current_clocksource"),
            constant_tsc: constant_tsc(&root.text_or_empty("proc/cpuinfo")),
            steal_permille: steal_permille(&root.text_or_empty("proc/stat")),
            quota: groups.iter().filter_map(|folder| quota(root, folder)).min_by_key(Quota::permille),
            throttled: groups.iter().filter_map(throttled).max().unwrap_or(0),
            irqs: irqs(root),
            threads: if scope == Scope::Everything { threads(root, &status) } else { Vec::new() },
        }
    }
}

impl Quota {
    /// Thousandths of one CPU.
    pub fn permille(&self) -> u64 {
        self.quota_us.saturating_mul(1000) / self.period_us.max(1)
    }
}

fn quota(root: &Root, folder: &str) -> Option<Quota> {
    let (quota, period) = match root.text(&format!("{folder}/cpu.max")) {
        Some(text) => {
            let (quota, period) = text.split_once(' ')?;
            (quota.parse().ok()?, period.parse().ok()?)
        }
        // -1, no limit, is not a u64.
        None => {
            (root.number(&format!("{folder}/cpu.cfs_quota_us"))?, root.number(&format!("{folder}/cpu.cfs_period_us"))?)
        }
    };
    Some(Quota { folder: folder.to_string(), quota_us: quota, period_us: period })
}

fn constant_tsc(cpuinfo: &str) -> Option<bool> {
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")?.split_once(':'))?.1;
    let has = |flag: &str| flags.split(' ').any(|word| word == flag);
    Some(has("constant_tsc") && has("nonstop_tsc"))
}

/// From the first line of /proc/stat: user nice system idle iowait irq softirq steal.
fn steal_permille(stat: &str) -> u64 {
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu "));
    let ticks: Vec<u64> = line.unwrap_or("").split_whitespace().take(8).filter_map(|word| word.parse().ok()).collect();
    let [user, nice, system, _, _, irq, softirq, steal] = ticks[..] else { return 0 };
    let wanted: u128 = [user, nice, system, irq, softirq, steal].map(u128::from).iter().sum();
    // At most 1000, because `steal` is a part of what was wanted.
    (u128::from(steal) * 1000).checked_div(wanted).unwrap_or(0) as u64
}

fn irqs(root: &Root) -> Vec<(u32, Vec<usize>)> {
    let irq = |name: String| {
        let number = name.parse().ok()?;
        Some((number, number_list(&root.text(&format!("proc/irq/{name}/smp_affinity_list"))?)))
    };
    root.names("proc/irq").into_iter().filter_map(irq).collect()
}

fn threads(root: &Root, own_status: &str) -> Vec<Thread> {
    let own = field(own_status, "Pid").unwrap_or("self");
    let processes = root.names("proc").into_iter().filter(|name| name != own && name.parse::<u32>().is_ok());
    let tasks = processes.flat_map(|process| {
        let folder = format!("proc/{process}/task");
        let id = process.parse().unwrap_or(0);
        root.names(&folder).into_iter().map(move |task| (id, format!("{folder}/{task}")))
    });
    tasks.take(THREADS_MAX).filter_map(|(process, folder)| thread(root, process, &folder)).collect()
}

/// A thread that is not the kernel's own.
fn thread(root: &Root, process: u32, folder: &str) -> Option<Thread> {
    let stat = root.text(&format!("{folder}/stat"))?;
    // The name is in brackets and may hold anything, brackets included.
    let (start, rest) = stat.rsplit_once(')')?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let flags: u64 = words.get(6)?.parse().ok()?;
    if flags & KERNEL_THREAD != 0 {
        return None;
    }
    let status = root.text(&format!("{folder}/status"))?;
    Some(Thread {
        process,
        name: start.split_once('(')?.1.to_string(),
        allowed: number_list(field(&status, "Cpus_allowed_list")?),
        cpu: words.get(36)?.parse().ok()?,
        runnable: words.first() == Some(&"R"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_a_part_of_what_was_wanted() {
        let huge = format!("cpu  {}\n", vec![u64::MAX.to_string(); 8].join(" "));
        for (stat, permille) in [
            ("cpu  600 0 300 9000 0 0 0 100 0 0\ncpu0 1", 100),
            ("cpu  0 0 0 0 0 0 0 0", 0),
            ("cpu  1 2 3", 0),
            ("intr 5", 0),
            (&huge, 166),
        ] {
            assert_eq!(steal_permille(stat), permille, "{stat}");
        }
    }
}
