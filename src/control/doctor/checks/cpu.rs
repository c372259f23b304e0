//! CPUs: enough of them, undisturbed, not rationed, with a steady clock.

use super::super::machine::{Cpu, Machine, Thread, show_list};
use super::super::need::{Need, most_workers};
use super::super::{Finding, Severity};
use super::{counted, slow};
use crate::config::Config;

/// Steal from which on it is reported, in per mille of the time in which there was work.
const STEAL_PERMILLE: u64 = 20;
/// Names listed, at most.
const NAMES_MAX: usize = 3;

/// Workers and the CPUs there are for them.
pub fn workers(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    let cpu = &machine.cpu;
    if cpu.allowed.is_empty() {
        return Vec::new();
    }
    let mut found = cpuset(cpu);
    let Some(config) = config else { return found };
    let (need, most) = (Need::of(config, machine), most_workers(machine));
    let allowed = cpu.allowed.len();
    if let Some(count) = config.workers.count.filter(|count| usize::from(*count) > most) {
        let what =
            format!("workers.count = {count}, but this process may use {allowed} CPUs and at most {most} workers");
        found.push(
            Finding::fatal("workers-too-many", what)
                .why("two polling workers on one CPU wait for each other")
                .fix(format!("set workers.count = {most} or less, or leave it out")),
        );
    } else if need.spare_cpu {
        let (workers, list) = (counted(need.workers, "worker"), need.cpu_list());
        found.push(Finding::ok("cpus", format!("{workers} on CPU {list} of {}", show_list(&cpu.allowed))));
    } else {
        let what = format!("CPU {} is shared by a worker and the control thread", cpu.allowed[0]);
        found.push(
            Finding::new(slow(Some(config)), "cpu-shared", what)
                .why("each time the control thread runs, that worker does not receive")
                .fix(format!("give the process another CPU, or set count = {} under [workers]", (allowed - 1).max(1))),
        );
    }
    found
}

fn cpuset(cpu: &Cpu) -> Vec<Finding> {
    if cpu.online.len() <= cpu.allowed.len() {
        return Vec::new();
    }
    let what = format!("this process may use CPU {} of {}", show_list(&cpu.allowed), show_list(&cpu.online));
    let note = Finding::note("cpuset", what).why("a cpuset, a container or taskset says so; workers stay within");
    vec![note.fix("more: docker run --cpuset-cpus, the service's AllowedCPUs, or taskset -c LIST penstock")]
}

/// Whether the scheduler keeps off the workers' CPUs.
pub fn isolation(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    let cpu = &machine.cpu;
    let Some(need) = config.map(|config| Need::of(config, machine)).filter(|need| !need.cpus.is_empty()) else {
        return Vec::new();
    };
    let lacking = |isolated: &[usize]| need.cpus.iter().any(|cpu| !isolated.contains(cpu));
    let list = need.cpu_list();
    let fix = format!(
        "add to the kernel's command line: isolcpus={list} nohz_full={list} rcu_nocbs={list}, then restart the machine"
    );
    if lacking(&cpu.isolated) {
        let what = format!("CPU {list} of the workers is not isolated");
        return vec![
            Finding::new(slow(config), "cpu-not-isolated", what)
                .why("whatever else the kernel runs there stops a worker for a time slice: milliseconds in the tail")
                .fix(fix),
        ];
    }
    if lacking(&cpu.nohz_full) {
        let what = format!("CPU {list} of the workers is isolated, and has the timer tick");
        return vec![
            Finding::note("cpu-tick", what).why("the tick interrupts a worker up to 1000 times a second").fix(fix),
        ];
    }
    vec![Finding::ok("isolation", format!("CPU {list} of the workers is isolated"))]
}

/// Other programs on the workers' CPUs.
pub fn others(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    let cpu = &machine.cpu;
    let Some(config) = config else { return Vec::new() };
    let need = Need::of(config, machine);
    let here = |at: &usize| need.cpus.contains(at);
    let pinned: Vec<&Thread> = cpu
        .threads
        .iter()
        .filter(|thread| thread.allowed.iter().all(here) && thread.allowed.len() < cpu.online.len())
        .collect();
    let running: Vec<&Thread> = cpu.threads.iter().filter(|thread| thread.runnable && here(&thread.cpu)).collect();
    let mut found = Vec::new();
    if !pinned.is_empty() {
        let what = format!(
            "CPU {1} of the workers has {0} pinned to it: {2}",
            counted(pinned.len(), "other thread"),
            need.cpu_list(),
            names(&pinned)
        );
        let busy = pinned.iter().any(|thread| thread.runnable);
        let severity = if busy { Severity::Warning } else { slow(Some(config)) };
        let fix = format!("give one of them other CPUs: taskset -a -p -c LIST {}", pinned[0].process);
        found.push(Finding::new(severity, "cpu-contended", what).why("they take turns with a worker").fix(fix));
    } else if !running.is_empty() {
        let what = format!(
            "CPU {1} of the workers runs {0}: {2}",
            counted(running.len(), "other thread"),
            need.cpu_list(),
            names(&running)
        );
        let fix = format!("isolate the CPUs, or move them: taskset -a -p -c LIST {}", running[0].process);
        found.push(Finding::new(slow(Some(config)), "cpu-busy", what).why("they take turns with a worker").fix(fix));
    }
    found
}

fn names(threads: &[&Thread]) -> String {
    let mut names: Vec<&str> = threads.iter().map(|thread| thread.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let more = if names.len() > NAMES_MAX { ", ..." } else { "" };
    format!("{}{more}", names[..names.len().min(NAMES_MAX)].join(", "))
}

/// Interrupts that may be delivered to isolated workers' CPUs. Elsewhere everything may be, and that says nothing.
pub fn interrupts(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    let cpu = &machine.cpu;
    let Some(need) = config.map(|config| Need::of(config, machine)) else { return Vec::new() };
    let ours: Vec<usize> = need.cpus.iter().filter(|at| cpu.isolated.contains(at)).copied().collect();
    let hit: Vec<u32> =
        cpu.irqs.iter().filter(|(_, to)| to.iter().any(|at| ours.contains(at))).map(|(number, _)| *number).collect();
    let Some(first) = hit.first() else { return Vec::new() };
    let others: Vec<usize> = cpu.online.iter().filter(|at| !ours.contains(at)).copied().collect();
    let what = format!("CPU {1} of the workers may be given {0}", counted(hit.len(), "interrupt"), show_list(&ours));
    let fix = format!(
        "for each: echo {} > /proc/irq/{first}/smp_affinity_list (as root), and end irqbalance or ban the CPUs there",
        show_list(&others)
    );
    vec![Finding::new(slow(config), "cpu-irqs", what).why("each one stops a worker for microseconds").fix(fix)]
}

/// CFS bandwidth control of the container.
pub fn quota(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    const WHY: &str = "a polling worker uses a whole CPU; when the quota is used up, the kernel stops it for the rest of the \
                       period, tens of milliseconds";
    const FIX: &str = "remove the quota and give whole CPUs: docker run --cpuset-cpus without --cpus; Kubernetes: static CPU \
                       manager policy and integer cpu requests equal to limits; systemd: CPUQuota=";
    let workers = config.map_or(1, |config| Need::of(config, machine).workers) as u64;
    let Some(quota) = &machine.cpu.quota else { return Vec::new() };
    let permille = quota.permille();
    let cpus = format!("{}.{:02} CPUs ({})", permille / 1000, permille % 1000 / 10, quota.folder);
    let mut found = Vec::new();
    if permille <= workers * 1000 {
        let what = format!("the CPU quota is {cpus}, and {workers} workers poll");
        found.push(Finding::warning("cpu-quota", what).why(WHY).fix(FIX));
    } else {
        found.push(Finding::note("cpu-quota-set", format!("the CPU quota is {cpus}")).why(WHY).fix(FIX));
    }
    if machine.cpu.throttled > 0 {
        let what = format!("the container's CPU quota has stopped it {} times", machine.cpu.throttled);
        found.push(Finding::warning("cpu-throttled", what).why(WHY).fix(FIX));
    }
    found
}

/// The time stamp counter, frequency and stolen time.
pub fn clock(machine: &Machine, config: Option<&Config>) -> Vec<Finding> {
    let cpu = &machine.cpu;
    let mut found = Vec::new();
    if cpu.constant_tsc == Some(false) {
        found.push(
            Finding::warning(
                "tsc-varies",
                "the time stamp counter changes its rate or stops (no constant_tsc, nonstop_tsc)",
            )
            .why("DPDK measures time with it: deadlines and timers would be wrong")
            .fix("in a virtual machine: -cpu host,+invtsc or migratable=off; otherwise other hardware"),
        );
    } else if let Some(source) =
        cpu.clocksource.as_deref().filter(|source| ["hpet", "acpi_pm", "jiffies"].contains(source))
    {
        found.push(
            Finding::warning("clocksource", format!("the kernel's clock source is {source}"))
                .why("the kernel chose it because it found the time stamp counter, which DPDK uses, unstable")
                .fix("see why: dmesg | grep -i -e tsc -e clocksource"),
        );
    }
    let cpus = config.map(|config| Need::of(config, machine).cpus).unwrap_or_default();
    let slow_governor = cpu.governors.iter().find(|(at, governor)| cpus.contains(at) && governor != "performance");
    if let Some((at, governor)) = slow_governor {
        let what = format!("CPU {at} of the workers has the frequency governor {governor}");
        found.push(
            Finding::new(slow(config), "cpu-governor", what)
                .why("it lowers the frequency, and changes it under a worker's feet")
                .fix(format!(
                    "echo performance > /sys/devices/system/cpu/cpu{at}/cpufreq/scaling_governor (as root), for each"
                )),
        );
    }
    if cpu.steal_permille >= STEAL_PERMILLE {
        let what = format!("the hypervisor took {} % of the CPU time that was wanted", cpu.steal_permille / 10);
        found.push(
            Finding::warning("cpu-steal", what)
                .why("workers stand still meanwhile: lower rates, and milliseconds in the tail")
                .fix("use a machine with dedicated CPUs"),
        );
    }
    found
}
