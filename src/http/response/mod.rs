//! Responses: heads written in place, and whole answers prepared in advance (RFC 9110, 15; RFC 9112, 4).
//!
//! Owns the status line, the framing fields and Date. Refuses to decide: which answer is given, and whether the connection
//! goes on, is the caller's.

mod date;
mod prepared;
#[cfg(test)]
mod tests;

pub use date::{DATE_LEN, DateCache};
pub use prepared::{InvalidField, Prepared, SMALL_MAX, Template};

use super::reject::Reject;
use crate::limits::RING_MIN;

/// The interim response that asks for the body (RFC 9110, 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The longest [`Reject::reason`], in bytes.
pub const REASON_MAX: usize = 80;

/// Room that always suffices for [`error_response`], in bytes.
pub const ERROR_MAX: usize = 320;

// What goes out in one piece fits the smallest transmit ring.
const _: () = assert!(ERROR_MAX <= RING_MIN && SMALL_MAX <= RING_MIN && CONTINUE.len() <= RING_MIN);

/// What the response says about the connection (RFC 9112, 9.3 and 9.6).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Connection {
    /// It goes on, and the client, speaking HTTP/1.1, takes that for granted.
    Persist,
    /// It goes on, and the client, speaking HTTP/1.0, has to be told.
    KeepAlive,
    /// It ends after this response.
    Close,
}

impl Connection {
    /// What to say to a request of this version if the connection goes on or does not.
    pub fn new(version: super::head::Version, persists: bool) -> Connection {
        match (persists, version) {
            (false, _) => Connection::Close,
            (true, super::head::Version::Http10) => Connection::KeepAlive,
            (true, super::head::Version::Http11) => Connection::Persist,
        }
    }

    fn option(self) -> Option<&'static [u8]> {
        match self {
            Connection::Persist => None,
            Connection::KeepAlive => Some(b"keep-alive"),
            Connection::Close => Some(b"close"),
        }
    }
}

/// The reason phrase of a status code; empty for those without a registered one.
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        _ => error_phrase(status),
    }
}

const fn error_phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => "",
    }
}

/// Whether a response with this status has content (RFC 9110, 6.4.1); 205 has none either (15.3.6).
pub const fn has_content(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 205 | 304)
}

/// Writes a response head into a slice. What doesn't fit is left out, and [`HeadWriter::finish`] says so.
#[derive(Debug)]
pub struct HeadWriter<'o> {
    out: &'o mut [u8],
    len: usize,
    full: bool,
}

impl<'o> HeadWriter<'o> {
    /// Starts with the status line; `status` is 100..=999.
    pub fn new(out: &'o mut [u8], status: u16) -> HeadWriter<'o> {
        let mut writer = HeadWriter { out, len: 0, full: false };
        let digits = [status / 100 % 10, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8);
        writer.push(b"HTTP/1.1 ");
        writer.push(&digits);
        writer.push(b" ");
        writer.push(reason_phrase(status).as_bytes());
        writer.push(b"\r\n");
        writer
    }

    /// A field. The caller answers for its syntax: see [`super::syntax::is_token`] and
    /// [`super::syntax::is_field_value`].
    pub fn field(&mut self, name: &[u8], value: &[u8]) -> &mut Self {
        for part in [name, b": ", value, b"\r\n"] {
            self.push(part);
        }
        self
    }

    /// Date (RFC 9110, 6.6.1).
    pub fn date(&mut self, date: &[u8; DATE_LEN]) -> &mut Self {
        self.field(b"Date", date)
    }

    /// Content-Length in bytes.
    pub fn content_length(&mut self, length: u64) -> &mut Self {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = length;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.field(b"Content-Length", &digits[at..])
    }

    /// Connection, if anything has to be said.
    pub fn connection(&mut self, connection: Connection) -> &mut Self {
        match connection.option() {
            Some(option) => self.field(b"Connection", option),
            None => self,
        }
    }

    /// Ends the head with the empty line. Its length in bytes, or None if it did not fit.
    pub fn finish(&mut self) -> Option<usize> {
        self.push(b"\r\n");
        (!self.full).then_some(self.len)
    }

    fn push(&mut self, bytes: &[u8]) {
        match self.out.get_mut(self.len..self.len + bytes.len()) {
            Some(room) if !self.full => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            _ => self.full = true,
        }
    }
}

/// Writes the whole answer to a refused request, which says why and ends the connection. Its length in bytes, or None if
/// `out` is shorter than it; [`ERROR_MAX`] always suffices.
pub fn error_response(reject: Reject, date: &[u8; DATE_LEN], out: &mut [u8]) -> Option<usize> {
    let (status, phrase) = (reject.status(), reason_phrase(reject.status()));
    let body_len = 3 + 1 + phrase.len() + 2 + reject.reason().len() + 1;
    let mut writer = HeadWriter::new(out, status);
    writer.date(date).field(b"Content-Type", b"text/plain").content_length(body_len as u64);
    writer.connection(Connection::Close).finish()?;
    // The status line's code, once more.
    let digits: [u8; 3] = *writer.out.get(9..)?.first_chunk()?;
    for part in [&digits, &b" "[..], phrase.as_bytes(), b": ", reject.reason().as_bytes(), b"\n"] {
        writer.push(part);
    }
    (!writer.full).then_some(writer.len)
}
