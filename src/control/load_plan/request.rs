//! `[[requests]]`: the bytes of each kind of request, and what its answer must be.
//!
//! Owns the header section as it is sent. Refuses what would let a value become another field or another request, and to
//! say when a connection ends, but for a connection that serves one request only.

use core::fmt::Write;
use core::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;

use super::schema::BODY_MAX;
use super::{check_name, rate};
use crate::control::load::body::{is_token, read_content};
use crate::control::load::reader::Section;
use crate::control::load::report::Report;
use crate::limits::{HEAD_SIZE_MAX, HEADER_COUNT_MAX};
use crate::loadgen::plan::{Check, Class};

const KNOWN_METHODS: [&str; 8] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
/// Methods whose requests announce even an empty content (RFC 9110, 8.6).
const WITH_CONTENT: [&str; 3] = ["PATCH", "POST", "PUT"];
/// Fields that follow from the request and its connection, and Expect, whose 100 (Continue) nobody would wait for.
const OWN_FIELDS: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What all requests have in common.
pub(super) struct Common<'a> {
    pub(super) authority: &'a str,
    pub(super) path: &'a str,
    /// A connection serves one request, which says so.
    pub(super) close: bool,
    /// Where relative paths of body files begin.
    pub(super) base_dir: &'a Path,
}

/// Reads one section, the `n`th from 1.
pub(super) fn class(section: &Section, n: usize, common: &Common) -> Class {
    let name = section.text("name").and_then(|name| check_name(section.report, &name));
    let method = method(section);
    let path = path(section).unwrap_or_else(|| common.path.to_string());
    let fields = fields(section);
    let body = body(section, common.base_dir);
    let check = check(section, &method);
    Class {
        name: name.unwrap_or_else(|| format!("request {n}")),
        weight: section.integer("weight").map_or(1, |weight| weight.into_inner() as u32),
        head_only: method == "HEAD",
        head: head(section, common, (&method, &path), &fields, body.len()),
        body: Arc::from(body),
        check,
    }
}

fn method(section: &Section) -> String {
    let Some(text) = section.text("method") else { return "GET".into() };
    let (method, upper) = (*text.get_ref(), text.get_ref().to_ascii_uppercase());
    let wrong = |what: String, fix: String| section.report.add(text.span(), what, fix);
    if method.is_empty() || method.len() > 64 || !method.bytes().all(is_token) {
        wrong(format!("not a method: {method:?}"), format!("examples: {}", KNOWN_METHODS.join(", ")));
    } else if upper == "CONNECT" {
        wrong("CONNECT makes a tunnel, which is no request".into(), "choose another method".into());
    } else if method != upper && KNOWN_METHODS.contains(&upper.as_str()) {
        wrong(format!("methods are case-sensitive: {method:?}"), format!("write {upper}"));
    }
    method.to_string()
}

fn path(section: &Section) -> Option<String> {
    let text = section.text("path")?;
    let path = *text.get_ref();
    if !path.starts_with('/') {
        section.report.add(text.span(), "the path does not begin with `/`", format!("write {:?}", format!("/{path}")));
    } else if path.contains('#') || !path.bytes().all(|byte| matches!(byte, b'!'..=b'~')) {
        let what = "the path has space, `#`, a control character or is not ASCII";
        section.report.add(text.span(), what, "percent-encode those characters");
    }
    Some(path.to_string())
}

fn fields<'a>(section: &Section<'a>) -> Vec<(&'a str, &'a str)> {
    let fields = section.fields("headers");
    if fields.len() > HEADER_COUNT_MAX {
        let fix = format!("write at most {HEADER_COUNT_MAX}");
        section.report.add(section.span_of("headers"), format!("{} header fields", fields.len()), fix);
    }
    let mut checked = Vec::new();
    for (name, value) in fields {
        let (field, text) = (*name.get_ref(), *value.get_ref());
        let wrong = |at: &Spanned<&str>, what: String, fix: &str| section.report.add(at.span(), what, fix);
        if field.is_empty() || !field.bytes().all(is_token) {
            let fix = "names have letters, digits and !#$%&'*+-.^_`|~ (RFC 9110, 5.6.2)";
            wrong(&name, format!("not a header field name: {field:?}"), fix);
        } else if OWN_FIELDS.contains(&field.to_ascii_lowercase().as_str()) {
            let fix = "remove it: it follows from the content and the connection";
            wrong(&name, format!("header field {field} cannot be set"), fix);
        } else if !text.chars().all(|c| c == '\t' || !c.is_control()) {
            // RFC 9110, 5.5: CR, LF and NUL would let a value become something else.
            wrong(&value, format!("the value of {field} has a control character"), "remove or encode it");
        } else {
            checked.push((field, text.trim_matches([' ', '\t'])));
        }
    }
    let hosts = || checked.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host"));
    if hosts().count() > 1 || hosts().any(|(_, host)| host.is_empty() || host.contains([' ', ',', '\t'])) {
        let what = "Host is there twice, empty, or has space or a comma";
        section.report.add(section.span_of("headers"), what, "write one: Host = \"name.example\" (RFC 9110, 7.2)");
    }
    checked
}

fn body(section: &Section, base_dir: &Path) -> Vec<u8> {
    let keys = ["body", "body_file", "body_size"];
    if let [_, second, ..] = keys.iter().filter(|key| section.has(key)).collect::<Vec<_>>()[..] {
        section.report.add(
            section.span_of(second),
            "the content is given twice",
            format!("keep one of: {}", keys.join(", ")),
        );
        return Vec::new();
    }
    if let Some(size) = section.size("body_size") {
        return (b'a'..=b'z').cycle().take(size.into_inner() as usize).collect();
    }
    if let Some(file) = section.text("body_file") {
        return read_content(&base_dir.join(file.get_ref())).unwrap_or_else(|(what, fix)| {
            section.report.add(file.span(), format!("cannot read {:?}: {what}", file.get_ref()), fix);
            Vec::new()
        });
    }
    section.text("body").map(|body| body.get_ref().as_bytes().to_vec()).unwrap_or_default()
}

fn head(
    section: &Section,
    common: &Common,
    (method, path): (&str, &str),
    fields: &[(&str, &str)],
    content_length: usize,
) -> Arc<[u8]> {
    let lacks = |name: &str| !fields.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    // Host comes first (RFC 9110, 7.2).
    let host = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let _ = write!(head, "Host: {}\r\n", host.map_or(common.authority, |(_, host)| host));
    if lacks("user-agent") {
        let _ = write!(head, "User-Agent: penstock/{}\r\n", env!("CARGO_PKG_VERSION"));
    }
    for (name, value) in fields.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if content_length > 0 || WITH_CONTENT.contains(&method) {
        let _ = write!(head, "Content-Length: {content_length}\r\n");
    }
    if common.close {
        head += "Connection: close\r\n";
    }
    head += "\r\n";
    if head.len() > HEAD_SIZE_MAX {
        let what = format!("the header section has {} bytes", head.len());
        section.report.add(section.span.clone(), what, format!("at most {HEAD_SIZE_MAX}: shorten path or headers"));
    }
    Arc::from(head.into_bytes())
}

fn check(section: &Section, method: &str) -> Check {
    let mut status = Vec::new();
    for text in section.words("expect_status") {
        match statuses(text.get_ref()) {
            Ok(ranges) => status.extend(ranges),
            Err(mistake) => add(section.report, &text, mistake),
        }
    }
    let size = section.size("expect_size").map(|size| size.into_inner());
    let sha256 = section.text("expect_sha256").and_then(|text| {
        let digest = sha256(text.get_ref());
        if digest.is_none() {
            section.report.add(text.span(), "not a SHA-256", "write 64 hexadecimal digits, as sha256sum prints them");
        }
        digest
    });
    if method == "HEAD" && (size.is_some_and(|size| size > 0) || sha256.is_some()) {
        let key = if sha256.is_some() { "expect_sha256" } else { "expect_size" };
        let fix = "remove the check, or ask with GET";
        section.report.add(section.span_of(key), "an answer to HEAD has no content (RFC 9110, 9.3.2)", fix);
    }
    Check { status, size, sha256 }
}

/// Reports a mistake within a value.
pub(super) fn add(report: &Report, text: &Spanned<&str>, mistake: rate::Mistake) {
    report.add(report.within(&text.span(), text.get_ref(), mistake.at), mistake.what, mistake.fix);
}

/// Status codes and ranges of them: `200-299,404`.
pub fn statuses(text: &str) -> Result<Vec<RangeInclusive<u16>>, rate::Mistake> {
    let mut ranges = Vec::new();
    let mut at = 0;
    for part in text.split(',') {
        let (start, item) = rate::trimmed((at, part));
        at += part.len() + 1;
        let (from, to) = item.split_once('-').unwrap_or((item, item));
        let status = |text: &str| match text.trim().as_bytes() {
            [b'1'..=b'5', _, _] => text.trim().parse::<u16>().ok(),
            _ => None,
        };
        match (status(from), status(to)) {
            (Some(from), Some(to)) if from <= to => ranges.push(from..=to),
            _ => {
                let what = format!("not a status or range: {item:?}");
                let fix = "statuses are from 100 to 599: \"200\", \"200-299,404\"";
                return Err(rate::Mistake::new(start..start + item.len(), what, fix));
            }
        }
    }
    Ok(ranges)
}

/// A digest of 64 hexadecimal digits.
pub fn sha256(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    let digits = text.trim().as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16);
    for (byte, pair) in digest.iter_mut().zip(digits.chunks(2)) {
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(digest)
}

const _: () = assert!(BODY_MAX == crate::limits::RESPONSE_BODY_MAX as u64);
