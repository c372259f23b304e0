//! How sessions count what they answered.
//!
//! Owns the way from a request to its cell and to its latency. Refuses to know what the numbers are called.

use super::app::{App, ResponseId};
use super::shared::Shared;
use crate::http::head::Method;
use crate::telemetry::requests::{Cell, METHOD_NONE, METHOD_OTHER, METHODS, Requests};
use crate::time::Instant;

/// Where a request with this answer is counted.
pub fn cell<A: App>(id: ResponseId, method: Method<'_>, app: &A, requests: &Requests) -> Cell {
    let known = METHODS[..METHOD_OTHER].iter().position(|name| name.as_bytes() == method.name());
    requests.cell(app.route(id), known.unwrap_or(METHOD_OTHER), app.response(id).status())
}

/// The last byte of an answer was queued; `since`: when the first byte of its request was seen.
#[inline]
pub fn answered<A>(listener: u8, cell: Cell, since: Instant, cx: &Shared<A>) {
    cx.counters.requests.count(listener, cell);
    cx.counters.latency.record(cx.now.nanos().saturating_sub(since.nanos()));
}

/// A request was answered with an error before it was understood. It has no latency: nobody knows when it began.
#[cold]
pub fn refused<A>(listener: u8, status: u16, cx: &Shared<A>) {
    let requests = &cx.counters.requests;
    requests.count(listener, requests.cell(None, METHOD_NONE, status));
}
