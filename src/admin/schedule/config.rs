//! What is to be done again and again, and by which of several processes.
//!
//! Refuses to say whether a name or a time makes sense: [`super::Schedule`] does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// Something that is done again and again.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Letters, digits, `_` and `-`; by it its runs are known.
    pub name: String,
    /// A command in the words of the command line, such as `lifecycle apply` or `table optimize events`.
    pub what: String,
    /// Cron expression of five fields, or of six with seconds first.
    #[serde(default)]
    pub when: Option<String>,
    /// In place of `when`: again after so long, counted from 1970 in UTC, at least a second.
    #[serde(default)]
    pub every: Option<Span>,
    /// Time zone of `when`, such as `Europe/Berlin`.
    #[serde(default = "utc")]
    pub timezone: String,
    /// Whether a run that was missed is made up for, once and at once; without it, it is left out and said.
    #[serde(default)]
    pub catch_up: bool,
    /// Later than this a run counts as missed.
    #[serde(default = "late_max")]
    pub late_max: Span,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn late_max() -> Span {
    Span::secs(300)
}

/// Which of several admin processes does what is scheduled: one, chosen by a consumer group of their own.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Leader {
    /// Name of the group and of its topic, which is made with one partition if it is missing and stays empty;
    /// `kafka.group` with `.penstock-admin` behind it without a name.
    pub name: Option<String>,
    /// After so long without a sign of life another process leads.
    pub session_timeout: Span,
}

impl Default for Leader {
    fn default() -> Self {
        Leader { name: None, session_timeout: Span::secs(10) }
    }
}
