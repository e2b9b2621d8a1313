//! The routes of lifecycle: each is a verb of the library's `Lifecycles`, for whoever asks.
//!
//! Refuses to carry out what nobody has looked at: apply wants the hash of a plan.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asked::Asked;
use super::audit::broken_off;
use super::problem::Problem;
use super::routes::Answer;
use super::{Surface, jobs};
use crate::admin::desks::For;
use crate::admin::lifecycle::{
    self, Expire, HoldRequest, Holds, Lifecycles, Materialize, ReleaseRequest, moment,
};

/// The plan that is to be carried out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// Its hash, as `GET /v1/lifecycle/plan` of the same tables gives it; may be left out of a trial run.
    pub plan: Option<String>,
    /// Only these tables; all with rules without any.
    #[serde(default)]
    pub tables: Vec<String>,
}

/// What is to be deleted because it is over.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expiry {
    /// Only of these tables; all with rules without any.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Also rows of partitions that are over in part, which writes these again.
    #[serde(default)]
    pub rewrite: bool,
    /// Not to look whether what is written again finds room.
    #[serde(default)]
    pub skip_disk_check: bool,
}

/// What is to be brought under its TTL.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Materialization {
    pub table: String,
    /// Ids of partitions; all but those that are over without any.
    #[serde(default)]
    pub partitions: Vec<String>,
    /// Not to look whether what is written again finds room.
    #[serde(default)]
    pub skip_disk_check: bool,
}

/// What is to be kept from being deleted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Holding {
    /// Name of the hold.
    pub id: String,
    pub table: String,
    /// Ids of partitions, in which `*` stands for any text; the whole table without any.
    #[serde(default)]
    pub partitions: Vec<String>,
    /// Why.
    pub reason: String,
    /// When it ends by itself: a time with its zone, or a day in UTC.
    #[schemars(extend("format" = "date-time"))]
    pub until: Option<String>,
}

/// Why a hold is let go.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    pub reason: String,
}

/// The rules of the table files as they are now. Files are read, so not on the thread of requests.
async fn lifecycles(surface: &Arc<Surface>, who: For) -> Result<Lifecycles, Problem> {
    let surface = Arc::clone(surface);
    let read = tokio::task::spawn_blocking(move || surface.desks.lifecycles(who)).await;
    Ok(read.map_err(|error| broken_off(&error))??)
}

pub async fn plan(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let tables = asked.names("tables")?;
    Answer::new(&lifecycles(surface, asked.here()).await?.plan(&tables).await?)
}

pub async fn drift(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let tables = asked.names("tables")?;
    Answer::new(&lifecycles(surface, asked.here()).await?.plan(&tables).await?.drift())
}

pub async fn holds(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    Answer::new(&Holds { holds: lifecycles(surface, asked.here()).await?.holds().await? })
}

pub async fn apply(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let Apply { plan, tables } = asked.body()?;
    if asked.is_dry_run()? {
        return Answer::new(&lifecycles(surface, asked.here()).await?.plan(&tables).await?);
    }
    let Some(plan) = plan else {
        let text = "plan is missing\nhint: look at GET /v1/lifecycle/plan, and name its hash";
        return Err(Problem::unfit(text));
    };
    run(surface, asked, async move |one| one.apply(&tables, &plan).await)
}

pub async fn expire(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let Expiry { tables, rewrite, skip_disk_check } = asked.body()?;
    let expire = Expire { tables, rewrite, skip_disk_check };
    if asked.is_dry_run()? {
        return Answer::new(&lifecycles(surface, asked.here()).await?.expirable(&expire).await?);
    }
    run(surface, asked, async move |one| one.expire(&expire).await)
}

pub async fn materialize(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let Materialization { table, partitions, skip_disk_check } = asked.body()?;
    let dry_run = asked.is_dry_run()?;
    let options = Materialize { table, partitions, dry_run, skip_disk_check };
    if dry_run {
        return Answer::new(&lifecycles(surface, asked.here()).await?.materialize(&options).await?);
    }
    run(surface, asked, async move |one| one.materialize(&options).await)
}

pub async fn hold(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let Holding { id, table, partitions, reason, until } = asked.body()?;
    let dry_run = asked.is_dry_run()?;
    let until = until.map(|text| moment(&text).map_err(|error| Problem::unfit(&format!("until: {error}"))));
    let until = until.transpose()?;
    let request = HoldRequest { id, table, partitions, reason, until, dry_run };
    if dry_run {
        return Answer::new(&lifecycles(surface, asked.here()).await?.hold(&request).await?);
    }
    run(surface, asked, async move |one| one.hold(&request).await)
}

pub async fn release(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let Release { reason } = asked.body()?;
    let dry_run = asked.is_dry_run()?;
    let request = ReleaseRequest { id: asked.id.clone(), reason, dry_run };
    if dry_run {
        return Answer::new(&lifecycles(surface, asked.here()).await?.release(&request).await?);
    }
    run(surface, asked, async move |one| one.release(&request).await)
}

/// A verb that changes something, as a job: the library itself authorises and audits it.
fn run<T, F>(
    surface: &Arc<Surface>,
    asked: &Asked,
    verb: impl FnOnce(Lifecycles) -> F + Send + 'static,
) -> Result<Answer, Problem>
where
    T: Serialize + Send + 'static,
    F: Future<Output = Result<T, lifecycle::Error>> + Send + 'static,
{
    jobs::start(surface, asked, |handle| {
        let (surface, who) = (Arc::clone(surface), asked.job(&handle));
        async move { Ok::<T, Problem>(verb(lifecycles(&surface, who).await?).await?) }
    })
}
