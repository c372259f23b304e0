//! The field lines (RFC 9112, 5): where each name and value stands, and what the few fields that rule the connection say.
//!
//! Owns the table of fields and the framing facts gathered on the way. Refuses leniency: no folding, no space before the
//! colon, no bare CR or LF, no control bytes.

use super::RequestHead;
use super::facts::Facts;
use crate::config::HttpLimits;
use crate::http::lanes::{self, Skip};
use crate::http::reject::Reject;
use crate::http::syntax::{self, TCHAR, VALUE};
use crate::limits::{HEAD_SIZE_MAX, HEADER_COUNT_MAX};

/// Where one field stands in its head, in bytes.
#[derive(Copy, Clone, Debug, Default)]
struct Span {
    name_at: u16,
    name_len: u16,
    value_at: u16,
    value_len: u16,
}

// Every position in a head fits: the last byte of the largest head is at HEAD_SIZE_MAX - 1.
const _: () = assert!(HEAD_SIZE_MAX - 1 <= u16::MAX as usize);

/// Room for the positions of one head's fields: 1 KiB. One per worker is enough, it is reused for every head.
#[derive(Clone, Debug)]
pub struct FieldTable {
    spans: [Span; HEADER_COUNT_MAX],
    /// How many of them are in use.
    len: usize,
}

impl Default for FieldTable {
    fn default() -> Self {
        FieldTable { spans: [Span::default(); HEADER_COUNT_MAX], len: 0 }
    }
}

/// The fields of one head, in the order received. Names keep their case; values have no white space around them.
#[derive(Copy, Clone, Debug, Default)]
pub struct Fields<'a> {
    head: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Fields<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let head = self.head;
        self.spans
            .iter()
            .map(move |span| (slice(head, span.name_at, span.name_len), slice(head, span.value_at, span.value_len)))
    }

    /// The first value of the field called `name`, in whatever case.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }
}

fn slice(head: &[u8], at: u16, len: u16) -> &[u8] {
    &head[at as usize..at as usize + len as usize]
}

impl FieldTable {
    /// The fields last parsed, which stood in `head`.
    pub(super) fn fields<'a>(&'a self, head: &'a [u8]) -> Fields<'a> {
        Fields { head, spans: &self.spans[..self.len] }
    }

    /// Parses the field lines of `buf` from `at` to the empty line that ends them, and gives that line's end. What they say
    /// about the message goes to `head`.
    #[inline(always)]
    pub(super) fn parse<'a>(
        &mut self,
        buf: &'a [u8],
        at: usize,
        head: &mut RequestHead<'a>,
        limits: &HttpLimits,
    ) -> Result<usize, Reject> {
        let mut facts = Facts::default();
        let mut slots = self.spans[..limits.header_count.min(HEADER_COUNT_MAX)].iter_mut();
        let room = slots.len();
        let mut line = &buf[at..];
        loop {
            let name_len = syntax::run(line, TCHAR);
            let (name, rest) = line.split_at(name_len);
            let [b':', rest @ ..] = rest else { break };
            let Value { value, from, next } = value(rest)?;
            let Some(slot) = slots.next() else { return Err(Reject::TooManyFields) };
            *slot = Span {
                name_at: (buf.len() - line.len()) as u16,
                name_len: name_len as u16,
                value_at: (buf.len() - from.len()) as u16,
                value_len: value.len() as u16,
            };
            match name.first() {
                None => return Err(Reject::FieldName),
                Some(first) if Facts::may_know(*first, name_len) => facts.note(name, value, head)?,
                Some(_) => {}
            }
            line = next;
        }
        self.len = room - slots.len();
        match line {
            [b'\r', b'\n', after @ ..] => facts.conclude(head).map(|()| buf.len() - after.len()),
            _ => Err(bad_name(line, self.len == 0)),
        }
    }
}

/// What follows a colon.
struct Value<'a> {
    /// Without the white space around it.
    value: &'a [u8],
    /// All from the value's first byte on.
    from: &'a [u8],
    /// All after the line.
    next: &'a [u8],
}

#[inline(always)]
fn value(mut rest: &[u8]) -> Result<Value<'_>, Reject> {
    // One space is what everybody sends.
    if let [b' ', after @ ..] = rest {
        rest = after;
    }
    if let [first, ..] = rest
        && syntax::is_ows(*first)
    {
        rest = trim_start(rest);
    }
    let (mut value, mut after) = rest.split_at(lanes::skip(rest, Skip::Text));
    if !after.starts_with(b"\r\n") {
        (value, after) = rest.split_at(syntax::run(rest, VALUE));
    }
    let [b'\r', b'\n', next @ ..] = after else { return Err(bad_value(after)) };
    if let [.., last] = value
        && syntax::is_ows(*last)
    {
        value = syntax::trim_ows(value);
    }
    Ok(Value { value, from: rest, next })
}

#[cold]
fn trim_start(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|b| syntax::is_ows(**b)).count()..]
}

#[cold]
fn bad_name(line: &[u8], first: bool) -> Reject {
    let name_len = syntax::run(line, TCHAR);
    match line.get(name_len) {
        None => Reject::HeadTruncated,
        Some(b' ' | b'\t') if name_len == 0 && first => Reject::FieldName,
        Some(b' ' | b'\t') if name_len == 0 => Reject::FieldFolded,
        Some(b' ' | b'\t') if syntax::trim_ows(&line[name_len..]).first() == Some(&b':') => {
            Reject::FieldSpaceBeforeColon
        }
        Some(b'\r') if line.get(name_len + 1) != Some(&b'\n') => Reject::BareCr,
        Some(b'\r') if name_len == 0 => Reject::HeadTruncated,
        Some(b' ' | b'\t' | b'\r') => Reject::FieldNoColon,
        Some(b'\n') => Reject::BareLf,
        Some(0..=0x1f | 0x7f) => Reject::ControlByte,
        Some(_) => Reject::FieldName,
    }
}

#[cold]
fn bad_value(rest: &[u8]) -> Reject {
    match rest {
        [] | [b'\r'] => Reject::HeadTruncated,
        [b'\r', ..] => Reject::BareCr,
        [b'\n', ..] => Reject::BareLf,
        _ => Reject::ControlByte,
    }
}
