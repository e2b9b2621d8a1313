//! The door: who asks is found out and has the right, or is turned away; both kinds of refusal are written down.
//!
//! Refuses to say more to strangers than why they are strangers. An address that tries too often waits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{ConnectInfo, RawPathParams, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use serde_json::json;

use super::Surface;
use super::asked::{Asked, Bearer};
use super::problem::Problem;
use super::routes::{Answer, Changes, Route};
use crate::admin::access::{self, Principal};
use crate::admin::command::{self, Actor, Command};
use crate::telemetry::metrics::METRICS;
use crate::units::Secret;

/// Answers a request for a route of the table.
pub async fn answer(
    route: &'static Route,
    State(surface): State<Arc<Surface>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    parts: RawPathParams,
    request: Request,
) -> Response {
    let begun = Instant::now();
    let id = parts.iter().next().map(|(_, value)| value.to_owned()).unwrap_or_default();
    let handled = Box::pin(handle(route, &surface, peer, id, request));
    let result = match tokio::time::timeout(surface.config.request_timeout.0, handled).await {
        Ok(result) => result,
        Err(_) => {
            let text = "the request took too long\nhint: see admin.request_timeout";
            Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", text))
        }
    };
    let mut answer = match result {
        Ok(answer) => told(answer),
        Err(problem) => problem.into_response(),
    };
    let metrics = &METRICS.admin;
    metrics.requests.with_label_values(&[route.action, answer.status().as_str()]).inc();
    metrics.request_duration.with_label_values(&[route.action]).observe(begun.elapsed().as_secs_f64());
    harden(answer.headers_mut());
    answer
}

/// What is answered is for whoever asked, and nothing but data.
pub fn harden(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

fn told(answer: Answer) -> Response {
    let (kind, body) = match answer.raw {
        Some(raw) => (raw.kind, raw.body),
        None => ("application/json", Body::from(answer.body.to_string())),
    };
    let mut told = (answer.status, body).into_response();
    let headers = told.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(place) = answer.location.and_then(|place| HeaderValue::from_str(&place).ok()) {
        headers.insert(header::LOCATION, place);
    }
    if answer.is_repeated {
        headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    told
}

async fn handle(
    route: &'static Route,
    surface: &Arc<Surface>,
    peer: SocketAddr,
    id: String,
    request: Request<Body>,
) -> Result<Answer, Problem> {
    let principal = authenticate(route, surface, peer, request.headers()).await?;
    let actor = principal.actor(&peer.to_string());
    if !actor.may(route.needs) {
        let asked = door(route, json!({ "path": request.uri().path() }));
        METRICS.admin.denied.with_label_values(&[route.action]).inc();
        command::refuse(&surface.trail, &actor, &asked, "").await;
        let text =
            format!("{} may not do this\nhint: it needs the permission {}", actor.name, route.needs.name());
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", &text));
    }
    if surface.config.console.read_only && route.is_mutation() && !route.is_own() {
        let asked = door(route, json!({ "path": request.uri().path() }));
        METRICS.admin.denied.with_label_values(&[route.action]).inc();
        command::refuse(&surface.trail, &actor, &asked, "read only").await;
        let text = "nothing is changed here, whoever asks\nhint: see admin.console.read_only";
        return Err(Problem::new(StatusCode::FORBIDDEN, "read_only", text));
    }
    let body_bytes_max = surface.config.body_bytes_max.as_usize();
    let asked = Asked::read(route, Bearer { principal, actor }, id, request, body_bytes_max).await?;
    if route.is_job() {
        surface.jobs.recall(&asked.ask()).await?;
    }
    let does = (route.does)(surface, &asked);
    if route.is_shared {
        let find = async { Ok(does.await?.body) };
        let found =
            surface.shared.answer(route.action, asked.path_and_query(), surface.jobs.changes(), find).await;
        return found.map(Answer::value);
    }
    let answer = does.await;
    if route.changes != Changes::Nothing {
        surface.shared.forget();
    }
    answer
}

/// Why nobody is let in without a token that holds.
pub const REFUSALS: [&str; 4] = ["missing", "invalid", "revoked", "too_many"];

fn refused_for(reason: &'static str) {
    METRICS.admin.auth_failures.with_label_values(&[reason]).inc();
}

fn door(route: &Route, details: serde_json::Value) -> Command {
    let resource = format!("{} {}", route.verb.name(), route.path);
    Command { action: route.action, resource, details, needs: route.needs }
}

async fn authenticate(
    route: &Route,
    surface: &Surface,
    peer: SocketAddr,
    headers: &HeaderMap,
) -> Result<Principal, Problem> {
    // Tokens cost time to verify and failures are written down, so neither is done for ever.
    if let Some(left) = surface.failures.wait(peer.ip(), Instant::now()) {
        refused_for("too_many");
        let text =
            "too many tokens were tried in vain from this address\nhint: wait, and send a token that holds";
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many", text).after(left.as_secs() + 1));
    }
    let refused = match bearer(headers) {
        Ok(token) => match surface.access.verify(&token, Utc::now()).await {
            Ok(principal) => return Ok(principal),
            // Nobody's fault, and nothing to count.
            Err(error @ access::Error::Unknown) => return Err(error.into()),
            Err(access::Error::Revoked) => {
                refused_for("revoked");
                ("revoked", "the token was revoked\nhint: get a new one".to_owned())
            }
            Err(error) => {
                refused_for("invalid");
                ("unauthorized", format!("the token is not taken: {error}"))
            }
        },
        Err(why) => {
            refused_for("missing");
            ("unauthorized", why.to_owned())
        }
    };
    let (code, refused) = refused;
    surface.failures.failed(peer.ip(), Instant::now());
    let stranger = Actor::with("unknown", &peer.to_string(), Vec::new());
    let why = refused.lines().next().unwrap_or_default();
    command::refuse(&surface.trail, &stranger, &door(route, json!({})), why).await;
    Err(Problem::new(StatusCode::UNAUTHORIZED, code, &refused))
}

/// The token of the one header that may have it.
fn bearer(headers: &HeaderMap) -> Result<Secret, &'static str> {
    const MISSING: &str =
        "there is no token\nhint: send it as Authorization: Bearer TOKEN; see docs/admin.md";
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return Err(MISSING) };
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(MISSING)?;
    match scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() {
        true => Ok(Secret::new(token.trim())),
        false => Err(MISSING),
    }
}
