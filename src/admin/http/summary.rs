//! The routes of the console: the summary once, and as a stream of events.
//!
//! Refuses to make the summary: it is made once for all who listen. A stream ends before its connection would, and with
//! the token that it was asked for with; of a reader that is slow nothing is kept.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;

use super::Surface;
use super::asked::Asked;
use super::problem::Problem;
use super::routes::{Answer, Raw};
use crate::admin::console::Summary;
use crate::admin::console::summary::ActorTold;

/// Shorter than the life of a connection, so that a stream ends in order.
const STREAM_MAX: Duration = Duration::from_secs(240);
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// The whole line, and who asked.
#[derive(Serialize, JsonSchema)]
pub struct Told {
    pub actor: ActorTold,
    #[serde(flatten)]
    pub summary: Summary,
}

pub async fn show(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let look = surface.console.newest().await;
    Ok(Answer::raw(Raw { kind: JSON, body: Body::from(told(&actor(asked)?, &look.json)) }))
}

pub fn follow(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let listener = surface.console.listen().ok_or_else(|| {
        let text = "as many streams are open as may be\nhint: see admin.console.streams_max";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text).after(10)
    })?;
    let end = Instant::now() + left(&asked.principal.ends, Utc::now()).min(STREAM_MAX);
    let revoked = surface.access.revocations().cloned();
    let (actor, id) = (actor(asked)?, asked.principal.id.clone());
    let events = stream::unfold((listener, revoked), move |(mut listener, revoked)| {
        let (actor, id) = (actor.clone(), id.clone());
        async move {
            let look = tokio::time::timeout_at(end, listener.next()).await.ok()??;
            let is_revoked = |list: &crate::admin::access::Revocations| list.is_revoked(&id, Utc::now());
            if revoked.as_ref().is_some_and(|list| is_revoked(list) == Some(true)) {
                return None;
            }
            let event = format!("event: summary\ndata: {}\n\n", told(&actor, &look.json));
            Some((Ok::<Bytes, Infallible>(Bytes::from(event)), (listener, revoked)))
        }
    });
    Ok(Answer::raw(Raw { kind: EVENTS, body: Body::from_stream(events) }))
}

/// Time until the token ends.
fn left(ends: &str, now: DateTime<Utc>) -> Duration {
    let ends = DateTime::parse_from_rfc3339(ends).ok();
    ends.and_then(|ends| (ends.with_timezone(&Utc) - now).to_std().ok()).unwrap_or_default()
}

fn actor(asked: &Asked) -> Result<String, Problem> {
    let actor = ActorTold {
        name: asked.principal.subject.clone(),
        roles: asked.principal.roles.iter().map(|role| role.name().to_owned()).collect(),
        permissions: asked.principal.permissions().into_iter().map(|one| one.name().to_owned()).collect(),
    };
    serde_json::to_string(&actor)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string()))
}

/// The summary with who asked: the same as [`Told`], without making the summary's text again.
fn told(actor: &str, summary: &str) -> String {
    let rest = summary.strip_prefix('{').unwrap_or(summary);
    let comma = if rest == "}" { "" } else { "," };
    format!("{{\"actor\":{actor}{comma}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_together_is_what_the_description_says() {
        let actor =
            ActorTold { name: "ann".to_owned(), roles: vec!["viewer".to_owned()], permissions: Vec::new() };
        let summary = Summary::default();
        let text = told(&serde_json::to_string(&actor).unwrap(), &serde_json::to_string(&summary).unwrap());
        let whole = serde_json::to_value(Told { actor, summary }).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), whole);
        assert_eq!(told("1", "{}"), "{\"actor\":1}");
    }

    #[test]
    fn a_stream_ends_with_its_token() {
        let now = DateTime::parse_from_rfc3339("2026-03-14T09:26:53Z").unwrap().with_timezone(&Utc);
        assert_eq!(left("2026-03-14T09:27:03Z", now), Duration::from_secs(10));
        assert_eq!((left("2026-03-14T09:26:00Z", now), left("", now)), (Duration::ZERO, Duration::ZERO));
    }
}
