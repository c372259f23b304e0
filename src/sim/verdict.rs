//! What must hold for a whole run.
//!
//! Owns the oracles that look at a run from its end: every request answered or its loss allowed, every connection freed,
//! every frame back in the pool, every frame counted. Refuses to excuse what the plan does not allow.

use super::client::{Client, Outcome};
use super::device::DeviceTally;
use super::load::{LoadPlan, LoadReport};
use super::machine::{Held, Machine, Node};
use super::plan::Plan;
use super::wire::Tally;
use super::world::World;
use crate::loadgen::plan::Class;
use crate::loadgen::record::{Counts, Outcome as Ended};
use crate::telemetry::Counter;
use core::time::Duration;

/// Why a machine drops what no other sends undamaged.
const DAMAGE: [Counter; 10] = [
    Counter::DropRunt,
    Counter::DropEtherType,
    Counter::DropNotForUs,
    Counter::DropIpHeader,
    Counter::DropIpChecksum,
    Counter::DropIpOptions,
    Counter::DropFragment,
    Counter::DropProtocol,
    Counter::DropTcpHeader,
    Counter::DropTcpChecksum,
];

/// How connections end.
const ENDS: [Counter; 4] = [Counter::ConnClosed, Counter::ConnReset, Counter::ConnAborted, Counter::ConnTimedOut];

/// What a run amounted to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The hash of every frame with its time.
    pub trace: u64,
    /// Frames on wires, both ways.
    pub frames: u64,
    /// Clients.
    pub clients: usize,
    /// Requests of clients answered.
    pub answered: usize,
    /// Clients that lost their connection to a timeout of the gateway, as an impaired wire allows.
    pub excused: usize,
    /// What each load run recorded.
    pub loads: Vec<LoadReport>,
    /// Virtual time it took.
    pub lasted: Duration,
    /// The workers' counters, of gateway and load machines, summed, in the order of `Counter::ALL`.
    pub counters: Vec<u64>,
    /// What the wires did.
    pub wires: Tally,
}

/// Runs a world to its end and judges it. The error lists every reason, one a line.
pub fn run<N: Node>(world: &mut World<N>) -> Result<Report, String> {
    let began = world.now().mono;
    let patience = world.plan().patience;
    world.run_until(patience, World::is_over);
    let mut faults = Vec::new();
    for (i, _) in world.loads().iter().enumerate().filter(|(_, load)| !load.is_over()) {
        faults.push(format!("load {i} is stuck"));
    }
    let excused = judge_clients(world, &mut faults);
    let drain_time = world.plan().drain_time();
    let at_rest = |world: &World<N>| world.connections().iter().all(|n| *n == 0);
    if !world.run_until(drain_time, at_rest) {
        faults.push(format!("after {drain_time:?} of rest the workers hold {:?} connections", world.connections()));
    }
    // Whatever is still on a wire arrives, and the last queued frame leaves.
    world.run_for(Duration::from_secs(15));
    // TIME-WAIT ends, which a peer that repeats its FIN begins anew (RFC 9293, 3.10.7.4).
    world.run_until(Duration::from_secs(240), World::waits_for_nobody);
    // A world that found something wrong ends there: all else follows from that.
    if !world.failures().is_empty() {
        return Err(world.failures().join("\n"));
    }
    judge_wires(world.wires(), &mut faults);
    let strays = world.strays().to_vec();
    judge_machine(world.gateway(), &strays, &mut faults);
    let mut counters = count_all(world.gateway());
    for load in world.loads() {
        judge_machine(&mut load.machine, &[], &mut faults);
        counters.iter_mut().zip(count_all(&load.machine)).for_each(|(sum, n)| *sum += n);
    }
    if !faults.is_empty() {
        return Err(faults.join("\n"));
    }
    let loads = judge_loads(world)?;
    Ok(Report {
        trace: world.trace().hash(),
        frames: world.trace().events(),
        clients: world.clients().len(),
        answered: world.clients().iter().map(Client::answered).sum(),
        excused,
        loads,
        lasted: world.now().mono.since(began),
        counters,
        wires: world.wires(),
    })
}

fn count_all<N: Node>(machine: &Machine<N>) -> Vec<u64> {
    Counter::ALL.iter().map(|counter| machine.count(*counter)).collect()
}

/// Adds what clients hold against the gateway; returns how many losses are excused.
fn judge_clients<N: Node>(world: &World<N>, faults: &mut Vec<String>) -> usize {
    let mut excused = 0;
    for (i, client) in world.clients().iter().enumerate() {
        let asked = client.plan().requests.len();
        let place = format!("client {i} (port {:?}, {} of {asked} answered)", client.port(), client.answered());
        match client.outcome() {
            None => faults.push(format!("{place} is stuck")),
            Some(Outcome::Wrong(what)) => faults.push(format!("{place}: {what}")),
            Some(Outcome::Lost(_)) if excusable(world, client) => excused += 1,
            Some(Outcome::Lost(why)) => faults.push(format!(
                "{place} lost its connection: {why}, {:?} after its SYN, {:?} without progress at the longest",
                client.lasted(),
                client.longest_stall()
            )),
            Some(Outcome::Done | Outcome::Vanished | Outcome::Reset) => {}
        }
    }
    excused
}

/// A gateway may give a connection up when a timeout passed, and that may only happen where frames get lost, or when it
/// stops.
fn excusable<N: Node>(world: &World<N>, client: &Client) -> bool {
    let plan = world.plan();
    let handshake = client.answered() == 0 && client.lasted() >= plan.config.tcp.handshake_timeout;
    // A client takes what its ring took for progress, so that it sees shorter stalls than the gateway does.
    // Of a handshake by cookie nothing is kept: what comes before its ACK, where wires reorder, is refused by RST.
    let stateless = client.answered() == 0 && world.count(Counter::SynCookieSent) > 0;
    let stalled = client.longest_stall() >= plan.least_timeout() / 2;
    plan.drains() || plan.impaired() && (handshake || stateless || stalled)
}

/// Wires lose nothing but what they say they lose.
fn judge_wires(wires: Tally, faults: &mut Vec<String>) {
    let Tally { offered, delivered, lost, duplicated, overflowed, cut, oversized, in_flight, .. } = wires;
    if offered + duplicated != delivered + lost + overflowed + cut + oversized + in_flight {
        faults.push(format!("the wires' own counts differ: {wires:?}"));
    }
}

/// Every frame and every connection of a machine is accounted for, and nothing is left.
fn judge_machine<N: Node>(machine: &mut Machine<N>, strays: &[Counter], faults: &mut Vec<String>) {
    let on_rings = machine.frames_on_rings() as u64;
    let name = machine.name().to_owned();
    let held = machine.held();
    let mut equal = |what: &str, got: u64, want: u64| {
        if got != want {
            faults.push(format!("{name}: {what}: {got} instead of {want}"));
        }
    };
    let frames: usize = held.iter().map(|held| held.frames).sum();
    equal("frames out of the pool, by those held", machine.pool().live() as u64, frames as u64 + on_rings);
    let DeviceTally { damaged, damaged_icmp, delivered, group, .. } = machine.device();
    // What hosts send to a group is for the gateway.
    let others = if machine.is_gateway() { 0 } else { group };
    equal("penstock_rx_frames_total", machine.count(Counter::RxFrames), delivered - on_rings);
    equal("penstock_tx_frames_total", machine.count(Counter::TxFrames), machine.sent());
    let dropped: u64 = DAMAGE.iter().map(|counter| machine.count(*counter)).sum();
    let meant = strays.iter().filter(|counter| DAMAGE.contains(counter)).count() as u64;
    // A damaged ICMP message may be dropped for its address or its length, or counted as one.
    let (least, most) = (damaged + meant, damaged + damaged_icmp + meant + others);
    equal("damaged frames, by their drop counters", dropped, dropped.clamp(least, most));
    for counter in strays {
        let sent = strays.iter().filter(|other| *other == counter).count() as u64;
        equal(&format!("strangers' frames, by {counter:?}"), machine.count(*counter).min(sent), sent);
    }
    for (worker, held) in held.iter().enumerate() {
        let count = |counter| machine.count_of(worker, counter);
        let begun = count(Counter::ConnSyn) + count(Counter::SynCookieAccepted);
        let ended: u64 = ENDS.iter().map(|counter| count(*counter)).sum();
        equal(&format!("worker {worker}: connections ended, by those begun"), ended, begun);
        let Held { frames, .. } = *held;
        if *held != (Held { frames, ..Held::default() }) {
            equal(&format!("worker {worker} still holds {held:?}"), 1, 0);
        }
    }
}

/// Each request of each load run has one end, and that end was possible.
fn judge_loads<N: Node>(world: &mut World<N>) -> Result<Vec<LoadReport>, String> {
    let connected: Vec<u64> = world.loads().iter().map(|load| load.machine.count(Counter::ConnConnected)).collect();
    let refused = [Counter::HttpHeadTimeout, Counter::HttpBodyTimeout, Counter::HttpHeadBuffers];
    let refused: u64 = refused.iter().map(|counter| world.count(*counter)).sum();
    let limits = [Counter::DropConnectionLimit, Counter::DropHalfOpenLimit, Counter::SynCookieSent];
    let full = limits.iter().any(|counter| world.count(*counter) > 0);
    let missed = |tally: DeviceTally| tally.missed + tally.no_frame > 0;
    let lost = missed(world.device()) || world.loads().iter().any(|load| missed(load.machine.device()));
    let calm = !lost && !full && is_calm(world.plan());
    let reports = world.finish_loads();
    let mut faults = Vec::new();
    for (i, report) in reports.iter().enumerate() {
        let plan = &world.plan().loads[i];
        let mut check = |right: bool, what: &str| {
            if !right {
                faults.push(format!("load {i}: {what}: {report:?}"));
            }
        };
        let Counts { sent, connected: opened, .. } = report.counts;
        let n = |outcome| report.counts.outcome(outcome);
        let never_sent = n(Ended::Refused) + n(Ended::ConnectTimeout) + n(Ended::NotSent);
        let ended = report.counts.ended();
        check(ended - never_sent == sent, "requests sent, and ends of those sent, differ");
        check(report.arrivals.is_none_or(|arrivals| arrivals == ended), "arrivals and ends of requests differ");
        check(report.latencies == ended, "latencies and ends of requests differ");
        check(report.counts == report.intervals, "intervals and the whole differ");
        check(opened == connected[i], "connections recorded and counted differ");
        check(n(Ended::Content) + n(Ended::Protocol) == 0, "wrong answers");
        check(n(Ended::Status) <= refused, "wrong statuses");
        let parted = plan.plan.pipeline > 1 && closes(plan, world.plan());
        let fine = n(Ended::Ok) + n(Ended::NotSent) + if parted { n(Ended::Closed) } else { 0 };
        check(!calm || slow(plan, world.plan()) || fine == ended, "failures where nothing fails");
    }
    if faults.is_empty() { Ok(reports) } else { Err(faults.join("\n")) }
}

/// Whether nothing of the run may lose a frame or keep a worker from its turns.
fn is_calm(plan: &Plan) -> bool {
    let steady = |hiccups: &super::plan::Hiccups| hiccups.ppm == 0;
    !plan.impaired() && steady(&plan.hiccups) && plan.loads.iter().all(|load| steady(&load.machine.hiccups))
}

/// Whether waiting alone may exceed the timeouts of a load run: they are short, or so are rings for the way that content has
/// to go in pieces of a ring each.
fn slow(load: &LoadPlan, plan: &Plan) -> bool {
    let short = load.plan.timeout < Duration::from_secs(10) || load.plan.connect_timeout < Duration::from_secs(5);
    let content = |class: &Class| class.check.size.unwrap_or(0).max(class.body.len() as u64);
    let most = load.plan.classes.iter().map(content).max().unwrap_or(0) * u64::from(load.plan.pipeline);
    let ring =
        plan.config.tcp.tx_ring.min(plan.config.tcp.rx_ring).min(load.config.tcp.rx_ring).min(load.config.tcp.tx_ring);
    let round = load.up.delay + load.up.jitter + load.down.delay + load.down.jitter;
    // Half a ring at a time is the least that windows allow, and a tick each for the machines.
    let rounds = 1 + 2 * most as u32 / ring as u32;
    let thin = [&load.up, &load.down].iter().any(|wire| wire.bits_per_s.is_some());
    short || (round + Duration::from_millis(20)) * rounds * if thin { 4 } else { 1 } > load.plan.timeout / 2
}

/// Whether the gateway closes connections on which further requests may be under way.
fn closes(load: &LoadPlan, plan: &Plan) -> bool {
    let asks = load.plan.classes.iter().any(|class| class.head.windows(17).any(|line| line == b"Connection: close"));
    asks || plan.site.requests_max > 0
}
