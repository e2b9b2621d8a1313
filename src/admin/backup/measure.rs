//! Which tables there are, and what rows they have: counted and hashed by partition.
//!
//! Refuses to compare what moves. Where a table keeps the place of each row, only rows below the cut are counted, which
//! never change; of others it is told when they changed while the backup was made. Engines that merge rows away are read
//! as merged.

use serde_json::json;

use super::Backups;
use super::destination::below;
use super::error::Error;
use super::manifest::{Manifest, PartitionState, PlaceColumns, TableState};
use crate::admin::desk::{Row, TableName};
use crate::schema::Table;
use crate::schema::model::{Meta, Source};

/// How an engine's rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Rows stay as they were written.
    Plain,
    /// Rows are merged into fewer.
    Merging,
    /// Rows without parts.
    Log,
    /// No rows of its own.
    View,
    /// Not backed up with a whole database: gone with a restart, or somewhere else anyway.
    Other,
}

impl Family {
    pub fn of(engine: &str) -> Family {
        let bare = engine.strip_prefix("Replicated").or(engine.strip_prefix("Shared")).unwrap_or(engine);
        match bare {
            "MergeTree" => Family::Plain,
            other if other.ends_with("MergeTree") => Family::Merging,
            "Log" | "TinyLog" | "StripeLog" => Family::Log,
            "View" | "MaterializedView" | "Dictionary" => Family::View,
            _ => Family::Other,
        }
    }

    pub fn has_rows(self) -> bool {
        matches!(self, Family::Plain | Family::Merging | Family::Log)
    }
}

impl Backups {
    /// The tables that are meant: those named, or all of the database that have something to keep.
    pub(super) async fn tables(&self, database: &str, names: &[String]) -> Result<Vec<TableState>, Error> {
        let sql = "SELECT name, engine FROM system.tables WHERE database = {database:String} AND NOT is_temporary \
                   AND NOT startsWith(name, '.') AND (empty({names:Array(String)}) OR has({names:Array(String)}, name)) ORDER BY name";
        let params = [("database", json!(database)), ("names", json!(names))];
        let one = |row: &Row| TableState { name: row.text(0), engine: row.text(1), ..TableState::default() };
        let mut all: Vec<TableState> = self.desk.rows(sql, &params).await?.iter().map(one).collect();
        if let Some(missing) = names.iter().find(|name| all.iter().all(|one| one.name != **name)) {
            return Err(Error::Nothing(format!("{database} has no table {missing}")));
        }
        all.retain(|one| !names.is_empty() || Family::of(&one.engine) != Family::Other);
        if all.is_empty() {
            return Err(Error::Nothing(format!("{database} has no table with anything to keep")));
        }
        Ok(all)
    }

    /// Where the table keeps the place of its rows, if it does and they stay as they are.
    pub(super) fn place(&self, database: &str, table: &TableState) -> Option<PlaceColumns> {
        let files = self.tables.iter().map(AsRef::as_ref);
        let own = |file: &&Table| {
            file.name == table.name && self.desk.table(file.database.as_deref(), "").database == database
        };
        let file = files.into_iter().find(own).filter(|_| Family::of(&table.engine) == Family::Plain)?;
        let column = |meta| {
            let found = file.columns.iter().find(|column| column.source == Source::Meta(meta));
            found.map(|column| column.name.clone())
        };
        let place = PlaceColumns {
            topic: column(Meta::Topic),
            partition: column(Meta::Partition)?,
            offset: column(Meta::Offset)?,
        };
        let is_one_topic = file.topics.len() == 1 && !file.topics.iter().any(|topic| topic.starts_with('^'));
        (place.topic.is_some() || is_one_topic).then_some(place)
    }

    /// The rows of each partition of one table, as the manifest counts them.
    pub(super) async fn measure(
        &self,
        table: &TableState,
        at: &TableName,
        manifest: &Manifest,
    ) -> Result<Vec<PartitionState>, Error> {
        let family = Family::of(&table.engine);
        if !family.has_rows() {
            return Ok(Vec::new());
        }
        let digest =
            if self.config.digests { "sum(cityHash64(formatRow('RowBinary', *)))" } else { "toUInt64(0)" };
        let (id, only) = match family {
            Family::Log => ("'all'", "1"),
            _ => ("_partition_id", "(empty({ids:Array(String)}) OR has({ids:Array(String)}, _partition_id))"),
        };
        let last = if family == Family::Merging { " FINAL" } else { "" };
        let condition = below(table.place.as_ref(), &table.name, &manifest.cut);
        let sql = format!(
            "SELECT {id} AS id, toUInt64(count()), toUInt64({digest}) FROM {}{last} WHERE {only} AND ({condition}) GROUP BY id ORDER BY id",
            at.sql()
        );
        let rows = self.desk.rows(&sql, &[("ids", json!(manifest.partitions))]).await?;
        let one = |row: &Row| PartitionState {
            id: row.text(0),
            rows: row.number(1),
            digest: row.number(2),
            rows_after: None,
        };
        Ok(rows.iter().map(one).collect())
    }

    /// The same before and after a backup as one: what moved meanwhile is told by both numbers.
    pub(super) async fn measure_again(&self, manifest: &mut Manifest) -> Result<(), Error> {
        let mut tables = std::mem::take(&mut manifest.tables);
        for table in &mut tables {
            let after = self.measure(table, &manifest.name_of(&table.name), manifest).await?;
            join(&mut table.partitions, after);
        }
        manifest.tables = tables;
        Ok(())
    }
}

fn join(before: &mut Vec<PartitionState>, after: Vec<PartitionState>) {
    for one in before.iter_mut() {
        let same = after.iter().find(|other| other.id == one.id);
        let rows = same.map_or(0, |other| other.rows);
        let moved = same.is_none_or(|other| (other.rows, other.digest) != (one.rows, one.digest));
        one.rows_after = moved.then_some(rows);
    }
    for other in after {
        if before.iter().all(|one| one.id != other.id) {
            before.push(PartitionState { rows: 0, digest: 0, rows_after: Some(other.rows), id: other.id });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_is_told_by_both_numbers() {
        let state =
            |id: &str, rows, digest| PartitionState { id: id.to_owned(), rows, digest, rows_after: None };
        let mut before = vec![state("a", 1, 1), state("b", 2, 2), state("c", 3, 3), state("d", 4, 4)];
        join(&mut before, vec![state("a", 1, 1), state("b", 5, 9), state("c", 3, 4), state("e", 6, 6)]);
        let after: Vec<_> = before.iter().map(|one| (one.rows, one.rows_after)).collect();
        assert_eq!(after, [(1, None), (2, Some(5)), (3, Some(3)), (4, Some(0)), (0, Some(6))]);
    }

    #[test]
    fn engines_have_their_families() {
        for (engine, family) in [
            ("MergeTree", Family::Plain),
            ("ReplicatedMergeTree", Family::Plain),
            ("ReplicatedReplacingMergeTree", Family::Merging),
            ("SummingMergeTree", Family::Merging),
            ("TinyLog", Family::Log),
            ("MaterializedView", Family::View),
            ("Kafka", Family::Other),
            ("Memory", Family::Other),
        ] {
            assert_eq!(Family::of(engine), family, "{engine}");
        }
    }
}
