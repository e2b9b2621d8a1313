//! What admin processes and commands about them are made of: jobs, schedules, the watch, the list of revoked tokens.
//!
//! Refuses to run any of it.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Error, tables};
use crate::admin::access::Revocations;
use crate::admin::audit::{Chain, Trail};
use crate::admin::backup::Backups;
use crate::admin::command::Actor;
use crate::admin::console::{self, Console};
use crate::admin::desk::Desk;
use crate::admin::jobs::{self, History, Jobs};
use crate::admin::letters::{Curtain, DeadLetters, Topics};
use crate::admin::line::LineControl;
use crate::admin::migrate::{Migrator, Setup, Values};
use crate::admin::rows::Keeping;
use crate::admin::schedule::{Schedules, Shelf, Tables, Works};
use crate::admin::watch::upkeep::{self, Upkeep};
use crate::admin::watch::{self, Watch};
use crate::config::{Config, Inputs};
use crate::faults::Faults;
use crate::kafka::leader::Candidate;
use crate::telemetry::Health;

impl From<watch::Error> for Error {
    fn from(error: watch::Error) -> Self {
        match error {
            watch::Error::ClickHouse(error) => error.into(),
            error => Error::WrongUse(error.into()),
        }
    }
}

pub(super) fn jobs(config: &Config, instance: &str) -> Result<Jobs, Error> {
    let setup = jobs::Setup {
        clickhouse: &config.clickhouse,
        config: &config.admin.jobs,
        keeping: Keeping::new(&config.clickhouse, &config.migrations)?,
    };
    Ok(Jobs::new(&config.admin.jobs, instance, Some(History::new(&setup)?)))
}

pub(super) fn migrator(
    inputs: &Inputs,
    config: &Config,
    actor: &Actor,
    places: Vec<crate::admin::audit::Place>,
) -> Result<Migrator, Error> {
    Ok(Migrator::new(Setup {
        clickhouse: &config.clickhouse,
        config: &config.migrations,
        actor: actor.clone(),
        values: Values::new(inputs.environment.clone()),
        faults: Faults::new(&config.faults),
        places,
        age_rules: tables::age_rules(config),
    })?)
}

/// The schedules of the configuration; their table files are read when they are run.
pub(super) fn schedules(
    config: &Config,
    migrator: Migrator,
    chain: Option<Arc<Chain>>,
    (jobs, trail, instance): (Jobs, Trail, &str),
) -> Schedules {
    let of_tables = config.clone();
    let tables: Tables = Arc::new(move || tables::load(&of_tables).map_err(|error| error.to_string()));
    let of_backups = config.clone();
    let shelf: Shelf =
        Arc::new(move |desk| super::backup::backups(&of_backups, desk).map_err(|error| error.to_string()));
    let works = Works {
        clickhouse: config.clickhouse.clone(),
        migrations: config.migrations.clone(),
        lifecycle: config.lifecycle.clone(),
        migrator,
        chain,
        tables,
        shelf,
    };
    Schedules::new(&config.admin.schedules, works, jobs, trail, instance)
}

/// A place among those of which one leads; none where nothing is scheduled.
pub(super) fn candidate(config: &Config) -> Result<Option<Arc<Candidate>>, Error> {
    if config.admin.schedules.is_empty() {
        return Ok(None);
    }
    let leader = &config.admin.leader;
    let name = leader.name.clone().unwrap_or_else(|| format!("{}.penstock-admin", config.kafka.group));
    let candidate = Candidate::start(&config.kafka, &name, leader.session_timeout.0);
    let failed = |error| Error::Failed(anyhow::Error::new(error).context("no thread can be started"));
    Ok(Some(Arc::new(candidate.map_err(failed)?)))
}

pub(super) fn watch(
    config: &Config,
    chain: Option<Arc<Chain>>,
    candidate: Option<Arc<Candidate>>,
    backups: Option<Backups>,
    (health, instance): (Option<Health>, &str),
) -> Result<Watch, Error> {
    Ok(Watch::new(watch::Setup {
        config: &config.admin.health,
        crypt: &config.crypt,
        clickhouse: &config.clickhouse,
        kafka: &config.kafka,
        chain,
        candidate,
        certificates: certificates(config),
        backups,
        health,
        instance: instance.to_owned(),
    })?)
}

pub(super) fn upkeep(
    config: &Config,
    desk: Desk,
    migrator: Migrator,
    candidate: Option<Arc<Candidate>>,
) -> Upkeep {
    let files = super::desk::place_of_files(config);
    let ring = config.crypt.keyring_file.clone();
    Upkeep::new(upkeep::Setup { config: &config.admin.health, desk, files, migrator, ring, candidate })
}

/// Dead letters, of the topics that the table files name when they are asked for.
pub(super) fn letters(config: &Config) -> DeadLetters {
    let of_tables = config.clone();
    let topics: Topics =
        Arc::new(move |topic| super::dlq::topics(&of_tables, topic).map_err(|error| error.refusal()));
    let of_tables = config.clone();
    let curtain: Curtain = Arc::new(move |letters| super::dlq::Curtain::draw_over(letters, &of_tables));
    DeadLetters::new(&config.kafka, topics, curtain)
}

/// What gives orders to the line, where there is a key for it.
pub(super) fn line(config: &Config) -> Result<LineControl, Error> {
    let made = LineControl::new(&config.admin.console, &config.crypt);
    made.map_err(|error| Error::WrongUse(error.into()))
}

/// The console of the admin process.
pub(super) fn console(config: &Config, jobs: &Jobs, backups: &Backups, watch: &Arc<Watch>) -> Arc<Console> {
    let sources = console::Sources {
        jobs: jobs.clone(),
        backups: backups.clone(),
        watch: Arc::clone(watch),
        policies: config.admin.backup.policies.keys().cloned().collect(),
    };
    Arc::new(Console::new(&config.admin.console, Some(sources)))
}

/// The certificates that this process shows to others.
fn certificates(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let all = [
        ("admin.tls.cert_file", &config.admin.tls.cert_file),
        ("clickhouse.tls.cert_file", &config.clickhouse.tls.cert_file),
        ("kafka.security.cert_file", &config.kafka.security.cert_file),
    ];
    all.into_iter().filter_map(|(setting, path)| Some((setting, path.clone()?))).collect()
}

pub(super) fn revocations(config: &Config) -> Result<Revocations, Error> {
    let access = &config.admin.access;
    let keeping = Keeping::new(&config.clickhouse, &config.migrations)?;
    Ok(Revocations::new(&config.clickhouse, &access.revoked_table, keeping)?)
}
