//! The summary as another admin process tells it.
//!
//! Refuses to send a token over a network without encryption, and to follow another address.

use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Limited};

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
}

/// An admin process, and the token for it.
pub struct Remote {
    uri: Uri,
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
        Ok(Remote { uri, caller, token, host })
    }

    /// What it tells now.
    ///
    /// # Errors
    /// Why it tells nothing.
    pub async fn ask(&self) -> Result<Summary, Error> {
        let unreachable = |why: String| Error::Unreachable(self.host.clone(), why);
        let look = async {
            let request = Request::get(self.uri.clone())
                .header(header::AUTHORIZATION, format!("Bearer {}", self.token.expose()))
                .body(Body::empty())
                .map_err(|error| Error::Answer(error.to_string()))?;
            let answer = self.caller.request(request).await.map_err(|error| unreachable(reason(&error)))?;
            match answer.status() {
                StatusCode::OK => {}
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(Error::Token),
                status => return Err(Error::Status(self.host.clone(), status)),
            }
            let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
            let body = body.map_err(|error| Error::Answer(error.to_string()))?.to_bytes();
            serde_json::from_slice(&body).map_err(|error| Error::Answer(error.to_string()))
        };
        let timed = tokio::time::timeout(ANSWER_MAX, look).await;
        timed.unwrap_or_else(|_| Err(unreachable(format!("no answer within {} s", ANSWER_MAX.as_secs()))))
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
