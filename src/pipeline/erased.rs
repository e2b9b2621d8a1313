//! Who was erased, as the line knows it: read before the first record, and again and again while it runs.
//!
//! Refuses to begin without having read it where a table names subjects: a record of somebody who was erased must not
//! become a row because a server was silent. Each member takes over what was read last between two turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::worker::Worker;
use crate::clickhouse::{self, Client, quote_identifier};
use crate::schema::Table;
use crate::schema::subject::{Digest, Erased, SUBJECTS_MAX};
use crate::telemetry::health::{Health, Status};

/// Subjects of one answer.
const PAGE_ROWS: usize = 50_000;
const PAGE_BYTES_MAX: u64 = 32 << 20;
/// Until when records are left out whose subject is just being erased.
const NOT_YET: i64 = i64::MAX;
const COMPONENT: &str = "erased subjects";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "who was erased cannot be read from {table}\nhint: tables with `subject_columns` are not filled without it; let every endpoint of clickhouse.endpoints answer, and its user read the table"
    )]
    Unread { table: String, source: Box<clickhouse::Error> },
    #[error(
        "more than {SUBJECTS_MAX} subjects were erased by {table}\nhint: they are held in memory; take `subject_columns` out of tables whose topics no longer have records of before their erasure"
    )]
    TooMany { table: String },
    #[error(
        "{table} has a row that is no record of an erasure: {row}\nhint: only `penstock erase` writes it"
    )]
    Strange { table: String, row: String },
}

/// Where it is read from.
#[derive(Clone, Debug)]
pub struct Register {
    pub client: Client,
    /// The table of records, in the database of the connection.
    pub table: String,
    /// Each endpoint has the records of all, so one answer is enough.
    pub is_replicated: bool,
    pub interval: Duration,
    /// How long erasures wait before they delete, for lines to send what they hold.
    pub grace: Duration,
}

/// What was read, and of what.
#[derive(Debug, Default)]
pub struct Read {
    pub erased: Arc<Erased>,
    /// What each server that answered said of its table: the latest change, and how many rows there are.
    of: Vec<Vec<Vec<Value>>>,
}

impl Register {
    /// Everybody who was erased; nothing where none of the tables names subjects.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn load(&self, tables: &[Arc<Table>]) -> Result<Option<Read>, Error> {
        match tables.iter().any(|table| !table.subject_columns.is_empty()) {
            true => Ok(Some(self.read(&Read::default()).await?.unwrap_or_default())),
            false => Ok(None),
        }
    }

    /// Everybody who was erased, if the tables of records have changed.
    async fn read(&self, before: &Read) -> Result<Option<Read>, Error> {
        let table = quote_identifier(&self.table);
        let sql = format!("SELECT toString(max(at)), toString(count()) FROM {table}");
        // Looked at first, so that what changes meanwhile is seen the next time.
        let of = self.ask(&sql, &[]).await?;
        if of == before.of {
            return Ok(None);
        }
        let sql = format!(
            "SELECT column, toString(digest) AS d, argMax(stage, at), toUnixTimestamp64Milli(maxIf(at, stage = 'deleted')) \
             FROM {table} WHERE (column, toString(digest)) > ({{column:String}}, {{digest:String}}) \
             GROUP BY column, digest ORDER BY column, d LIMIT {{rows:UInt64}}"
        );
        let (mut erased, mut after) = (Erased::default(), (String::new(), String::new()));
        loop {
            let params = [("column", json!(after.0)), ("digest", json!(after.1)), ("rows", json!(PAGE_ROWS))];
            let answers = self.ask(&sql, &params).await?;
            for row in answers.iter().flatten() {
                self.take(&mut erased, row)?;
            }
            if erased.len() > SUBJECTS_MAX {
                return Err(Error::TooMany { table: self.table.clone() });
            }
            // Each server's page ends elsewhere: the next one begins after the first of the ends.
            let full = answers.iter().filter(|answer| answer.len() >= PAGE_ROWS);
            let ends = full.filter_map(|answer| answer.last()).map(|row| (text(row, 0), text(row, 1)));
            match ends.min() {
                Some((column, digest)) => after = (column.to_owned(), digest.to_owned()),
                None => return Ok(Some(Read { erased: Arc::new(erased), of })),
            }
        }
    }

    /// The answers of every server that must give one.
    async fn ask(&self, sql: &str, params: &[(&str, Value)]) -> Result<Vec<Vec<Vec<Value>>>, Error> {
        let unread = |source| Error::Unread { table: self.table.clone(), source: Box::new(source) };
        let answers = self.client.query_everywhere(sql, params, PAGE_BYTES_MAX).await.map_err(unread)?;
        let (mut good, mut failed) = (Vec::new(), None);
        for answer in answers {
            match answer {
                Ok(answer) => good.push(answer),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if !self.is_replicated || good.is_empty() => Err(unread(error)),
            _ => Ok(good),
        }
    }

    fn take(&self, erased: &mut Erased, row: &[Value]) -> Result<(), Error> {
        let strange = || Error::Strange { table: self.table.clone(), row: Value::from(row).to_string() };
        let digest = digest(text(row, 1)).ok_or_else(strange)?;
        let until_ms = match text(row, 2) {
            "received" => NOT_YET,
            _ => number(row, 3).ok_or_else(strange)?,
        };
        erased.insert(text(row, 0), &digest, until_ms);
        Ok(())
    }

    /// Reads it again for ever, and tells of what has changed. Cancel-safe.
    pub async fn watch(self, mut last: Read, told: watch::Sender<Arc<Erased>>, health: Health) {
        loop {
            tokio::time::sleep(self.interval).await;
            match self.read(&last).await {
                Ok(None) => health.set_component(COMPONENT, Status::Ok),
                Ok(Some(found)) => {
                    let (subjects, bytes) = (found.erased.len(), found.erased.bytes());
                    tracing::info!(subjects, bytes, "records of subjects that were erased are left out");
                    told.send_replace(Arc::clone(&found.erased));
                    last = found;
                    health.set_component(COMPONENT, Status::Ok);
                }
                Err(error) => {
                    tracing::warn!(%error, "who was erased since cannot be read");
                    let reason = "who was erased lately is not known, and records of theirs may become rows";
                    health.set_component(COMPONENT, Status::Degraded(reason.to_owned()));
                }
            }
        }
    }
}

impl Worker {
    /// Takes over who was erased meanwhile.
    ///
    /// # Errors
    /// A table waits with rows of before for longer than erasures do: sent later, they would bring somebody back. The
    /// process ends, and whoever goes on reads their records again and leaves out who was erased.
    pub(super) fn forget_the_erased(&mut self, now: Instant) -> Result<(), super::Error> {
        // A sender that is gone tells nothing any more.
        if self.erased.has_changed().unwrap_or(false) {
            let erased = Arc::clone(&self.erased.borrow_and_update());
            self.line.lanes.iter_mut().for_each(|lane| lane.leave_out(&erased, now));
            // Their rows are deleted when no line sends any more, and are not to be missed.
            self.audit.hurry(now, now + 2 * self.settings.erasure_hold);
        }
        match self.line.lanes.iter().find(|lane| lane.is_outdated(self.settings.erasure_hold, now)) {
            Some(lane) => Err(super::Error::Outdated { table: lane.name.clone() }),
            None => Ok(()),
        }
    }
}

fn text(row: &[Value], at: usize) -> &str {
    row.get(at).and_then(Value::as_str).unwrap_or_default()
}

/// Whole numbers of 64 bits come as text or as numbers, as the server is set.
fn number(row: &[Value], at: usize) -> Option<i64> {
    let value = row.get(at)?;
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn digest(hex: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    if hex.len() != 2 * digest.len() || !hex.is_ascii() {
        return None;
    }
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_as_they_are_written() {
        let expected = crate::schema::subject::Seed::new("user_id").digest(b"7");
        let hex: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest(&hex), Some(expected));
        assert_eq!((digest("ab"), digest(&"g".repeat(64)), digest(&"é".repeat(32))), (None, None, None));
        assert_eq!(
            (number(&[json!("-5")], 0), number(&[json!(7)], 0), number(&[], 0)),
            (Some(-5), Some(7), None)
        );
    }
}
