//! The arena: one mapping, cut into slices from front to back, unmapped when its last slice is gone.
//!
//! Owns how the memory is obtained (hugepages, NUMA node). Refuses to take memory back piece by piece.

use super::{BlockPool, CACHE_LINE, prefetch_lines};
use crate::config::Hugepages;
use crate::failure::{Exit, Failure};
use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::alloc::Layout;
use std::sync::Arc;

const HUGE_PAGE: usize = 2 << 20;

/// How an arena's memory is obtained.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct ArenaOptions {
    /// Whether 2 MiB hugepages are tried, demanded or left alone.
    pub hugepages: Hugepages,
    /// The NUMA node to take the pages from, while it has some.
    pub numa_node: Option<u32>,
}

/// What backs an arena.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Backing {
    /// Reserved hugepages of 2 MiB.
    Huge,
    /// Plain pages, which the kernel may merge into transparent hugepages.
    Plain,
}

impl fmt::Display for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backing::Huge => "2 MiB hugepages",
            Backing::Plain => "4 KiB pages",
        })
    }
}

/// Zeroed memory of one worker, given out from front to back.
#[derive(Debug)]
pub struct Arena {
    mapping: Arc<Mapping>,
    used: Cell<usize>,
}

impl Arena {
    /// Maps at least `bytes` bytes. Hugepages are populated at once, plain pages when first written.
    pub fn new(bytes: usize, options: ArenaOptions) -> Result<Arena, Failure> {
        let mapping = match options.hugepages {
            Hugepages::Off => Mapping::plain(bytes, options)?,
            Hugepages::Require => Mapping::huge(bytes, options)?,
            Hugepages::Auto => Mapping::huge(bytes, options).or_else(|_| Mapping::plain(bytes, options))?,
        };
        Ok(Arena { mapping: Arc::new(mapping), used: Cell::new(0) })
    }

    /// `bytes` bytes of the process's heap, for tests and the simulator.
    ///
    /// # Panics
    /// When `bytes` exceeds what a pointer can address.
    pub fn heap(bytes: usize) -> Arena {
        Arena { mapping: Arc::new(Mapping::heap(bytes)), used: Cell::new(0) }
    }

    /// What backs the memory.
    pub fn backing(&self) -> Backing {
        self.mapping.backing
    }

    /// The NUMA node the kernel agreed to take pages from; None where none was asked for or the kernel refused.
    pub fn numa_node(&self) -> Option<u32> {
        self.mapping.numa_node
    }

    /// Bytes mapped.
    pub fn bytes(&self) -> usize {
        self.mapping.layout.size()
    }

    /// Bytes not given out yet.
    pub fn bytes_left(&self) -> usize {
        self.bytes() - self.used.get()
    }

    /// The bytes of the arena that [`Arena::slice`] takes for `len` values of `T`, at most.
    pub const fn slice_bytes<T>(len: usize) -> usize {
        let slack = if align_of::<T>() > CACHE_LINE { align_of::<T>() } else { 0 };
        lines(size_of::<T>().saturating_mul(len)).saturating_add(slack)
    }

    /// The bytes of the arena that [`Arena::pool`] takes.
    pub const fn pool_bytes(block_len: usize, count: usize) -> usize {
        BlockPool::stride(block_len).saturating_mul(count).saturating_add(Arena::slice_bytes::<u32>(count))
    }

    /// `len` values, the one at index i being `make(i)`, aligned to a cache line at least.
    pub fn slice<T>(&self, len: usize, mut make: impl FnMut(usize) -> T) -> Result<Slice<T>, Failure> {
        let bytes = size_of::<T>().saturating_mul(len);
        let start = self.cut(bytes, align_of::<T>().max(CACHE_LINE))?.cast::<T>();
        // The length grows with the values, so that a panic of `make` drops those already made.
        let mut slice = Slice { start, len: 0, _mapping: Arc::clone(&self.mapping), _values: PhantomData };
        while slice.len < len {
            let value = make(slice.len);
            // SAFETY: `cut` gave out aligned memory for `len` values that nobody else was or will be given, and the
            // mapping lives as long as `slice`.
            unsafe { start.add(slice.len).write(value) };
            slice.len += 1;
        }
        Ok(slice)
    }

    /// `count` blocks of `block_len` bytes, each aligned to a cache line, zeroed.
    pub fn pool(&self, block_len: usize, count: usize) -> Result<BlockPool, Failure> {
        BlockPool::new(self, block_len, count)
    }

    /// A part of the mapping for blocks: zeroed, and given out never again.
    pub(super) fn blocks(&self, bytes: usize) -> Result<(NonNull<u8>, Arc<Mapping>), Failure> {
        Ok((self.cut(bytes, CACHE_LINE)?, Arc::clone(&self.mapping)))
    }

    /// The next `bytes` bytes, in whole cache lines, at a multiple of `align`, a power of two.
    fn cut(&self, bytes: usize, align: usize) -> Result<NonNull<u8>, Failure> {
        let bytes = lines(bytes);
        let base = self.mapping.base.addr().get();
        let from = (base + self.used.get()).next_multiple_of(align) - base;
        match from.checked_add(bytes) {
            Some(end) if end <= self.bytes() => {
                self.used.set(end);
                // SAFETY: `from <= end <= bytes()`, so the result lies in the mapping or one past its end.
                Ok(unsafe { self.mapping.base.add(from) })
            }
            _ => Err(Failure::new(
                Exit::Runtime,
                format!(
                    "connection memory: {bytes} bytes do not fit, {} of the arena's {} are left",
                    self.bytes_left(),
                    self.bytes()
                ),
            )
            .fix("lower workers.connections, tcp.rx_ring or tcp.tx_ring")),
        }
    }
}

/// Values in an arena. Derefs to a slice, drops its values, and keeps the mapping alive.
pub struct Slice<T> {
    start: NonNull<T>,
    len: usize,
    _mapping: Arc<Mapping>,
    _values: PhantomData<T>,
}

// SAFETY: a Slice owns its values as a Vec does; the mapping it shares is freed by the last owner, from any thread.
unsafe impl<T: Send> Send for Slice<T> {}
// SAFETY: a shared Slice gives nothing but shared references to its values.
unsafe impl<T: Sync> Sync for Slice<T> {}

impl<T> Slice<T> {
    /// Asks for the first `lines` cache lines of the value at `index`, for reading soon. Touches nothing itself, and
    /// does no harm for an index out of range.
    #[inline(always)]
    pub fn prefetch(&self, index: usize, lines: usize) {
        prefetch_lines(self.start.as_ptr().wrapping_add(index).cast(), lines);
    }
}

impl<T> Deref for Slice<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: the first `len` values are initialized, aligned and owned by `self`, whose mapping is alive.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Slice<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; `&mut self` makes the reference the only one.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T> Drop for Slice<T> {
    fn drop(&mut self) {
        // SAFETY: the values are owned by `self` and not used after; the mapping is given up after this.
        unsafe { core::ptr::drop_in_place(&raw mut **self) };
    }
}

impl<T: fmt::Debug> fmt::Debug for Slice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// One range of memory, given back to where it came from on drop.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    layout: Layout,
    source: Source,
    backing: Backing,
    numa_node: Option<u32>,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Source {
    Heap,
    Mmap,
}

// SAFETY: a Mapping only owns an address range. Its parts are given out once each by `Arena::cut`, and their owners
// decide about threads.
unsafe impl Send for Mapping {}
// SAFETY: a shared Mapping reads and writes nothing.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn huge(bytes: usize, options: ArenaOptions) -> Result<Mapping, Failure> {
        let layout = layout(bytes, HUGE_PAGE)?;
        // Without MAP_NORESERVE the kernel sets the pages aside now, or refuses now.
        let flags = MapFlags::PRIVATE | MapFlags::HUGETLB | MapFlags::HUGE_2MB;
        let refused = |_| no_hugepages(layout.size());
        let mapping = Mapping::map(layout, flags, Backing::Huge, options).map_err(refused)?;
        match mapping.advise(Advice::LinuxPopulateWrite) {
            // Kernels before 5.14 do not know the advice; the pages are set aside all the same.
            Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(mapping),
            Err(errno) => Err(refused(errno)),
        }
    }

    fn plain(bytes: usize, options: ArenaOptions) -> Result<Mapping, Failure> {
        // Rounded to 2 MiB so that transparent hugepages can cover the end as well.
        let layout = layout(bytes, HUGE_PAGE)?;
        let mapping = Mapping::map(layout, MapFlags::PRIVATE, Backing::Plain, options).map_err(|errno| {
            Failure::new(Exit::Environment, format!("connection memory: cannot map {} bytes: {errno}", layout.size()))
                .fix("lower workers.connections, or raise the memory limit (ulimit -v, cgroup memory.max)")
        })?;
        if options.hugepages == Hugepages::Auto {
            // A hint: a kernel without transparent hugepages refuses it, and nothing changes.
            let _ = mapping.advise(Advice::LinuxHugepage);
        }
        Ok(mapping)
    }

    fn heap(bytes: usize) -> Mapping {
        let layout =
            Layout::from_size_align(bytes.max(CACHE_LINE), CACHE_LINE).expect("an arena that can be addressed");
        // SAFETY: the layout's size is not zero.
        let base = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) });
        let base = base.unwrap_or_else(|| std::alloc::handle_alloc_error(layout));
        Mapping { base, layout, source: Source::Heap, backing: Backing::Plain, numa_node: None }
    }

    fn map(layout: Layout, flags: MapFlags, backing: Backing, options: ArenaOptions) -> rustix::io::Result<Mapping> {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory in use.
        let base = unsafe { rustix::mm::mmap_anonymous(core::ptr::null_mut(), layout.size(), prot, flags) }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(rustix::io::Errno::NOMEM)?;
        let mut mapping = Mapping { base, layout, source: Source::Mmap, backing, numa_node: None };
        mapping.numa_node = options.numa_node.filter(|&node| mapping.prefer(node));
        Ok(mapping)
    }

    fn advise(&self, advice: Advice) -> rustix::io::Result<()> {
        // SAFETY: the range is exactly this mapping, and the advice used here discards nothing.
        unsafe { rustix::mm::madvise(self.base.as_ptr().cast(), self.layout.size(), advice) }
    }

    /// Has pages come from `node` while it has some; whether the kernel agreed. Preferred and not bound: a node that
    /// runs out of hugepages under a binding ends in SIGBUS.
    fn prefer(&self, node: u32) -> bool {
        let mut nodes = [0 as libc::c_ulong; 16];
        let word_bits = libc::c_ulong::BITS;
        let Some(word) = nodes.get_mut((node / word_bits) as usize) else { return false };
        *word = 1 << (node % word_bits);
        // The kernel reads one bit less than it is told.
        let bits = nodes.len() * word_bits as usize + 1;
        let (start, len) = (self.base.as_ptr(), self.layout.size());
        // SAFETY: mbind with these arguments reads `nodes` and sets the policy of exactly this mapping.
        unsafe { libc::syscall(libc::SYS_mbind, start, len, libc::MPOL_PREFERRED, nodes.as_ptr(), bits, 0) == 0 }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        match self.source {
            // SAFETY: allocated by `heap` with this layout; the last owner of a part is gone.
            Source::Heap => unsafe { std::alloc::dealloc(self.base.as_ptr(), self.layout) },
            Source::Mmap => {
                // SAFETY: mapped by `map` with this size; the last owner of a part is gone. Unmapping one's own whole
                // mapping does not fail.
                let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.layout.size()) };
            }
        }
    }
}

/// `bytes` in whole cache lines.
pub(super) const fn lines(bytes: usize) -> usize {
    bytes.saturating_add(CACHE_LINE - 1) & !(CACHE_LINE - 1)
}

/// A layout of `bytes` bytes rounded up to whole pages.
fn layout(bytes: usize, page: usize) -> Result<Layout, Failure> {
    let size = bytes.max(1).checked_next_multiple_of(page);
    size.and_then(|size| Layout::from_size_align(size, page).ok()).ok_or_else(|| {
        Failure::new(Exit::Environment, format!("connection memory: {bytes} bytes cannot be addressed"))
            .fix("lower workers.connections")
    })
}

fn no_hugepages(bytes: usize) -> Failure {
    let pages = bytes / HUGE_PAGE;
    Failure::new(Exit::Environment, format!("connection memory: {pages} free hugepages of 2 MiB are needed per worker"))
        .fix(format!(
            "echo N > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages, N being at least {pages} for each worker \
             and what DPDK needs\nor set workers.hugepages = \"auto\""
        ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn slices_are_aligned_disjoint_and_as_long_as_accounted() {
        let need = Arena::slice_bytes::<u8>(3) + Arena::slice_bytes::<u64>(5) + Arena::slice_bytes::<()>(7);
        let arena = Arena::heap(need);
        let small = arena.slice(3, |i| i as u8).unwrap();
        let large = arena.slice(5, |i| i as u64 * 10).unwrap();
        let unit = arena.slice(7, |_| ()).unwrap();
        assert_eq!((&*small, &*large, unit.len()), (&[0, 1, 2][..], &[0, 10, 20, 30, 40][..], 7));
        assert_eq!((small.as_ptr().addr() % 64, large.as_ptr().addr() % 64), (0, 0));
        assert_eq!(arena.bytes_left(), 0);
    }

    #[test]
    fn alignment_beyond_a_cache_line_is_kept() {
        #[repr(align(256))]
        struct Wide(u8);
        let arena = Arena::heap(64 + Arena::slice_bytes::<Wide>(2));
        let _first = arena.slice(1, |_| 0_u8).unwrap();
        let wide = arena.slice(2, |i| Wide(i as u8)).unwrap();
        assert_eq!((wide.as_ptr().addr() % 256, wide[1].0), (0, 1));
    }

    #[test]
    fn values_are_dropped_once_also_when_making_one_panics() {
        let seen = Rc::new(());
        let arena = Arena::heap(4096);
        let slice = arena.slice(10, |_| Rc::clone(&seen)).unwrap();
        assert_eq!(Rc::strong_count(&seen), 11);
        drop(slice);
        assert_eq!(Rc::strong_count(&seen), 1);
        let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            arena.slice(10, |i| if i == 4 { panic!("made") } else { Rc::clone(&seen) })
        }));
        assert!(broken.is_err());
        assert_eq!(Rc::strong_count(&seen), 1);
    }

    #[test]
    fn an_exhausted_arena_says_what_was_asked_and_what_is_left() {
        let arena = Arena::heap(1024);
        let _kept = arena.slice(512, |_| 0_u8).unwrap();
        let failure = arena.slice(1000, |_| 0_u8).unwrap_err();
        assert!(failure.what.contains("1024 bytes do not fit, 512 of the arena's 1024 are left"), "{}", failure.what);
        assert!(arena.slice(usize::MAX / 2, |_| 0_u64).is_err());
        assert!(arena.slice(512, |_| 0_u8).is_ok(), "a refusal takes nothing");
    }

    #[test]
    fn a_slice_outlives_its_arena_and_moves_to_another_thread() {
        let arena = Arena::new(1 << 20, ArenaOptions { hugepages: Hugepages::Off, numa_node: None }).unwrap();
        let mut slice = arena.slice(1000, |i| i).unwrap();
        drop(arena);
        slice[0] = 7;
        let sum = std::thread::spawn(move || slice.iter().sum::<usize>()).join().unwrap();
        assert_eq!(sum, 999 * 1000 / 2 + 7);
    }

    #[test]
    fn every_hugepage_setting_gives_memory_or_names_the_command() {
        for hugepages in [Hugepages::Auto, Hugepages::Off, Hugepages::Require] {
            match Arena::new(3 << 20, ArenaOptions { hugepages, numa_node: Some(0) }) {
                Ok(arena) => {
                    assert!(arena.bytes() >= 3 << 20);
                    assert!(hugepages != Hugepages::Require || arena.backing() == Backing::Huge);
                    assert!(hugepages != Hugepages::Off || arena.backing() == Backing::Plain);
                    let slice = arena.slice(3 << 20, |_| 1_u8).unwrap();
                    assert_eq!(slice.iter().map(|&b| usize::from(b)).sum::<usize>(), 3 << 20);
                }
                Err(failure) => {
                    assert_eq!(hugepages, Hugepages::Require, "{failure}");
                    assert!(failure.fix.unwrap().contains("nr_hugepages"));
                }
            }
        }
        let absurd = Arena::new(usize::MAX, ArenaOptions::default()).unwrap_err();
        assert_eq!(absurd.exit, Exit::Environment);
        let unknown_node = ArenaOptions { hugepages: Hugepages::Off, numa_node: Some(100_000) };
        assert_eq!(Arena::new(1, unknown_node).unwrap().numa_node(), None);
    }

    #[test]
    fn prefetch_takes_any_index() {
        let slice = Arena::heap(4096).slice(4, |i| i).unwrap();
        slice.prefetch(0, 2);
        slice.prefetch(usize::MAX, 8);
        crate::mem::prefetch(&slice[1]);
    }
}
