//! Every fixed limit in one place, related to the others at compile time.
//!
//! Owns the constants a user cannot set. What a user can set is in `config`, with the range checked against these.

use core::time::Duration;

/// The largest frame a port gives or takes, in bytes: a VLAN-tagged Ethernet frame of [`MTU_MAX`] plus slack.
pub const FRAME_MAX: usize = 2048 - 128;
/// The smallest value of `port.mtu`, in bytes: what every IPv4 host has to accept (RFC 1122, 3.3.2).
pub const MTU_MIN: u16 = 576;
/// The largest IP packet sent, in bytes, whatever the device could do: jumbo frames are not supported.
pub const MTU_MAX: u16 = 1500;
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
/// Destinations whose path MTU a worker remembers; another in the same place replaces one.
pub const PATHS_MAX: usize = 256;
/// For how long (RFC 1191, 6.3).
pub const PATH_MTU_AGE: Duration = Duration::from_secs(600);
/// The most frames that wait for a neighbour's answer, per worker.
pub const UNRESOLVED_MAX: usize = 256;
/// The most of those for one neighbour (RFC 1122, 2.3.2.2 asks for at least one).
pub const UNRESOLVED_PER_NEIGHBOR_MAX: usize = 8;
/// Frames the transmit backlog holds when the device takes no more, per worker.
pub const TX_BACKLOG_MAX: usize = 512;
/// RSTs for closed ports and ICMP answers a worker sends per second, each.
pub const CONTROL_ANSWERS_PER_S: u32 = 1000;
/// Neighbours a worker learns per second because they asked for us first: each makes a new snapshot of all of them.
pub const NEWCOMERS_PER_S: u32 = 100;
/// Challenge ACKs a worker sends per second at most (RFC 5961, 7); how many less is random.
pub const CHALLENGES_PER_S: u32 = 1000;
/// Between two challenge ACKs of one connection.
pub const CHALLENGE_INTERVAL: Duration = Duration::from_millis(500);
/// Segments one connection sends in one turn at most; the rest waits for the next turn.
pub const SEGMENTS_PER_TURN: usize = 8;
/// Segments that smoltcp sends again, and that stay here, of all connections in one turn at most.
pub const WITHHELD_PER_TURN: usize = 256;
/// The least segment size of a connection that gets a larger transmit ring, in bytes: what the smallest path leaves.
pub const BULK_MSS_MIN: usize = 512;
/// While draining, how long the next request of a kept connection is waited for: longer than a request takes to arrive
/// that its client sent before it could know.
pub const DRAIN_IDLE: Duration = Duration::from_millis(500);
/// Header fields parsed into place, at most; `http.header_count` cannot exceed it.
pub const HEADER_COUNT_MAX: usize = 128;
/// The largest value of `http.head_size`, in bytes.
pub const HEAD_SIZE_MAX: usize = 64 * 1024;
/// The longest chunk-size line with its extensions, in bytes (RFC 9112, 7.1.1 lets a recipient limit them).
pub const CHUNK_LINE_MAX: usize = 256;

/// Empty lines ignored before a request line; RFC 9112, 2.2 asks for at least one.
pub const EMPTY_LINES_MAX: usize = 2;
/// Framing a chunked body may have beyond what its content earns, in bytes. A client that sends its content a byte a chunk
/// with long extensions costs more than it brings.
pub const CHUNK_OVERHEAD_MAX: usize = 64 * CHUNK_LINE_MAX;

/// The smallest receive or transmit ring, in bytes.
pub const RING_MIN: usize = 2 * 1024;
/// The largest receive or transmit ring, in bytes: the largest window without window scaling is 65,535.
pub const RING_MAX: usize = 32 * 1024;
/// The largest transmit ring for bulk, in bytes: 100 ms at 335 Mbit/s.
pub const BULK_RING_MAX: usize = 4 * 1024 * 1024;
/// The most larger transmit rings per worker.
pub const BULK_RINGS_MAX: usize = 65_536;
/// Buffers for heads that outgrow the receive ring, per worker, each `http.head_size` bytes.
pub const LARGE_HEADS: usize = 64;

/// The largest configuration file, in bytes.
pub const CONFIG_FILE_MAX: usize = 4 * 1024 * 1024;
/// The most routes of a configuration.
pub const ROUTES_MAX: usize = 4096;
/// The longest path of a route, in bytes.
pub const ROUTE_PATH_MAX: usize = 1024;
/// The most methods of one route.
pub const ROUTE_METHODS_MAX: usize = 16;
/// The longest host name, in bytes (RFC 1035, 2.3.4).
pub const HOST_NAME_MAX: usize = 253;
/// The largest content of a direct response, in bytes.
pub const RESPONSE_BODY_MAX: usize = 1 << 30;
/// The most configured header fields of a direct response.
pub const RESPONSE_FIELDS_MAX: usize = 32;
/// The longest name and value of a configured header field, in bytes together.
pub const RESPONSE_FIELD_MAX: usize = 4096;

const _: () = assert!(TX_BACKLOG_MAX >= 4 * crate::port::BURST_MAX);
const _: () = assert!(UNRESOLVED_PER_NEIGHBOR_MAX <= UNRESOLVED_MAX);
const _: () = assert!(FRAME_MAX >= MTU_MAX as usize + L2_MAX);
const _: () = assert!(CHAIN_MAX >= FRAME_MAX);
const _: () = assert!(MTU_MIN < MTU_MAX);
const _: () = assert!(RING_MIN.is_power_of_two() && RING_MAX.is_power_of_two() && RING_MAX <= u16::MAX as usize);
// A ring holds more than one segment, or its sender waits for every ACK.
const _: () = assert!(RING_MIN > MTU_MAX as usize);
const _: () = assert!(EMPTY_LINES_MAX >= 1);
const _: () = assert!(CHUNK_OVERHEAD_MAX >= CHUNK_LINE_MAX);
// What is configured could be asked for, and one field fits the largest transmit ring.
const _: () = assert!(ROUTE_PATH_MAX + HOST_NAME_MAX < HEAD_SIZE_MAX);
const _: () = assert!(RESPONSE_FIELD_MAX < RING_MAX);
