//! Penstock: a kernel-bypass HTTP API gateway on DPDK. ARCHITECTURE.md explains the five nouns and the layers.

#![deny(unsafe_code)]

// L0 words
pub mod config;
pub mod failure;
pub mod limits;
pub mod mem;
pub mod port;
pub mod telemetry;
pub mod time;
// L1
#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod net;
// L2
pub mod http;
// L3
pub mod worker;
// L4
pub mod gateway;
pub mod loadgen;
// L5
pub mod cli;
pub mod control;
pub mod report;
pub mod runtime;
// A false world, joined to worker where runtime joins dpdk
pub mod sim;
