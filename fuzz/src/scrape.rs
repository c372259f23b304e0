//! A target's metrics, and the choices of series that a soak makes.
//!
//! Owns what has to hold of any text. Refuses to ask a target.

use penstock::control::scrape::Place;
use penstock::report::soak::exposition::{Choice, SERIES_MAX, read};

/// The first line chooses series, the others are metrics.
pub fn exposition(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (first, metrics) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(place) = Place::parse(first) {
        assert_eq!(Place::parse(&place.text), Ok(place), "a place changes on the way");
    }
    let Ok(choice) = Choice::parse(first) else { return };
    assert_eq!(Choice::parse(&choice.text), Ok(choice.clone()), "a choice changes on the way");
    let choices = [choice];
    let reading = read(metrics, &choices, &choices);
    let (sum, parts) = (reading.sums[0], &reading.parts[0]);
    assert_eq!(sum.is_some(), !parts.is_empty(), "a sum has parts");
    assert!(parts.len() <= SERIES_MAX && parts.values().all(|value| value.is_finite()));
    let more = format!("# a comment\n{metrics}\n\n# another\n");
    assert_eq!(read(&more, &choices, &choices).parts[0], *parts, "comments change nothing");
}
