//! How often we answer what needs no connection: RSTs, echo replies, ARP and ND; and challenge ACKs.
//!
//! Owns the limit that keeps us from being used as an amplifier. Refuses to read a clock.

use crate::limits::{CHALLENGES_PER_S, CONTROL_ANSWERS_PER_S};
use crate::time::Instant;
use core::time::Duration;

/// A token bucket over virtual time: so many answers a second, as many at once after a quiet second.
#[derive(Copy, Clone, Debug, Default)]
pub struct AnswerLimit<const PER_S: u32 = CONTROL_ANSWERS_PER_S> {
    /// When the bucket is full again: one interval later for every answer taken.
    full_at: Instant,
}

impl<const PER_S: u32> AnswerLimit<PER_S> {
    const INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / PER_S as u64);

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

/// A limit that tells nothing. Whoever shares a fixed budget with others learns from what is left of it how much they used,
/// and so whether his forged segments hit their connections (CVE-2016-5696). Each second this one has another budget:
/// between half of [`CHALLENGES_PER_S`] and all of it.
#[derive(Clone, Debug)]
pub struct RandomLimit {
    random: u64,
    second: u64,
    left: u32,
}

impl RandomLimit {
    /// A limit with a secret, which has to be random.
    pub fn new(secret: u64) -> RandomLimit {
        RandomLimit { random: secret, second: u64::MAX, left: 0 }
    }

    /// Takes one answer out of this second's budget; false when it is used up.
    pub fn take(&mut self, now: Instant) -> bool {
        let second = now.nanos() / 1_000_000_000;
        if second != self.second {
            self.second = second;
            // SplitMix64.
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            self.left = CHALLENGES_PER_S / 2 + (mixed >> 32) as u32 % (CHALLENGES_PER_S / 2 + 1);
        }
        let granted = self.left > 0;
        self.left -= u32::from(granted);
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_random_limit_differs_each_second_and_with_the_secret() {
        let budgets = |secret| {
            let mut limit = RandomLimit::new(secret);
            (0..50)
                .map(|s| (0..2 * CHALLENGES_PER_S).filter(|_| limit.take(Instant::from_millis(s * 1_000 + 5))).count())
                .collect::<Vec<_>>()
        };
        let (one, other) = (budgets(1), budgets(2));
        let range = CHALLENGES_PER_S as usize / 2..=CHALLENGES_PER_S as usize;
        assert!(one.iter().all(|budget| range.contains(budget)), "{one:?}");
        let mut different = one.clone();
        different.sort_unstable();
        different.dedup();
        assert!(different.len() > 25, "{one:?}");
        assert_ne!(one, other);
    }

    #[test]
    fn answers_are_limited_to_the_rate_with_one_second_of_burst() {
        let mut limit = <AnswerLimit>::default();
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
