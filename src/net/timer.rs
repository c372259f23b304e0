//! A lazy hierarchical timer wheel.
