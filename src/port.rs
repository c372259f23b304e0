//! The seam to hardware: a [`Port`] gives and takes [`Frame`]s in [`Burst`]s.
//!
//! Owns the traits and the metadata that crosses them. Refuses to know who is behind: `dpdk` implements it over an
//! `rte_mbuf`, `sim` over pooled boxes that count leaks; nothing above can tell which.

use arrayvec::ArrayVec;
use core::time::Duration;

/// Frames a worker takes from a port in one receive, and hands over in one transmit, at most.
pub const BURST_MAX: usize = 64;

/// Owned frames in receive or transmit order.
pub type Burst<F> = ArrayVec<F, BURST_MAX>;

/// A DPDK-like queue pair: one receive queue and one transmit queue of a device, used by one worker.
pub trait Port {
    /// The owned frame type.
    type Frame: Frame;

    /// What the device can do for this queue pair; fixed once the port started.
    fn caps(&self) -> &Caps;

    /// Appends received frames to `burst` until it is full or the queue is empty; returns how many were appended.
    fn receive(&mut self, burst: &mut Burst<Self::Frame>) -> usize;

    /// An empty frame (`bytes().is_empty()`) with room for `room` bytes, or None when the pool is exhausted or no frame
    /// is that large.
    fn alloc(&mut self, room: usize) -> Option<Self::Frame>;

    /// Sends a prefix of `burst` and removes it; what the queue had no room for stays. Returns how many were taken.
    fn transmit(&mut self, burst: &mut Burst<Self::Frame>) -> usize;

    /// Blocks until a frame may have arrived, which it reports, or `max` passed. A port that cannot tell sleeps for `max`.
    fn wait(&mut self, max: Duration) -> bool;
}

/// An owned frame: one pointer wide, freed when dropped, given up by `Port::transmit`.
pub trait Frame {
    /// The first (usually only) segment, from the Ethernet header on.
    fn bytes(&self) -> &[u8];

    /// As `bytes`, for writing.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Sets the length of the first segment, which becomes the only one; new bytes have unspecified content. Lengths over
    /// the frame's room are cut to it.
    fn set_len(&mut self, len: usize);

    /// Appends the further segments of a chained frame to `out`; nothing for the usual single segment. Returns false when
    /// `out` has no room for them.
    fn gather(&self, out: &mut dyn FnMut(&[u8]) -> bool) -> bool;

    /// Whether the frame has more than one segment.
    fn is_chained(&self) -> bool;

    /// What the device said about a received frame.
    fn rx(&self) -> RxMeta;

    /// What the device is to do on transmit.
    fn set_tx(&mut self, meta: TxMeta);

    /// Starts loading the frame's first cache line, ahead of `bytes`.
    fn prefetch(&self) {}
}

/// What a device's checksum engine said of a received packet.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Checksum {
    /// Nothing: verify it in software.
    #[default]
    Unknown,
    /// Verified by the device.
    Good,
    /// Found wrong by the device.
    Bad,
}

/// Metadata of a received frame.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct RxMeta {
    /// The IPv4 header's checksum.
    pub ip_checksum: Checksum,
    /// The TCP or UDP checksum.
    pub l4_checksum: Checksum,
    /// The RSS hash, where the device computes one.
    pub hash: Option<u32>,
    /// The VLAN tag (TCI) that the device stripped.
    pub vlan: Option<u16>,
}

/// Offload requests for a frame to send. All zero: send the bytes as they are.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct TxMeta {
    /// Ethernet header length in bytes, VLAN tag included.
    pub l2_len: u8,
    /// IP header length in bytes.
    pub l3_len: u8,
    /// TCP header length in bytes.
    pub l4_len: u8,
    /// Whether the packet is IPv6.
    pub ipv6: bool,
    /// Compute the IPv4 header checksum (the field holds zero).
    pub ip_checksum: bool,
    /// Compute the TCP checksum (the field holds the pseudo-header's sum).
    pub tcp_checksum: bool,
    /// Cut into segments of this many payload bytes; 0: do not.
    pub tso_segment: u16,
}

/// What a port's device offers. Everything not offered is done in software.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Caps {
    /// The device's Ethernet address.
    pub mac: [u8; 6],
    /// The largest IP packet in bytes, 1500 on plain Ethernet.
    pub mtu: u16,
    /// Received IPv4 header checksums are verified and reported in `RxMeta`.
    pub rx_ip_checksum: bool,
    /// Received TCP checksums are verified and reported in `RxMeta`.
    pub rx_tcp_checksum: bool,
    /// The device fills in IPv4 header checksums.
    pub tx_ip_checksum: bool,
    /// The device fills in TCP checksums from a pseudo-header sum.
    pub tx_tcp_checksum: bool,
    /// Received frames carry the RSS hash.
    pub rx_hash: bool,
    /// `Port::wait` sleeps until a frame arrives instead of returning at once.
    pub can_wait: bool,
}
