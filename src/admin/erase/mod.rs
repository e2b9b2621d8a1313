//! Erasure of a subject: every row whose column has the value, in every table whose file declares the column.
//!
//! Refuses to say that a row is gone before it has looked, to touch what is held, and to keep the value: the record of
//! an erasure has a digest of it. Other tables, views' targets among them, are not looked at unless they have table
//! files that declare the column.

mod record;

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::command::{self, Permission};
use super::desk::{self, TableName};
use super::key::hex;
use super::lifecycle::{self, Lifecycles};
use crate::clickhouse::{quote_identifier, quote_string};
use crate::schema::subject::{Seed, canonical};
use crate::schema::{Table, Type};

pub use record::{Record, Records, Stage, Standing};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Desk(#[from] desk::Error),
    #[error(transparent)]
    Command(#[from] command::Error),
    #[error(transparent)]
    Lifecycle(#[from] lifecycle::Error),
    #[error(
        "no table file declares `{0}` in `subject_columns`\nhint: declare the column in every table that has such rows"
    )]
    NoTable(String),
    #[error(
        "the value is none of column `{column}` of {table}, which is {ty}\nhint: write it as the type has it"
    )]
    NoValue { table: TableName, column: String, ty: Type },
    #[error(
        "{table} has rows of the subject that are held by {holds}\nhint: rows that are held are not erased; `penstock lifecycle release` lets them go"
    )]
    Held { table: TableName, holds: String },
    #[error(
        "{table} still has {rows} rows of the subject\nhint: they came while it was erased; stop their source and erase again"
    )]
    Left { table: TableName, rows: u64 },
}

/// Whose rows are to go.
#[derive(Clone, PartialEq, Eq)]
pub struct Subject {
    pub column: String,
    pub value: String,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.column)
    }
}

#[derive(Clone, Debug)]
pub struct Request {
    pub subject: Subject,
    pub reason: String,
    /// Hides rows at once by a lightweight DELETE; their bytes go with later merges.
    pub lightweight: bool,
}

/// Rows of the subject in one table.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Found {
    pub table: TableName,
    pub rows: u64,
    /// Partitions with such rows: all that is written again.
    pub partitions: Vec<String>,
}

/// What was erased, or would be.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Erased {
    /// Of its record; empty of a dry run.
    pub id: String,
    /// Of column and value; several where tables have the column with types that spell it differently.
    pub digests: Vec<String>,
    pub tables: Vec<Found>,
}

/// Erases on the server of the lifecycle, whose holds it honours.
pub struct Eraser {
    lifecycles: Lifecycles,
    records: TableName,
    grace: Duration,
}

impl Eraser {
    pub fn new(lifecycles: Lifecycles) -> Eraser {
        let config = lifecycles.config();
        let records = lifecycles.desk().table(None, &config.erasures_table);
        let grace = config.erasure_grace.0;
        Eraser { lifecycles, records, grace }
    }

    /// Counts the rows of the subject. Changes nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn count(&self, subject: &Subject) -> Result<Erased, Error> {
        let (mut tables, mut digests) = (Vec::new(), Vec::new());
        for table in self.declaring(subject)? {
            let value = self.value(table, subject)?;
            digests.push(hex(&Seed::new(&subject.column).digest(value.as_bytes())));
            tables.push(self.found(table, subject).await?);
        }
        digests.sort();
        digests.dedup();
        Ok(Erased { id: String::new(), digests, tables })
    }

    /// As the column's type spells it: so the line finds it in records, and the server in rows.
    fn value(&self, table: &Table, subject: &Subject) -> Result<String, Error> {
        let ty = column_type(table, subject);
        let none = || Error::NoValue {
            table: self.lifecycles.name(table),
            column: subject.column.clone(),
            ty: ty.clone(),
        };
        canonical(&ty, &subject.value).ok_or_else(none)
    }

    /// Deletes the rows of the subject and looks that none is left.
    ///
    /// # Errors
    /// See [`Error`]. Its record says how far it came; to erase again does no harm.
    pub async fn erase(&self, request: &Request) -> Result<Erased, Error> {
        let counted = self.count(&request.subject).await?;
        for found in counted.tables.iter().filter(|found| found.rows > 0) {
            let held = self.lifecycles.held(&found.table).await?;
            if found.partitions.iter().any(|id| held.covers(id)) {
                return Err(Error::Held { table: found.table.clone(), holds: held.names() });
            }
        }
        let erased = Erased { id: uuid::Uuid::new_v4().to_string(), ..counted };
        let details = json!({ "id": erased.id, "column": request.subject.column, "digests": erased.digests,
                              "tables": erased.tables, "lightweight": request.lightweight });
        let desk = self.lifecycles.desk();
        let work = Box::pin(self.purge(request, &erased));
        desk.audited("erase.subject", Permission::Erase, (&self.records, details), work).await?;
        Ok(erased)
    }

    async fn purge(&self, request: &Request, erased: &Erased) -> Result<(), Error> {
        self.create_records().await?;
        self.write(request, erased, Stage::Received).await?;
        // Lines learn of it, and send what they hold of the subject.
        tokio::time::sleep(self.grace).await;
        for table in self.declaring(&request.subject)? {
            let name = self.lifecycles.name(table);
            let partitions =
                erased.tables.iter().find(|found| found.table == name).map(|found| &found.partitions);
            for id in partitions.into_iter().flatten() {
                self.delete(request, table, id).await?;
            }
        }
        self.write(request, erased, Stage::Deleted).await?;
        let left = self.count(&request.subject).await?.tables.into_iter().find(|found| found.rows > 0);
        match left {
            Some(found) => Err(Error::Left { table: found.table, rows: found.rows }),
            None => self.write(request, erased, Stage::Verified).await,
        }
    }

    async fn delete(&self, request: &Request, table: &Table, partition: &str) -> Result<(), Error> {
        let name = self.lifecycles.name(table);
        let held = self.lifecycles.held(&name).await?;
        if held.covers(partition) {
            return Err(Error::Held { table: name, holds: held.names() });
        }
        let (place, id) = (name.sql(), quote_string(partition));
        let condition = condition(table, &request.subject);
        let sql = match request.lightweight {
            true => format!("DELETE FROM {place} IN PARTITION ID {id} WHERE {condition}"),
            false => format!("ALTER TABLE {place} DELETE IN PARTITION ID {id} WHERE {condition}"),
        };
        let params = [("value", json!(self.value(table, &request.subject)?))];
        let settings = [("lightweight_deletes_sync", "2")];
        let timeout = self.lifecycles.timeout();
        Ok(self.lifecycles.desk().run_with(&name, (&sql, &params), &settings, timeout).await?)
    }

    fn declaring(&self, subject: &Subject) -> Result<Vec<&Table>, Error> {
        let all = self.lifecycles.tables().iter().map(AsRef::as_ref);
        let all: Vec<&Table> =
            all.filter(|table: &&Table| table.subject_columns.contains(&subject.column)).collect();
        if all.is_empty() { Err(Error::NoTable(subject.column.clone())) } else { Ok(all) }
    }

    async fn found(&self, table: &Table, subject: &Subject) -> Result<Found, Error> {
        let name = self.lifecycles.name(table);
        let sql = format!(
            "SELECT _partition_id AS id, toUInt64(count()) FROM {} WHERE {} GROUP BY id ORDER BY id",
            name.sql(),
            condition(table, subject)
        );
        let rows =
            self.lifecycles.desk().rows(&sql, &[("value", json!(self.value(table, subject)?))]).await?;
        let partitions = rows.iter().map(|row| row.text(0)).collect();
        Ok(Found { table: name, rows: rows.iter().map(|row| row.number(1)).sum(), partitions })
    }
}

/// The value is read as the column's own type, so that `7` finds the number 7 and text finds text.
fn condition(table: &Table, subject: &Subject) -> String {
    format!("{} = {{value:{}}}", quote_identifier(&subject.column), column_type(table, subject))
}

fn column_type(table: &Table, subject: &Subject) -> Type {
    let column = table.columns.iter().find(|column| column.name == subject.column);
    column.map_or(Type::String, |column| column.ty.bare().clone())
}
