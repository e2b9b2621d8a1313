//! What a job is, as it is asked for and as it is told; and what can be set about jobs.
//!
//! Refuses to know how jobs are run and where they are kept.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::units::Span;

/// What takes longer than a request.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Jobs that run at a time; another one is refused until one ends.
    #[schemars(range(min = 1, max = 100))]
    pub running_max: u32,
    /// Jobs that are kept in memory, the running ones included; the oldest that has ended goes first.
    #[schemars(range(min = 100, max = 100_000))]
    pub kept_max: u32,
    /// Table in `clickhouse.database` on the first endpoint that keeps every job.
    pub table: String,
    /// How long a job counts as running whose process gives no sign of life; then it is lost.
    pub lease: Span,
    /// How long the table keeps jobs; said to the server when the table is made.
    pub keep: Span,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            running_max: 4,
            kept_max: 500,
            table: "penstock_jobs".to_owned(),
            lease: Span::secs(15),
            keep: Span::secs(90 * 86_400),
        }
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Running,
    Done,
    Failed,
    Cancelled,
    /// It was not begun: another run was under way, or its time had passed.
    Skipped,
    /// Its process has ended without a word.
    Lost,
}

impl State {
    pub fn parse(text: &str) -> State {
        let all = [State::Running, State::Done, State::Failed, State::Cancelled, State::Skipped];
        all.into_iter().find(|state| state.name() == text).unwrap_or(State::Lost)
    }

    pub fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Done => "done",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
            State::Skipped => "skipped",
            State::Lost => "lost",
        }
    }
}

/// A job as it is told.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Job {
    pub id: String,
    pub action: String,
    pub actor: String,
    /// Machine and process that run it.
    pub instance: String,
    /// Of a run of a schedule, its name; else empty.
    pub schedule: String,
    /// When that run was due; empty of one that somebody asked for.
    pub due: String,
    pub state: State,
    /// It was asked to end, and does so before its next statement.
    pub is_cancelled: bool,
    pub began: String,
    /// Empty while it runs.
    pub ended: String,
    /// Steps so far.
    pub steps: u64,
    /// The latest of them.
    pub events: VecDeque<Value>,
    /// What it gave.
    pub result: Option<Value>,
    /// What it failed with, as a problem.
    pub error: Option<Value>,
}

/// Who asks for a job, for what.
#[derive(Clone, Debug)]
pub struct Ask {
    pub action: &'static str,
    pub actor: String,
    /// What the client calls this request, so that a repetition is known.
    pub key: Option<String>,
    /// The same for the same request.
    pub fingerprint: String,
    /// Of which schedule it is a run.
    pub run: Option<Run>,
    /// It mostly waits, and takes no place of one that works.
    pub waits: bool,
    /// It may begin without being in the table, where that does not answer: doing it twice does no harm, and it is for
    /// when the servers are away.
    pub may_go_unwritten: bool,
}

/// One run of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub schedule: String,
    /// Seconds since 1970; none if somebody asked for it.
    pub due_s: Option<i64>,
}
