//! What a peer has acknowledged selectively: ranges beyond SND.UNA that it holds (RFC 2018), the scoreboard of RFC 6675.
//!
//! Owns the ranges of one connection, and how they are read from an option. Refuses to judge what is lost. Sequence numbers
//! wrap: every one is taken as so many after SND.UNA, which its caller names.

use super::options;
use arrayvec::ArrayVec;

/// The most ranges remembered: as many holes in one window. When another comes the lowest is forgotten, and what it held may be
/// sent again.
const RANGES_MAX: usize = 32;
/// The most blocks an option has room for (RFC 2018, 3).
const BLOCKS_MAX: usize = 4;

/// From the first sequence number of a range to the one after its last.
pub type Block = (u32, u32);

/// The blocks of one option.
pub type Blocks = ArrayVec<Block, BLOCKS_MAX>;

/// The ranges, lowest first; no two overlap or touch.
#[derive(Clone, Default, Debug)]
pub struct Sacked {
    ranges: ArrayVec<Block, RANGES_MAX>,
}

impl Sacked {
    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.ranges.clear();
    }

    /// Forgets what is acknowledged by now. A range that reaches beyond `una` and does not begin after it goes as a whole: who
    /// had it would have acknowledged it (RFC 2018, 8).
    pub fn advance(&mut self, una: u32) {
        self.ranges.retain(|(left, _)| is_after(*left, una));
    }

    /// Notes a block, which has to lie between `una`, SND.UNA, and `nxt`, SND.NXT: others are of what came twice (RFC 2883), or
    /// of nobody. True when it says anything new.
    pub fn add(&mut self, (left, right): Block, una: u32, nxt: u32) -> bool {
        let (from, to) = (left.wrapping_sub(una), right.wrapping_sub(una));
        if from == 0 || from >= to || to > nxt.wrapping_sub(una) || self.missing((left, right)) == 0 {
            return false;
        }
        let mut merged = (left, right);
        self.ranges.retain(|range| {
            let apart = is_after(range.0, merged.1) || is_after(merged.0, range.1);
            if !apart {
                merged.0 = earlier(merged.0, range.0);
                merged.1 = later(merged.1, range.1);
            }
            apart
        });
        let at = self.ranges.iter().take_while(|range| is_after(merged.0, range.0)).count();
        match (self.ranges.is_full(), at) {
            (true, 0) => return false,
            (true, _) => {
                self.ranges.remove(0);
                self.ranges.insert(at - 1, merged);
            }
            (false, _) => self.ranges.insert(at, merged),
        }
        true
    }

    /// Bytes held.
    pub fn bytes(&self) -> u32 {
        self.ranges.iter().map(|(left, right)| right.wrapping_sub(*left)).sum()
    }

    /// Bytes of a range that are held.
    pub fn held(&self, (from, to): Block) -> u32 {
        let part = |range: &Block| length((later(range.0, from), earlier(range.1, to)));
        if is_after(to, from) { self.ranges.iter().map(part).sum() } else { 0 }
    }

    /// Bytes of a range that are not.
    pub fn missing(&self, range: Block) -> u32 {
        length(range) - self.held(range)
    }

    /// The first of a range that is not held.
    pub fn first_missing(&self, (from, to): Block) -> Option<u32> {
        let mut at = from;
        for (left, right) in &self.ranges {
            if is_after(*left, at) {
                break;
            }
            at = later(at, *right);
        }
        is_after(to, at).then_some(at)
    }

    /// The sequence number below which everything missing has at least `bytes` held above it.
    pub fn edge(&self, bytes: u32) -> Option<u32> {
        let mut above = 0u32;
        self.ranges.iter().rev().find_map(|(left, right)| {
            above = above.saturating_add(right.wrapping_sub(*left));
            (above >= bytes).then_some(*left)
        })
    }

    /// Where the lowest range begins.
    pub fn lowest(&self) -> Option<u32> {
        self.ranges.first().map(|range| range.0)
    }
}

/// Bytes from the first to the second; none when that is no later.
fn length((from, to): Block) -> u32 {
    if is_after(to, from) { to.wrapping_sub(from) } else { 0 }
}

/// Whether `a` comes after `b` (RFC 9293, 3.4).
pub fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

/// The later of two.
pub fn later(a: u32, b: u32) -> u32 {
    if is_after(b, a) { b } else { a }
}

/// The earlier of two.
pub fn earlier(a: u32, b: u32) -> u32 {
    if is_after(a, b) { b } else { a }
}

/// The selective acknowledgments of a TCP header; none in one that is cut short or malformed.
pub fn blocks(header: &[u8]) -> Blocks {
    let sack = options::of(header).find(|option| option.kind == options::SACK);
    let blocks = sack.map_or(&[][..], |option| option.content);
    let read = |[a, b, c, d, e, f, g, h]: &[u8; 8]| {
        (u32::from_be_bytes([*a, *b, *c, *d]), u32::from_be_bytes([*e, *f, *g, *h]))
    };
    blocks.as_chunks().0.iter().take(BLOCKS_MAX).map(read).collect()
}

#[cfg(test)]
mod tests;
