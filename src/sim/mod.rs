//! A false world: ports, wires, hosts and a clock for tests and benches, joined to `worker` where `runtime` joins `dpdk`.
//!
//! One seed is one run: a [`plan`] drawn from it happens in a [`world`], and a [`verdict`] judges it. Everything a gateway
//! does is judged by code that shares nothing with it but the config and the counters. A run that fails is made smaller by
//! [`shrink`].

pub mod answers;
pub mod client;
pub mod conduct;
pub mod device;
pub mod event;
pub mod host;
pub mod load;
pub mod load_plan;
pub mod machine;
pub mod neighbor;
pub mod packet;
pub mod plan;
pub mod port;
pub mod rng;
pub mod shrink;
pub mod site;
pub mod stray;
pub mod verdict;
pub mod wire;
pub mod world;
