//! The control side: configuration loading, signals. Never on a worker core.

pub mod json_schema;
pub mod load;
pub mod summary;
