//! The search for the highest rate that meets the conditions.
//!
//! Owns which rate is measured next and when to stop, as a function of what was found so far. Refuses to measure.
//!
//! The rate doubles until a step does not pass, then the bracket is halved, geometrically because precision is relative. A
//! step that does not pass is measured once more and the second time counts: a single hiccup of a machine must not hide half
//! of the range. What the generator cannot offer bounds the search like what the target cannot bear, and is told apart.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::verdict::Outcome;

/// From one step to the next while every step passes.
const GROWTH: f64 = 2.0;

/// Where to search. `0 < from <= to`, `precision > 0`.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// The lowest rate, requests per second; measured first.
    pub from: f64,
    /// The highest.
    pub to: f64,
    /// The search ends when the lowest rate that does not pass exceeds the highest that does by this share at most.
    pub precision: f64,
}

/// What comes next.
#[derive(Copy, Clone, PartialEq, Debug)]
pub enum Step {
    /// Measure this rate.
    Measure {
        /// Requests per second.
        rate: f64,
        /// It was measured before and did not pass.
        again: bool,
    },
    /// Nothing is left to measure.
    Done(Conclusion),
}

/// What keeps the rate from being higher.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// At a higher rate the target does not meet the conditions.
    Target,
    /// A higher rate could not be offered: nothing is known of the target there.
    Generator,
    /// The highest rate allowed passed.
    Range,
    /// The search was ended early.
    Aborted,
}

/// What was found.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conclusion {
    /// What keeps the rate from being higher.
    pub limit: Limit,
    /// The highest rate that passed.
    pub best: Option<f64>,
    /// The lowest rate that did not.
    pub beyond: Option<f64>,
}

impl Conclusion {
    /// The process's exit code, as of a run: 0, 99, 10, 105.
    pub fn exit_code(&self) -> u8 {
        match (self.limit, self.best) {
            (Limit::Aborted, _) => Outcome::Aborted,
            (_, Some(_)) | (Limit::Range, None) => Outcome::Pass,
            (Limit::Target, None) => Outcome::Fail,
            (Limit::Generator, None) => Outcome::Invalid,
        }
        .exit_code()
    }
}

/// The state of a search.
#[derive(Clone, PartialEq, Debug)]
pub struct Search {
    bounds: Bounds,
    /// The highest rate that passed.
    low: Option<f64>,
    /// The lowest rate that did not, and whose fault it was.
    high: Option<(f64, Limit)>,
    /// The current rate did not pass once.
    again: bool,
    aborted: bool,
}

impl Search {
    /// A search that has measured nothing.
    pub fn new(bounds: Bounds) -> Search {
        Search { bounds, low: None, high: None, again: false, aborted: false }
    }

    /// What to do next; the same until [`Search::report`].
    pub fn next(&self) -> Step {
        let done = |limit| Step::Done(Conclusion { limit, best: self.low, beyond: self.high.map(|(rate, _)| rate) });
        if self.aborted {
            return done(Limit::Aborted);
        }
        let rate = match (self.low, self.high) {
            (None, None) => self.bounds.from,
            (Some(low), None) if low >= self.bounds.to => return done(Limit::Range),
            (Some(low), None) => (low * GROWTH).min(self.bounds.to),
            (None, Some((_, limit))) => return done(limit),
            (Some(low), Some((high, limit))) if high <= low * (1.0 + self.bounds.precision) => return done(limit),
            (Some(low), Some((high, _))) => between(low, high),
        };
        Step::Measure { rate, again: self.again }
    }

    /// Takes what was found at the rate of [`Search::next`].
    pub fn report(&mut self, outcome: Outcome) {
        let Step::Measure { rate, again } = self.next() else { return };
        self.again = false;
        match outcome {
            Outcome::Pass => self.low = Some(rate),
            Outcome::Aborted => self.aborted = true,
            Outcome::Fail | Outcome::Invalid if !again => self.again = true,
            Outcome::Fail => self.high = Some((rate, Limit::Target)),
            Outcome::Invalid => self.high = Some((rate, Limit::Generator)),
        }
    }
}

/// The geometric mean, with four digits where that is still between.
fn between(low: f64, high: f64) -> f64 {
    let middle = (low * high).sqrt();
    let unit = 10f64.powf(middle.log10().floor() - 3.0);
    let short = (middle / unit).round() * unit;
    if low < short && short < high { short } else { middle }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::stats::Random;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { from: 1e3, to: 1e7, precision: 0.02 };

    /// Runs a search to its end: rates with outcomes, and the conclusion.
    fn search(bounds: Bounds, mut server: impl FnMut(f64) -> Outcome) -> (Vec<(f64, Outcome)>, Conclusion) {
        let (mut search, mut seen) = (Search::new(bounds), Vec::new());
        loop {
            assert!(seen.len() < 200, "the search does not end: {seen:?}");
            match search.next() {
                Step::Done(conclusion) => return (seen, conclusion),
                Step::Measure { rate, .. } => {
                    assert!((bounds.from..=bounds.to).contains(&rate), "{rate} is out of {bounds:?}");
                    let outcome = server(rate);
                    search.report(outcome);
                    seen.push((rate, outcome));
                }
            }
        }
    }

    fn limit_at(capacity: f64) -> impl Fn(f64) -> Outcome {
        move |rate| if rate <= capacity { Outcome::Pass } else { Outcome::Fail }
    }

    /// An M/M/1 queue with this service rate: the 99th percentile of the time in it is ln(100) / (service - arrivals).
    fn queue(service: f64, p99_max: f64) -> impl Fn(f64) -> Outcome {
        let p99 = move |rate: f64| if rate < service { 100f64.ln() / (service - rate) } else { f64::INFINITY };
        move |rate| if p99(rate) < p99_max { Outcome::Pass } else { Outcome::Fail }
    }

    #[test]
    fn nothing_passes_everything_passes_or_nothing_can_be_measured() {
        let (seen, end) = search(BOUNDS, |_| Outcome::Fail);
        assert_eq!(seen, [(1e3, Outcome::Fail); 2]);
        assert_eq!((end.limit, end.best, end.beyond, end.exit_code()), (Limit::Target, None, Some(1e3), 99));
        let (_, end) = search(BOUNDS, |_| Outcome::Pass);
        assert_eq!((end.limit, end.best, end.beyond, end.exit_code()), (Limit::Range, Some(1e7), None, 0));
        let (seen, end) = search(BOUNDS, |_| Outcome::Invalid);
        assert_eq!(seen.len(), 2);
        assert_eq!((end.limit, end.best, end.exit_code()), (Limit::Generator, None, 10));
        let one = Bounds { to: 1e3, ..BOUNDS };
        assert_eq!(search(one, |_| Outcome::Pass).1.best, Some(1e3));
    }

    #[test]
    fn an_abort_ends_it_with_what_is_known() {
        let (_, end) = search(BOUNDS, |rate| if rate < 5e3 { Outcome::Pass } else { Outcome::Aborted });
        assert_eq!((end.limit, end.best, end.exit_code()), (Limit::Aborted, Some(4e3), 105));
    }

    #[test]
    fn a_single_hiccup_changes_nothing() {
        for hiccup in [Outcome::Fail, Outcome::Invalid] {
            let mut first = true;
            let (_, end) = search(BOUNDS, |rate| {
                if rate == 4e3 && core::mem::take(&mut first) { hiccup } else { limit_at(123_456.0)(rate) }
            });
            let best = end.best.unwrap();
            assert!(best <= 123_456.0 && best * 1.02 >= 123_456.0, "{best}");
        }
    }

    proptest! {
        #[test]
        fn the_limit_is_found_within_the_precision(
            log in 3.0..7.0f64, precision in 0.005..0.5f64, slo in 1e-3..1.0f64,
        ) {
            let capacity = 10f64.powf(log);
            let bounds = Bounds { precision, ..BOUNDS };
            let (_, end) = search(bounds, limit_at(capacity));
            let best = end.best.unwrap();
            prop_assert!(best <= capacity && best * (1.0 + precision) >= capacity * 0.999_999, "{best} {capacity}");
            // An M/M/1 queue meets the condition up to service - ln(100) / slo.
            let service = capacity + 100f64.ln() / slo;
            let (_, end) = search(bounds, queue(service, slo));
            let best = end.best.unwrap();
            prop_assert!(best <= capacity * 1.000_001 && best * (1.0 + precision) >= capacity * 0.999_999);
        }

        #[test]
        fn a_generator_that_is_the_limit_is_said_to_be(capacity in 1e4..1e6f64, reach in 1e4..1e6f64) {
            prop_assume!((capacity / reach).ln().abs() > 0.03);
            let server = |rate: f64| if rate > reach { Outcome::Invalid } else { limit_at(capacity)(rate) };
            let (_, end) = search(BOUNDS, server);
            prop_assert_eq!(end.limit, if capacity < reach { Limit::Target } else { Limit::Generator });
            let (best, least) = (end.best.unwrap(), capacity.min(reach));
            prop_assert!(best <= least && best * 1.020_001 >= least);
        }

        #[test]
        fn noise_shifts_the_result_no_further_than_it_reaches(
            capacity in 1e4..1e6f64, noise in 0.0..0.2f64, seed: u64,
        ) {
            // The target's limit is anywhere within the noise each time it is asked.
            let mut random = Random::new(seed);
            let (seen, end) = search(BOUNDS, |rate| {
                let at = random.below(1 << 20) as f64 / f64::from(1 << 20);
                limit_at(capacity * (1.0 + noise * (2.0 * at - 1.0)))(rate)
            });
            let best = end.best.unwrap();
            prop_assert!(best <= capacity * (1.0 + noise));
            prop_assert!(best * 1.020_001 >= capacity * (1.0 - noise), "{} {} {:?}", best, capacity, seen);
            prop_assert!(seen.contains(&(best, Outcome::Pass)));
        }

        #[test]
        fn any_outcomes_end_it_and_the_bracket_holds(outcomes in proptest::collection::vec(0..3u8, 200)) {
            let mut outcomes = outcomes.into_iter();
            let (seen, end) = search(BOUNDS, |_| match outcomes.next() {
                Some(0) | None => Outcome::Pass,
                Some(1) => Outcome::Fail,
                Some(_) => Outcome::Invalid,
            });
            // 14 doublings at most, 6 halvings of a factor of 2 to 2 %, each twice.
            prop_assert!(seen.len() <= 42, "{}", seen.len());
            if let (Some(best), Some(beyond)) = (end.best, end.beyond) {
                prop_assert!(best < beyond && beyond <= best * 1.020_001);
            }
        }
    }
}
