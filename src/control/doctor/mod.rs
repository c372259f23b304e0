//! `penstock doctor`: what on this machine keeps the gateway from starting, slows it or makes it unreachable.
//!
//! Owns findings and the list of checks. A check is a pure function of a [`Machine`], the one reader's snapshot of
//! /proc, /sys and /dev, and of the configuration. Refuses to change anything: it names the command that would. Fatal is
//! only what is certain to fail, because `penstock run` refuses to start on it.

mod checks;
mod device;
mod machine;
mod need;
mod show;

#[cfg(test)]
mod tests;

use std::path::Path;

use super::load;
use crate::config::Config;
use crate::failure::{Exit, Failure};
use machine::{Machine, Scope};

/// How bad a finding is.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The gateway cannot start.
    Fatal,
    /// It starts, and serves badly or not everyone.
    Warning,
    /// Worth knowing; nothing has to be done.
    Note,
    /// Looked at and in order.
    Ok,
}

impl Severity {
    /// The word in the report and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Fatal => "fatal",
            Severity::Warning => "warning",
            Severity::Note => "note",
            Severity::Ok => "ok",
        }
    }
}

/// One thing that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Stable name, such as `hugepages-none`.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found, where.
    pub what: String,
    /// Why it matters; empty where `what` says it.
    pub why: String,
    /// The command or setting that fixes it, a line for each way; empty when nothing has to be fixed.
    pub fix: String,
}

impl Finding {
    fn new(severity: Severity, id: &'static str, what: impl Into<String>) -> Finding {
        Finding { id, severity, what: what.into(), why: String::new(), fix: String::new() }
    }

    fn fatal(id: &'static str, what: impl Into<String>) -> Finding {
        Finding::new(Severity::Fatal, id, what)
    }

    fn warning(id: &'static str, what: impl Into<String>) -> Finding {
        Finding::new(Severity::Warning, id, what)
    }

    fn note(id: &'static str, what: impl Into<String>) -> Finding {
        Finding::new(Severity::Note, id, what)
    }

    fn ok(id: &'static str, what: impl Into<String>) -> Finding {
        Finding::new(Severity::Ok, id, what)
    }

    fn why(mut self, why: impl Into<String>) -> Finding {
        self.why = why.into();
        self
    }

    fn fix(mut self, fix: impl Into<String>) -> Finding {
        self.fix = fix.into();
        self
    }

    /// The exit code of `penstock run` for this finding.
    fn exit(&self) -> Exit {
        if checks::IN_CONFIG.contains(&self.id) { Exit::Config } else { Exit::Environment }
    }
}

/// Findings about one part of the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Such as `memory`.
    pub area: &'static str,
    /// The worst first.
    pub findings: Vec<Finding>,
}

/// Everything that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The configuration file that was examined with the machine.
    pub config: Option<String>,
    /// In the order of the checks.
    pub groups: Vec<Group>,
}

impl Report {
    /// All findings.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.groups.iter().flat_map(|group| &group.findings)
    }

    /// How many findings are that bad.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings().filter(|finding| finding.severity == severity).count()
    }

    /// Several lines for people; the last one is the verdict.
    pub fn text(&self, color: bool) -> String {
        show::text(self, color)
    }

    /// One JSON object, as docs/troubleshooting.md describes it.
    pub fn json(&self) -> String {
        show::json(self)
    }
}

/// Examines this machine, and the configuration file if one is named.
pub fn report(config: Option<&Path>) -> Report {
    let loaded = config.map(load::load_file);
    let (config_finding, loaded) = match loaded {
        None => (checks::no_config(), None),
        Some(Ok(config)) => (Finding::ok("config", "the configuration file is valid"), Some(config)),
        Some(Err(failure)) => (checks::bad_config(failure), None),
    };
    let mut groups = vec![Group { area: "configuration", findings: vec![config_finding] }];
    groups.extend(examine(&this_machine(loaded.as_ref(), Scope::Everything), loaded.as_ref()));
    Report { config: config.map(|path| path.display().to_string()), groups }
}

/// Examines the machine whose /proc, /sys, /dev and /usr are below `root`, for a gateway with this configuration.
pub fn report_below(root: &Path, config: Option<&Config>) -> Report {
    Report { config: None, groups: examine(&Machine::read(root, Scope::Everything), config) }
}

/// What is certain to keep a gateway with this configuration and planned EAL arguments from starting.
///
/// # Errors
/// All fatal findings in one failure, in `penstock doctor`'s words: `Exit::Environment`, or `Exit::Config` when they
/// are in the file.
pub fn fatal(config: &Config) -> Result<(), Failure> {
    let groups = examine(&this_machine(Some(config), Scope::Start), Some(config));
    refusal(groups.iter().flat_map(|group| &group.findings))
}

fn this_machine(config: Option<&Config>, scope: Scope) -> Machine {
    let mut machine = Machine::read(Path::new("/"), scope);
    if let Some(interface) = config.and_then(device::Device::of).as_ref().and_then(device::Device::interface) {
        machine.net.look_up(interface);
    }
    machine
}

fn refusal<'a>(findings: impl Iterator<Item = &'a Finding>) -> Result<(), Failure> {
    let fatal: Vec<&Finding> = findings.filter(|finding| finding.severity == Severity::Fatal).collect();
    match &fatal[..] {
        [] => Ok(()),
        [one] => Err(Failure::new(one.exit(), &one.what).fix(&one.fix)),
        several => {
            let mut what = format!("{} things keep the gateway from starting", several.len());
            for finding in several {
                let failure = Failure::new(finding.exit(), &finding.what).fix(&finding.fix);
                let text = failure.to_string();
                what.push_str("\n\n");
                what.push_str(text.strip_prefix("error: ").unwrap_or(&text));
            }
            Err(Failure::new(several[0].exit(), what))
        }
    }
}

/// Runs every check.
fn examine(machine: &Machine, config: Option<&Config>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (area, check) in checks::CHECKS {
        let found = check(machine, config);
        match groups.last_mut() {
            Some(group) if group.area == *area => group.findings.extend(found),
            _ => groups.push(Group { area, findings: found }),
        }
    }
    for group in &mut groups {
        group.findings.sort_by_key(|finding| finding.severity);
    }
    groups.retain(|group| !group.findings.is_empty());
    groups
}
