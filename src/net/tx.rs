//! Frames on their way out: a bounded queue between the connections and the port's transmit ring.
//!
//! Owns the order of frames and the backlog limit. Refuses to drop what it accepted: a frame taken by [`TxQueue::push`]
//! reaches the port, however many turns that takes.

use crate::limits::TX_BACKLOG_MAX;
use crate::port::{BURST_MAX, Burst, Frame, Port};
use crate::telemetry::{Counter, Counters};
use std::collections::VecDeque;

/// A FIFO of at most `TX_BACKLOG_MAX` frames, sent by bursts.
pub struct TxQueue<F> {
    head: Burst<F>,
    rest: VecDeque<F>,
}

impl<F: Frame> Default for TxQueue<F> {
    fn default() -> Self {
        TxQueue { head: Burst::new(), rest: VecDeque::with_capacity(TX_BACKLOG_MAX) }
    }
}

impl<F: Frame> TxQueue<F> {
    /// Frames that can still be pushed.
    #[inline]
    pub fn room(&self) -> usize {
        TX_BACKLOG_MAX - self.rest.len()
    }

    /// Frames waiting.
    pub fn len(&self) -> usize {
        self.head.len() + self.rest.len()
    }

    /// Whether no frame waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a frame; gives it back when the backlog is full.
    #[inline]
    pub fn push(&mut self, frame: F) -> Result<(), F> {
        if self.rest.is_empty() && self.head.len() < BURST_MAX {
            self.head.push(frame);
            return Ok(());
        }
        if self.rest.len() == TX_BACKLOG_MAX {
            return Err(frame);
        }
        self.rest.push_back(frame);
        Ok(())
    }

    /// Hands frames to the port until it takes no more or none is left; returns how many it took.
    pub fn flush<P: Port<Frame = F>>(&mut self, port: &mut P, counters: &Counters) -> usize {
        let mut sent = 0;
        while !self.head.is_empty() {
            let bytes: usize = self.head.iter().map(|f| f.bytes().len()).sum();
            let taken = port.transmit(&mut self.head);
            let left: usize = self.head.iter().map(|f| f.bytes().len()).sum();
            counters.add(Counter::TxFrames, taken as u64);
            counters.add(Counter::TxBytes, (bytes - left) as u64);
            sent += taken;
            let full = !self.head.is_empty();
            while self.head.len() < BURST_MAX {
                let Some(frame) = self.rest.pop_front() else { break };
                self.head.push(frame);
            }
            if full {
                break;
            }
        }
        sent
    }
}
