//! Rates of requests: `100k/s`, `2.5M`, `10->500k/s`, `max`; stages and spikes as flags write them.
//!
//! Owns their grammar, as functions of the text alone. Refuses to know sections and flags.

use core::ops::Range;

/// What is wrong, where in the text, and what fixes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// Bytes of the text.
    pub at: Range<usize>,
    /// What is wrong.
    pub what: String,
    /// What fixes it.
    pub fix: String,
}

impl Mistake {
    /// A mistake at these bytes.
    pub fn new(at: Range<usize>, what: impl Into<String>, fix: impl Into<String>) -> Mistake {
        Mistake { at, what: what.into(), fix: fix.into() }
    }

    /// The same, in a text that has `by` bytes before this one.
    #[must_use]
    pub fn after(mut self, by: usize) -> Mistake {
        self.at = self.at.start + by..self.at.end + by;
        self
    }
}

/// A part of a text: what it says, and where it begins.
pub type Part<'a> = (usize, &'a str);

/// The part of `text` without the space around it.
pub fn trimmed((start, text): Part<'_>) -> Part<'_> {
    (start + text.len() - text.trim_start().len(), text.trim())
}

/// Where a part is.
pub fn place((start, text): Part<'_>) -> Range<usize> {
    start..start + text.len()
}

/// What a rate may be in a JSON Schema.
pub const PATTERN: &str = "^ *(max|[0-9]+(\\.[0-9]+)?[kM]?(/s)?( *-> *[0-9]+(\\.[0-9]+)?[kM]?(/s)?)?) *$";
/// The lowest rate but zero, in requests per second.
pub const MIN: f64 = 0.1;
/// The highest rate, in requests per second.
pub const MAX: f64 = 100e6;

const EXAMPLES: &str = "examples: \"100k/s\", \"2.5M/s\", \"0.5/s\", \"0->100k/s\" (a ramp), \"max\" (a closed loop)";

/// A rate of requests.
#[derive(Copy, Clone, PartialEq, Debug)]
pub enum Rate {
    /// As many as answers permit: a closed loop.
    Max,
    /// Requests per second at the start and at the end.
    Line(f64, f64),
}

/// Reads a rate or a ramp.
pub fn parse(text: &str) -> Result<Rate, Mistake> {
    if text.trim() == "max" {
        return Ok(Rate::Max);
    }
    match text.split_once("->") {
        None => {
            let rate = one((0, text))?;
            Ok(Rate::Line(rate, rate))
        }
        Some((from, to)) => {
            let (from_rate, to_rate) = (one((0, from))?, one((from.len() + 2, to))?);
            if from_rate == 0.0 && to_rate == 0.0 {
                return Err(Mistake::new(0..text.len(), "a ramp from zero to zero", "write \"0\" for a stage of rest"));
            }
            Ok(Rate::Line(from_rate, to_rate))
        }
    }
}

/// Reads one rate: zero, or within the range.
fn one(part: Part) -> Result<f64, Mistake> {
    let part = trimmed(part);
    let rate = number(part)?;
    if rate == 0.0 || (MIN..=MAX).contains(&rate) {
        return Ok(rate);
    }
    Err(Mistake::new(place(part), "the rate is out of range", "a rate is 0, or from 0.1/s to 100M/s"))
}

/// Reads a number with `k` or `M` and `/s`, both optional.
pub fn number(part: Part) -> Result<f64, Mistake> {
    let text = part.1.strip_suffix("/s").unwrap_or(part.1);
    let (digits, factor) = match text.strip_suffix(['k', 'M']) {
        Some(digits) => (digits, if text.ends_with('k') { 1e3 } else { 1e6 }),
        None => (text, 1.0),
    };
    match decimal(digits) {
        Some(number) => Ok(number * factor),
        None => {
            let fix = match part.1.trim_end_matches("/s").strip_suffix(['K', 'm', 'G']) {
                Some(number) if decimal(number).is_some() => {
                    format!("did you mean \"{number}k/s\" (thousand) or \"{number}M/s\" (million)?")
                }
                _ => EXAMPLES.to_string(),
            };
            Err(Mistake::new(place(part), format!("not a rate: {:?}", part.1), fix))
        }
    }
}

/// Digits with a fraction or without: no sign, exponent, infinity or NaN.
pub fn decimal(text: &str) -> Option<f64> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let well_formed = match text.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(text),
    };
    text.parse().ok().filter(|number: &f64| well_formed && number.is_finite())
}

/// The parts of a stage as a flag has it: `NAME:RATE:DURATION`, the name optional.
pub fn stage(text: &str) -> Result<(Option<Part<'_>>, Part<'_>, Part<'_>), Mistake> {
    let fix = "write NAME:RATE:DURATION: --stage warm:1k:5s, --stage ramp:1k->100k:30s";
    let colon = |text: &str| text.rfind(':').ok_or_else(|| Mistake::new(0..text.len(), "not a stage", fix));
    let last = colon(text)?;
    let duration = (last + 1, &text[last + 1..]);
    match text[..last].rfind(':') {
        Some(first) => Ok((Some((0, &text[..first])), (first + 1, &text[first + 1..last]), duration)),
        None => Ok((None, (0, &text[..last]), duration)),
    }
}

/// The parts of a spike: `RATE:START:DURATION`.
pub fn spike(text: &str) -> Result<[Part<'_>; 3], Mistake> {
    let parts: Vec<&str> = text.split(':').collect();
    let [rate, start, duration] = parts[..] else {
        let fix = "write RATE:START:DURATION: \"500k:10s:2s\" raises the rate to 500k/s after 10 s, for 2 s";
        return Err(Mistake::new(0..text.len(), "not a spike", fix));
    };
    Ok([(0, rate), (rate.len() + 1, start), (rate.len() + start.len() + 2, duration)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_have_decimal_units() {
        let line = |rate| Ok(Rate::Line(rate, rate));
        for (text, rate) in [
            ("100k/s", line(100e3)),
            ("100k", line(100e3)),
            (" 2.5M/s ", line(2.5e6)),
            ("100000", line(100e3)),
            ("0.1", line(0.1)),
            ("100M", line(100e6)),
            ("0", line(0.0)),
            ("max", Ok(Rate::Max)),
            ("10->500k/s", Ok(Rate::Line(10.0, 500e3))),
            ("1k/s -> 0/s", Ok(Rate::Line(1e3, 0.0))),
        ] {
            assert_eq!(parse(text), rate, "{text}");
        }
    }

    #[test]
    fn mistakes_in_rates_have_a_place_and_a_fix() {
        for (text, at, what, fix) in [
            ("fast", 0..4, "not a rate", "100k/s"),
            ("", 0..0, "not a rate", "100k/s"),
            ("100K/s", 0..6, "not a rate", "did you mean \"100k/s\" (thousand)"),
            ("1e5", 0..3, "not a rate", "100k/s"),
            ("-5", 0..2, "not a rate", "100k/s"),
            ("1.", 0..2, "not a rate", "100k/s"),
            ("inf", 0..3, "not a rate", "100k/s"),
            ("0.05", 0..4, "out of range", "0.1/s to 100M/s"),
            ("101M/s", 0..6, "out of range", "0.1/s to 100M/s"),
            ("1k->2x/s", 4..8, "not a rate", "100k/s"),
            ("x->2k", 0..1, "not a rate", "100k/s"),
            ("1->2->3", 3..7, "not a rate", "100k/s"),
            ("0->0", 0..4, "from zero to zero", "rest"),
            ("max->5", 0..3, "not a rate", "100k/s"),
        ] {
            let mistake = parse(text).unwrap_err();
            assert_eq!(mistake.at, at, "{text}");
            assert!(mistake.what.contains(what) && mistake.fix.contains(fix), "{text}: {mistake:?}");
        }
    }

    #[test]
    fn stages_and_spikes_have_parts() {
        assert_eq!(stage("peak:1k->2k:30s"), Ok((Some((0, "peak")), (5, "1k->2k"), (12, "30s"))));
        assert_eq!(stage("a:b:1k:30s"), Ok((Some((0, "a:b")), (4, "1k"), (7, "30s"))));
        assert_eq!(stage("1k:30s"), Ok((None, (0, "1k"), (3, "30s"))));
        assert!(stage("30s").unwrap_err().fix.contains("NAME:RATE:DURATION"));
        assert_eq!(spike("5k:10s:2s"), Ok([(0, "5k"), (3, "10s"), (7, "2s")]));
        assert!(spike("5k:10s").is_err() && spike("a:b:c:d").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics_and_places_are_inside(text in "[0-9kMs/.>:ax \u{e9}-]{0,12}") {
            for mistake in [parse(&text).err(), stage(&text).err(), spike(&text).err()].into_iter().flatten() {
                prop_assert!(text.get(mistake.at.clone()).is_some(), "{text:?} {mistake:?}");
            }
            if let Ok(Rate::Line(from, to)) = parse(&text) {
                prop_assert!([from, to].iter().all(|rate| *rate == 0.0 || (MIN..=MAX).contains(rate)));
            }
        }
    }
}
