//! The routes of tokens: whose this is, making one, making it anew.
//!
//! Refuses to write a token down: the trail has its number, its owner and its roles.

use chrono::Utc;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Surface;
use super::asked::Asked;
use super::problem::Problem;
use super::routes::Answer;
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
    let request = Request { subject: wanted.subject, roles: wanted.roles, life };
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
    let details = json!({ "roles": principal.roles, "ends": principal.ends, "id": principal.id });
    let command = asked.command(&principal.subject, details);
    let work = async { Ok::<(), Problem>(()) };
    command::run(&surface.trail, &asked.actor, command, work).await?;
    Answer::new(&Made { token: Some(token.expose().to_owned()), principal })
}
