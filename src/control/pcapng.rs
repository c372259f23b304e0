//! pcapng, the file format of Wireshark and tcpdump (draft-ietf-opsawg-pcapng).
//!
//! Owns the four blocks a live capture consists of, and finds the ends of blocks in a stream of them. Refuses to read
//! packets. Written in this machine's byte order, which the section header tells.

use crate::telemetry::Counter;
use crate::telemetry::tap::{Direction, Record};

/// Block types (draft-ietf-opsawg-pcapng, 4).
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
/// Tells the byte order.
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// LINKTYPE_ETHERNET.
const ETHERNET: u16 = 1;
/// A block without body: type and length in front, length at the end.
const BLOCK_MIN: usize = 12;
/// The largest block a stream may hold, in bytes; longer ones are no pcapng.
const BLOCK_MAX: usize = 1 << 20;

/// Options, by block; `opt_comment` is everywhere's.
const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const EPB_QUEUE: u16 = 6;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;

/// Starts a file: one section, one interface, times in nanoseconds.
pub fn begin(out: &mut Vec<u8>, interface: &str, snaplen: usize) {
    block(out, SECTION_HEADER, |out| {
        out.extend_from_slice(&BYTE_ORDER_MAGIC.to_ne_bytes());
        out.extend_from_slice(&1u16.to_ne_bytes());
        out.extend_from_slice(&0u16.to_ne_bytes());
        // The section's length is not known.
        out.extend_from_slice(&u64::MAX.to_ne_bytes());
        option(out, SHB_USERAPPL, concat!("penstock ", env!("CARGO_PKG_VERSION")).as_bytes());
        end_of_options(out);
    });
    block(out, INTERFACE_DESCRIPTION, |out| {
        out.extend_from_slice(&ETHERNET.to_ne_bytes());
        out.extend_from_slice(&0u16.to_ne_bytes());
        out.extend_from_slice(&(snaplen as u32).to_ne_bytes());
        option(out, IF_NAME, interface.as_bytes());
        option(out, IF_TSRESOL, &[9]);
        end_of_options(out);
    });
}

/// A frame of a worker's queue, seen `unix_ns` nanoseconds after 1970. A dropped one has its reason as comment.
pub fn packet(out: &mut Vec<u8>, record: &Record, unix_ns: u64, queue: u32) {
    block(out, ENHANCED_PACKET, |out| {
        out.extend_from_slice(&0u32.to_ne_bytes());
        time(out, unix_ns);
        out.extend_from_slice(&(record.bytes.len() as u32).to_ne_bytes());
        out.extend_from_slice(&(record.len as u32).to_ne_bytes());
        out.extend_from_slice(&record.bytes);
        pad(out);
        let direction: u32 = match record.direction {
            Direction::Inbound => 1,
            Direction::Outbound => 2,
        };
        option(out, EPB_FLAGS, &direction.to_ne_bytes());
        option(out, EPB_QUEUE, &queue.to_ne_bytes());
        if let Some((_, _, reason, help)) = record.dropped.map(Counter::describe) {
            option(out, OPT_COMMENT, format!("dropped: {reason} ({help})").as_bytes());
        }
        end_of_options(out);
    });
}

/// So far, `written` frames are in the file and `lost` more were wanted and found no room.
pub fn statistics(out: &mut Vec<u8>, unix_ns: u64, written: u64, lost: u64) {
    block(out, INTERFACE_STATISTICS, |out| {
        out.extend_from_slice(&0u32.to_ne_bytes());
        time(out, unix_ns);
        option(out, ISB_IFRECV, &(written + lost).to_ne_bytes());
        option(out, ISB_IFDROP, &lost.to_ne_bytes());
        end_of_options(out);
    });
}

fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&0u32.to_ne_bytes());
    body(out);
    let len = ((out.len() - start + 4) as u32).to_ne_bytes();
    out[start + 4..start + 8].copy_from_slice(&len);
    out.extend_from_slice(&len);
}

/// The high half first, whatever the byte order.
fn time(out: &mut Vec<u8>, unix_ns: u64) {
    out.extend_from_slice(&((unix_ns >> 32) as u32).to_ne_bytes());
    out.extend_from_slice(&(unix_ns as u32).to_ne_bytes());
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&code.to_ne_bytes());
    out.extend_from_slice(&(value.len() as u16).to_ne_bytes());
    out.extend_from_slice(value);
    pad(out);
}

fn end_of_options(out: &mut Vec<u8>) {
    out.extend_from_slice(&0u32.to_ne_bytes());
}

/// Everything in a block begins at a multiple of 4, as blocks do.
fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// What was seen of a stream of blocks.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// Packets.
    pub packets: u64,
    /// Packets lost, as the last statistics say.
    pub lost: u64,
}

impl Seen {
    /// Looks at the whole blocks at the start of `stream`, written by this machine; returns their length together, or None
    /// when it is no pcapng.
    pub fn look(&mut self, stream: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(kind) = u32_at(stream, at)
            && let Some(len) = u32_at(stream, at + 4)
        {
            let len = len as usize;
            if !(BLOCK_MIN..=BLOCK_MAX).contains(&len) || !len.is_multiple_of(4) {
                return None;
            }
            let Some(block) = stream.get(at..at + len) else { break };
            match kind {
                ENHANCED_PACKET => self.packets += 1,
                INTERFACE_STATISTICS => self.lost = lost(block).unwrap_or(self.lost),
                _ => {}
            }
            at += len;
        }
        Some(at)
    }
}

/// The lost packets that a block of statistics tells of.
fn lost(block: &[u8]) -> Option<u64> {
    let mut at = 8 + 12;
    loop {
        let head: &[u8; 4] = block.get(at..)?.first_chunk()?;
        let (code, len) = (u16::from_ne_bytes([head[0], head[1]]), u16::from_ne_bytes([head[2], head[3]]));
        match code {
            0 => return None,
            ISB_IFDROP => return block.get(at + 4..)?.first_chunk().map(|value| u64::from_ne_bytes(*value)),
            _ => at += 4 + usize::from(len).next_multiple_of(4),
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_ne_bytes(*four))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(bytes: &[u8], dropped: Option<Counter>) -> Record {
        Record { at_ns: 1, direction: Direction::Inbound, dropped, len: 100, bytes: bytes.to_vec() }
    }

    fn file() -> Vec<u8> {
        let mut out = Vec::new();
        begin(&mut out, "net_tap0", 2048);
        packet(&mut out, &record(b"abcde", None), 0x0102_0304_0506_0708, 3);
        packet(&mut out, &record(b"", Some(Counter::DropRunt)), 5, 0);
        statistics(&mut out, 6, 2, 7);
        out
    }

    /// Types and lengths of the blocks; their lengths stand at both ends.
    fn blocks(mut file: &[u8]) -> Vec<(u32, usize)> {
        let mut found = Vec::new();
        while !file.is_empty() {
            let (kind, len) = (u32_at(file, 0).unwrap(), u32_at(file, 4).unwrap() as usize);
            assert_eq!(u32_at(file, len - 4).unwrap() as usize, len);
            found.push((kind, len));
            file = &file[len..];
        }
        found
    }

    #[test]
    fn the_blocks_of_a_file() {
        let file = file();
        let kinds: Vec<u32> = blocks(&file).iter().map(|(kind, _)| *kind).collect();
        assert_eq!(
            kinds,
            [SECTION_HEADER, INTERFACE_DESCRIPTION, ENHANCED_PACKET, ENHANCED_PACKET, INTERFACE_STATISTICS]
        );
        assert_eq!(file.len() % 4, 0);
        let packet = &file[blocks(&file)[..2].iter().map(|(_, len)| len).sum::<usize>()..];
        let words = [0x0102_0304, 0x0506_0708, 5, 100];
        assert_eq!([12, 16, 20, 24].map(|at| u32_at(packet, at).unwrap()), words, "time, lengths");
        assert_eq!(&packet[28..36], b"abcde\0\0\0");
        assert!(file.windows(13).any(|words| words == b"dropped: runt"));
    }

    #[test]
    fn a_stream_is_looked_at_block_by_block() {
        let file = file();
        let mut seen = Seen::default();
        let (mut from, mut to) = (0, 0);
        while from < file.len() {
            to += 1;
            from += seen.look(&file[from..to]).unwrap();
        }
        assert_eq!((from, seen), (file.len(), Seen { packets: 2, lost: 7 }));
        for garbage in [&b"<html>\r\n\r\n"[..], &[6, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(Seen::default().look(garbage), None);
        }
    }

    proptest! {
        #[test]
        fn any_stream_is_looked_at(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..200, value: u8) {
            let length = Seen::default().look(&bytes);
            prop_assert!(length.is_none_or(|length| length <= bytes.len()));
            let mut file = file();
            let at = at.min(file.len() - 1);
            file[at] = value;
            Seen::default().look(&file);
        }
    }
}
