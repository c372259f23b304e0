//! DPDK: EAL, mempools, mbufs, ports, lcores and the cycle counter, safe to use.
//!
//! Owns every call into `dpdk-sys` and so all `unsafe` of the FFI. Refuses to know what frames carry or who handles
//! them: it is a leaf that implements `crate::port`.
//!
//! Lifetimes are kept by counted handles: a [`QueuePort`] keeps its device open, a device its [`Pool`]s, a pool the
//! [`Eal`]. EAL is cleaned up with the last of them, on the thread that started it. A pool that still has frames out is
//! never freed, so a stray [`Mbuf`] leaks memory and cannot dangle.

#![allow(unsafe_code)]

mod clock;
mod eal;
mod ethdev;
mod explain;
mod lcore;
mod log;
mod mbuf;
mod packet_socket;
mod pool;
mod queue;
mod stats;

pub use clock::{Clock, cycles_per_second};
pub use eal::Eal;
pub use ethdev::{EthPort, PortOptions, PortShape};
pub use lcore::{Lcore, Task};
pub use log::{Severity, show_by};
pub use mbuf::Mbuf;
pub use pool::{FRAME_OVERHEAD, Pool, pool_frames};
pub use queue::QueuePort;

use crate::failure::{Exit, Failure};
use core::ffi::CStr;

/// DPDK's release, such as `DPDK 22.11.11`.
pub fn version() -> String {
    // SAFETY: rte_version returns a pointer to a NUL-terminated string that is never freed or changed after the first
    // call.
    unsafe { CStr::from_ptr(dpdk_sys::rte_version()) }.to_string_lossy().into_owned()
}

/// What a negative return value or `rte_errno` means.
fn error_text(code: i32) -> String {
    // SAFETY: rte_strerror returns a NUL-terminated string in storage of the calling thread, copied before the next
    // call.
    unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(code.abs())) }.to_string_lossy().into_owned()
}

/// An `Exit::Environment` failure from a DPDK return value (0 or positive: success).
fn check(code: i32, what: impl FnOnce() -> String) -> Result<i32, Failure> {
    if code >= 0 {
        return Ok(code);
    }
    let failure = Failure::new(Exit::Environment, format!("{}: {}", what(), error_text(code)));
    let out_of_memory = code == -rustix::io::Errno::NOMEM.raw_os_error();
    Err(if out_of_memory { failure.fix(explain::MORE_MEMORY) } else { failure })
}
