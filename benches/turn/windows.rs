//! Valid windows on a stolen CPU.
//!
//! A window of 20 ms of work is followed by a fixed spin. The window counts when the spin ran at 0.97 or more of the best
//! speed seen and no single turn took 1 ms or longer, that is, when nobody took the core away. Fewer than 50 such windows
//! is INVALID.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Work per window.
pub const WINDOW: Duration = Duration::from_millis(20);
/// The longest turn of a valid window.
pub const GAP_MAX: Duration = Duration::from_millis(1);
/// Valid windows a verdict needs.
pub const VALID_MIN: usize = 50;
const SPIN_SHARE: f64 = 0.97;
const SPIN_ROUNDS: u64 = 2_000_000;

/// One window's figures.
pub struct Window {
    /// Requests answered.
    pub requests: u64,
    /// Time spent inside turns.
    pub busy: Duration,
    /// The longest turn.
    pub gap: Duration,
    /// Time of the spin that followed.
    pub spin: Duration,
}

/// Runs the fixed spin and says how long it took.
pub fn spin() -> Duration {
    let start = Instant::now();
    let mut x = 1u64;
    for i in 0..SPIN_ROUNDS {
        x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(i));
    }
    black_box(x);
    start.elapsed()
}

/// Seconds per request of the valid windows, ascending.
pub fn valid_costs(windows: &[Window]) -> Vec<f64> {
    let best = windows.iter().map(|w| w.spin).min().unwrap_or(Duration::ZERO).as_secs_f64();
    let mut costs: Vec<f64> = windows
        .iter()
        .filter(|w| w.requests > 0 && w.gap < GAP_MAX && best / w.spin.as_secs_f64() >= SPIN_SHARE)
        .map(|w| w.busy.as_secs_f64() / w.requests as f64)
        .collect();
    costs.sort_by(f64::total_cmp);
    costs
}

/// The core's nominal frequency in Hz, to turn time into cycles.
pub fn nominal_hz() -> f64 {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mhz = cpuinfo.lines().find_map(|line| line.strip_prefix("cpu MHz")?.split(':').nth(1)?.trim().parse().ok());
    mhz.unwrap_or(0.0) * 1e6
}
