//! What can be set about the audit of a line that runs.
//!
//! Refuses to know how it is done.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// Whether `run` proves, again and again, that what it committed is in the tables.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which tables are audited while the line runs.
    pub enabled: Enabled,
    /// How often newly committed offsets are compared with the table: one question per table each time. It
    /// scans the columns of partition and offset where the table is not sorted by them.
    pub interval: Span,
}

impl Default for Config {
    fn default() -> Self {
        Config { enabled: Enabled::Auto, interval: Span::secs(60) }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Enabled {
    /// Tables that have columns for `$partition` and `$offset` (and `$topic`, with several topics) and whose
    /// engine keeps every row.
    #[default]
    Auto,
    /// All tables; the start fails if one lacks a column for it.
    Always,
    Never,
}
