//! How often we answer what needs no connection: RSTs, echo replies, ARP and ND.
//!
//! Owns the limit that keeps us from being used as an amplifier. Refuses to read a clock.

use crate::limits::CONTROL_ANSWERS_PER_S;
use crate::time::Instant;
use core::time::Duration;

/// A token bucket over virtual time: `CONTROL_ANSWERS_PER_S` answers a second, as many at once after a quiet second.
#[derive(Copy, Clone, Debug, Default)]
pub struct AnswerLimit {
    /// When the bucket is full again: one interval later for every answer taken.
    full_at: Instant,
}

impl AnswerLimit {
    const INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / CONTROL_ANSWERS_PER_S as u64);

    /// Takes one answer out of the bucket; false when it is empty.
    pub fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + Self::INTERVAL;
        let granted = full_at.since(now) <= Duration::from_secs(1);
        if granted {
            self.full_at = full_at;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_limited_to_the_rate_with_one_second_of_burst() {
        let mut limit = AnswerLimit::default();
        let mut granted = |from_ms, to_ms| {
            (from_ms..to_ms).map(|ms| (0..10).filter(|_| limit.take(Instant::from_millis(ms))).count()).sum::<usize>()
        };
        let rate = CONTROL_ANSWERS_PER_S as usize;
        assert!((2 * rate - 1..=2 * rate + 1).contains(&granted(5_000, 6_000)), "a full bucket and a second's refill");
        assert!((rate - 1..=rate + 1).contains(&granted(6_000, 7_000)), "then the rate");
        assert!(
            (2 * rate - 1..=2 * rate + 1).contains(&granted(60_000, 61_000)),
            "never more than one second saved up"
        );
    }
}
