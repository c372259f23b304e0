//! The neighbour table that all workers share as snapshots.

/// The neighbour table.
pub struct Neighbors;
