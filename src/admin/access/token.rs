//! Tokens: who somebody is, until when, and in which roles.
//!
//! Refuses to believe a token about its own algorithm, and one that says nothing of its end. Time is handed in.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use jsonwebtoken::{Algorithm, Header, Validation};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::config::Config;
use super::keys::Keys;
use super::role::Role;
use crate::admin::command::{Actor, Permission};
use crate::units::{Secret, Span};

/// Longer ones are not looked at.
const TOKEN_BYTES_MAX: usize = 8 << 10;
const SUBJECT_CHARS_MAX: usize = 200;

/// Why a token is not taken, or not made. None of the texts has anything of a token in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("it is no token\nhint: send the whole of what `penstock token issue` printed")]
    Malformed,
    #[error("its algorithm is not taken\nhint: HS256, RS256, ES256 and EdDSA are")]
    Algorithm,
    #[error("it demands what is not known here\nhint: tokens with the header crit are not taken")]
    Critical,
    #[error("no key is known that it could be verified by\nhint: check admin.access, and the token's kid")]
    UnknownKey,
    #[error("its signature is wrong\nhint: it was made with another key")]
    Signature,
    #[error("it does not say when it ends\nhint: tokens need the claim exp")]
    Endless,
    #[error("it has ended\nhint: get a new one")]
    Ended,
    #[error("it does not hold yet\nhint: compare the clocks of both machines")]
    NotYet,
    #[error("it is of another issuer\nhint: the claim iss must be what admin.access.issuer says")]
    Issuer,
    #[error("it is meant for somebody else\nhint: the claim aud must have what admin.access.audience says")]
    Audience,
    #[error("it does not say whose it is\nhint: tokens need the claim sub")]
    Nobody,
    #[error(
        "it has no role that is known\nhint: see `penstock token permissions`, and admin.access.roles_claim"
    )]
    Roleless,
    #[error("it was revoked\nhint: get a new one")]
    Revoked,
    #[error(
        "the list of revoked tokens is not known yet\nhint: it is read from ClickHouse; ask again when that answers"
    )]
    Unknown,
    #[error("tokens cannot be made without a secret\nhint: set admin.access.key_file")]
    NoSecret,
    #[error("it would live longer than admin.access.token_life_max\nhint: ask for less")]
    TooLong,
    #[error("only tokens that were issued here are refreshed\nhint: get a new one where this one came from")]
    Foreign,
}

/// A token that is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    pub subject: String,
    pub roles: Vec<Role>,
    /// Whether it may see personal data, as far as its roles may.
    pub pii: bool,
    pub life: Duration,
}

/// A token that was made.
#[derive(Debug)]
pub struct Issued {
    pub token: Secret,
    pub principal: Principal,
}

/// Whoever bears a token that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Principal {
    pub subject: String,
    pub roles: Vec<Role>,
    /// Whether it may see personal data, as far as its roles may.
    pub pii: bool,
    /// RFC 3339.
    pub ends: String,
    /// Number of the token; empty if its issuer gives none.
    pub id: String,
    /// Whether it was issued here.
    pub own: bool,
    /// When the first of the tokens was made that this one came from, seconds since 1970.
    #[serde(skip)]
    since_s: i64,
}

impl Principal {
    pub fn permissions(&self) -> Vec<Permission> {
        let all = Permission::ALL.into_iter().filter(|one| self.pii || !one.is_personal());
        all.filter(|one| self.roles.iter().any(|role| role.may(*one))).collect()
    }

    /// The same as somebody who asks for commands.
    pub fn actor(&self, origin: &str) -> Actor {
        Actor::with(&self.subject, origin, self.permissions())
    }
}

pub async fn verify(
    keys: &Keys,
    rules: &Config,
    token: &Secret,
    now: DateTime<Utc>,
) -> Result<Principal, Error> {
    let text = token.expose();
    if text.len() > TOKEN_BYTES_MAX {
        return Err(Error::Malformed);
    }
    let header = jsonwebtoken::decode_header(text).map_err(|error| match error.kind() {
        // Names that the library does not know, `none` among them, fail as JSON does.
        jsonwebtoken::errors::ErrorKind::Json(_) => Error::Algorithm,
        _ => Error::Malformed,
    })?;
    let known = [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
    if !known.contains(&header.alg) {
        return Err(Error::Algorithm);
    }
    if header.crit.is_some() {
        return Err(Error::Critical);
    }
    let key = keys.find(header.alg, header.kid.as_deref(), now).await.ok_or(Error::UnknownKey)?;
    // The signature is the library's, the claims are judged below: by the time that was handed in.
    let mut validation = Validation::new(header.alg);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let data =
        jsonwebtoken::decode::<Value>(text, &key, &validation).map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::InvalidSignature => Error::Signature,
            _ => Error::Malformed,
        })?;
    judge(&data.claims, rules, now, header.alg == Algorithm::HS256)
}

fn judge(claims: &Value, rules: &Config, now: DateTime<Utc>, own: bool) -> Result<Principal, Error> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let seconds = |name: &str| match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        // Fractions are allowed, and times beyond what is counted are nonsense.
        Some(value) => value.as_f64().and_then(whole_seconds).map(Some).ok_or(Error::Malformed),
    };
    if text("iss") != Some(rules.issuer.as_str()) {
        return Err(Error::Issuer);
    }
    let is_ours = |value: &Value| value.as_str() == Some(rules.audience.as_str());
    let meant = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(is_ours),
        Some(one) => is_ours(one),
        None => false,
    };
    if !meant {
        return Err(Error::Audience);
    }
    let (now_s, skew_s) = (now.timestamp(), i64::try_from(rules.skew_max.0.as_secs()).unwrap_or_default());
    let ends_s = seconds("exp")?.ok_or(Error::Endless)?;
    if ends_s.saturating_add(skew_s) <= now_s {
        return Err(Error::Ended);
    }
    let begins = [seconds("nbf")?, seconds("iat")?];
    if begins.iter().flatten().any(|begin| begin.saturating_sub(skew_s) > now_s) {
        return Err(Error::NotYet);
    }
    let subject = text("sub").filter(|subject| !subject.is_empty()).ok_or(Error::Nobody)?;
    let mut roles: Vec<Role> = match at(claims, &rules.roles_claim) {
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).filter_map(Role::parse).collect(),
        Some(Value::String(one)) => one.split([' ', ',']).filter_map(Role::parse).collect(),
        _ => Vec::new(),
    };
    roles.sort();
    roles.dedup();
    if roles.is_empty() {
        return Err(Error::Roleless);
    }
    let ends = DateTime::from_timestamp(ends_s, 0).ok_or(Error::Malformed)?;
    Ok(Principal {
        subject: subject.chars().filter(|c| !c.is_control()).take(SUBJECT_CHARS_MAX).collect(),
        roles,
        pii: at(claims, &rules.pii_claim) == Some(&Value::Bool(true)),
        ends: ends.to_rfc3339_opts(SecondsFormat::Secs, true),
        id: text("jti").unwrap_or_default().chars().take(SUBJECT_CHARS_MAX).collect(),
        own,
        since_s: seconds("auth_time")?.or(seconds("iat")?).unwrap_or(ends_s),
    })
}

/// The value at a path of dots.
fn at<'v>(claims: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(claims, |value, name| value.get(name))
}

/// Puts a value at a path of dots, where it is looked for again.
fn put(claims: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(claims.insert(path.to_owned(), value)),
        Some((first, below)) => {
            let inner = claims.entry(first).or_insert_with(|| json!({}));
            if let Value::Object(inner) = inner {
                put(inner, below, value);
            }
        }
    }
}

/// Seconds since 1970 without their fraction.
fn whole_seconds(value: f64) -> Option<i64> {
    // The largest times that calendars know have twelve digits.
    let is_time = value.is_finite() && value.abs() < 1e11;
    #[allow(clippy::cast_possible_truncation)]
    is_time.then_some(value.floor() as i64)
}

pub fn issue(keys: &Keys, rules: &Config, request: &Request, now: DateTime<Utc>) -> Result<Issued, Error> {
    if request.life > rules.token_life_max.0 {
        return Err(Error::TooLong);
    }
    make(keys, rules, request, now, now.timestamp())
}

pub fn refresh(keys: &Keys, rules: &Config, bearer: &Principal, now: DateTime<Utc>) -> Result<Issued, Error> {
    if !bearer.own {
        return Err(Error::Foreign);
    }
    let last = bearer.since_s.saturating_add(whole(rules.token_life_max));
    let left = u64::try_from(last.saturating_sub(now.timestamp())).ok().filter(|left| *left > 0);
    let left = Duration::from_secs(left.ok_or(Error::TooLong)?);
    let request = Request {
        subject: bearer.subject.clone(),
        roles: bearer.roles.clone(),
        pii: bearer.pii,
        life: rules.token_life.0.min(left),
    };
    make(keys, rules, &request, now, bearer.since_s)
}

fn whole(span: Span) -> i64 {
    i64::try_from(span.0.as_secs()).unwrap_or(i64::MAX)
}

fn make(
    keys: &Keys,
    rules: &Config,
    request: &Request,
    now: DateTime<Utc>,
    since_s: i64,
) -> Result<Issued, Error> {
    let (kid, key) = keys.signer().ok_or(Error::NoSecret)?;
    let subject = request.subject.trim();
    if subject.is_empty() || subject.chars().count() > SUBJECT_CHARS_MAX {
        return Err(Error::Nobody);
    }
    if request.roles.is_empty() {
        return Err(Error::Roleless);
    }
    let now_s = now.timestamp();
    let mut claims = json!({
        "iss": rules.issuer, "aud": rules.audience, "sub": subject, "iat": now_s, "nbf": now_s,
        "exp": now_s.saturating_add(whole(Span(request.life))), "auth_time": since_s,
        "jti": uuid::Uuid::new_v4().to_string(),
    });
    if let Some(claims) = claims.as_object_mut() {
        put(claims, &rules.roles_claim, json!(request.roles));
        if request.pii {
            put(claims, &rules.pii_claim, json!(true));
        }
    }
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::HS256) };
    let token = jsonwebtoken::encode(&header, &claims, key).map_err(|_| Error::NoSecret)?;
    Ok(Issued { token: Secret::new(token), principal: judge(&claims, rules, now, true)? })
}

#[cfg(test)]
mod tests;
