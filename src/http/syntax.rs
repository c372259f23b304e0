//! Byte classes and the few productions that several messages share (RFC 9110, 5.6; RFC 3986).
//!
//! Owns one table of 256 flags. Refuses anything that needs more than a slice to decide.

use super::lanes::{self, Skip};

/// A set of bytes; one bit in the table.
pub type Class = u8;

/// `tchar`: what tokens such as methods and field names are made of (RFC 9110, 5.6.2).
pub const TCHAR: Class = 1 << 0;
/// What a path may hold unescaped. Wider than `pchar` (RFC 3986, 3.3) by the characters browsers send as they are, such
/// as `[`, `|` and `^`. Not `"`, `<`, `>` and not the backslash, which some servers read as a slash.
pub const PATH: Class = 1 << 1;
/// What a query may hold unescaped: as for a path, with `?` and the backslash.
pub const QUERY: Class = 1 << 2;
/// What a host name may hold: `unreserved` and `sub-delims` (RFC 3986, 3.2.2) without the comma, which is what two
/// merged Host fields look like, and without percent-encoding, which DNS names never need.
pub const HOST: Class = 1 << 3;
/// What a field value may hold: HTAB, SP, VCHAR and obs-text (RFC 9110, 5.5).
pub const VALUE: Class = 1 << 4;
/// What a quoted-string may hold unescaped: `qdtext` (RFC 9110, 5.6.4).
pub const QDTEXT: Class = 1 << 5;

static TABLE: [Class; 256] = table();

const fn table() -> [Class; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = classes(i as u8);
        i += 1;
    }
    table
}

const fn classes(b: u8) -> Class {
    let mut class = 0;
    let alnum = b.is_ascii_alphanumeric();
    if alnum || matches!(b, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~') {
        class |= TCHAR;
    }
    let text = matches!(b, 0x21..=0x7e) && !matches!(b, b'"' | b'#' | b'%' | b'<' | b'>');
    if text && !matches!(b, b'?' | b'\\') {
        class |= PATH;
    }
    if text {
        class |= QUERY;
    }
    if alnum || matches!(b, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&'..=b'+' | b';' | b'=') {
        class |= HOST;
    }
    let value = matches!(b, b'\t' | 0x20..=0x7e | 0x80..=0xff);
    if value {
        class |= VALUE;
    }
    if value && !matches!(b, b'"' | b'\\') {
        class |= QDTEXT;
    }
    class
}

/// Whether `b` belongs to `class`.
#[inline]
pub fn is(b: u8, class: Class) -> bool {
    TABLE[b as usize] & class != 0
}

/// How many bytes at the start of `bytes` belong to `class`.
#[inline(always)]
pub fn run(bytes: &[u8], class: Class) -> usize {
    let mut len = 0;
    while len < bytes.len() && is(bytes[len], class) {
        len += 1;
    }
    len
}

/// As [`run`], quicker where most bytes are of `fast`, which is a part of the class.
#[inline(always)]
pub(super) fn long_run(bytes: &[u8], class: Class, fast: Skip) -> usize {
    let mut len = 0;
    loop {
        len += lanes::skip(&bytes[len..], fast);
        match bytes.get(len) {
            Some(b) if is(*b, class) => len += 1,
            _ => return len,
        }
    }
}

/// A `token`: one `tchar` or more.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && run(bytes, TCHAR) == bytes.len()
}

/// A field value as it may be sent: no control bytes, no white space at either end.
pub fn is_field_value(bytes: &[u8]) -> bool {
    run(bytes, VALUE) == bytes.len() && trim_ows(bytes).len() == bytes.len()
}

/// OWS: SP and HTAB (RFC 9110, 5.6.3).
#[inline]
pub fn is_ows(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

/// `bytes` without the OWS at both ends.
#[inline]
pub fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_ows(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_ows(*last)
    {
        bytes = rest;
    }
    bytes
}

/// Compares without regard to case; `lower` is made of lower case letters, digits and `-`. `bytes` must have no control
/// bytes, which every field name and value is free of: setting one bit would make some equal to a digit or `-`.
#[inline(always)]
pub fn fold_eq<const N: usize>(bytes: &[u8], lower: &[u8; N]) -> bool {
    let Ok(bytes) = <&[u8; N]>::try_from(bytes) else { return false };
    // Without early exit, so that it becomes a few wide operations.
    bytes.iter().zip(lower).fold(0, |differ, (a, b)| differ | ((a | 0x20) ^ b)) == 0
}

/// The elements of a comma-separated list, OWS removed; empty ones are given too (RFC 9110, 5.6.1).
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(trim_ows)
}

/// `1*DIGIT` below 10^19, so that 64 bits always hold it: no sign, no space, no list (RFC 9110, 8.6).
pub fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || bytes.len() > 19 {
        return None;
    }
    bytes.iter().try_fold(0u64, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_the_grammar_says() {
        let members = |class| (0..=255u8).filter(|b| is(*b, class)).collect::<Vec<_>>();
        let tchar = b"!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~";
        assert_eq!(members(TCHAR), tchar);
        assert_eq!(members(VALUE).len(), 1 + 95 + 128);
        assert!(!is(0x7f, VALUE) && is(b'\t', VALUE) && is(0x80, VALUE) && !is(b'\r', VALUE));
        for b in *b"\"#%<> \x7f\x80\xff\0" {
            assert!(!is(b, PATH) && !is(b, QUERY), "{b:#x}");
        }
        assert!(!is(b'\\', PATH) && is(b'\\', QUERY) && is(b'[', QUERY) && is(b'|', PATH));
        for b in *b",@/?#[]:% \"\\" {
            assert!(!is(b, HOST), "{b:#x}");
        }
    }

    #[test]
    fn numbers_are_digits_only_and_fit() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"00042"), Some(42));
        assert_eq!(decimal(b"9999999999999999999"), Some(9_999_999_999_999_999_999));
        for bad in [&b""[..], b"+1", b"-1", b" 1", b"1 ", b"1,1", b"0x1", b"1e3", b"18446744073709551616", b"\xb2"] {
            assert_eq!(decimal(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn lists_are_split_and_trimmed() {
        assert_eq!(list(b" a ,\tb,, c").collect::<Vec<_>>(), [&b"a"[..], b"b", b"", b"c"]);
        assert!(fold_eq(b"Keep-Alive", b"keep-alive") && !fold_eq(b"keep_alive", b"keep-alive"));
        assert!(is_field_value(b"") && is_field_value(b"a b\xe9") && !is_field_value(b" a") && !is_field_value(b"a\n"));
    }
}
