//! One connection's bytes through TCP, in two ways of cutting them: the answers are the same and well-formed.
//!
//! Owns a lossless conversation. Refuses damage: `worker` has it.

use crate::bed::{ACK, Bed, FIN, PSH, SYN};
use std::time::Duration;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// What a peer says at most, in bytes.
const SAID_MAX: usize = 6000;

/// Three bytes that say how to cut, and what a client says.
pub fn session(input: &[u8]) {
    let Some((cuts, said)) = input.split_first_chunk::<3>() else { return };
    let said = &said[..said.len().min(SAID_MAX)];
    // A large input in tiny pieces takes long and finds nothing new.
    let least = said.len() / 100 + 1;
    let pieces = cuts.map(|cut| usize::from(cut).max(least));
    let at_once = converse(said, &[1400]);
    let in_pieces = converse(said, &pieces);
    let [at_once, in_pieces] = [at_once, in_pieces].map(|answers| answers_of(&answers));
    assert_eq!(at_once, in_pieces, "the cuts change the answers");
}

/// What the gateway answers, without the interim responses, which depend on when content arrives.
fn converse(said: &[u8], pieces: &[usize]) -> Vec<u8> {
    let mut bed = Bed::new();
    let send = |bed: &mut Bed, flags, payload: &[u8]| {
        let frame = bed.segment(0, flags, 0, &[], payload);
        bed.give(&frame, penstock::port::Checksum::Unknown);
        settle(bed);
    };
    bed.listen();
    send(&mut bed, SYN, &[]);
    send(&mut bed, ACK, &[]);
    let (mut at, mut sizes) = (0, pieces.iter().cycle());
    while at < said.len() && !bed.peers[0].ended {
        let end = said.len().min(at + sizes.next().expect("they repeat"));
        send(&mut bed, PSH | ACK, &said[at..end]);
        at = end;
    }
    send(&mut bed, FIN | ACK, &[]);
    let received = core::mem::take(&mut bed.peers[0].received);
    bed.end();
    without_interim(received)
}

/// Turns until the gateway took everything and has said all it wants to.
fn settle(bed: &mut Bed) {
    let mut quiet = 0;
    for _ in 0..200 {
        let before = (bed.peers[0].received.len(), bed.peers[0].acked);
        bed.turn(Duration::from_micros(50));
        bed.listen();
        if before != (bed.peers[0].received.len(), bed.peers[0].acked) {
            quiet = 0;
            let ack = bed.segment(0, ACK, 0, &[], &[]);
            bed.give(&ack, penstock::port::Checksum::Unknown);
        } else {
            quiet += 1;
        }
        if quiet == 3 {
            return;
        }
    }
    panic!("the conversation does not come to rest");
}

fn without_interim(mut received: Vec<u8>) -> Vec<u8> {
    while let Some(at) = received.windows(CONTINUE.len()).position(|window| window == CONTINUE) {
        received.drain(at..at + CONTINUE.len());
    }
    received
}

/// The answers, which follow one another without a gap; those to HEAD have no content. Which of several mistakes a refusal
/// names may depend on what had arrived; that there is one does not.
fn answers_of(mut said: &[u8]) -> Vec<String> {
    let mut answers = Vec::new();
    while !said.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut head = httparse::Response::new(&mut headers);
        let Ok(httparse::Status::Complete(mut len)) = head.parse(said) else {
            panic!("no answer: {}", String::from_utf8_lossy(said));
        };
        let field = |name: &str| head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        let length = field("content-length").map_or(0, |field| {
            std::str::from_utf8(field.value).ok().and_then(|value| value.parse::<usize>().ok()).expect("a length")
        });
        let refused = field("connection").is_some_and(|field| field.value == b"close") && head.code >= Some(400);
        if !said[len..].starts_with(b"HTTP/1.1 ") && len < said.len() {
            len += length;
        }
        let (answer, rest) = said.split_at_checked(len).expect("the whole content");
        assert!(!refused || rest.is_empty(), "an answer after the last one");
        answers.push(if refused { "refused".to_string() } else { String::from_utf8_lossy(answer).into_owned() });
        said = rest;
    }
    answers
}
