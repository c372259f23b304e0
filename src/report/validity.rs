//! Whether the generator did what it was asked, so that the figures are about the target.
//!
//! Owns the bounds and the advice; docs/load-results.md explains both. Refuses to look at what the target did.

use super::distribution::percentile_of;
use super::model::{Point, Run, share};
use super::shape::ArrivalsName;
use super::text;
use super::verdict::Finding;

/// A lag that is never held against the generator, in nanoseconds: a few bursts of frames, which no poll loop undercuts.
pub const LAG_FLOOR: u64 = 100_000;
/// Above the floor, lag is at most this share of the latency at the same percentile.
pub const LAG_SHARE: f64 = 0.1;
/// By how much the rate of sending may differ from the schedule's.
pub const RATE_ERROR: f64 = 0.001;
/// A worker busier than this has no time left to be on time. One that polls and has something to do in nearly every turn takes
/// larger turns when there is more; only a share near all of the time says that there is no room.
pub const BUSY_MAX: f64 = 0.99;
/// Requests above a percentile, below which it says little.
const TAIL_MIN: f64 = 10.0;

/// What makes the run invalid, and what else should be known.
///
/// # Errors
/// When a histogram cannot be decoded.
pub fn findings(run: &Run) -> Result<(Vec<Finding>, Vec<Finding>), String> {
    let mut invalid = frames(run);
    let mut notes = Vec::new();
    if run.plan.is_open_loop() {
        lag(run, &mut invalid, &mut notes)?;
        invalid.extend(send_rate(run));
    }
    let busy = busy(run);
    if run.plan.is_open_loop() {
        invalid.extend(busy)
    } else {
        notes.extend(busy)
    }
    others(run, &mut notes);
    Ok((invalid, notes))
}

fn lag(run: &Run, invalid: &mut Vec<Finding>, notes: &mut Vec<Finding>) -> Result<(), String> {
    let (lag, latency) = (run.lag.decode()?, run.total.latency.decode()?);
    let named = run.plan.thresholds.iter().filter(|c| c.metric == "http_req_duration").filter_map(|c| c.percentile);
    let mut percentiles: Vec<f64> = [50.0, 99.0].into_iter().chain(named).collect();
    percentiles.sort_by(f64::total_cmp);
    percentiles.dedup();
    for percentile in percentiles {
        let (late, whole) = (percentile_of(&lag, percentile), percentile_of(&latency, percentile));
        if late as f64 <= LAG_SHARE * whole as f64 {
            continue;
        }
        let what = format!(
            "requests left late by the generator's own fault: lag p{percentile} is {}, latency p{percentile} {}",
            text::duration(late as f64),
            text::duration(whole as f64)
        );
        if late > LAG_FLOOR {
            let fix = "more workers, a lower rate, or cores that nothing else uses (scripts/tune.sh)";
            invalid.push(Finding::new("lag", what).fix(fix));
        } else if late > 0 && whole > 0 {
            let what =
                format!("{what}: the generator's own turns are a visible part of it; service time has less of them");
            notes.push(Finding::new("lag_small", what));
        }
    }
    Ok(())
}

/// The rate over the intervals in which connections were free.
fn send_rate(run: &Run) -> Option<Finding> {
    let (mut due, mut sent, mut pieces) = (0.0, 0.0, 1.0);
    // Backwards: what could not be sent for want of a connection is known when it is sent at last.
    let mut blocked_later = false;
    let workers = run.workers.len();
    for (at, point) in run.intervals.iter().enumerate().rev().filter(|(_, point)| point.judged) {
        let (start, end) = part(&run.intervals, at);
        // After an abort nothing is due any more, while last answers still come.
        let wanted = run.plan.due(start, end.min(run.elapsed_s));
        let behind = (point.counts.sent as f64) < wanted * (1.0 - RATE_ERROR);
        let blocked = is_blocked(point);
        if blocked || point.workers as usize != workers || (blocked_later && behind) {
            blocked_later = blocked || blocked_later;
            pieces += 1.0;
            continue;
        }
        blocked_later = false;
        due += wanted;
        sent += point.counts.sent as f64;
    }
    // A request on each side of a boundary belongs to either; Poisson's numbers vary by their square root.
    let chance = if run.plan.arrivals == ArrivalsName::Poisson { 4.0 * f64::sqrt(due) } else { 0.0 };
    let allowed = due * RATE_ERROR + 2.0 * pieces * workers as f64 + chance;
    let what = || {
        let off = (sent - due) / due;
        format!(
            "{sent:.0} requests were sent where {due:.0} were due and connections were free ({:+.2} %)",
            off * 100.0
        )
    };
    let fix = "more workers, or a lower rate";
    ((sent - due).abs() > allowed).then(|| Finding::new("send_rate", what()).fix(fix))
}

/// The part of a run that a point stands for, in seconds. Each worker ends an interval with a turn of its own, so that points
/// of several overlap, and what is due there is in either: the middle parts them.
fn part(points: &[Point], at: usize) -> (f64, f64) {
    let Point { start_s, end_s, .. } = points[at];
    let before = at.checked_sub(1).map_or(start_s, |before| points[before].end_s.max(start_s));
    let after = points.get(at + 1).map_or(end_s, |after| after.start_s.min(end_s));
    ((start_s + before) / 2.0, (end_s + after) / 2.0)
}

fn is_blocked(point: &Point) -> bool {
    point.counts.waited > 0 || point.counts.outcomes.not_sent > 0
}

fn frames(run: &Run) -> Vec<Finding> {
    let mut found = Vec::new();
    for worker in &run.workers {
        let who = format!("lcore {}{}", worker.lcore, on_machine(run, worker.machine));
        let mut add = |count: u64, code: &str, what: &str, fix: &str| {
            if count > 0 {
                found.push(Finding::new(code, format!("{who}: {count} {what}")).fix(fix));
            }
        };
        add(
            worker.tx_refused,
            "tx_refused",
            "frames were not taken by the device",
            "a lower rate, or larger transmit rings",
        );
        add(
            worker.rx_missed,
            "rx_missed",
            "frames were lost in a full receive ring",
            "more workers, or larger receive rings",
        );
        add(worker.mempool_exhausted, "mempool", "times no mbuf was free", "a larger mempool, or fewer connections");
    }
    found
}

fn busy(run: &Run) -> Vec<Finding> {
    let busy = run.workers.iter().filter(|worker| worker.busy_share > BUSY_MAX);
    let found = busy.map(|worker| {
        let (lcore, machine) = (worker.lcore, on_machine(run, worker.machine));
        let what = format!("lcore {lcore}{machine} was busy {} of the time", text::percent(worker.busy_share));
        if run.plan.is_open_loop() {
            Finding::new("busy", what).fix("more workers, or a lower rate")
        } else {
            Finding::new("busy", format!("{what}: the generator is the limit, and the rate a lower bound"))
                .fix("more workers")
        }
    });
    found.collect()
}

fn others(run: &Run, notes: &mut Vec<Finding>) {
    let total = &run.total;
    if total.counts.waited > 0 || total.counts.outcomes.not_sent > 0 {
        let late = total.counts.waited + total.counts.outcomes.not_sent;
        let part = text::percent(share(late, total.requests));
        let what =
            format!("{late} requests ({part}) waited for a free connection; latency counts the wait, service not");
        let fix = "--connections, if waiting is not what clients of the target would do";
        notes.push(Finding::new("waited", what).fix(fix));
    }
    if total.failed > 0 && run.plan.thresholds.is_empty() {
        let part = text::percent(total.failed_share);
        let what = format!("{} requests ({part}) failed, and no threshold judges that", total.failed);
        notes.push(Finding::new("unjudged", what).fix("--threshold 'http_req_failed: rate<0.001'"));
    }
    if total.requests == 0 {
        notes.push(Finding::new("empty", "nothing was measured: no request ended outside warm-up"));
    }
    for condition in &run.plan.thresholds {
        let percentile = condition.percentile.unwrap_or(0.0);
        let beyond = total.requests as f64 * (1.0 - percentile / 100.0);
        if percentile < 100.0 && beyond < TAIL_MIN && condition.percentile.is_some() {
            let what = format!("{}: at most {beyond:.1} requests lie beyond this percentile", condition.text);
            notes.push(Finding::new("few", what).fix("a longer run"));
        }
        if condition.abort && condition.class.is_some() && run.plan.classes.len() > 1 {
            let what = format!("{}: judged at the end only, intervals are not kept by class", condition.text);
            notes.push(Finding::new("abort_class", what));
        }
    }
    let dropped: u64 = run.workers.iter().map(|worker| worker.rx_dropped).sum();
    if dropped > 0 {
        let what = format!("{dropped} received frames were thrown away: not for us, or damaged");
        notes.push(Finding::new("rx_dropped", what));
    }
    let missing = run.intervals.iter().filter(|point| (point.workers as usize) < run.workers.len()).count();
    if missing > 0 {
        let what = format!("{missing} of {} intervals lack a worker; totals do not", run.intervals.len());
        notes.push(Finding::new("intervals", what));
    }
}

fn on_machine(run: &Run, machine: u32) -> String {
    match run.stamps.get(machine as usize) {
        Some(stamp) if run.machines > 1 => format!(" of {}", stamp.host),
        _ => String::new(),
    }
}
