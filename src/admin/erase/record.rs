//! The record of erasures: what was asked for and how far it came, without the value itself.
//!
//! Refuses to be anonymous: a digest lets who knows a value find its record, and so lets anybody try all values of a
//! small range. It is what a later reading of old records can be compared with.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::{Erased, Eraser, Error, Request};
use crate::admin::desk::{self, Row};
use crate::admin::migrate::journal::is_missing;
use crate::admin::rows;

/// How far an erasure is. Each is a row of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Received,
    /// Every statement has ended.
    Deleted,
    /// No row was found afterwards.
    Verified,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Stage::Received => "received",
            Stage::Deleted => "deleted",
            Stage::Verified => "verified",
        }
    }
}

/// The latest erasures, newest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Records {
    pub erasures: Vec<Record>,
}

/// One erasure, as far as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Record {
    pub id: String,
    /// `received`, `deleted` or `verified`.
    pub stage: String,
    /// When it came to that stage, in UTC.
    pub at: String,
    pub column: String,
    pub digests: Vec<String>,
    pub tables: Vec<String>,
    pub rows: u64,
    pub reason: String,
    pub actor: String,
}

impl Eraser {
    pub(super) async fn create_records(&self) -> Result<(), Error> {
        let desk = self.lifecycles.desk();
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC'), id UUID, \
             stage LowCardinality(String), column String, digest FixedString(64), tables Array(String), rows UInt64, \
             reason String, actor String) ENGINE = {} ORDER BY (column, digest, at) \
             COMMENT 'subjects that penstock erased, by digest'",
            self.records.sql(),
            desk.keeping.engine()
        );
        Ok(desk.keeping.create(&desk.client, &sql).await.map_err(desk::Error::from)?)
    }

    /// The latest records, newest first. Changes nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn records(&self, count_max: usize) -> Result<Records, Error> {
        let sql = format!(
            "SELECT toString(id), argMax(stage, at), toString(max(at)) AS latest, any(column), arraySort(groupUniqArray(toString(digest))), \
             any(tables), any(rows), any(reason), any(actor) FROM {} GROUP BY id ORDER BY latest DESC, id \
             LIMIT {{count:UInt64}}",
            self.records.sql()
        );
        let one = |row: &Row| Record {
            id: row.text(0),
            stage: row.text(1),
            at: row.text(2),
            column: row.text(3),
            digests: row.texts(4),
            tables: row.texts(5),
            rows: row.number(6),
            reason: row.text(7),
            actor: row.text(8),
        };
        match self.lifecycles.desk().rows(&sql, &[("count", json!(count_max))]).await {
            Ok(rows) => Ok(Records { erasures: rows.iter().map(one).collect() }),
            // Nobody was erased yet.
            Err(desk::Error::ClickHouse(error)) if is_missing(&error) => Ok(Records { erasures: Vec::new() }),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn write(&self, request: &Request, erased: &Erased, stage: Stage) -> Result<(), Error> {
        let desk = self.lifecycles.desk();
        let tables: Vec<String> = erased.tables.iter().map(|found| found.table.to_string()).collect();
        for digest in &erased.digests {
            let row = [
                ("id", "UUID", json!(erased.id)),
                ("stage", "String", json!(stage.name())),
                ("column", "String", json!(request.subject.column)),
                ("digest", "String", json!(digest)),
                ("tables", "Array(String)", json!(tables)),
                ("rows", "UInt64", json!(erased.tables.iter().map(|found| found.rows).sum::<u64>())),
                ("reason", "String", json!(request.reason)),
                ("actor", "String", json!(desk.actor().to_string())),
            ];
            // A row that is there twice says the same.
            rows::append(&desk.client, &self.records.sql(), &row).await.map_err(desk::Error::from)?;
        }
        Ok(())
    }
}
