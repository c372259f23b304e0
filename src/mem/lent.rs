//! A value that borrows from a block and travels with it.
//!
//! Owns the one self-reference of the program: a connection's socket and rings live in its block, and smoltcp's types
//! borrow them. Refuses to let such a borrow out.

use super::{Block, CACHE_LINE, prefetch_lines};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// Names a type that borrows for some lifetime: `With<'a>` for any `'a`.
pub trait Borrower {
    /// The type, borrowing for `'a`.
    type With<'a>;
}

/// A `B::With` together with the block it borrows from. The value is dropped, then the block goes back to its pool.
pub struct Lent<B: Borrower> {
    /// Always initialized. MaybeUninit, because references inside would else have to be valid, and alone, for as long
    /// as a function is running that was given a Lent to drop.
    value: MaybeUninit<B::With<'static>>,
    /// Never dereferenced while `value` lives.
    block: Block,
}

impl<B: Borrower> Lent<B> {
    /// Lets `build` make the value in the block's memory. When it panics the block goes back.
    pub fn new(mut block: Block, build: impl for<'a> FnOnce(&mut Room<'a>) -> B::With<'a>) -> Lent<B> {
        let len = block.len();
        let mut room = Room { next: block.start(), left: len, placed: 0, len, _block: PhantomData };
        block.set_placed(len); // for a panic of `build`
        let value = build(&mut room);
        block.set_placed(room.placed);
        Lent { value: MaybeUninit::new(value), block }
    }

    /// Gives `use_it` the value.
    ///
    /// `use_it` has to work for every `'a`. For all it knows `'a` ends with the call, so that nothing borrowed from the
    /// block can be kept; and for all it knows `'a` outlasts everything it captured, so that nothing shorter-lived can
    /// be put into the value. That is why `With` may be invariant in `'a`.
    #[inline(always)]
    pub fn with<R>(&mut self, use_it: impl for<'a> FnOnce(&mut B::With<'a>) -> R) -> R {
        // SAFETY: `value` is initialized from `new` to `drop`; `&mut self` makes the reference the only one.
        use_it(unsafe { self.value.assume_init_mut() })
    }

    /// As [`Lent::with`], without changing the value.
    #[inline(always)]
    pub fn with_ref<R>(&self, use_it: impl for<'a> FnOnce(&B::With<'a>) -> R) -> R {
        // SAFETY: `value` is initialized from `new` to `drop`.
        use_it(unsafe { self.value.assume_init_ref() })
    }

    /// The block's number in its pool.
    pub fn block_index(&self) -> usize {
        self.block.index()
    }

    /// Asks for the first `lines` cache lines of the block, for reading soon.
    #[inline(always)]
    pub fn prefetch(&self, lines: usize) {
        prefetch_lines(self.block.start().as_ptr(), lines);
    }
}

impl<B: Borrower> Drop for Lent<B> {
    fn drop(&mut self) {
        // SAFETY: `value` is initialized and not used after. The block it borrows from is given back after this, also
        // when this panics.
        unsafe { self.value.assume_init_drop() };
    }
}

/// The memory of a block, taken from front to back for `'a`.
pub struct Room<'a> {
    next: NonNull<u8>,
    left: usize,
    /// Bytes of the block up to the end of the last placed value.
    placed: usize,
    len: usize,
    _block: PhantomData<&'a mut [u8]>,
}

impl<'a> Room<'a> {
    /// Bytes left.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Moves `value` into the block. It is never dropped, so what it owns outside the block is leaked: place values
    /// that own nothing.
    ///
    /// # Panics
    /// When the value does not fit. Blocks are sized at start.
    pub fn place<T: 'a>(&mut self, value: T) -> &'a mut T {
        let gap = self.next.align_offset(align_of::<T>());
        let start = self.cut(gap.saturating_add(size_of::<T>()));
        self.placed = self.len - self.left;
        // SAFETY: `start + gap` is aligned for T, and `cut` gave out the bytes of one T behind it for `'a`, alone.
        unsafe {
            let mut place = start.add(gap).cast::<T>();
            place.write(value);
            place.as_mut()
        }
    }

    /// The next `len` bytes, with whatever a previous owner left in them.
    ///
    /// # Panics
    /// When fewer are left. Blocks are sized at start.
    pub fn bytes(&mut self, len: usize) -> &'a mut [u8] {
        let start = self.cut(len);
        // SAFETY: `cut` gave out these bytes for `'a`, alone; a block's bytes are initialized (see `Block::deref`).
        unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), len) }
    }

    /// Skips to the next cache line; a value or ring that starts there shares no line with what is before.
    pub fn next_line(&mut self) {
        let gap = self.next.align_offset(CACHE_LINE).min(self.left);
        self.cut(gap);
    }

    fn cut(&mut self, len: usize) -> NonNull<u8> {
        assert!(len <= self.left, "{len} bytes in a block of which {} are left", self.left);
        let start = self.next;
        // SAFETY: `len <= left`, so the result lies in the block or one past its end.
        self.next = unsafe { start.add(len) };
        self.left -= len;
        start
    }
}

#[cfg(test)]
mod tests;
