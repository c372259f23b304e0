//! The results of a load run: judged, written down, compared.
//!
//! Owns the result document and every form of it, the verdict, comparing and merging. Refuses to generate load and to know
//! DPDK.

pub mod capacity;
pub mod card;
pub mod collect;
pub mod compare;
pub mod csv;
pub mod distribution;
pub mod hdr;
pub mod html;
pub mod influx;
pub mod junit;
pub mod live;
pub mod merge;
pub mod model;
pub mod plot;
pub mod sample;
pub mod shape;
pub mod soak;
pub mod stats;
pub mod table;
pub mod text;
pub mod validity;
pub mod verdict;
pub mod write;

pub use collect::{Collector, Ending, Health, Label};
pub use compare::compare;
pub use live::Live;
pub use merge::merge;
pub use model::{Run, Stamp, schema};
pub use table::table;
pub use write::{Outputs, read, write_all};
