//! What one connection knows of its path: congestion window, round trip, losses.
//!
//! Owns the congestion window and slow start (RFC 5681, 9438), what is lost and what of it is sent again next (RFC 6675, 8985, and
//! 6582 for peers without SACK), the tolerance of reordering, the tail loss probe and the timeouts after a loss. Refuses to hold
//! data and to send. Times are microseconds in 32 bits, and wrap.

mod plan;

pub(super) use plan::Plan;

use crate::net::sacked::{Block, Sacked, earlier, is_after, later};
use crate::time::Instant;
use core::time::Duration;

/// The longest that the peer may hold back the acknowledgment of a single segment: Linux's least delay. RFC 8985, 7.2 leaves
/// the value open.
const ACK_DELAY_MAX_US: u32 = 40_000;
/// A probe waits this long at least, because clocks are read once a turn and timers tick in milliseconds.
const PROBE_MIN_US: u32 = 10_000;
/// Silence after which the congestion window begins anew (RFC 5681, 4.1).
const IDLE_US: u32 = 1_000_000;
/// The round trip of a path of which none was measured (RFC 6298, 2.1).
const UNKNOWN_US: u32 = 1_000_000;
/// The longest timeout (RFC 6298, 2.5).
const RTO_MAX_US: u32 = 60_000_000;
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
/// Something arrived before what was sent earlier.
const DOUBTING: u8 = 16;
/// smoltcp went back and is at `at`.
const BACK: u8 = 32;
/// The first unacknowledged segment is sent again next, whatever the window.
const FIRST: u8 = 64;
/// No round trip was measured since the last probe: the next silence is not probed.
const UNMEASURED: u8 = 128;
/// Anything but the usual.
const TROUBLE: u8 = RECOVERING | PROBED | TIMED_OUT | DOUBTING | BACK | FIRST;

/// What to do with an acknowledgment.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Heard {
    /// smoltcp takes it.
    Pass,
    /// smoltcp must not see it.
    Hold,
}

/// What is to be done when a timer fires.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// Nothing for this long.
    Later(Duration),
    /// Something is to be sent again.
    Mend,
    /// Everything is to be sent again: the retransmission timer has ended.
    Timeout,
}

/// What is under way.
#[derive(Copy, Clone, Debug)]
pub(super) struct Flight {
    /// SND.UNA.
    pub(super) una: u32,
    /// SND.NXT.
    pub(super) nxt: u32,
    /// The peer acknowledges selectively.
    pub(super) sack: bool,
}

impl Flight {
    fn bytes(self) -> u32 {
        self.nxt.wrapping_sub(self.una)
    }
}

/// A connection's path.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Recovery {
    /// The congestion window in bytes.
    cwnd: u32,
    ssthresh: u32,
    /// SND.NXT when the loss was found.
    recover: u32,
    /// What the peer does not hold below this is lost.
    lost: u32,
    /// What was lost below this was sent again: HighRxt of RFC 6675.
    mended: u32,
    /// What the peer does not hold below this is lost unless it comes within the reordering window.
    doubt: u32,
    /// When that window began.
    doubted_at: u32,
    /// SND.NXT when the first unacknowledged segment was sent again.
    after: u32,
    /// Where smoltcp is, when it went back.
    at: u32,
    /// Bytes that arrived behind a hole: those the peer says it holds, or a segment for each duplicate acknowledgment.
    beyond: u32,
    /// The smoothed round trip in microseconds; 0: unknown.
    srtt: u32,
    /// Its variation, alike.
    rttvar: u32,
    /// The acknowledgment that ends the measurement of a round trip, and when it began.
    sample: u32,
    sampled_at: u32,
    /// When data was last acknowledged in part, or sent; in trouble, when the first unacknowledged segment was sent again.
    sent_at: u32,
    /// The largest segment the peer takes.
    mss: u16,
    duplicates: u8,
    /// Retransmission timeouts since a round trip was measured (RFC 6298, 5.5).
    timeouts: u8,
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

    /// How many bytes may be queued: the congestion window, and what arrived behind a hole.
    #[inline]
    pub(super) fn window(&self) -> usize {
        self.cwnd.saturating_add(self.beyond) as usize
    }

    /// The largest segment, in bytes.
    #[inline]
    pub(super) fn mss(&self) -> usize {
        usize::from(self.mss.max(1))
    }

    /// The smoothed round trip, at most a second; zero: unknown.
    pub(super) fn round_trip(&self) -> Duration {
        Duration::from_micros(self.srtt.min(1_000_000).into())
    }

    /// Whether anything but the usual is going on: smoltcp's timer does not count, and what it sends is planned.
    #[inline]
    pub(super) fn is_troubled(&self) -> bool {
        self.flags & TROUBLE != 0
    }

    /// Notes that SND.UNA moved by `acked` bytes to `una`. False: [`Recovery::relieved`] is to be told.
    #[inline]
    pub(super) fn advanced(&mut self, acked: u32, una: u32, nxt: u32, now: Instant) -> bool {
        if self.flags & SAMPLING != 0 && una.wrapping_sub(self.sample).cast_signed() >= 0 {
            self.flags &= !SAMPLING;
            self.measured(us(now).wrapping_sub(self.sampled_at).max(1));
        }
        if self.is_troubled() {
            return false;
        }
        let left = nxt.wrapping_sub(una);
        if acked + left >= self.cwnd / 2 {
            self.grow(acked);
        }
        if left > 0 {
            self.sent_at = us(now);
        }
        true
    }

    /// RFC 6298, 2.2 and 2.3.
    #[inline]
    fn measured(&mut self, rtt: u32) {
        self.timeouts = 0;
        self.flags &= !UNMEASURED;
        if self.srtt == 0 {
            (self.srtt, self.rttvar) = (rtt, rtt / 2);
            return;
        }
        self.rttvar = self.rttvar - self.rttvar / 4 + self.srtt.abs_diff(rtt) / 4;
        self.srtt = (self.srtt - self.srtt / 8 + rtt / 8).max(1);
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

    /// In trouble, what an acknowledgment of `acked` more bytes means.
    #[cold]
    pub(super) fn relieved(&mut self, acked: u32, blocks: &[Block], flight: Flight, held: &mut Sacked, now: Instant) {
        let Flight { una, nxt, sack } = flight;
        let (mss, left) = (u32::from(self.mss), flight.bytes());
        let whole = !is_after(self.recover, una);
        let round_trip = self.srtt.saturating_sub(self.rttvar).max(self.srtt / 2);
        let answers = us(now).wrapping_sub(self.sent_at) >= round_trip;
        // A D-SACK (RFC 2883, 4): what it names had arrived before.
        let twice = blocks.first().is_some_and(|(_, to)| !is_after(*to, una));
        let probed = self.flags & PROBED != 0;
        self.flags &= !PROBED;
        self.sent_at = us(now);
        (self.lost, self.mended, self.doubt) = (later(self.lost, una), later(self.mended, una), later(self.doubt, una));
        if self.doubt == una {
            self.doubted_at = us(now);
        }
        held.advance(una);
        for block in blocks {
            held.add(*block, una, nxt);
        }
        let recovering = self.flags & RECOVERING != 0;
        let mended = (acked / mss).clamp(1, 255) as u8;
        // The hole itself was no duplicate's.
        self.duplicates = if sack || !recovering { 0 } else { self.duplicates.saturating_sub(mended - 1) };
        if self.flags & TIMED_OUT != 0 {
            self.grow(acked);
            if whole {
                self.flags &= !TIMED_OUT;
            }
        } else if recovering && whole {
            self.flags &= !RECOVERING;
            self.duplicates = 0;
            if !sack {
                // RFC 6582, 3.2, step 3: no burst follows. With SACK the pipe was kept full.
                self.cwnd = self.ssthresh.min(left.max(mss) + mss);
            }
        } else if recovering {
            if self.mended != una {
                // It was sent again before, at a time that is not known.
                self.after = nxt;
            } else if held.is_empty() || answers {
                // RFC 6582, 3.2. What was sent again later has arrived, and it has not (RFC 8985, 6.2; RFC 6675, 4, rule 3).
                self.flags |= FIRST;
            }
        } else if probed && answers && !twice {
            // RFC 8985, 7.4: a probe that repaired a loss is answered like one; an acknowledgment that came too soon to be
            // the probe's is that of the first copy.
            self.reduce();
            if !whole {
                self.flags |= RECOVERING | FIRST;
            }
        } else if acked + left >= self.cwnd / 2 {
            self.grow(acked);
        }
        self.assess(flight, held, now);
        if self.beyond > 0 && !self.is_troubled() {
            self.flags |= DOUBTING;
            (self.doubt, self.doubted_at) = (una, us(now));
        }
        if left == 0 {
            held.clear();
            self.beyond = 0;
            self.flags &= SAMPLING | UNMEASURED;
        }
    }

    /// Notes an acknowledgment that says nothing new, or of what is beyond only, while data is outstanding: a later segment
    /// arrived.
    #[cold]
    pub(super) fn duplicate(&mut self, blocks: &[Block], flight: Flight, held: &mut Sacked, now: Instant) {
        let Flight { una, nxt, sack } = flight;
        self.begin(una);
        let mut news = !sack;
        for block in blocks {
            news |= held.add(*block, una, nxt);
        }
        // RFC 6582, 4: after a timeout they may be of what was sent again.
        if !news || (self.flags & TIMED_OUT != 0 && !sack) {
            return;
        }
        if self.flags & DOUBTING == 0 {
            self.flags |= DOUBTING;
            (self.doubt, self.doubted_at) = (una, us(now));
        }
        self.duplicates = self.duplicates.saturating_add(1);
        self.assess(flight, held, now);
    }

    /// Sequence numbers of long ago mean nothing.
    fn begin(&mut self, una: u32) {
        if !self.is_troubled() {
            (self.lost, self.mended, self.doubt, self.after) = (una, una, una, una);
        }
    }

    /// Judges what the peer holds: what is lost, what may be, and whether what was sent again is lost again.
    fn assess(&mut self, flight: Flight, held: &Sacked, now: Instant) {
        let Flight { una, nxt, sack } = flight;
        let by_duplicates = u32::from(self.mss) * u32::from(self.duplicates);
        self.beyond = if sack { held.bytes() } else { by_duplicates.min(flight.bytes()) };
        if self.beyond == 0 && self.duplicates == 0 {
            self.flags &= !DOUBTING;
            return;
        }
        let edge = self.edge(flight, held);
        let known = later(self.lost, una);
        if is_after(edge, known) {
            if !is_after(self.doubt, known) {
                self.doubt = edge;
                // The first doubt began with the first duplicate.
                if known != una {
                    self.doubted_at = us(now);
                }
            }
            if us(now).wrapping_sub(self.doubted_at) >= self.srtt / 4 {
                self.lose(flight, edge, now);
            }
        }
        // What was sent after it has arrived, and it has not.
        let mending = self.flags & (RECOVERING | TIMED_OUT) != 0 && self.flags & FIRST == 0;
        if mending && is_after(self.mended, una) && held.held((self.after, nxt)) > 2 * u32::from(self.mss) {
            self.flags |= FIRST;
        }
    }

    /// RFC 6675, 4, IsLost: more than two segments arrived behind it.
    fn far_edge(&self, held: &Sacked) -> Option<u32> {
        held.edge(2 * u32::from(self.mss) + 1)
    }

    /// What is missing below this was overtaken by enough to be lost.
    fn edge(&self, flight: Flight, held: &Sacked) -> u32 {
        let una = flight.una;
        let enough = self.duplicates >= DUPLICATES;
        let near = match held.lowest() {
            Some(lowest) if enough => lowest,
            None if enough && self.flags & RECOVERING == 0 => {
                earlier(una.wrapping_add(u32::from(self.mss)), flight.nxt)
            }
            _ => una,
        };
        later(near, self.far_edge(held).unwrap_or(una))
    }

    /// What is in doubt is lost: the reordering window, a quarter of the round trip (RFC 8985, 6.2), is over.
    fn lose(&mut self, flight: Flight, edge: u32, now: Instant) {
        self.lost = self.doubt;
        if is_after(edge, self.doubt) {
            (self.doubt, self.doubted_at) = (edge, us(now));
        }
        if self.flags & (RECOVERING | TIMED_OUT) == 0 {
            self.reduce();
            self.recover = flight.nxt;
            self.mended = flight.una;
            self.flags |= RECOVERING | FIRST;
        }
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

    /// Notes a segment from `seq` to `end` that smoltcp sent by itself; `nxt` is SND.NXT before it. With the peer's window
    /// `closed` it probes that window, and says nothing of the path. False when a timeout had smoltcp go back: what follows is
    /// planned.
    #[inline]
    pub(super) fn sent(&mut self, seq: u32, end: u32, nxt: u32, closed: bool, now: Instant) -> bool {
        if seq == end {
            return true;
        }
        if seq.wrapping_sub(nxt).cast_signed() < 0 {
            // When the window opens, new data begins with the byte that probed it.
            let probe = closed || (nxt.wrapping_sub(seq) == 1 && end != nxt);
            return self.sent_again((seq, end), nxt, probe, now);
        }
        if self.flags & SAMPLING == 0 && !closed {
            self.flags |= SAMPLING;
            (self.sample, self.sampled_at) = (end, us(now));
        }
        // RFC 6298, 5.1: a timer that runs is left alone.
        if !self.is_troubled() {
            self.sent_at = us(now);
        }
        true
    }

    /// Notes a SYN-ACK; `end` is the sequence number after it. Its acknowledgment measures the first round trip, unless it was
    /// sent twice.
    pub(super) fn sent_syn(&mut self, end: u32, now: Instant) {
        self.flags = if self.sampled_at != 0 && self.sample == end { 0 } else { SAMPLING };
        (self.sample, self.sampled_at) = (end, us(now).max(1));
    }

    #[cold]
    fn sent_again(&mut self, (seq, end): Block, nxt: u32, probe: bool, now: Instant) -> bool {
        self.sent_at = us(now);
        if probe {
            return true;
        }
        let flight = Flight { una: seq, nxt, sack: false };
        self.flags &= !BACK;
        self.time_out(flight);
        self.walked((seq, end), flight, true, now);
        false
    }

    /// A retransmission timeout (RFC 5681, 3.1; RFC 6582, 4).
    fn time_out(&mut self, flight: Flight) {
        if self.flags & TIMED_OUT == 0 {
            self.reduce();
        }
        self.timeouts = self.timeouts.saturating_add(1);
        self.restart(flight);
    }

    /// The retransmission timer has ended: everything that the peer does not hold is lost. At the second time it may have given
    /// up what it held as well (RFC 2018, 8).
    pub(super) fn timed_out(&mut self, flight: Flight, held: &mut Sacked) {
        self.time_out(flight);
        if self.timeouts > 1 {
            held.clear();
        }
        self.beyond = held.bytes();
    }

    /// No segment carries more than `mss` bytes from now on, and the first window is of such.
    pub(super) fn limit(&mut self, mss: u16) {
        self.mss = self.mss.min(mss);
        self.cwnd = self.cwnd.min(initial(self.mss));
    }

    /// What is outstanding was too large for the path and is sent again in segments of at most `mss` bytes: slowly, up to the
    /// window of before, since nothing was lost to congestion (RFC 1191, 6.5).
    pub(super) fn narrow(&mut self, mss: u16, flight: Flight) {
        if self.flags & TIMED_OUT == 0 {
            self.ssthresh = self.cwnd;
        }
        self.limit(mss);
        self.restart(flight);
    }

    fn restart(&mut self, flight: Flight) {
        let Flight { una, nxt, .. } = flight;
        self.cwnd = u32::from(self.mss);
        (self.recover, self.lost, self.mended, self.doubt) = (nxt, nxt, una, una);
        self.duplicates = 0;
        self.beyond = if flight.sack { self.beyond } else { 0 };
        self.flags = self.flags & (BACK | UNMEASURED) | TIMED_OUT | FIRST;
    }

    /// How long after now something is to be done about what is outstanding, `rto` at most: to send again, or to probe
    /// (RFC 8985, 7.2).
    #[inline]
    pub(super) fn patience(&self, outstanding: u32, rto: Duration) -> Duration {
        let wait = match self.flags {
            _ if self.srtt == 0 => return rto,
            flags if flags & DOUBTING != 0 => self.srtt / 4,
            flags if flags & (PROBED | TIMED_OUT | UNMEASURED) != 0 => return rto,
            _ => self.probe_after(outstanding),
        };
        Duration::from_micros(u64::from(wait)).min(rto)
    }

    #[inline]
    fn probe_after(&self, outstanding: u32) -> u32 {
        let delay = if outstanding <= u32::from(self.mss) { ACK_DELAY_MAX_US } else { PROBE_MIN_US };
        self.srtt.saturating_mul(2).saturating_add(delay)
    }

    /// The retransmission timeout while smoltcp's own does not count (RFC 6298, 2.3), doubled each time. The least one is that
    /// of the variation, as in Linux.
    fn timeout(&self, rto_min: Duration) -> u32 {
        let variation = self.rttvar.saturating_mul(4).max(rto_min.as_micros() as u32);
        let least = if self.srtt == 0 { UNKNOWN_US } else { self.srtt.saturating_add(variation) };
        least.saturating_mul(1 << self.timeouts.min(16)).min(RTO_MAX_US)
    }

    /// What is to be done by now; if nothing, how long there is still to wait, `rto_min` at most. Silence is probed if there is
    /// something to `probe` with.
    pub(super) fn due(&mut self, flight: Flight, held: &Sacked, probe: bool, now: Instant, rto_min: Duration) -> Due {
        let at = us(now);
        let wait = |us: u32| Due::Later(Duration::from_micros(us.into()).min(rto_min));
        if flight.bytes() == 0 || (self.srtt == 0 && !self.is_troubled()) {
            return Due::Later(rto_min);
        }
        let mut left = u32::MAX;
        if self.flags & DOUBTING != 0 && is_after(self.doubt, later(self.lost, flight.una)) {
            let doubted = at.wrapping_sub(self.doubted_at);
            if doubted >= self.srtt / 4 {
                let edge = self.edge(flight, held);
                self.lose(flight, edge, now);
                return Due::Mend;
            }
            left = self.srtt / 4 - doubted;
        }
        let passed = at.wrapping_sub(self.sent_at);
        if self.is_troubled() {
            let timeout = self.timeout(rto_min);
            if passed >= timeout {
                return Due::Timeout;
            }
            left = left.min(timeout - passed);
        }
        if self.srtt == 0 || !probe || self.flags & (PROBED | TIMED_OUT | FIRST | UNMEASURED) != 0 {
            return wait(left);
        }
        let wanted = self.probe_after(flight.bytes());
        if passed < wanted {
            return wait(left.min(wanted - passed));
        }
        self.begin(flight.una);
        if self.flags & RECOVERING == 0 {
            self.recover = flight.nxt;
        }
        self.flags |= PROBED | FIRST | UNMEASURED;
        self.sent_at = at;
        Due::Mend
    }
}

/// RFC 6928, 2.
fn initial(mss: u16) -> u32 {
    let mss = u32::from(mss);
    (10 * mss).min((2 * mss).max(14_600))
}

#[cfg(test)]
mod tests;
