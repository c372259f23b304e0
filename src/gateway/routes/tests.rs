//! Routing: precedence, methods, paths that can be read in two ways, and a naive oracle.

use super::path::Refusal;
use super::*;
use crate::config::{Body, DirectResponse, HttpLimits, Listener, PortConfig, TcpConfig, WorkersConfig};
use proptest::prelude::*;

/// A table from lines of `host|* METHOD,METHOD|* path` where a path ending in `*` is a prefix.
fn routes(lines: &[&str]) -> Routes {
    let route = |line: &&str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [host, methods, path] = words[..] else { panic!("{line}") };
        Route {
            host: (host != "*").then(|| host.to_string()),
            path: match path.strip_suffix('*') {
                Some(prefix) => PathMatch::Prefix(prefix.to_string()),
                None => PathMatch::Exact(path.to_string()),
            },
            methods: methods.split(',').filter(|m| *m != "*").map(String::from).collect(),
            respond: DirectResponse { status: 200, headers: Vec::new(), body: Body::Inline(Vec::new()) },
        }
    };
    Routes::new(&Config {
        port: PortConfig::default(),
        workers: WorkersConfig::default(),
        listeners: vec![Listener { address: None, port: 80 }],
        http: HttpLimits::default(),
        tcp: TcpConfig::default(),
        metrics: crate::config::MetricsConfig::default(),
        admin: crate::config::AdminConfig::default(),
        log: crate::config::LogConfig::default(),
        routes: lines.iter().map(route).collect(),
    })
}

fn path_of(routes: &Routes, path: &str) -> Option<usize> {
    match routes.find(b"h", b"GET", path.as_bytes()) {
        Match::Route(index) => Some(index),
        _ => None,
    }
}

#[test]
fn exact_beats_prefix_and_the_longest_prefix_wins_by_segments() {
    let table = routes(&["* * /*", "* * /a*", "* * /a/b/*", "* * /a/b", "* * /a/b/", "* * /"]);
    let cases = [
        ("/", 5),
        ("", 5),
        ("/x", 0),
        ("/ab", 0),
        ("/a", 1),
        ("/a/", 1),
        ("/a/bc", 1),
        ("/a/b", 3),
        ("/a/b/", 4),
        ("/a/b/c", 2),
        ("/a/b?q=/../x", 3),
        ("/?a", 5),
    ];
    for (path, index) in cases {
        assert_eq!(path_of(&table, path), Some(index), "{path}");
    }
    let table = routes(&["* * /a", "* * /b*"]);
    for path in ["/", "/a/", "/a/b", "/A", "/c", "/bb"] {
        assert_eq!(table.find(b"h", b"GET", path.as_bytes()), Match::NotFound, "{path}");
    }
}

#[test]
fn the_hosts_own_routes_come_first_in_any_case() {
    let table = routes(&["* * /*", "b.example * /x", "a.example * /x", "a.example GET /y*", "[fd00::1] * /x"]);
    let cases: [(&str, &str, Match); 9] = [
        ("a.example", "/x", Match::Route(2)),
        ("A.eXample.", "/x", Match::Route(2)),
        ("b.example", "/x", Match::Route(1)),
        ("b.example", "/y", Match::Route(0)),
        ("a.example", "/z", Match::Route(0)),
        ("[FD00::1]", "/x", Match::Route(4)),
        ("c.example", "/x", Match::Route(0)),
        ("", "/x", Match::Route(0)),
        ("a.exampl", "/x", Match::Route(0)),
    ];
    for (host, path, expected) in cases {
        assert_eq!(table.find(host.as_bytes(), b"GET", path.as_bytes()), expected, "{host} {path}");
    }
    // The host's path matched, so the any-host route is not tried for the method.
    assert_eq!(table.find(b"a.example", b"PUT", b"/y"), Match::MethodNotAllowed { allow: "GET, HEAD" });
}

#[test]
fn methods_decide_last() {
    let table = routes(&["* POST,GET /a", "* DELETE /a", "* HEAD /b", "* GET /b", "* * /c", "* * /*", "* PUT /d*"]);
    let cases: [(&str, &str, Match); 9] = [
        ("GET", "/a", Match::Route(0)),
        ("HEAD", "/a", Match::Route(0)),
        ("DELETE", "/a", Match::Route(1)),
        ("PUT", "/a", Match::MethodNotAllowed { allow: "DELETE, GET, HEAD, POST" }),
        ("get", "/a", Match::MethodNotAllowed { allow: "DELETE, GET, HEAD, POST" }),
        ("HEAD", "/b", Match::Route(2)),
        ("GET", "/b", Match::Route(3)),
        ("BREW", "/c", Match::Route(4)),
        ("HEAD", "/d/e", Match::MethodNotAllowed { allow: "PUT" }),
    ];
    for (method, path, expected) in cases {
        assert_eq!(table.find(b"h", method.as_bytes(), path.as_bytes()), expected, "{method} {path}");
    }
}

#[test]
fn paths_that_mean_the_same_are_found_alike() {
    let table = routes(&["* * /admin/x", "* * /caf%C3%A9", "* * /a|b", "* * /*", "* * /.well-known*", "* * /~me"]);
    let cases = [
        ("/%61dmin/x", 0),
        ("/%61%64%6D%69%6e/%78", 0),
        ("//admin///x", 0),
        ("/admin/x/", 3),
        ("/caf%c3%a9", 1),
        ("/café", 1),
        ("/a%7cb", 2),
        ("/.well-known/acme", 4),
        ("/%2ewell-known", 4),
        ("/%7Eme", 5),
        ("/...", 3),
        ("/a%3Fb", 3),
        ("/%2561dmin/x", 3),
    ];
    for (path, index) in cases {
        assert_eq!(path_of(&table, path), Some(index), "{path}");
    }
}

#[test]
fn ambiguous_paths_are_refused() {
    let table = routes(&["* * /*"]);
    let cases = [
        ("/a/../b", Refusal::DotSegment),
        ("/..", Refusal::DotSegment),
        ("/.", Refusal::DotSegment),
        ("/./a", Refusal::DotSegment),
        ("/%2e%2E/a", Refusal::DotSegment),
        ("/.%2e", Refusal::DotSegment),
        ("/a/..;v=1/b", Refusal::DotSegment),
        ("/a%2fb", Refusal::EncodedCharacter),
        ("/a%5Cb", Refusal::EncodedCharacter),
        ("/a%00", Refusal::EncodedCharacter),
        ("/a%0d%0aB:", Refusal::EncodedCharacter),
        ("/a\\b", Refusal::Character),
        ("/a b", Refusal::Character),
        ("/a#b", Refusal::Character),
        ("/%", Refusal::Triplet),
        ("/%4", Refusal::Triplet),
        ("/%4/a", Refusal::Triplet),
        ("/%g1", Refusal::Triplet),
        ("/%+1", Refusal::Triplet),
        ("*", Refusal::Relative),
        ("a/b", Refusal::Relative),
    ];
    for (path, refusal) in cases {
        assert_eq!(path::inspect(path.as_bytes()).1, Form::Refused(refusal), "{path}");
        assert_eq!(table.find(b"h", b"GET", path.as_bytes()), Match::BadPath, "{path}");
    }
}

/// A route's index, or -1 for a method that is not allowed, -2 for nothing found.
fn index(found: Match) -> i64 {
    match found {
        Match::Route(index) => index as i64,
        Match::MethodNotAllowed { .. } => -1,
        Match::NotFound => -2,
        Match::BadPath => -3,
    }
}

/// The rules, applied to every line in turn: no tree, no search.
fn oracle(lines: &[&str], host: &str, method: &str, path: &str) -> i64 {
    // Repeated slashes are one.
    let merged = |path: &str| (0..4).fold(path.to_string(), |path, _| path.replace("//", "/"));
    let path = merged(path);
    let rank = |line: &str| -> Option<(bool, bool, usize)> {
        let words: Vec<&str> = line.split(' ').collect();
        let host_matches = words[0] == "*" || words[0] == host;
        let (pattern, exact) = match words[2].strip_suffix('*') {
            Some(prefix) => (merged(prefix), false),
            None => (merged(words[2]), true),
        };
        let prefix = pattern.trim_end_matches('/');
        let below = path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let matches = if exact { pattern == path } else { below };
        (host_matches && matches).then_some((words[0] != "*", exact, if exact { 0 } else { prefix.len() }))
    };
    let Some(best) = lines.iter().filter_map(|line| rank(line)).max() else { return -2 };
    let methods = |line: &str| line.split(' ').nth(1).unwrap_or("").to_string();
    let with = |wanted: &str| {
        let position = lines
            .iter()
            .position(|line| rank(line) == Some(best) && methods(line).split(',').any(|method| method == wanted));
        position.map(|index| index as i64)
    };
    with(method).or_else(|| with("GET").filter(|_| method == "HEAD")).or_else(|| with("*")).unwrap_or(-1)
}

proptest! {
    #[test]
    fn any_bytes_are_answered(host: Vec<u8>, method: Vec<u8>, path: Vec<u8>) {
        let table = routes(&["* * /*", "a GET /a*", "* PUT /a/b"]);
        let _ = table.find(&host, &method, &path);
        let slash: Vec<u8> = [b"/".as_slice(), &path].concat();
        let found = table.find(&host, &method, &slash);
        prop_assert!(matches!(found, Match::Route(0) | Match::BadPath), "{:?}", found);
    }

    #[test]
    fn find_agrees_with_the_rules_read_one_by_one(
        lines in proptest::collection::vec("[*ab] (\\*|GET|PUT|HEAD|GET,PUT) (/[ab]?){1,3}\\*?", 0..8),
        host in "[abc]", method in "GET|PUT|HEAD", path in "(/[ab]?){1,4}",
    ) {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        prop_assert_eq!(index(routes(&lines).find(host.as_bytes(), method.as_bytes(), path.as_bytes())),
            oracle(&lines, &host, &method, &path));
    }

    #[test]
    fn encoding_never_changes_the_route(path in "(/[ab]{1,2}){1,4}", encoded in proptest::collection::vec(any::<bool>(), 16)) {
        let table = routes(&["* * /*", "* * /a*", "* * /a/b", "* * /ab/a*", "* * /b/b/b"]);
        let mut written = String::new();
        for (at, byte) in path.bytes().enumerate() {
            match byte {
                b'/' => written.push_str(if encoded[at % 16] { "//" } else { "/" }),
                _ if encoded[at % 16] => written.push_str(&format!("%{byte:02x}")),
                _ => written.push(byte as char),
            }
        }
        prop_assert_eq!(path_of(&table, &path), path_of(&table, &written));
    }

    #[test]
    fn canonical_is_a_fixed_point(segment in "[ -~é]{0,12}") {
        let path = format!("/{segment}");
        if !matches!(path::inspect(path.as_bytes()).1, Form::Refused(_)) {
            let once: Vec<u8> = path::canonical(segment.as_bytes()).collect();
            let twice: Vec<u8> = path::canonical(&once).collect();
            prop_assert_eq!(&once, &twice);
        }
    }
}
