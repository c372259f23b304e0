//! Seeded chance: the same seed gives the same run.
//!
//! Owns one small generator (SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
//! Refuses to be unpredictable: nothing outside a simulation may use it.

use core::ops::RangeInclusive;
use core::time::Duration;

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// One million: the denominator of every rate in a simulation, in parts per million.
pub const MILLION: u32 = 1_000_000;

/// A seeded generator.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The generator of a seed.
    pub const fn new(seed: u64) -> Rng {
        Rng { state: seed }
    }

    /// A generator of its own for one part, so that what this part draws does not shift what others draw.
    pub fn fork(&mut self) -> Rng {
        Rng::new(self.next_u64())
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// A number below `bound`, 0 when `bound` is 0. The modulo bias is below 2^-32 for every bound a simulation uses.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// A number in the range.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// True `ppm` times in a million.
    pub fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.below(u64::from(MILLION)) < u64::from(ppm)
    }

    /// A duration from zero to `max`.
    pub fn up_to(&mut self, max: Duration) -> Duration {
        Duration::from_nanos(self.below(u64::try_from(max.as_nanos()).unwrap_or(u64::MAX).saturating_add(1)))
    }

    /// One of the choices; there must be one.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| self.next_u64().to_le_bytes()).collect();
        bytes.truncate(len);
        bytes
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// A running hash of everything that happened, to tell two runs apart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trace {
    hash: u64,
    events: u64,
}

impl Trace {
    /// Adds an event: a number that says when or what, and bytes.
    pub fn add(&mut self, word: u64, bytes: &[u8]) {
        self.events += 1;
        self.hash = mix(self.hash ^ word.wrapping_add(GAMMA));
        for chunk in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..chunk.len()].copy_from_slice(chunk);
            self.hash = mix(self.hash.rotate_left(5) ^ u64::from_le_bytes(padded));
        }
        self.hash = mix(self.hash ^ bytes.len() as u64);
    }

    /// The hash of all events so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The number of events so far.
    pub fn events(&self) -> u64 {
        self.events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_published_sequence() {
        // The reference outputs of SplitMix64 for seed 1234567.
        let mut rng = Rng::new(1_234_567);
        assert_eq!(rng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn draws_stay_in_their_ranges() {
        let mut rng = Rng::new(1);
        assert_eq!(rng.below(0), 0);
        for _ in 0..1000 {
            assert!((3..=5).contains(&rng.within(3..=5)));
            assert!(rng.up_to(Duration::from_nanos(2)) <= Duration::from_nanos(2));
        }
        assert!(!rng.chance(0) && rng.chance(MILLION));
        let hits = (0..10_000).filter(|_| rng.chance(250_000)).count();
        assert!((2300..2700).contains(&hits), "{hits}");
    }

    #[test]
    fn traces_differ_by_word_bytes_and_order() {
        let trace = |events: &[(u64, &[u8])]| {
            let mut trace = Trace::default();
            events.iter().for_each(|(word, bytes)| trace.add(*word, bytes));
            trace.hash()
        };
        let same = trace(&[(1, b"ab"), (2, b"c")]);
        assert_eq!(same, trace(&[(1, b"ab"), (2, b"c")]));
        assert_ne!(same, trace(&[(2, b"c"), (1, b"ab")]));
        assert_ne!(same, trace(&[(1, b"ab"), (2, b"c\0")]));
    }
}
