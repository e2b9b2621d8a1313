//! One request with spans to the receiver, by OTLP over HTTP in protobuf, and what its answer says.
//!
//! Refuses to show what headers hold, to trust a certificate that does not check, and to read a long answer.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;

use super::super::config::Traces;
use crate::tls;

const ANSWER_BYTES_MAX: usize = 64 << 10;
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}\nhint: see telemetry.traces in docs/configuration.md")]
    Config(String),
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// All but so many spans were taken.
    Taken { refused: u64 },
    /// It may be taken another time.
    Later(String),
    /// It never will.
    Refused(String),
}

/// The receiver, and how it is spoken to.
#[derive(Debug)]
pub struct Client {
    http: Http<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
    timeout: Duration,
}

impl Client {
    /// # Errors
    /// An address that is none, a header that cannot be sent, or certificates that cannot be read.
    pub fn new(config: &Traces, endpoint: &str) -> Result<Client, Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let wrong = || Error::Config(format!("telemetry.traces.headers: `{name}` cannot be a header"));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers.insert(header::CONTENT_TYPE, PROTOBUF);
        let product = concat!("penstock/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(product));
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(config.timeout.0));
        let tls = tls::trusting(config.ca_file.as_deref(), endpoint.starts_with("https://"))
            .map_err(|error| Error::Config(format!("telemetry.traces: {error}")))?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.with_no_client_auth())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let http = Http::builder(TokioExecutor::new()).build(connector);
        Ok(Client { http, uri: address(endpoint)?, headers, timeout: config.timeout.0 })
    }

    /// Sends it once, within the time-out.
    pub async fn send(&self, request: &ExportTraceServiceRequest) -> Sent {
        let mut post = Request::new(Full::new(Bytes::from(request.encode_to_vec())));
        *post.method_mut() = Method::POST;
        *post.uri_mut() = self.uri.clone();
        post.headers_mut().clone_from(&self.headers);
        let answered = async {
            let answer = self.http.request(post).await.map_err(|error| whole(&error))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            // What was taken was taken, whether or not the answer can be read.
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            Ok::<_, String>(Response::from_parts(head, body))
        };
        match tokio::time::timeout(self.timeout, answered).await {
            Ok(Ok(answer)) => judge(&answer),
            Ok(Err(error)) => Sent::Later(error),
            Err(_) => Sent::Later(format!("no answer within {:?}", self.timeout)),
        }
    }
}

/// The error with what it came from; none of them quotes a header.
fn whole(error: &dyn std::error::Error) -> String {
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

fn judge(answer: &Response<Bytes>) -> Sent {
    let status = answer.status();
    if status.is_success() {
        let read = ExportTraceServiceResponse::decode(answer.body().clone()).unwrap_or_default();
        let refused = read.partial_success.map_or(0, |partial| partial.rejected_spans);
        return Sent::Taken { refused: u64::try_from(refused).unwrap_or(0) };
    }
    let why = format!("it answers {status}");
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Sent::Later(why),
        _ => Sent::Refused(why),
    }
}

/// Where traces go below the address of a receiver.
fn address(endpoint: &str) -> Result<Uri, Error> {
    let wrong = || Error::Config(format!("telemetry.traces.endpoint: `{endpoint}` is no address"));
    let uri: Uri = endpoint.parse().map_err(|_| wrong())?;
    let (Some(_), Some(_)) = (uri.scheme(), uri.authority()) else { return Err(wrong()) };
    if !matches!(uri.path(), "" | "/") {
        return Ok(uri);
    }
    let mut parts = uri.into_parts();
    parts.path_and_query = "/v1/traces".parse().ok();
    Uri::from_parts(parts).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    #[test]
    fn a_path_is_added_to_an_address_that_has_none() {
        let text = |endpoint: &str| address(endpoint).unwrap().to_string();
        assert_eq!(text("http://collector:4318"), "http://collector:4318/v1/traces");
        assert_eq!(text("https://collector:4318/"), "https://collector:4318/v1/traces");
        assert_eq!(text("https://host/otlp/v1/traces"), "https://host/otlp/v1/traces");
        assert!(address("collector:4318/x y").is_err() && address("/v1/traces").is_err());
    }

    #[test]
    fn answers_tell_what_was_taken_and_what_is_worth_another_try() {
        let answer = |status: u16, body: Vec<u8>| {
            judge(&Response::builder().status(status).body(Bytes::from(body)).unwrap())
        };
        let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: String::new() };
        let partial = ExportTraceServiceResponse { partial_success: Some(partial) };
        assert_eq!(answer(200, Vec::new()), Sent::Taken { refused: 0 });
        assert_eq!(answer(200, partial.encode_to_vec()), Sent::Taken { refused: 3 });
        assert!(matches!(answer(503, Vec::new()), Sent::Later(_)));
        assert!(matches!(answer(400, Vec::new()), Sent::Refused(_)));
    }
}
