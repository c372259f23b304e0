//! The results of several machines as one.
//!
//! Owns what adds up and what stands side by side. Refuses to average percentiles: histograms are added, and everything is
//! computed and judged again from the sum.

use hdrhistogram::Histogram;

use super::collect::{Cell, classes, course, judged_seconds, stages, total};
use super::distribution::{Distribution, add};
use super::model::{Point, Run, Summary};
use super::sample::Sample;
use super::verdict::judge;
use crate::loadgen::record::histogram;

/// Joins results of one run that several machines generated together, each by the same plan. Their clocks need not agree:
/// intervals are joined by time since each one's start.
///
/// # Errors
/// When there is none, when plans differ and `force` is not set, or cannot be joined at all: other stages or classes.
pub fn merge(runs: &[Run], force: bool) -> Result<Run, String> {
    let (first, others) = runs.split_first().ok_or("there is nothing to merge")?;
    let mut merged = first.clone();
    for other in others {
        let names = |run: &Run| {
            let stages =
                run.plan.stages.iter().map(|stage| (stage.name.clone(), stage.seconds.to_bits(), stage.warmup));
            let classes = run.plan.classes.iter().map(|class| class.name.clone());
            (stages.collect::<Vec<_>>(), classes.collect::<Vec<_>>(), run.plan.arrivals)
        };
        if names(first) != names(other) {
            return Err(format!("{}: its stages, classes or arrivals are not those of {}", other.name, first.name));
        }
        if !force && (first.plan.hash != other.plan.hash || first.plan.thresholds != other.plan.thresholds) {
            return Err(format!("{}: its plan is not that of {}; --force merges all the same", other.name, first.name));
        }
        join(&mut merged, other)?;
    }
    judge(&mut merged)?;
    Ok(merged)
}

fn join(merged: &mut Run, other: &Run) -> Result<(), String> {
    for (own, more) in merged.plan.stages.iter_mut().zip(&other.plan.stages) {
        own.from += more.from;
        own.to += more.to;
    }
    merged.plan.connections += other.plan.connections;
    merged.elapsed_s = merged.elapsed_s.max(other.elapsed_s);
    merged.judged_s = judged_seconds(&merged.plan, merged.elapsed_s);
    merged.started = merged.started.clone().min(other.started.clone());
    merged.aborted = merged.aborted.take().or_else(|| other.aborted.clone());
    let machine = merged.stamps.len() as u32;
    merged.stamps.extend(other.stamps.iter().cloned());
    merged.machines += other.machines;
    merged.workers.extend(other.workers.iter().cloned().map(|mut worker| {
        worker.machine += machine;
        worker
    }));
    merged.timestamp_error = both(&merged.timestamp_error, &other.timestamp_error)?;
    merged.lag = both(&merged.lag, &other.lag)?;

    let count = merged.plan.classes.len();
    let pairs = merged.cells.iter().zip(&other.cells).enumerate();
    let cells = pairs.map(|(n, (own, more))| cell(n / count, own, more)).collect::<Result<Vec<Cell>, String>>()?;
    let pairs = merged.stages.iter().zip(&other.stages);
    let connects = pairs.map(|(own, more)| connect(own, more)).collect::<Result<Vec<_>, String>>()?;
    let whole = connect(&merged.total, &other.total)?;
    merged.total = total(&cells, &merged.plan, merged.elapsed_s, whole);
    merged.stages = stages(&cells, &merged.plan, merged.elapsed_s, connects);
    merged.classes = classes(&cells, &merged.plan, merged.elapsed_s);
    merged.cells = cells.iter().map(Cell::summary).collect();
    merged.intervals = intervals(merged, other);
    Ok(())
}

fn cell(stage: usize, own: &Summary, more: &Summary) -> Result<Cell, String> {
    let mut sample = Sample { latency: sum(&own.latency, &more.latency)?, ..Sample::default() };
    sample.service = sum(&own.service, &more.service)?;
    sample.counts = own.counts.counts();
    sample.counts.add(&more.counts.counts());
    sample.seconds = own.seconds.max(more.seconds);
    Ok(Cell { stage: Some(stage), sample, name: (own.stage.clone(), own.class.clone(), own.warmup) })
}

fn connect(own: &Summary, more: &Summary) -> Result<Option<Distribution>, String> {
    match (&own.connect, &more.connect) {
        (Some(own), Some(more)) => both(own, more).map(Some),
        (own, more) => Ok(own.clone().or_else(|| more.clone())),
    }
}

fn sum(own: &Distribution, more: &Distribution) -> Result<Histogram<u64>, String> {
    let mut sum = histogram();
    add(&mut sum, &own.decode()?);
    add(&mut sum, &more.decode()?);
    Ok(sum)
}

fn both(own: &Distribution, more: &Distribution) -> Result<Distribution, String> {
    Ok(Distribution::of(&sum(own, more)?))
}

/// Points that cover mostly the same time become one; what has no counterpart stays.
fn intervals(merged: &Run, other: &Run) -> Vec<Point> {
    let mut points = Vec::new();
    let mut others = other.intervals.iter().peekable();
    for own in &merged.intervals {
        let middle = |point: &Point| (point.start_s + point.end_s) / 2.0;
        while let Some(early) = others.next_if(|more| middle(more) < own.start_s) {
            points.push(early.clone());
        }
        match others.next_if(|more| middle(more) < own.end_s) {
            Some(more) => points.push(course::joined(own, more, &merged.plan)),
            None => points.push(own.clone()),
        }
    }
    points.extend(others.cloned());
    points
}
