//! Schedules: commands that are run again and again, once in the whole fleet.
//!
//! Refuses to run a due time twice. The leader claims it by a commit that the brokers take from the leader alone
//! (`kafka::leader`), and only then begins; whoever leads later knows the claim. Each run is a job, in the table of jobs,
//! and a command, in the trail.
//!
//! | what | where |
//! |---|---|
//! | what can be scheduled | `commands`, on `works` |
//! | when it is due | `when` |
//! | who begins it | `scheduler` |

pub mod commands;
mod config;
mod scheduler;
pub mod when;
mod works;

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

pub use config::{Config, Leader};
pub use scheduler::Scheduler;
pub use works::{Failed, Shelf, Tables, Works};

use super::audit::Trail;
use super::command::{self, Actor, Permission};
use super::jobs::{self, Ask, Handle, Job, Jobs, Run};
use when::{Lateness, When};

/// As many claims fit beside an offset.
pub const SCHEDULES_MAX: usize = 50;
const NAME_CHARS_MAX: usize = 40;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no schedule {0}\nhint: the schedules are {1}")]
    Unknown(String, String),
    #[error("{actor} may not run {name}\nhint: it needs the permission {}", needs.name())]
    Forbidden { actor: String, name: String, needs: Permission },
    #[error(transparent)]
    Jobs(#[from] jobs::Error),
}

/// A schedule that makes sense.
#[derive(Clone)]
pub struct Schedule {
    pub name: String,
    pub what: String,
    /// As it was written.
    pub when_text: String,
    pub timezone: String,
    pub when: When,
    pub lateness: Lateness,
    command: &'static commands::Command,
    arguments: Vec<String>,
}

/// How a schedule stands.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Line {
    pub name: String,
    pub what: String,
    /// A cron expression, or `every` and a span.
    pub when: String,
    pub timezone: String,
    pub catch_up: bool,
    pub next_due: String,
    /// The latest run or due time that was left out; none yet without it.
    pub last: Option<Job>,
}

impl Schedule {
    /// # Errors
    /// The setting that makes no sense, and why.
    pub fn new(config: &Config) -> Result<Schedule, (&'static str, String)> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let name = &config.name;
        if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(is_allowed) {
            return Err(("name", format!("is not 1 to {NAME_CHARS_MAX} letters, digits, `_` and `-`")));
        }
        let (command, arguments) = commands::find(&config.what).map_err(|why| ("what", why))?;
        let when = When::parse(config.when.as_deref(), config.every.map(|every| every.0), &config.timezone);
        let setting = match (&when, &config.when) {
            (Err(when::Error::Zone(_)), _) => "timezone",
            (_, Some(_)) => "when",
            _ => "every",
        };
        Ok(Schedule {
            name: name.clone(),
            what: config.what.split_whitespace().collect::<Vec<_>>().join(" "),
            when_text: match (&config.when, config.every) {
                (None, Some(every)) => format!("every {every}"),
                (text, _) => text.clone().unwrap_or_default(),
            },
            timezone: config.timezone.clone(),
            when: when.map_err(|error| (setting, error.to_string()))?,
            lateness: Lateness { late_max: config.late_max.0, catch_up: config.catch_up },
            command,
            arguments,
        })
    }

    /// Whoever runs it when it is due: it may do this and nothing else.
    fn actor(&self, instance: &str) -> Actor {
        let needs = self.command.needs.iter().copied().chain([Permission::ScheduleRun]).collect();
        Actor::with(&format!("schedule {}", self.name), instance, needs)
    }
}

/// Every schedule, what it works with, and where its runs are written down.
pub struct Schedules {
    all: Vec<Schedule>,
    works: Arc<Works>,
    jobs: Jobs,
    trail: Trail,
    instance: String,
}

impl Schedules {
    /// Those that make no sense are left out: the configuration was checked before.
    pub fn new(configs: &[Config], works: Works, jobs: Jobs, trail: Trail, instance: &str) -> Schedules {
        let all = configs.iter().filter_map(|config| Schedule::new(config).ok()).collect();
        Schedules { all, works: Arc::new(works), jobs, trail, instance: instance.to_owned() }
    }

    pub fn all(&self) -> &[Schedule] {
        &self.all
    }

    /// # Errors
    /// None of this name.
    pub fn find(&self, name: &str) -> Result<&Schedule, Error> {
        let names = || self.all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
        let found = self.all.iter().find(|one| one.name == name);
        found.ok_or_else(|| Error::Unknown(name.to_owned(), names()))
    }

    /// How each stands, in the order of the configuration; and whether the table of jobs could be read.
    pub async fn list(&self, now: DateTime<Utc>) -> (Vec<Line>, bool) {
        let (mut lines, mut is_complete) = (Vec::new(), true);
        for one in &self.all {
            let (last, complete) = self.jobs.list(Some(&one.name), 1).await;
            is_complete &= complete;
            lines.push(Line {
                name: one.name.clone(),
                what: one.what.clone(),
                when: one.when_text.clone(),
                timezone: one.timezone.clone(),
                catch_up: one.lateness.catch_up,
                next_due: one.when.next(now).map(stamp).unwrap_or_default(),
                last: last.into_iter().next(),
            });
        }
        (lines, is_complete)
    }

    /// Its latest runs, newest first; and whether the table of jobs could be read.
    ///
    /// # Errors
    /// None of this name.
    pub async fn history(&self, name: &str, count_max: usize) -> Result<(Vec<Job>, bool), Error> {
        Ok(self.jobs.list(Some(&self.find(name)?.name), count_max).await)
    }

    /// What a run would do.
    ///
    /// # Errors
    /// None of this name, or no right to it; what fails by itself is the answer.
    pub async fn preview(&self, name: &str, actor: &Actor) -> Result<Result<Value, Failed>, Error> {
        let one = self.permitted(name, actor)?;
        match one.command.can_be_tried {
            true => Ok((one.command.does)(self.call(one, actor, None)).await),
            false => Ok(Ok(json!({ "would": one.what }))),
        }
    }

    /// Runs it now, as a job, for whoever asks; never while another run of it is under way.
    ///
    /// # Errors
    /// None of this name, no right to it, or no place for another job.
    pub fn run_now(&self, name: &str, actor: &Actor, ask: Ask) -> Result<(Job, bool), Error> {
        let one = self.permitted(name, actor)?;
        let run = Run { schedule: one.name.clone(), due_s: None };
        Ok(self.start(one, actor, Ask { run: Some(run), ..ask })?)
    }

    fn permitted(&self, name: &str, actor: &Actor) -> Result<&Schedule, Error> {
        let one = self.find(name)?;
        match one.command.needs.iter().find(|needs| !actor.may(**needs)) {
            None => Ok(one),
            Some(needs) => {
                let (actor, name) = (actor.to_string(), one.name.clone());
                Err(Error::Forbidden { actor, name, needs: *needs })
            }
        }
    }

    fn call(&self, one: &Schedule, actor: &Actor, handle: Option<Handle>) -> works::Call {
        works::Call {
            works: Arc::clone(&self.works),
            actor: actor.clone(),
            arguments: one.arguments.clone(),
            is_dry_run: handle.is_none(),
            handle,
        }
    }

    fn start(&self, one: &Schedule, actor: &Actor, ask: Ask) -> Result<(Job, bool), jobs::Error> {
        let details = json!({ "what": one.what, "due_s": ask.run.as_ref().and_then(|run| run.due_s) });
        let command = command::Command {
            action: "schedule.run",
            resource: one.name.clone(),
            details,
            needs: Permission::ScheduleRun,
        };
        let (trail, does, whose) = (self.trail.clone(), one.command.does, actor.clone());
        self.jobs.start(ask, Utc::now(), |handle| {
            let call = self.call(one, actor, Some(handle));
            async move {
                let result = command::run(&trail, &whose, command, does(call)).await;
                result.map_err(|failed| jobs::told(422, "schedule", &failed.to_string()))
            }
        })
    }
}

fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
