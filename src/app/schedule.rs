//! `penstock schedule`: how schedules stand, what came of their runs, and running one now.
//!
//! Refuses to print, and to lead: what is due is the admin process's.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use indicatif::ProgressBar;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::admin::{local_actor, places};
use super::progress::styled;
use super::{Error, connect, fleet, runtime};
use crate::admin::audit::{Chain, Place, Trail};
use crate::admin::command::Actor;
use crate::admin::jobs::{self, Ask, Jobs};
use crate::admin::schedule::{self, Schedules};
use crate::config::{Inputs, Loaded};
use crate::telemetry::logs;

pub use crate::admin::jobs::{Job, State};
pub use crate::admin::schedule::Line;

/// How often a run is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

impl From<jobs::Error> for Error {
    fn from(error: jobs::Error) -> Self {
        match error {
            jobs::Error::Unread(error) => error.into(),
            error @ jobs::Error::Overlap { .. } => Error::Locked(error.into()),
            error => Error::Failed(error.into()),
        }
    }
}

impl From<schedule::Error> for Error {
    fn from(error: schedule::Error) -> Self {
        match error {
            schedule::Error::Jobs(error) => error.into(),
            error => Error::WrongUse(error.into()),
        }
    }
}

/// Schedules beside a server that has answered.
pub struct Session {
    schedules: Schedules,
    jobs: Jobs,
    actor: Actor,
    runtime: Runtime,
}

impl Session {
    pub fn open(inputs: &Inputs, loaded: &Loaded) -> Result<Session, Error> {
        let config = &loaded.config;
        logs::install(&config.telemetry.log).map_err(|error| Error::WrongUse(error.into()))?;
        let (runtime, actor) = (runtime()?, local_actor(&inputs.environment));
        let (schedules, jobs) = runtime.block_on(async {
            connect(config).await?.close().await;
            let chain = match config.admin.audit.file {
                Some(_) => Some(Arc::new(Chain::new(&config.admin.audit, &config.crypt)?)),
                None => None,
            };
            let places = places(config)?;
            let trail = Trail::new(places.iter().cloned().chain([Place::Log]).collect());
            let migrator = fleet::migrator(inputs, config, &actor, places)?;
            let jobs = fleet::jobs(config, &actor.origin)?;
            let schedules = fleet::schedules(config, migrator, chain, (jobs.clone(), trail, &actor.origin));
            Ok::<_, Error>((schedules, jobs))
        })?;
        Ok(Session { schedules, jobs, actor, runtime })
    }

    /// Each schedule; and whether the table of jobs could be read.
    pub fn list(&self) -> (Vec<Line>, bool) {
        self.runtime.block_on(self.schedules.list(Utc::now()))
    }

    pub fn history(&self, name: &str, count_max: usize) -> Result<(Vec<Job>, bool), Error> {
        Ok(self.runtime.block_on(self.schedules.history(name, count_max))?)
    }

    /// What a run would do.
    pub fn preview(&self, name: &str) -> Result<Value, Error> {
        let preview = self.runtime.block_on(self.schedules.preview(name, &self.actor))?;
        preview.map_err(|failed| Error::Failed(anyhow::Error::msg(failed.to_string())))
    }

    /// Runs it now, and waits for its end.
    pub fn run(&self, name: &str) -> Result<Job, Error> {
        let bar = styled(ProgressBar::new_spinner(), "{spinner} {elapsed} {msg}");
        let ask = Ask {
            action: "schedule.run",
            actor: self.actor.name.clone(),
            key: None,
            fingerprint: String::new(),
            run: None,
            waits: false,
            may_go_unwritten: false,
        };
        let job = self.runtime.block_on(async {
            let (mut job, _) = self.schedules.run_now(name, &self.actor, ask)?;
            while job.state == State::Running {
                bar.set_message(format!("{name}, {} steps", job.steps));
                bar.tick();
                tokio::time::sleep(LOOK_INTERVAL).await;
                job = self.jobs.get(&job.id).await?;
            }
            // Its last row is written.
            self.jobs.close().await;
            Ok::<Job, Error>(job)
        });
        bar.finish_and_clear();
        job
    }
}
