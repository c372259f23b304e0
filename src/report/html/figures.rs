//! The plots of the report.
//!
//! Owns what is drawn. Refuses to draw: `plot` does.

use hdrhistogram::Histogram;

use crate::report::model::{Point, Run};
use crate::report::plot::{Axis, Line, Plot, Scale, show_nines};
use crate::report::text::{duration, number, percent};

/// Points for each nine.
const STEPS: u32 = 24;

/// All plots with captions.
pub fn all(run: &Run) -> Result<String, String> {
    let plots = [by_percentile(run)?, over_time(run), rate(run), lag(run), failed(run), busy(run)];
    let figures = plots.iter().map(|plot| {
        let (title, legend, svg) = (plot.title, plot.legend(), plot.svg());
        format!("<figure>\n<figcaption><h3>{title}</h3>{legend}</figcaption>\n{svg}</figure>\n")
    });
    Ok(figures.collect())
}

const TIME: Axis = Axis { label: "seconds since the start", scale: Scale::Linear, show: number };

fn by_percentile(run: &Run) -> Result<Plot<'static>, String> {
    let (latency, service) = (&run.total.latency, &run.total.service);
    let description = format!(
        "Latency p50 {}, p99 {}, p99.9 {}, max {}. Service time p50 {}, p99 {}, p99.9 {}, max {}.",
        duration(latency.p50_ns as f64),
        duration(latency.p99_ns as f64),
        duration(latency.p99_9_ns as f64),
        duration(latency.max_ns as f64),
        duration(service.p50_ns as f64),
        duration(service.p99_ns as f64),
        duration(service.p99_9_ns as f64),
        duration(service.max_ns as f64),
    );
    Ok(Plot {
        id: "percentiles",
        title: "Latency by percentile",
        description,
        x: Axis { label: "percentile", scale: Scale::Nines, show: show_nines },
        y: Axis { label: "time", scale: Scale::Log, show: duration },
        lines: vec![
            Line { name: "latency", style: 1, points: nines(&latency.decode()?) },
            Line { name: "service time", style: 2, points: nines(&service.decode()?) },
        ],
        shaded: Vec::new(),
    })
}

/// Values by their percentile's nines, to where a single value is left.
fn nines(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let last = (histogram.len() as f64).log10();
    let steps = (last * f64::from(STEPS)) as u32;
    let at = (0..=steps).map(|step| f64::from(step) / f64::from(STEPS)).chain([last]);
    at.map(|nines| (nines, histogram.value_at_quantile(1.0 - 10_f64.powf(-nines)) as f64)).collect()
}

fn series(run: &Run, value: impl Fn(&Point) -> f64) -> Vec<(f64, f64)> {
    run.intervals.iter().map(|point| (point.end_s, value(point))).collect()
}

/// What holds for a whole interval, as steps.
fn steps(run: &Run, value: impl Fn(&Point) -> f64) -> Vec<(f64, f64)> {
    let ends = run.intervals.iter().flat_map(|point| [(point.start_s, value(point)), (point.end_s, value(point))]);
    ends.collect()
}

fn warmup(run: &Run) -> Vec<(f64, f64)> {
    run.plan.spans().filter(|(.., stage)| stage.warmup).map(|(start, end, _)| (start, end)).collect()
}

fn over_time(run: &Run) -> Plot<'static> {
    let (p50, p99) = (|p: &Point| p.latency.p50_ns as f64, |p: &Point| p.latency.p99_ns as f64);
    let worst = run.intervals.iter().max_by_key(|point| point.latency.p99_ns);
    let description = worst.map_or_else(
        || "There is no interval.".into(),
        |p| format!("The highest p99 of an interval is {}, at {:.0} s.", duration(p99(p)), p.end_s),
    );
    Plot {
        id: "latency",
        title: "Latency over time",
        description,
        x: TIME,
        y: Axis { label: "time", scale: Scale::Log, show: duration },
        lines: vec![
            Line { name: "max", style: 3, points: series(run, |p| p.latency.max_ns as f64) },
            Line { name: "p99", style: 2, points: series(run, p99) },
            Line { name: "p50", style: 1, points: series(run, p50) },
        ],
        shaded: warmup(run),
    }
}

fn rate(run: &Run) -> Plot<'static> {
    let mut lines = vec![
        Line { name: "sent", style: 2, points: steps(run, |p| p.sent_rate) },
        Line { name: "answers", style: 1, points: steps(run, |p| p.rate) },
    ];
    if run.plan.is_open_loop() {
        let intended = steps(run, |p| p.intended_rate.unwrap_or(f64::NAN));
        lines.insert(0, Line { name: "intended", style: 5, points: intended });
    }
    Plot {
        id: "rate",
        title: "Requests per second",
        description: format!("{} answers per second without warm-up.", number(run.total.rate)),
        x: TIME,
        y: Axis { label: "per second", scale: Scale::Linear, show: number },
        lines,
        shaded: warmup(run),
    }
}

fn lag(run: &Run) -> Plot<'static> {
    Plot {
        id: "lag",
        title: "Lag of the generator",
        description: format!(
            "How much later requests left than they could have: p99 {}, max {} over the run.",
            duration(run.lag.p99_ns as f64),
            duration(run.lag.max_ns as f64)
        ),
        x: TIME,
        y: Axis { label: "time", scale: Scale::Log, show: duration },
        lines: vec![
            Line { name: "max", style: 3, points: series(run, |p| p.lag.max_ns as f64) },
            Line { name: "p99", style: 2, points: series(run, |p| p.lag.p99_ns as f64) },
        ],
        shaded: warmup(run),
    }
}

fn failed(run: &Run) -> Plot<'static> {
    let part = percent(run.total.failed_share);
    Plot {
        id: "failed",
        title: "Failed and waiting requests",
        description: format!(
            "{} requests failed ({part}), {} waited for a connection.",
            run.total.failed, run.total.counts.waited
        ),
        x: TIME,
        y: Axis { label: "requests", scale: Scale::Linear, show: number },
        lines: vec![
            Line { name: "waited for a connection", style: 1, points: steps(run, |p| p.counts.waited as f64) },
            Line { name: "failed", style: 2, points: steps(run, |p| p.failed as f64) },
        ],
        shaded: warmup(run),
    }
}

fn busy(run: &Run) -> Plot<'static> {
    Plot {
        id: "busy",
        title: "Busiest worker",
        description: "The share of time that the busiest lcore of the generator spent in turns that did something."
            .into(),
        x: TIME,
        y: Axis { label: "share", scale: Scale::Linear, show: percent },
        lines: vec![Line { name: "busy share", style: 4, points: steps(run, |p| p.busy_share) }],
        shaded: warmup(run),
    }
}
