//! Bringing a backup back: all of it or some tables, as they were or under other names, and then what came after it.
//!
//! Refuses to restore over rows, and from a chain of which a part is missing or damaged. A restore that fails leaves
//! behind no empty table that was not there before.

use std::time::Instant;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::entry::{Entry, State};
use super::error::Error;
use super::manifest::TableState;
use super::measure::Family;
use super::{Backups, Replay, Replayed};
use crate::admin::command::Permission;
use crate::admin::desk::TableName;
use crate::clickhouse::quote_identifier;

/// What is to be brought back.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Restore {
    /// All without any.
    pub tables: Vec<String>,
    /// Ids of partitions; all without any.
    pub partitions: Vec<String>,
    /// Another database than they were in; it is made if it is not there.
    pub database: Option<String>,
    /// Another name, of a single table.
    #[serde(rename = "as")]
    pub rename: Option<String>,
    /// Reads again what the group has taken in since, and puts in what is missing. The line must not run, unless the tables
    /// get other names.
    pub then_replay: bool,
    /// Only what was published before; records tell when they were.
    #[serde(with = "super::stamp::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub until: Option<DateTime<Utc>>,
}

/// What was brought back, or would be.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Restored {
    pub id: String,
    /// It and all that it needs.
    pub chain: Vec<String>,
    pub tables: Vec<RestoredTable>,
    /// What of the restored rows is not as it was counted.
    pub findings: Vec<String>,
    pub replayed: Vec<Replayed>,
    /// Rows of subjects that were erased after the backup was made, and that are gone again.
    pub erased_rows: u64,
    pub seconds: f64,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RestoredTable {
    pub table: TableName,
    pub target: TableName,
    /// Rows that were counted when the backup was made.
    pub rows: u64,
    /// Whether the table was there, without rows.
    pub existed: bool,
}

impl Backups {
    /// What a restore would do, and whether it may. Changes nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn plan_restore(&self, id: &str, restore: &Restore) -> Result<Restored, Error> {
        let (_, mut restored) = self.prepare(id, restore).await?;
        if restore.then_replay {
            restored.replayed = self.replay(&restored, restore, true).await?;
        }
        Ok(restored)
    }

    /// Restores. Tables that it made are dropped again if it fails.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn restore(&self, id: &str, restore: &Restore) -> Result<Restored, Error> {
        let (entry, restored) = self.prepare(id, restore).await?;
        let details = json!({ "id": id, "tables": restored.tables, "partitions": restore.partitions,
                              "then_replay": restore.then_replay });
        let work = self.bring_back(entry, restored, restore);
        self.audited(("backup.restore", Permission::BackupRestore), details, work).await
    }

    /// Reads again what came after a backup that was restored already, and puts in what is missing. To do it again does
    /// no harm.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn replay_after(
        &self,
        id: &str,
        restore: &Restore,
        dry_run: bool,
    ) -> Result<Vec<Replayed>, Error> {
        let (_, entry) = self.entry(id).await?;
        let restored = Restored {
            id: id.to_owned(),
            chain: Vec::new(),
            tables: targets(&entry, restore)?,
            findings: Vec::new(),
            replayed: Vec::new(),
            erased_rows: 0,
            seconds: 0.0,
        };
        if dry_run {
            return self.replay(&restored, restore, true).await;
        }
        let details = json!({ "id": id, "tables": restored.tables });
        let work = self.replay(&restored, restore, false);
        self.audited(("backup.replay", Permission::BackupRestore), details, work).await
    }

    async fn prepare(&self, id: &str, restore: &Restore) -> Result<(Entry, Restored), Error> {
        let (entries, entry) = self.entry(id).await?;
        let Some(chain) = entries.chain(id) else {
            return Err(Error::Broken { id: id.to_owned(), why: entries.obstacle(id) });
        };
        let chain = chain.iter().map(|entry| entry.id.clone()).collect();
        let mut tables = targets(&entry, restore)?;
        let is_named = !restore.tables.is_empty();
        let mut kept = Vec::new();
        for mut one in tables.drain(..) {
            match self.rows_at(&one.target).await? {
                None => {}
                Some(0) => one.existed = true,
                // Own tables are there again as soon as anything is written down, and stay as they are.
                Some(_) if !is_named && one.target.name.starts_with("penstock_") => continue,
                Some(rows) => return Err(Error::NotEmpty { table: one.target, rows }),
            }
            kept.push(one);
        }
        let restored = Restored {
            id: id.to_owned(),
            chain,
            tables: kept,
            findings: Vec::new(),
            replayed: Vec::new(),
            erased_rows: 0,
            seconds: 0.0,
        };
        Ok((entry, restored))
    }

    /// Rows of a table; none where there is no such table.
    async fn rows_at(&self, table: &TableName) -> Result<Option<u64>, Error> {
        let sql = "SELECT ifNull(total_rows, 0), engine FROM system.tables WHERE database = {database:String} AND name = {table:String}";
        Ok(self.desk.rows(sql, &table.params()).await?.first().map(|row| row.number(0)))
    }

    async fn bring_back(
        &self,
        entry: Entry,
        mut restored: Restored,
        restore: &Restore,
    ) -> Result<Restored, Error> {
        let begun = Instant::now();
        if restore.then_replay {
            // What cannot be read again is found out before anything is restored.
            self.replay(&restored, restore, true).await?;
        }
        for one in &restored.tables {
            let database = quote_identifier(&one.target.database);
            self.desk
                .client
                .execute_idempotent(&format!("CREATE DATABASE IF NOT EXISTS {database}"), &[])
                .await?;
        }
        let pairs: Vec<_> =
            restored.tables.iter().map(|one| (one.table.clone(), one.target.clone())).collect();
        let partitions = match restore.partitions.is_empty() {
            true => &entry.manifest.partitions,
            false => &restore.partitions,
        };
        if let Err(error) = self.read_back_of(&entry, &pairs, partitions, &[]).await {
            self.clean_up(&restored).await;
            return Err(error);
        }
        restored.findings = self.compare(&entry, &restored, restore).await?;
        // What is read again leaves out by itself who was erased after a record was published.
        restored.erased_rows = self.forget(&restored, entry.at).await?;
        if restore.then_replay {
            restored.replayed = self.replay(&restored, restore, false).await?;
        }
        restored.seconds = begun.elapsed().as_secs_f64();
        Ok(restored)
    }

    /// Drops the empty tables that a restore leaves when it fails. One that was there, or that has rows by now, is somebody's:
    /// a line that was waiting for its table may have written to it already.
    async fn clean_up(&self, restored: &Restored) {
        for one in restored.tables.iter().filter(|one| !one.existed) {
            let sql = format!("DROP TABLE IF EXISTS IF EMPTY {} SYNC", one.target.sql());
            if let Err(error) = self.desk.client.execute(&sql, &[]).await {
                tracing::warn!(%error, table = %one.target, "what a failed restore left is not removed");
            }
        }
    }

    /// Rows that are over by now may be gone already, so that what differs is told and no error.
    async fn compare(
        &self,
        entry: &Entry,
        restored: &Restored,
        restore: &Restore,
    ) -> Result<Vec<String>, Error> {
        let mut findings = Vec::new();
        let is_meant =
            |id: &str| restore.partitions.is_empty() || restore.partitions.iter().any(|one| one == id);
        for one in &restored.tables {
            let Some(table) = entry.manifest.tables.iter().find(|table| table.name == one.table.name) else {
                continue;
            };
            let mut table = TableState::clone(table);
            table.partitions.retain(|one| is_meant(&one.id));
            if Family::of(&table.engine).has_rows() {
                let found = self.measure(&table, &one.target, &entry.manifest).await?;
                findings.extend(table.differences(&found));
            }
        }
        Ok(findings)
    }

    async fn replay(
        &self,
        restored: &Restored,
        restore: &Restore,
        dry_run: bool,
    ) -> Result<Vec<Replayed>, Error> {
        let line = self.line.as_ref().ok_or(Error::NoLine)?;
        let (_, entry) = self.entry(&restored.id).await?;
        if entry.state != State::Done || entry.manifest.cut.is_empty() {
            let why = "no offsets of topics were written down with it".to_owned();
            return Err(Error::Broken { id: entry.id, why });
        }
        // Rows of later records may be in what was made later, and nothing takes them out again.
        let ended = entry.at.timestamp_millis() as f64 + entry.manifest.seconds * 1000.0;
        if restore.until.is_some_and(|until| (until.timestamp_millis() as f64) < ended) {
            let why = "it was made after the time that is meant".to_owned();
            return Err(Error::Broken { id: entry.id, why });
        }
        let targets: Vec<(String, TableName)> =
            restored.tables.iter().map(|one| (one.table.name.clone(), one.target.clone())).collect();
        let cut =
            entry.manifest.cut.iter().filter(|cut| targets.iter().any(|(table, _)| *table == cut.table));
        let replay = Replay {
            cut: cut.cloned().collect(),
            targets,
            until_ms: restore.until.map(|until| until.timestamp_millis()),
            dry_run,
            stop: self.stop.clone(),
            observer: self.observer.clone(),
        };
        (line.replay)(replay).await.map_err(Error::Line)
    }
}

/// What is restored, and where to.
fn targets(entry: &Entry, restore: &Restore) -> Result<Vec<RestoredTable>, Error> {
    let manifest = &entry.manifest;
    let known = || manifest.tables.iter().map(|table| table.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(missing) =
        restore.tables.iter().find(|name| manifest.tables.iter().all(|table| table.name != **name))
    {
        return Err(Error::NoTable { id: entry.id.clone(), table: missing.clone(), known: known() });
    }
    let meant = manifest
        .tables
        .iter()
        .filter(|table| restore.tables.is_empty() || restore.tables.contains(&table.name));
    let database = restore.database.clone().unwrap_or_else(|| manifest.database.clone());
    let one = |table: &TableState| RestoredTable {
        table: manifest.name_of(&table.name),
        target: TableName {
            database: database.clone(),
            name: restore.rename.clone().unwrap_or_else(|| table.name.clone()),
        },
        rows: table.partitions.iter().map(|one| one.rows).sum(),
        existed: false,
    };
    let all: Vec<RestoredTable> = meant.map(one).collect();
    match restore.rename.is_some() && all.len() != 1 {
        true => Err(Error::NoTable {
            id: entry.id.clone(),
            table: "to be renamed alone".to_owned(),
            known: known(),
        }),
        false => Ok(all),
    }
}
