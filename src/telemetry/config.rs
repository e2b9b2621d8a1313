//! What can be set about logs and the HTTP surface.
//!
//! Refuses to know what is reported.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

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
}

impl Default for Config {
    fn default() -> Self {
        Config { listen: "127.0.0.1:9464".to_owned(), stalled_after: Span::secs(30), log: Log::default() }
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For people; in colour on a terminal.
    Text,
    /// One JSON object per line, for collectors.
    Json,
}
