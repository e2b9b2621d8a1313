//! What can be set about backups.
//!
//! Refuses to hold credentials: a bucket is reached by a named collection of the server, which has them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// Backups of tables: `penstock backup`. The server itself writes and reads them.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Table in `clickhouse.database` that keeps the catalogue.
    pub table: String,
    /// Where the server puts them.
    pub destination: Destination,
    /// Folder in which this process sees what lies at the destination. With it files are verified, the manifest is kept
    /// beside each backup, and what is deleted goes from the disk; without it the catalogue alone knows.
    pub files_path: Option<PathBuf>,
    /// Incremental backups on a full one; then a full one is due.
    #[schemars(range(min = 0, max = 1000))]
    pub chain_max: u32,
    /// Whether rows are told by a digest as well as by their number, which reads every column once for each backup.
    pub digests: bool,
    /// Time zone of hours, days, weeks, months and years in `keep`, as in `Europe/Berlin`.
    pub timezone: String,
    /// What pruning keeps of a policy that says nothing else.
    pub keep: Keep,
    /// Longest time for a backup or a restore. One of which nothing was heard for longer counts as failed.
    pub timeout: Span,
    /// Policies by name: what is backed up together, and kept by one rule.
    pub policies: BTreeMap<String, Policy>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            table: "penstock_backups".to_owned(),
            destination: Destination::default(),
            files_path: None,
            chain_max: 6,
            digests: true,
            timezone: "UTC".to_owned(),
            keep: Keep::default(),
            timeout: Span::secs(6 * 3600),
            policies: BTreeMap::new(),
        }
    }
}

/// Where the server puts backups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Destination {
    /// How the server reaches it.
    pub kind: Kind,
    /// Name of the disk, or of the named collection for a bucket; `file` needs none.
    pub name: String,
    /// Folder below it. For `file` it lies below a path that the server allows (`backups.allowed_path`).
    pub path: String,
}

/// How the server reaches backups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A folder of the server's machine.
    #[default]
    File,
    /// A disk of the server's configuration.
    Disk,
    /// A bucket, by a named collection of the server.
    S3,
}

/// How many backups of each kind pruning keeps: of each hour, day and so on the newest, as far back as there are so many
/// hours and days with backups.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// Hours of which one is kept.
    pub hourly: u32,
    /// Days of which one is kept.
    pub daily: u32,
    /// Weeks, from Monday on, of which one is kept.
    pub weekly: u32,
    /// Months of which one is kept.
    pub monthly: u32,
    /// Years of which one is kept.
    pub yearly: u32,
    /// The newest that are kept whatever their age.
    #[schemars(range(min = 1, max = 100_000))]
    pub min_count: u32,
    /// What is younger is kept.
    pub min_age: Span,
}

impl Default for Keep {
    fn default() -> Self {
        Keep {
            hourly: 24,
            daily: 7,
            weekly: 5,
            monthly: 12,
            yearly: 2,
            min_count: 3,
            min_age: Span::secs(86_400),
        }
    }
}

/// What is backed up together.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Database of the tables; that of `clickhouse.database` without it.
    pub database: Option<String>,
    /// Names of tables; all of the database without any.
    pub tables: Vec<String>,
    /// What pruning keeps; `admin.backup.keep` without it.
    pub keep: Option<Keep>,
    /// How each backup is verified right after it was made.
    pub verify: Level,
    /// Whether pruning follows each backup.
    pub prune: bool,
    /// Age from which on the newest good backup is told as too old, by health and by an alert.
    pub age_max: Span,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            database: None,
            tables: Vec::new(),
            keep: None,
            verify: Level::default(),
            prune: false,
            // One a day, and two hours for it to be made.
            age_max: Span::secs(26 * 3600),
        }
    }
}

/// How thoroughly a backup is looked at; each contains those before it, as far as files can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Whether every file of the chain is there, with its size.
    Files,
    /// Checksums of a sample of the files as well.
    Sample,
    /// Restores it into a scratch database and compares the rows.
    #[default]
    Restore,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Level::Files => "files",
            Level::Sample => "sample",
            Level::Restore => "restore",
        }
    }
}
