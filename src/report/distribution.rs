//! A histogram as results carry it: a summary for readers, and all of it for whoever merges or compares.
//!
//! Owns the percentiles shown everywhere and the encoding. Refuses to know what was measured.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use hdrhistogram::{Counter, Histogram};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::loadgen::record;

/// Durations in nanoseconds. A percentile is the smallest recorded value that at least this share of values does not
/// exceed, at most 0.1 % too high; everything is 0 when nothing was recorded.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// Number of values.
    pub count: u64,
    /// The smallest.
    pub min_ns: u64,
    /// The arithmetic mean.
    pub mean_ns: f64,
    /// The standard deviation, of all values and not of a sample.
    pub stddev_ns: f64,
    /// The median.
    pub p50_ns: u64,
    /// The 90th percentile.
    pub p90_ns: u64,
    /// The 95th percentile.
    pub p95_ns: u64,
    /// The 99th percentile.
    pub p99_ns: u64,
    /// The 99.9th percentile.
    pub p99_9_ns: u64,
    /// The 99.99th percentile.
    pub p99_99_ns: u64,
    /// The largest.
    pub max_ns: u64,
    /// All of it: HdrHistogram V2, compressed, in base64; 1 ns to 1 h with 3 digits. Empty when nothing was recorded.
    pub histogram: String,
}

impl Distribution {
    /// The summary and the encoding of a histogram.
    pub fn of<C: Counter>(histogram: &Histogram<C>) -> Distribution {
        if histogram.is_empty() {
            return Distribution::default();
        }
        let p = |percentile: f64| percentile_of(histogram, percentile);
        Distribution {
            count: histogram.len(),
            min_ns: histogram.min(),
            mean_ns: round(histogram.mean()),
            stddev_ns: round(histogram.stdev()),
            p50_ns: p(50.0),
            p90_ns: p(90.0),
            p95_ns: p(95.0),
            p99_ns: p(99.0),
            p99_9_ns: p(99.9),
            p99_99_ns: p(99.99),
            max_ns: histogram.max(),
            histogram: encode(histogram),
        }
    }

    /// The histogram itself.
    ///
    /// # Errors
    /// Says what is wrong with the encoding, or that it disagrees with the summary beside it.
    pub fn decode(&self) -> Result<Histogram<u64>, String> {
        if self.histogram.is_empty() {
            return if self.count == 0 { Ok(record::histogram()) } else { Err("a histogram is missing".into()) };
        }
        let bytes = BASE64.decode(&self.histogram).map_err(|error| format!("a histogram is not base64: {error}"))?;
        let decoded: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| format!("a histogram is not HdrHistogram V2: {error}"))?;
        if decoded.len() != self.count {
            return Err(format!("a histogram holds {} values and says {}", decoded.len(), self.count));
        }
        let mut histogram = record::histogram();
        histogram.add(&decoded).map_err(|error| format!("a histogram holds more than an hour: {error}"))?;
        Ok(histogram)
    }

    /// Percentiles by their names in columns and tables.
    pub fn percentiles(&self) -> [(&'static str, u64); 6] {
        [
            ("p50", self.p50_ns),
            ("p90", self.p90_ns),
            ("p95", self.p95_ns),
            ("p99", self.p99_ns),
            ("p99.9", self.p99_9_ns),
            ("p99.99", self.p99_99_ns),
        ]
    }
}

/// A percentile, 0 to 100, by the nearest rank: the smallest value that at least this share does not exceed; 0 when nothing was
/// recorded.
pub fn percentile_of<C: Counter>(histogram: &Histogram<C>, percentile: f64) -> u64 {
    if histogram.is_empty() {
        return 0;
    }
    if percentile <= 0.0 {
        return histogram.min();
    }
    let len = histogram.len() as f64;
    // 99.9 % of 1,000 is the rank 999, and in binary fractions a little more.
    let rank = (percentile / 100.0 * len - 1e-6).ceil().clamp(1.0, len);
    // The middle of the rank's share, which no rounding moves to a neighbour.
    histogram.value_at_quantile((rank - 0.5) / len)
}

/// Adds a histogram with smaller counters. Both have the bounds of [`record::histogram`], so nothing is lost.
pub fn add<C: Counter>(sum: &mut Histogram<u64>, more: &Histogram<C>) {
    for step in more.iter_recorded() {
        sum.saturating_record_n(step.value_iterated_to(), step.count_at_value().as_u64());
    }
}

/// Nanoseconds with a tenth at most: more digits would claim more than the histogram knows.
fn round(ns: f64) -> f64 {
    (ns * 10.0).round() / 10.0
}

fn encode<C: Counter>(histogram: &Histogram<C>) -> String {
    let mut bytes = Vec::new();
    // Writing to memory fails only for counts over 2^63.
    match V2DeflateSerializer::new().serialize(histogram, &mut bytes) {
        Ok(_) => BASE64.encode(bytes),
        Err(_) => String::new(),
    }
}
