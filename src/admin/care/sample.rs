//! Writes a sample of one column with every candidate and reads what each took.
//!
//! Refuses to leave anything behind: the scratch table is dropped whatever happens, and what a killed process left is
//! swept by the next one. Rows are taken in the order of one part, because codecs live on order.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::compression::{ColumnReport, Survey};
use super::{Care, Error};
use crate::admin::desk::TableName;
use crate::clickhouse::quote_identifier;

/// Beginning of the names of scratch tables.
const PREFIX: &str = "penstock_codec_";
/// A part can be merged away between being found and being read.
const TRIES_MAX: u32 = 3;

/// What one codec took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Measured {
    /// Empty stands for the server's default.
    pub codec: String,
    pub bytes: u64,
}

/// One column that is to be measured.
pub(super) struct Sample<'a> {
    pub table: &'a TableName,
    pub column: &'a ColumnReport,
    /// Of the whole table.
    pub rows: u64,
    /// Of all columns, before compression.
    pub row_bytes: u64,
    pub survey: &'a Survey,
    pub candidates: &'a [String],
}

impl Sample<'_> {
    /// As many rows as were asked for, fewer where they are long.
    fn limit(&self) -> u64 {
        let row_bytes = match self.column.uncompressed_bytes {
            // Compact parts do not say it by column, and all columns together are surely more.
            0 => self.row_bytes,
            bytes => bytes / self.rows.max(1),
        };
        let row_bytes = row_bytes.max(1);
        self.survey.sample_rows.min(self.survey.sample_bytes / row_bytes).max(1)
    }

    /// The clauses CODEC, the table's own first.
    fn codecs(&self) -> Vec<String> {
        let candidates = self.candidates.iter().map(|codec| format!("CODEC({codec})"));
        std::iter::once(self.column.codec.clone()).chain(candidates).collect()
    }
}

impl Care {
    pub(super) async fn measure(&self, sample: &Sample<'_>) -> Result<Vec<Measured>, Error> {
        self.sweep(sample.table).await?;
        let token = uuid::Uuid::new_v4().simple().to_string();
        let scratch = TableName { name: format!("{PREFIX}{token}"), ..sample.table.clone() };
        let measured = self.write(sample, &scratch).await;
        let drop = format!("DROP TABLE IF EXISTS {} SYNC", scratch.sql());
        let dropped = self.desk.client.execute_idempotent(&drop, &[]).await;
        let measured = measured?;
        dropped?;
        Ok(measured)
    }

    async fn write(&self, sample: &Sample<'_>, scratch: &TableName) -> Result<Vec<Measured>, Error> {
        let codecs = sample.codecs();
        let ty = &sample.column.data_type;
        let columns: Vec<String> =
            codecs.iter().enumerate().map(|(index, codec)| format!("c{index} {ty} {codec}")).collect();
        let create = format!(
            "CREATE TABLE {} ({}) ENGINE = MergeTree ORDER BY tuple() SETTINGS min_bytes_for_wide_part = 0, \
             min_rows_for_wide_part = 0 COMMENT 'made by penstock to measure codecs, and dropped again'",
            scratch.sql(),
            columns.join(", ")
        );
        self.desk.client.execute(&create, &[]).await?;
        let column = quote_identifier(&sample.column.name);
        let copies = vec![column.as_str(); codecs.len()].join(", ");
        let fill = format!(
            "INSERT INTO {} SELECT {copies} FROM {} WHERE _part = {{part:String}} LIMIT {} SETTINGS max_threads = 1, \
             max_insert_threads = 1",
            scratch.sql(),
            sample.table.sql(),
            sample.limit()
        );
        for _ in 0..TRIES_MAX {
            let part = self.largest_part(sample.table).await?;
            self.desk.client.execute(&fill, &[("part", json!(part))]).await?;
            let measured = self.read(&codecs, scratch).await?;
            if !measured.is_empty() {
                return Ok(measured);
            }
        }
        Err(Error::NoSample)
    }

    async fn largest_part(&self, table: &TableName) -> Result<String, Error> {
        let sql = "SELECT name FROM system.parts WHERE active AND database = {database:String} \
                   AND table = {table:String} ORDER BY rows DESC, name LIMIT 1";
        Ok(self.desk.row(sql, &table.params()).await?.text(0))
    }

    /// Empty if there is no row.
    async fn read(&self, codecs: &[String], scratch: &TableName) -> Result<Vec<Measured>, Error> {
        let sql = "SELECT column, sum(column_data_compressed_bytes) FROM system.parts_columns WHERE active \
                   AND database = {database:String} AND table = {table:String} GROUP BY column";
        let rows = self.desk.rows(sql, &scratch.params()).await?;
        let bytes = |index: usize| {
            rows.iter().find(|row| row.text(0) == format!("c{index}")).map(|row| row.number(1))
        };
        let one = |(index, codec): (usize, &String)| {
            let inner = codec.strip_prefix("CODEC(").and_then(|rest| rest.strip_suffix(')'));
            Some(Measured { codec: inner.unwrap_or_default().to_owned(), bytes: bytes(index)? })
        };
        Ok(codecs.iter().enumerate().filter_map(one).collect())
    }

    /// Removes scratch tables that are older than any measuring takes.
    async fn sweep(&self, table: &TableName) -> Result<(), Error> {
        let sql = "SELECT name FROM system.tables WHERE database = {database:String} \
                   AND startsWith(name, {prefix:String}) AND metadata_modification_time < now() - INTERVAL 1 HOUR";
        let params = [("database", json!(table.database)), ("prefix", json!(PREFIX))];
        for row in self.desk.rows(sql, &params).await? {
            let old = TableName { name: row.text(0), ..table.clone() };
            let drop = format!("DROP TABLE IF EXISTS {} SYNC", old.sql());
            self.desk.client.execute_idempotent(&drop, &[]).await?;
        }
        Ok(())
    }
}
