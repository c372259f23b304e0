//! What `penstock status` and `penstock top` are told by a gateway of another release, or by something else.
//!
//! Owns any JSON as two states. Refuses to compare figures: no panic, and a screen that fits.

use penstock::control::status::{self, Status};
use penstock::control::top;

/// Two states, separated by a NUL.
pub fn status(input: &[u8]) {
    let mut states = input.splitn(2, |byte| *byte == 0).map(serde_json::from_slice::<Status>);
    let Some(Ok(after)) = states.next() else { return };
    let before = states.next().and_then(Result::ok).unwrap_or_else(|| after.clone());
    let json = serde_json::to_vec(&after).expect("JSON");
    serde_json::from_slice::<Status>(&json).expect("what is printed reads back");
    assert!(!status::table(&after).is_empty());
    for size in [None, Some((20, 5)), Some((80, 24))] {
        let text = top::text(&before, &after, 1.0, size);
        assert!(size.is_none_or(|(_, rows)| text.lines().count() <= rows), "the screen is too high");
    }
}
