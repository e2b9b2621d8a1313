//! What is written down of a backup: what a restore needs, and what it is compared with.
//!
//! Refuses to depend on the catalogue: the same text stands beside the backup, so that the catalogue can be made from it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::Destination;
use crate::admin::desk::TableName;

/// A backup in words that outlive the server it was made on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// Empty for one that was made by hand.
    pub policy: String,
    pub database: String,
    /// Ids of partitions; all without any.
    pub partitions: Vec<String>,
    /// Id of the backup that it adds to.
    pub base: Option<String>,
    pub destination: Destination,
    pub tables: Vec<TableState>,
    /// Offsets of the topics that fill the tables, committed before the backup was begun: the rows of everything below
    /// them are in it.
    pub cut: Vec<Cut>,
    /// Version of the server.
    pub server: String,
    /// Version of penstock.
    pub app: String,
    /// Bytes of everything in it, and of what it added to its base.
    pub bytes: u64,
    pub new_bytes: u64,
    pub files: u64,
    pub seconds: f64,
    /// SHA-256 of the server's own list of files; empty where that cannot be reached.
    pub list_sha256: String,
    pub actor: String,
}

/// A table in a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableState {
    pub name: String,
    pub engine: String,
    /// Where its rows keep their place. With it only rows below the cut were counted; all without it.
    pub place: Option<PlaceColumns>,
    pub partitions: Vec<PartitionState>,
}

/// Columns that hold where a row came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlaceColumns {
    pub topic: Option<String>,
    pub partition: String,
    pub offset: String,
}

/// The rows of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartitionState {
    pub id: String,
    pub rows: u64,
    /// Sum of a hash of each row; 0 where digests are off.
    pub digest: u64,
    /// Rows after the backup, where they were others than before: how many are in it lies between the two.
    pub rows_after: Option<u64>,
}

/// How far a group was with one partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cut {
    pub table: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl Manifest {
    /// Whether both are of the same tables.
    pub fn has_the_tables_of(&self, other: &Manifest) -> bool {
        let names = |of: &Manifest| {
            let mut names: Vec<String> = of.tables.iter().map(|table| table.name.clone()).collect();
            names.sort();
            names
        };
        names(self) == names(other)
    }

    pub fn name_of(&self, table: &str) -> TableName {
        TableName { database: self.database.clone(), name: table.to_owned() }
    }

    pub fn rows(&self) -> u64 {
        self.tables.iter().flat_map(|table| &table.partitions).map(|one| one.rows).sum()
    }
}

impl TableState {
    /// What of the rows that are found differs from what was counted.
    pub fn differences(&self, found: &[PartitionState]) -> Vec<String> {
        let mut wrong = Vec::new();
        let none = PartitionState::default();
        for one in &self.partitions {
            let other = found.iter().find(|other| other.id == one.id).unwrap_or(&none);
            let what = match one.rows_after {
                None if other.rows != one.rows => format!("{} rows instead of {}", other.rows, one.rows),
                None if one.digest != 0 && other.digest != one.digest => "other rows".to_owned(),
                Some(after) if !(one.rows.min(after)..=one.rows.max(after)).contains(&other.rows) => {
                    format!("{} rows instead of {} to {after}", other.rows, one.rows)
                }
                _ => continue,
            };
            wrong.push(format!("table {}, partition {}: {what}", self.name, one.id));
        }
        for other in found.iter().filter(|other| self.partitions.iter().all(|one| one.id != other.id)) {
            // One that came while the backup was made may be in it.
            if self.partitions.iter().all(|one| one.rows_after.is_none()) && self.place.is_none() {
                wrong.push(format!(
                    "table {}, partition {}: {} rows instead of none",
                    self.name, other.id, other.rows
                ));
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(id: &str, rows: u64, digest: u64, rows_after: Option<u64>) -> PartitionState {
        PartitionState { id: id.to_owned(), rows, digest, rows_after }
    }

    #[test]
    fn other_rows_are_told_and_those_that_moved_are_bounded() {
        let table = |partitions| TableState { name: "t".to_owned(), partitions, ..TableState::default() };
        let one = table(vec![state("a", 5, 77, None), state("b", 1, 7, None)]);
        assert!(one.differences(&one.partitions).is_empty());
        let other = one.differences(&[state("a", 5, 78, None), state("c", 1, 1, None)]);
        assert_eq!(other.len(), 3, "{other:?}");
        assert!(other[0].contains("other rows") && other[1].contains("0 rows instead of 1"), "{other:?}");
        let moved = table(vec![state("a", 5, 77, Some(9))]);
        assert!(moved.differences(&[state("a", 7, 1, None), state("new", 1, 1, None)]).is_empty());
        assert_eq!(moved.differences(&[state("a", 10, 77, None)]).len(), 1);
        assert_eq!(moved.differences(&[]).len(), 1);
        let uncounted = table(vec![state("a", 5, 0, None)]);
        assert!(uncounted.differences(&[state("a", 5, 9, None)]).is_empty());
    }
}
