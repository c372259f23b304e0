//! The result of a soak for terminals.
//!
//! Owns the layout. Refuses to print.

use super::{Growth, Soak, Trend};
use crate::report::text::{columns, number, percent, plain};

/// The result as text with a final line feed.
pub fn table(soak: &Soak) -> String {
    let samples = &soak.samples;
    let seconds = soak.judged_s;
    let judged = if seconds < 3600.0 { format!("{seconds:.0} s") } else { format!("{:.2} h", seconds / 3600.0) };
    let mut lines = vec![
        String::new(),
        format!("{}: soak of {}", plain(&soak.name), plain(&soak.url)),
        format!(
            "  {} judged, {} answers/s, failed {}; the load itself: {}",
            judged,
            number(soak.rate),
            percent(soak.failed_share),
            soak.run.name()
        ),
        format!("  {}: {} samples, {} missed", plain(&soak.metrics_url), samples.taken, samples.missed),
        String::new(),
    ];
    let header = ["", "verdict", "median", "slope/h", "99 % from", "to", "growth above"];
    let mut rows = vec![header.map(String::from).to_vec()];
    rows.extend(soak.trends.iter().map(row));
    lines.extend(columns(&rows));
    for balance in &soak.balance {
        lines.push(format!(
            "balance of {} over {} series: the largest is {:.3} times the mean",
            plain(&balance.counter),
            balance.grown.len(),
            balance.max_over_mean
        ));
    }
    lines.push(String::new());
    lines.push(soak.verdict.name().to_string());
    lines.extend(soak.reasons.iter().map(|reason| format!("  {}", plain(reason))));
    lines.join("\n") + "\n"
}

fn row(trend: &Trend) -> Vec<String> {
    let word = match trend.verdict {
        Growth::Leak => "LEAK",
        Growth::Growth => "GROWTH",
        Growth::Steady => "steady",
        Growth::Unknown => "unknown",
        Growth::Absent => "not exposed",
    };
    let shown = |value: Option<f64>| value.map_or_else(|| "-".into(), number);
    let slope = trend.per_hour;
    let figures =
        [trend.median, slope.map(|s| s.slope), slope.map(|s| s.low), slope.map(|s| s.high), trend.bound_per_hour];
    [plain(&trend.series), word.into()].into_iter().chain(figures.map(shown)).collect()
}
