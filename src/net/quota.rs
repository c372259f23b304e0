//! How many connections each source holds.
//!
//! Owns the count by source, and the limit. Refuses to know slots: whoever holds also releases, once.
//!
//! A source is an IPv4 address, or the /64 of an IPv6 address: whoever has one address of a /64 has all of them (RFC 4291,
//! 2.5.4). Sources are told apart by a keyed hash of 64 bits, so that two share a count once in 2^64 pairs, and nobody
//! without the key can make them. Open addressing with linear probing; at capacity the table is half full.

use super::key::FlowKey;
use crate::failure::Failure;
use crate::mem::{Arena, Slice};
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

#[derive(Copy, Clone, Default, Debug)]
struct Entry {
    /// The source's hash.
    source: u64,
    /// Its connections; 0: the place is free.
    held: u32,
}

/// Connections by source, of at most so many connections in all.
pub struct SourceQuota {
    entries: Slice<Entry>,
    max: u32,
    keyed: SipHasher13,
}

impl SourceQuota {
    /// Bytes of the arena that it takes for `connections` in all and at most `max` of each source; nothing without a limit.
    pub const fn arena_bytes(connections: usize, max: u32) -> usize {
        Arena::slice_bytes::<Entry>(places(connections, max))
    }

    /// Nobody holds anything. `max` 0: no limit, nothing is counted. The secret has to be random.
    pub fn new(arena: &Arena, connections: usize, max: u32, secret: [u64; 2]) -> Result<SourceQuota, Failure> {
        let entries = arena.slice(places(connections, max), |_| Entry::default())?;
        Ok(SourceQuota { entries, max, keyed: SipHasher13::new_with_keys(secret[0], secret[1]) })
    }

    /// Whether the connection's source may hold another one.
    #[inline]
    pub fn has_room(&self, key: &FlowKey) -> bool {
        self.max == 0 || self.entries[self.find(self.hash(key))].held < self.max
    }

    /// The connection's source holds another one.
    #[inline]
    pub fn hold(&mut self, key: &FlowKey) {
        if self.max > 0 {
            let source = self.hash(key);
            let place = self.find(source);
            self.entries[place] = Entry { source, held: self.entries[place].held + 1 };
        }
    }

    /// A connection that was held is over.
    #[inline]
    pub fn release(&mut self, key: &FlowKey) {
        if self.max > 0 {
            self.uncount(key);
        }
    }

    fn uncount(&mut self, key: &FlowKey) {
        let mut free = self.find(self.hash(key));
        let entry = &mut self.entries[free];
        debug_assert!(entry.held > 0, "released more often than held");
        entry.held = entry.held.saturating_sub(1);
        if entry.held > 0 {
            return;
        }
        // What was put behind the entry that is now free moves up, so that a search may end at a free place.
        let mut place = self.after(free);
        while self.entries[place].held > 0 {
            let home = self.home(self.entries[place].source);
            let distance = |from: usize, to: usize| to.wrapping_sub(from) & (self.entries.len() - 1);
            if distance(home, place) >= distance(free, place) {
                self.entries[free] = core::mem::take(&mut self.entries[place]);
                free = place;
            }
            place = self.after(place);
        }
    }

    /// The source's place, or the free one where it belongs: there is one, since the table is never more than half full.
    fn find(&self, source: u64) -> usize {
        let mut place = self.home(source);
        while self.entries[place].held > 0 && self.entries[place].source != source {
            place = self.after(place);
        }
        place
    }

    fn home(&self, source: u64) -> usize {
        source as usize & (self.entries.len() - 1)
    }

    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.entries.len() - 1)
    }

    fn hash(&self, key: &FlowKey) -> u64 {
        let v4 = key.remote_ip().is_ipv4();
        let mut hasher = self.keyed;
        hasher.write_u128(if v4 { key.remote } else { key.remote >> 64 });
        hasher.finish()
    }
}

/// Twice as many as there can be sources.
const fn places(connections: usize, max: u32) -> usize {
    if max == 0 { 0 } else { (connections * 2).next_power_of_two() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn quota(connections: usize, max: u32) -> SourceQuota {
        let bytes = SourceQuota::arena_bytes(connections, max) + 4096;
        let arena = Arena::heap(bytes);
        SourceQuota::new(&arena, connections, max, [1, 2]).unwrap()
    }

    fn admit(quota: &mut SourceQuota, key: &FlowKey) -> bool {
        let room = quota.has_room(key);
        if room {
            quota.hold(key);
        }
        room
    }

    fn v4(last: u8) -> FlowKey {
        FlowKey::v4([10, 0, 0, last], [10, 7, 0, 2], 1, 80)
    }

    #[test]
    fn a_source_holds_so_many_and_others_are_not_touched() {
        let mut quota = quota(16, 2);
        assert!(admit(&mut quota, &v4(1)) && admit(&mut quota, &v4(1)) && !admit(&mut quota, &v4(1)));
        assert!(admit(&mut quota, &v4(2)));
        quota.release(&v4(1));
        assert!(admit(&mut quota, &v4(1)) && !admit(&mut quota, &v4(1)));
    }

    #[test]
    fn a_64_is_one_source_and_no_limit_counts_nothing() {
        let v6 = |subnet: u8, last| {
            let mut address = [0x20; 16];
            (address[7], address[15]) = (subnet, last);
            FlowKey::v6(address, [1; 16], 9, 80)
        };
        let mut one = quota(16, 1);
        assert!(admit(&mut one, &v6(1, 1)) && !admit(&mut one, &v6(1, 2)) && admit(&mut one, &v6(2, 1)));
        let mut none = quota(1, 0);
        assert_eq!(none.entries.len(), 0);
        assert!((0..100).all(|_| admit(&mut none, &v4(1))));
        none.release(&v4(1));
    }

    proptest! {
        /// Few places and many sources, so that entries stand behind each other and wrap.
        #[test]
        fn it_counts_as_a_map_does(steps in prop::collection::vec((0..24u8, any::<bool>()), 0..400)) {
            let (mut quota, mut model) = (quota(8, 3), HashMap::<u8, u32>::new());
            for (source, comes) in steps {
                let all = model.values().sum::<u32>();
                let held = model.entry(source).or_default();
                if comes && all < 8 {
                    prop_assert_eq!(admit(&mut quota, &v4(source)), *held < 3);
                    *held = (*held + 1).min(3);
                } else if !comes && *held > 0 {
                    *held -= 1;
                    quota.release(&v4(source));
                }
            }
            let held: u32 = quota.entries.iter().map(|entry| entry.held).sum();
            prop_assert_eq!(held, model.values().sum::<u32>());
        }
    }
}
