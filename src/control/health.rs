//! Whether the gateway lives and whether it should get traffic.
//!
//! Owns the judgement. Refuses to measure: heartbeats are the workers' own, link and phase the runtime's.

use super::subject::{Phase, Subject, View};
use core::fmt::Write;
use core::time::Duration;
use serde::Serialize;

/// A worker without a turn for this long does not serve.
pub const READY_GAP_MAX: Duration = Duration::from_secs(1);
/// A worker without a turn for this long will not come back.
pub const LIVE_GAP_MAX: Duration = Duration::from_secs(10);

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Check {
    /// What it is about.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
}

/// Whether the process should be left running: its workers turn and its control thread answers.
pub fn live(subject: &Subject, view: &View) -> Vec<Check> {
    let mut checks = heartbeats(subject, view, LIVE_GAP_MAX);
    checks.push(control(view));
    checks
}

/// Whether it should get traffic: it serves, does not drain, every worker turns, and the link is up.
pub fn ready(subject: &Subject, view: &View) -> Vec<Check> {
    let phase = view.phase;
    let mut checks =
        vec![Check { name: "phase".into(), ok: phase == Phase::Serving, detail: format!("it is {}", phase.name()) }];
    checks.extend(heartbeats(subject, view, READY_GAP_MAX));
    checks.push(control(view));
    if let Some(device) = &view.device {
        let state = device.link_up.map_or("unknown", |up| if up { "up" } else { "down" });
        let detail = format!("the link of {} is {state}", subject.device.name);
        checks.push(Check { name: "link".into(), ok: device.link_up != Some(false), detail });
    }
    checks
}

/// Whether everything is as it should be.
pub fn all_ok(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.ok)
}

/// What is not as it should be.
pub fn reasons(checks: &[Check]) -> Vec<String> {
    checks.iter().filter(|check| !check.ok).map(|check| check.detail.clone()).collect()
}

/// One line if all is well, `what`; else one for each reason, `not WHAT: REASON`.
pub fn text(what: &str, checks: &[Check]) -> String {
    let mut text = String::new();
    for reason in reasons(checks) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "not {what}: {reason}");
    }
    if text.is_empty() { format!("{what}\n") } else { text }
}

/// Every check, as JSON.
pub fn json(what: &str, checks: &[Check]) -> String {
    format!("{}\n", serde_json::json!({ what: all_ok(checks), "checks": checks }))
}

fn control(view: &View) -> Check {
    let ok = view.device.is_some() || view.phase == Phase::Stopping;
    let detail = if ok { "the control thread answers" } else { "the control thread does not answer" };
    Check { name: "control".into(), ok, detail: detail.into() }
}

fn heartbeats(subject: &Subject, view: &View, gap_max: Duration) -> Vec<Check> {
    let check = |(number, worker): (usize, &super::subject::Worker)| {
        let name = format!("worker {number}");
        let beat_ns = worker.counters.times().beat_ns;
        if beat_ns == 0 || matches!(view.phase, Phase::Starting | Phase::Stopping) {
            // Before its first turn and after its last one nothing is expected of a worker; the phase tells.
            return Check { name, ok: true, detail: format!("worker {number} is not running") };
        }
        let age = Duration::from_nanos(view.now_ns.saturating_sub(beat_ns));
        let detail = format!("worker {number} on lcore {} began its last turn {age:.1?} ago", worker.lcore);
        // A drained worker has ended.
        Check { name, ok: age < gap_max || view.phase == Phase::Draining, detail }
    };
    subject.workers.iter().enumerate().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fake::{Fake, subject};

    fn judge(change: impl FnOnce(&mut Fake)) -> (bool, String) {
        let mut fake = Fake::default();
        change(&mut fake);
        let subject = subject(fake);
        let view = subject.view();
        (all_ok(&live(&subject, &view)), text("ready", &ready(&subject, &view)))
    }

    #[test]
    fn what_keeps_it_from_being_ready_and_from_being_alive() {
        let second = 1_000_000_000;
        assert_eq!(judge(|_| {}), (true, "ready\n".into()));
        assert_eq!(judge(|fake| fake.link_up = None), (true, "ready\n".into()));
        for (change, live, reason) in [
            ((|fake| fake.phase = Phase::Draining) as fn(&mut Fake), true, "not ready: it is draining"),
            (|fake| fake.phase = Phase::Starting, true, "not ready: it is starting"),
            (|fake| fake.link_up = Some(false), true, "not ready: the link of net_fake0 is down"),
            (|fake| fake.answers = false, false, "not ready: the control thread does not answer"),
        ] {
            assert_eq!(judge(change), (live, format!("{reason}\n")));
        }
        let (live, text) = judge(|fake| fake.now_ns += second);
        assert!(live && text.starts_with("not ready: worker 0 on lcore 1 began its last turn 1.0s ago"), "{text}");
        let (live, _) = judge(|fake| fake.now_ns += 10 * second);
        assert!(!live);
    }

    #[test]
    fn every_check_is_in_the_json() {
        let subject = subject(Fake { link_up: Some(false), ..Fake::default() });
        let json: serde_json::Value = serde_json::from_str(&json("ready", &ready(&subject, &subject.view()))).unwrap();
        assert_eq!(json["ready"], false);
        let names: Vec<&str> = json["checks"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["phase", "worker 0", "worker 1", "control", "link"]);
    }
}
