//! What can be set about the line as a whole: tables, limits of records, the guarantee, stopping.
//!
//! Refuses to know the stages' own settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clickhouse::Level;
use crate::units::Span;

/// Which tables are filled.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tables {
    /// Folder with one folder per table (`<table>/table.yaml`), or one table file; from the working
    /// directory.
    pub path: PathBuf,
    /// Only these tables; all without it.
    pub only: Vec<String>,
}

impl Default for Tables {
    fn default() -> Self {
        Tables { path: PathBuf::from("schemas"), only: Vec::new() }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Every record arrives; a crash or a takeover may bring some of them twice.
    #[default]
    AtLeastOnce,
    /// Every record arrives once, as far as `exactly_once.level_min` demands it of the tables.
    ExactlyOnce,
}

/// How `delivery: exactly_once` works.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExactlyOnce {
    /// How long a batch may be sent after the commit that lists it, until it is committed again. A former
    /// owner of a partition sends nothing later than this, and the tables must remember tokens for longer.
    pub lease: Span,
    /// Whether an insert into a replicated table waits until the majority of replicas has it. One insert at a time
    /// is made into a table then, over all processes.
    pub quorum: bool,
    /// The least that has to be promised for every table; the process does not start on less. What keeps a
    /// table from more is told at start.
    pub level_min: Level,
}

impl Default for ExactlyOnce {
    fn default() -> Self {
        ExactlyOnce { lease: Span::secs(60), quorum: true, level_min: Level::ExactUnlessDiskLost }
    }
}

/// Ceilings of speed, for sources and targets that must be spared.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// By topic.
    pub topics: BTreeMap<String, Rate>,
    /// By table.
    pub tables: BTreeMap<String, Rate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Records taken in per second; the partitions are paused beyond it.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub records_per_second: u32,
}

/// Taking over a changed configuration file or table file while running; SIGHUP always does.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reload {
    /// Whether the files are looked at, by time and size. A change is taken over once a second look finds
    /// nothing further changed.
    pub watch: bool,
    /// Time between two looks.
    pub interval: Span,
}

impl Default for Reload {
    fn default() -> Self {
        Reload { watch: true, interval: Span::secs(5) }
    }
}

/// How the process stops.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    /// Time to write and commit what is in hand after SIGTERM. What is not written by then is read
    /// again at the next start.
    pub drain: Span,
}

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown { drain: Span::secs(45) }
    }
}
