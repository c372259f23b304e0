//! The timestamps option (RFC 7323, 3).
//!
//! Owns the option's place in a header, the clock behind our TSval, and what the TSval of a SYN-ACK holds. Refuses to judge what
//! a peer's timestamp means for a connection: the stack does.
//!
//! smoltcp takes a TSval from a function without state and echoes the last one it saw, in order or not. So it only makes room for
//! the option, and what stands in it is written when the segment leaves.

use super::key::FlowKey;
use super::options::{self, TIMESTAMPS};
use crate::time::Instant;
use core::hash::Hasher;
use core::time::Duration;
use siphasher::sip::SipHasher13;

/// Bytes that the option takes of a segment, with padding.
pub const LEN: u16 = 12;

const OPTION_LEN: u8 = 10;
/// What RFC 7323, appendix A recommends, and nearly everybody sends: two NOPs and the option, and nothing else.
const USUAL: [u8; 4] = [1, 1, TIMESTAMPS, OPTION_LEN];
/// Bits of a SYN-ACK's TSval that hold what the SYN offered.
const OFFER_BITS: u32 = 5;
/// No window scale.
const NO_SCALE: u32 = 15;
/// How long a SYN-ACK's TSval may take to come back: as long as its cookie is accepted, and what its low bits took off.
const RETURN_MS: u32 = 2 * 64_000 + (1 << OFFER_BITS);

/// One timestamps option.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Stamp {
    /// TSval.
    pub value: u32,
    /// TSecr.
    pub echo: u32,
}

impl Stamp {
    /// The option of a TCP header that has the usual layout.
    #[inline]
    pub fn usual(header: &[u8]) -> Option<Stamp> {
        let header = header.first_chunk::<32>()?;
        (header[12] >> 4 == 8 && header[20..24] == USUAL).then(|| Stamp::read(&header[24..]))
    }

    /// The option of a TCP header, wherever it stands.
    pub fn of(header: &[u8]) -> Option<Stamp> {
        place(header).map(|at| Stamp::read(&header[at + 2..]))
    }

    #[inline]
    fn read(bytes: &[u8]) -> Stamp {
        let word = |at: usize| bytes[at..].first_chunk().map_or(0, |word| u32::from_be_bytes(*word));
        Stamp { value: word(0), echo: word(4) }
    }

    /// Writes the option where smoltcp left room for it; a header without that room stays as it is.
    #[inline]
    pub fn write(self, header: &mut [u8]) {
        let at = match header.get(12..22) {
            // Alone, and padded at the end: the usual layout is read faster everywhere.
            Some(&[0x80, .., TIMESTAMPS, OPTION_LEN]) => {
                header[20..24].copy_from_slice(&USUAL);
                24
            }
            _ => match place(header) {
                Some(at) => at + 2,
                None => return,
            },
        };
        header[at..at + 4].copy_from_slice(&self.value.to_be_bytes());
        header[at + 4..at + 8].copy_from_slice(&self.echo.to_be_bytes());
    }
}

/// Where the option begins.
fn place(header: &[u8]) -> Option<usize> {
    let mut options = options::of(header);
    options.find(|option| option.kind == TIMESTAMPS && option.content.len() == 8).map(|option| option.at)
}

/// The clock behind TSval: milliseconds, and for each 4-tuple a start of its own, so that it tells nobody how long the process
/// runs (RFC 7323, 7.1) and grows from one connection of a 4-tuple to the next (RFC 6191).
pub struct StampClock(SipHasher13);

impl StampClock {
    /// With a secret of its own, which has to be random.
    pub fn new(secret: [u64; 2]) -> StampClock {
        StampClock(SipHasher13::new_with_keys(secret[0], secret[1]))
    }

    /// The TSval of a 4-tuple at time zero.
    pub fn start(&self, key: &FlowKey) -> u32 {
        let mut hasher = self.0;
        hasher.write_u128(key.remote);
        hasher.write_u128(key.local);
        hasher.write_u32(u32::from(key.remote_port) << 16 | u32::from(key.local_port));
        hasher.finish() as u32
    }
}

/// The TSval at this time of a 4-tuple whose clock began at `start`.
#[inline]
pub fn value_at(start: u32, now: Instant) -> u32 {
    start.wrapping_add((now.nanos() / 1_000_000) as u32)
}

/// What a SYN offers beside a segment size and timestamps.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Offered {
    /// Window scale, 0 to 14.
    pub window_scale: Option<u8>,
    /// Selective acknowledgments.
    pub sack: bool,
}

impl Offered {
    /// The TSval `value` of a SYN-ACK with its low bits replaced by this; never later than `value`.
    fn into_value(self, value: u32) -> u32 {
        let scale = self.window_scale.map_or(NO_SCALE, |scale| u32::from(scale).min(14));
        let held = value >> OFFER_BITS << OFFER_BITS | u32::from(self.sack) << 4 | scale;
        if held.wrapping_sub(value).cast_signed() > 0 { held.wrapping_sub(1 << OFFER_BITS) } else { held }
    }

    /// A SYN-ACK's option with this in it.
    pub fn hold(self, stamp: Stamp) -> Stamp {
        Stamp { value: self.into_value(stamp.value), ..stamp }
    }

    /// What the SYN-ACK's TSval held that came back as `echo`; None when our clock, which stands at `value`, has not shown
    /// that lately.
    pub fn from_echo(echo: u32, value: u32) -> Option<Offered> {
        let scale = echo & 15;
        let window_scale = (scale != NO_SCALE).then_some(scale as u8);
        (value.wrapping_sub(echo) <= RETURN_MS).then_some(Offered { window_scale, sack: echo & 16 != 0 })
    }
}

/// How long a connection may be idle until the last timestamp says nothing any more (RFC 7323, 5.5).
const RECENT_MAX: Duration = Duration::from_secs(24 * 24 * 3600);
/// Units of that time in nanoseconds, as a power of two: about a second.
const AGE_BITS: u32 = 30;
const AGE_MAX: u32 = (RECENT_MAX.as_nanos() >> AGE_BITS) as u32;

/// A connection's timestamps.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Stamps {
    /// Our TSval at time zero.
    start: u32,
    /// TS.Recent.
    recent: u32,
    /// When TS.Recent was last set.
    recent_at: u32,
    on: bool,
}

impl Stamps {
    /// Those of a connection whose peer is yet to answer our offer.
    pub fn offering(start: u32) -> Stamps {
        Stamps { start, on: true, ..Stamps::default() }
    }

    /// Those of a connection whose peer's SYN, or first ACK after a cookie, had this TSval.
    pub fn agreed(start: u32, value: u32, now: Instant) -> Stamps {
        Stamps { start, recent: value, recent_at: age(now), on: true }
    }

    /// Notes the answer to our offer.
    pub fn answered(&mut self, answer: Option<Stamp>, now: Instant) {
        *self = match answer {
            Some(stamp) if self.on => Stamps::agreed(self.start, stamp.value, now),
            _ => Stamps::default(),
        };
    }

    /// Whether timestamps are in use.
    #[inline]
    pub fn are_on(&self) -> bool {
        self.on
    }

    /// Payload bytes that each segment loses to them.
    pub fn overhead(&self) -> u16 {
        if self.on { LEN } else { 0 }
    }

    /// What our segments say at this time.
    #[inline]
    pub fn at(&self, now: Instant) -> Option<Stamp> {
        self.on.then(|| Stamp { value: value_at(self.start, now), echo: self.recent })
    }

    /// TS.Recent, where timestamps are in use.
    pub fn recent(&self) -> Option<u32> {
        self.on.then_some(self.recent)
    }

    /// Whether a segment with this TSval is older than the last one (RFC 7323, 5.3, R1).
    #[inline]
    pub fn is_old(&self, value: u32, now: Instant) -> bool {
        value.wrapping_sub(self.recent).cast_signed() < 0 && age(now).wrapping_sub(self.recent_at) <= AGE_MAX
    }

    /// Notes the TSval of an acceptable segment that is not old and begins no later than what we last acknowledged: echoed is
    /// that of the first segment that is not acknowledged yet (RFC 7323, 4.3).
    #[inline]
    pub fn note(&mut self, value: u32, now: Instant) {
        self.recent = value;
        self.recent_at = age(now);
    }
}

fn age(now: Instant) -> u32 {
    (now.nanos() >> AGE_BITS) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(options: &[u8]) -> Vec<u8> {
        let mut header = vec![0; 20];
        header[12] = (5 + options.len().div_ceil(4) as u8) << 4;
        header.extend_from_slice(options);
        header.resize(20 + options.len().div_ceil(4) * 4, 0);
        header
    }

    const VALUES: [u8; 8] = [0, 0, 1, 0, 0, 0, 0, 7];
    const STAMP: Stamp = Stamp { value: 256, echo: 7 };

    #[test]
    fn the_option_is_found_wherever_it_stands_and_nowhere_else() {
        let with = |before: &[u8]| header(&[before, &[8, 10], &VALUES].concat());
        for before in [&[][..], &[1, 1], &[2, 4, 5, 0xb4, 4, 2], &[254, 3, 8]] {
            assert_eq!(Stamp::of(&with(before)), Some(STAMP), "{before:?}");
            assert_eq!(Stamp::usual(&with(before)), (before == [1, 1]).then_some(STAMP));
        }
        for before in [&[0][..], &[254, 0], &[254, 1], &[2, 14], &[8, 9]] {
            assert_eq!(Stamp::of(&with(before)), None, "{before:?}");
        }
        let mut payload = with(&[1, 1]);
        payload[12] = 5 << 4;
        assert_eq!((Stamp::of(&payload), Stamp::usual(&payload)), (None, None), "that is payload");
    }

    #[test]
    fn what_leaves_has_the_usual_layout_where_there_is_nothing_else() {
        let mut alone = header(&[8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        STAMP.write(&mut alone);
        assert_eq!(Stamp::usual(&alone), Some(STAMP));
        let mut behind = header(&[5, 10, 1, 2, 3, 4, 5, 6, 7, 8, 8, 10, 9, 9, 9, 9, 9, 9, 9, 9]);
        STAMP.write(&mut behind);
        assert_eq!(Stamp::of(&behind), Some(STAMP));
        assert_eq!(behind[20..30], [5, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
        for mut without in [header(&[]), header(&[1, 1, 1, 1]), vec![0; 12]] {
            let before = without.clone();
            STAMP.write(&mut without);
            assert_eq!(without, before);
        }
    }

    proptest! {
        #[test]
        fn a_syn_acks_value_brings_back_what_was_offered_and_is_never_ahead(
            value: u32, scale in proptest::option::of(0u8..15), sack: bool, after in 0u32..128_000) {
            let offered = Offered { window_scale: scale, sack };
            let held = offered.into_value(value);
            prop_assert!(value.wrapping_sub(held) < 32);
            prop_assert_eq!(Offered::from_echo(held, value.wrapping_add(after)), Some(offered));
            prop_assert_eq!(Offered::from_echo(held.wrapping_add(64), value), None);
            prop_assert_eq!(Offered::from_echo(held, value.wrapping_add(128_100)), None);
        }

        #[test]
        fn any_header_can_be_read_and_written(mut header in proptest::collection::vec(any::<u8>(), 0..80)) {
            let (usual, any) = (Stamp::usual(&header), Stamp::of(&header));
            prop_assert!(usual.is_none() || usual == any);
            STAMP.write(&mut header);
        }
    }

    #[test]
    fn what_is_older_than_the_last_is_old_for_24_days() {
        let stamps = Stamps::agreed(0, 3, Instant::ZERO);
        let after = |days: u64| Instant::ZERO + Duration::from_secs(days * 86_400);
        assert!(
            [2, 3u32.wrapping_sub(1 << 31).wrapping_add(1), u32::MAX].iter().all(|old| stamps.is_old(*old, after(23)))
        );
        assert!([3, 4, 1 << 31].iter().all(|new| !stamps.is_old(*new, after(0))));
        assert!(!stamps.is_old(2, after(25)) && !stamps.is_old(2, after(60)));
    }

    #[test]
    fn clocks_tick_in_milliseconds_and_begin_elsewhere_for_each_tuple_and_secret() {
        let key = FlowKey::v4([10, 0, 0, 1], [10, 0, 0, 2], 1, 80);
        let start = StampClock::new([1, 2]).start(&key);
        let later = Instant::from_millis(70);
        assert_eq!(value_at(start, later).wrapping_sub(start), 70);
        assert_ne!(StampClock::new([1, 2]).start(&FlowKey { remote_port: 2, ..key }), start);
        assert_ne!(StampClock::new([1, 3]).start(&key), start);
    }

    #[test]
    fn an_offer_that_is_not_taken_leaves_nothing() {
        let mut stamps = Stamps::offering(5);
        assert_eq!(stamps.at(Instant::ZERO), Some(Stamp { value: 5, echo: 0 }));
        stamps.answered(Some(STAMP), Instant::ZERO);
        assert_eq!((stamps.recent(), stamps.overhead()), (Some(256), 12));
        stamps.answered(None, Instant::ZERO);
        assert_eq!((stamps.at(Instant::ZERO), stamps.recent(), stamps.overhead()), (None, None, 0));
        stamps.answered(Some(STAMP), Instant::ZERO);
        assert!(!stamps.are_on(), "not offered");
    }
}
