//! What connections learn of their paths: reports of packets too big, and large segments that nobody acknowledges.
//!
//! Owns the judgement of whether a report is about a segment under way (RFC 5927, 4.1), what follows from it, and the search
//! for a path that carries nothing large and says so to nobody (RFC 4821, RFC 8899). Refuses the sizes: `pmtu` has the rule. Costs
//! a comparison or two a turn, and nothing for a segment.

use super::{Phase, Session, Slot, Stack};
use crate::net::flow::FlowTable;
use crate::net::key::FlowKey;
use crate::net::pmtu::{PathMtu, Paths, TooBig, Unfit};
use crate::port::Port;
use crate::telemetry::{Counter, Counters};
use crate::time::Instant;

/// Timeouts in a row of one large segment after which the path is taken for a black hole, as Linux does.
const TIMEOUTS: u8 = 3;

/// How often a connection's timer has ended without anything acknowledged.
#[derive(Copy, Clone, Default)]
pub(super) struct Stuck {
    /// SND.UNA at that time.
    una: u32,
    timeouts: u8,
}

impl<P: Port, S: Session> Stack<P, S> {
    /// Acts on the reports of packets too big that arrived here or at other workers; once per turn. What this worker leaves for
    /// the others it reads again itself, and has no connection for it.
    #[inline]
    pub(super) fn hear_reports(&mut self, now: Instant) {
        if self.link.reports.any() || self.link.board_moved() {
            self.judge_reports(now);
        }
    }

    #[cold]
    fn judge_reports(&mut self, now: Instant) {
        let (others, lost) = self.link.read_board();
        self.counters.add(Counter::TooBigLost, lost);
        for report in others {
            if let Some(outcome) = self.too_big(&report, now) {
                self.counters.inc(outcome);
            }
        }
        while let Some(report) = self.link.reports.pop() {
            let outcome = self.too_big(&report, now).unwrap_or_else(|| {
                self.link.post(report);
                Counter::TooBigElsewhere
            });
            self.counters.inc(outcome);
        }
    }

    /// What became of a report; None: it is about no connection here.
    fn too_big(&mut self, report: &TooBig, now: Instant) -> Option<Counter> {
        let slots = &self.slots;
        let index = self.flows.get(self.flows.hash(&report.key), |slot| slots[slot as usize].key == report.key)?;
        let slot = &mut self.slots[index as usize];
        slot.refresh_header(&self.link);
        let open = matches!(slot.phase, Phase::Open | Phase::Closing);
        let Some(tcb) = slot.tcb.as_mut().filter(|_| open && slot.numbers.is_under_way(report.seq)) else {
            return Some(Counter::TooBigRefused);
        };
        let path = match tcb.path().after(report, self.caps.mtu) {
            Ok(path) => path,
            Err(Unfit::NotLess) => return Some(Counter::TooBigUnchanged),
            Err(Unfit::Impossible) => return Some(Counter::TooBigRefused),
        };
        tcb.set_path(path);
        let mss = payload(path, self.caps.mtu, &report.key) - slot.stamps.overhead();
        slot.recovery.narrow(mss, slot.flight());
        self.changed.push(index, slot);
        let remote = report.key.remote;
        self.paths.learn(self.flows.hash(&destination(remote)), remote, path, now);
        Some(Counter::TooBigLowered)
    }
}

/// What is known of a peer's path.
#[inline]
pub(super) fn path_to(paths: &Paths, flows: &FlowTable, remote: u128, now: Instant) -> PathMtu {
    if paths.is_empty(now) {
        return PathMtu::default();
    }
    paths.find(flows.hash(&destination(remote)), remote, now)
}

/// What the largest segment without options carries, in bytes.
pub(super) fn payload(path: PathMtu, device: u16, key: &FlowKey) -> u16 {
    path.mtu(device) - if key.remote_ip().is_ipv6() { 60 } else { 40 }
}

/// A key that no connection has, of an address alone.
fn destination(remote: u128) -> FlowKey {
    FlowKey { remote, ..FlowKey::default() }
}

impl<S> Slot<S> {
    /// The connection's timer has ended: the first segment under way is to be sent again in full size. Lowers the path when
    /// that may be a large one and has not been acknowledged for too long; who is gone altogether does not mind.
    #[cold]
    pub(super) fn overdue(&mut self, device: u16, counters: &Counters) {
        let Some(tcb) = self.tcb.as_mut().filter(|_| self.numbers.peer_window() > 0) else { return };
        let (una, bytes) = self.numbers.unacknowledged();
        if self.stuck.una != una {
            self.stuck = Stuck { una, timeouts: 0 };
        }
        let Some(lower) = tcb.path().below(device, self.key.remote_ip().is_ipv6()) else { return };
        let payload = payload(lower, device, &self.key) - self.stamps.overhead();
        if bytes <= u32::from(payload) {
            return;
        }
        self.stuck.timeouts = self.stuck.timeouts.saturating_add(1);
        if self.stuck.timeouts >= TIMEOUTS {
            tcb.set_path(lower);
            self.recovery.limit(payload);
            counters.inc(Counter::BlackHole);
        }
    }
}
