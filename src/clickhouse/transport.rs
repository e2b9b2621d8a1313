//! One request with a body that is complete before it is sent, and the judgement of its answer.
//!
//! Refuses to believe in success: only an answer that came whole, with status 200, without an exception and
//! without a body, is one. The length of the body goes ahead of it, so a server that sees it cut refuses all
//! of it, and the same bytes can be sent again (invariant I3). Credentials travel in headers only (I10).

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;

use super::config::Config;
use super::error::Error;
use super::http::Connector;

/// Longest answer that is read: an exception, or the page of a service that is not ClickHouse.
const ANSWER_BYTES_MAX: usize = 1 << 16;

const USER: HeaderName = HeaderName::from_static("x-clickhouse-user");
const KEY: HeaderName = HeaderName::from_static("x-clickhouse-key");
/// With it the server's own spans of the insert continue ours.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const EXCEPTION_CODE: &str = "x-clickhouse-exception-code";

/// Sends bodies to one endpoint.
pub struct Transport {
    endpoint: String,
    uri: Uri,
    http: Client<Connector, Full<Bytes>>,
    headers: HeaderMap,
    settings: BTreeMap<String, String>,
}

impl Transport {
    /// # Errors
    /// A user or a password that cannot stand in a header.
    pub fn new(
        config: &Config,
        uri: &Uri,
        endpoint: String,
        http: Client<Connector, Full<Bytes>>,
    ) -> Result<Transport, Error> {
        let mut headers = HeaderMap::new();
        let product = concat!("penstock/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(product));
        headers.insert(USER, credential(&config.user)?);
        if let Some(password) = &config.password {
            headers.insert(KEY, credential(password.expose())?);
        }
        if let Some(name) = config.compression.content_encoding() {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        let mut settings = config.settings.clone();
        settings.insert("database".to_owned(), config.database.clone());
        Ok(Transport { endpoint, uri: uri.clone(), http, headers, settings })
    }

    /// The settings that go with every statement; those of one statement win over them.
    pub fn settings(&self) -> BTreeMap<String, String> {
        self.settings.clone()
    }

    /// Sends the body, compressed as the configuration says, and waits for the whole answer.
    ///
    /// Not cancel-safe: dropped, it breaks the connection. A server that had the whole body goes on with it,
    /// and what it answers is read by nobody.
    ///
    /// # Errors
    /// `Connect` if it was surely not sent, `Interrupted` if that is not known, and else what the answer says.
    pub async fn post(
        &self,
        parameters: &BTreeMap<String, String>,
        body: Bytes,
        traceparent: Option<&str>,
    ) -> Result<(), Error> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.address(parameters)?;
        request.headers_mut().clone_from(&self.headers);
        if let Some(value) = traceparent.and_then(|text| HeaderValue::from_str(text).ok()) {
            request.headers_mut().insert(TRACEPARENT, value);
        }
        let sent = self.http.request(request).await;
        judge(&self.endpoint, sent.map_err(|error| Error::from_connection(&self.endpoint, &error))?).await
    }

    fn address(&self, parameters: &BTreeMap<String, String>) -> Result<Uri, Error> {
        let query: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        let target = format!("{}?{}", self.uri.path(), query.join("&"));
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = target.parse().ok();
        Uri::from_parts(parts).map_err(|error| Error::Parameter {
            name: "request".to_owned(),
            message: format!("the address becomes too long: {error}"),
        })
    }
}

/// The length that a text takes in an address.
pub fn encoded_len(text: &str) -> usize {
    text.bytes().map(|byte| if is_unreserved(byte) { 1 } else { 3 }).sum()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(encoded_len(text));
    for byte in text.bytes() {
        if is_unreserved(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn credential(text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| Error::Config {
        message: "clickhouse.user or clickhouse.password holds a control character".to_owned(),
        hint: "credentials travel in HTTP headers: leave out line breaks and other control characters",
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Success only if nothing at all speaks against it.
async fn judge(endpoint: &str, response: Response<Incoming>) -> Result<(), Error> {
    let (head, body) = response.into_parts();
    let exception = head.headers.get(EXCEPTION_CODE).map(|value| {
        // A header without a readable number is an exception that nobody knows, which waits (I8).
        value.to_str().ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    });
    let interrupted = |message: String| Error::Interrupted { endpoint: endpoint.to_owned(), message };
    let (text, whole) = read(body).await;
    match whole {
        // Whatever is missing of its text, the exception itself was told.
        Err(error) if exception.is_none() => return Err(interrupted(super::error::chain(&error))),
        _ => {}
    }
    if exception.is_some() || head.status != StatusCode::OK || !text.is_empty() {
        let text = String::from_utf8_lossy(&text);
        return Err(Error::from_answer(endpoint, head.status.as_u16(), exception, &text));
    }
    let ends = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    if !ends.iter().any(|name| head.headers.contains_key(name)) {
        return Err(interrupted("the answer does not tell where it ends".to_owned()));
    }
    Ok(())
}

/// What came of the body, and whether that is all of it as far as it matters.
async fn read(mut body: Incoming) -> (Vec<u8>, Result<(), hyper::Error>) {
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
            Err(error) => return (text, Err(error)),
        }
        if ANSWER_BYTES_MAX < text.len() {
            text.truncate(ANSWER_BYTES_MAX);
            break;
        }
    }
    (text, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_cannot_leave_their_place() {
        assert_eq!(encoded("a b&c=d#ü%"), "a%20b%26c%3Dd%23%C3%BC%25");
        for text in ["", "plain-._~", "INSERT INTO `t` (`a`) FORMAT Native", "ü\n\0"] {
            assert_eq!(encoded(text).len(), encoded_len(text), "{text}");
        }
    }
}
