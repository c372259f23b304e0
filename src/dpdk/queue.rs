//! A queue pair as a [`Port`]: bursts go between the device and the worker's arrays without a copy.

use super::packet_socket::PacketSocket;
use super::{Eal, Mbuf, Pool, pool::STASH};
use crate::port::{Burst, Caps, Frame, Port};
use arrayvec::ArrayVec;
use core::ptr::{self, NonNull};
use core::time::Duration;
use dpdk_sys as sys;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The ports that have a `Device`: a second one would close the port under the first.
static OPEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());

/// A started or stopped device; closed when the last handle is dropped.
pub(super) struct Device {
    pub(super) id: u16,
    /// Kept until the device is closed: its queues hold their frames.
    pub(super) pools: OnceLock<Vec<Pool>>,
    _eal: Eal,
}

impl Device {
    /// The only device of a port that exists; None when there is one already.
    pub(super) fn open(id: u16, eal: &Eal) -> Option<Device> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if open.contains(&id) {
            return None;
        }
        open.push(id);
        Some(Device { id, pools: OnceLock::new(), _eal: eal.clone() })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: no queue pair is left, so no lcore is inside the driver; closing frees the frames in the queues.
        unsafe {
            if self.pools.get().is_some() {
                sys::rte_eth_dev_stop(self.id);
            }
            sys::rte_eth_dev_close(self.id);
        }
        OPEN.lock().unwrap_or_else(PoisonError::into_inner).retain(|id| *id != self.id);
    }
}

/// One receive and one transmit queue of a device, for one worker.
pub struct QueuePort {
    caps: Caps,
    port: u16,
    queue: u16,
    /// Some device offload is in use that drivers want to look at before transmission.
    prepare: bool,
    room: usize,
    refused: u64,
    /// The queue's interrupt is among those this thread can wait for.
    armed: bool,
    /// What to wait for instead, where the queue is a packet socket.
    socket: Option<PacketSocket>,
    stash: ArrayVec<Mbuf, STASH>,
    pool: Pool,
    _device: Arc<Device>,
}

const _: () = assert!(size_of::<Mbuf>() == size_of::<*mut sys::rte_mbuf>());

impl QueuePort {
    pub(super) fn new(
        device: &Arc<Device>,
        queue: u16,
        pool: &Pool,
        caps: &Caps,
        socket: Option<PacketSocket>,
    ) -> QueuePort {
        QueuePort {
            port: device.id,
            queue,
            prepare: caps.tx_ip_checksum || caps.tx_tcp_checksum,
            room: pool.room(),
            refused: 0,
            armed: false,
            stash: ArrayVec::new(),
            caps: Caps { can_wait: caps.can_wait || socket.is_some(), ..caps.clone() },
            socket,
            pool: pool.clone(),
            _device: Arc::clone(device),
        }
    }

    /// Frames freed instead of sent, because the driver said that it can never send them.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Has this thread's epoll instance report the queue's frames; false where the driver cannot.
    fn arm(&mut self) -> bool {
        let (epoll, add) = (sys::SHIM_EPOLL_PER_THREAD, sys::SHIM_INTR_EVENT_ADD);
        // SAFETY: the port and queue exist, and the data pointer is handed back and never followed.
        let code = unsafe { sys::rte_eth_dev_rx_intr_ctl_q(self.port, self.queue, epoll, add, core::ptr::null_mut()) };
        code == 0
    }

    /// Fills the stash, all of it or, near exhaustion, with one frame.
    #[cold]
    fn refill(&mut self) -> Option<Mbuf> {
        let frames = self.stash.as_mut_ptr().cast::<*mut sys::rte_mbuf>();
        // SAFETY: the stash is empty and has room for STASH pointers; success fills all of them with mbufs that are
        // ours.
        unsafe {
            if sys::shim_alloc_bulk(self.pool.as_ptr(), frames, STASH as u32) == 0 {
                self.stash.set_len(STASH);
                return self.stash.pop();
            }
            NonNull::new(sys::shim_alloc(self.pool.as_ptr())).map(|mbuf| Mbuf::from_raw(mbuf))
        }
    }

    /// How many of the first frames the driver can send; the one after them is freed when it never can be.
    #[inline]
    fn prepared(&mut self, burst: &mut Burst<Mbuf>) -> u16 {
        let frames = burst.as_mut_ptr().cast::<*mut sys::rte_mbuf>();
        let len = burst.len() as u16;
        // SAFETY: `frames` are `len` pointers to mbufs that are ours; the driver may write to their headers.
        let ready = unsafe { sys::shim_tx_prepare(self.port, self.queue, frames, len) };
        if ready < len {
            self.refuse(burst, usize::from(ready));
        }
        ready
    }

    #[cold]
    fn refuse(&mut self, burst: &mut Burst<Mbuf>, index: usize) {
        drop(burst.remove(index));
        self.refused += 1;
    }
}

impl Port for QueuePort {
    type Frame = Mbuf;

    #[inline]
    fn caps(&self) -> &Caps {
        &self.caps
    }

    #[inline]
    fn receive(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        let len = burst.len();
        let spare = burst.remaining_capacity() as u16;
        // SAFETY: an Mbuf is one pointer to an rte_mbuf, so the free part of the array takes `spare` of them; the
        // driver gives up the `received` mbufs it wrote.
        unsafe {
            let free = burst.as_mut_ptr().add(len).cast::<*mut sys::rte_mbuf>();
            let received = usize::from(sys::shim_rx_burst(self.port, self.queue, free, spare));
            burst.set_len(len + received);
            received
        }
    }

    #[inline]
    fn alloc(&mut self, room: usize) -> Option<Mbuf> {
        if room > self.room {
            return None;
        }
        let frame = self.stash.pop().or_else(|| self.refill())?;
        debug_assert!(frame.bytes().is_empty());
        Some(frame)
    }

    #[inline]
    fn transmit(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        let before = burst.len();
        if before == 0 {
            return 0;
        }
        let ready = if self.prepare { self.prepared(burst) } else { before as u16 };
        let len = burst.len();
        let frames = burst.as_mut_ptr();
        // SAFETY: an Mbuf is one pointer to an rte_mbuf, so the array is `len >= ready` of them. The driver owns the
        // first `sent` from here on: they leave the array without being dropped, and the rest moves to its front.
        unsafe {
            let sent = usize::from(sys::shim_tx_burst(self.port, self.queue, frames.cast(), ready));
            burst.set_len(0);
            ptr::copy(frames.add(sent), frames, len - sent);
            burst.set_len(len - sent);
        }
        before - burst.len()
    }

    /// Sleeps until the driver reports a frame, where it can, or for `max`. A frame that arrived just before is found
    /// after `max` at the latest.
    #[cold]
    fn wait(&mut self, max: Duration) -> bool {
        if let Some(socket) = &self.socket {
            return socket.wait(max);
        }
        if self.caps.can_wait && !self.armed {
            self.caps.can_wait = self.arm();
            self.armed = self.caps.can_wait;
        }
        if !self.armed || max < Duration::from_millis(1) {
            std::thread::sleep(max);
            return false;
        }
        // SAFETY: an epoll event is integers and null pointers: all zero is a value.
        let mut event: sys::rte_epoll_event = unsafe { core::mem::zeroed() };
        let timeout_ms = i32::try_from(max.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: `event` is one event; this thread's own epoll instance is waited for.
        let events = unsafe { sys::rte_epoll_wait(sys::SHIM_EPOLL_PER_THREAD, &mut event, 1, timeout_ms) };
        events > 0
    }
}
