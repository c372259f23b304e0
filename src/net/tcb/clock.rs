//! A connection's clock: smoltcp's least retransmission timeout is a second, so the clock runs faster.
//!
//! Owns the way from the worker's time to the connection's and back. Refuses to know timers.

use super::Tcb;
use crate::time::Instant;

impl Tcb {
    /// Has the connection's clock run at the engine's pace from now on: every timeout of smoltcp's, of which the least is a
    /// second, is so much shorter. For the time after the handshake, whose round trip is not yet known.
    pub fn quicken(&mut self, now: Instant) {
        self.paced_from = self.paced_from.min(now);
    }

    /// The connection's time.
    #[inline]
    pub(super) fn local(&self, now: Instant, pace: u32) -> Instant {
        if now <= self.paced_from {
            return now;
        }
        let elapsed = now.nanos() - self.paced_from.nanos();
        Instant::from_nanos(self.paced_from.nanos().saturating_add(elapsed.saturating_mul(u64::from(pace))))
    }

    /// When the connection's time is `at`, rounded up.
    pub(super) fn real(&self, at: Instant, pace: u32) -> Instant {
        if at <= self.paced_from {
            return at;
        }
        let elapsed = at.nanos() - self.paced_from.nanos();
        Instant::from_nanos(self.paced_from.nanos().saturating_add(elapsed.div_ceil(u64::from(pace))))
    }
}
