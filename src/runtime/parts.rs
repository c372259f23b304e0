//! What a worker is given, made from the configuration: the joints to the layers below.

use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::mem::Arena;
use crate::net::neighbor::Neighbors;
use crate::worker::App;
use std::sync::Arc;

/// The program on top of the sessions.
pub(super) struct Program;

impl App for Program {}

/// The program of one worker.
#[allow(clippy::unnecessary_wraps)]
pub(super) fn build_app(_config: &Arc<Config>) -> Result<Program, Failure> {
    Ok(Program)
}

/// The neighbour table that all workers share.
pub(super) fn build_neighbors() -> Arc<Neighbors> {
    Arc::new(Neighbors)
}

/// A worker's arena and what backs it, such as `2 MiB hugepages`.
#[allow(clippy::unnecessary_wraps)]
pub(super) fn build_arena(_config: &Config, _bytes: usize, _node: u32) -> Result<(Arena, String), Failure> {
    Ok((Arena, "nothing yet".into()))
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
