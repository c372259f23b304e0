//! A gateway in the generator's process, on its own port and lcores: what selftest measures.
//!
//! Owns its start and end. Refuses metrics, admin socket and drain: it serves one client, which is in the same process.

use crate::config::Config;
use crate::dpdk::{Clock, Eal, QueuePort, Task};
use crate::failure::{Exit, Failure};
use crate::net::neighbor::Neighbors;
use crate::runtime::bed::{Bed, tear_down};
use crate::runtime::probe;
use crate::runtime::shutdown::Command;
use crate::runtime::turn_loop::{self, Event, Outcome, Remaining, Seat, Shared};
use crate::telemetry::Counters;
use crossbeam_utils::CachePadded;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::mpsc;

/// A running gateway.
pub struct InnerGateway {
    shared: Arc<Shared>,
    bed: Bed,
    counters: Vec<Arc<Counters>>,
    tasks: Vec<Task<Result<Outcome, Failure>>>,
}

impl InnerGateway {
    /// Starts a worker on each of the bed's lcores, and returns when all of them serve.
    pub(super) fn start(
        eal: &Eal,
        bed: Bed,
        queues: Vec<QueuePort>,
        config: &Arc<Config>,
    ) -> Result<InnerGateway, Failure> {
        let shared = Arc::new(Shared {
            command: CachePadded::new(AtomicU8::new(Command::Run as u8)),
            ready: AtomicBool::new(false),
            clock: Clock::start(eal),
            config: Arc::clone(config),
            neighbors: Neighbors::new(),
            remaining: Remaining::default(),
        });
        let counters = probe::make_counters(config, &queues);
        let (sender, events) = mpsc::channel();
        let mut gateway = InnerGateway { shared, bed, counters, tasks: Vec::new() };
        for ((lcore, port), counters) in gateway.bed.lcores.iter().zip(queues).zip(&gateway.counters) {
            let seat = Seat { port, node: lcore.node(), counters: Arc::clone(counters), events: sender.clone() };
            let shared = Arc::clone(&gateway.shared);
            gateway.tasks.push(eal.launch(*lcore, move || turn_loop::run(seat, &shared))?);
        }
        drop(sender);
        let mut starting = gateway.tasks.len();
        while starting > 0 {
            match events.recv() {
                Ok(Event::Ready { .. }) => starting -= 1,
                Ok(Event::Signal(_) | Event::Look(_)) => {}
                Ok(Event::Ended) | Err(_) => {
                    gateway.stop()?;
                    return Err(Failure::new(Exit::Runtime, "the gateway ended while it started"));
                }
            }
        }
        Ok(gateway)
    }

    /// Its workers' counters.
    pub fn counters(&self) -> &[Arc<Counters>] {
        &self.counters
    }

    /// Ends the workers and closes the device.
    pub(super) fn stop(self) -> Result<(), Failure> {
        self.shared.command.store(Command::Stop as u8, Relaxed);
        let mut ended = Ok(());
        for task in self.tasks {
            let outcome = task.join().unwrap_or_else(|panic| {
                Err(Failure::new(Exit::Runtime, format!("a worker of the gateway panicked: {panic}")))
            });
            ended = ended.and(outcome.map(|_| ()));
        }
        tear_down(self.bed);
        ended
    }
}
