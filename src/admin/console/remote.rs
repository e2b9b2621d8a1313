//! Another admin process: the summary as it tells it, and what it is asked to do.
//!
//! Refuses to send a token over a network without encryption, and to follow another address.

use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;

use super::Summary;
use crate::admin::access::jwks::{self, Caller};
use crate::units::Secret;

const ANSWER_MAX: Duration = Duration::from_secs(5);
const BODY_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{0} is no address of an admin process\nhint: write https://host:port; http:// only for 127.0.0.1 or localhost"
    )]
    Address(String),
    #[error("the certificates cannot be used: {0}")]
    Tls(String),
    #[error("{0} does not answer: {1}\nhint: check --url, and whether `penstock admin` runs there")]
    Unreachable(String, String),
    #[error("the token is not taken\nhint: get a new one, and name its file with --token-file")]
    Token,
    #[error("{0} answers {1}\nhint: is it the admin interface (admin.listen) of this version?")]
    Status(String, StatusCode),
    #[error("the answer cannot be read: {0}")]
    Answer(String),
    #[error("{1}")]
    Problem(StatusCode, String),
}

/// An admin process, and the token for it.
pub struct Remote {
    /// Without a slash at its end.
    url: String,
    caller: Caller,
    token: Secret,
    host: String,
}

impl Remote {
    /// Asks nobody yet.
    ///
    /// # Errors
    /// An address that is none, or that would be asked without encryption over a network.
    pub fn new(url: &str, authorities: Option<&Path>, token: Secret) -> Result<Remote, Error> {
        let url = url.trim_end_matches('/');
        let failed = |error: jwks::Error| match error {
            jwks::Error::Address => Error::Address(url.to_owned()),
            error => Error::Tls(error.to_string()),
        };
        let (uri, caller) = jwks::caller(&format!("{url}/v1/summary"), authorities).map_err(failed)?;
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        Ok(Remote { url: url.to_owned(), caller, token, host })
    }

    /// What it tells now.
    ///
    /// # Errors
    /// Why it tells nothing.
    pub async fn ask(&self) -> Result<Summary, Error> {
        let (status, body) = self.send(Method::GET, "/v1/summary", Vec::new()).await?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|error| Error::Answer(error.to_string())),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Error::Token),
            status => Err(Error::Status(self.host.clone(), status)),
        }
    }

    /// What it answers to a request with this body, or without one.
    ///
    /// # Errors
    /// What stands in the way, as it tells it.
    pub async fn call(&self, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let (status, body) = self.send(method, path, body).await?;
        let answer: Result<Value, _> = serde_json::from_slice(&body);
        match (status, answer) {
            (StatusCode::UNAUTHORIZED, _) => Err(Error::Token),
            (status, Ok(answer)) if status.is_success() => Ok(answer),
            (status, Ok(problem)) if problem.get("detail").is_some() => {
                Err(Error::Problem(status, told(&problem)))
            }
            (status, Ok(_)) => Err(Error::Status(self.host.clone(), status)),
            (_, Err(error)) => Err(Error::Answer(error.to_string())),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<(StatusCode, Bytes), Error> {
        let unreachable = |why: String| Error::Unreachable(self.host.clone(), why);
        let sent = async {
            let request = Request::builder()
                .method(method)
                .uri(format!("{}{path}", self.url))
                .header(header::AUTHORIZATION, format!("Bearer {}", self.token.expose()))
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(body))
                .map_err(|error| Error::Answer(error.to_string()))?;
            let answer = self.caller.request(request).await.map_err(|error| unreachable(reason(&error)))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
            Ok((status, body.map_err(|error| Error::Answer(error.to_string()))?.to_bytes()))
        };
        let timed = tokio::time::timeout(ANSWER_MAX, sent).await;
        timed.unwrap_or_else(|_| Err(unreachable(format!("no answer within {} s", ANSWER_MAX.as_secs()))))
    }
}

/// A problem for people.
pub fn told(problem: &Value) -> String {
    let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
    match text("hint") {
        "" => text("detail").to_owned(),
        hint => format!("{}\nhint: {hint}", text("detail")),
    }
}

/// The innermost cause.
fn reason(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}
