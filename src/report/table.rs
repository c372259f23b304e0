//! The final table, for terminals.
//!
//! Owns the layout. Refuses to print, and to color unless asked to.

use super::distribution::Distribution;
use super::model::{Run, Summary};
use super::text::{columns, count, duration, number, percent, plain};
use super::verdict::Outcome;

/// The result as text with a final line feed. Colors are escape sequences that terminals understand.
pub fn table(run: &Run, color: bool) -> String {
    let mut lines = vec![String::new(), paint(color, "1", &headline(run))];
    lines.push(format!("  {}", plain(&run.plan.url)));
    lines.extend(stamps(run));
    lines.push(String::new());
    lines.extend(latency(run));
    lines.push(String::new());
    lines.extend(columns(&totals(run)));
    lines.extend(parts("stage", &run.stages, |part| &part.stage));
    lines.extend(parts("class", &run.classes, |part| &part.class));
    lines.push(String::new());
    lines.extend(columns(&workers(run)));
    if !run.thresholds.is_empty() {
        lines.push(String::new());
    }
    for judged in &run.thresholds {
        let (mark, code) = if judged.holds { ("ok  ", "32") } else { ("FAIL", "31") };
        lines.push(format!("{} {}: {}", paint(color, code, mark), plain(&judged.text), judged.shown));
    }
    lines.push(String::new());
    lines.extend(verdict(run, color));
    lines.join("\n") + "\n"
}

fn paint(color: bool, code: &str, text: &str) -> String {
    if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
}

fn headline(run: &Run) -> String {
    let machines = if run.machines > 1 { format!(", {} machines", run.machines) } else { String::new() };
    let (name, elapsed) = (plain(&run.name), run.elapsed_s);
    format!("{name}: {elapsed:.1} s from {}, {:.1} s judged{machines}", run.started, run.judged_s)
}

fn stamps(run: &Run) -> impl Iterator<Item = String> {
    run.stamps.iter().map(|stamp| {
        let (version, sha, cores) = (&stamp.version, &stamp.git_sha, stamp.cores);
        let text =
            format!("  {}: penstock {version} ({sha}), {}, {cores} cores, {}", stamp.host, stamp.cpu, stamp.kernel);
        plain(&format!("{text}, DPDK {}, {}", stamp.dpdk, stamp.device))
    })
}

fn latency(run: &Run) -> Vec<String> {
    let total = &run.total;
    let connect = total.connect.as_ref().filter(|connect| connect.count > 0);
    let mut named: Vec<(&str, &Distribution)> = vec![("latency", &total.latency), ("service", &total.service)];
    named.extend(connect.map(|connect| ("connect", connect)));
    named.extend([("lag", &run.lag), ("time error", &run.timestamp_error)]);
    let header = ["", "min", "mean", "p50", "p90", "p95", "p99", "p99.9", "p99.99", "max"];
    let mut rows = vec![header.map(str::to_string).to_vec()];
    for (name, d) in named {
        let percentiles = d.percentiles().map(|(_, ns)| ns as f64);
        let values = [d.min_ns as f64, d.mean_ns].into_iter().chain(percentiles).chain([d.max_ns as f64]);
        let shown = values.map(|ns| if d.count == 0 { "-".to_string() } else { duration(ns) });
        rows.push(std::iter::once(name.to_string()).chain(shown).collect());
    }
    columns(&rows)
}

fn totals(run: &Run) -> Vec<Vec<String>> {
    let total = &run.total;
    let mut rows = vec![
        vec!["requests".into(), count(total.requests), format!("{}/s", count(total.rate.round() as u64))],
        vec!["failed".into(), count(total.failed), percent(total.failed_share)],
    ];
    for (name, requests) in total.counts.outcomes.list().into_iter().skip(1).filter(|(_, requests)| *requests > 0) {
        rows.push(vec![format!("  {name}"), count(requests)]);
    }
    for (class, answers) in total.counts.statuses.iter().enumerate().filter(|(_, answers)| **answers > 0) {
        rows.push(vec![format!("status {}xx", class + 1), count(*answers)]);
    }
    let seconds = total.seconds.max(f64::MIN_POSITIVE);
    for (name, bytes) in [("received", total.counts.bytes_in), ("sent", total.counts.bytes_out)] {
        let (whole, rate) = (super::text::bytes(bytes as f64), super::text::bytes(bytes as f64 / seconds));
        rows.push(vec![name.into(), whole, format!("{rate}/s")]);
    }
    rows
}

fn parts(kind: &str, parts: &[Summary], name: fn(&Summary) -> &Option<String>) -> Vec<String> {
    if parts.len() < 2 {
        return Vec::new();
    }
    let header = [kind, "requests", "answers/s", "failed", "p50", "p99", "p99.9", "max", "service p99"];
    let mut rows = vec![header.map(str::to_string).to_vec()];
    for part in parts {
        let warmup = if part.warmup { " (warm-up)" } else { "" };
        let d = &part.latency;
        let times = [d.p50_ns, d.p99_ns, d.p99_9_ns, d.max_ns, part.service.p99_ns];
        let mut row = vec![format!("{}{warmup}", plain(name(part).as_deref().unwrap_or_default()))];
        row.extend([count(part.requests), number(part.rate), percent(part.failed_share)]);
        row.extend(times.map(|ns| duration(ns as f64)));
        rows.push(row);
    }
    std::iter::once(String::new()).chain(columns(&rows)).collect()
}

fn workers(run: &Run) -> Vec<Vec<String>> {
    let header = ["lcore", "busy", "busiest", "turn p99", "turn max", "lag p99", "tx refused", "rx missed", "no mbuf"];
    let mut rows = vec![header.map(str::to_string).to_vec()];
    for worker in &run.workers {
        let lcore = match run.stamps.get(worker.machine as usize) {
            Some(stamp) if run.machines > 1 => format!("{}: {}", plain(&stamp.host), worker.lcore),
            _ => worker.lcore.to_string(),
        };
        let mut row = vec![lcore, percent(worker.busy_share), percent(worker.busy_share_max)];
        row.extend([worker.turn.p99_ns, worker.turn.max_ns, worker.lag.p99_ns].map(|ns| duration(ns as f64)));
        row.extend([worker.tx_refused, worker.rx_missed, worker.mempool_exhausted].map(count));
        rows.push(row);
    }
    rows
}

fn verdict(run: &Run, color: bool) -> Vec<String> {
    let verdict = &run.verdict;
    let code = match verdict.outcome {
        Outcome::Pass => "1;32",
        Outcome::Fail => "1;31",
        Outcome::Invalid | Outcome::Aborted => "1;33",
    };
    let mut lines = vec![paint(color, code, verdict.outcome.name())];
    for (mark, findings) in [("-", &verdict.reasons), ("note:", &verdict.notes)] {
        for finding in findings {
            lines.push(format!("  {mark} {}", plain(&finding.what)));
            lines.extend(finding.fix.iter().map(|fix| format!("    fix: {}", plain(fix))));
        }
    }
    lines
}
