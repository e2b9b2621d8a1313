//! How often a row really stands in a table and behind its views after retries and crashes.
//!
//! Refuses to ask servers: it is a pure judgement over what was inspected. In doubt it names the lower level,
//! and every level below the highest comes with the reasons for it.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inspect::{Distributed, Inspection, PartitionColumn, Role, TableFacts};

/// What can be promised, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// A row is never lost; a retry may write it again.
    AtLeastOnce,
    /// Retries write a row once, unless the server is killed in the middle of writing it.
    EffectivelyOnce,
    /// Once, as long as no replica loses its disk.
    ExactUnlessDiskLost,
    /// Once.
    Exact,
}

impl Level {
    /// As it stands in configurations and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Level::AtLeastOnce => "at_least_once",
            Level::EffectivelyOnce => "effectively_once",
            Level::ExactUnlessDiskLost => "exact_unless_disk_lost",
            Level::Exact => "exact",
        }
    }
}

/// How the inserts are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Whether the majority of replicas must have the rows.
    pub quorum: bool,
    /// Whether the table keeps in columns where each row came from, so that it can be asked what landed.
    pub can_read_back: bool,
    /// Servers that inserts and their retries go to.
    pub endpoints: usize,
    /// Blocks that are written to the table while a retry may still come.
    pub blocks_needed: u64,
    /// For how long a retry may still come.
    pub window_needed: Duration,
    /// Columns that the inserts send; the defaults of these do not count.
    pub columns_sent: Vec<String>,
}

/// What can be promised, and why not more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judgement {
    pub level: Level,
    /// Those that allow the least come first.
    pub reasons: Vec<Reason>,
}

/// Something that keeps a table from a higher level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The highest level that it allows.
    pub level: Level,
    pub sentence: String,
    /// What to change.
    pub hint: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nhint: {}", self.sentence, self.hint)
    }
}

/// The highest level that everything behind the table allows.
pub fn judge(inspection: &Inspection, conditions: &Conditions) -> Judgement {
    let mut judge = Judge { inspection, conditions, reasons: Vec::new() };
    inspection.tables.iter().for_each(|table| judge.table(table));
    let Judge { mut reasons, .. } = judge;
    reasons.sort_by_key(|reason| reason.level);
    let level = match inspection.tables.is_empty() {
        // Nothing is known, so nothing is promised.
        true => Level::AtLeastOnce,
        false => reasons.first().map_or(Level::Exact, |reason| reason.level),
    };
    Judgement { level, reasons }
}

struct Judge<'a> {
    inspection: &'a Inspection,
    conditions: &'a Conditions,
    reasons: Vec<Reason>,
}

impl Judge<'_> {
    fn limit(&mut self, level: Level, sentence: String, hint: &str) {
        self.reasons.push(Reason { level, sentence, hint: hint.to_owned() });
    }

    fn table(&mut self, table: &TableFacts) {
        let name = described(table);
        match table.engine.as_str() {
            "" => self.limit(
                Level::AtLeastOnce,
                format!("{name} is not on this server, or the user may not see it"),
                "grant SHOW TABLES and SELECT on it, or create it on the servers that penstock writes to",
            ),
            "Distributed" => self.distributed(&name, table.distributed.as_ref()),
            engine if engine.ends_with("MergeTree") => self.merge_tree(&name, table),
            engine => self.limit(
                Level::AtLeastOnce,
                format!("{name} has the engine {engine}, which does not remember what was inserted"),
                "insert into a table of the MergeTree family, and let views read from that",
            ),
        }
    }

    fn distributed(&mut self, name: &str, distributed: Option<&Distributed>) {
        let Some(found) = distributed else {
            let hint = "name cluster, database and table in its definition";
            return self.limit(Level::AtLeastOnce, format!("the definition of {name} cannot be read"), hint);
        };
        if let Some(function) = &found.volatile {
            self.limit(
                Level::AtLeastOnce,
                format!("{name} chooses the shard by {function}(), so a retry sends rows to other shards"),
                "give it a sharding key of the row's own columns, or insert into the tables of the shards",
            );
        } else if !found.has_sharding_key && found.shards > 1 {
            self.limit(
                Level::AtLeastOnce,
                format!(
                    "{name} has {} shards and no sharding key, so a retry may go to another",
                    found.shards
                ),
                "give it a sharding key of the row's own columns",
            );
        }
    }

    fn merge_tree(&mut self, name: &str, table: &TableFacts) {
        self.partitions(name, table);
        if table.window_blocks == 0 || table.window == Some(Duration::ZERO) {
            let setting = window_setting(table);
            return self.limit(
                Level::AtLeastOnce,
                format!("{name} does not remember what was inserted: its {setting} is 0"),
                &format!("ALTER TABLE {} MODIFY SETTING {setting} = 10000", table.title()),
            );
        }
        self.window(name, table);
        let is_replicated = table.engine.starts_with("Replicated");
        if table.engine.starts_with("Shared") {
            return;
        }
        if !is_replicated {
            return self.plain(name, table);
        }
        if table.replicas < 2 {
            self.limit(
                Level::ExactUnlessDiskLost,
                format!("{name} has one replica, so rows that were acknowledged are gone with its disk"),
                "add a second replica",
            );
        } else if !self.conditions.quorum {
            self.limit(
                Level::ExactUnlessDiskLost,
                format!("{name} acknowledges rows that one of its {} replicas has", table.replicas),
                "insert with a quorum",
            );
        }
    }

    fn window(&mut self, name: &str, table: &TableFacts) {
        let (blocks, needed) = (table.window_blocks, self.conditions.blocks_needed);
        if blocks < needed {
            let setting = window_setting(table);
            self.limit(
                Level::EffectivelyOnce,
                format!(
                    "{name} remembers {blocks} blocks, and {needed} may be written before the last retry"
                ),
                &format!("ALTER TABLE {} MODIFY SETTING {setting} = {needed}", table.title()),
            );
        }
        let needed = self.conditions.window_needed.as_secs();
        if let Some(window) = table.window.filter(|window| *window < self.conditions.window_needed) {
            let window = window.as_secs();
            self.limit(
                Level::EffectivelyOnce,
                format!("{name} remembers inserts for {window} s, and a retry may come after {needed} s"),
                &format!(
                    "ALTER TABLE {} MODIFY SETTING replicated_deduplication_window_seconds = {needed}",
                    table.title()
                ),
            );
        }
    }

    /// A table without replication: it writes down a token before the rows, so a kill in between loses the
    /// rows to their own retry, unless the table is asked what it has.
    fn plain(&mut self, name: &str, table: &TableFacts) {
        let endpoints = self.conditions.endpoints;
        if endpoints > 1 && !table.sharded {
            return self.limit(
                Level::AtLeastOnce,
                format!("{name} is not replicated, and a retry may go to another of {endpoints} endpoints"),
                "replicate the table, or name one endpoint",
            );
        }
        let behind = self.inspection.tables.len().saturating_sub(1);
        let (what, hint) = if table.role != Role::Inserted {
            ("is filled through another table, so it cannot be put right alone", "replicate it")
        } else if behind > 0 {
            ("has views behind it, which putting it right would fill twice", "replicate it and their targets")
        } else if !self.conditions.can_read_back {
            (
                "does not keep where its rows came from, so it cannot be asked what landed",
                "replicate it, or keep topic, partition and offset in columns",
            )
        } else if table.merges_rows {
            ("merges rows, so what landed cannot be counted", "replicate it, or use the engine MergeTree")
        } else {
            return;
        };
        let sentence = format!(
            "{name} is not replicated: a kill of the server in mid-write may lose or double rows; it {what}"
        );
        self.limit(Level::EffectivelyOnce, sentence, hint);
    }

    /// What a block is remembered by holds the partition as well: in another partition it is a new one.
    fn partitions(&mut self, name: &str, table: &TableFacts) {
        for PartitionColumn { name: column, volatile, unless_sent } in &table.partition_columns {
            // Only an insert sends columns; what a view leaves out is filled by the server.
            let is_sent = table.role != Role::Inserted && table.role != Role::Shard
                || !unless_sent.iter().any(|column| self.conditions.columns_sent.contains(column));
            if let Some(function) = volatile.as_ref().filter(|_| is_sent) {
                self.limit(
                    Level::AtLeastOnce,
                    format!("{name} is partitioned by {column}, which {function}() fills: a retry may go to another partition"),
                    "partition by columns that the records bring",
                );
            }
        }
        if let Role::ViewTarget { view, volatile: Some(function) } = &table.role
            && !table.partition_columns.is_empty()
        {
            self.limit(
                Level::EffectivelyOnce,
                format!("the view {view} calls {function}(), and if that decides about the partition in {name}, a retry may go to another"),
                "take times and random numbers from the records",
            );
        }
    }
}

fn described(table: &TableFacts) -> String {
    match &table.role {
        Role::Inserted => format!("the table {}", table.title()),
        Role::Shard => format!("the shards' table {}", table.title()),
        Role::ViewTarget { view, .. } => format!("the target {} of the view {view}", table.title()),
    }
}

fn window_setting(table: &TableFacts) -> &'static str {
    match (table.window, table.window_blocks) {
        (None, _) => "non_replicated_deduplication_window",
        (Some(_), 0) => "replicated_deduplication_window",
        (Some(window), _) if window.is_zero() => "replicated_deduplication_window_seconds",
        (Some(_), _) => "replicated_deduplication_window",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> TableFacts {
        TableFacts {
            database: "d".to_owned(),
            name: "t".to_owned(),
            engine: "MergeTree".to_owned(),
            window_blocks: 1000,
            ..TableFacts::default()
        }
    }

    fn replicated() -> TableFacts {
        TableFacts {
            engine: "ReplicatedMergeTree".to_owned(),
            window: Some(Duration::from_secs(3600)),
            replicas: 2,
            ..plain()
        }
    }

    fn target(volatile: Option<&str>, table: TableFacts) -> TableFacts {
        let role = Role::ViewTarget { view: "`d`.`v`".to_owned(), volatile: volatile.map(str::to_owned) };
        TableFacts { name: "dst".to_owned(), role, ..table }
    }

    fn distributed(volatile: Option<&str>, has_sharding_key: bool) -> TableFacts {
        let volatile = volatile.map(str::to_owned);
        let distributed = Distributed { cluster: "c".to_owned(), shards: 2, has_sharding_key, volatile };
        TableFacts { engine: "Distributed".to_owned(), distributed: Some(distributed), ..plain() }
    }

    fn shard(table: TableFacts) -> TableFacts {
        TableFacts { role: Role::Shard, sharded: true, ..table }
    }

    fn partitioned(table: TableFacts) -> TableFacts {
        let column = PartitionColumn {
            name: "p".to_owned(),
            volatile: Some("now".to_owned()),
            unless_sent: vec!["ts".to_owned()],
        };
        TableFacts { partition_columns: vec![column], ..table }
    }

    fn best() -> Conditions {
        Conditions {
            quorum: true,
            can_read_back: true,
            endpoints: 1,
            blocks_needed: 100,
            window_needed: Duration::from_secs(600),
            columns_sent: vec!["k".to_owned()],
        }
    }

    /// Level, and words that stand in the first reason.
    #[track_caller]
    fn check(tables: &[TableFacts], conditions: &Conditions, level: Level, words: &[&str]) {
        let found = judge(&Inspection { tables: tables.to_vec() }, conditions);
        assert_eq!(found.level, level, "{found:?}");
        assert_eq!(found.reasons.is_empty(), words.is_empty(), "{found:?}");
        let text = found.reasons.first().map(ToString::to_string).unwrap_or_default();
        for word in words {
            assert!(text.contains(word) && text.contains("\nhint: "), "{word}: {text}");
        }
    }

    #[test]
    fn replicated_tables() {
        let (one, best) = (TableFacts { replicas: 1, ..replicated() }, best());
        let no_quorum = Conditions { quorum: false, endpoints: 3, ..best.clone() };
        check(
            &[replicated()],
            &Conditions { endpoints: 3, can_read_back: false, ..best.clone() },
            Level::Exact,
            &[],
        );
        check(&[replicated(), target(Some("now"), replicated())], &best, Level::Exact, &[]);
        check(&[replicated()], &no_quorum, Level::ExactUnlessDiskLost, &["one of its 2 replicas", "quorum"]);
        check(&[one], &best, Level::ExactUnlessDiskLost, &["one replica"]);
        let shared =
            TableFacts { engine: "SharedReplacingMergeTree".to_owned(), replicas: 0, ..replicated() };
        check(&[shared], &no_quorum, Level::Exact, &[]);
        check(
            &[replicated(), target(None, plain())],
            &best,
            Level::EffectivelyOnce,
            &["`d`.`dst`", "`d`.`v`"],
        );
        check(&[replicated(), target(None, plain())], &no_quorum, Level::AtLeastOnce, &["3 endpoints"]);
    }

    #[test]
    fn plain_tables() {
        let best = best();
        check(&[plain()], &best, Level::Exact, &[]);
        let no_columns = Conditions { can_read_back: false, ..best.clone() };
        check(
            &[plain()],
            &no_columns,
            Level::EffectivelyOnce,
            &["where its rows came from", "offset in columns"],
        );
        check(&[plain(), target(None, replicated())], &best, Level::EffectivelyOnce, &["views behind it"]);
        let merging = TableFacts { merges_rows: true, ..plain() };
        check(&[merging], &best, Level::EffectivelyOnce, &["merges rows"]);
        check(&[plain()], &Conditions { endpoints: 2, ..best }, Level::AtLeastOnce, &["2 endpoints"]);
    }

    #[test]
    fn windows() {
        let best = best();
        let none = TableFacts { window_blocks: 0, ..plain() };
        check(
            std::slice::from_ref(&none),
            &best,
            Level::AtLeastOnce,
            &["non_replicated_deduplication_window is 0", "ALTER TABLE `d`.`t`"],
        );
        check(&[plain(), target(None, none)], &best, Level::AtLeastOnce, &["`d`.`dst`", "`d`.`v`"]);
        let none = TableFacts { window_blocks: 0, ..replicated() };
        check(&[none], &best, Level::AtLeastOnce, &["its replicated_deduplication_window is 0"]);
        let none = TableFacts { window: Some(Duration::ZERO), ..replicated() };
        check(&[none], &best, Level::AtLeastOnce, &["its replicated_deduplication_window_seconds is 0"]);
        let few = TableFacts { window_blocks: 99, ..replicated() };
        check(&[few], &best, Level::EffectivelyOnce, &["99 blocks", "100 may be", "window = 100"]);
        let short = TableFacts { window: Some(Duration::from_secs(599)), ..replicated() };
        check(&[short], &best, Level::EffectivelyOnce, &["599 s", "600 s", "window_seconds = 600"]);
    }

    #[test]
    fn distributed_tables() {
        let best = Conditions { endpoints: 3, ..best() };
        let whole = |d, table| [d, shard(table)];
        check(&whole(distributed(None, true), replicated()), &best, Level::Exact, &[]);
        check(
            &whole(distributed(None, true), plain()),
            &best,
            Level::EffectivelyOnce,
            &["the shards' table"],
        );
        check(&whole(distributed(Some("rand"), true), replicated()), &best, Level::AtLeastOnce, &["rand()"]);
        check(&whole(distributed(None, false), replicated()), &best, Level::AtLeastOnce, &["2 shards"]);
        let gone = TableFacts { engine: String::new(), ..replicated() };
        check(&whole(distributed(None, true), gone), &best, Level::AtLeastOnce, &["may not see it"]);
    }

    #[test]
    fn other_engines_and_clocks() {
        for engine in ["Null", "Kafka", "Buffer", "Log", "MaterializedView"] {
            let other = TableFacts { engine: engine.to_owned(), ..plain() };
            check(&[other, target(None, replicated())], &best(), Level::AtLeastOnce, &[engine]);
        }
        check(&[], &best(), Level::AtLeastOnce, &[]);
        check(&[partitioned(replicated())], &best(), Level::AtLeastOnce, &["partitioned by p", "now()"]);
        let sent = Conditions { columns_sent: vec!["ts".to_owned()], ..best() };
        check(&[partitioned(replicated())], &sent, Level::Exact, &[]);
        check(
            &[replicated(), target(None, partitioned(replicated()))],
            &sent,
            Level::AtLeastOnce,
            &["now()"],
        );
        let by_view = TableFacts {
            partition_columns: vec![PartitionColumn { name: "p".to_owned(), ..PartitionColumn::default() }],
            ..replicated()
        };
        check(
            &[replicated(), target(Some("now"), by_view)],
            &best(),
            Level::EffectivelyOnce,
            &["the view `d`.`v` calls now()"],
        );
    }

    #[test]
    fn levels_are_ordered_and_named_as_they_are_written() {
        let all = [Level::AtLeastOnce, Level::EffectivelyOnce, Level::ExactUnlessDiskLost, Level::Exact];
        assert!(all.is_sorted());
        for level in all {
            assert_eq!(serde_json::to_value(level).unwrap(), level.name());
        }
    }
}
