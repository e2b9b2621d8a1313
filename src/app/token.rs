//! `penstock token`: tokens of the admin interface, made and checked where their keys are.
//!
//! Refuses to make one that cannot be written down, where there is a trail.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;

use super::admin::{local_actor, places};
use super::{Error, connect, fleet, runtime};
use crate::admin::access::revoked;
use crate::admin::access::{Access, Error as TokenError, Principal, Request};
use crate::admin::audit::Trail;
use crate::admin::command::{self, Command, Permission};
use crate::config::{Config, Inputs, Loaded};
use crate::telemetry::logs;
use crate::units::Secret;

pub use crate::admin::access::revoked::Revoked;
pub use crate::admin::access::{Issued, Role};

/// A token that is asked for on the command line.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub subject: String,
    pub roles: Vec<Role>,
    pub pii: bool,
    /// As the configuration says without it.
    pub life: Option<Duration>,
}

impl From<TokenError> for Error {
    fn from(error: TokenError) -> Self {
        Error::WrongUse(error.into())
    }
}

pub fn issue(inputs: &Inputs, config: &Config, wanted: Wanted) -> Result<Issued, Error> {
    let access = Access::new(&config.admin.access, &config.crypt)?;
    let Wanted { subject, roles, pii, life } = wanted;
    let life = life.unwrap_or(access.life());
    let issued = access.issue(&Request { subject, roles, pii, life }, Utc::now())?;
    hand_over(inputs, config, "token.issue", issued)
}

/// A new token for the bearer of this one.
pub fn refresh(inputs: &Inputs, config: &Config, token: &Secret) -> Result<Issued, Error> {
    let access = Access::new(&config.admin.access, &config.crypt)?;
    let bearer = runtime()?.block_on(access.verify(token, Utc::now()))?;
    hand_over(inputs, config, "token.refresh", access.refresh(&bearer, Utc::now())?)
}

fn hand_over(
    inputs: &Inputs,
    config: &Config,
    action: &'static str,
    issued: Issued,
) -> Result<Issued, Error> {
    let principal = &issued.principal;
    let details =
        json!({ "roles": principal.roles, "pii": principal.pii, "ends": principal.ends, "id": principal.id });
    let command =
        Command { action, resource: principal.subject.clone(), details, needs: Permission::TokenIssue };
    let (trail, actor) = (Trail::new(places(config)?), local_actor(&inputs.environment));
    runtime()?.block_on(command::run(&trail, &actor, command, async { Ok::<(), Error>(()) }))?;
    Ok(issued)
}

/// A token that is to be taken back.
#[derive(Clone, Debug)]
pub struct TakeBack {
    pub id: String,
    pub until: Option<DateTime<Utc>>,
    pub reason: String,
}

impl From<revoked::Error> for Error {
    fn from(error: revoked::Error) -> Self {
        match error {
            revoked::Error::ClickHouse(error) => error.into(),
            revoked::Error::Command(error) => error.into(),
            error => Error::WrongUse(error.into()),
        }
    }
}

/// Takes a token back; gives until when it stands in the list.
pub fn revoke(inputs: &Inputs, loaded: &Loaded, wanted: TakeBack, dry_run: bool) -> Result<String, Error> {
    let config = &loaded.config;
    logs::install(&config.telemetry.log).map_err(|error| Error::WrongUse(error.into()))?;
    let now = Utc::now();
    let until = wanted.until.unwrap_or(now + config.admin.access.token_life_max.0);
    let told = until.to_rfc3339_opts(SecondsFormat::Secs, true);
    let request = revoked::Request { id: wanted.id, until, reason: wanted.reason };
    runtime()?.block_on(async {
        connect(config).await?.close().await;
        let list = fleet::revocations(config)?;
        list.load(now).await?;
        list.check(&request, now)?;
        if !dry_run {
            let (trail, actor) = (Trail::new(places(config)?), local_actor(&inputs.environment));
            let details = json!({ "until": told, "reason": request.reason });
            let command = Command {
                action: "token.revoke",
                resource: request.id.clone(),
                details,
                needs: Permission::TokenRevoke,
            };
            list.revoke(&trail, &actor, command, &request).await?;
        }
        Ok(told)
    })
}

/// The tokens that are taken back and have not ended.
pub fn revoked(loaded: &Loaded) -> Result<Vec<Revoked>, Error> {
    let config = &loaded.config;
    logs::install(&config.telemetry.log).map_err(|error| Error::WrongUse(error.into()))?;
    runtime()?.block_on(async {
        connect(config).await?.close().await;
        Ok(fleet::revocations(config)?.list(Utc::now()).await?)
    })
}

/// Whose token it is, or why it does not hold.
pub fn verify(config: &Config, token: &Secret) -> Result<Result<Principal, TokenError>, Error> {
    let access = Access::new(&config.admin.access, &config.crypt)?;
    Ok(runtime()?.block_on(access.verify(token, Utc::now())))
}
