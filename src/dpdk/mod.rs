//! DPDK: EAL, mempools, mbufs, ports, lcores.
