//! A failing run made smaller.
//!
//! Owns the reductions of a plan, their names, and the search for a small plan that fails in the same way. Refuses to run
//! anything: it asks whether a plan still fails.

use super::client::ClientPlan;
use super::event::What;
use super::plan::{Hiccups, Plan};
use super::wire::Impairment;
use crate::config::{HttpLimits, SynCookies, TcpConfig};
use crate::port::Caps;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;

/// Plans tried at most.
const TRIES_MAX: usize = 400;

/// What is taken from a plan.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// A load machine.
    Load,
    /// A client.
    Client,
    /// An event.
    Event,
    /// The second half of a client's requests.
    Requests,
    /// The last class of a load.
    Class,
    /// The last stage of a load; of the only one, half its length.
    Stage,
    /// Half the connections of a load.
    Connections,
    /// All workers of a load but one.
    LoadWorkers,
    /// What the wires of a station do, but for their delay.
    Wires,
    /// The pauses and offloads of all machines.
    Devices,
    /// The gateway's workers but one.
    Workers,
    /// The gateway's tight limits.
    Limits,
}

const NAMES: [(Part, &str); 12] = [
    (Part::Load, "load"),
    (Part::Client, "client"),
    (Part::Event, "event"),
    (Part::Requests, "requests"),
    (Part::Class, "class"),
    (Part::Stage, "stage"),
    (Part::Connections, "connections"),
    (Part::LoadWorkers, "load-workers"),
    (Part::Wires, "wires"),
    (Part::Devices, "devices"),
    (Part::Workers, "workers"),
    (Part::Limits, "limits"),
];

/// One step: a part, and which of its kind at that time.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Reduction {
    /// What is taken.
    pub part: Part,
    /// Which one.
    pub index: usize,
}

impl fmt::Display for Reduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(part, _)| *part == self.part).map_or("", |(_, name)| name);
        write!(f, "{name}.{}", self.index)
    }
}

impl FromStr for Reduction {
    type Err = String;

    fn from_str(text: &str) -> Result<Reduction, String> {
        let found = text.split_once('.').and_then(|(name, index)| {
            let part = NAMES.iter().find(|(_, known)| *known == name)?.0;
            Some(Reduction { part, index: index.parse().ok()? })
        });
        found.ok_or_else(|| format!("{text:?} is no reduction such as client.3"))
    }
}

/// Applies reductions written as a list with commas.
pub fn apply_list(plan: &mut Plan, list: &str) -> Result<(), String> {
    for text in list.split(',').filter(|text| !text.is_empty()) {
        let reduction: Reduction = text.parse()?;
        if !reduction.apply(plan) {
            return Err(format!("{reduction} takes nothing from this plan"));
        }
    }
    Ok(())
}

impl Reduction {
    /// Takes the part from the plan; false when it was not there.
    pub fn apply(self, plan: &mut Plan) -> bool {
        let before = plan.clone();
        self.take(plan);
        *plan != before
    }

    fn take(self, plan: &mut Plan) -> Option<()> {
        let Reduction { part, index } = self;
        match part {
            Part::Load => {
                plan.loads.get(index)?;
                plan.loads.remove(index);
                let gone = plan.hosts.len() + index;
                plan.events.retain(|event| !matches!(event.what, What::Partition { station, .. } if station == gone));
                for event in &mut plan.events {
                    if let What::Partition { station, .. } = &mut event.what {
                        *station -= usize::from(*station > gone);
                    }
                }
            }
            Part::Client => {
                plan.clients.get(index)?;
                plan.clients.remove(index);
            }
            Part::Event => {
                plan.events.get(index)?;
                plan.events.remove(index);
            }
            Part::Requests => {
                let ClientPlan { requests, .. } = plan.clients.get_mut(index)?;
                requests.truncate(requests.len().div_ceil(2));
            }
            Part::Class => {
                let classes = &mut plan.loads.get_mut(index)?.plan.classes;
                classes.truncate((classes.len() - 1).max(1));
            }
            Part::Stage => match plan.loads.get_mut(index)?.plan.stages.as_mut_slice() {
                [only] => only.duration = (only.duration / 2).max(Duration::from_millis(1)),
                _ => _ = plan.loads.get_mut(index)?.plan.stages.pop(),
            },
            Part::Connections => {
                let load = plan.loads.get_mut(index)?;
                load.plan.connections = (load.plan.connections / 2).max(load.workers as u32);
            }
            Part::LoadWorkers => plan.loads.get_mut(index)?.workers = 1,
            Part::Wires => {
                let hosts = plan.hosts.len();
                let (up, down) = match plan.hosts.get_mut(index) {
                    Some(host) => (&mut host.up, &mut host.down),
                    None => {
                        let load = plan.loads.get_mut(index - hosts)?;
                        (&mut load.up, &mut load.down)
                    }
                };
                for wire in [up, down] {
                    *wire = Impairment { delay: wire.delay, ..Impairment::default() };
                }
            }
            Part::Devices => {
                (plan.hiccups, plan.caps) = (Hiccups::default(), plain(&plan.caps));
                for load in &mut plan.loads {
                    (load.machine.hiccups, load.machine.caps) = (Hiccups::default(), plain(&load.machine.caps));
                }
            }
            Part::Workers => plan.config.workers.count = Some(1),
            Part::Limits => {
                plan.config.workers.connections = 64;
                let TcpConfig { half_open, syn_cookies, time_wait_entries, timestamps, .. } = &mut plan.config.tcp;
                (*half_open, *syn_cookies, *time_wait_entries, *timestamps) = (64, SynCookies::Auto, 64, false);
                let HttpLimits { requests_per_connection, .. } = &mut plan.config.http;
                (*requests_per_connection, plan.site.requests_max) = (0, 0);
                plan.pool = plan.pool.max(8192);
            }
        }
        Some(())
    }
}

/// A device that offers nothing.
fn plain(caps: &Caps) -> Caps {
    Caps { mac: caps.mac, mtu: caps.mtu, ..Caps::default() }
}

/// What may be taken from a plan, the most first.
fn candidates(plan: &Plan) -> Vec<Reduction> {
    let (clients, loads, stations) = (plan.clients.len(), plan.loads.len(), plan.hosts.len() + plan.loads.len());
    let each = |part, n: usize| (0..n).rev().map(move |index| Reduction { part, index });
    let mut all: Vec<Reduction> = each(Part::Load, loads).collect();
    all.extend(each(Part::Client, clients));
    all.extend(each(Part::Event, plan.events.len()));
    for part in [Part::Stage, Part::Connections, Part::Class, Part::LoadWorkers] {
        all.extend(each(part, loads));
    }
    all.extend(each(Part::Requests, clients));
    all.extend(each(Part::Wires, stations));
    all.extend([Part::Devices, Part::Workers, Part::Limits].map(|part| Reduction { part, index: 0 }));
    all
}

/// Takes from a plan whatever it still fails without. `fails` says whether a plan fails in the same way.
pub fn shrink(plan: &Plan, mut fails: impl FnMut(&Plan) -> bool) -> (Plan, Vec<Reduction>) {
    let (mut plan, mut taken, mut tries) = (plan.clone(), Vec::new(), 0);
    loop {
        let before = taken.len();
        for reduction in candidates(&plan) {
            let mut smaller = plan.clone();
            if tries < TRIES_MAX && reduction.apply(&mut smaller) {
                tries += 1;
                if fails(&smaller) {
                    plan = smaller;
                    taken.push(reduction);
                }
            }
        }
        if taken.len() == before || tries >= TRIES_MAX {
            return (plan, taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_written() {
        for (part, _) in NAMES {
            let reduction = Reduction { part, index: 12 };
            assert_eq!(reduction.to_string().parse(), Ok(reduction));
        }
        assert!("client".parse::<Reduction>().is_err() && "clients.1".parse::<Reduction>().is_err());
    }

    #[test]
    fn what_is_left_is_what_the_failure_needs() {
        let plan = (0..).map(Plan::drawn).find(|plan| plan.clients.len() > 5 && plan.loads.len() == 2).unwrap();
        let needed = plan.clients[3].clone();
        let needs = |plan: &Plan| plan.clients.contains(&needed);
        let (small, taken) = shrink(&plan, needs);
        assert_eq!((small.clients.as_slice(), small.loads.len(), small.events.len()), (&[needed.clone()][..], 0, 0));
        let mut again = plan.clone();
        let list: Vec<String> = taken.iter().map(Reduction::to_string).collect();
        apply_list(&mut again, &list.join(",")).unwrap();
        assert_eq!(again, small);
    }
}
