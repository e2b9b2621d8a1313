//! Turns text into paths and values: what the environment and flags are made of.
//!
//! Refuses to guess: a text becomes a number only where the schema wants one, so that the password
//! `12345` stays a text. What cannot be turned stays as it is, and the schema finds it.

use serde_json::Value;

use super::shape;

/// `a.b[0]."c.d"` into its keys.
pub fn split_path(path: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut key = String::new();
    let mut quoted = false;
    for c in path.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' | '[' if !quoted => keys.push(std::mem::take(&mut key)),
            ']' if !quoted => {}
            c => key.push(c),
        }
    }
    keys.push(key);
    keys
}

/// The keys as [`split_path`] reads them.
pub fn join_path(keys: &[String]) -> String {
    let mut path = String::new();
    for key in keys {
        let is_index = !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit());
        let is_plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        let dot = if path.is_empty() { "" } else { "." };
        match (is_index, is_plain) {
            (true, _) => path.push_str(&format!("[{key}]")),
            (_, true) => path.push_str(&format!("{dot}{key}")),
            _ => path.push_str(&format!("{dot}\"{key}\"")),
        }
    }
    path
}

/// In a map with free keys and plain values, such as `kafka.client`, dots belong to the key.
pub fn join_free_keys(schema: &Value, keys: Vec<String>) -> Vec<String> {
    let mut shape = schema;
    for (depth, key) in keys.iter().enumerate() {
        if let Some(free) = shape.get("additionalProperties").filter(|free| free.is_object())
            && !shape::permits(free, "object")
        {
            let (fixed, free) = keys.split_at(depth);
            return fixed.iter().cloned().chain([free.join(".")]).collect();
        }
        match shape::child(shape, key) {
            Some(below) => shape = below,
            None => break,
        }
    }
    keys
}

/// `PENSTOCK__KAFKA__BROKERS` without its prefix into keys. Names that users choose keep their case.
pub fn split_variable(schema: &Value, name: &str) -> Vec<String> {
    let mut shape = Some(schema);
    let mut keys = Vec::new();
    for part in name.split("__") {
        let key = match shape.is_some_and(shape::is_free_map) {
            true => part.to_owned(),
            false => part.to_ascii_lowercase(),
        };
        shape = shape.and_then(|shape| shape::child(shape, &key));
        keys.push(key);
    }
    keys
}

/// The text as the value that the schema wants at its place.
pub fn convert(shape: Option<&Value>, text: &str) -> Value {
    let as_text = || Value::String(text.to_owned());
    let Some(shape) = shape else { return as_text() };
    let permits = |ty| shape::permits(shape, ty);
    let as_json = || serde_json::from_str(text).ok();
    if text.is_empty() && permits("null") {
        return Value::Null;
    }
    if permits("string") || !shape::choices(shape).is_empty() {
        return as_text();
    }
    if permits("array") {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let listed = || parts.map(|part| convert(shape.get("items"), part)).collect();
        return as_json().filter(Value::is_array).unwrap_or_else(listed);
    }
    let wanted = |value: &Value| match value {
        Value::Bool(_) => permits("boolean"),
        Value::Number(_) => permits("integer") || permits("number"),
        Value::Object(_) => permits("object"),
        _ => false,
    };
    as_json().filter(wanted).unwrap_or_else(as_text)
}

/// Makes a parsed file forgiving where nothing can be misunderstood: an empty section is no section,
/// and in maps of texts (`kafka.client`, `clickhouse.settings`) whole numbers and booleans are texts.
pub fn normalize(shape: &Value, value: &mut Value) {
    let Value::Object(entries) = value else { return };
    let is_text_map = shape.get("additionalProperties").is_some_and(|free| shape::permits(free, "string"));
    entries.retain(|key, entry| {
        let below = shape::child(shape, key);
        !(entry.is_null() && below.is_some_and(|below| shape::permits(below, "object")))
    });
    for (key, entry) in entries {
        match entry {
            Value::Bool(_) if is_text_map => *entry = Value::String(entry.to_string()),
            Value::Number(n) if is_text_map && !n.is_f64() => *entry = Value::String(entry.to_string()),
            _ => {}
        }
        if let Some(below) = shape::child(shape, key) {
            normalize(below, entry);
        }
    }
}

/// The word that is meant, when one is near enough to be meant.
pub fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let far = (word.chars().count() / 3).max(2);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Letters to add, remove or change to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.chars().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_the_round() {
        for path in ["a", "kafka.brokers[1]", "limits.topics.\"flights.v1\".records_per_second"] {
            assert_eq!(join_path(&split_path(path)), path);
        }
        let keys = |path| join_free_keys(&crate::config::json_schema(), split_path(path));
        assert_eq!(keys("kafka.client.fetch.min.bytes"), ["kafka", "client", "fetch.min.bytes"]);
        assert_eq!(keys("limits.topics.a.records_per_second").len(), 4);
    }

    #[test]
    fn near_words() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(nearest("brokrs", ["group", "brokers"]), Some("brokers"));
        assert_eq!(nearest("colour", ["group", "brokers"]), None);
    }

    #[test]
    fn text_becomes_what_the_schema_wants() {
        let schema = crate::config::json_schema();
        let cases = [
            ("clickhouse.password", "12345", serde_json::json!("12345")),
            ("batch.in_flight_max", "4", serde_json::json!(4)),
            ("batch.in_flight_max", "four", serde_json::json!("four")),
            ("kafka.brokers", "a:1, b:2", serde_json::json!(["a:1", "b:2"])),
            ("kafka.brokers", "[\"a:1\"]", serde_json::json!(["a:1"])),
            ("kafka.instance_id", "", serde_json::json!(null)),
            ("kafka.security.skip_hostname_check", "true", serde_json::json!(true)),
            ("kafka.start", "latest", serde_json::json!("latest")),
            ("clickhouse.settings.max_threads", "4", serde_json::json!("4")),
            ("kafka.no_such_key", "4", serde_json::json!("4")),
        ];
        for (path, text, expected) in cases {
            assert_eq!(convert(shape::at(&schema, &split_path(path)), text), expected, "{path}={text}");
        }
    }
}
