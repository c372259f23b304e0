//! Soaks: a load held for hours, and what it does to the target meanwhile.
//!
//! Owns what is kept of the target's metrics, the verdict over their slopes and latency's, and the result document. Refuses
//! to ask the target: `control` does, and hands over what it read.

pub mod exposition;
pub mod trend;

mod table;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};

use self::exposition::{Choice, Reading};
pub use self::table::table;
use self::trend::{POINTS_MIN, Slope};
use super::model::{Run, Stamp};
use super::text::percent;
use super::verdict::Outcome;

/// The version of the document's form.
pub const SOAK_SCHEMA: u32 = 1;
/// Watched always: names of Prometheus' own clients and of this gateway. What a target does not have is no fault of its.
pub const RESOURCES: [&str; 5] = [
    "process_resident_memory_bytes",
    "process_open_fds",
    "penstock_mempool_used_frames",
    "penstock_connections{state=\"open\"}",
    "penstock_connections{state=\"time_wait\"}",
];
/// Counters whose balance over workers and queues is shown.
pub const BALANCED: [&str; 2] = ["penstock_http_request_heads_total", "penstock_rx_frames_total"];
/// What the latency is called among the trends.
const LATENCY: &str = "latency p99 by interval, ns";

/// What may grow, and by how much.
#[derive(Clone, PartialEq, Debug)]
pub struct Question {
    /// The soak's name.
    pub name: String,
    /// Where the target's metrics are.
    pub metrics_url: String,
    /// Series that are resources: they leak.
    pub resources: Vec<Choice>,
    /// Other series: they grow.
    pub others: Vec<Choice>,
    /// Counters whose single series are compared.
    pub balanced: Vec<Choice>,
    /// Growth per hour that is none, as a share of the median; in a run below an hour, growth in all.
    pub growth: f64,
    /// The same of latency.
    pub latency_growth: f64,
    /// Seconds of warm-up, whose samples are left out.
    pub warm_up_s: f64,
}

/// What was read of the target so far.
#[derive(Clone, PartialEq, Debug)]
pub struct Watch {
    question: Question,
    /// By series: seconds and value.
    points: Vec<Vec<(f64, f64)>>,
    /// By balanced counter: growth of each of its series.
    grown: Vec<BTreeMap<String, f64>>,
    last: Vec<BTreeMap<String, f64>>,
    samples: Samples,
}

/// How well the target's metrics could be read.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Samples {
    /// Samples taken, without warm-up.
    pub taken: u64,
    /// Samples that could not be taken.
    pub missed: u64,
    /// Why the last of them could not.
    pub last_error: Option<String>,
    /// Lines of watched names that could not be read.
    pub unreadable_lines: u64,
    /// Times that a counter fell, so the target began anew.
    pub restarts: u64,
}

impl Watch {
    /// Nothing was read yet.
    pub fn new(question: Question) -> Watch {
        let series = question.resources.len() + question.others.len();
        let balanced = vec![BTreeMap::new(); question.balanced.len()];
        Watch {
            question,
            points: vec![Vec::new(); series],
            grown: balanced.clone(),
            last: balanced,
            samples: Samples::default(),
        }
    }

    /// All watched series, resources first.
    pub fn series(&self) -> Vec<Choice> {
        self.question.resources.iter().chain(&self.question.others).cloned().collect()
    }

    /// Counters whose single series are compared.
    pub fn balanced(&self) -> Vec<Choice> {
        self.question.balanced.clone()
    }

    /// Takes what was read so many seconds after the start of the schedule, or why it could not be.
    pub fn add(&mut self, at_s: f64, read: Result<Reading, String>) {
        if at_s < self.question.warm_up_s {
            return;
        }
        let reading = match read {
            Ok(reading) => reading,
            Err(error) => {
                self.samples.missed += 1;
                self.samples.last_error = Some(error);
                return;
            }
        };
        self.samples.taken += 1;
        self.samples.unreadable_lines += reading.unreadable;
        for (points, sum) in self.points.iter_mut().zip(&reading.sums) {
            points.extend(sum.map(|value| (at_s, value)));
        }
        let mut fell = false;
        for ((grown, last), now) in self.grown.iter_mut().zip(&mut self.last).zip(reading.parts) {
            for (series, value) in &now {
                let Some(before) = last.get(series) else { continue };
                fell |= value < before;
                // A counter that fell began at zero.
                *grown.entry(series.clone()).or_default() += if value < before { *value } else { value - before };
            }
            *last = now;
        }
        self.samples.restarts += u64::from(fell);
    }

    /// Judges the run and what was read in it.
    pub fn conclude(self, run: &Run) -> Soak {
        let names: Vec<String> = self.series().into_iter().map(|choice| choice.text).collect();
        let Watch { question, points, grown, samples, .. } = self;
        let hours = run.judged_s / 3600.0;
        let resources = question.resources.len();
        let kinds = (0..names.len()).map(|i| if i < resources { Growth::Leak } else { Growth::Growth });
        let series = names.iter().zip(&points).zip(kinds);
        let mut trends: Vec<Trend> =
            series.map(|((name, points), kind)| Trend::of(name, points, kind, question.growth, hours)).collect();
        let judged = run.intervals.iter().filter(|point| point.judged && point.latency.count > 0);
        let latency: Vec<(f64, f64)> = judged.map(|point| (point.end_s, point.latency.p99_ns as f64)).collect();
        let mut latency = Trend::of(LATENCY, &latency, Growth::Growth, question.latency_growth, hours);
        if run.verdict.outcome == Outcome::Invalid {
            // The generator's own fault is part of it.
            latency.verdict = Growth::Unknown;
        }
        trends.push(latency);
        let balance =
            question.balanced.iter().zip(&grown).filter_map(|(choice, grown)| Balance::of(&choice.text, grown));
        let (verdict, reasons) = verdict(run, &trends, &samples);
        Soak {
            schema: SOAK_SCHEMA,
            name: question.name,
            started: run.started.clone(),
            url: run.plan.url.clone(),
            metrics_url: question.metrics_url,
            verdict,
            exit_code: verdict.exit_code(),
            reasons,
            judged_s: run.judged_s,
            rate: run.total.rate,
            failed_share: run.total.failed_share,
            run: run.verdict.outcome,
            growth: question.growth,
            latency_growth: question.latency_growth,
            samples,
            trends,
            balance: balance.collect(),
            stamp: run.stamps.first().cloned().unwrap_or_default(),
        }
    }
}

/// The result of a soak.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Soak {
    /// The version of this document's form: 1.
    pub schema: u32,
    /// The soak's name.
    pub name: String,
    /// When the schedule began: RFC 3339, UTC.
    pub started: String,
    /// The target's URL.
    pub url: String,
    /// Where its metrics are.
    pub metrics_url: String,
    /// What it comes to.
    pub verdict: Verdict,
    /// The exit code that says the same.
    pub exit_code: u8,
    /// Why the verdict is not STEADY.
    pub reasons: Vec<String>,
    /// Seconds judged: without warm-up.
    pub judged_s: f64,
    /// Answers per second.
    pub rate: f64,
    /// Share of requests without an accepted answer.
    pub failed_share: f64,
    /// The verdict of the load itself.
    pub run: Outcome,
    /// Growth per hour that is none, as a share of the median; in a run below an hour, growth in all.
    pub growth: f64,
    /// The same of latency.
    pub latency_growth: f64,
    /// How well the target's metrics could be read.
    pub samples: Samples,
    /// Each watched series, and latency.
    pub trends: Vec<Trend>,
    /// Counters over workers and queues.
    pub balance: Vec<Balance>,
    /// Who measured.
    pub stamp: Stamp,
}

/// What a soak comes to.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Nothing that is watched grows, and the load passed.
    Steady,
    /// Something grows.
    Growth,
    /// The target restarted, or a threshold does not hold.
    Fail,
    /// The generator broke its schedule, or nothing could be judged.
    Invalid,
    /// Somebody stopped it; trends are of the time until then.
    Aborted,
}

impl Verdict {
    /// As shown.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Steady => "STEADY",
            Verdict::Growth => "GROWTH",
            Verdict::Fail => "FAIL",
            Verdict::Invalid => "INVALID",
            Verdict::Aborted => "ABORTED",
        }
    }

    /// The process's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Steady => Outcome::Pass,
            Verdict::Growth | Verdict::Fail => Outcome::Fail,
            Verdict::Invalid => Outcome::Invalid,
            Verdict::Aborted => Outcome::Aborted,
        }
        .exit_code()
    }
}

/// What a series does.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Growth {
    /// A resource grows.
    Leak,
    /// Something else grows.
    Growth,
    /// The slope is not above the bound, or cannot be told from one that is not.
    Steady,
    /// Too few samples, or they are the generator's fault.
    Unknown,
    /// The target does not expose it.
    Absent,
}

/// A series' slope.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trend {
    /// The series.
    pub series: String,
    /// What it does.
    pub verdict: Growth,
    /// Samples.
    pub samples: u64,
    /// The median value.
    pub median: Option<f64>,
    /// The slope per hour with its 99 % confidence interval.
    pub per_hour: Option<Slope>,
    /// A slope whose interval lies above this is growth.
    pub bound_per_hour: Option<f64>,
}

impl Trend {
    fn of(series: &str, points: &[(f64, f64)], kind: Growth, growth: f64, hours: f64) -> Trend {
        let by_hour: Vec<(f64, f64)> = points.iter().map(|(s, value)| (s / 3600.0, *value)).collect();
        let median = trend::median(points.iter().map(|point| point.1));
        let per_hour = trend::slope(&by_hour);
        let bound = median.map(|median| growth * median.abs() / hours.clamp(1e-6, 1.0));
        let verdict = match (points.len(), per_hour, bound) {
            (0, ..) => Growth::Absent,
            (_, Some(slope), Some(bound)) if slope.low > bound => kind,
            (_, Some(_), Some(_)) => Growth::Steady,
            _ => Growth::Unknown,
        };
        Trend { series: series.into(), verdict, samples: points.len() as u64, median, per_hour, bound_per_hour: bound }
    }

    fn grows(&self) -> bool {
        matches!(self.verdict, Growth::Leak | Growth::Growth)
    }
}

/// A counter's growth over its single series, such as workers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Balance {
    /// The counter.
    pub counter: String,
    /// Growth of each series, by its labels.
    pub grown: BTreeMap<String, f64>,
    /// The largest over the mean: 1 when all have the same.
    pub max_over_mean: f64,
}

impl Balance {
    /// None when nothing grew.
    fn of(counter: &str, grown: &BTreeMap<String, f64>) -> Option<Balance> {
        let sum: f64 = grown.values().sum();
        let most = grown.values().copied().fold(0.0, f64::max);
        let max_over_mean = most * grown.len() as f64 / sum;
        (sum > 0.0).then(|| Balance { counter: counter.into(), grown: grown.clone(), max_over_mean })
    }
}

fn verdict(run: &Run, trends: &[Trend], samples: &Samples) -> (Verdict, Vec<String>) {
    let growing = trends.iter().filter(|trend| trend.grows());
    let growth = growing.map(|trend| {
        let word = if trend.verdict == Growth::Leak { "LEAK" } else { "GROWTH" };
        let (median, slope) = (trend.median.unwrap_or(0.0), trend.per_hour.map_or(0.0, |slope| slope.slope));
        let part = if median == 0.0 { String::new() } else { format!(" ({} of its median)", percent(slope / median)) };
        format!("{word}: {} grows by {slope:.4} an hour{part}", trend.series)
    });
    let mut reasons: Vec<String> = growth.collect();
    let grows = !reasons.is_empty();
    if samples.restarts > 0 {
        reasons.push(format!("the target restarted: its counters fell {} times", samples.restarts));
    }
    let judged = trends.iter().any(|t| t.series != LATENCY && (t.grows() || t.verdict == Growth::Steady));
    if !judged {
        let error = samples.last_error.as_ref().map_or_else(String::new, |error| format!("; the last error: {error}"));
        reasons.push(format!(
            "no series could be judged: {} samples were taken and {} missed, {POINTS_MIN} are needed{error}",
            samples.taken, samples.missed
        ));
    }
    reasons.extend(run.verdict.reasons.iter().map(|finding| finding.what.clone()));
    let verdict = match run.verdict.outcome {
        Outcome::Aborted => Verdict::Aborted,
        _ if grows => Verdict::Growth,
        Outcome::Fail => Verdict::Fail,
        _ if samples.restarts > 0 => Verdict::Fail,
        Outcome::Invalid => Verdict::Invalid,
        Outcome::Pass if !judged => Verdict::Invalid,
        Outcome::Pass => Verdict::Steady,
    };
    (verdict, reasons)
}

/// The document as text, with a final line feed.
///
/// # Errors
/// When a figure is not a number.
pub fn json(soak: &Soak) -> Result<String, String> {
    serde_json::to_string_pretty(soak).map(|text| text + "\n").map_err(|error| error.to_string())
}

/// The document's JSON Schema (draft 2020-12) as text, with a final line feed.
pub fn schema() -> String {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Soak>();
    format!("{:#}\n", schema.as_value())
}

#[cfg(test)]
mod tests;
