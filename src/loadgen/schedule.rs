//! The schedule of arrivals.
//!
//! Owns when each request of a worker is due, as a function of its number, so that nothing drifts. Refuses to read a clock
//! and to know connections.

use super::plan::Plan;

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
pub struct Schedule {}

impl Schedule {
    /// The part of worker `worker` of `workers`.
    pub fn new(_plan: &Plan, _worker: usize, _workers: usize) -> Schedule {
        Schedule {}
    }

    /// The next arrival if it is due `elapsed` nanoseconds after the start; it stays the next until [`Schedule::take`]. In a
    /// closed loop there is always one, due now, until the last stage ends.
    pub fn due(&mut self, _elapsed: u64) -> Option<Arrival> {
        None
    }

    /// Goes on to the arrival after the one that [`Schedule::due`] named.
    pub fn take(&mut self) {}

    /// The stage under way so many nanoseconds after the start; the last one after the end.
    pub fn stage(&self, _elapsed: u64) -> u16 {
        0
    }

    /// The end of the last stage, in nanoseconds after the start.
    pub fn end(&self) -> u64 {
        0
    }
}
