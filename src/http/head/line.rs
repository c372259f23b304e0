//! The request line (RFC 9112, 3): method, target, version.
//!
//! Owns the split of the line and the verdict on method and version. Refuses lenient white space: one SP between the three
//! parts and nothing else.

use super::{Method, RequestHead, Version};
use crate::config::HttpLimits;
use crate::http::reject::Reject;
use crate::http::syntax::{self, TCHAR};
use crate::http::target;

/// Length of `HTTP/1.1` and CRLF.
const VERSION_LEN: usize = 10;
/// As one word, which compares at once.
const HTTP_1_1: u64 = u64::from_le_bytes(*b"HTTP/1.1");

/// Parses the line at the start of `buf` into `head`, and gives its length with CRLF. A line over the limit is 414 whatever
/// else is wrong with it.
#[inline(always)]
pub(super) fn parse<'a>(buf: &'a [u8], head: &mut RequestHead<'a>, limits: &HttpLimits) -> Result<usize, Reject> {
    match parts(buf, head) {
        Ok(len) if len - 2 <= limits.request_line => Ok(len),
        Err(reject) if !too_long(buf, limits) => Err(reject),
        _ => Err(Reject::RequestLineTooLong),
    }
}

/// Whether `line`, with its CRLF, is a valid request line.
pub(super) fn check(line: &[u8]) -> Result<(), Reject> {
    parts(line, &mut RequestHead::default()).map(drop)
}

#[cold]
fn too_long(buf: &[u8], limits: &HttpLimits) -> bool {
    memchr::memchr(b'\n', buf).is_none_or(|end| end > limits.request_line + 1)
}

#[inline(always)]
fn parts<'a>(buf: &'a [u8], head: &mut RequestHead<'a>) -> Result<usize, Reject> {
    let method_len = method(buf, &mut head.method)?;
    let rest = &buf[method_len..];
    let target_len = target::parse(rest, head.method, &mut head.target, &mut head.host)?;
    let rest = rest.get(target_len + 1..).unwrap_or_default();
    let version_len = match rest.first_chunk::<8>() {
        Some(text) if u64::from_le_bytes(*text) == HTTP_1_1 && rest[8..].starts_with(b"\r\n") => VERSION_LEN,
        _ => other_version(rest, &mut head.version)?,
    };
    Ok(buf.len() - rest.len() + version_len)
}

/// Sets the method, and gives its length with the space after it.
#[inline(always)]
fn method<'a>(line: &'a [u8], method: &mut Method<'a>) -> Result<usize, Reject> {
    // A new head's method is GET.
    if line.starts_with(b"GET ") { Ok(4) } else { other_method(line, method) }
}

#[inline(never)]
fn other_method<'a>(line: &'a [u8], method: &mut Method<'a>) -> Result<usize, Reject> {
    let len = syntax::run(line, TCHAR);
    match line.get(len) {
        Some(b' ') if len > 0 => {
            *method = Method::new(&line[..len]);
            Ok(len + 1)
        }
        None | Some(b' ' | b'\r' | b'\n') => Err(Reject::RequestLine),
        Some(0x16) if len == 0 => Err(Reject::Tls),
        Some(_) => Err(Reject::MethodToken),
    }
}

#[cold]
fn other_version(rest: &[u8], known: &mut Version) -> Result<usize, Reject> {
    let end = memchr::memchr(b'\r', rest).ok_or(Reject::RequestLine)?;
    if rest.get(end + 1) != Some(&b'\n') {
        return Err(Reject::BareCr);
    }
    *known = version(&rest[..end])?;
    Ok(end + 2)
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
