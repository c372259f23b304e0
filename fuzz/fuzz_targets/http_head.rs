//! Any bytes as a request head: no panic, the same verdict however they are cut, and positions within the input.
//!
//! `cargo +nightly fuzz run http_head`; `tests/data/requests.jsonl` makes a good seed corpus.

#![cfg_attr(fuzzing, no_main)]

use penstock::config::HttpLimits;
use penstock::http::head::{self, FieldTable, RequestHead, Scan};

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| check(input));

#[cfg(not(fuzzing))]
fn main() {
    // Without the fuzzer: one input, from standard input.
    let mut input = Vec::new();
    std::io::Read::read_to_end(&mut std::io::stdin(), &mut input).expect("standard input is readable");
    check(&input);
}

fn check(input: &[u8]) {
    let limits = HttpLimits { request_line: 200, head_size: 1000, header_count: 10, ..HttpLimits::default() };
    let (mut table, mut request) = (FieldTable::default(), RequestHead::default());
    let at_once = match head::read(input, &mut Scan::default(), &mut table, &limits, &mut request) {
        Ok(Some(len)) => {
            assert!(len <= input.len());
            assert!(request.fields.iter().count() == request.fields.len() && request.fields.len() <= 10);
            Ok(Some(len))
        }
        Ok(None) => Ok(None),
        Err(reject) => Err(reject.status() >= 400),
    };
    let mut state = Scan::default();
    for end in 0..=input.len() {
        match head::scan(&input[..end], &mut state, &limits) {
            Ok(None) => continue,
            Ok(Some(found)) => {
                assert_eq!(found.end, end);
                let parsed = head::parse(&input[found], &mut table, &limits);
                assert_eq!(parsed.map(|_| Some(end)).map_err(|_| true), at_once);
            }
            Err(_) => assert_eq!(at_once, Err(true)),
        }
        return;
    }
    assert_eq!(at_once, Ok(None));
}
