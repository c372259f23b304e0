//! Durations counted on the data path.
//!
//! Owns the arithmetic from a duration to its place, which is HdrHistogram's layout for three digits. Refuses to compute
//! anything else: [`Spread::histogram`] makes a histogram of it, elsewhere.

use super::record::{DURATION_MAX, histogram};
use hdrhistogram::{Counter, Histogram};

/// Places of one power of two: 2^11 / 2, so that a place is at most 1/1024 of its values wide.
const HALF_BITS: u32 = 10;
/// Places for durations up to [`DURATION_MAX`].
const PLACES: usize = place(DURATION_MAX) + 1;

/// How many durations there were of each length.
#[derive(Clone, Debug)]
pub struct Spread {
    counts: Box<[u64]>,
}

impl Default for Spread {
    fn default() -> Self {
        Spread { counts: vec![0; PLACES].into() }
    }
}

impl Spread {
    /// Counts a duration in nanoseconds; one over an hour counts as an hour.
    #[inline(always)]
    pub fn record(&mut self, ns: u64) {
        if let Some(count) = self.counts.get_mut(place(ns.min(DURATION_MAX))) {
            *count += 1;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
    }

    /// The same as a histogram.
    pub fn histogram<C: Counter>(&self) -> Histogram<C> {
        let mut histogram = histogram::<C>();
        for (place, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            // The smallest counter that is used has 32 bits.
            let count = C::from_u64(*count).or_else(|| C::from_u32(u32::MAX)).unwrap_or_else(C::one);
            histogram.saturating_record_n(first(place), count);
        }
        histogram
    }
}

/// The place of a duration: linear up to 2^11, then 2^10 places for each power of two.
#[inline(always)]
const fn place(ns: u64) -> usize {
    let shift = (u64::BITS - (ns | ((2 << HALF_BITS) - 1)).leading_zeros()) - (HALF_BITS + 1);
    ((shift as usize) << HALF_BITS) + (ns >> shift) as usize
}

/// The shortest duration of a place.
const fn first(place: usize) -> u64 {
    if place < 2 << HALF_BITS {
        return place as u64;
    }
    let shift = (place >> HALF_BITS) - 1;
    let within = (place & ((1 << HALF_BITS) - 1)) + (1 << HALF_BITS);
    (within as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_follow_each_other() {
        for place_of in 0..PLACES {
            assert_eq!(place(first(place_of)), place_of);
            assert_eq!(place(first(place_of + 1) - 1), place_of);
        }
    }

    proptest! {
        #[test]
        fn it_becomes_the_histogram_that_recorded_the_same(durations in prop::collection::vec(0..2 * DURATION_MAX, 0..200)) {
            let (mut spread, mut expected) = (Spread::default(), histogram::<u64>());
            for ns in &durations {
                spread.record(*ns);
                expected.saturating_record((*ns).min(DURATION_MAX));
            }
            let found = spread.histogram::<u64>();
            prop_assert_eq!(found.len(), expected.len());
            for percentile in [0.0, 10.0, 50.0, 99.0, 100.0] {
                prop_assert_eq!(found.value_at_percentile(percentile), expected.value_at_percentile(percentile));
            }
            prop_assert_eq!(found.max(), expected.max());
        }
    }
}
