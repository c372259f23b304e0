//! Capacity: the highest rate at which a target does what is asked of it.
//!
//! Owns the search as a whole and its result document, which `schema()` publishes and docs/load-capacity.schema.json holds.
//! Refuses to generate load: whoever calls [`find`] runs the steps.

pub mod knee;
pub mod search;
pub mod usl;

mod html;
mod table;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};

pub use self::html::html;
use self::knee::Knee;
pub use self::search::{Bounds, Conclusion, Limit, Search, Step};
pub use self::table::{line, table};
use super::model::{Run, Stamp, share};
use super::verdict::Outcome;
use crate::failure::{Exit, Failure};

/// The version of the document's form. It changes when a reader of the old form would be misled.
pub const CAPACITY_SCHEMA: u32 = 1;
/// What is asked of a target when nobody says otherwise, in the grammar of thresholds.
pub const DEFAULT_SLO: [&str; 2] = ["http_req_failed: rate<0.001", "http_req_duration: p(99)<10ms"];

/// The result of a search.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// The version of this document's form: 1.
    pub schema: u32,
    /// The search's name.
    pub name: String,
    /// When its first step began: RFC 3339, UTC; empty when there was none.
    pub started: String,
    /// The target's URL.
    pub url: String,
    /// Where it searched.
    pub bounds: Bounds,
    /// The judged part of each step, in seconds.
    pub step_s: f64,
    /// Connections of all workers together.
    pub connections: u64,
    /// What has to hold.
    pub slo: Vec<String>,
    /// Nobody said what has to hold.
    pub slo_is_default: bool,
    /// What was found.
    pub conclusion: Conclusion,
    /// The exit code that says the same.
    pub exit_code: u8,
    /// Why the search ended early, if it did.
    pub aborted: Option<String>,
    /// Every step, in order of time.
    pub steps: Vec<Measured>,
    /// Where p99 is twice its value under low load; absent when that was not reached.
    pub knee: Option<Knee>,
    /// The universal scalability law; absent when too few steps were valid.
    pub usl: Option<usl::Fit>,
    /// Who measured.
    pub stamp: Stamp,
}

/// A step.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Requests due per second.
    pub rate: f64,
    /// Answers per second, accepted or not.
    pub achieved: f64,
    /// The same rate was measured before and did not pass; this time counts.
    pub again: bool,
    /// The verdict.
    pub outcome: Outcome,
    /// Latency from the intended start, in nanoseconds.
    pub p50_ns: u64,
    /// As `p50_ns`.
    pub p99_ns: u64,
    /// As `p50_ns`.
    pub p99_9_ns: u64,
    /// The mean from the sending to the end of the answer, in nanoseconds.
    pub service_mean_ns: f64,
    /// The mean number of requests inside the target: throughput times service time.
    pub concurrency: f64,
    /// Share of requests without an accepted answer.
    pub failed_share: f64,
    /// Share of requests that waited for a free connection.
    pub waited_share: f64,
    /// How late the generator was, 99th percentile, in nanoseconds.
    pub lag_p99_ns: u64,
    /// How busy its busiest worker was.
    pub busy_share: f64,
    /// Why the verdict is not PASS, and what else should be known.
    pub reasons: Vec<String>,
}

impl Measured {
    /// What a search keeps of a run.
    pub fn of(rate: f64, again: bool, run: &Run) -> Measured {
        let total = &run.total;
        let service_mean_ns = total.service.mean_ns;
        Measured {
            rate,
            achieved: total.rate,
            again,
            outcome: run.verdict.outcome,
            p50_ns: total.latency.p50_ns,
            p99_ns: total.latency.p99_ns,
            p99_9_ns: total.latency.p99_9_ns,
            service_mean_ns,
            concurrency: total.rate * service_mean_ns / 1e9,
            failed_share: total.failed_share,
            waited_share: share(total.counts.waited + total.counts.outcomes.not_sent, total.requests),
            lag_p99_ns: run.lag.p99_ns,
            busy_share: run.workers.iter().map(|worker| worker.busy_share).fold(0.0, f64::max),
            reasons: run.verdict.reasons.iter().map(|finding| finding.what.clone()).collect(),
        }
    }

    /// Whether it says something of the target.
    fn is_valid(&self) -> bool {
        matches!(self.outcome, Outcome::Pass | Outcome::Fail)
    }
}

/// What a search is about.
#[derive(Clone, PartialEq, Debug)]
pub struct Question {
    /// Its name.
    pub name: String,
    /// The target's URL.
    pub url: String,
    /// Where to search.
    pub bounds: Bounds,
    /// The judged part of each step, in seconds.
    pub step_s: f64,
    /// Connections of all workers together.
    pub connections: u64,
    /// What has to hold.
    pub slo: Vec<String>,
    /// Nobody said what has to hold.
    pub slo_is_default: bool,
}

/// Searches: `measure` runs a step at a rate, and is told whether it is the second time; `seen` is shown each.
///
/// # Errors
/// Those of the first step. A later one that cannot be run ends the search, and what was found is kept.
pub fn find(
    question: Question,
    mut measure: impl FnMut(f64, bool) -> Result<Run, Failure>,
    mut seen: impl FnMut(&Measured),
) -> Result<Capacity, Failure> {
    let mut search = Search::new(question.bounds);
    let (mut steps, mut aborted) = (Vec::new(), None);
    let (mut started, mut stamp) = (String::new(), Stamp::default());
    let conclusion = loop {
        let (rate, again) = match search.next() {
            Step::Done(conclusion) => break conclusion,
            Step::Measure { rate, again } => (rate, again),
        };
        let run = match measure(rate, again) {
            Ok(run) => run,
            Err(failure) if steps.is_empty() || failure.exit != Exit::Aborted => return Err(failure),
            Err(failure) => {
                aborted = Some(format!("at {rate:.0} requests/s: {}", failure.what));
                search.report(Outcome::Aborted);
                continue;
            }
        };
        if steps.is_empty() {
            (started, stamp) = (run.started.clone(), run.stamps.first().cloned().unwrap_or_default());
        }
        if run.verdict.outcome == Outcome::Aborted {
            aborted = run.aborted.as_ref().map(|aborted| aborted.reason.clone());
        }
        let measured = Measured::of(rate, again, &run);
        seen(&measured);
        search.report(measured.outcome);
        steps.push(measured);
    };
    let Question { name, url, bounds, step_s, connections, slo, slo_is_default } = question;
    Ok(Capacity {
        schema: CAPACITY_SCHEMA,
        name,
        started,
        url,
        bounds,
        step_s,
        connections,
        slo,
        slo_is_default,
        conclusion,
        exit_code: conclusion.exit_code(),
        aborted,
        knee: knee::knee(&curve(&steps, |step| step.p99_ns)),
        usl: usl::fit(&concurrency(&steps)),
        steps,
        stamp,
    })
}

/// A percentile over the rate, of valid steps; of two at one rate the later.
fn curve(steps: &[Measured], value: fn(&Measured) -> u64) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for step in steps.iter().filter(|step| step.is_valid()) {
        points.retain(|(rate, _)| *rate != step.rate);
        points.push((step.rate, value(step) as f64));
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// Throughput over concurrency, of valid steps.
fn concurrency(steps: &[Measured]) -> Vec<(f64, f64)> {
    let valid = steps.iter().filter(|step| step.is_valid() && step.concurrency > 0.0);
    let mut points: Vec<(f64, f64)> = valid.map(|step| (step.concurrency, step.achieved)).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// The document as text, with a final line feed.
///
/// # Errors
/// When a figure is not a number.
pub fn json(capacity: &Capacity) -> Result<String, String> {
    serde_json::to_string_pretty(capacity).map(|text| text + "\n").map_err(|error| error.to_string())
}

/// The document's JSON Schema (draft 2020-12) as text, with a final line feed.
pub fn schema() -> String {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Capacity>();
    format!("{:#}\n", schema.as_value())
}

#[cfg(test)]
pub(super) mod tests;
