//! What a threshold looks at: the requests it selects, reduced to one number.
//!
//! Owns metrics and aggregations. Refuses to choose the requests.

use hdrhistogram::Histogram;

use super::distribution::percentile_of;
use super::model::{answered, failed};
use crate::loadgen::plan::{Aggregation, Comparison, Metric, Threshold};
use crate::loadgen::record::{self, Counts, Outcome};

/// Requests that belong together.
#[derive(Clone, Debug)]
pub struct Sample {
    /// From the intended start.
    pub latency: Histogram<u64>,
    /// From the sending.
    pub service: Histogram<u64>,
    /// Of connections.
    pub connect: Histogram<u64>,
    /// Numbers.
    pub counts: Counts,
    /// For how long such requests were due.
    pub seconds: f64,
}

impl Default for Sample {
    fn default() -> Sample {
        let empty = record::histogram;
        Sample { latency: empty(), service: empty(), connect: empty(), counts: Counts::default(), seconds: 0.0 }
    }
}

impl Sample {
    /// The left side of a threshold; None when nothing was measured, or the aggregation does not fit the metric.
    pub fn value(&self, metric: Metric, aggregation: Aggregation) -> Option<f64> {
        let (part, whole) = match metric {
            Metric::Duration => return of_durations(&self.latency, aggregation, self.seconds),
            Metric::Service => return of_durations(&self.service, aggregation, self.seconds),
            Metric::Connecting => return of_durations(&self.connect, aggregation, self.seconds),
            Metric::Requests => (answered(&self.counts) as f64, self.seconds),
            Metric::Failed => (failed(&self.counts) as f64, self.counts.ended() as f64),
            Metric::Checks => (self.counts.outcome(Outcome::Ok) as f64, answered(&self.counts) as f64),
        };
        match aggregation {
            Aggregation::Count => Some(part),
            Aggregation::Rate if whole > 0.0 => Some(part / whole),
            _ => None,
        }
    }

    /// The left side, and whether the threshold holds. What was not measured does not hold.
    pub fn judge(&self, threshold: &Threshold) -> (Option<f64>, bool) {
        let value = self.value(threshold.metric, threshold.aggregation);
        (value, value.is_some_and(|value| holds(value, threshold.comparison, threshold.value)))
    }
}

fn of_durations(histogram: &Histogram<u64>, aggregation: Aggregation, seconds: f64) -> Option<f64> {
    let count = histogram.len() as f64;
    match aggregation {
        Aggregation::Count => return Some(count),
        Aggregation::Rate => return (seconds > 0.0).then(|| count / seconds),
        _ if histogram.is_empty() => return None,
        _ => {}
    }
    Some(match aggregation {
        Aggregation::Percentile(percentile) => percentile_of(histogram, percentile) as f64,
        Aggregation::Median => percentile_of(histogram, 50.0) as f64,
        Aggregation::Mean => histogram.mean(),
        Aggregation::Min => histogram.min() as f64,
        _ => histogram.max() as f64,
    })
}

fn holds(left: f64, comparison: Comparison, right: f64) -> bool {
    match comparison {
        Comparison::Less => left < right,
        Comparison::LessOrEqual => left <= right,
        Comparison::Greater => left > right,
        Comparison::GreaterOrEqual => left >= right,
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
    }
}
