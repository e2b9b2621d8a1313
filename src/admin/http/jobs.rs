//! The routes of jobs, and how a route becomes one.
//!
//! Refuses to wait: whoever asked gets a number and a place to look.

use std::sync::Arc;

use axum::http::StatusCode;
use chrono::Utc;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::Surface;
use super::asked::Asked;
use super::problem::Problem;
use super::routes::Answer;
use crate::admin::command;
use crate::admin::jobs::{Handle, Job};

/// The latest jobs.
#[derive(Serialize, JsonSchema)]
pub struct List {
    pub jobs: Vec<Job>,
    /// Whether those of other processes and of earlier ones are among them; false when the table of jobs cannot be read.
    pub complete: bool,
}

/// Starts the work, and says where to look for what comes of it.
pub fn start<W, T>(
    surface: &Surface,
    asked: &Asked,
    work: impl FnOnce(Handle) -> W,
) -> Result<Answer, Problem>
where
    W: Future<Output = Result<T, Problem>> + Send + 'static,
    T: Serialize,
{
    let work = |handle| {
        let work = work(handle);
        async move {
            match work.await {
                Ok(result) => serde_json::to_value(result).map_err(|error| Value::String(error.to_string())),
                Err(problem) => Err(problem.value()),
            }
        }
    };
    let (job, is_new) = surface.jobs.start(asked.ask(), Utc::now(), work)?;
    accepted(&job, is_new)
}

/// Where to look for what comes of a job.
pub fn accepted(job: &Job, is_new: bool) -> Result<Answer, Problem> {
    let location = Some(format!("/v1/jobs/{}", job.id));
    Ok(Answer { status: StatusCode::ACCEPTED, location, is_repeated: !is_new, ..Answer::new(job)? })
}

pub async fn list(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let (jobs, complete) = surface.jobs.list(None, asked.limit()?).await;
    Answer::new(&List { jobs, complete })
}

pub async fn show(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    Answer::new(&surface.jobs.get(&asked.id).await?)
}

pub async fn cancel(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let job = surface.jobs.get(&asked.id).await?;
    if asked.is_dry_run()? {
        return Answer::new(&job);
    }
    let details = json!({ "action": job.action, "asked_by": job.actor });
    let work = Box::pin(async { Ok::<Job, Problem>(surface.jobs.cancel(&asked.id).await?) });
    let cancelled =
        command::run(&surface.trail, &asked.actor, asked.command(&asked.id, details), work).await?;
    Answer::new(&cancelled)
}
