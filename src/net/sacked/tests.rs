//! The scoreboard against a bitmap of the window.
//!
//! Owns examples and drawn windows. Refuses packets: `tests/tcp` has them.

use super::*;
use proptest::prelude::*;

fn header(options: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 20];
    header[12] = ((20 + options.len()) as u8 / 4) << 4;
    header.extend(options);
    header
}

#[test]
fn blocks_are_read_from_an_option_and_from_nothing_that_is_cut_short() {
    let mut options = vec![1, 1, 5, 18];
    options.extend([7u32, 9, u32::MAX, 3].map(u32::to_be_bytes).concat());
    assert_eq!(blocks(&header(&options)).as_slice(), [(7, 9), (u32::MAX, 3)]);
    // Behind timestamps, as Linux sends them.
    let stamped = [&[1, 1, 8, 10][..], &[0; 8], &options].concat();
    assert_eq!(blocks(&header(&stamped)).len(), 2);
    let cut = [&[][..], &[5], &[5, 0], &[5, 1], &[5, 10], &[5, 9, 0], &[0, 5, 10], &[8, 0, 0, 0]];
    for options in cut {
        assert!(blocks(&header(options)).is_empty(), "{options:?}");
        assert!(blocks(&header(options)[..20]).is_empty());
    }
    assert!(blocks(&[]).is_empty());
}

#[test]
fn blocks_that_touch_become_one_range_and_those_outside_the_window_none() {
    let mut sacked = Sacked::default();
    let (una, nxt) = (u32::MAX - 10, 2000);
    assert!(sacked.add((500, 600), una, nxt));
    assert!(sacked.add((100, 200), una, nxt));
    assert!(!sacked.add((110, 190), una, nxt), "held already");
    assert!(sacked.add((200, 500), una, nxt));
    assert_eq!(sacked.ranges.as_slice(), [(100, 600)]);
    for wrong in [(una, 5), (una - 5, una), (una - 5, 5), (5, 5), (9, 8), (1999, 2001), (1_000_000, 1_000_100)] {
        assert!(!sacked.add(wrong, una, nxt), "{wrong:?}");
    }
    assert_eq!(sacked.bytes(), 500);
}

#[test]
fn what_is_missing_is_found_and_what_is_acknowledged_forgotten() {
    let mut sacked = Sacked::default();
    for block in [(1000, 2000), (3000, 4000), (5000, 6000)] {
        assert!(sacked.add(block, 0, 9000));
    }
    assert_eq!(sacked.missing((0, 6000)), 3000);
    assert_eq!(sacked.missing((1500, 3500)), 1000);
    assert_eq!(sacked.missing((3500, 1500)), 0);
    assert_eq!(sacked.first_missing((0, 6000)), Some(0));
    assert_eq!(sacked.first_missing((1000, 6000)), Some(2000));
    assert_eq!(sacked.first_missing((5500, 6000)), None);
    assert_eq!(
        [1, 1000, 1001, 2001, 3001].map(|bytes| sacked.edge(bytes)),
        [Some(5000), Some(5000), Some(3000), Some(1000), None]
    );
    sacked.advance(3500);
    assert_eq!(sacked.ranges.as_slice(), [(5000, 6000)], "the peer gave up the rest of the other");
    sacked.advance(6000);
    assert!(sacked.is_empty());
}

#[test]
fn of_too_many_ranges_the_lowest_is_forgotten() {
    let mut sacked = Sacked::default();
    let ranges = RANGES_MAX as u32;
    for i in 1..=ranges {
        assert!(sacked.add((i * 100, i * 100 + 50), 0, 10_000));
    }
    assert!(sacked.add((9_000, 9_100), 0, 10_000));
    assert_eq!((sacked.ranges.len(), sacked.lowest()), (RANGES_MAX, Some(200)));
    assert!(!sacked.add((50, 60), 0, 10_000), "the lowest is that itself");
    assert!(sacked.add((250, 300), 0, 10_000), "what closes a hole needs no room");
}

proptest! {
    #[test]
    fn any_header_is_read(header in prop::collection::vec(any::<u8>(), 0..70), offset in 5u8..16) {
        let mut header = header;
        header.iter_mut().skip(12).take(1).for_each(|byte| *byte = offset << 4);
        header.iter_mut().skip(20).take(1).for_each(|byte| *byte %= 8);
        prop_assert!(blocks(&header).len() <= BLOCKS_MAX);
    }

    #[test]
    fn ranges_are_what_a_bitmap_of_the_window_says(
        una in any::<u32>(),
        blocks in prop::collection::vec((0u32..400, 0u32..60), 0..30),
        advance in 0u32..400,
        (from, len) in (0u32..400, 0u32..200),
    ) {
        const WINDOW: u32 = 400;
        let at = |offset: u32| una.wrapping_add(offset);
        let mut sacked = Sacked::default();
        let mut held = [false; WINDOW as usize];
        for (left, len) in blocks {
            let right = left + len;
            let fits = left > 0 && len > 0 && right <= WINDOW;
            let new = fits && held[left as usize..right as usize].contains(&false);
            prop_assert_eq!(sacked.add((at(left), at(right)), una, at(WINDOW)), new);
            if fits {
                held[left as usize..right as usize].fill(true);
            }
        }
        sacked.advance(at(advance));
        let given_up = held[advance as usize..].iter().take_while(|byte| **byte).count();
        held[..advance as usize + given_up].fill(false);
        prop_assert_eq!(sacked.bytes() as usize, held.iter().filter(|byte| **byte).count());
        let to = (from + len).min(WINDOW);
        let part = &held[from as usize..to.max(from) as usize];
        let (first, to) = (part.iter().position(|byte| !byte), at(to));
        prop_assert_eq!(sacked.missing((at(from), to)) as usize, part.iter().filter(|byte| !**byte).count());
        prop_assert_eq!(sacked.first_missing((at(from), to)), first.map(|first| at(from + first as u32)));
        for pair in sacked.ranges.windows(2) {
            prop_assert!(is_after(pair[1].0, pair[0].1));
        }
    }
}
