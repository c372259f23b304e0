//! Whether one run is worse than another.
//!
//! Owns what is compared, the test, and when a comparison is void. Refuses to take a difference for real that the runs' own
//! fluctuation explains. docs/load-results.md has the reasoning.

use core::fmt::Write as _;

use super::model::{Run, answered, failed};
use super::stats::{Course, Figures, Piece, Random, spread, student};
use super::text;
use super::verdict::Outcome;

/// Percentiles of latency that are compared.
const PERCENTILES: [f64; 3] = [50.0, 99.0, 99.9];
/// Figures that are compared; the risk of a false alarm is shared between them (Bonferroni).
const FIGURES: usize = PERCENTILES.len() + 2;
/// The normal quantile of 1 - 0.05 / FIGURES: 5 % of false alarms over all figures.
const Z: f64 = 2.326_347_9;
/// Courses drawn.
const DRAWS: usize = 399;
/// Pieces below which a run says nothing about its own fluctuation.
const PIECES_MIN: usize = 10;
/// What a histogram's resolution adds to every relative uncertainty.
const RESOLUTION: f64 = 0.000_5;
/// The smallest difference of the share of failed requests that counts.
const FAILED_MIN: f64 = 0.000_1;

/// How to compare.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Options {
    /// A relative change up to this size does not matter.
    pub tolerance: f64,
    /// Chooses the draws.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { tolerance: 0.05, seed: 1 }
    }
}

/// What became of a figure.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Worse by more than the tolerance, and not by chance.
    Worse,
    /// Better by more than the tolerance, and not by chance.
    Better,
    /// Certainly not beyond the tolerance either way.
    Same,
    /// The runs fluctuate too much, or are too short, to tell.
    Unsure,
}

/// A figure of both runs.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// In the first run: nanoseconds, per second, or a share.
    pub a: f64,
    /// In the second.
    pub b: f64,
    /// The change: relative, of the share of failed requests absolute.
    pub change: f64,
    /// Its confidence interval.
    pub interval: (f64, f64),
    /// What became of it.
    pub verdict: Change,
}

/// A comparison.
#[derive(Clone, PartialEq, Debug)]
pub struct Comparison {
    /// Names of the runs.
    pub names: (String, String),
    /// What the comparison has to be read with.
    pub warnings: Vec<String>,
    /// A run is not valid, so nothing follows.
    pub void: bool,
    /// The figures.
    pub rows: Vec<Row>,
    /// As asked.
    pub tolerance: f64,
}

/// Whether `b` is worse than `a`. Deterministic for a seed.
///
/// # Errors
/// When a histogram cannot be decoded.
pub fn compare(a: &Run, b: &Run, options: Options) -> Result<Comparison, String> {
    let courses = (course(a)?, course(b)?);
    let void = [a, b].iter().any(|run| run.verdict.outcome == Outcome::Invalid)
        || courses.0.is_empty()
        || courses.1.is_empty();
    let mut warnings = warnings(a, b);
    let shortest = courses.0.len().min(courses.1.len());
    if shortest < PIECES_MIN {
        warnings.push(format!("a run has {shortest} intervals; at least {PIECES_MIN} tell chance from change"));
    }
    let rows = if void { Vec::new() } else { rows(&courses.0, &courses.1, options) };
    Ok(Comparison { names: (a.name.clone(), b.name.clone()), warnings, void, rows, tolerance: options.tolerance })
}

fn course(run: &Run) -> Result<Course, String> {
    let judged = run.intervals.iter().filter(|point| point.judged && point.end_s > point.start_s);
    // The last interval is often a fragment, and what ends while the run waits for last answers is no throughput.
    let within = judged.filter(|point| point.end_s <= run.elapsed_s + 0.25 && point.end_s - point.start_s > 0.5);
    let pieces = within.map(|point| {
        let counts = point.counts.counts();
        Ok(Piece {
            seconds: point.end_s - point.start_s,
            answered: answered(&counts),
            ended: counts.ended(),
            failed: failed(&counts),
            latency: point.latency.decode()?,
        })
    });
    Ok(Course::new(&pieces.collect::<Result<Vec<_>, String>>()?))
}

/// The figures of two courses, which must not be empty.
pub fn rows(a: &Course, b: &Course, options: Options) -> Vec<Row> {
    let mut random = Random::new(options.seed);
    let (own_a, own_b) = (a.figures(PERCENTILES), b.figures(PERCENTILES));
    let draws: Vec<(Figures, Figures)> =
        (0..DRAWS).map(|_| (a.resampled(PERCENTILES, &mut random), b.resampled(PERCENTILES, &mut random))).collect();
    let few = a.len().min(b.len()) < PIECES_MIN;
    let t = student(Z, a.blocks().min(b.blocks()) - 1.0);
    let mut rows = Vec::new();
    for (n, percentile) in PERCENTILES.into_iter().enumerate() {
        let value = move |figures: &Figures| figures.latency[n];
        rows.push(relative(format!("latency p{percentile}"), (&own_a, &own_b), &draws, value, true, (t, few, options)));
    }
    let rate = |figures: &Figures| figures.rate;
    rows.push(relative("answers/s".into(), (&own_a, &own_b), &draws, rate, false, (t, few, options)));
    rows.push(share_failed((&own_a, &own_b), &draws, t, few, options));
    debug_assert_eq!(rows.len(), FIGURES);
    rows
}

/// A positive figure, on a logarithmic scale, so that halving and doubling are the same size.
fn relative(
    name: String,
    (a, b): (&Figures, &Figures),
    draws: &[(Figures, Figures)],
    value: impl Fn(&Figures) -> f64,
    more_is_worse: bool,
    (t, few, options): (f64, bool, Options),
) -> Row {
    let log_ratio = |a: &Figures, b: &Figures| (value(b).max(1.0) / value(a).max(1.0)).ln();
    let ratios: Vec<f64> = draws.iter().map(|(a, b)| log_ratio(a, b)).collect();
    let (centre, error) = (log_ratio(a, b), spread(&ratios).1.hypot(RESOLUTION));
    let (low, high) = (centre - t * error, centre + t * error);
    let tolerance = options.tolerance.ln_1p();
    let sign = if more_is_worse { 1.0 } else { -1.0 };
    let verdict = decide(sign * centre, (sign * low).min(sign * high), (sign * low).max(sign * high), tolerance, few);
    Row { name, a: value(a), b: value(b), change: centre.exp_m1(), interval: (low.exp_m1(), high.exp_m1()), verdict }
}

/// The share of failed requests, as a difference: it is often 0, of which nothing is a multiple.
fn share_failed(
    (a, b): (&Figures, &Figures),
    draws: &[(Figures, Figures)],
    t: f64,
    few: bool,
    options: Options,
) -> Row {
    let differences: Vec<f64> = draws.iter().map(|(a, b)| b.failed - a.failed).collect();
    let (centre, error) = (b.failed - a.failed, spread(&differences).1);
    let (low, high) = (centre - t * error, centre + t * error);
    let tolerance = (options.tolerance * a.failed).max(FAILED_MIN);
    let verdict = decide(centre, low, high, tolerance, few);
    Row { name: "failed".into(), a: a.failed, b: b.failed, change: centre, interval: (low, high), verdict }
}

/// More is worse here.
fn decide(centre: f64, low: f64, high: f64, tolerance: f64, few: bool) -> Change {
    match () {
        () if few => Change::Unsure,
        () if low > 0.0 && centre > tolerance => Change::Worse,
        () if high < 0.0 && centre < -tolerance => Change::Better,
        () if low >= -tolerance && high <= tolerance => Change::Same,
        () => Change::Unsure,
    }
}

/// Differences that may be the reason for whatever is found.
fn warnings(a: &Run, b: &Run) -> Vec<String> {
    let mut warnings = Vec::new();
    for run in [a, b] {
        if !matches!(run.verdict.outcome, Outcome::Pass | Outcome::Fail) {
            warnings.push(format!("{} is {}", run.name, run.verdict.outcome.name()));
        }
    }
    if a.plan.hash != b.plan.hash {
        let short = |run: &Run| run.plan.hash.chars().take(12).collect::<String>();
        warnings.push(format!("the plans differ ({} and {}): different questions were asked", short(a), short(b)));
    }
    if a.machines != b.machines {
        warnings.push(format!("{} and {} machines generated the load", a.machines, b.machines));
    }
    let (Some(first), Some(second)) = (a.stamps.first(), b.stamps.first()) else { return warnings };
    let cores = (first.cores.to_string(), second.cores.to_string());
    let facts = [
        ("host", &first.host, &second.host),
        ("processor", &first.cpu, &second.cpu),
        ("number of cores", &cores.0, &cores.1),
        ("kernel", &first.kernel, &second.kernel),
        ("DPDK", &first.dpdk, &second.dpdk),
        ("device", &first.device, &second.device),
        ("EAL line", &first.eal, &second.eal),
        ("generator's commit", &first.git_sha, &second.git_sha),
        ("generator's build", &first.build_id, &second.build_id),
    ];
    for (what, one, other) in facts {
        if one != other {
            warnings.push(format!("the {what} differs: {one:?} and {other:?}"));
        }
    }
    warnings
}

impl Comparison {
    /// Whether any figure is worse.
    pub fn is_worse(&self) -> bool {
        self.rows.iter().any(|row| row.verdict == Change::Worse)
    }

    /// 10: nothing follows; 99: worse; 0: not worse, or not surely.
    pub fn exit_code(&self) -> u8 {
        match (self.void, self.is_worse()) {
            (true, _) => Outcome::Invalid.exit_code(),
            (_, true) => Outcome::Fail.exit_code(),
            _ => 0,
        }
    }

    /// For terminals, with a final line feed.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let (a, b) = (text::plain(&self.names.0), text::plain(&self.names.1));
        let _ = writeln!(text, "A: {a}\nB: {b}");
        for warning in &self.warnings {
            let _ = writeln!(text, "warning: {}", text::plain(warning));
        }
        if self.void {
            return text + "VOID: a run is INVALID or has no judged interval; nothing follows from it\n";
        }
        let mut rows = vec![["", "A", "B", "change", "98 % confidence", ""].map(str::to_string).to_vec()];
        for row in &self.rows {
            let show = |value: f64| match row.name.as_str() {
                "failed" => text::percent(value),
                "answers/s" => text::number(value),
                _ => text::duration(value),
            };
            let unit = if row.name == "failed" { "pp" } else { "%" };
            let signed = |value: f64| format!("{:+.2} {unit}", value * 100.0);
            let (low, high) = row.interval;
            let verdict = match row.verdict {
                Change::Worse => "WORSE",
                Change::Better => "better",
                Change::Same => "same",
                Change::Unsure => "unsure",
            };
            let interval = format!("{} to {}", signed(low), signed(high));
            rows.push(vec![row.name.clone(), show(row.a), show(row.b), signed(row.change), interval, verdict.into()]);
        }
        text += &(text::columns(&rows).join("\n") + "\n");
        let tolerance = text::percent(self.tolerance);
        let words = if self.is_worse() { "B is WORSE than A" } else { "B is not shown to be worse than A" };
        let _ = writeln!(text, "{words} (tolerance {tolerance}; 5 % false alarms over all figures together)");
        text
    }
}
