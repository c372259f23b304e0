//! Eight bytes at a time, in a plain 64-bit word: where runs of ordinary bytes end.
//!
//! Owns the bit arithmetic of `http`. Refuses to judge: a byte it stops at may still be valid, which the table in
//! [`super::syntax`] decides, so that a run is never longer than the grammar allows, only found faster.

/// Which bytes are passed over. Each set is a part of the class it serves.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Skip {
    /// Letters and `-` to `9`: most of a path.
    Path,
    /// All but control bytes: a field value without HTAB.
    Text,
}

const LANES: usize = 8;
/// Pairs of bytes looked at together.
const PAIRS: usize = 2 * LANES;
/// One in each lane.
const ONES: u64 = 0x0101_0101_0101_0101;
/// The top bit of each lane: where verdicts stand.
const TOPS: u64 = ONES << 7;

/// The lanes from `first` to `last`, both ASCII. Lanes of `word` have their top bit clear, so nothing carries over.
#[inline(always)]
const fn within(word: u64, first: u8, last: u8) -> u64 {
    let not_below = word + ONES * (0x80 - first as u64);
    let above = word + ONES * (0x7f - last as u64);
    not_below & !above & TOPS
}

/// The lanes `skip` stops at. The first one is exact, and so are those before it; what follows it may be wrong.
#[inline(always)]
const fn stops(word: u64, skip: Skip) -> u64 {
    let ascii = word & !TOPS;
    let letters = within(ascii | (ONES * 0x20), b'a', b'z');
    match skip {
        Skip::Path => !((letters | within(ascii, b'-', b'9')) & !word) & TOPS,
        Skip::Text => {
            let below_space = word.wrapping_sub(ONES * 0x20) & !word;
            let not_delete = word ^ (ONES * 0x7f);
            let delete = not_delete.wrapping_sub(ONES) & !not_delete;
            (below_space | delete) & TOPS
        }
    }
}

#[inline(always)]
fn first_lane(lanes: u64) -> usize {
    lanes.trailing_zeros() as usize / 8
}

/// The number of bytes at the start of `bytes` before the first one that `skip` stops at; 0 if there are fewer than eight.
#[inline(always)]
pub(super) fn skip(bytes: &[u8], skip: Skip) -> usize {
    let mut rest = bytes;
    while let Some((chunk, after)) = rest.split_first_chunk::<LANES>() {
        let stops = stops(u64::from_le_bytes(*chunk), skip);
        if stops != 0 {
            return bytes.len() - rest.len() + first_lane(stops);
        }
        rest = after;
    }
    // What comes before the last few bytes was passed over already: look at the last eight.
    let Some(chunk) = bytes.last_chunk::<LANES>() else { return 0 };
    let stops = stops(u64::from_le_bytes(*chunk), skip);
    if stops == 0 { bytes.len() } else { bytes.len() - LANES + first_lane(stops) }
}

/// The position of the first LF CR: the one pair in a head that ends it.
#[inline(always)]
pub(super) fn find_lf_cr(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    while let Some(chunk) = rest.first_chunk::<{ PAIRS + 1 }>() {
        if let Some(lane) = first_lf_cr(chunk) {
            return Some(bytes.len() - rest.len() + lane);
        }
        rest = &rest[PAIRS..];
    }
    // There is none before the last few bytes: look at as many as make a chunk.
    match bytes.last_chunk::<{ PAIRS + 1 }>() {
        Some(chunk) => first_lf_cr(chunk).map(|lane| bytes.len() - PAIRS - 1 + lane),
        None => bytes.windows(2).position(|pair| pair == b"\n\r"),
    }
}

#[inline(always)]
fn first_lf_cr(chunk: &[u8; PAIRS + 1]) -> Option<usize> {
    let (low, high) = (lf_cr(chunk, 0), lf_cr(chunk, LANES));
    match (low, high) {
        _ if low | high == 0 => None,
        (0, _) => Some(LANES + first_lane(high)),
        _ => Some(first_lane(low)),
    }
}

/// The lanes from `at` that hold LF and are followed by CR; exact up to the first.
#[inline(always)]
fn lf_cr(chunk: &[u8; PAIRS + 1], at: usize) -> u64 {
    let word = |at| chunk[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
    let differ = (word(at) ^ (ONES * u64::from(b'\n'))) | (word(at + 1) ^ (ONES * u64::from(b'\r')));
    differ.wrapping_sub(ONES) & !differ & TOPS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::syntax::{self, PATH, QUERY, VALUE};

    const ALL: [Skip; 2] = [Skip::Path, Skip::Text];

    fn passes(skip: Skip, b: u8) -> bool {
        match skip {
            Skip::Path => b.is_ascii_alphabetic() || (b'-'..=b'9').contains(&b),
            Skip::Text => b >= b' ' && b != 0x7f,
        }
    }

    #[test]
    fn every_byte_in_every_lane_is_told_apart() {
        for b in 0..=255u8 {
            for lane in 0..LANES {
                let mut bytes = [b'a'; LANES];
                bytes[lane..].fill(b);
                for kind in ALL {
                    let end = if passes(kind, b) { LANES } else { lane };
                    assert_eq!(skip(&bytes, kind), end, "{b:#x} in lane {lane}, {kind:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_passed_over_is_valid() {
        for b in 0..=255u8 {
            assert!(!passes(Skip::Path, b) || (syntax::is(b, PATH) && syntax::is(b, QUERY)), "{b:#x}");
            assert!(!passes(Skip::Text, b) || syntax::is(b, VALUE), "{b:#x}");
        }
    }

    #[test]
    fn runs_and_ends_are_found_at_any_length_and_place() {
        for len in 0..40 {
            for stop in 0..=len {
                let mut bytes = vec![b'a'; len];
                bytes.iter_mut().skip(stop).take(1).for_each(|b| *b = 0);
                for from in 0..=stop {
                    assert_eq!(syntax::long_run(&bytes[from..], PATH, Skip::Path), stop - from, "{len} {from}");
                    assert_eq!(syntax::long_run(&bytes[from..], VALUE, Skip::Text), stop - from, "{len} {from}");
                }
                if stop + 1 < len {
                    bytes[stop..stop + 2].copy_from_slice(b"\n\r");
                    assert_eq!(find_lf_cr(&bytes), Some(stop));
                    assert_eq!(find_lf_cr(&bytes[stop..]), Some(0));
                    assert_eq!(find_lf_cr(&bytes[stop + 1..]), None);
                }
            }
        }
    }
}
