//! What a request asks for, read as a whole before anything is done.
//!
//! Refuses what it does not know: a parameter with a spelling mistake is no parameter that was left out, or a trial
//! run would become a real one.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::problem::Problem;
use super::routes::Route;
use crate::admin::access::Principal;
use crate::admin::command::{Actor, Command};
use crate::admin::desk::{Observer, Progress};
use crate::admin::desks::For;
use crate::admin::jobs::{Ask, Handle};
use crate::admin::key::hex;

const KEY_CHARS_MAX: usize = 200;
const LIMIT_DEFAULT: u32 = 100;
pub const LIMIT_MAX: u32 = 1000;
/// Names in one parameter.
const NAMES_MAX: usize = 1000;

/// A request of somebody who may take this route.
pub struct Asked {
    pub route: &'static Route,
    pub principal: Principal,
    pub actor: Actor,
    /// The part of the path that a route leaves open.
    pub id: String,
    query: BTreeMap<String, String>,
    key: Option<String>,
    path: String,
    body: Bytes,
}

/// Who asks.
pub struct Bearer {
    pub principal: Principal,
    pub actor: Actor,
}

impl Asked {
    /// Reads what is left of the request.
    pub async fn read(
        route: &'static Route,
        bearer: Bearer,
        id: String,
        request: Request<Body>,
        body_bytes_max: usize,
    ) -> Result<Asked, Problem> {
        let (head, body) = request.into_parts();
        let query = parameters(route, head.uri.query().unwrap_or_default())?;
        let key = idempotency_key(route, &head.headers)?;
        let body = axum::body::to_bytes(body, body_bytes_max).await.map_err(|_| {
            let text =
                format!("the body is longer than {body_bytes_max} bytes\nhint: see admin.body_bytes_max");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &text)
        })?;
        if !body.is_empty() && !is_json(&head.headers) {
            let text = "the body is not said to be JSON\nhint: send Content-Type: application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", text));
        }
        if !body.is_empty() && route.body.is_none() {
            return Err(Problem::bad("this route takes no body"));
        }
        let Bearer { principal, actor } = bearer;
        Ok(Asked { route, principal, actor, id, query, key, path: head.uri.path().to_owned(), body })
    }

    /// The body; an empty one is an empty object.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let text: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        // Fields would be read from a list by their order.
        if text.trim_ascii_start().starts_with(b"[") {
            return Err(Problem::unfit("the body is a list and no object\nhint: see /v1/openapi.json"));
        }
        serde_json::from_slice(text).map_err(|error| {
            let text = format!("the body is not what this route takes: {error}\nhint: see /v1/openapi.json");
            // JSON that cannot be read, or JSON with a value that does not fit.
            if error.is_data() { Problem::unfit(&text) } else { Problem::bad(&text) }
        })
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// Whether only to say what would be done.
    pub fn is_dry_run(&self) -> Result<bool, Problem> {
        self.flag("dry_run")
    }

    /// Whether the parameter is there and true.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::bad(&format!("{name} is neither true nor false"))),
        }
    }

    /// The names that the parameter has, parted by commas.
    pub fn names(&self, name: &str) -> Result<Vec<String>, Problem> {
        let text = self.text(name).unwrap_or_default();
        let all: Vec<String> = text.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect();
        match all.len() <= NAMES_MAX {
            true => Ok(all),
            false => Err(Problem::bad(&format!("{name} has more than {NAMES_MAX} names"))),
        }
    }

    pub fn limit(&self) -> Result<usize, Problem> {
        let text = self.text("limit");
        let limit = text.map_or(Some(LIMIT_DEFAULT), |text| text.parse().ok());
        let limit = limit.filter(|limit| (1..=LIMIT_MAX).contains(limit));
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        limit.ok_or_else(|| Problem::bad(&format!("limit is no number from 1 to {LIMIT_MAX}")))
    }

    /// Who asks for work on tables, where, without being told of it.
    pub fn here(&self) -> For {
        self.by(Arc::new(|_| {}), CancellationToken::new())
    }

    /// Who asks for a job on tables, where; the job is told of merges.
    pub fn job(&self, handle: &Handle) -> For {
        let told = handle.clone();
        let observer = move |progress: &Progress| {
            if progress.merges > 0 {
                told.tell(progress);
            }
        };
        self.by(Arc::new(observer), handle.stop.clone())
    }

    fn by(&self, observer: Observer, stop: CancellationToken) -> For {
        For { endpoint: self.text("endpoint").map(str::to_owned), actor: self.actor.clone(), observer, stop }
    }

    /// The command that the route stands for.
    pub fn command(&self, resource: &str, details: serde_json::Value) -> Command {
        let Route { action, needs, .. } = *self.route;
        Command { action, resource: resource.to_owned(), details, needs }
    }

    /// Path and query; the same for everybody who asks for the same.
    pub fn path_and_query(&self) -> String {
        format!("{}?{}", self.path, self.query_text())
    }

    fn query_text(&self) -> String {
        let one = |(name, value): (&String, &String)| {
            form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
        };
        self.query.iter().map(one).collect::<Vec<_>>().join("&")
    }

    /// The job that is asked for.
    pub fn ask(&self) -> Ask {
        let mut hash = Sha256::new();
        for part in [self.path.as_bytes(), self.query_text().as_bytes(), &self.body] {
            hash.update(u64::try_from(part.len()).unwrap_or_default().to_be_bytes());
            hash.update(part);
        }
        Ask {
            action: self.route.action,
            actor: self.principal.subject.clone(),
            key: self.key.clone(),
            fingerprint: hex(hash.finalize().as_slice()),
            run: None,
            waits: self.route.waits,
            may_go_unwritten: self.route.may_go_unwritten,
        }
    }
}

fn parameters(route: &Route, query: &str) -> Result<BTreeMap<String, String>, Problem> {
    let mut all = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if !route.parameters().any(|known| known.name == name) {
            let known: Vec<&str> = route.parameters().map(|known| known.name).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            // What was sent may be a token in the wrong place, and is not told back.
            return Err(Problem::bad(&format!(
                "a parameter is not known here\nhint: this route takes {known}"
            )));
        }
        if all.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(Problem::bad("a parameter is there twice"));
        }
    }
    Ok(all)
}

fn idempotency_key(route: &Route, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    if !route.is_job() {
        return Err(Problem::bad("this route takes no Idempotency-Key\nhint: routes that answer 202 do"));
    }
    let fits = |text: &&str| {
        (1..=KEY_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let text = value.to_str().ok().filter(fits);
    let wrong = || {
        Problem::bad(&format!(
            "the Idempotency-Key is not 1 to {KEY_CHARS_MAX} printable characters without spaces"
        ))
    };
    text.map(|text| Some(text.to_owned())).ok_or_else(wrong)
}

fn is_json(headers: &HeaderMap) -> bool {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    said.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}
