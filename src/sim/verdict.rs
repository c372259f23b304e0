//! What must hold for a whole run.
//!
//! Owns the oracles that look at a run from its end: every request answered or its loss allowed, every connection freed,
//! every frame back in the pool, every frame counted. Refuses to excuse what the plan does not allow.

use super::client::{Client, Outcome};
use super::device::DeviceTally;
use super::plan::Plan;
use super::wire::Tally;
use super::world::{Node, World};
use crate::config::SynCookies;
use crate::telemetry::Counter;
use core::time::Duration;

/// Why a gateway drops what no client sends undamaged.
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

/// What a run amounted to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The hash of every frame with its time.
    pub trace: u64,
    /// Frames on wires, both ways.
    pub frames: u64,
    /// Clients.
    pub clients: usize,
    /// Requests answered.
    pub answered: usize,
    /// Clients that lost their connection to a timeout of the gateway, as an impaired wire allows.
    pub excused: usize,
    /// Virtual time it took.
    pub lasted: Duration,
    /// The workers' counters, summed, in the order of `Counter::ALL`.
    pub counters: Vec<u64>,
    /// What the wires did.
    pub wires: Tally,
}

/// Runs a world to its end and judges it. The error lists every reason, one a line.
pub fn run<N: Node>(world: &mut World<N>) -> Result<Report, String> {
    let began = world.now().mono;
    let patience = world.plan().patience;
    world.run_until(patience, |world| world.clients().iter().all(|client| client.outcome().is_some()));
    let mut faults = Vec::new();
    let excused = judge_clients(world, &mut faults);
    let drain_time = world.plan().drain_time();
    if !world.run_until(drain_time, |world| world.connections().iter().all(|n| *n == 0)) {
        faults.push(format!("after {drain_time:?} of rest the workers hold {:?} connections", world.connections()));
    }
    // Whatever is still on a wire arrives, and the last queued frame leaves.
    world.run_for(Duration::from_secs(15));
    judge_frames(world, &mut faults);
    faults.extend(world.failures().iter().cloned());
    if !faults.is_empty() {
        return Err(faults.join("\n"));
    }
    Ok(Report {
        trace: world.trace().hash(),
        frames: world.trace().events(),
        clients: world.clients().len(),
        answered: world.clients().iter().map(Client::answered).sum(),
        excused,
        lasted: world.now().mono.since(began),
        counters: Counter::ALL.iter().map(|counter| world.count(*counter)).collect(),
        wires: world.wires(),
    })
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
            Some(Outcome::Lost(_)) if excusable(world.plan(), client) => excused += 1,
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

/// A gateway may give a connection up when a timeout passed, and that may only happen where frames get lost.
fn excusable(plan: &Plan, client: &Client) -> bool {
    let handshake = client.answered() == 0 && client.lasted() >= plan.config.tcp.handshake_timeout;
    // A client takes what its ring took for progress, so that it sees shorter stalls than the gateway does.
    // Of a handshake by cookie nothing is kept: what comes before its ACK, where wires reorder, is refused by RST.
    let stateless = client.answered() == 0 && plan.config.tcp.syn_cookies == SynCookies::Always;
    plan.impaired() && (handshake || stateless || client.longest_stall() >= plan.least_timeout() / 2)
}

/// Every frame is somewhere, and was counted.
fn judge_frames<N: Node>(world: &mut World<N>, faults: &mut Vec<String>) {
    let mut equal = |what: &str, got: u64, want: u64| {
        if got != want {
            faults.push(format!("{what}: {got} instead of {want}"));
        }
    };
    let on_rings = world.frames_on_rings() as u64;
    equal("frames out of the pool, by those held", world.pool().live() as u64, world.frames_held() as u64 + on_rings);
    equal("penstock_rx_frames_total", world.count(Counter::RxFrames), world.device().delivered - on_rings);
    let dropped = DAMAGE.iter().map(|counter| world.count(*counter)).sum();
    // A damaged ICMP message may be dropped for its address or its length, or counted as one.
    let DeviceTally { damaged, damaged_icmp, .. } = world.device();
    equal("damaged frames, by their drop counters", dropped, dropped.clamp(damaged, damaged + damaged_icmp));
    equal("penstock_tx_frames_total", world.count(Counter::TxFrames), world.sent());
}
