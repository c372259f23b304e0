//! Heads seen before: equal bytes get the equal answer without being parsed again.
//!
//! Owns a small table of whole heads with what parsing and routing made of them, which is a function of nothing but the
//! bytes and the configuration. Refuses heads that announce content, and anything but an exact match. Clients that send
//! the same head again and again, as most do on a connection, are recognised by a comparison; clients that never do cost a
//! failed comparison, and now and then a copy.

use super::app::ResponseId;
use crate::http::head::Version;
use crate::telemetry::requests::Cell;

/// The longest head remembered, in bytes.
const HEAD_MAX: usize = 768;
/// Shorter heads are parsed each time.
const HEAD_MIN: usize = 32;
/// Bytes that choose the set, as far as there are so many: far enough to reach what tells client programs apart.
const PREFIX: usize = 128;
const SETS: usize = 32;
const WAYS: usize = 4;
/// One miss in this many is remembered, so that heads that never come back do not wear the table out.
const MISSES_PER_ENTRY: u32 = 4;

/// What a head without content means.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// The program's answer.
    pub id: ResponseId,
    /// The request's version.
    pub version: Version,
    /// The client wants to keep the connection.
    pub keep_alive: bool,
    /// The answer is sent without content.
    pub head_only: bool,
    /// How it is counted.
    pub cell: Cell,
}

struct Entry {
    len: usize,
    known: Option<Known>,
    bytes: [u8; HEAD_MAX],
}

/// The table. It belongs to one configuration: a new one starts with a new table.
pub struct Memo {
    entries: Box<[Entry]>,
    misses: u32,
}

impl Default for Memo {
    fn default() -> Self {
        let empty = || Entry { len: 0, known: None, bytes: [0; HEAD_MAX] };
        Memo { entries: (0..SETS * WAYS).map(|_| empty()).collect(), misses: 0 }
    }
}

impl Memo {
    /// The length and meaning of the head that `bytes` starts with, if it is known.
    ///
    /// A head ends at its first empty line, and a remembered head has no other: a match is the whole head.
    #[inline]
    pub fn find(&self, bytes: &[u8]) -> Option<(usize, Known)> {
        if bytes.len() < HEAD_MIN {
            return None;
        }
        let ways = self.entries.get(set(bytes)..)?.get(..WAYS)?;
        ways.iter().find_map(|entry| {
            let known = entry.known?;
            let start = bytes.get(..entry.len)?;
            (start == entry.bytes.get(..entry.len)?).then_some((entry.len, known))
        })
    }

    /// Remembers a whole head, perhaps in place of another.
    pub fn remember(&mut self, head: &[u8], known: Known) {
        self.misses = self.misses.wrapping_add(1);
        if !(HEAD_MIN..=HEAD_MAX).contains(&head.len()) || !self.misses.is_multiple_of(MISSES_PER_ENTRY) {
            return;
        }
        let way = (self.misses / MISSES_PER_ENTRY) as usize % WAYS;
        let entry = &mut self.entries[set(head) + way];
        entry.len = head.len();
        entry.bytes[..head.len()].copy_from_slice(head);
        entry.known = Some(known);
    }
}

/// Where the set of a head starts, chosen by its first words. A collision costs a comparison, so the mix needs no secret;
/// what follows a short head may choose another set, where it is not found and is parsed.
#[inline]
fn set(bytes: &[u8]) -> usize {
    let (words, _) = bytes[..bytes.len().min(PREFIX)].as_chunks::<8>();
    let mixed = words.iter().fold(0u64, |hash, word| {
        (hash.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    (mixed >> 40) as usize % SETS * WAYS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(id: u32) -> Known {
        Known {
            id: ResponseId(id),
            version: Version::Http11,
            keep_alive: true,
            head_only: false,
            cell: Cell::default(),
        }
    }

    fn learn(memo: &mut Memo, head: &[u8], id: u32) {
        (0..MISSES_PER_ENTRY).for_each(|_| memo.remember(head, known(id)));
    }

    #[test]
    fn only_the_exact_bytes_match_and_what_follows_does_not_matter() {
        let mut memo = Memo::default();
        let head = b"GET /one HTTP/1.1\r\nHost: example.org\r\n\r\n";
        assert_eq!(memo.find(head), None);
        learn(&mut memo, head, 7);
        assert_eq!(memo.find(head), Some((head.len(), known(7))));
        let long = [b"GET /one HTTP/1.1\r\nHost: example.org\r\nX: ".as_slice(), &[b'a'; 200], b"\r\n\r\n"].concat();
        learn(&mut memo, &long, 8);
        let pipelined = [&long[..], b"GET /two HTTP/1.1\r\n"].concat();
        assert_eq!(memo.find(&pipelined), Some((long.len(), known(8))));
        assert_eq!(memo.find(&head[..head.len() - 1]), None);
        for at in 0..head.len() {
            let mut other = head.to_vec();
            other[at] ^= 0x20;
            assert_eq!(memo.find(&other), None, "byte {at}");
        }
    }

    #[test]
    fn long_and_short_heads_are_not_remembered() {
        let mut memo = Memo::default();
        let long = [b"GET / HTTP/1.1\r\nHost: a\r\nX: ".as_slice(), &[b'a'; HEAD_MAX], b"\r\n\r\n"].concat();
        learn(&mut memo, &long, 1);
        learn(&mut memo, b"GET / HTTP/1.0\r\n\r\n", 2);
        assert_eq!(memo.find(&long), None);
        assert_eq!(memo.find(b"GET / HTTP/1.0\r\n\r\n"), None);
    }

    #[test]
    fn a_full_set_forgets_and_stays_right() {
        let mut memo = Memo::default();
        let same = "a".repeat(PREFIX);
        let head = |i: u32| format!("GET / HTTP/1.1\r\nHost: {same}\r\nX: {i:08}\r\n\r\n").into_bytes();
        (0..100).for_each(|i| learn(&mut memo, &head(i), i));
        let found: Vec<u32> = (0..100).filter_map(|i| memo.find(&head(i)).map(|(_, k)| k.id.0 - i)).collect();
        assert_eq!(found, vec![0; WAYS], "as many as there are ways, each with its own answer");
    }
}
