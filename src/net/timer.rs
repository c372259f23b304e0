//! A lazy hierarchical timer wheel.
//!
//! Owns one lower bound per slot: the earliest time at which its owner wants to look at its own deadlines again. Refuses
//! to know those deadlines, and to move an entry later: that costs more than letting it fire and arming it anew, which
//! a busy connection does once per timeout and not once per packet.
//!
//! Eight levels of 64 buckets, each bucket a doubly linked list threaded through the slots' entries, so that arming and
//! cancelling take constant time. An entry's level is that of the highest digit, in base 64, in which its tick differs
//! from the wheel's. Bitmaps name the next bucket that is not empty: idle time costs nothing, however long.

use crate::failure::Failure;
use crate::mem::{Arena, Slice};
use crate::time::Instant;

/// A tick is 2^20 ns, 1.05 ms.
pub const TICK_NS: u64 = 1 << TICK_BITS;

const TICK_BITS: u32 = 20;
const DIGIT_BITS: u32 = 6;
const BUCKETS: usize = 1 << DIGIT_BITS;
/// Every instant has a tick: 64 bits of nanoseconds are 44 of ticks, and a carry.
const LEVELS: usize = 8;
const _: () = assert!(64 - TICK_BITS < LEVELS as u32 * DIGIT_BITS);

/// One timer for each of a number of slots. An entry fires at or after its time, at most a tick late when
/// [`TimerWheel::expire`] is called often enough with a sufficient budget.
#[derive(Debug)]
pub struct TimerWheel {
    entries: Slice<Entry>,
    /// First entries of the buckets, level by level, and of the list of those being expired.
    heads: Slice<u32>,
    /// Buckets that are not empty, per level. All are beyond the wheel's tick.
    occupied: [u64; LEVELS],
    /// Levels that are not empty.
    levels: u8,
    /// Buckets that begin at or before this tick are empty.
    tick: u64,
    len: usize,
}

#[derive(Copy, Clone, Debug)]
struct Entry {
    tick: u64,
    next: u32,
    /// The entry before, or HEAD with the list this is the first of.
    prev: u32,
}

const NONE: u32 = u32::MAX;
const HEAD: u32 = 1 << 31;
const UNARMED: u64 = u64::MAX;
/// The list of entries being expired.
const EXPIRING: usize = LEVELS * BUCKETS;

impl TimerWheel {
    /// The bytes of the arena that a wheel takes.
    pub const fn arena_bytes(slots: usize) -> usize {
        Arena::slice_bytes::<Entry>(slots).saturating_add(Arena::slice_bytes::<u32>(EXPIRING + 1))
    }

    /// A wheel for slots `0..slots`, at most 2^24, none of them armed.
    pub fn new(arena: &Arena, slots: usize, now: Instant) -> Result<TimerWheel, Failure> {
        Ok(TimerWheel {
            entries: arena.slice(slots, |_| Entry { tick: UNARMED, next: NONE, prev: NONE })?,
            heads: arena.slice(EXPIRING + 1, |_| NONE)?,
            occupied: [0; LEVELS],
            levels: 0,
            tick: now.nanos() >> TICK_BITS,
            len: 0,
        })
    }

    /// Makes `slot` fire at `at` or at the time it is armed for, whichever is earlier. A time in the past is the next
    /// tick, so that arming never makes an endless loop of expiries.
    #[inline]
    pub fn arm(&mut self, slot: u32, at: Instant) {
        let tick = at.nanos().div_ceil(TICK_NS).max(self.tick + 1);
        let armed = self.entries[slot as usize].tick;
        if armed <= tick {
            return;
        }
        if armed != UNARMED {
            self.unlink(slot);
        }
        self.link(slot, tick);
    }

    /// Disarms `slot`, if it is armed.
    pub fn cancel(&mut self, slot: u32) {
        if self.is_armed(slot) {
            self.unlink(slot);
        }
    }

    /// Whether `slot` will fire.
    pub fn is_armed(&self, slot: u32) -> bool {
        self.entries[slot as usize].tick != UNARMED
    }

    /// Slots armed.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no slot is armed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Disarms the slots whose time has come and gives them to `fire`, in no particular order within a tick; returns
    /// how many. Looks at `max` entries at most, those it moves to a lower level included; the next call goes on where
    /// this one stopped. A `now` before an earlier one is taken for that one.
    pub fn expire(&mut self, now: Instant, max: usize, mut fire: impl FnMut(u32)) -> usize {
        let target = self.tick.max(now.nanos() >> TICK_BITS);
        let mut fired = 0;
        for _ in 0..max {
            if self.heads[EXPIRING] == NONE && !self.advance(target) {
                break;
            }
            let slot = self.heads[EXPIRING];
            let tick = self.entries[slot as usize].tick;
            self.unlink(slot);
            if tick <= target {
                fire(slot);
                fired += 1;
            } else {
                self.link(slot, tick);
            }
        }
        fired
    }

    /// No slot fires before this time; None while none is armed. In the past when [`TimerWheel::expire`] has work left.
    pub fn next_deadline(&self) -> Option<Instant> {
        let tick = if self.heads[EXPIRING] != NONE { self.tick } else { self.next_bucket()?.1 };
        Some(Instant::from_nanos(tick.saturating_mul(TICK_NS)))
    }

    /// Moves to the next bucket that is not empty and begins its expiry, or to `target` if that comes first; whether
    /// there was such a bucket. EXPIRING has to be empty.
    fn advance(&mut self, target: u64) -> bool {
        match self.next_bucket() {
            Some((bucket, start)) if start <= target => {
                self.tick = start;
                let first = core::mem::replace(&mut self.heads[bucket], NONE);
                self.vacate(bucket);
                self.heads[EXPIRING] = first;
                self.entries[first as usize].prev = HEAD | EXPIRING as u32;
                true
            }
            _ => {
                self.tick = target;
                false
            }
        }
    }

    /// The next bucket that is not empty, and its first tick. A lower level's buckets all come before a higher one's.
    fn next_bucket(&self) -> Option<(usize, u64)> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros();
        let digit = self.occupied[level as usize].trailing_zeros();
        let shift = level * DIGIT_BITS;
        let above = self.tick >> shift >> DIGIT_BITS << DIGIT_BITS;
        Some((level as usize * BUCKETS + digit as usize, (above | u64::from(digit)) << shift))
    }

    /// Puts an unarmed slot into the bucket of `tick`, which is after the wheel's.
    fn link(&mut self, slot: u32, tick: u64) {
        debug_assert!(tick > self.tick);
        let level = (tick ^ self.tick).ilog2() / DIGIT_BITS;
        let digit = tick >> (level * DIGIT_BITS) & (BUCKETS as u64 - 1);
        let bucket = level as usize * BUCKETS + digit as usize;
        self.occupied[level as usize] |= 1 << digit;
        self.levels |= 1 << level;
        let next = core::mem::replace(&mut self.heads[bucket], slot);
        if next != NONE {
            self.entries[next as usize].prev = slot;
        }
        self.entries[slot as usize] = Entry { tick, next, prev: HEAD | bucket as u32 };
        self.len += 1;
    }

    /// Takes an armed slot out of its list.
    fn unlink(&mut self, slot: u32) {
        let Entry { next, prev, .. } = self.entries[slot as usize];
        self.entries[slot as usize].tick = UNARMED;
        self.len -= 1;
        if next != NONE {
            self.entries[next as usize].prev = prev;
        }
        if prev & HEAD == 0 {
            self.entries[prev as usize].next = next;
            return;
        }
        let list = (prev & !HEAD) as usize;
        self.heads[list] = next;
        if next == NONE && list != EXPIRING {
            self.vacate(list);
        }
    }

    /// Marks a bucket as empty.
    fn vacate(&mut self, bucket: usize) {
        let level = bucket / BUCKETS;
        self.occupied[level] &= !(1 << (bucket % BUCKETS));
        if self.occupied[level] == 0 {
            self.levels &= !(1 << level);
        }
    }
}

#[cfg(test)]
mod tests;
