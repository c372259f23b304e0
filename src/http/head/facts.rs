//! What the fields say about the message itself: framing, host, persistence, expectation.
//!
//! Owns the rules that make framing unambiguous (RFC 9112, 6.3) and the Host field's (RFC 9112, 3.2). Refuses to guess: two
//! statements about the length are one too many, even if they agree.

use super::{Framing, Method, Version};
use crate::http::reject::Reject;
use crate::http::syntax;
use crate::http::target::Host;

/// Gathered field by field.
#[derive(Debug, Default)]
pub(super) struct Facts<'a> {
    host: Option<Host<'a>>,
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

impl<'a> Facts<'a> {
    /// Whether any field that [`Facts::note`] knows has a name of this length.
    #[inline(always)]
    pub(super) fn lengths(name_len: usize) -> bool {
        matches!(name_len, 4 | 6 | 10 | 14 | 17)
    }

    /// Takes note of one field. Not inlined: the loop over all fields is quicker without it.
    #[inline(never)]
    pub(super) fn note(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Reject> {
        match name.len() {
            4 if syntax::fold_eq(name, b"host") => self.host(value),
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

    fn host(&mut self, value: &'a [u8]) -> Result<(), Reject> {
        match self.host.replace(Host::parse(value)?) {
            None => Ok(()),
            Some(_) => Err(Reject::HostRepeated),
        }
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

    /// How the body is framed (RFC 9112, 6.3).
    pub(super) fn framing(&self, version: Version) -> Result<Framing, Reject> {
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

    /// The host asked for: the target's, if it names one (RFC 9112, 3.2.2), else the Host field's.
    pub(super) fn effective_host(
        &self,
        target: Option<Host<'a>>,
        method: Method<'_>,
        version: Version,
    ) -> Result<Host<'a>, Reject> {
        // RFC 9112, 3.2: required in HTTP/1.1, even if the target makes it redundant.
        if self.host.is_none() && version == Version::Http11 {
            return Err(Reject::HostMissing);
        }
        debug_assert!(method != Method::Connect || target.is_some());
        Ok(target.or(self.host).unwrap_or_default())
    }

    /// Whether the connection may go on after the response (RFC 9112, 9.3).
    pub(super) fn persists(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }

    /// Whether the client waits for 100 Continue before it sends the body (RFC 9110, 10.1.1).
    pub(super) fn expects_continue(&self, version: Version, body: Framing) -> Result<bool, Reject> {
        // RFC 9110, 10.1.1: an HTTP/1.0 client can't understand an interim response.
        if version == Version::Http10 {
            return Ok(false);
        }
        if self.expectation_unknown {
            return Err(Reject::Expectation);
        }
        Ok(self.continue_expected && body != Framing::None)
    }
}
