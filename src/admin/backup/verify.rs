//! Whether a backup can be trusted, at three levels: its files are there, a sample of them has the right bytes, and it
//! can be restored with the rows that it had.
//!
//! Refuses to restore over anything: what is restored for a look lies in a database of its own, which is dropped, by the
//! next verification if this one is killed. There nothing is merged, so that rows that are over by now are still counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Backups;
use super::catalogue::Event;
use super::config::Level;
use super::destination::element;
use super::entry::{Entry, State, Verification};
use super::error::Error;
use super::files::Sample;
use super::manifest::Manifest;
use super::measure::Family;
use super::server::Operation;
use crate::admin::command::Permission;
use crate::admin::desk::TableName;
use crate::clickhouse::quote_identifier;

/// Longest restore for a look, in times of `admin.backup.timeout`: the tables, their rows, and the comparison.
const DRILL_TIMEOUTS: u32 = 3;
const DRILL_MAX: Duration = Duration::from_secs(30 * 86_400);
/// How far the clocks of processes that verify may be apart.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(3600);

/// How it is to be verified.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Verify {
    /// files, sample or restore, which it is without it.
    pub level: Level,
    /// Percent of the files whose checksums are made again.
    #[schemars(range(min = 0, max = 100))]
    pub percent: u8,
}

impl Default for Verify {
    fn default() -> Self {
        Verify { level: Level::Restore, percent: 10 }
    }
}

impl Backups {
    /// Verifies a backup and all that it needs. What is found is written down, and in the way of restores and of further
    /// incremental backups from then on.
    ///
    /// # Errors
    /// See [`Error`]. Damage is no error but what was looked for.
    pub async fn verify(&self, id: &str, verify: Verify) -> Result<Verification, Error> {
        let details = json!({ "id": id, "level": verify.level, "percent": verify.percent });
        self.audited(("backup.verify", Permission::BackupCreate), details, self.look_through(id, verify))
            .await
    }

    async fn look_through(&self, id: &str, verify: Verify) -> Result<Verification, Error> {
        let begun = Instant::now();
        let (entries, entry) = self.entry(id).await?;
        if entry.state != State::Done {
            let why = format!("it is {}", entry.state.name());
            return Err(Error::Broken { id: id.to_owned(), why });
        }
        let mut chain = Vec::new();
        let mut next = Some(entry.id.as_str());
        while let Some(one) = next.and_then(|id| entries.get(id)).filter(|_| chain.len() < entries.0.len()) {
            chain.push((one.id.clone(), one.manifest.list_sha256.clone()));
            next = one.manifest.base.as_deref();
        }
        let mut findings = Vec::new();
        if self.reaches(&entry.manifest) || verify.level != Level::Restore {
            if !self.reaches(&entry.manifest) {
                return Err(Error::Unreachable);
            }
            let seed = u64::try_from(Utc::now().timestamp_millis()).unwrap_or_default();
            let sample = (verify.level >= Level::Sample).then_some(Sample { percent: verify.percent, seed });
            findings = self.with_files(move |files| files.check(&chain, sample)).await?;
            self.note_damage(verify.level, &findings, begun.elapsed().as_secs_f64()).await?;
        }
        if verify.level == Level::Restore && findings.is_empty() {
            findings = self.drill(&entry).await?;
        }
        let (level, seconds) = (verify.level, begun.elapsed().as_secs_f64());
        let verification = Verification { level, at: Utc::now(), findings, seconds };
        self.note(id, &Event::Verified { verification: verification.clone() }).await?;
        // What metrics tell of it is read with it.
        self.entries().await?;
        Ok(verification)
    }

    /// Writes down of each backup what was found in its own files.
    pub(super) async fn note_damage(
        &self,
        level: Level,
        findings: &[String],
        seconds: f64,
    ) -> Result<(), Error> {
        let mut own: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for finding in findings {
            let id = finding.split(": ").next().unwrap_or_default();
            own.entry(id).or_default().push(finding.clone());
        }
        for (id, findings) in own {
            let verification = Verification { level, at: Utc::now(), findings, seconds };
            self.note(id, &Event::Verified { verification }).await?;
        }
        Ok(())
    }

    /// Restores it into a database of its own and compares the rows.
    async fn drill(&self, entry: &Entry) -> Result<Vec<String>, Error> {
        let database = &entry.manifest.database;
        self.sweep(database).await?;
        let life = self.config.timeout.0.saturating_mul(DRILL_TIMEOUTS).min(DRILL_MAX);
        let scratch = scratch_name(database, Utc::now() + life.saturating_add(CLOCKS_APART_MAX));
        let create = format!("CREATE DATABASE {}", quote_identifier(&scratch));
        self.desk.client.execute(&create, &[]).await?;
        let result = tokio::time::timeout(life, Box::pin(self.drill_in(&scratch, entry))).await;
        self.drop_scratch(&scratch).await?;
        match result {
            Err(_) => Err(Error::Late(format!("restoring {} for a look", entry.id))),
            // That it cannot be restored is what was looked for.
            Ok(Err(Error::Server { what, message, .. })) => {
                Ok(vec![format!("{}: could not {what}: {message}", entry.id)])
            }
            Ok(result) => result,
        }
    }

    /// Drops the copies that killed processes have left behind, once nobody can be at work in them any more.
    async fn sweep(&self, database: &str) -> Result<(), Error> {
        let prefix = scratch_prefix(database);
        let sql = "SELECT name FROM system.databases WHERE startsWith(name, {prefix:String})";
        let now_s = Utc::now().timestamp();
        for row in self.desk.rows(sql, &[("prefix", json!(prefix))]).await? {
            let name = row.text(0);
            if ends_s(&name, &prefix).is_some_and(|ends_s| ends_s < now_s) {
                tracing::warn!(database = %name, "dropping what a verification that was killed has left behind");
                self.drop_scratch(&name).await?;
            }
        }
        Ok(())
    }

    async fn drop_scratch(&self, name: &str) -> Result<(), Error> {
        // The server guards large tables against being dropped by mistake; these are copies.
        let sql = format!(
            "DROP DATABASE IF EXISTS {} SYNC SETTINGS max_table_size_to_drop = 0",
            quote_identifier(name)
        );
        Ok(self.desk.client.execute_idempotent(&sql, &[]).await?)
    }

    async fn drill_in(&self, scratch: &str, entry: &Entry) -> Result<Vec<String>, Error> {
        let manifest = &entry.manifest;
        let tables: Vec<_> =
            manifest.tables.iter().filter(|table| Family::of(&table.engine).has_rows()).collect();
        if tables.is_empty() {
            return Ok(Vec::new());
        }
        let target = |name: &str| TableName { database: scratch.to_owned(), name: name.to_owned() };
        let pairs: Vec<_> =
            tables.iter().map(|table| (manifest.name_of(&table.name), target(&table.name))).collect();
        self.read_back(entry, &pairs, &["structure_only = 1".to_owned()]).await?;
        for (table, (_, target)) in tables.iter().zip(&pairs) {
            if Family::of(&table.engine) != Family::Log {
                let stop = format!("SYSTEM STOP MERGES {}", target.sql());
                self.desk.client.execute_idempotent(&stop, &[]).await?;
            }
        }
        self.read_back(entry, &pairs, &[]).await?;
        let mut findings = Vec::new();
        for (table, (_, target)) in tables.iter().zip(&pairs) {
            let found = self.measure(table, target, &Manifest::clone(manifest)).await?;
            findings
                .extend(table.differences(&found).into_iter().map(|what| format!("{}: {what}", entry.id)));
        }
        Ok(findings)
    }

    /// Has the server restore these tables.
    pub(super) async fn read_back(
        &self,
        entry: &Entry,
        pairs: &[(TableName, TableName)],
        settings: &[String],
    ) -> Result<(), Error> {
        self.read_back_of(entry, pairs, &entry.manifest.partitions, settings).await
    }

    pub(super) async fn read_back_of(
        &self,
        entry: &Entry,
        pairs: &[(TableName, TableName)],
        partitions: &[String],
        settings: &[String],
    ) -> Result<(), Error> {
        let elements: Vec<String> =
            pairs.iter().map(|(table, target)| element(table, target, partitions)).collect();
        let sql =
            format!("RESTORE {} FROM {}", elements.join(", "), entry.manifest.destination.sql(&entry.id));
        let id = format!("{}-restore-{}", entry.id, uuid::Uuid::new_v4().simple());
        self.operate(Operation { what: format!("restore {}", entry.id), sql, id, settings }).await.map(drop)
    }
}

fn scratch_prefix(database: &str) -> String {
    format!("{database}_penstock_verify_")
}

/// Says until when somebody may be at work in it.
fn scratch_name(database: &str, ends: DateTime<Utc>) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    let random = random.get(..8).unwrap_or_default();
    format!("{}{}_{random}", scratch_prefix(database), ends.timestamp())
}

/// What [`scratch_name`] says; nothing for a name of another shape.
fn ends_s(name: &str, prefix: &str) -> Option<i64> {
    let (ends_s, _random) = name.strip_prefix(prefix)?.split_once('_')?;
    ends_s.parse().ok()
}
