//! Frames to byte streams: link, IP, TCP connections.
//!
//! Owns everything between a `Port` and a connection's bytes. Refuses to know DPDK (it sees `port`), HTTP, or a clock.

pub mod checksum;
pub mod cookie;
pub mod flow;
pub mod icmp;
pub mod ip;
pub mod isn;
pub mod key;
pub mod link;
pub mod neighbor;
pub mod options;
pub mod pmtu;
pub mod quota;
pub mod rate;
pub mod rss;
pub mod sacked;
pub mod source;
pub mod stack;
pub mod stamp;
pub mod tcb;
pub mod timer;
pub mod timewait;
pub mod tx;
