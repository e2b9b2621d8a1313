//! What can go wrong with backups.
//!
//! Refuses to hold credentials: the server masks them in what it says.

use std::path::PathBuf;

use crate::admin::command;
use crate::admin::desk::{self, TableName};
use crate::clickhouse;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Desk(#[from] desk::Error),
    #[error(transparent)]
    Command(#[from] command::Error),
    #[error("there is no backup {0}\nhint: `penstock backup list` shows those there are")]
    NoBackup(String),
    #[error("there is no policy {name}\nhint: admin.backup.policies has {known}")]
    NoPolicy { name: String, known: String },
    #[error("there is nothing to back up: {0}\nhint: name tables of the database, or another database")]
    Nothing(String),
    #[error("an incremental backup cannot be made: {0}\nhint: make a full one with `--full`")]
    NoBase(String),
    #[error("{id} cannot be deleted: {why}\nhint: delete or let go of what stands in the way first")]
    Blocked { id: String, why: String },
    #[error("{id} cannot be restored: {why}\nhint: `penstock backup list` shows which can")]
    Broken { id: String, why: String },
    #[error("{id} has no table {table}\nhint: it has {known}")]
    NoTable { id: String, table: String, known: String },
    #[error(
        "{table} has {rows} rows\nhint: nothing is restored over rows; restore it as another table or into another database, or drop it first"
    )]
    NotEmpty { table: TableName, rows: u64 },
    #[error("the server could not {what}: {message}\nhint: {hint}")]
    Server { what: String, message: String, hint: &'static str },
    #[error("{0} was cancelled\nhint: what was half made is removed")]
    Cancelled(String),
    #[error(
        "the server knows no more of {0}, as after a restart\nhint: what was half made is removed; run it again"
    )]
    Lost(String),
    #[error("{0} took longer than admin.backup.timeout and was ended\nhint: allow it more time")]
    Late(String),
    #[error(
        "files of backups cannot be reached from here\nhint: set admin.backup.files_path to the folder in which this process sees them, or verify by `--level restore`"
    )]
    Unreachable,
    #[error("{path} cannot be read or written\nhint: check its rights")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "a backup's list of files cannot be read: {0}\nhint: `penstock backup verify` tells which are damaged"
    )]
    List(String),
    #[error("nothing of {policy} may be deleted: {why}\nhint: verify it with `penstock backup verify`")]
    NotProven { policy: String, why: String },
    #[error("the plan is {found} and not {expected}\nhint: look at `penstock backup prune` again")]
    PlanDiffers { expected: String, found: String },
    #[error("offsets cannot be had here\nhint: use the command line or the admin process, which know Kafka")]
    NoLine,
    #[error(transparent)]
    Line(#[from] Refusal),
    #[error("admin.backup.timezone is none: {0}\nhint: write one such as UTC or Europe/Berlin")]
    Zone(String),
    #[error("a scan of the files was broken off")]
    Task(#[from] tokio::task::JoinError),
}

/// What went wrong with topics, in words that end with a hint.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// It cannot be done so.
    #[error("{0}")]
    WrongUse(String),
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    Failed(String),
}

impl Refusal {
    /// The same with one more line.
    pub fn and(self, line: &str) -> Refusal {
        let more = |text: String| format!("{text}\n{line}");
        match self {
            Refusal::WrongUse(text) => Refusal::WrongUse(more(text)),
            Refusal::Unreachable(text) => Refusal::Unreachable(more(text)),
            Refusal::Failed(text) => Refusal::Failed(more(text)),
        }
    }
}

impl From<clickhouse::Error> for Error {
    fn from(error: clickhouse::Error) -> Self {
        Error::Desk(error.into())
    }
}
