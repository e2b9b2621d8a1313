//! One JSON Schema without properties as a column type with its constraints.
//!
//! Refuses to know columns and records. Every keyword is either turned into something exactly equal or
//! named among the loose ones, which the residual then judges.

use serde_json::{Map, Value};

use super::decimal::{Decimal, int_bounds};
use super::json_schema::{DEPTH_MAX, Document, holds_null, is_annotation};
use super::model::{Coercion, Constraints, Field, Int, Type};

/// What of JSON's kinds a schema allows.
#[derive(Debug)]
pub(super) struct Kind<'a> {
    pub name: &'a str,
    pub nullable: bool,
}

#[derive(Debug)]
pub(super) struct Leaf {
    pub ty: Type,
    pub constraints: Constraints,
    pub coercion: Coercion,
    /// Keywords that type and constraints do not enforce exactly.
    pub loose: Vec<String>,
}

pub(super) fn kind(schema: &Map<String, Value>) -> Result<Kind<'_>, String> {
    let mut names: Vec<&str> = match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => inferred(schema),
    };
    let before = names.len();
    names.retain(|name| *name != "null");
    let nullable = names.len() < before;
    if names.contains(&"number") {
        names.retain(|name| *name != "integer");
    }
    names.dedup();
    match names.as_slice() {
        [name] => Ok(Kind { name, nullable }),
        [] if nullable => Err("it can only be null".to_owned()),
        [] => Err("it has no `type`".to_owned()),
        _ => Err(format!("it can be one of {}", names.join(", "))),
    }
}

fn inferred(schema: &Map<String, Value>) -> Vec<&'static str> {
    if schema.contains_key("properties") {
        return vec!["object"];
    }
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    let mut names: Vec<&str> = listed
        .chain(schema.get("const"))
        .map(|value| match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// `T` so that it can hold NULL; gives the type back when it cannot.
pub(super) fn nullable(ty: Type) -> Result<Type, Type> {
    match ty {
        ty if ty.is_nullable() => Ok(ty),
        ty if !holds_null(&ty) => Err(ty),
        Type::LowCardinality(inner) => Ok(Type::LowCardinality(Box::new(Type::Nullable(inner)))),
        ty => Ok(Type::Nullable(Box::new(ty))),
    }
}

pub(super) fn leaf<'a>(
    document: &Document<'a>,
    schema: &'a Map<String, Value>,
    kind: &Kind<'_>,
    depth: usize,
) -> Result<Leaf, String> {
    if depth > DEPTH_MAX {
        return Err(format!("it is nested deeper than {DEPTH_MAX} levels"));
    }
    let mut leaf = Leaf {
        ty: Type::Json,
        constraints: Constraints::default(),
        coercion: Coercion::default(),
        loose: Vec::new(),
    };
    let whole = kind.name == "number" && multiple_of_one(schema);
    match kind.name {
        "string" => text(schema, &mut leaf),
        "integer" => integer(schema, &mut leaf),
        "number" if whole => integer(schema, &mut leaf),
        "number" => number(schema, &mut leaf),
        "boolean" => boolean(schema, &mut leaf),
        "array" => array(document, schema, &mut leaf, depth)?,
        "object" => object(document, schema, &mut leaf, depth)?,
        other => return Err(format!("`{other}` is no type")),
    }
    if kind.nullable {
        let listed = schema.get("enum").and_then(Value::as_array);
        if listed.is_some_and(|values| !values.contains(&Value::Null)) || schema.contains_key("const") {
            leaf.loose.push("enum".to_owned());
        }
        leaf.ty = nullable(leaf.ty).map_err(|ty| format!("it may be null, but {ty} cannot be NULL"))?;
    }
    Ok(leaf)
}

fn multiple_of_one(schema: &Map<String, Value>) -> bool {
    schema.get("multipleOf").and_then(Value::as_f64) == Some(1.0)
}

/// Lets `apply` take each keyword; what it does not take is loose.
fn each(
    schema: &Map<String, Value>,
    leaf: &mut Leaf,
    mut apply: impl FnMut(&str, &Value, &mut Leaf) -> bool,
) {
    for (keyword, value) in schema {
        if !is_annotation(keyword) && !apply(keyword, value, leaf) {
            leaf.loose.push(keyword.clone());
        }
    }
}

/// `enum` and `const`, when all values are of the kind.
fn listed(keyword: &str, value: &Value, leaf: &mut Leaf, of_kind: fn(&Value) -> bool) -> bool {
    let values: Vec<Value> = match (keyword, value) {
        ("const", value) => vec![value.clone()],
        (_, Value::Array(values)) => values.iter().filter(|value| !value.is_null()).cloned().collect(),
        _ => return false,
    };
    let fits = !values.is_empty() && values.iter().all(of_kind) && leaf.constraints.one_of.is_empty();
    if fits {
        leaf.constraints.one_of = values;
    }
    fits
}

fn length(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|length| usize::try_from(length).ok())
}

fn text(schema: &Map<String, Value>, leaf: &mut Leaf) {
    leaf.ty = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => Type::DateTime64 { precision: 6, zone: None },
        Some("date") => Type::Date32,
        Some("uuid") => Type::Uuid,
        Some("ipv4") => Type::Ipv4,
        Some("ipv6") => Type::Ipv6,
        _ if schema.contains_key("enum") || schema.contains_key("const") => {
            Type::LowCardinality(Box::new(Type::String))
        }
        _ => Type::String,
    };
    let plain = matches!(leaf.ty.bare(), Type::String);
    each(schema, leaf, |keyword, value, leaf| match keyword {
        "enum" | "const" if plain => listed(keyword, value, leaf, Value::is_string),
        "minLength" if plain => {
            leaf.constraints.length_min = length(value);
            leaf.constraints.length_min.is_some()
        }
        "maxLength" if plain => {
            leaf.constraints.length_max = length(value);
            leaf.constraints.length_max.is_some()
        }
        "pattern" if plain => {
            leaf.constraints.pattern = value.as_str().and_then(super::pattern::translated);
            leaf.constraints.pattern.is_some()
        }
        // The other types read more spellings than the format allows.
        "format" => leaf.ty == Type::Ipv4,
        _ => false,
    });
}

fn integer(schema: &Map<String, Value>, leaf: &mut Leaf) {
    // JSON Schema counts 12.0 among the integers.
    leaf.coercion.integral_float = true;
    let whole = |value: &Value| value.is_i64() || value.is_u64();
    each(schema, leaf, |keyword, value, leaf| {
        if matches!(keyword, "enum" | "const") {
            return listed(keyword, value, leaf, |value| value.is_i64() || value.is_u64());
        }
        if keyword == "multipleOf" {
            return value.as_f64() == Some(1.0);
        }
        if !whole(value) {
            return false;
        }
        let number = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
        let (min, max) = match (keyword, number) {
            ("minimum", Some(number)) => (Some(number), None),
            ("exclusiveMinimum", Some(number)) => (Some(number + 1), None),
            ("maximum", Some(number)) => (None, Some(number)),
            ("exclusiveMaximum", Some(number)) => (None, Some(number - 1)),
            _ => return false,
        };
        tighten(&mut leaf.constraints, min.map(|min| min.to_string()), max.map(|max| max.to_string()));
        true
    });
    leaf.ty = Type::Int(int_for(&leaf.constraints));
}

/// Narrows the bounds; the narrower of two stays.
fn tighten(constraints: &mut Constraints, min: Option<String>, max: Option<String>) {
    let parse = |text: &Option<String>| text.as_deref().and_then(Decimal::parse);
    if parse(&min) > parse(&constraints.min) {
        constraints.min = min;
    }
    if max.is_some() && (constraints.max.is_none() || parse(&max) < parse(&constraints.max)) {
        constraints.max = max;
    }
}

/// With both bounds the smallest type, else 64 bits.
fn int_for(constraints: &Constraints) -> Int {
    let min = constraints.min.as_deref().and_then(Decimal::parse);
    let max = constraints.max.as_deref().and_then(Decimal::parse);
    let zero = Decimal::parse("0");
    let signed = min < zero;
    let smallest = [8_u16, 16, 32, 64, 128].into_iter().find(|bits| {
        let (low, high) = int_bounds(Int { bits: *bits, signed });
        min.as_ref().is_some_and(|min| *min >= low) && max.as_ref().is_some_and(|max| *max <= high)
    });
    Int { bits: smallest.unwrap_or(64), signed }
}

fn number(schema: &Map<String, Value>, leaf: &mut Leaf) {
    leaf.ty = Type::Float64;
    each(schema, leaf, |keyword, value, leaf| {
        let bound = Decimal::of_value(value).filter(|_| value.is_number()).map(|bound| bound.to_string());
        match keyword {
            "enum" | "const" => listed(keyword, value, leaf, Value::is_number),
            "minimum" if bound.is_some() => {
                leaf.constraints.min = bound;
                true
            }
            "maximum" if bound.is_some() => {
                leaf.constraints.max = bound;
                true
            }
            _ => false,
        }
    });
}

fn boolean(schema: &Map<String, Value>, leaf: &mut Leaf) {
    leaf.ty = Type::Bool;
    each(schema, leaf, |keyword, value, leaf| {
        matches!(keyword, "enum" | "const") && listed(keyword, value, leaf, Value::is_boolean)
    });
}

fn array<'a>(
    document: &Document<'a>,
    schema: &'a Map<String, Value>,
    leaf: &mut Leaf,
    depth: usize,
) -> Result<(), String> {
    let items = schema.get("items").ok_or("its `items` have no type")?;
    let inner = element(document, items, leaf, depth)?;
    leaf.ty = Type::Array(Box::new(inner));
    each(schema, leaf, |keyword, value, leaf| match keyword {
        "items" => true,
        "minItems" => {
            leaf.constraints.length_min = length(value);
            leaf.constraints.length_min.is_some()
        }
        "maxItems" => {
            leaf.constraints.length_max = length(value);
            leaf.constraints.length_max.is_some()
        }
        _ => false,
    });
    Ok(())
}

/// The type of an array's elements or a map's values; rules for them are left to the residual.
fn element<'a>(
    document: &Document<'a>,
    schema: &'a Value,
    leaf: &mut Leaf,
    depth: usize,
) -> Result<Type, String> {
    if depth > DEPTH_MAX {
        return Err(format!("it is nested deeper than {DEPTH_MAX} levels"));
    }
    let (schema, exact) = document.dereference(schema).ok_or("a reference in it leads nowhere")?;
    let schema = schema.as_object().ok_or("its elements have no type")?;
    let kind = kind(schema).map_err(|message| format!("of its elements: {message}"))?;
    if kind.name == "object" && schema.contains_key("properties") {
        leaf.loose.push("items".to_owned());
        return tuple(document, schema, leaf, depth);
    }
    let inner = self::leaf(document, schema, &kind, depth + 1)?;
    if !exact || !inner.loose.is_empty() || is_ruled(&inner.constraints) {
        leaf.loose.push("items".to_owned());
    }
    leaf.coercion.integral_float |= inner.coercion.integral_float;
    Ok(inner.ty)
}

fn is_ruled(rules: &Constraints) -> bool {
    !rules.one_of.is_empty()
        || rules.min.is_some()
        || rules.max.is_some()
        || rules.length_min.is_some()
        || rules.length_max.is_some()
        || rules.pattern.is_some()
}

fn tuple<'a>(
    document: &Document<'a>,
    schema: &'a Map<String, Value>,
    leaf: &mut Leaf,
    depth: usize,
) -> Result<Type, String> {
    let required = schema.get("required").and_then(Value::as_array);
    let mut fields = Vec::new();
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let mut ty = element(document, property, leaf, depth + 1)?;
        if !required.is_some_and(|required| required.iter().any(|listed| listed == name)) {
            ty = nullable(ty)
                .map_err(|ty| format!("`{name}` in it may be absent, but {ty} cannot be NULL"))?;
        }
        fields.push(Field { name: Some(name.clone()), ty });
    }
    let ty = Type::Tuple(fields);
    // Names that ClickHouse refuses are found by reading the type back.
    ty.to_string().parse().map_err(|error: super::ty::Error| error.message)
}

fn object<'a>(
    document: &Document<'a>,
    schema: &'a Map<String, Value>,
    leaf: &mut Leaf,
    depth: usize,
) -> Result<(), String> {
    let values = schema.get("additionalProperties").filter(|values| values.is_object());
    if schema.contains_key("properties") {
        leaf.loose.push("properties".to_owned());
    }
    if let Some(values) = values
        && !schema.contains_key("properties")
    {
        let inner = element(document, values, leaf, depth)?;
        leaf.ty = Type::Map(Box::new(Type::String), Box::new(inner));
    }
    let map = matches!(leaf.ty, Type::Map(..));
    each(schema, leaf, |keyword, value, leaf| match keyword {
        "additionalProperties" => map || value == &Value::Bool(true),
        "minProperties" if map => {
            leaf.constraints.length_min = length(value);
            leaf.constraints.length_min.is_some()
        }
        "maxProperties" if map => {
            leaf.constraints.length_max = length(value);
            leaf.constraints.length_max.is_some()
        }
        _ => false,
    });
    Ok(())
}
