//! Prometheus' text format, read for a few names.
//!
//! Owns what a line is and which series a choice names. Refuses to judge a target's metrics: lines it cannot read are
//! counted and passed over.

use std::collections::BTreeMap;

/// Series kept of one name that is told apart by its labels; more are passed over.
pub const SERIES_MAX: usize = 1024;

/// A choice of series: `NAME`, or `NAME{label="value",...}` for those with these labels among theirs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    /// As given.
    pub text: String,
    name: String,
    labels: Vec<(String, String)>,
}

/// What one scrape says of the choices.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Reading {
    /// Sums over the series of each choice; None where there is none, or none with a number.
    pub sums: Vec<Option<f64>>,
    /// The single series of each choice, by their labels as written.
    pub parts: Vec<BTreeMap<String, f64>>,
    /// Lines that could not be read.
    pub unreadable: u64,
}

impl Choice {
    /// Reads a choice; the error is a suggestion.
    pub fn parse(text: &str) -> Result<Choice, String> {
        let fix = "write NAME or NAME{label=\"value\"}: penstock_connections{state=\"open\"}";
        let (name, labels, rest) = series(text.trim()).ok_or(fix)?;
        if !rest.is_empty() {
            return Err(fix.into());
        }
        Ok(Choice { text: text.trim().into(), name: name.into(), labels })
    }

    fn takes(&self, labels: &[(String, String)]) -> bool {
        self.labels.iter().all(|wanted| labels.contains(wanted))
    }
}

/// Reads a scrape: sums of `sums`, and single series of `parts`.
pub fn read(text: &str, sums: &[Choice], parts: &[Choice]) -> Reading {
    let mut reading =
        Reading { sums: vec![None; sums.len()], parts: vec![BTreeMap::new(); parts.len()], unreadable: 0 };
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        // Nobody asks for most names, so nothing more is looked at.
        let name = &line[..line.find(['{', ' ', '\t']).unwrap_or(line.len())];
        if !sums.iter().chain(parts).any(|choice| choice.name == name) {
            continue;
        }
        let Some((labels, shown, value)) = sample(line) else {
            reading.unreadable += 1;
            continue;
        };
        if !value.is_finite() {
            continue;
        }
        let taken = |choice: &&Choice| choice.name == name && choice.takes(&labels);
        for (sum, _) in reading.sums.iter_mut().zip(sums).filter(|(_, choice)| taken(choice)) {
            *sum = Some(sum.unwrap_or(0.0) + value);
        }
        for (part, _) in reading.parts.iter_mut().zip(parts).filter(|(_, choice)| taken(choice)) {
            if part.len() < SERIES_MAX {
                part.insert(shown.to_string(), value);
            }
        }
    }
    reading
}

type Labels = Vec<(String, String)>;

/// Labels, labels as written, and the value of a line.
fn sample(line: &str) -> Option<(Labels, &str, f64)> {
    let (name, labels, rest) = series(line)?;
    let shown = line[name.len()..line.len() - rest.len()].trim();
    let mut fields = rest.split_ascii_whitespace();
    let value = fields.next()?;
    // A time in milliseconds may follow.
    let time = fields.next().is_none_or(|time| time.parse::<i64>().is_ok());
    let apart = rest.starts_with([' ', '\t']) || shown.ends_with('}');
    let value: f64 = value.parse().ok()?;
    (apart && time && fields.next().is_none()).then_some((labels, shown, value))
}

/// Name, labels, and what follows them.
fn series(text: &str) -> Option<(&str, Labels, &str)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let mut labels = Labels::new();
    let Some(inside) = rest.strip_prefix('{') else { return Some((name, labels, rest)) };
    rest = inside.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((name, labels, after));
        }
        let (label, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start())?;
        let label = label.trim();
        if label.is_empty() || !label.chars().all(is_name) {
            return None;
        }
        labels.push((label.into(), value));
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if after.starts_with('}') => after,
            None => return None,
        };
    }
}

/// A label's value between quotes, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inside = text.strip_prefix('"')?;
    let (mut value, mut chars) = (String::new(), inside.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &inside[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('"' | '\\') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn choices(texts: &[&str]) -> Vec<Choice> {
        texts.iter().map(|text| Choice::parse(text).unwrap()).collect()
    }

    const TEXT: &str = r#"# HELP process_resident_memory_bytes Memory
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 1.2345e+07
connections{worker="0",state="open"} 10
connections{worker="1",state="open",} 12 1700000000000
connections{ worker = "1", state="time_wait"} 500
odd{path="C:\\a \"b\"\n{},=} 7"} 3
nothing NaN
endless +Inf
broken{a="b} 5
broken 1 2 3
broken{a="b"}
"#;

    #[test]
    fn choices_are_summed_and_told_apart() {
        let sums = choices(&[
            "process_resident_memory_bytes",
            "connections{state=\"open\"}",
            "connections",
            "odd{path=\"C:\\\\a \\\"b\\\"\\n{},=} 7\"}",
            "nothing",
            "endless",
            "missing",
            "broken",
        ]);
        let parts = choices(&["connections{state=\"open\"}"]);
        let reading = read(TEXT, &sums, &parts);
        let expected = [Some(1.2345e7), Some(22.0), Some(522.0), Some(3.0), None, None, None, None];
        assert_eq!((&reading.sums[..], reading.unreadable), (&expected[..], 3));
        assert_eq!(reading.parts[0].values().copied().collect::<Vec<_>>(), [10.0, 12.0]);
        assert_eq!(reading.parts[0].keys().next().unwrap(), "{worker=\"0\",state=\"open\"}");
    }

    #[test]
    fn what_is_no_choice_is_refused() {
        for text in ["", "{a=\"b\"}", "9a", "a b", "a{", "a{b}", "a{b=c}", "a{b=\"c\"} 5", "a{=\"c\"}"] {
            assert!(Choice::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn many_series_are_bounded() {
        let text: String = (0..3000).map(|i| format!("a{{i=\"{i}\"}} 1\n")).collect();
        let reading = read(&text, &choices(&["a"]), &choices(&["a"]));
        assert_eq!((reading.sums[0], reading.parts[0].len()), (Some(3000.0), SERIES_MAX));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-c{}=,\"\\\\ \n\t0-9.+eNInf#\u{e9}]{0,60}") {
            let sums = choices(&["a", "b{a=\"1\"}"]);
            let reading = read(&text, &sums, &sums);
            prop_assert!(reading.sums.iter().flatten().all(|sum| !sum.is_nan()));
            let _ = Choice::parse(&text);
        }

        #[test]
        fn labels_survive_quoting(value in "\\PC{0,20}", number in -1e12..1e12f64) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let series = format!("a{{b=\"{escaped}\"}}");
            let reading = read(&format!("{series} {number}\n"), &choices(&[series.as_str()]), &[]);
            prop_assert_eq!(reading.sums, [Some(number)]);
        }
    }
}
