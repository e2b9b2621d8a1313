//! The active parts of one table, by partition.
//!
//! Refuses to know why somebody asks.

use std::collections::BTreeMap;

use super::Error;
use crate::admin::desk::{self, Desk, TableName};

/// One partition, or all of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Parts {
    pub parts: u64,
    pub rows: u64,
    pub bytes: u64,
}

/// By partition id.
pub type Partitions = BTreeMap<String, Parts>;

pub async fn partitions(desk: &Desk, table: &TableName) -> Result<Partitions, Error> {
    let engine = desk
        .rows(
            "SELECT engine FROM system.tables WHERE database = {database:String} AND name = {table:String}",
            &table.params(),
        )
        .await?;
    let engine = engine.first().ok_or_else(|| desk::Error::NoTable(table.clone()))?.text(0);
    if !engine.ends_with("MergeTree") {
        return Err(Error::NoParts { table: table.clone(), engine });
    }
    let sql = "SELECT partition_id, count(), sum(rows), sum(bytes_on_disk) FROM system.parts \
               WHERE active AND database = {database:String} AND table = {table:String} GROUP BY partition_id";
    let rows = desk.rows(sql, &table.params()).await?;
    let one = |row: &desk::Row| {
        (row.text(0), Parts { parts: row.number(1), rows: row.number(2), bytes: row.number(3) })
    };
    Ok(rows.iter().map(one).collect())
}

/// Everything together, or the one partition.
pub fn sum(partitions: &Partitions, only: Option<&str>) -> Parts {
    let chosen = partitions.iter().filter(|(id, _)| only.is_none_or(|only| only == *id));
    chosen.fold(Parts::default(), |sum, (_, one)| Parts {
        parts: sum.parts + one.parts,
        rows: sum.rows + one.rows,
        bytes: sum.bytes + one.bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_add_up() {
        let parts = |n| Parts { parts: n, rows: 10 * n, bytes: 100 * n };
        let all = Partitions::from([("a".to_owned(), parts(1)), ("b".to_owned(), parts(2))]);
        assert_eq!(
            (sum(&all, None), sum(&all, Some("b")), sum(&all, Some("c"))),
            (parts(3), parts(2), parts(0))
        );
    }
}
