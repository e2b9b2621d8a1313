//! The table of routes: what each is, who may take it, what it takes and gives. One file has the rows of one area.
//!
//! Refuses to know how: each row names one function elsewhere. A route that is not here does not exist, and one that is
//! here has a right, a description and a test.

mod access;
mod backups;
mod console;
mod crypt;
mod fleet;
mod jobs;
mod letters;
mod lifecycle;
mod line;
mod migrations;
mod tables;

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::routing::{MethodFilter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::Value;

use super::asked::{Asked, LIMIT_MAX};
use super::problem::Problem;
use super::{Surface, guard};
use crate::admin::access::matrix;
use crate::admin::command::Permission as P;

/// The rows of every area.
const AREAS: &[&[Route]] = &[
    migrations::ROUTES,
    tables::ROUTES,
    lifecycle::ROUTES,
    backups::ROUTES,
    crypt::ROUTES,
    jobs::ROUTES,
    fleet::ROUTES,
    console::ROUTES,
    letters::ROUTES,
    line::ROUTES,
    access::ROUTES,
];

/// Every route there is.
pub fn all() -> impl Iterator<Item = &'static Route> {
    AREAS.iter().flat_map(|area| area.iter())
}

/// What can be asked for, and whether that is a job.
pub fn actions() -> impl Iterator<Item = (&'static str, bool)> {
    all().map(|route| (route.action, route.is_job()))
}

/// The actions whose answers clients share.
pub fn shared_actions() -> impl Iterator<Item = &'static str> {
    all().filter(|route| route.is_shared).map(|route| route.action)
}

/// Whether a route looks or does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Get,
    Post,
}

impl Verb {
    pub fn name(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Post => "POST",
        }
    }
}

/// What a route does: one function of the area, for whoever asks.
type Does = for<'a> fn(&'a Arc<Surface>, &'a Asked) -> Doing<'a>;
type Doing<'a> = Pin<Box<dyn Future<Output = Result<Answer, Problem>> + Send + 'a>>;

/// A parameter of the query.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub about: &'static str,
    pub kind: Kind,
}

/// What a parameter of the query may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Text,
    /// Names, parted by commas.
    Names,
    Flag,
    Number {
        min: u32,
        max: u32,
    },
    OneOf(&'static [&'static str]),
}

const LIMIT: Parameter = Parameter {
    name: "limit",
    about: "At most so many; 100 without it",
    kind: Kind::Number { min: 1, max: LIMIT_MAX },
};
const DRY_RUN: Parameter =
    Parameter { name: "dry_run", about: "true says what would be done, and does nothing", kind: Kind::Flag };
const ENDPOINT: Parameter = Parameter {
    name: "endpoint",
    about: "Endpoint to work on, as host:port; the first without it",
    kind: Kind::Text,
};
const TABLES: Parameter =
    Parameter { name: "tables", about: "Only these tables; all without any", kind: Kind::Names };

type Shape = fn(&mut SchemaGenerator) -> Schema;

/// One row.
#[derive(Clone, Copy)]
pub struct Route {
    pub verb: Verb,
    pub path: &'static str,
    /// The stable name in the audit trail, in metrics, and of the operation.
    pub action: &'static str,
    pub needs: P,
    pub about: &'static str,
    pub does: Does,
    pub query: &'static [Parameter],
    pub body: Option<Shape>,
    /// What is answered; of a job, its result.
    pub gives: Shape,
    /// As what kind of text.
    pub media: &'static str,
    pub changes: Changes,
    /// Whether the answer is the same whoever asks, and may be one of a moment ago: `http::shared`.
    pub is_shared: bool,
    /// Whether its job mostly waits: it takes no place of those that work.
    pub waits: bool,
    /// Whether its job may begin while the table of jobs does not answer: `jobs::Ask`.
    pub may_go_unwritten: bool,
}

/// What taking a route means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changes {
    /// It looks, and answers.
    Nothing,
    /// It looks for long, and is a job.
    NothingForLong,
    /// It changes something at once.
    AtOnce,
    /// It changes something as a job.
    ForLong,
}

impl Route {
    /// Whether it answers 202 and goes on.
    pub fn is_job(&self) -> bool {
        matches!(self.changes, Changes::ForLong | Changes::NothingForLong)
    }

    /// Whether it can be tried out.
    pub fn is_mutation(&self) -> bool {
        matches!(self.changes, Changes::ForLong | Changes::AtOnce)
    }

    /// Whether it changes nothing but what whoever asks bears.
    pub fn is_own(&self) -> bool {
        self.needs == P::SelfRead
    }

    pub fn parameters(&self) -> impl Iterator<Item = &'static Parameter> + use<> {
        let dry_run: &'static [Parameter] = if self.is_mutation() { &[DRY_RUN] } else { &[] };
        self.query.iter().chain(dry_run)
    }
}

/// A row that looks; what it answers is to be named.
const fn look(path: &'static str, action: &'static str, needs: P, does: Does) -> Route {
    Route {
        verb: Verb::Get,
        path,
        action,
        needs,
        about: "",
        does,
        query: &[],
        body: None,
        gives: shape::<Value>,
        media: "application/json",
        changes: Changes::Nothing,
        is_shared: false,
        waits: false,
        may_go_unwritten: false,
    }
}

/// A row that looks at a server, whose answer all who ask within a moment share.
const fn look_once(path: &'static str, action: &'static str, needs: P, does: Does) -> Route {
    Route { is_shared: true, ..look(path, action, needs, does) }
}

/// A row that is a job; what comes of it is to be named.
const fn job(path: &'static str, action: &'static str, needs: P, does: Does) -> Route {
    Route { verb: Verb::Post, changes: Changes::ForLong, ..look(path, action, needs, does) }
}

fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// What a route answers.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
    pub location: Option<String>,
    /// The same request was answered before.
    pub is_repeated: bool,
    /// In place of the body.
    pub raw: Option<Raw>,
}

/// A body that is text already, or that is still being made.
#[derive(Debug)]
pub struct Raw {
    pub kind: &'static str,
    pub body: Body,
}

impl Answer {
    pub fn new(body: &impl Serialize) -> Result<Answer, Problem> {
        let body = serde_json::to_value(body).map_err(|error| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string())
        })?;
        Ok(Answer::value(body))
    }

    pub fn value(body: Value) -> Answer {
        Answer { status: StatusCode::OK, body, location: None, is_repeated: false, raw: None }
    }

    pub fn raw(raw: Raw) -> Answer {
        Answer { raw: Some(raw), ..Answer::value(Value::Null) }
    }
}

/// The router, made from the table.
pub fn router(surface: Arc<Surface>) -> Router {
    let mut router = super::console::router();
    for route in all() {
        let filter = match route.verb {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
        };
        let handler =
            move |surface, peer, parts, request| guard::answer(route, surface, peer, parts, request);
        router = router.route(route.path, on(filter, handler));
    }
    let nothing = async || {
        refused(StatusCode::NOT_FOUND, "not_found", "there is nothing here\nhint: see /v1/openapi.json")
    };
    let not_so = async || {
        refused(StatusCode::METHOD_NOT_ALLOWED, "method", "not by this method\nhint: see /v1/openapi.json")
    };
    router.fallback(nothing).method_not_allowed_fallback(not_so).with_state(surface)
}

fn refused(status: StatusCode, code: &str, text: &str) -> axum::response::Response {
    let mut answer = axum::response::IntoResponse::into_response(Problem::new(status, code, text));
    guard::harden(answer.headers_mut());
    answer
}

/// `docs/access.md`: which role may do what, and take which route.
pub fn rights() -> String {
    let permissions = matrix("Permission", P::ALL.into_iter().map(|one| (format!("`{}`", one.name()), one)));
    let row = |route: &Route| (format!("`{} {}`", route.verb.name(), route.path), route.needs);
    let routes = matrix("Route", all().map(row));
    format!(
        "# Who may do what\n\n<!-- Made from the code. To make it again:\n     PENSTOCK_REGENERATE=1 cargo test --release --locked --lib admin:: -->\n\n\
         Roles come from tokens ([admin.md](admin.md)); somebody with several roles may do what any of them may.
         `dead_letter_value` needs beside the role a token that says so: `pii` ([admin.md](admin.md)).\n\n\
         {permissions}\n{routes}"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn who_may_do_what_is_written_down() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/access.md");
        // Asked for by a person who changed a right; never by the test suite.
        #[allow(clippy::disallowed_methods)]
        if std::env::var("PENSTOCK_REGENERATE").is_ok() {
            std::fs::write(path, rights()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        let how =
            "run PENSTOCK_REGENERATE=1 cargo test --release --locked --lib admin::, and read what changes";
        assert!(written == rights(), "docs/access.md is not what the code says: {how}");
    }

    #[test]
    fn every_row_is_whole_and_no_two_are_the_same() {
        let names: BTreeSet<_> = all().map(|route| route.action).collect();
        let paths: BTreeSet<_> = all().map(|route| (route.verb, route.path)).collect();
        assert_eq!((names.len(), paths.len()), (all().count(), all().count()));
        for route in all() {
            assert!(!route.about.is_empty() && route.path.starts_with("/v1/"), "{}", route.path);
            assert_eq!(route.verb == Verb::Get, route.changes == Changes::Nothing, "{}", route.path);
            assert!(!route.is_shared || route.changes == Changes::Nothing, "{}", route.path);
            let can_be_tried = route.parameters().any(|parameter| parameter.name == "dry_run");
            assert_eq!(can_be_tried, route.is_mutation(), "{}", route.path);
        }
    }
}
