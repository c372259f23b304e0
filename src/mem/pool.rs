//! Pools of equal blocks: rings, sockets, buffers.
//!
//! Owns which blocks are free. Refuses to grow, and to clear bytes that a previous owner left: a block is zeroed
//! when its pool is made and has arbitrary contents later.

use super::arena::{Mapping, lines};
use super::{Arena, Slice, prefetch_lines};
use crate::failure::{Exit, Failure};
use core::cell::Cell;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

/// Equal blocks of an arena. The block given back last is taken first, because its lines are the likeliest in a cache.
pub struct BlockPool {
    shared: Rc<Shared>,
}

struct Shared {
    base: NonNull<u8>,
    block_len: usize,
    stride: usize,
    /// Indices of free blocks are `free[..free_len]`, a stack. No index is in it twice, nor while its block is taken.
    free: Slice<Cell<u32>>,
    free_len: Cell<usize>,
    _mapping: Arc<Mapping>,
}

impl BlockPool {
    pub(super) const fn stride(block_len: usize) -> usize {
        lines(block_len)
    }

    pub(super) fn new(arena: &Arena, block_len: usize, count: usize) -> Result<BlockPool, Failure> {
        if u32::try_from(count.max(block_len)).is_err() {
            // Indices and `placed` are 32 bits wide; a number that wraps would hand out a block twice.
            let what = format!("connection memory: {count} blocks of {block_len} bytes are more than a pool holds");
            return Err(Failure::new(Exit::Runtime, what).fix("lower workers.connections"));
        }
        let stride = BlockPool::stride(block_len);
        let (base, mapping) = arena.blocks(stride.saturating_mul(count))?;
        // The lowest index on top: memory is touched from the front.
        let free = arena.slice(count, |i| Cell::new((count - 1 - i) as u32))?;
        let shared = Shared { base, block_len, stride, free, free_len: Cell::new(count), _mapping: mapping };
        Ok(BlockPool { shared: Rc::new(shared) })
    }

    /// A free block, or None when all are taken.
    #[inline]
    pub fn take(&self) -> Option<Block> {
        let top = self.shared.free_len.get().checked_sub(1)?;
        let index = self.shared.free[top].get();
        self.shared.free_len.set(top);
        // SAFETY: `index` is less than the number of blocks, so the block lies inside the pool's part of the mapping.
        let start = unsafe { self.shared.base.add(index as usize * self.shared.stride) };
        Some(Block { start, index, placed: 0, pool: Rc::clone(&self.shared) })
    }

    /// Blocks that can be taken.
    pub fn available(&self) -> usize {
        self.shared.free_len.get()
    }

    /// Blocks in all.
    pub fn capacity(&self) -> usize {
        self.shared.free.len()
    }

    /// Blocks taken and not given back.
    pub fn in_use(&self) -> usize {
        self.shared.free.len() - self.shared.free_len.get()
    }

    /// Bytes of a block.
    pub fn block_len(&self) -> usize {
        self.shared.block_len
    }
}

impl fmt::Debug for BlockPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockPool({} of {} x {} B in use)", self.in_use(), self.shared.free.len(), self.block_len())
    }
}

/// A block: the only owner of its bytes until it is dropped, which gives it back.
pub struct Block {
    start: NonNull<u8>,
    index: u32,
    /// The bytes below may hold padding of a value that was placed there, so they are not bytes to be read until
    /// zeroed. Always zero while the block can be dereferenced.
    placed: u32,
    pool: Rc<Shared>,
}

impl Block {
    /// The block's number in its pool, from 0.
    pub fn index(&self) -> usize {
        self.index as usize
    }

    /// Asks for the first `lines` cache lines of the block, for reading soon.
    #[inline(always)]
    pub fn prefetch(&self, lines: usize) {
        prefetch_lines(self.start.as_ptr(), lines);
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(super) fn set_placed(&mut self, placed: usize) {
        debug_assert!(placed <= self.pool.block_len);
        self.placed = placed as u32;
    }
}

impl Deref for Block {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        // SAFETY: the block lies in the mapping, which `pool` keeps alive, and is ours alone. Its bytes are
        // initialized: the mapping starts zeroed, only bytes are written through a Block, and what `Lent` placed was
        // zeroed when that block was given back.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.pool.block_len) }
    }
}

impl DerefMut for Block {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes the reference the only one.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.pool.block_len) }
    }
}

impl Drop for Block {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `placed` does not exceed the block, which is ours alone and referred to by nobody any more.
        unsafe { self.start.write_bytes(0, self.placed as usize) };
        let free = self.pool.free_len.get();
        self.pool.free[free].set(self.index);
        self.pool.free_len.set(free + 1);
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({}, {} B)", self.index, self.pool.block_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(block_len: usize, count: usize) -> BlockPool {
        Arena::heap(Arena::pool_bytes(block_len, count)).pool(block_len, count).unwrap()
    }

    #[test]
    fn blocks_are_aligned_zeroed_and_disjoint() {
        let pool = pool(100, 5);
        let mut blocks: Vec<Block> = (0..5).map(|_| pool.take().unwrap()).collect();
        for (i, block) in blocks.iter_mut().enumerate() {
            assert_eq!((block.len(), block.as_ptr().addr() % 64), (100, 0));
            assert!(block.iter().all(|&b| b == 0));
            block.fill(i as u8 + 1);
        }
        for (i, block) in blocks.iter().enumerate() {
            assert!(block.iter().all(|&b| b == i as u8 + 1));
        }
    }

    #[test]
    fn an_empty_pool_gives_none_until_a_block_is_back() {
        let pool = pool(64, 2);
        let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
        assert!(pool.take().is_none());
        assert_eq!((pool.available(), pool.in_use()), (0, 2));
        let first = a.as_ptr();
        drop(a);
        assert_eq!((pool.available(), pool.in_use()), (1, 1));
        assert_eq!(pool.take().unwrap().as_ptr(), first);
        drop(b);
        assert_eq!(pool.in_use(), 0);
        assert!(super::BlockPool::new(&Arena::heap(64), 64, 2).is_err());
        assert!(super::BlockPool::new(&Arena::heap(64), usize::MAX, 2).is_err());
        assert!(super::BlockPool::new(&Arena::heap(64), 0, 1 << 32).is_err(), "an index would wrap");
    }

    #[test]
    fn the_last_block_back_is_the_first_out_over_a_thousand_cycles() {
        let pool = pool(256, 8);
        let mut held: Vec<Block> = Vec::new();
        for cycle in 0..1000_usize {
            if cycle % 3 == 2 {
                let block = held.swap_remove(cycle % held.len());
                let address = block.as_ptr();
                drop(block);
                let again = pool.take().unwrap();
                assert_eq!(again.as_ptr(), address);
                held.push(again);
            }
            match pool.take() {
                Some(block) => held.push(block),
                None => held.clear(),
            }
            assert_eq!(pool.in_use(), held.len());
        }
    }

    #[test]
    fn a_block_keeps_its_memory_alive() {
        let pool = pool(64, 1);
        let mut block = pool.take().unwrap();
        drop(pool);
        block[63] = 9;
        assert_eq!(block[63], 9);
    }
}
