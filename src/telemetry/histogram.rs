//! A histogram of durations: plain words, like the counters.
//!
//! Owns the bounds: 10 us, doubled twenty times to 10.5 s, and everything beyond. Refuses to interpolate: who reads the
//! buckets may.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The upper bound of the first bucket, in nanoseconds.
pub const FIRST_NS: u64 = 10_000;
/// Buckets with an upper bound.
pub const BOUNDED: usize = 21;
/// All buckets: the last one has no bound.
pub const BUCKETS: usize = BOUNDED + 1;

/// Durations by bucket, and their sum. One writer; anyone may read.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

/// A histogram's values at one time.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Reading {
    /// Durations in each bucket, not cumulated.
    pub buckets: [u64; BUCKETS],
    /// The sum of all durations, in nanoseconds.
    pub sum_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum_ns: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Adds a duration. Only the owning worker may call it.
    #[inline]
    pub fn record(&self, ns: u64) {
        self.count(ns);
        super::add(&self.sum_ns, ns);
    }

    /// Adds a duration whose sum is kept elsewhere. Only the owning worker may call it.
    #[inline]
    pub fn count(&self, ns: u64) {
        let bucket = if ns <= FIRST_NS { 0 } else { bucket(ns) };
        super::add(&self.buckets[bucket], 1);
    }

    /// The present values.
    pub fn read(&self) -> Reading {
        Reading { buckets: core::array::from_fn(|i| self.buckets[i].load(Relaxed)), sum_ns: self.sum_ns.load(Relaxed) }
    }
}

impl Reading {
    /// Adds another histogram's values.
    pub fn merge(&mut self, other: &Reading) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(own, more)| *own = own.wrapping_add(more));
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }

    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// The upper bound of a bucket in nanoseconds, inclusive; None: no bound.
pub fn bound_ns(bucket: usize) -> Option<u64> {
    (bucket < BOUNDED).then(|| FIRST_NS << bucket)
}

#[inline]
fn bucket(ns: u64) -> usize {
    // Bucket k holds (2^(k-1), 2^k] times the first bound: the bit length of the whole multiples below.
    let below = (ns - 1) / FIRST_NS;
    ((u64::BITS - below.leading_zeros()) as usize).min(BOUNDED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_whose_bound_holds_it() {
        let durations = (0..BOUNDED).flat_map(|k| [-1, 0, 1].map(|d| (FIRST_NS << k).saturating_add_signed(d)));
        for ns in durations.chain([0, 1, u64::MAX]) {
            let histogram = Histogram::default();
            histogram.record(ns);
            let expected = (0..BUCKETS).find(|i| bound_ns(*i).is_none_or(|bound| ns <= bound)).unwrap();
            let reading = histogram.read();
            assert_eq!((reading.buckets[expected], reading.count(), reading.sum_ns), (1, 1, ns), "{ns} ns");
        }
    }

    #[test]
    fn bounds_span_ten_microseconds_to_ten_seconds() {
        assert_eq!(bound_ns(0), Some(10_000));
        assert_eq!(bound_ns(BOUNDED - 1), Some(10_485_760_000));
        assert_eq!(bound_ns(BOUNDED), None);
    }

    #[test]
    fn readings_add_up() {
        let (a, b) = (Histogram::default(), Histogram::default());
        a.record(5);
        b.record(5);
        b.record(50_000);
        let mut sum = a.read();
        sum.merge(&b.read());
        assert_eq!((sum.count(), sum.sum_ns, sum.buckets[0], sum.buckets[3]), (3, 50_010, 2, 1));
    }
}
