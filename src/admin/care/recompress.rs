//! Writes partitions again, so that their old parts get the codecs that their columns have now.
//!
//! Refuses partitions that are not there and what finds no room. Codecs are set first, which is metadata only.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::parts::{self, Partitions, Parts};
use super::{Care, Error};
use crate::admin::command::Permission;
use crate::admin::desk::TableName;
use crate::clickhouse::{quote_identifier, quote_string};
use crate::schema::codec::Codec;

/// What is to be written again.
#[derive(Clone, Debug)]
pub struct Recompress {
    pub database: Option<String>,
    pub table: String,
    /// Ids; all without any.
    pub partitions: Vec<String>,
    /// Columns that get a codec before.
    pub codecs: Vec<(String, Codec)>,
    pub dry_run: bool,
    pub skip_disk_check: bool,
    pub timeout: Duration,
}

/// What was done, or would be.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Recompressions {
    /// Those that set codecs, before all.
    pub statements: Vec<String>,
    pub partitions: Vec<Recompressed>,
}

/// One partition, written again or only planned.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Recompressed {
    pub partition_id: String,
    pub sql: String,
    pub before: Parts,
    /// None of a dry run.
    pub after: Option<Parts>,
}

impl Care {
    /// Sets the codecs, then writes each partition again, in the order of their ids.
    ///
    /// # Errors
    /// See [`Error`]; what was done before it stays done.
    pub async fn recompress(&self, options: &Recompress) -> Result<Recompressions, Error> {
        let table = self.desk.table(options.database.as_deref(), &options.table);
        let partitions = parts::partitions(&self.desk, &table).await?;
        if let Some(id) = options.partitions.iter().find(|id| !partitions.contains_key(*id)) {
            return Err(Error::NoPartition { table, id: id.clone() });
        }
        let statements: Vec<String> = options
            .codecs
            .iter()
            .map(|(column, codec)| set_codec(&table, column, &codec.to_string()))
            .collect();
        let planned = planned(&table, options, &partitions);
        if !options.skip_disk_check {
            let largest = planned.iter().map(|one| one.before.bytes).max().unwrap_or_default();
            self.desk.check_disk(&table, largest).await?;
        }
        if options.dry_run {
            return Ok(Recompressions { statements, partitions: planned });
        }
        let details = json!({ "codecs": statements, "partitions": planned.iter().map(|one| &one.partition_id).collect::<Vec<_>>() });
        let work = self.rewrite(options, &table, &statements, planned);
        let partitions = self
            .desk
            .audited("table.recompress", Permission::TableCare, (&table, details), Box::pin(work))
            .await?;
        Ok(Recompressions { statements, partitions })
    }

    async fn rewrite(
        &self,
        options: &Recompress,
        table: &TableName,
        alters: &[String],
        planned: Vec<Recompressed>,
    ) -> Result<Vec<Recompressed>, Error> {
        for sql in alters {
            self.desk.run(table, sql, &[], options.timeout).await?;
        }
        let mut written = Vec::new();
        for one in planned {
            // A partition of one part is what there is to write again.
            let settings = [("optimize_skip_merged_partitions", "0"), ("optimize_throw_if_noop", "1")];
            self.desk.run(table, &one.sql, &settings, options.timeout).await?;
            let after = parts::partitions(&self.desk, table).await?;
            written.push(Recompressed { after: Some(parts::sum(&after, Some(&one.partition_id))), ..one });
        }
        Ok(written)
    }
}

/// The statement that gives new parts another codec.
pub(super) fn set_codec(table: &TableName, column: &str, codec: &str) -> String {
    format!("ALTER TABLE {} MODIFY COLUMN {} CODEC({codec})", table.sql(), quote_identifier(column))
}

fn planned(table: &TableName, options: &Recompress, partitions: &Partitions) -> Vec<Recompressed> {
    let chosen = |id: &String| options.partitions.is_empty() || options.partitions.contains(id);
    let one = |(id, parts): (&String, &Parts)| Recompressed {
        partition_id: id.clone(),
        sql: format!("OPTIMIZE TABLE {} PARTITION ID {} FINAL", table.sql(), quote_string(id)),
        before: *parts,
        after: None,
    };
    partitions.iter().filter(|(id, _)| chosen(id)).map(one).collect()
}
