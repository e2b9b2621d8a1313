//! The routes of backups: each is a verb of the library's `Backups`, for whoever asks.
//!
//! Refuses to prune what nobody has looked at: it wants the hash of a plan.

use std::sync::Arc;

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::asked::Asked;
use super::problem::{Problem, told};
use super::routes::Answer;
use super::{Surface, jobs};
use crate::admin::backup::{Backups, Create, Entry, Error, HoldRequest, Progress, Refusal, Restore, Verify};
use crate::admin::command;
use crate::admin::jobs::Handle;

/// The backups that are there, newest first.
#[derive(Serialize, JsonSchema)]
pub struct List {
    pub backups: Vec<Entry>,
}

/// Which policy is to be run.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Name of the policy.
    pub policy: String,
}

/// Why one is let go.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Why.
    pub reason: String,
}

/// What is to be pruned.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prune {
    /// Only of this policy.
    pub policy: Option<String>,
    /// The hash of the plan that is meant, as `GET /v1/backups/prune` gives it; may be left out of a trial run.
    pub plan: Option<String>,
}

/// Which backup something was done to.
#[derive(Serialize, JsonSchema)]
pub struct Kept {
    pub id: String,
}

/// What was found beside the backups and is in the catalogue now.
#[derive(Serialize, JsonSchema)]
pub struct Found {
    pub found: Vec<String>,
}

/// What was read again.
#[derive(Serialize, JsonSchema)]
pub struct Replayed {
    pub replayed: Vec<crate::admin::backup::Replayed>,
}

fn own(surface: &Surface, asked: &Asked) -> Backups {
    surface.backups.acting(asked.actor.clone())
}

pub async fn list(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let limit = asked.limit()?;
    let policy = asked.text("policy");
    look(surface, asked, async {
        let mut backups = own(surface, asked).entries().await?.0;
        backups
            .retain(|entry| entry.is_there() && policy.is_none_or(|policy| entry.manifest.policy == policy));
        backups.reverse();
        backups.truncate(limit);
        Ok(List { backups })
    })
    .await
}

pub async fn show(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    look(surface, asked, async { Ok(own(surface, asked).show_one(&asked.id).await?) }).await
}

pub async fn prune_plan(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    look(surface, asked, async { Ok(own(surface, asked).plan_prune(asked.text("policy")).await?) }).await
}

pub async fn create(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let create: Create = asked.body()?;
    if asked.is_dry_run()? {
        return Answer::new(&own(surface, asked).plan(&create).await?);
    }
    run(surface, asked, async move |backups: Backups| Ok(backups.create(&create).await?))
}

pub async fn run_policy(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let Run { policy } = asked.body()?;
    if asked.is_dry_run()? {
        let create = Create { policy: Some(policy), ..Create::default() };
        return Answer::new(&own(surface, asked).plan(&create).await?);
    }
    run(surface, asked, async move |backups: Backups| Ok(backups.run_policy(&policy).await?))
}

pub async fn verify(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let (id, verify): (String, Verify) = (asked.id.clone(), asked.body()?);
    if verify.percent > 100 {
        return Err(Problem::unfit("percent is more than 100"));
    }
    if asked.is_dry_run()? {
        return Answer::new(&own(surface, asked).show_one(&id).await?);
    }
    run(surface, asked, async move |backups: Backups| Ok(backups.verify(&id, verify).await?))
}

pub async fn restore(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let (id, restore): (String, Restore) = (asked.id.clone(), asked.body()?);
    if asked.is_dry_run()? {
        return Answer::new(&own(surface, asked).plan_restore(&id, &restore).await?);
    }
    run(surface, asked, async move |backups: Backups| Ok(backups.restore(&id, &restore).await?))
}

pub async fn replay(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let (id, restore): (String, Restore) = (asked.id.clone(), asked.body()?);
    if asked.is_dry_run()? {
        let replayed = own(surface, asked).replay_after(&id, &restore, true).await?;
        return Answer::new(&Replayed { replayed });
    }
    run(surface, asked, async move |backups: Backups| {
        Ok(Replayed { replayed: backups.replay_after(&id, &restore, false).await? })
    })
}

pub async fn hold(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let (own, id, request): (_, _, HoldRequest) = (own(surface, asked), asked.id.clone(), asked.body()?);
    own.show_one(&id).await?;
    if !asked.is_dry_run()? {
        own.hold(&id, &request).await?;
    }
    Answer::new(&Kept { id })
}

pub async fn release(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let (own, id, Release { reason }) = (own(surface, asked), asked.id.clone(), asked.body()?);
    own.show_one(&id).await?;
    if !asked.is_dry_run()? {
        own.release(&id, &reason).await?;
    }
    Answer::new(&Kept { id })
}

pub async fn delete(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let id = asked.id.clone();
    if asked.is_dry_run()? {
        return Answer::new(&own(surface, asked).plan_delete(&id).await?);
    }
    run(surface, asked, async move |backups: Backups| Ok(backups.delete(&id).await?))
}

pub async fn prune(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let Prune { policy, plan } = asked.body()?;
    if asked.is_dry_run()? {
        return Answer::new(&own(surface, asked).plan_prune(policy.as_deref()).await?);
    }
    let missing = "plan is missing\nhint: look at GET /v1/backups/prune, and name its hash";
    let plan = plan.ok_or_else(|| Problem::unfit(missing))?;
    run(surface, asked, async move |backups: Backups| Ok(backups.prune(policy.as_deref(), &plan).await?))
}

pub async fn scan(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    if asked.is_dry_run()? {
        return Answer::new(&Found { found: own(surface, asked).unknown().await? });
    }
    run(surface, asked, async move |backups: Backups| Ok(Found { found: backups.scan().await? }))
}

/// What looks is written down here.
async fn look<T: Serialize>(
    surface: &Surface,
    asked: &Asked,
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<Answer, Problem> {
    let resource = if asked.id.is_empty() { "backups" } else { &asked.id };
    let command = asked.command(resource, json!({}));
    Answer::new(&command::look(&surface.trail, &asked.actor, command, Box::pin(work)).await?)
}

/// What changes something: the library itself authorises and audits it.
fn run<T, F>(
    surface: &Surface,
    asked: &Asked,
    verb: impl FnOnce(Backups) -> F + Send + 'static,
) -> Result<Answer, Problem>
where
    T: Serialize + Send + 'static,
    F: Future<Output = Result<T, Problem>> + Send + 'static,
{
    let own = own(surface, asked);
    jobs::start(surface, asked, |handle: Handle| {
        let told = handle.clone();
        let observer = Arc::new(move |progress: &Progress| told.tell(progress));
        Box::pin(verb(own.observed(observer).stopped_by(handle.stop)))
    })
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        use Error as E;
        let (status, code) = match error {
            E::Desk(error) => return error.into(),
            E::Command(error) => return error.into(),
            E::NoBackup(_) => (StatusCode::NOT_FOUND, "no_backup"),
            E::NoPolicy { .. } => (StatusCode::NOT_FOUND, "no_policy"),
            E::PlanDiffers { .. } => (StatusCode::CONFLICT, "plan_differs"),
            E::Blocked { .. } => (StatusCode::CONFLICT, "blocked"),
            E::NotProven { .. } => (StatusCode::CONFLICT, "not_verified"),
            E::NotEmpty { .. } => (StatusCode::CONFLICT, "not_empty"),
            E::Cancelled(_) => (StatusCode::CONFLICT, "cancelled"),
            E::Nothing(_) | E::NoBase(_) | E::Broken { .. } | E::NoTable { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "backup")
            }
            E::Unreachable | E::NoLine | E::Zone(_) => (StatusCode::CONFLICT, "not_set"),
            E::Server { .. } | E::Lost(_) | E::Late(_) => (StatusCode::BAD_GATEWAY, "clickhouse"),
            E::Line(Refusal::WrongUse(_)) => (StatusCode::CONFLICT, "line"),
            E::Line(Refusal::Unreachable(_)) => (StatusCode::SERVICE_UNAVAILABLE, "unreachable"),
            E::Line(Refusal::Failed(_)) => (StatusCode::BAD_GATEWAY, "line"),
            E::File { .. } | E::List(_) | E::Task(_) => (StatusCode::INTERNAL_SERVER_ERROR, "files"),
        };
        Problem::new(status, code, &told(&error))
    }
}
