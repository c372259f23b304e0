//! Slopes of series, robustly.
//!
//! Owns the estimate and its interval. Refuses to say what a slope means.
//!
//! The slope is the median of the slopes between all pairs of points (H. Theil, 1950), which a quarter of wild points does not
//! move; its confidence interval takes the slopes that Kendall's statistic cannot tell from it (P. K. Sen, 1968). That
//! statistic's variance supposes independent points, and memory is anything but: it is enlarged by the autocorrelation of the
//! ranks of what is left without the slope (K. H. Hamed and A. R. Rao, 1998), and at least as for a first-order
//! autoregression (S. Yue and C. Wang, 2004), since few points show too little of longer lags.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// More points are joined: pairs grow with the square.
const POINTS_MAX: usize = 600;
/// Fewer points have no slope.
pub const POINTS_MIN: usize = 8;
/// 99 % of the normal distribution lie within so many standard deviations.
const Z: f64 = 2.575_829;
/// A higher correlation of neighbours is taken as this.
const CORRELATION_MAX: f64 = 0.99;
/// Autocorrelations beyond so many standard deviations count (95 %).
const Z_LAG: f64 = 1.96;

/// A slope with its 99 % confidence interval, per unit of x.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slope {
    /// The estimate.
    pub slope: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The slope over points in order of x; None for too few.
pub fn slope(points: &[(f64, f64)]) -> Option<Slope> {
    let points = joined(points);
    let n = points.len();
    if n < POINTS_MIN {
        return None;
    }
    let mut slopes = Vec::with_capacity(n * (n - 1) / 2);
    for (i, a) in points.iter().enumerate() {
        slopes.extend(points[i + 1..].iter().filter(|b| b.0 > a.0).map(|b| (b.1 - a.1) / (b.0 - a.0)));
    }
    slopes.sort_by(f64::total_cmp);
    let slope = middle(&slopes)?;
    let residuals: Vec<f64> = points.iter().map(|(x, y)| y - slope * x).collect();
    let variance = kendall_variance(&points) * inflation(&residuals);
    let reach = Z * variance.sqrt();
    let count = slopes.len() as f64;
    let at = |rank: f64| slopes[(rank.max(0.0) as usize).min(slopes.len() - 1)];
    Some(Slope { slope, low: at(((count - reach) / 2.0).floor()), high: at(((count + reach) / 2.0).ceil()) })
}

/// The median of a sorted list.
pub fn middle(sorted: &[f64]) -> Option<f64> {
    let n = sorted.len();
    Some((sorted.get(n.checked_sub(1)? / 2)? + sorted[n / 2]) / 2.0)
}

/// The median of a list.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    middle(&values)
}

/// At most [`POINTS_MAX`] points: medians of neighbours.
fn joined(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let together = points.len().div_ceil(POINTS_MAX).max(1);
    let join = |chunk: &[(f64, f64)]| {
        Some((median(chunk.iter().map(|point| point.0))?, median(chunk.iter().map(|point| point.1))?))
    };
    points.chunks(together).filter_map(join).collect()
}

/// The variance of Kendall's statistic without a trend, with equal values taken off.
fn kendall_variance(points: &[(f64, f64)]) -> f64 {
    let term = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let mut values: Vec<f64> = points.iter().map(|point| point.1).collect();
    values.sort_by(f64::total_cmp);
    let ties: f64 = values.chunk_by(|a, b| a == b).map(|equal| term(equal.len() as f64)).sum();
    (term(points.len() as f64) - ties) / 18.0
}

/// By how much autocorrelation enlarges that variance; 1 without any.
fn inflation(residuals: &[f64]) -> f64 {
    let n = residuals.len() as f64;
    let ranks = ranks(residuals);
    let mean = (n + 1.0) / 2.0;
    let total: f64 = ranks.iter().map(|rank| (rank - mean).powi(2)).sum();
    if total == 0.0 {
        return 1.0;
    }
    let mut sum = 0.0;
    // Beyond a quarter of the series too few pairs are left to estimate a correlation.
    for lag in 1..=residuals.len() / 4 {
        let pairs = ranks.iter().zip(&ranks[lag..]);
        let correlation = pairs.map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / total;
        if correlation.abs() > Z_LAG / n.sqrt() {
            let left = n - lag as f64;
            sum += left * (left - 1.0) * (left - 2.0) * correlation;
        }
    }
    let of_lags = 1.0 + 2.0 * sum / (n * (n - 1.0) * (n - 2.0));
    // The first correlation is estimated too low by (1 + 4 r) / n (M. G. Kendall, 1954).
    let first = ranks.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum::<f64>() / total;
    let first = (first + (1.0 + 4.0 * first) / n).clamp(0.0, CORRELATION_MAX);
    of_lags.max((1.0 + first) / (1.0 - first))
}

/// Ranks from 1; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let (mut ranks, mut below) = (vec![0.0; values.len()], 0);
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = below as f64 + (equal.len() as f64 + 1.0) / 2.0;
        equal.iter().for_each(|at| ranks[*at] = rank);
        below += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::stats::Random;
    use proptest::prelude::*;

    /// About normal, mean 0 and deviation 1.
    fn noise(random: &mut Random) -> f64 {
        (0..12).map(|_| random.below(1 << 30) as f64 / f64::from(1 << 30)).sum::<f64>() - 6.0
    }

    fn series(n: usize, value: impl FnMut(f64) -> f64) -> Vec<(f64, f64)> {
        let mut value = value;
        (0..n).map(|i| i as f64 / 10.0).map(|x| (x, value(x))).collect()
    }

    #[test]
    fn a_line_has_its_slope_and_wild_points_do_not_move_it() {
        let found = slope(&series(50, |x| 3.0 * x + 7.0)).unwrap();
        assert!([found.slope, found.low, found.high].iter().all(|s| (s - 3.0).abs() < 1e-9), "{found:?}");
        let mut random = Random::new(1);
        let mut wild = series(200, |x| 3.0 * x + 0.1 * noise(&mut random));
        wild.iter_mut().step_by(6).for_each(|point| point.1 += 1e6);
        let found = slope(&wild).unwrap();
        assert!((found.slope - 3.0).abs() < 0.05 && found.low < 3.0 && found.high > 3.0, "{found:?}");
    }

    #[test]
    fn a_constant_is_flat_and_few_points_are_nothing() {
        assert_eq!(slope(&series(100, |_| 5.0)), Some(Slope { slope: 0.0, low: 0.0, high: 0.0 }));
        assert_eq!(slope(&series(POINTS_MIN - 1, |x| x)), None);
        assert_eq!(slope(&[(1.0, 2.0); 20]), None);
    }

    #[test]
    fn the_interval_holds_for_noise_that_remembers() {
        // A flat series of which each value keeps 0.8 of the last deviation. Without enlarging, half of the intervals would
        // not contain zero.
        let misses = |keep: f64| {
            let miss = |seed: u64| {
                let (mut random, mut last) = (Random::new(seed), 0.0);
                let flat = series(120, |_| {
                    last = keep * last + noise(&mut random);
                    last
                });
                slope(&flat).is_some_and(|found| found.low > 0.0 || found.high < 0.0)
            };
            (0..100).filter(|seed| miss(*seed)).count()
        };
        // Of 100 intervals of 99 %, more than 5 miss with a probability below 0.1 %.
        assert!(misses(0.0) <= 5, "{}", misses(0.0));
        assert!(misses(0.8) <= 5, "{}", misses(0.8));
    }

    #[test]
    fn long_series_are_joined_and_keep_their_slope() {
        let mut random = Random::new(3);
        let found = slope(&series(10_000, |x| 0.5 * x + noise(&mut random))).unwrap();
        assert!((found.slope - 0.5).abs() < 1e-3 && found.low <= found.slope && found.slope <= found.high, "{found:?}");
    }

    proptest! {
        #[test]
        fn no_points_panic_and_the_interval_holds_the_slope(
            points in proptest::collection::vec((0.0..1e3f64, -1e9..1e9f64), 0..60),
        ) {
            let mut points = points;
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            if let Some(found) = slope(&points) {
                prop_assert!(found.low <= found.slope && found.slope <= found.high, "{found:?}");
            }
        }
    }
}
