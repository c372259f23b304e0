//! Heads: what is accepted means what it says; arbitrary bytes never panic.

use super::*;
use proptest::prelude::*;

fn limits() -> HttpLimits {
    HttpLimits { request_line: 100, head_size: 400, header_count: 5, ..HttpLimits::default() }
}

/// What one head says, in a form that outlives the table.
#[derive(Clone, PartialEq, Debug)]
struct Said {
    method: Vec<u8>,
    path: Vec<u8>,
    query: Option<Vec<u8>>,
    host: Vec<u8>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: Framing,
    keep_alive: bool,
    expect_continue: bool,
}

fn said(head: RequestHead<'_>) -> Said {
    Said {
        method: head.method.name().to_vec(),
        path: head.target.path.to_vec(),
        query: head.target.query.map(<[u8]>::to_vec),
        host: head.host.authority.to_vec(),
        fields: head.fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
        body: head.body,
        keep_alive: head.keep_alive,
        expect_continue: head.expect_continue,
    }
}

fn whole(input: &[u8], limits: &HttpLimits) -> Result<Option<(Said, usize)>, Reject> {
    let (mut table, mut head) = (FieldTable::default(), RequestHead::default());
    let len = read(input, &mut Scan::default(), &mut table, limits, &mut head)?;
    Ok(len.map(|len| (said(head), len)))
}

/// As [`whole`], with `input` arriving up to each of `cuts` in turn.
fn in_pieces(
    input: &[u8],
    cuts: impl Iterator<Item = usize>,
    limits: &HttpLimits,
) -> Result<Option<(Said, usize)>, Reject> {
    let (mut state, mut table) = (Scan::default(), FieldTable::default());
    for cut in cuts.chain([input.len()]) {
        if let Some(found) = scan(&input[..cut], &mut state, limits)? {
            let end = found.end;
            return Ok(Some((said(parse(&input[found], &mut table, limits)?), end)));
        }
    }
    Ok(None)
}

fn parse_ok(input: &str) -> Said {
    whole(input.as_bytes(), &limits()).unwrap().unwrap().0
}

fn reject(input: &str) -> Reject {
    whole(input.as_bytes(), &limits()).unwrap_err()
}

#[test]
fn a_head_says_what_was_sent() {
    let input = "POST /a/b?c=d HTTP/1.1\r\nHost: h:1\r\nContent-Length: 7\r\nX-Y:\t z \r\nExpect: 100-continue\r\n\r\n";
    let (mut state, mut table, mut head) = (Scan::default(), FieldTable::default(), RequestHead::default());
    let len = read(input.as_bytes(), &mut state, &mut table, &limits(), &mut head).unwrap().unwrap();
    assert_eq!((head.method, head.version, len), (Method::Post, Version::Http11, input.len()));
    assert_eq!((head.target.path, head.target.query), (&b"/a/b"[..], Some(&b"c=d"[..])));
    assert_eq!((head.host.name, head.host.port), (&b"h"[..], Some(1)));
    assert_eq!((head.body, head.keep_alive, head.expect_continue), (Framing::Length(7), true, true));
    assert_eq!((head.fields.len(), head.fields.get("x-y"), head.fields.get("x")), (4, Some(&b"z"[..]), None));
}

#[test]
fn methods_keep_their_names() {
    for name in ["GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "PATCH", "OPTIONS", "get", "BREW", "GETS", "*"] {
        let said = parse_ok(&format!("{name} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(said.method, name.as_bytes());
    }
    assert_eq!(Method::new(b"GET"), Method::Get);
    assert_eq!(Method::new(b"get"), Method::Other(b"get"));
}

#[test]
fn the_target_names_the_host_before_the_field_does() {
    let table = [
        ("GET / HTTP/1.1\r\nHost: field\r\n\r\n", "field"),
        ("GET http://target:8/ HTTP/1.1\r\nHost: field\r\n\r\n", "target:8"),
        ("CONNECT target:443 HTTP/1.1\r\nHost: field\r\n\r\n", "target:443"),
        ("GET / HTTP/1.0\r\n\r\n", ""),
        ("GET http://target/ HTTP/1.0\r\n\r\n", "target"),
    ];
    for (input, host) in table {
        assert_eq!(parse_ok(input).host, host.as_bytes(), "{input}");
    }
}

#[test]
fn persistence_follows_version_and_options() {
    let table = [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: Close\r\n", false),
        ("1.1", "connection: x, close\r\n", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Connection: upgrade\r\n", true),
        ("1.9", "", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: x,keep-alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ];
    for (version, fields, keep_alive) in table {
        let said = parse_ok(&format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!(said.keep_alive, keep_alive, "{version} {fields}");
    }
}

#[test]
fn framing_is_told_and_continue_only_asked_with_a_body() {
    let table = [
        ("", Framing::None, false),
        ("Content-Length: 0\r\nExpect: 100-continue\r\n", Framing::None, false),
        ("Content-Length: 9999999999999999999\r\n", Framing::Length(9_999_999_999_999_999_999), false),
        ("Transfer-Encoding: \t CHUNKED \r\nExpect: 100-CONTINUE\r\n", Framing::Chunked, true),
    ];
    for (fields, body, expect_continue) in table {
        let said = parse_ok(&format!("PUT / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!((said.body, said.expect_continue), (body, expect_continue), "{fields}");
    }
    assert_eq!(Framing::Length(6).check(5), Err(Reject::BodyTooLarge));
    assert_eq!(Framing::Length(5).check(5), Ok(()));
}

#[test]
fn limits_are_exact() {
    let line = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(len - 14));
    assert!(whole(line(100).as_bytes(), &limits()).unwrap().is_some());
    assert_eq!(reject(&line(101)), Reject::RequestLineTooLong);
    let head = |len: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(len - 32));
    assert_eq!(whole(head(400).as_bytes(), &limits()).unwrap().unwrap().1, 400);
    assert_eq!(reject(&head(401)), Reject::HeadTooLarge);
    let count = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(n - 1));
    assert_eq!(parse_ok(&count(5)).fields.len(), 5);
    assert_eq!(reject(&count(6)), Reject::TooManyFields);
}

#[test]
fn what_cannot_become_a_request_is_refused_without_its_end() {
    let table = [
        ("\x16\x03\x01", Reject::Tls),
        ("\0", Reject::RequestLine),
        ("\r\n\r\n\r\n", Reject::EmptyLines),
        ("\rG", Reject::BareCr),
        ("GET / HTTP/1.1\n", Reject::BareLf),
        ("GET / HTTP/1.1\r\nHost: a\rb", Reject::BareCr),
        ("GET / HTTP/1.1\r\nHost: a\x01", Reject::ControlByte),
        ("GET / HTTP/3.0\r\n", Reject::Version),
        ("SSH-2.0-x\r\n", Reject::RequestLine),
        ("HELO mail.example.com\r\n", Reject::RequestLine),
        ("GET mail.example.com HTTP/1.1\r\n", Reject::TargetScheme),
    ];
    for (input, expected) in table {
        assert_eq!(reject(input), expected, "{input:?}");
    }
    assert_eq!(reject(&"x".repeat(101)), Reject::RequestLineTooLong);
    assert_eq!(reject(&format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(400))), Reject::HeadTooLarge);
    for partial in
        ["", "\r", "\r\n", "\r\n\r\n", "G", "GET / HTTP/1.1", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\nHost: a\r\n\r"]
    {
        assert_eq!(whole(partial.as_bytes(), &limits()), Ok(None), "{partial:?}");
    }
}

#[test]
fn pipelined_heads_are_found_one_by_one() {
    let one = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let two = "\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    let input = format!("{one}{two}GET /3");
    let (said, len) = whole(input.as_bytes(), &limits()).unwrap().unwrap();
    assert_eq!((said.path, len), (b"/1".to_vec(), one.len()));
    let rest = &input.as_bytes()[len..];
    let (said, len) = whole(rest, &limits()).unwrap().unwrap();
    assert_eq!((said.path, len), (b"/2".to_vec(), two.len()));
    assert_eq!(whole(&rest[len..], &limits()), Ok(None));
}

#[test]
fn parse_takes_exactly_one_head() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut table = FieldTable::default();
    assert!(parse(head, &mut table, &limits()).is_ok());
    for len in 0..head.len() {
        assert!(parse(&head[..len], &mut table, &limits()).is_err(), "{len}");
    }
    assert_eq!(parse(&[head, &b"x"[..]].concat(), &mut table, &limits()).unwrap_err(), Reject::HeadTruncated);
}

/// Bytes that are likely to get far: pieces of requests, and noise between them.
fn almost_request() -> impl Strategy<Value = Vec<u8>> {
    let pieces: [&[u8]; 30] = [
        b"GET ",
        b"POST ",
        b"OPTIONS ",
        b"CONNECT ",
        b"/",
        b"*",
        b"http://a",
        b"/a%20b",
        b"?q",
        b"a:80",
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\r\n",
        b" HTTP/1.1\n",
        b"Host: a\r\n",
        b"Host: a\n",
        b"Content-Length: 3\r\n",
        b"Connection: close\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"X: y\r\n",
        b"X:\r\n",
        b": ",
        b"X :",
        b" y\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b"\t",
        b"\0",
    ];
    let piece = prop_oneof![
        6 => prop::sample::select(pieces.to_vec()).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    let start = prop_oneof![Just(&b""[..]), Just(&b"GET / HTTP/1.1\r\nHost: a\r\n"[..]), Just(&b"\r\n"[..])];
    (start, prop::collection::vec(piece, 0..12)).prop_map(|(start, pieces)| [start.to_vec(), pieces.concat()].concat())
}

fn token() -> impl Strategy<Value = String> {
    "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_bytes_make_it_panic(input in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = whole(&input, &limits());
        let _ = parse(&input, &mut FieldTable::default(), &limits());
    }

    #[test]
    fn cutting_changes_nothing(input in almost_request(), cuts in prop::collection::vec(0usize..200, 0..5)) {
        let at_once = whole(&input, &limits());
        let mut cuts: Vec<_> = cuts.into_iter().filter(|cut| *cut <= input.len()).collect();
        cuts.sort_unstable();
        for pieces in [in_pieces(&input, cuts.into_iter(), &limits()), in_pieces(&input, 0..input.len(), &limits())] {
            // Which of several violations is named may depend on what has arrived; that there is one does not.
            prop_assert_eq!(at_once.clone().map_err(drop), pieces.map_err(drop));
        }
    }

    #[test]
    fn another_parser_agrees_on_what_is_accepted(input in almost_request()) {
        if let Ok(Some((said, len))) = whole(&input, &limits()) {
            let mut headers = [httparse::EMPTY_HEADER; 8];
            let mut other = httparse::Request::new(&mut headers);
            prop_assert_eq!(other.parse(&input), Ok(httparse::Status::Complete(len)));
            prop_assert_eq!(other.method.unwrap().as_bytes(), &said.method[..]);
            let fields: Vec<_> = other.headers.iter().map(|h| (h.name.as_bytes().to_vec(), h.value.to_vec())).collect();
            prop_assert_eq!(fields, said.fields);
        }
    }

    #[test]
    fn a_valid_request_says_what_it_was_made_of(
        method in token(),
        path in "(/([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2}){0,6}){1,4}",
        query in prop::option::of("([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2}){0,12}"),
        fields in prop::collection::vec((token(), "([!-~\u{80}-\u{ff}]([\t -~]{0,40}[!-~])?)?"), 0..4),
        padding in "[ \t]{0,3}",
    ) {
        prop_assume!(method != "CONNECT");
        let known = ["host", "expect", "connection", "content-length", "transfer-encoding"];
        prop_assume!(fields.iter().all(|(name, _)| !known.contains(&&*name.to_ascii_lowercase())));
        let mut input = format!("{method} {path}").into_bytes();
        query.iter().for_each(|query| input.extend(format!("?{query}").bytes()));
        input.extend(b" HTTP/1.1\r\nHost: h\r\n");
        for (name, value) in &fields {
            input.extend(format!("{name}:{padding}{value}{padding}\r\n").bytes());
        }
        input.extend(b"\r\n");
        let roomy = HttpLimits::default();
        let (said, len) = whole(&input, &roomy).unwrap().unwrap();
        prop_assert_eq!(len, input.len());
        prop_assert_eq!(said.method, method.into_bytes());
        prop_assert_eq!((said.path, said.query), (path.into_bytes(), query.map(String::into_bytes)));
        let mut expected = vec![(b"Host".to_vec(), b"h".to_vec())];
        expected.extend(fields.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())));
        prop_assert_eq!(said.fields, expected);
    }
}
