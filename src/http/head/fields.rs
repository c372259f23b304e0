//! The field lines (RFC 9112, 5): where each name and value stands, and what the few fields that rule the connection say.
//!
//! Owns the table of fields and the framing facts gathered on the way. Refuses leniency: no folding, no space before the
//! colon, no bare CR or LF, no control bytes.

use super::facts::Facts;
use crate::config::HttpLimits;
use crate::http::lanes::Skip;
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
#[derive(Copy, Clone, Debug)]
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

    /// Parses the field lines of `head` from `at` to the empty line that ends it.
    #[inline(always)]
    pub(super) fn parse<'a>(&mut self, head: &'a [u8], at: usize, limits: &HttpLimits) -> Result<Facts<'a>, Reject> {
        let mut facts = Facts::default();
        let mut slots = self.spans[..limits.header_count.min(HEADER_COUNT_MAX)].iter_mut();
        let room = slots.len();
        let mut line = &head[at..];
        loop {
            let name_len = syntax::long_run(line, TCHAR, Skip::Name);
            let (name, rest) = line.split_at(name_len);
            let [b':', rest @ ..] = rest else { break };
            let (from_value, value, next) = value(rest)?;
            let Some(slot) = slots.next() else { return Err(Reject::TooManyFields) };
            *slot = Span {
                name_at: (head.len() - line.len()) as u16,
                name_len: name_len as u16,
                value_at: (head.len() - from_value.len()) as u16,
                value_len: value.len() as u16,
            };
            match name {
                [] => return Err(Reject::FieldName),
                // The first letters and lengths of the few that matter; most fields are none of these.
                [b'H' | b'h' | b'C' | b'c' | b'T' | b't' | b'E' | b'e', ..] if Facts::lengths(name_len) => {
                    facts.note(name, value)?;
                }
                _ => {}
            }
            line = next;
        }
        self.len = room - slots.len();
        if line == b"\r\n" { Ok(facts) } else { Err(bad_name(line, self.len == 0)) }
    }
}

/// What follows a colon: all of it from the value's first byte on, the value without white space around it, and what
/// follows the line.
#[inline(always)]
fn value(mut rest: &[u8]) -> Result<(&[u8], &[u8], &[u8]), Reject> {
    // One space is what everybody sends.
    if let [b' ', after @ ..] = rest {
        rest = after;
    }
    if let [first, ..] = rest
        && syntax::is_ows(*first)
    {
        rest = trim_start(rest);
    }
    let (mut value, after) = rest.split_at(syntax::long_run(rest, VALUE, Skip::Text));
    let [b'\r', b'\n', next @ ..] = after else { return Err(bad_value(after)) };
    if let [.., last] = value
        && syntax::is_ows(*last)
    {
        value = syntax::trim_ows(value);
    }
    Ok((rest, value, next))
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
