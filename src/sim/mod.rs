//! A false world: ports, wires and clocks for tests and benches, joined to `worker` where `runtime` joins `dpdk`.

pub mod port;
