//! `penstock top`: what a gateway does now, second by second.
//!
//! Owns rates, which are differences of two states, and how they look: a screen that is redrawn on a terminal, a line each
//! time elsewhere. Refuses to keep history.

use super::status::{Status, percent, quantile_text, uptime_text};
use crate::failure::{Exit, Failure};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Reasons and routes shown at a time, the busiest first.
const ROWS_MAX: usize = 8;
/// To the upper left corner, and clear what is below.
const REDRAW: &str = "\x1b[H\x1b[J";

/// Shows a gateway until it ends, or `count` times.
///
/// # Errors
/// `Exit::Runtime` when it does not answer at the first time, or standard output fails.
pub fn run(socket: &Path, interval: Duration, count: Option<u64>) -> Result<(), Failure> {
    let mut last = (Status::ask(socket)?, Instant::now());
    let terminal = io::stdout().is_terminal();
    let mut shown = 0;
    while count.is_none_or(|count| shown < count) {
        std::thread::sleep(interval.saturating_sub(last.1.elapsed()));
        let Ok(status) = Status::ask(socket) else {
            return print(&format!("gateway {} ended\n", last.0.pid)).map(|_| ());
        };
        let now = Instant::now();
        let seconds = (now - last.1).as_secs_f64();
        if !print(&text(&last.0, &status, seconds, terminal.then(size)))? {
            break;
        }
        last = (status, now);
        shown += 1;
    }
    Ok(())
}

/// What happened between two states, as a screen of so many columns and rows, or as a line.
pub fn text(before: &Status, after: &Status, seconds: f64, size: Option<(usize, usize)>) -> String {
    let rates = Rates::between(before, after, seconds);
    match size {
        Some(size) => screen(after, &rates, size),
        None => line(after, &rates),
    }
}

/// False when nobody reads any more.
fn print(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(Exit::Runtime, format!("cannot write to standard output: {error}"))),
    }
}

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    size.map_or((80, 24), |size| (usize::from(size.ws_col).max(20), usize::from(size.ws_row).max(5)))
}

/// What happened between two states, by second where it is a rate.
struct Rates {
    seconds: f64,
    requests: f64,
    accepted: f64,
    frames: [f64; 2],
    bytes: [f64; 2],
    dropped: f64,
    busy_percent: Vec<f64>,
    worker_requests: Vec<f64>,
    latency: Vec<u64>,
    routes: Vec<(String, f64)>,
    drops: Vec<(String, f64)>,
}

impl Rates {
    fn between(before: &Status, after: &Status, seconds: f64) -> Rates {
        let rate = |then: u64, now: u64| now.saturating_sub(then) as f64 / seconds.max(1e-3);
        let counter = |name: &str| rate(before.counter(name), after.counter(name));
        let time = |worker: &super::status::Worker| worker.busy_s + worker.idle_s + worker.asleep_s;
        let workers = || before.workers.iter().zip(&after.workers);
        let key = |r: &super::status::Requests| format!("{}  {} {}  {}", r.listener, r.method, r.route, r.class);
        let known = |wanted: &str| before.requests.iter().find(|r| key(r) == wanted).map_or(0, |r| r.count);
        let routes = after.requests.iter().map(|r| (key(r), rate(known(&key(r)), r.count)));
        let drops = |status: &Status| status.counters.get("penstock_dropped_frames_total").cloned().unwrap_or_default();
        let old_drops = drops(before);
        let drops = drops(after).into_iter().map(|(reason, now)| {
            let then = old_drops.get(&reason).copied().unwrap_or(0);
            (reason, rate(then, now))
        });
        Rates {
            seconds,
            requests: counter("penstock_http_request_heads_total"),
            accepted: counter("penstock_connections_accepted_total"),
            frames: ["penstock_rx_frames_total", "penstock_tx_frames_total"].map(counter),
            bytes: ["penstock_rx_bytes_total", "penstock_tx_bytes_total"].map(counter),
            dropped: counter("penstock_dropped_frames_total"),
            busy_percent: workers().map(|(a, b)| percent(b.busy_s - a.busy_s, time(b) - time(a))).collect(),
            worker_requests: workers().map(|(a, b)| rate(a.requests, b.requests)).collect(),
            latency: difference(&before.latency.buckets, &after.latency.buckets),
            routes: busiest(routes),
            drops: busiest(drops),
        }
    }
}

fn difference(before: &[u64], after: &[u64]) -> Vec<u64> {
    before.iter().zip(after).map(|(then, now)| now.saturating_sub(*then)).collect()
}

fn busiest(rows: impl Iterator<Item = (String, f64)>) -> Vec<(String, f64)> {
    let mut rows: Vec<_> = rows.filter(|(_, rate)| *rate > 0.0).collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    rows.truncate(ROWS_MAX);
    rows
}

/// `950`, `12.3k`, `4.56M`.
fn short(value: f64) -> String {
    match value {
        v if v < 1e3 => format!("{v:.0}"),
        v if v < 1e6 => format!("{:.1}k", v / 1e3),
        v => format!("{:.2}M", v / 1e6),
    }
}

/// Everything in one line.
fn line(status: &Status, rates: &Rates) -> String {
    let busy: Vec<String> = rates.busy_percent.iter().map(|percent| format!("{percent:.0}%")).collect();
    format!(
        "{} {} requests/s {:.0} p50 {} p99 {} connections {} accepted/s {:.0} rx/s {:.0} tx/s {:.0} dropped/s {:.0} busy {}\n",
        uptime_text(status.uptime_s),
        if status.ready { "ready" } else { "not-ready" },
        rates.requests,
        quantile_text(&rates.latency, 0.5).replace(' ', ""),
        quantile_text(&rates.latency, 0.99).replace(' ', ""),
        status.connections("open"),
        rates.accepted,
        rates.frames[0],
        rates.frames[1],
        rates.dropped,
        busy.join(","),
    )
}

/// A screen of so many columns and rows.
fn screen(status: &Status, rates: &Rates, (columns, rows): (usize, usize)) -> String {
    let ready = if status.ready { "ready".to_string() } else { format!("NOT READY: {}", status.reasons.join("; ")) };
    let mut lines = vec![
        format!(
            "penstock {} pid {}  {} ({})  up {}  {ready}",
            status.version,
            status.pid,
            status.port.name,
            status.port.driver,
            uptime_text(status.uptime_s)
        ),
        String::new(),
        format!("requests/s {:>8}   connections/s {:>8}", short(rates.requests), short(rates.accepted)),
        format!(
            "latency    p50 {}  p90 {}  p99 {}  p99.9 {}",
            quantile_text(&rates.latency, 0.5),
            quantile_text(&rates.latency, 0.9),
            quantile_text(&rates.latency, 0.99),
            quantile_text(&rates.latency, 0.999)
        ),
        format!(
            "frames/s   rx {} ({}B/s)  tx {} ({}B/s)  dropped {}",
            short(rates.frames[0]),
            short(rates.bytes[0]),
            short(rates.frames[1]),
            short(rates.bytes[1]),
            short(rates.dropped)
        ),
    ];
    for pool in &status.pools {
        lines.push(format!("pool       {}: {} of {} frames used", pool.name, pool.used_frames, pool.frames));
    }
    lines.push(String::new());
    lines.push("worker lcore  cpu busy % requests/s handshake    open   parked closing time_wait".into());
    for (number, worker) in status.workers.iter().enumerate() {
        let of = |state: &str| worker.connections.get(state).copied().unwrap_or(0);
        lines.push(format!(
            "{number:>6} {:>5} {:>4} {:>6.1} {:>10} {:>9} {:>7} {:>8} {:>7} {:>9}",
            worker.lcore,
            worker.cpu.map_or("-".into(), |cpu| cpu.to_string()),
            rates.busy_percent.get(number).copied().unwrap_or(0.0),
            short(rates.worker_requests.get(number).copied().unwrap_or(0.0)),
            of("handshake"),
            of("open"),
            of("parked"),
            of("closing"),
            of("time_wait")
        ));
    }
    for (title, table) in [("requests/s", &rates.routes), ("dropped frames/s", &rates.drops)] {
        if !table.is_empty() {
            lines.extend([String::new(), title.to_string()]);
            lines.extend(table.iter().map(|(name, rate)| format!("{:>10}  {name}", short(*rate))));
        }
    }
    lines.extend([String::new(), format!("every {:.1} s; Ctrl-C ends", rates.seconds)]);
    let fit = |line: &String| line.chars().take(columns).collect::<String>();
    // One row stays free, so that nothing scrolls.
    let shown: Vec<String> = lines.iter().take(rows - 1).map(fit).collect();
    format!("{REDRAW}{}\n", shown.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fake::{Fake, subject};

    /// Two states two seconds apart: 100 requests on worker 0, all within 20 us.
    fn states() -> (Status, Status) {
        let subject = subject(Fake::default());
        let before = Status::of(&subject, &subject.view());
        let mut after = before.clone();
        after.workers[0].requests += 100;
        after.workers[0].busy_s += 0.5;
        after.workers[0].idle_s += 1.5;
        after.requests[0].count += 100;
        after.latency.buckets[1] += 100;
        for (name, label) in [("penstock_http_request_heads_total", ""), ("penstock_dropped_frames_total", "runt")] {
            *after.counters.get_mut(name).unwrap().get_mut(label).unwrap() += 100;
        }
        (before, after)
    }

    #[test]
    fn rates_are_differences_by_second() {
        let (before, after) = states();
        let rates = Rates::between(&before, &after, 2.0);
        assert_eq!((rates.requests, rates.dropped, &rates.worker_requests[..]), (50.0, 50.0, &[50.0, 0.0][..]));
        assert_eq!(rates.busy_percent.iter().map(|p| p.round()).collect::<Vec<_>>(), [25.0, 0.0]);
        assert_eq!(rates.drops, [("runt".to_string(), 50.0)]);
        assert_eq!(rates.routes.len(), 1);
        let text = line(&after, &rates);
        assert!(text.contains(" ready requests/s 50 p50 <=20us p99 <=20us connections 4 "), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_gateway_that_restarted_gives_no_negative_rates() {
        let (before, after) = states();
        let rates = Rates::between(&after, &before, 2.0);
        assert_eq!((rates.requests, rates.routes.len()), (0.0, 0));
    }

    #[test]
    fn a_screen_fits_the_terminal() {
        let (before, after) = states();
        let rates = Rates::between(&before, &after, 2.0);
        for (columns, rows) in [(20, 5), (80, 24), (200, 60)] {
            let text = screen(&after, &rates, (columns, rows));
            let text = text.strip_prefix(REDRAW).unwrap();
            assert!(text.lines().count() < rows && text.lines().all(|line| line.chars().count() <= columns), "{text}");
        }
        assert!(screen(&after, &rates, (200, 60)).contains("50  runt"));
        assert_eq!([950.0, 12_345.0, 4_560_000.0].map(short), ["950", "12.3k", "4.56M"]);
    }
}
