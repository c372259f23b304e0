//! Numbers with a unit: sizes in bytes, durations.
//!
//! Owns the spelling. Refuses fractions and guesses: an unknown unit is an error that names the known ones.

use core::time::Duration;

/// Units of sizes, in bytes.
pub const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
/// Units of durations, in nanoseconds.
pub const DURATIONS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Bytes of a size such as `64KiB`; the error is a suggestion.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text).ok_or_else(|| "write a whole number and a unit: \"64KiB\"".to_string())?;
    if let Some(factor) = factor(&SIZES, unit) {
        return number.checked_mul(factor).ok_or_else(|| "the number is too large".to_string());
    }
    let initial = |text: &str| text.chars().next().map(|c| c.to_ascii_uppercase());
    let meant = SIZES.iter().find(|(name, _)| initial(name) == initial(unit));
    Err(match meant {
        Some((name, _)) => format!("did you mean \"{number}{name}\"? Units: {}", names(&SIZES)),
        None => format!("write \"{number}KiB\" or \"{number}MiB\"; units: {}", names(&SIZES)),
    })
}

/// A duration such as `800ms`; the error is a suggestion.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text).ok_or_else(|| "write a whole number and a unit: \"10s\"".to_string())?;
    if let Some(factor) = factor(&DURATIONS, unit) {
        let ns = number.checked_mul(factor).ok_or_else(|| "the number is too large".to_string())?;
        return Ok(Duration::from_nanos(ns));
    }
    let meant = match unit.to_ascii_lowercase().as_str() {
        "sec" | "secs" | "second" | "seconds" | "s" => Some("s"),
        "min" | "mins" | "minute" | "minutes" | "m" => Some("m"),
        "msec" | "millis" | "milliseconds" | "ms" => Some("ms"),
        "usec" | "micros" | "microseconds" | "us" | "µs" => Some("us"),
        "hr" | "hrs" | "hour" | "hours" | "h" => Some("h"),
        _ => None,
    };
    Err(match meant {
        Some(name) => format!("did you mean \"{number}{name}\"? Units: {}", names(&DURATIONS)),
        None => format!("write \"{number}s\" or \"{number}ms\"; units: {}", names(&DURATIONS)),
    })
}

/// A size in the largest unit that needs no fraction.
pub fn show_size(bytes: u64) -> String {
    show(&SIZES, bytes)
}

/// A duration in the largest unit that needs no fraction.
pub fn show_duration(duration: Duration) -> String {
    show(&DURATIONS, u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    // A fraction or a second number is not a unit.
    let unit = text[end..].trim_start();
    let number = text[..end].parse().ok()?;
    unit.chars().all(char::is_alphabetic).then_some((number, unit))
}

fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
}

fn names(units: &[(&str, u64)]) -> String {
    units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn show(units: &[(&str, u64)], value: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| value >= *factor && value.is_multiple_of(*factor);
    match units.iter().rev().find(fits) {
        Some((name, factor)) => format!("{}{name}", value / factor),
        None => format!("{value}{}", units[0].0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_have_binary_units() {
        for (text, bytes) in [("0B", 0), ("1B", 1), ("64KiB", 65_536), (" 2 MiB ", 2 << 20), ("3GiB", 3 << 30)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for (text, fix) in [
            ("64KB", "\"64KiB\""),
            ("64k", "\"64KiB\""),
            ("1m", "\"1MiB\""),
            ("64", "\"64KiB\""),
            ("1.5MiB", "whole number"),
            ("-1B", "whole number"),
            ("", "whole number"),
            ("KiB", "whole number"),
            ("99999999999GiB", "too large"),
            ("99999999999999999999B", "whole number"),
            ("7é", "units:"),
        ] {
            let error = parse_size(text).unwrap_err();
            assert!(error.contains(fix), "{text}: {error}");
        }
    }

    #[test]
    fn durations_have_the_usual_units() {
        for (text, ms) in [("0s", 0), ("800ms", 800), ("10s", 10_000), ("5m", 300_000), ("1h", 3_600_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for (text, fix) in [
            ("10", "\"10s\""),
            ("10 sec", "\"10s\""),
            ("5MIN", "\"5m\""),
            ("3days", "units: ns, us, ms, s, m, h"),
            ("1m30s", "whole number"),
            ("1.5s", "whole number"),
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains(fix), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(value: u64, text: String) {
            prop_assert_eq!(parse_size(&show_size(value)), Ok(value));
            let duration = Duration::from_nanos(value);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
            let _ = (parse_size(&text), parse_duration(&text));
        }
    }
}
