//! `respond`: status, header fields and content of a direct response.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;

use super::reader::Section;
use super::units;
use crate::config::{Body, DirectResponse};
use crate::limits::{RESPONSE_BODY_MAX, RESPONSE_FIELD_MAX, RESPONSE_FIELDS_MAX};

/// Fields the HTTP layer writes itself: framing, the connection (RFC 9110, 7.6.1) and Date.
const OWN_FIELDS: [&str; 9] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Content types by extension; anything else is application/octet-stream.
const CONTENT_TYPES: [(&str, &str); 18] = [
    ("css", "text/css; charset=utf-8"),
    ("gif", "image/gif"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/vnd.microsoft.icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("webp", "image/webp"),
    ("woff2", "font/woff2"),
    ("xml", "application/xml"),
];

pub(super) fn respond(section: &Section, base_dir: &Path) -> DirectResponse {
    let status = section.integer("status").map_or(200, |n| n.into_inner() as u16);
    if section.has("body") && section.has("file") {
        let fix = "keep one of the two";
        section.report.add(section.span_of("file"), "`respond` has both `body` and `file`", fix);
    }
    let mut headers = fields(section);
    let mut content_type = "text/plain; charset=utf-8";
    let mut body = Body::Inline(Vec::new());
    if let Some(text) = section.text("body") {
        body = Body::Inline(text.get_ref().as_bytes().to_vec());
    } else if let Some(file) = section.text("file") {
        content_type = content_type_of(Path::new(file.get_ref()));
        body = read(section, &file, base_dir);
    }
    // RFC 9110, 15.3.5, 15.3.6 and 15.4.5: these end with the header section.
    if matches!(status, 204 | 205 | 304) {
        if !body.bytes().is_empty() || section.has("file") {
            let key = if section.has("body") { "body" } else { "file" };
            let what = format!("a response with status {status} has no content");
            section.report.add(section.span_of(key), what, "remove the content or choose status 200");
        }
    } else if !body.bytes().is_empty() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        headers.push(("Content-Type".to_string(), content_type.to_string()));
    }
    DirectResponse { status, headers, body }
}

fn fields(section: &Section) -> Vec<(String, String)> {
    let fields = section.fields("headers");
    if fields.len() > RESPONSE_FIELDS_MAX {
        let fix = format!("write at most {RESPONSE_FIELDS_MAX}");
        section.report.add(section.span_of("headers"), format!("{} header fields", fields.len()), fix);
    }
    let mut checked: Vec<(String, String)> = Vec::new();
    let mut places: Vec<usize> = Vec::new();
    for (name, value) in fields {
        let before = checked.iter().position(|(other, _)| other.eq_ignore_ascii_case(name.get_ref()));
        if let Some((span, what, fix)) = field_problem(&name, &value) {
            section.report.add(span, what, fix);
        } else if before.is_some_and(|at| places[at] != name.span().start) {
            let fix = format!("for repeated fields write a list: {} = [\"...\", \"...\"]", name.get_ref());
            section.report.add(name.span(), format!("header field {} is there twice", name.get_ref()), fix);
        } else {
            checked.push((name.get_ref().to_string(), value.get_ref().to_string()));
            places.push(name.span().start);
        }
    }
    checked
}

fn field_problem(name: &Spanned<&str>, value: &Spanned<&str>) -> Option<(super::report::Span, String, String)> {
    let (field, text) = (*name.get_ref(), *value.get_ref());
    if field.is_empty() || !field.bytes().all(is_token) {
        let what = format!("not a header field name: {field:?}");
        return Some((name.span(), what, "names have letters, digits and !#$%&'*+-.^_`|~ (RFC 9110, 5.6.2)".into()));
    }
    if OWN_FIELDS.contains(&field.to_ascii_lowercase().as_str()) {
        let what = format!("header field {field} cannot be set");
        return Some((name.span(), what, "remove it: it follows from the response and the connection".into()));
    }
    // RFC 9110, 5.5: CR, LF and NUL would let a value become something else; other bytes are read in different ways.
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        let what = format!("the value of {field} has a control character or is not ASCII");
        return Some((value.span(), what, "remove or encode those characters".into()));
    }
    if text.trim_matches([' ', '\t']).len() != text.len() {
        let what = format!("the value of {field} begins or ends with space");
        return Some((value.span(), what, "remove the space: it is not part of a value (RFC 9110, 5.5)".into()));
    }
    if field.len() + text.len() > RESPONSE_FIELD_MAX {
        let what = format!("header field {field} is too long");
        return Some((value.span(), what, format!("name and value have at most {RESPONSE_FIELD_MAX} bytes")));
    }
    None
}

/// tchar of RFC 9110, 5.6.2.
pub(in crate::control) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn content_type_of(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
    let known = CONTENT_TYPES.iter().find(|(known, _)| *known == extension);
    known.map_or("application/octet-stream", |(_, content_type)| content_type)
}

fn read(section: &Section, file: &Spanned<&str>, base_dir: &Path) -> Body {
    let path = PathBuf::from(file.get_ref());
    let content = match read_content(&base_dir.join(&path)) {
        Ok(content) => content,
        Err((what, fix)) => {
            section.report.add(file.span(), format!("cannot read {:?}: {what}", file.get_ref()), fix);
            Vec::new()
        }
    };
    Body::File { path, content: Arc::from(content) }
}

pub(in crate::control) fn read_content(path: &Path) -> Result<Vec<u8>, (String, String)> {
    let failed = |error: std::io::Error| {
        let fix = format!("a relative path begins at the configuration file; looked for {}", path.display());
        (error.to_string(), fix)
    };
    // Opening a pipe would wait for its writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(("it is not a regular file".to_string(), "name a file".to_string()));
    }
    let mut content = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(RESPONSE_BODY_MAX as u64 + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() > RESPONSE_BODY_MAX {
        let max = units::show_size(RESPONSE_BODY_MAX as u64);
        return Err(("the file is too large".to_string(), format!("a body has at most {max}")));
    }
    Ok(content)
}
