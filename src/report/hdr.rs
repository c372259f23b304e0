//! HdrHistogram's own formats: percentile text (.hgrm) and interval log (.hlog).
//!
//! Owns what the Java tools and their plotters read. Refuses other units: milliseconds in the text, nanoseconds in the
//! log.

use core::fmt::Write as _;
use core::time::Duration;
use std::time::SystemTime;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::model::Run;

/// Lines for each halving of the distance to 100 %, as the Java tools write by default.
const STEPS: u32 = 5;
/// Nanoseconds in what the text format shows.
const UNIT: f64 = 1e6;

/// The latency of the run, without warm-up, by percentile, in milliseconds.
///
/// # Errors
/// When a histogram of the document cannot be decoded.
pub fn hgrm(run: &Run) -> Result<String, String> {
    let histogram = run.total.latency.decode()?;
    let mut text = String::new();
    let _ = writeln!(text, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut seen = 0;
    for step in histogram.iter_quantiles(STEPS) {
        seen += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / UNIT, step.quantile_iterated_to());
        let _ = write!(text, "{value:12.6} {quantile:2.12} {seen:10}");
        // The end has no distance to itself; plotters expect the column to be missing there.
        let _ = if quantile < 1.0 { writeln!(text, " {:14.2}", 1.0 / (1.0 - quantile)) } else { writeln!(text) };
    }
    let (mean, deviation) = (histogram.mean() / UNIT, histogram.stdev() / UNIT);
    let (max, count) = (histogram.max() as f64 / UNIT, histogram.len());
    let _ = writeln!(text, "#[Mean    = {mean:12.6}, StdDeviation   = {deviation:12.6}]");
    let _ = writeln!(text, "#[Max     = {max:12.6}, Total count    = {count:12}]");
    let (buckets, sub_buckets) = (histogram.buckets(), 2 * 10_u32.pow(u32::from(histogram.sigfig())));
    let _ = writeln!(text, "#[Buckets = {buckets:12}, SubBuckets     = {:12}]", sub_buckets.next_power_of_two());
    Ok(text)
}

/// Latency, service, connect and lag of each interval, told apart by tag; times count from the start.
///
/// # Errors
/// When a histogram cannot be decoded, or `started` is not RFC 3339.
pub fn interval_log(run: &Run) -> Result<String, String> {
    let started: SystemTime =
        humantime::parse_rfc3339(&run.started).map_err(|error| format!("started {:?}: {error}", run.started))?;
    let (mut bytes, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment("[Histogram log format version 1.3]").with_start_time(started).with_base_time(started);
    builder
        .add_comment(&format!("[Penstock: {}, nanoseconds; max in milliseconds]", run.name.replace(['\n', '\r'], " ")));
    builder.with_max_value_divisor(UNIT);
    {
        let mut log = builder.begin_log_with(&mut bytes, &mut serializer).map_err(|error| error.to_string())?;
        let legend = "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"";
        log.write_comment(legend).map_err(|error| error.to_string())?;
        for point in &run.intervals {
            let start = Duration::try_from_secs_f64(point.start_s).unwrap_or_default();
            let length = Duration::try_from_secs_f64(point.end_s - point.start_s).unwrap_or_default();
            let named = [
                ("latency", &point.latency),
                ("service", &point.service),
                ("connect", &point.connect),
                ("lag", &point.lag),
            ];
            for (tag, distribution) in named {
                if distribution.count > 0 {
                    let histogram = distribution.decode()?;
                    let written = log.write_histogram(&histogram, start, length, Tag::new(tag));
                    written.map_err(|error| error.to_string())?;
                }
            }
        }
    }
    String::from_utf8(bytes).map_err(|error| error.to_string())
}
