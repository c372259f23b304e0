//! The neighbour table that all workers share as snapshots.
//!
//! Owns which neighbour has which MAC, how long that is believed and when it is asked again: the reachability states of
//! RFC 4861, 7.3.2, for ARP and neighbour discovery alike, simplified to asked, known and known but being asked again.
//! Who claims the address of a known neighbour gets it only when that one no longer answers. Refuses frames: `link` reads,
//! builds and sends them. Writers hold a lock, on the control path only; readers hold an immutable snapshot and look at one
//! generation number per turn.

#[cfg(test)]
mod tests;

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
/// Requests to a known MAC without an answer before another one that claims its address has it, and the time between them:
/// more than one, because a single frame may be lost.
const CONTEST_ASKS: u8 = 3;
const CONTEST_INTERVAL: Duration = Duration::from_millis(500);
/// Between the end of a contest and the next one for the same neighbour.
const CONTEST_PAUSE: Duration = Duration::from_secs(1);
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
    /// What workers leave for each other about paths; here, because they share this already.
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
    /// Never evicted.
    gateways: Vec<IpAddr>,
    /// Since the last pass.
    events: Events,
}

/// How often something happened to the table.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Events {
    /// Another MAC claimed a known neighbour's address.
    pub(crate) contested: u64,
    /// The known MAC answered.
    pub(crate) upheld: u64,
    /// It did not, and the other one has the address.
    pub(crate) moved: u64,
    /// Forgotten for want of room.
    pub(crate) evicted: u64,
}

struct Entry {
    state: State,
    /// Not asked again before this.
    next_ask: Instant,
    /// Looked up since it was last confirmed.
    used: Arc<AtomicBool>,
    rival: Option<Rival>,
    /// No contest before this.
    next_contest: Instant,
}

/// Who claims a known neighbour's address.
struct Rival {
    mac: Mac,
    /// Requests sent to the known MAC since.
    asked: u8,
    next_ask: Instant,
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
    pub(crate) events: Events,
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

    /// Whether the neighbour is known; does not mark it as in use.
    pub(crate) fn knows(&self, ip: IpAddr) -> bool {
        self.neighbors.binary_search_by(|n| n.ip.cmp(&ip)).is_ok()
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

    /// Has these neighbours never forgotten to make room for others.
    pub(crate) fn keep(&self, gateways: &[IpAddr]) {
        self.lock().gateways = gateways.to_vec();
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

    /// Takes note of what a neighbour said; `mac` is None when it named none. Returns whether that was believed. Another MAC
    /// than the known one is not, whatever its claim: the known one is asked first, by `pass`, and keeps the address if it
    /// answers one of `CONTEST_ASKS` requests. RFC 826 and RFC 4861, 7.2.5 believe it at once, forged or not (RFC 3756, 4.1.1);
    /// here a takeover takes 1.5 to 2 s.
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
            _ if changed && known.is_some() => {
                table.contest(ip, mac, now);
                return false;
            }
            Claim::Answer { solicited, .. } => solicited || known.is_none(),
            Claim::Request => true,
        };
        let entry = table.entries.entry(ip).or_insert_with(|| Entry::new(State::Incomplete, now));
        if confirmed {
            entry.state = State::Known { mac, fresh_until: now + REACHABLE_TIME, probes: 0 };
            entry.used.store(false, Relaxed);
            if entry.rival.take().is_some() {
                entry.next_contest = now + CONTEST_PAUSE;
                table.events.upheld += 1;
            }
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
        pass.events = core::mem::take(&mut table.events);
        let mut changed = false;
        table.entries.retain(|ip, entry| {
            let moved = entry.settle_contest(*ip, now, &mut pass.probes);
            pass.events.moved += u64::from(moved);
            let keep = entry.age(*ip, now, &mut pass.probes);
            changed |= moved || (!keep && entry.mac().is_some());
            keep
        });
        if changed {
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
    /// Makes sure that fewer than `limit` entries exist, evicting a stale one: one that nobody used since it was last
    /// confirmed if there is one, of those the one that has been stale for longest, and never a gateway. Returns whether it
    /// evicted one, or None when there is none to evict.
    fn make_room(&mut self, limit: usize, now: Instant) -> Option<bool> {
        if self.entries.len() < limit {
            return Some(false);
        }
        let stale = self.entries.iter().filter_map(|(ip, entry)| match entry.state {
            State::Known { fresh_until, .. } if fresh_until <= now && !self.gateways.contains(ip) => {
                Some((entry.used.load(Relaxed), fresh_until, *ip))
            }
            _ => None,
        });
        let (_, _, oldest) = stale.min()?;
        self.events.evicted += 1;
        self.entries.remove(&oldest).map(|_| true)
    }

    /// Notes that `mac` claims a known neighbour's address. Later claims of others do not count until that is settled.
    fn contest(&mut self, ip: IpAddr, mac: Mac, now: Instant) {
        let Some(entry) = self.entries.get_mut(&ip) else { return };
        if entry.rival.is_none() && now >= entry.next_contest {
            entry.rival = Some(Rival { mac, asked: 0, next_ask: now });
            self.events.contested += 1;
        }
    }
}

impl Entry {
    fn new(state: State, next_ask: Instant) -> Entry {
        Entry { state, next_ask, used: Arc::default(), rival: None, next_contest: Instant::ZERO }
    }

    fn mac(&self) -> Option<Mac> {
        match self.state {
            State::Known { mac, .. } => Some(mac),
            State::Incomplete => None,
        }
    }

    /// Has the known MAC asked whether it still has the address; returns whether it was silent, and another has it now. That
    /// one is asked in turn when it is next used.
    fn settle_contest(&mut self, ip: IpAddr, now: Instant, probes: &mut ArrayVec<(IpAddr, Mac), PROBES_MAX>) -> bool {
        let Some(mac) = self.mac() else { return false };
        let Some(rival) = self.rival.as_mut().filter(|rival| now >= rival.next_ask) else { return false };
        if rival.asked < CONTEST_ASKS {
            if probes.try_push((ip, mac)).is_ok() {
                rival.asked += 1;
                rival.next_ask = now + CONTEST_INTERVAL;
            }
            return false;
        }
        self.state = State::Known { mac: rival.mac, fresh_until: now, probes: 0 };
        self.next_ask = now;
        self.next_contest = now + CONTEST_PAUSE;
        self.rival = None;
        true
    }

    /// Moves the entry on in time; returns whether it stays in the table.
    fn age(&mut self, ip: IpAddr, now: Instant, probes: &mut ArrayVec<(IpAddr, Mac), PROBES_MAX>) -> bool {
        match &mut self.state {
            // Kept a while after the last request, so that a late answer is still accepted.
            State::Incomplete => now < self.next_ask + RETRANS_TIME * u32::from(SOLICITS_MAX),
            State::Known { mac, fresh_until, probes: sent } => {
                let asked = self.rival.is_some();
                let due = now >= *fresh_until && now >= self.next_ask && self.used.load(Relaxed) && !asked;
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
