//! The routes of dead letters.
//!
//! Refuses values to whoever asks for lines: they are another permission, and reading them is written down before it is
//! done. What is replayed or purged names its topic.

use std::sync::Arc;

use axum::http::StatusCode;
use chrono::Utc;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::asked::Asked;
use super::problem::{Problem, told};
use super::routes::Answer;
use super::{Surface, jobs};
use crate::admin::backup::Refusal;
use crate::admin::command::{self, Command, Permission};
use crate::admin::jobs::Handle;
use crate::admin::letters::{Error, VALUES_MAX, Watched};
use crate::dead_letter::form::moment_ms;
use crate::dead_letter::replay::Options;
use crate::dead_letter::{self, Filter, State};
use crate::kafka;
use crate::record::{Offset, Partition};

const RATE: u32 = 1000;
const GROUPS_MAX: usize = 100;

/// What is to be replayed, and how. Every condition that is there must hold.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayWanted {
    /// Source topic.
    pub topic: String,
    pub table: Option<String>,
    /// Reason code, such as `out_of_range`.
    pub reason: Option<String>,
    /// Field, such as `lines[2].price`.
    pub path: Option<String>,
    /// Refused at or after: RFC 3339, or a span back from now such as `2h`.
    pub since: Option<String>,
    /// Refused before.
    pub until: Option<String>,
    /// Of the source topic.
    pub partition: Option<i32>,
    pub offset: Option<i64>,
    /// Records per second at most; 1000 without it.
    #[schemars(range(min = 1))]
    pub rate: Option<u32>,
    /// Letters to send at most.
    pub limit: Option<u64>,
    /// Also those that were replayed before.
    #[serde(default)]
    pub again: bool,
}

/// What is to be purged. Every condition that is there must hold.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PurgeWanted {
    /// Source topic.
    pub topic: String,
    pub table: Option<String>,
    /// Reason code, such as `out_of_range`.
    pub reason: Option<String>,
    /// Field, such as `lines[2].price`.
    pub path: Option<String>,
    /// Refused at or after: RFC 3339, or a span back from now such as `2h`.
    pub since: Option<String>,
    /// Refused before.
    pub until: Option<String>,
    /// Of the source topic.
    pub partition: Option<i32>,
    pub offset: Option<i64>,
    /// Only those that are `waiting` or `replayed`.
    pub state: Option<String>,
}

/// Conditions as they came.
#[derive(Default)]
struct Conditions<'a> {
    topic: Option<&'a str>,
    table: Option<&'a str>,
    reason: Option<&'a str>,
    path: Option<&'a str>,
    since: Option<&'a str>,
    until: Option<&'a str>,
    partition: Option<i32>,
    offset: Option<i64>,
    state: Option<&'a str>,
}

impl Conditions<'_> {
    fn filter(&self) -> Result<Filter, Problem> {
        let now_ms = Utc::now().timestamp_millis();
        let moment = |text: Option<&str>| {
            text.map(|text| moment_ms(text, now_ms)).transpose().map_err(|why| Problem::unfit(&why))
        };
        let text = |text: Option<&str>| text.map(str::to_owned);
        let state = match self.state {
            None => None,
            Some("waiting") => Some(State::Waiting),
            Some("replayed") => Some(State::Replayed),
            Some(_) => return Err(Problem::unfit("state is neither waiting nor replayed")),
        };
        Ok(Filter {
            topic: text(self.topic),
            table: text(self.table),
            reason: text(self.reason),
            path: text(self.path),
            since_ms: moment(self.since)?,
            until_ms: moment(self.until)?,
            partition: self.partition.map(Partition),
            offset: self.offset.map(Offset),
            state,
        })
    }
}

impl ReplayWanted {
    fn filter(&self) -> Result<Filter, Problem> {
        let conditions = Conditions {
            topic: Some(&self.topic),
            table: self.table.as_deref(),
            reason: self.reason.as_deref(),
            path: self.path.as_deref(),
            since: self.since.as_deref(),
            until: self.until.as_deref(),
            partition: self.partition,
            offset: self.offset,
            state: None,
        };
        conditions.filter()
    }

    fn options(&self) -> Result<Options, Problem> {
        let rate = self.rate.unwrap_or(RATE);
        if rate == 0 {
            return Err(Problem::unfit("rate is 0\nhint: write 1 or more records per second"));
        }
        Ok(Options {
            again: self.again,
            records_per_second: rate,
            limit: self.limit.unwrap_or(u64::MAX),
            ..Options::default()
        })
    }
}

impl PurgeWanted {
    fn filter(&self) -> Result<Filter, Problem> {
        let conditions = Conditions {
            topic: Some(&self.topic),
            table: self.table.as_deref(),
            reason: self.reason.as_deref(),
            path: self.path.as_deref(),
            since: self.since.as_deref(),
            until: self.until.as_deref(),
            partition: self.partition,
            offset: self.offset,
            state: self.state.as_deref(),
        };
        conditions.filter()
    }
}

/// What the query of a route that looks asks for.
fn asked_for(asked: &Asked) -> Result<Filter, Problem> {
    fn number<T: std::str::FromStr>(asked: &Asked, name: &str) -> Result<Option<T>, Problem> {
        let parsed = asked.text(name).map(|text| text.parse::<T>()).transpose();
        parsed.map_err(|_| Problem::bad(&format!("{name} is no whole number")))
    }
    let conditions = Conditions {
        topic: asked.text("topic"),
        table: asked.text("table"),
        reason: asked.text("reason"),
        path: asked.text("path"),
        since: asked.text("since"),
        until: asked.text("until"),
        partition: number(asked, "partition")?,
        offset: number(asked, "offset")?,
        state: asked.text("state"),
    };
    conditions.filter()
}

/// What was asked for, for the trail.
fn details(asked: &Asked) -> Value {
    let names = ["table", "reason", "path", "since", "until", "partition", "offset", "state", "limit", "why"];
    names.into_iter().filter_map(|name| Some((name.to_owned(), json!(asked.text(name)?)))).collect()
}

pub async fn groups(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let (filter, limit) = (asked_for(asked)?, asked.limit()?);
    let work = Box::pin(async { Ok::<Value, Problem>(surface.letters.groups(filter, limit).await?) });
    let command = asked.command(asked.text("topic").unwrap_or("all topics"), details(asked));
    Answer::new(&command::look(&surface.trail, &asked.actor, command, work).await?)
}

pub async fn list(surface: &Surface, asked: &Asked) -> Result<Answer, Problem> {
    let (filter, limit, with_values) = (asked_for(asked)?, asked.limit()?, asked.flag("bodies")?);
    let resource = asked.text("topic").unwrap_or("all topics");
    if !with_values {
        let work =
            Box::pin(async { Ok::<Value, Problem>(surface.letters.list(filter, limit, false).await?) });
        let command = asked.command(resource, details(asked));
        return Answer::new(&command::look(&surface.trail, &asked.actor, command, work).await?);
    }
    let work =
        async { Ok::<Value, Problem>(surface.letters.list(filter, limit.min(VALUES_MAX), true).await?) };
    let command = Command {
        action: "dead_letter.values",
        needs: Permission::DeadLetterValue,
        ..asked.command(resource, details(asked))
    };
    Answer::new(&command::run(&surface.trail, &asked.actor, command, Box::pin(work)).await?)
}

pub async fn replay(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let wanted: ReplayWanted = asked.body()?;
    let (filter, options) = (wanted.filter()?, wanted.options()?);
    let command = asked.command(&wanted.topic, json!(wanted));
    if asked.is_dry_run()? {
        let plan = surface.letters.plan_replay(filter, options, GROUPS_MAX);
        let work = Box::pin(async { Ok::<Value, Problem>(plan.await?) });
        return Answer::new(&command::look(&surface.trail, &asked.actor, command, work).await?);
    }
    let (own, actor) = (Arc::clone(surface), asked.actor.clone());
    jobs::start(surface, asked, |handle| async move {
        let work = own.letters.replay(filter, options, watched(&handle));
        let work = Box::pin(async { Ok::<Value, Problem>(work.await?) });
        command::run(&own.trail, &actor, command, work).await
    })
}

pub async fn purge(surface: &Arc<Surface>, asked: &Asked) -> Result<Answer, Problem> {
    let wanted: PurgeWanted = asked.body()?;
    let filter = wanted.filter()?;
    let command = asked.command(&wanted.topic, json!(wanted));
    if asked.is_dry_run()? {
        let plan = surface.letters.purge(filter, true, Watched::not());
        let work = Box::pin(async { Ok::<Value, Problem>(plan.await?) });
        return Answer::new(&command::look(&surface.trail, &asked.actor, command, work).await?);
    }
    let (own, actor) = (Arc::clone(surface), asked.actor.clone());
    jobs::start(surface, asked, |handle| async move {
        let work = own.letters.purge(filter, false, watched(&handle));
        let work = Box::pin(async { Ok::<Value, Problem>(work.await?) });
        command::run(&own.trail, &actor, command, work).await
    })
}

fn watched(handle: &Handle) -> Watched {
    let told = handle.clone();
    Watched { stop: handle.stop.clone(), tell: Arc::new(move |event| told.tell(&event)), is_job: true }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (status, code) = match &error {
            Error::Busy => {
                return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", &error.to_string()).after(5);
            }
            Error::Command(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            Error::Topics(Refusal::WrongUse(_)) => (StatusCode::NOT_FOUND, "no_topic"),
            Error::Topics(Refusal::Unreachable(_)) => (StatusCode::SERVICE_UNAVAILABLE, "unreachable"),
            Error::Topics(Refusal::Failed(_)) => (StatusCode::BAD_GATEWAY, "kafka"),
            Error::Letters(source) | Error::Replay { source, .. } => of_letters(source),
            Error::Task(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        match error {
            Error::Command(error) => error.into(),
            error => Problem::new(status, code, &told(&error)),
        }
    }
}

fn of_letters(error: &dead_letter::Error) -> (StatusCode, &'static str) {
    match error {
        dead_letter::Error::Kafka(error) if error.is_unreachable() => {
            (StatusCode::SERVICE_UNAVAILABLE, "unreachable")
        }
        dead_letter::Error::Kafka(kafka::Error::Cancelled { .. }) => (StatusCode::CONFLICT, "cancelled"),
        dead_letter::Error::Kafka(
            kafka::Error::MissingTopic { .. } | kafka::Error::MissingDeadLetterTopic { .. },
        ) => (StatusCode::NOT_FOUND, "no_topic"),
        dead_letter::Error::NotALetter { .. } => (StatusCode::NOT_FOUND, "no_letter"),
        _ => (StatusCode::BAD_GATEWAY, "kafka"),
    }
}
