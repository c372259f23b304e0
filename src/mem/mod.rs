//! Memory for connections: one arena per worker, slices and pools of blocks cut from it, prefetch.
//!
//! Owns every `unsafe` above the dpdk leaf. Refuses to grow: an arena is mapped once at start, and what does not fit is
//! a [`Failure`](crate::failure::Failure) then, never an allocation later.
//!
//! An [`Arena`] is `Send`: it is mapped by the control thread and moves to the lcore of its worker, which cuts it up.
//! Pools, blocks and what borrows from them stay on that thread.

#![allow(unsafe_code)]

mod arena;
mod lent;
mod pool;

pub use arena::{Arena, ArenaOptions, Backing, Slice};
pub use lent::{Borrower, Lent, Room};
pub use pool::{Block, BlockPool};

/// Bytes of a cache line, as far as layout here is concerned.
pub const CACHE_LINE: usize = 64;

/// Asks for the cache line in which `value` starts, for reading soon.
#[inline(always)]
pub fn prefetch<T: ?Sized>(value: &T) {
    prefetch_line(core::ptr::from_ref(value).cast());
}

#[inline(always)]
fn prefetch_line(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: SSE is part of x86_64, and a prefetch is a hint that faults for no address.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// `lines` cache lines from `address` on; the address may lie anywhere.
#[inline(always)]
fn prefetch_lines(address: *const u8, lines: usize) {
    for line in 0..lines {
        prefetch_line(address.wrapping_add(line * CACHE_LINE));
    }
}
