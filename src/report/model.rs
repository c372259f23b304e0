//! The result document.
//!
//! Owns its form, which `schema()` publishes and docs/load-result.schema.json holds. Refuses to judge and to compute beyond
//! sums.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};

use super::distribution::Distribution;
use super::shape::Shape;
use super::verdict::{Judged, Verdict};
use crate::loadgen::record::{Counts, Outcome};

/// The version of the document's form. It changes when a reader of the old form would be misled.
pub const SCHEMA: u32 = 1;

/// The result of a load run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The version of this document's form: 1.
    pub schema: u32,
    /// The run's name.
    pub name: String,
    /// When the schedule began: RFC 3339, UTC.
    pub started: String,
    /// Whether the run passed, and why not.
    pub verdict: Verdict,
    /// Each threshold with what was found.
    pub thresholds: Vec<Judged>,
    /// Why the run ended before its schedule did, if so.
    pub aborted: Option<Aborted>,
    /// Seconds from the start to the end of the schedule, or to the abort.
    pub elapsed_s: f64,
    /// The part of it that is judged: without warm-up.
    pub judged_s: f64,
    /// Machines that generated the load; more than 1 after merging.
    pub machines: u32,
    /// Who measured, one for each machine.
    pub stamps: Vec<Stamp>,
    /// What was asked.
    pub plan: Shape,
    /// The generator's own health, by worker.
    pub workers: Vec<Worker>,
    /// How far a time may be off: the length of turns that did something. The clock is read once a turn, so everything
    /// that a turn sends and receives bears one time.
    pub timestamp_error: Distribution,
    /// How much later requests were sent than they could have been, without warm-up: due, and a connection free.
    pub lag: Distribution,
    /// Everything but warm-up.
    pub total: Summary,
    /// By stage, in the plan's order; warm-up too.
    pub stages: Vec<Summary>,
    /// By class, in the plan's order; without warm-up.
    pub classes: Vec<Summary>,
    /// By stage, then class.
    pub cells: Vec<Summary>,
    /// The run's course, all workers together.
    pub intervals: Vec<Point>,
}

/// Why a run ended early.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Aborted {
    /// In words.
    pub reason: String,
    /// A threshold with abortOnFail did not hold; otherwise somebody stopped the run.
    pub by_threshold: bool,
}

/// Who measured.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// The host's name.
    pub host: String,
    /// Penstock's version.
    pub version: String,
    /// The commit it was built from.
    pub git_sha: String,
    /// Identifies the executable.
    pub build_id: String,
    /// The processor's name.
    pub cpu: String,
    /// Logical processors.
    pub cores: u32,
    /// The kernel's release.
    pub kernel: String,
    /// DPDK's version.
    pub dpdk: String,
    /// EAL's arguments.
    pub eal: String,
    /// The port's device and driver.
    pub device: String,
}

/// A worker of the generator.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// Its machine: an index into `stamps`.
    pub machine: u32,
    /// Its lcore.
    pub lcore: u32,
    /// Time of turns that did something, as a share of judged time.
    pub busy_share: f64,
    /// The same of its busiest interval.
    pub busy_share_max: f64,
    /// How long turns were that did something.
    pub turn: Distribution,
    /// How much later it sent requests than it could have.
    pub lag: Distribution,
    /// Frames that the device did not take when they were offered.
    pub tx_refused: u64,
    /// Frames that the device lost because its receive ring was full (imissed).
    pub rx_missed: u64,
    /// Frames that were received and thrown away.
    pub rx_dropped: u64,
    /// Times that no mbuf was free.
    pub mempool_exhausted: u64,
    /// Intervals it reported.
    pub intervals: u64,
}

/// Requests of one stage, one class, or both.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The stage, if it is one.
    pub stage: Option<String>,
    /// The class, if it is one.
    pub class: Option<String>,
    /// Not judged, and not in totals.
    pub warmup: bool,
    /// For how long such requests were due, in seconds.
    pub seconds: f64,
    /// Requests that ended, in whatever way.
    pub requests: u64,
    /// Answers per second, accepted or not.
    pub rate: f64,
    /// Requests without an accepted answer.
    pub failed: u64,
    /// Their share of `requests`.
    pub failed_share: f64,
    /// Numbers.
    pub counts: Tally,
    /// From the intended start to the end, of every request, failed ones included.
    pub latency: Distribution,
    /// From the sending to the end of the answer, of answered requests.
    pub service: Distribution,
    /// From SYN to the end of the handshake; of connections, so not by class. A stage's are those made while it was under
    /// way; the total's include warm-up.
    pub connect: Option<Distribution>,
}

/// Numbers of requests and connections.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// Requests by what became of them.
    pub outcomes: Outcomes,
    /// Answers by status class: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub statuses: [u64; 5],
    /// Requests that were sent.
    pub sent: u64,
    /// Requests sent later than they were due because no connection was free.
    pub waited: u64,
    /// Handshakes completed.
    pub connected: u64,
    /// Connections that could not be made.
    pub connect_failed: u64,
    /// Connections that the target closed while no request was under way.
    pub closed_idle: u64,
    /// Bytes of answers, heads included.
    pub bytes_in: u64,
    /// Bytes of requests.
    pub bytes_out: u64,
}

/// Requests by what became of them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outcomes {
    /// Answered, and every check passed.
    pub ok: u64,
    /// Answered with a status that is not accepted.
    pub status: u64,
    /// Answered with other content than the check wants.
    pub content: u64,
    /// Answered with something that is not HTTP/1.1.
    pub protocol: u64,
    /// Not answered in time.
    pub timeout: u64,
    /// The connection was reset before the answer's end.
    pub reset: u64,
    /// The connection was closed before the answer's end.
    pub closed: u64,
    /// The connection was refused.
    pub refused: u64,
    /// The connection's handshake took too long.
    pub connect_timeout: u64,
    /// Due, but no connection was free until the end.
    pub not_sent: u64,
    /// Sent, but under way at the end.
    pub unanswered: u64,
}

/// What ended between two times.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// From, in seconds since the start.
    pub start_s: f64,
    /// To.
    pub end_s: f64,
    /// The stage under way at the end.
    pub stage: String,
    /// No part of it is warm-up.
    pub judged: bool,
    /// Workers that reported it; less than all when one was late or missing.
    pub workers: u32,
    /// Requests due per second; absent in a closed loop.
    pub intended_rate: Option<f64>,
    /// Requests sent per second.
    pub sent_rate: f64,
    /// Answers per second, accepted or not.
    pub rate: f64,
    /// Requests without an accepted answer.
    pub failed: u64,
    /// Connections established at the end.
    pub open: u64,
    /// Share of time in turns that did something, of the busiest worker.
    pub busy_share: f64,
    /// Numbers.
    pub counts: Tally,
    /// As in a summary.
    pub latency: Distribution,
    /// As in a summary.
    pub service: Distribution,
    /// As in a summary.
    pub connect: Distribution,
    /// As in the run.
    pub lag: Distribution,
}

impl Outcomes {
    /// In the order of [`Outcome::ALL`].
    pub fn list(&self) -> [(&'static str, u64); Outcome::ALL.len()] {
        Outcome::ALL.map(|outcome| (outcome.name(), *self.get(outcome)))
    }

    fn get(&self, outcome: Outcome) -> &u64 {
        match outcome {
            Outcome::Ok => &self.ok,
            Outcome::Status => &self.status,
            Outcome::Content => &self.content,
            Outcome::Protocol => &self.protocol,
            Outcome::Timeout => &self.timeout,
            Outcome::Reset => &self.reset,
            Outcome::Closed => &self.closed,
            Outcome::Refused => &self.refused,
            Outcome::ConnectTimeout => &self.connect_timeout,
            Outcome::NotSent => &self.not_sent,
            Outcome::Unanswered => &self.unanswered,
        }
    }
}

impl From<&Counts> for Tally {
    fn from(counts: &Counts) -> Tally {
        let [ok, status, content, protocol, timeout, reset, closed, refused, connect_timeout, not_sent, unanswered] =
            counts.outcomes;
        let outcomes = Outcomes {
            ok,
            status,
            content,
            protocol,
            timeout,
            reset,
            closed,
            refused,
            connect_timeout,
            not_sent,
            unanswered,
        };
        Tally {
            outcomes,
            statuses: counts.statuses,
            sent: counts.sent,
            waited: counts.waited,
            connected: counts.connected,
            connect_failed: counts.connect_failed,
            closed_idle: counts.closed_idle,
            bytes_in: counts.bytes_in,
            bytes_out: counts.bytes_out,
        }
    }
}

impl Tally {
    /// The generator's form, which adds.
    pub fn counts(&self) -> Counts {
        Counts {
            outcomes: Outcome::ALL.map(|outcome| *self.outcomes.get(outcome)),
            statuses: self.statuses,
            sent: self.sent,
            waited: self.waited,
            connected: self.connected,
            connect_failed: self.connect_failed,
            closed_idle: self.closed_idle,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
        }
    }
}

/// Requests without an accepted answer.
pub fn failed(counts: &Counts) -> u64 {
    counts.ended() - counts.outcome(Outcome::Ok)
}

/// Requests whose whole answer arrived.
pub fn answered(counts: &Counts) -> u64 {
    Outcome::ALL.into_iter().filter(|outcome| outcome.is_answered()).map(|outcome| counts.outcome(outcome)).sum()
}

/// A part of a whole, 0 of nothing.
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The document's JSON Schema (draft 2020-12) as text, with a final line feed.
pub fn schema() -> String {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let schema = generator.into_root_schema_for::<Run>();
    format!("{:#}\n", schema.as_value())
}

impl Run {
    /// Every histogram of the document.
    fn distributions(&self) -> impl Iterator<Item = &Distribution> {
        let summaries = [&self.total].into_iter().chain(&self.stages).chain(&self.classes).chain(&self.cells);
        let of_summaries = summaries.flat_map(|s| [Some(&s.latency), Some(&s.service), s.connect.as_ref()]);
        let of_points = self.intervals.iter().flat_map(|p| [&p.latency, &p.service, &p.connect, &p.lag]);
        let of_workers = self.workers.iter().flat_map(|worker| [&worker.turn, &worker.lag]);
        [&self.lag, &self.timestamp_error].into_iter().chain(of_summaries.flatten()).chain(of_points).chain(of_workers)
    }

    /// What the schema cannot say: that histograms decode, and that the parts fit together.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn check(&self) -> Result<(), String> {
        let (stages, classes) = (self.plan.stages.len(), self.plan.classes.len());
        let parts = (self.stages.len(), self.classes.len(), self.cells.len());
        if stages == 0 || classes == 0 || parts != (stages, classes, stages * classes) {
            return Err(format!("{parts:?} stages, classes and cells do not fit a plan of {stages} and {classes}"));
        }
        if let Some(condition) = self.plan.thresholds.iter().find(|condition| condition.threshold().is_none()) {
            return Err(format!("{:?} is not a threshold", condition.text));
        }
        let late = self.workers.iter().find(|worker| worker.machine as usize >= self.stamps.len());
        if let Some(worker) = late {
            return Err(format!("lcore {} is of machine {}, which has no stamp", worker.lcore, worker.machine));
        }
        self.distributions().try_for_each(|distribution| distribution.decode().map(|_| ()))
    }
}
