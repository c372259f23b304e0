//! The Internet checksum (RFC 1071): wide sums, pseudo-headers, incremental updates.
//!
//! Owns the arithmetic. Refuses to know headers: callers say which bytes a checksum covers.

/// A ones-complement sum of 16-bit words in memory order, not yet folded to 16 bits.
///
/// The sum does not depend on byte order (RFC 1071, 2.B), so whole machine words are added as they lie in memory and the
/// result is stored the same way.
#[derive(Copy, Clone, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of `bytes`; an odd last byte counts as if a zero byte followed it.
    #[inline]
    pub fn of(bytes: &[u8]) -> Sum {
        // The upper half collects the carries: an add and an add-with-carry for every eight bytes.
        let mut sum = 0u128;
        let (blocks, tail) = bytes.as_chunks::<32>();
        for block in blocks {
            let (words, _) = block.as_chunks::<8>();
            sum += words.iter().map(|w| u128::from(u64::from_ne_bytes(*w))).sum::<u128>();
        }
        let (words, tail) = tail.as_chunks::<8>();
        sum += words.iter().map(|w| u128::from(u64::from_ne_bytes(*w))).sum::<u128>();
        sum += u128::from(of_tail(tail));
        Sum(end_around(sum as u64, (sum >> 64) as u64))
    }

    /// The sum of the IPv4 pseudo-header (RFC 9293, 3.1): `len` is the length in bytes of what follows the IP header.
    #[inline]
    pub fn pseudo_v4(source: [u8; 4], destination: [u8; 4], protocol: u8, len: u16) -> Sum {
        let addresses = u64::from(u32::from_ne_bytes(source)) + u64::from(u32::from_ne_bytes(destination));
        Sum(addresses + word(u16::from(protocol)) + word(len))
    }

    /// The sum of the IPv6 pseudo-header (RFC 8200, 8.1): `len` is the length in bytes of the upper-layer packet.
    #[inline]
    pub fn pseudo_v6(source: &[u8; 16], destination: &[u8; 16], protocol: u8, len: u16) -> Sum {
        Sum::of(source).plus(Sum::of(destination)).plus(Sum(word(u16::from(protocol)) + word(len)))
    }

    /// Both sums together. The bytes behind `self` must be even in number unless `other` is empty.
    #[inline]
    #[must_use]
    pub fn plus(self, other: Sum) -> Sum {
        Sum(end_around(self.0, other.0))
    }

    /// The sum folded to 16 bits, as the two bytes to store: what drivers expect in place of a checksum they complete.
    #[inline]
    pub fn folded(self) -> [u8; 2] {
        self.fold().to_ne_bytes()
    }

    /// The checksum, as the two bytes to store in a field that was zero while summing.
    #[inline]
    pub fn checksum(self) -> [u8; 2] {
        (!self.fold()).to_ne_bytes()
    }

    /// Whether bytes that hold their own checksum are intact.
    #[inline]
    pub fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }

    #[inline]
    fn fold(self) -> u16 {
        let sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        ((sum >> 16) + (sum & 0xffff)) as u16
    }
}

/// The checksum after one 16-bit word it covers changed from `old` to `new` (RFC 1624, equation 3), all in wire order.
pub fn replaced(checksum: [u8; 2], old: [u8; 2], new: [u8; 2]) -> [u8; 2] {
    let [checksum, old, new] = [checksum, old, new].map(u16::from_ne_bytes);
    Sum(u64::from(!checksum) + u64::from(!old) + u64::from(new)).checksum()
}

/// Adds with the carry out of the top added at the bottom.
#[inline]
fn end_around(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u64::from(carry)
}

/// A 16-bit value as the memory-order word it would be on the wire.
#[inline]
fn word(value: u16) -> u64 {
    u64::from(u16::from_ne_bytes(value.to_be_bytes()))
}

/// The sum of fewer than 8 bytes.
#[inline]
fn of_tail(mut tail: &[u8]) -> u64 {
    let mut sum = 0;
    if let Some((four, rest)) = tail.split_first_chunk::<4>() {
        sum += u64::from(u32::from_ne_bytes(*four));
        tail = rest;
    }
    if let Some((two, rest)) = tail.split_first_chunk::<2>() {
        sum += u64::from(u16::from_ne_bytes(*two));
        tail = rest;
    }
    if let [last] = tail {
        sum += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071, section 1, taken literally: big-endian words, one at a time.
    fn naive(parts: &[&[u8]]) -> u16 {
        let bytes: Vec<u8> = parts.concat();
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let sum = Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.folded(), [0xdd, 0xf2]);
        assert_eq!(sum.checksum(), [0x22, 0x0d]);
    }

    #[test]
    fn all_ones_carry_end_around() {
        for len in [1, 2, 15, 16, 17, 31, 32, 48, 1499, 1500, 9000] {
            let bytes = vec![0xff; len];
            assert_eq!(u16::from_be_bytes(Sum::of(&bytes).folded()), naive(&[&bytes]), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn wide_adds_equal_the_definition(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(u16::from_be_bytes(Sum::of(&bytes).folded()), naive(&[&bytes]));
        }

        #[test]
        fn pseudo_headers_equal_the_definition(v4: [[u8; 4]; 2], v6: [[u8; 16]; 2], protocol: u8, len: u16,
                                               data in proptest::collection::vec(any::<u8>(), 0..64)) {
            let l = len.to_be_bytes();
            let sum = Sum::pseudo_v4(v4[0], v4[1], protocol, len).plus(Sum::of(&data));
            prop_assert_eq!(u16::from_be_bytes(sum.folded()), naive(&[&v4[0], &v4[1], &[0, protocol], &l, &data]));
            let sum = Sum::pseudo_v6(&v6[0], &v6[1], protocol, len).plus(Sum::of(&data));
            prop_assert_eq!(u16::from_be_bytes(sum.folded()), naive(&[&v6[0], &v6[1], &[0, 0], &l, &[0, 0, 0, protocol], &data]));
        }

        #[test]
        fn a_stored_checksum_validates_and_a_flipped_bit_does_not(
            mut bytes in proptest::collection::vec(any::<u8>(), 2..100), bit in 0usize..800) {
            bytes[..2].fill(0);
            let checksum = Sum::of(&bytes).checksum();
            bytes[..2].copy_from_slice(&checksum);
            prop_assert!(Sum::of(&bytes).is_valid());
            let at = bit / 8 % bytes.len();
            bytes[at] ^= 1 << (bit % 8);
            prop_assert!(!Sum::of(&bytes).is_valid());
        }

        #[test]
        fn replacing_a_word_equals_summing_again(mut bytes in proptest::collection::vec(any::<u8>(), 6..40), new: [u8; 2]) {
            bytes[..2].fill(0);
            let before = Sum::of(&bytes).checksum();
            let old = [bytes[4], bytes[5]];
            bytes[4..6].copy_from_slice(&new);
            let updated = replaced(before, old, new);
            bytes[..2].copy_from_slice(&updated);
            prop_assert!(Sum::of(&bytes).is_valid());
        }
    }
}
