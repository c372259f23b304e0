//! Memory for connections: a hugepage arena per worker, and prefetch.

/// A hugepage arena.
pub struct Arena;
