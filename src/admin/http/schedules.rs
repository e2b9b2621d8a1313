//! The routes of schedules: how each stands, what came of its runs, and running one now.
//!
//! Refuses to run for whoever may not do by hand what the schedule does.

use std::sync::Arc;

use axum::http::StatusCode;
use chrono::Utc;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::asked::Asked;
use super::problem::Problem;
use super::routes::Answer;
use super::{Surface, jobs};
use crate::admin::command;
use crate::admin::jobs::Job;
use crate::admin::schedule::{Error, Line};

/// Every schedule.
#[derive(Serialize, JsonSchema)]
pub struct List {
    pub schedules: Vec<Line>,
    /// Whether the table of jobs could be read.
    pub complete: bool,
}

/// The runs of one.
#[derive(Serialize, JsonSchema)]
pub struct Runs {
    pub schedule: String,
    pub runs: Vec<Job>,
    /// Whether the table of jobs could be read.
    pub complete: bool,
}

pub async fn list(surface: &Surface, _: &Asked) -> Result<Answer, Problem> {
    let (schedules, complete) = surface.schedules.list(Utc::now()).await;
    Answer::new(&List { schedules, complete })
}

pub async fn history(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let (runs, complete) = surface.schedules.history(&asked.id, asked.limit()?).await?;
    Answer::new(&Runs { schedule: asked.id.clone(), runs, complete })
}

pub async fn run(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    if asked.is_dry_run()? {
        let preview = surface.schedules.preview(&asked.id, &asked.actor).await?;
        let failed = |text: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "schedule", &text);
        return Answer::new(&preview.map_err(|why| failed(why.to_string()))?);
    }
    let (job, is_new) = match surface.schedules.run_now(&asked.id, &asked.actor, asked.ask()) {
        Err(error @ Error::Forbidden { .. }) => {
            let why = error.to_string();
            let command = asked.command(&asked.id, json!({}));
            command::refuse(&surface.trail, &asked.actor, &command, why.lines().next().unwrap_or_default())
                .await;
            return Err(error.into());
        }
        other => other?,
    };
    jobs::accepted(&job, is_new)
}
