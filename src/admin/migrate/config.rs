//! Where migrations lie, and how patient and careful running them is.
//!
//! Refuses to look at the folder: it is what was written, with the documented defaults.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pragma::Target;
use crate::clickhouse::quote_string;
use crate::units::Span;

/// Migrations of the tables' definitions: `penstock migrate`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the migration files.
    pub path: PathBuf,
    /// Table in `clickhouse.database` on the first endpoint that keeps what was run; the lock and the audit trail have
    /// its name with `_lock` and `_audit` behind it.
    pub table: String,
    /// Engine of these tables, and of all others that penstock keeps for itself.
    pub engine: Engine,
    /// Path of such a table in Keeper, with `replicated_merge_tree`. It must be the same on all servers, those of other
    /// shards too; ClickHouse puts in `{database}`, `{table}` and its own macros.
    pub replica_path: String,
    /// Name of a server's replica, with `replicated_merge_tree`. It must differ on all servers, those of other shards too.
    pub replica_name: String,
    /// Where statements are run whose files do not say it.
    pub target: Target,
    /// Longest time for which a process that no longer answers keeps others from migrating.
    pub lock_lease: Span,
    /// How long a process waits for another one that migrates, before it says so and ends.
    pub lock_wait: Span,
    /// Longest wait for a statement whose file does not say it; it goes on in the server all the same.
    pub timeout: Span,
    /// Whether everything is tried in a scratch database before it is run, data left out.
    pub shadow: bool,
    /// Tables that drift does not look at, each by its name; `*` stands for any text.
    pub ignore: Vec<String>,
}

/// Engine of penstock's own tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    MergeTree,
    /// Each endpoint has a replica, with `replica_path` and `replica_name`.
    ReplicatedMergeTree,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            path: PathBuf::from("migrations"),
            table: "penstock_migrations".to_owned(),
            engine: Engine::MergeTree,
            replica_path: "/clickhouse/tables/{database}/{table}".to_owned(),
            replica_name: "{replica}".to_owned(),
            target: Target::All,
            lock_lease: Span::secs(30),
            lock_wait: Span::millis(0),
            timeout: Span::secs(600),
            shadow: true,
            ignore: Vec::new(),
        }
    }
}

impl Config {
    /// The engine as it stands behind `ENGINE =`. The path is always written out: a server's own default has the table's
    /// UUID in it, which differs from replica to replica unless a Keeper queue of DDL hands it around.
    pub fn engine_sql(&self) -> String {
        let (path, name) = (quote_string(&self.replica_path), quote_string(&self.replica_name));
        match self.engine {
            Engine::MergeTree => "MergeTree".to_owned(),
            Engine::ReplicatedMergeTree => format!("ReplicatedMergeTree({path}, {name})"),
        }
    }

    /// Whether drift looks at the table.
    pub fn is_ignored(&self, table: &str) -> bool {
        self.ignore.iter().any(|pattern| matches(pattern, table))
    }
}

/// Whether the text is as the pattern says, in which `*` stands for any text.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = text.find(part) else { return false };
        text = text.get(at + part.len()..).unwrap_or_default();
    }
    text.len() >= last.len() && text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_has_a_path_of_its_own_that_cannot_be_left() {
        let mut config = Config::default();
        assert_eq!(config.engine_sql(), "MergeTree");
        config.engine = Engine::ReplicatedMergeTree;
        assert_eq!(
            config.engine_sql(),
            "ReplicatedMergeTree('/clickhouse/tables/{database}/{table}', '{replica}')"
        );
        config.replica_name = "it's".to_owned();
        assert!(config.engine_sql().ends_with(r"', 'it\'s')"), "{}", config.engine_sql());
    }

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("tmp_*", "tmp_a", true),
            ("tmp_*", "a_tmp_", false),
            ("*", "", true),
            ("a*b*c", "a-b-c", true),
            ("a*a", "a", false),
            ("a*b*b", "ab", false),
            ("t", "t2", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
