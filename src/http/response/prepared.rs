//! Answers prepared when the configuration is loaded: sending one is a copy and 29 patched bytes.
//!
//! Owns the templates of one direct response, one for each thing [`Connection`] may say. Refuses fields that frame the
//! message or belong to the connection: those are written here and nowhere else.

use std::sync::Arc;

use super::{Connection, DATE_LEN, HeadWriter, has_content};
use crate::http::syntax;

/// Head and body together are one template up to this size in bytes.
pub const SMALL_MAX: usize = 1024;

/// Fields that are written here and must not come from a configuration.
const OURS: [&str; 6] = ["connection", "content-length", "date", "keep-alive", "transfer-encoding", "upgrade"];

/// A configured field that can't be sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidField {
    /// Not a token.
    #[error("{0:?} is not a field name")]
    Name(String),
    /// Control bytes, or white space at an end.
    #[error("the value of {0} has control characters or white space at an end")]
    Value(String),
    /// Written by the gateway itself.
    #[error("{0} is set by the gateway and cannot be configured")]
    Ours(String),
}

/// A response that is always the same but for its date.
#[derive(Clone, Debug)]
pub struct Prepared {
    status: u16,
    body: Arc<[u8]>,
    date_at: usize,
    /// In the order of [`Connection`]'s variants.
    variants: [Variant; 3],
}

#[derive(Clone, Debug)]
struct Variant {
    /// The head, and the body too if both are small.
    bytes: Box<[u8]>,
    head_len: usize,
}

/// Bytes ready to be sent but for the date in them.
#[derive(Copy, Clone, Debug)]
pub struct Template<'a> {
    bytes: &'a [u8],
    date_at: usize,
}

impl Prepared {
    /// Prepares a response. `status` is 200..=599; a body is left out where the status allows none (RFC 9110, 6.4.1).
    pub fn new(status: u16, headers: &[(String, String)], body: Arc<[u8]>) -> Result<Prepared, InvalidField> {
        headers.iter().try_for_each(check_field)?;
        let body = if has_content(status) { body } else { Arc::from([]) };
        let mut date_at = 0;
        let variants = [Connection::Persist, Connection::KeepAlive, Connection::Close].map(|connection| {
            let (bytes, head_len, at) = write(status, headers, &body, connection);
            date_at = at;
            Variant { bytes, head_len }
        });
        Ok(Prepared { status, body, date_at, variants })
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The content, to be sent after [`Prepared::head`] unless the request's method is HEAD.
    pub fn body(&self) -> &Arc<[u8]> {
        &self.body
    }

    /// The head alone: for HEAD, and before a body that is sent by itself.
    #[inline]
    pub fn head(&self, connection: Connection) -> Template<'_> {
        let variant = &self.variants[connection as usize];
        Template { bytes: &variant.bytes[..variant.head_len], date_at: self.date_at }
    }

    /// The whole message, if it has at most [`SMALL_MAX`] bytes.
    #[inline]
    pub fn small(&self, connection: Connection) -> Option<Template<'_>> {
        let variant = &self.variants[connection as usize];
        let whole = variant.bytes.len() == variant.head_len + self.body.len();
        whole.then_some(Template { bytes: &variant.bytes, date_at: self.date_at })
    }
}

/// Whether a field may be part of a configured response.
fn check_field((name, value): &(String, String)) -> Result<(), InvalidField> {
    if !syntax::is_token(name.as_bytes()) {
        return Err(InvalidField::Name(name.clone()));
    }
    if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
        return Err(InvalidField::Ours(name.clone()));
    }
    if !syntax::is_field_value(value.as_bytes()) {
        return Err(InvalidField::Value(name.clone()));
    }
    Ok(())
}

/// The bytes of one variant, the length of its head, and where the date stands.
fn write(status: u16, headers: &[(String, String)], body: &[u8], connection: Connection) -> (Box<[u8]>, usize, usize) {
    let fields_len: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    // The status line and our own fields take less than 200 bytes.
    let mut bytes = vec![0; fields_len + 256];
    let mut writer = HeadWriter::new(&mut bytes, status);
    let date_at = writer.len + b"Date: ".len();
    writer.date(&[b' '; DATE_LEN]);
    for (name, value) in headers {
        writer.field(name.as_bytes(), value.as_bytes());
    }
    // RFC 9110, 8.6: none in 1xx and 204. In 304 it would be the length of another response.
    if has_content(status) || status == 205 {
        writer.content_length(body.len() as u64);
    }
    let head_len = writer.connection(connection).finish().unwrap_or_default();
    debug_assert!(head_len > 0);
    bytes.truncate(head_len);
    if head_len + body.len() <= SMALL_MAX {
        bytes.extend_from_slice(body);
    }
    (bytes.into_boxed_slice(), head_len, date_at)
}

impl Template<'_> {
    /// Length in bytes; never zero.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Copies everything to the start of `out`, with `date` in its place. The length, or None, and nothing written, if `out`
    /// is shorter.
    #[inline]
    pub fn write(&self, date: &[u8; DATE_LEN], out: &mut [u8]) -> Option<usize> {
        let out = out.get_mut(..self.bytes.len())?;
        out.copy_from_slice(self.bytes);
        out[self.date_at..self.date_at + DATE_LEN].copy_from_slice(date);
        Some(self.bytes.len())
    }

    /// Copies what follows the first `from` bytes to `out`, as much as fits, with `date` in its place: for room that comes
    /// in pieces. The number of bytes copied. All pieces of one message want the same date.
    pub fn write_from(&self, from: usize, date: &[u8; DATE_LEN], out: &mut [u8]) -> usize {
        let rest = self.bytes.get(from..).unwrap_or_default();
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        let (start, end) = (self.date_at.max(from), (self.date_at + DATE_LEN).min(from + len));
        if start < end {
            out[start - from..end - from].copy_from_slice(&date[start - self.date_at..end - self.date_at]);
        }
        len
    }
}
