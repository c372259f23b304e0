//! Mempools of mbufs, one per NUMA node in use.
//!
//! Owns their size and lifetime. Refuses to hand out frames: a `QueuePort` does, from its own stash.

use super::{Eal, error_text};
use crate::failure::{Exit, Failure};
use crate::limits::{TX_BACKLOG_MAX, UNRESOLVED_MAX};
use crate::port::BURST_MAX;
use dpdk_sys as sys;
use std::ffi::CString;
use std::sync::Arc;

/// Mbufs each lcore keeps to itself; 0 instead of 256 costs up to 40 % of the requests over memif.
const CACHE: u32 = 256;
/// Mbufs a queue pair keeps ready for `Port::alloc`.
pub(super) const STASH: usize = 32;
/// Bytes a frame takes beyond its data room: mempool header, `rte_mbuf`, alignment.
pub const FRAME_OVERHEAD: usize = 320;

/// How many frames a pool needs so that `queues` queue pairs never wait for one.
///
/// Per queue pair: every receive descriptor holds an empty frame and every transmit descriptor a sent one; a worker
/// holds a burst each way, its stash, a full transmit backlog and a full queue of frames that wait for a neighbour; its
/// lcore's cache keeps up to 1.5 times `CACHE` from the others. Connections add nothing: their bytes are in the arena's
/// rings, and no frame outlives the turn that received it.
pub fn pool_frames(queues: u16, rx_descriptors: u16, tx_descriptors: u16) -> u32 {
    let descriptors = u32::from(rx_descriptors) + u32::from(tx_descriptors);
    let worker = (2 * BURST_MAX + STASH + TX_BACKLOG_MAX + UNRESOLVED_MAX) as u32;
    let cache = CACHE + CACHE / 2;
    // The main lcore has a cache too.
    u32::from(queues) * (descriptors + worker + cache) + cache
}

/// A pool of frames; clones share it.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    pool: *mut sys::rte_mempool,
    name: String,
    frames: u32,
    data_room: u16,
    eal: Eal,
}

// SAFETY: a mempool made by rte_pktmbuf_pool_create takes and gives frames from any thread (multi-producer,
// multi-consumer ring, caches by lcore); the other fields are never changed.
unsafe impl Send for Inner {}
// SAFETY: as above; no method takes `&mut`.
unsafe impl Sync for Inner {}

impl Pool {
    /// Makes a pool of `frames` frames with room for `room` bytes each after the headroom, on a NUMA node (None: any). Its name
    /// is `owner` and the node, such as `penstock_0`.
    ///
    /// # Errors
    /// `Exit::Environment` when EAL's memory does not suffice.
    pub fn new(eal: &Eal, owner: &str, node: Option<u32>, frames: u32, room: u16) -> Result<Pool, Failure> {
        let name = format!("{owner}_{}", node.map_or("any".into(), |node| node.to_string()));
        let data_room = room.saturating_add(sys::SHIM_HEADROOM);
        let mut pool = create(&name, frames, data_room, node);
        if pool.is_null() && node.is_some() {
            // Without hugepages all memory of EAL is on one node.
            pool = create(&name, frames, data_room, None);
        }
        if pool.is_null() {
            return Err(too_little_memory(frames, data_room));
        }
        let inner = Inner { pool, name, frames, data_room: room, eal: eal.clone() };
        Ok(Pool { inner: Arc::new(inner) })
    }

    /// Frames outside the pool and its caches; what is not back at the end has leaked.
    pub fn in_use(&self) -> u32 {
        // SAFETY: the mempool lives as long as `inner`.
        unsafe { sys::rte_mempool_in_use_count(self.inner.pool) }
    }

    /// Frames in all.
    pub fn frames(&self) -> u32 {
        self.inner.frames
    }

    /// Bytes of memory, roughly.
    pub fn bytes(&self) -> usize {
        let room = usize::from(self.inner.data_room) + usize::from(sys::SHIM_HEADROOM);
        self.inner.frames as usize * (room + FRAME_OVERHEAD)
    }

    /// Bytes of room in an empty frame.
    pub fn room(&self) -> usize {
        usize::from(self.inner.data_room)
    }

    /// The name DPDK knows it by.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    pub(super) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.inner.pool
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: the mempool was made in `Pool::new` and not freed since.
        let out = unsafe { sys::rte_mempool_in_use_count(self.pool) };
        if out > 0 {
            // A frame may still point here: keep the pool, and EAL's memory with it. `runtime` reports the leak.
            std::mem::forget(self.eal.clone());
            return;
        }
        // SAFETY: no handle and no frame is left that could reach the mempool.
        unsafe { sys::rte_mempool_free(self.pool) };
    }
}

fn create(name: &str, frames: u32, data_room: u16, node: Option<u32>) -> *mut sys::rte_mempool {
    let Ok(name) = CString::new(name) else { return core::ptr::null_mut() };
    let node = node.and_then(|node| i32::try_from(node).ok()).unwrap_or(sys::SHIM_SOCKET_ANY);
    // SAFETY: EAL runs (the caller has a handle); the name is copied; the private area is empty.
    unsafe { sys::rte_pktmbuf_pool_create(name.as_ptr(), frames, CACHE, 0, data_room, node) }
}

fn too_little_memory(frames: u32, data_room: u16) -> Failure {
    let mib = (frames as usize * (usize::from(data_room) + FRAME_OVERHEAD)).div_ceil(1 << 20);
    // SAFETY: reads a per-thread variable.
    let reason = error_text(unsafe { sys::shim_errno() });
    Failure::new(Exit::Environment, format!("no memory for {frames} frames ({mib} MiB): {reason}")).fix(format!(
        "with --no-huge: give EAL more, such as -m {}\nwith hugepages: echo {} > \
         /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
        mib + 64,
        mib / 2 + 64
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_covers_every_place_a_frame_can_be_at_once() {
        let one = pool_frames(1, 1024, 1024);
        assert!(one as usize > 2048 + TX_BACKLOG_MAX + UNRESOLVED_MAX + 2 * BURST_MAX + STASH);
        assert_eq!(pool_frames(4, 1024, 1024) - pool_frames(3, 1024, 1024), pool_frames(2, 1024, 1024) - one);
        assert!(pool_frames(128, 4096, 4096) < u32::MAX / 2);
    }
}
