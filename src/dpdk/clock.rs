//! Time from the cycle counter: no system call and no division for a reading.
//!
//! Owns the conversion to nanoseconds and the offset to wall-clock time. Only `runtime` reads it.

use super::Eal;
use crate::time::{Instant, Now};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use dpdk_sys as sys;
use std::time::{SystemTime, UNIX_EPOCH};

/// A clock whose epoch is its creation; shared by reference.
pub struct Clock {
    epoch_cycles: u64,
    scale: Scale,
    /// Wall-clock nanoseconds since 1970 at the epoch, by the latest synchronisation.
    epoch_unix_ns: AtomicU64,
}

impl Clock {
    /// A clock that starts now, at the counter's frequency as measured by EAL.
    pub fn start(_eal: &Eal) -> Clock {
        // SAFETY: EAL runs, so the frequency is known; reading the counter has no condition.
        let (hz, epoch_cycles) = unsafe { (sys::rte_get_tsc_hz(), sys::shim_rdtsc()) };
        let clock = Clock { epoch_cycles, scale: Scale::new(hz), epoch_unix_ns: AtomicU64::new(0) };
        clock.synchronise();
        clock
    }

    /// Time since the start.
    #[inline]
    pub fn instant(&self) -> Instant {
        // SAFETY: no condition.
        let cycles = unsafe { sys::shim_rdtsc() };
        Instant::from_nanos(self.scale.nanos(cycles.saturating_sub(self.epoch_cycles)))
    }

    /// What a turn is told.
    #[inline]
    pub fn now(&self) -> Now {
        let mono = self.instant();
        // The divisor is constant: a multiplication.
        Now { mono, unix_s: self.epoch_unix_ns.load(Relaxed).wrapping_add(mono.nanos()) / 1_000_000_000 }
    }

    /// Takes the wall-clock time from the kernel; for a control thread, about once a second: the counter's measured
    /// frequency may be off by a per mille, and the kernel's clock is disciplined.
    pub fn synchronise(&self) {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ns = u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX);
        self.epoch_unix_ns.store(unix_ns.saturating_sub(self.instant().nanos()), Relaxed);
    }
}

/// Cycles per second of the counter, as measured by EAL; 0 before it starts.
pub fn cycles_per_second() -> u64 {
    // SAFETY: no condition.
    unsafe { sys::rte_get_tsc_hz() }
}

/// Nanoseconds per cycle as a fraction of 2^32.
#[derive(Copy, Clone)]
struct Scale(u64);

impl Scale {
    fn new(hz: u64) -> Scale {
        Scale(((1_000_000_000_u128 << 32) / u128::from(hz.max(1))) as u64)
    }

    #[inline]
    fn nanos(self, cycles: u64) -> u64 {
        ((u128::from(cycles) * u128::from(self.0)) >> 32) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_of_cycles_is_a_year_within_a_second() {
        for hz in [1_000_000, 24_000_000, 2_444_999_997, 5_000_000_000] {
            let year_s = 365 * 86_400;
            let ns = Scale::new(hz).nanos(hz * year_s);
            assert!(ns.abs_diff(year_s * 1_000_000_000) < 1_000_000_000, "{hz} {ns}");
        }
    }
}
