//! Every fixed limit in one place, related to the others at compile time.
//!
//! Owns the constants a user cannot set. What a user can set is in `config`, with the range checked against these.

/// The largest frame a port gives or takes, in bytes: a VLAN-tagged Ethernet frame of 1500 bytes plus slack.
pub const FRAME_MAX: usize = 2048 - 128;
/// The longest chained frame that is linearised, in bytes; longer ones are dropped and counted.
pub const CHAIN_MAX: usize = 9 * 1024 + 256;
/// Link header, VLAN tag included, in bytes.
pub const L2_MAX: usize = 18;
/// The most addresses a gateway owns, IPv4 and IPv6 together.
pub const ADDRESSES_MAX: usize = 16;
/// The most listeners.
pub const LISTENERS_MAX: usize = 16;
/// The most workers (lcores).
pub const WORKERS_MAX: usize = 128;
/// The most connections of one worker. Slot numbers fit 24 bits.
pub const CONNECTIONS_MAX: usize = 1 << 24;
/// The most neighbours that are remembered; more are dropped and counted.
pub const NEIGHBORS_MAX: usize = 4096;
/// The most frames that wait for a neighbour's answer, per worker.
pub const UNRESOLVED_MAX: usize = 256;
/// The most of those for one neighbour (RFC 1122, 2.3.2.2 asks for at least one).
pub const UNRESOLVED_PER_NEIGHBOR_MAX: usize = 8;
/// Frames the transmit backlog holds when the device takes no more, per worker.
pub const TX_BACKLOG_MAX: usize = 512;
/// RSTs for closed ports and ICMP answers a worker sends per second, each.
pub const CONTROL_ANSWERS_PER_S: u32 = 1000;
/// Segments one connection sends in one turn at most; the rest waits for the next turn.
pub const SEGMENTS_PER_TURN: usize = 8;
/// Header fields parsed into place, at most; `http.header_count` cannot exceed it.
pub const HEADER_COUNT_MAX: usize = 128;
/// The largest value of `http.head_size`, in bytes.
pub const HEAD_SIZE_MAX: usize = 64 * 1024;
/// The longest chunk-size line with its extensions, in bytes (RFC 9112, 7.1.1 lets a recipient limit them).
pub const CHUNK_LINE_MAX: usize = 256;

/// Buffers for heads that outgrow the receive ring, per worker, each `http.head_size` bytes.
pub const LARGE_HEADS: usize = 64;

const _: () = assert!(TX_BACKLOG_MAX >= 4 * crate::port::BURST_MAX);
const _: () = assert!(UNRESOLVED_PER_NEIGHBOR_MAX <= UNRESOLVED_MAX);
const _: () = assert!(FRAME_MAX >= 1500 + L2_MAX);
