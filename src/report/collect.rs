//! Collecting a run while it goes on.
//!
//! Owns how workers' intervals become one course, what aborts a run, and how the document is put together at the end.
//! Refuses to read a clock: times come with the intervals.

pub(super) mod course;

use core::time::Duration;

use hdrhistogram::Histogram;

use self::course::Course;
use super::distribution::{Distribution, add};
use super::live::Live;
use super::model::{Aborted, Run, SCHEMA, Stamp, Summary, Tally, Worker, answered, failed, share};
use super::sample::Sample;
use super::shape::Shape;
use super::verdict::{self, Outcome, Verdict, judge};
use crate::loadgen::plan::{Plan, Threshold};
use crate::loadgen::record::{Counts, Interval, Recording, histogram};

/// What a result is called and when its schedule began.
#[derive(Clone, Debug)]
pub struct Label {
    /// The run's name.
    pub name: String,
    /// RFC 3339, UTC.
    pub started: String,
}

/// What a worker's lcore says about itself at the end.
#[derive(Clone, Debug)]
pub struct Health {
    /// The lcore.
    pub lcore: u32,
    /// Lengths of turns that did something, in nanoseconds.
    pub turns: Histogram<u64>,
    /// Frames that the device did not take when they were offered.
    pub tx_refused: u64,
    /// Frames that the device lost because its receive ring was full; a device's number, so of one worker only.
    pub rx_missed: u64,
    /// Frames that were received and thrown away.
    pub rx_dropped: u64,
    /// Times that no mbuf was free.
    pub mempool_exhausted: u64,
}

/// How the run ended.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// From the schedule's start to its end or the abort, without the wait for last answers.
    pub elapsed: Duration,
    /// Why it ended early, if it did.
    pub aborted: Option<Aborted>,
}

/// Time of a worker.
#[derive(Copy, Clone, Debug, Default)]
struct Busy {
    busy_ns: u64,
    covered_ns: u64,
    share_max: f64,
    intervals: u64,
}

/// Collects a run.
pub struct Collector {
    shape: Shape,
    thresholds: Vec<Threshold>,
    stamp: Stamp,
    label: Label,
    course: Course,
    busy: Vec<Busy>,
    /// What ended so far in judged time, by the stage under way; for thresholds that abort.
    stages: Vec<Option<Sample>>,
}

impl Collector {
    /// For a run of this plan by so many workers.
    pub fn new(plan: &Plan, stamp: Stamp, label: Label, workers: usize) -> Collector {
        Collector {
            shape: Shape::from(plan),
            thresholds: plan.thresholds.clone(),
            stamp,
            label,
            course: Course::new(workers),
            busy: vec![Busy::default(); workers],
            stages: vec![None; plan.stages.len()],
        }
    }

    /// Takes what a worker, counted from 0, hands over about every second. Intervals of several workers that end at about
    /// the same time become one point; one that comes late joins its point, and a missing one leaves a point with fewer
    /// workers.
    pub fn add_interval(&mut self, worker: usize, interval: &Interval) {
        let Some(busy) = self.busy.get_mut(worker) else { return };
        let (start, end) = (course::seconds(interval.start), course::seconds(interval.end));
        let judged = self.shape.is_judged(start, end, course::SLACK_S);
        let covered = interval.end.since(interval.start).as_nanos() as u64;
        busy.intervals += 1;
        if judged && covered > 0 {
            busy.busy_ns += interval.busy_ns;
            busy.covered_ns += covered;
            busy.share_max = busy.share_max.max(share(interval.busy_ns, covered));
        }
        if judged && self.thresholds.iter().any(|threshold| threshold.abort) {
            self.sum(interval, covered);
        }
        self.course.add(worker, interval, judged, &self.shape);
    }

    fn sum(&mut self, interval: &Interval, covered_ns: u64) {
        let last = self.stages.len() - 1;
        let sample = self.stages[usize::from(interval.stage).min(last)].get_or_insert_default();
        add(&mut sample.latency, &interval.latency);
        add(&mut sample.service, &interval.service);
        add(&mut sample.connect, &interval.connect);
        sample.counts.add(&interval.counts);
        sample.seconds += covered_ns as f64 / 1e9 / self.busy.len() as f64;
    }

    /// How it goes.
    pub fn live(&self) -> Live {
        self.course.live(&self.shape)
    }

    /// Whether a threshold that ends the run does not hold any more, in its own words.
    pub fn check_abort(&self) -> Option<Aborted> {
        let shape = &self.shape;
        let judged: f64 = self.stages.iter().flatten().map(|sample| sample.seconds).sum();
        self.thresholds.iter().filter(|threshold| threshold.abort).find_map(|threshold| {
            let by_class = threshold.class.is_some() && shape.classes.len() > 1;
            if by_class || judged + course::SLACK_S < threshold.abort_delay.as_secs_f64() {
                return None;
            }
            let mut all = Sample::default();
            let named = |name: &str| threshold.stage.as_ref().is_none_or(|wanted| wanted == name);
            let stages = self.stages.iter().zip(&shape.stages).filter(|(_, stage)| named(&stage.name));
            for sample in stages.filter_map(|(sample, _)| sample.as_ref()) {
                add(&mut all.latency, &sample.latency);
                add(&mut all.service, &sample.service);
                add(&mut all.connect, &sample.connect);
                all.counts.add(&sample.counts);
                all.seconds += sample.seconds;
            }
            let (value, holds) = all.judge(threshold);
            let shown = verdict::show(threshold, value?);
            (!holds).then(|| Aborted { reason: format!("{}: it is {shown}", threshold.text), by_threshold: true })
        })
    }

    /// Puts the document together and judges it. Recordings and health are by worker, in the order of `add_interval`.
    pub fn finish(mut self, recordings: &[Recording], health: &[Health], ending: Ending) -> Run {
        let elapsed = ending.elapsed.as_secs_f64();
        let cells = cells(&self.shape, recordings, elapsed);
        let (mut connect, mut lag, mut turns) = (histogram(), histogram(), histogram());
        for recording in recordings {
            add(&mut connect, &recording.connect);
            add(&mut lag, &recording.lag);
        }
        health.iter().for_each(|own| add(&mut turns, &own.turns));
        let connects = self.course.connects(self.shape.stages.len());
        let workers = workers(&self.busy, recordings, health);
        let mut run = Run {
            schema: SCHEMA,
            name: self.label.name,
            started: self.label.started,
            verdict: Verdict { outcome: Outcome::Pass, exit_code: 0, reasons: Vec::new(), notes: Vec::new() },
            thresholds: Vec::new(),
            aborted: ending.aborted,
            elapsed_s: elapsed,
            judged_s: judged_seconds(&self.shape, elapsed),
            machines: 1,
            stamps: vec![self.stamp],
            workers,
            timestamp_error: Distribution::of(&turns),
            lag: Distribution::of(&lag),
            total: total(&cells, &self.shape, elapsed, Some(Distribution::of(&connect))),
            stages: stages(&cells, &self.shape, elapsed, connects.iter().map(Distribution::of).map(Some).collect()),
            classes: classes(&cells, &self.shape, elapsed),
            cells: cells.iter().map(Cell::summary).collect(),
            intervals: self.course.finish(&self.shape),
            plan: self.shape,
        };
        // Everything was encoded just now from histograms of the same bounds.
        if let Err(error) = judge(&mut run) {
            run.verdict.notes.push(verdict::Finding::new("unjudged", error));
        }
        run
    }
}

/// A cell of all workers, or a sum of cells.
pub(super) struct Cell {
    /// Its stage, for a sum over a stage or less.
    pub stage: Option<usize>,
    /// What a summary is made of; without connections.
    pub sample: Sample,
    /// The summary without numbers.
    pub name: (Option<String>, Option<String>, bool),
}

impl Cell {
    /// The document's form.
    pub fn summary(&self) -> Summary {
        let (stage, class, warmup) = self.name.clone();
        summary(stage, class, warmup, &self.sample, None)
    }
}

fn summary(
    stage: Option<String>,
    class: Option<String>,
    warmup: bool,
    sample: &Sample,
    connect: Option<Distribution>,
) -> Summary {
    let (counts, seconds): (&Counts, f64) = (&sample.counts, sample.seconds);
    let (requests, failed) = (counts.ended(), failed(counts));
    Summary {
        stage,
        class,
        warmup,
        seconds,
        requests,
        rate: if seconds > 0.0 { answered(counts) as f64 / seconds } else { 0.0 },
        failed,
        failed_share: share(failed, requests),
        counts: Tally::from(counts),
        latency: Distribution::of(&sample.latency),
        service: Distribution::of(&sample.service),
        connect,
    }
}

/// How long a stage was under way in a run that lasted so long.
fn stage_seconds(shape: &Shape, elapsed: f64) -> Vec<f64> {
    shape.spans().map(|(start, end, _)| (elapsed.min(end) - start).max(0.0)).collect()
}

/// Judged time of a run that lasted so long.
pub(super) fn judged_seconds(shape: &Shape, elapsed: f64) -> f64 {
    let stages = stage_seconds(shape, elapsed).into_iter().zip(&shape.stages);
    stages.filter(|(_, stage)| !stage.warmup).map(|(seconds, _)| seconds).sum()
}

fn cells(shape: &Shape, recordings: &[Recording], elapsed: f64) -> Vec<Cell> {
    let seconds = stage_seconds(shape, elapsed);
    let mut cells = Vec::new();
    for (s, stage) in shape.stages.iter().enumerate() {
        for (c, class) in shape.classes.iter().enumerate() {
            let mut sample = Sample { seconds: seconds[s], ..Sample::default() };
            let own = recordings.iter().filter_map(|recording| recording.cells.get(s * shape.classes.len() + c));
            for cell in own {
                add(&mut sample.latency, &cell.latency);
                add(&mut sample.service, &cell.service);
                sample.counts.add(&cell.counts);
            }
            let name = (Some(stage.name.clone()), Some(class.name.clone()), stage.warmup);
            cells.push(Cell { stage: Some(s), sample, name });
        }
    }
    cells
}

fn sum<'a>(cells: impl Iterator<Item = &'a Cell>, seconds: f64) -> Sample {
    let mut sum = Sample { seconds, ..Sample::default() };
    for cell in cells {
        add(&mut sum.latency, &cell.sample.latency);
        add(&mut sum.service, &cell.sample.service);
        sum.counts.add(&cell.sample.counts);
    }
    sum
}

/// Everything but warm-up.
pub(super) fn total(cells: &[Cell], shape: &Shape, elapsed: f64, connect: Option<Distribution>) -> Summary {
    let sample = sum(cells.iter().filter(|cell| !cell.name.2), judged_seconds(shape, elapsed));
    summary(None, None, false, &sample, connect)
}

/// By stage.
pub(super) fn stages(cells: &[Cell], shape: &Shape, elapsed: f64, connects: Vec<Option<Distribution>>) -> Vec<Summary> {
    let seconds = stage_seconds(shape, elapsed);
    let stages = shape.stages.iter().enumerate().zip(connects);
    let summaries = stages.map(|((s, stage), connect)| {
        let sample = sum(cells.iter().filter(|cell| cell.stage == Some(s)), seconds[s]);
        summary(Some(stage.name.clone()), None, stage.warmup, &sample, connect)
    });
    summaries.collect()
}

/// By class.
pub(super) fn classes(cells: &[Cell], shape: &Shape, elapsed: f64) -> Vec<Summary> {
    let seconds = judged_seconds(shape, elapsed);
    let summaries = shape.classes.iter().map(|class| {
        let own = cells.iter().filter(|cell| !cell.name.2 && cell.name.1.as_ref() == Some(&class.name));
        summary(None, Some(class.name.clone()), false, &sum(own, seconds), None)
    });
    summaries.collect()
}

fn workers(busy: &[Busy], recordings: &[Recording], health: &[Health]) -> Vec<Worker> {
    let workers = busy.iter().enumerate().map(|(n, busy)| {
        let health = health.get(n);
        let count = |of: fn(&Health) -> u64| health.map_or(0, of);
        Worker {
            machine: 0,
            lcore: health.map_or(n as u32, |health| health.lcore),
            busy_share: share(busy.busy_ns, busy.covered_ns),
            busy_share_max: busy.share_max,
            turn: health.map(|health| Distribution::of(&health.turns)).unwrap_or_default(),
            lag: recordings.get(n).map(|recording| Distribution::of(&recording.lag)).unwrap_or_default(),
            tx_refused: count(|health| health.tx_refused),
            rx_missed: count(|health| health.rx_missed),
            rx_dropped: count(|health| health.rx_dropped),
            mempool_exhausted: count(|health| health.mempool_exhausted),
            intervals: busy.intervals,
        }
    });
    workers.collect()
}
