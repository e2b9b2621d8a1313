//! Names and texts inside of statements, and parameters beside them.
//!
//! Refuses to build statements: it quotes what stands in one where a parameter is not possible (DDL).
//! What it gives back is one token, whatever the input was (invariant I11).

use serde_json::Value;

/// A name as an identifier between backticks.
pub fn quote_identifier(name: &str) -> String {
    quote(name, '`')
}

/// A table's name, within its database if one is given.
pub fn qualified(database: Option<&str>, table: &str) -> String {
    match database {
        Some(database) => format!("{}.{}", quote_identifier(database), quote_identifier(table)),
        None => quote_identifier(table),
    }
}

/// A text as a string literal.
pub fn quote_string(text: &str) -> String {
    quote(text, '\'')
}

fn quote(text: &str, mark: char) -> String {
    format!("{mark}{}{mark}", escape(text, Some(mark)))
}

/// Escapes what ends or bends a token; `mark` is the quote that stands around it, if one does.
fn escape(text: &str, mark: Option<char>) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if Some(c) == mark => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// A value as the server reads the parameter `{name:Type}`: the text of the type, escaped once.
pub(super) fn parameter(value: &Value) -> String {
    match value {
        Value::Null => "\\N".to_owned(),
        Value::String(text) => escape(text, None),
        // The server reads arrays and maps as literals, and unescapes nothing around them.
        Value::Array(_) | Value::Object(_) => literal(value),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// A value as a literal inside of a composed one.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => quote_string(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(literal).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{}:{}", quote_string(key), literal(value)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Whether a parameter may have this name.
pub(super) fn is_parameter_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    matches!(bytes.next(), Some(b'a'..=b'z' | b'A'..=b'Z' | b'_'))
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quoting_leaves_no_way_out() {
        let cases = [
            ("plain", "`plain`", "'plain'"),
            ("a`b'c", "`a\\`b'c`", "'a`b\\'c'"),
            ("x\\", "`x\\\\`", "'x\\\\'"),
            ("; DROP TABLE t --\n", "`; DROP TABLE t --\\n`", "'; DROP TABLE t --\\n'"),
            ("", "``", "''"),
            ("ü\0", "`ü\\0`", "'ü\\0'"),
        ];
        for (text, identifier, string) in cases {
            assert_eq!(quote_identifier(text), identifier);
            assert_eq!(quote_string(text), string);
        }
    }

    #[test]
    fn parameters_are_the_text_of_their_type() {
        let cases = [
            (json!(null), "\\N"),
            (json!(-7), "-7"),
            (json!("a\tb\\"), "a\\tb\\\\"),
            (json!([1, null, 2]), "[1,NULL,2]"),
            (json!(["it's"]), "['it\\'s']"),
            (json!({"k": [true]}), "{'k':[true]}"),
        ];
        for (value, text) in cases {
            assert_eq!(parameter(&value), text, "{value}");
        }
    }
}
