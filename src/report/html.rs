//! The report for people: one HTML file that needs nothing else, not even scripts.
//!
//! Owns the page. Refuses external resources, and figures that the result document does not have.

mod figures;

use core::fmt::Write as _;

use super::distribution::Distribution;
use super::model::{Run, Summary};
use super::text::{self, bytes, count, duration, number, percent, xml};
use super::verdict::Finding;

const STYLE: &str = include_str!("html/style.css");

/// The page. It is well-formed XML below the doctype.
///
/// # Errors
/// When a histogram of the document cannot be decoded.
pub fn html(run: &Run) -> Result<String, String> {
    let title = xml(&run.name);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{} · {title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        run.verdict.outcome.name()
    );
    head(&mut page, run);
    page += "<main>\n";
    verdict(&mut page, run);
    key_figures(&mut page, run);
    page += "<h2>Plots</h2>\n<div class=\"plots\">\n";
    page += &figures::all(run)?;
    page += "</div>\n";
    durations(&mut page, run);
    thresholds(&mut page, run);
    requests(&mut page, run);
    parts(&mut page, "Stages", &run.stages, |part| &part.stage);
    parts(&mut page, "Classes", &run.classes, |part| &part.class);
    workers(&mut page, run);
    facts(&mut page, run);
    course(&mut page, run);
    let version = xml(run.stamps.first().map_or("", |stamp| &stamp.version));
    let _ = write!(page, "</main>\n<footer>Written by penstock load {version}.</footer>\n</body>\n</html>\n");
    Ok(page)
}

fn head(page: &mut String, run: &Run) {
    let (name, url, started) = (xml(&run.name), xml(&run.plan.url), xml(&run.started));
    let machines = if run.machines > 1 { format!(", {} machines", run.machines) } else { String::new() };
    let (elapsed, judged, connections) = (run.elapsed_s, run.judged_s, count(run.plan.connections));
    let _ = write!(
        page,
        "<header>\n<h1>{name}</h1>\n<p class=\"soft\">{url} · <time datetime=\"{started}\">{started}</time> · \
         {elapsed:.1} s, {judged:.1} s judged · {connections} connections{machines}</p>\n</header>\n"
    );
}

fn verdict(page: &mut String, run: &Run) {
    let name = run.verdict.outcome.name();
    let _ = write!(page, "<section class=\"verdict {name}\" aria-label=\"Verdict\">\n<strong>{name}</strong>\n<ul>\n");
    if run.verdict.reasons.is_empty() {
        let words = match run.thresholds.len() {
            0 => "The generator held its schedule. There is no threshold to fail.".to_string(),
            n => format!("The generator held its schedule, and {n} of {n} thresholds hold."),
        };
        let _ = writeln!(page, "<li>{words}</li>");
    }
    let mut items = |findings: &[Finding], mark: &str| {
        for finding in findings {
            let fix = finding.fix.as_ref().map(|fix| format!(" <span class=\"fix\">Fix: {}</span>", xml(fix)));
            let _ = writeln!(page, "<li>{mark}{}{}</li>", xml(&finding.what), fix.unwrap_or_default());
        }
    };
    items(&run.verdict.reasons, "");
    items(&run.verdict.notes, "Note: ");
    *page += "</ul>\n</section>\n";
}

fn key_figures(page: &mut String, run: &Run) {
    let total = &run.total;
    let ns = |ns: u64| duration(ns as f64);
    let due = run.plan.due(0.0, run.elapsed_s);
    let asked = match run.plan.is_open_loop() {
        true => format!("{} due in {:.1} s, open loop", number(due), run.elapsed_s),
        false => "closed loop".into(),
    };
    let service = |percentile: u64| format!("service {}", ns(percentile));
    let figures = [
        ("Answers per second", count(total.rate.round() as u64), asked),
        ("Latency p50", ns(total.latency.p50_ns), service(total.service.p50_ns)),
        ("Latency p99", ns(total.latency.p99_ns), service(total.service.p99_ns)),
        ("Latency p99.9", ns(total.latency.p99_9_ns), service(total.service.p99_9_ns)),
        ("Failed", percent(total.failed_share), format!("{} of {}", count(total.failed), count(total.requests))),
        ("Lag p99", ns(run.lag.p99_ns), format!("time error p99 {}", ns(run.timestamp_error.p99_ns))),
    ];
    *page += "<dl class=\"figures\">\n";
    for (name, value, more) in figures {
        let (value, more) = (xml(&value), xml(&more));
        let _ = writeln!(page, "<div><dt>{name}</dt><dd>{value} <small>{more}</small></dd></div>");
    }
    *page += "</dl>\n";
}

/// A table; the first cell of each row is its head. Wide ones scroll by themselves, by keyboard too.
fn table(page: &mut String, title: &str, class: &str, header: &[&str], rows: &[Vec<String>]) {
    let label = xml(title);
    let _ = writeln!(page, "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{label}\">");
    let _ = writeln!(page, "<table class=\"{class}\">");
    if !header.is_empty() {
        let cells: String = header.iter().map(|cell| format!("<th scope=\"col\">{}</th>", xml(cell))).collect();
        let _ = writeln!(page, "<thead><tr>{cells}</tr></thead>");
    }
    *page += "<tbody>\n";
    for row in rows {
        let mut cells = row.iter();
        let first = cells.next().map_or_else(String::new, |cell| format!("<th scope=\"row\">{}</th>", xml(cell)));
        let others: String = cells.map(|cell| format!("<td>{}</td>", xml(cell))).collect();
        let _ = writeln!(page, "<tr>{first}{others}</tr>");
    }
    *page += "</tbody></table></div>\n";
}

fn durations(page: &mut String, run: &Run) {
    let total = &run.total;
    let empty = Distribution::default();
    let named = [
        ("Latency", &total.latency),
        ("Service time", &total.service),
        ("Connect", total.connect.as_ref().unwrap_or(&empty)),
        ("Generator's lag", &run.lag),
        ("Time error", &run.timestamp_error),
    ];
    let rows = named.into_iter().filter(|(_, d)| d.count > 0).map(|(name, d)| {
        let percentiles = d.percentiles().map(|(_, ns)| ns as f64);
        let times = [d.min_ns as f64, d.mean_ns, d.stddev_ns].into_iter().chain(percentiles).chain([d.max_ns as f64]);
        std::iter::once(name.to_string()).chain([count(d.count)]).chain(times.map(duration)).collect()
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let header = ["", "count", "min", "mean", "std dev", "p50", "p90", "p95", "p99", "p99.9", "p99.99", "max"];
    *page += "<h2>Durations</h2>\n<p class=\"soft\">Latency counts from the intended start, service time from the sending. Lag \
              is how much later requests left than they could have; the time error is the length of a turn.</p>\n";
    table(page, "Durations", "", &header, &rows);
}

fn thresholds(page: &mut String, run: &Run) {
    if run.thresholds.is_empty() {
        return;
    }
    *page += "<h2>Thresholds</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Thresholds\">\n";
    *page += "<table>\n<thead><tr><th scope=\"col\">threshold</th><th scope=\"col\">measured</th>";
    *page += "<th scope=\"col\">holds</th></tr></thead>\n<tbody>\n";
    for judged in &run.thresholds {
        let (class, word) = if judged.holds { ("holds", "✓ yes") } else { ("broken", "✗ no") };
        let (text, shown) = (xml(&judged.text), xml(&judged.shown));
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\"><code>{text}</code></th><td>{shown}</td><td class=\"{class}\">{word}</td></tr>"
        );
    }
    *page += "</tbody></table></div>\n";
}

fn requests(page: &mut String, run: &Run) {
    let total = &run.total;
    let part = |n: u64| percent(super::model::share(n, total.requests));
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (name, n) in total.counts.outcomes.list().into_iter().filter(|(name, n)| *n > 0 || *name == "ok") {
        rows.push(vec![name.replace('_', " "), count(n), part(n)]);
    }
    for (class, n) in total.counts.statuses.iter().enumerate().filter(|(_, n)| **n > 0) {
        rows.push(vec![format!("status {}xx", class + 1), count(*n), part(*n)]);
    }
    rows.push(vec!["waited for a connection".into(), count(total.counts.waited), part(total.counts.waited)]);
    let seconds = total.seconds.max(f64::MIN_POSITIVE);
    for (name, n) in [("bytes received", total.counts.bytes_in), ("bytes sent", total.counts.bytes_out)] {
        rows.push(vec![name.into(), bytes(n as f64), format!("{}/s", bytes(n as f64 / seconds))]);
    }
    for (name, n) in [
        ("connections made, warm-up too", total.connect.as_ref().map_or(0, |connect| connect.count)),
        ("connections that failed", total.counts.connect_failed),
        ("idle connections closed by the target", total.counts.closed_idle),
    ] {
        rows.push(vec![name.into(), count(n), String::new()]);
    }
    *page += "<h2>Requests</h2>\n";
    table(page, "Requests", "", &["", "number", "share or rate"], &rows);
}

fn parts(page: &mut String, title: &str, parts: &[Summary], name: fn(&Summary) -> &Option<String>) {
    if parts.len() < 2 {
        return;
    }
    let rows = parts.iter().map(|part| {
        let name = name(part).as_deref().unwrap_or_default();
        let warmup = if part.warmup { " (warm-up, not judged)" } else { "" };
        let d = &part.latency;
        let mut row = vec![format!("{name}{warmup}"), count(part.requests), number(part.rate)];
        row.push(percent(part.failed_share));
        let times = [d.p50_ns, d.p90_ns, d.p99_ns, d.p99_9_ns, d.max_ns, part.service.p50_ns, part.service.p99_ns];
        row.extend(times.map(|ns| duration(ns as f64)));
        row
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let header =
        ["", "requests", "answers/s", "failed", "p50", "p90", "p99", "p99.9", "max", "service p50", "service p99"];
    let _ = writeln!(page, "<h2>{title}</h2>");
    table(page, title, "", &header, &rows);
}

fn workers(page: &mut String, run: &Run) {
    let rows = run.workers.iter().map(|worker| {
        let host = run.stamps.get(worker.machine as usize).map_or("", |stamp| &stamp.host);
        let mut row = vec![format!("{host} lcore {}", worker.lcore)];
        row.extend([percent(worker.busy_share), percent(worker.busy_share_max)]);
        let times = [worker.turn.p50_ns, worker.turn.p99_ns, worker.turn.max_ns, worker.lag.p99_ns, worker.lag.max_ns];
        row.extend(times.map(|ns| duration(ns as f64)));
        row.extend([worker.tx_refused, worker.rx_missed, worker.rx_dropped, worker.mempool_exhausted].map(count));
        row
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let header = [
        "",
        "busy",
        "busiest",
        "turn p50",
        "turn p99",
        "turn max",
        "lag p99",
        "lag max",
        "tx refused",
        "rx missed",
        "rx dropped",
        "no mbuf",
    ];
    *page += "<h2>Generator</h2>\n";
    table(page, "Generator", "", &header, &rows);
}

fn facts(page: &mut String, run: &Run) {
    let plan = &run.plan;
    let stages = plan.stages.iter().map(|stage| {
        let rate = match (plan.is_open_loop(), stage.from == stage.to) {
            (false, _) => "closed loop".into(),
            (_, true) => format!("{}/s", number(stage.from)),
            _ => format!("{}/s to {}/s", number(stage.from), number(stage.to)),
        };
        let warmup = if stage.warmup { ", warm-up" } else { "" };
        format!("{}: {} s, {rate}{warmup}", stage.name, stage.seconds)
    });
    let classes = plan.classes.iter().map(|class| {
        format!("{}: {}, weight {}, {}", class.name, class.request, class.weight, bytes(class.bytes as f64))
    });
    let arrivals = format!("{:?}", plan.arrivals).to_lowercase();
    let mut rows = vec![
        vec!["target".into(), format!("{} ({})", plan.url, plan.address)],
        vec!["arrivals".into(), format!("{arrivals}, seed {}", plan.seed)],
        vec!["stages".into(), stages.collect::<Vec<_>>().join("; ")],
        vec!["classes".into(), classes.collect::<Vec<_>>().join("; ")],
        vec!["connections".into(), format!("{}, pipeline depth {}", count(plan.connections), plan.pipeline)],
        vec!["timeouts".into(), format!("request {} s, connect {} s", plan.timeout_s, plan.connect_timeout_s)],
        vec!["plan SHA-256".into(), plan.hash.clone()],
    ];
    for stamp in &run.stamps {
        let build = format!("penstock {}, commit {}, build {}", stamp.version, stamp.git_sha, stamp.build_id);
        let host = format!("{}, {} cores, kernel {}", stamp.cpu, stamp.cores, stamp.kernel);
        rows.push(vec![stamp.host.clone(), format!("{build}; {host}")]);
        rows.push(vec!["port".into(), format!("{}; DPDK {}; EAL {}", stamp.device, stamp.dpdk, stamp.eal)]);
    }
    *page += "<h2>Plan and machines</h2>\n";
    table(page, "Plan and machines", "text", &[], &rows);
}

fn course(page: &mut String, run: &Run) {
    let rows = run.intervals.iter().map(|p| {
        let intended = p.intended_rate.map_or_else(|| "-".into(), number);
        let mut row = vec![format!("{:.1} s", p.end_s), p.stage.clone(), intended, number(p.sent_rate), number(p.rate)];
        row.push(count(p.failed));
        let times = [p.latency.p50_ns, p.latency.p99_ns, p.latency.max_ns, p.service.p99_ns, p.lag.p99_ns];
        row.extend(times.map(|ns| text::duration(ns as f64)));
        row.push(count(p.open));
        row
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let header = [
        "to",
        "stage",
        "intended/s",
        "sent/s",
        "answers/s",
        "failed",
        "p50",
        "p99",
        "max",
        "service p99",
        "lag p99",
        "open",
    ];
    let _ = writeln!(page, "<details>\n<summary>All {} intervals</summary>", rows.len());
    table(page, "Intervals", "", &header, &rows);
    *page += "</details>\n";
}
