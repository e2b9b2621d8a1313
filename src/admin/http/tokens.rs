//! The routes of tokens: whose this is, making one, making it anew.
//!
//! Refuses to write a token down: the trail has its number, its owner and its roles.

use chrono::{DateTime, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Surface;
use super::asked::Asked;
use super::problem::Problem;
use super::routes::Answer;
use crate::admin::access::revoked::{self, Revocations, Revoked};
use crate::admin::access::{Issued, Principal, Request, Role};
use crate::admin::command;
use crate::units::Span;

/// Whose a token is, and what it allows.
#[derive(Serialize, JsonSchema)]
pub struct Myself {
    #[serde(flatten)]
    pub principal: Principal,
    pub permissions: Vec<&'static str>,
}

/// What each role may.
#[derive(Serialize, JsonSchema)]
pub struct Roles {
    pub roles: Vec<RoleLine>,
}

#[derive(Serialize, JsonSchema)]
pub struct RoleLine {
    pub role: Role,
    pub permissions: Vec<&'static str>,
}

/// A token that is asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Whose it is to be.
    pub subject: String,
    pub roles: Vec<Role>,
    /// Whether it may see personal data, as far as its roles may.
    #[serde(default)]
    pub pii: bool,
    /// How long it is to hold, such as `1h`; `admin.access.token_life` without it.
    pub life: Option<Span>,
}

/// A token that was made; without `token` when it was only tried.
#[derive(Serialize, JsonSchema)]
pub struct Made {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    #[serde(flatten)]
    pub principal: Principal,
}

/// A token that is to be taken back.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeBack {
    /// Its claim `jti`.
    pub id: String,
    /// When it ends anyway, RFC 3339; without it, when the longest token ends that is issued now.
    pub until: Option<String>,
    /// Why; it stands in the list.
    #[serde(default)]
    pub reason: String,
}

/// The tokens that are taken back and have not ended.
#[derive(Serialize, JsonSchema)]
pub struct TakenBack {
    pub revoked: Vec<Revoked>,
}

/// What was taken back, or would be.
#[derive(Serialize, JsonSchema)]
pub struct Gone {
    pub id: String,
    pub until: String,
}

pub async fn revoke(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let TakeBack { id, until, reason } = asked.body()?;
    let now = Utc::now();
    let until = match until.as_deref().map(DateTime::parse_from_rfc3339) {
        None => now + surface.access.life_max(),
        Some(Ok(until)) => until.with_timezone(&Utc),
        Some(Err(_)) => {
            return Err(Problem::unfit("until is no time\nhint: write it as 2026-12-31T12:00:00Z"));
        }
    };
    let list = revocations(surface)?;
    let gone = Gone { id: id.clone(), until: until.to_rfc3339_opts(SecondsFormat::Secs, true) };
    let details = json!({ "until": gone.until, "reason": reason });
    let request = revoked::Request { id, until, reason };
    list.check(&request, now)?;
    if !asked.is_dry_run()? {
        let command = asked.command(&request.id, details);
        list.revoke(&surface.trail, &asked.actor, command, &request).await?;
    }
    Answer::new(&gone)
}

pub async fn revoked(surface: &Surface, _: &Asked) -> Result<Answer, Problem> {
    Answer::new(&TakenBack { revoked: revocations(surface)?.list(Utc::now()).await? })
}

fn revocations(surface: &Surface) -> Result<&Revocations, Problem> {
    surface.access.revocations().ok_or_else(|| Problem::unfit("tokens cannot be taken back here"))
}

pub fn myself(asked: &Asked) -> Result<Answer, Problem> {
    let permissions = asked.principal.permissions().into_iter().map(|one| one.name()).collect();
    Answer::new(&Myself { principal: asked.principal.clone(), permissions })
}

pub fn roles() -> Result<Answer, Problem> {
    let line = |role: Role| RoleLine {
        role,
        permissions: role.permissions().iter().map(|one| one.name()).collect(),
    };
    Answer::new(&Roles { roles: Role::ALL.into_iter().map(line).collect() })
}

pub async fn issue(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let wanted: Wanted = asked.body()?;
    let life = wanted.life.map_or(surface.access.life(), |life| life.0);
    let request = Request { subject: wanted.subject, roles: wanted.roles, pii: wanted.pii, life };
    hand_over(surface, asked, surface.access.issue(&request, Utc::now())?).await
}

pub async fn refresh(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    hand_over(surface, asked, surface.access.refresh(&asked.principal, Utc::now())?).await
}

/// A token that nobody has seen yet is nothing; giving it away is what is written down before.
async fn hand_over(surface: &Surface, asked: &Asked, issued: Issued) -> Result<Answer, Problem> {
    let Issued { token, principal } = issued;
    if asked.is_dry_run()? {
        return Answer::new(&Made { token: None, principal });
    }
    let details =
        json!({ "roles": principal.roles, "pii": principal.pii, "ends": principal.ends, "id": principal.id });
    let command = asked.command(&principal.subject, details);
    let work = async { Ok::<(), Problem>(()) };
    command::run(&surface.trail, &asked.actor, command, work).await?;
    Answer::new(&Made { token: Some(token.expose().to_owned()), principal })
}
