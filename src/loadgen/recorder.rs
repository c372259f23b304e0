//! Recording on the worker: every request into its cell and into the interval under way.
//!
//! Owns the hand-over of full intervals to the control side: two bounded queues, full ones out and empty ones back, so that
//! nothing is allocated. Refuses to wait: without an empty one at hand the interval under way goes on, and says so by its
//! end.

use super::plan::Plan;
use super::record::{Cell, Counts, Interval, Outcome, Recording};
use super::spread::Spread;
use crate::time::Instant;
use core::time::Duration;
use crossbeam_queue::ArrayQueue;
use std::sync::Arc;

/// Intervals of one worker in all: one under way, the others with the control side or waiting for it.
const INTERVALS: usize = 4;

/// An interval as the worker counts it.
#[derive(Debug, Default)]
pub struct Piece {
    start: Instant,
    end: Instant,
    stage: u16,
    latency: Spread,
    service: Spread,
    connect: Spread,
    lag: Spread,
    counts: Counts,
    open: u32,
    busy_ns: u64,
}

impl Piece {
    /// What results are made of.
    pub fn interval(&self) -> Interval {
        Interval {
            start: self.start,
            end: self.end,
            stage: self.stage,
            latency: self.latency.histogram(),
            service: self.service.histogram(),
            connect: self.connect.histogram(),
            lag: self.lag.histogram(),
            counts: self.counts,
            open: self.open,
            busy_ns: self.busy_ns,
        }
    }

    fn clear(&mut self) {
        for spread in [&mut self.latency, &mut self.service, &mut self.connect, &mut self.lag] {
            spread.clear();
        }
        self.counts = Counts::default();
        (self.stage, self.open, self.busy_ns) = (0, 0, 0);
    }
}

/// Where full intervals go, and empty ones come back.
#[derive(Clone, Debug)]
pub struct IntervalQueues {
    full: Arc<ArrayQueue<Box<Piece>>>,
    empty: Arc<ArrayQueue<Box<Piece>>>,
}

impl Default for IntervalQueues {
    fn default() -> Self {
        let empty = ArrayQueue::new(INTERVALS);
        for _ in 1..INTERVALS {
            // It has room for one more.
            let _ = empty.push(Box::default());
        }
        IntervalQueues { full: Arc::new(ArrayQueue::new(INTERVALS)), empty: Arc::new(empty) }
    }
}

impl IntervalQueues {
    /// The oldest full interval; its memory goes back to the worker.
    pub fn take(&self) -> Option<Interval> {
        let mut piece = self.full.pop()?;
        let interval = piece.interval();
        piece.clear();
        let _ = self.empty.push(piece);
        Some(interval)
    }
}

/// The requests of one stage and class.
#[derive(Debug, Default)]
struct Tally {
    latency: Spread,
    service: Spread,
    counts: Counts,
}

/// One worker's recording.
pub struct Recorder {
    cells: Box<[Tally]>,
    connect: Spread,
    lag: Spread,
    current: Box<Piece>,
    /// The sum of all cells' numbers when the interval under way began.
    before: Counts,
    queues: IntervalQueues,
    length: Duration,
    /// When the interval under way ends; since the start of the schedule.
    until: Instant,
    classes: usize,
    warmup: Box<[bool]>,
}

/// A request that ended.
#[derive(Copy, Clone, Debug)]
pub struct Ended {
    /// Its stage.
    pub stage: u16,
    /// Its class.
    pub class: u16,
    /// What became of it.
    pub outcome: Outcome,
    /// From its intended start, in nanoseconds.
    pub latency: u64,
    /// From its sending, in nanoseconds; counts if it was answered.
    pub service: u64,
    /// The status of its answer; 0: none.
    pub status: u16,
    /// Bytes of its answer.
    pub bytes: u64,
}

impl Recorder {
    /// A recorder whose intervals are `length` long.
    pub fn new(plan: &Plan, queues: IntervalQueues, length: Duration) -> Recorder {
        Recorder {
            cells: (0..plan.stages.len() * plan.classes.len()).map(|_| Tally::default()).collect(),
            connect: Spread::default(),
            lag: Spread::default(),
            current: Box::default(),
            before: Counts::default(),
            queues,
            length,
            until: Instant::ZERO + length,
            classes: plan.classes.len(),
            warmup: plan.stages.iter().map(|stage| stage.warmup).collect(),
        }
    }

    /// Whether the interval under way is full. `elapsed`: since the start of the schedule.
    #[inline]
    pub fn is_full(&self, elapsed: Instant) -> bool {
        elapsed >= self.until
    }

    /// Hands the interval over as it is.
    #[cold]
    pub fn roll(&mut self, elapsed: Instant, stage: u16, open: u32) {
        // The schedule's marks, so that workers' intervals fit together.
        while self.until <= elapsed {
            self.until = self.until + self.length;
        }
        let Some(mut next) = self.queues.empty.pop() else { return };
        next.start = elapsed;
        let mut full = core::mem::replace(&mut self.current, next);
        let all = self.all();
        (full.end, full.stage, full.open, full.counts) = (elapsed, stage, open, all.since(&self.before));
        self.before = all;
        // As many places as intervals.
        let _ = self.queues.full.push(full);
    }

    /// A turn that did something took so many nanoseconds.
    #[inline]
    pub fn busy(&mut self, ns: u64) {
        self.current.busy_ns += ns;
    }

    /// A request was sent, so many nanoseconds later than it could have been.
    #[inline]
    pub fn sent(&mut self, stage: u16, class: u16, lag: u64, waited: bool, bytes: u64) {
        self.current.lag.record(lag);
        if !self.is_warmup(stage) {
            self.lag.record(lag);
        }
        let cell = usize::from(stage) * self.classes + usize::from(class);
        let Some(Tally { counts, .. }) = self.cells.get_mut(cell) else { return };
        counts.sent += 1;
        counts.waited += u64::from(waited);
        counts.bytes_out += bytes;
    }

    /// A request ended.
    #[inline]
    pub fn ended(&mut self, ended: &Ended) {
        let interval = &mut *self.current;
        interval.latency.record(ended.latency);
        let cell = usize::from(ended.stage) * self.classes + usize::from(ended.class);
        let Some(cell) = self.cells.get_mut(cell) else { return };
        cell.latency.record(ended.latency);
        if ended.outcome.is_answered() {
            interval.service.record(ended.service);
            cell.service.record(ended.service);
        }
        let counts = &mut cell.counts;
        counts.outcomes[ended.outcome as usize] += 1;
        counts.bytes_in += ended.bytes;
        if let Some(class) = counts.statuses.get_mut(usize::from(ended.status / 100).wrapping_sub(1)) {
            *class += 1;
        }
    }

    /// A handshake was completed in so many nanoseconds.
    pub fn connected(&mut self, took: u64, stage: u16) {
        self.current.connect.record(took);
        self.connect.record(took);
        self.count(stage, |counts| counts.connected += 1);
    }

    /// A connection could not be made.
    pub fn connect_failed(&mut self, stage: u16) {
        self.count(stage, |counts| counts.connect_failed += 1);
    }

    /// An idle connection was closed or reset by the target.
    pub fn closed_idle(&mut self, stage: u16) {
        self.count(stage, |counts| counts.closed_idle += 1);
    }

    /// What the whole run came to; the interval under way is handed over first, if anything happened in it.
    pub fn finish(mut self, elapsed: Instant, stage: u16) -> Recording {
        if self.all() != self.before {
            self.roll(elapsed, stage, 0);
        }
        let cell = |tally: &Tally| Cell {
            latency: tally.latency.histogram(),
            service: tally.service.histogram(),
            counts: tally.counts,
        };
        let cells = self.cells.iter().map(cell).collect();
        Recording { cells, connect: self.connect.histogram(), lag: self.lag.histogram() }
    }

    fn count(&mut self, stage: u16, f: impl Fn(&mut Counts)) {
        if let Some(cell) = self.cells.get_mut(usize::from(stage) * self.classes) {
            f(&mut cell.counts);
        }
    }

    fn all(&self) -> Counts {
        let mut all = Counts::default();
        self.cells.iter().for_each(|cell| all.add(&cell.counts));
        all
    }

    fn is_warmup(&self, stage: u16) -> bool {
        self.warmup.get(usize::from(stage)).copied().unwrap_or(false)
    }
}
