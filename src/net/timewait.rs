//! TIME-WAIT entries: compact, in a table of their own (RFC 9293, 3.3.2 and 3.10.7.4; RFC 6191; RFC 1337; RFC 7323).
//!
//! Owns what is left of a connection that was closed actively, in 60 bytes instead of a socket and its rings. Refuses to
//! grow: when full, the oldest entry makes room, and the caller counts it. Sends nothing itself.
//!
//! All entries live equally long, so a ring in order of entry is also one in order of expiry, and no timer is needed.
//! A hash index with one chain per entry finds them. The exception, an entry whose time a retransmitted FIN restarted, is
//! moved to the back of the ring once it comes to the front; it may then keep its place longer than its time, which
//! [`TimeWait::segment`] does not see.

use super::flow::{HashKeys, reduce};
use super::key::FlowKey;
use crate::failure::Failure;
use crate::mem::{Arena, Slice};
use crate::time::Instant;
use core::time::Duration;

/// What a connection leaves behind.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// The next sequence number to send: the one after our FIN (RFC 9293, 3.3.1).
    pub snd_nxt: u32,
    /// The next sequence number to receive: the one after the peer's FIN.
    pub rcv_nxt: u32,
    /// The latest TSval received where timestamps were in use (RFC 7323, 4.3). Zero counts as None.
    pub ts_recent: Option<u32>,
}

/// The fields of a received segment that matter here.
#[derive(Copy, Clone, Debug, Default)]
pub struct Segment {
    /// SEG.SEQ.
    pub seq: u32,
    /// Control bits as on the wire: [`FIN`], [`SYN`], [`RST`], [`ACK`].
    pub flags: u8,
    /// Bytes of payload.
    pub payload_len: u16,
    /// The timestamp, where present and where a new connection would use it.
    pub tsval: Option<u32>,
}

/// Control bits (RFC 9293, 3.1).
pub const FIN: u8 = 1;
/// See [`FIN`].
pub const SYN: u8 = 2;
/// See [`FIN`].
pub const RST: u8 = 4;
/// See [`FIN`].
pub const ACK: u8 = 16;

/// What to do with a segment.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// No such entry: the segment belongs to a listener, or to nobody.
    Absent,
    /// Drop it.
    Ignore,
    /// Drop it and answer <SEQ=snd_nxt><ACK=rcv_nxt><CTL=ACK>, with ts_recent as TSecr where timestamps were in use.
    Acknowledge(State),
    /// A new connection may begin, with an initial sequence number above snd_nxt (RFC 9293, 3.6.1, MAY-2). The entry is
    /// gone; insert the state again if the SYN turns out to be an old duplicate.
    Reuse(State),
}

/// A bounded table of TIME-WAIT entries.
#[derive(Debug)]
pub struct TimeWait {
    /// A ring: `oldest` and the `used - 1` places after it are occupied, some by dead entries.
    entries: Slice<Entry>,
    /// First entries of the index's chains, as many as entries.
    chains: Slice<u32>,
    oldest: usize,
    used: usize,
    len: usize,
    lifetime: u32,
    keys: HashKeys,
}

#[derive(Copy, Clone, Debug)]
struct Entry {
    key: PackedKey,
    snd_nxt: u32,
    rcv_nxt: u32,
    /// Zero: none.
    ts_recent: u32,
    /// In units of UNIT_BITS, modulo 2^32.
    expires: u32,
    /// The next entry of the chain, NONE, or DEAD; and RESTARTED.
    link: u32,
}

/// A FlowKey without padding.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct PackedKey {
    remote: [u8; 16],
    local: [u8; 16],
    remote_port: u16,
    local_port: u16,
}

const _: () = assert!(size_of::<Entry>() + size_of::<u32>() <= 64);

/// Expiry is in units of 2^20 ns, about a millisecond: 52 days until it wraps.
const UNIT_BITS: u32 = 20;
/// The time of this entry began anew; it is not in order of expiry.
const RESTARTED: u32 = 1 << 31;
const NONE: u32 = RESTARTED - 1;
const DEAD: u32 = RESTARTED - 2;

impl TimeWait {
    /// The bytes of the arena that a table takes.
    pub const fn arena_bytes(entries: usize) -> usize {
        Arena::slice_bytes::<Entry>(entries).saturating_add(Arena::slice_bytes::<u32>(entries))
    }

    /// An empty table for `entries` entries, 1 to 2^24, of `lifetime` each: 2 MSL (RFC 9293, 3.6.1, MUST-13), below 24 days. The
    /// secret has to be random.
    pub fn new(arena: &Arena, entries: usize, lifetime: Duration, secret: [u64; 2]) -> Result<TimeWait, Failure> {
        let dead = Entry {
            key: PackedKey::of(&FlowKey::default()),
            snd_nxt: 0,
            rcv_nxt: 0,
            ts_recent: 0,
            expires: 0,
            link: DEAD,
        };
        Ok(TimeWait {
            entries: arena.slice(entries.max(1), |_| dead)?,
            chains: arena.slice(entries.max(1), |_| NONE)?,
            oldest: 0,
            used: 0,
            len: 0,
            lifetime: lifetime_units(lifetime),
            keys: HashKeys::new(secret),
        })
    }

    /// Adds the connection; an entry of the same key is replaced. True when a live entry, the oldest, had to go for it.
    pub fn insert(&mut self, key: &FlowKey, state: State, now: Instant) -> bool {
        if let Some(index) = self.find(key) {
            self.kill(index);
        }
        let recycled = self.used == self.entries.len() && self.pop_oldest();
        let entry = Entry {
            key: PackedKey::of(key),
            snd_nxt: state.snd_nxt,
            rcv_nxt: state.rcv_nxt,
            ts_recent: state.ts_recent.unwrap_or(0),
            expires: units(now).wrapping_add(self.lifetime),
            link: NONE,
        };
        self.push(entry);
        recycled
    }

    /// Judges a segment that belongs to no connection.
    pub fn segment(&mut self, key: &FlowKey, segment: &Segment, now: Instant) -> Verdict {
        let Some(index) = self.find(key) else { return Verdict::Absent };
        if is_past(self.entries[index].expires, now) {
            self.kill(index);
            return Verdict::Absent;
        }
        let state = self.entries[index].state();
        // RFC 1337, 3, fix F1: a RST does not end TIME-WAIT.
        if segment.flags & RST != 0 {
            return Verdict::Ignore;
        }
        if segment.flags & (SYN | ACK | FIN) == SYN {
            if !starts_anew(&state, segment) {
                return Verdict::Ignore; // RFC 6191, 2: "silently drop"
            }
            self.kill(index);
            return Verdict::Reuse(state);
        }
        if is_retransmitted_fin(&state, segment) {
            self.restart(index, segment.tsval, now);
            return Verdict::Acknowledge(self.entries[index].state());
        }
        if is_acceptable(&state, segment) { Verdict::Ignore } else { Verdict::Acknowledge(state) }
    }

    /// Whether a live entry has this key.
    pub fn holds(&self, key: &FlowKey, now: Instant) -> bool {
        self.len > 0 && self.find(key).is_some_and(|index| !is_past(self.entries[index].expires, now))
    }

    /// Ends entries whose time is over, looking at `max` at most; returns how many ended.
    pub fn expire(&mut self, now: Instant, max: usize) -> usize {
        let before = self.len;
        for _ in 0..max {
            if self.used == 0 {
                break;
            }
            let entry = self.entries[self.oldest];
            if !entry.is_dead() && !is_past(entry.expires, now) {
                if entry.link & RESTARTED == 0 {
                    break;
                }
                self.pop_oldest();
                self.push(entry);
                continue;
            }
            self.pop_oldest();
        }
        before - self.len
    }

    /// Live entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no live entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// RFC 9293, 3.10.7.4: a retransmission of the remote FIN restarts the 2 MSL timeout.
    fn restart(&mut self, index: usize, tsval: Option<u32>, now: Instant) {
        let expires = units(now).wrapping_add(self.lifetime);
        let entry = &mut self.entries[index];
        entry.expires = expires;
        entry.link |= RESTARTED;
        // RFC 7323, 4.3 (2): only ever forward.
        if let Some(tsval) = tsval
            && entry.ts_recent != 0
            && is_before(entry.ts_recent, tsval)
        {
            entry.ts_recent = tsval;
        }
    }

    /// Occupies the place after the youngest, which has to be free.
    fn push(&mut self, mut entry: Entry) {
        debug_assert!(self.used < self.entries.len());
        let index = (self.oldest + self.used) % self.entries.len();
        let chain = self.chain(&entry.key);
        entry.link = core::mem::replace(&mut self.chains[chain], index as u32);
        self.entries[index] = entry;
        self.used += 1;
        self.len += 1;
    }

    /// Frees the oldest place; whether a live entry ended by that.
    fn pop_oldest(&mut self) -> bool {
        let live = !self.entries[self.oldest].is_dead();
        if live {
            self.kill(self.oldest);
        }
        self.oldest = (self.oldest + 1) % self.entries.len();
        self.used -= 1;
        live
    }

    fn find(&self, key: &FlowKey) -> Option<usize> {
        let key = PackedKey::of(key);
        let mut at = self.chains[self.chain(&key)];
        while let Some(entry) = self.entries.get(at as usize) {
            if entry.key == key {
                return Some(at as usize);
            }
            at = entry.link & !RESTARTED;
        }
        None
    }

    /// Takes a live entry out of its chain; its place stays occupied until it is the oldest.
    fn kill(&mut self, index: usize) {
        let Entry { key, link, .. } = self.entries[index];
        let next = link & !RESTARTED;
        let chain = self.chain(&key);
        let mut at = self.chains[chain];
        if at as usize == index {
            self.chains[chain] = next;
        }
        while let Some(entry) = self.entries.get_mut(at as usize) {
            let after = entry.link & !RESTARTED;
            if after as usize == index {
                entry.link = entry.link & RESTARTED | next;
                break;
            }
            at = after;
        }
        self.entries[index].link = DEAD;
        self.len -= 1;
    }

    fn chain(&self, key: &PackedKey) -> usize {
        reduce((self.keys.hash(&key.unpack()) >> 32) as u32, self.chains.len())
    }
}

impl Entry {
    fn is_dead(&self) -> bool {
        self.link & !RESTARTED == DEAD
    }

    fn state(&self) -> State {
        let ts_recent = (self.ts_recent != 0).then_some(self.ts_recent);
        State { snd_nxt: self.snd_nxt, rcv_nxt: self.rcv_nxt, ts_recent }
    }
}

impl PackedKey {
    fn of(key: &FlowKey) -> PackedKey {
        PackedKey {
            remote: key.remote.to_ne_bytes(),
            local: key.local.to_ne_bytes(),
            remote_port: key.remote_port,
            local_port: key.local_port,
        }
    }

    fn unpack(&self) -> FlowKey {
        FlowKey {
            remote: u128::from_ne_bytes(self.remote),
            local: u128::from_ne_bytes(self.local),
            remote_port: self.remote_port,
            local_port: self.local_port,
        }
    }
}

/// RFC 6191, 2: whether a SYN may open a new incarnation.
fn starts_anew(old: &State, syn: &Segment) -> bool {
    // "Greater than the last sequence number seen on the previous incarnation": that of the FIN.
    let sequence_is_later = !is_before(syn.seq, old.rcv_nxt);
    match (old.ts_recent, syn.tsval) {
        (Some(recent), Some(tsval)) => is_before(recent, tsval) || recent == tsval && sequence_is_later,
        (None, Some(_)) => true,
        (_, None) => sequence_is_later,
    }
}

/// Whether the segment ends with the FIN that brought the connection here.
fn is_retransmitted_fin(old: &State, segment: &Segment) -> bool {
    let after_fin = segment.seq.wrapping_add(u32::from(segment.payload_len)).wrapping_add(1);
    segment.flags & (FIN | SYN) == FIN && after_fin == old.rcv_nxt
}

/// RFC 9293, 3.10.7.4, the first check, with a window of zero: nothing follows a FIN. Only an empty segment at RCV.NXT
/// passes, such as the ACK of our FIN, so that two ends in TIME-WAIT do not answer each other for ever.
fn is_acceptable(old: &State, segment: &Segment) -> bool {
    // RFC 7323, 5.3, R1 (PAWS): an older timestamp is not acceptable.
    let is_old = matches!((old.ts_recent, segment.tsval), (Some(recent), Some(tsval)) if is_before(tsval, recent));
    let is_empty = segment.payload_len == 0 && segment.flags & (SYN | FIN) == 0;
    segment.seq == old.rcv_nxt && is_empty && !is_old
}

/// Whether `a` comes before `b`, modulo 2^32 (RFC 9293, 3.4; RFC 7323, 5.2).
fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// One unit more, because the moment of entry is rounded down: never shorter than asked for.
fn lifetime_units(lifetime: Duration) -> u32 {
    let units = lifetime.as_nanos().div_ceil(1 << UNIT_BITS) + 1;
    u32::try_from(units).unwrap_or(u32::MAX).min(i32::MAX as u32)
}

fn units(now: Instant) -> u32 {
    (now.nanos() >> UNIT_BITS) as u32
}

fn is_past(expires: u32, now: Instant) -> bool {
    !is_before(units(now), expires)
}

#[cfg(test)]
mod tests;
