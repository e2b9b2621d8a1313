//! The rows of migrations.
//!
//! Refuses to know how they are done: `http::migrations` does.

use super::{Changes, Kind, Parameter, Route, job, look_once, shape};
use crate::admin::command::Permission as P;
use crate::admin::http::migrations::{self, Baseline, Down, Findings, Marked, Repair, Up};
use crate::admin::migrate::{Drift, Planned, Report, Status};

const TO: Parameter =
    Parameter { name: "to", about: "Only up to this version, or down to it", kind: Kind::Text };
const DIRECTION: Parameter = Parameter {
    name: "direction",
    about: "up, which it is without it, or down; then with `to`",
    kind: Kind::OneOf(&["up", "down"]),
};

pub const ROUTES: &[Route] = &[
    Route {
        about: "How every migration stands",
        gives: shape::<Status>,
        ..look_once("/v1/migrations", "migrate.status", P::MigrateRead, |s, a| {
            Box::pin(migrations::status(s, a))
        })
    },
    Route {
        about: "What would be run, and the hash that up and down want",
        query: &[TO, DIRECTION],
        gives: shape::<Planned>,
        ..look_once("/v1/migrations/plan", "migrate.plan", P::MigrateRead, |s, a| {
            Box::pin(migrations::plan(s, a))
        })
    },
    Route {
        about: "Runs what is not run yet, if the plan is the one that is named",
        body: Some(shape::<Up>),
        gives: shape::<Report>,
        ..job("/v1/migrations/up", "migrate.up", P::MigrateUp, |s, a| Box::pin(migrations::up(s, a)))
    },
    Route {
        about: "Takes versions back, newest first, if the plan is the one that is named",
        body: Some(shape::<Down>),
        gives: shape::<Report>,
        ..job("/v1/migrations/down", "migrate.down", P::MigrateDown, |s, a| Box::pin(migrations::down(s, a)))
    },
    Route {
        about: "Writes down that everything up to a version is there already",
        body: Some(shape::<Baseline>),
        gives: shape::<Report>,
        ..job("/v1/migrations/baseline", "migrate.baseline", P::MigrateJournal, |s, a| {
            Box::pin(migrations::baseline(s, a))
        })
    },
    Route {
        about: "Writes down what became of a migration or a statement",
        body: Some(shape::<Marked>),
        gives: shape::<Report>,
        ..job("/v1/migrations/mark", "migrate.mark", P::MigrateJournal, |s, a| {
            Box::pin(migrations::mark(s, a))
        })
    },
    Route {
        about: "Takes files that were changed after they were run as what was run",
        body: Some(shape::<Repair>),
        gives: shape::<Report>,
        ..job("/v1/migrations/repair", "migrate.repair", P::MigrateJournal, |s, a| {
            Box::pin(migrations::repair(s, a))
        })
    },
    Route {
        about: "Compares the files with what was run, and asks every verify",
        changes: Changes::NothingForLong,
        gives: shape::<Findings>,
        ..job("/v1/migrations/verify", "migrate.verify", P::MigrateCheck, |s, a| {
            Box::pin(async { migrations::verify(s, a) })
        })
    },
    Route {
        about: "Compares the live tables with what the migrations make",
        changes: Changes::NothingForLong,
        gives: shape::<Drift>,
        ..job("/v1/migrations/drift", "migrate.drift", P::MigrateCheck, |s, a| {
            Box::pin(async { migrations::drift(s, a) })
        })
    },
];
