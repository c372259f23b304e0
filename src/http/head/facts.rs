//! What the fields say about the message itself: framing, host, persistence, expectation.
//!
//! Owns the rules that make framing unambiguous (RFC 9112, 6.3) and the Host field's (RFC 9112, 3.2). Refuses to guess: two
//! statements about the length are one too many, even if they agree.

use super::{Framing, RequestHead, Version};
use crate::http::reject::Reject;
use crate::http::syntax;
use crate::http::target::Host;

/// Gathered field by field.
#[derive(Debug, Default)]
pub(super) struct Facts {
    host_seen: bool,
    length: Option<u64>,
    coding: Coding,
    close: bool,
    keep_alive: bool,
    continue_expected: bool,
    expectation_unknown: bool,
}

/// What the Transfer-Encoding fields have said so far.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
enum Coding {
    /// No such field.
    #[default]
    None,
    /// `chunked` was the last one, and the only one.
    Chunked,
    /// `chunked` was the last one, after others.
    OthersThenChunked,
    /// The last one was not `chunked`.
    NotChunked,
}

impl Facts {
    /// Whether a name of this first letter and length may be one that [`Facts::note`] knows; most are not.
    #[inline(always)]
    pub(super) fn may_know(first: u8, name_len: usize) -> bool {
        /// By length: host, expect, connection, content-length, transfer-encoding.
        const FIRST: [u8; 18] = *b"\0\0\0\0h\0e\0\0\0c\0\0\0c\0\0t";
        FIRST.get(name_len).is_some_and(|letter| *letter == first | 0x20)
    }

    /// Takes note of one field. Not inlined: the loop over all fields is quicker without it.
    #[inline(never)]
    pub(super) fn note<'a>(&mut self, name: &[u8], value: &'a [u8], head: &mut RequestHead<'a>) -> Result<(), Reject> {
        match name.len() {
            4 if syntax::fold_eq(name, b"host") => self.host(value, &mut head.host),
            6 if syntax::fold_eq(name, b"expect") => {
                self.expect(value);
                Ok(())
            }
            10 if syntax::fold_eq(name, b"connection") => {
                self.connection(value);
                Ok(())
            }
            14 if syntax::fold_eq(name, b"content-length") => self.content_length(value),
            17 if syntax::fold_eq(name, b"transfer-encoding") => self.transfer_encoding(value),
            _ => Ok(()),
        }
    }

    fn host<'a>(&mut self, value: &'a [u8], host: &mut Host<'a>) -> Result<(), Reject> {
        if self.host_seen {
            return Err(Reject::HostRepeated);
        }
        self.host_seen = true;
        let field = Host::parse(value)?;
        // RFC 9112, 3.2.2: the host that the target names, if it does, is the one that counts.
        if host.authority.is_empty() {
            *host = field;
        }
        Ok(())
    }

    /// RFC 9110, 10.1.1: a list; the only expectation defined is 100-continue.
    #[cold]
    fn expect(&mut self, value: &[u8]) {
        for element in syntax::list(value) {
            match syntax::fold_eq(element, b"100-continue") {
                true => self.continue_expected = true,
                false => self.expectation_unknown = true,
            }
        }
    }

    /// RFC 9110, 7.6.1: a list of options; those not known here name fields, which an end point has no need to remove.
    #[inline]
    fn connection(&mut self, value: &[u8]) {
        // The value that most requests have needs no splitting.
        if syntax::fold_eq(value, b"keep-alive") {
            self.keep_alive = true;
            return;
        }
        for option in syntax::list(value) {
            self.close |= syntax::fold_eq(option, b"close");
            self.keep_alive |= syntax::fold_eq(option, b"keep-alive");
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Reject> {
        // RFC 9112, 6.3 permits to accept a list of equal values; refusing it is permitted too, and unambiguous.
        if self.length.is_some() || memchr::memchr(b',', value).is_some() {
            return Err(Reject::LengthRepeated);
        }
        self.length = Some(syntax::decimal(value).ok_or(Reject::LengthSyntax)?);
        Ok(())
    }

    /// Several fields make one list (RFC 9110, 5.3). Empty elements are refused, which is stricter than RFC 9110, 5.6.1.
    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Reject> {
        for coding in syntax::list(value) {
            // Whoever reads a parameter of chunked differently would read another message: the bare token only.
            let name_len = syntax::run(coding, syntax::TCHAR);
            let chunked = syntax::fold_eq(&coding[..name_len], b"chunked");
            if name_len == 0 || (chunked && name_len != coding.len()) {
                return Err(Reject::CodingSyntax);
            }
            self.coding = match (self.coding, chunked) {
                (Coding::Chunked | Coding::OthersThenChunked, true) => return Err(Reject::CodingRepeated),
                (Coding::None, true) => Coding::Chunked,
                (Coding::NotChunked, true) => Coding::OthersThenChunked,
                // RFC 9112, 6.1: chunked has to come last.
                (Coding::Chunked | Coding::OthersThenChunked, false) => return Err(Reject::CodingNotFinal),
                (_, false) => Coding::NotChunked,
            };
        }
        Ok(())
    }

    /// Concludes what the fields together mean for `head`.
    #[inline(always)]
    pub(super) fn conclude(&self, head: &mut RequestHead<'_>) -> Result<(), Reject> {
        let http11 = head.version == Version::Http11;
        // RFC 9112, 3.2: required in HTTP/1.1, even if the target makes it redundant.
        if !self.host_seen && http11 {
            return Err(Reject::HostMissing);
        }
        head.body = self.framing(head.version)?;
        // RFC 9112, 9.3: the default depends on the version, and "close" overrides "keep-alive".
        head.keep_alive = !self.close && (http11 || self.keep_alive);
        // RFC 9110, 10.1.1: an HTTP/1.0 client can't understand an interim response.
        if http11 {
            if self.expectation_unknown {
                return Err(Reject::Expectation);
            }
            head.expect_continue = self.continue_expected && head.body != Framing::None;
        }
        Ok(())
    }

    /// How the body is framed (RFC 9112, 6.3).
    #[inline(always)]
    fn framing(&self, version: Version) -> Result<Framing, Reject> {
        match (self.coding, self.length) {
            (Coding::None, None | Some(0)) => Ok(Framing::None),
            (Coding::None, Some(length)) => Ok(Framing::Length(length)),
            // RFC 9112, 6.1: framing is faulty.
            _ if version == Version::Http10 => Err(Reject::CodingInHttp10),
            (_, Some(_)) => Err(Reject::LengthAndCoding),
            (Coding::Chunked, None) => Ok(Framing::Chunked),
            (Coding::OthersThenChunked, None) => Err(Reject::CodingUnknown),
            (Coding::NotChunked, None) => Err(Reject::CodingNotFinal),
        }
    }
}
