//! The routes by which the running line is acted on.
//!
//! Refuses a pause without an end and a reason. What each process of the line said is told as it was said.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::asked::Asked;
use super::problem::{Problem, told};
use super::routes::Answer;
use super::{Surface, jobs};
use crate::admin::command::{self, Command};
use crate::admin::line::{Error, Outcome, Wanted, Watched};
use crate::telemetry::control::{Act, PAUSE_MAX_S};

const REASON_CHARS_MAX: usize = 500;
/// Longer than any topic or endpoint.
const NAME_CHARS_MAX: usize = 300;

/// A topic that is not to be read for a while.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseWanted {
    #[schemars(length(min = 1, max = 300))]
    pub topic: String,
    /// After so many seconds it is read again by itself.
    #[schemars(range(min = 1, max = 86_400))]
    pub for_s: u32,
    /// Why; it stands in the audit trail and is shown to all who look at the line.
    #[schemars(length(min = 1, max = 500))]
    pub reason: String,
}

/// A topic that is to be read again before its pause ends.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeWanted {
    #[schemars(length(min = 1, max = 300))]
    pub topic: String,
}

/// Whose open batches are to be closed and sent.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlushWanted {
    /// Of all topics without it.
    #[schemars(length(min = 1, max = 300))]
    pub topic: Option<String>,
}

/// Nothing is to be said.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReloadWanted {}

/// A server whose shut gate is to be tried now.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeWanted {
    /// Host and port, as gates are named.
    #[schemars(length(min = 1, max = 300))]
    pub endpoint: String,
    /// Why; it stands in the audit trail.
    #[schemars(length(min = 1, max = 500))]
    pub reason: String,
}

fn named<'a>(what: &str, name: &'a str) -> Result<&'a str, Problem> {
    let fits = !name.is_empty() && name.chars().count() <= NAME_CHARS_MAX && !name.contains(char::is_control);
    if fits {
        Ok(name)
    } else {
        Err(Problem::unfit(&format!("{what} is no name\nhint: write 1 to {NAME_CHARS_MAX} characters")))
    }
}

fn reasoned(reason: &str) -> Result<String, Problem> {
    // One line, since it stands in logs and in sentences.
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    let fits = (1..=REASON_CHARS_MAX).contains(&reason.chars().count()) && !reason.contains(char::is_control);
    if fits {
        return Ok(reason);
    }
    let text = format!(
        "there is no reason, or one that is too long\nhint: write 1 to {REASON_CHARS_MAX} characters"
    );
    Err(Problem::unfit(&text))
}

pub async fn pause(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let PauseWanted { topic, for_s, reason } = asked.body()?;
    let (topic, reason) = (named("topic", &topic)?.to_owned(), reasoned(&reason)?);
    if !(1..=PAUSE_MAX_S).contains(&for_s) {
        let text = format!("for_s is not 1 to {PAUSE_MAX_S}\nhint: a pause ends by itself, within a day");
        return Err(Problem::unfit(&text));
    }
    let command = asked.command(&topic, json!({ "for_s": for_s, "reason": reason }));
    if asked.is_dry_run()? {
        return plan(surface, asked, command).await;
    }
    surface.line.check()?;
    let span = Duration::from_secs(for_s.into());
    let wanted = Wanted { topic, span, reason, actor: asked.actor.name.clone() };
    let (own, actor) = (Arc::clone(surface), asked.actor.clone());
    jobs::start(surface, asked, |handle| async move {
        let work = async {
            let (is_closing, tell) = (|| handle.is_closing(), |event| handle.tell(&event));
            let watched = Watched { stop: handle.stop.clone(), is_closing: &is_closing, tell: &tell };
            Ok::<Outcome, Problem>(own.line.pause(wanted, watched).await?)
        };
        command::run(&own.trail, &actor, command, Box::pin(work)).await
    })
}

pub async fn resume(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let ResumeWanted { topic } = asked.body()?;
    let command = asked.command(named("topic", &topic)?, json!({}));
    order(surface, asked, command, Act::Resume { topic, id: None }).await
}

pub async fn flush(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let FlushWanted { topic } = asked.body()?;
    let resource = topic.as_deref().map(|topic| named("topic", topic)).transpose()?.unwrap_or("all topics");
    let command = asked.command(resource, json!({}));
    order(surface, asked, command, Act::Flush { topic }).await
}

pub async fn reload(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let ReloadWanted {} = asked.body()?;
    order(surface, asked, asked.command("the line", json!({})), Act::Reload).await
}

pub async fn probe(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let ProbeWanted { endpoint, reason } = asked.body()?;
    let command = asked.command(named("endpoint", &endpoint)?, json!({ "reason": reasoned(&reason)? }));
    order(surface, asked, command, Act::Probe { endpoint }).await
}

/// One order to every process, as a job.
async fn order(surface: &Arc<Surface>, asked: &Asked, command: Command, act: Act) -> Result<Answer, Problem> {
    if asked.is_dry_run()? {
        return plan(surface, asked, command).await;
    }
    surface.line.check()?;
    let (own, actor) = (Arc::clone(surface), asked.actor.clone());
    jobs::start(surface, asked, |_| async move {
        let work = async { Ok::<Outcome, Problem>(own.line.order(&actor.name, act).await?) };
        command::run(&own.trail, &actor, command, Box::pin(work)).await
    })
}

/// Who would be told.
async fn plan(surface: &Surface, asked: &Asked, command: Command) -> Result<Answer, Problem> {
    surface.line.check()?;
    let work = Box::pin(async { Ok::<Outcome, Problem>(surface.line.plan().await) });
    Answer::new(&command::look(&surface.trail, &asked.actor, command, work).await?)
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (status, code) = match &error {
            Error::NoControl => (StatusCode::CONFLICT, "no_control"),
            Error::Refused(_) => (StatusCode::CONFLICT, "line_refused"),
            Error::NoPods | Error::Unreachable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unreachable"),
            Error::Cancelled | Error::Left(_) => (StatusCode::CONFLICT, "cancelled"),
        };
        Problem::new(status, code, &told(&error))
    }
}
