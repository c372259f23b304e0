//! The owned frame: a pointer to an `rte_mbuf` that is freed when dropped.
//!
//! Owns the reading and writing of mbuf fields, in Rust and in place, so that no call is made for a field.

use crate::port::{Checksum, Frame, RxMeta, TxMeta};
use core::ptr::NonNull;
use dpdk_sys as sys;

/// An owned mbuf, or chain of mbufs, as wide as the pointer: an array of them is the array DPDK's bursts take.
///
/// Invariant: the pointer is to a live, direct or externally buffered mbuf whose reference count is 1 and that nobody
/// else uses; `data_off + data_len <= buf_len` for each segment.
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

// SAFETY: an mbuf is plain memory without ties to a thread, and is freed to its pool from any thread.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// Takes ownership of an mbuf.
    ///
    /// # Safety
    /// `mbuf` fulfils the type's invariant.
    pub(super) unsafe fn from_raw(mbuf: NonNull<sys::rte_mbuf>) -> Mbuf {
        Mbuf(mbuf)
    }

    #[inline(always)]
    fn field<T>(&self, offset: usize) -> *mut T {
        field(self.0.as_ptr(), offset)
    }

    #[inline(always)]
    fn segments(&self) -> u16 {
        // SAFETY: a field of a live mbuf that is ours alone.
        unsafe { self.field::<u16>(sys::SHIM_MBUF_NB_SEGS).read() }
    }

    #[inline(always)]
    fn flags(&self) -> u64 {
        // SAFETY: a field of a live mbuf that is ours alone.
        unsafe { self.field::<u64>(sys::SHIM_MBUF_OL_FLAGS).read() }
    }

    /// Frees the further segments: sent along, they would follow the new content as trailing bytes.
    #[cold]
    fn free_tail(&mut self) {
        // SAFETY: fields of a live mbuf that is ours alone; its further segments are ours too, and nothing leads to
        // them once `next` is null.
        unsafe {
            let next = self.field::<*mut sys::rte_mbuf>(sys::SHIM_MBUF_NEXT).replace(core::ptr::null_mut());
            self.field::<u16>(sys::SHIM_MBUF_NB_SEGS).write(1);
            sys::shim_free(next);
        }
    }
}

#[inline(always)]
fn field<T>(mbuf: *mut sys::rte_mbuf, offset: usize) -> *mut T {
    mbuf.wrapping_byte_add(offset).cast()
}

/// Start and length of one segment's data.
///
/// # Safety
/// `mbuf` is live.
#[inline(always)]
unsafe fn data(mbuf: *mut sys::rte_mbuf) -> (*mut u8, usize) {
    // SAFETY: fields of a live mbuf; data_off is within the buffer by the type's invariant.
    unsafe {
        let start = field::<*mut u8>(mbuf, sys::SHIM_MBUF_BUF_ADDR).read();
        let offset = field::<u16>(mbuf, sys::SHIM_MBUF_DATA_OFF).read();
        let len = field::<u16>(mbuf, sys::SHIM_MBUF_DATA_LEN).read();
        (start.add(usize::from(offset)), usize::from(len))
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the mbuf is ours alone and not used after this.
        unsafe { sys::shim_free(self.0.as_ptr()) };
    }
}

impl Frame for Mbuf {
    #[inline]
    fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes from `start` lie in the segment's buffer, which is ours while `self` is borrowed. The
        // buffer is memory mapped by EAL, so each of its bytes has a value.
        unsafe {
            let (start, len) = data(self.0.as_ptr());
            core::slice::from_raw_parts(start, len)
        }
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and nobody else holds the mbuf: its reference count is 1.
        unsafe {
            let (start, len) = data(self.0.as_ptr());
            core::slice::from_raw_parts_mut(start, len)
        }
    }

    #[inline]
    fn set_len(&mut self, len: usize) {
        if self.segments() > 1 {
            self.free_tail();
        }
        // SAFETY: fields of a live mbuf that is ours alone; the length written stays within the buffer.
        unsafe {
            let buffer = self.field::<u16>(sys::SHIM_MBUF_BUF_LEN).read();
            let offset = self.field::<u16>(sys::SHIM_MBUF_DATA_OFF).read();
            let new = len.min(usize::from(buffer.saturating_sub(offset))) as u16;
            self.field::<u16>(sys::SHIM_MBUF_DATA_LEN).write(new);
            self.field::<u32>(sys::SHIM_MBUF_PKT_LEN).write(u32::from(new));
        }
    }

    fn gather(&self, out: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let mut segment = self.0.as_ptr();
        for _ in 1..self.segments() {
            // SAFETY: a live segment of our chain; `next` is null or the next live segment, as ours as the first.
            let bytes = unsafe {
                segment = field::<*mut sys::rte_mbuf>(segment, sys::SHIM_MBUF_NEXT).read();
                if segment.is_null() {
                    break;
                }
                let (start, len) = data(segment);
                core::slice::from_raw_parts(start, len)
            };
            if !out(bytes) {
                return false;
            }
        }
        true
    }

    #[inline]
    fn is_chained(&self) -> bool {
        self.segments() > 1
    }

    #[inline]
    fn rx(&self) -> RxMeta {
        let flags = self.flags();
        // SAFETY: fields of a live mbuf that is ours alone.
        let (hash, vlan) = unsafe {
            (self.field::<u32>(sys::SHIM_MBUF_RSS).read(), self.field::<u16>(sys::SHIM_MBUF_VLAN_TCI).read())
        };
        RxMeta {
            ip_checksum: checksum(flags & sys::SHIM_RX_IP_MASK, sys::SHIM_RX_IP_UNKNOWN, sys::SHIM_RX_IP_BAD),
            l4_checksum: checksum(flags & sys::SHIM_RX_L4_MASK, sys::SHIM_RX_L4_UNKNOWN, sys::SHIM_RX_L4_BAD),
            hash: (flags & sys::SHIM_RX_RSS_HASH != 0).then_some(hash),
            vlan: (flags & sys::SHIM_RX_VLAN_STRIPPED != 0).then_some(vlan),
        }
    }

    #[inline]
    fn set_tx(&mut self, meta: TxMeta) {
        // Where the buffer is must stay known; every other flag is from reception or an earlier request.
        let flags = (self.flags() & sys::SHIM_ATTACHED) | tx_flags(meta);
        // SAFETY: fields of a live mbuf that is ours alone.
        unsafe {
            self.field::<u64>(sys::SHIM_MBUF_OL_FLAGS).write(flags);
            self.field::<u64>(sys::SHIM_MBUF_TX_OFFLOAD).write(tx_offload(meta));
        }
    }

    #[inline]
    fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch never faults; the data's address is computed from fields of a live mbuf.
        unsafe {
            let (start, _) = data(self.0.as_ptr());
            core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(start.cast());
        }
    }
}

/// The remaining value, NONE, says that the field is wrong but the data was verified, as between two guests of one
/// host.
#[inline(always)]
fn checksum(flags: u64, unknown: u64, bad: u64) -> Checksum {
    if flags == unknown {
        Checksum::Unknown
    } else if flags == bad {
        Checksum::Bad
    } else {
        Checksum::Good
    }
}

#[inline(always)]
fn tx_flags(meta: TxMeta) -> u64 {
    let segment = meta.tso_segment > 0;
    if !(meta.ip_checksum || meta.tcp_checksum || segment) {
        return 0;
    }
    let mut flags = if meta.ipv6 { sys::SHIM_TX_IPV6 } else { sys::SHIM_TX_IPV4 };
    // Cutting makes new IPv4 headers and TCP checksums, and DPDK wants that said.
    if !meta.ipv6 && (meta.ip_checksum || segment) {
        flags |= sys::SHIM_TX_IP_CKSUM;
    }
    if meta.tcp_checksum || segment {
        flags |= sys::SHIM_TX_TCP_CKSUM;
    }
    if segment {
        flags |= sys::SHIM_TX_TCP_SEG;
    }
    flags
}

#[inline(always)]
fn tx_offload(meta: TxMeta) -> u64 {
    // The fields are 7, 9, 8 and 16 bits wide.
    u64::from(meta.l2_len & 0x7f) << sys::SHIM_L2_LEN_SHIFT
        | u64::from(meta.l3_len) << sys::SHIM_L3_LEN_SHIFT
        | u64::from(meta.l4_len) << sys::SHIM_L4_LEN_SHIFT
        | u64::from(meta.tso_segment) << sys::SHIM_TSO_SEGSZ_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_flags_have_four_values_and_none_counts_as_verified() {
        let none = sys::SHIM_RX_L4_MASK;
        let good = none & !sys::SHIM_RX_L4_BAD;
        for (flags, expected) in [
            (0, Checksum::Unknown),
            (sys::SHIM_RX_L4_BAD, Checksum::Bad),
            (good, Checksum::Good),
            (none, Checksum::Good),
        ] {
            assert_eq!(checksum(flags, sys::SHIM_RX_L4_UNKNOWN, sys::SHIM_RX_L4_BAD), expected, "{flags:#x}");
        }
    }

    #[test]
    fn nothing_asked_sets_no_flag_and_segmentation_asks_for_its_checksums() {
        let meta = TxMeta { l2_len: 14, l3_len: 20, l4_len: 32, ..TxMeta::default() };
        assert_eq!(tx_flags(meta), 0);
        let checksums = tx_flags(TxMeta { ip_checksum: true, tcp_checksum: true, ..meta });
        assert_eq!(checksums, sys::SHIM_TX_IPV4 | sys::SHIM_TX_IP_CKSUM | sys::SHIM_TX_TCP_CKSUM);
        assert_eq!(tx_flags(TxMeta { tso_segment: 1448, ..meta }), checksums | sys::SHIM_TX_TCP_SEG);
        let v6 = tx_flags(TxMeta { ipv6: true, ip_checksum: true, tcp_checksum: true, ..meta });
        assert_eq!(v6, sys::SHIM_TX_IPV6 | sys::SHIM_TX_TCP_CKSUM);
        assert_eq!(tx_offload(TxMeta { tso_segment: 1448, ..meta }), 14 | 20 << 7 | 32 << 16 | 1448 << 24);
    }
}
