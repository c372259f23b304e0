//! Frames on their way out: a bounded queue between the connections and the port's transmit ring.
//!
//! Owns the order of frames, the backlog limit, and the worker's tap, which sees frames that leave or are dropped. Refuses
//! to drop what it accepted: a frame taken by [`TxQueue::push`] reaches the port, however many turns that takes.

use crate::limits::TX_BACKLOG_MAX;
use crate::port::{BURST_MAX, Burst, Frame, Port};
use crate::telemetry::tap::Tap;
use crate::telemetry::{Counter, Counters};
use std::collections::VecDeque;

/// A FIFO of at most `TX_BACKLOG_MAX` frames, sent by bursts.
pub struct TxQueue<F> {
    head: Burst<F>,
    rest: VecDeque<F>,
    /// Bytes pushed and not yet counted.
    bytes: u64,
    /// Frames at the front of `head` that the tap has seen and the port did not take.
    seen: usize,
    /// The live capture's hold on this worker.
    pub tap: Tap,
}

impl<F: Frame> Default for TxQueue<F> {
    fn default() -> Self {
        TxQueue {
            head: Burst::new(),
            rest: VecDeque::with_capacity(TX_BACKLOG_MAX),
            bytes: 0,
            seen: 0,
            tap: Tap::default(),
        }
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
            self.bytes += frame.bytes().len() as u64;
            self.head.push(frame);
            return Ok(());
        }
        if self.rest.len() == TX_BACKLOG_MAX {
            return Err(frame);
        }
        self.bytes += frame.bytes().len() as u64;
        self.rest.push_back(frame);
        Ok(())
    }

    /// Drops a frame that was to be sent, and counts it.
    pub fn discard(&mut self, frame: F, reason: Counter, counters: &Counters) {
        counters.inc(reason);
        self.tap.dropped(&frame, reason);
        drop(frame);
    }

    /// Hands frames to the port until it takes no more or none is left; returns how many it took.
    pub fn flush<P: Port<Frame = F>>(&mut self, port: &mut P, counters: &Counters) -> usize {
        let mut sent = 0;
        counters.add(Counter::TxBytes, core::mem::take(&mut self.bytes));
        while !self.head.is_empty() {
            if self.tap.is_on() {
                self.tap.sent(self.head.get(self.seen..).unwrap_or_default());
                self.seen = self.head.len();
            }
            let taken = port.transmit(&mut self.head);
            self.seen = self.seen.saturating_sub(taken);
            counters.add(Counter::TxFrames, taken as u64);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Caps;
    use crate::sim::port::{FramePool, SimFrame, SimPort};
    use crate::telemetry::tap::{Capture, Filter};
    use std::sync::Arc;

    /// A full queue of frames that hold their number.
    fn filled(pool: &FramePool) -> (TxQueue<SimFrame>, u32) {
        let mut queue = TxQueue::default();
        for number in 0u32.. {
            let frame = pool.frame(&number.to_be_bytes()).unwrap();
            if let Err(refused) = queue.push(frame) {
                assert_eq!(refused.bytes(), number.to_be_bytes());
                return (queue, number);
            }
        }
        unreachable!("the queue has a limit");
    }

    #[test]
    fn frames_leave_in_order_however_many_turns_it_takes() {
        let pool = FramePool::new(2 * TX_BACKLOG_MAX);
        let counters = Counters::default();
        let mut port = SimPort::new(Caps::default(), pool.clone());
        let (mut queue, held) = filled(&pool);
        assert_eq!((queue.len(), queue.room()), (TX_BACKLOG_MAX + BURST_MAX, 0));
        let mut sent = 0u32;
        for limit in [0, 1, 63, 64, 65, 200].into_iter().cycle() {
            port.tx_limit = limit;
            let taken = queue.flush(&mut port, &counters) as u32;
            let numbers: Vec<u8> = port.tx.drain(..).flat_map(|frame| frame.bytes().to_vec()).collect();
            let expected: Vec<u8> = (sent..sent + taken).flat_map(u32::to_be_bytes).collect();
            assert_eq!(numbers, expected);
            sent += taken;
            if queue.is_empty() {
                break;
            }
        }
        assert_eq!(sent, held);
        assert_eq!(counters.read(Counter::TxFrames), u64::from(held));
        assert_eq!(counters.read(Counter::TxBytes), 4 * u64::from(held));
        assert_eq!(pool.live(), 0);
    }

    #[test]
    fn a_capture_sees_each_frame_once_however_often_it_is_offered() {
        let pool = FramePool::new(2 * TX_BACKLOG_MAX);
        let counters = Counters::default();
        let mut port = SimPort::new(Caps::default(), pool.clone());
        let capture = Arc::new(Capture::new(Filter::default(), 64, 2 * TX_BACKLOG_MAX));
        let (mut queue, held) = filled(&pool);
        counters.tap.start(Arc::clone(&capture), 1);
        queue.tap.follow(&counters.tap, 1);
        for limit in [0, 1, 63, 64, 65, 200].into_iter().cycle() {
            port.tx_limit = limit;
            queue.flush(&mut port, &counters);
            port.tx.clear();
            if queue.is_empty() {
                break;
            }
        }
        queue.discard(pool.frame(b"last").unwrap(), Counter::DropBacklog, &counters);
        let records: Vec<_> = core::iter::from_fn(|| capture.take()).collect();
        let numbers: Vec<u8> = records.iter().take(held as usize).flat_map(|record| record.bytes.clone()).collect();
        assert_eq!(numbers, (0..held).flat_map(u32::to_be_bytes).collect::<Vec<u8>>());
        let last = &records[held as usize..];
        assert_eq!((last.len(), last[0].dropped), (1, Some(Counter::DropBacklog)));
        assert_eq!(counters.read(Counter::DropBacklog), 1);
    }

    #[test]
    fn a_stalled_port_keeps_what_it_did_not_take() {
        let pool = FramePool::new(2 * TX_BACKLOG_MAX);
        let counters = Counters::default();
        let mut port = SimPort::new(Caps::default(), pool.clone());
        let (mut queue, held) = filled(&pool);
        port.tx_limit = 10;
        assert_eq!(queue.flush(&mut port, &counters), 10);
        assert_eq!(queue.flush(&mut port, &counters), 0);
        assert_eq!((queue.len(), queue.room()), (held as usize - 10, 10), "taken frames make room");
        assert!(queue.push(pool.frame(b"late").unwrap()).is_ok());
    }
}
