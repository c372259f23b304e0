//! The load generator program: what to ask when, and what became of it.
//!
//! Owns the plan of a run, its schedule of arrivals, and what is recorded of each request. Refuses to read or write bytes
//! (sessions do), to print, and to judge: `report` does.

pub mod generator;
mod idle;
pub mod plan;
pub mod record;
pub mod recorder;
pub mod schedule;
mod spread;
