//! What can be set about logs and the HTTP surface.
//!
//! Refuses to know what is reported.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::control;
use crate::units::{Secret, Span};

/// What operators see.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of `/metrics`, `/health`, `/ready` and `/v1/summary`, as `host:port`; port 0 takes a free one.
    pub listen: String,
    /// Time without a turn of the consumer loop after which `/health` answers 503.
    pub stalled_after: Span,
    /// Logs, written to the standard error.
    pub log: Log,
    /// Traces of batches, sent by OTLP.
    pub traces: Traces,
    /// Orders to the running line: pausing a topic, closing batches, reloading, probing a server. Off without a key.
    pub control: control::Config,
}

impl Default for Config {
    fn default() -> Self {
        let listen = "127.0.0.1:9464".to_owned();
        Config {
            listen,
            stalled_after: Span::secs(30),
            log: Log::default(),
            traces: Traces::default(),
            control: control::Config::default(),
        }
    }
}

/// Logs, written to the standard error.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// How a line looks.
    pub format: Format,
    /// Least level that is written: error, warn, info, debug, trace or off; by module as in
    /// `info,penstock::kafka=debug`.
    pub level: String,
    /// Lines per second that one place in the code may write; the next line that passes says how many
    /// were left out.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub lines_per_second_max: u32,
}

impl Default for Log {
    fn default() -> Self {
        Log { format: Format::Text, level: "info".to_owned(), lines_per_second_max: 10 }
    }
}

/// Traces of batches, sent by OTLP over HTTP in protobuf. Off without an endpoint.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Traces {
    /// Address of the receiver, such as `http://collector:4318`; `/v1/traces` is added unless there is a path.
    pub endpoint: Option<String>,
    /// Share of the batches that are traced although no producer's sampled trace leads to them. Batches that
    /// met an error are always traced.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample_ratio: f64,
    /// A request to the receiver ends within this time; its spans are given up then.
    pub timeout: Span,
    /// Headers of each request by their names, such as `authorization`. Their values are secrets.
    pub headers: BTreeMap<String, Secret>,
    /// PEM file with the authorities that the receiver's certificate is checked against; the system's
    /// without it.
    pub ca_file: Option<PathBuf>,
    /// Attributes of the process that go with its spans, such as `deployment.environment.name`. They are
    /// added to those of `OTEL_RESOURCE_ATTRIBUTES`, and win over them.
    pub resource: BTreeMap<String, String>,
}

impl Default for Traces {
    fn default() -> Self {
        Traces {
            endpoint: None,
            sample_ratio: 0.01,
            timeout: Span::secs(10),
            headers: BTreeMap::new(),
            ca_file: None,
            resource: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For people; in colour on a terminal.
    Text,
    /// One JSON object per line, for collectors.
    Json,
}
