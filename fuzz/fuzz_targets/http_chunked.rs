//! Any bytes as a chunked body: no panic, no standstill, and the same content however they are cut.
//!
//! `cargo +nightly fuzz run http_chunked`. The first byte says how long the pieces are.

#![cfg_attr(fuzzing, no_main)]

use penstock::config::HttpLimits;
use penstock::http::Reject;
use penstock::http::body::{Decoder, Framing};

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
    if let Some((piece, body)) = input.split_first() {
        let in_pieces = decode(body, usize::from(*piece).max(1));
        assert_eq!(decode(body, usize::MAX), in_pieces);
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
