//! The routes of migrations: each is a verb of the library's `Migrator`, for whoever asks.
//!
//! Refuses to run what nobody has looked at: up and down want the hash of a plan.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::asked::Asked;
use super::problem::Problem;
use super::routes::Answer;
use super::{Surface, jobs};
use crate::admin::command;
use crate::admin::jobs::Handle;
use crate::admin::migrate::pragma::Danger;
use crate::admin::migrate::{Drift, Event, Mark, Marking, Migrator, Options, Report, Verified};
use crate::units::Span;

/// What is to be run.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Up {
    /// The hash of the plan that is meant, as `GET /v1/migrations/plan` gives it; may be left out of a trial run.
    pub plan: Option<String>,
    /// Only up to this version.
    pub to: Option<String>,
    /// This migration alone.
    pub only: Option<String>,
    /// Dangers that are allowed: drop, delete, blocking, out_of_order.
    #[serde(default)]
    pub allow: Vec<String>,
    /// How long to wait for another process that migrates.
    pub wait: Option<Span>,
    /// Not to try everything in a scratch database first.
    #[serde(default)]
    pub no_shadow: bool,
    /// Not to look whether rewritten parts find room.
    #[serde(default)]
    pub skip_disk_check: bool,
}

/// What is to be taken back.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Down {
    /// The hash of the plan that is meant, as `GET /v1/migrations/plan?direction=down` gives it; may be left out of a
    /// trial run.
    pub plan: Option<String>,
    /// The version to stay at; 0 takes back all.
    pub to: String,
    /// Dangers that are allowed.
    #[serde(default)]
    pub allow: Vec<String>,
    /// How long to wait for another process that migrates.
    pub wait: Option<Span>,
}

/// What is there already.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The last version that is there.
    pub to: String,
}

/// What somebody knows of a migration or a statement.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Marked {
    /// Version, name or file.
    pub migration: String,
    /// Number of the statement; all without it.
    pub statement: Option<NonZeroU32>,
    /// On this endpoint alone, as host:port.
    pub host: Option<String>,
    /// Whether it was carried out.
    pub done: bool,
    /// Why.
    #[serde(default)]
    pub note: String,
}

/// That the changes of files are no changes of the schema.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repair {
    /// Must be true.
    pub accept: bool,
}

/// What is not as it was run.
#[derive(Serialize, JsonSchema)]
pub struct Findings {
    pub findings: Vec<Verified>,
}

pub async fn status(surface: &Surface, _: &Asked) -> Result<Answer, Problem> {
    Answer::new(&surface.migrator.status().await?)
}

pub async fn plan(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let options = Options { to: asked.text("to").map(str::to_owned), ..Options::default() };
    match asked.text("direction") {
        None | Some("up") => Answer::new(&surface.migrator.plan(&options).await?),
        Some("down") if options.to.is_none() => {
            Err(Problem::unfit("to is missing\nhint: say the version to stay at"))
        }
        Some("down") => Answer::new(&surface.migrator.plan_down(&options).await?),
        Some(_) => Err(Problem::bad("direction is neither up nor down")),
    }
}

pub async fn up(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let up: Up = asked.body()?;
    let options = Options {
        to: up.to,
        only: up.only,
        plan: up.plan,
        allow: dangers(&up.allow)?,
        wait: up.wait.map(|wait| wait.0),
        no_shadow: up.no_shadow,
        skip_disk_check: up.skip_disk_check,
    };
    if asked.is_dry_run()? {
        return Answer::new(&surface.migrator.plan(&options).await?);
    }
    planned(&options)?;
    run(surface, asked, async move |migrator| Ok(migrator.up(&options).await?))
}

pub async fn down(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let down: Down = asked.body()?;
    let options = Options {
        to: Some(down.to),
        plan: down.plan,
        allow: dangers(&down.allow)?,
        wait: down.wait.map(|wait| wait.0),
        ..Options::default()
    };
    if asked.is_dry_run()? {
        return Answer::new(&surface.migrator.plan_down(&options).await?);
    }
    planned(&options)?;
    run(surface, asked, async move |migrator| Ok(migrator.down(&options).await?))
}

pub async fn baseline(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let Baseline { to } = asked.body()?;
    write_down(surface, asked, Marking::Baseline { to }).await
}

pub async fn mark(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let Marked { migration, statement, host, done, note } = asked.body()?;
    let statement = statement.map(NonZeroU32::get);
    write_down(surface, asked, Marking::Mark(Mark { migration, statement, host, done, note })).await
}

pub async fn repair(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let repair: Repair = asked.body()?;
    if !repair.accept {
        return Err(Problem::unfit(
            "accept is not true\nhint: it says that the changes are no changes of the schema",
        ));
    }
    write_down(surface, asked, Marking::Repair).await
}

pub fn verify(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    look(surface, asked, async |migrator: Migrator| Ok(Findings { findings: migrator.verify().await? }))
}

pub fn drift(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    look(surface, asked, async |migrator: Migrator| Ok::<Drift, Problem>(migrator.drift().await?))
}

async fn write_down(surface: &Arc<Surface>, asked: &Asked, marking: Marking) -> Result<Answer, Problem> {
    if asked.is_dry_run()? {
        return Answer::new(&surface.migrator.acting(asked.actor.clone()).preview(&marking).await?);
    }
    run(surface, asked, async move |migrator| Ok(migrator.write_down(&marking).await?))
}

fn planned(options: &Options) -> Result<(), Problem> {
    match options.plan {
        Some(_) => Ok(()),
        None => Err(Problem::unfit(
            "plan is missing\nhint: look at GET /v1/migrations/plan, or send it with dry_run=true, and name its hash",
        )),
    }
}

fn dangers(names: &[String]) -> Result<BTreeSet<Danger>, Problem> {
    let known = Danger::ALL.map(Danger::name).join(", ");
    let parse = |name: &String| Danger::parse(name);
    let all: Option<BTreeSet<Danger>> = names.iter().map(parse).collect();
    all.ok_or_else(|| Problem::unfit(&format!("a danger in allow is none\nhint: there are {known}")))
}

/// The library's migrator for whoever asks, which tells the job of its steps.
fn migrator(surface: &Surface, asked: &Asked, handle: &Handle) -> Migrator {
    let (told, stop) = (handle.clone(), handle.stop.clone());
    let migrator = surface.migrator.acting(asked.actor.clone()).stopped_by(stop);
    migrator.observed(Arc::new(move |event: &Event| told.tell(event)))
}

/// A verb that changes something: the migrator itself authorises and audits it.
fn run<F>(
    surface: &Surface,
    asked: &Asked,
    verb: impl FnOnce(Migrator) -> F + Send + 'static,
) -> Result<Answer, Problem>
where
    F: Future<Output = Result<Report, Problem>> + Send + 'static,
{
    jobs::start(surface, asked, |handle| verb(migrator(surface, asked, &handle)))
}

/// A verb that looks, and is written down here.
fn look<T, F>(
    surface: &Surface,
    asked: &Asked,
    verb: impl FnOnce(Migrator) -> F + Send + 'static,
) -> Result<Answer, Problem>
where
    T: Serialize + Send + 'static,
    F: Future<Output = Result<T, Problem>> + Send + 'static,
{
    let (trail, actor) = (surface.trail.clone(), asked.actor.clone());
    let command = asked.command("migrations", json!({}));
    jobs::start(surface, asked, |handle| {
        let migrator = migrator(surface, asked, &handle);
        async move { command::look(&trail, &actor, command, verb(migrator)).await }
    })
}
