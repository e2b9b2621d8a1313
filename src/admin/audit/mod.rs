//! The trail of commands: who asked for what, and what came of it.
//!
//! Refuses to let anything pass that cannot be written down: every command leaves an entry before it begins (I9).
//! Rows of a table can be changed by whoever may write to ClickHouse; the chained file is what shows a change.

mod chain;
mod config;
pub mod tail;
mod verify;

use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

pub use self::chain::{Chain, Error as ChainError};
pub use self::config::Config;
pub use self::verify::{Break, Verdict};
use super::command::{Actor, Command};
use super::rows::{self, Keeping};
use crate::clickhouse::{self, Client};
use crate::telemetry::metrics::METRICS;

/// How far a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Intent,
    /// The actor has no right to it.
    Refused,
    Done,
    Failed,
}

impl Phase {
    pub const ALL: [Phase; 4] = [Phase::Intent, Phase::Refused, Phase::Done, Phase::Failed];

    pub fn name(self) -> &'static str {
        match self {
            Phase::Intent => "intent",
            Phase::Refused => "refused",
            Phase::Done => "done",
            Phase::Failed => "failed",
        }
    }
}

/// One line of the trail. All lines of one command have one id.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub command_id: String,
    pub actor: String,
    pub origin: String,
    pub action: &'static str,
    pub resource: String,
    pub details: serde_json::Value,
    pub phase: Phase,
    pub error: String,
}

impl Entry {
    pub fn new(actor: &Actor, command: &Command) -> Entry {
        Entry {
            command_id: uuid::Uuid::new_v4().to_string(),
            actor: actor.name.clone(),
            origin: actor.origin.clone(),
            action: command.action,
            resource: command.resource.clone(),
            details: command.details.clone(),
            phase: Phase::Intent,
            error: String::new(),
        }
    }

    pub fn at(&self, phase: Phase, error: &str) -> Entry {
        Entry { phase, error: error.to_owned(), ..self.clone() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the audit table cannot be written")]
    Table(#[from] clickhouse::Error),
    #[error(transparent)]
    Chain(#[from] chain::Error),
    #[error("writing to the audit trail was broken off")]
    Writer(#[from] tokio::task::JoinError),
}

/// Where entries go. The first place that fails is told.
#[derive(Clone, Default)]
pub struct Trail {
    places: Vec<Place>,
}

/// A place that keeps entries.
#[derive(Clone)]
pub enum Place {
    /// The log, under the target `penstock::audit`.
    Log,
    /// A file whose lines are chained.
    File(Arc<Chain>),
    /// A table of ClickHouse, quoted; made when it is not there.
    Table { client: Client, table: String, keeping: Keeping },
}

impl Trail {
    pub fn new(places: Vec<Place>) -> Trail {
        Trail { places }
    }

    /// # Errors
    /// A place that does not keep it; the others may have it.
    pub async fn write(&self, entry: &Entry) -> Result<(), Error> {
        METRICS.admin.trail_entries.with_label_values(&[entry.phase.name()]).inc();
        for place in &self.places {
            Box::pin(place.write(entry)).await?;
        }
        Ok(())
    }
}

impl Place {
    async fn write(&self, entry: &Entry) -> Result<(), Error> {
        match self {
            Place::Log => {
                tracing::info!(
                    target: "penstock::audit",
                    command = entry.command_id, actor = entry.actor, origin = entry.origin, action = entry.action,
                    resource = entry.resource, phase = entry.phase.name(), error = entry.error, details = %entry.details,
                    "command"
                );
                Ok(())
            }
            Place::File(chain) => {
                let (chain, entry) = (Arc::clone(chain), entry.clone());
                Ok(tokio::task::spawn_blocking(move || chain.append(&entry, chrono::Utc::now())).await??)
            }
            Place::Table { client, table, keeping } => {
                let create = format!(
                    "CREATE TABLE IF NOT EXISTS {table} (at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'), command_id UUID, \
                     phase LowCardinality(String), actor String, origin String, action LowCardinality(String), resource String, \
                     details String, error String) ENGINE = {} ORDER BY (at, command_id) COMMENT 'what penstock was told to do'",
                    keeping.engine()
                );
                if entry.phase == Phase::Intent || entry.phase == Phase::Refused {
                    keeping.create(client, &create).await?;
                }
                let row = [
                    ("command_id", "UUID", json!(entry.command_id)),
                    ("phase", "String", json!(entry.phase.name())),
                    ("actor", "String", json!(entry.actor)),
                    ("origin", "String", json!(entry.origin)),
                    ("action", "String", json!(entry.action)),
                    ("resource", "String", json!(entry.resource)),
                    ("details", "String", json!(entry.details.to_string())),
                    ("error", "String", json!(entry.error)),
                ];
                // An entry that is there twice is one, by id and phase.
                Ok(rows::append(client, table, &row).await?)
            }
        }
    }
}
