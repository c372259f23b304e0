//! Bindings to the part of DPDK that Penstock uses: made at build time by bindgen from the installed headers.
//!
//! Owns names and layouts only. Refuses to wrap: every function is as unsafe as in C; the `dpdk` module of Penstock is
//! the one user. DPDK's static inlines are compiled in `shim/shim.c` and carry the prefix `shim_`, its macros are
//! constants with the prefix `SHIM_`.

#![no_std]
#![allow(missing_docs, non_camel_case_types, non_upper_case_globals, non_snake_case, clippy::all, clippy::pedantic)]
#![allow(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
