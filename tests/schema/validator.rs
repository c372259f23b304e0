//! A validator for the part of JSON Schema that our documents use.
//!
//! Owns the keywords. Refuses to pass over one it does not know.

use regex::Regex;
use serde_json::{Map, Value};

/// What is wrong with `value`, with its place; `document` is where references lead.
pub fn errors(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let schema = schema.as_object().expect("a schema is an object");
    schema.iter().flat_map(|(keyword, rule)| keyword_errors(document, schema, (keyword, rule), value, at)).collect()
}

fn keyword_errors(
    document: &Value,
    schema: &Map<String, Value>,
    (keyword, rule): (&str, &Value),
    value: &Value,
    at: &str,
) -> Vec<String> {
    let rules = || rule.as_array().expect("a list");
    let valid = |rule: &&Value| errors(document, rule, value, at).is_empty();
    let length = || value.as_array().map_or(0, |list| list.len() as u64);
    let fine = match keyword {
        "$schema" | "$defs" | "title" | "description" | "default" => true,
        // Says how large a number may be, which minimum and maximum say again where it matters.
        "format" => rule.as_str().is_some_and(|name| ["uint8", "uint32", "uint64", "double"].contains(&name)),
        "$ref" => {
            let pointer = rule.as_str().and_then(|text| text.strip_prefix('#')).expect("a local reference");
            return errors(document, document.pointer(pointer).expect("the reference leads somewhere"), value, at);
        }
        "type" => match rule {
            Value::Array(types) => types.iter().any(|name| is_type(name, value)),
            name => is_type(name, value),
        },
        "properties" => return property_errors(document, rule, value, at),
        "additionalProperties" => return additional_errors(document, schema, rule, value, at),
        "items" => return item_errors(document, rule, value, at),
        "required" => rules().iter().all(|name| !value.is_object() || value.get(name.as_str().unwrap()).is_some()),
        "enum" => rules().contains(value),
        "const" => value == rule,
        "anyOf" => rules().iter().any(|rule| valid(&rule)),
        "oneOf" => rules().iter().filter(valid).count() == 1,
        "minimum" => !value.is_number() || value.as_f64() >= rule.as_f64(),
        "maximum" => !value.is_number() || value.as_f64() <= rule.as_f64(),
        "minItems" => !value.is_array() || length() >= rule.as_u64().unwrap(),
        "maxItems" => !value.is_array() || length() <= rule.as_u64().unwrap(),
        "pattern" => value.as_str().is_none_or(|text| Regex::new(rule.as_str().unwrap()).unwrap().is_match(text)),
        other => panic!("keyword {other:?} is unknown to this validator"),
    };
    if fine { Vec::new() } else { vec![format!("{at}: {keyword} {rule}: {value}")] }
}

fn is_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("type {other:?} is unknown to this validator"),
    }
}

fn property_errors(document: &Value, rule: &Value, value: &Value, at: &str) -> Vec<String> {
    let properties = rule.as_object().unwrap().iter();
    let present = properties.filter_map(|(name, schema)| Some((name, schema, value.get(name)?)));
    present.flat_map(|(name, schema, value)| errors(document, schema, value, &format!("{at}/{name}"))).collect()
}

fn additional_errors(
    document: &Value,
    schema: &Map<String, Value>,
    rule: &Value,
    value: &Value,
    at: &str,
) -> Vec<String> {
    let known = schema.get("properties").and_then(Value::as_object);
    let Some(object) = value.as_object() else { return Vec::new() };
    let others = object.iter().filter(|(name, _)| !known.is_some_and(|known| known.contains_key(*name)));
    others
        .flat_map(|(name, value)| match rule {
            Value::Bool(false) => vec![format!("{at}/{name}: unknown")],
            rule => errors(document, rule, value, &format!("{at}/{name}")),
        })
        .collect()
}

fn item_errors(document: &Value, rule: &Value, value: &Value, at: &str) -> Vec<String> {
    let items = value.as_array().into_iter().flatten().enumerate();
    items.flat_map(|(n, item)| errors(document, rule, item, &format!("{at}/{n}"))).collect()
}
