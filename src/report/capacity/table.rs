//! The result of a search for terminals.
//!
//! Owns the layout and the words of the conclusion. Refuses to print.

use super::{Capacity, Limit, Measured};
use crate::report::text::{columns, duration, number, percent, plain};

/// The result as text with a final line feed.
pub fn table(capacity: &Capacity) -> String {
    let mut lines = vec![String::new(), format!("{}: capacity of {}", plain(&capacity.name), plain(&capacity.url))];
    let default = if capacity.slo_is_default { " (default; --threshold changes it)" } else { "" };
    lines.push(format!("  has to hold: {}{default}", plain(&capacity.slo.join(", "))));
    let Capacity { bounds, step_s, connections, .. } = capacity;
    lines.push(format!(
        "  {}/s to {}/s, precision {}, {step_s} s a step, {connections} connections",
        number(bounds.from),
        number(bounds.to),
        percent(bounds.precision)
    ));
    lines.push(String::new());
    let header = ["", "requests/s", "answers/s", "p50", "p99", "p99.9", "failed", "waited", "busy"];
    let mut rows = vec![header.map(String::from).to_vec()];
    rows.extend(capacity.steps.iter().map(row));
    lines.extend(columns(&rows));
    lines.push(String::new());
    lines.extend(words(capacity));
    lines.join("\n") + "\n"
}

fn row(step: &Measured) -> Vec<String> {
    let again = if step.again { " (again)" } else { "" };
    let mut row = vec![format!("{}{again}", step.outcome.name()), number(step.rate), number(step.achieved)];
    row.extend([step.p50_ns, step.p99_ns, step.p99_9_ns].map(|ns| duration(ns as f64)));
    row.extend([step.failed_share, step.waited_share, step.busy_share].map(percent));
    row
}

/// A step as a line, while the search goes on.
pub fn line(step: &Measured) -> String {
    let ns = |ns: u64| duration(ns as f64);
    let why = step.reasons.first().map_or_else(String::new, |reason| format!(": {}", plain(reason)));
    format!(
        "{}/s{}: {}, {} answers/s, p50 {} p99 {} p99.9 {}{why}",
        number(step.rate),
        if step.again { " again" } else { "" },
        step.outcome.name(),
        number(step.achieved),
        ns(step.p50_ns),
        ns(step.p99_ns),
        ns(step.p99_9_ns)
    )
}

/// What was found, in sentences.
pub(super) fn words(capacity: &Capacity) -> Vec<String> {
    let mut words = vec![conclusion(capacity)];
    let last = capacity.steps.iter().rev().find(|step| Some(step.rate) == capacity.conclusion.beyond);
    let there = if capacity.conclusion.best.is_some() { "above it" } else { "there" };
    if let Some(reason) = last.and_then(|step| step.reasons.first()) {
        words.push(format!("{there}: {}", plain(reason)));
    }
    if last.is_some_and(|step| step.waited_share > 0.0) {
        let n = capacity.connections;
        words.push(format!(
            "{there} requests waited for one of {n} connections: --connections, if the target's clients would have more"
        ));
    }
    words.push(match &capacity.knee {
        Some(knee) => format!(
            "knee: {}/s, where p99 is {}, twice its {} under low load",
            number(knee.rate),
            duration(knee.p99_ns),
            duration(knee.low_load_p99_ns)
        ),
        None if !capacity.steps.iter().any(Measured::is_valid) => "knee: no step was valid".into(),
        None => "knee: not reached, p99 stays below twice its value under low load".into(),
    });
    words.extend(law(capacity));
    words
}

fn conclusion(capacity: &Capacity) -> String {
    let rate = |rate: f64| format!("{} requests/s", number(rate));
    let found = &capacity.conclusion;
    let beyond = found.beyond.map_or_else(String::new, rate);
    match (found.limit, found.best) {
        (Limit::Target, Some(best)) => format!("CAPACITY {}: all conditions hold; at {beyond} they do not", rate(best)),
        (Limit::Target, None) => format!("FAIL: already at {beyond} not all conditions hold; --from begins lower"),
        (Limit::Generator, Some(best)) => format!(
            "CAPACITY at least {}: the generator was the limit, it could not offer {beyond}; more --workers, or more machines",
            rate(best)
        ),
        (Limit::Generator, None) => format!(
            "INVALID: the generator could not even offer {beyond}, so nothing is known of the target; --from begins lower"
        ),
        (Limit::Range, best) => {
            let best = best.map_or_else(String::new, rate);
            format!("CAPACITY at least {best}: all conditions hold at the highest rate allowed; --to goes on")
        }
        (Limit::Aborted, best) => {
            let why = capacity.aborted.as_deref().map_or("ended early", |why| why);
            let best = best.map_or_else(|| "no rate passed".into(), |best| format!("{} passed", rate(best)));
            format!("ABORTED: {}; until then {best}", plain(why))
        }
    }
}

fn law(capacity: &Capacity) -> Vec<String> {
    let Some(fit) = &capacity.usl else {
        return vec!["scalability law: too few valid steps to fit it".into()];
    };
    let law = &fit.law;
    let peak = match (fit.peak_concurrency, fit.peak_rate) {
        (Some(n), Some(rate)) => format!("highest at {} in the target: {}/s", number(n), number(rate)),
        (None, Some(rate)) => format!("towards {}/s", number(rate)),
        _ => "without a limit in sight".into(),
    };
    vec![
        format!(
            "scalability law: lambda {}/s, sigma {:.4}, kappa {:.3e}; {peak}",
            number(law.lambda),
            law.sigma,
            law.kappa
        ),
        format!(
            "  its error: {} leaving out each of {} steps, {} predicting the top {} from the others",
            percent(fit.leave_one_out_mape),
            fit.points,
            percent(fit.hold_out_mape),
            fit.hold_out_points
        ),
    ]
}
