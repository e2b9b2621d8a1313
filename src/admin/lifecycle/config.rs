//! What holds for the lifecycle of every table.
//!
//! Refuses to know tables: their rules stand in their files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// Lifecycle of the tables' rows: `penstock lifecycle`. The rules stand in the table files.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Table in `clickhouse.database` that keeps legal holds.
    pub holds_table: String,
    /// Table in `clickhouse.database` that keeps what `penstock erase` did, with digests in place of values.
    pub erasures_table: String,
    /// How often a line that runs looks whether somebody was erased; from then on it leaves their older records out.
    pub erasures_refresh: Span,
    /// How long `penstock erase` waits before it deletes, so that every line has looked and has sent what it holds; `0ms`
    /// waits for nothing.
    pub erasure_grace: Span,
    /// Rules of table files that delete, roll up or clear what is younger than this are refused; `0ms` sets no floor.
    pub min_retention: Span,
    /// Longest wait for a statement; it goes on in the server all the same.
    pub timeout: Span,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            holds_table: "penstock_holds".to_owned(),
            erasures_table: "penstock_erasures".to_owned(),
            erasures_refresh: Span::secs(10),
            erasure_grace: Span::secs(30),
            min_retention: Span::millis(0),
            timeout: Span::secs(3600),
        }
    }
}
