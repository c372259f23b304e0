//! An impaired wire in one direction.
//!
//! Owns the frames in flight, ordered by the virtual time at which they arrive, and counts by kind what it did to them.
//! Refuses to flip bits where nothing above could notice: a frame check sequence protects real ARP frames and Ethernet
//! headers, so corruption stands for what happens inside switches and buses and falls on IP packets only, one bit each,
//! which every Internet checksum catches.

use super::packet;
use super::rng::Rng;
use crate::time::Instant;
use core::cmp::Reverse;
use core::time::Duration;
use std::collections::BinaryHeap;

/// What a wire does to frames; all zero: it carries them at once. Rates are in parts per million.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Impairment {
    /// Propagation.
    pub delay: Duration,
    /// Added to `delay`, uniformly from zero to this; does not reorder.
    pub jitter: Duration,
    /// Frames that vanish.
    pub loss_ppm: u32,
    /// Frames that arrive twice.
    pub duplicate_ppm: u32,
    /// Frames held back so that later ones overtake them.
    pub reorder_ppm: u32,
    /// How long those are held back at most.
    pub reorder_by: Duration,
    /// IP packets of which one bit is flipped.
    pub corrupt_ppm: u32,
    /// Serialisation in bits per second; None: instantly.
    pub bits_per_s: Option<u64>,
    /// Frames in flight at most, 0: no limit; further ones are lost.
    pub queue: usize,
    /// The largest IP packet that fits, 0: any. Larger ones are lost.
    pub mtu: usize,
    /// A router tells the sender what did not fit; otherwise the wire is a black hole (RFC 2923).
    pub tells: bool,
}

/// What a wire did.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Frames put on the wire.
    pub offered: u64,
    /// Frames that arrived.
    pub delivered: u64,
    /// Frames that vanished.
    pub lost: u64,
    /// Frames that arrived twice.
    pub duplicated: u64,
    /// Frames held back.
    pub reordered: u64,
    /// Frames with a flipped bit.
    pub corrupted: u64,
    /// Frames that found the queue full.
    pub overflowed: u64,
    /// Frames lost because the wire was cut.
    pub cut: u64,
    /// Frames with an IP packet that did not fit.
    pub oversized: u64,
    /// Frames under way.
    pub in_flight: u64,
}

impl Tally {
    /// The sum of two.
    #[must_use]
    pub fn plus(self, other: Tally) -> Tally {
        Tally {
            offered: self.offered + other.offered,
            delivered: self.delivered + other.delivered,
            lost: self.lost + other.lost,
            duplicated: self.duplicated + other.duplicated,
            reordered: self.reordered + other.reordered,
            corrupted: self.corrupted + other.corrupted,
            overflowed: self.overflowed + other.overflowed,
            cut: self.cut + other.cut,
            oversized: self.oversized + other.oversized,
            in_flight: self.in_flight + other.in_flight,
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    due: Instant,
    order: u64,
    frame: Vec<u8>,
}

/// A wire in one direction.
pub struct Wire {
    impairment: Impairment,
    rng: Rng,
    flight: BinaryHeap<Reverse<InFlight>>,
    order: u64,
    /// When the last frame will have been serialised.
    sent_at: Instant,
    /// When the last frame that keeps its place arrives.
    last_due: Instant,
    cut: bool,
    /// What did not fit and somebody is to be told of.
    oversized: Vec<Vec<u8>>,
    tally: Tally,
}

impl Wire {
    /// A wire that draws its impairments from `rng`.
    pub fn new(impairment: Impairment, rng: Rng) -> Wire {
        Wire {
            impairment,
            rng,
            flight: BinaryHeap::new(),
            order: 0,
            sent_at: Instant::ZERO,
            last_due: Instant::ZERO,
            cut: false,
            oversized: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Cuts the wire, or mends it: a cut wire loses what is put on it, not what is in flight.
    pub fn set_cut(&mut self, cut: bool) {
        self.cut = cut;
    }

    /// Replaces the impairment for frames sent from now on.
    pub fn set_impairment(&mut self, impairment: Impairment) {
        self.impairment = impairment;
    }

    /// What the wire did so far.
    pub fn tally(&self) -> Tally {
        Tally { in_flight: self.flight.len() as u64, ..self.tally }
    }

    /// Frames under way.
    pub fn in_flight(&self) -> usize {
        self.flight.len()
    }

    /// Puts a frame on the wire.
    pub fn send(&mut self, now: Instant, frame: Vec<u8>) {
        self.tally.offered += 1;
        if self.cut {
            self.tally.cut += 1;
        } else if self.impairment.mtu > 0 && ip_len(&frame) > self.impairment.mtu {
            self.tally.oversized += 1;
            if self.impairment.tells {
                self.oversized.push(frame);
            }
        } else if self.impairment.queue > 0 && self.flight.len() >= self.impairment.queue {
            self.tally.overflowed += 1;
        } else if self.rng.chance(self.impairment.loss_ppm) {
            self.tally.lost += 1;
        } else {
            self.carry(now, frame);
        }
    }

    /// What did not fit since this was last asked, if a router tells, and what fits.
    pub fn take_oversized(&mut self) -> (Vec<Vec<u8>>, usize) {
        (core::mem::take(&mut self.oversized), self.impairment.mtu)
    }

    fn carry(&mut self, now: Instant, mut frame: Vec<u8>) {
        let departs = self.serialize(now, frame.len());
        if self.rng.chance(self.impairment.corrupt_ppm) && flip_bit(&mut frame, &mut self.rng) {
            self.tally.corrupted += 1;
        }
        if self.rng.chance(self.impairment.duplicate_ppm) {
            self.tally.duplicated += 1;
            let due = self.arrival(departs);
            self.launch(due, frame.clone());
        }
        let due = self.arrival(departs);
        self.launch(due, frame);
    }

    /// When the frame's last bit has left.
    fn serialize(&mut self, now: Instant, len: usize) -> Instant {
        let Some(bits_per_s) = self.impairment.bits_per_s else { return now };
        let ns = len as u64 * 8 * 1_000_000_000 / bits_per_s.max(1);
        self.sent_at = self.sent_at.max(now) + Duration::from_nanos(ns);
        self.sent_at
    }

    fn arrival(&mut self, departs: Instant) -> Instant {
        let Impairment { delay, jitter, reorder_ppm, reorder_by, .. } = self.impairment;
        let due = departs + delay + self.rng.up_to(jitter);
        if self.rng.chance(reorder_ppm) {
            self.tally.reordered += 1;
            return due + self.rng.up_to(reorder_by);
        }
        self.last_due = self.last_due.max(due);
        self.last_due
    }

    fn launch(&mut self, due: Instant, frame: Vec<u8>) {
        self.order += 1;
        self.flight.push(Reverse(InFlight { due, order: self.order, frame }));
    }

    /// When the next frame arrives.
    pub fn due(&self) -> Option<Instant> {
        self.flight.peek().map(|Reverse(next)| next.due)
    }

    /// A frame that has arrived by `now`, first due first; equally due ones in the order they were sent.
    pub fn receive(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.due()? > now {
            return None;
        }
        self.tally.delivered += 1;
        self.flight.pop().map(|Reverse(next)| next.frame)
    }
}

/// The length of a frame's IP packet; 0 without one.
fn ip_len(frame: &[u8]) -> usize {
    packet::ip(frame).map_or(0, |ip| ip.end - ip.l3)
}

/// Flips one bit of an IP packet; false for other frames, which stay whole.
fn flip_bit(frame: &mut [u8], rng: &mut Rng) -> bool {
    let Some(l3) = super::packet::ip_offset(frame) else { return false };
    let bit = rng.below((frame.len() - l3) as u64 * 8);
    frame[l3 + (bit / 8) as usize] ^= 1 << (bit % 8);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::rng::MILLION;

    fn ip_frame(tag: u8) -> Vec<u8> {
        let mut frame = vec![0; 64];
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame[63] = tag;
        frame
    }

    fn drain(wire: &mut Wire) -> Vec<Vec<u8>> {
        core::iter::from_fn(|| wire.receive(Instant::FAR)).collect()
    }

    fn thousand(impairment: Impairment) -> (Vec<Vec<u8>>, Tally) {
        let mut wire = Wire::new(impairment, Rng::new(7));
        for i in 0..1000u64 {
            wire.send(Instant::from_nanos(i * 1000), ip_frame(i as u8));
        }
        let arrived = drain(&mut wire);
        (arrived, wire.tally())
    }

    #[test]
    fn a_perfect_wire_keeps_order_and_delay() {
        let delay = Duration::from_micros(5);
        let mut wire = Wire::new(Impairment { delay, ..Impairment::default() }, Rng::new(1));
        wire.send(Instant::ZERO, ip_frame(1));
        wire.send(Instant::ZERO, ip_frame(2));
        assert_eq!(wire.due(), Some(Instant::from_nanos(5000)));
        assert_eq!(wire.receive(Instant::from_nanos(4999)), None);
        assert_eq!(drain(&mut wire), [ip_frame(1), ip_frame(2)]);
    }

    #[test]
    fn jitter_alone_does_not_reorder() {
        let (arrived, _) = thousand(Impairment { jitter: Duration::from_millis(1), ..Impairment::default() });
        assert!(arrived.iter().enumerate().all(|(i, frame)| frame[63] == i as u8));
    }

    #[test]
    fn each_impairment_happens_about_as_often_as_asked_and_is_counted() {
        let tenth = MILLION / 10;
        let about = |n: u64| (60..=140).contains(&n);
        let (arrived, tally) = thousand(Impairment { loss_ppm: tenth, ..Impairment::default() });
        assert!(about(tally.lost) && arrived.len() as u64 == 1000 - tally.lost, "{tally:?}");
        let (arrived, tally) = thousand(Impairment { duplicate_ppm: tenth, ..Impairment::default() });
        assert!(about(tally.duplicated) && arrived.len() as u64 == 1000 + tally.duplicated, "{tally:?}");
        let (arrived, tally) = thousand(Impairment { corrupt_ppm: tenth, ..Impairment::default() });
        let bad = arrived.iter().enumerate().filter(|(i, frame)| **frame != ip_frame(*i as u8)).count();
        assert!(about(tally.corrupted) && bad as u64 == tally.corrupted, "{tally:?}");
        let reorder_by = Duration::from_micros(50);
        let (arrived, tally) = thousand(Impairment { reorder_ppm: tenth, reorder_by, ..Impairment::default() });
        let overtaken = arrived.windows(2).filter(|pair| pair[1][63].wrapping_sub(pair[0][63]) > 128).count();
        assert!(about(tally.reordered) && overtaken > 30, "{tally:?} {overtaken}");
    }

    #[test]
    fn bandwidth_spaces_frames_and_a_full_queue_loses_them() {
        let impairment = Impairment { bits_per_s: Some(512_000), queue: 2, ..Impairment::default() };
        let mut wire = Wire::new(impairment, Rng::new(1));
        (0..3).for_each(|i| wire.send(Instant::ZERO, ip_frame(i)));
        assert_eq!(wire.due(), Some(Instant::from_millis(1)));
        assert_eq!(wire.receive(Instant::from_millis(1)), Some(ip_frame(0)));
        assert_eq!(wire.due(), Some(Instant::from_millis(2)));
        assert_eq!(wire.tally().overflowed, 1);
    }

    #[test]
    fn arp_frames_are_never_corrupted() {
        let mut wire = Wire::new(Impairment { corrupt_ppm: MILLION, ..Impairment::default() }, Rng::new(1));
        let mut arp = vec![0; 60];
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        wire.send(Instant::ZERO, arp.clone());
        assert_eq!(drain(&mut wire), [arp]);
        assert_eq!(wire.tally().corrupted, 0);
    }
}
