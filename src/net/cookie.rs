//! SYN cookies (RFC 4987, 3.6): a handshake that nobody has to remember.
//!
//! Owns the initial sequence number that holds what a SYN said, and the judgement of the acknowledgment that brings it back.
//! Refuses to send, and to keep anything about a single SYN.
//!
//! A cookie is the class of the peer's MSS (3 bits), the parity of the clock (1 bit) and a keyed hash (28 bits) over both
//! addresses, both ports, the peer's initial sequence number, the class and the clock. The clock ticks every 64 s, and the
//! present tick and the one before are accepted: the parity tells which of the two it was, so that one hash judges a
//! cookie. A guess is right once in 2^28 times. Nothing else of the SYN fits: the SYN-ACK's timestamp holds it (`stamp`).

use super::key::FlowKey;
use super::options;
use crate::time::Instant;
use core::hash::Hasher;
use core::time::Duration;
use siphasher::sip::SipHasher24;

/// Segment sizes that a cookie can tell, in bytes, ascending: the least that smoltcp takes, RFC 9293's defaults for both
/// families (3.7.1), and Ethernet's behind tunnels and without, for IPv6 and IPv4.
const CLASSES: [u16; 8] = [48, 256, 536, 1220, 1320, 1380, 1440, 1460];
/// RFC 9293, 3.7.1 (MUST-15): what a SYN without the option says.
const DEFAULT_MSS: [u16; 2] = [536, 1220];
const TICK: Duration = Duration::from_secs(64);
const HASH_BITS: u32 = 28;

/// Makes cookies and judges them.
pub struct Cookies {
    keyed: SipHasher24,
    /// When the last cookie made is no longer accepted.
    until: Instant,
}

impl Cookies {
    /// With a secret of its own, which has to be random.
    pub fn new(secret: [u64; 2]) -> Cookies {
        Cookies { keyed: SipHasher24::new_with_keys(secret[0], secret[1]), until: Instant::ZERO }
    }

    /// The initial sequence number that answers a SYN of `key` with sequence number `irs`, from a peer that takes segments
    /// of `mss` bytes. It is the same for the same SYN, until the clock ticks.
    pub fn make(&self, key: &FlowKey, irs: u32, mss: u16, now: Instant) -> u32 {
        let class = CLASSES.iter().rposition(|size| *size <= mss).unwrap_or(0) as u32;
        let tick = tick(now);
        class << 29 | (tick & 1) << HASH_BITS | self.hash(key, irs, class, tick)
    }

    /// A cookie is sent of which nothing is kept: acknowledgments are judged until it is out of date.
    pub fn send(&mut self, now: Instant) {
        self.until = now + TICK * 2;
    }

    /// Judges an acknowledged initial sequence number: the segment size of a cookie made for this 4-tuple and `irs` in this
    /// tick or the last one, rounded down to its class. None for anything else, and, without a look, while no cookie is out:
    /// then there is nothing to guess.
    #[inline]
    pub fn judge(&self, key: &FlowKey, irs: u32, cookie: u32, now: Instant) -> Option<u16> {
        if now >= self.until {
            return None;
        }
        let class = cookie >> 29;
        let present = tick(now);
        let tick = present.wrapping_sub((present ^ cookie >> HASH_BITS) & 1);
        let right = cookie & ((1 << HASH_BITS) - 1) == self.hash(key, irs, class, tick);
        right.then(|| CLASSES[class as usize])
    }

    /// Whether a cookie may be under way.
    pub fn are_out(&self, now: Instant) -> bool {
        now < self.until
    }

    fn hash(&self, key: &FlowKey, irs: u32, class: u32, tick: u32) -> u32 {
        let mut hasher = self.keyed;
        for address in [key.remote, key.local] {
            hasher.write_u64(address as u64);
            hasher.write_u64((address >> 64) as u64);
        }
        hasher.write_u64(u64::from(key.remote_port) << 48 | u64::from(key.local_port) << 32 | u64::from(irs));
        hasher.write_u64(u64::from(class) << 32 | u64::from(tick));
        hasher.finish() as u32 >> (32 - HASH_BITS)
    }
}

fn tick(now: Instant) -> u32 {
    (now.nanos() / TICK.as_nanos() as u64) as u32
}

/// The largest segment that the sender of this SYN takes, by its TCP header with options; the default where the option is
/// missing, zero or not to be read.
pub fn offered_mss(header: &[u8], ipv6: bool) -> u16 {
    let default = DEFAULT_MSS[usize::from(ipv6)];
    let mut sizes = options::of(header).filter(|option| option.kind == options::MSS);
    let size = sizes.find_map(|option| option.content.first_chunk().map(|size| u16::from_be_bytes(*size)));
    size.filter(|mss| *mss > 0).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: FlowKey = FlowKey { remote: 7, local: 9, remote_port: 40_000, local_port: 80 };

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    proptest! {
        #[test]
        fn a_cookie_brings_back_its_class_until_the_tick_after_next(
            secret: [u64; 2], irs: u32, mss: u16, start in 0u64..1_000_000, age in 0u64..300) {
            let mut cookies = Cookies::new(secret);
            let cookie = cookies.make(&KEY, irs, mss, at(start));
            let class = CLASSES.iter().copied().rfind(|size| *size <= mss).unwrap_or(48);
            let accepted = (start + age) / 64 - start / 64 <= 1;
            // Others keep the judge awake.
            cookies.send(at(start + age));
            prop_assert_eq!(cookies.judge(&KEY, irs, cookie, at(start + age)), accepted.then_some(class));
        }

        #[test]
        fn whatever_differs_invalidates(secret: [u64; 2], irs: u32, bit in 0u32..32, bits in 1u16..) {
            let mut cookies = Cookies::new(secret);
            cookies.send(at(100));
            let cookie = cookies.make(&KEY, irs, 1460, at(100));
            let judge = |key: &FlowKey, irs, cookie| cookies.judge(key, irs, cookie, at(100));
            prop_assert!(judge(&KEY, irs, cookie).is_some());
            prop_assert_eq!(judge(&KEY, irs, cookie ^ 1 << bit), None);
            prop_assert_eq!(judge(&KEY, irs ^ 1 << bit, cookie), None);
            for key in [
                FlowKey { remote_port: KEY.remote_port ^ bits, ..KEY },
                FlowKey { local_port: KEY.local_port ^ bits, ..KEY },
                FlowKey { remote: KEY.remote ^ 1 << (4 * bit), ..KEY },
                FlowKey { local: KEY.local ^ 1 << (4 * bit), ..KEY },
                FlowKey { remote: KEY.local, local: KEY.remote, ..KEY },
            ] {
                prop_assert_eq!(judge(&key, irs, cookie), None);
            }
            let mut other = Cookies::new([secret[0], secret[1] ^ 1]);
            other.send(at(100));
            prop_assert_eq!(other.judge(&KEY, irs, cookie, at(100)), None);
        }

        #[test]
        fn any_header_has_a_segment_size(header in proptest::collection::vec(any::<u8>(), 0..80), ipv6: bool) {
            prop_assert!(offered_mss(&header, ipv6) > 0);
        }
    }

    #[test]
    fn nothing_is_accepted_while_no_cookie_is_out() {
        let mut cookies = Cookies::new([1, 2]);
        let cookie = cookies.make(&KEY, 5, 1460, at(0));
        assert!(cookies.judge(&KEY, 5, cookie, at(0)).is_none());
        cookies.send(at(0));
        assert!(cookies.judge(&KEY, 5, cookie, at(127)).is_some() && cookies.are_out(at(127)));
        assert!(cookies.judge(&KEY, 5, cookie, at(128)).is_none() && !cookies.are_out(at(128)));
    }

    #[test]
    fn guesses_are_right_about_once_in_two_to_the_28() {
        let mut cookies = Cookies::new([3, 4]);
        cookies.send(at(0));
        let hits = (0..1 << 16).filter(|n| cookies.judge(&KEY, 6, n * 65_537, at(1)).is_some()).count();
        assert_eq!(hits, 0);
    }

    #[test]
    fn the_segment_size_is_read_past_other_options() {
        let header = |options: &[u8]| {
            let mut header = vec![0; 20];
            header[12] = (5 + options.len().div_ceil(4) as u8) << 4;
            header.extend_from_slice(options);
            header.resize(20 + options.len().div_ceil(4) * 4, 0);
            header
        };
        let mss = |options: &[u8]| offered_mss(&header(options), false);
        assert_eq!(mss(&[2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7]), 1460);
        assert_eq!(mss(&[1, 3, 3, 7, 2, 4, 1, 0]), 256);
        assert_eq!((mss(&[]), mss(&[2, 4, 0, 0]), mss(&[0, 2, 4, 9]), mss(&[3, 0, 2, 4, 9, 9])), (536, 536, 536, 536));
        assert_eq!(offered_mss(&header(&[]), true), 1220);
    }
}
