//! The text format read strictly, and promtool's rules on names.
//!
//! Owns what Prometheus would refuse, what `promtool check metrics` would complain about, and this project's prefix.
//! Refuses to forgive.

use std::collections::{BTreeMap, BTreeSet};

/// A sample: name with suffix, labels in order, value.
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: Vec<(String, String)>,
    pub(super) value: f64,
}

/// A family: type, help, samples.
#[derive(Default)]
pub(super) struct Family {
    pub(super) kind: String,
    pub(super) help: String,
    pub(super) samples: Vec<Sample>,
}

/// Reads an exposition; the error is the offending line and why.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, Family>, String> {
    let mut families = BTreeMap::<String, Family>::new();
    let mut current = String::new();
    if !text.ends_with('\n') {
        return Err("the last line does not end".into());
    }
    for line in text.lines() {
        let fail = |why: &str| format!("{why}: {line}");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or_else(|| fail("no help text"))?;
            if families.contains_key(name) {
                return Err(fail("a second HELP, or a family in two places"));
            }
            families.entry(name.into()).or_default().help = help.into();
            current = name.into();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(|| fail("no type"))?;
            let family = families.get_mut(name).filter(|_| name == current).ok_or_else(|| fail("TYPE without HELP"))?;
            if !family.kind.is_empty() || !["counter", "gauge", "histogram"].contains(&kind) {
                return Err(fail("a second or unknown type"));
            }
            family.kind = kind.into();
        } else {
            let sample = parse_sample(line).ok_or_else(|| fail("not a sample"))?;
            let family = families.get_mut(&current).filter(|f| !f.kind.is_empty()).ok_or_else(|| fail("no TYPE"))?;
            let suffixes: &[&str] = if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            if !suffixes.iter().any(|suffix| sample.name == format!("{current}{suffix}")) {
                return Err(fail("a sample of another family"));
            }
            family.samples.push(sample);
        }
    }
    Ok(families)
}

fn parse_sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = unescape(after)?;
            labels.push((label.to_string(), value));
            rest = after;
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = rest.strip_prefix(',')?;
        }
    }
    let value = rest.strip_prefix(' ')?;
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().ok()? };
    (is_name(name) && labels.iter().all(|(label, _)| is_name(label))).then(|| Sample {
        name: name.into(),
        labels,
        value,
    })
}

/// A label's value up to its quote, and what follows.
fn unescape(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_lowercase()) && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Everything that is wrong with an exposition.
pub(super) fn lint(families: &BTreeMap<String, Family>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, family) in families {
        let mut add = |what: &str| wrong.push(format!("{name}: {what}"));
        lint_name(name, family, &mut add);
        let mut seen = BTreeSet::new();
        for sample in &family.samples {
            let mut labels: Vec<_> = sample.labels.clone();
            labels.sort();
            if labels.windows(2).any(|two| two[0].0 == two[1].0) {
                add("a label twice");
            }
            if !seen.insert((sample.name.clone(), labels)) {
                add("a sample twice");
            }
            if sample.value.is_nan() || sample.value < 0.0 {
                add("a value that cannot be");
            }
            if family.kind != "histogram" && sample.labels.iter().any(|(label, _)| label == "le" || label == "quantile")
            {
                add("a reserved label");
            }
        }
        if family.samples.is_empty() {
            add("no sample");
        }
        if family.kind == "histogram" {
            lint_histogram(family, &mut add);
        }
    }
    wrong
}

fn lint_name(name: &str, family: &Family, add: &mut impl FnMut(&str)) {
    // Names that every client library of Prometheus has are theirs.
    let prefixed = name.starts_with("penstock_") || name.starts_with("process_");
    if !prefixed || name.contains("__") || name.bytes().any(|b| b.is_ascii_uppercase()) {
        add("a name is penstock_ and lower-case words");
    }
    if family.help.trim().is_empty() || family.help.ends_with('.') {
        add("a help text is a phrase");
    }
    if (family.kind == "counter") != name.ends_with("_total") {
        add("counters, and only they, end in _total");
    }
    if ["_count", "_sum", "_bucket"].iter().any(|suffix| name.ends_with(suffix)) {
        add("the suffix belongs to histograms' samples");
    }
    let words: Vec<&str> = name.split('_').collect();
    if words.iter().any(|word| ["counter", "gauge", "histogram", "summary", "metric"].contains(word)) {
        add("the type does not belong into the name");
    }
    const NO_BASE_UNITS: [&str; 16] = [
        "milliseconds",
        "microseconds",
        "nanoseconds",
        "minutes",
        "hours",
        "days",
        "ms",
        "us",
        "ns",
        "kilobytes",
        "megabytes",
        "kib",
        "mib",
        "kb",
        "mb",
        "percent",
    ];
    if words.iter().any(|word| NO_BASE_UNITS.contains(word)) {
        add("units are base units, unabbreviated");
    }
    let unit = words.iter().position(|word| ["seconds", "bytes"].contains(word));
    if unit.is_some_and(|at| !["", "total"].contains(words.get(at + 1).unwrap_or(&""))) {
        add("the unit comes last");
    }
}

fn lint_histogram(family: &Family, add: &mut impl FnMut(&str)) {
    let mut series = BTreeMap::<Vec<(String, String)>, (Vec<(f64, f64)>, Option<f64>, Option<f64>)>::new();
    for sample in &family.samples {
        let (le, labels): (Vec<_>, Vec<_>) = sample.labels.iter().cloned().partition(|(label, _)| label == "le");
        let (buckets, sum, count) = series.entry(labels).or_default();
        match (&le[..], sample.name.rsplit('_').next()) {
            ([(_, le)], Some("bucket")) => {
                let bound = if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap_or(f64::NAN) };
                buckets.push((bound, sample.value));
            }
            ([], Some("sum")) => *sum = Some(sample.value),
            ([], Some("count")) => *count = Some(sample.value),
            _ => add("le belongs to buckets, and only to them"),
        }
    }
    for (buckets, sum, count) in series.values() {
        if buckets.windows(2).any(|two| two[0].0 >= two[1].0 || two[0].1 > two[1].1 || two[1].0.is_nan()) {
            add("bounds and counts of buckets grow");
        }
        let last = buckets.last().filter(|(bound, _)| bound.is_infinite());
        if sum.is_none() || count.is_none() || last.map(|(_, value)| *value) != *count {
            add("a histogram has _sum, _count and a bucket +Inf equal to _count");
        }
    }
}
