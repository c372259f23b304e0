//! The neighbour table that all workers share as snapshots.
//!
//! Owns which neighbour has which MAC, how long that is believed and when it is asked again: the reachability states of
//! RFC 4861, 7.3.2, for ARP and neighbour discovery alike, simplified to asked, known and known but being asked again.
//! Refuses frames: `link` reads, builds and sends them. Writers hold a lock, on the control path only; readers hold an
//! immutable snapshot and look at one generation number per turn.

use crate::limits::NEIGHBORS_MAX;
use crate::net::pmtu::Board;
use crate::time::Instant;
use arc_swap::ArcSwap;
use arrayvec::ArrayVec;
use core::net::IpAddr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU64};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long an answer is believed (REACHABLE_TIME of RFC 4861, 10).
pub(crate) const REACHABLE_TIME: Duration = Duration::from_secs(30);
/// Between two requests for one neighbour, all workers together (RETRANS_TIMER of RFC 4861, 10; RFC 1122, 2.3.2.1).
pub(crate) const RETRANS_TIME: Duration = Duration::from_secs(1);
/// Requests without an answer before a neighbour is given up (MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT).
pub(crate) const SOLICITS_MAX: u8 = 3;
/// Announcements of our addresses after start, and the time between them (RFC 5227, 1.1).
const ANNOUNCEMENTS: u8 = 2;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// Between two passes over the table, all workers together.
const PASS_INTERVAL: Duration = Duration::from_millis(200);
/// Neighbours asked again in one pass, at most; the others wait for the next pass.
const PROBES_MAX: usize = 32;
/// Neighbours that asked us before we asked them take at most this part of the table, so that a flood of invented
/// requesters leaves room for those we need.
const UNASKED_MAX: usize = NEIGHBORS_MAX / 2;

/// A MAC.
pub(crate) type Mac = [u8; 6];

/// The neighbour table.
pub struct Neighbors {
    generation: AtomicU64,
    current: ArcSwap<Snapshot>,
    table: Mutex<Table>,
    /// What workers leave for each other about paths.
    pub(crate) board: Board,
}

/// The table at one moment, known neighbours only, ordered by address.
#[derive(Debug, Default)]
pub struct Snapshot {
    generation: u64,
    neighbors: Vec<Neighbor>,
}

#[derive(Debug)]
struct Neighbor {
    ip: IpAddr,
    mac: Mac,
    used: Arc<AtomicBool>,
}

#[derive(Default)]
struct Table {
    entries: BTreeMap<IpAddr, Entry>,
    next_pass: Instant,
    announced: u8,
    next_announcement: Instant,
}

struct Entry {
    state: State,
    /// Not asked again before this.
    next_ask: Instant,
    /// Looked up since it was last confirmed.
    used: Arc<AtomicBool>,
}

enum State {
    /// Asked for, without an answer.
    Incomplete,
    /// Has this MAC; once `fresh_until` passed, asked again when used, and removed after `SOLICITS_MAX` such probes.
    Known { mac: Mac, fresh_until: Instant, probes: u8 },
}

/// Whether a request for a neighbour is to be sent.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    Send,
    /// Somebody asked less than `RETRANS_TIME` ago.
    Wait,
    /// The table is full of neighbours in use.
    Full,
}

/// Why a MAC is believed to be a neighbour's.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Claim {
    /// The neighbour asked for one of our addresses.
    Request,
    /// The neighbour said so, asked or not. Believed only of neighbours in the table. `overrides` lets it replace another
    /// MAC; `solicited` confirms that the neighbour hears us (flags O and S of RFC 4861, 4.4).
    Answer { overrides: bool, solicited: bool },
}

/// What a pass over the table asks its caller to send.
#[derive(Default)]
pub(crate) struct Pass {
    pub(crate) probes: ArrayVec<(IpAddr, Mac), PROBES_MAX>,
    pub(crate) announce: bool,
}

impl Snapshot {
    /// Counts changes of the table.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Known neighbours.
    pub fn len(&self) -> usize {
        self.neighbors.len()
    }

    /// Whether no neighbour is known.
    pub fn is_empty(&self) -> bool {
        self.neighbors.is_empty()
    }

    /// The neighbour's MAC; marks the neighbour as in use.
    pub fn lookup(&self, ip: IpAddr) -> Option<[u8; 6]> {
        let at = self.neighbors.binary_search_by(|n| n.ip.cmp(&ip)).ok()?;
        let neighbor = self.neighbors.get(at)?;
        // Written once, not every time: the flag's cache line is shared by all workers.
        if !neighbor.used.load(Relaxed) {
            neighbor.used.store(true, Relaxed);
        }
        Some(neighbor.mac)
    }
}

impl Neighbors {
    /// An empty table.
    pub fn new() -> Arc<Neighbors> {
        Arc::new(Neighbors {
            generation: AtomicU64::new(0),
            current: ArcSwap::default(),
            table: Mutex::default(),
            board: Board::new(),
        })
    }

    /// The generation of the newest snapshot.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Whether to send a request for `ip` now. Answers to it are accepted for a while.
    pub(crate) fn ask(&self, ip: IpAddr, now: Instant) -> Ask {
        let mut table = self.lock();
        if let Some(entry) = table.entries.get_mut(&ip) {
            if now < entry.next_ask {
                return Ask::Wait;
            }
            entry.next_ask = now + RETRANS_TIME;
            return Ask::Send;
        }
        let Some(evicted) = table.make_room(NEIGHBORS_MAX, now) else { return Ask::Full };
        table.entries.insert(ip, Entry::new(State::Incomplete, now + RETRANS_TIME));
        if evicted {
            self.publish(&table);
        }
        Ask::Send
    }

    /// Takes note of what a neighbour said; `mac` is None when it named none. Returns whether that was believed.
    pub(crate) fn learn(&self, ip: IpAddr, mac: Option<Mac>, claim: Claim, now: Instant) -> bool {
        let mut table = self.lock();
        let entry = table.entries.get(&ip);
        let known = entry.and_then(Entry::mac);
        if entry.is_none() && (claim != Claim::Request || table.make_room(UNASKED_MAX, now).is_none()) {
            return false;
        }
        let Some(mac) = mac.or(known) else { return false };
        let changed = known != Some(mac);
        let confirmed = match claim {
            // RFC 4861, 7.2.5: without the override flag another MAC does not replace the known one.
            Claim::Answer { overrides: false, .. } if changed && known.is_some() => return false,
            Claim::Answer { solicited, .. } => solicited || known.is_none(),
            Claim::Request => true,
        };
        let entry = table.entries.entry(ip).or_insert_with(|| Entry::new(State::Incomplete, now));
        if confirmed {
            entry.state = State::Known { mac, fresh_until: now + REACHABLE_TIME, probes: 0 };
            entry.used.store(false, Relaxed);
        } else if changed {
            entry.state = State::Known { mac, fresh_until: now, probes: 0 };
        }
        if changed {
            self.publish(&table);
        }
        true
    }

    /// Ages the table, at most every `PASS_INTERVAL` and never waiting for another worker.
    pub(crate) fn pass(&self, now: Instant) -> Pass {
        let mut pass = Pass::default();
        let mut table = match self.table.try_lock() {
            Ok(table) if now >= table.next_pass => table,
            _ => return pass,
        };
        table.next_pass = now + PASS_INTERVAL;
        if table.announced < ANNOUNCEMENTS && now >= table.next_announcement {
            table.announced += 1;
            table.next_announcement = now + ANNOUNCE_INTERVAL;
            pass.announce = true;
        }
        let mut removed = false;
        table.entries.retain(|ip, entry| {
            let keep = entry.age(*ip, now, &mut pass.probes);
            removed |= !keep && entry.mac().is_some();
            keep
        });
        if removed {
            self.publish(&table);
        }
        pass
    }

    fn publish(&self, table: &Table) {
        let generation = self.current.load().generation + 1;
        let known = table.entries.iter();
        let known = known.filter_map(|(ip, e)| e.mac().map(|mac| Neighbor { ip: *ip, mac, used: e.used.clone() }));
        self.current.store(Arc::new(Snapshot { generation, neighbors: known.collect() }));
        self.generation.store(generation, Release);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // A worker that panicked ends the process; until then its half-made change harms nobody.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Makes sure that fewer than `limit` entries exist, evicting the one that has been stale for longest. Returns
    /// whether it evicted one, or None when nothing is stale.
    fn make_room(&mut self, limit: usize, now: Instant) -> Option<bool> {
        if self.entries.len() < limit {
            return Some(false);
        }
        let stale = self.entries.iter().filter_map(|(ip, entry)| match entry.state {
            State::Known { fresh_until, .. } if fresh_until <= now => Some((fresh_until, *ip)),
            _ => None,
        });
        let (_, oldest) = stale.min()?;
        self.entries.remove(&oldest).map(|_| true)
    }
}

impl Entry {
    fn new(state: State, next_ask: Instant) -> Entry {
        Entry { state, next_ask, used: Arc::default() }
    }

    fn mac(&self) -> Option<Mac> {
        match self.state {
            State::Known { mac, .. } => Some(mac),
            State::Incomplete => None,
        }
    }

    /// Moves the entry on in time; returns whether it stays in the table.
    fn age(&mut self, ip: IpAddr, now: Instant, probes: &mut ArrayVec<(IpAddr, Mac), PROBES_MAX>) -> bool {
        match &mut self.state {
            // Kept a while after the last request, so that a late answer is still accepted.
            State::Incomplete => now < self.next_ask + RETRANS_TIME * u32::from(SOLICITS_MAX),
            State::Known { mac, fresh_until, probes: sent } => {
                let due = now >= *fresh_until && now >= self.next_ask && self.used.load(Relaxed);
                if due && *sent == SOLICITS_MAX {
                    return false;
                }
                if due && probes.try_push((ip, *mac)).is_ok() {
                    *sent += 1;
                    self.next_ask = now + RETRANS_TIME;
                }
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    const A: Mac = [2, 0, 0, 0, 0, 0xa];
    const B: Mac = [2, 0, 0, 0, 0, 0xb];
    const REPLY: Claim = Claim::Answer { overrides: true, solicited: true };

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n))
    }

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn mac(neighbors: &Neighbors, n: u32) -> Option<Mac> {
        neighbors.snapshot().lookup(ip(n))
    }

    #[test]
    fn answers_are_believed_only_of_neighbors_asked_for_or_known() {
        let n = Neighbors::new();
        assert!(!n.learn(ip(1), Some(A), REPLY, at(0)));
        assert_eq!(n.ask(ip(1), at(0)), Ask::Send);
        assert_eq!(mac(&n, 1), None);
        assert!(!n.learn(ip(1), None, REPLY, at(1)), "an answer without a MAC tells nothing yet");
        assert!(n.learn(ip(1), Some(A), REPLY, at(1)));
        assert_eq!(mac(&n, 1), Some(A));
        assert!(n.learn(ip(2), Some(B), Claim::Request, at(1)), "who asks us is learnt");
        assert_eq!(mac(&n, 2), Some(B));
    }

    #[test]
    fn the_generation_moves_only_with_a_mac() {
        let n = Neighbors::new();
        n.ask(ip(1), at(0));
        assert_eq!(n.generation(), 0);
        n.learn(ip(1), Some(A), REPLY, at(0));
        assert_eq!(n.generation(), 1);
        n.learn(ip(1), Some(A), Claim::Request, at(9));
        n.learn(ip(1), None, REPLY, at(9));
        assert_eq!(n.generation(), 1);
        n.learn(ip(1), Some(B), REPLY, at(9));
        assert_eq!((n.generation(), n.snapshot().generation()), (2, 2));
    }

    #[test]
    fn another_mac_needs_the_override_flag() {
        let n = Neighbors::new();
        n.learn(ip(1), Some(A), Claim::Request, at(0));
        let plain = Claim::Answer { overrides: false, solicited: true };
        assert!(!n.learn(ip(1), Some(B), plain, at(1)));
        assert_eq!(mac(&n, 1), Some(A));
        assert!(n.learn(ip(1), Some(A), plain, at(1)));
        assert!(n.learn(ip(1), Some(B), Claim::Answer { overrides: true, solicited: false }, at(2)));
        assert_eq!(mac(&n, 1), Some(B));
        // Changed without being asked: not confirmed, so probed as soon as it is used.
        assert_eq!(n.pass(at(300)).probes.as_slice(), &[(ip(1), B)]);
    }

    #[test]
    fn one_request_a_second_for_a_neighbor() {
        let n = Neighbors::new();
        let asked = [0, 1, 999, 1000, 1500, 2000].map(|ms| n.ask(ip(1), at(ms)) == Ask::Send);
        assert_eq!(asked, [true, false, false, true, false, true]);
        assert_eq!(n.ask(ip(2), at(1)), Ask::Send);
    }

    #[test]
    fn used_neighbors_are_probed_and_removed_when_silent() {
        let n = Neighbors::new();
        n.learn(ip(1), Some(A), Claim::Request, at(0));
        n.learn(ip(2), Some(B), Claim::Request, at(0));
        assert_eq!(mac(&n, 1), Some(A));
        assert!(n.pass(at(29_999)).probes.is_empty(), "still fresh");
        for ms in [30_200, 31_200, 32_200] {
            assert_eq!(n.pass(at(ms)).probes.as_slice(), &[(ip(1), A)], "only the one in use, at {ms} ms");
            assert!(n.pass(at(ms + 500)).probes.is_empty());
        }
        assert_eq!(n.snapshot().len(), 2);
        n.pass(at(33_200));
        assert_eq!((mac(&n, 1), mac(&n, 2)), (None, Some(B)));
    }

    #[test]
    fn a_confirmed_neighbor_is_left_alone() {
        let n = Neighbors::new();
        n.learn(ip(1), Some(A), Claim::Request, at(0));
        mac(&n, 1);
        assert_eq!(n.pass(at(31_000)).probes.len(), 1);
        n.learn(ip(1), None, REPLY, at(31_001));
        for ms in (31_300..100_000).step_by(1000) {
            assert!(n.pass(at(ms)).probes.is_empty(), "not used again by {ms} ms");
        }
        assert_eq!(mac(&n, 1), Some(A));
    }

    #[test]
    fn a_full_table_evicts_the_oldest_stale_neighbor_first() {
        let n = Neighbors::new();
        for i in 0..UNASKED_MAX as u32 {
            assert!(n.learn(ip(i), Some(A), Claim::Request, at(u64::from(i))));
        }
        assert!(!n.learn(ip(1 << 16), Some(A), Claim::Request, at(20_000)), "all are fresh");
        assert_eq!(n.ask(ip(1 << 16), at(20_000)), Ask::Send, "those we ask for have the other half");
        assert!(n.learn(ip(1 << 17), Some(B), Claim::Request, at(30_001)));
        assert_eq!((mac(&n, 0), mac(&n, 1)), (None, Some(A)));
        for i in 0..NEIGHBORS_MAX as u32 {
            n.ask(ip((1 << 20) + i), at(30_001));
        }
        assert_eq!(n.ask(ip(1 << 21), at(30_001)), Ask::Full);
        assert!(n.snapshot().len() <= NEIGHBORS_MAX);
        n.pass(at(40_000));
        assert_eq!(n.ask(ip(1 << 21), at(40_000)), Ask::Send, "unanswered requests are forgotten");
    }

    #[test]
    fn addresses_are_announced_twice() {
        let n = Neighbors::new();
        let announced = [0, 1000, 2000, 4000, 9000].map(|ms| n.pass(at(ms)).announce);
        assert_eq!(announced, [true, false, true, false, false]);
    }
}
