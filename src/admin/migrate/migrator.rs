//! What every verb stands on: the hosts, the journal, the lock, the trail, and who asks.
//!
//! Refuses to print and to read the environment: values are handed in.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::config::{Config, Engine};
use super::error::Error;
use super::files::Folder;
use super::host::Host;
use super::journal::{Journal, UNKNOWN_DATABASE, is_missing};
use super::lock::{Lease, Lock, Locker};
use super::plan::{self, Scope, Step};
use super::pragma::Danger;
use super::run::{Event, Observer, Run};
use super::script;
use super::shadow::{Coverage, Scratch};
use super::state::State;
use super::values::Values;
use crate::admin::audit::{Place, Trail};
use crate::admin::command::{self, Actor, Command, Permission};
use crate::admin::rows::{Keeping, qualified};
use crate::clickhouse::{self, Client, quote_identifier};
use crate::faults::Faults;

/// What a [`Migrator`] is made of.
pub struct Setup<'a> {
    pub clickhouse: &'a clickhouse::Config,
    pub config: &'a Config,
    pub actor: Actor,
    /// The environment, for `${NAME}` in files.
    pub values: Values,
    pub faults: Faults,
    /// Where commands are written down, before its own table of the trail.
    pub places: Vec<Place>,
    pub age_rules: AgeRules,
}

/// Reads which tables of the database have their TTL from rules of age in table files, so that it is no drift.
pub type AgeRules = Arc<dyn Fn() -> Result<BTreeSet<String>, String> + Send + Sync>;

/// How a run is limited.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The last version to run, or when going down the one to stay at.
    pub to: Option<String>,
    /// This migration alone.
    pub only: Option<String>,
    /// The plan that is meant; another one is refused.
    pub plan: Option<String>,
    pub allow: BTreeSet<Danger>,
    /// Longer than `lock_wait` of the configuration, if so.
    pub wait: Option<Duration>,
    pub no_shadow: bool,
    pub skip_disk_check: bool,
}

/// Runs migrations and tells how they stand.
#[derive(Clone)]
pub struct Migrator {
    pub(super) config: Config,
    pub(super) clickhouse: clickhouse::Config,
    pub(super) hosts: Vec<Host>,
    pub(super) journal: Journal,
    pub(super) trail: Trail,
    pub(super) actor: Actor,
    pub(super) values: Values,
    pub(super) age_rules: AgeRules,
    faults: Faults,
    observer: Observer,
    stop: CancellationToken,
}

impl Migrator {
    /// Connects to nothing yet. Needs a runtime around the call.
    ///
    /// # Errors
    /// A configuration that cannot work.
    pub fn new(setup: Setup<'_>) -> Result<Migrator, Error> {
        let Setup { clickhouse, config, actor, values, faults, places, age_rules } = setup;
        let hosts = Host::all(clickhouse)?;
        let first = hosts.first().ok_or_else(|| Error::Answer("there is no endpoint".to_owned()))?;
        let keeping = Keeping::new(clickhouse, config)?;
        let trail = trail(places, first.client.clone(), (&clickhouse.database, &config.table), &keeping);
        let table = qualified(&clickhouse.database, &config.table);
        let journal = Journal::new(first.client.clone(), table, keeping);
        Ok(Migrator {
            config: config.clone(),
            clickhouse: clickhouse.clone(),
            journal,
            trail,
            actor,
            values,
            age_rules,
            faults,
            observer: Arc::new(|_: &Event| {}),
            stop: CancellationToken::new(),
            hosts,
        })
    }

    /// Tells each statement as it is done.
    pub fn observed(self, observer: Observer) -> Migrator {
        Migrator { observer, ..self }
    }

    /// Ends runs before their next statement once this is cancelled.
    pub fn stopped_by(self, stop: CancellationToken) -> Migrator {
        Migrator { stop, ..self }
    }

    /// The same for somebody else, over the same connections.
    pub fn acting(&self, actor: Actor) -> Migrator {
        Migrator { actor, ..self.clone() }
    }

    pub(super) fn host_names(&self) -> Vec<String> {
        self.hosts.iter().map(|host| host.name.clone()).collect()
    }

    pub(super) fn first(&self) -> Result<&Host, Error> {
        self.hosts.first().ok_or_else(|| Error::Answer("there is no endpoint".to_owned()))
    }

    fn command(&self, action: &'static str, details: serde_json::Value) -> Command {
        let needs = match action {
            "migrate.down" => Permission::MigrateDown,
            "migrate.mark" | "migrate.baseline" | "migrate.repair" => Permission::MigrateJournal,
            _ => Permission::MigrateUp,
        };
        let resource = self.clickhouse.database.clone();
        Command { action, resource, details, needs }
    }

    /// Makes the database where it is missing: before that nothing can be written down in it either, but to the log.
    async fn prepare_databases(&self) -> Result<(), Error> {
        if !self.actor.may(Permission::MigrateUp) {
            return Ok(());
        }
        for (host, endpoint) in self.hosts.iter().zip(&self.clickhouse.endpoints) {
            match host.client.query("SELECT 1", &[]).await {
                Ok(_) => {}
                Err(error) if error.exception() == Some(UNKNOWN_DATABASE) => {
                    let endpoints = vec![endpoint.clone()];
                    let config = clickhouse::Config {
                        endpoints,
                        database: "default".to_owned(),
                        ..self.clickhouse.clone()
                    };
                    let database = quote_identifier(&self.clickhouse.database);
                    tracing::info!(target: "penstock::audit", actor = %self.actor, host = host.name, "makes the database");
                    let sql = format!("CREATE DATABASE IF NOT EXISTS {database}");
                    clickhouse::Client::new(&config)?.execute_idempotent(&sql, &[]).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(super) fn locker(&self) -> Locker {
        let mut hosts = self.hosts.clone();
        // With the journal everywhere a process may name any endpoint first; the lock has to be in one place all the same.
        if self.config.engine == Engine::ReplicatedMergeTree {
            hosts.sort_by(|one, other| one.name.cmp(&other.name));
        }
        Locker {
            hosts,
            database: self.clickhouse.database.clone(),
            table: format!("{}_lock", self.config.table),
            lease: self.config.lock_lease.0,
        }
    }

    async fn lock(&self, wait: Option<Duration>) -> Result<Lock, Error> {
        self.journal.create().await?;
        let wait = wait.unwrap_or(self.config.lock_wait.0);
        self.locker().take(&self.actor.to_string(), wait, &self.stop).await
    }

    /// Who migrates now.
    pub(super) async fn holder(&self) -> Result<Option<Lease>, Error> {
        match self.locker().holder().await {
            Ok(holder) => Ok(holder),
            Err(Error::ClickHouse(error)) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Does the work under the lock.
    pub(super) async fn locked<T>(
        &self,
        wait: Option<Duration>,
        work: impl AsyncFnOnce(&Lock) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let lock = self.lock(wait).await?;
        let result = Box::pin(work(&lock)).await;
        lock.release().await;
        result
    }

    /// The one path of everything that changes something, once there is a database to write it down in.
    pub(super) fn audited<T>(
        &self,
        action: &'static str,
        details: serde_json::Value,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Pin<Box<impl Future<Output = Result<T, Error>>>> {
        Box::pin(async move {
            self.prepare_databases().await?;
            command::run(&self.trail, &self.actor, self.command(action, details), work).await
        })
    }

    pub(super) async fn state(&self) -> Result<State, Error> {
        Ok(State::new(&self.journal.read().await?))
    }

    pub(super) fn scope<'a>(&self, folder: &'a Folder, state: &'a State, hosts: &'a [String]) -> Scope<'a> {
        Scope { folder, state, hosts, target: self.config.target }
    }

    /// Everything that is looked at before the first statement goes out.
    pub(super) async fn check(
        &self,
        scope: &Scope<'_>,
        steps: &[Step<'_>],
        options: &Options,
    ) -> Result<String, Error> {
        let found = plan::hash(steps);
        if let Some(expected) = options.plan.as_ref().filter(|expected| **expected != found) {
            return Err(Error::PlanDiffers { expected: expected.clone(), found });
        }
        plan::check_dangers(steps, &options.allow)?;
        if !options.skip_disk_check {
            self.check_disks(steps).await?;
        }
        let forwards = steps.iter().all(|step| step.direction == super::journal::Direction::Up);
        if self.config.shadow && !options.no_shadow && forwards && !steps.is_empty() {
            self.rehearse(scope, steps).await?;
        }
        Ok(found)
    }

    /// Runs the whole history, with what is new, in a scratch database.
    async fn rehearse(&self, scope: &Scope<'_>, steps: &[Step<'_>]) -> Result<(), Error> {
        Scratch::sweep(self.first()?, &self.clickhouse.database).await?;
        let scratch = self.scratch().await?;
        let mut coverage = Coverage::default();
        let result = async {
            for migration in scope.effective() {
                let planned = steps.iter().any(|step| step.migration.key == migration.key);
                if planned || scope.state.is_begun(&migration.key) {
                    scratch.replay(migration, &self.values, |_| true, &mut coverage).await?;
                }
            }
            Ok(())
        };
        let result = result.await;
        scratch.remove().await;
        for note in coverage.notes {
            tracing::info!("not tried in the scratch database: {note}");
        }
        result
    }

    /// An empty database beside the real one.
    pub(super) async fn scratch(&self) -> Result<Scratch, Error> {
        Scratch::create(self.first()?, &self.clickhouse).await
    }

    /// Runs the steps under the lock, which stays the caller's.
    pub(super) async fn carry_out(
        &self,
        folder: &Folder,
        state: State,
        steps: &[Step<'_>],
        lock: &Lock,
    ) -> Result<Vec<Event>, Error> {
        let mut run = Run {
            folder,
            hosts: &self.hosts,
            journal: &self.journal,
            lock,
            state,
            database: &self.clickhouse.database,
            target: self.config.target,
            timeout: self.config.timeout.0,
            actor: self.actor.to_string(),
            faults: &self.faults,
            observer: &self.observer,
            stop: &self.stop,
            events: Vec::new(),
        };
        run.all(steps).await?;
        Ok(run.events)
    }

    /// The folder, as the configuration names it.
    ///
    /// # Errors
    /// Every fault of every file.
    pub fn folder(&self) -> Result<Folder, Error> {
        Folder::read(&self.config.path)
    }
}

/// The trail of everything that changes tables: these places, the log, and a table beside the journal.
pub fn trail(
    mut places: Vec<Place>,
    client: Client,
    (database, journal): (&str, &str),
    keeping: &Keeping,
) -> Trail {
    let table = qualified(database, &format!("{journal}_audit"));
    places.extend([Place::Log, Place::Table { client, table, keeping: keeping.clone() }]);
    Trail::new(places)
}

/// A name for a scratch database that nobody else takes.
pub(super) fn scratch_name(database: &str) -> String {
    let token = script::sha256(&uuid::Uuid::new_v4().to_string());
    format!("{}{}", scratch_prefix(database), token.get(..8).unwrap_or_default())
}

pub(super) fn scratch_prefix(database: &str) -> String {
    format!("{database}_penstock_shadow_")
}
