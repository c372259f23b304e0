//! The control side: configuration loading, signals. Never on a worker core.

pub mod load;
pub mod summary;
