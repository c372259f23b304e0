//! Sessions as a client sees them: a whole worker with the gateway on it, hand-made frames, virtual time.
//!
//! Owns the behavior of one connection: limits and their answers, deadlines, order, closing. What a head may look like is
//! `http`'s, and tests/data/requests.jsonl's.

#[path = "sessions/peer.rs"]
mod peer;
#[path = "sessions/same.rs"]
mod same;

use peer::{Bed, Peer};
use penstock::config::{
    Body, Cidr, Config, DirectResponse, HttpLimits, Listener, PathMatch, PortConfig, Route, TcpConfig, WorkersConfig,
};
use penstock::telemetry::Counter;
use penstock::worker::Remaining;
use std::sync::Arc;
use std::time::Duration;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: 10.7.0.2\r\n\r\n";
const LARGE: usize = 1_000_003;

fn route(path: &str, methods: &[&str], status: u16, body: Body) -> Route {
    let methods = methods.iter().map(|method| method.to_string()).collect();
    Route {
        host: None,
        path: PathMatch::Prefix(path.into()),
        methods,
        respond: DirectResponse { status, headers: vec![], body },
    }
}

fn large() -> Arc<[u8]> {
    (0..LARGE as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn config() -> Config {
    let inline = |text: &str| Body::Inline(text.as_bytes().to_vec());
    let file = Body::File { path: "large".into(), content: large() };
    let s = Duration::from_secs;
    Config {
        port: PortConfig {
            addresses: vec![Cidr { address: [10, 7, 0, 2].into(), prefix_len: 24 }],
            ..PortConfig::default()
        },
        workers: WorkersConfig { connections: 64, ..WorkersConfig::default() },
        listeners: vec![Listener { address: None, port: 80 }],
        http: HttpLimits {
            body_size: 10_000,
            head_timeout: s(3),
            body_timeout: s(4),
            idle_timeout: s(10),
            write_timeout: s(5),
            ..HttpLimits::default()
        },
        tcp: TcpConfig::default(),
        metrics: penstock::config::MetricsConfig::default(),
        admin: penstock::config::AdminConfig::default(),
        log: penstock::config::LogConfig::default(),
        routes: vec![
            route("/", &[], 200, inline("hello\n")),
            route("/kilobyte", &[], 200, inline(&"k".repeat(1000))),
            route("/gone", &[], 410, inline("gone\n")),
            route("/large", &[], 200, file),
        ],
    }
}

fn bed() -> Bed {
    Bed::new(config())
}

fn bed_with(change: impl FnOnce(&mut Config)) -> Bed {
    let mut config = config();
    change(&mut config);
    Bed::new(config)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A response taken apart.
#[derive(Clone, PartialEq, Debug)]
struct Answer {
    status: u16,
    closes: bool,
    body: Vec<u8>,
}

/// The answers in `bytes`, which must end with one of them; `head_only`: to HEAD.
fn answers_to(mut bytes: &[u8], head_only: bool) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head") + 4;
        let head = String::from_utf8(bytes[..end].to_vec()).expect("text");
        let status = head.strip_prefix("HTTP/1.1 ").expect(&head)[..3].parse().unwrap();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let len = field("Content-Length: ").map_or(0, |len| len.parse().unwrap());
        let len = if head_only { 0 } else { len };
        let body = bytes[end..end + len].to_vec();
        answers.push(Answer { status, closes: field("Connection: ") == Some("close"), body });
        bytes = &bytes[end + len..];
    }
    answers
}

fn answers(bytes: &[u8]) -> Vec<Answer> {
    answers_to(bytes, false)
}

fn statuses(bytes: &[u8]) -> Vec<u16> {
    answers(bytes).iter().map(|answer| answer.status).collect()
}

/// One answer of this status that announces the end, and the end.
#[track_caller]
fn assert_refused(bed: &mut Bed, peer: Peer, status: u16) {
    let bytes = bed.take(peer);
    let found = answers(&bytes);
    assert_eq!(found.len(), 1, "{}", String::from_utf8_lossy(&bytes));
    assert_eq!((found[0].status, found[0].closes), (status, true));
    assert!(bed.is_finished(peer) && !bed.is_reset(peer));
    // What comes later is read and ignored.
    bed.send(peer, &GET.repeat(50));
    assert_eq!((bed.take(peer), bed.unsent(peer), bed.is_reset(peer)), (vec![], 0, false));
    bed.finish(peer);
    assert_eq!(bed.connections(), 0);
}

fn head(line: &str, fields: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

#[test]
fn each_limit_has_its_answer() {
    let post = |fields: &str, body: &str| [head("POST /", fields), body.as_bytes().to_vec()].concat();
    let table: Vec<(u16, Vec<u8>)> = vec![
        (400, b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n".to_vec()),
        (413, post("Content-Length: 10001\r\n", "")),
        (413, post("Content-Length: 10001\r\nExpect: 100-continue\r\n", "")),
        (413, post("Transfer-Encoding: chunked\r\n", "2711\r\n")),
        (400, post("Transfer-Encoding: chunked\r\n", "5\r\nhelloX")),
        (414, head(&format!("GET /{}", "a".repeat(9_000)), "")),
        (431, head("GET /", &format!("X: {}\r\n", "x".repeat(33_000)))),
        (431, head("GET /", &"X: y\r\n".repeat(100))),
        (431, post("Transfer-Encoding: chunked\r\n", &format!("0\r\n{}", "X: y\r\n".repeat(101)))),
        (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n".to_vec()),
        (417, post("Content-Length: 1\r\nExpect: tea\r\n", "")),
        (501, post("Transfer-Encoding: gzip, chunked\r\n", "")),
    ];
    for (status, request) in table {
        for before in [0, 1, 12] {
            let mut bed = bed();
            let peer = bed.connect();
            for _ in 0..before {
                assert_eq!(statuses(&bed.ask(peer, GET)), [200]);
            }
            bed.send(peer, &request);
            assert_refused(&mut bed, peer, status);
        }
    }
}

#[test]
fn a_head_has_its_time_from_the_connections_start_or_its_first_byte() {
    // The first byte does not start the first head's time anew.
    let mut bed = bed();
    let peer = bed.connect();
    bed.wait(ms(2_000));
    bed.send(peer, b"GET / HT");
    bed.wait(ms(900));
    assert_eq!(bed.take(peer), b"");
    bed.wait(ms(200));
    assert_refused(&mut bed, peer, 408);
    assert_eq!(bed.count(Counter::HttpHeadTimeout), 1);

    // A later head's time starts with its first byte, and further bytes don't move it.
    let peer = bed.connect();
    assert_eq!(statuses(&bed.ask(peer, GET)), [200]);
    bed.wait(ms(5_000));
    for byte in b"GET / " {
        bed.send(peer, &[*byte]);
        bed.wait(ms(480));
        assert!(!bed.is_finished(peer));
    }
    bed.wait(ms(200));
    assert_refused(&mut bed, peer, 408);

    // Nor does a large head's move to its buffer.
    let peer = bed.connect();
    bed.send(peer, &head("GET /", &format!("X: {}\r\n", "x".repeat(9_000)))[..8_000]);
    bed.wait(ms(2_900));
    assert!(!bed.is_finished(peer));
    bed.wait(ms(200));
    assert_refused(&mut bed, peer, 408);
}

#[test]
fn content_has_time_while_it_comes() {
    let mut bed = bed();
    let peer = bed.connect();
    bed.send(peer, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..9 {
        bed.wait(ms(3_900));
        bed.send(peer, b"x");
        assert_eq!(bed.take(peer), b"");
    }
    assert_eq!(
        statuses(&{
            bed.send(peer, b"x");
            bed.take(peer)
        }),
        [200]
    );
    // On the same connection, the next content stops.
    bed.send(peer, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
    bed.wait(ms(3_900));
    assert_eq!(bed.take(peer), b"");
    bed.wait(ms(200));
    assert_refused(&mut bed, peer, 408);
    assert_eq!(bed.count(Counter::HttpBodyTimeout), 1);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let mut bed = bed();
    let peer = bed.connect();
    for _ in 0..3 {
        assert_eq!(statuses(&bed.ask(peer, GET)), [200]);
        bed.wait(ms(9_900));
        assert!(!bed.is_finished(peer));
    }
    bed.wait(ms(200));
    assert_eq!((bed.is_finished(peer), bed.take(peer)), (true, vec![]));
    assert_eq!(bed.count(Counter::HttpIdleClosed), 1);
}

#[test]
fn a_request_that_comes_as_the_idle_time_ends_is_answered() {
    for line in ["GET /", "GET /large"] {
        let mut bed = bed();
        let peer = bed.connect();
        assert_eq!(statuses(&bed.ask(peer, GET)), [200]);
        bed.send_after(peer, ms(10_010), &head(line, ""));
        bed.wait(ms(1_000));
        assert_eq!((statuses(&bed.take(peer)), bed.is_reset(peer)), (vec![200], false), "{line}");
        assert_eq!(bed.count(Counter::HttpWriteTimeout), 0);
    }
}

#[test]
fn a_client_that_does_not_read_is_reset_unless_it_goes_on() {
    let mut bed = bed();
    let peer = bed.connect();
    bed.take_only(peer, 1_000);
    bed.send(peer, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    for _ in 0..5 {
        bed.wait(ms(4_500));
        assert!(!bed.is_reset(peer), "it made progress");
        bed.take_only(peer, 2_000);
    }
    bed.wait(ms(4_900));
    assert!(!bed.is_reset(peer));
    bed.wait(ms(1_200));
    assert!(bed.is_reset(peer));
    assert_eq!((bed.count(Counter::HttpWriteTimeout), bed.connections()), (1, 0));
}

#[test]
fn a_refusal_without_room_has_the_time_of_writing() {
    // Pipelined heads fill the first congestion window, 5,360 bytes for a peer that offers no segment size; then the content
    // of the last request stops coming.
    let mut bed = bed();
    let peer = bed.connect();
    bed.take_only(peer, 0);
    let before = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(63);
    bed.send(peer, &[&before[..], b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nh"].concat());
    bed.wait(ms(4_500));
    assert!(!bed.is_reset(peer), "4 s for the content, then 5 s for the client to read");
    assert_eq!(bed.count(Counter::HttpBodyTimeout), 0, "there is no room for the answer");
    bed.wait(ms(4_000));
    bed.take_all(peer);
    bed.wait(ms(1_500));
    let found = statuses(&bed.take(peer));
    assert_eq!((found.len(), found.last()), (64, Some(&408)), "{found:?}");
}

#[test]
fn the_last_request_of_a_connection_says_so() {
    let mut bed = bed_with(|config| config.http.requests_per_connection = 3);
    let peer = bed.connect();
    bed.send(peer, &GET.repeat(5));
    let found = answers(&bed.take(peer));
    assert_eq!(found.iter().map(|answer| answer.closes).collect::<Vec<_>>(), [false, false, true]);
    assert!(bed.is_finished(peer) && !bed.is_reset(peer));
    assert_eq!(bed.count(Counter::HttpRequestLimit), 1);
    bed.finish(peer);
    assert_eq!(bed.connections(), 0);
}

#[test]
fn what_follows_connection_close_is_ignored() {
    for after in [GET, b"\x16\x03\x01garbage", b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"] {
        let mut bed = bed();
        let peer = bed.connect();
        bed.send(peer, &[b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", after].concat());
        let found = answers(&bed.take(peer));
        assert_eq!(found.len(), 1);
        assert!(found[0].status == 200 && found[0].closes && bed.is_finished(peer) && !bed.is_reset(peer));
        assert_eq!(bed.count(Counter::HttpRequests), 1);
    }
}

#[test]
fn pipelined_answers_come_in_order_though_the_ring_is_full() {
    let mut bed = bed();
    let peer = bed.connect();
    bed.take_only(peer, 700);
    let requests: Vec<u8> = (0..200)
        .flat_map(|i| head(if i % 3 == 0 { "GET /kilobyte" } else { "GET /gone" }, "X-Same: of some length\r\n"))
        .collect();
    bed.send(peer, &requests);
    assert!(bed.unsent(peer) > 0, "the gateway stops reading while its answers are not read");
    let mut received = Vec::new();
    for room in (1..5_000).cycle().step_by(617).take(40) {
        bed.take_only(peer, room);
        received.extend(bed.take(peer));
    }
    bed.take_all(peer);
    bed.wait(ms(1_500));
    received.extend(bed.take(peer));
    let expected: Vec<u16> = (0..200).map(|i| if i % 3 == 0 { 200 } else { 410 }).collect();
    assert_eq!(statuses(&received), expected);
}

#[test]
fn heads_wrap_around_the_ring_at_every_place() {
    let mut bed = bed();
    let peer = bed.connect();
    for len in [61, 997, 1_531, 2_039] {
        for i in 0..100 {
            let mut request = format!("GET /?{i} HTTP/1.1\r\nHost: a\r\nX: ").into_bytes();
            request.resize(len - 4, b'x');
            request.extend(b"\r\n\r\n");
            assert_eq!(statuses(&bed.ask(peer, &request)), [200], "{len} bytes, number {i}");
        }
    }
    assert_eq!(bed.count(Counter::HttpRequests), 400);
}

#[test]
fn heads_larger_than_the_ring_are_read_and_what_follows_them_too() {
    for len in [2_049, 4_095, 4_096, 4_097, 10_000, 32_768] {
        for piece in [usize::MAX, 1_000, 37] {
            let mut bed = bed();
            let peer = bed.connect();
            let mut request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: ".to_vec();
            request.resize(len - 4, b'x');
            request.extend(b"\r\n\r\nhello");
            request.extend(GET);
            let before = bed.count(Counter::HttpRequests);
            for part in request.chunks(piece.min(request.len())) {
                bed.send(peer, part);
            }
            assert_eq!(statuses(&bed.take(peer)), [200, 200], "{len} in pieces of {piece}");
            assert_eq!(bed.count(Counter::HttpRequests) - before, 2);
        }
    }
}

#[test]
fn a_sender_of_a_large_head_is_never_left_with_less_than_a_segment_of_window() {
    let mut bed = bed();
    let peer = bed.connect();
    let request = head("GET /", &format!("X: {}\r\n", "x".repeat(20_000)));
    for segment in request[..19_000].chunks(1_460) {
        bed.send(peer, segment);
        assert_eq!(bed.unsent(peer), 0);
        assert!(bed.window(peer) >= 2_048, "{} bytes of window", bed.window(peer));
    }
    bed.send(peer, &request[19_000..]);
    assert_eq!(statuses(&bed.take(peer)), [200]);
}

#[test]
fn more_large_heads_than_buffers_are_refused_and_the_rest_served() {
    let mut bed = bed_with(|config| config.workers.connections = 128);
    let request = head("GET /", &format!("X: {}\r\n", "x".repeat(6_000)));
    let peers: Vec<Peer> = (0..70).map(|_| bed.connect()).collect();
    peers.iter().for_each(|peer| bed.send(*peer, &request[..3_000]));
    peers.iter().for_each(|peer| bed.send(*peer, &request[3_000..]));
    let found: Vec<u16> = peers.iter().flat_map(|peer| statuses(&bed.take(*peer))).collect();
    assert_eq!(found.len(), 70);
    assert!(found.iter().all(|status| matches!(status, 200 | 503)), "{found:?}");
    assert!(found.iter().filter(|status| **status == 200).count() >= 64, "{found:?}");
    let peer = bed.connect();
    assert_eq!(statuses(&bed.ask(peer, &request)), [200], "buffers come back");
}

#[test]
fn content_is_asked_for_when_the_client_waits() {
    let expect = |path: &str, framing: &str| head(path, &format!("{framing}\r\nExpect: 100-continue\r\n"));
    let mut bed = bed();
    let peer = bed.connect();
    for _ in 0..3 {
        let interim = bed.ask(peer, &expect("POST /", "Content-Length: 5"));
        assert_eq!(interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(statuses(&bed.ask(peer, b"hello")), [200]);
        // Content that came along needs no asking (RFC 9110, 10.1.1).
        let whole = [expect("POST /", "Transfer-Encoding: chunked"), b"5\r\nhello\r\n0\r\n\r\n".to_vec()].concat();
        assert_eq!(statuses(&bed.ask(peer, &whole)), [200]);
    }
    // Asked for, then refused.
    assert!(!bed.ask(peer, &expect("POST /", "Transfer-Encoding: chunked")).is_empty());
    bed.send(peer, b"zz\r\n");
    assert_refused(&mut bed, peer, 400);
    // Asked for in vain.
    let peer = bed.connect();
    bed.send(peer, &expect("POST /", "Content-Length: 5"));
    bed.take(peer);
    bed.wait(ms(4_100));
    assert_refused(&mut bed, peer, 408);
    // An error needs no content, and whatever comes is not taken for a request.
    let peer = bed.connect();
    bed.send(peer, &expect("POST /gone", "Content-Length: 35"));
    assert_refused(&mut bed, peer, 410);
    // Nobody waits without content.
    let peer = bed.connect();
    assert_eq!(statuses(&bed.ask(peer, &head("GET /", "Expect: 100-continue\r\n"))), [200]);
}

#[test]
fn a_client_that_finished_gets_its_answers() {
    for request in [GET.to_vec(), GET.repeat(30), head("GET /large", ""), head("GET /", "Connection: close\r\n")] {
        let mut bed = bed();
        let peer = bed.connect();
        let requests = request.windows(4).filter(|four| *four == b"\r\n\r\n").count();
        // The FIN arrives in the same turn.
        bed.send_and_finish(peer, &request);
        bed.wait(ms(100));
        let found = answers(&bed.take(peer));
        assert!(found.len() == requests && found.iter().all(|answer| answer.status == 200));
        assert!(bed.is_finished(peer) && !bed.is_reset(peer));
        bed.wait(ms(100));
        assert_eq!(bed.connections(), 0);
    }
    // What it cut short has no answer.
    let large = head("GET /", &format!("X: {}\r\n", "x".repeat(9_000)));
    let content = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell";
    let waits = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    for request in [&b""[..], b"\r", &GET[..20], &large[..3_000], &large[..8_000], content, waits] {
        let mut bed = bed();
        let peer = bed.connect();
        bed.send_and_finish(peer, request);
        assert_eq!((bed.take(peer), bed.is_finished(peer), bed.is_reset(peer)), (vec![], true, false));
        assert_eq!(bed.connections(), 0);
    }
}

#[test]
fn drain_ends_what_is_idle_and_finishes_what_is_not() {
    let mut bed = bed();
    let [idle, new, partial, content, busy] = [(); 5].map(|()| bed.connect());
    for peer in [idle, partial] {
        assert_eq!(statuses(&bed.ask(peer, GET)), [200]);
    }
    bed.send(partial, &GET[..20]);
    bed.send(content, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
    bed.take_only(busy, 100);
    bed.send(busy, &head("GET /large", ""));
    bed.drain();
    assert_eq!(bed.drained(), Remaining { connections: 5, requests: 3 });
    // A request that was under way is still answered.
    bed.wait(ms(400));
    for peer in [idle, new, partial, content, busy] {
        assert!(!bed.is_finished(peer) && !bed.is_reset(peer));
    }
    bed.send(idle, GET);
    assert_last(&mut bed, idle, 200);
    bed.send(partial, &GET[20..]);
    assert_last(&mut bed, partial, 200);
    bed.send(new, GET);
    assert_last(&mut bed, new, 200);
    bed.send(content, b"llo");
    assert_last(&mut bed, content, 200);
    bed.take_all(busy);
    bed.wait(ms(2_000));
    assert_eq!(answers(&bed.take(busy))[0].body.len(), LARGE);
    assert!(bed.is_finished(busy) && !bed.is_reset(busy));
    // It waits for nobody's FIN.
    assert_eq!((bed.connections(), bed.drained()), (5, Remaining::default()));
    for peer in [idle, new, partial, content, busy] {
        bed.finish(peer);
    }
    assert_eq!(bed.connections(), 0);
}

#[test]
fn drain_closes_who_asks_nothing_and_resets_who_is_left() {
    let mut bed = bed();
    let [kept, unused, partial] = [(); 3].map(|()| bed.connect());
    for peer in [kept, partial] {
        assert_eq!(statuses(&bed.ask(peer, GET)), [200]);
    }
    bed.send(partial, &GET[..20]);
    bed.drain();
    bed.wait(ms(600));
    for peer in [kept, unused] {
        assert_eq!((bed.take(peer), bed.is_finished(peer), bed.is_reset(peer)), (vec![], true, false));
    }
    assert_eq!(bed.drained(), Remaining { connections: 1, requests: 1 });
    assert_eq!(bed.abort_all(), 1);
    assert!(bed.is_reset(partial) && !bed.is_reset(kept) && !bed.is_reset(unused));
}

/// The last answer of a connection that is drained.
#[track_caller]
fn assert_last(bed: &mut Bed, peer: Peer, status: u16) {
    let found = answers(&bed.take(peer));
    assert_eq!(found.iter().map(|answer| (answer.status, answer.closes)).collect::<Vec<_>>(), [(status, true)]);
    assert!(bed.is_finished(peer) && !bed.is_reset(peer));
}

#[test]
fn a_large_body_arrives_byte_for_byte() {
    let mut bed = bed();
    let peer = bed.connect();
    for _ in 0..2 {
        let head_only = bed.ask(peer, &head("HEAD /large", ""));
        let found = answers_to(&head_only, true);
        assert!(found.len() == 1 && found[0].status == 200 && !found[0].closes);
        let text = String::from_utf8(head_only).unwrap();
        assert!(text.contains(&format!("Content-Length: {LARGE}\r\n")), "{text}");
        let found = answers(&bed.ask(peer, &[head("GET /large", ""), GET.to_vec()].concat()));
        assert_eq!(found.len(), 2);
        assert!(found[0].body[..] == large()[..] && found[1].body == b"hello\n");
    }
}
