//! Values in blocks: a real socket set, drop order, alignment, panics.

use super::*;
use crate::mem::{Arena, BlockPool};
use core::cell::Cell;
use smoltcp::iface::{SocketSet, SocketStorage};
use smoltcp::socket::tcp;
use smoltcp::wire::IpListenEndpoint;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

fn pool(block_len: usize, count: usize) -> BlockPool {
    Arena::heap(Arena::pool_bytes(block_len, count)).pool(block_len, count).unwrap()
}

/// A connection as net builds it: a socket set of one, its socket and both rings in one block.
struct OneSocket;

impl Borrower for OneSocket {
    type With<'a> = SocketSet<'a>;
}

const RX: usize = 512;
const TX: usize = 1024;
const SOCKET_BLOCK: usize = size_of::<SocketStorage<'static>>().next_multiple_of(CACHE_LINE) + RX + TX;

fn one_socket(block: Block) -> Lent<OneSocket> {
    Lent::new(block, |room| {
        let storage = room.place([SocketStorage::EMPTY]);
        room.next_line();
        let (rx, tx) = (room.bytes(RX), room.bytes(TX));
        assert_eq!(room.left(), 0);
        let mut set = SocketSet::new(&mut storage[..]);
        set.add(tcp::Socket::new(tcp::SocketBuffer::new(rx), tcp::SocketBuffer::new(tx)));
        set
    })
}

#[test]
fn a_smoltcp_socket_set_lives_in_its_block_a_thousand_times() {
    let pool = pool(SOCKET_BLOCK, 2);
    for round in 0..1000_u16 {
        let mut lent = one_socket(pool.take().unwrap());
        assert_eq!(pool.in_use(), 1);
        lent.prefetch(4);
        let capacity = lent.with(|set| {
            let (handle, _) = set.iter().next().unwrap();
            let socket = set.get_mut::<tcp::Socket>(handle);
            assert_eq!(socket.state(), tcp::State::Closed);
            let listen = IpListenEndpoint { addr: None, port: 80 + round };
            socket.listen(listen).unwrap();
            (socket.recv_capacity(), socket.send_capacity())
        });
        assert_eq!(capacity, (RX, TX));
        let mut moved = Box::new(lent);
        let port = moved.with(|set| match set.iter().next().unwrap().1 {
            smoltcp::socket::Socket::Tcp(socket) => socket.listen_endpoint().port,
        });
        assert_eq!(port, 80 + round);
        drop(moved);
        assert_eq!(pool.in_use(), 0);
    }
}

/// Sees, when dropped, whether its block is still out.
struct Witness<'a> {
    bytes: &'a mut [u8],
    drops: Rc<Cell<u32>>,
    pool: Rc<BlockPool>,
}

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        assert_eq!(self.pool.in_use(), 1, "the value goes before its block");
        self.bytes[0] += 1;
        self.drops.set(self.drops.get() + 1);
    }
}

impl Borrower for Witness<'static> {
    type With<'a> = Witness<'a>;
}

#[test]
fn the_value_is_dropped_once_before_the_block_returns() {
    let pool = Rc::new(pool(64, 1));
    let drops = Rc::new(Cell::new(0));
    let lent = Lent::<Witness<'static>>::new(pool.take().unwrap(), |room| {
        let bytes = room.bytes(64);
        Witness { bytes, drops: Rc::clone(&drops), pool: Rc::clone(&pool) }
    });
    assert_eq!(lent.with_ref(|witness| witness.bytes.len()), 64);
    assert_eq!(drops.get(), 0);
    drop(lent);
    assert_eq!((drops.get(), pool.in_use()), (1, 0));
    assert_eq!(pool.take().unwrap()[0], 1, "it wrote while the block was its own");
}

struct Words;

impl Borrower for Words {
    type With<'a> = (&'a mut u8, &'a mut u64, &'a mut [u8]);
}

#[test]
fn placed_values_are_aligned_disjoint_and_gone_afterwards() {
    let pool = pool(64, 1);
    let mut lent = Lent::<Words>::new(pool.take().unwrap(), |room| {
        let (small, large) = (room.place(7_u8), room.place(u64::MAX));
        (small, large, room.bytes(room.left()))
    });
    lent.with(|(small, large, rest)| {
        assert_eq!((**small, **large, rest.len()), (7, u64::MAX, 48));
        assert_eq!(core::ptr::from_mut(*large).addr() % 8, 0);
        rest.fill(3);
        assert_eq!((**small, **large), (7, u64::MAX));
    });
    drop(lent);
    let block = pool.take().unwrap();
    assert_eq!(block[..16], [0; 16], "bytes that may have held padding are bytes again");
    assert_eq!(block[16..], [3; 48], "the rest is left as it was");
}

#[test]
fn a_value_that_does_not_fit_panics_and_the_block_returns() {
    let pool = pool(64, 1);
    let broken = catch_unwind(AssertUnwindSafe(|| {
        Lent::<Words>::new(pool.take().unwrap(), |room| {
            let (small, rest) = (room.place(1_u8), room.bytes(60));
            (small, room.place(2_u64), rest)
        })
    }));
    assert!(broken.is_err());
    assert_eq!(pool.in_use(), 0);
    assert!(pool.take().unwrap().iter().all(|&b| b == 0));
}
