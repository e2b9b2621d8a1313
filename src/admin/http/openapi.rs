//! The description of the interface, as OpenAPI 3.1, made from the table of routes.
//!
//! Refuses to be written by hand: what is not in the table is not in it, and what is in the table is.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::problem::Problem;
use super::routes::{self, Kind, Route};
use crate::admin::jobs::Job;

/// Any object; what it says of itself is in it.
#[derive(Serialize, JsonSchema)]
pub struct Any {
    openapi: String,
}

static DESCRIPTION: LazyLock<Value> = LazyLock::new(describe);

pub fn description() -> &'static Value {
    &DESCRIPTION
}

fn describe() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    // The dialect of OpenAPI 3.1 is this one already.
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in routes::all() {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.verb.name().to_ascii_lowercase(), operation(route, &mut generator));
        }
    }
    // Both are answered by several routes, and are components by name.
    generator.subschema_for::<Problem>();
    generator.subschema_for::<Job>();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "penstock admin",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Care of the tables that penstock fills. Each operation needs a permission, which comes from the roles of the token.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } },
            "schemas": generator.take_definitions(true),
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let result = (route.gives)(generator);
    let mut answers = Map::new();
    if route.is_job() {
        let job = generator.subschema_for::<Job>();
        answers.insert(
            "202".to_owned(),
            json!({
                "description": "The job that does it; its result is what x-penstock-result says",
                "headers": {
                    "Location": { "description": "Where the job is", "schema": { "type": "string" } },
                    "Idempotent-Replayed": {
                        "description": "The same request started this job before", "schema": { "type": "string" },
                    },
                },
                "content": { "application/json": { "schema": job } },
            }),
        );
    } else {
        answers.insert("200".to_owned(), content("The answer", route.media, &json!(result)));
    }
    if route.is_job() && route.is_mutation() {
        let tried = content("With dry_run=true: what would be done", "application/json", &json!(true));
        answers.insert("200".to_owned(), tried);
    }
    let problem = json!(generator.subschema_for::<Problem>());
    let refusals = [
        ("401", "No token that holds"),
        ("403", "The role lacks the permission"),
        ("429", "Too many failed tries"),
    ];
    for (status, about) in refusals {
        answers.insert(status.to_owned(), content(about, "application/problem+json", &problem));
    }
    answers.insert("default".to_owned(), content("What went wrong", "application/problem+json", &problem));
    let mut operation = json!({
        "operationId": route.action,
        "summary": route.about,
        "x-penstock-permission": route.needs.name(),
        "parameters": parameters(route),
        "responses": answers,
    });
    let Some(fields) = operation.as_object_mut() else { return operation };
    if route.is_job() {
        fields.insert("x-penstock-result".to_owned(), json!(result));
    }
    if let Some(body) = route.body {
        let schema = body(generator);
        let required = !takes_nothing(&schema, generator);
        fields.insert(
            "requestBody".to_owned(),
            json!({ "required": required, "content": { "application/json": { "schema": schema } } }),
        );
    }
    operation
}

/// Whether an empty object is a body, and so none at all.
fn takes_nothing(schema: &Schema, generator: &SchemaGenerator) -> bool {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    let definition = name.and_then(|name| generator.definitions().get(name));
    definition.is_some_and(|definition| definition.get("required").is_none())
}

fn content(about: &str, kind: &str, schema: &Value) -> Value {
    json!({ "description": about, "content": { kind: { "schema": schema } } })
}

fn parameters(route: &Route) -> Vec<Value> {
    let left_open = route.path.split('{').nth(1).and_then(|rest| rest.split('}').next());
    let in_path = left_open
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let in_query = route.parameters().map(
        |one| json!({ "name": one.name, "in": "query", "description": one.about, "schema": kind(one.kind) }),
    );
    let key = route.is_job().then(|| {
        json!({
            "name": "Idempotency-Key", "in": "header", "schema": { "type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$" },
            "description": "The same key with the same request gives the same job; with another request, 409",
        })
    });
    in_path.into_iter().chain(in_query).chain(key).collect()
}

fn kind(kind: Kind) -> Value {
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Names => json!({ "type": "string", "description": "Names, parted by commas" }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Number { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::OneOf(all) => json!({ "type": "string", "enum": all }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_every_reference_leads_somewhere() {
        let all = description();
        for route in routes::all() {
            let operation = &all["paths"][route.path][route.verb.name().to_ascii_lowercase()];
            assert_eq!(operation["operationId"], route.action);
            assert_eq!(operation["x-penstock-permission"], route.needs.name());
            assert_eq!(operation["requestBody"].is_object(), route.body.is_some(), "{}", route.path);
            for status in ["401", "403"] {
                assert!(operation["responses"][status].is_object(), "{}", route.path);
            }
        }
        let count: usize =
            all["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(count, routes::all().count(), "nothing is described that is not there");
        let text = all.to_string();
        let mut seen = 0;
        for reference in text.split("\"$ref\":\"").skip(1) {
            let pointer = reference.split('"').next().unwrap().strip_prefix('#').unwrap();
            assert!(all.pointer(pointer).is_some(), "{pointer}");
            seen += 1;
        }
        assert!(seen > 20, "{seen}");
        for (name, schema) in all["components"]["schemas"].as_object().unwrap() {
            assert!(jsonschema::meta::is_valid(schema), "{name}: {schema}");
        }
    }
}
