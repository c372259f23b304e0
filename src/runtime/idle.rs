//! What a worker does between two turns when there is nothing to do: poll, pause, sleep.
//!
//! Owns the ladder and its thresholds. Refuses to sleep itself: it says how long the port may wait.

use crate::config::Idle;
use crate::time::Instant;
use core::time::Duration;

/// What to do before the next turn.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Rest {
    /// Nothing: take the next turn at once.
    Poll,
    /// Leave the core's execution units to its sibling thread for a moment.
    Pause,
    /// Let the port wait for a frame, no longer than this.
    Wait(Duration),
}

/// Where a worker is on the ladder.
#[derive(Clone, Debug)]
pub struct Ladder {
    idle: Idle,
    /// The end of the last turn that did something.
    busy_at: Instant,
    /// The next wait; doubles up to `idle.sleep_max`.
    wait: Duration,
}

/// The first wait, about what the kernel takes to switch away and back.
const WAIT_MIN: Duration = Duration::from_micros(50);

/// The longest wait where a frame ends it.
const WAKEABLE_MAX: Duration = Duration::from_millis(20);

impl Ladder {
    /// A ladder whose worker was busy `now`.
    pub fn new(idle: Idle, now: Instant) -> Ladder {
        Ladder { idle, busy_at: now, wait: WAIT_MIN }
    }

    /// Something is about to happen: back to polling.
    pub fn wake(&mut self, now: Instant) {
        self.busy_at = now;
        self.wait = WAIT_MIN;
    }

    /// What to do after a turn at `now` that did nothing or something. A port that `can_wake` the worker may wait longer:
    /// only timers, which are as late as that, bound it.
    #[inline]
    pub fn after(&mut self, idle: bool, now: Instant, can_wake: bool) -> Rest {
        if !idle {
            self.wake(now);
            return Rest::Poll;
        }
        let quiet = now.since(self.busy_at);
        if quiet < self.idle.spin {
            return Rest::Poll;
        }
        if !self.idle.sleep || quiet < self.idle.sleep_after {
            return Rest::Pause;
        }
        let longest = if can_wake { self.idle.sleep_max.max(WAKEABLE_MAX) } else { self.idle.sleep_max };
        let wait = self.wait.min(longest);
        self.wait = (self.wait * 2).min(longest);
        Rest::Wait(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle() -> Idle {
        Idle {
            sleep: true,
            spin: Duration::from_micros(200),
            sleep_after: Duration::from_millis(10),
            sleep_max: Duration::from_millis(1),
        }
    }

    #[test]
    fn rests_longer_the_longer_nothing_happens_and_not_at_all_after_work() {
        let mut ladder = Ladder::new(idle(), Instant::ZERO);
        let at = |us: u64| Instant::from_nanos(us * 1_000);
        assert_eq!(ladder.after(true, at(199), false), Rest::Poll);
        assert_eq!(ladder.after(true, at(200), false), Rest::Pause);
        assert_eq!(ladder.after(true, at(9_999), false), Rest::Pause);
        let waits: Vec<Rest> = (0..7).map(|i| ladder.after(true, at(10_000 + i), false)).collect();
        let expected = [50, 100, 200, 400, 800, 1_000, 1_000].map(|us| Rest::Wait(Duration::from_micros(us)));
        assert_eq!(waits, expected);
        assert_eq!(ladder.after(false, at(20_000), false), Rest::Poll);
        assert_eq!(ladder.after(true, at(20_100), false), Rest::Poll);
        assert_eq!(ladder.after(true, at(30_000), false), Rest::Wait(Duration::from_micros(50)));
    }

    #[test]
    fn waits_longer_where_a_frame_ends_the_wait() {
        let mut ladder = Ladder::new(idle(), Instant::ZERO);
        let last = (0..20).map(|_| ladder.after(true, Instant::from_millis(50), true)).last();
        assert_eq!(last, Some(Rest::Wait(WAKEABLE_MAX)));
    }

    #[test]
    fn purists_never_sleep() {
        let mut ladder = Ladder::new(Idle { sleep: false, ..idle() }, Instant::ZERO);
        assert_eq!(ladder.after(true, Instant::from_millis(1_000_000), false), Rest::Pause);
    }
}
