//! The knee: where more load begins to cost latency.
//!
//! Owns the definition. Refuses to guess one that was not reached.
//!
//! The knee is the largest rate at which p99 is at most twice its value under low load. L. Kleinrock (Power and
//! Deterministic Rules of Thumb for Probabilistic Problems in Computer Communications, ICC 1979) puts it where throughput
//! over response time is largest, which for an M/M/1 queue is where response time has doubled; unlike that maximum, the
//! doubling needs no finely spaced points. Low load is the lowest p99 of all steps: noise only adds to a percentile, and a
//! target that sleeps while idle is slower at the first steps than at later ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many times its value under low load p99 may be.
const FACTOR: f64 = 2.0;

/// The knee.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Knee {
    /// Requests per second; between two steps, on the line between them with latency on a logarithmic scale.
    pub rate: f64,
    /// p99 there: twice the value under low load, in nanoseconds.
    pub p99_ns: f64,
    /// p99 under low load, in nanoseconds.
    pub low_load_p99_ns: f64,
}

/// The knee of `(rate, p99)` in order of rate; None when p99 never doubles.
pub fn knee(points: &[(f64, f64)]) -> Option<Knee> {
    let low = points.iter().map(|(_, p99)| *p99).filter(|p99| *p99 > 0.0).min_by(f64::total_cmp)?;
    let bound = low * FACTOR;
    let last = points.iter().rposition(|(_, p99)| *p99 > 0.0 && *p99 <= bound)?;
    let (rate, p99) = points[last];
    let (next_rate, next) = *points.get(last + 1)?;
    let part = (bound / p99).ln() / (next / p99).ln();
    Some(Knee { rate: rate + (next_rate - rate) * part.clamp(0.0, 1.0), p99_ns: bound, low_load_p99_ns: low })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_m_m_1_queue_has_its_knee_at_half_its_rate() {
        let p99 = |rho: f64| 1e6 * 100f64.ln() / (1.0 - rho);
        let points: Vec<(f64, f64)> = (1..100).map(|i| f64::from(i) / 100.0).map(|rho| (rho * 1e5, p99(rho))).collect();
        let knee = knee(&points).unwrap();
        // The lowest load is 1 %, so twice its p99 is at 1 - 0.99 / 2.
        assert!((knee.rate - 50_500.0).abs() < 100.0, "{knee:?}");
    }

    #[test]
    fn a_slow_start_and_a_hiccup_do_not_move_it() {
        let points = [(1e3, 900.0), (2e3, 100.0), (4e3, 500.0), (8e3, 110.0), (16e3, 120.0), (32e3, 480.0)];
        let knee = knee(&points).unwrap();
        assert_eq!((knee.low_load_p99_ns, knee.p99_ns), (100.0, 200.0));
        // ln(200 / 120) / ln(480 / 120) of the way from 16k to 32k.
        assert!((knee.rate - 21_895.6).abs() < 1.0, "{knee:?}");
    }

    #[test]
    fn what_was_not_reached_has_none() {
        assert_eq!(knee(&[]), None);
        assert_eq!(knee(&[(1e3, 0.0)]), None);
        assert_eq!(knee(&[(1e3, 100.0), (2e3, 150.0)]), None);
    }
}
