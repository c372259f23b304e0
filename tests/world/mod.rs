//! Gateway workers in a false world, as a plan describes it.

use penstock::gateway::Gateway;
use penstock::mem::Arena;
use penstock::net::neighbor::Neighbors;
use penstock::sim::plan::{EPOCH, Plan};
use penstock::sim::port::SimPort;
use penstock::sim::rng::Rng;
use penstock::sim::world::World;
use penstock::telemetry::Counters;
use penstock::worker::{Worker, WorkerParts};
use std::sync::Arc;

pub type Gate = Worker<SimPort, Gateway>;

/// Makes the gateway's worker of each queue.
pub fn gate(plan: &Plan) -> impl FnMut(usize, SimPort, Arc<Counters>) -> Gate + 'static {
    let config = Arc::new(plan.config.clone());
    let neighbors = Neighbors::new();
    let mut rng = Rng::new(plan.seed ^ 0x6a7e);
    move |_, port, counters| {
        Worker::new(WorkerParts {
            port,
            app: Gateway::new(&config).expect("the plan's routes are valid"),
            config: config.clone(),
            neighbors: neighbors.clone(),
            counters,
            arena: Arena::heap(Gate::arena_size(&config)),
            secret: [rng.next_u64(), rng.next_u64(), rng.next_u64(), rng.next_u64()],
            now: EPOCH,
        })
        .expect("the arena is large enough")
    }
}

pub fn build(plan: Plan) -> World<Gate> {
    let gate = gate(&plan);
    World::new(plan, gate)
}
