//! `penstock health`: one look at everything, from here.
//!
//! Refuses to print and to tell the webhook: that is the admin process's.

use chrono::Utc;

use super::admin::local_actor;
use super::{Error, fleet, runtime};
use crate::admin::audit::Chain;
use crate::admin::watch::Webhook;
use crate::config::{Inputs, Loaded};
use crate::telemetry::logs;

pub use crate::admin::watch::{Report, State};

/// Looks once.
pub fn look(inputs: &Inputs, loaded: &Loaded) -> Result<Report, Error> {
    let mut config = loaded.config.clone();
    config.admin.health.webhook = Webhook::default();
    logs::install(&config.telemetry.log).map_err(|error| Error::WrongUse(error.into()))?;
    let instance = local_actor(&inputs.environment).origin;
    runtime()?.block_on(async {
        let chain = match config.admin.audit.file {
            Some(_) => Some(std::sync::Arc::new(Chain::new(&config.admin.audit, &config.crypt)?)),
            None => None,
        };
        let watch = fleet::watch(&config, chain, None, (None, instance.as_str()))?;
        Ok(watch.look(Utc::now()).await)
    })
}
