//! What the sessions of one worker share.

use super::memo::Memo;
use crate::config::HttpLimits;
use crate::http::head::FieldTable;
use crate::http::response::DATE_LEN;
use crate::mem::BlockPool;
use crate::telemetry::Counters;
use crate::time::Instant;
use core::time::Duration;
use std::sync::Arc;

/// The program, and room to work in that no connection needs for longer than it is served.
pub struct Shared<A> {
    /// The program.
    pub app: A,
    /// The HTTP limits.
    pub limits: HttpLimits,
    /// This worker's counters.
    pub counters: Arc<Counters>,
    /// The present.
    pub now: Instant,
    /// The Date value of the present second.
    pub date: [u8; DATE_LEN],
    /// Positions of the fields of the head in hand.
    pub table: FieldTable,
    /// Heads seen before.
    pub memo: Memo,
    /// Bytes that do not lie in one piece in a ring; as large as the larger ring.
    pub scratch: Box<[u8]>,
    /// The transmit ring that every connection has, in bytes.
    pub tx_ring: usize,
    /// Buffers for heads that outgrow the receive ring.
    pub heads: BlockPool,
    /// No connection is to be kept.
    pub draining: bool,
    /// How long the next request of a kept connection is waited for while draining.
    pub drain_idle: Duration,
}
