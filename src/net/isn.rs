//! Initial sequence numbers (RFC 6528).
//!
//! Owns the number a connection begins with, and the way to have smoltcp use it. Refuses to know sockets.

use super::key::FlowKey;
use crate::time::Instant;
use core::hash::Hasher;
use siphasher::sip::{SipHasher13, SipHasher24};

/// Chooses initial sequence numbers: a clock that ticks every 4 microseconds, plus a keyed hash of the 4-tuple. For one
/// 4-tuple they grow, so that a new connection is told from one in TIME-WAIT (RFC 6191); for others nobody can guess them.
#[derive(Clone)]
pub struct Isn {
    keyed: SipHasher13,
    base: u32,
}

impl Isn {
    /// A chooser with a secret, which has to be random, or the same in every process that is to go on where the last one
    /// was; then `base` is the clock's reading at time zero.
    pub fn new(secret: [u64; 2], base: u32) -> Isn {
        Isn { keyed: SipHasher13::new_with_keys(secret[0], secret[1]), base }
    }

    /// The number for a connection that begins now.
    pub fn at(&self, key: &FlowKey, now: Instant) -> u32 {
        let mut hasher = self.keyed;
        hasher.write_u128(key.remote);
        hasher.write_u128(key.local);
        hasher.write_u32(u32::from(key.remote_port) << 16 | u32::from(key.local_port));
        self.base.wrapping_add((now.micros() / 4) as u32).wrapping_add(hasher.finish() as u32)
    }
}

/// A secret for one use, drawn from a worker's: what becomes known of one says nothing about another.
pub fn subkey(secret: [u64; 4], purpose: u64) -> [u64; 2] {
    [0, 1].map(|half| {
        let mut hasher = SipHasher24::new_with_keys(secret[0], secret[1]);
        [secret[2], secret[3], purpose, half].into_iter().for_each(|word| hasher.write_u64(word));
        hasher.finish()
    })
}

/// The seed of a generator whose second number is `isn`; the first one, for IPv4 identifiers, must not be zero, or another is
/// drawn.
pub(super) fn seed_before(isn: u32) -> u64 {
    const M: u64 = 0xbb2e_fcec_3c39_611d;
    const A: u64 = 0x7590_ef39;
    const M_INVERSE: u64 = inverse(M);
    let before = |state: u64| state.wrapping_sub(A).wrapping_mul(M_INVERSE);
    let first = |state: u64| (state >> (29 - (state >> 61))) as u32;
    // With the upper three bits zero the number is what stands above the lower 29, which are free.
    let seeds = (0..4).map(|free| before(u64::from(isn) << 29 | free));
    seeds.into_iter().find(|state| (first(*state) ^ first(*state) >> 16) as u16 != 0).map_or(0, before)
}

/// The inverse of an odd number modulo 2^64, by Newton's iteration: each step doubles the bits that are right.
const fn inverse(m: u64) -> u64 {
    let mut x = m;
    let mut step = 0;
    while step < 6 {
        x = x.wrapping_mul(2u64.wrapping_sub(m.wrapping_mul(x)));
        step += 1;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn numbers_grow_by_one_every_four_microseconds_and_differ_by_tuple_and_secret() {
        let isn = Isn::new([1, 2], 7);
        let key = FlowKey::v4([10, 0, 0, 1], [10, 0, 0, 2], 1, 80);
        let at = |key: &FlowKey, us| isn.at(key, Instant::ZERO + Duration::from_micros(us));
        assert_eq!(at(&key, 400).wrapping_sub(at(&key, 0)), 100);
        let other = FlowKey { remote_port: 2, ..key };
        assert_ne!(at(&key, 0), at(&other, 0));
        assert_ne!(at(&key, 0), Isn::new([1, 3], 7).at(&key, Instant::ZERO));
    }
}
