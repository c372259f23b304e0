//! The conformance suite: `tests/data/requests.jsonl`, read here and by black-box clients alike.
//!
//! One JSON object a line: `name`, `rfc` (number and section), `request` (one character a byte, Latin-1) and `status`, what
//! a server with a route for everything answers: 200, or the refusal.

use serde::Deserialize;

use super::body::{Decoder, Step};
use super::head::{self, FieldTable, Scan};
use super::reject::Reject;
use crate::config::HttpLimits;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    rfc: String,
    request: String,
    status: u16,
}

impl Case {
    fn bytes(&self) -> Vec<u8> {
        self.request.chars().map(|c| u8::try_from(c).expect("Latin-1")).collect()
    }
}

fn cases() -> Vec<Case> {
    let lines = include_str!("../../tests/data/requests.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

/// What a receiver makes of `input` that arrives in pieces of `piece` bytes. None: it waits for more.
fn receive(input: &[u8], piece: usize, limits: &HttpLimits) -> Result<Option<()>, Reject> {
    let (mut scan, mut table, mut arrived) = (Scan::default(), FieldTable::default(), 0);
    let found = loop {
        if let Some(found) = head::scan(&input[..arrived], &mut scan, limits)? {
            break found;
        }
        if arrived == input.len() {
            return Ok(None);
        }
        arrived = (arrived + piece).min(input.len());
    };
    let mut at = found.end;
    let body = head::parse(&input[found], &mut table, limits)?.body;
    body.check(limits.body_size)?;
    let mut decoder = Decoder::new(body, limits);
    while !decoder.is_done() {
        if at == input.len() {
            return Ok(None);
        }
        let end = (at + piece).min(input.len());
        let Step { consumed, .. } = decoder.decode(&input[at..end], limits)?;
        at += consumed;
    }
    assert_eq!(at, input.len(), "bytes left over");
    Ok(Some(()))
}

#[test]
fn every_case_has_its_status_however_it_is_cut() {
    let limits = HttpLimits::default();
    let mut wrong = String::new();
    for case in cases() {
        let input = case.bytes();
        for piece in (1..=input.len()).take(40).chain([input.len()]) {
            let status = match receive(&input, piece, &limits) {
                Ok(Some(())) => Some(200),
                Ok(None) => None,
                Err(reject) => Some(reject.status()),
            };
            if status != Some(case.status) {
                let Case { name, rfc, status: expected, .. } = &case;
                wrong += &format!("{name} (RFC {rfc}), {piece} bytes at a time: {status:?}, not {expected}\n");
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn the_suite_is_large_and_its_names_are_unique() {
    let cases = cases();
    let mut names: Vec<_> = cases.iter().map(|case| case.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len());
    assert!(cases.iter().filter(|case| case.status == 200).count() >= 25);
    assert!(cases.iter().filter(|case| case.status >= 400).count() >= 80);
}
