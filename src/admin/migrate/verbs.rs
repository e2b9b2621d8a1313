//! The verbs: status, plan, up, down, verify, and the library's four.
//!
//! Refuses to change anything outside of a command: each that does is authorised and written to the trail.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::error::Error;
use super::estimate::Cost;
use super::files::{Folder, Migration, Version};
use super::journal::{Direction, Outcome};
use super::lock::{Lease, Lock};
use super::migrator::{Migrator, Options};
use super::plan::{self, Scope, Step};
use super::run::Event;
use super::state::Standing;
use super::statement::Class;

/// How one migration stands.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StatusLine {
    pub migration: String,
    pub file: String,
    pub standing: Standing,
    /// Its file is not as it was when it was run.
    pub changed: bool,
    /// When its last statement ended, and who ran it.
    pub finished: String,
    pub actor: String,
    /// Of the statement that failed.
    pub error: String,
    pub has_down: bool,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Status {
    pub migrations: Vec<StatusLine>,
    /// In the journal and not in the folder.
    pub missing: Vec<String>,
    /// Who migrates now.
    pub holder: Option<Lease>,
}

impl Status {
    /// Whether anything is left to run.
    pub fn is_pending(&self) -> bool {
        self.migrations.iter().any(|one| one.standing != Standing::Applied)
    }

    /// Whether folder and journal contradict each other.
    pub fn differs(&self) -> bool {
        !self.missing.is_empty() || self.migrations.iter().any(|one| one.changed)
    }
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlannedStatement {
    pub file: String,
    pub statement: u32,
    pub line: usize,
    pub hosts: Vec<String>,
    pub class: Class,
    pub dangers: Vec<&'static str>,
    /// It was sent before and no answer is known: it is found out first.
    pub in_doubt: bool,
    /// What it would write again on the first of its hosts.
    pub cost: Cost,
    /// As it stands in the file.
    pub sql: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Planned {
    pub hash: String,
    pub statements: Vec<PlannedStatement>,
    pub holder: Option<Lease>,
}

/// What a run has done.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Report {
    pub plan: String,
    pub events: Vec<Event>,
}

/// A migration that is not as it should be.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Verified {
    pub file: String,
    pub host: String,
    pub message: String,
}

pub(super) fn version(text: Option<&String>, folder: &Folder) -> Result<Option<Version>, Error> {
    let Some(text) = text else { return Ok(None) };
    // Version 0 stands before all.
    match Version::parse(text.trim_start_matches('V')) {
        Some(version) => Ok(Some(version)),
        None => Ok(Some(folder.find(text)?.key.version.clone())),
    }
}

impl Migrator {
    /// Makes what penstock itself needs: the database, the journal and the audit trail.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn initialize(&self) -> Result<(), Error> {
        self.audited("migrate.initialize", json!({}), self.journal.create()).await
    }

    /// How every migration stands. Changes nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn status(&self) -> Result<Status, Error> {
        let (folder, state, hosts) = (self.folder()?, self.state().await?, self.host_names());
        let scope = self.scope(&folder, &state, &hosts);
        let changed: Vec<_> = scope.changed().iter().map(|one| &one.key).collect();
        let one = |migration: &Migration| {
            let records = state.hosts(&migration.key).flat_map(|(_, trace)| trace.up.values());
            let last = records.max_by_key(|record| record.seq);
            StatusLine {
                migration: migration.key.to_string(),
                file: migration.file.clone(),
                standing: scope.standing(migration),
                changed: changed.contains(&&migration.key),
                finished: last.map(|record| record.finished.clone()).unwrap_or_default(),
                actor: last.map(|record| record.actor.clone()).unwrap_or_default(),
                error: last.map(|record| record.error.clone()).unwrap_or_default(),
                has_down: migration.down.is_some(),
            }
        };
        Ok(Status {
            migrations: scope.effective().into_iter().map(one).collect(),
            missing: state.keys().filter(|key| scope.is_missing(key)).map(ToString::to_string).collect(),
            holder: self.holder().await?,
        })
    }

    /// What `up` would run, and how dear it is. Changes nothing.
    ///
    /// # Errors
    /// As [`Migrator::up`] before its first statement.
    pub async fn plan(&self, options: &Options) -> Result<Planned, Error> {
        self.planned(options, Direction::Up).await
    }

    /// What `down` would run. Changes nothing.
    ///
    /// # Errors
    /// As [`Migrator::down`] before its first statement.
    pub async fn plan_down(&self, options: &Options) -> Result<Planned, Error> {
        self.planned(options, Direction::Down).await
    }

    async fn planned(&self, options: &Options, direction: Direction) -> Result<Planned, Error> {
        let (folder, state, hosts) = (self.folder()?, self.state().await?, self.host_names());
        let scope = self.scope(&folder, &state, &hosts);
        let steps = self.steps(&scope, options, direction)?;
        let mut statements = Vec::new();
        for step in &steps {
            let in_doubt = |host: &String| {
                let latest = scope.latest(&step.migration.key, step.direction, step.number, host);
                latest.is_some_and(|record| record.outcome == Outcome::Sent)
            };
            statements.push(PlannedStatement {
                file: step.file(),
                statement: step.number,
                line: step.statement.line,
                hosts: step.hosts.clone(),
                class: step.statement.reading.class(),
                dangers: step.dangers.iter().map(|danger| danger.name()).collect(),
                in_doubt: step.hosts.iter().any(in_doubt),
                cost: self.cost(step).await?,
                sql: step.statement.text.clone(),
            });
        }
        let holder = self.holder().await?;
        Ok(Planned { hash: plan::hash(&steps), statements, holder })
    }

    /// Runs everything that is not run yet, within the options.
    ///
    /// # Errors
    /// See [`Error`]. What was done before it stays done, and the next run goes on there.
    pub async fn up(&self, options: &Options) -> Result<Report, Error> {
        self.run(&self.folder()?, options, Direction::Up).await
    }

    /// Runs every migration of a folder that is not run yet.
    ///
    /// # Errors
    /// As [`Migrator::up`].
    pub async fn run_migrations(&self, folder: &Path, options: &Options) -> Result<Report, Error> {
        self.run(&Folder::read(folder)?, options, Direction::Up).await
    }

    /// Runs this migration alone.
    ///
    /// # Errors
    /// As [`Migrator::up`].
    pub async fn apply_migration(&self, migration: &str, options: &Options) -> Result<Report, Error> {
        self.up(&Options { only: Some(migration.to_owned()), to: None, ..options.clone() }).await
    }

    /// Takes back every version above `options.to`, newest first.
    ///
    /// # Errors
    /// As [`Migrator::up`], and a version that has no down file.
    pub async fn down(&self, options: &Options) -> Result<Report, Error> {
        self.run(&self.folder()?, options, Direction::Down).await
    }

    /// Takes this migration alone back.
    ///
    /// # Errors
    /// As [`Migrator::down`].
    pub async fn rollback_migration(&self, migration: &str, options: &Options) -> Result<Report, Error> {
        self.down(&Options { only: Some(migration.to_owned()), to: None, ..options.clone() }).await
    }

    /// Plans and runs in one direction, under the lock from the first look to the last statement.
    async fn run(&self, folder: &Folder, options: &Options, direction: Direction) -> Result<Report, Error> {
        let work = self.locked(options.wait, async |lock: &Lock| {
            let (state, hosts) = (self.state().await?, self.host_names());
            let scope = self.scope(folder, &state, &hosts);
            let steps = self.steps(&scope, options, direction)?;
            let plan = self.check(&scope, &steps, options).await?;
            let events = self.carry_out(folder, state.clone(), &steps, lock).await?;
            Ok(Report { plan, events })
        });
        let action = match direction {
            Direction::Up => "migrate.up",
            Direction::Down => "migrate.down",
        };
        let details = json!({ "to": options.to, "only": options.only, "plan": options.plan });
        self.audited(action, details, work).await
    }

    fn steps<'a>(
        &self,
        scope: &Scope<'a>,
        options: &Options,
        direction: Direction,
    ) -> Result<Vec<Step<'a>>, Error> {
        scope.check()?;
        let to = version(options.to.as_ref(), scope.folder)?;
        let only = options.only.as_ref().map(|text| scope.folder.find(text)).transpose()?.map(|one| &one.key);
        match direction {
            Direction::Up => scope.up(to.as_ref(), only, &self.values),
            Direction::Down => scope.down(to.as_ref(), only, &self.values),
        }
    }

    /// Compares what was run with the files, and asks every `verify`. Changes nothing.
    ///
    /// # Errors
    /// See [`Error`]; what is wrong with migrations is no error but the answer.
    pub async fn verify(&self) -> Result<Vec<Verified>, Error> {
        let (folder, state, hosts) = (self.folder()?, self.state().await?, self.host_names());
        let scope = self.scope(&folder, &state, &hosts);
        let mut found: Vec<Verified> = Vec::new();
        let finding = |file: &str, host: &str, message: &str| Verified {
            file: file.to_owned(),
            host: host.to_owned(),
            message: message.to_owned(),
        };
        let changed = scope.changed();
        found.extend(changed.iter().map(|one| finding(&one.file, "", "was changed after it was run")));
        for migration in scope.effective() {
            if scope.standing(migration) != Standing::Applied {
                continue;
            }
            let of_statements = migration.up.statements.iter().filter_map(|one| one.pragmas.verify.as_ref());
            for select in migration.up.pragmas.verify.iter().chain(of_statements) {
                for host in self.hosts.iter().filter(|host| state.trace(&migration.key, &host.name).is_some())
                {
                    if !host.is_true(select).await? {
                        found.push(finding(&migration.file, &host.name, &format!("is not true: {select}")));
                    }
                }
            }
        }
        Ok(found)
    }
}
