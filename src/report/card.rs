//! This machine's card: what `selftest` found, and how that compares with what it found before.
//!
//! Owns the document, its table and the comparison. Refuses to measure, and to decide where the card is kept.

use serde::{Deserialize, Serialize};

/// The version of the card's form.
pub const CARD_SCHEMA: u32 = 2;
/// Changes within this share are the machine's.
const NOISE: f64 = 0.05;

/// What one kind of load came to.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Throughput {
    /// Answered per second, over the whole time.
    pub per_s: f64,
    /// Answered per second in which the gateway's core was busy; median of the valid windows.
    pub per_busy_s: f64,
    /// The same: lowest and highest decile.
    pub per_busy_s_range: [f64; 2],
    /// Cycles of the time stamp counter per answer; median.
    pub cycles: f64,
    /// Windows in which nobody took a core away for a millisecond, of all windows.
    pub valid_windows: [u64; 2],
    /// Offered per second, in an open loop.
    pub offered_per_s: f64,
    /// Share of the valid windows in which the gateway's core was busy. Near 1: it was the limit.
    pub gateway_busy: f64,
    /// The same of the generator's core.
    pub generator_busy: f64,
}

/// The gateway's core is idle for a smaller share of the time where it is the limit: now and then a turn finds nothing.
const IDLE_MAX: f64 = 0.03;

impl Throughput {
    /// Whether there were windows enough to say something.
    pub fn is_valid(&self) -> bool {
        self.valid_windows[0] >= VALID_MIN
    }

    /// What was offered, and which side was the limit.
    fn limit(&self) -> String {
        let limit = match () {
            () if self.gateway_busy >= 1.0 - IDLE_MAX => "the gateway was the limit",
            () => "the gateway had time left, so per wall-clock second it could answer more",
        };
        format!(
            "offered {}/s, {:.2} times what was answered; busy: gateway {:.0} %, generator {:.0} %: {limit}",
            figure(self.offered_per_s),
            if self.per_s > 0.0 { self.offered_per_s / self.per_s } else { 0.0 },
            self.gateway_busy * 100.0,
            self.generator_busy * 100.0,
        )
    }
}

/// Valid windows a figure needs.
pub const VALID_MIN: u64 = 50;

/// Latency at a rate.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LatencyAt {
    /// Requests per second, open loop.
    pub rate: f64,
    /// From the intended start, in nanoseconds: p50, p99, p99.9.
    pub latency_ns: [u64; 3],
    /// PASS or INVALID: whether the generator held its schedule.
    pub verdict: String,
    /// Why not.
    pub reasons: Vec<String>,
}

/// A machine's card.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Card {
    /// The version of this form: 2.
    pub schema: u32,
    /// When: RFC 3339, UTC.
    pub at: String,
    /// The machine and the build.
    pub stamp: super::Stamp,
    /// Small GETs on kept connections, more than the gateway can answer.
    pub keep_alive: Throughput,
    /// A connection per request, more than the gateway can answer.
    pub connections: Throughput,
    /// Small GETs at half of what the first case answered.
    pub half_load: LatencyAt,
}

impl Card {
    /// The card as a table, beside a former one.
    pub fn table(&self, before: Option<&Card>) -> String {
        let mut out = format!("{}, {} CPUs, {}\n\n", self.stamp.cpu, self.stamp.cores, self.stamp.kernel);
        let header = if before.is_some() { "            before  change" } else { "" };
        out += &format!("{:<44}{:>12}{header}\n", "", "now");
        for (name, unit, now, then, more_is_better) in self.rows(before) {
            // Zero: too few valid windows for a figure.
            let shown = |value: f64| if value > 0.0 { figure(value) } else { "-".into() };
            out += &format!("{:<44}{:>12}", format!("{name} ({unit})"), shown(now));
            if let Some(then) = then {
                out += &format!("{:>18}  {}", shown(then), change(now, then, more_is_better));
            }
            out.push('\n');
        }
        out.push('\n');
        for (name, case) in [("keep-alive", &self.keep_alive), ("connections", &self.connections)] {
            let [valid, all] = case.valid_windows;
            out += &format!("{name}: {valid} of {all} windows of 20 ms undisturbed");
            if !case.is_valid() {
                out += " (INVALID: too few, run it on a quieter machine)\n";
                continue;
            }
            let [low, high] = case.per_busy_s_range.map(figure);
            out += &format!(" (VALID); range {low} to {high} per busy second\n  {}\n", case.limit());
        }
        out += &format!("half load: {}\n", self.half_load.verdict);
        for reason in &self.half_load.reasons {
            out += &format!("  {reason}\n");
        }
        out
    }

    fn rows(&self, before: Option<&Card>) -> Vec<(&'static str, &'static str, f64, Option<f64>, bool)> {
        let row = |name, unit, more: bool, get: fn(&Card) -> f64| (name, unit, get(self), before.map(get), more);
        vec![
            row("keep-alive GET per busy core", "requests/s", true, |c| c.keep_alive.per_busy_s),
            row("keep-alive GET, wall clock", "requests/s", true, |c| c.keep_alive.per_s),
            row("keep-alive GET", "TSC cycles", false, |c| c.keep_alive.cycles),
            row("new connections per busy core", "connections/s", true, |c| c.connections.per_busy_s),
            row("new connections, wall clock", "connections/s", true, |c| c.connections.per_s),
            row("latency at half load, p50", "us", false, |c| c.half_load.latency_ns[0] as f64 / 1e3),
            row("latency at half load, p99", "us", false, |c| c.half_load.latency_ns[1] as f64 / 1e3),
            row("latency at half load, p99.9", "us", false, |c| c.half_load.latency_ns[2] as f64 / 1e3),
        ]
    }
}

/// Three significant digits with a suffix.
fn figure(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 10e3 => format!("{:.0} k", v / 1e3),
        v if v >= 100.0 => format!("{v:.0}"),
        v => format!("{v:.1}"),
    }
}

fn change(now: f64, then: f64, more_is_better: bool) -> String {
    if then <= 0.0 || now <= 0.0 {
        return "-".into();
    }
    let ratio = now / then - 1.0;
    let word = match () {
        () if ratio.abs() <= NOISE => "same",
        () if (ratio > 0.0) == more_is_better => "better",
        () => "worse",
    };
    format!("{:+.0} % {word}", ratio * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(per_busy_s: f64, cycles: f64) -> Card {
        let keep_alive = Throughput { per_busy_s, cycles, valid_windows: [60, 100], ..Throughput::default() };
        Card { keep_alive, ..Card::default() }
    }

    #[test]
    fn a_card_says_what_changed_and_which_way_is_better() {
        let table = card(1.2e6, 2000.0).table(Some(&card(1.0e6, 2500.0)));
        assert!(table.contains("1.20 M            1.00 M  +20 % better"), "{table}");
        assert!(table.contains("-20 % better"), "{table}");
        let worse = card(0.5e6, 2000.0).table(Some(&card(1.0e6, 2010.0)));
        assert!(worse.contains("-50 % worse") && worse.contains("-0 % same"), "{worse}");
    }

    #[test]
    fn too_few_windows_are_no_figure() {
        let mut few = card(1.0, 1.0);
        few.keep_alive.valid_windows = [49, 100];
        assert!(few.table(None).contains("INVALID"));
    }

    #[test]
    fn who_was_the_limit_is_said() {
        let mut card = card(1e6, 2000.0);
        let busy = |gateway_busy| Throughput {
            per_s: 1e6,
            offered_per_s: 1.25e6,
            gateway_busy,
            valid_windows: [60, 100],
            ..Throughput::default()
        };
        card.keep_alive = busy(0.99);
        card.connections = busy(0.9);
        let table = card.table(None);
        let below = |name: &str| table.lines().skip_while(|line| !line.starts_with(name)).nth(1).unwrap_or_default();
        assert!(below("keep-alive:").contains("offered 1.25 M/s, 1.25 times what was answered"), "{table}");
        assert!(below("keep-alive:").ends_with("the gateway was the limit"), "{table}");
        assert!(below("connections:").contains("could answer more"), "{table}");
    }

    #[test]
    fn it_can_be_read_back() {
        let card = card(1.0, 2.0);
        let text = serde_json::to_string(&card).unwrap();
        assert_eq!(serde_json::from_str::<Card>(&text).unwrap(), card);
    }
}
