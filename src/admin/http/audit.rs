//! The routes of the audit trail.
//!
//! Refuses to be silent: looking at the trail is written into it as well, as far as it can be written.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::asked::Asked;
use super::problem::{Problem, told};
use super::routes::Answer;
use super::{Surface, jobs};
use crate::admin::audit::{ChainError, Verdict};
use crate::admin::command;

/// Lines of the trail.
#[derive(Serialize, JsonSchema)]
pub struct Lines {
    pub lines: Vec<Value>,
}

impl From<ChainError> for Problem {
    fn from(error: ChainError) -> Self {
        Problem::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "trail", &told(&error))
    }
}

pub async fn tail(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let limit = asked.limit()?;
    let chain = Arc::clone(&surface.chain);
    let work = async move {
        let read = tokio::task::spawn_blocking(move || chain.tail(limit)).await;
        let (lines, _) = read.map_err(|error| broken_off(&error))??;
        // A line that is none is shown as it is; that it is wrong is for `verify` to say.
        let line = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok::<Lines, Problem>(Lines { lines: lines.into_iter().map(line).collect() })
    };
    let command = asked.command("the audit trail", json!({ "limit": limit }));
    Answer::new(&command::look(&surface.trail, &asked.actor, command, work).await?)
}

pub fn verify(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let (chain, trail, actor) = (Arc::clone(&surface.chain), surface.trail.clone(), asked.actor.clone());
    let command = asked.command("the audit trail", json!({}));
    jobs::start(surface, asked, |_| async move {
        let work = async move {
            let verified = tokio::task::spawn_blocking(move || chain.verify()).await;
            Ok::<Verdict, Problem>(verified.map_err(|error| broken_off(&error))??)
        };
        command::look(&trail, &actor, command, work).await
    })
}

pub fn broken_off(error: &tokio::task::JoinError) -> Problem {
    Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string())
}
