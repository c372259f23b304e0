//! The request line (RFC 9112, 3): method, target, version.
//!
//! Owns the split of the line and the verdict on method and version. Refuses lenient white space: one SP between the three
//! parts and nothing else.

use super::{Method, Version};
use crate::config::HttpLimits;
use crate::http::reject::Reject;
use crate::http::syntax::{self, TCHAR};
use crate::http::target::{self, Host, Target};

/// A request line, and where the field lines start.
pub(super) struct RequestLine<'a> {
    pub(super) method: Method<'a>,
    pub(super) target: Target<'a>,
    /// The host an absolute or authority target names.
    pub(super) host: Option<Host<'a>>,
    pub(super) version: Version,
    /// Length with CRLF, in bytes.
    pub(super) len: usize,
}

/// Length of `HTTP/1.1` and CRLF.
const VERSION_LEN: usize = 10;
/// As one word, which compares at once.
const HTTP_1_1: u64 = u64::from_le_bytes(*b"HTTP/1.1");

/// Parses the line at the start of `head`. A line over the limit is 414 whatever else is wrong with it.
#[inline(always)]
pub(super) fn parse<'a>(head: &'a [u8], limits: &HttpLimits) -> Result<RequestLine<'a>, Reject> {
    let line =
        parts(head).map_err(|reject| if too_long(head, limits) { Reject::RequestLineTooLong } else { reject })?;
    if line.len - 2 > limits.request_line { Err(Reject::RequestLineTooLong) } else { Ok(line) }
}

/// Whether `line`, without its CRLF, is a valid request line.
pub(super) fn check(line: &[u8]) -> Result<(), Reject> {
    let Some(version_at) = memchr::memrchr(b' ', line) else { return Err(Reject::RequestLine) };
    let (start, version_text) = line.split_at(version_at + 1);
    let (method, rest) = method(start)?;
    let (_, _, target_len) = target::parse(rest, method)?;
    if target_len + 1 != rest.len() {
        return Err(Reject::RequestLine);
    }
    version(version_text).map(drop)
}

#[cold]
fn too_long(head: &[u8], limits: &HttpLimits) -> bool {
    memchr::memchr(b'\n', head).is_none_or(|end| end > limits.request_line + 1)
}

#[inline(always)]
fn parts(head: &[u8]) -> Result<RequestLine<'_>, Reject> {
    let (method, rest) = method(head)?;
    let (target, host, target_len) = target::parse(rest, method)?;
    let rest = rest.get(target_len + 1..).unwrap_or_default();
    let (version, version_len) = match rest.split_first_chunk::<8>() {
        Some((text, [b'\r', b'\n', ..])) if u64::from_le_bytes(*text) == HTTP_1_1 => (Version::Http11, VERSION_LEN),
        _ => other_version(rest)?,
    };
    Ok(RequestLine { method, target, host, version, len: head.len() - rest.len() + version_len })
}

/// The method, and what follows its space.
#[inline(always)]
fn method(line: &[u8]) -> Result<(Method<'_>, &[u8]), Reject> {
    if let Some(rest) = line.strip_prefix(b"GET ") {
        return Ok((Method::Get, rest));
    }
    let len = syntax::run(line, TCHAR);
    match line.get(len) {
        Some(b' ') if len > 0 => Ok((Method::new(&line[..len]), &line[len + 1..])),
        None | Some(b' ' | b'\r' | b'\n') => Err(Reject::RequestLine),
        Some(0x16) if len == 0 => Err(Reject::Tls),
        Some(_) => Err(Reject::MethodToken),
    }
}

#[cold]
fn other_version(rest: &[u8]) -> Result<(Version, usize), Reject> {
    let end = memchr::memchr(b'\r', rest).ok_or(Reject::RequestLine)?;
    if rest.get(end + 1) != Some(&b'\n') {
        return Err(Reject::BareCr);
    }
    Ok((version(&rest[..end])?, end + 2))
}

fn version(text: &[u8]) -> Result<Version, Reject> {
    match text {
        b"HTTP/1.0" => Ok(Version::Http10),
        // RFC 9110, 2.5: a higher minor version of the same major one is handled as the highest that is known.
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Ok(Version::Http11),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(Reject::Version),
        [] => Err(Reject::RequestLine),
        _ if memchr::memchr2(b' ', b'\t', text).is_some() => Err(Reject::RequestLine),
        _ => Err(Reject::VersionSyntax),
    }
}
