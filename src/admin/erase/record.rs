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

/// How the erasures of all subjects stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Subjects by the stage of what was done about them last.
    pub received: u64,
    pub deleted: u64,
    pub verified: u64,
    /// Since the oldest was asked for that was not verified afterwards; 0 without one.
    pub oldest_open_s: u64,
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

    /// How the erasures of all subjects stand: one that was erased again and verified is not open any more. Changes
    /// nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn standing(&self) -> Result<Standing, Error> {
        let sql = format!(
            "SELECT last, toUInt64(count()), toUInt64(max(age)) FROM (SELECT argMax(stage, at) AS last, \
             maxIf(at, stage = 'verified') AS done, groupArray(at) AS times, \
             greatest(0, dateDiff('second', arrayMin(arrayFilter(time -> time > done, times)), now64(6, 'UTC'))) AS age \
             FROM {} GROUP BY column, digest) GROUP BY last",
            self.records.sql()
        );
        let rows = match self.lifecycles.desk().rows(&sql, &[]).await {
            Err(desk::Error::ClickHouse(error)) if is_missing(&error) => Vec::new(),
            rows => rows?,
        };
        let mut standing = Standing::default();
        for row in &rows {
            let (stage, count, age_s) = (row.text(0), row.number(1), row.number(2));
            match stage.as_str() {
                "verified" => standing.verified = count,
                "deleted" => standing.deleted = count,
                // What is not known is not taken as done.
                _ => standing.received += count,
            }
            if stage != Stage::Verified.name() {
                standing.oldest_open_s = standing.oldest_open_s.max(age_s);
            }
        }
        Ok(standing)
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
