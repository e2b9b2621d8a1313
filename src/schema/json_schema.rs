//! Compiles a JSON Schema document (draft 2020-12 or 07) into columns, constraints and a residual.
//!
//! Refuses to fetch anything: references stay inside the document. Nothing in it is ignored: a keyword
//! is either enforced by the columns exactly, or the whole document is evaluated on every record.

use std::cell::Cell;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::fault::{Fault, Faults};
use super::fit;
use super::json_type::{self, Leaf};
use super::model::{Column, Source, TimeFormat, Type};

/// Objects within objects, and references through references, beyond this are refused.
pub(super) const DEPTH_MAX: usize = 16;

/// Schemas visited in one document, however its references multiply them.
const VISITS_MAX: usize = 20_000;

const DRAFTS: [&str; 3] = [
    "https://json-schema.org/draft/2020-12/schema",
    "http://json-schema.org/draft-07/schema",
    "https://json-schema.org/draft-07/schema",
];

/// Keywords that judge nothing.
const ANNOTATIONS: [&str; 14] = [
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "title",
    "description",
    "examples",
    "default",
    "readOnly",
    "writeOnly",
    "deprecated",
    "$anchor",
    "type",
];

/// One property that becomes a column, unless the table file has its own for it.
#[derive(Debug)]
pub(super) struct Candidate {
    pub name: String,
    pub path: Vec<String>,
    pub column: Option<Column>,
    /// Why it could not become a column by itself.
    pub fault: Option<Fault>,
}

#[derive(Debug, Default)]
pub(super) struct Compiled {
    pub candidates: Vec<Candidate>,
    pub faults: Faults,
    validator: Option<jsonschema::Validator>,
    /// Places of the keywords that the columns do not enforce exactly.
    loose: Vec<String>,
    objects: usize,
    closed: usize,
}

impl Compiled {
    /// Whether every object of the document refuses unknown fields.
    pub fn is_closed(&self) -> bool {
        self.closed > 0 && self.closed == self.objects
    }

    /// The document as a validator, when the columns do not enforce all of it. `overridden` says that
    /// the table file has field columns of its own, `rejects` what it says of unknown fields.
    pub fn residual(self, overridden: bool, rejects: Option<bool>) -> Option<Arc<jsonschema::Validator>> {
        let closed = self.closed == 0 || (self.is_closed() && rejects.unwrap_or(true));
        if self.loose.is_empty() && closed && !overridden {
            return None;
        }
        self.validator.map(Arc::new)
    }
}

/// Compiles the document; what is wrong with it is among the faults.
pub(super) fn compile(document: &Value) -> Compiled {
    let bounded = Document { root: document, visits: Cell::new(0) };
    let mut walk = Walk { document: &bounded, out: Compiled::default() };
    let draft = document.get("$schema").and_then(Value::as_str).map(|draft| draft.trim_end_matches('#'));
    if draft.is_some_and(|draft| !DRAFTS.contains(&draft)) {
        walk.fault("/$schema", "this draft is not known", "use draft 2020-12 or 07");
        return walk.out;
    }
    let built = jsonschema::options()
        .offline()
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .build(document);
    match built {
        Ok(validator) => walk.out.validator = Some(validator),
        Err(error) => {
            let place = error.instance_path().as_str().to_owned();
            walk.fault(
                &place,
                &error.to_string(),
                "mend the document; references must stay inside of it and formats must be known",
            );
            return walk.out;
        }
    }
    let root = walk.dereferenced(document, "");
    match root {
        Some(Value::Object(root)) if json_type::kind(root).is_ok_and(|kind| kind.name == "object") => {
            walk.object(root, &Place { path: Vec::new(), pointer: String::new(), required: true });
        }
        _ => walk.fault(
            "",
            "the document does not describe an object",
            "records are objects: write `\"type\": \"object\"` with `properties`",
        ),
    }
    walk.out
}

/// The document that references are looked up in.
pub(super) struct Document<'a> {
    root: &'a Value,
    visits: Cell<usize>,
}

struct Walk<'a> {
    document: &'a Document<'a>,
    out: Compiled,
}

struct Place {
    path: Vec<String>,
    pointer: String,
    /// Whether every object on the way down must be there.
    required: bool,
}

impl<'a> Walk<'a> {
    fn fault(&mut self, pointer: &str, message: &str, hint: &str) {
        self.out.faults.add(format!("json_schema#{pointer}"), message, hint);
    }

    fn loose(&mut self, pointer: &str, keyword: &str) {
        self.out.loose.push(format!("{pointer}/{keyword}"));
    }

    /// Follows references inside the document. What stands beside a reference is left to the residual.
    fn dereferenced(&mut self, schema: &'a Value, pointer: &str) -> Option<&'a Value> {
        let (target, exact) = self.document.dereference(schema)?;
        if !exact {
            self.loose(pointer, "$ref");
        }
        Some(target)
    }

    /// Whether some field below must be there, so that the object itself must be.
    fn object(&mut self, schema: &'a Map<String, Value>, place: &Place) -> bool {
        self.out.objects += 1;
        let none = Map::new();
        for (keyword, value) in schema {
            match keyword.as_str() {
                "properties" | "required" => {}
                "additionalProperties" if value == &Value::Bool(false) => self.out.closed += 1,
                "additionalProperties" if value == &Value::Bool(true) => {}
                keyword if is_annotation(keyword) => {}
                keyword => self.loose(&place.pointer, keyword),
            }
        }
        let properties = match schema.get("properties") {
            Some(Value::Object(properties)) => properties,
            _ => &none,
        };
        let listed: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let named_elsewhere = listed.iter().any(|name| !properties.contains_key(*name));
        if !listed.is_empty() && (named_elsewhere || !place.required) {
            self.loose(&place.pointer, "required");
        }
        let mut some_required = false;
        let Some(Value::Object(properties)) = schema.get("properties") else { return false };
        for (key, schema) in properties {
            let required = place.required && listed.contains(&key.as_str());
            let mut path = place.path.clone();
            path.push(key.clone());
            let pointer =
                format!("{}/properties/{}", place.pointer, key.replace('~', "~0").replace('/', "~1"));
            some_required |= self.property(schema, Place { path, pointer, required });
        }
        some_required
    }

    fn property(&mut self, schema: &'a Value, place: Place) -> bool {
        if schema == &Value::Bool(false) {
            self.loose(&place.pointer, "false");
            return false;
        }
        let Some(Value::Object(schema)) = self.dereferenced(schema, &place.pointer) else {
            self.candidate(&place, Err("it may be anything".to_owned()));
            return place.required;
        };
        let kind = match json_type::kind(schema) {
            Ok(kind) => kind,
            Err(message) => {
                self.loose(&place.pointer, "type");
                self.candidate(&place, Err(message));
                return place.required;
            }
        };
        if kind.name == "object" && schema.contains_key("properties") && place.path.len() < DEPTH_MAX {
            let inner = Place { required: place.required && !kind.nullable, ..place };
            let found = self.object(schema, &inner);
            // Absence, and null where it is not allowed, would pass for an object without fields.
            if !found {
                self.loose(&inner.pointer, "type");
            }
            return found;
        }
        let leaf = json_type::leaf(self.document, schema, &kind, 0);
        let leaf = leaf.map(|mut leaf| {
            for keyword in std::mem::take(&mut leaf.loose) {
                self.loose(&place.pointer, &keyword);
            }
            leaf
        });
        let column = leaf.and_then(|leaf| self.column(leaf, schema, &place));
        self.candidate(&place, column);
        place.required
    }

    fn column(&mut self, leaf: Leaf, schema: &Map<String, Value>, place: &Place) -> Result<Column, String> {
        let mut ty = leaf.ty;
        let mut default = None;
        if !place.required {
            match schema.get("default").filter(|value| !value.is_null()) {
                Some(value) => {
                    fit::value(value, &ty, TimeFormat::Iso, false)
                        .map_err(|message| format!("its default does not fit {ty}: {message}"))?;
                    default = Some(value.clone());
                }
                None if ty.is_nullable() => {}
                None => {
                    // NULL in the column stands for absence; that null itself is refused is left over.
                    self.loose(&place.pointer, "type");
                    ty = json_type::nullable(ty).map_err(|ty| {
                        format!("it may be absent, but there is no default and {ty} cannot be NULL")
                    })?;
                }
            }
        }
        let required = place.required || (default.is_none() && !ty.is_nullable());
        Ok(Column {
            name: place.path.join("_"),
            ty,
            source: Source::Path(place.path.clone()),
            default,
            required,
            constraints: leaf.constraints,
            coercion: leaf.coercion,
            time_format: TimeFormat::Iso,
            protect: None,
        })
    }

    fn candidate(&mut self, place: &Place, column: Result<Column, String>) {
        let name = place.path.join("_");
        let (column, fault) = match column {
            Ok(column) => (Some(column), None),
            Err(message) => {
                let hint = format!(
                    "list it in `columns`: `- {{name: {name}, path: {}, type: …}}`",
                    place.path.join(".")
                );
                let path = format!("json_schema#{}", place.pointer);
                (None, Some(Fault { path, message: format!("no column can be made of it: {message}"), hint }))
            }
        };
        self.out.candidates.push(Candidate { name, path: place.path.clone(), column, fault });
    }
}

pub(super) fn is_annotation(keyword: &str) -> bool {
    ANNOTATIONS.contains(&keyword) || keyword.starts_with("x-")
}

impl<'a> Document<'a> {
    /// The schema behind references inside the document, and whether nothing stood beside one. `None`
    /// when one leads nowhere or in circles, or when too much has been visited already.
    pub fn dereference(&self, schema: &'a Value) -> Option<(&'a Value, bool)> {
        self.visits.set(self.visits.get().saturating_add(1));
        if self.visits.get() > VISITS_MAX {
            return None;
        }
        let (mut schema, mut exact) = (schema, true);
        for _ in 0..DEPTH_MAX {
            let Some(reference) = schema.get("$ref") else { return Some((schema, exact)) };
            let beside = schema.as_object().into_iter().flatten();
            exact &=
                beside.filter(|(key, _)| *key != "$ref").all(|(key, _)| is_annotation(key) && key != "type");
            schema = self.root.pointer(reference.as_str()?.strip_prefix('#')?)?;
        }
        None
    }
}

/// Whether ClickHouse can store NULL in place of such a value.
pub(super) fn holds_null(ty: &Type) -> bool {
    !matches!(ty, Type::Array(_) | Type::Map(..) | Type::Tuple(_) | Type::Nested(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn compiled(property: &Value, required: bool) -> Compiled {
        let required = if required { json!(["a"]) } else { json!([]) };
        compile(&json!({"type": "object", "required": required, "properties": {"a": property}}))
    }

    #[track_caller]
    fn column(property: &Value, required: bool) -> (Column, bool) {
        let mut compiled = compiled(property, required);
        assert_eq!(compiled.faults.0, [], "{property}");
        let candidate = compiled.candidates.remove(0);
        assert_eq!(candidate.fault, None, "{property}");
        (candidate.column.unwrap(), compiled.residual(false, None).is_some())
    }

    #[test]
    fn each_keyword_is_enforced_by_the_column_or_left_to_the_residual() {
        for (property, ty, residual) in [
            (json!({"type": "string"}), "String", false),
            (json!({"type": "string", "title": "A", "x-owner": "b"}), "String", false),
            (json!({"type": "string", "minLength": 1, "maxLength": 9}), "String", false),
            (json!({"type": "string", "pattern": r"^\d{3}-[A-Z\d]+\.x$"}), "String", false),
            (json!({"type": "string", "pattern": r"^(?=a)\p{L}$"}), "String", true),
            (json!({"type": "string", "enum": ["x", "y"]}), "LowCardinality(String)", false),
            (json!({"const": "x"}), "LowCardinality(String)", false),
            (
                json!({"type": ["string", "null"], "enum": ["x", null]}),
                "LowCardinality(Nullable(String))",
                false,
            ),
            (json!({"type": ["string", "null"], "enum": ["x"]}), "LowCardinality(Nullable(String))", true),
            (json!({"type": "string", "format": "ipv4"}), "IPv4", false),
            (json!({"type": "string", "format": "ipv6"}), "IPv6", true),
            (json!({"type": "string", "format": "uuid"}), "UUID", true),
            (json!({"type": "string", "format": "date"}), "Date32", true),
            (json!({"type": "string", "format": "date-time"}), "DateTime64(6)", true),
            (json!({"type": "string", "format": "email"}), "String", true),
            (json!({"type": "string", "format": "uuid", "minLength": 40}), "UUID", true),
            (json!({"type": "integer"}), "Int64", false),
            (json!({"type": "integer", "minimum": 0}), "UInt64", false),
            (json!({"type": "integer", "minimum": 0, "maximum": 255}), "UInt8", false),
            (json!({"type": "integer", "exclusiveMinimum": -129, "exclusiveMaximum": 128}), "Int8", false),
            (json!({"type": "integer", "minimum": 0.5}), "Int64", true),
            (json!({"type": "integer", "multipleOf": 5}), "Int64", true),
            (json!({"type": "integer", "enum": [1, 2]}), "Int64", false),
            (json!({"type": "number", "multipleOf": 1}), "Int64", false),
            (json!({"type": "number", "minimum": 0.5, "maximum": 1e3}), "Float64", false),
            (json!({"type": "number", "exclusiveMinimum": 0.5}), "Float64", true),
            (json!({"type": "number", "multipleOf": 0.01}), "Float64", true),
            (json!({"type": ["integer", "number"]}), "Float64", false),
            (json!({"type": ["number", "null"]}), "Nullable(Float64)", false),
            (json!({"type": "boolean"}), "Bool", false),
            (json!({"type": "array", "items": {"type": "string"}}), "Array(String)", false),
            (
                json!({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3}),
                "Array(Int64)",
                false,
            ),
            (json!({"type": "array", "items": {"type": "string", "minLength": 1}}), "Array(String)", true),
            (
                json!({"type": "array", "items": {"type": ["string", "null"]}, "uniqueItems": true}),
                "Array(Nullable(String))",
                true,
            ),
            (
                json!({"type": "array", "items": {"type": "object", "required": ["x"], "properties": {"x": {"type": "string"}, "y": {"type": "boolean"}}}}),
                "Array(Tuple(x String, y Nullable(Bool)))",
                true,
            ),
            (json!({"type": "object"}), "JSON", false),
            (json!({"type": "object", "additionalProperties": true}), "JSON", false),
            (
                json!({"type": "object", "additionalProperties": {"type": "number"}, "minProperties": 1}),
                "Map(String, Float64)",
                false,
            ),
            (json!({"type": "object", "patternProperties": {"^x": {"type": "number"}}}), "JSON", true),
            (json!({"type": "object", "propertyNames": {"minLength": 2}}), "JSON", true),
            (json!({"type": "string", "oneOf": [{"minLength": 3}]}), "String", true),
            (json!({"type": "string", "not": {"const": "x"}}), "String", true),
            (json!({"type": "string", "if": {"minLength": 3}, "then": {"maxLength": 9}}), "String", true),
        ] {
            let (column, left) = column(&property, true);
            assert_eq!((column.ty.to_string().as_str(), left), (ty, residual), "{property}");
            assert!(column.required && column.default.is_none(), "{property}");
        }
    }

    #[test]
    fn bounds_and_rules_reach_the_column() {
        let (of_int, _) =
            column(&json!({"type": "integer", "minimum": 3, "exclusiveMinimum": 4, "maximum": 9}), true);
        assert_eq!(
            (of_int.constraints.min.as_deref(), of_int.constraints.max.as_deref()),
            (Some("5"), Some("9"))
        );
        assert!(of_int.coercion.integral_float, "12.0 is an integer in JSON Schema");
        let (of_text, _) =
            column(&json!({"type": "string", "minLength": 2, "maxLength": 5, "pattern": r"^\d.$"}), true);
        assert_eq!((of_text.constraints.length_min, of_text.constraints.length_max), (Some(2), Some(5)));
        let pattern = of_text.constraints.pattern.unwrap();
        assert!(pattern.is_match("1x") && !pattern.is_match("١x") && !pattern.is_match("1\u{2028}"));
    }

    #[test]
    fn absence_is_a_default_or_null() {
        let (with_default, residual) =
            column(&json!({"type": "array", "items": {"type": "string"}, "default": []}), false);
        assert!(!residual && !with_default.required && with_default.default == Some(json!([])));
        let (may_be_null, residual) = column(&json!({"type": ["string", "null"]}), false);
        assert!(!residual && !may_be_null.required && may_be_null.ty.is_nullable());
        let (not_null, residual) = column(&json!({"type": "string"}), false);
        assert!(
            residual && not_null.ty.is_nullable(),
            "the column would take a null that the schema refuses"
        );
        for property in [
            json!({"type": "array", "items": {"type": "string"}}),
            json!({"type": "integer", "default": "x"}),
            json!({"type": ["string", "integer"]}),
            json!({"type": "null"}),
            json!({}),
            json!(true),
        ] {
            let compiled = compiled(&property, false);
            assert!(compiled.candidates[0].fault.is_some(), "{property}");
        }
    }

    #[test]
    fn nested_objects_become_paths_and_closed_ones_reject() {
        let document = |inner: bool, outer: bool, required: Value| {
            compile(&json!({
                "type": "object", "required": ["o"], "additionalProperties": !outer,
                "properties": {"o": {"type": "object", "required": required, "additionalProperties": !inner,
                    "properties": {"x": {"$ref": "#/$defs/x"}}}},
                "$defs": {"x": {"type": "integer"}}
            }))
        };
        let closed = document(true, true, json!(["x"]));
        let column = closed.candidates[0].column.as_ref().unwrap();
        assert_eq!(
            (column.name.as_str(), &column.source),
            ("o_x", &Source::Path(vec!["o".to_owned(), "x".to_owned()]))
        );
        assert!(column.required && closed.is_closed());
        assert!(closed.residual(false, None).is_none());
        assert!(document(true, true, json!(["x"])).residual(false, Some(false)).is_some(), "kept fields");
        assert!(
            document(true, false, json!(["x"])).residual(false, None).is_some(),
            "only the inner is closed"
        );
        assert!(document(false, false, json!(["x"])).residual(false, None).is_none());
        assert!(document(false, false, json!(["x"])).residual(true, None).is_some(), "overridden");
        assert!(
            document(false, false, json!([])).residual(false, None).is_some(),
            "`o` itself must be there"
        );
        assert!(document(false, false, json!(["y"])).residual(false, None).is_some(), "`y` has no column");
    }

    #[test]
    fn the_residual_asserts_formats_and_nothing_is_fetched() {
        let residual =
            compiled(&json!({"type": "string", "format": "email"}), true).residual(false, None).unwrap();
        assert!(
            residual.is_valid(&json!({"a": "a@example.com"})) && !residual.is_valid(&json!({"a": "nobody"}))
        );
        for (document, place) in [
            (json!({"$schema": "http://json-schema.org/draft-04/schema#", "type": "object"}), "/$schema"),
            (json!({"type": "object", "properties": {"a": {"$ref": "https://example.com/a.json"}}}), ""),
            (json!({"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}), ""),
            (json!({"type": "object", "properties": {"a": {"type": "strng"}}}), "/properties/a/type"),
            (json!({"type": "object", "properties": {"a": {"type": "string", "format": "zip"}}}), ""),
            (json!({"type": "array"}), ""),
            (json!(true), ""),
        ] {
            let compiled = compile(&document);
            let fault = compiled.faults.0.first().unwrap_or_else(|| panic!("{document}"));
            assert!(fault.path.starts_with(&format!("json_schema#{place}")), "{fault:?}");
        }
        let draft07 = json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
            "required": ["a"], "properties": {"a": {"$ref": "#/definitions/a"}},
            "definitions": {"a": {"type": "string"}}, "dependencies": {"a": ["b"]}});
        let compiled = compile(&draft07);
        assert_eq!(compiled.faults.0, []);
        assert!(!compiled.residual(false, None).unwrap().is_valid(&json!({"a": "x"})));
        let endless = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}},
            "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}});
        assert!(compile(&endless).candidates[0].fault.is_some());
        let node = |name: &str| json!({"$ref": format!("#/$defs/{name}")});
        let children: Map<String, Value> = (0..8).map(|i| (format!("c{i}"), node("o"))).collect();
        let elements: Map<String, Value> =
            (0..8).map(|i| (format!("e{i}"), json!({"type": "array", "items": node("t")}))).collect();
        let multiplying = json!({"type": "object", "properties": {"a": node("o"), "b": {"type": "array", "items": node("t")}},
            "$defs": {"o": {"type": "object", "properties": children}, "t": {"type": "object", "properties": elements}}});
        assert!(compile(&multiplying).candidates.len() < 2 * VISITS_MAX);
    }
}
