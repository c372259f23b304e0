//! A false [`Port`]: frames are pooled boxes, so a leak is a count that does not return to its start.
//!
//! Owns the pool and two queues, one each way, that a test or bench fills and drains between turns.

use crate::port::{Burst, Caps, Frame, Port, RxMeta, TxMeta};
use core::time::Duration;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

const ROOM: usize = 2048 - 128;

struct Buf {
    pool: FramePool,
    len: usize,
    rx: RxMeta,
    tx: TxMeta,
    chain: Vec<Vec<u8>>,
    data: [u8; ROOM],
}

/// An owned false frame; returns to its pool when dropped.
pub struct SimFrame(Option<Box<Buf>>);

impl SimFrame {
    fn buf(&self) -> &Buf {
        self.0.as_deref().expect("a frame holds its buffer until it is dropped")
    }

    fn buf_mut(&mut self) -> &mut Buf {
        self.0.as_deref_mut().expect("a frame holds its buffer until it is dropped")
    }

    /// Sets what the device would have said.
    pub fn set_rx(&mut self, rx: RxMeta) {
        self.buf_mut().rx = rx;
    }

    /// What the device was asked to do.
    pub fn tx(&self) -> TxMeta {
        self.buf().tx
    }

    /// Adds a further segment, as a device does with frames larger than one buffer.
    pub fn chain(&mut self, segment: &[u8]) {
        self.buf_mut().chain.push(segment.to_vec());
    }
}

impl Drop for SimFrame {
    fn drop(&mut self) {
        if let Some(buf) = self.0.take() {
            let pool = buf.pool.clone();
            pool.0.live.set(pool.0.live.get() - 1);
            pool.0.free.borrow_mut().push(buf);
        }
    }
}

impl Frame for SimFrame {
    fn bytes(&self) -> &[u8] {
        let buf = self.buf();
        &buf.data[..buf.len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let buf = self.buf_mut();
        &mut buf.data[..buf.len]
    }

    fn set_len(&mut self, len: usize) {
        let buf = self.buf_mut();
        buf.len = len.min(ROOM);
        buf.chain.clear();
    }

    fn gather(&self, out: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.buf().chain.iter().all(|segment| out(segment))
    }

    fn is_chained(&self) -> bool {
        !self.buf().chain.is_empty()
    }

    fn rx(&self) -> RxMeta {
        self.buf().rx
    }

    fn set_tx(&mut self, meta: TxMeta) {
        self.buf_mut().tx = meta;
    }
}

#[expect(clippy::vec_box, reason = "a frame is its box: it moves without copying its bytes")]
struct PoolInner {
    free: RefCell<Vec<Box<Buf>>>,
    live: Cell<usize>,
    limit: Cell<usize>,
}

/// A pool of frames, shared by whoever makes and takes them.
#[derive(Clone)]
pub struct FramePool(Rc<PoolInner>);

impl FramePool {
    /// A pool of at most `limit` frames.
    pub fn new(limit: usize) -> FramePool {
        let inner = PoolInner { free: RefCell::default(), live: Cell::new(0), limit: Cell::new(limit) };
        FramePool(Rc::new(inner))
    }

    /// Frames now owned by somebody.
    pub fn live(&self) -> usize {
        self.0.live.get()
    }

    /// Changes the limit, to exhaust or refill the pool.
    pub fn set_limit(&self, limit: usize) {
        self.0.limit.set(limit);
    }

    /// An empty frame, or None at the limit.
    pub fn take(&self) -> Option<SimFrame> {
        if self.live() >= self.0.limit.get() {
            return None;
        }
        self.0.live.set(self.live() + 1);
        let recycled = self.0.free.borrow_mut().pop();
        let mut buf = recycled.unwrap_or_else(|| {
            Box::new(Buf {
                pool: self.clone(),
                len: 0,
                rx: RxMeta::default(),
                tx: TxMeta::default(),
                chain: Vec::new(),
                data: [0; ROOM],
            })
        });
        buf.len = 0;
        buf.rx = RxMeta::default();
        buf.tx = TxMeta::default();
        buf.chain.clear();
        Some(SimFrame(Some(buf)))
    }

    /// A frame that holds `bytes`.
    pub fn frame(&self, bytes: &[u8]) -> Option<SimFrame> {
        let mut frame = self.take()?;
        frame.set_len(bytes.len());
        frame.bytes_mut().copy_from_slice(bytes);
        Some(frame)
    }
}

/// A false queue pair.
pub struct SimPort {
    caps: Caps,
    pool: FramePool,
    /// Frames the worker will receive.
    pub rx: VecDeque<SimFrame>,
    /// Frames the worker sent.
    pub tx: VecDeque<SimFrame>,
    /// Frames `tx` holds before transmit takes no more.
    pub tx_limit: usize,
}

impl SimPort {
    /// A port with the given capabilities and frames from `pool`.
    pub fn new(caps: Caps, pool: FramePool) -> SimPort {
        SimPort { caps, pool, rx: VecDeque::new(), tx: VecDeque::new(), tx_limit: usize::MAX }
    }
}

impl Port for SimPort {
    type Frame = SimFrame;

    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn receive(&mut self, burst: &mut Burst<SimFrame>) -> usize {
        let n = burst.remaining_capacity().min(self.rx.len());
        burst.extend(self.rx.drain(..n));
        n
    }

    fn alloc(&mut self, room: usize) -> Option<SimFrame> {
        if room > ROOM { None } else { self.pool.take() }
    }

    fn transmit(&mut self, burst: &mut Burst<SimFrame>) -> usize {
        let n = burst.len().min(self.tx_limit.saturating_sub(self.tx.len()));
        self.tx.extend(burst.drain(..n));
        n
    }

    fn wait(&mut self, _max: Duration) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_counts_frames_and_refuses_beyond_its_limit() {
        let pool = FramePool::new(2);
        let a = pool.frame(b"abc").unwrap();
        let b = pool.take().unwrap();
        assert!(pool.take().is_none());
        assert_eq!((a.bytes(), b.bytes().len(), pool.live()), (&b"abc"[..], 0, 2));
        drop((a, b));
        assert_eq!(pool.live(), 0);
    }

    #[test]
    fn transmit_takes_a_prefix() {
        let pool = FramePool::new(8);
        let mut port = SimPort::new(Caps::default(), pool.clone());
        port.tx_limit = 1;
        let mut burst = Burst::new();
        burst.push(pool.frame(b"1").unwrap());
        burst.push(pool.frame(b"2").unwrap());
        assert_eq!(port.transmit(&mut burst), 1);
        assert_eq!(burst[0].bytes(), b"2");
        assert_eq!(port.tx[0].bytes(), b"1");
    }
}
