//! Thresholds in k6's grammar: `METRIC{TAG:VALUE}: AGGREGATION OPERATOR VALUE`.
//!
//! Owns the grammar, as functions of the text alone, and which metric has which aggregations. Refuses to evaluate: `report`
//! does, and to know whether a stage or a class of that name exists.

use super::rate::{self, Mistake, Part, place, trimmed};
use crate::loadgen::plan::{Aggregation, Comparison, Metric};

/// A metric, and whose requests of it count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selector {
    /// What is compared.
    pub metric: Metric,
    /// The name of a stage, and where it is in the text.
    pub stage: Option<(usize, String)>,
    /// The name of a class, and where it is in the text.
    pub class: Option<(usize, String)>,
}

/// A condition on a metric.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Condition {
    /// How the metric becomes one number.
    pub aggregation: Aggregation,
    /// The comparison that must hold.
    pub comparison: Comparison,
    /// The right side: nanoseconds for durations, else as written.
    pub value: f64,
}

/// Metrics by name. The last two are names that k6 has for what is the same here: a run has one request an iteration.
const METRICS: [(&str, Metric); 8] = [
    ("http_req_duration", Metric::Duration),
    ("http_req_service", Metric::Service),
    ("http_req_connecting", Metric::Connecting),
    ("http_req_failed", Metric::Failed),
    ("http_reqs", Metric::Requests),
    ("checks", Metric::Checks),
    ("iteration_duration", Metric::Duration),
    ("iterations", Metric::Requests),
];
/// Tags by name: ours, and k6's for the same.
const TAGS: [(&str, bool); 4] = [("stage", true), ("class", false), ("scenario", true), ("name", false)];
/// Longer operators first: `<=` begins with `<`.
const COMPARISONS: [(&str, Comparison); 7] = [
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("===", Comparison::Equal),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];
/// Units of durations on the right side, in nanoseconds; without one it is milliseconds, as in k6.
const UNITS: [(&str, f64); 7] =
    [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9), ("", 1e6)];

/// What a metric is: k6's trend, rate or counter.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Kind {
    Trend,
    Share,
    Counter,
}

fn kind(metric: Metric) -> Kind {
    match metric {
        Metric::Duration | Metric::Service | Metric::Connecting => Kind::Trend,
        Metric::Failed | Metric::Checks => Kind::Share,
        Metric::Requests => Kind::Counter,
    }
}

/// A metric's name.
pub fn name(metric: Metric) -> &'static str {
    METRICS.iter().find(|(_, known)| *known == metric).map_or("", |(name, _)| name)
}

/// Splits `METRIC{TAG:VALUE}: CONDITION` at the colon that ends the metric.
pub fn split(text: &str) -> Result<(Part<'_>, Part<'_>), Mistake> {
    let selector = text.find('{').map_or(0, |open| text[open..].find('}').map_or(0, |close| open + close));
    match text[selector..].find(':') {
        Some(colon) => {
            let colon = selector + colon;
            Ok(((0, &text[..colon]), (colon + 1, &text[colon + 1..])))
        }
        None => {
            let fix = "write METRIC: CONDITION: 'http_req_duration: p(99.9)<1ms', 'http_req_failed: rate<0.01'";
            Err(Mistake::new(0..text.len(), "not a threshold", fix))
        }
    }
}

/// Reads a metric's name with the tags behind it.
pub fn selector(text: &str) -> Result<Selector, Mistake> {
    let (metric, tags) = match text.find('{') {
        None => (text, None),
        Some(open) => (&text[..open], Some((open + 1, &text[open + 1..]))),
    };
    let (at, metric) = trimmed((0, metric));
    let mut selector = Selector { metric: self::metric((at, metric))?, stage: None, class: None };
    let Some((start, rest)) = tags else { return Ok(selector) };
    let Some(inner) = rest.trim_end().strip_suffix('}') else {
        let fix = "the form is METRIC{class:NAME} or METRIC{stage:NAME,class:NAME}";
        return Err(Mistake::new(start - 1..text.len(), "the tags do not end with `}`", fix));
    };
    let mut at = start;
    for tag in inner.split(',') {
        tag_of((at, tag), &mut selector)?;
        at += tag.len() + 1;
    }
    if selector.metric == Metric::Connecting {
        let fix = "remove the tags: connections belong to no stage or class";
        return Err(Mistake::new(start - 1..text.len(), "`http_req_connecting` has no tags", fix));
    }
    Ok(selector)
}

fn metric(part: Part) -> Result<Metric, Mistake> {
    let known = METRICS.iter().find(|(name, _)| *name == part.1);
    known.map(|(_, metric)| *metric).ok_or_else(|| {
        let names = METRICS.map(|(name, _)| name);
        Mistake::new(place(part), format!("unknown metric {:?}", part.1), suggestion(part.1, &names))
    })
}

fn tag_of(part: Part, selector: &mut Selector) -> Result<(), Mistake> {
    let fix = "the form is {class:NAME} or {stage:NAME}";
    let Some(colon) = part.1.find(':') else {
        return Err(Mistake::new(place(trimmed(part)), "not a tag with a value", fix));
    };
    let key = trimmed((part.0, &part.1[..colon]));
    let value = trimmed((part.0 + colon + 1, &part.1[colon + 1..]));
    let Some((_, is_stage)) = TAGS.iter().find(|(name, _)| *name == key.1) else {
        let fix = suggestion(key.1, &TAGS.map(|(name, _)| name));
        return Err(Mistake::new(place(key), format!("unknown tag {:?}", key.1), fix));
    };
    if value.1.is_empty() {
        return Err(Mistake::new(place(part), "the tag has no value", fix));
    }
    let chosen = if *is_stage { &mut selector.stage } else { &mut selector.class };
    if chosen.replace((value.0, value.1.to_string())).is_some() {
        return Err(Mistake::new(place(key), format!("a second {}", key.1), "write a threshold for each"));
    }
    Ok(())
}

/// Reads `AGGREGATION OPERATOR VALUE` for a metric.
pub fn condition(metric: Metric, text: &str) -> Result<Condition, Mistake> {
    let Some(operator) = text.find(['<', '>', '=', '!']) else {
        let fix = format!("the form is {}; operators: <, <=, >, >=, ==, !=", example(metric));
        return Err(Mistake::new(0..text.len(), "the condition has no comparison", fix));
    };
    let rest = &text[operator..];
    let Some((sign, comparison)) = COMPARISONS.iter().find(|(sign, _)| rest.starts_with(sign)) else {
        let fix = "operators: <, <=, >, >=, ==, !=";
        return Err(Mistake::new(operator..operator + 1, "not a comparison", fix));
    };
    let aggregation = aggregation(metric, trimmed((0, &text[..operator])))?;
    let after = operator + sign.len();
    let value = value(metric, aggregation, trimmed((after, &text[after..])))?;
    Ok(Condition { aggregation, comparison: *comparison, value })
}

fn example(metric: Metric) -> &'static str {
    match kind(metric) {
        Kind::Trend => "\"p(99.9)<1ms\"",
        Kind::Share if metric == Metric::Failed => "\"rate<0.01\"",
        Kind::Share => "\"rate>0.99\"",
        Kind::Counter => "\"rate>100k\" or \"count>1000\"",
    }
}

fn aggregation(metric: Metric, part: Part) -> Result<Aggregation, Mistake> {
    let aggregations: &str = match kind(metric) {
        Kind::Trend => "p(N), avg, min, med, max",
        Kind::Share => "rate",
        Kind::Counter => "rate, count",
    };
    let inner = part.1.strip_prefix('p').map(str::trim_start).and_then(|rest| rest.strip_prefix('('));
    let found = match part.1 {
        "avg" => Some(Aggregation::Mean),
        "min" => Some(Aggregation::Min),
        "med" => Some(Aggregation::Median),
        "max" => Some(Aggregation::Max),
        "rate" => Some(Aggregation::Rate),
        "count" => Some(Aggregation::Count),
        _ => match inner.map(|inner| inner.strip_suffix(')').and_then(|number| rate::decimal(number.trim()))) {
            Some(Some(percent)) if percent <= 100.0 => Some(Aggregation::Percentile(percent)),
            Some(_) => {
                let fix = "percentiles are from p(0) to p(100): p(99.9)";
                return Err(Mistake::new(place(part), format!("not a percentile: {:?}", part.1), fix));
            }
            None => None,
        },
    };
    let fits = |aggregation: &Aggregation| match aggregation {
        Aggregation::Rate => kind(metric) != Kind::Trend,
        Aggregation::Count => kind(metric) == Kind::Counter,
        _ => kind(metric) == Kind::Trend,
    };
    found.filter(fits).ok_or_else(|| {
        let what = format!("`{}` has no aggregation {:?}", name(metric), part.1);
        Mistake::new(place(part), what, format!("it has: {aggregations}; example: {}", example(metric)))
    })
}

fn value(metric: Metric, aggregation: Aggregation, part: Part) -> Result<f64, Mistake> {
    let wrong = |what: &str, fix: String| Mistake::new(place(part), format!("{what}: {:?}", part.1), fix);
    match kind(metric) {
        Kind::Trend => {
            let digits = part.1.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(part.1.len());
            let (number, unit) = part.1.split_at(digits);
            let factor = UNITS.iter().find(|(name, _)| *name == unit.trim()).map(|(_, factor)| *factor);
            let value = rate::decimal(number).zip(factor).map(|(number, factor)| number * factor);
            value.ok_or_else(|| {
                let fix = "write a number with a unit: 1ms, 250us, 1.5s; units: ns, us, ms, s, m, h; without one: ms";
                wrong("not a duration", fix.into())
            })
        }
        Kind::Share => match rate::decimal(part.1) {
            Some(share) if share <= 1.0 => Ok(share),
            Some(percent) if percent <= 100.0 => {
                Err(wrong("not a share", format!("a share is from 0 to 1: for {percent} % write {}", percent / 100.0)))
            }
            _ => match part.1.strip_suffix('%').and_then(|number| rate::decimal(number.trim())) {
                Some(percent) => Err(wrong("not a share", format!("for {percent} % write {}", percent / 100.0))),
                None => Err(wrong("not a share", "a share is from 0 to 1: 0.01 is 1 %".into())),
            },
        },
        Kind::Counter => rate::number(part).map_err(|_| {
            let (what, fix) = match aggregation {
                Aggregation::Rate => ("not a number per second", "examples: 100000, 100k, 2.5M/s"),
                _ => ("not a number", "examples: 1000, 100k, 2.5M"),
            };
            wrong(what, fix.into())
        }),
    }
}

/// A known word that was probably meant.
fn suggestion(word: &str, known: &[&str]) -> String {
    let list = known.join(", ");
    let near = |known: &&&str| strsim::damerau_levenshtein(known, word) <= 1.max(known.len() / 3);
    let nearest = known.iter().filter(|_| word.len() <= 64).filter(near);
    match nearest.min_by_key(|known| strsim::damerau_levenshtein(known, word)) {
        Some(nearest) => format!("did you mean `{nearest}`? Known: {list}"),
        None => format!("known: {list}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<(Selector, Condition), Mistake> {
        let (metric, rest) = split(text)?;
        let selector = selector(metric.1)?;
        let condition = condition(selector.metric, rest.1).map_err(|mistake| mistake.after(rest.0))?;
        Ok((selector, condition))
    }

    #[test]
    fn forms_of_the_documentation_of_k6() {
        use Aggregation::{Count, Max, Mean, Median, Min, Percentile, Rate};
        use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        use Metric::{Checks, Connecting, Duration, Failed, Requests, Service};
        for (text, metric, aggregation, comparison, value) in [
            ("http_req_duration: p(95)<800", Duration, Percentile(95.0), Less, 800e6),
            ("http_req_duration: p(99.9)<1ms", Duration, Percentile(99.9), Less, 1e6),
            ("http_req_duration: p(90) < 400.5", Duration, Percentile(90.0), Less, 400.5e6),
            ("http_req_duration:avg<200", Duration, Mean, Less, 200e6),
            ("http_req_service: med<=250us", Service, Median, LessOrEqual, 250e3),
            ("http_req_service: min>0", Service, Min, Greater, 0.0),
            ("http_req_connecting: max<1.5s", Connecting, Max, Less, 1.5e9),
            ("http_req_failed: rate<0.01", Failed, Rate, Less, 0.01),
            ("http_req_failed: rate==0", Failed, Rate, Equal, 0.0),
            ("checks: rate>0.9", Checks, Rate, Greater, 0.9),
            ("checks: rate===1", Checks, Rate, Equal, 1.0),
            ("http_reqs: count>1000", Requests, Count, Greater, 1000.0),
            ("http_reqs: rate>100000", Requests, Rate, Greater, 100e3),
            ("http_reqs: rate>=1.5M/s", Requests, Rate, GreaterOrEqual, 1.5e6),
            (" http_reqs : count != 100k ", Requests, Count, NotEqual, 100e3),
            ("iterations: count>5", Requests, Count, Greater, 5.0),
            ("iteration_duration: max<1m", Duration, Max, Less, 60e9),
        ] {
            let (selector, condition) = read(text).unwrap_or_else(|mistake| panic!("{text}: {mistake:?}"));
            assert_eq!(selector, Selector { metric, stage: None, class: None }, "{text}");
            assert_eq!(condition, Condition { aggregation, comparison, value }, "{text}");
        }
    }

    #[test]
    fn tags_choose_stage_and_class() {
        let named = |at, name: &str| Some((at, name.to_string()));
        let (one, _) = read("http_req_duration{class:log in}: p(95)<800").unwrap();
        assert_eq!((one.stage, one.class), (None, named(24, "log in")));
        let (both, _) = read("http_req_failed{ stage:peak , name: a }: rate<0.1").unwrap();
        assert_eq!((both.stage, both.class), (named(23, "peak"), named(36, "a")));
        let (other, _) = read("http_reqs{scenario:main}:count>1").unwrap();
        assert_eq!(other.stage, named(19, "main"));
    }

    #[test]
    fn mistakes_have_a_place_and_a_fix() {
        for (text, marked, what, fix) in [
            ("p(95)<800", "p(95)<800", "not a threshold", "METRIC: CONDITION"),
            ("", "", "not a threshold", "METRIC: CONDITION"),
            (
                "http_req_durations: p(95)<8",
                "http_req_durations",
                "unknown metric",
                "did you mean `http_req_duration`?",
            ),
            ("http_req_waiting: p(95)<8", "http_req_waiting", "unknown metric", "http_req_service"),
            ("http_reqs: rate", " rate", "no comparison", "rate>100k"),
            ("http_reqs: rate=>5", "=", "not a comparison", "operators"),
            ("http_reqs: p(95)<5", "p(95)", "no aggregation", "it has: rate, count"),
            ("http_req_failed: count<5", "count", "no aggregation", "it has: rate;"),
            ("http_req_duration: rate<5", "rate", "no aggregation", "p(N), avg"),
            ("http_req_duration: p95<5", "p95", "no aggregation", "p(N), avg"),
            ("http_req_duration: p(101)<5", "p(101)", "not a percentile", "p(99.9)"),
            ("http_req_duration: p(99<5", "p(99", "not a percentile", "p(99.9)"),
            ("http_req_duration: p(95)<5 sec", "5 sec", "not a duration", "units"),
            ("http_req_duration: p(95)<", "", "not a duration", "units"),
            ("http_req_duration: p(95)<1.2.3", "1.2.3", "not a duration", "units"),
            ("http_req_duration: p(95)<-1", "-1", "not a duration", "units"),
            ("http_req_failed: rate<5", "5", "not a share", "for 5 % write 0.05"),
            ("http_req_failed: rate<1%", "1%", "not a share", "for 1 % write 0.01"),
            ("http_reqs: count>many", "many", "not a number", "1000"),
            ("http_reqs{class}: count>1", "class", "not a tag", "{class:NAME}"),
            ("http_reqs{clas:a}: count>1", "clas", "unknown tag", "did you mean `class`?"),
            ("http_reqs{class:}: count>1", "class:", "no value", "{class:NAME}"),
            ("http_reqs{class:a,class:b}: count>1", "class", "a second class", "each"),
            ("http_reqs{class:a: count>1", "{class", "do not end", "METRIC{class:NAME}"),
            ("http_req_connecting{class:a}: max<1", "{class:a}", "has no tags", "remove"),
        ] {
            let mistake = read(text).unwrap_err();
            assert_eq!(&text[mistake.at.clone()], marked, "{text}: {mistake:?}");
            assert!(mistake.what.contains(what) && mistake.fix.contains(fix), "{text}: {mistake:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_places_are_inside(
            text: String,
            near in "(http_req_duration|http_reqs|checks)?[{:},clas\u{e9} ]{0,6}:? ?(p\\([0-9.]{0,4}\\)?|rate|avg)?[<>=! ]{0,3}[0-9.ms%\u{e9}]{0,4}",
        ) {
            for text in [text, near] {
                if let Err(mistake) = read(&text) {
                    prop_assert!(text.get(mistake.at.clone()).is_some(), "{:?} {:?}", text, mistake);
                }
            }
        }
    }
}
