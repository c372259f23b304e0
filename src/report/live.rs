//! How a run goes, for whoever watches.
//!
//! Owns the line for logs and the view that a terminal redraws in place. Refuses to print.

use super::model::Point;
use super::text;

/// How a run goes.
#[derive(Clone, Debug)]
pub struct Live {
    /// Seconds since the start of the schedule.
    pub elapsed_s: f64,
    /// Seconds to its end.
    pub left_s: f64,
    /// The stage under way, from 0.
    pub stage: usize,
    /// Stages of the plan.
    pub stages: usize,
    /// The last complete interval, if there is one.
    pub point: Option<Point>,
    /// Requests that ended so far, warm-up included.
    pub ended: u64,
    /// Those without an accepted answer.
    pub failed: u64,
    /// Those that waited for a free connection.
    pub waited: u64,
}

impl Live {
    /// One line, for logs and pipes.
    pub fn line(&self) -> String {
        let Some(point) = &self.point else { return format!("{:.0}s: no interval yet", self.elapsed_s) };
        let intended = point.intended_rate.map_or_else(String::new, |rate| format!(" of {}", text::number(rate)));
        let ns = |ns: u64| text::duration(ns as f64);
        let latency = &point.latency;
        format!(
            "{:.0}s {}{}: {}{intended} req/s, p50 {} p99 {} p99.9 {} max {}, failed {}, lag p99 {}, {} open, {:.0}s left",
            point.end_s,
            text::plain(&point.stage),
            if point.judged { "" } else { " (warm-up)" },
            text::number(point.rate),
            ns(latency.p50_ns),
            ns(latency.p99_ns),
            ns(latency.p99_9_ns),
            ns(latency.max_ns),
            text::count(point.failed),
            ns(point.lag.p99_ns),
            text::count(point.open),
            self.left_s,
        )
    }

    /// A few lines for a terminal of this width.
    pub fn view(&self, width: usize) -> Vec<String> {
        let whole = (self.elapsed_s + self.left_s).max(f64::MIN_POSITIVE);
        let done = (self.elapsed_s / whole).clamp(0.0, 1.0);
        let bar = width.saturating_sub(24).min(40);
        let filled = (done * bar as f64) as usize;
        let mut lines = vec![format!(
            "{}{} {:>3.0} %  {:.0}s left",
            "━".repeat(filled),
            "─".repeat(bar - filled),
            done * 100.0,
            self.left_s
        )];
        if let Some(point) = &self.point {
            let intended = point.intended_rate.map_or_else(String::new, |rate| format!(" of {}", text::number(rate)));
            let warmup = if point.judged { "" } else { ", warm-up" };
            let stage = text::plain(&point.stage);
            let ns = |ns: u64| text::duration(ns as f64);
            lines.push(format!("stage    {stage} ({} of {}{warmup})", self.stage + 1, self.stages));
            lines.push(format!("rate     {}{intended} req/s, {} open", text::number(point.rate), point.open));
            for (name, d) in [("latency", &point.latency), ("service", &point.service)] {
                let (p50, p99, p999, max) = (ns(d.p50_ns), ns(d.p99_ns), ns(d.p99_9_ns), ns(d.max_ns));
                lines.push(format!("{name}  p50 {p50:>8}  p99 {p99:>8}  p99.9 {p999:>8}  max {max:>8}"));
            }
            let (p99, max) = (ns(point.lag.p99_ns), ns(point.lag.max_ns));
            lines.push(format!("lag      p99 {p99}, max {max}; busiest lcore {}", text::percent(point.busy_share)));
        }
        let part = text::percent(super::model::share(self.failed, self.ended));
        let (ended, failed, waited) = (text::count(self.ended), text::count(self.failed), text::count(self.waited));
        lines.push(format!("so far   {ended} requests, {failed} failed ({part}), {waited} waited"));
        lines.iter().map(|line| text::fit(line, width)).collect()
    }
}

/// A view that replaces itself.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    lines: usize,
}

impl Screen {
    /// What to write to the terminal to replace the last view with this one.
    pub fn frame(&mut self, live: &Live, width: usize) -> String {
        let view = live.view(width);
        // Up over the old view, to the line's begin, and clear to the end of the screen.
        let frame = format!("{}{}\n", self.clear(), view.join("\n"));
        self.lines = view.len();
        frame
    }

    /// What to write to remove the last view.
    pub fn clear(&mut self) -> String {
        let lines = core::mem::take(&mut self.lines);
        if lines == 0 { String::new() } else { format!("\x1b[{lines}A\r\x1b[J") }
    }
}
