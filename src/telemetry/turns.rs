//! What a worker's loop spends its time on: busy, idle, asleep; gaps between turns, the heartbeat.
//!
//! Owns the arithmetic. Refuses to read a clock: the loop, which reads it once a turn anyway, passes the time.

use super::Counters;

/// Between two times the gauges are due, in nanoseconds.
const GAUGES_NS: u64 = 10_000_000;

/// The loop's side, on its stack.
#[derive(Debug)]
pub struct TurnMeter {
    last_ns: u64,
    busy: bool,
    gauges_at_ns: u64,
}

impl TurnMeter {
    /// Begins at `now_ns`.
    pub fn start(now_ns: u64) -> TurnMeter {
        TurnMeter { last_ns: now_ns, busy: false, gauges_at_ns: 0 }
    }

    /// A turn begins. True when the gauges are due.
    #[inline]
    pub fn begin(&mut self, now_ns: u64, counters: &Counters) -> bool {
        let gap_ns = now_ns.saturating_sub(self.last_ns);
        self.last_ns = now_ns;
        let times = &counters.times;
        super::add(if self.busy { &times.busy_ns } else { &times.idle_ns }, gap_ns);
        times.gaps.count(gap_ns);
        times.beat_ns.store(now_ns, core::sync::atomic::Ordering::Relaxed);
        let due = now_ns >= self.gauges_at_ns;
        if due {
            self.gauges_at_ns = now_ns + GAUGES_NS;
        }
        due
    }

    /// The worker slept between two turns and woke at `now_ns`: time that it chose to be away is neither idle nor a gap.
    pub fn wake(&mut self, now_ns: u64, counters: &Counters) {
        super::add(&counters.times.asleep_ns, now_ns.saturating_sub(self.last_ns));
        self.last_ns = now_ns;
        self.busy = false;
    }

    /// The turn ended, and did something or not.
    #[inline]
    pub fn end(&mut self, busy: bool) {
        self.busy = busy;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_busy_or_idle_by_what_the_turn_did() {
        let counters = Counters::default();
        let mut meter = TurnMeter::start(1_000);
        for (now_ns, busy) in [(2_000, true), (5_000, false), (5_500, true), (50_005_500, false), (50_005_600, false)] {
            meter.begin(now_ns, &counters);
            meter.end(busy);
        }
        let times = counters.times();
        assert_eq!((times.busy_ns, times.idle_ns), (3_000 + 50_000_000, 1_000 + 500 + 100));
        assert_eq!(times.beat_ns, 50_005_600);
        assert_eq!((times.gaps.count(), times.gaps.buckets[0], times.gaps.buckets[13]), (5, 4, 1));
        assert_eq!(times.gaps.sum_ns, times.busy_ns + times.idle_ns);
    }

    #[test]
    fn sleep_is_no_gap() {
        let counters = Counters::default();
        let mut meter = TurnMeter::start(0);
        meter.begin(100, &counters);
        meter.end(false);
        meter.wake(50_000_100, &counters);
        meter.begin(50_000_300, &counters);
        let times = counters.times();
        assert_eq!((times.busy_ns, times.idle_ns, times.asleep_ns), (0, 300, 50_000_000));
        assert_eq!((times.gaps.count(), times.gaps.buckets[0], times.gaps.sum_ns), (2, 2, 300));
    }

    #[test]
    fn gauges_are_due_at_once_and_then_every_ten_milliseconds() {
        let counters = Counters::default();
        let mut meter = TurnMeter::start(0);
        let due: Vec<bool> =
            [0, 9_999_999, 10_000_000, 19_999_999, 40_000_000].map(|now| meter.begin(now, &counters)).into();
        assert_eq!(due, [true, false, true, false, true]);
    }
}
