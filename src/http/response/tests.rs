//! Responses: templates, dates, error answers.

use super::*;
use std::sync::Arc;

const DATE: &[u8; DATE_LEN] = b"Sun, 06 Nov 1994 08:49:37 GMT";

fn prepared(status: u16, body: &[u8]) -> Prepared {
    Prepared::new(status, &[("Content-Type".into(), "text/plain".into())], Arc::from(body)).unwrap()
}

fn text(template: Template<'_>) -> String {
    let mut out = vec![0; template.len()];
    assert_eq!(template.write(DATE, &mut out), Some(out.len()));
    String::from_utf8(out).unwrap()
}

#[test]
fn the_date_is_an_imf_fixdate_and_changes_with_the_second() {
    let mut dates = DateCache::default();
    let table = [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
    ];
    for (unix_s, expected) in table {
        assert_eq!(dates.at(unix_s), expected.as_bytes(), "{unix_s}");
    }
}

#[test]
fn a_prepared_response_is_a_whole_message() {
    let hello = prepared(200, b"hello");
    let head = |connection: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/plain\r\n\
             Content-Length: 5\r\n{connection}\r\n"
        )
    };
    let table = [
        (Connection::Persist, ""),
        (Connection::KeepAlive, "Connection: keep-alive\r\n"),
        (Connection::Close, "Connection: close\r\n"),
    ];
    for (connection, field) in table {
        assert_eq!(text(hello.head(connection)), head(field));
        assert_eq!(text(hello.small(connection).unwrap()), head(field) + "hello");
    }
    assert_eq!((hello.status(), &hello.body()[..]), (200, &b"hello"[..]));
}

#[test]
fn a_large_body_is_sent_by_itself() {
    let large = prepared(200, &[b'x'; SMALL_MAX]);
    assert!(large.small(Connection::Persist).is_none());
    assert!(text(large.head(Connection::Persist)).contains("\r\nContent-Length: 1024\r\n"));
    let fits = SMALL_MAX - prepared(200, &[b'x'; 800]).head(Connection::Close).len();
    assert!(prepared(200, &vec![b'x'; fits]).small(Connection::Close).is_some());
    assert!(prepared(200, &vec![b'x'; fits + 1]).small(Connection::Close).is_none());
}

#[test]
fn statuses_without_content_have_none() {
    for (status, length) in [(204, None), (304, None), (205, Some("0")), (404, Some("5"))] {
        let message = text(prepared(status, b"hello").small(Connection::Persist).unwrap());
        let found = message.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        assert_eq!(found, length, "{status}");
        assert_eq!(message.ends_with("\r\n\r\n"), status != 404, "{status}");
    }
}

#[test]
fn a_template_can_be_copied_in_pieces() {
    let hello = prepared(200, b"hello");
    let template = hello.small(Connection::Close).unwrap();
    let whole = text(template);
    for cut in 0..=template.len() {
        let (mut first, mut second) = (vec![0; cut], vec![0; template.len()]);
        assert_eq!(template.write_from(0, DATE, &mut first), cut);
        let rest = template.write_from(cut, DATE, &mut second);
        assert_eq!([&first[..], &second[..rest]].concat(), whole.as_bytes(), "{cut}");
    }
    assert_eq!(template.write_from(usize::MAX, DATE, &mut [0; 4]), 0);
    assert_eq!(template.write(DATE, &mut vec![0; template.len() - 1]), None);
}

#[test]
fn fields_that_cannot_be_sent_are_refused() {
    let try_field = |name: &str, value: &str| Prepared::new(200, &[(name.into(), value.into())], Arc::from([])).err();
    assert_eq!(try_field("X Y", "z"), Some(InvalidField::Name("X Y".into())));
    assert_eq!(try_field("", "z"), Some(InvalidField::Name(String::new())));
    assert_eq!(try_field("X", "a\r\nY: b"), Some(InvalidField::Value("X".into())));
    assert_eq!(try_field("content-length", "1"), Some(InvalidField::Ours("content-length".into())));
    assert_eq!(try_field("Date", "now"), Some(InvalidField::Ours("Date".into())));
    assert_eq!(try_field("X", ""), None);
}

#[test]
fn every_refusal_explains_itself_and_ends_the_connection() {
    for reject in Reject::ALL {
        let mut out = [0; ERROR_MAX];
        let len = error_response(*reject, DATE, &mut out).expect("ERROR_MAX suffices");
        let message = std::str::from_utf8(&out[..len]).unwrap();
        let (head, body) = message.split_once("\r\n\r\n").unwrap();
        let line = format!("{} {}", reject.status(), reason_phrase(reject.status()));
        assert_eq!(head.lines().next(), Some(format!("HTTP/1.1 {line}").as_str()));
        assert!(head.contains("\r\nConnection: close") && head.contains("\r\nDate: Sun,"), "{head}");
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{message}");
        assert_eq!(body, format!("{line}: {}\n", reject.reason()));
        assert_eq!(error_response(*reject, DATE, &mut out[..len - 1]), None);
        assert_eq!(error_response(*reject, DATE, &mut []), None);
    }
}

#[test]
fn heads_are_written_as_far_as_they_fit() {
    let mut out = [0; 100];
    let len = HeadWriter::new(&mut out, 299).field(b"A", b"b").content_length(u64::MAX).finish().unwrap();
    assert_eq!(&out[..len], b"HTTP/1.1 299 \r\nA: b\r\nContent-Length: 18446744073709551615\r\n\r\n");
    let mut short = vec![0; len - 1];
    assert_eq!(HeadWriter::new(&mut short, 299).field(b"A", b"b").content_length(u64::MAX).finish(), None);
}

#[test]
fn the_connection_field_suits_the_version() {
    use crate::http::head::Version::{Http10, Http11};
    assert_eq!(Connection::new(Http11, true), Connection::Persist);
    assert_eq!(Connection::new(Http10, true), Connection::KeepAlive);
    assert_eq!(Connection::new(Http11, false), Connection::Close);
}
