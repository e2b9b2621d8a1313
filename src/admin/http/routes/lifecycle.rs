//! The rows of lifecycle and erasure.
//!
//! Refuses to know how they are done: `http::lifecycle` and `http::erasures` do.

use super::{ENDPOINT, LIMIT, Route, TABLES, job, look_once, shape};
use crate::admin::command::Permission as P;
use crate::admin::erase::{Erased, Records};
use crate::admin::http::erasures::{self, Erasure};
use crate::admin::http::lifecycle::{self, Apply, Expiry, Holding, Materialization, Release};
use crate::admin::lifecycle::{Drift, Holds, Materializations, Outcomes, Plan, Put, Released};

pub const ROUTES: &[Route] = &[
    Route {
        about: "What each rule of age touches now, what would be done, and the hash that apply wants",
        query: &[TABLES, ENDPOINT],
        gives: shape::<Plan>,
        ..look_once("/v1/lifecycle/plan", "lifecycle.plan", P::TableRead, |s, a| {
            Box::pin(lifecycle::plan(s, a))
        })
    },
    Route {
        about: "How the TTLs of live tables differ from their rules",
        query: &[TABLES, ENDPOINT],
        gives: shape::<Drift>,
        ..look_once("/v1/lifecycle/drift", "lifecycle.drift", P::TableRead, |s, a| {
            Box::pin(lifecycle::drift(s, a))
        })
    },
    Route {
        about: "Sets TTLs and drops partitions that are over, if the plan is the one that is named",
        query: &[ENDPOINT],
        body: Some(shape::<Apply>),
        gives: shape::<Outcomes>,
        ..job("/v1/lifecycle/apply", "lifecycle.apply", P::Lifecycle, |s, a| Box::pin(lifecycle::apply(s, a)))
    },
    Route {
        about: "Deletes what is over now, and sets no TTL",
        query: &[ENDPOINT],
        body: Some(shape::<Expiry>),
        gives: shape::<Outcomes>,
        ..job("/v1/lifecycle/expire", "lifecycle.expire", P::Lifecycle, |s, a| {
            Box::pin(lifecycle::expire(s, a))
        })
    },
    Route {
        about: "Brings parts that are there under the TTL of their table, which may write them again",
        query: &[ENDPOINT],
        body: Some(shape::<Materialization>),
        gives: shape::<Materializations>,
        ..job("/v1/lifecycle/materialize", "lifecycle.materialize", P::Lifecycle, |s, a| {
            Box::pin(lifecycle::materialize(s, a))
        })
    },
    Route {
        about: "The legal holds that are in force",
        query: &[ENDPOINT],
        gives: shape::<Holds>,
        ..look_once("/v1/lifecycle/holds", "lifecycle.holds", P::TableRead, |s, a| {
            Box::pin(lifecycle::holds(s, a))
        })
    },
    Route {
        about: "Keeps a table, or partitions of it, from being deleted",
        query: &[ENDPOINT],
        body: Some(shape::<Holding>),
        gives: shape::<Put>,
        ..job("/v1/lifecycle/holds", "lifecycle.hold", P::LegalHold, |s, a| Box::pin(lifecycle::hold(s, a)))
    },
    Route {
        about: "Lets a hold go",
        query: &[ENDPOINT],
        body: Some(shape::<Release>),
        gives: shape::<Released>,
        ..job("/v1/lifecycle/holds/{id}/release", "lifecycle.release", P::LegalHold, |s, a| {
            Box::pin(lifecycle::release(s, a))
        })
    },
    Route {
        about: "The records of erasures, newest first; they have digests in place of values",
        query: &[LIMIT, ENDPOINT],
        gives: shape::<Records>,
        ..look_once("/v1/erasures", "erase.list", P::ErasureRead, |s, a| Box::pin(erasures::list(s, a)))
    },
    Route {
        about: "Deletes the rows of a subject from every table whose file declares the column",
        query: &[ENDPOINT],
        body: Some(shape::<Erasure>),
        gives: shape::<Erased>,
        ..job("/v1/erasures", "erase.subject", P::Erase, |s, a| Box::pin(erasures::erase(s, a)))
    },
];
