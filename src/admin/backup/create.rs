//! Making a backup: what it is of, what it builds on, how far the topics were, and what rows it must have.
//!
//! Refuses to build on what was found damaged, or what is found so now: the server would not notice. Offsets are taken
//! before the server begins, so that the rows of everything below them are in it.

use std::collections::BTreeSet;
use std::time::Instant;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::catalogue::Event;
use super::destination::element;
use super::entry::{Entries, Entry, Next, Wanted};
use super::error::Error;
use super::manifest::Manifest;
use super::server::Operation;
use super::{Backups, Policy};
use crate::admin::command::Permission;
use crate::telemetry::metrics::METRICS;

/// What is to be backed up.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Create {
    /// Name of a policy, which says what; or what follows does.
    pub policy: Option<String>,
    /// That of the configuration without it.
    pub database: Option<String>,
    /// All of the database without any.
    pub tables: Vec<String>,
    /// Ids of partitions; all without any.
    pub partitions: Vec<String>,
    /// auto, which it is without it, full or incremental.
    pub kind: Wanted,
    /// Does not ask how far the topics are: nothing can be read again after a restore.
    pub without_offsets: bool,
}

/// What a backup would be.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Planned {
    pub database: String,
    pub tables: Vec<String>,
    /// Id of the backup that it would add to; none of a full one.
    pub base: Option<String>,
    pub reason: String,
}

impl Backups {
    /// What would be made. Changes nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn plan(&self, request: &Create) -> Result<Planned, Error> {
        let manifest = self.scope(request).await?;
        let entries = self.entries().await?;
        let next = self.next(&entries, request.kind, &manifest)?;
        let reason = match self.damage(&entries, &next).await?.first() {
            Some(finding) => format!("what it would add to is damaged: {finding}"),
            None => next.reason,
        };
        let tables = manifest.tables.iter().map(|table| table.name.clone()).collect();
        Ok(Planned { database: manifest.database, tables, base: next.base, reason })
    }

    /// Makes a backup.
    ///
    /// # Errors
    /// See [`Error`]. What was half made is removed, as far as files can be reached.
    pub async fn create(&self, request: &Create) -> Result<Entry, Error> {
        let at = Utc::now();
        let prefix = request.policy.as_deref().unwrap_or("manual");
        let random = uuid::Uuid::new_v4().simple().to_string();
        let random = random.get(..8).unwrap_or_default();
        let id = format!("{prefix}-{}-{random}", at.format("%Y%m%dT%H%M%SZ"));
        let details = json!({ "id": id, "policy": request.policy, "database": request.database, "tables": request.tables,
                              "partitions": request.partitions, "kind": request.kind });
        self.audited(("backup.create", Permission::BackupCreate), details, self.make(&id, at, request)).await
    }

    async fn make(&self, id: &str, at: DateTime<Utc>, request: &Create) -> Result<Entry, Error> {
        let mut manifest = self.scope(request).await?;
        self.create_catalogue().await?;
        let next = self.settled_next(request.kind, &manifest).await?;
        manifest.base = next.base;
        self.note_at(id, at, &Event::Began { manifest: manifest.clone() }).await?;
        // Whoever deletes writes that down and then looks for what builds on it, so that one of the two sees the other.
        if let Some(base) = &manifest.base
            && self.entries().await?.chain(base).is_none()
        {
            let error = Error::NoBase(format!("{base} went meanwhile"));
            self.note(id, &Event::Failed { error: error.to_string() }).await?;
            return Err(error);
        }
        let policy = manifest.policy.clone();
        let kind = if manifest.base.is_some() { "incremental" } else { "full" };
        let counted =
            |outcome| METRICS.backup.runs.with_label_values(&[policy.as_str(), kind, outcome]).inc();
        let manifest = match self.fill(id, manifest, request).await {
            Ok(manifest) => manifest,
            Err(error) => {
                counted(if matches!(error, Error::Cancelled(_)) { "cancelled" } else { "error" });
                if self.files().is_some() {
                    let id = id.to_owned();
                    self.with_files(move |files| files.remove(&id)).await?;
                }
                self.note(id, &Event::Failed { error: error.to_string() }).await?;
                return Err(error);
            }
        };
        self.note(id, &Event::Done { manifest }).await?;
        counted("ok");
        self.show_one(id).await
    }

    /// What the next one builds on, after a look whether that is sound. What is found damaged is written down.
    async fn settled_next(&self, wanted: Wanted, manifest: &Manifest) -> Result<Next, Error> {
        let entries = self.entries().await?;
        let next = self.next(&entries, wanted, manifest)?;
        let findings = self.damage(&entries, &next).await?;
        if findings.is_empty() {
            return Ok(next);
        }
        self.note_damage(super::Level::Files, &findings, 0.0).await?;
        self.next(&self.entries().await?, wanted, manifest)
    }

    fn next(&self, entries: &Entries, wanted: Wanted, manifest: &Manifest) -> Result<Next, Error> {
        entries.next(wanted, manifest, self.config.chain_max).map_err(Error::NoBase)
    }

    /// What is wrong with the files of the base and all that it needs, as far as they can be reached.
    async fn damage(&self, entries: &Entries, next: &Next) -> Result<Vec<String>, Error> {
        match next.base.as_deref().and_then(|base| entries.chain(base)) {
            Some(chain) if self.files().is_some() => {
                let chain: Vec<_> = chain
                    .iter()
                    .map(|entry| (entry.id.clone(), entry.manifest.list_sha256.clone()))
                    .collect();
                self.with_files(move |files| files.check(&chain, None)).await
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Everything but what the server does.
    async fn scope(&self, request: &Create) -> Result<Manifest, Error> {
        let policy = request.policy.as_deref().map(|name| self.policy(name)).transpose()?;
        let own = Policy {
            database: request.database.clone(),
            tables: request.tables.clone(),
            ..Policy::default()
        };
        let Policy { database, tables, .. } = policy.unwrap_or(&own);
        let database = database.clone().unwrap_or_else(|| self.desk.database.clone());
        let version = self.desk.row("SELECT version()", &[]).await?.text(0);
        Ok(Manifest {
            policy: request.policy.clone().unwrap_or_default(),
            tables: self.tables(&database, tables).await?,
            database,
            partitions: request.partitions.clone(),
            destination: self.config.destination.clone(),
            server: version,
            app: env!("CARGO_PKG_VERSION").to_owned(),
            actor: self.desk.actor().to_string(),
            ..Manifest::default()
        })
    }

    /// Has the server make it, and counts what is in it.
    async fn fill(&self, id: &str, mut manifest: Manifest, request: &Create) -> Result<Manifest, Error> {
        let begun = Instant::now();
        if !request.without_offsets {
            manifest.cut = self.cut(&manifest).await?;
        }
        let cut: BTreeSet<&str> = manifest.cut.iter().map(|cut| cut.table.as_str()).collect();
        for index in 0..manifest.tables.len() {
            let Some(mut table) = manifest.tables.get(index).cloned() else { continue };
            let name = manifest.name_of(&table.name);
            if table.engine.starts_with("Replicated") {
                // What another replica acknowledged must be here before it is counted.
                self.desk
                    .client
                    .execute_idempotent(&format!("SYSTEM SYNC REPLICA {}", name.sql()), &[])
                    .await?;
            }
            table.place =
                self.place(&manifest.database, &table).filter(|_| cut.contains(table.name.as_str()));
            table.partitions = self.measure(&table, &name, &manifest).await?;
            if let Some(one) = manifest.tables.get_mut(index) {
                *one = table;
            }
        }
        let elements: Vec<String> = manifest
            .tables
            .iter()
            .map(|table| manifest.name_of(&table.name))
            .map(|name| element(&name, &name, &manifest.partitions))
            .collect();
        let sql = format!("BACKUP {} TO {}", elements.join(", "), manifest.destination.sql(id));
        let settings: Vec<String> = manifest
            .base
            .iter()
            .map(|base| format!("base_backup = {}", manifest.destination.sql(base)))
            .collect();
        let what = format!("make {id}");
        let finished = self.operate(Operation { what, sql, id: id.to_owned(), settings: &settings }).await?;
        self.measure_again(&mut manifest).await?;
        manifest.bytes = finished.bytes;
        manifest.new_bytes = finished.new_bytes;
        manifest.files = finished.files;
        manifest.seconds = begun.elapsed().as_secs_f64();
        if self.files().is_none() {
            return Ok(manifest);
        }
        let id = id.to_owned();
        self.with_files(move |files| {
            manifest.list_sha256 = files.list_sha256(&id)?;
            files.write_manifest(&id, &manifest)?;
            Ok(manifest)
        })
        .await
    }

    async fn cut(&self, manifest: &Manifest) -> Result<Vec<super::Cut>, Error> {
        let Some(line) = &self.line else { return Ok(Vec::new()) };
        let names = manifest.tables.iter().map(|table| manifest.name_of(&table.name)).collect();
        (line.cut)(names).await.map_err(|refusal| {
            Error::Line(
                refusal.and("hint: `--without-offsets` makes one from which nothing can be read again"),
            )
        })
    }
}
