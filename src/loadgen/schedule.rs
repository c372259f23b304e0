//! The schedule of arrivals.
//!
//! Owns when each request of a worker is due, as a function of its number, so that nothing drifts. Refuses to read a clock
//! and to know connections.
//!
//! The schedule of all workers is one curve: the number of requests that are due by a time, which is the integral of the
//! rate. Request `i` is due where the curve reaches `i`, and worker `w` of `n` takes every `n`th request from `w` on. A
//! Poisson process takes steps of exponential length along the same curve instead of steps of one; each worker walks alone
//! with steps `n` times as long, and together they are the process of the whole rate.

use super::plan::{Arrivals, Plan};

/// A request that is due.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// When, in nanoseconds since the schedule's start.
    pub at: u64,
    /// Its stage.
    pub stage: u16,
    /// Its class.
    pub class: u16,
}

/// One worker's part of the schedule of all.
#[derive(Clone, Debug)]
pub struct Schedule {
    arrivals: Arrivals,
    segments: Box<[Segment]>,
    /// Sums of the weights of classes up to and with each.
    weights: Box<[u64]>,
    seed: u64,
    /// Seed of this worker's walk.
    walk_seed: u64,
    workers: u64,
    /// The number of the next arrival among those of all workers.
    number: u64,
    /// Where the next arrival is on the curve.
    place: f64,
    /// The next arrival; None after the last one, and in a closed loop.
    next: Option<Arrival>,
    /// The stage of the next arrival.
    stage: usize,
}

/// A stage as a piece of the curve.
#[derive(Copy, Clone, Debug)]
struct Segment {
    /// In nanoseconds since the schedule's start.
    start: u64,
    end: u64,
    /// The curve's value at the start and at the end.
    first: f64,
    last: f64,
    /// Requests per second at the start and at the end.
    from: f64,
    to: f64,
    /// Change of the rate, per second and second.
    slope: f64,
}

impl Segment {
    /// When the curve is at `place`, which is between `first` and `last`.
    fn at(&self, place: f64) -> u64 {
        let n = place - self.first;
        // x solves from * x + slope * x^2 / 2 = n, in the form that does not subtract. The square of the rate at x is taken
        // from the end where it is a sum.
        let seconds = if self.slope == 0.0 {
            n / self.from
        } else {
            let square = if self.slope > 0.0 {
                self.from * self.from + 2.0 * self.slope * n
            } else {
                self.to * self.to - 2.0 * self.slope * (self.last - place)
            };
            2.0 * n / (self.from + square.sqrt())
        };
        // A curve that begins at rate zero divides zero by zero at its first point, and that makes zero here.
        (self.start + (seconds * 1e9 + 0.5) as u64).min(self.end - 1)
    }
}

impl Schedule {
    /// The part of worker `worker` of `workers`.
    pub fn new(plan: &Plan, worker: usize, workers: usize) -> Schedule {
        let (mut start, mut first) = (0u64, 0.0);
        let segment = |stage: &super::plan::Stage| {
            let seconds = stage.duration.as_secs_f64();
            let ns = u64::try_from(stage.duration.as_nanos()).unwrap_or(u64::MAX).max(1);
            let (from, to) = if plan.arrivals == Arrivals::Closed { (0.0, 0.0) } else { (stage.from, stage.to) };
            let last = first + (from + to) / 2.0 * seconds;
            let end = start.saturating_add(ns);
            let segment = Segment { start, end, first, last, from, to, slope: (to - from) / seconds };
            (start, first) = (end, last);
            segment
        };
        let segments = plan.stages.iter().map(segment).collect();
        let weight = |sum: &mut u64, class: &super::plan::Class| {
            *sum += u64::from(class.weight);
            Some(*sum)
        };
        let mut schedule = Schedule {
            arrivals: plan.arrivals,
            segments,
            weights: plan.classes.iter().scan(0, weight).collect(),
            seed: plan.seed,
            walk_seed: mix(plan.seed ^ mix(worker as u64 + 1)),
            workers: workers.max(1) as u64,
            number: worker as u64,
            place: worker as f64,
            next: None,
            stage: 0,
        };
        if plan.arrivals == Arrivals::Poisson {
            schedule.place = schedule.step();
        }
        schedule.find();
        schedule
    }

    /// The next arrival if it is due `elapsed` nanoseconds after the start; it stays the next until [`Schedule::take`]. In a
    /// closed loop there is always one, due now, until the last stage ends.
    #[inline]
    pub fn due(&mut self, elapsed: u64) -> Option<Arrival> {
        if self.arrivals == Arrivals::Closed {
            let (stage, class) = (self.stage(elapsed), self.class());
            return (elapsed < self.end()).then_some(Arrival { at: elapsed, stage, class });
        }
        self.next.filter(|arrival| arrival.at <= elapsed)
    }

    /// Goes on to the arrival after the one that [`Schedule::due`] named.
    pub fn take(&mut self) {
        self.number += self.workers;
        match self.arrivals {
            Arrivals::Closed => return,
            Arrivals::Constant => self.place = self.number as f64,
            Arrivals::Poisson => self.place += self.step(),
        }
        self.find();
    }

    /// When the next arrival is due, in nanoseconds after the start; None after the last one, and in a closed loop, where
    /// that depends on answers.
    pub fn next_at(&self) -> Option<u64> {
        self.next.map(|arrival| arrival.at)
    }

    /// The stage under way so many nanoseconds after the start; the last one after the end.
    pub fn stage(&self, elapsed: u64) -> u16 {
        let ended = self.segments.partition_point(|segment| segment.end <= elapsed);
        ended.min(self.segments.len().saturating_sub(1)) as u16
    }

    /// The end of the last stage, in nanoseconds after the start.
    pub fn end(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.end)
    }

    /// Makes `next` of `place`.
    fn find(&mut self) {
        while let Some(segment) = self.segments.get(self.stage) {
            if self.place < segment.last {
                self.next = Some(Arrival { at: segment.at(self.place), stage: self.stage as u16, class: self.class() });
                return;
            }
            self.stage += 1;
        }
        self.next = None;
    }

    /// The class of the next arrival: by its number among those of all workers, so that it does not depend on how many
    /// there are.
    fn class(&self) -> u16 {
        let [_, .., total] = *self.weights else { return 0 };
        let hash = mix(self.seed ^ mix(self.number));
        let point = ((u128::from(hash) * u128::from(total)) >> 64) as u64;
        self.weights.partition_point(|sum| *sum <= point) as u16
    }

    /// The length of the next step of this worker's walk: exponential, with the number of workers as its mean.
    fn step(&self) -> f64 {
        // 53 random bits make a number in (0, 1], so the logarithm is finite.
        let bits = mix(self.walk_seed.wrapping_add(self.number)) >> 11;
        let uniform = (bits + 1) as f64 / (1u64 << 53) as f64;
        -uniform.ln() * self.workers as f64
    }
}

/// The finalizer of SplitMix64 after one step: 64 well-mixed bits for each input.
fn mix(input: u64) -> u64 {
    let mut bits = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests;
