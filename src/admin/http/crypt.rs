//! The routes of the key ring.
//!
//! Refuses to take or give a secret or a key: these stay where the files are.

use std::sync::Arc;

use chrono::Utc;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::Surface;
use super::asked::Asked;
use super::audit::broken_off;
use super::problem::Problem;
use super::routes::Answer;
use crate::admin::command;
use crate::admin::crypt::{Rotated, Vault};
use crate::crypt::{Error, system_random};

/// From which key to which.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// The key that is primary now, so that a request that is sent twice rotates once.
    pub from: String,
    /// The key that becomes primary; a new one without it.
    pub to: Option<String>,
}

/// Works with the ring's files, and so not on the thread of requests.
async fn with<T: Send + 'static>(
    surface: &Arc<Surface>,
    work: impl FnOnce(&Vault) -> Result<T, Error> + Send + 'static,
) -> Result<T, Problem> {
    let vault = surface.vault.clone().ok_or(Error::NoRing)?;
    let done = tokio::task::spawn_blocking(move || work(&vault)).await;
    Ok(done.map_err(|error| broken_off(&error))??)
}

pub async fn status(surface: &Arc<Surface>) -> Result<Answer, Problem> {
    Answer::new(&with(surface, |vault| vault.status(&[])).await?)
}

pub async fn rotate(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let Rotation { from, to } = asked.body()?;
    let details = json!({ "from": from, "to": to });
    if asked.is_dry_run()? {
        let planned = with(surface, move |vault| vault.rotation((Some(&from), to.as_deref()))).await?;
        return Answer::new(&planned);
    }
    let work = with(surface, move |vault| {
        vault.rotate((Some(&from), to.as_deref()), Utc::now(), &mut system_random)
    });
    let command = asked.command("the key ring", details);
    let rotated: Rotated = command::run(&surface.trail, &asked.actor, command, work).await?;
    Answer::new(&rotated)
}
