//! Legal holds, as a table that is only ever added to.
//!
//! Refuses to forget: a hold that is let go stays as it was put, with a row after it that says who let it go and why.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::{Error, Lifecycles};
use crate::admin::desk::{Row, TableName};
use crate::admin::migrate::config::matches;
use crate::admin::rows;

/// One hold that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Hold {
    pub id: String,
    pub database: String,
    pub table: String,
    /// Partition ids, in which `*` stands for any text; none hold the whole table.
    pub partitions: Vec<String>,
    pub reason: String,
    /// When it ends by itself, in UTC; empty if it does not.
    pub until: String,
    pub actor: String,
    pub since: String,
}

impl Hold {
    pub fn is_on(&self, table: &TableName) -> bool {
        self.database == table.database && self.table == table.name
    }

    pub fn covers(&self, partition_id: &str) -> bool {
        self.partitions.is_empty() || self.partitions.iter().any(|pattern| matches(pattern, partition_id))
    }
}

/// Every hold that is in force.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Holds {
    pub holds: Vec<Hold>,
}

/// What is held of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held(pub Vec<Hold>);

impl Held {
    pub fn covers(&self, partition_id: &str) -> bool {
        self.0.iter().any(|hold| hold.covers(partition_id))
    }

    pub fn names(&self) -> String {
        self.0.iter().map(|hold| format!("`{}`", hold.id)).collect::<Vec<_>>().join(", ")
    }
}

impl Lifecycles {
    /// Every hold that is in force, on whichever endpoint it was put: tables of one name are taken for replicas of one
    /// table. Changes nothing.
    ///
    /// # Errors
    /// An endpoint that does not answer, since it may have holds, and see [`Error`].
    pub async fn holds(&self) -> Result<Vec<Hold>, Error> {
        let sql = format!(
            "SELECT id, argMax(database, at), argMax(table, at), argMax(partitions, at), argMax(reason, at), \
             argMax(until, at) AS u, argMax(actor, at), toString(max(at)), argMax(released, at) = 1 OR \
             (u != '' AND parseDateTimeBestEffortOrZero(u, 'UTC') <= now()) FROM {} GROUP BY id",
            self.holds_table().sql()
        );
        let one = |row: &Row| Hold {
            id: row.text(0),
            database: row.text(1),
            table: row.text(2),
            partitions: row.texts(3),
            reason: row.text(4),
            until: row.text(5),
            actor: row.text(6),
            since: row.text(7),
        };
        let rows = self.desk.rows_everywhere(&sql).await?;
        Ok(latest(rows.iter().map(|row| (one(row), row.flag(8)))))
    }

    /// What is held of the table.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn held(&self, table: &TableName) -> Result<Held, Error> {
        let mut holds = self.holds().await?;
        holds.retain(|hold| hold.is_on(table));
        Ok(Held(holds))
    }

    pub(super) fn holds_table(&self) -> TableName {
        self.desk.table(None, &self.config.holds_table)
    }

    /// Makes the table if it is missing, and adds a row.
    pub(super) async fn write_hold(&self, hold: &Hold, released: bool) -> Result<(), Error> {
        let table = self.holds_table().sql();
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {table} (at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC'), id String, \
             database String, table String, partitions Array(String), reason String, until String, released UInt8, \
             actor String) ENGINE = {} ORDER BY (id, at) COMMENT 'legal holds, put and let go by penstock'",
            self.desk.keeping.engine()
        );
        self.desk.keeping.create(&self.desk.client, &create).await?;
        let row = [
            ("id", "String", json!(hold.id)),
            ("database", "String", json!(hold.database)),
            ("table", "String", json!(hold.table)),
            ("partitions", "Array(String)", json!(hold.partitions)),
            ("reason", "String", json!(hold.reason)),
            ("until", "String", json!(hold.until)),
            ("released", "UInt8", json!(u8::from(released))),
            ("actor", "String", json!(hold.actor)),
        ];
        // A row that is there twice says the same.
        Ok(rows::append(&self.desk.client, &table, &row).await?)
    }
}

/// Of each hold what was written last, on whichever server; without those that are over.
fn latest(all: impl Iterator<Item = (Hold, bool)>) -> Vec<Hold> {
    let mut by_id: BTreeMap<String, (Hold, bool)> = BTreeMap::new();
    for (hold, is_over) in all {
        let is_newer = by_id.get(&hold.id).is_none_or(|(other, _)| other.since <= hold.since);
        if is_newer {
            by_id.insert(hold.id.clone(), (hold, is_over));
        }
    }
    let mut holds: Vec<Hold> =
        by_id.into_values().filter(|(_, is_over)| !is_over).map(|(hold, _)| hold).collect();
    holds.sort_by(|one, other| (&one.since, &one.id).cmp(&(&other.since, &other.id)));
    holds
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A hold `case` on the table `d.t`.
    pub fn hold(partitions: &[&str]) -> Hold {
        Hold {
            id: "case".to_owned(),
            database: "d".to_owned(),
            table: "t".to_owned(),
            partitions: partitions.iter().map(|one| (*one).to_owned()).collect(),
            reason: String::new(),
            until: String::new(),
            actor: String::new(),
            since: String::new(),
        }
    }

    #[test]
    fn what_was_written_last_counts_wherever_it_was() {
        let at = |id: &str, since: &str| Hold { id: id.to_owned(), since: since.to_owned(), ..hold(&[]) };
        let put = [(at("b", "2026-01-02"), false), (at("a", "2026-01-01"), false)];
        let ids = |all: &[(Hold, bool)]| -> Vec<String> {
            latest(all.iter().cloned()).into_iter().map(|hold| hold.id).collect()
        };
        assert_eq!(ids(&put), ["a", "b"]);
        let released = [put.to_vec(), vec![(at("a", "2026-01-03"), true)]].concat();
        assert_eq!(ids(&released), ["b"]);
        let before = [vec![(at("b", "2026-01-01"), true)], put.to_vec()].concat();
        assert_eq!(ids(&before), ["a", "b"], "put again after it was let go");
    }

    #[test]
    fn a_hold_covers_what_it_names() {
        assert!(hold(&[]).covers("20260901"));
        assert!(hold(&["202609*", "x"]).covers("20260901") && !hold(&["202609*", "x"]).covers("20261001"));
        let table = |name: &str| TableName { database: "d".to_owned(), name: name.to_owned() };
        assert!(hold(&[]).is_on(&table("t")) && !hold(&[]).is_on(&table("u")));
        let held = Held(vec![hold(&["a"]), hold(&["b"])]);
        assert!(held.covers("b") && !held.covers("c") && !Held::default().covers("a"));
    }
}
