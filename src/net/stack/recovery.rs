//! What one connection knows of its path: congestion window, round trip, losses.
//!
//! Owns the congestion window and slow start (RFC 5681, 9438), recovery from several losses in a window (RFC 6582), the
//! tolerance of reordering and the tail loss probe (RFC 8985). Refuses to hold data and to send: smoltcp sends a segment again
//! when it is led to, and only ever the first that is not acknowledged. Times are microseconds in 32 bits, and wrap.

use crate::time::Instant;
use core::time::Duration;

/// The longest that the peer may hold back the acknowledgment of a single segment: Linux's least delay. RFC 8985, 7.2 leaves
/// the value open.
const ACK_DELAY_MAX_US: u32 = 40_000;
/// A probe waits this long at least, because clocks are read once a turn and timers tick in milliseconds.
const PROBE_MIN_US: u32 = 10_000;
/// Silence after which the congestion window begins anew (RFC 5681, 4.1).
const IDLE_US: u32 = 1_000_000;
/// Duplicate acknowledgments from which a loss is assumed (RFC 5681, 3.2).
const DUPLICATES: u8 = 3;

/// A round trip is being measured.
const SAMPLING: u8 = 1;
/// From a loss to the acknowledgment of everything that had been sent (RFC 6582).
const RECOVERING: u8 = 2;
/// The first unacknowledged segment was sent again because nothing was heard.
const PROBED: u8 = 4;
/// From a retransmission timeout to the acknowledgment of everything that had been sent.
const TIMED_OUT: u8 = 8;
/// smoltcp was led to send a segment again and has not yet done so.
const LED: u8 = 16;
/// The timer ended once more after a timeout, and nothing was sent since.
const AGAIN: u8 = 32;

/// What to do with an acknowledgment.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Heard {
    /// smoltcp takes it.
    Pass,
    /// smoltcp must not see it.
    Hold,
    /// smoltcp takes it, and sends the first unacknowledged segment again.
    Resend,
    /// smoltcp must not see it, and sends the first unacknowledged segment again.
    Lost,
    /// smoltcp takes it, and the window after a timeout is over.
    Over,
}

/// A connection's path.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Recovery {
    /// The congestion window in bytes.
    cwnd: u32,
    ssthresh: u32,
    /// SND.NXT when the loss was found.
    recover: u32,
    /// The smoothed round trip in microseconds; 0: unknown.
    srtt: u32,
    /// The acknowledgment that ends the measurement of a round trip, and when it began.
    sample: u32,
    sampled_at: u32,
    /// When data was last sent, or acknowledged in part.
    sent_at: u32,
    /// When the first of the duplicate acknowledgments came.
    doubted_at: u32,
    /// The largest segment the peer takes.
    mss: u16,
    duplicates: u8,
    flags: u8,
}

fn us(now: Instant) -> u32 {
    now.micros() as u32
}

impl Recovery {
    /// The path of a new connection whose segments carry at most `mss` bytes.
    pub(super) fn new(mss: u16) -> Recovery {
        let mss = mss.max(64);
        Recovery { cwnd: initial(mss), ssthresh: u32::MAX, mss, ..Recovery::default() }
    }

    /// The congestion window in bytes.
    #[inline]
    pub(super) fn window(&self) -> usize {
        self.cwnd as usize
    }

    /// The largest segment the peer takes, in bytes.
    pub(super) fn mss(&self) -> usize {
        usize::from(self.mss)
    }

    /// The smoothed round trip, at most a second; zero: unknown.
    pub(super) fn round_trip(&self) -> Duration {
        Duration::from_micros(self.srtt.min(1_000_000).into())
    }

    /// Notes that SND.UNA moved by `acked` bytes to `una`.
    #[inline]
    pub(super) fn advanced(&mut self, acked: u32, una: u32, nxt: u32, now: Instant) -> Heard {
        self.duplicates = 0;
        if self.flags & SAMPLING != 0 && una.wrapping_sub(self.sample).cast_signed() >= 0 {
            self.flags &= !SAMPLING;
            let rtt = us(now).wrapping_sub(self.sampled_at).max(1);
            // RFC 6298, 2.3.
            self.srtt = if self.srtt == 0 { rtt } else { self.srtt - self.srtt / 8 + rtt / 8 }.max(1);
        }
        let left = nxt.wrapping_sub(una);
        if self.flags & (RECOVERING | PROBED | TIMED_OUT) != 0 {
            return self.repaired(acked, una, nxt, now);
        }
        if acked + left >= self.cwnd / 2 {
            self.grow(acked);
        }
        if left > 0 {
            self.sent_at = us(now);
        }
        Heard::Pass
    }

    /// Only a window that was used grows (RFC 7661): the caller has seen to it.
    #[cold]
    fn grow(&mut self, acked: u32) {
        let (mss, cwnd) = (u32::from(self.mss), self.cwnd);
        self.cwnd = if cwnd < self.ssthresh {
            // RFC 3465, 2.2, with L = 2, for peers that acknowledge every other segment.
            cwnd.saturating_add(acked.min(2 * mss))
        } else {
            // RFC 9438, 4.3: the Reno-friendly window. Alpha is 3 (1 - 0.7) / (1 + 0.7) = 9 / 17 up to what the window was
            // before it was reduced, and 1 from there.
            let alpha = if cwnd / 10 * 7 < self.ssthresh { 9 } else { 17 };
            let step = u64::from(acked) * u64::from(mss) * alpha / (17 * u64::from(cwnd.max(1)));
            cwnd.saturating_add((step as u32).clamp(1, mss))
        };
    }

    /// An acknowledgment of new data after a loss.
    #[cold]
    fn repaired(&mut self, acked: u32, una: u32, nxt: u32, now: Instant) -> Heard {
        let (mss, left) = (u32::from(self.mss), nxt.wrapping_sub(una));
        let whole = self.recover.wrapping_sub(una).cast_signed() <= 0;
        let answers_probe = us(now).wrapping_sub(self.sent_at) >= self.srtt / 2;
        let probed = self.flags & PROBED != 0;
        // With nothing outstanding smoltcp sends nothing again, although it was led to.
        self.flags &= if left == 0 { !(PROBED | LED) } else { !PROBED };
        self.sent_at = us(now);
        if self.flags & TIMED_OUT != 0 {
            self.grow(acked);
            if whole {
                self.flags &= !(TIMED_OUT | AGAIN);
            }
            return if whole { Heard::Over } else { Heard::Pass };
        }
        if self.flags & RECOVERING == 0 {
            // RFC 8985, 7.4: a probe that repaired a loss is answered like one; an acknowledgment that came too soon to be
            // the probe's is that of the first copy.
            if !(probed && answers_probe) {
                return Heard::Pass;
            }
            self.reduce();
            if whole {
                return Heard::Pass;
            }
            self.flags |= RECOVERING;
        } else if whole {
            // RFC 6582, 3.2, step 3: no burst follows.
            self.flags &= !RECOVERING;
            self.cwnd = self.ssthresh.min(left.max(mss) + mss);
            return Heard::Pass;
        } else {
            self.cwnd = self.cwnd.saturating_sub(acked).saturating_add(mss).max(mss);
        }
        self.resend(now);
        Heard::Resend
    }

    /// Notes an acknowledgment that says nothing new while data is outstanding: a later segment arrived.
    #[cold]
    pub(super) fn duplicate(&mut self, una: u32, nxt: u32, now: Instant) -> Heard {
        if self.flags & TIMED_OUT != 0 {
            return Heard::Hold;
        }
        if self.flags & RECOVERING != 0 {
            self.cwnd = self.cwnd.saturating_add(u32::from(self.mss)).min(2 * nxt.wrapping_sub(una));
            return Heard::Hold;
        }
        if self.duplicates == 0 {
            self.doubted_at = us(now);
        }
        self.duplicates = self.duplicates.saturating_add(1);
        if !self.is_lost(now) {
            return Heard::Hold;
        }
        self.lost(nxt, now);
        Heard::Lost
    }

    /// Whether the first unacknowledged segment is late enough to be lost and not only overtaken: a quarter of the round trip
    /// after the first sign, the reordering window of RFC 8985, 6.2.
    fn is_lost(&self, now: Instant) -> bool {
        self.duplicates >= DUPLICATES && us(now).wrapping_sub(self.doubted_at) >= self.srtt / 4
    }

    fn lost(&mut self, nxt: u32, now: Instant) {
        self.reduce();
        // RFC 5681, 3.2: the duplicates have left the network.
        self.cwnd += u32::from(self.mss) * u32::from(self.duplicates);
        self.recover = nxt;
        self.flags |= RECOVERING;
        self.resend(now);
    }

    fn resend(&mut self, now: Instant) {
        // RFC 6298, 3: the round trip of what was sent twice says nothing.
        self.flags = self.flags & !SAMPLING | LED;
        self.sent_at = us(now);
    }

    /// Notes that smoltcp could not be led.
    pub(super) fn not_led(&mut self) {
        self.flags &= !LED;
    }

    /// RFC 9438, 4.6: beta is 0.7. Of cwnd, not of what is outstanding, because cwnd does not grow unused.
    fn reduce(&mut self) {
        self.ssthresh = (self.cwnd / 10 * 7).max(2 * u32::from(self.mss));
        self.cwnd = self.ssthresh;
    }

    /// A request after silence: what the path took then says little of now (RFC 5681, 4.1).
    #[inline]
    pub(super) fn resume(&mut self, now: Instant) {
        if us(now).wrapping_sub(self.sent_at) > IDLE_US {
            self.cwnd = self.cwnd.min(initial(self.mss));
        }
    }

    /// Notes a segment from `seq` to `end`; `nxt` is SND.NXT before it. With the peer's window `closed` it probes that window,
    /// and says nothing of the path. True when a timeout had smoltcp begin again from the first unacknowledged byte.
    #[inline]
    pub(super) fn sent(&mut self, seq: u32, end: u32, nxt: u32, closed: bool, now: Instant) -> bool {
        if seq == end {
            return false;
        }
        if seq.wrapping_sub(nxt).cast_signed() < 0 {
            // When the window opens, new data begins with the byte that probed it.
            let probe = closed || (nxt.wrapping_sub(seq) == 1 && end != nxt);
            return self.sent_again(nxt, probe, now);
        }
        if self.flags & SAMPLING == 0 && !closed {
            self.flags |= SAMPLING;
            (self.sample, self.sampled_at) = (end, us(now));
        }
        self.sent_at = us(now);
        false
    }

    /// Notes a SYN-ACK; `end` is the sequence number after it. Its acknowledgment measures the first round trip, unless it was
    /// sent twice.
    pub(super) fn sent_syn(&mut self, end: u32, now: Instant) {
        self.flags = if self.sampled_at != 0 && self.sample == end { 0 } else { SAMPLING };
        (self.sample, self.sampled_at) = (end, us(now).max(1));
    }

    #[cold]
    fn sent_again(&mut self, nxt: u32, probe: bool, now: Instant) -> bool {
        self.sent_at = us(now);
        let flags = self.flags;
        self.flags &= !(LED | AGAIN);
        if flags & LED != 0 || probe {
            return false;
        }
        if flags & (TIMED_OUT | AGAIN) == TIMED_OUT {
            // A second timeout may have begun further back, beneath what was sent between the two.
            self.recover = nxt;
            return false;
        }
        self.time_out(nxt);
        true
    }

    /// Notes that the retransmission timer ended, before anything is sent. True when it is not for the first time: smoltcp is
    /// in slow start, and would send less than a segment.
    pub(super) fn overdue(&mut self) -> bool {
        let again = self.flags & TIMED_OUT != 0;
        if again {
            self.flags |= AGAIN;
        }
        again
    }

    /// A retransmission timeout (RFC 5681, 3.1; RFC 6582, 4).
    fn time_out(&mut self, nxt: u32) {
        if self.flags & TIMED_OUT == 0 {
            self.reduce();
        }
        self.restart(nxt);
    }

    /// No segment carries more than `mss` bytes from now on, and the first window is of such.
    pub(super) fn limit(&mut self, mss: u16) {
        self.mss = self.mss.min(mss);
        self.cwnd = self.cwnd.min(initial(self.mss));
    }

    /// What is outstanding was too large for the path and is sent again in segments of at most `mss` bytes: slowly, up to the
    /// window of before, since nothing was lost to congestion (RFC 1191, 6.5).
    pub(super) fn narrow(&mut self, mss: u16, nxt: u32) {
        if self.flags & TIMED_OUT == 0 {
            self.ssthresh = self.cwnd;
        }
        self.limit(mss);
        self.restart(nxt);
    }

    fn restart(&mut self, nxt: u32) {
        self.cwnd = u32::from(self.mss);
        self.recover = nxt;
        self.duplicates = 0;
        self.flags = TIMED_OUT;
    }

    /// How long after now something is to be done about what is outstanding, `rto` at most: to send again, or to probe
    /// (RFC 8985, 7.2).
    #[inline]
    pub(super) fn patience(&self, outstanding: u32, rto: Duration) -> Duration {
        if self.srtt == 0 || self.flags & (PROBED | TIMED_OUT) != 0 {
            return rto;
        }
        if self.duplicates >= DUPLICATES && self.flags & RECOVERING == 0 {
            return Duration::from_micros(u64::from(self.srtt / 4)).min(rto);
        }
        Duration::from_micros(u64::from(self.probe_after(outstanding))).min(rto)
    }

    #[inline]
    fn probe_after(&self, outstanding: u32) -> u32 {
        let delay = if outstanding <= u32::from(self.mss) { ACK_DELAY_MAX_US } else { PROBE_MIN_US };
        self.srtt.saturating_mul(2).saturating_add(delay)
    }

    /// Whether the first of `una` to `nxt` is to be sent again by now; if not, how long there is still to wait, `rto` at most.
    pub(super) fn due(&mut self, una: u32, nxt: u32, now: Instant, rto: Duration) -> Result<(), Duration> {
        let outstanding = nxt.wrapping_sub(una);
        if outstanding == 0 || self.srtt == 0 || self.flags & (PROBED | TIMED_OUT | LED) != 0 {
            return Err(rto);
        }
        if self.flags & RECOVERING == 0 && self.is_lost(now) {
            self.lost(nxt, now);
            return Ok(());
        }
        let passed = us(now).wrapping_sub(self.sent_at);
        let wanted = self.probe_after(outstanding);
        if passed < wanted {
            return Err(Duration::from_micros(u64::from(wanted - passed)).min(rto));
        }
        if self.flags & RECOVERING == 0 {
            self.recover = nxt;
        }
        self.flags |= PROBED;
        self.resend(now);
        Ok(())
    }
}

/// RFC 6928, 2.
fn initial(mss: u16) -> u32 {
    let mss = u32::from(mss);
    (10 * mss).min((2 * mss).max(14_600))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u16 = 1000;
    const RTO: Duration = Duration::from_millis(200);

    fn at(us: u64) -> Instant {
        Instant::from_nanos(us * 1000)
    }

    /// Ten segments from sequence number 0 are outstanding at 100 ms, after a round trip of 8 ms.
    fn ten() -> Recovery {
        let mut path = Recovery::new(MSS);
        assert_eq!(path.window(), 10_000);
        path.sent(u32::MAX, 0, u32::MAX, false, at(92_000));
        path.advanced(1, 0, 0, at(100_000));
        assert_eq!(path.srtt, 8_000);
        assert_eq!(path.flags, 0);
        for i in 0..10 {
            assert!(!path.sent(i * 1000, (i + 1) * 1000, i * 1000, false, at(100_000)));
        }
        path
    }

    #[test]
    fn the_first_window_is_ten_segments_or_what_the_rfc_says_of_larger_and_smaller_ones() {
        let windows = [1460, 536, 9000, 4000, 0].map(|mss| Recovery::new(mss).window());
        assert_eq!(windows, [14_600, 5_360, 18_000, 14_600, 640]);
    }

    #[test]
    fn a_window_that_is_used_doubles_and_one_that_is_not_stays() {
        let mut path = ten();
        for i in 1..=5 {
            assert_eq!(path.advanced(2000, i * 2000, 10_000, at(108_000)), Heard::Pass);
        }
        // The others find less than half of the larger window used.
        assert_eq!(path.window(), 14_000);
        path.advanced(100, 10_100, 10_100, at(109_000));
        assert_eq!(path.window(), 14_000);
    }

    #[test]
    fn the_third_duplicate_after_the_reordering_window_finds_the_loss_and_reduces_once() {
        let mut path = ten();
        for us in [108_000, 108_100, 108_200, 109_999] {
            assert_eq!(path.duplicate(0, 10_000, at(us)), Heard::Hold);
        }
        assert_eq!(path.patience(10_000, RTO), Duration::from_millis(2), "a timer asks again");
        assert_eq!(path.duplicate(0, 10_000, at(110_000)), Heard::Lost);
        assert_eq!(path.window(), 7_000 + 5_000);
        assert!(!path.sent(0, 1000, 10_000, false, at(110_000)), "led, not timed out");
        // A hole remains: it is sent again, and costs nothing more. RFC 6582, 3.2.
        assert_eq!(path.advanced(4000, 4000, 10_000, at(118_000)), Heard::Resend);
        assert_eq!(path.window(), 12_000 - 4_000 + 1_000);
        assert_eq!(path.advanced(6000, 10_000, 10_000, at(126_000)), Heard::Pass);
        assert_eq!((path.ssthresh, path.window()), (7_000, 2_000), "no burst, then slow start");
    }

    #[test]
    fn what_is_overtaken_for_less_than_the_reordering_window_is_not_lost() {
        let mut path = ten();
        for us in [108_000, 108_100, 108_200, 108_300] {
            assert_eq!(path.duplicate(0, 10_000, at(us)), Heard::Hold);
        }
        assert_eq!(path.advanced(5000, 5000, 10_000, at(109_000)), Heard::Pass);
        assert!(path.window() > 10_000);
        assert_eq!(path.due(5000, 10_000, at(111_000), RTO), Err(Duration::from_micros(24_250)));
    }

    #[test]
    fn the_timer_finds_a_loss_that_no_further_duplicate_reports() {
        let mut path = ten();
        for us in [108_000, 108_100, 108_200] {
            path.duplicate(0, 10_000, at(us));
        }
        assert_eq!(path.due(0, 10_000, at(110_000), RTO), Ok(()));
        assert_eq!(path.flags & (RECOVERING | PROBED | LED), RECOVERING | LED);
    }

    #[test]
    fn silence_is_probed_once_and_the_repaired_loss_answered() {
        let mut path = ten();
        // RFC 8985, 7.2: two round trips, and for a single segment what its acknowledgment may be held back.
        assert_eq!(path.patience(10_000, RTO), Duration::from_millis(26));
        assert_eq!(path.patience(1000, RTO), Duration::from_millis(56));
        assert_eq!(path.due(0, 10_000, at(125_000), RTO), Err(Duration::from_millis(1)));
        assert_eq!(path.due(0, 10_000, at(126_000), RTO), Ok(()));
        assert_eq!(path.due(0, 10_000, at(900_000), RTO), Err(RTO), "smoltcp's timer goes on");
        assert!(!path.sent(0, 1000, 10_000, false, at(126_000)));
        assert_eq!(path.advanced(1000, 1000, 10_000, at(134_000)), Heard::Resend);
        assert_eq!(path.ssthresh, 7_000);
    }

    #[test]
    fn what_is_acknowledged_before_smoltcp_sent_it_again_is_forgotten() {
        let mut path = ten();
        assert_eq!(path.due(0, 10_000, at(126_000), RTO), Ok(()));
        path.advanced(10_000, 10_000, 10_000, at(126_100));
        path.sent(10_000, 11_000, 10_000, false, at(127_000));
        assert_eq!(path.due(10_000, 11_000, at(190_000), RTO), Ok(()), "the next silence is probed");
    }

    #[test]
    fn an_acknowledgment_too_soon_for_the_probe_costs_nothing() {
        let mut path = ten();
        assert_eq!(path.due(0, 10_000, at(126_000), RTO), Ok(()));
        path.sent(0, 1000, 10_000, false, at(126_000));
        assert_eq!(path.advanced(10_000, 10_000, 10_000, at(129_000)), Heard::Pass);
        assert_eq!(path.window(), 10_000);
    }

    #[test]
    fn a_timeout_begins_again_from_one_segment_until_everything_is_acknowledged() {
        let mut path = ten();
        assert!(path.sent(0, 1000, 10_000, false, at(300_000)), "nobody led smoltcp there");
        assert_eq!((path.window(), path.ssthresh), (1000, 7_000));
        assert!(!path.sent(1000, 2000, 10_000, false, at(308_000)));
        assert_eq!(path.duplicate(1000, 10_000, at(309_000)), Heard::Hold, "RFC 6582, 4: not lost again");
        assert_eq!(path.due(0, 10_000, at(900_000), RTO), Err(RTO), "no probe either");
        assert_eq!(path.advanced(1000, 1000, 10_000, at(310_000)), Heard::Pass);
        assert_eq!(path.advanced(9000, 10_000, 10_000, at(318_000)), Heard::Over);
        path.time_out(20_000);
        path.time_out(20_000);
        assert_eq!(path.ssthresh, 2_800, "held when the same segment times out again");
    }

    #[test]
    fn a_timeout_is_noted_once_and_a_second_one_leaves_slow_start_for_its_first_segment() {
        let mut path = ten();
        assert!(!path.overdue(), "smoltcp is not in slow start");
        assert!(path.sent(0, 1000, 10_000, false, at(300_000)));
        path.advanced(1000, 1000, 10_000, at(308_000));
        // New data, and then the timer again: everything up to it is sent again, and nothing of it is a loss of its own.
        path.sent(10_000, 12_000, 10_000, false, at(309_000));
        assert!(path.overdue());
        assert!(path.sent(1000, 2000, 12_000, false, at(700_000)));
        assert!(!path.sent(2000, 3000, 12_000, false, at(708_000)));
        assert_eq!(path.ssthresh, 7_000, "RFC 5681, 3.1");
        assert_eq!(path.advanced(9000, 10_000, 12_000, at(716_000)), Heard::Pass);
        assert!(!path.sent(10_000, 11_000, 12_000, false, at(716_000)));
        assert_eq!(path.advanced(2000, 12_000, 12_000, at(724_000)), Heard::Over);
        assert_eq!((path.ssthresh, path.flags), (7_000, 0));
    }

    #[test]
    fn a_second_timeout_that_nobody_announced_ends_with_what_it_sent_again() {
        let mut path = ten();
        path.sent(0, 1000, 10_000, false, at(300_000));
        path.sent(10_000, 12_000, 10_000, false, at(309_000));
        assert!(!path.sent(0, 1000, 12_000, false, at(700_000)));
        assert_eq!(path.advanced(10_000, 10_000, 12_000, at(716_000)), Heard::Pass);
        assert!(!path.sent(10_000, 11_000, 12_000, false, at(716_000)));
        assert_eq!(path.advanced(2000, 12_000, 12_000, at(724_000)), Heard::Over);
    }

    #[test]
    fn a_single_byte_times_out_and_the_probe_of_a_closed_window_says_nothing() {
        let mut path = ten();
        path.advanced(10_000, 10_000, 10_000, at(108_000));
        let (window, srtt) = (path.window(), path.srtt);
        for us in [200_000, 400_000, 800_000] {
            assert!(!path.sent(10_000, 10_001, if us > 200_000 { 10_001 } else { 10_000 }, true, at(us)));
        }
        assert!(!path.sent(10_000, 11_000, 10_001, false, at(900_000)), "nor when the window opens");
        path.advanced(1, 10_001, 10_001, at(900_000));
        assert_eq!((path.window(), path.srtt, path.flags), (window, srtt, 0), "nor of the round trip");
        path.sent(10_001, 10_002, 10_001, false, at(900_000));
        assert!(path.sent(10_001, 10_002, 10_002, false, at(1_100_000)));
        assert_eq!(path.window(), 1000);
    }

    #[test]
    fn a_smaller_path_bounds_the_first_window_and_what_one_timeout_leaves() {
        let mut path = Recovery::new(1460);
        path.limit(512);
        assert_eq!((path.mss(), path.window()), (512, 5_120));
        let mut path = ten();
        path.sent(0, 1000, 10_000, false, at(300_000));
        path.overdue();
        path.limit(512);
        assert!(path.sent(0, 512, 10_000, false, at(700_000)));
        assert_eq!((path.mss(), path.window(), path.ssthresh), (512, 512, 7_000));
        path.limit(1460);
        assert_eq!(path.mss(), 512, "never larger again");
    }

    #[test]
    fn the_handshake_measures_the_first_round_trip_unless_its_answer_was_sent_twice() {
        let mut path = Recovery::new(MSS);
        path.sent_syn(1, at(0));
        path.advanced(1, 1, 1, at(8_000));
        assert_eq!(path.srtt, 7_999);
        let mut path = Recovery::new(MSS);
        [0, 1_000_000, 3_000_000].iter().for_each(|us| path.sent_syn(1, at(*us)));
        path.advanced(1, 1, 1, at(3_000_100));
        assert_eq!(path.srtt, 0);
    }

    #[test]
    fn round_trips_are_not_measured_on_what_was_sent_twice() {
        let mut path = ten();
        path.due(0, 10_000, at(126_000), RTO).unwrap();
        path.sent(0, 1000, 10_000, false, at(126_000));
        path.advanced(10_000, 10_000, 10_000, at(200_000));
        assert_eq!(path.srtt, 8_000);
    }

    #[test]
    fn a_window_that_rested_begins_anew_and_avoids_congestion_in_the_friendly_step() {
        let mut path = ten();
        (path.cwnd, path.ssthresh) = (20_000, 20_000);
        path.advanced(1000, 1000, 20_000, at(108_000));
        assert_eq!(path.window(), 20_000 + 1000 * 1000 * 9 / (17 * 20_000));
        path.cwnd = 30_000;
        path.advanced(1000, 2000, 30_000, at(108_000));
        assert_eq!(path.window(), 30_000 + 1000 * 1000 / 30_000, "beyond what was lost before");
        path.resume(at(1_000_000));
        assert!(path.window() > 20_000);
        path.resume(at(1_200_000));
        assert_eq!(path.window(), 10_000);
    }
}
