//! The routes of erasure.
//!
//! Refuses to tell the value back: what is answered has its digest.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::asked::Asked;
use super::audit::broken_off;
use super::problem::Problem;
use super::routes::Answer;
use super::{Surface, jobs};
use crate::admin::desks::For;
use crate::admin::erase::{Erased, Eraser, Request, Subject};

/// Whose rows are to go.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Erasure {
    /// Column that table files declare in `subject_columns`.
    pub column: String,
    /// Its value, as text.
    pub value: String,
    /// Why; it stands in the record. May be left out of a trial run.
    pub reason: Option<String>,
    /// Hides the rows at once; their bytes go with later merges.
    #[serde(default)]
    pub lightweight: bool,
}

async fn eraser(surface: &Arc<Surface>, who: For) -> Result<Eraser, Problem> {
    let surface = Arc::clone(surface);
    let read = tokio::task::spawn_blocking(move || surface.desks.eraser(who)).await;
    Ok(read.map_err(|error| broken_off(&error))??)
}

pub async fn list(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let limit = asked.limit()?;
    Answer::new(&eraser(surface, asked.here()).await?.records(limit).await?)
}

pub async fn erase(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let Erasure { column, value, reason, lightweight } = asked.body()?;
    let subject = Subject { column, value };
    if asked.is_dry_run()? {
        return Answer::new(&eraser(surface, asked.here()).await?.count(&subject).await?);
    }
    let Some(reason) = reason.filter(|reason| !reason.is_empty()) else {
        return Err(Problem::unfit("reason is missing\nhint: it stands in the record of the erasure"));
    };
    let request = Request { subject, reason, lightweight };
    jobs::start(surface, asked, |handle| {
        let (surface, who) = (Arc::clone(surface), asked.job(&handle));
        async move { Ok::<Erased, Problem>(eraser(&surface, who).await?.erase(&request).await?) }
    })
}
