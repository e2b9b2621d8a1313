//! Where the servers are, and how patient the client is with them.
//!
//! Refuses to connect: it is what was written, with the documented defaults. The password is never
//! printed nor written out again (invariant I10).

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{balance, breaker, retry};
use crate::units::{ByteSize, Secret, Span};

/// Access to ClickHouse.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Servers, each as `http://host:port` or `https://host:port`, without credentials.
    pub endpoints: Vec<String>,
    /// Database of statements that name none.
    pub database: String,
    /// Name of the user.
    pub user: String,
    /// Password of the user.
    pub password: Option<Secret>,
    /// File that holds the password; white space at its end is left out.
    pub password_file: Option<PathBuf>,
    /// Certificates for `https` endpoints.
    pub tls: Tls,
    /// How requests are spread over the endpoints.
    pub balance: balance::Strategy,
    /// Compression of inserts and of results.
    pub compression: Compression,
    /// How the rows of an insert are written.
    pub insert_format: Format,
    /// Longest wait for name resolution, connection and TLS handshake together.
    pub connect_timeout: Span,
    /// Longest wait for the whole answer to a query.
    pub request_timeout: Span,
    /// Longest wait for the answer to one attempt of an insert.
    pub insert_timeout: Span,
    /// Time between two health checks of each endpoint.
    pub health_interval: Span,
    /// Longest wait for the answer to a health check.
    pub health_timeout: Span,
    /// Requests at once to each endpoint; more wait for their turn.
    pub connections_max: u32,
    /// Largest result of a query.
    pub result_bytes_max: ByteSize,
    /// How long and how often failed calls are repeated.
    pub retry: retry::Config,
    /// When an endpoint counts as failing.
    pub breaker: breaker::Config,
    /// Settings of ClickHouse that go with every statement.
    pub settings: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            endpoints: vec!["http://localhost:8123".to_owned()],
            database: "default".to_owned(),
            user: "default".to_owned(),
            password: None,
            password_file: None,
            tls: Tls::default(),
            balance: balance::Strategy::default(),
            compression: Compression::default(),
            insert_format: Format::default(),
            connect_timeout: Span::secs(3),
            request_timeout: Span::secs(30),
            insert_timeout: Span::secs(60),
            health_interval: Span::secs(1),
            health_timeout: Span::secs(2),
            connections_max: 64,
            result_bytes_max: ByteSize::mib(64),
            retry: retry::Config::default(),
            breaker: breaker::Config::default(),
            settings: BTreeMap::new(),
        }
    }
}

/// Longer waits are mistakes, and sums of them could leave what a clock can tell.
const SPAN_MAX: Span = Span::secs(86_400);

impl Config {
    /// Everything in it that cannot work, each with the path of its value. Addresses and certificates
    /// are looked at when the client is made.
    pub fn faults(&self) -> Vec<String> {
        let (retry, breaker) = (&self.retry, &self.breaker);
        let spans = [
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
            ("insert_timeout", self.insert_timeout),
            ("health_interval", self.health_interval),
            ("health_timeout", self.health_timeout),
            ("retry.deadline", retry.deadline),
            ("retry.backoff_min", retry.backoff_min),
            ("retry.backoff_max", retry.backoff_max),
            ("breaker.window", breaker.window),
            ("breaker.backoff_min", breaker.backoff_min),
            ("breaker.backoff_max", breaker.backoff_max),
        ];
        let spans = spans
            .iter()
            .filter(|(_, span)| span.0.is_zero() || *span > SPAN_MAX)
            .map(|(name, span)| format!("clickhouse.{name}: {span} is not between 1ms and {SPAN_MAX}"));
        let checks = [
            (self.endpoints.is_empty(), "endpoints: there is none"),
            (self.connections_max == 0, "connections_max: nothing can be sent over 0 connections"),
            (retry.backoff_min > retry.backoff_max, "retry.backoff_min: it is above retry.backoff_max"),
            (!(0.0..=10.0).contains(&retry.budget_ratio), "retry.budget_ratio: it is not between 0 and 10"),
            (
                !(0.0..=1e6).contains(&retry.budget_per_second),
                "retry.budget_per_second: it is not between 0 and 1000000",
            ),
            (breaker.failures == 0, "breaker.failures: 0 would shut the gate at once"),
            (!(0.0..=1.0).contains(&breaker.ratio), "breaker.ratio: it is not between 0 and 1"),
            (
                breaker.backoff_min > breaker.backoff_max,
                "breaker.backoff_min: it is above breaker.backoff_max",
            ),
        ];
        let checks = checks.iter().filter(|(bad, _)| *bad).map(|(_, text)| format!("clickhouse.{text}"));
        spans.chain(checks).collect()
    }
}

/// Whom to trust, and as whom to appear.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// PEM file of the authorities to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client's certificate chain; needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM file of the client's private key; needs `cert_file`.
    pub key_file: Option<PathBuf>,
    /// Accept any certificate. Whoever sits in between can then read and change everything.
    pub insecure_skip_verify: bool,
}

/// Compression of request and result bodies; results are compressed as `lz4` with `zstd` too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    #[default]
    Lz4,
    /// Smaller bodies than `lz4` for more CPU: for slow or metered networks.
    Zstd,
    None,
}

/// What an insert's rows are sent as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Blocks as ClickHouse itself keeps them: the cheapest for both sides.
    #[default]
    Native,
    /// An Arrow IPC stream, for what stands between and reads Arrow but no Native blocks.
    ArrowStream,
}

impl Format {
    /// What ClickHouse calls it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Native => "Native",
            Format::ArrowStream => "ArrowStream",
        }
    }
}

impl Compression {
    /// What HTTP calls it.
    pub fn content_encoding(self) -> Option<&'static str> {
        match self {
            Compression::Lz4 => Some("lz4"),
            Compression::Zstd => Some("zstd"),
            Compression::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_told_at_once() {
        assert_eq!(Config::default().faults(), Vec::<String>::new());
        let text = r#"{"endpoints": [], "health_interval": "0s", "retry": {"deadline": "99d", "budget_ratio": -1},
            "breaker": {"ratio": 1.5, "failures": 0}}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        let faults = config.faults();
        for name in ["endpoints", "health_interval", "deadline", "budget_ratio", "breaker.ratio", "failures"]
        {
            assert!(faults.iter().any(|fault| fault.contains(name)), "{name}: {faults:?}");
        }
        assert_eq!(faults.len(), 6, "{faults:?}");
    }

    #[test]
    fn the_password_is_read_and_never_shown() {
        let config: Config =
            serde_json::from_str(r#"{"password": "hunter2", "balance": "first_alive"}"#).unwrap();
        assert_eq!(config.password.as_ref().unwrap().expose(), "hunter2");
        let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(serde_json::from_str::<Config>(r#"{"endpoint": "typo"}"#).is_err());
    }
}
