//! Reports of packets too big, on their way from the frame to the connection.
//!
//! Owns the few that wait for the end of the burst, their limit, and this worker's place on the board of all workers.
//! Refuses to judge them: the stack does.

use super::Link;
use crate::limits::CONTROL_ANSWERS_PER_S;
use crate::net::pmtu::{Board, TooBig};
use crate::net::rate::AnswerLimit;
use crate::port::BURST_MAX;
use crate::time::Instant;
use arrayvec::ArrayVec;

const _: () = assert!(CONTROL_ANSWERS_PER_S as usize >= BURST_MAX);

/// Reports received in this burst.
#[derive(Default)]
pub(crate) struct Reports {
    waiting: ArrayVec<TooBig, BURST_MAX>,
    limit: AnswerLimit,
    /// Read of the board so far.
    pub(super) seen: u64,
}

impl Reports {
    /// What has to be read of the board begins here.
    pub(super) fn from(board: &Board) -> Reports {
        Reports { seen: board.posted(), ..Reports::default() }
    }

    /// Keeps a report for the end of the burst; false when there are too many.
    pub(super) fn push(&mut self, report: TooBig, now: Instant) -> bool {
        self.limit.take(now) && self.waiting.try_push(report).is_ok()
    }

    #[inline]
    pub(crate) fn any(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn pop(&mut self) -> Option<TooBig> {
        self.waiting.pop_at(0)
    }
}

impl<F> Link<F> {
    /// Whether the board holds what this worker has not read.
    #[inline]
    pub(crate) fn board_moved(&self) -> bool {
        self.neighbors.board.posted() != self.reports.seen
    }

    /// What other workers left since the last time, and how many reports of theirs are lost.
    pub(crate) fn read_board(&mut self) -> (impl Iterator<Item = TooBig> + use<F>, u64) {
        let (reports, lost) = self.neighbors.board.read(&mut self.reports.seen);
        (reports.into_iter(), lost)
    }

    /// Leaves a report for the other workers.
    pub(crate) fn post(&self, report: TooBig) {
        self.neighbors.board.post(report);
    }
}
