//! JSON Schemas (draft 2020-12) of the configuration and of load plans, for editors and generators of such files.
//!
//! Owns how a `Kind` of `load::schema` is said in JSON Schema. Refuses to know any key, and to be the judge: what a schema
//! cannot say (sizes and durations out of range, two listeners on one port) only `penstock check` finds.

use core::time::Duration;

use serde_json::{Map, Value, json};

use super::load::schema::{self, Key, Kind, Schema};
use super::load::units;
use super::load_plan;
use super::load_plan::rate;
use crate::limits;
use crate::limits::ROUTES_MAX;
use crate::loadgen::plan::CELLS_MAX;

/// The document as text, with a final line feed.
pub fn text() -> String {
    format!("{:#}\n", document())
}

/// The schema of load plans as text, with a final line feed.
pub fn plan_text() -> String {
    format!("{:#}\n", plan_document())
}

/// The document.
pub fn document() -> Value {
    of(&schema::ROOT, "Penstock's configuration")
}

/// The schema of load plans.
pub fn plan_document() -> Value {
    of(&load_plan::schema::ROOT, "A load plan of Penstock")
}

fn of(root: &Schema, title: &str) -> Value {
    let mut definitions = Map::new();
    define(root, &mut definitions);
    let Some(Value::Object(mut document)) = definitions.remove(&name(root)) else { return Value::Null };
    document.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    document.insert("title".into(), json!(title));
    document.insert("$defs".into(), Value::Object(definitions));
    Value::Object(document)
}

/// Adds a section, and those below it, to the definitions.
fn define(section: &Schema, definitions: &mut Map<String, Value>) {
    let properties: Map<String, Value> = section.keys.iter().map(|key| (key.name.into(), property(key))).collect();
    let mut object = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    let required: Vec<&str> = section.keys.iter().filter(|key| key.default == "required").map(|key| key.name).collect();
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    // Keys of which exactly one is there name each other where their default would be.
    let alternatives = section.keys.iter().filter(|key| key.default.starts_with("this or "));
    let alternatives: Vec<Value> = alternatives.map(|key| json!({ "required": [key.name] })).collect();
    if !alternatives.is_empty() {
        object["oneOf"] = json!(alternatives);
    }
    definitions.insert(name(section), object);
    for key in section.keys {
        if let Kind::Table(below) | Kind::Tables(below) | Kind::Thresholds(below) = key.kind {
            define(below, definitions);
        }
    }
}

/// A section's name without brackets.
fn name(section: &Schema) -> String {
    section.name.trim_matches(['[', ']']).to_string()
}

fn property(key: &Key) -> Value {
    let mut value = kind(key);
    let range = match key.kind {
        Kind::Size(min, max) => format!(" From {} to {}.", units::show_size(min), units::show_size(max)),
        Kind::PowerOfTwo(min, max) => {
            format!(" A power of two from {} to {}.", units::show_size(min), units::show_size(max))
        }
        Kind::Duration(min, max) => format!(" From {} to {}.", show_ms(min), show_ms(max)),
        _ => String::new(),
    };
    let default = match serde_json::from_str::<Value>(key.default) {
        Ok(default) => {
            value["default"] = default;
            String::new()
        }
        Err(_) if key.default == "required" => String::new(),
        Err(_) => format!(" When left out: {}.", key.default),
    };
    value["description"] = json!(format!("{}{range}{default}", key.meaning));
    value
}

fn kind(key: &Key) -> Value {
    match key.kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Texts => text_or_texts(),
        Kind::Integer(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Size(min, max) => json!({ "anyOf": [
            { "type": "integer", "minimum": min, "maximum": max },
            { "type": "string", "pattern": pattern(&units::SIZES) },
        ] }),
        Kind::PowerOfTwo(min, max) => {
            let sizes: Vec<u64> = (0..64).map(|n| 1 << n).filter(|size| (min..=max).contains(size)).collect();
            json!({ "anyOf": [{ "enum": sizes }, { "type": "string", "pattern": pattern(&units::SIZES) }] })
        }
        Kind::Duration(..) => json!({ "type": "string", "pattern": pattern(&units::DURATIONS) }),
        Kind::Choice(choices) => json!({ "enum": choices }),
        Kind::Table(below) => json!({ "$ref": reference(below) }),
        Kind::Tables(below) => {
            let mut list = json!({ "type": "array", "items": { "$ref": reference(below) }, "minItems": 1 });
            if let Some(max) = items_max(key.name) {
                list["maxItems"] = json!(max);
            }
            list
        }
        Kind::Fields => json!({ "type": "object", "additionalProperties": text_or_texts() }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Rate => json!({ "anyOf": [
            { "type": "number", "minimum": 0 },
            { "type": "string", "pattern": rate::PATTERN },
        ] }),
        Kind::Statuses => one_or_more(&[
            json!({ "type": "integer", "minimum": 100, "maximum": 599 }),
            json!({ "type": "string", "pattern": "^[-0-9, ]+$" }),
        ]),
        Kind::Thresholds(below) => {
            let condition = one_or_more(&[json!({ "type": "string" }), json!({ "$ref": reference(below) })]);
            json!({ "type": "object", "additionalProperties": condition })
        }
    }
}

fn one_or_more(forms: &[Value]) -> Value {
    let list = json!({ "type": "array", "items": { "anyOf": forms }, "minItems": 1 });
    json!({ "anyOf": forms.iter().chain([&list]).collect::<Vec<_>>() })
}

fn text_or_texts() -> Value {
    json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }] })
}

fn reference(section: &Schema) -> String {
    format!("#/$defs/{}", name(section))
}

fn items_max(key: &str) -> Option<usize> {
    match key {
        "listener" => Some(limits::LISTENERS_MAX),
        "route" => Some(ROUTES_MAX),
        "stages" | "requests" => Some(CELLS_MAX),
        _ => None,
    }
}

/// A regular expression for a whole number and one of the units.
fn pattern(units: &[(&str, u64)]) -> String {
    let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
    format!("^ *[0-9]+ *({}) *$", names.join("|"))
}

fn show_ms(ms: u64) -> String {
    units::show_duration(Duration::from_millis(ms))
}
