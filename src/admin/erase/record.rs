//! The record of erasures: what was asked for and how far it came, without the value itself.
//!
//! Refuses to be anonymous: the digest lets who knows a value find its record, and so lets anybody try all values of a
//! small range. It is what a later reading of old records can be compared with.

use serde_json::json;

use super::{Erased, Eraser, Error, Request, Subject};
use crate::admin::desk;
use crate::admin::migrate::script::sha256;
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

/// SHA-256 of the column's name, a NUL, and the value.
pub fn digest(subject: &Subject) -> String {
    sha256(&format!("{}\0{}", subject.column, subject.value))
}

impl Eraser {
    pub(super) async fn create_records(&self) -> Result<(), Error> {
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC'), id UUID, \
             stage LowCardinality(String), column String, digest FixedString(64), tables Array(String), rows UInt64, \
             reason String, actor String) ENGINE = {} ORDER BY (column, digest, at) \
             COMMENT 'subjects that penstock erased, by digest'",
            self.records.sql(),
            self.lifecycles.engine()
        );
        let desk = self.lifecycles.desk();
        Ok(desk.client.execute_idempotent(&sql, &[]).await.map_err(desk::Error::from)?)
    }

    pub(super) async fn write(&self, request: &Request, erased: &Erased, stage: Stage) -> Result<(), Error> {
        let desk = self.lifecycles.desk();
        let tables: Vec<String> = erased.tables.iter().map(|found| found.table.to_string()).collect();
        let row = [
            ("id", "UUID", json!(erased.id)),
            ("stage", "String", json!(stage.name())),
            ("column", "String", json!(request.subject.column)),
            ("digest", "String", json!(erased.digest)),
            ("tables", "Array(String)", json!(tables)),
            ("rows", "UInt64", json!(erased.tables.iter().map(|found| found.rows).sum::<u64>())),
            ("reason", "String", json!(request.reason)),
            ("actor", "String", json!(desk.actor().to_string())),
        ];
        // A row that is there twice says the same.
        Ok(rows::append(&desk.client, &self.records.sql(), &row).await.map_err(desk::Error::from)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_names_column_and_value_and_the_value_is_never_shown() {
        let subject =
            |column: &str, value: &str| Subject { column: column.to_owned(), value: value.to_owned() };
        let one = subject("email", "a@b.example");
        assert_eq!(digest(&one), digest(&one.clone()));
        assert_ne!(digest(&one), digest(&subject("emai", "la@b.example")));
        assert_eq!(digest(&one).len(), 64);
        assert!(!format!("{one:?}").contains("a@b"), "{one:?}");
    }
}
