//! Prints the effective configuration, secrets redacted, and where each value was set.
//!
//! Refuses to print a secret: their type serialises as `<redacted>`. The YAML reads back as a
//! configuration file, once the secrets are put in again.

use std::fmt::Write;

use serde_json::Value;

use super::{Loaded, text};
use crate::units::{ByteSize, Span};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With a comment at each value that is not a default.
    Yaml,
    Json,
}

pub fn dump(loaded: &Loaded, format: Format) -> String {
    let value = match serde_json::to_value(&loaded.config) {
        Ok(value) => value,
        Err(error) => return format!("# the configuration could not be printed: {error}\n"),
    };
    let mut text = String::new();
    match (format, &value) {
        (Format::Json, value) => text.push_str(&format!("{value:#}\n")),
        (Format::Yaml, Value::Object(entries)) => {
            let mut printer = Printer { loaded, text: &mut text, keys: Vec::new() };
            entries.iter().for_each(|(key, value)| printer.entry(key, value));
        }
        (Format::Yaml, _) => {}
    }
    text
}

struct Printer<'a> {
    loaded: &'a Loaded,
    text: &'a mut String,
    keys: Vec<String>,
}

impl Printer<'_> {
    fn entry(&mut self, key: &str, value: &Value) {
        let indent = "  ".repeat(self.keys.len());
        self.keys.push(key.to_owned());
        match value {
            Value::Object(entries) if !entries.is_empty() => {
                self.line(&format!("{indent}{}:", scalar(&Value::from(key))));
                entries.iter().for_each(|(key, value)| self.entry(key, value));
            }
            value => {
                let origin = self.loaded.origins.get(&text::join_path(&self.keys));
                let comment = origin.map(|origin| format!("  # {}", origin.replace(['\n', '\r'], " ")));
                let line = format!("{indent}{}: {}", scalar(&Value::from(key)), inline(value));
                self.line(&format!("{line}{}", comment.unwrap_or_default()));
            }
        }
        self.keys.pop();
    }

    fn line(&mut self, line: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "{line}");
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        other => scalar(other),
    }
}

/// A text is left bare only where YAML cannot take it for anything else; JSON's quotes are YAML's.
pub fn scalar(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
    let is_keyword = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|keyword| keyword.eq_ignore_ascii_case(text));
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric());
    let is_unit = is_plain && (text.parse::<ByteSize>().is_ok() || text.parse::<Span>().is_ok());
    match (is_word && !is_keyword) || is_unit {
        true => text.clone(),
        false => value.to_string(),
    }
}
