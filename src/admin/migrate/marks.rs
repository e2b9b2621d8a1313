//! Rows of the journal for what was not run: baseline, mark, repair.
//!
//! Refuses to send a statement. What it writes says who says so, and why.

use serde_json::{Value, json};

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

/// What is to be written to the journal without being run.
#[derive(Clone, Debug)]
pub enum Marking {
    /// Everything up to a version is there already.
    Baseline { to: String },
    /// Somebody knows what became of a statement or of a whole migration.
    Mark(Mark),
    /// Files that were changed after they were run are what was run.
    Repair,
}

/// A migration, statement and host; each of the last two means all without one.
type Marked = (Key, Option<u32>, Option<String>);

impl Marking {
    fn action(&self) -> &'static str {
        match self {
            Marking::Baseline { .. } => "migrate.baseline",
            Marking::Mark(_) => "migrate.mark",
            Marking::Repair => "migrate.repair",
        }
    }

    fn details(&self) -> Value {
        match self {
            Marking::Baseline { to } => json!({ "to": to }),
            Marking::Mark(mark) => json!({
                "migration": mark.migration, "statement": mark.statement, "host": mark.host, "done": mark.done,
                "note": mark.note,
            }),
            Marking::Repair => json!({}),
        }
    }

    fn outcome(&self) -> Outcome {
        match self {
            Marking::Mark(mark) if !mark.done => Outcome::Undone,
            _ => Outcome::Marked,
        }
    }

    fn note(&self) -> &str {
        match self {
            Marking::Baseline { .. } => "baseline",
            Marking::Mark(mark) => &mark.note,
            Marking::Repair => "the changed file was accepted",
        }
    }

    fn marked(&self, scope: &Scope<'_>) -> Result<Vec<Marked>, Error> {
        match self {
            Marking::Baseline { to } => {
                let to = version(Some(to), scope.folder)?.unwrap_or_default();
                let within = |one: &&Migration| one.key.kind != Kind::Repeatable && one.key.version <= to;
                let pending = |one: &&Migration| scope.standing(one) == Standing::Pending;
                let all = scope.effective().into_iter().filter(within).filter(pending);
                Ok(all.map(|one| (one.key.clone(), None, None)).collect())
            }
            Marking::Mark(mark) => {
                let key = scope.folder.find(&mark.migration)?.key.clone();
                Ok(vec![(key, mark.statement, mark.host.clone())])
            }
            Marking::Repair => Ok(scope.changed().iter().map(|one| (one.key.clone(), None, None)).collect()),
        }
    }
}

impl Migrator {
    /// Writes down that everything up to a version is there already, without running it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn baseline(&self, to: &str) -> Result<Report, Error> {
        self.write_down(&Marking::Baseline { to: to.to_owned() }).await
    }

    /// Writes down what somebody knows of a statement or of a whole migration.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn mark(&self, mark: &Mark) -> Result<Report, Error> {
        self.write_down(&Marking::Mark(mark.clone())).await
    }

    /// Takes files that were changed after they were run as what was run.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn repair(&self) -> Result<Report, Error> {
        self.write_down(&Marking::Repair).await
    }

    /// Writes rows for what was not run.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn write_down(&self, marking: &Marking) -> Result<Report, Error> {
        let work = async {
            let folder = self.folder()?;
            self.locked(None, async |lock: &Lock| self.write_marks(&folder, marking, lock).await).await
        };
        self.audited(marking.action(), marking.details(), work).await
    }

    /// What [`Migrator::write_down`] would write. Changes nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn preview(&self, marking: &Marking) -> Result<Report, Error> {
        let (folder, state, hosts) = (self.folder()?, self.state().await?, self.host_names());
        let scope = self.scope(&folder, &state, &hosts);
        let mut report = Report::default();
        for one in marking.marked(&scope)? {
            let records = self.records(&scope, &one, marking)?;
            report.events.extend(records.iter().map(event));
        }
        Ok(report)
    }

    async fn write_marks(&self, folder: &Folder, marking: &Marking, lock: &Lock) -> Result<Report, Error> {
        let (mut state, hosts) = (self.state().await?, self.host_names());
        let all = marking.marked(&self.scope(folder, &state, &hosts))?;
        let mut report = Report::default();
        for one in all {
            for record in self.records(&self.scope(folder, &state, &hosts), &one, marking)? {
                let now = self.first()?.now().await?.1;
                let record = Record { seq: state.next_seq(), started: now.clone(), finished: now, ..record };
                lock.check()?;
                self.journal.write(&record).await?;
                state.add(&record);
                report.events.push(event(&record));
            }
        }
        Ok(report)
    }

    fn records(&self, scope: &Scope<'_>, one: &Marked, marking: &Marking) -> Result<Vec<Record>, Error> {
        let (key, statement, host) = one;
        let migration = scope.folder.get(key).ok_or_else(|| Error::NoMigration(key.to_string()))?;
        let records = marked(scope, migration, *statement, host.as_deref()).into_iter();
        let said = |record| Record {
            outcome: marking.outcome(),
            actor: self.actor.to_string(),
            note: marking.note().to_owned(),
            ..record
        };
        Ok(records.map(said).collect())
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
        for name in scope.hosts_of(&migration.key, one) {
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
