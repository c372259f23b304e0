//! The request head: found, then understood (RFC 9112, 2 to 6).
//!
//! Owns [`scan`], which finds the end of a head that arrives in pieces, and [`parse`], which judges every byte of it.
//! Refuses to keep anything: a [`RequestHead`] borrows the bytes it was parsed from.

mod facts;
mod fields;
mod line;
mod scan;
#[cfg(test)]
mod tests;

pub use fields::{FieldTable, Fields};
pub use scan::{Scan, ScanResult, scan};

use super::body::Framing;
use super::reject::Reject;
use super::target::{Form, Host, Target};
use crate::config::HttpLimits;
use crate::limits::HEAD_SIZE_MAX;

/// A request method (RFC 9110, 9; RFC 5789). Case matters.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Method<'a> {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// Any other token.
    Other(&'a [u8]),
}

impl<'a> Method<'a> {
    /// The method called `name`.
    pub fn new(name: &'a [u8]) -> Method<'a> {
        match name {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"CONNECT" => Method::Connect,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"PATCH" => Method::Patch,
            _ => Method::Other(name),
        }
    }

    /// Its name.
    pub fn name(self) -> &'a [u8] {
        match self {
            Method::Get => b"GET",
            Method::Head => b"HEAD",
            Method::Post => b"POST",
            Method::Put => b"PUT",
            Method::Delete => b"DELETE",
            Method::Connect => b"CONNECT",
            Method::Options => b"OPTIONS",
            Method::Trace => b"TRACE",
            Method::Patch => b"PATCH",
            Method::Other(name) => name,
        }
    }
}

/// The protocol version of a request. HTTP/1.2 to 1.9 are handled as 1.1 (RFC 9110, 2.5).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A request's head. Every part has been checked against its grammar.
#[derive(Copy, Clone, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: Method<'a>,
    /// What it is asked for.
    pub target: Target<'a>,
    /// The version.
    pub version: Version,
    /// The host asked for: an absolute target's before the Host field's (RFC 9112, 3.2.2).
    pub host: Host<'a>,
    /// The fields, in the order received.
    pub fields: Fields<'a>,
    /// How the body that follows is framed.
    pub body: Framing,
    /// Whether the client wants to go on with the connection.
    pub keep_alive: bool,
    /// Whether the client waits for [`super::response::CONTINUE`] before it sends the body.
    pub expect_continue: bool,
}

/// Reads the first head in `buf`: [`scan`] and [`parse`] in one, and quicker for a head that arrived in one piece.
///
/// Gives how many bytes are done with, which are the head and the empty lines before it; None if it has not arrived whole.
/// `head` must be a default one, and means something only if there is a length. The rest is as for [`scan`] and [`parse`].
#[inline]
pub fn read<'a>(
    buf: &'a [u8],
    state: &mut Scan,
    table: &'a mut FieldTable,
    limits: &HttpLimits,
    head: &mut RequestHead<'a>,
) -> Result<Option<usize>, Reject> {
    // Most heads are whole when first seen. If this one isn't, or is refused, the long way finds out why.
    if state.is_new()
        && let Ok(len) = parse_first(buf, table, limits, head)
    {
        head.fields = table.fields(buf);
        return Ok(Some(len));
    }
    let Some(found) = scan(buf, state, limits)? else { return Ok(None) };
    let end = found.end;
    *head = parse(&buf[found], table, limits)?;
    Ok(Some(end))
}

/// Parses exactly one head, as [`scan`] found it: from the request line to the empty line and not a byte more.
///
/// `table` is room to work in, reused from head to head. More fields than `limits.header_count` are 431. The size of the
/// body is not judged here: see [`Framing::check`].
pub fn parse<'a>(head: &'a [u8], table: &'a mut FieldTable, limits: &HttpLimits) -> Result<RequestHead<'a>, Reject> {
    let mut parsed = RequestHead::default();
    if parse_first(head, table, limits, &mut parsed)? != head.len() {
        return Err(Reject::HeadTruncated);
    }
    parsed.fields = table.fields(head);
    Ok(parsed)
}

/// Parses the head at the start of `buf` into a new `head`, and gives its length; what follows is not looked at.
#[inline(always)]
fn parse_first<'a>(
    buf: &'a [u8],
    table: &mut FieldTable,
    limits: &HttpLimits,
    head: &mut RequestHead<'a>,
) -> Result<usize, Reject> {
    let line_len = line::parse(buf, head, limits)?;
    let len = table.parse(buf, line_len, head, limits)?;
    if len > limits.head_size.min(HEAD_SIZE_MAX) { Err(Reject::HeadTooLarge) } else { Ok(len) }
}

impl Default for RequestHead<'_> {
    /// What is true of a request until its head says otherwise.
    #[inline(always)]
    fn default() -> Self {
        RequestHead {
            method: Method::Get,
            target: Target { form: Form::Origin, path: b"", query: None },
            version: Version::Http11,
            host: Host::default(),
            fields: Fields::default(),
            body: Framing::None,
            keep_alive: false,
            expect_continue: false,
        }
    }
}
