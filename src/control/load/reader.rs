//! Typed access to a parsed section.
//!
//! Owns unknown keys, types and ranges, as `schema` has them. Refuses to know what the values mean. A value that is
//! missing or wrong is None; a wrong one has been reported.

use core::time::Duration;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::report::{Report, Span};
use super::schema::{Key, Kind, Schema};
use super::units;

/// The longest unknown key for which a known one is suggested, in bytes.
const SUGGESTED_NAME_MAX: usize = 64;

/// A section of the file, or one that the file leaves out.
pub(in crate::control) struct Section<'a> {
    pub(in crate::control) report: &'a Report<'a>,
    /// Where it begins.
    pub(in crate::control) span: Span,
    schema: &'static Schema,
    table: Option<&'a DeTable<'a>>,
    /// Keys that were probably meant by unknown ones.
    misspelled: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// Wraps `table`, and reports the keys it does not know.
    pub(in crate::control) fn new(
        report: &'a Report<'a>,
        schema: &'static Schema,
        table: &'a DeTable<'a>,
        span: Span,
    ) -> Self {
        let unknown = table.keys().filter(|key| schema.key(key.get_ref()).is_none());
        let misspelled = unknown.filter_map(|key| report_unknown(report, schema, key)).collect();
        Section { report, span, schema, table: Some(table), misspelled }
    }

    /// A section without keys.
    pub(in crate::control) fn empty(report: &'a Report<'a>, schema: &'static Schema) -> Self {
        Section { report, span: 0..0, schema, table: None, misspelled: Vec::new() }
    }

    pub(in crate::control) fn text(&self, name: &str) -> Option<Spanned<&'a str>> {
        let (_, value) = self.get(name)?;
        self.as_text(name, value)
    }

    /// A string or a list of strings; empty when missing.
    pub(in crate::control) fn texts(&self, name: &str) -> Vec<Spanned<&'a str>> {
        let Some((_, value)) = self.get(name) else { return Vec::new() };
        self.as_texts(name, value)
    }

    pub(in crate::control) fn integer(&self, name: &str) -> Option<Spanned<u64>> {
        let (key, value) = self.get(name)?;
        let DeValue::Integer(_) = value.get_ref() else {
            let fix = match value.get_ref() {
                DeValue::String(text) if text.parse::<u64>().is_ok() => {
                    format!("leave out the quotes: {name} = {text}")
                }
                _ => format!("write {name} = {}", example(key)),
            };
            self.report.add(value.span(), wrong_type(name, "a whole number", value), fix);
            return None;
        };
        let Kind::Integer(min, max) = key.kind else { return None };
        self.in_range(name, value, integer(value), (min, max), |n| n.to_string())
    }

    /// A whole number in or out of its range; None also if it is something else. Nothing is reported.
    pub(in crate::control) fn number(&self, name: &str) -> Option<u64> {
        integer(self.table?.get(name)?)
    }

    pub(in crate::control) fn size(&self, name: &str) -> Option<Spanned<u64>> {
        let (key, value) = self.get(name)?;
        let bytes = match value.get_ref() {
            DeValue::Integer(_) => integer(value),
            DeValue::String(text) => match units::parse_size(text) {
                Ok(bytes) => Some(bytes),
                Err(fix) => {
                    self.report.add(value.span(), format!("`{name}` is not a size: {text:?}"), fix);
                    return None;
                }
            },
            _ => {
                let fix = format!("write {name} = {}", example(key));
                self.report.add(value.span(), wrong_type(name, "a size in bytes", value), fix);
                return None;
            }
        };
        let (min, max, power) = match key.kind {
            Kind::Size(min, max) => (min, max, false),
            Kind::PowerOfTwo(min, max) => (min, max, true),
            _ => return None,
        };
        let bytes = self.in_range(name, value, bytes, (min, max), units::show_size)?;
        if power && !bytes.get_ref().is_power_of_two() {
            let above = units::show_size(bytes.get_ref().next_power_of_two());
            let below = units::show_size(bytes.get_ref().next_power_of_two() / 2);
            let what = format!("`{name}` must be a power of two");
            self.report.add(value.span(), what, format!("write \"{below}\" or \"{above}\""));
            return None;
        }
        Some(bytes)
    }

    pub(in crate::control) fn duration(&self, name: &str) -> Option<Duration> {
        let (key, value) = self.get(name)?;
        let DeValue::String(text) = value.get_ref() else {
            let fix = match integer(value) {
                Some(number) => format!("add a unit: {name} = \"{number}s\" or \"{number}ms\""),
                None => format!("write {name} = {}", example(key)),
            };
            self.report.add(value.span(), wrong_type(name, "a duration", value), fix);
            return None;
        };
        let Kind::Duration(min_ms, max_ms) = key.kind else { return None };
        match units::parse_duration(text) {
            Ok(duration) => {
                let ns = u64::try_from(duration.as_nanos()).ok();
                let range = (min_ms.saturating_mul(1_000_000), max_ms.saturating_mul(1_000_000));
                let show = |ns| units::show_duration(Duration::from_nanos(ns));
                self.in_range(name, value, ns, range, show).map(|_| duration)
            }
            Err(fix) => {
                self.report.add(value.span(), format!("`{name}` is not a duration: {text:?}"), fix);
                None
            }
        }
    }

    /// True or false.
    pub(in crate::control) fn flag(&self, name: &str) -> Option<bool> {
        let (_, value) = self.get(name)?;
        if let DeValue::Boolean(flag) = value.get_ref() {
            return Some(*flag);
        }
        self.report.add(value.span(), wrong_type(name, "true or false", value), format!("write {name} = true"));
        None
    }

    /// A string, or a number as it is written.
    pub(in crate::control) fn word(&self, name: &str) -> Option<Spanned<&'a str>> {
        let (_, value) = self.get(name)?;
        self.as_word(name, value)
    }

    /// One or a list of strings, or of numbers as they are written.
    pub(in crate::control) fn words(&self, name: &str) -> Vec<Spanned<&'a str>> {
        let Some((_, value)) = self.get(name) else { return Vec::new() };
        match value.get_ref() {
            DeValue::Array(values) if !values.is_empty() => {
                values.iter().filter_map(|value| self.as_word(name, value)).collect()
            }
            _ => self.as_word(name, value).into_iter().collect(),
        }
    }

    /// The value as it was parsed.
    pub(in crate::control) fn value(&self, name: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.get(name).map(|(_, value)| value)
    }

    /// One of the key's choices.
    pub(in crate::control) fn choice(&self, name: &str) -> Option<&'static str> {
        let (key, _) = self.get(name)?;
        let text = self.text(name)?;
        let Kind::Choice(choices) = key.kind else { return None };
        let found = choices.iter().copied().find(|choice| choice == text.get_ref());
        if found.is_none() {
            let what = format!("`{name}` cannot be {:?}", text.get_ref());
            self.report.add(text.span(), what, format!("write one of: \"{}\"", choices.join("\", \"")));
        }
        found
    }

    pub(in crate::control) fn section(&self, name: &str) -> Option<Section<'a>> {
        let (key, value) = self.get(name)?;
        let Kind::Table(schema) = key.kind else { return None };
        if let DeValue::Table(table) = value.get_ref() {
            return Some(Section::new(self.report, schema, table, value.span()));
        }
        let fix = match value.get_ref() {
            DeValue::Array(_) => format!("there is one {name} section; write [{name}] with single brackets"),
            _ if schema.name.starts_with('[') => format!("write {} on a line of its own, its keys below", schema.name),
            _ => format!("write {name} = {{ {} = {} }}", schema.keys[0].name, example(&schema.keys[0])),
        };
        let expected = if schema.name.starts_with('[') { "a section" } else { "a table" };
        self.report.add(value.span(), wrong_type(name, expected, value), fix);
        None
    }

    pub(in crate::control) fn section_or_empty(&self, name: &str) -> Section<'a> {
        let schema = self.schema.key(name).and_then(|key| match key.kind {
            Kind::Table(schema) => Some(schema),
            _ => None,
        });
        self.section(name).unwrap_or_else(|| Section::empty(self.report, schema.unwrap_or(self.schema)))
    }

    /// A repeated section, in file order.
    pub(in crate::control) fn sections(&self, name: &str) -> Vec<Section<'a>> {
        let Some((key, value)) = self.get(name) else { return Vec::new() };
        let Kind::Tables(schema) = key.kind else { return Vec::new() };
        let mut sections = Vec::new();
        let wrong = |value: &Spanned<DeValue>| {
            let fix = format!("this section may be repeated; write {} with double brackets", schema.name);
            self.report.add(value.span(), wrong_type(name, "a list of sections", value), fix);
        };
        match value.get_ref() {
            DeValue::Array(values) if values.is_empty() => {
                let fix = format!("write {} and its keys below", schema.name);
                self.report.add(value.span(), format!("`{name}` is an empty list"), fix);
            }
            DeValue::Array(values) => {
                for value in values.iter() {
                    match value.get_ref() {
                        DeValue::Table(table) => {
                            sections.push(Section::new(self.report, schema, table, value.span()));
                        }
                        _ => wrong(value),
                    }
                }
            }
            _ => wrong(value),
        }
        sections
    }

    /// Header fields in file order: names with their places, and values.
    pub(in crate::control) fn fields(&self, name: &str) -> Vec<(Spanned<&'a str>, Spanned<&'a str>)> {
        let Some((_, value)) = self.get(name) else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else {
            let fix = format!("write {name} = {{ \"Cache-Control\" = \"no-store\" }}");
            self.report.add(value.span(), wrong_type(name, "a table of header fields", value), fix);
            return Vec::new();
        };
        let mut fields = Vec::new();
        for (field, value) in table.iter() {
            let field = Spanned::new(field.span(), field.get_ref().as_ref());
            for value in self.as_texts(field.get_ref(), value) {
                fields.push((field.clone(), value));
            }
        }
        fields.sort_by_key(|(_, value)| value.span().start);
        fields
    }

    /// Whether the section is there and the key is not, not even misspelled, which has been reported.
    pub(in crate::control) fn lacks(&self, name: &str) -> bool {
        self.table.is_some() && !self.has(name) && !self.misspelled.contains(&name)
    }

    /// Whether the file has the key, well-formed or not.
    pub(in crate::control) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Where the key's value is; the section's beginning if it is missing.
    pub(in crate::control) fn span_of(&self, name: &str) -> Span {
        self.get(name).map_or(self.span.clone(), |(_, value)| value.span())
    }

    fn get(&self, name: &str) -> Option<(&'static Key, &'a Spanned<DeValue<'a>>)> {
        let key = self.schema.key(name);
        debug_assert!(key.is_some(), "{name} is not in the schema of {}", self.schema.name);
        let (_, value) = self.table?.iter().find(|(key, _)| key.get_ref() == name)?;
        key.map(|key| (key, value))
    }

    fn as_text(&self, name: &str, value: &'a Spanned<DeValue<'a>>) -> Option<Spanned<&'a str>> {
        if let DeValue::String(text) = value.get_ref() {
            return Some(Spanned::new(value.span(), text.as_ref()));
        }
        let fix = match value.get_ref() {
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
                format!("put it in quotes: {name} = \"...\"")
            }
            _ => format!("write {name} = \"...\""),
        };
        self.report.add(value.span(), wrong_type(name, "a string", value), fix);
        None
    }

    fn as_word(&self, name: &str, value: &'a Spanned<DeValue<'a>>) -> Option<Spanned<&'a str>> {
        match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => Some(Spanned::new(value.span(), number.as_str())),
            DeValue::Float(number) => Some(Spanned::new(value.span(), number.as_str())),
            _ => self.as_text(name, value),
        }
    }

    fn as_texts(&self, name: &str, value: &'a Spanned<DeValue<'a>>) -> Vec<Spanned<&'a str>> {
        match value.get_ref() {
            DeValue::Array(values) if values.is_empty() => {
                self.report.add(value.span(), format!("`{name}` is an empty list"), "add a string, or remove the key");
                Vec::new()
            }
            DeValue::Array(values) => values.iter().filter_map(|value| self.as_text(name, value)).collect(),
            _ => self.as_text(name, value).into_iter().collect(),
        }
    }

    fn in_range(
        &self,
        name: &str,
        value: &Spanned<DeValue>,
        number: Option<u64>,
        (min, max): (u64, u64),
        show: impl Fn(u64) -> String,
    ) -> Option<Spanned<u64>> {
        match number {
            Some(number) if (min..=max).contains(&number) => Some(Spanned::new(value.span(), number)),
            _ => {
                let what = format!("`{name}` is out of range");
                self.report.add(value.span(), what, format!("{name} is from {} to {}", show(min), show(max)));
                None
            }
        }
    }
}

/// Reports `key`; the result is the known key that was probably meant.
fn report_unknown(report: &Report, schema: &Schema, key: &Spanned<DeString>) -> Option<&'static str> {
    let name = key.get_ref();
    let known = || schema.keys.iter().map(|key| key.name);
    let distance = |known: &&str| strsim::damerau_levenshtein(known, &name.to_lowercase().replace('-', "_"));
    // The comparison takes time and memory in proportion to the name.
    let nearest = known().filter(|_| name.len() <= SUGGESTED_NAME_MAX).min_by_key(distance);
    let nearest = nearest.filter(|known| distance(known) <= 1.max(known.len() / 3));
    let known = known().collect::<Vec<_>>().join(", ");
    let fix = match nearest {
        Some(nearest) => format!("did you mean `{nearest}`? Known keys: {known}"),
        None => format!("known keys: {known}"),
    };
    report.add(key.span(), format!("unknown key `{name}` in {}", schema.name), fix);
    nearest
}

fn integer(value: &Spanned<DeValue>) -> Option<u64> {
    let DeValue::Integer(number) = value.get_ref() else { return None };
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn wrong_type(name: &str, expected: &str, value: &Spanned<DeValue>) -> String {
    format!("`{name}` must be {expected}, not {}", article(value.get_ref().type_str()))
}

fn article(name: &str) -> String {
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {name}")
}

fn example(key: &Key) -> String {
    match key.kind {
        Kind::Integer(..) if key.default.parse::<u64>().is_ok() => key.default.to_string(),
        Kind::Integer(min, max) => format!("a number from {min} to {max}"),
        Kind::Size(..) | Kind::PowerOfTwo(..) | Kind::Duration(..) | Kind::Choice(_) => key.default.to_string(),
        _ => "\"...\"".to_string(),
    }
}
