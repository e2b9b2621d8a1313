//! The configuration's reference in Markdown, made from its JSON Schema.
//!
//! Refuses to know any setting: descriptions are the doc comments of the sections' fields. A test
//! keeps `docs/configuration.md` equal to it.

use std::fmt::Write;

use serde_json::Value;

use super::{dump, shape};

const HEAD: &str = "\
# Configuration

<!-- Made from the settings' own descriptions. To make it again:
     PENSTOCK_REGENERATE=1 cargo test --lib config:: -->

Every setting has a default, so an empty file is a valid one. A setting is looked for in four layers, of
which the later wins:

1. its default;
2. the YAML file named by `--config` or `PENSTOCK_CONFIG`;
3. the environment: `PENSTOCK__KAFKA__BROKERS=a:9092,b:9092` sets `kafka.brokers`. Two underscores separate
   levels. `PENSTOCK_LOG` sets `telemetry.log.level`. The plain variables `CLICKHOUSE_HOST`,
   `CLICKHOUSE_PORT`, `CLICKHOUSE_SECURE`, `CLICKHOUSE_USERNAME` (or `CLICKHOUSE_USER`),
   `CLICKHOUSE_PASSWORD`, `CLICKHOUSE_DATABASE` and `CLICKHOUSE_URL` (a DSN such as
   `https://user:password@host:8443/database`) are honoured below those of penstock; a host goes before the
   DSN's;
4. flags: `--set kafka.group=events`, as often as needed. A key with dots in it is written in quotes:
   `--set 'limits.topics.\"flights.v1\".records_per_second=1000'`.

Text from the environment and from flags becomes what the setting wants: a number, true or false, or a list
split at commas. Sizes are written with their unit (`512KiB`, `64MiB`, `2GiB`), and so are times (`250ms`,
`5s`, `10m`, `1h`).

`penstock config check` tells every fault at once, `penstock config dump` prints what is in effect and where
each value was set, with secrets left out, and `penstock config schema` prints the JSON Schema for editors.
";

/// `docs/configuration.md`.
pub fn reference() -> String {
    let schema = super::json_schema();
    let mut text = HEAD.to_owned();
    let (sections, plain): (Vec<_>, Vec<_>) =
        shape::properties(&schema).partition(|(_, shape)| shape.get("properties").is_some());
    let defaults = serde_json::to_value(super::Config::default()).unwrap_or_default();
    if !plain.is_empty() {
        text.push_str("\n## Top level\n\n");
        table(&mut text, &plain, &defaults);
    }
    for (name, shape) in sections {
        section(&mut text, name, shape, defaults.get(name).unwrap_or(&Value::Null));
    }
    text
}

fn section(text: &mut String, path: &str, shape: &Value, defaults: &Value) {
    text.push_str(&format!("\n## {path}\n\n{}\n\n", description(shape)));
    let (below, plain): (Vec<_>, Vec<_>) =
        shape::properties(shape).partition(|(_, shape)| shape.get("properties").is_some());
    table(text, &plain, defaults);
    for (name, shape) in below {
        section(text, &format!("{path}.{name}"), shape, defaults.get(name).unwrap_or(&Value::Null));
    }
}

fn table(text: &mut String, entries: &[(&String, &Value)], defaults: &Value) {
    text.push_str("| Setting | Value | Default | Meaning |\n|---|---|---|---|\n");
    for (name, shape) in entries {
        let default = match defaults.get(name.as_str()) {
            None | Some(Value::Null) => "none".to_owned(),
            Some(default) => format!("`{}`", inline_default(default)),
        };
        // Writing to a String does not fail.
        let _ = writeln!(text, "| `{name}` | {} | {default} | {} |", value_kind(shape), meaning(shape));
    }
}

fn inline_default(default: &Value) -> String {
    match default {
        Value::Array(_) | Value::Object(_) => default.to_string(),
        scalar => dump::scalar(scalar).trim_matches('"').to_owned(),
    }
}

fn value_kind(shape: &Value) -> String {
    let choices = shape::choices(shape);
    if !choices.is_empty() {
        return choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", ");
    }
    let bound = |keyword| shape.get(keyword).map(Value::to_string);
    let range = match (bound("minimum"), bound("maximum")) {
        (Some(min), Some(max)) => format!(", {min} to {max}"),
        _ => String::new(),
    };
    let expected = shape::expected(shape);
    let kind = expected.split(" such as ").next().unwrap_or_default().trim_start_matches("a ");
    match shape.get("additionalProperties").filter(|free| free.get("properties").is_some()) {
        Some(free) => {
            let keys: Vec<String> = shape::properties(free).map(|(name, _)| format!("`{name}`")).collect();
            format!("name: {{{}}}", keys.join(", "))
        }
        None => format!("{kind}{range}"),
    }
}

fn meaning(shape: &Value) -> String {
    let mut meaning = description(shape);
    for (choice, explanation) in shape::explained_choices(shape) {
        let sentence = format!(" `{choice}`: {}", explanation.replace('\n', " "));
        if !meaning.contains(explanation) {
            meaning.push_str(&sentence);
        }
    }
    meaning.replace('|', "\\|")
}

fn description(shape: &Value) -> String {
    shape.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ")
}
