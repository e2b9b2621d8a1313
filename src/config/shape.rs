//! Finds its way in the configuration's own JSON Schema: what belongs at a path, in words and by type.
//!
//! Refuses to know any setting by name. The schema is inlined, so there are no references to follow.

use serde_json::Value;

/// The schema at a path, or `None` where nothing is known by that name.
pub fn at<'s>(schema: &'s Value, path: &[String]) -> Option<&'s Value> {
    path.iter().try_fold(schema, |shape, key| child(shape, key))
}

pub fn child<'s>(shape: &'s Value, key: &str) -> Option<&'s Value> {
    let named = shape.get("properties").and_then(|properties| properties.get(key));
    let free = || shape.get("additionalProperties").filter(|free| free.is_object());
    let item = || shape.get("items").filter(|_| key.parse::<usize>().is_ok());
    named.or_else(free).or_else(item)
}

/// Whether any key may stand here, as in `kafka.client`.
pub fn is_free_map(shape: &Value) -> bool {
    shape.get("additionalProperties").is_some_and(Value::is_object)
}

pub fn permits(shape: &Value, ty: &str) -> bool {
    match shape.get("type") {
        Some(Value::String(one)) => one == ty,
        Some(Value::Array(many)) => many.iter().any(|one| one == ty),
        _ => branches(shape).any(|branch| permits(branch, ty)),
    }
}

pub fn is_secret(shape: &Value) -> bool {
    shape.get("writeOnly").is_some_and(|flag| flag == true)
}

/// The words that an enumeration accepts.
pub fn choices(shape: &Value) -> Vec<&str> {
    let listed = shape.get("enum").and_then(Value::as_array).into_iter().flatten();
    let own = listed.chain(shape.get("const")).filter_map(Value::as_str);
    own.chain(branches(shape).flat_map(choices)).collect()
}

/// Each word of an enumeration that has an explanation, with it.
pub fn explained_choices(shape: &Value) -> Vec<(&str, &str)> {
    branches(shape)
        .filter_map(|branch| Some((branch.get("const")?.as_str()?, branch.get("description")?.as_str()?)))
        .collect()
}

pub fn properties(shape: &Value) -> impl Iterator<Item = (&String, &Value)> {
    shape.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// What is expected here, as a noun with its article.
pub fn expected(shape: &Value) -> String {
    let choices = choices(shape);
    if !choices.is_empty() {
        return format!("one of {}", choices.join(", "));
    }
    let noun = match shape.get("format").and_then(Value::as_str) {
        Some("size") => "a size such as 64MiB",
        Some("span") => "a span of time such as 5s",
        _ if is_secret(shape) => "a text (secret)",
        _ if permits(shape, "object") => "a mapping of keys to values",
        _ if permits(shape, "array") => "a list such as [a, b]",
        _ if permits(shape, "boolean") => "true or false",
        _ if permits(shape, "integer") => "a whole number",
        _ if permits(shape, "number") => "a number",
        _ => "a text",
    };
    noun.to_owned()
}

/// Every path of the schema that ends in `key`, written with dots.
pub fn paths_ending_in(schema: &Value, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (name, shape) in properties(schema) {
        if name == key {
            found.push(name.clone());
        }
        found.extend(paths_ending_in(shape, key).into_iter().map(|below| format!("{name}.{below}")));
    }
    found
}

fn branches(shape: &Value) -> impl Iterator<Item = &Value> {
    let of = |keyword| shape.get(keyword).and_then(Value::as_array).into_iter().flatten();
    of("oneOf").chain(of("anyOf"))
}
