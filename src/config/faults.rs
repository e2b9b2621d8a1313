//! Structural faults: everything in which a document departs from the configuration's JSON Schema.
//!
//! Refuses to stop at the first. Messages are made here from the schema, not taken from the
//! validator's, because those quote values, which may be secrets.

use jsonschema::error::ValidationErrorKind as Kind;
use jsonschema::paths::LocationSegment;
use serde_json::Value;

use super::{Fault, shape, text};
use crate::units::{ByteSize, Span};

/// A longer text is not shown in a message.
const SHOWN_CHARS_MAX: usize = 40;

/// A fault, and the place of the value that must go for the rest of the document to be read.
pub struct Structural {
    pub fault: Fault,
    pub keys: Vec<String>,
}

pub fn structural(schema: &Value, document: &Value) -> Vec<Structural> {
    let validator = jsonschema::options()
        .with_format("size", |text: &str| text.parse::<ByteSize>().is_ok())
        .with_format("span", |text: &str| text.parse::<Span>().is_ok())
        .should_validate_formats(true)
        .build(schema);
    let validator = match validator {
        Ok(validator) => validator,
        Err(error) => {
            let message = format!("the schema of the configuration is broken: {error}");
            let fault = Fault::new("", message, "this is a fault of penstock: report it");
            return vec![Structural { fault, keys: Vec::new() }];
        }
    };
    let mut found: Vec<Structural> = Vec::new();
    for error in validator.iter_errors(document) {
        let keys: Vec<String> = error.instance_path().segments().map(segment).collect();
        for one in describe(schema, document, keys, error.kind()) {
            // One value that breaks two keywords has one fault.
            if !found.iter().any(|other| other.keys == one.keys) {
                found.push(one);
            }
        }
    }
    found
}

fn segment(segment: LocationSegment<'_>) -> String {
    match segment {
        LocationSegment::Property(name) => name.into_owned(),
        LocationSegment::Index(index) => index.to_string(),
    }
}

fn describe(schema: &Value, document: &Value, keys: Vec<String>, kind: &Kind) -> Vec<Structural> {
    let below = |key: &String| keys.iter().cloned().chain([key.clone()]).collect::<Vec<_>>();
    match kind {
        Kind::AdditionalProperties { unexpected } => {
            unexpected.iter().map(|key| unknown_key(schema, &keys, below(key), key)).collect()
        }
        Kind::Required { property: Value::String(key) } => {
            let wanted = shape::at(schema, &below(key)).map(shape::expected).unwrap_or_default();
            let fault = Fault::new(
                text::join_path(&below(key)),
                "is missing".to_owned(),
                format!("add `{key}`, {wanted}"),
            );
            vec![Structural { fault, keys }]
        }
        _ => {
            let null = Value::Null;
            let value = keys.iter().try_fold(document, |value, key| match value {
                Value::Array(items) => items.get(key.parse::<usize>().ok()?),
                other => other.get(key),
            });
            let shape = shape::at(schema, &keys).unwrap_or(&null);
            let (message, hint) = wrong_value(shape, value.unwrap_or(&null), kind);
            vec![Structural { fault: Fault::new(text::join_path(&keys), message, hint), keys }]
        }
    }
}

fn unknown_key(schema: &Value, parent: &[String], keys: Vec<String>, key: &str) -> Structural {
    let known = shape::at(schema, parent).into_iter().flat_map(shape::properties);
    let known: Vec<&str> = known.map(|(name, _)| name.as_str()).collect();
    let elsewhere = shape::paths_ending_in(schema, key);
    let hint = match (text::nearest(key, known.iter().copied()), elsewhere.first()) {
        (Some(near), _) => {
            let near: Vec<String> = parent.iter().cloned().chain([near.to_owned()]).collect();
            format!("did you mean `{}`?", text::join_path(&near))
        }
        (None, Some(path)) => format!("did you mean `{path}`?"),
        (None, None) => format!("known here are {}", known.join(", ")),
    };
    Structural { fault: Fault::new(text::join_path(&keys), "is not a known setting", hint), keys }
}

fn wrong_value(shape: &Value, value: &Value, kind: &Kind) -> (String, String) {
    let expected = shape::expected(shape);
    match kind {
        Kind::Minimum { .. } | Kind::Maximum { .. } => {
            let bound = |keyword| shape.get(keyword).map(Value::to_string);
            let range = match (bound("minimum"), bound("maximum")) {
                (Some(min), Some(max)) => format!("from {min} to {max}"),
                (Some(min), None) => format!("of at least {min}"),
                (None, max) => format!("of at most {}", max.unwrap_or_default()),
            };
            (format!("{value} is out of range"), format!("write {expected} {range}"))
        }
        Kind::Pattern { .. } | Kind::Format { .. } => unit_fault(shape, value)
            .unwrap_or_else(|| ("is not written as expected".to_owned(), format!("write {expected}"))),
        _ => {
            let message = format!("expected {expected}, found {}", class(shape, value));
            let choices = shape::choices(shape);
            let near = value.as_str().and_then(|word| text::nearest(word, choices.iter().copied()));
            let hint = match (near, value) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, Value::Number(_) | Value::Bool(_)) if shape::permits(shape, "string") => {
                    match shape.get("format").is_some() {
                        true => format!("write {expected}, with its unit"),
                        false => "put the value in quotes".to_owned(),
                    }
                }
                _ => format!("write {expected}"),
            };
            (message, hint)
        }
    }
}

fn unit_fault(shape: &Value, value: &Value) -> Option<(String, String)> {
    let text = value.as_str().filter(|text| text.len() <= SHOWN_CHARS_MAX)?;
    let error = match shape.get("format")?.as_str()? {
        "size" => text.parse::<ByteSize>().err(),
        "span" => text.parse::<Span>().err(),
        _ => None,
    };
    let error = error?.to_string();
    let (message, hint) = error.split_once("\nhint: ")?;
    Some((message.to_owned(), hint.to_owned()))
}

/// What was found: the value itself only where no secret can stand.
fn class(shape: &Value, value: &Value) -> String {
    let may_show = !shape::choices(shape).is_empty();
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) => "true or false".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(text) if may_show && text.len() <= SHOWN_CHARS_MAX => format!("`{text}`"),
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}
