//! The rows of schedules and of health.
//!
//! Refuses to know what is scheduled and what is looked at.

use serde_json::Value;

use super::{LIMIT, Route, job, look, shape};
use crate::admin::command::Permission as P;
use crate::admin::http::routes::Answer;
use crate::admin::http::schedules;
use crate::admin::watch::Report;

pub const ROUTES: &[Route] = &[
    Route {
        about: "Every schedule: when it is due next, and what came of its last run",
        gives: shape::<schedules::List>,
        ..look("/v1/schedules", "schedule.list", P::ScheduleRead, |s, a| Box::pin(schedules::list(s, a)))
    },
    Route {
        about: "The runs of a schedule, newest first, with due times that were left out",
        query: &[LIMIT],
        gives: shape::<schedules::Runs>,
        ..look("/v1/schedules/{id}/runs", "schedule.history", P::ScheduleRead, |s, a| {
            Box::pin(schedules::history(s, a))
        })
    },
    Route {
        about: "Runs a schedule now, unless a run of it is under way",
        gives: shape::<Value>,
        ..job("/v1/schedules/{id}/run", "schedule.run", P::ScheduleRun, |s, a| Box::pin(schedules::run(s, a)))
    },
    Route {
        about: "How the servers and this process were at the last look",
        gives: shape::<Report>,
        ..look("/v1/health", "health.show", P::HealthRead, |s, _| {
            Box::pin(async { Answer::new(&s.watch.report()) })
        })
    },
];
