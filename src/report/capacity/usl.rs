//! The universal scalability law, fitted to the steps.
//!
//! Owns the fit and how well it predicts. Refuses to extrapolate in words: it gives the curve and its error.
//!
//! `X(N) = lambda N / (1 + sigma (N - 1) + kappa N (N - 1))` (N. J. Gunther, Guerrilla Capacity Planning, 2007): throughput
//! over concurrency, slowed by contention (sigma) and by agreement between all pairs (kappa). `N` is the mean number of
//! requests inside the target, which is throughput times service time (Little's law). It holds in overload too, because
//! connections bound what is inside; with latency from the intended start it would not, as the queue before the target grows
//! without end.
//!
//! `N / X` is linear in `a = (1 - sigma) / lambda`, `s = sigma / lambda` and `k = kappa / lambda`:
//! `N / X = a + s N + k N (N - 1)`, so least squares of relative errors with `a, s, k >= 0` are solved exactly, by trying
//! each set of non-zero ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Fewer points than this have no fit: the law has three parameters.
const POINTS_MIN: usize = 4;

/// The law with its parameters.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Law {
    /// Throughput at a concurrency of 1, requests per second.
    pub lambda: f64,
    /// Contention: the share of work that is done one at a time.
    pub sigma: f64,
    /// Coherency: the cost of agreement between each pair.
    pub kappa: f64,
}

/// The law fitted, and what the fit is worth.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fit {
    /// Fitted to all points.
    pub law: Law,
    /// Points.
    pub points: u32,
    /// Where throughput is highest, if it falls again.
    pub peak_concurrency: Option<f64>,
    /// The highest throughput, at the peak or for ever more concurrency; absent when nothing limits it.
    pub peak_rate: Option<f64>,
    /// How far off the fit to all other points is at each point: mean absolute error of throughput, as a share.
    pub leave_one_out_mape: f64,
    /// How far off the fit to the lower two thirds is at the upper third, by concurrency; the same measure.
    pub hold_out_mape: f64,
    /// Points of that upper third.
    pub hold_out_points: u32,
}

impl Law {
    /// Throughput at a concurrency.
    pub fn rate(&self, n: f64) -> f64 {
        let slowed = 1.0 + self.sigma * (n - 1.0) + self.kappa * n * (n - 1.0);
        if slowed > 0.0 { self.lambda * n / slowed } else { f64::INFINITY }
    }

    fn peak(&self) -> (Option<f64>, Option<f64>) {
        if self.kappa > 0.0 {
            let n = ((1.0 - self.sigma) / self.kappa).max(0.0).sqrt();
            return if n > 0.0 { (Some(n), Some(self.rate(n))) } else { (None, None) };
        }
        (None, (self.sigma > 0.0).then(|| self.lambda / self.sigma))
    }

    /// The least squares of relative errors over `(N, X)`, both positive; None for too few points.
    pub fn fit(points: &[(f64, f64)]) -> Option<Law> {
        let largest = points.iter().map(|(n, _)| *n).fold(0.0, f64::max);
        if points.len() < POINTS_MIN - 1 || largest <= 0.0 {
            return None;
        }
        // Each equation divided by its right side, so that errors are relative.
        let rows = points.iter().map(|(n, x)| [x / n, *x, x * (n - 1.0)]);
        let mut rows: Vec<[f64; 3]> = rows.collect();
        let mut scale = [0.0f64; 3];
        rows.iter().for_each(|row| scale.iter_mut().zip(row).for_each(|(s, value)| *s = s.max(value.abs())));
        let usable = |column: usize| scale[column] > 0.0;
        rows.iter_mut()
            .for_each(|row| row.iter_mut().zip(scale).for_each(|(value, s)| *value /= s.max(f64::MIN_POSITIVE)));
        let mut best: Option<(f64, [f64; 3])> = None;
        for set in 1..8usize {
            let columns: Vec<usize> = (0..3).filter(|column| set >> column & 1 == 1).collect();
            let Some(found) = columns.iter().all(|c| usable(*c)).then(|| solve(&rows, &columns)).flatten() else {
                continue;
            };
            let error = |row: &[f64; 3]| row.iter().zip(found).map(|(value, by)| value * by).sum::<f64>() - 1.0;
            let positive = rows.iter().all(|row| error(row) > -1.0);
            let squares: f64 = rows.iter().map(|row| error(row).powi(2)).sum();
            if positive && found.iter().all(|by| *by >= 0.0) && best.is_none_or(|(least, _)| squares < least) {
                best = Some((squares, found));
            }
        }
        let [a, s, k] = best.map(|(_, found)| core::array::from_fn(|i| found[i] / scale[i].max(f64::MIN_POSITIVE)))?;
        (a + s > 0.0).then(|| Law { lambda: 1.0 / (a + s), sigma: s / (a + s), kappa: k / (a + s) })
    }
}

/// Fits the law to `(N, X)`; None without enough points that differ.
pub fn fit(points: &[(f64, f64)]) -> Option<Fit> {
    let mut points: Vec<(f64, f64)> = points.iter().copied().filter(|(n, x)| *n > 0.0 && *x > 0.0).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    if points.len() < POINTS_MIN || points.first()?.0 >= points.last()?.0 {
        return None;
    }
    let law = Law::fit(&points)?;
    let without = |i: usize| {
        let others: Vec<(f64, f64)> = points[..i].iter().chain(&points[i + 1..]).copied().collect();
        Law::fit(&others).map(|law| error(&law, points[i]))
    };
    let errors = (0..points.len()).map(without).collect::<Option<Vec<f64>>>()?;
    let lower = (points.len() * 2 / 3).max(POINTS_MIN - 1);
    let below = Law::fit(&points[..lower])?;
    let above = &points[lower..];
    let (peak_concurrency, peak_rate) = law.peak();
    Some(Fit {
        law,
        points: points.len() as u32,
        peak_concurrency,
        peak_rate,
        leave_one_out_mape: errors.iter().sum::<f64>() / errors.len() as f64,
        hold_out_mape: above.iter().map(|point| error(&below, *point)).sum::<f64>() / above.len() as f64,
        hold_out_points: above.len() as u32,
    })
}

/// The absolute error of throughput as a share; a curve that has no value there is wrong by all of it.
fn error(law: &Law, (n, x): (f64, f64)) -> f64 {
    let found = law.rate(n);
    if found.is_finite() { (found / x - 1.0).abs() } else { 1.0 }
}

/// Solves the normal equations of these columns for a right side of ones; None when they are not independent.
fn solve(rows: &[[f64; 3]], columns: &[usize]) -> Option<[f64; 3]> {
    let size = columns.len();
    let mut matrix = [[0.0f64; 4]; 3];
    for (i, a) in columns.iter().enumerate() {
        for (j, b) in columns.iter().enumerate() {
            matrix[i][j] = rows.iter().map(|row| row[*a] * row[*b]).sum();
        }
        matrix[i][3] = rows.iter().map(|row| row[*a]).sum();
    }
    for pivot in 0..size {
        let row = (pivot..size).max_by(|a, b| matrix[*a][pivot].abs().total_cmp(&matrix[*b][pivot].abs()))?;
        matrix.swap(pivot, row);
        if matrix[pivot][pivot].abs() < 1e-13 {
            return None;
        }
        let lead = matrix[pivot];
        for (_, row) in matrix.iter_mut().enumerate().take(size).filter(|(i, _)| *i != pivot) {
            let by = row[pivot] / lead[pivot];
            row.iter_mut().zip(lead).for_each(|(value, lead)| *value -= by * lead);
        }
    }
    let mut found = [0.0; 3];
    columns.iter().enumerate().for_each(|(i, column)| found[*column] = matrix[i][3] / matrix[i][i]);
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn points(law: Law, at: &[f64]) -> Vec<(f64, f64)> {
        at.iter().map(|n| (*n, law.rate(*n))).collect()
    }

    const AT: [f64; 10] = [1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0];

    #[test]
    fn a_curve_of_the_law_gives_its_parameters() {
        let law = Law { lambda: 995.6, sigma: 0.0267, kappa: 0.000_769 };
        let fit = fit(&points(law, &AT)).unwrap();
        for (found, wanted) in [(fit.law.lambda, law.lambda), (fit.law.sigma, law.sigma), (fit.law.kappa, law.kappa)] {
            assert!((found / wanted - 1.0).abs() < 1e-6, "{fit:?}");
        }
        assert!(fit.leave_one_out_mape < 1e-6 && fit.hold_out_mape < 1e-6, "{fit:?}");
        // The peak is at sqrt((1 - sigma) / kappa).
        assert!((fit.peak_concurrency.unwrap() - 35.58).abs() < 0.01, "{fit:?}");
    }

    #[test]
    fn an_m_m_1_queue_is_a_law_of_its_own() {
        // N = rho / (1 - rho): X = mu N / (1 + N), so lambda = mu / 2 and sigma = 1/2; nearly all of it below N = 1.
        let mu = 100e3;
        let points: Vec<(f64, f64)> =
            [0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95].map(|rho: f64| (rho / (1.0 - rho), mu * rho)).to_vec();
        let fit = fit(&points).unwrap();
        assert!((fit.law.lambda / (mu / 2.0) - 1.0).abs() < 1e-6 && (fit.law.sigma - 0.5).abs() < 1e-6, "{fit:?}");
        assert!((fit.peak_rate.unwrap() / mu - 1.0).abs() < 1e-3, "{fit:?}");
    }

    #[test]
    fn too_few_points_or_equal_ones_have_no_fit() {
        assert_eq!(fit(&[]), None);
        assert_eq!(fit(&[(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]), None);
        assert_eq!(fit(&[(2.0, 5.0); 6]), None);
        assert_eq!(fit(&[(0.0, 0.0), (f64::NAN, 1.0), (1.0, 1.0), (2.0, 2.0)]), None);
    }

    #[test]
    fn the_error_of_prediction_shows_what_the_law_does_not_know() {
        // A wall: linear to 10, then nothing more.
        let wall: Vec<(f64, f64)> = AT.iter().map(|n| (*n, 1e3 * n.min(10.0))).collect();
        let fit = fit(&wall).unwrap();
        assert!(fit.hold_out_mape > 0.25, "{fit:?}");
    }

    proptest! {
        #[test]
        fn parameters_are_never_negative_and_the_fit_is_the_best(
            noise in proptest::collection::vec(-0.2..0.2f64, 10),
            lambda in 1.0..1e6f64, sigma in 0.0..1.0f64, log_kappa in -8.0..-1.0f64,
        ) {
            let truth = Law { lambda, sigma, kappa: 10f64.powf(log_kappa) };
            let noisy: Vec<(f64, f64)> =
                points(truth, &AT).into_iter().zip(&noise).map(|((n, x), by)| (n, x * (1.0 + by))).collect();
            let fit = fit(&noisy).unwrap();
            let law = fit.law;
            prop_assert!(law.lambda > 0.0 && (0.0..=1.0).contains(&law.sigma) && law.kappa >= 0.0, "{law:?}");
            // Errors of N / X, relative to what was measured: the truth has no smaller sum of squares.
            let squares = |law: &Law| noisy.iter().map(|(n, x)| (x / law.rate(*n) - 1.0).powi(2)).sum::<f64>();
            prop_assert!(squares(&law) <= squares(&truth) * (1.0 + 1e-6) + 1e-12, "{} {}", squares(&law), squares(&truth));
            prop_assert!(fit.leave_one_out_mape.is_finite() && fit.hold_out_mape.is_finite());
        }

        #[test]
        fn no_points_panic(points in proptest::collection::vec((0.0..1e9f64, 0.0..1e9f64), 0..12)) {
            if let Some(fit) = fit(&points) {
                prop_assert!(fit.law.lambda.is_finite() && fit.hold_out_mape.is_finite(), "{fit:?}");
            }
        }
    }
}
