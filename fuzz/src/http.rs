//! Heads, chunked bodies and request targets.
//!
//! Owns what has to hold for any bytes: the same verdict however they are cut, and agreement with httparse on whatever
//! is accepted. Refuses to ask for agreement on what is refused: Penstock refuses more.

use penstock::config::HttpLimits;
use penstock::gateway::routes::path::{self, Segments};
use penstock::http::Reject;
use penstock::http::body::{Decoder, Framing};
use penstock::http::head::{self, FieldTable, RequestHead, Scan};
use penstock::http::target::{Form, Host};

/// Any bytes as a request head.
pub fn head(input: &[u8]) {
    let limits = HttpLimits { request_line: 200, head_size: 1000, header_count: 10, ..HttpLimits::default() };
    let (mut table, mut request) = (FieldTable::default(), RequestHead::default());
    let at_once = head::read(input, &mut Scan::default(), &mut table, &limits, &mut request);
    if let Ok(Some(len)) = at_once {
        assert!(len <= input.len());
        assert!(request.fields.iter().count() == request.fields.len() && request.fields.len() <= 10);
        agrees(input, len, &request);
    }
    let at_once = at_once.map_err(|reject| assert!(reject.status() >= 400));
    let (mut state, mut table) = (Scan::default(), FieldTable::default());
    for end in 0..=input.len() {
        match head::scan(&input[..end], &mut state, &limits) {
            Ok(None) => continue,
            Ok(Some(found)) => {
                assert_eq!(found.end, end);
                let parsed = head::parse(&input[found], &mut table, &limits);
                assert_eq!(parsed.map(|_| Some(end)).map_err(drop), at_once);
            }
            Err(_) => assert_eq!(at_once, Err(())),
        }
        return;
    }
    assert_eq!(at_once, Ok(None));
}

/// What is accepted, httparse reads alike.
fn agrees(input: &[u8], len: usize, request: &RequestHead<'_>) {
    // It knows no HTTP/1.2 to 1.9, which are as 1.1 (RFC 9110, 2.5).
    let mut input = input[..len].to_vec();
    let start = input.iter().position(|byte| !b"\r\n".contains(byte)).expect("a request line");
    let line = start + input[start..].iter().position(|byte| *byte == b'\r').expect("its end");
    if let Some(minor @ b'2'..=b'9') = input.get_mut(line - 1) {
        *minor = b'1';
    }
    let mut headers = [httparse::EMPTY_HEADER; 10];
    let mut other = httparse::Request::new(&mut headers);
    assert_eq!(other.parse(&input), Ok(httparse::Status::Complete(len)));
    assert_eq!(other.method.map(str::as_bytes), Some(request.method.name()));
    let names = other.headers.iter().map(|field| (field.name.as_bytes(), field.value));
    assert!(names.eq(request.fields.iter()), "fields differ");
    if let Form::Origin = request.target.form {
        let path = other.path.expect("a path").as_bytes();
        let end = path.iter().position(|byte| *byte == b'?').unwrap_or(path.len());
        assert_eq!((request.target.path, request.target.query), (&path[..end], path.get(end + 1..)));
    }
}

/// Any bytes as a chunked body; the first one says how long the pieces are.
pub fn chunked(input: &[u8]) {
    let Some((piece, body)) = input.split_first() else { return };
    let at_once = decode(body, usize::MAX);
    assert_eq!(at_once, decode(body, usize::from(*piece).max(1)));
    if let Ok((content, Some(len))) = at_once {
        assert_eq!(other_decode(body), Some((content, len)), "httparse reads another body");
    }
}

/// The content, and how many bytes of input the body took if it is complete.
fn decode(input: &[u8], piece: usize) -> Result<(Vec<u8>, Option<usize>), Reject> {
    let limits = HttpLimits { body_size: 10_000, head_size: 1000, header_count: 10, ..HttpLimits::default() };
    let (mut decoder, mut content, mut at) = (Decoder::new(Framing::Chunked, &limits), Vec::new(), 0);
    while at < input.len() && !decoder.is_done() {
        let end = at.saturating_add(piece).min(input.len());
        let step = decoder.decode(&input[at..end], &limits)?;
        assert!(step.consumed > 0 && step.data.end <= step.consumed);
        content.extend_from_slice(&input[at..end][step.data]);
        at += step.consumed;
    }
    Ok((content, decoder.is_done().then_some(at)))
}

/// The same by httparse's reading of chunk lines and trailers.
fn other_decode(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut content, mut at) = (Vec::new(), 0);
    loop {
        // It refuses more than 15 digits, which may all be zeros (RFC 9112, 7.1).
        let zeros = input[at..].iter().take_while(|byte| **byte == b'0').count();
        let digit = input.get(at + zeros).is_some_and(u8::is_ascii_hexdigit);
        at += if digit { zeros } else { zeros.saturating_sub(1) };
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(&input[at..]) else {
            return None;
        };
        at += line;
        if size == 0 {
            let mut trailers = [httparse::EMPTY_HEADER; 10];
            let Ok(httparse::Status::Complete((len, _))) = httparse::parse_headers(&input[at..], &mut trailers) else {
                return None;
            };
            return Some((content, at + len));
        }
        let end = at + size as usize;
        content.extend_from_slice(input.get(at..end)?);
        at = end + input.get(end..)?.starts_with(b"\r\n").then_some(2)?;
    }
}

/// Any bytes as a request target: accepted ones name a host that reads back and a path with one canonical form.
pub fn target(input: &[u8]) {
    let methods: [&[u8]; 3] = [b"GET", b"OPTIONS", b"CONNECT"];
    let Some((method, text)) = input.split_first() else { return };
    let line = [methods[usize::from(*method) % 3], b" ", text, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    let (mut table, mut head) = (FieldTable::default(), RequestHead::default());
    let limits = HttpLimits::default();
    let read = head::read(&line, &mut Scan::default(), &mut table, &limits, &mut head);
    if read != Ok(Some(line.len())) {
        return;
    }
    let Host { authority, name, port } = head.host;
    assert_eq!(Host::parse(authority), Ok(head.host));
    assert!(authority.starts_with(name) && !name.is_empty());
    if let Some(port) = port {
        let digits = authority.rsplit(|byte| *byte == b':').next().expect("a port's digits");
        assert_eq!(std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()), Some(port));
    }
    canonical_path(head.target.path);
}

fn canonical_path(path: &[u8]) {
    let (inspected, form) = path::inspect(path);
    if let path::Form::Refused(_) = form {
        return;
    }
    let canonical = |path: &[u8]| -> Vec<Vec<u8>> {
        Segments::new(path).map(|segment| path::canonical(segment).collect()).collect()
    };
    let segments = canonical(inspected);
    let joined: Vec<u8> = segments.iter().flat_map(|segment| [b"/", &segment[..]].concat()).collect();
    assert_eq!(canonical(&joined), segments, "the canonical form has another one");
    let (_, again) = path::inspect(&joined);
    assert!(!matches!(again, path::Form::Refused(_)), "the canonical form is refused");
    let last = segments.len() - 1;
    for (at, segment) in segments.iter().enumerate() {
        assert!(!segment.contains(&b'/') && (at == last || !segment.is_empty()));
        assert!(segment.iter().all(|byte| (b'!'..=b'~').contains(byte)));
        assert!(segment != b"." && segment != b"..");
        if form == path::Form::Plain {
            assert!(Segments::new(inspected).nth(at) == Some(&segment[..]), "plain paths are canonical");
        }
    }
}
