//! Paths that mean the same are one path; paths that can be read in two ways are refused.
//!
//! Owns the canonical form in which paths are compared (RFC 3986, 6.2.2) and the list of refusals. Refuses to write the
//! form anywhere: it is an iterator, and the common path that already is canonical is compared as received.
//!
//! Canonical: percent-encoded unreserved characters are decoded, other triplets have upper-case digits, characters that
//! a URI must encode are encoded, and repeated slashes are one slash. Refused: dot segments, which every client is to
//! remove itself (RFC 3986, 5.2.4) and which reach a server only to get past a prefix; encoded slashes and backslashes,
//! which some servers take for separators and some don't; control characters, encoded or not; incomplete triplets.

use core::iter;

/// What has to be done to compare a path.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Form {
    /// Nothing: the bytes are canonical.
    Plain,
    /// Compare through [`canonical`].
    Encoded,
    /// Not to be compared at all.
    Refused(Refusal),
}

/// Why a path is refused.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It does not begin with a slash.
    Relative,
    /// It has a space, a control character, a backslash or `#`.
    Character,
    /// A `%` without two hexadecimal digits.
    Triplet,
    /// An encoded slash, backslash or control character.
    EncodedCharacter,
    /// A segment `.` or `..`, however written.
    DotSegment,
}

impl Refusal {
    /// For messages: "the path has ...".
    pub fn describe(self) -> &'static str {
        match self {
            Refusal::Relative => "no `/` at its start",
            Refusal::Character => "a space, control character, backslash or `#`",
            Refusal::Triplet => "a `%` without two hexadecimal digits",
            Refusal::EncodedCharacter => "an encoded slash, backslash or control character",
            Refusal::DotSegment => "a `.` or `..` segment",
        }
    }
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum Class {
    /// Stands for itself in a segment.
    Plain,
    Dot,
    Slash,
    Percent,
    /// A URI must encode it.
    Encode,
    Query,
    Refuse,
}

const CLASS: [Class; 256] = {
    let mut class = [Class::Encode; 256];
    let mut byte = 0;
    while byte < 256 {
        class[byte] = match byte as u8 {
            // pchar of RFC 3986, 3.3, without the percent sign.
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => Class::Plain,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' => Class::Plain,
            b'.' => Class::Dot,
            b'/' => Class::Slash,
            b'%' => Class::Percent,
            b'?' => Class::Query,
            0..=b' ' | 0x7f | b'\\' | b'#' => Class::Refuse,
            _ => Class::Encode,
        };
        byte += 1;
    }
    class
};

/// The path without query, and how to compare it. One pass for a plain path, two for others.
pub fn inspect(path: &[u8]) -> (&[u8], Form) {
    let mut plain = true;
    let mut previous = Class::Plain;
    let mut end = path.len();
    for (at, &byte) in path.iter().enumerate() {
        let class = CLASS[byte as usize];
        match class {
            Class::Plain => {}
            Class::Dot | Class::Slash => plain &= previous != Class::Slash,
            Class::Percent | Class::Encode => plain = false,
            Class::Refuse => return (path, Form::Refused(Refusal::Character)),
            Class::Query => {
                end = at;
                break;
            }
        }
        previous = class;
    }
    let path = &path[..end];
    let form = match path.first() {
        None => Form::Plain,
        Some(b'/') if plain => Form::Plain,
        Some(b'/') => inspect_segments(path),
        Some(_) => Form::Refused(Refusal::Relative),
    };
    (path, form)
}

fn inspect_segments(path: &[u8]) -> Form {
    for segment in Segments::new(path) {
        let mut bytes = segment.iter();
        while let Some(&byte) = bytes.next() {
            if byte == b'%' {
                let (high, low) = (bytes.next().and_then(hex), bytes.next().and_then(hex));
                match high.zip(low).map(|(high, low)| high << 4 | low) {
                    None => return Form::Refused(Refusal::Triplet),
                    Some(0..=0x1f | 0x7f | b'/' | b'\\') => return Form::Refused(Refusal::EncodedCharacter),
                    Some(_) => {}
                }
            }
        }
        // Some servers cut a segment at `;` before they look for dots.
        let name = || canonical(segment).take_while(|&byte| byte != b';');
        if name().eq(*b".") || name().eq(*b"..") {
            return Form::Refused(Refusal::DotSegment);
        }
    }
    Form::Encoded
}

/// The segments of an absolute path, repeated slashes being one: `/a//b/` has `a`, `b` and an empty last one. An empty
/// path is `/`.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Segments<'a> {
    /// The segments of `path`.
    pub fn new(path: &'a [u8]) -> Segments<'a> {
        Segments { rest: Some(path.strip_prefix(b"/").unwrap_or(path)) }
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.rest?;
            match memchr::memchr(b'/', rest) {
                None => {
                    self.rest = None;
                    return Some(rest);
                }
                Some(0) => self.rest = Some(&rest[1..]),
                Some(at) => {
                    self.rest = Some(&rest[at + 1..]);
                    return Some(&rest[..at]);
                }
            }
        }
    }
}

/// The canonical bytes of a segment or path that is not refused.
pub fn canonical(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut bytes = bytes.iter().copied();
    let mut pending = [None, None];
    iter::from_fn(move || {
        if let Some(byte) = pending[0].take().or_else(|| pending[1].take()) {
            return Some(byte);
        }
        let byte = bytes.next()?;
        let value = match CLASS[byte as usize] {
            Class::Percent => {
                let (high, low) = (bytes.next(), bytes.next());
                let value = high.as_ref().and_then(hex)? << 4 | low.as_ref().and_then(hex)?;
                // RFC 3986, 2.3: unreserved characters are equivalent to their encoding.
                if value.is_ascii_alphanumeric() || matches!(value, b'-' | b'.' | b'_' | b'~') {
                    return Some(value);
                }
                value
            }
            Class::Encode => byte,
            _ => return Some(byte),
        };
        pending = [Some(digit(value >> 4)), Some(digit(value & 15))];
        Some(b'%')
    })
}

fn hex(byte: &u8) -> Option<u8> {
    (*byte as char).to_digit(16).map(|digit| digit as u8)
}

fn digit(value: u8) -> u8 {
    b"0123456789ABCDEF"[value as usize & 15]
}
