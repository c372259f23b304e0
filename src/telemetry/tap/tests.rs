//! A worker's tap and its control side, without a worker.

use super::*;
use crate::port::{RxMeta, TxMeta};

/// A frame of one or two segments.
struct Bytes(Vec<u8>, Vec<u8>);

impl Frame for Bytes {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
    fn set_len(&mut self, len: usize) {
        self.0.truncate(len);
    }
    fn gather(&self, out: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.1.is_empty() || out(&self.1)
    }
    fn is_chained(&self) -> bool {
        !self.1.is_empty()
    }
    fn rx(&self) -> RxMeta {
        RxMeta::default()
    }
    fn set_tx(&mut self, _meta: TxMeta) {}
}

fn frames(count: u8) -> Vec<Bytes> {
    (0..count).map(|i| Bytes(vec![i; 20], vec![])).collect()
}

struct Bed {
    switch: Switch,
    tap: Tap,
    capture: Arc<Capture>,
}

impl Bed {
    fn new(filter: Filter, snaplen: usize, records: usize) -> Bed {
        let capture = Arc::new(Capture::new(filter, snaplen, records));
        let mut bed = Bed { switch: Switch::default(), tap: Tap::default(), capture };
        bed.switch.start(Arc::clone(&bed.capture), 1);
        bed.tap.follow(&bed.switch, 7);
        bed
    }

    /// Receives a burst of which the frames at `drops` are dropped.
    fn receive(&mut self, burst: &[Bytes], drops: &[(u8, Counter)]) {
        self.tap.stage(burst);
        for (index, reason) in drops {
            self.tap.at(*index);
            self.tap.mark(*reason);
        }
        self.tap.commit();
    }

    /// First byte and fate of each record.
    fn records(&self) -> Vec<(u8, Option<Counter>)> {
        let mut found = Vec::new();
        while let Some(record) = self.capture.take() {
            found.push((record.bytes[0], record.dropped));
            self.capture.give_back(record);
        }
        found
    }
}

#[test]
fn received_frames_come_with_their_fate_and_sent_ones_after_them() {
    let mut bed = Bed::new(Filter::default(), 64, 8);
    bed.receive(&frames(3), &[(1, Counter::DropArp)]);
    bed.tap.sent(&frames(1));
    bed.tap.dropped(&frames(6)[5], Counter::DropBacklog);
    let expected = [(0, None), (1, Some(Counter::DropArp)), (2, None), (0, None), (5, Some(Counter::DropBacklog))];
    assert_eq!(bed.records(), expected);
    assert_eq!(bed.capture.lost(), 0);
}

#[test]
fn a_record_says_when_which_way_and_how_much() {
    let mut bed = Bed::new(Filter::default(), 24, 2);
    bed.receive(&[Bytes(vec![1; 20], vec![2; 10])], &[]);
    bed.tap.follow(&bed.switch, 9);
    bed.tap.sent(&frames(1));
    let inbound = bed.capture.take().unwrap();
    assert_eq!((inbound.at_ns, inbound.direction, inbound.len), (7, Direction::Inbound, 30));
    assert_eq!(inbound.bytes, [vec![1; 20], vec![2; 4]].concat());
    let outbound = bed.capture.take().unwrap();
    assert_eq!((outbound.at_ns, outbound.direction, outbound.bytes.len()), (9, Direction::Outbound, 20));
}

#[test]
fn with_a_condition_on_fate_only_those_take_records() {
    let filter = Filter { drops: Some(Drops::For(Counter::DropArp)), ..Filter::default() };
    let mut bed = Bed::new(filter, 64, 2);
    bed.tap.sent(&frames(1));
    bed.receive(&frames(2), &[(1, Counter::DropArp)]);
    // The second burst finds one record for three frames.
    bed.receive(&frames(3), &[(0, Counter::DropRunt), (2, Counter::DropArp)]);
    assert_eq!(bed.records(), [(1, Some(Counter::DropArp))]);
    assert_eq!(bed.capture.lost(), 1, "the wanted frame that found none, and no other");
    bed.receive(&frames(2), &[(1, Counter::DropArp)]);
    assert_eq!(bed.records(), [(1, Some(Counter::DropArp))]);
}

#[test]
fn what_finds_no_record_is_lost_and_counted() {
    let mut bed = Bed::new(Filter::default(), 64, 2);
    bed.receive(&frames(5), &[]);
    bed.tap.sent(&frames(1));
    assert_eq!((bed.records().len(), bed.capture.lost()), (2, 4));
    bed.tap.sent(&frames(1));
    assert_eq!((bed.records().len(), bed.capture.lost()), (1, 4), "read records are used again");
}

#[test]
fn the_worker_lets_go_at_its_next_turn() {
    let mut bed = Bed::new(Filter::default(), 64, 2);
    assert!(bed.tap.is_on() && bed.switch.is_on());
    bed.switch.stop();
    assert_eq!(Arc::strong_count(&bed.capture), 2);
    bed.receive(&frames(1), &[]);
    bed.tap.follow(&bed.switch, 8);
    assert_eq!((bed.tap.is_on(), Arc::strong_count(&bed.capture)), (false, 1));
    bed.receive(&frames(1), &[]);
    assert_eq!(bed.records().len(), 1, "the turn that was under way is complete");
    let other = Arc::new(Capture::new(Filter::default(), 64, 2));
    bed.switch.start(Arc::clone(&other), 2);
    bed.tap.follow(&bed.switch, 9);
    bed.tap.sent(&frames(1));
    assert!(other.take().is_some());
}
