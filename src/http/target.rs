//! The request target and the authority (RFC 9112, 3.2 and 3.3).
//!
//! Owns the four forms of a target and the syntax of a host with port. Refuses to decode, normalise or match: what is
//! percent-encoded stays so, and dot segments stay where they are.

use super::head::Method;
use super::lanes::Skip;
use super::reject::Reject;
use super::syntax::{self, HOST, PATH, QUERY};

/// How the target was written (RFC 9112, 3.2.1 to 3.2.4).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Form {
    /// `/path?query`.
    Origin,
    /// `http://host/path?query`.
    Absolute,
    /// `host:port`, of CONNECT.
    Authority,
    /// `*`, of OPTIONS.
    Asterisk,
}

/// A request target.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Target<'a> {
    /// How it was written.
    pub form: Form,
    /// Starts with `/` in origin and absolute form; `*` in asterisk form; empty in authority form.
    pub path: &'a [u8],
    /// What follows the first `?`.
    pub query: Option<&'a [u8]>,
}

/// A host with an optional port, as in the Host field or an absolute target (RFC 9110, 7.2).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Host<'a> {
    /// As sent, port included. Empty only if an HTTP/1.0 request names no host.
    pub authority: &'a [u8],
    /// Without port; an IPv6 literal keeps its brackets.
    pub name: &'a [u8],
    /// The port, if written.
    pub port: Option<u16>,
}

impl<'a> Host<'a> {
    /// Parses `uri-host [ ":" port ]`. An empty host is invalid (RFC 9110, 4.2.1), as is userinfo (4.2.4).
    pub fn parse(authority: &'a [u8]) -> Result<Host<'a>, Reject> {
        let name_len = match authority.first() {
            Some(b'[') => ipv6_literal(authority).ok_or(Reject::HostSyntax)?,
            _ => syntax::run(authority, HOST),
        };
        let (name, rest) = authority.split_at(name_len);
        let port = match rest {
            [] | [b':'] => None,
            [b':', digits @ ..] => Some(port(digits).ok_or(Reject::HostSyntax)?),
            _ => return Err(Reject::HostSyntax),
        };
        if name.is_empty() {
            return Err(Reject::HostSyntax);
        }
        Ok(Host { authority, name, port })
    }
}

fn port(digits: &[u8]) -> Option<u16> {
    syntax::decimal(digits).and_then(|n| u16::try_from(n).ok())
}

/// The length of a leading `[IPv6address]` (RFC 3986, 3.2.2); zones and IPvFuture are refused.
fn ipv6_literal(authority: &[u8]) -> Option<usize> {
    let close = memchr::memchr(b']', authority)?;
    core::str::from_utf8(&authority[1..close]).ok()?.parse::<core::net::Ipv6Addr>().ok()?;
    Some(close + 1)
}

/// Takes the target off the start of `bytes`, which is the head after the method's space, and gives its length; the byte
/// after it is a space. A host that it names goes to `host`.
#[inline(always)]
pub(super) fn parse<'a>(
    bytes: &'a [u8],
    method: Method<'_>,
    target: &mut Target<'a>,
    host: &mut Host<'a>,
) -> Result<usize, Reject> {
    // "/" alone is common enough.
    if bytes.starts_with(b"/ ") && method != Method::Connect {
        (target.form, target.path, target.query) = (Form::Origin, &bytes[..1], None);
        return Ok(1);
    }
    if bytes.first() == Some(&b'/') && method != Method::Connect {
        return path_and_query(bytes, target);
    }
    other_form(bytes, method, target, host)
}

#[cold]
fn other_form<'a>(
    bytes: &'a [u8],
    method: Method<'_>,
    target: &mut Target<'a>,
    host: &mut Host<'a>,
) -> Result<usize, Reject> {
    let len = bytes.iter().position(|b| *b <= b' ').unwrap_or(bytes.len());
    if bytes.get(len) != Some(&b' ') || len == 0 {
        return Err(Reject::RequestLine);
    }
    let text = &bytes[..len];
    if method == Method::Connect {
        // RFC 9112, 3.2.3: authority-form is for CONNECT alone, CONNECT has no other, and the port is required.
        *host = Host::parse(text)?;
        host.port.ok_or(Reject::HostSyntax)?;
        *target = Target { form: Form::Authority, path: b"", query: None };
    } else if text == b"*" {
        // RFC 9112, 3.2.4: asterisk-form is for OPTIONS alone.
        match method {
            Method::Options => *target = ASTERISK,
            // RFC 9113, 3.4: the preface of an HTTP/2 connection, whose one fault is its version.
            Method::Other(b"PRI") => return Err(Reject::Version),
            _ => return Err(Reject::TargetForm),
        }
    } else {
        absolute_form(bytes, len, method, target, host)?;
    }
    Ok(len)
}

const ASTERISK: Target<'static> = Target { form: Form::Asterisk, path: b"*", query: None };

fn absolute_form<'a>(
    bytes: &'a [u8],
    len: usize,
    method: Method<'_>,
    target: &mut Target<'a>,
    host: &mut Host<'a>,
) -> Result<(), Reject> {
    let authority = after_scheme(&bytes[..len]).ok_or(Reject::TargetScheme)?;
    let authority_len = authority.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(authority.len());
    let (authority, rest) = authority.split_at(authority_len);
    *host = Host::parse(authority)?;
    if rest.is_empty() && method == Method::Options {
        // RFC 9112, 3.2.4: OPTIONS for a URI with neither path nor query asks about the server.
        *target = ASTERISK;
        return Ok(());
    }
    path_and_query(&bytes[len - rest.len()..], target)?;
    target.form = Form::Absolute;
    if target.path.is_empty() {
        // RFC 9112, 3.2.1: an empty path is sent as "/".
        target.path = b"/";
    }
    Ok(())
}

fn after_scheme(target: &[u8]) -> Option<&[u8]> {
    let colon = memchr::memchr(b':', target)?;
    let (scheme, rest) = target.split_at(colon);
    let known = syntax::fold_eq(scheme, b"http") || syntax::fold_eq(scheme, b"https");
    rest.strip_prefix(b"://").filter(|_| known)
}

/// `path [ "?" query ]` up to a space; gives the length of both.
#[inline(always)]
fn path_and_query<'a>(bytes: &'a [u8], target: &mut Target<'a>) -> Result<usize, Reject> {
    let path_len = run(bytes, PATH)?;
    let (path, rest) = bytes.split_at(path_len);
    (target.form, target.path, target.query) = (Form::Origin, path, None);
    match rest {
        [b' ', ..] => Ok(path_len),
        [b'?', rest @ ..] => {
            let query_len = run(rest, QUERY)?;
            target.query = Some(&rest[..query_len]);
            match rest.get(query_len) {
                Some(b' ') => Ok(path_len + 1 + query_len),
                other => Err(bad_byte(other)),
            }
        }
        rest => Err(bad_byte(rest.first())),
    }
}

/// As [`syntax::run`], with percent-encoded triplets.
#[inline(always)]
fn run(bytes: &[u8], class: syntax::Class) -> Result<usize, Reject> {
    let mut len = syntax::long_run(bytes, class, Skip::Path);
    while bytes.get(len) == Some(&b'%') {
        match bytes.get(len + 1..len + 3) {
            Some([a, b]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                len += 3 + syntax::long_run(&bytes[len + 3..], class, Skip::Path);
            }
            _ => return Err(Reject::TargetEscape),
        }
    }
    Ok(len)
}

#[cold]
fn bad_byte(byte: Option<&u8>) -> Reject {
    match byte {
        Some(b'#') => Reject::TargetFragment,
        None | Some(b'\r' | b'\n') => Reject::RequestLine,
        Some(_) => Reject::TargetSyntax,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let table: &[(&str, &str, Option<u16>)] = &[
            ("a", "a", None),
            ("example.com:80", "example.com", Some(80)),
            ("example.com:", "example.com", None),
            ("10.8.0.2:65535", "10.8.0.2", Some(65535)),
            ("[::1]", "[::1]", None),
            ("[fd00::1]:8080", "[fd00::1]", Some(8080)),
            ("under_score.x", "under_score.x", None),
        ];
        for (authority, name, port) in table {
            let host = Host::parse(authority.as_bytes()).unwrap();
            assert_eq!((host.name, host.port), (name.as_bytes(), *port), "{authority}");
            assert_eq!(host.authority, authority.as_bytes());
        }
        let bad = ["", ":80", "a:b", "a:-1", "a:65536", "a:80:80", "u@a", "u:p@a", "a b", "a,b", "a/b", "a?b", "a%41"];
        let bad6 = ["[::1", "::1", "[::g]", "[::1]x", "[]", "[1.2.3.4]", "[fe80::1%25eth0]", "[v1.x]", "[::1]:x"];
        for authority in bad.iter().chain(&bad6) {
            assert_eq!(Host::parse(authority.as_bytes()), Err(Reject::HostSyntax), "{authority}");
        }
    }

    #[test]
    fn forms() {
        let ok = |method, line: &'static str| {
            let (mut target, mut host) = (ASTERISK, Host::default());
            let len = parse(line.as_bytes(), method, &mut target, &mut host).unwrap();
            (target, host, len)
        };
        let (target, host, len) = ok(Method::Get, "/a/%7Eb?c=[d]|? HTTP");
        assert_eq!((target.form, target.path, target.query), (Form::Origin, &b"/a/%7Eb"[..], Some(&b"c=[d]|?"[..])));
        assert_eq!((host, len), (Host::default(), 15));
        let (target, host, _) = ok(Method::Get, "HTTP://h:1?q ");
        assert_eq!((target.form, target.path, target.query), (Form::Absolute, &b"/"[..], Some(&b"q"[..])));
        assert_eq!(host.port, Some(1));
        assert_eq!(ok(Method::Get, "https://h ").0.path, b"/");
        assert_eq!(ok(Method::Options, "http://h ").0.form, Form::Asterisk);
        assert_eq!(ok(Method::Options, "http://h/ ").0.form, Form::Absolute);
        assert_eq!(ok(Method::Connect, "h:443 ").0.form, Form::Authority);
        assert_eq!(ok(Method::Get, "//x//../y ").0.path, b"//x//../y");
    }

    #[test]
    fn refused_targets() {
        let table = [
            (Method::Get, "* ", Reject::TargetForm),
            (Method::Connect, "h ", Reject::HostSyntax),
            (Method::Connect, "/ ", Reject::HostSyntax),
            (Method::Get, "h:443 ", Reject::TargetScheme),
            (Method::Get, "ftp://h/ ", Reject::TargetScheme),
            (Method::Get, "http:/h ", Reject::TargetScheme),
            (Method::Get, "http://u@h/ ", Reject::HostSyntax),
            (Method::Get, "http:///x ", Reject::HostSyntax),
            (Method::Get, "http://h/#f ", Reject::TargetFragment),
            (Method::Get, "http://h#f ", Reject::TargetFragment),
            (Method::Get, "/#f ", Reject::TargetFragment),
            (Method::Get, "/%4 ", Reject::TargetEscape),
            (Method::Get, "/?%zz ", Reject::TargetEscape),
            (Method::Get, "/\u{e9} ", Reject::TargetSyntax),
            (Method::Get, "/a\\b ", Reject::TargetSyntax),
            (Method::Get, "/a\tb ", Reject::TargetSyntax),
            (Method::Get, "/a", Reject::RequestLine),
            (Method::Get, " / ", Reject::RequestLine),
        ];
        for (method, line, reject) in table {
            let (mut target, mut host) = (ASTERISK, Host::default());
            assert_eq!(parse(line.as_bytes(), method, &mut target, &mut host), Err(reject), "{line}");
        }
    }
}
