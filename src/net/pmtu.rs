//! Path MTU (RFC 1191, RFC 8201): how large a connection's packets may be, and the reports that say so.
//!
//! Owns the sizes, the rule by which a report lowers one, what is remembered of destinations, and the board on which a worker
//! leaves a report for the worker that has the connection. Refuses to know connections: whether a report is about a packet
//! under way, the stack judges.

use crate::limits::{PATH_MTU_AGE, PATHS_MAX};
use crate::net::key::FlowKey;
use crate::time::Instant;
use arrayvec::ArrayVec;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Mutex, PoisonError};

/// Sizes in bytes of IP packets below the device's MTU, largest first: what is left of 1,500 by PPPoE, GRE, VXLAN, WireGuard
/// and common VPNs, the least of IPv6, and two of RFC 1191, 7.1, of which the last is what Linux goes down to. A path gets the
/// largest that fits it; a few bytes are given away for a bounded number of them.
pub(crate) const PLATEAUS: [u16; 9] = [1492, 1476, 1450, 1420, 1400, 1360, LEAST_V6, 1006, LEAST_V4];
/// RFC 8200, 5.
const LEAST_V6: u16 = 1280;
/// Smaller packets cost their sender more than they bring; whoever forges a report could ask for them (RFC 5927, 7.1).
const LEAST_V4: u16 = 552;
/// Where a search without a report begins (RFC 4821, 7.2: what nearly every path carries).
const BLACK_HOLE: u16 = 1280;
/// Reports that wait for a worker, at most.
const BOARD: usize = 64;

const _: () = assert!(PLATEAUS[PLATEAUS.len() - 1] == LEAST_V4 && LEAST_V4 < crate::limits::MTU_MIN);

/// The largest packets of a path: the device's MTU, or a plateau. Only ever lowered.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct PathMtu(u8);

/// Why a report changes nothing.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Unfit {
    /// It does not say less than what is known.
    NotLess,
    /// It says what no router says: that a packet was too large which was not, or less than IPv6 provides.
    Impossible,
}

/// A router's report that a packet of ours was too large for its next link.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct TooBig {
    /// The connection of the packet.
    pub key: FlowKey,
    /// The packet's sequence number.
    pub seq: u32,
    /// What the next link takes, in bytes; 0: the router is too old to say so.
    pub mtu: u16,
    /// The packet's length, in bytes.
    pub size: u16,
}

impl PathMtu {
    /// Its place among the plateaus; none for the device's MTU.
    #[inline]
    pub(crate) fn plateau(self) -> usize {
        usize::from(self.0).wrapping_sub(1)
    }

    /// The largest packet, in bytes.
    pub(crate) fn mtu(self, device: u16) -> u16 {
        PLATEAUS.get(self.plateau()).map_or(device, |plateau| device.min(*plateau))
    }

    /// The largest plateau of at most `mtu` bytes; the least one for less.
    fn at_most(mtu: u16) -> PathMtu {
        let place = PLATEAUS.iter().position(|plateau| *plateau <= mtu).unwrap_or(PLATEAUS.len() - 1);
        PathMtu(place as u8 + 1)
    }

    /// What the path is after a report of one of its packets.
    pub(crate) fn after(self, report: &TooBig, device: u16) -> Result<PathMtu, Unfit> {
        let ipv6 = report.key.remote_ip().is_ipv6();
        // RFC 1191, 5: a router that does not say what its link takes.
        let mtu = match report.mtu {
            0 if !ipv6 => PathMtu::at_most(report.size.saturating_sub(1)).mtu(device),
            mtu => mtu,
        };
        // RFC 8201, 4.
        if mtu >= report.size || (ipv6 && mtu < LEAST_V6) {
            return Err(Unfit::Impossible);
        }
        let lower = PathMtu::at_most(mtu);
        if lower.mtu(device) < self.mtu(device) { Ok(lower) } else { Err(Unfit::NotLess) }
    }

    /// What to try when large packets vanish without a report; None: there is nothing less.
    pub(crate) fn below(self, device: u16, ipv6: bool) -> Option<PathMtu> {
        let now = self.mtu(device);
        let steps: &[u16] = if ipv6 { &[LEAST_V6] } else { &[BLACK_HOLE, LEAST_V4] };
        steps.iter().find(|step| **step < now).map(|step| PathMtu::at_most(*step))
    }
}

/// What one worker learnt of its destinations by reports, so that their next connections begin with it. A destination has one
/// place, and what was there before is forgotten: it is learnt again by the next report.
pub(crate) struct Paths {
    places: Box<[Path; PATHS_MAX]>,
    /// When all is forgotten.
    empty_at: Instant,
}

#[derive(Copy, Clone, Default)]
struct Path {
    remote: u128,
    mtu: PathMtu,
    until: Instant,
}

impl Paths {
    pub(crate) fn new() -> Paths {
        Paths { places: Box::new([Path::default(); PATHS_MAX]), empty_at: Instant::ZERO }
    }

    /// Whether nothing is known of any destination.
    #[inline]
    pub(crate) fn is_empty(&self, now: Instant) -> bool {
        now >= self.empty_at
    }

    /// Notes a destination's path. `hash` is of its address, by a secret.
    pub(crate) fn learn(&mut self, hash: u64, remote: u128, mtu: PathMtu, now: Instant) {
        // RFC 1191, 6.3: the path may take more by then.
        let until = now + PATH_MTU_AGE;
        self.places[hash as usize % PATHS_MAX] = Path { remote, mtu, until };
        self.empty_at = until;
    }

    /// A destination's path; the device's MTU when nothing is known of it.
    pub(crate) fn find(&self, hash: u64, remote: u128, now: Instant) -> PathMtu {
        let path = &self.places[hash as usize % PATHS_MAX];
        if path.remote == remote && now < path.until { path.mtu } else { PathMtu::default() }
    }
}

/// Reports that one worker received and another may own: the device distributes them by the router's address, not by the
/// connection's. Everybody reads all of them, in the next turn; who is `BOARD` behind loses the oldest.
pub(crate) struct Board {
    /// How many were ever posted.
    posted: AtomicU64,
    reports: Mutex<[TooBig; BOARD]>,
}

impl Board {
    pub(crate) fn new() -> Board {
        Board { posted: AtomicU64::new(0), reports: Mutex::new([TooBig::default(); BOARD]) }
    }

    /// Leaves a report for the others.
    pub(crate) fn post(&self, report: TooBig) {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let posted = self.posted.load(Acquire);
        reports[posted as usize % BOARD] = report;
        self.posted.store(posted + 1, Release);
    }

    /// How many were ever posted: the place from which a new reader reads.
    #[inline]
    pub(crate) fn posted(&self) -> u64 {
        self.posted.load(Acquire)
    }

    /// What was posted since `seen`, and how many reports of it are lost. Nothing while another worker holds the board.
    pub(crate) fn read(&self, seen: &mut u64) -> (ArrayVec<TooBig, BOARD>, u64) {
        let Ok(reports) = self.reports.try_lock() else { return (ArrayVec::new(), 0) };
        let posted = self.posted.load(Acquire);
        let oldest = posted.saturating_sub(BOARD as u64).max(*seen);
        let lost = oldest - core::mem::replace(seen, posted);
        ((oldest..posted).map(|n| reports[n as usize % BOARD]).collect(), lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: FlowKey = FlowKey { remote: 0xffff_0a00_0001, local: 0xffff_0a00_0002, remote_port: 9, local_port: 80 };
    const V6: FlowKey = FlowKey { remote: 0xfd00 << 112 | 1, local: 0xfd00 << 112 | 2, remote_port: 9, local_port: 80 };

    fn after(path: PathMtu, key: FlowKey, mtu: u16, size: u16) -> Result<u16, Unfit> {
        path.after(&TooBig { key, seq: 0, mtu, size }, 1500).map(|path| path.mtu(1500))
    }

    #[test]
    fn a_report_lowers_to_the_plateau_below_it_and_never_raises() {
        let new = PathMtu::default();
        assert_eq!(new.mtu(1500), 1500);
        for (mtu, plateau) in [(1499, 1492), (1492, 1492), (1491, 1476), (1400, 1400), (1000, 552), (552, 552)] {
            assert_eq!(after(new, V4, mtu, 1500), Ok(plateau), "{mtu}");
        }
        assert_eq!(after(new, V4, 68, 1500), Ok(552), "the least that is believed");
        assert_eq!(after(new, V4, 1500, 1500), Err(Unfit::Impossible), "it fits");
        assert_eq!(after(new, V4, 1400, 1400), Err(Unfit::Impossible), "it fits");
        let low = PathMtu::at_most(1400);
        assert_eq!(after(low, V4, 1492, 1500), Err(Unfit::NotLess));
        assert_eq!(after(low, V4, 1400, 1500), Err(Unfit::NotLess));
        assert_eq!(after(low, V4, 1399, 1500), Ok(1360), "reports of packets sent before count too");
        assert_eq!(after(PathMtu::at_most(552), V4, 100, 552), Err(Unfit::NotLess));
    }

    #[test]
    fn ipv6_never_goes_below_its_least() {
        let new = PathMtu::default();
        assert_eq!(after(new, V6, 1280, 1500), Ok(1280));
        for mtu in [1279, 552, 68, 0] {
            assert_eq!(after(new, V6, mtu, 1500), Err(Unfit::Impossible), "{mtu}");
        }
    }

    #[test]
    fn an_old_router_lowers_by_a_plateau_however_often_it_reports() {
        let lower = PathMtu::default().after(&TooBig { key: V4, seq: 0, mtu: 0, size: 1500 }, 1500).unwrap();
        assert_eq!(lower.mtu(1500), 1492);
        assert_eq!(after(lower, V4, 0, 1500), Err(Unfit::NotLess), "about a packet that was sent before");
        assert_eq!(after(lower, V4, 0, 1492), Ok(1476));
        assert_eq!(after(PathMtu::default(), V4, 0, 0), Err(Unfit::Impossible));
    }

    #[test]
    fn a_device_below_a_plateau_stays_below_it() {
        let path = |mtu| PathMtu::default().after(&TooBig { key: V4, seq: 0, mtu, size: 700 }, 700);
        assert_eq!(path(699).map(|path| path.mtu(700)), Ok(552));
        assert_eq!(PathMtu::at_most(1280).mtu(700), 700);
    }

    #[test]
    fn a_black_hole_is_left_in_steps() {
        let below = |mtu: u16, ipv6| PathMtu::at_most(mtu).below(1500, ipv6).map(|path| path.mtu(1500));
        assert_eq!(PathMtu::default().below(1500, false).map(|path| path.mtu(1500)), Some(1280));
        assert_eq!([1400, 1280, 1006, 552].map(|mtu| below(mtu, false)), [Some(1280), Some(552), Some(552), None]);
        assert_eq!([1400, 1280].map(|mtu| below(mtu, true)), [Some(1280), None]);
        assert_eq!(PathMtu::default().below(1280, true), None);
    }

    #[test]
    fn destinations_are_remembered_for_ten_minutes() {
        let mut paths = Paths::new();
        let at = Instant::from_millis;
        assert!(paths.is_empty(at(5)));
        let low = PathMtu::at_most(1400);
        paths.learn(7, 1, low, at(5));
        assert_eq!([1, 2].map(|remote| paths.find(7, remote, at(600_004))), [low, PathMtu::default()]);
        assert!(!paths.is_empty(at(600_004)) && paths.is_empty(at(600_005)));
        assert_eq!(paths.find(7, 1, at(600_005)), PathMtu::default());
        paths.learn(7 + PATHS_MAX as u64, 2, low, at(6));
        assert_eq!(paths.find(7, 1, at(7)), PathMtu::default(), "its place is another's");
    }

    #[test]
    fn every_reader_gets_every_report_and_is_told_what_it_lost() {
        let board = Board::new();
        let (mut quick, mut slow) = (board.posted(), board.posted());
        for seq in 0..BOARD as u32 + 3 {
            board.post(TooBig { seq, ..TooBig::default() });
            let (reports, lost) = board.read(&mut quick);
            assert_eq!((reports.iter().map(|report| report.seq).collect::<Vec<_>>(), lost), (vec![seq], 0));
        }
        let (reports, lost) = board.read(&mut slow);
        assert_eq!((reports[0].seq, reports.len(), lost), (3, BOARD, 3));
        assert_eq!(board.read(&mut slow), (ArrayVec::new(), 0));
    }
}
