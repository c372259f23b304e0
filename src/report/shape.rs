//! The plan as results carry it.
//!
//! Owns what is kept of a plan, its hash, and how many requests it makes due between two times. Refuses to be a plan:
//! nothing can be run from it.

use core::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::loadgen::plan::{Aggregation, Arrivals, Class, Comparison, Metric, Plan, Threshold};

/// What was asked.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// SHA-256 over everything that shapes the load: not over thresholds, names of the run, or source ports. Results of
    /// different hashes answer different questions.
    pub hash: String,
    /// The URL as given.
    pub url: String,
    /// The address and port it names.
    pub address: String,
    /// When requests were due: constant, poisson or closed.
    pub arrivals: ArrivalsName,
    /// Connections of all workers together.
    pub connections: u64,
    /// Requests on one connection before it is closed; 0: no limit.
    pub requests_per_connection: u32,
    /// Requests that may wait for their answer on one connection.
    pub pipeline: u8,
    /// A request fails after so many seconds.
    pub timeout_s: f64,
    /// A handshake fails after so many seconds.
    pub connect_timeout_s: f64,
    /// Chooses Poisson gaps and the order of classes.
    pub seed: u64,
    /// The stages in order.
    pub stages: Vec<StageShape>,
    /// What was asked, in order.
    pub classes: Vec<ClassShape>,
    /// What must hold.
    pub thresholds: Vec<Condition>,
}

/// When requests were due.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ArrivalsName {
    /// At equal distances.
    Constant,
    /// As a Poisson process.
    Poisson,
    /// Whenever a connection was free.
    Closed,
}

/// A part of the schedule.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageShape {
    /// Its name.
    pub name: String,
    /// How long.
    pub seconds: f64,
    /// Requests per second at its start, of all machines together.
    pub from: f64,
    /// At its end.
    pub to: f64,
    /// Not judged.
    pub warmup: bool,
}

/// A kind of request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassShape {
    /// Its name.
    pub name: String,
    /// Its share: weight over the sum of weights.
    pub weight: u32,
    /// Its first line, up to the version.
    pub request: String,
    /// Bytes of a request, head and content.
    pub bytes: u64,
}

/// A threshold.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// As written.
    pub text: String,
    /// k6's name of what is compared.
    pub metric: String,
    /// Only this stage's requests.
    pub stage: Option<String>,
    /// Only this class's requests.
    pub class: Option<String>,
    /// How the metric becomes one number: p, avg, min, med, max, rate or count.
    pub aggregation: String,
    /// For p: which, 0 to 100.
    pub percentile: Option<f64>,
    /// The comparison that must hold: <, <=, >, >=, == or !=.
    pub comparison: String,
    /// The right side: nanoseconds for durations, else as written.
    pub value: f64,
    /// The run ends as soon as it does not hold.
    pub abort: bool,
    /// Seconds from the end of warm-up, before `abort` may act.
    pub abort_delay_s: f64,
}

/// Metrics and their names.
pub const METRICS: [(Metric, &str); 6] = [
    (Metric::Duration, "http_req_duration"),
    (Metric::Service, "http_req_service"),
    (Metric::Connecting, "http_req_connecting"),
    (Metric::Failed, "http_req_failed"),
    (Metric::Requests, "http_reqs"),
    (Metric::Checks, "checks"),
];
const COMPARISONS: [(Comparison, &str); 6] = [
    (Comparison::Less, "<"),
    (Comparison::LessOrEqual, "<="),
    (Comparison::Greater, ">"),
    (Comparison::GreaterOrEqual, ">="),
    (Comparison::Equal, "=="),
    (Comparison::NotEqual, "!="),
];

fn name_of<T: PartialEq>(names: &[(T, &'static str)], value: &T) -> &'static str {
    names.iter().find(|(known, _)| known == value).map_or("", |(_, name)| name)
}

fn value_of<T: Copy>(names: &[(T, &'static str)], name: &str) -> Option<T> {
    names.iter().find(|(_, known)| *known == name).map(|(value, _)| *value)
}

impl From<&Threshold> for Condition {
    fn from(threshold: &Threshold) -> Condition {
        let (aggregation, percentile) = match threshold.aggregation {
            Aggregation::Percentile(percentile) => ("p", Some(percentile)),
            Aggregation::Mean => ("avg", None),
            Aggregation::Min => ("min", None),
            Aggregation::Median => ("med", None),
            Aggregation::Max => ("max", None),
            Aggregation::Rate => ("rate", None),
            Aggregation::Count => ("count", None),
        };
        Condition {
            text: threshold.text.clone(),
            metric: name_of(&METRICS, &threshold.metric).into(),
            stage: threshold.stage.clone(),
            class: threshold.class.clone(),
            aggregation: aggregation.into(),
            percentile,
            comparison: name_of(&COMPARISONS, &threshold.comparison).into(),
            value: threshold.value,
            abort: threshold.abort,
            abort_delay_s: threshold.abort_delay.as_secs_f64(),
        }
    }
}

impl Condition {
    /// The threshold again; None in a document that was written by something else.
    pub fn threshold(&self) -> Option<Threshold> {
        let aggregation = match self.aggregation.as_str() {
            "p" => Aggregation::Percentile(self.percentile?),
            "avg" => Aggregation::Mean,
            "min" => Aggregation::Min,
            "med" => Aggregation::Median,
            "max" => Aggregation::Max,
            "rate" => Aggregation::Rate,
            "count" => Aggregation::Count,
            _ => return None,
        };
        Some(Threshold {
            text: self.text.clone(),
            metric: value_of(&METRICS, &self.metric)?,
            stage: self.stage.clone(),
            class: self.class.clone(),
            aggregation,
            comparison: value_of(&COMPARISONS, &self.comparison)?,
            value: self.value,
            abort: self.abort,
            abort_delay: Duration::try_from_secs_f64(self.abort_delay_s).ok()?,
        })
    }
}

impl From<&Plan> for Shape {
    fn from(plan: &Plan) -> Shape {
        let stages = plan.stages.iter().map(|stage| StageShape {
            name: stage.name.clone(),
            seconds: stage.duration.as_secs_f64(),
            from: stage.from,
            to: stage.to,
            warmup: stage.warmup,
        });
        let classes = plan.classes.iter().map(|class| ClassShape {
            name: class.name.clone(),
            weight: class.weight,
            request: request_of(class),
            bytes: (class.head.len() + class.body.len()) as u64,
        });
        Shape {
            hash: hash(plan),
            url: plan.target.url.clone(),
            address: plan.target.address.to_string(),
            arrivals: match plan.arrivals {
                Arrivals::Constant => ArrivalsName::Constant,
                Arrivals::Poisson => ArrivalsName::Poisson,
                Arrivals::Closed => ArrivalsName::Closed,
            },
            connections: plan.connections.into(),
            requests_per_connection: plan.requests_per_connection,
            pipeline: plan.pipeline,
            timeout_s: plan.timeout.as_secs_f64(),
            connect_timeout_s: plan.connect_timeout.as_secs_f64(),
            seed: plan.seed,
            stages: stages.collect(),
            classes: classes.collect(),
            thresholds: plan.thresholds.iter().map(Condition::from).collect(),
        }
    }
}

fn request_of(class: &Class) -> String {
    let line = class.head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    line.rsplit_once(' ').map_or(line.as_ref(), |(request, _)| request).to_string()
}

fn hash(plan: &Plan) -> String {
    let mut sha = Sha256::new();
    // Debug of plain data; each field with its length or between quotes, so that none runs into the next.
    let (per, pipeline) = (plan.requests_per_connection, plan.pipeline);
    let limits = (plan.connections, per, pipeline, plan.timeout, plan.connect_timeout, plan.seed);
    sha.update(format!("{:?} {:?} {limits:?} {:?}", plan.target, plan.arrivals, plan.stages));
    for class in &plan.classes {
        sha.update(format!("{:?} {} {} {:?}", class.name, class.weight, class.head_only, class.check));
        for bytes in [&class.head, &class.body] {
            sha.update((bytes.len() as u64).to_le_bytes());
            sha.update(bytes);
        }
    }
    sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Shape {
    /// Whether there is a schedule at all.
    pub fn is_open_loop(&self) -> bool {
        self.arrivals != ArrivalsName::Closed
    }

    /// The length of the schedule, in seconds.
    pub fn seconds(&self) -> f64 {
        self.stages.iter().map(|stage| stage.seconds).sum()
    }

    /// The stages with the times they begin and end.
    pub fn spans(&self) -> impl Iterator<Item = (f64, f64, &StageShape)> {
        self.stages.iter().scan(0.0, |at, stage| {
            let start = *at;
            *at += stage.seconds;
            Some((start, *at, stage))
        })
    }

    /// Requests due between two times, in seconds after the start.
    pub fn due(&self, from: f64, to: f64) -> f64 {
        let within = self.spans().map(|(start, end, stage)| {
            let (a, b) = (from.max(start) - start, to.min(end) - start);
            if b <= a {
                return 0.0;
            }
            let rate = |at: f64| stage.from + (stage.to - stage.from) * at / stage.seconds;
            // The area below a straight line.
            (b - a) * (rate(a) + rate(b)) / 2.0
        });
        within.sum()
    }

    /// Whether no part of the time between these two is warm-up, but for `slack` seconds.
    pub fn is_judged(&self, from: f64, to: f64, slack: f64) -> bool {
        self.spans().all(|(start, end, stage)| !stage.warmup || to.min(end) - from.max(start) <= slack)
    }
}
