//! The same requests have the same answers: when they were seen before, however they are cut, however answers are read.
//!
//! Owns the comparison of runs. Refuses to know which answer is right: the other tests do.

use super::{GET, bed, head, ms, statuses};
use proptest::prelude::*;

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    request: String,
    status: u16,
}

fn cases() -> Vec<(Case, Vec<u8>)> {
    let lines = include_str!("../data/requests.jsonl").lines();
    let cases = lines.map(|line| serde_json::from_str::<Case>(line).unwrap());
    cases.map(|case| (case.request.chars().map(|c| c as u8).collect(), case)).map(|(b, c)| (c, b)).collect()
}

#[test]
fn a_head_seen_before_has_the_answer_it_had() {
    let mut bed = bed();
    for (case, request) in cases().into_iter().filter(|(case, _)| case.status == 200) {
        let mut peer = bed.connect();
        let mut first = Vec::new();
        for i in 0..12 {
            let answer = bed.ask(peer, &request);
            if i == 0 {
                first = answer.clone();
            }
            assert!(!first.is_empty() && answer == first, "{}, time {i}", case.name);
            if bed.is_finished(peer) {
                bed.finish(peer);
                peer = bed.connect();
            }
        }
        bed.finish(peer);
    }
}

#[test]
fn heads_seen_before_excuse_nothing() {
    let mut bed = bed();
    let known = head("GET /", "X-Long: enough to be remembered\r\n");
    for (case, request) in cases().into_iter().filter(|(case, _)| case.status != 200) {
        // One after the other, and all at once.
        for pieces in [12, 1] {
            let peer = bed.connect();
            let mut received = Vec::new();
            for _ in 0..pieces {
                received.extend(bed.ask(peer, &known.repeat(12 / pieces)));
            }
            received.extend(bed.ask(peer, &request));
            let found = statuses(&received);
            assert_eq!(found[..12], [200; 12], "{}", case.name);
            assert_eq!(found[12..], [case.status], "{}", case.name);
            assert!(bed.is_finished(peer) && !bed.is_reset(peer), "{}", case.name);
            bed.finish(peer);
        }
    }
}

/// Whole requests, and a few things that are none. Each refused one has one fault, so that the reason does not depend on
/// how much of it was there when it was found.
fn requests() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let large = head("GET /", &format!("X: {}\r\n", "x".repeat(5_000)));
    let pieces: Vec<Vec<u8>> = vec![
        GET.to_vec(),
        head("GET /kilobyte?q", "X-Long: enough to be remembered\r\n"),
        head("HEAD /kilobyte", "X-Long: enough to be remembered\r\n"),
        [b"\r\n", GET].concat(),
        [&head("POST /gone", &format!("Content-Length: {}\r\n", GET.len() + 1))[..], GET, b"!"].concat(),
        [&head("PUT /", "Transfer-Encoding: chunked\r\n")[..], b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"].concat(),
        large,
    ];
    let last: Vec<Vec<u8>> = vec![
        vec![],
        GET[..30].to_vec(),
        head("GET /", "Connection: close\r\n"),
        b"GET / HTTP/1.1\r\nHost: a\r\nX y\r\n\r\n".to_vec(),
        head("POST /", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
        [&head("POST /", "Transfer-Encoding: chunked\r\n")[..], b"5\r\nhello\n"].concat(),
    ];
    let first = prop::collection::vec(prop::sample::select(pieces), 1..20);
    (first, prop::sample::select(last)).prop_map(|(mut all, last)| {
        all.extend([last, GET.to_vec()]);
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Neither how requests are cut into segments nor how answers are read changes a byte of the answers.
    #[test]
    fn cutting_and_reading_change_nothing(all in requests(), cuts in prop::collection::vec(1usize..3_000, 1..8),
                                          rooms in prop::collection::vec(1usize..4_000, 0..6)) {
        let mut bed = bed();
        let stream = all.concat();
        let peer = bed.connect();
        let whole = bed.ask(peer, &stream);
        let (cut, mut rest) = (bed.connect(), &stream[..]);
        let mut received = Vec::new();
        for (len, room) in cuts.iter().cycle().zip(rooms.iter().map(Some).chain([None]).cycle()) {
            match room {
                Some(room) => bed.take_only(cut, *room),
                None => bed.take_all(cut),
            }
            let (now, later) = rest.split_at((*len).min(rest.len()));
            bed.send(cut, now);
            received.extend(bed.take(cut));
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        bed.take_all(cut);
        bed.wait(ms(1_200));
        received.extend(bed.take(cut));
        prop_assert_eq!(String::from_utf8_lossy(&received), String::from_utf8_lossy(&whole));
        prop_assert_eq!((bed.is_finished(cut), bed.is_reset(cut)), (bed.is_finished(peer), bed.is_reset(peer)));
        prop_assert_eq!(bed.unsent(cut), 0);
    }
}
