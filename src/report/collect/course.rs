//! The course of a run: intervals of all workers, one point for each second.
//!
//! Owns which intervals belong together and when a point is complete. Refuses to sum the run.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use crate::loadgen::record::{Counts, Interval, Outcome, histogram};
use crate::report::distribution::{Distribution, add};
use crate::report::live::Live;
use crate::report::model::{Point, Tally, answered, failed, share};
use crate::report::shape::Shape;
use crate::time::Instant;

/// Workers hand over an interval about so often, in seconds.
const PERIOD_S: f64 = 1.0;
/// How far an interval may reach into the next point, or into warm-up: a turn or two, on a machine that was away.
pub const SLACK_S: f64 = 0.25;
/// Points kept open for workers that are late; they hold whole histograms.
const OPEN_MAX: usize = 3;

/// Seconds after the start.
pub fn seconds(at: Instant) -> f64 {
    at.nanos() as f64 / 1e9
}

/// A point that workers may still join.
struct Building {
    number: i64,
    start_s: f64,
    end_s: f64,
    stage: u16,
    judged: bool,
    seen: Vec<bool>,
    covered_s: f64,
    open: Vec<u32>,
    busy_share: f64,
    counts: Counts,
    latency: Histogram<u64>,
    service: Histogram<u64>,
    connect: Histogram<u64>,
    lag: Histogram<u64>,
}

impl Building {
    fn new(number: i64, workers: usize) -> Building {
        Building {
            number,
            start_s: f64::INFINITY,
            end_s: 0.0,
            stage: 0,
            judged: true,
            seen: vec![false; workers],
            covered_s: 0.0,
            open: vec![0; workers],
            busy_share: 0.0,
            counts: Counts::default(),
            latency: histogram(),
            service: histogram(),
            connect: histogram(),
            lag: histogram(),
        }
    }

    fn add(&mut self, worker: usize, interval: &Interval, judged: bool) {
        let (start, end) = (seconds(interval.start), seconds(interval.end));
        let covered = (end - start).max(0.0);
        self.start_s = self.start_s.min(start);
        self.end_s = self.end_s.max(end);
        self.stage = self.stage.max(interval.stage);
        self.judged &= judged;
        self.seen[worker] = true;
        self.covered_s += covered;
        self.open[worker] = interval.open;
        self.busy_share = self.busy_share.max(share(interval.busy_ns, (covered * 1e9) as u64)).min(1.0);
        self.counts.add(&interval.counts);
        add(&mut self.latency, &interval.latency);
        add(&mut self.service, &interval.service);
        add(&mut self.connect, &interval.connect);
        add(&mut self.lag, &interval.lag);
    }

    fn workers(&self) -> usize {
        self.seen.iter().filter(|seen| **seen).count()
    }

    /// The document's form.
    fn point(&self, shape: &Shape) -> Point {
        let wide = (self.end_s - self.start_s).max(0.0);
        // Workers cover about the same time; a rate is a number over the time one of them covered.
        let each = self.covered_s / self.workers().max(1) as f64;
        let per_second = |count: u64| if each > 0.0 { count as f64 / each } else { 0.0 };
        let intended = (shape.is_open_loop() && wide > 0.0).then(|| shape.due(self.start_s, self.end_s) / wide);
        let stage = shape.stages.get(usize::from(self.stage)).or(shape.stages.last());
        Point {
            start_s: self.start_s,
            end_s: self.end_s,
            stage: stage.map(|stage| stage.name.clone()).unwrap_or_default(),
            judged: self.judged,
            workers: self.workers() as u32,
            intended_rate: intended,
            sent_rate: per_second(self.counts.sent),
            rate: per_second(answered(&self.counts)),
            failed: failed(&self.counts),
            open: self.open.iter().map(|open| u64::from(*open)).sum(),
            busy_share: self.busy_share,
            counts: Tally::from(&self.counts),
            latency: Distribution::of(&self.latency),
            service: Distribution::of(&self.service),
            connect: Distribution::of(&self.connect),
            lag: Distribution::of(&self.lag),
        }
    }
}

/// The course of a run.
pub struct Course {
    workers: usize,
    open: VecDeque<Building>,
    closed: Vec<(i64, Point)>,
    connects: Vec<Histogram<u64>>,
    last: Option<Point>,
    totals: Counts,
    end_s: f64,
}

impl Course {
    /// An empty course.
    pub fn new(workers: usize) -> Course {
        Course {
            workers,
            open: VecDeque::new(),
            closed: Vec::new(),
            connects: Vec::new(),
            last: None,
            totals: Counts::default(),
            end_s: 0.0,
        }
    }

    /// Adds a worker's interval.
    pub fn add(&mut self, worker: usize, interval: &Interval, judged: bool, shape: &Shape) {
        let (start, end) = (seconds(interval.start), seconds(interval.end));
        if end <= start {
            return;
        }
        self.totals.add(&interval.counts);
        self.end_s = self.end_s.max(end);
        self.add_connect(interval);
        // A short one is the run's last, cut off by its end.
        let slack = if end - start < PERIOD_S / 2.0 { PERIOD_S / 100.0 } else { SLACK_S };
        let number = ((end - slack) / PERIOD_S).ceil() as i64;
        if let Some(building) = self.open.iter_mut().find(|building| building.number == number) {
            building.add(worker, interval, judged);
        } else {
            let mut building = Building::new(number, self.workers);
            building.add(worker, interval, judged);
            let at = self.open.partition_point(|other| other.number < number);
            self.open.insert(at, building);
        }
        while self.open.len() > OPEN_MAX || self.open.front().is_some_and(|first| first.workers() == self.workers) {
            let Some(building) = self.open.pop_front() else { break };
            self.close(&building, shape);
        }
    }

    fn add_connect(&mut self, interval: &Interval) {
        let stage = usize::from(interval.stage);
        if !interval.connect.is_empty() {
            if self.connects.len() <= stage {
                self.connects.resize_with(stage + 1, histogram);
            }
            add(&mut self.connects[stage], &interval.connect);
        }
    }

    fn close(&mut self, building: &Building, shape: &Shape) {
        let point = building.point(shape);
        let joins = |early: &Point| (early.workers + point.workers) as usize <= self.workers;
        let early = self.closed.iter_mut().rev().find(|(number, early)| *number == building.number && joins(early));
        match early {
            Some((_, early)) => *early = joined(early, &point, shape),
            None => {
                let at = self.closed.partition_point(|(number, _)| *number <= building.number);
                self.closed.insert(at, (building.number, point.clone()));
            }
        }
        if self.closed.last().is_some_and(|(number, _)| *number == building.number) {
            self.last = self.closed.last().map(|(_, point)| point.clone());
        }
    }

    /// Connections made while each stage was under way.
    pub fn connects(&mut self, stages: usize) -> Vec<Histogram<u64>> {
        let mut connects = core::mem::take(&mut self.connects);
        connects.resize_with(stages, histogram);
        connects
    }

    /// How it goes.
    pub fn live(&self, shape: &Shape) -> Live {
        Live {
            elapsed_s: self.end_s,
            left_s: (shape.seconds() - self.end_s).max(0.0),
            point: self.last.clone(),
            stages: shape.stages.len(),
            stage: self.last.as_ref().and_then(|p| shape.stages.iter().position(|s| s.name == p.stage)).unwrap_or(0),
            ended: self.totals.ended(),
            failed: failed(&self.totals),
            waited: self.totals.waited + self.totals.outcome(Outcome::NotSent),
        }
    }

    /// All points in order.
    pub fn finish(mut self, shape: &Shape) -> Vec<Point> {
        while let Some(building) = self.open.pop_front() {
            self.close(&building, shape);
        }
        self.closed.into_iter().map(|(_, point)| point).collect()
    }
}

/// One point of two that cover about the same time: of different workers or machines.
pub fn joined(one: &Point, other: &Point, shape: &Shape) -> Point {
    let both = |a: &Distribution, b: &Distribution| {
        // A point's histograms were encoded or checked by this program, so they decode.
        let mut sum = a.decode().unwrap_or_else(|_| histogram());
        add(&mut sum, &b.decode().unwrap_or_else(|_| histogram()));
        Distribution::of(&sum)
    };
    let mut counts = one.counts.counts();
    counts.add(&other.counts.counts());
    let (start_s, end_s) = (one.start_s.min(other.start_s), one.end_s.max(other.end_s));
    let later = if other.end_s > one.end_s { other } else { one };
    Point {
        start_s,
        end_s,
        stage: later.stage.clone(),
        judged: one.judged && other.judged,
        workers: one.workers + other.workers,
        intended_rate: shape.is_open_loop().then(|| shape.due(start_s, end_s) / (end_s - start_s)),
        sent_rate: one.sent_rate + other.sent_rate,
        rate: one.rate + other.rate,
        failed: one.failed + other.failed,
        open: one.open + other.open,
        busy_share: one.busy_share.max(other.busy_share),
        counts: Tally::from(&counts),
        latency: both(&one.latency, &other.latency),
        service: both(&one.service, &other.service),
        connect: both(&one.connect, &other.connect),
        lag: both(&one.lag, &other.lag),
    }
}
