//! A token bucket on the time it is given.

use crate::time::Instant;

/// At most `rate` takes per second, and as many at once.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    rate: u32,
    tokens: u32,
    /// When the last whole token was added.
    filled: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(rate: u32, now: Instant) -> TokenBucket {
        TokenBucket { rate: rate.max(1), tokens: rate.max(1), filled: now }
    }

    /// Takes a token; false when there is none.
    pub fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }

    fn refill(&mut self, now: Instant) {
        let interval_ns = 1_000_000_000 / u64::from(self.rate);
        let elapsed_ns = now.nanos().saturating_sub(self.filled.nanos());
        let earned = elapsed_ns / interval_ns;
        if earned == 0 {
            return;
        }
        let full = u64::from(self.rate - self.tokens) <= earned;
        self.tokens = if full { self.rate } else { self.tokens + earned as u32 };
        let filled_ns = if full { now.nanos() } else { self.filled.nanos() + earned * interval_ns };
        self.filled = Instant::from_nanos(filled_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn a_burst_of_the_rate_then_the_rate() {
        let mut now = Instant::from_millis(7);
        let mut bucket = TokenBucket::new(10, now);
        assert_eq!((0..20).filter(|_| bucket.take(now)).count(), 10);
        now = now + Duration::from_millis(99);
        assert!(!bucket.take(now));
        now = now + Duration::from_millis(1);
        assert!(bucket.take(now) && !bucket.take(now));
        now = now + Duration::from_secs(3600);
        assert_eq!((0..20).filter(|_| bucket.take(now)).count(), 10);
    }

    #[test]
    fn time_that_stands_or_goes_back_earns_nothing() {
        let now = Instant::from_millis(50);
        let mut bucket = TokenBucket::new(1, now);
        assert!(bucket.take(now));
        assert!(!bucket.take(now) && !bucket.take(Instant::ZERO));
    }
}
