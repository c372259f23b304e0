//! The results of a load run: judged, written down, compared.
//!
//! Owns the result document and every form of it, the verdict, comparing and merging. Refuses to generate load and to know
//! DPDK.
