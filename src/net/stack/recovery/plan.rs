//! What smoltcp sends next while a loss is repaired.
//!
//! Owns the walk: smoltcp sends again from the first byte that is not acknowledged, everything in turn; of that the lost
//! segments leave, as far as the network has room (RFC 6675, 5), and the others stay here. Refuses to judge what is lost.

use super::{BACK, FIRST, Flight, Recovery, SAMPLING, us};
use crate::net::sacked::{Block, Sacked, is_after, later};
use crate::time::Instant;

/// What smoltcp does next.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(in crate::net::stack) enum Plan {
    /// There is nothing to plan: it does what it likes.
    Go,
    /// Nothing: the network is as full as it may be.
    Rest,
    /// It sends a segment that was never sent.
    New,
    /// It sends the next segment again.
    Send,
    /// The same, and the segment stays here: the peer has it, or it is under way.
    Skip,
    /// It goes back to the first unacknowledged segment, which leaves or stays here.
    Back { leaves: bool },
}

impl Recovery {
    /// What smoltcp does next, with so many sequence numbers queued and never sent.
    pub(in crate::net::stack) fn plan(&mut self, flight: Flight, held: &Sacked, unsent: u32) -> Plan {
        let Flight { una, nxt, .. } = flight;
        let mss = u32::from(self.mss);
        let at = if self.flags & BACK != 0 { later(self.at, una) } else { nxt };
        let back = is_after(nxt, at);
        if !back {
            self.flags &= !BACK;
        }
        let hole = held.first_missing((later(self.mended, una), self.lost));
        let first = self.flags & FIRST != 0;
        let next = if first { Some(una) } else { hole };
        let fits = |len| self.pipe(flight, held) + len <= self.cwnd;
        match next {
            None if unsent == 0 => {
                if back {
                    Plan::Rest
                } else {
                    Plan::Go
                }
            }
            None if !fits(unsent.min(mss)) => Plan::Rest,
            None => {
                if back {
                    Plan::Skip
                } else {
                    Plan::New
                }
            }
            Some(_) if !first && !fits(mss) => Plan::Rest,
            Some(next) if is_after(at, next) => {
                self.at = una;
                Plan::Back { leaves: next.wrapping_sub(una) < mss }
            }
            Some(next) if next.wrapping_sub(at) >= mss => Plan::Skip,
            Some(_) => Plan::Send,
        }
    }

    /// RFC 6675, 4, SetPipe: bytes in the network.
    fn pipe(&self, flight: Flight, held: &Sacked) -> u32 {
        let lost = held.missing((later(self.mended, flight.una), self.lost));
        flight.bytes().saturating_sub(self.beyond).saturating_sub(lost)
    }

    /// Notes that smoltcp sent from `seq` to `end` on its way, and whether that was to be sent again.
    pub(in crate::net::stack) fn walked(&mut self, (seq, end): Block, flight: Flight, again: bool, now: Instant) {
        let Flight { una, nxt, .. } = flight;
        if seq == una && self.flags & BACK != 0 && is_after(self.at, una) {
            // Its own timer ended.
            self.time_out(flight);
        }
        self.at = end;
        self.flags |= BACK;
        if !again {
            return;
        }
        // RFC 6298, 3: the round trip of what was sent twice says nothing.
        self.flags &= !SAMPLING;
        self.mended = later(self.mended, end);
        if seq == una {
            self.flags &= !FIRST;
            self.after = nxt;
            self.sent_at = us(now);
        }
    }

    /// smoltcp is not where it should be, and sent nothing: the way back begins anew.
    pub(in crate::net::stack) fn strayed(&mut self) {
        self.flags &= !BACK;
    }

    /// Whether smoltcp is behind SND.NXT.
    #[inline]
    pub(in crate::net::stack) fn is_back(&self) -> bool {
        self.flags & BACK != 0
    }
}
