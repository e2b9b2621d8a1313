//! The rows of jobs.
//!
//! Refuses to know what a job does.

use super::{Changes, LIMIT, Route, job, look, look_once, shape};
use crate::admin::command::Permission as P;
use crate::admin::http::jobs;
use crate::admin::jobs::Job;

pub const ROUTES: &[Route] = &[
    Route {
        about: "The latest jobs, newest first",
        query: &[LIMIT],
        gives: shape::<jobs::List>,
        ..look_once("/v1/jobs", "job.list", P::JobRead, |s, a| Box::pin(jobs::list(s, a)))
    },
    Route {
        about: "One job: how far it is, and what came of it",
        gives: shape::<Job>,
        ..look("/v1/jobs/{id}", "job.show", P::JobRead, |s, a| Box::pin(jobs::show(s, a)))
    },
    Route {
        about: "Asks a job to end; it does before its next statement, and what was done stays done",
        changes: Changes::AtOnce,
        gives: shape::<Job>,
        ..job("/v1/jobs/{id}/cancel", "job.cancel", P::JobCancel, |s, a| Box::pin(jobs::cancel(s, a)))
    },
];
