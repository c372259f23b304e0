//! Uncertainty of what a run measured, by resampling its intervals.
//!
//! Owns the block bootstrap. Refuses to resample single requests: those of one second share queues, caches and stalls, so
//! they are not independent, and an interval that takes them to be is far too narrow.
//!
//! Blocks of consecutive intervals, wrapped around the end, are drawn with replacement (the circular block bootstrap of
//! Politis and Romano, 1992, after Kuensch, 1989); their length grows with the cube root of the number of intervals (Hall,
//! Horowitz and Jing, 1995).

use hdrhistogram::Histogram;

/// Longer courses are cut into so many pieces: more cost time and add nothing.
const PIECES_MAX: usize = 240;

/// Seeded randomness: SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed, the same numbers.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.bits()) * limit as u128) >> 64) as usize
    }
}

/// What one interval contributes.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Its length.
    pub seconds: f64,
    /// Answers.
    pub answered: u64,
    /// Requests that ended.
    pub ended: u64,
    /// Those without an accepted answer.
    pub failed: u64,
    /// Latencies.
    pub latency: Histogram<u64>,
}

/// The figures of a course, or of a resampled one.
#[derive(Copy, Clone, PartialEq, Debug, Default)]
pub struct Figures {
    /// Latency at the percentiles asked for, in nanoseconds.
    pub latency: [f64; 3],
    /// Answers per second.
    pub rate: f64,
    /// Share of requests without an accepted answer.
    pub failed: f64,
}

/// A course prepared for resampling.
#[derive(Clone, Debug)]
pub struct Course {
    /// Latencies that occur, ascending.
    values: Vec<u64>,
    /// By piece: positions in `values` with their numbers.
    counts: Vec<Vec<(u32, u64)>>,
    /// By piece: seconds, answered, ended, failed.
    sums: Vec<[f64; 4]>,
}

impl Course {
    /// Prepares a course, in order of time.
    pub fn new(pieces: &[Piece]) -> Course {
        let together = pieces.len().div_ceil(PIECES_MAX).max(1);
        let pieces: Vec<Vec<&Piece>> = pieces.chunks(together).map(|chunk| chunk.iter().collect()).collect();
        let of = |piece: &Piece| -> Vec<(u64, u64)> {
            piece.latency.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
        };
        let recorded: Vec<Vec<(u64, u64)>> =
            pieces.iter().map(|chunk| chunk.iter().flat_map(|piece| of(piece)).collect()).collect();
        let mut values: Vec<u64> = recorded.iter().flatten().map(|(value, _)| *value).collect();
        values.sort_unstable();
        values.dedup();
        let place = |value: u64| values.partition_point(|other| *other < value) as u32;
        let counts =
            recorded.iter().map(|counts| counts.iter().map(|(value, n)| (place(*value), *n)).collect()).collect();
        let sums = pieces.iter().map(|chunk| {
            chunk.iter().fold([0.0; 4], |sum, p| {
                [sum[0] + p.seconds, sum[1] + p.answered as f64, sum[2] + p.ended as f64, sum[3] + p.failed as f64]
            })
        });
        let sums = sums.collect();
        Course { values, counts, sums }
    }

    /// Pieces.
    pub fn len(&self) -> usize {
        self.sums.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// Pieces in a block.
    pub fn block(&self) -> usize {
        (self.len() as f64).cbrt().ceil().max(1.0) as usize
    }

    /// Blocks, which is about how many independent observations there are.
    pub fn blocks(&self) -> f64 {
        self.len() as f64 / self.block() as f64
    }

    /// The figures when each piece counts once.
    pub fn figures(&self, percentiles: [f64; 3]) -> Figures {
        self.weighted(&vec![1; self.len()], percentiles)
    }

    /// The figures of a course drawn from the blocks of this one.
    pub fn resampled(&self, percentiles: [f64; 3], random: &mut Random) -> Figures {
        let (n, block) = (self.len(), self.block());
        let mut weights = vec![0; n];
        let mut drawn = 0;
        while drawn < n {
            let start = random.below(n);
            for step in 0..block.min(n - drawn) {
                weights[(start + step) % n] += 1;
            }
            drawn += block;
        }
        self.weighted(&weights, percentiles)
    }

    fn weighted(&self, weights: &[u64], percentiles: [f64; 3]) -> Figures {
        let mut counts = vec![0_u64; self.values.len()];
        let mut sums = [0.0; 4];
        for ((piece, own), weight) in self.counts.iter().zip(&self.sums).zip(weights).filter(|(_, w)| **w > 0) {
            piece.iter().for_each(|(place, count)| counts[*place as usize] += count * weight);
            sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += own * *weight as f64);
        }
        let total: u64 = counts.iter().sum();
        let latency = percentiles.map(|percentile| {
            let rank = ((percentile / 100.0 * total as f64).ceil() as u64).max(1);
            let mut below = 0;
            let at = counts.iter().position(|count| {
                below += count;
                below >= rank
            });
            at.map_or(0.0, |at| self.values[at] as f64)
        });
        let [seconds, answered, ended, failed] = sums;
        let over = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        Figures { latency, rate: over(answered, seconds), failed: over(failed, ended) }
    }
}

/// The quantile of Student's t at the same place as `z` of the normal distribution, for `freedom` degrees of freedom, 2 or
/// more: the expansion of Abramowitz and Stegun, 26.7.5; 7 % low at 2 degrees, 2 % at 3.
pub fn student(z: f64, freedom: f64) -> f64 {
    let v = freedom.max(2.0);
    let power = |n: i32| z.powi(n);
    let first = (power(3) + z) / 4.0;
    let second = (5.0 * power(5) + 16.0 * power(3) + 3.0 * z) / 96.0;
    let third = (3.0 * power(7) + 19.0 * power(5) + 17.0 * power(3) - 15.0 * z) / 384.0;
    z + first / v + second / (v * v) + third / (v * v * v)
}

/// Mean and standard deviation of a sample.
pub fn spread(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (mean, (squares / (n - 1.0).max(1.0)).sqrt())
}
