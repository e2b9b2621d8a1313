//! Rows of the journal for what was not run: baseline, mark, repair.
//!
//! Refuses to send a statement. What it writes says who says so, and why.

use serde_json::json;

use super::error::Error;
use super::files::{Folder, Key, Kind, Migration};
use super::journal::{Direction, Outcome, Record};
use super::lock::Lock;
use super::migrator::Migrator;
use super::plan::Scope;
use super::run::Event;
use super::state::Standing;
use super::verbs::{Report, version};

/// What somebody says of a statement or of a whole migration.
#[derive(Clone, Debug)]
pub struct Mark {
    pub migration: String,
    /// All without it.
    pub statement: Option<u32>,
    /// All that it is meant for without it.
    pub host: Option<String>,
    pub done: bool,
    pub note: String,
}

impl Migrator {
    /// Writes down that everything up to a version is there already, without running it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn baseline(&self, to: &str) -> Result<Report, Error> {
        let work = async {
            let folder = self.folder()?;
            let to = version(Some(&to.to_owned()), &folder)?.unwrap_or_default();
            let marks = |scope: &Scope<'_>| {
                let within = |one: &&Migration| one.key.kind != Kind::Repeatable && one.key.version <= to;
                let pending = |one: &&Migration| scope.standing(one) == Standing::Pending;
                let all = scope.effective().into_iter().filter(within).filter(pending);
                all.map(|one| (one.key.clone(), None, None)).collect()
            };
            self.write_marks(&folder, marks, Outcome::Marked, "baseline").await
        };
        self.audited("migrate.baseline", json!({ "to": to }), work).await
    }

    /// Writes down what somebody knows of a statement or of a whole migration.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn mark(&self, mark: &Mark) -> Result<Report, Error> {
        let details = json!({ "migration": mark.migration, "statement": mark.statement, "host": mark.host, "done": mark.done, "note": mark.note });
        let work = async {
            let folder = self.folder()?;
            let key = folder.find(&mark.migration)?.key.clone();
            let outcome = if mark.done { Outcome::Marked } else { Outcome::Undone };
            let marks = |_: &Scope<'_>| vec![(key, mark.statement, mark.host.clone())];
            self.write_marks(&folder, marks, outcome, &mark.note).await
        };
        self.audited("migrate.mark", details, work).await
    }

    /// Takes files that were changed after they were run as what was run.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn repair(&self) -> Result<Report, Error> {
        let work = async {
            let folder = self.folder()?;
            let marks =
                |scope: &Scope<'_>| scope.changed().iter().map(|one| (one.key.clone(), None, None)).collect();
            self.write_marks(&folder, marks, Outcome::Marked, "the changed file was accepted").await
        };
        self.audited("migrate.repair", json!({}), work).await
    }

    /// Writes rows for what was not run: which migration, statement and host, each all without one.
    async fn write_marks(
        &self,
        folder: &Folder,
        marks: impl FnOnce(&Scope<'_>) -> Vec<(Key, Option<u32>, Option<String>)>,
        outcome: Outcome,
        note: &str,
    ) -> Result<Report, Error> {
        self.locked(None, async |lock: &Lock| {
            let (mut state, hosts) = (self.state().await?, self.host_names());
            let marks = marks(&self.scope(folder, &state, &hosts));
            let mut report = Report::default();
            for (key, statement, host) in marks {
                let migration = folder.get(&key).ok_or_else(|| Error::NoMigration(key.to_string()))?;
                let scope = self.scope(folder, &state, &hosts);
                let records = marked(&scope, migration, statement, host.as_deref());
                for record in records {
                    let now = self.first()?.now().await?.1;
                    let record = Record {
                        seq: state.next_seq(),
                        outcome,
                        started: now.clone(),
                        finished: now,
                        actor: self.actor.to_string(),
                        note: note.to_owned(),
                        ..record
                    };
                    lock.check()?;
                    self.journal.write(&record).await?;
                    state.add(&record);
                    report.events.push(event(&record));
                }
            }
            Ok(report)
        })
        .await
    }
}

/// The rows that stand for these statements on these hosts, in the direction in which the migration is under way.
fn marked(
    scope: &Scope<'_>,
    migration: &Migration,
    statement: Option<u32>,
    host: Option<&str>,
) -> Vec<Record> {
    let going_down = scope.state.hosts(&migration.key).any(|(_, trace)| !trace.down.is_empty());
    let direction = if going_down && migration.down.is_some() { Direction::Down } else { Direction::Up };
    let mut records = Vec::new();
    for (number, one) in (1..).zip(&migration.script(direction).statements) {
        for name in scope.hosts_of(one) {
            let is_other = statement.is_some_and(|statement| statement != number);
            if is_other || host.is_some_and(|host| host != name) {
                continue;
            }
            let latest = scope.latest(&migration.key, direction, number, &name);
            let replaces = latest.map_or(0, |record| record.seq);
            records.push(Record { replaces, ..scope.record(migration, direction, (number, one), &name) });
        }
    }
    records
}

fn event(record: &Record) -> Event {
    Event {
        file: record.file.clone(),
        statement: record.statement,
        host: record.host.clone(),
        outcome: record.outcome,
        note: record.note.clone(),
        took_ms: 0,
    }
}
