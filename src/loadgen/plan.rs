//! The plan of a load run as plain data.
//!
//! Owns the types. Refuses to parse: `control::load_plan` turns flags and TOML into a [`Plan`] that is complete and within
//! its ranges, so nothing here is checked again later.

use core::net::SocketAddr;
use core::ops::RangeInclusive;
use core::time::Duration;
use std::sync::Arc;

/// The most stages times classes: each pair has histograms of its own.
pub const CELLS_MAX: usize = 64;
/// The most requests that wait for their answer on one connection.
pub const PIPELINE_MAX: u8 = 64;

/// A checked plan.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// Where requests go.
    pub target: Target,
    /// When requests are due.
    pub arrivals: Arrivals,
    /// The stages in order, at least one.
    pub stages: Vec<Stage>,
    /// What is asked, at least one; `stages.len() * classes.len()` is at most [`CELLS_MAX`].
    pub classes: Vec<Class>,
    /// Connections held, or in use at one time; of all workers together, at least one each.
    pub connections: u32,
    /// Requests on one connection before it is closed and another opened; 0: no limit; 1: a connection per request.
    pub requests_per_connection: u32,
    /// Requests that may wait for their answer on one connection, 1..=[`PIPELINE_MAX`].
    pub pipeline: u8,
    /// From a request's sending to the end of its answer; over it the request failed and its connection is reset.
    pub timeout: Duration,
    /// From the SYN to the end of the handshake.
    pub connect_timeout: Duration,
    /// Our ports, from 1024.
    pub source_ports: RangeInclusive<u16>,
    /// Chooses Poisson gaps and the order of classes: the same seed, the same schedule.
    pub seed: u64,
    /// What must hold for the run to pass.
    pub thresholds: Vec<Threshold>,
}

/// Where requests go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The URL as given.
    pub url: String,
    /// The address and port it names.
    pub address: SocketAddr,
}

/// When requests are due.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Arrivals {
    /// At equal distances.
    #[default]
    Constant,
    /// As a Poisson process: exponential gaps.
    Poisson,
    /// Whenever a connection is free: a closed loop, which measures throughput and hides queueing.
    Closed,
}

/// A part of the schedule. The rate moves from `from` to `to` in a straight line.
#[derive(Clone, PartialEq, Debug)]
pub struct Stage {
    /// Unique name, for results.
    pub name: String,
    /// How long, 1 ms or longer.
    pub duration: Duration,
    /// Requests per second of all workers together at the start; not used in a closed loop.
    pub from: f64,
    /// At the end.
    pub to: f64,
    /// Its requests are sent and not judged.
    pub warmup: bool,
}

/// A kind of request.
#[derive(Clone, PartialEq, Debug)]
pub struct Class {
    /// Unique name, for results.
    pub name: String,
    /// Its share: weight over the sum of weights; 1 or more.
    pub weight: u32,
    /// The method is HEAD: answers have no content.
    pub head_only: bool,
    /// The whole header section as sent, with the empty line.
    pub head: Arc<[u8]>,
    /// The content, which the head announces.
    pub body: Arc<[u8]>,
    /// What its answer must be.
    pub check: Check,
}

/// What an answer must be. What is not set is not looked at.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Check {
    /// Accepted status codes; empty: 200..=399.
    pub status: Vec<RangeInclusive<u16>>,
    /// Content length in bytes, after chunked coding is taken off.
    pub size: Option<u64>,
    /// SHA-256 of the content.
    pub sha256: Option<[u8; 32]>,
}

impl Check {
    /// Whether the status is accepted.
    pub fn accepts(&self, status: u16) -> bool {
        match self.status.as_slice() {
            [] => (200..400).contains(&status),
            ranges => ranges.iter().any(|range| range.contains(&status)),
        }
    }
}

/// A condition on the results, in k6's grammar: `METRIC{tag:value}: AGGREGATION OP VALUE`.
#[derive(Clone, PartialEq, Debug)]
pub struct Threshold {
    /// As written, for messages.
    pub text: String,
    /// What is compared.
    pub metric: Metric,
    /// Only this stage's requests.
    pub stage: Option<String>,
    /// Only this class's requests.
    pub class: Option<String>,
    /// How the metric becomes one number.
    pub aggregation: Aggregation,
    /// The comparison that must hold.
    pub comparison: Comparison,
    /// The right side: nanoseconds for durations, else as written.
    pub value: f64,
    /// The run ends as soon as it does not hold.
    pub abort: bool,
    /// From the end of warm-up, before `abort` may act.
    pub abort_delay: Duration,
}

/// What thresholds and outputs name; k6's names.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Metric {
    /// `http_req_duration`: from the intended start to the last byte of the answer.
    Duration,
    /// `http_req_service`: from the sending to the last byte of the answer.
    Service,
    /// `http_req_connecting`: from SYN to the end of the handshake.
    Connecting,
    /// `http_req_failed`: the share of requests without an accepted answer.
    Failed,
    /// `http_reqs`: requests answered, accepted or not.
    Requests,
    /// `checks`: the share of answers that passed their checks.
    Checks,
}

/// How a metric becomes one number.
#[derive(Copy, Clone, PartialEq, Debug)]
pub enum Aggregation {
    /// `p(N)`: percentile, 0..=100.
    Percentile(f64),
    /// `avg`.
    Mean,
    /// `min`.
    Min,
    /// `med`.
    Median,
    /// `max`.
    Max,
    /// `rate`: a share, or per second.
    Rate,
    /// `count`.
    Count,
}

/// A comparison.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `==` or `===`
    Equal,
    /// `!=`
    NotEqual,
}
