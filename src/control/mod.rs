//! The control side: configuration loading, the doctor, signals. Never on a worker core.

pub mod doctor;
pub mod json_schema;
pub mod load;
pub mod summary;
