//! Where a set of public keys comes from: a file, or one configured address; and what such addresses are asked by.
//!
//! Refuses to send anything along, to follow another address, and to read without end.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::tls;

const ANSWER_MAX: Duration = Duration::from_secs(5);
const BODY_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "admin.access.jwks_url is no address\nhint: write https://host/path; http:// only for 127.0.0.1 or localhost"
    )]
    Address,
    #[error("{0}\nhint: authorities are named by the setting that ends with ca_file, as a PEM file")]
    Tls(#[from] tls::Error),
    #[error("it cannot be read: {0}")]
    Read(String),
    #[error("it answers {0}")]
    Status(StatusCode),
}

/// Where the set is.
pub enum Source {
    File(PathBuf),
    Url(Box<Address>),
}

/// What asks an address.
pub type Caller = Client<HttpsConnector<HttpConnector>, Body>;

/// An address, and what asks it.
pub struct Address {
    uri: Uri,
    client: Caller,
}

/// What asks this address, which is certified by these authorities, or by those of the system.
///
/// # Errors
/// An address that is none, or that would be asked without encryption over a network.
pub fn caller(url: &str, authorities: Option<&Path>) -> Result<(Uri, Caller), Error> {
    let uri: Uri = url.parse().map_err(|_| Error::Address)?;
    let is_here = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match uri.scheme_str() {
        Some("https") if uri.host().is_some() => {}
        Some("http") if is_here => {}
        _ => return Err(Error::Address),
    }
    let config = tls::trusting(authorities, !is_here)?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(ANSWER_MAX));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config.with_no_client_auth())
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Ok((uri, Client::builder(TokioExecutor::new()).build(connector)))
}

impl Source {
    /// # Errors
    /// An address that is none, or that would be asked without encryption over a network.
    pub fn url(url: &str, authorities: Option<&Path>) -> Result<Source, Error> {
        let (uri, client) = caller(url, authorities)?;
        Ok(Source::Url(Box::new(Address { uri, client })))
    }

    /// # Errors
    /// What stands in its way.
    pub async fn read(&self) -> Result<Bytes, Error> {
        let failed = |error: &dyn fmt::Display| Error::Read(error.to_string());
        match self {
            Source::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
                Ok(read.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?.into())
            }
            Source::Url(address) => {
                let fetch = async {
                    let answer =
                        address.client.get(address.uri.clone()).await.map_err(|error| failed(&error))?;
                    if answer.status() != StatusCode::OK {
                        return Err(Error::Status(answer.status()));
                    }
                    let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
                    Ok(body.map_err(|error| failed(&error))?.to_bytes())
                };
                let timed = tokio::time::timeout(ANSWER_MAX, fetch).await;
                timed.unwrap_or_else(|_| {
                    Err(Error::Read(format!("no answer within {} s", ANSWER_MAX.as_secs())))
                })
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "{}", path.display()),
            // What stands behind the host could be a secret.
            Source::Url(address) => f.write_str(address.uri.host().unwrap_or_default()),
        }
    }
}
