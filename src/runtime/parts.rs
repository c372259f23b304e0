//! What a worker is given, made from the configuration: the joints to the layers below.

use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::gateway::Gateway;
use crate::mem::{Arena, ArenaOptions};

/// The program on top of the sessions.
pub(super) type Program = Gateway;

/// A worker's arena, on its NUMA node, and what backs it, such as `2 MiB hugepages`.
pub(super) fn build_arena(config: &Config, bytes: usize, node: Option<u32>) -> Result<(Arena, String), Failure> {
    let options = ArenaOptions { hugepages: config.workers.hugepages, numa_node: node };
    let arena = Arena::new(bytes, options)?;
    let backing = arena.backing().to_string();
    Ok((arena, backing))
}

/// Random bits for hashes and initial sequence numbers.
pub(super) fn build_secret() -> Result<[u64; 4], Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::new(Exit::Environment, format!("the kernel gave no random bytes: {error}")))?;
    let mut secret = [0; 4];
    for (word, bytes) in secret.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    }
    Ok(secret)
}
