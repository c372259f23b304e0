//! The trailer section of a chunked body, byte by byte (RFC 9112, 7.1.2).
//!
//! Owns the check that trailers are well-formed, few and harmless. Refuses to keep them: what they say is discarded, which
//! RFC 9110, 6.5.1 allows. Framing and routing fields among them are refused, not ignored: only an attack puts them there.

use crate::config::HttpLimits;
use crate::http::reject::Reject;
use crate::http::syntax::{self, TCHAR, VALUE};

/// Names that RFC 9110, 6.5.1 forbids in trailers because they change the message's meaning after the fact.
const FORBIDDEN: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"host"];

/// How much of a trailer section was read.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Trailers {
    len: u32,
    count: u16,
    /// Length of the name read so far; stops counting beyond any forbidden name.
    name_len: u8,
    /// One bit for each forbidden name that differs from the name read so far.
    differ: u8,
    at: At,
}

/// What may come next.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
enum At {
    /// A name, or the empty line.
    #[default]
    LineStart,
    /// The name or its colon.
    Name,
    /// The value or CR.
    Value,
    /// LF of a field line.
    LineLf,
    /// LF of the empty line.
    EndLf,
}

impl Trailers {
    /// Takes one byte; true at the end of the section.
    pub(super) fn push(&mut self, byte: u8, limits: &HttpLimits) -> Result<bool, Reject> {
        self.len += 1;
        if self.len as usize > limits.head_size {
            return Err(Reject::TrailersTooLarge);
        }
        self.at = match (self.at, byte) {
            (At::EndLf, b'\n') => return Ok(true),
            (At::LineLf, b'\n') => At::LineStart,
            (At::LineLf | At::EndLf, _) => return Err(Reject::BareCr),
            (At::LineStart, b'\r') => At::EndLf,
            (At::LineStart, _) => self.start_name(byte, limits)?,
            (At::Name, b':') => self.end_name()?,
            (At::Name, _) => self.name_byte(byte)?,
            (At::Value, b'\r') => At::LineLf,
            (At::Value, _) if syntax::is(byte, VALUE) => At::Value,
            (At::Value, b'\n') => return Err(Reject::BareLf),
            (At::Value, _) => return Err(Reject::ControlByte),
        };
        Ok(false)
    }

    fn start_name(&mut self, byte: u8, limits: &HttpLimits) -> Result<At, Reject> {
        if syntax::is_ows(byte) {
            return Err(Reject::FieldFolded);
        }
        self.count += 1;
        if self.count as usize > limits.header_count {
            return Err(Reject::TooManyFields);
        }
        (self.name_len, self.differ) = (0, 0);
        self.name_byte(byte)
    }

    fn name_byte(&mut self, byte: u8) -> Result<At, Reject> {
        match byte {
            _ if syntax::is(byte, TCHAR) => {}
            b'\r' => return Err(Reject::FieldNoColon),
            b'\n' => return Err(Reject::BareLf),
            b' ' | b'\t' => return Err(Reject::FieldSpaceBeforeColon),
            _ => return Err(Reject::FieldName),
        }
        for (bit, name) in FORBIDDEN.iter().enumerate() {
            if name.get(self.name_len as usize) != Some(&byte.to_ascii_lowercase()) {
                self.differ |= 1 << bit;
            }
        }
        self.name_len = self.name_len.saturating_add(1);
        Ok(At::Name)
    }

    fn end_name(&self) -> Result<At, Reject> {
        let forbidden = FORBIDDEN
            .iter()
            .enumerate()
            .any(|(bit, name)| self.differ & (1 << bit) == 0 && name.len() == self.name_len as usize);
        if forbidden { Err(Reject::TrailerForbidden) } else { Ok(At::Value) }
    }
}
