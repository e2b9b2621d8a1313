//! `penstock health`: one look at everything, from here.
//!
//! Refuses to print and to tell the webhook: that is the admin process's.

use chrono::Utc;

use super::admin::local_actor;
use super::backup::backups;
use super::{Error, fleet, runtime};
use crate::admin::audit::Chain;
use crate::admin::command::Actor;
use crate::admin::desk::{Desk, Setup};
use crate::admin::watch::Webhook;
use crate::config::{Config, Inputs, Loaded};
use crate::telemetry::logs;

pub use crate::admin::watch::{Report, State};

/// Looks once.
pub fn look(inputs: &Inputs, loaded: &Loaded) -> Result<Report, Error> {
    let mut config = loaded.config.clone();
    config.admin.health.webhook = Webhook::default();
    logs::install(&config.telemetry.log).map_err(|error| Error::WrongUse(error.into()))?;
    let actor = local_actor(&inputs.environment);
    let instance = actor.origin.clone();
    runtime()?.block_on(async {
        let chain = match config.admin.audit.file {
            Some(_) => Some(std::sync::Arc::new(Chain::new(&config.admin.audit, &config.crypt)?)),
            None => None,
        };
        let backups = match config.admin.backup.policies.is_empty() {
            true => None,
            false => Some(backups(&config, Desk::new(setup(&config, actor))?)?),
        };
        let watch = fleet::watch(&config, chain, None, backups, (None, instance.as_str()))?;
        Ok(watch.look(Utc::now()).await)
    })
}

/// For reading the catalogue of backups: nothing is written down, since nothing is done.
fn setup(config: &Config, actor: Actor) -> Setup<'_> {
    Setup {
        clickhouse: &config.clickhouse,
        migrations: &config.migrations,
        actor,
        places: Vec::new(),
        endpoint: None,
        observer: std::sync::Arc::new(|_| {}),
    }
}
