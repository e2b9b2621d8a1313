//! How large databases, tables and partitions are, and on which disks.
//!
//! Refuses to count what has no parts: only tables of the MergeTree family keep their sizes in `system.parts`.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::{Care, Error};
use crate::admin::desk::Row;

/// What sizes are wanted of.
#[derive(Clone, Debug, Default)]
pub struct SizesOf {
    /// All but the server's own without one.
    pub database: Option<String>,
    /// All without any.
    pub tables: Vec<String>,
    pub partitions: bool,
    pub sort: Sort,
}

/// Largest first, but for names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    #[default]
    Bytes,
    Rows,
    Parts,
    /// Worst compressed first.
    Ratio,
    Name,
}

/// One database, table or partition.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Size {
    pub database: String,
    pub table: String,
    pub partition_id: String,
    pub partition: String,
    pub rows: u64,
    pub parts: u64,
    pub bytes_on_disk: u64,
    pub compressed_bytes: u64,
    pub uncompressed_bytes: u64,
    /// Uncompressed by compressed; 0 where nothing is stored.
    pub ratio: f64,
    pub disks: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Disk {
    pub name: String,
    pub free_bytes: u64,
    pub total_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Sizes {
    pub databases: Vec<Size>,
    pub tables: Vec<Size>,
    /// Only if they were asked for.
    pub partitions: Vec<Size>,
    pub disks: Vec<Disk>,
}

impl Care {
    /// Reads sizes; changes nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn sizes(&self, of: &SizesOf) -> Result<Sizes, Error> {
        let databases = self.level(of, "'' AS t, '' AS p, '' AS q").await?;
        let tables = self.level(of, "table AS t, '' AS p, '' AS q").await?;
        let partitions = match of.partitions {
            true => self.level(of, "table AS t, partition_id AS p, partition AS q").await?,
            false => Vec::new(),
        };
        let disk =
            |row: &Row| Disk { name: row.text(0), free_bytes: row.number(1), total_bytes: row.number(2) };
        let disks = self
            .desk
            .rows("SELECT name, free_space, total_space FROM system.disks ORDER BY name", &[])
            .await?;
        Ok(Sizes { databases, tables, partitions, disks: disks.iter().map(disk).collect() })
    }

    async fn level(&self, of: &SizesOf, keys: &str) -> Result<Vec<Size>, Error> {
        let sql = format!(
            "SELECT database, {keys}, sum(rows), count(), sum(bytes_on_disk), sum(data_compressed_bytes), \
             sum(data_uncompressed_bytes), arraySort(groupUniqArray(disk_name)) FROM system.parts WHERE active \
             AND if({{database:String}} = '', database NOT IN ('system', 'INFORMATION_SCHEMA', 'information_schema'), \
             database = {{database:String}}) AND (empty({{tables:Array(String)}}) OR table IN {{tables:Array(String)}}) \
             GROUP BY database, t, p, q"
        );
        let database = of.database.as_deref().unwrap_or_default();
        let params = [("database", json!(database)), ("tables", json!(of.tables))];
        let mut all: Vec<Size> = self.desk.rows(&sql, &params).await?.iter().map(size).collect();
        all.sort_by(|one, other| order(one, other, of.sort));
        Ok(all)
    }
}

fn size(row: &Row) -> Size {
    let (compressed_bytes, uncompressed_bytes) = (row.number(7), row.number(8));
    Size {
        database: row.text(0),
        table: row.text(1),
        partition_id: row.text(2),
        partition: row.text(3),
        rows: row.number(4),
        parts: row.number(5),
        bytes_on_disk: row.number(6),
        compressed_bytes,
        uncompressed_bytes,
        ratio: ratio(uncompressed_bytes, compressed_bytes),
        disks: row.texts(9),
    }
}

/// How many times smaller the compressed bytes are; 0 where there are none.
pub(super) fn ratio(uncompressed: u64, compressed: u64) -> f64 {
    if compressed == 0 { 0.0 } else { uncompressed as f64 / compressed as f64 }
}

fn order(one: &Size, other: &Size, sort: Sort) -> std::cmp::Ordering {
    let name = |size: &Size| (size.database.clone(), size.table.clone(), size.partition.clone());
    let first = match sort {
        Sort::Bytes => other.bytes_on_disk.cmp(&one.bytes_on_disk),
        Sort::Rows => other.rows.cmp(&one.rows),
        Sort::Parts => other.parts.cmp(&one.parts),
        Sort::Ratio => one.ratio.total_cmp(&other.ratio),
        Sort::Name => std::cmp::Ordering::Equal,
    };
    first.then_with(|| name(one).cmp(&name(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, bytes: u64, rows: u64, parts: u64) -> Size {
        Size {
            database: "d".to_owned(),
            table: name.to_owned(),
            partition_id: String::new(),
            partition: String::new(),
            rows,
            parts,
            bytes_on_disk: bytes,
            compressed_bytes: bytes,
            uncompressed_bytes: rows,
            ratio: ratio(rows, bytes),
            disks: Vec::new(),
        }
    }

    #[test]
    fn each_order_puts_first_what_is_looked_for() {
        let all = [named("a", 1, 5, 2), named("b", 9, 9, 1), named("c", 9, 1, 3)];
        for (sort, expected) in [
            (Sort::Bytes, "bca"),
            (Sort::Rows, "bac"),
            (Sort::Parts, "cab"),
            (Sort::Ratio, "cba"),
            (Sort::Name, "abc"),
        ] {
            let mut sorted = all.to_vec();
            sorted.sort_by(|one, other| order(one, other, sort));
            let names: String = sorted.iter().map(|one| one.table.as_str()).collect();
            assert_eq!(names, expected, "{sort:?}");
        }
        assert_eq!((ratio(10, 4), ratio(10, 0)), (2.5, 0.0));
    }
}
