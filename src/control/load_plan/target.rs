//! The URL of a run.
//!
//! Owns what may stand in it, and asks the system for the address of a name. Refuses to know sections and flags.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::net::ToSocketAddrs;

use hyper::Uri;
use hyper::http::uri::Scheme;

/// A URL's parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parts {
    /// A name, or an address without brackets.
    pub host: String,
    /// 80 unless given.
    pub port: u16,
    /// The Host field: as written, without the usual port.
    pub authority: String,
    /// Path and query, beginning with `/`.
    pub path: String,
}

/// What is wrong, and what fixes it.
pub type Wrong = (String, String);

const EXAMPLES: &str = "examples: http://10.7.0.2/, http://[fd00:7::2]:8080/index.html?q=1, http://gateway.example/";

/// Takes a URL apart.
pub fn parse(url: &str) -> Result<Parts, Wrong> {
    let wrong = |what: String, fix: &str| Err((what, fix.to_string()));
    if let Some(byte) = url.bytes().find(|byte| !matches!(byte, b'!'..=b'~')) {
        let what = if byte < 0x80 { "space or a control character" } else { "characters outside ASCII" };
        return wrong(
            format!("the URL has {what}"),
            "percent-encode them in the path; write names as punycode (xn--...)",
        );
    }
    if url.contains('#') {
        return wrong("the URL has a fragment, which is never sent".into(), "remove everything from `#` on");
    }
    let Ok(uri) = url.parse::<Uri>() else { return wrong(format!("not a URL: {url:?}"), EXAMPLES) };
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => {}
        Some(scheme) if *scheme == Scheme::HTTPS => {
            let fix = "use http:// against a listener without TLS";
            return wrong("https: TLS is not built into the load generator yet".into(), fix);
        }
        Some(scheme) => return wrong(format!("the scheme {scheme} is not HTTP"), "the URL begins with http://"),
        None => return Err((format!("the URL has no scheme: {url:?}"), format!("write http://{url}"))),
    }
    let Some(authority) = uri.authority().map(|authority| authority.as_str()) else {
        return wrong(format!("the URL has no host: {url:?}"), EXAMPLES);
    };
    if authority.contains('@') {
        return wrong("the URL has a user name".into(), "send it as a header: -H 'Authorization: Basic ...'");
    }
    let host = uri.host().unwrap_or("");
    let port = match authority.get(host.len()..).unwrap_or("") {
        "" | ":" => 80,
        port => match port[1..].parse::<u16>() {
            Ok(number) if number != 0 && !port.contains('+') => number,
            _ => return wrong(format!("not a port: {:?}", &port[1..]), "ports are from 1 to 65535"),
        },
    };
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let is_name = !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let is_host = if bare.len() == host.len() { is_name } else { bare.parse::<Ipv6Addr>().is_ok() };
    if !is_host {
        return wrong(format!("not a host: {host:?}"), EXAMPLES);
    }
    let authority = if port == 80 { host.to_string() } else { format!("{host}:{port}") };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('?') { format!("/{path}") } else { path.to_string() };
    Ok(Parts { host: bare.to_string(), port, authority, path })
}

/// The address of the URL's host, of a family that `usable` accepts if it has one.
pub fn resolve(parts: &Parts, usable: impl Fn(&IpAddr) -> bool) -> Result<SocketAddr, Wrong> {
    if let Ok(address) = parts.host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, parts.port));
    }
    let fix = "write an address in the URL, with -H 'Host: NAME' if the target needs the name, or add the name to \
               /etc/hosts: it is asked once, over the kernel's network, not the DPDK port";
    let failed = |error: &str| (format!("cannot resolve {:?}: {error}", parts.host), fix.to_string());
    let found = (parts.host.as_str(), parts.port).to_socket_addrs().map_err(|error| failed(&error.to_string()))?;
    let found: Vec<SocketAddr> = found.collect();
    let chosen = found.iter().find(|address| usable(&address.ip())).or(found.first());
    chosen.copied().ok_or_else(|| failed("it has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_of_urls() {
        for (url, host, port, authority, path) in [
            ("http://10.7.0.2/", "10.7.0.2", 80, "10.7.0.2", "/"),
            ("http://10.7.0.2", "10.7.0.2", 80, "10.7.0.2", "/"),
            ("http://10.7.0.2:80/a", "10.7.0.2", 80, "10.7.0.2", "/a"),
            ("http://10.7.0.2:8080/a?b=c%20d", "10.7.0.2", 8080, "10.7.0.2:8080", "/a?b=c%20d"),
            ("HTTP://[fd00:7::2]:81/", "fd00:7::2", 81, "[fd00:7::2]:81", "/"),
            ("http://[::1]", "::1", 80, "[::1]", "/"),
            ("http://a-b.example?x", "a-b.example", 80, "a-b.example", "/?x"),
        ] {
            let expected = Parts { host: host.into(), port, authority: authority.into(), path: path.into() };
            assert_eq!(parse(url), Ok(expected), "{url}");
        }
    }

    #[test]
    fn mistakes_in_urls() {
        for (url, what, fix) in [
            ("https://10.7.0.2/", "TLS is not built", "use http://"),
            ("ftp://10.7.0.2/", "ftp is not HTTP", "http://"),
            ("10.7.0.2/", "", "http://"),
            ("10.7.0.2:80", "no scheme", "write http://10.7.0.2:80"),
            ("", "not a URL", "examples"),
            ("http://", "not a URL", "examples"),
            ("http:///a", "not a URL", "examples"),
            ("http://a b/", "space", "percent-encode"),
            ("http://a/\r\nX: y", "control character", "percent-encode"),
            ("http://\u{e9}.example/", "outside ASCII", "punycode"),
            ("http://a/#top", "fragment", "remove"),
            ("http://me:pw@a/", "user name", "Authorization"),
            ("http://a:0/", "not a port", "1 to 65535"),
            ("http://a:99999/", "not a", ""),
            ("http://[fd00::x]/", "not a", "examples"),
            ("http://[10.7.0.1]/", "not a", "examples"),
            ("http://a:+80/", "not a", ""),
            ("http://a%20b/", "not a", "examples"),
        ] {
            let (found, suggestion) = parse(url).unwrap_err();
            assert!(found.contains(what) && suggestion.contains(fix), "{url}: {found}; {suggestion}");
        }
    }

    #[test]
    fn addresses_are_not_looked_up_and_names_of_nowhere_fail() {
        let parts = parse("http://[fd00:7::2]:81/").unwrap();
        assert_eq!(resolve(&parts, |_| false), Ok("[fd00:7::2]:81".parse().unwrap()));
        // RFC 6761, 6.4: `invalid` never exists.
        let (what, fix) = resolve(&parse("http://name.invalid/").unwrap(), |_| true).unwrap_err();
        assert!(what.contains("cannot resolve \"name.invalid\"") && fix.contains("/etc/hosts"), "{what} {fix}");
    }

    proptest! {
        #[test]
        fn no_text_panics_and_nothing_can_end_a_line(text: String, near in "http://[a-z:@\\[\\]0-9.?#/%]{0,20}") {
            for text in [text, near] {
                if let Ok(parts) = parse(&text) {
                    let all = format!("{}{}", parts.authority, parts.path);
                    prop_assert!(all.bytes().all(|byte| matches!(byte, b'!'..=b'~')) && parts.path.starts_with('/'));
                }
            }
        }
    }
}
