//! Backups: made, verified, kept by rules, and brought back, with the offsets from which what came later is read again.
//!
//! Refuses to copy data itself: the server writes and reads backups. Nothing that another backup needs is deleted, nothing
//! is built on what was found damaged, and nothing is restored over rows.
//!
//! | what | where |
//! |---|---|
//! | what is written down of a backup | `manifest` |
//! | which there are | `catalogue`, `entry` |
//! | what depends on what, and what goes with age | `entry`, `retention` |
//! | making one | `create`, `measure`, `server`, `destination` |
//! | whether it can be trusted | `verify`, `files` |
//! | bringing it back | `restore`, `forget` |
//! | deleting and pruning | `delete` |
//! | all of it in turn, as a schedule calls it | `policy` |
//! | how each policy stands, for health and metrics | `standing` |

mod catalogue;
mod config;
mod create;
mod delete;
mod destination;
mod entry;
mod error;
mod files;
mod forget;
mod manifest;
mod measure;
mod policy;
mod restore;
mod retention;
mod server;
mod stamp;
mod standing;
mod verify;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::command::{Actor, Permission};
use super::desk::{Desk, TableName};
use crate::schema::Table;

pub use config::{Config, Destination, Keep, Kind, Level, Policy};
pub use create::{Create, Planned};
pub use delete::{Deleted, HoldRequest, Pruning};
pub use destination::is_name;
pub use entry::{Entries, Entry, Hold, State, Verification, Wanted};
pub use error::{Error, Refusal};
pub use manifest::{Cut, Manifest, PartitionState, TableState};
pub use policy::Ran;
pub use restore::{Restore, Restored, RestoredTable};
pub use retention::{Going, Kept, PrunePlan};
pub use standing::PolicyReport;
pub use verify::Verify;

use files::Files;

/// How far an operation of the server is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    pub what: String,
    pub done: u64,
    pub bytes: u64,
}

/// Told of progress as it is seen.
pub type Observer = Arc<dyn Fn(&Progress) + Send + Sync>;

/// What comes of asking for something of each partition.
pub type Told<T> = BoxFuture<'static, Result<Vec<T>, Refusal>>;

/// What only who sees Kafka can do: backups know no topics.
#[derive(Clone)]
pub struct Line {
    /// How far the group has committed the topics of these tables.
    pub cut: Arc<dyn Fn(Vec<TableName>) -> Told<Cut> + Send + Sync>,
    pub replay: Arc<dyn Fn(Replay) -> Told<Replayed> + Send + Sync>,
}

/// Records that are to be read again, for what of them is missing in a table.
#[derive(Clone)]
pub struct Replay {
    /// From these offsets up to what the group has committed now.
    pub cut: Vec<Cut>,
    /// Where the rows of each table go.
    pub targets: Vec<(String, TableName)>,
    /// Only records that were published before, in milliseconds since 1970.
    pub until_ms: Option<i64>,
    /// Only looks whether it can be done.
    pub dry_run: bool,
    pub stop: CancellationToken,
    pub observer: Observer,
}

/// What was read again of one partition of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Replayed {
    pub table: String,
    pub topic: String,
    pub partition: i32,
    /// First offset that was read, and the one after the last.
    pub first: i64,
    pub next: i64,
    /// Records that make a row.
    pub rows: u64,
    /// Of these, those that were missing and are there now.
    pub inserted: u64,
    /// Offsets of the stretch that the topic no longer has: what became of them cannot be told.
    pub gone: u64,
}

/// Makes, keeps and restores backups on one server.
#[derive(Clone)]
pub struct Backups {
    desk: Desk,
    config: Config,
    /// Those that have table files.
    tables: Vec<Arc<Table>>,
    line: Option<Line>,
    /// Table with the record of erasures.
    erasures: String,
    observer: Observer,
    stop: CancellationToken,
}

impl Backups {
    /// `erasures` is the table with the record of erased subjects.
    pub fn new(desk: Desk, config: &Config, tables: Vec<Arc<Table>>, erasures: &str) -> Backups {
        Backups {
            desk,
            config: config.clone(),
            tables,
            line: None,
            erasures: erasures.to_owned(),
            observer: Arc::new(|_: &Progress| {}),
            stop: CancellationToken::new(),
        }
    }

    /// With offsets in manifests, and replays after restores.
    pub fn with_line(self, line: Line) -> Backups {
        Backups { line: Some(line), ..self }
    }

    pub fn observed(self, observer: Observer) -> Backups {
        Backups { observer, ..self }
    }

    /// What the server does for it is killed once this is cancelled.
    pub fn stopped_by(self, stop: CancellationToken) -> Backups {
        Backups { stop, ..self }
    }

    /// The same for somebody else, over the same connections.
    pub fn acting(&self, actor: Actor) -> Backups {
        Backups { desk: self.desk.acting(actor), ..self.clone() }
    }

    fn files(&self) -> Option<Files> {
        self.config.files_path.as_deref().map(Files::new)
    }

    /// Whether this process sees the files of this backup: it may lie where the configuration no longer says.
    fn reaches(&self, manifest: &Manifest) -> bool {
        self.config.files_path.is_some() && manifest.destination == self.config.destination
    }

    /// Does with the files what blocks.
    async fn with_files<T: Send + 'static>(
        &self,
        work: impl FnOnce(Files) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let files = self.files().ok_or(Error::Unreachable)?;
        tokio::task::spawn_blocking(move || work(files)).await?
    }

    async fn audited<T>(
        &self,
        (action, needs): (&'static str, Permission),
        details: serde_json::Value,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.desk.audited(action, needs, (&self.catalogue(), details), Box::pin(work)).await
    }
}
