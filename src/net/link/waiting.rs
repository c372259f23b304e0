//! Frames that wait for a neighbour's answer.
//!
//! Owns their order, their limits and when they are given up. Refuses to send: it says whom to ask again.

use crate::limits::{UNRESOLVED_MAX, UNRESOLVED_PER_NEIGHBOR_MAX};
use crate::net::neighbor::{RETRANS_TIME, SOLICITS_MAX};
use crate::time::Instant;
use arrayvec::ArrayVec;
use core::net::IpAddr;

/// The frames for one neighbour, oldest first.
pub(super) type Frames<F> = ArrayVec<F, UNRESOLVED_PER_NEIGHBOR_MAX>;

/// The waiting frames of one worker, by neighbour.
pub(super) struct Waiting<F> {
    queues: Vec<Queue<F>>,
    /// Frames in all queues; every queue holds at least one.
    frames: usize,
}

struct Queue<F> {
    next_hop: IpAddr,
    frames: Frames<F>,
    /// Times the neighbour was asked.
    asks: u8,
    next_ask: Instant,
}

/// What happened to a frame that is to wait.
pub(super) enum Pushed<F> {
    /// It waits, behind others.
    Queued,
    /// It waits in place of this one, which waited for longest.
    Replaced(F),
}

/// What is to be done about one neighbour.
pub(super) enum Due<F> {
    Nothing,
    Ask(IpAddr),
    GiveUp(IpAddr, Frames<F>),
}

impl<F> Waiting<F> {
    pub(super) fn new() -> Waiting<F> {
        Waiting { queues: Vec::with_capacity(UNRESOLVED_MAX), frames: 0 }
    }

    /// Frames in all queues.
    pub(super) fn frames(&self) -> usize {
        self.frames
    }

    /// Neighbours waited for.
    pub(super) fn len(&self) -> usize {
        self.queues.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.frames >= UNRESOLVED_MAX
    }

    pub(super) fn neighbor(&self, index: usize) -> Option<IpAddr> {
        self.queues.get(index).map(|queue| queue.next_hop)
    }

    /// Queues a frame behind others for the same neighbour; gives it back when none waits for it. The queue is not full.
    pub(super) fn push(&mut self, next_hop: IpAddr, frame: F) -> Result<Pushed<F>, F> {
        let Some(queue) = self.queues.iter_mut().find(|queue| queue.next_hop == next_hop) else { return Err(frame) };
        // RFC 1122, 2.3.2.2: of several packets for an unresolved neighbour, the latest is saved.
        let oldest = if queue.frames.is_full() { queue.frames.pop_at(0) } else { None };
        queue.frames.push(frame);
        self.frames += usize::from(oldest.is_none());
        Ok(oldest.map_or(Pushed::Queued, Pushed::Replaced))
    }

    /// Queues the first frame for a neighbour that was asked just now.
    pub(super) fn start(&mut self, next_hop: IpAddr, frame: F, now: Instant) {
        let frames = Frames::from_iter([frame]);
        self.queues.push(Queue { next_hop, frames, asks: 1, next_ask: now + RETRANS_TIME });
        self.frames += 1;
    }

    /// Removes the frames for the neighbour at `index`; the last neighbour takes that index.
    pub(super) fn take(&mut self, index: usize) -> Frames<F> {
        let frames = self.queues.swap_remove(index).frames;
        self.frames -= frames.len();
        frames
    }

    /// What is to be done now about the neighbour at `index`.
    pub(super) fn due(&mut self, index: usize, now: Instant) -> Due<F> {
        let Some(queue) = self.queues.get_mut(index) else { return Due::Nothing };
        if now < queue.next_ask {
            return Due::Nothing;
        }
        if queue.asks == SOLICITS_MAX {
            return Due::GiveUp(queue.next_hop, self.take(index));
        }
        queue.asks += 1;
        queue.next_ask = now + RETRANS_TIME;
        Due::Ask(queue.next_hop)
    }
}
