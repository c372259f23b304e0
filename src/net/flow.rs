//! The flow table: 4-tuple to connection slot.
//!
//! Owns which slot a 4-tuple has, in 13 bytes per connection and at most two cache lines per question. Refuses to hold
//! keys (the connection has its own, and the caller compares it) and to trust the device's Toeplitz hash, whose key
//! peers may know.
//!
//! Buckets of one cache line hold ten entries of a 16-bit tag and a slot. A key has two buckets: it goes into the first
//! while that is less than 7/10 full, else into the emptier one. A bucket counts its keys that went elsewhere, so that
//! most questions end with one line. At capacity the table is half full. By simulation 83 % of entries are then in their
//! first bucket, 1 in 2,000 buckets has nine entries and none of 262,144 has ten; only a key with two such is refused.

use super::key::FlowKey;
use crate::failure::Failure;
use crate::mem::{Arena, Slice};

/// No room: the table holds its capacity, or both buckets of the key are full.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Full;

/// A bounded table from 4-tuples to slots.
#[derive(Debug)]
pub struct FlowTable {
    buckets: Slice<Bucket>,
    len: usize,
    capacity: usize,
    keys: HashKeys,
}

impl FlowTable {
    /// The bytes of the arena that a table takes.
    pub const fn arena_bytes(capacity: usize) -> usize {
        Arena::slice_bytes::<Bucket>(bucket_count(capacity))
    }

    /// An empty table for `capacity` connections, at most 2^24. The secret has to be random.
    pub fn new(arena: &Arena, capacity: usize, secret: [u64; 2]) -> Result<FlowTable, Failure> {
        let buckets = arena.slice(bucket_count(capacity), |_| Bucket::default())?;
        Ok(FlowTable { buckets, len: 0, capacity, keys: HashKeys::new(secret) })
    }

    /// The hash of `key`, which all other methods take.
    #[inline(always)]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        self.keys.hash(key)
    }

    /// Asks for the bucket that most likely answers `get(hash, ..)`.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        self.buckets.prefetch(self.first(hash), 1);
    }

    /// The slot for which `is_it` is true, among those inserted with `hash`. It is asked for one wrong slot in some
    /// thousand calls, so that `get(hash, |_| true)` is the slot to prefetch.
    #[inline]
    pub fn get(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let first = &self.buckets[self.first(hash)];
        if let Some(lane) = first.find(tag(hash), &mut is_it) {
            return Some(first.slots[lane]);
        }
        if first.elsewhere == 0 {
            return None;
        }
        let second = &self.buckets[self.second(hash)];
        second.find(tag(hash), &mut is_it).map(|lane| second.slots[lane])
    }

    /// Adds a slot whose key is not in the table.
    pub fn insert(&mut self, hash: u64, slot: u32) -> Result<(), Full> {
        if self.len == self.capacity {
            return Err(Full);
        }
        let (first, second) = (self.first(hash), self.second(hash));
        let load = self.buckets[first].len();
        let go_elsewhere = load >= FIRST_CHOICE_MAX && self.buckets[second].len() < load;
        let chosen = if go_elsewhere { second } else { first };
        let lane = self.buckets[chosen].find_free().ok_or(Full)?;
        self.buckets[chosen].set(lane, tag(hash), slot);
        self.buckets[first].elsewhere += u32::from(go_elsewhere);
        self.len += 1;
        Ok(())
    }

    /// Removes the slot inserted with `hash`; false when there is none.
    pub fn remove(&mut self, hash: u64, slot: u32) -> bool {
        let (first, second) = (self.first(hash), self.second(hash));
        if let Some(lane) = self.buckets[first].find(tag(hash), |it| it == slot) {
            self.buckets[first].set(lane, FREE, 0);
        } else if let Some(lane) = self.buckets[second].find(tag(hash), |it| it == slot) {
            self.buckets[second].set(lane, FREE, 0);
            self.buckets[first].elsewhere -= 1;
        } else {
            return false;
        }
        self.len -= 1;
        true
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The most entries.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    #[inline(always)]
    fn first(&self, hash: u64) -> usize {
        reduce((hash >> 32) as u32, self.buckets.len())
    }

    #[inline(always)]
    fn second(&self, hash: u64) -> usize {
        reduce(hash as u32, self.buckets.len())
    }
}

/// Entries of a bucket.
const LANES: usize = 10;
/// A bucket with fewer entries takes every key whose first bucket it is.
const FIRST_CHOICE_MAX: usize = 7;
/// The tag of no entry.
const FREE: u16 = 0;

const fn bucket_count(capacity: usize) -> usize {
    let half_full = capacity.div_ceil(LANES / 2);
    if half_full == 0 { 1 } else { half_full }
}

/// Spreads 32 bits evenly over `0..n` by their upper bits (Lemire, "Fast random integer generation in an interval").
#[inline(always)]
pub(super) fn reduce(bits: u32, n: usize) -> usize {
    ((u64::from(bits) * n as u64) >> 32) as usize
}

/// Both halves' lower bits: those that choose neither bucket.
#[inline(always)]
fn tag(hash: u64) -> u16 {
    (((hash >> 32) ^ hash) as u16).max(FREE + 1)
}

/// One cache line.
#[derive(Clone, Debug, Default)]
#[repr(C, align(64))]
struct Bucket {
    /// Tags of lanes 0 to 3, 4 to 7, and 8 and 9, sixteen bits each.
    tags: [u64; 2],
    last_tags: u32,
    /// Keys whose first bucket this is and which are in their second.
    elsewhere: u32,
    slots: [u32; LANES],
}

const _: () = assert!(size_of::<Bucket>() == crate::mem::CACHE_LINE);

impl Bucket {
    #[inline(always)]
    fn words(&self) -> [u64; 3] {
        [self.tags[0], self.tags[1], u64::from(self.last_tags)]
    }

    /// The first lane with this tag, which is not FREE, and a slot that `is_it`.
    #[inline(always)]
    fn find(&self, tag: u16, mut is_it: impl FnMut(u32) -> bool) -> Option<usize> {
        for (i, word) in self.words().into_iter().enumerate() {
            let mut found = equal_lanes(word, tag);
            while found != 0 {
                let lane = i * 4 + found.trailing_zeros() as usize / 16;
                // The third word has two lanes only; the tags of the others would be FREE.
                if self.slots.get(lane).is_some_and(|&slot| is_it(slot)) {
                    return Some(lane);
                }
                found &= found - 1;
            }
        }
        None
    }

    fn find_free(&self) -> Option<usize> {
        (0..LANES).find(|&lane| self.tag(lane) == FREE)
    }

    fn len(&self) -> usize {
        (0..LANES).filter(|&lane| self.tag(lane) != FREE).count()
    }

    fn tag(&self, lane: usize) -> u16 {
        (self.words()[lane / 4] >> (lane % 4 * 16)) as u16
    }

    fn set(&mut self, lane: usize, tag: u16, slot: u32) {
        let shift = lane % 4 * 16;
        match self.tags.get_mut(lane / 4) {
            Some(word) => *word = *word & !(0xffff << shift) | u64::from(tag) << shift,
            None => self.last_tags = self.last_tags & !(0xffff << shift) | u32::from(tag) << shift,
        }
        self.slots[lane] = slot;
    }
}

/// The top bit of each sixteen-bit lane of `word` that equals `tag`.
#[inline(always)]
fn equal_lanes(word: u64, tag: u16) -> u64 {
    const LOW_15: u64 = 0x7fff_7fff_7fff_7fff;
    let differ = word ^ (u64::from(tag) * 0x0001_0001_0001_0001);
    // A lane's top bit of the sum is set where one of its lower bits is; no lane carries into the next.
    !(((differ & LOW_15) + LOW_15) | differ | LOW_15)
}

/// A keyed hash of 4-tuples: three multiplications with a secret, each folded.
#[derive(Copy, Clone, Debug)]
pub(super) struct HashKeys([u64; 4]);

impl HashKeys {
    pub(super) fn new(secret: [u64; 2]) -> HashKeys {
        // Digits of pi, so that a weak secret still gives multipliers with many bits set.
        let [a, b] = [secret[0] ^ 0x243f_6a88_85a3_08d3, secret[1] ^ 0x1319_8a2e_0370_7344];
        HashKeys([a, b, fold(a, b ^ 0xa409_3822_299f_31d0), fold(b, a ^ 0x082e_fa98_ec4e_6c89)])
    }

    #[inline(always)]
    pub(super) fn hash(&self, key: &FlowKey) -> u64 {
        let [a, b, c, d] = self.0;
        let ports = u64::from(key.remote_port) << 16 | u64::from(key.local_port);
        // Beside our own address, so that both multiplications mix the ports; in the last one again, because in an IPv6
        // address those bits are taken.
        let low = fold(key.remote as u64 ^ a, key.local as u64 ^ b ^ ports << 32);
        let high = fold((key.remote >> 64) as u64 ^ c, (key.local >> 64) as u64 ^ d);
        fold(low, high ^ ports)
    }
}

/// The halves of the product, folded: each bit of the result depends on all bits of both.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests;
