//! A section of a schema as the documentation's table, for the tests that compare the two.
//!
//! Owns the form of a row. Refuses to read documents.

use core::time::Duration;

use super::schema::{Key, Kind, Schema};
use super::units;

/// The rows of a section's table.
pub(in crate::control) fn rows(schema: &Schema) -> Vec<String> {
    let row = |key: &Key| {
        let words = |list: &[&str]| list.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ");
        let ms = |ms| units::show_duration(Duration::from_millis(ms));
        let (kind, range) = match &key.kind {
            Kind::Text => ("string", String::new()),
            Kind::Texts => ("string or list of strings", String::new()),
            Kind::Integer(min, max) if *max == i64::MAX as u64 => ("number", format!("from {min}")),
            Kind::Integer(min, max) => ("number", format!("{min} to {max}")),
            Kind::Size(min, max) => ("size", format!("{} to {}", units::show_size(*min), units::show_size(*max))),
            Kind::PowerOfTwo(min, max) => {
                ("size", format!("power of two, {} to {}", units::show_size(*min), units::show_size(*max)))
            }
            Kind::Duration(min, max) => ("duration", format!("{} to {}", ms(*min), ms(*max))),
            Kind::Choice(choices) => ("string", words(choices)),
            Kind::Table(schema) if schema.name.starts_with('[') => ("section", String::new()),
            Kind::Table(_) => ("table", String::new()),
            Kind::Tables(_) => ("section, repeated", String::new()),
            Kind::Fields | Kind::Thresholds(_) => ("table", String::new()),
            Kind::Flag => ("true or false", String::new()),
            Kind::Rate => ("rate", String::new()),
            Kind::Statuses => ("number, string or list of them", String::new()),
        };
        let default = match key.default {
            value if value.starts_with(|c: char| c == '"' || c.is_ascii_digit()) => format!("`{value}`"),
            words => words.to_string(),
        };
        let range = if range.is_empty() { "-" } else { &range };
        format!("| `{}` | {kind} | {range} | {default} | {} |", key.name, key.meaning)
    };
    schema.keys.iter().map(row).collect()
}
