//! `penstock admin`, and what its commands share with it: the trail, and who asks on this machine.
//!
//! Refuses to start without keys and without a trail: what cannot be authorised and written down is not served.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::crypt::vault;
use super::desk::place_of_files;
use super::reload::tell_in_force;
use super::run::stop_on_signals;
use super::{Error, fleet, runtime};
use crate::admin::access::{self, Access};
use crate::admin::audit::{Chain, ChainError, Place, Trail};
use crate::admin::command::{self, Actor, Command, Permission};
use crate::admin::console::Console;
use crate::admin::desk::{Desk, Setup as DeskSetup};
use crate::admin::desks::Desks;
use crate::admin::http::{self, Parts, Server};
use crate::admin::schedule::{Scheduler, Schedules};
use crate::admin::series;
use crate::admin::watch::Watch;
use crate::admin::watch::upkeep::Upkeep;
use crate::config::{Config, Inputs, Loaded};
use crate::kafka::leader::Candidate;
use crate::telemetry::health::{Health, State};
use crate::telemetry::{http as surface, logs};

/// Looks and claims end by themselves within their time-outs.
const RUNTIME_END_MAX: Duration = Duration::from_secs(1);
const BACKGROUND_END_MAX: Duration = Duration::from_secs(2);

impl From<command::Error> for Error {
    fn from(error: command::Error) -> Self {
        match error {
            error @ command::Error::Forbidden { .. } => Error::WrongUse(error.into()),
            error => Error::Failed(error.into()),
        }
    }
}

impl From<ChainError> for Error {
    fn from(error: ChainError) -> Self {
        match error {
            error @ (ChainError::Key(_) | ChainError::Unset(_)) => Error::WrongUse(error.into()),
            error => Error::Failed(error.into()),
        }
    }
}

impl From<access::KeysError> for Error {
    fn from(error: access::KeysError) -> Self {
        Error::WrongUse(error.into())
    }
}

impl From<http::Error> for Error {
    fn from(error: http::Error) -> Self {
        Error::WrongUse(error.into())
    }
}

/// Where commands are written down beside the log: the chained file, if there is one.
pub(super) fn places(config: &Config) -> Result<Vec<Place>, Error> {
    match config.admin.audit.file {
        Some(_) => Ok(vec![Place::File(Arc::new(Chain::new(&config.admin.audit, &config.crypt)?))]),
        None => Ok(Vec::new()),
    }
}

/// The user of this process on this machine, as far as the environment and the kernel tell.
pub(super) fn local_actor(environment: &[(String, String)]) -> Actor {
    let variable =
        |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let user = variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(|| "unknown user".to_owned());
    let machine =
        std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "unknown machine".to_owned());
    Actor::local(&user, machine.trim())
}

/// Serves the admin interface until a signal; whether everything that was under way ended in time.
pub fn serve(inputs: &Inputs, loaded: &Loaded) -> Result<bool, Error> {
    let config = &loaded.config;
    logs::install(&config.telemetry.log).map_err(|error| Error::WrongUse(error.into()))?;
    tell_in_force(loaded);
    series::create(&config.admin.schedules, &config.admin.backup);
    let health = Health::new(config.telemetry.stalled_after.0);
    let telemetry = surface::Server::start(&config.telemetry.listen, health.clone())
        .map_err(|error| Error::WrongUse(error.into()))?;
    tracing::info!(listen = %telemetry.addr(), "metrics and health are served");
    let runtime = runtime()?;
    let result = runtime.block_on(until_stopped(inputs, config, &health));
    // A look at brokers that hang would hold up the end.
    runtime.shutdown_timeout(RUNTIME_END_MAX);
    health.set_state(State::Stopped, "stopped");
    telemetry.stop();
    result
}

async fn until_stopped(inputs: &Inputs, config: &Config, health: &Health) -> Result<bool, Error> {
    let shutdown = CancellationToken::new();
    stop_on_signals(&shutdown)?;
    let access = Access::new(&config.admin.access, &config.crypt)?.looking_up(fleet::revocations(config)?);
    access.warm(Utc::now()).await;
    let chain = Arc::new(Chain::new(&config.admin.audit, &config.crypt)?);
    let places = vec![Place::File(Arc::clone(&chain))];
    let trail = Trail::new(vec![Place::File(Arc::clone(&chain)), Place::Log]);
    let actor = local_actor(&inputs.environment);
    let setup = DeskSetup {
        clickhouse: &config.clickhouse,
        migrations: &config.migrations,
        actor: actor.clone(),
        places: vec![Place::File(Arc::clone(&chain))],
        endpoint: None,
        observer: Arc::new(|_| {}),
    };
    let desks = Desks::new(&setup, place_of_files(config))?;
    // Without a ring the routes of keys say so.
    let vault = vault(config).ok();
    let desk = Desk::new(setup)?;
    let backups = super::backup::backups(config, desk.clone())?;
    let instance = actor.origin.clone();
    let migrator = fleet::migrator(inputs, config, &actor, places)?;
    let jobs = fleet::jobs(config, &instance)?;
    let candidate = fleet::candidate(config)?;
    let of_schedules = (jobs.clone(), trail.clone(), instance.as_str());
    let chained = Some(Arc::clone(&chain));
    let schedules = Arc::new(fleet::schedules(config, migrator.clone(), chained.clone(), of_schedules));
    let of_watch = (Some(health.clone()), instance.as_str());
    let watch = Arc::new(fleet::watch(config, chained, candidate.clone(), Some(backups.clone()), of_watch)?);
    let console = fleet::console(config, &jobs, &backups, &watch);
    let looking = (&watch, &console, fleet::upkeep(config, desk, migrator.clone(), candidate.clone()));
    let background = Background::start(config, &access, looking, (&schedules, candidate)).await;
    let parts = Parts {
        config: config.admin.clone(),
        crypt: config.crypt.clone(),
        access,
        trail: trail.clone(),
        chain,
        migrator,
        desks,
        vault,
        jobs,
        schedules,
        watch,
        backups,
        console,
        letters: fleet::letters(config),
        line: fleet::line(config)?,
    };
    let start = async { Ok::<Server, Error>(Server::start(parts).await?) };
    // A trail that cannot be written is found out now, and not by the first command.
    let server =
        Box::pin(command::run(&trail, &actor, own_command("admin.start", &config.admin.listen), start))
            .await?;
    tracing::info!(listen = %server.addr(), encrypted = config.admin.tls.cert_file.is_some(), "the admin interface is served");
    health.set_state(State::Running, format!("serving the admin interface on {}", server.addr()));
    shutdown.cancelled().await;
    health.set_state(State::Draining, "waiting for jobs to stop");
    background.stop().await;
    let stop = async { Ok::<bool, Error>(server.stop(config.shutdown.drain.0).await) };
    let drained = command::run(&trail, &actor, own_command("admin.stop", &config.admin.listen), stop).await?;
    if !drained {
        tracing::warn!(
            "jobs were still running at the end; what became of their statements is found out by the next run"
        );
    }
    Ok(drained)
}

/// What goes on beside requests.
struct Background {
    stop: CancellationToken,
    tasks: TaskTracker,
    candidate: Option<Arc<Candidate>>,
}

impl Background {
    async fn start(
        config: &Config,
        access: &Access,
        (watch, console, upkeep): (&Arc<Watch>, &Arc<Console>, Upkeep),
        (schedules, candidate): (&Arc<Schedules>, Option<Arc<Candidate>>),
    ) -> Background {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        if let Some(list) = access.revocations().cloned() {
            if let Err(error) = list.load(Utc::now()).await {
                tracing::warn!(%error, "nobody is let in before the list of revoked tokens can be read");
            }
            tasks.spawn(list.watch(config.admin.access.revoked_refresh.0, stop.clone()));
        }
        tasks.spawn(Arc::clone(watch).run(stop.clone()));
        tasks.spawn(Arc::clone(console).run(stop.clone()));
        tasks.spawn(upkeep.run(stop.clone()));
        if let Some(candidate) = candidate.clone() {
            tasks.spawn(Scheduler::new(Arc::clone(schedules), candidate).run(stop.clone()));
        }
        tasks.close();
        Background { stop, tasks, candidate }
    }

    /// Nothing more is begun, and another process may lead. A look that is under way is not waited for.
    async fn stop(self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(BACKGROUND_END_MAX, self.tasks.wait()).await;
        if let Some(candidate) = self.candidate {
            candidate.leave().await;
        }
    }
}

fn own_command(action: &'static str, listen: &str) -> Command {
    Command { action, resource: listen.to_owned(), details: json!({}), needs: Permission::SelfRead }
}
