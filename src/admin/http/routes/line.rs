//! The rows of the running line: what can be done to it.
//!
//! Refuses to know how it is told.

use super::{Does, Route, job, shape};
use crate::admin::command::Permission as P;
use crate::admin::http::line;
use crate::admin::line::Outcome;

pub const ROUTES: &[Route] = &[
    Route {
        about: "Stops reading a topic for a while; the job lives until it is read again, and cancelling it ends the pause",
        body: Some(shape::<line::PauseWanted>),
        gives: shape::<Outcome>,
        waits: true,
        ..order("/v1/line/pause", "line.pause", |s, a| Box::pin(line::pause(s, a)))
    },
    Route {
        about: "Reads a topic again before its pause ends",
        body: Some(shape::<line::ResumeWanted>),
        gives: shape::<Outcome>,
        ..order("/v1/line/resume", "line.resume", |s, a| Box::pin(line::resume(s, a)))
    },
    Route {
        about: "Closes open batches now, so that they are written before their age",
        body: Some(shape::<line::FlushWanted>),
        gives: shape::<Outcome>,
        ..order("/v1/line/flush", "line.flush", |s, a| Box::pin(line::flush(s, a)))
    },
    Route {
        about: "Has configuration and table files read again, as SIGHUP does",
        body: Some(shape::<line::ReloadWanted>),
        gives: shape::<Outcome>,
        ..order("/v1/line/reload", "line.reload", |s, a| Box::pin(line::reload(s, a)))
    },
    Route {
        about: "Lets the shut gate of a server try now, without the rest of its back-off",
        body: Some(shape::<line::ProbeWanted>),
        gives: shape::<Outcome>,
        ..order("/v1/line/probe", "line.probe", |s, a| Box::pin(line::probe(s, a)))
    },
];

/// A row that tells the line something. The line is told most when its servers are away, and with them the table of jobs;
/// that it was told stands in the audit trail, and to be told twice does it no harm.
const fn order(path: &'static str, action: &'static str, does: Does) -> Route {
    Route { may_go_unwritten: true, ..job(path, action, P::LineControl, does) }
}
