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
