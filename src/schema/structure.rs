//! Checks a table file's form against its own JSON Schema and leaves only what has the right form.
//!
//! Refuses to know what the keys mean. What it hands on deserializes, so that the checks of meaning can
//! run over the rest and every fault is found in one go.

use std::collections::HashSet;

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::fault::{Faults, nearest};
use super::file::TableFile;

/// Hints by the last key of a fault's path.
const HINTS: [(&str, &str); 45] = [
    ("table", "write `table: events`"),
    ("database", "write `database: name`, or leave it out for the connection's database"),
    ("topics", "write a list: `topics: [events]`"),
    ("columns", "write a list of `- {name: id, type: UInt64}`"),
    ("json_schema", "write a path relative to this file: `json_schema: event.schema.json`"),
    ("unknown_fields", "write `ignore`, `reject` or `{keep: column}`"),
    ("keep", "name a column of type JSON: `unknown_fields: {keep: rest}`"),
    ("tombstones", "write `reject` or `skip`"),
    ("engine", "write the engine with its arguments: `engine: ReplacingMergeTree(version)`"),
    ("order_by", "write a list of columns or expressions: `order_by: [time, id]`"),
    ("partition_by", "write an expression: `partition_by: toYYYYMM(time)`"),
    ("settings", "write names and values: `settings: {index_granularity: 8192}`"),
    ("subject_columns", "write a list of columns: `subject_columns: [user_id]`"),
    ("lifecycle", "write `lifecycle: {time_column: time, delete_after: 90d}`"),
    ("time_column", "name the column from which ages are counted: `time_column: time`"),
    ("min_retention", "write a whole number and a unit: `30d`, `12h`"),
    ("delete_after", "write a whole number and a unit: `90d`, `12h`"),
    ("method", "write `ttl` or `drop_partition`"),
    ("move", "write a list: `move: [{after: 7d, to_volume: cold}]`"),
    ("recompress", "write a list: `recompress: [{after: 14d, codec: ZSTD(9)}]`"),
    ("codec", "write names with their numbers: `codec: ZSTD(9)`"),
    ("roll_up", "write a list: `roll_up: [{after: 30d, group_by: [site], set: {clicks: sum(clicks)}}]`"),
    ("group_by", "write the first columns of `order_by`: `group_by: [site]`"),
    ("set", "write columns and aggregates: `set: {clicks: sum(clicks)}`"),
    ("clear", "write columns and ages: `clear: {email: 30d}`"),
    ("after", "write a whole number and a unit: `7d`, `12h`"),
    ("name", "write `name: id`"),
    ("type", "write a ClickHouse type: `type: Nullable(String)`"),
    ("path", "write keys separated by dots (`path: user.id`) or as a list (`path: [user, id]`)"),
    ("from", "write `$topic`, `$partition`, `$offset`, `$timestamp` or `$key`"),
    ("required", "write `true` or `false`"),
    ("enum", "write a list of values: `enum: [a, b]`"),
    ("min", "write a number, in quotes when it has more than 15 digits"),
    ("max", "write a number, in quotes when it has more than 15 digits"),
    ("length", "write `length: {min: 1, max: 64}`"),
    ("pattern", "write a regular expression in single quotes: `pattern: '^[A-Z]{3}$'`"),
    ("format", "write `uuid`, `date-time`, `date`, `ipv4` or `ipv6`"),
    ("past_max", "write a whole number and a unit: `365d`, `12h`, `30m`"),
    ("future_max", "write a whole number and a unit: `5m`, `30s`"),
    (
        "coerce",
        "write `strict`, `lenient` or a list of from_string, to_string, integral_float, bool_from_number, truncate, null_as_default",
    ),
    ("time_format", "write `iso`, `unix_s`, `unix_ms`, `unix_us` or `unix_ns`"),
    ("protect", "write `redact`, `{keep_last: 4}`, `{pseudonym: KEY}` or `{encrypt: KEY}`"),
    ("default", "write a value of the column's type"),
    ("", "write keys and values: `table: events`"),
    ("*", "see the keys that `penstock schema format` prints"),
];

/// The JSON Schema of a table file.
pub fn table_file_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<TableFile>();
    let mut schema = Value::from(schema);
    without_null(&mut schema);
    schema
}

/// An optional key is left out, not written as null, so that a forgotten value is seen.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(keys) => {
            if let Some(Value::Array(types)) = keys.get_mut("type") {
                types.retain(|name| name != "null");
            }
            if let Some(Value::Array(values)) = keys.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            if let Some(Value::Array(variants)) = keys.get_mut("anyOf") {
                variants.retain(|variant| variant.get("type").is_none_or(|name| name != "null"));
            }
            keys.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

/// What is left of a file whose faults of form were taken out.
#[derive(Debug)]
pub(super) struct Sound {
    pub file: TableFile,
    /// Top keys that were taken out, whose absence must not be reported as well.
    pub broken: HashSet<String>,
}

pub(super) fn check(mut value: Value, faults: &mut Faults) -> Sound {
    let schema = table_file_schema();
    let mut broken = HashSet::new();
    let found = match jsonschema::options().build(&schema) {
        Ok(validator) => take_out(&validator, &schema, &mut value, &mut broken),
        Err(error) => Faults(vec![super::Fault {
            path: String::new(),
            message: format!("the table file's own schema is broken: {error}"),
            hint: "this is a defect of penstock; report it".to_owned(),
        }]),
    };
    faults.0.extend(found.0);
    let file = serde_json::from_value(value).unwrap_or_else(|error| {
        faults.add("", error.to_string(), hint("*"));
        broken.extend(["columns".to_owned(), "order_by".to_owned()]);
        TableFile::default()
    });
    Sound { file, broken }
}

fn take_out(
    validator: &jsonschema::Validator,
    schema: &Value,
    value: &mut Value,
    broken: &mut HashSet<String>,
) -> Faults {
    let mut faults = Faults::default();
    let mut bad: Vec<Vec<String>> = Vec::new();
    for error in validator.iter_errors(value) {
        let keys = segments(error.instance_path().as_str());
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                for key in unexpected {
                    let place = [keys.clone(), vec![key.clone()]].concat();
                    faults.add(
                        path_text(&place),
                        format!("unknown key `{key}`"),
                        known_key(schema, &error, key),
                    );
                    bad.push(place);
                }
            }
            ValidationErrorKind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                faults.add(path_text(&keys), format!("`{key}` is missing"), hint(key));
            }
            _ => {
                let key = keys.iter().rev().find(|key| key.parse::<usize>().is_err());
                faults.add(path_text(&keys), message(&error), hint(key.map_or("", String::as_str)));
                bad.push(keys);
            }
        }
    }
    for keys in bad {
        broken.extend(keys.first().cloned());
        remove(value, &keys);
    }
    if !value.is_object() {
        *value = Value::Object(Map::new());
        broken.extend(["columns".to_owned(), "order_by".to_owned()]);
    }
    faults
}

pub(super) fn hint(key: &str) -> &'static str {
    let last = HINTS.last().map_or("", |(_, hint)| hint);
    HINTS.iter().find(|(name, _)| *name == key).map_or(last, |(_, hint)| hint)
}

fn message(error: &ValidationError<'_>) -> String {
    let found = class(error.instance());
    match error.kind() {
        ValidationErrorKind::Type { kind: TypeKind::Single(expected) } => {
            format!("expected {expected}, found {found}")
        }
        ValidationErrorKind::Type { .. }
        | ValidationErrorKind::AnyOf { .. }
        | ValidationErrorKind::OneOfNotValid { .. } => format!("{found} of this form is not allowed here"),
        _ => error.to_string(),
    }
}

fn class(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// Names the known key that was probably meant, else all of them.
fn known_key(schema: &Value, error: &ValidationError<'_>, key: &str) -> String {
    let parent = error.schema_path().as_str().strip_suffix("/additionalProperties").unwrap_or_default();
    let Some(Value::Object(known)) = schema.pointer(parent).and_then(|parent| parent.get("properties"))
    else {
        return hint("*").to_owned();
    };
    let known: Vec<&str> = known.keys().map(String::as_str).collect();
    match nearest(key, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("known keys are {}", known.join(", ")),
    }
}

fn segments(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect()
}

fn path_text(keys: &[String]) -> String {
    let mut path = String::new();
    for key in keys {
        match key.parse::<usize>() {
            Ok(index) => path.push_str(&format!("[{index}]")),
            Err(_) if path.is_empty() => path.push_str(key),
            Err(_) => path.push_str(&format!(".{key}")),
        }
    }
    path
}

/// Takes the place out of the nearest mapping around it. A bad column stays as an empty one, so that
/// the numbers of those behind it stay right.
fn remove(value: &mut Value, keys: &[String]) {
    let Some((last, parents)) = keys.split_last() else { return };
    let pointer: String =
        parents.iter().map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1"))).collect();
    match value.pointer_mut(&pointer) {
        Some(Value::Object(parent)) => {
            parent.shift_remove(last);
        }
        Some(Value::Array(columns)) if pointer == "/columns" => {
            let column = last.parse().ok().and_then(|index: usize| columns.get_mut(index));
            if let Some(column) = column {
                *column = Value::Object(Map::new());
            }
        }
        _ => remove(value, parents),
    }
}
