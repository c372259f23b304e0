//! Bodies: every split gives the same result, every violation its refusal.

use super::*;
use crate::limits::CHUNK_LINE_MAX;
use proptest::prelude::*;

fn limits() -> HttpLimits {
    HttpLimits { body_size: 1000, head_size: 200, header_count: 3, ..HttpLimits::default() }
}

/// The content of `input` given in pieces that end at `cuts`, and how much of it the body took if it is complete.
fn decode(
    framing: Framing,
    input: &[u8],
    cuts: impl Iterator<Item = usize>,
    limits: &HttpLimits,
) -> Result<(Vec<u8>, Option<usize>), Reject> {
    let (mut decoder, mut content, mut at) = (Decoder::new(framing, limits), Vec::new(), 0);
    for cut in cuts.chain([input.len()]) {
        while at < cut && !decoder.is_done() {
            let piece = &input[at..cut];
            let step = decoder.decode(piece, limits)?;
            assert!(step.data.end <= step.consumed && step.consumed <= piece.len());
            assert!(!step.data.is_empty() || step.done || step.consumed == piece.len(), "stuck");
            assert_eq!(step.done, decoder.is_done());
            content.extend_from_slice(&piece[step.data]);
            at += step.consumed;
        }
    }
    Ok((content, decoder.is_done().then_some(at)))
}

fn at_once(framing: Framing, input: &[u8]) -> Result<(Vec<u8>, Option<usize>), Reject> {
    decode(framing, input, [].into_iter(), &limits())
}

#[test]
fn no_body_takes_nothing() {
    assert_eq!(at_once(Framing::None, b"next"), Ok((vec![], Some(0))));
    assert!(Decoder::new(Framing::None, &limits()).is_done());
}

#[test]
fn a_known_length_ends_where_it_says() {
    assert_eq!(at_once(Framing::Length(5), b"hellonext"), Ok((b"hello".to_vec(), Some(5))));
    assert_eq!(at_once(Framing::Length(5), b"hell"), Ok((b"hell".to_vec(), None)));
    assert_eq!(at_once(Framing::Length(1001), b"h"), Err(Reject::BodyTooLarge));
}

#[test]
fn chunks_are_joined_at_every_cut() {
    let input = b"5;a=\"b\\\"\";c\r\nhello\r\n00001\r\n \r\nA\r\n0123456789\r\n0\r\nX: y\r\nConten: z\r\n\r\nnext";
    let whole = (b"hello 0123456789".to_vec(), Some(input.len() - 4));
    assert_eq!(at_once(Framing::Chunked, input), Ok(whole.clone()));
    for cut in 0..=input.len() {
        assert_eq!(decode(Framing::Chunked, input, [cut].into_iter(), &limits()), Ok(whole.clone()), "{cut}");
    }
    assert_eq!(decode(Framing::Chunked, input, 0..input.len(), &limits()), Ok(whole));
}

#[test]
fn a_chunked_body_has_limits_too() {
    assert!(at_once(Framing::Chunked, b"3e8\r\n").is_ok());
    assert_eq!(at_once(Framing::Chunked, b"3e9\r\n"), Err(Reject::BodyTooLarge));
    assert_eq!(at_once(Framing::Chunked, b"1\r\nx\r\n3e8\r\n"), Err(Reject::BodyTooLarge));
    assert_eq!(at_once(Framing::Chunked, b"ffffffffffffffff\r\n"), Err(Reject::BodyTooLarge));
    assert_eq!(at_once(Framing::Chunked, b"10000000000000000\r\n"), Err(Reject::ChunkSize));
    let line = |len: usize| [&b"1;"[..], &vec![b'a'; len - 4], b"\r\nx\r\n0\r\n\r\n"].concat();
    assert!(at_once(Framing::Chunked, &line(CHUNK_LINE_MAX)).is_ok());
    assert_eq!(at_once(Framing::Chunked, &line(CHUNK_LINE_MAX + 1)), Err(Reject::ChunkLineTooLong));
    let trailers = |count: usize| [b"0\r\n".to_vec(), b"X: y\r\n".repeat(count), b"\r\n".to_vec()].concat();
    assert!(at_once(Framing::Chunked, &trailers(3)).is_ok());
    assert_eq!(at_once(Framing::Chunked, &trailers(4)), Err(Reject::TooManyFields));
    let long = [&b"0\r\nX: "[..], &[b'y'; 200]].concat();
    assert_eq!(at_once(Framing::Chunked, &long), Err(Reject::TrailersTooLarge));
}

#[test]
fn content_a_byte_at_a_time_with_long_extensions_is_refused() {
    let roomy = HttpLimits { body_size: 1 << 20, ..limits() };
    let run = |chunk: &[u8]| decode(Framing::Chunked, &chunk.repeat(10_000), [].into_iter(), &roomy);
    assert_eq!(run(&[&b"1;"[..], &[b'a'; 100], b"\r\nx\r\n"].concat()), Err(Reject::ChunkOverhead));
    // Small chunks as such are what interactive clients send.
    assert_eq!(run(b"1\r\nx\r\n").unwrap().0.len(), 10_000);
}

#[test]
fn trailers_that_change_the_message_are_refused_and_their_like_are_not() {
    for name in ["Content-Length", "content-length", "TRANSFER-ENCODING", "Host"] {
        assert_eq!(at_once(Framing::Chunked, format!("0\r\n{name}: 1\r\n").as_bytes()), Err(Reject::TrailerForbidden));
    }
    for name in ["Content-Lengt", "Content-Lengthy", "Hos", "Hosts", "Ghost", "Transfer-Encodinh"] {
        let input = format!("0\r\nA: b\r\n{name}: 1\r\n\r\n");
        assert_eq!(at_once(Framing::Chunked, input.as_bytes()), Ok((vec![], Some(input.len()))), "{name}");
    }
    let long_name = format!("0\r\n{}host: 1\r\n\r\n", "x".repeat(256 - 4));
    let roomy = HttpLimits { head_size: 1000, ..limits() };
    assert!(decode(Framing::Chunked, long_name.as_bytes(), [].into_iter(), &roomy).is_ok());
}

fn almost_chunked() -> impl Strategy<Value = Vec<u8>> {
    let pieces: [&[u8]; 18] = [
        b"0\r\n",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n",
        b"1\r\n",
        b"x",
        b"\r\n",
        b"a;b=c\r\n0123456789\r\n",
        b";q=\"x\"",
        b"\r",
        b"\n",
        b"X: y\r\n",
        b"Host: a\r\n",
        b" ",
        b"f",
        b"\"",
        b"\\",
        b"3e9\r\n",
        b"0;x\r\n",
    ];
    let piece = prop_oneof![
        8 => prop::sample::select(pieces.to_vec()).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn cutting_changes_nothing(input in almost_chunked(), cut in 0usize..80) {
        let whole = at_once(Framing::Chunked, &input);
        let cut = cut.min(input.len());
        prop_assert_eq!(&decode(Framing::Chunked, &input, [cut].into_iter(), &limits()), &whole);
        prop_assert_eq!(&decode(Framing::Chunked, &input, 0..input.len(), &limits()), &whole);
    }

    #[test]
    fn what_is_encoded_is_decoded(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 0..8)) {
        let mut input = Vec::new();
        for chunk in &chunks {
            input.extend(format!("{:x}\r\n", chunk.len()).bytes());
            input.extend(chunk);
            input.extend(b"\r\n");
        }
        input.extend(b"0\r\n\r\n");
        prop_assert_eq!(at_once(Framing::Chunked, &input), Ok((chunks.concat(), Some(input.len()))));
    }
}
