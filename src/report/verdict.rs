//! PASS, FAIL, INVALID or ABORTED.
//!
//! Owns thresholds on a result document and which finding wins. Refuses to look at the generator's health: `validity` does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::distribution::add;
use super::model::{Run, Summary};
use super::sample::Sample;
use super::text;
use super::validity;
use crate::loadgen::plan::{Metric, Threshold};

/// What a run is worth.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// The schedule was held and every threshold holds.
    Pass,
    /// The schedule was held and a threshold does not hold.
    Fail,
    /// The generator broke its own schedule or lost frames: the figures say nothing about the target.
    Invalid,
    /// Somebody stopped the run.
    Aborted,
}

impl Outcome {
    /// As shown.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Pass => "PASS",
            Outcome::Fail => "FAIL",
            Outcome::Invalid => "INVALID",
            Outcome::Aborted => "ABORTED",
        }
    }

    /// The process's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Outcome::Pass => 0,
            Outcome::Fail => 99,
            Outcome::Invalid => 10,
            Outcome::Aborted => 105,
        }
    }
}

/// Whether the run passed, and why not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// PASS, FAIL, INVALID or ABORTED.
    pub outcome: Outcome,
    /// The exit code that says the same.
    pub exit_code: u8,
    /// Why it is not PASS.
    pub reasons: Vec<Finding>,
    /// What else a reader should know.
    pub notes: Vec<Finding>,
}

/// Something that was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// A short name that does not change.
    pub code: String,
    /// What.
    pub what: String,
    /// What to change.
    pub fix: Option<String>,
}

impl Finding {
    /// A finding without advice.
    pub fn new(code: &str, what: impl Into<String>) -> Finding {
        Finding { code: code.into(), what: what.into(), fix: None }
    }

    /// Adds what to change.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Finding {
        self.fix = Some(fix.into());
        self
    }
}

/// A threshold and what was found.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// As written.
    pub text: String,
    /// The left side: nanoseconds for durations, a share, a number, or one per second. Absent when nothing was measured.
    pub actual: Option<f64>,
    /// The left side for people.
    pub shown: String,
    /// Whether it holds.
    pub holds: bool,
}

/// Evaluates the thresholds and gives the verdict.
///
/// # Errors
/// When a histogram of the document cannot be decoded.
pub fn judge(run: &mut Run) -> Result<(), String> {
    let thresholds: Vec<Threshold> =
        run.plan.thresholds.iter().map(|c| c.threshold().ok_or_else(|| c.text.clone())).collect::<Result<_, _>>()?;
    run.thresholds = Vec::new();
    for threshold in &thresholds {
        let (actual, holds) = select(run, threshold)?.judge(threshold);
        let shown = actual.map_or_else(|| "nothing was measured".into(), |value| show(threshold, value));
        run.thresholds.push(Judged { text: threshold.text.clone(), actual, shown, holds });
    }
    let (invalid, notes) = validity::findings(run)?;
    let broken = run.thresholds.iter().filter(|judged| !judged.holds);
    let broken = broken.map(|judged| Finding::new("threshold", format!("{}: it is {}", judged.text, judged.shown)));
    let mut broken: Vec<Finding> = broken.collect();
    let mut stopped = Vec::new();
    if let Some(aborted) = &run.aborted {
        let finding = Finding::new("aborted", format!("ended after {:.1} s: {}", run.elapsed_s, aborted.reason));
        if aborted.by_threshold { broken.insert(0, finding) } else { stopped.push(finding) }
    }
    let outcome = match (stopped.is_empty(), invalid.is_empty(), broken.is_empty()) {
        (false, ..) => Outcome::Aborted,
        (_, false, _) => Outcome::Invalid,
        (_, _, false) => Outcome::Fail,
        _ => Outcome::Pass,
    };
    let reasons = stopped.into_iter().chain(invalid).chain(broken).collect();
    run.verdict = Verdict { outcome, exit_code: outcome.exit_code(), reasons, notes };
    Ok(())
}

/// The requests a threshold selects. Warm-up only if it is named.
fn select(run: &Run, threshold: &Threshold) -> Result<Sample, String> {
    let named = |wanted: &Option<String>, name: &Option<String>| wanted.is_none() || wanted == name;
    let cells = run.cells.iter().filter(|cell| {
        named(&threshold.stage, &cell.stage)
            && named(&threshold.class, &cell.class)
            && (threshold.stage.is_some() || !cell.warmup)
    });
    let cells: Vec<&Summary> = cells.collect();
    let mut sample = Sample::default();
    for cell in &cells {
        sample.counts.add(&cell.counts.counts());
        match threshold.metric {
            Metric::Duration => add(&mut sample.latency, &cell.latency.decode()?),
            Metric::Service => add(&mut sample.service, &cell.service.decode()?),
            _ => {}
        }
    }
    // Classes share a stage's time.
    sample.seconds = match &threshold.stage {
        Some(_) => cells.first().map_or(0.0, |cell| cell.seconds),
        None => run.total.seconds,
    };
    if threshold.metric == Metric::Connecting {
        let part = match &threshold.stage {
            None => Some(&run.total),
            wanted => run.stages.iter().find(|stage| stage.stage == *wanted),
        };
        if let Some(connect) = part.and_then(|part| part.connect.as_ref()) {
            sample.connect = connect.decode()?;
        }
    }
    Ok(sample)
}

/// A threshold's left side for people.
pub fn show(threshold: &Threshold, value: f64) -> String {
    use crate::loadgen::plan::Aggregation::{Count, Rate};
    match (threshold.metric, threshold.aggregation) {
        (_, Count) => format!("{value:.0}"),
        (Metric::Failed | Metric::Checks, _) => text::percent(value),
        (_, Rate) => format!("{}/s", text::number(value)),
        _ => text::duration(value),
    }
}
