//! Heads of answers seen before: equal bytes mean the equal thing without being parsed again.
//!
//! Owns the last head of each kind of request. Most servers change nothing in it but the Date, once a second.

use crate::http::answer::AnswerHead;

/// The longest head remembered, in bytes.
const HEAD_MAX: usize = 1024;
/// Kinds with a place of their own; others share.
const PLACES: usize = 64;

struct Entry {
    len: usize,
    head: Option<AnswerHead>,
    bytes: [u8; HEAD_MAX],
}

/// The table.
pub struct KnownAnswers {
    entries: Box<[Entry]>,
}

impl Default for KnownAnswers {
    fn default() -> Self {
        let empty = || Entry { len: 0, head: None, bytes: [0; HEAD_MAX] };
        KnownAnswers { entries: (0..PLACES).map(|_| empty()).collect() }
    }
}

impl KnownAnswers {
    /// The length and meaning of the head that `bytes` starts with, if it was the last one for this kind of request. A head
    /// ends at its first empty line, so a match is the whole head.
    #[inline]
    pub fn find(&self, class: u16, bytes: &[u8]) -> Option<(usize, AnswerHead)> {
        let entry = &self.entries[usize::from(class) % PLACES];
        let head = entry.head?;
        (bytes.get(..entry.len)? == entry.bytes.get(..entry.len)?).then_some((entry.len, head))
    }

    /// Remembers a whole head.
    pub fn remember(&mut self, class: u16, bytes: &[u8], head: AnswerHead) {
        let entry = &mut self.entries[usize::from(class) % PLACES];
        if let Some(room) = entry.bytes.get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
            (entry.len, entry.head) = (bytes.len(), Some(head));
        }
    }
}
