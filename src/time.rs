//! Time as an argument.
//!
//! Owns the monotonic [`Instant`] every layer is given, and [`Now`], what a turn is told about time. Refuses to read a
//! clock: only `runtime` (the cycle counter) and `sim` (virtual time) make instants.

use core::ops::Add;
use core::time::Duration;

/// A point in monotonic time, in nanoseconds since an epoch its maker chooses.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Instant {
    ns: u64,
}

impl Instant {
    /// The epoch.
    pub const ZERO: Instant = Instant { ns: 0 };
    /// Later than any time that is reached: 584 years after the epoch.
    pub const FAR: Instant = Instant { ns: u64::MAX };

    /// The instant `ns` nanoseconds after the epoch.
    pub const fn from_nanos(ns: u64) -> Instant {
        Instant { ns }
    }

    /// The instant `ms` milliseconds after the epoch.
    pub const fn from_millis(ms: u64) -> Instant {
        Instant { ns: ms * 1_000_000 }
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> u64 {
        self.ns
    }

    /// Microseconds since the epoch, rounded down.
    pub const fn micros(self) -> u64 {
        self.ns / 1_000
    }

    /// Milliseconds since the epoch, rounded down.
    pub const fn millis(self) -> u64 {
        self.ns / 1_000_000
    }

    /// The time from `earlier` to `self`; zero when `earlier` is the later one.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.ns.saturating_sub(earlier.ns))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    #[inline]
    fn add(self, later: Duration) -> Instant {
        let ns = later.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(later.subsec_nanos()));
        Instant { ns: self.ns.saturating_add(ns) }
    }
}

/// What a turn is told about time.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// Monotonic time, for every timer and deadline.
    pub mono: Instant,
    /// Seconds since 1970-01-01 UTC, for the Date field (RFC 9110, 6.6.1) and logs only.
    pub unix_s: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let t = Instant::from_millis(5);
        assert_eq!((t + Duration::from_micros(7)).nanos(), 5_007_000);
        assert_eq!(Instant::ZERO.since(t), Duration::ZERO);
        assert_eq!(Instant::FAR + Duration::MAX, Instant::FAR);
        assert_eq!(Instant::from_nanos(1_999_999).millis(), 1);
    }
}
