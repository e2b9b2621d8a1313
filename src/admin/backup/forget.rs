//! Subjects that were erased after a backup was made do not come back with it.
//!
//! Refuses to know values: the record of erasures has digests, and the server is asked which restored rows have one of
//! them. Who was erased before the backup was begun and is in it all the same has come back since, and stays. Values are compared as the server prints them, so one that was asked for in another spelling is not found.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::Backups;
use super::error::Error;
use super::restore::Restored;
use crate::admin::desk;
use crate::admin::migrate::journal::is_missing;
use crate::clickhouse::{quote_identifier, quote_string};
use crate::schema::Table;

impl Backups {
    /// Deletes the restored rows of subjects that were erased after this moment; gives how many.
    pub(super) async fn forget(&self, restored: &Restored, since: DateTime<Utc>) -> Result<u64, Error> {
        let mut rows = 0;
        for one in &restored.tables {
            let own = |file: &&Table| {
                file.name == one.table.name
                    && self.desk.table(file.database.as_deref(), &file.name) == one.table
            };
            let Some(file) = self.tables.iter().map(AsRef::as_ref).find(own) else { continue };
            for column in &file.subject_columns {
                let condition = format!(
                    "lower(hex(SHA256(concat({}, '\\0', toString({}))))) IN (SELECT toString(digest) FROM {} WHERE column = {{column:String}} GROUP BY digest \
                     HAVING argMax(stage, at) = 'received' OR toUnixTimestamp64Milli(maxIf(at, stage = 'deleted')) > {{since_ms:Int64}})",
                    quote_string(column),
                    quote_identifier(column),
                    self.desk.table(None, &self.erasures).sql()
                );
                let params = [("column", json!(column)), ("since_ms", json!(since.timestamp_millis()))];
                let count = format!("SELECT toUInt64(count()) FROM {} WHERE {condition}", one.target.sql());
                let found = match self.desk.row(&count, &params).await {
                    Ok(row) => row.number(0),
                    // Nobody was erased yet.
                    Err(desk::Error::ClickHouse(error)) if is_missing(&error) => 0,
                    Err(error) => return Err(error.into()),
                };
                if found > 0 {
                    let sql = format!("ALTER TABLE {} DELETE WHERE {condition}", one.target.sql());
                    let statement = (sql.as_str(), params.as_slice());
                    self.desk.run_with(&one.target, statement, &[], self.config.timeout.0).await?;
                    rows += found;
                }
            }
        }
        Ok(rows)
    }
}
