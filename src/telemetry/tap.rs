//! Live capture: copies of a worker's frames, while somebody looks.
//!
//! Owns the switch that turns a capture on, the worker's side that copies, and the records that cross to the control
//! thread. Refuses to wait, allocate or lock on the worker: a frame that finds no empty record is lost and counted. When
//! no capture is on it costs a comparison each turn and a branch for each burst.

mod filter;

pub use filter::{Direction, Drops, Filter};

use crate::port::{BURST_MAX, Frame};
use crate::telemetry::Counter;
use arc_swap::ArcSwapOption;
use arrayvec::ArrayVec;
use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use crossbeam_queue::ArrayQueue;
use std::sync::Arc;

/// A copy of a frame.
#[derive(Debug)]
pub struct Record {
    /// The turn that saw it, in nanoseconds of the workers' clock.
    pub at_ns: u64,
    /// Which way it went.
    pub direction: Direction,
    /// The counter of its drop, if it was dropped.
    pub dropped: Option<Counter>,
    /// Its length in bytes.
    pub len: usize,
    /// Its first bytes.
    pub bytes: Vec<u8>,
}

/// What a worker and the control thread share during a capture. Full records go one way, empty ones the other; all of
/// them exist from the start.
#[derive(Debug)]
pub struct Capture {
    filter: Filter,
    snaplen: usize,
    full: ArrayQueue<Box<Record>>,
    empty: ArrayQueue<Box<Record>>,
    lost: AtomicU64,
}

impl Capture {
    /// A capture of the first `snaplen` bytes of frames, at least one, that holds so many records, at least one.
    pub fn new(filter: Filter, snaplen: usize, records: usize) -> Capture {
        let empty = ArrayQueue::new(records.max(1));
        let record = || Record {
            at_ns: 0,
            direction: Direction::Inbound,
            dropped: None,
            len: 0,
            bytes: Vec::with_capacity(snaplen.max(1)),
        };
        while empty.push(Box::new(record())).is_ok() {}
        Capture {
            filter,
            snaplen: snaplen.max(1),
            full: ArrayQueue::new(records.max(1)),
            empty,
            lost: AtomicU64::new(0),
        }
    }

    /// The oldest record; [`Capture::give_back`] it.
    pub fn take(&self) -> Option<Box<Record>> {
        self.full.pop()
    }

    /// Takes a record back that was read.
    pub fn give_back(&self, record: Box<Record>) {
        // As many as there are places were made.
        let _ = self.empty.push(record);
    }

    /// Frames that were wanted and found no empty record.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    fn lose(&self) {
        // One worker writes.
        self.lost.store(self.lost.load(Relaxed) + 1, Relaxed);
    }

    /// A copy of a frame; None when no record is empty.
    fn copy<F: Frame>(&self, at_ns: u64, direction: Direction, frame: &F) -> Option<Box<Record>> {
        let mut record = self.empty.pop()?;
        let Record { bytes, .. } = &mut *record;
        bytes.clear();
        let mut len = 0;
        let mut append = |part: &[u8]| {
            len += part.len();
            let room = self.snaplen - bytes.len();
            bytes.extend_from_slice(&part[..part.len().min(room)]);
            true
        };
        append(frame.bytes());
        frame.gather(&mut append);
        (record.at_ns, record.direction, record.dropped, record.len) = (at_ns, direction, None, len);
        Some(record)
    }

    fn publish(&self, record: Option<Box<Record>>) {
        match record {
            // There are as many places as records.
            Some(record) => drop(self.full.push(record)),
            None => self.lose(),
        }
    }
}

/// Where the control thread turns a worker's capture on and off.
#[derive(Debug, Default)]
pub struct Switch {
    /// Number of the capture that is on; 0: none.
    generation: AtomicU64,
    capture: ArcSwapOption<Capture>,
}

impl Switch {
    /// Whether a capture is on.
    pub fn is_on(&self) -> bool {
        self.generation.load(Relaxed) != 0
    }

    /// Turns a capture on, in place of another. `number`, not 0, differs from that of the one before.
    pub fn start(&self, capture: Arc<Capture>, number: u64) {
        self.capture.store(Some(capture));
        self.generation.store(number, Release);
    }

    /// Turns it off. The worker lets go of it within a turn: who keeps the capture until then frees its memory.
    pub fn stop(&self) {
        self.generation.store(0, Release);
        self.capture.store(None);
    }
}

/// A frame of the burst in hand that may be wanted.
struct Staged {
    index: u8,
    dropped: Option<Counter>,
    record: Option<Box<Record>>,
}

/// The worker's side.
#[derive(Default)]
pub struct Tap {
    generation: u64,
    now_ns: u64,
    capture: Option<Arc<Capture>>,
    /// Received frames whose fate is not known yet, in the order of the burst.
    staged: ArrayVec<Staged, BURST_MAX>,
    /// The frame being processed.
    current: u8,
}

impl Tap {
    /// Follows the switch; once per turn.
    #[inline]
    pub fn follow(&mut self, switch: &Switch, now_ns: u64) {
        self.now_ns = now_ns;
        let generation = switch.generation.load(Acquire);
        if generation != self.generation {
            self.change(switch, generation);
        }
    }

    #[cold]
    fn change(&mut self, switch: &Switch, generation: u64) {
        self.generation = generation;
        self.capture = if generation == 0 { None } else { switch.capture.load_full() };
    }

    /// Whether a capture is on.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.capture.is_some()
    }

    /// Copies received frames before they are processed.
    #[cold]
    pub fn stage<F: Frame>(&mut self, burst: &[F]) {
        let Some(capture) = &self.capture else { return };
        for (index, frame) in burst.iter().enumerate().take(BURST_MAX) {
            if capture.filter.takes(Direction::Inbound, frame.bytes()) {
                let record = capture.copy(self.now_ns, Direction::Inbound, frame);
                self.staged.push(Staged { index: index as u8, dropped: None, record });
            }
        }
    }

    /// Says which frame of the burst is being processed.
    #[inline]
    pub fn at(&mut self, index: u8) {
        self.current = index;
    }

    /// The frame being processed was dropped.
    pub fn mark(&mut self, reason: Counter) {
        if let Some(staged) = self.staged.iter_mut().find(|staged| staged.index == self.current) {
            staged.dropped = Some(reason);
        }
    }

    /// Hands the staged frames over: their fate is known.
    #[cold]
    pub fn commit(&mut self) {
        let Some(capture) = &self.capture else { return self.staged.clear() };
        for Staged { dropped, mut record, .. } in self.staged.drain(..) {
            if capture.filter.takes_fate(dropped) {
                record.iter_mut().for_each(|record| record.dropped = dropped);
                capture.publish(record);
            } else if let Some(record) = record {
                capture.give_back(record);
            }
        }
    }

    /// Copies frames that are about to be sent.
    #[cold]
    pub fn sent<F: Frame>(&mut self, frames: &[F]) {
        frames.iter().for_each(|frame| self.outbound(frame, None));
    }

    /// Copies a frame that was to be sent and is dropped.
    #[inline]
    pub fn dropped<F: Frame>(&mut self, frame: &F, reason: Counter) {
        if self.is_on() {
            self.outbound(frame, Some(reason));
        }
    }

    #[cold]
    fn outbound<F: Frame>(&mut self, frame: &F, dropped: Option<Counter>) {
        let Some(capture) = &self.capture else { return };
        if !capture.filter.takes_fate(dropped) || !capture.filter.takes(Direction::Outbound, frame.bytes()) {
            return;
        }
        let mut record = capture.copy(self.now_ns, Direction::Outbound, frame);
        record.iter_mut().for_each(|record| record.dropped = dropped);
        capture.publish(record);
    }
}

#[cfg(test)]
mod tests;
