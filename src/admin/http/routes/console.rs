//! The rows of the console: how the whole line is.
//!
//! Refuses to know what it shows.

use super::{Route, look, shape};
use crate::admin::command::Permission as P;
use crate::admin::http::summary;

pub const ROUTES: &[Route] = &[
    Route {
        about: "How the whole line is: the verdict, rates, lag, problems and what to do about them",
        gives: shape::<summary::Told>,
        ..look("/v1/summary", "summary.show", P::HealthRead, |s, a| Box::pin(summary::show(s, a)))
    },
    Route {
        about: "The same as server-sent events named summary, one each second; ends by itself after four minutes",
        gives: shape::<summary::Told>,
        media: "text/event-stream",
        ..look("/v1/summary/stream", "summary.follow", P::HealthRead, |s, a| {
            Box::pin(async { summary::follow(s, a) })
        })
    },
];
