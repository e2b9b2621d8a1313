//! The shape of what the console tells: of the whole line, at one moment.
//!
//! Refuses to compute any of it. What is not known yet is null, and no number is ever infinite or none.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The whole line, as it is told. Times are RFC 3339 in UTC, durations are seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    pub at: String,
    /// What this installation is called.
    pub name: String,
    pub version: String,
    /// Nothing is changed over REST.
    pub read_only: bool,
    /// Whether the line can be controlled from here: there is a key, and a process that takes orders.
    #[serde(default)]
    pub control: bool,
    /// Where the runbooks are published.
    pub runbook_url: Option<String>,
    pub verdict: Verdict,
    pub totals: Totals,
    /// Of the last fifteen minutes, oldest first.
    pub history: Vec<Point>,
    pub flow: Flow,
    pub pods: Vec<Pod>,
    /// Those that lag most, at most 200.
    pub partitions: Vec<Partition>,
    pub partitions_total: u64,
    pub tables: Vec<Table>,
    /// The worst first.
    pub problems: Vec<Problem>,
    /// Newest first, at most 20.
    pub jobs: Vec<JobLine>,
    pub backups: Backups,
    /// Newest first, at most 100.
    pub timeline: Vec<Event>,
}

/// Who asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActorTold {
    pub name: String,
    pub roles: Vec<String>,
    pub permissions: Vec<String>,
}

/// How the line is, from best to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing is to be done.
    Healthy,
    /// Nothing is known of the line.
    #[default]
    Unknown,
    /// It works, and something needs a person.
    Attention,
    /// Nothing is taken in, and nothing is lost.
    Paused,
    /// Rows are lost or may be, or nobody lives.
    Failing,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Level::Healthy => "healthy",
            Level::Unknown => "unknown",
            Level::Attention => "attention",
            Level::Paused => "paused",
            Level::Failing => "failing",
        }
    }
}

/// How the line is, in one sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    pub level: Level,
    pub sentence: String,
    /// Since when it has this level.
    pub since: String,
    pub what_to_do: Option<String>,
    /// File in docs/runbooks, without its ending.
    pub runbook: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    pub in_records_per_s: Option<f64>,
    pub in_bytes_per_s: Option<f64>,
    pub out_rows_per_s: Option<f64>,
    /// From the time of a record until its row was acknowledged.
    pub e2e_p99_s: Option<f64>,
    pub lag_records: Option<u64>,
    /// Of the partition that is furthest behind.
    pub lag_s: Option<f64>,
    pub dead_letters_per_min: Option<f64>,
    /// Since the processes began.
    pub dead_letters_total: u64,
    /// Rows that committed offsets must have and tables do not have.
    pub lost_records: u64,
    /// Part of the history in which no record waited for more than a minute.
    pub freshness_good_ratio: Option<f64>,
    pub topics: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    pub at: String,
    #[serde(rename = "in")]
    pub records_per_s: Option<f64>,
    #[serde(rename = "out")]
    pub rows_per_s: Option<f64>,
    pub p99_s: Option<f64>,
    pub lag_s: Option<f64>,
}

/// The stages of all processes together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    pub stages: Vec<Stage>,
    /// The stage that all others wait for, if there is one.
    pub bottleneck: Option<String>,
    pub memory: Memory,
    pub gates: Vec<Gate>,
    pub flushes: Vec<Flush>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stage {
    pub name: String,
    /// Part of the time in which its workers worked.
    pub busy_ratio: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Memory {
    pub used_bytes: u64,
    pub budget_bytes: u64,
    /// What is used by what holds it: open, sealed, sending, `dead_letters`; and fetched, which the budget leaves out.
    pub components: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gate {
    pub endpoint: String,
    /// open, limited or shut: the worst that any process has.
    pub state: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Flush {
    pub trigger: String,
    pub ratio: f64,
}

/// One process of the line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pod {
    pub address: String,
    pub state: String,
    pub sentence: String,
    pub version: String,
    pub reachable: bool,
    /// Since its last answer.
    pub age_s: Option<f64>,
    pub in_records_per_s: Option<f64>,
    pub out_rows_per_s: Option<f64>,
    pub lag_s: Option<f64>,
    pub partitions: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Partition {
    pub topic: String,
    pub partition: i32,
    pub pod: String,
    pub lag_records: Option<u64>,
    pub lag_s: Option<f64>,
    /// Until nothing waits, at the present speed; null where it does not get less.
    pub catch_up_s: Option<f64>,
    /// Why it is not read: `dead_letter_ceiling`, `backpressure`, or `by <actor> until <time>: <reason>`.
    pub paused: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Table {
    pub table: String,
    pub rows_per_s: Option<f64>,
    /// Rows in a batch, on the average.
    pub batch_rows: Option<f64>,
    pub insert_p99_s: Option<f64>,
    pub parts: Option<u64>,
    pub parts_limit: Option<u64>,
    /// What is promised about its rows.
    pub delivery: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Critical,
    Warning,
    #[default]
    Info,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

/// Something that needs a person, in sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// The same for the same trouble.
    pub id: String,
    pub severity: Severity,
    pub since: String,
    pub sentence: String,
    pub what_to_do: String,
    /// File in docs/runbooks, without its ending.
    pub runbook: Option<String>,
    /// Where the page shows more, such as `dead-letters?topic=x`.
    pub link: Option<String>,
    /// What it makes of the line.
    #[serde(skip)]
    #[schemars(skip)]
    pub level: Level,
}

/// A job, in short.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobLine {
    pub id: String,
    pub action: String,
    pub state: String,
    /// From 0 to 1, where the job tells it.
    pub progress: Option<f64>,
    pub actor: String,
    pub started_at: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Backups {
    pub newest_verified_at: Option<String>,
    pub age_s: Option<f64>,
    /// Names of the policies by which backups are made.
    #[serde(default)]
    pub policies: Vec<String>,
}

/// Something that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    pub at: String,
    /// pod, rebalance, gate, pause, reload, backup, migration, operator or verdict.
    pub kind: String,
    pub sentence: String,
}
