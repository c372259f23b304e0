//! The head of an answer, as a client reads it (RFC 9112, 4 and 6.3).
//!
//! Owns what a client has to know: status, how the content is framed, whether the connection persists. Refuses to judge
//! fields a client does not act on; tokens are httparse's.

use super::body::Framing;
use super::head::Version;

/// The longest head of an answer, in bytes.
pub const ANSWER_HEAD_MAX: usize = 32 * 1024;
/// The most fields of an answer's head.
const FIELDS_MAX: usize = 100;

/// How an answer's content ends.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum AnswerFraming {
    /// As a request's content does.
    Framed(Framing),
    /// With the connection.
    UntilClose,
}

/// What an answer's head says.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct AnswerHead {
    /// The status code, 100..=999.
    pub status: u16,
    /// How the content ends.
    pub framing: AnswerFraming,
    /// The server keeps the connection.
    pub keep_alive: bool,
}

/// Why bytes are no answer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum AnswerError {
    /// Not the grammar of RFC 9112, 4 and 5.
    Syntax,
    /// Longer than [`ANSWER_HEAD_MAX`], or more than 100 fields.
    TooLarge,
    /// Content-Length is no number, or two that differ, or stands beside Transfer-Encoding (RFC 9112, 6.3).
    Framing,
}

/// Reads the head that `bytes` starts with; `head_only`: it answers HEAD. Its length and meaning, or None while it has not
/// arrived whole.
pub fn read(bytes: &[u8], head_only: bool) -> Result<Option<(usize, AnswerHead)>, AnswerError> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut answer = httparse::Response::new(&mut fields);
    let len = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(len)) if len <= ANSWER_HEAD_MAX => len,
        Ok(httparse::Status::Complete(_)) | Err(httparse::Error::TooManyHeaders) => return Err(AnswerError::TooLarge),
        Ok(httparse::Status::Partial) if bytes.len() < ANSWER_HEAD_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(AnswerError::TooLarge),
        Err(_) => return Err(AnswerError::Syntax),
    };
    let (Some(status), Some(minor)) = (answer.code, answer.version) else { return Err(AnswerError::Syntax) };
    // RFC 9110, 15: a status code is within 100 to 599; up to 999 are known to be used.
    if status < 100 {
        return Err(AnswerError::Syntax);
    }
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let mut facts = Facts::default();
    for field in answer.headers.iter() {
        facts.note(field.name, field.value)?;
    }
    let framing = facts.framing(status, head_only)?;
    let persists = match version {
        Version::Http11 => !facts.close,
        Version::Http10 => facts.keep_alive && !facts.close,
    };
    let keep_alive = persists && framing != AnswerFraming::UntilClose;
    Ok(Some((len, AnswerHead { status, framing, keep_alive })))
}

/// What the fields say that rule the connection.
#[derive(Default)]
struct Facts {
    length: Option<u64>,
    coded: bool,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl Facts {
    fn note(&mut self, name: &str, value: &[u8]) -> Result<(), AnswerError> {
        if name.eq_ignore_ascii_case("content-length") {
            // RFC 9112, 6.3: a list of equal numbers is one number.
            for item in value.split(|byte| *byte == b',') {
                let length = number(item.trim_ascii()).ok_or(AnswerError::Framing)?;
                if self.length.replace(length).is_some_and(|before| before != length) {
                    return Err(AnswerError::Framing);
                }
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            self.coded = true;
            let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
            self.chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        } else if name.eq_ignore_ascii_case("connection") {
            for option in value.split(|byte| *byte == b',') {
                self.close |= option.trim_ascii().eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.trim_ascii().eq_ignore_ascii_case(b"keep-alive");
            }
        }
        Ok(())
    }

    /// RFC 9112, 6.3.
    fn framing(&self, status: u16, head_only: bool) -> Result<AnswerFraming, AnswerError> {
        if head_only || status < 200 || status == 204 || status == 304 {
            return Ok(AnswerFraming::Framed(Framing::None));
        }
        match (self.coded, self.length) {
            (true, Some(_)) => Err(AnswerError::Framing),
            (true, None) if self.chunked => Ok(AnswerFraming::Framed(Framing::Chunked)),
            (true, None) | (false, None) => Ok(AnswerFraming::UntilClose),
            (false, Some(0)) => Ok(AnswerFraming::Framed(Framing::None)),
            (false, Some(length)) => Ok(AnswerFraming::Framed(Framing::Length(length))),
        }
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<(usize, AnswerHead)>, AnswerError> {
        read(text.as_bytes(), false)
    }

    fn framing(text: &str) -> AnswerFraming {
        head(text).unwrap().unwrap().1.framing
    }

    #[test]
    fn content_ends_as_the_standard_says() {
        let fixed = |n| AnswerFraming::Framed(Framing::Length(n));
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", fixed(12)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 12, 12\r\n\r\n", fixed(12)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", AnswerFraming::Framed(Framing::None)),
            ("HTTP/1.1 204 No Content\r\n\r\n", AnswerFraming::Framed(Framing::None)),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", AnswerFraming::Framed(Framing::None)),
            ("HTTP/1.1 100 Continue\r\n\r\n", AnswerFraming::Framed(Framing::None)),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", AnswerFraming::Framed(Framing::Chunked)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", AnswerFraming::UntilClose),
            ("HTTP/1.1 200 OK\r\n\r\n", AnswerFraming::UntilClose),
        ] {
            assert_eq!(framing(text), expected, "{text:?}");
        }
        let to_head = read(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", true).unwrap().unwrap().1;
        assert_eq!(to_head.framing, AnswerFraming::Framed(Framing::None));
    }

    #[test]
    fn persistence_follows_version_and_connection_options() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: foo, Close\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\n\r\n", false),
        ] {
            assert_eq!(head(text).unwrap().unwrap().1.keep_alive, expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_answer_is_told_from_what_is_not_whole() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n";
        for cut in 0..whole.len() {
            assert_eq!(head(&whole[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(head(&format!("{whole}hello")).unwrap().unwrap().0, whole.len());
        assert_eq!(head("SSH-2.0-x\r\n"), Err(AnswerError::Syntax));
        assert_eq!(head("HTTP/1.1 099 OK\r\n\r\n"), Err(AnswerError::Syntax));
        for wrong in ["1, 2", "x", "-1", "99999999999999999999", ""] {
            let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {wrong}\r\n\r\n");
            assert_eq!(head(&text), Err(AnswerError::Framing), "{wrong:?}");
        }
        let both = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(head(both), Err(AnswerError::Framing));
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(ANSWER_HEAD_MAX));
        assert_eq!(head(&long), Err(AnswerError::TooLarge));
    }
}
