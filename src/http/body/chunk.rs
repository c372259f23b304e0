//! A chunk's size line, byte by byte (RFC 9112, 7.1 and 7.1.1).
//!
//! Owns the grammar `1*HEXDIG *( ";" token [ "=" ( token / quoted-string ) ] ) CRLF`. Refuses white space: the BWS that the
//! grammar still allows around `;` and `=` is what old senders made and new attacks use.

use crate::http::reject::Reject;
use crate::http::syntax::{self, QDTEXT, TCHAR, VALUE};
use crate::limits::CHUNK_LINE_MAX;

/// How much of a size line was read.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct ChunkLine {
    size: u64,
    len: u16,
    at: At,
}

/// What may come next.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
enum At {
    /// The first digit.
    #[default]
    Start,
    /// A digit, `;` or CR.
    Size,
    /// The first byte of an extension's name.
    NameStart,
    /// The name, `=`, `;` or CR.
    Name,
    /// The first byte of a value.
    ValueStart,
    /// A token, `;` or CR.
    Token,
    /// Inside a quoted-string.
    Quoted,
    /// After a backslash there.
    Escaped,
    /// After the closing quote: `;` or CR.
    QuoteEnd,
    /// LF.
    Lf,
}

const _: () = assert!(CHUNK_LINE_MAX < u16::MAX as usize);

impl ChunkLine {
    /// Takes one byte; the chunk's size at the end of the line.
    pub(super) fn push(&mut self, byte: u8) -> Result<Option<u64>, Reject> {
        self.len += 1;
        if self.len as usize > CHUNK_LINE_MAX {
            return Err(Reject::ChunkLineTooLong);
        }
        if self.at == At::Lf {
            return if byte == b'\n' { Ok(Some(self.size)) } else { Err(Reject::BareCr) };
        }
        self.at = match self.at {
            At::Start | At::Size => self.size_byte(byte)?,
            _ => self.extension_byte(byte)?,
        };
        Ok(None)
    }

    /// Length so far, in bytes.
    pub(super) fn len(&self) -> u64 {
        u64::from(self.len)
    }

    fn size_byte(&mut self, byte: u8) -> Result<At, Reject> {
        match (self.at, (byte as char).to_digit(16)) {
            (_, Some(digit)) => {
                // RFC 9112, 7.1: a recipient must not let large sizes overflow.
                if self.size >> 60 != 0 {
                    return Err(Reject::ChunkSize);
                }
                self.size = self.size << 4 | u64::from(digit);
                Ok(At::Size)
            }
            (At::Size, None) if byte == b';' => Ok(At::NameStart),
            (At::Size, None) if byte == b'\r' => Ok(At::Lf),
            (At::Size, None) if byte == b'\n' => Err(Reject::BareLf),
            _ => Err(Reject::ChunkSize),
        }
    }

    fn extension_byte(&self, byte: u8) -> Result<At, Reject> {
        let token = syntax::is(byte, TCHAR);
        match (self.at, byte) {
            (At::NameStart | At::Name, _) if token => Ok(At::Name),
            (At::ValueStart | At::Token, _) if token => Ok(At::Token),
            (At::Name, b'=') => Ok(At::ValueStart),
            (At::ValueStart, b'"') => Ok(At::Quoted),
            (At::Quoted, b'"') => Ok(At::QuoteEnd),
            (At::Quoted, b'\\') => Ok(At::Escaped),
            (At::Quoted, _) if syntax::is(byte, QDTEXT) => Ok(At::Quoted),
            (At::Escaped, _) if syntax::is(byte, VALUE) => Ok(At::Quoted),
            (At::Name | At::Token | At::QuoteEnd, b';') => Ok(At::NameStart),
            (At::Name | At::Token | At::QuoteEnd, b'\r') => Ok(At::Lf),
            (_, b'\n') => Err(Reject::BareLf),
            _ => Err(Reject::ChunkExtension),
        }
    }
}
