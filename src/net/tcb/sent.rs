//! What leaves: the header of the last segment, and its timestamps.
//!
//! Owns how a segment of smoltcp's is read and stamped on its way out. Refuses to know what its fields mean for a connection.

use super::Tcb;
use crate::net::sacked::is_after;
use crate::net::stamp::Stamp;

/// What one call sent.
#[derive(Copy, Clone, Default, Debug)]
pub struct Sent {
    /// Segments.
    pub segments: usize,
    /// Segments of smoltcp's that stayed here.
    pub withheld: usize,
    /// Payload bytes of the last segment.
    pub payload: usize,
    /// The last segment's header, as far as [`Last`] needs it.
    pub last: Last,
}

/// Header fields of the last segment that was sent, read by who follows the connection.
#[derive(Copy, Clone, Default, Debug)]
pub struct Last {
    /// From the sequence number to the window, as on the wire.
    pub(super) fields: [u8; 12],
    pub(super) payload: u16,
}

impl Last {
    /// The sequence number after the segment.
    #[inline]
    pub fn seq_end(&self) -> u32 {
        let syn_fin = u32::from(self.flags() & 1) + u32::from(self.flags() >> 1 & 1);
        self.seq().wrapping_add(u32::from(self.payload)).wrapping_add(syn_fin)
    }

    /// The segment's own sequence number.
    #[inline]
    pub fn seq(&self) -> u32 {
        let [a, b, c, d, ..] = self.fields;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Whether it occupies no sequence number.
    pub(super) fn is_empty(&self) -> bool {
        self.seq() == self.seq_end()
    }

    /// Whether all of it was sent before.
    pub(super) fn is_again(&self, nxt: u32) -> bool {
        !is_after(self.seq_end(), nxt)
    }

    /// Whether it was an RST.
    pub fn is_reset(&self) -> bool {
        self.flags() & 4 != 0
    }

    /// The acknowledgment number; 0 without ACK.
    #[inline]
    pub fn ack(&self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = self.fields;
        u32::from_be_bytes([a, b, c, d])
    }

    /// The window, which is never scaled: rings are smaller than 64 KiB.
    #[inline]
    pub fn window(&self) -> u16 {
        let [.., a, b] = self.fields;
        u16::from_be_bytes([a, b])
    }

    /// FIN = 1, SYN = 2, RST = 4, ACK = 16.
    #[inline]
    pub fn flags(&self) -> u8 {
        self.fields[9]
    }
}

impl Tcb {
    /// Leaves room for timestamps in every segment from the first on, which [`Wire`](super::Wire) fills in; after our SYN as long
    /// as the answer has some.
    pub fn use_timestamps(&mut self) {
        self.socket(|s| s.set_tsval_generator(Some(|| 0)));
    }
}

/// Gives an IP packet of ours another sequence number.
pub(super) fn renumber(packet: &mut [u8], seq: u32) {
    let at = if packet[0] >> 4 == 4 { 24 } else { 44 };
    packet[at..at + 4].copy_from_slice(&seq.to_be_bytes());
}

/// Writes timestamps into an IP packet of ours, if smoltcp left room for them.
#[inline(never)]
pub(super) fn stamp(stamp: Stamp, packet: &mut [u8]) {
    let len = if packet[0] >> 4 == 4 { 20 } else { 40 };
    stamp.write(&mut packet[len..]);
}
