//! The table of routes: what each is, who may take it, what it takes and gives.
//!
//! Refuses to know how: each row names one function elsewhere. A route that is not here does not exist, and one that is
//! here has a right, a description and a test.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{MethodFilter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::Value;

use super::asked::Asked;
use super::problem::Problem;
use super::{Surface, audit, backups, guard, jobs, migrations, openapi, tokens};
use crate::admin::access::matrix;
use crate::admin::audit::Verdict;
use crate::admin::command::Permission as P;
use crate::admin::jobs::Job;
use crate::admin::migrate::{Drift, Planned, Report, Status};

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

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    Status,
    Plan,
    Up,
    Down,
    Baseline,
    Mark,
    Repair,
    Verify,
    Drift,
    Jobs,
    Job,
    Cancel,
    Trail,
    TrailVerify,
    Myself,
    Roles,
    Issue,
    Refresh,
    Description,
    Backup(backups::Does),
}

/// A parameter of the query.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub about: &'static str,
    /// A JSON type.
    pub kind: &'static str,
}

const TO: Parameter =
    Parameter { name: "to", about: "Only up to this version, or down to it", kind: "string" };
const DIRECTION: Parameter =
    Parameter { name: "direction", about: "up, which it is without it, or down", kind: "string" };
pub(super) const LIMIT: Parameter =
    Parameter { name: "limit", about: "At most so many, 1 to 1000", kind: "integer" };
const DRY_RUN: Parameter =
    Parameter { name: "dry_run", about: "true says what would be done, and does nothing", kind: "boolean" };

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
    pub changes: Changes,
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

    pub fn parameters(&self) -> impl Iterator<Item = &'static Parameter> + use<> {
        let dry_run: &'static [Parameter] = if self.is_mutation() { &[DRY_RUN] } else { &[] };
        self.query.iter().chain(dry_run)
    }
}

pub(super) const fn look(
    path: &'static str,
    action: &'static str,
    needs: P,
    does: Does,
    gives: Shape,
) -> Route {
    let (verb, query, body, about) = (Verb::Get, &[], None, "");
    Route { verb, path, action, needs, about, does, query, body, gives, changes: Changes::Nothing }
}

/// One table of several, put together by the compiler.
#[allow(clippy::indexing_slicing, reason = "where it does not fit nothing is compiled")]
const fn join<const N: usize>(parts: &[&[Route]]) -> [Route; N] {
    let mut all = [parts[0][0]; N];
    let (mut part, mut row, mut at) = (0, 0, 0);
    while part < parts.len() {
        if row < parts[part].len() {
            all[at] = parts[part][row];
            (row, at) = (row + 1, at + 1);
        } else {
            (part, row) = (part + 1, 0);
        }
    }
    all
}

pub(super) const fn job(
    path: &'static str,
    action: &'static str,
    needs: P,
    does: Does,
    gives: Shape,
) -> Route {
    Route { verb: Verb::Post, changes: Changes::ForLong, ..look(path, action, needs, does, gives) }
}

pub(super) fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Every route there is.
pub const ROUTES: &[Route] = &join::<{ BASE.len() + backups::ROUTES.len() }>(&[BASE, backups::ROUTES]);

/// Those that have no table of their own beside what they do.
const BASE: &[Route] = &[
    Route {
        about: "How every migration stands",
        ..look("/v1/migrations", "migrate.status", P::MigrateRead, Does::Status, shape::<Status>)
    },
    Route {
        about: "What would be run, and the hash that up and down want",
        query: &[TO, DIRECTION],
        ..look("/v1/migrations/plan", "migrate.plan", P::MigrateRead, Does::Plan, shape::<Planned>)
    },
    Route {
        about: "Runs what is not run yet, if the plan is the one that is named",
        body: Some(shape::<migrations::Up>),
        ..job("/v1/migrations/up", "migrate.up", P::MigrateUp, Does::Up, shape::<Report>)
    },
    Route {
        about: "Takes versions back, newest first, if the plan is the one that is named",
        body: Some(shape::<migrations::Down>),
        ..job("/v1/migrations/down", "migrate.down", P::MigrateDown, Does::Down, shape::<Report>)
    },
    Route {
        about: "Writes down that everything up to a version is there already",
        body: Some(shape::<migrations::Baseline>),
        ..job(
            "/v1/migrations/baseline",
            "migrate.baseline",
            P::MigrateJournal,
            Does::Baseline,
            shape::<Report>,
        )
    },
    Route {
        about: "Writes down what became of a migration or a statement",
        body: Some(shape::<migrations::Marked>),
        ..job("/v1/migrations/mark", "migrate.mark", P::MigrateJournal, Does::Mark, shape::<Report>)
    },
    Route {
        about: "Takes files that were changed after they were run as what was run",
        body: Some(shape::<migrations::Repair>),
        ..job("/v1/migrations/repair", "migrate.repair", P::MigrateJournal, Does::Repair, shape::<Report>)
    },
    Route {
        about: "Compares the files with what was run, and asks every verify",
        changes: Changes::NothingForLong,
        ..job(
            "/v1/migrations/verify",
            "migrate.verify",
            P::MigrateCheck,
            Does::Verify,
            shape::<migrations::Findings>,
        )
    },
    Route {
        about: "Compares the live tables with what the migrations make",
        changes: Changes::NothingForLong,
        ..job("/v1/migrations/drift", "migrate.drift", P::MigrateCheck, Does::Drift, shape::<Drift>)
    },
    Route {
        about: "The latest jobs, newest first",
        query: &[LIMIT],
        ..look("/v1/jobs", "job.list", P::JobRead, Does::Jobs, shape::<jobs::List>)
    },
    Route {
        about: "One job: how far it is, and what came of it",
        ..look("/v1/jobs/{id}", "job.show", P::JobRead, Does::Job, shape::<Job>)
    },
    Route {
        about: "Asks a job to end; it does before its next statement, and what was done stays done",
        changes: Changes::AtOnce,
        ..job("/v1/jobs/{id}/cancel", "job.cancel", P::JobCancel, Does::Cancel, shape::<Job>)
    },
    Route {
        about: "The last lines of the audit trail, oldest first",
        query: &[LIMIT],
        ..look("/v1/audit", "audit.tail", P::AuditRead, Does::Trail, shape::<audit::Lines>)
    },
    Route {
        about: "Reads the whole audit trail and says the first line that is wrong",
        changes: Changes::NothingForLong,
        ..job("/v1/audit/verify", "audit.verify", P::AuditRead, Does::TrailVerify, shape::<Verdict>)
    },
    Route {
        about: "Whose token this is, and what it allows",
        ..look("/v1/self", "token.show", P::SelfRead, Does::Myself, shape::<tokens::Myself>)
    },
    Route {
        about: "Which role may do what",
        ..look("/v1/roles", "token.roles", P::SelfRead, Does::Roles, shape::<tokens::Roles>)
    },
    Route {
        about: "Makes a token",
        body: Some(shape::<tokens::Wanted>),
        changes: Changes::AtOnce,
        ..job("/v1/tokens", "token.issue", P::TokenIssue, Does::Issue, shape::<tokens::Made>)
    },
    Route {
        about: "Makes a new token for whoever bears one that was issued here",
        changes: Changes::AtOnce,
        ..job("/v1/tokens/refresh", "token.refresh", P::SelfRead, Does::Refresh, shape::<tokens::Made>)
    },
    Route {
        about: "This description",
        ..look("/v1/openapi.json", "api.describe", P::SelfRead, Does::Description, shape::<openapi::Any>)
    },
];

/// What a route answers.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
    pub location: Option<String>,
    /// The same request was answered before.
    pub is_repeated: bool,
}

impl Answer {
    pub fn new(body: &impl Serialize) -> Result<Answer, Problem> {
        let body = serde_json::to_value(body).map_err(|error| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string())
        })?;
        Ok(Answer { status: StatusCode::OK, body, location: None, is_repeated: false })
    }
}

/// Does what the route stands for.
pub async fn act(surface: &Arc<Surface>, asked: Asked) -> Result<Answer, Problem> {
    match asked.route.does {
        Does::Status => migrations::status(surface, &asked).await,
        Does::Plan => migrations::plan(surface, &asked).await,
        Does::Up => migrations::up(surface, &asked).await,
        Does::Down => migrations::down(surface, &asked).await,
        Does::Baseline => migrations::baseline(surface, &asked).await,
        Does::Mark => migrations::mark(surface, &asked).await,
        Does::Repair => migrations::repair(surface, &asked).await,
        Does::Verify => migrations::verify(surface, &asked),
        Does::Drift => migrations::drift(surface, &asked),
        Does::Jobs => jobs::list(surface, &asked),
        Does::Job => jobs::show(surface, &asked),
        Does::Cancel => jobs::cancel(surface, &asked).await,
        Does::Trail => audit::tail(surface, &asked).await,
        Does::TrailVerify => audit::verify(surface, &asked),
        Does::Myself => tokens::myself(&asked),
        Does::Roles => tokens::roles(),
        Does::Issue => tokens::issue(surface, &asked).await,
        Does::Refresh => tokens::refresh(surface, &asked).await,
        Does::Description => Answer::new(openapi::description()),
        Does::Backup(what) => backups::act(surface, &asked, what).await,
    }
}

/// The router, made from the table.
pub fn router(surface: Arc<Surface>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
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
    let routes = matrix("Route", ROUTES.iter().map(row));
    format!(
        "# Who may do what\n\n<!-- Made from the code. To make it again:\n     PENSTOCK_REGENERATE=1 cargo test --release --locked --lib admin:: -->\n\n\
         Roles come from tokens ([admin.md](admin.md)); somebody with several roles may do what any of them may.\n\n\
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
        let names: BTreeSet<_> = ROUTES.iter().map(|route| route.action).collect();
        let paths: BTreeSet<_> = ROUTES.iter().map(|route| (route.verb, route.path)).collect();
        assert_eq!((names.len(), paths.len()), (ROUTES.len(), ROUTES.len()));
        for route in ROUTES {
            assert!(!route.about.is_empty() && route.path.starts_with("/v1/"), "{}", route.path);
            assert_eq!(route.verb == Verb::Get, route.changes == Changes::Nothing, "{}", route.path);
            let can_be_tried = route.parameters().any(|parameter| parameter.name == "dry_run");
            assert_eq!(can_be_tried, route.is_mutation(), "{}", route.path);
        }
    }
}
