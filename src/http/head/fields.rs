//! The field lines (RFC 9112, 5): where each name and value stands, and what the few fields that rule the connection say.
//!
//! Owns the table of fields and the framing facts gathered on the way. Refuses leniency: no folding, no space before the
//! colon, no bare CR or LF, no control bytes.

use arrayvec::ArrayVec;

use super::facts::Facts;
use crate::config::HttpLimits;
use crate::http::reject::Reject;
use crate::http::syntax::{self, TCHAR, VALUE};
use crate::limits::{HEAD_SIZE_MAX, HEADER_COUNT_MAX};

/// Where one field stands in its head, in bytes.
#[derive(Copy, Clone, Debug)]
struct Span {
    name_at: u16,
    name_len: u16,
    value_at: u16,
    value_len: u16,
}

// Every position in a head fits: the last byte of the largest head is at HEAD_SIZE_MAX - 1.
const _: () = assert!(HEAD_SIZE_MAX - 1 <= u16::MAX as usize);

/// Room for the positions of one head's fields: 1 KiB. One per worker is enough, it is reused for every head.
#[derive(Clone, Debug, Default)]
pub struct FieldTable {
    spans: ArrayVec<Span, HEADER_COUNT_MAX>,
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
    /// An empty table.
    pub const fn new() -> FieldTable {
        FieldTable { spans: ArrayVec::new_const() }
    }

    /// The fields last parsed, which stood in `head`.
    pub(super) fn fields<'a>(&'a self, head: &'a [u8]) -> Fields<'a> {
        Fields { head, spans: &self.spans }
    }

    /// Parses the field lines of `head` from `at` to the empty line that ends it.
    #[inline]
    pub(super) fn parse<'a>(
        &mut self,
        head: &'a [u8],
        mut at: usize,
        limits: &HttpLimits,
    ) -> Result<Facts<'a>, Reject> {
        let mut facts = Facts::default();
        self.spans.clear();
        loop {
            let line = head.get(at..).unwrap_or_default();
            let name_len = syntax::run(line, TCHAR);
            if name_len == 0 || line.get(name_len) != Some(&b':') {
                if line == b"\r\n" {
                    return Ok(facts);
                }
                return Err(bad_name(line, name_len, self.spans.is_empty()));
            }
            let (value_at, value_len, line_len) = value(line, name_len + 1)?;
            if self.spans.len() >= limits.header_count.min(HEADER_COUNT_MAX) {
                return Err(Reject::TooManyFields);
            }
            self.spans.push(Span {
                name_at: at as u16,
                name_len: name_len as u16,
                value_at: (at + value_at) as u16,
                value_len: value_len as u16,
            });
            facts.note(&line[..name_len], &line[value_at..value_at + value_len])?;
            at += line_len;
        }
    }
}

/// The value after the colon: where it starts, its length without white space around it, and the line's length.
#[inline]
fn value(line: &[u8], colon_end: usize) -> Result<(usize, usize, usize), Reject> {
    let mut start = colon_end;
    while line.get(start).is_some_and(|b| syntax::is_ows(*b)) {
        start += 1;
    }
    let end = start + text_len(&line[start..]);
    if line.get(end..end + 2) != Some(b"\r\n") {
        return Err(bad_value(&line[end..]));
    }
    let mut trimmed = end;
    while trimmed > start && syntax::is_ows(line[trimmed - 1]) {
        trimmed -= 1;
    }
    Ok((start, trimmed - start, end + 2))
}

/// How many bytes at the start may stand in a field value. Eight at a time: a byte of `stop` is non-zero from the first
/// one that is below SP or DEL on, and the bytes before it are exact.
#[inline]
fn text_len(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES << 7;
    let mut len = 0;
    while let Some(chunk) = bytes.get(len..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let below_space = word.wrapping_sub(ONES * 0x20) & !word;
        let not_delete = word ^ (ONES * 0x7f);
        let delete = not_delete.wrapping_sub(ONES) & !not_delete;
        let stop = (below_space | delete) & TOPS;
        if stop == 0 {
            len += 8;
            continue;
        }
        len += stop.trailing_zeros() as usize / 8;
        if bytes[len] != b'\t' {
            return len;
        }
        len += 1;
    }
    len + syntax::run(&bytes[len..], VALUE)
}

#[cold]
fn bad_name(line: &[u8], name_len: usize, first: bool) -> Reject {
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
