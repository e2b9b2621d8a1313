//! What can go wrong with migrations, each with a hint.
//!
//! Refuses to show values of the environment: what is said here was cleaned of them before.

use std::path::PathBuf;

use super::pragma::Danger;
use crate::admin::command;
use crate::clickhouse;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    ClickHouse(#[from] clickhouse::Error),
    #[error(transparent)]
    Command(#[from] command::Error),
    #[error("the folder {} cannot be read: {message}\nhint: set migrations.path, or begin with `penstock migrate new`", path.display())]
    Folder { path: PathBuf, message: String },
    #[error("the migrations have faults\n  {}\nhint: nothing was run; docs/migrations.md tells how files are written", .0.join("\n  "))]
    Files(Vec<String>),
    #[error("there is no migration `{0}`\nhint: `penstock migrate status` lists them")]
    NoMigration(String),
    #[error("several migrations are called `{0}`\nhint: name one by its file")]
    Ambiguous(String),
    #[error("{file}: {message}\nhint: nothing was run")]
    Values { file: String, message: String },
    #[error(
        "files were changed after they were run: {}\nhint: put them back and write a new migration; if the change is no \
         change of the schema, `penstock migrate repair --accept`", .0.join(", ")
    )]
    Changed(Vec<String>),
    #[error("the journal knows {} and the folder does not\nhint: put the files back, or check migrations.path", .0.join(", "))]
    Missing(Vec<String>),
    #[error(
        "{file}, statement {statement}: {} must be allowed by name\nhint: look at it, then add `--allow {}`",
        danger.name(), danger.name()
    )]
    Danger { file: String, statement: u32, danger: Danger },
    #[error("{file}, line {line}: {message}\nhint: add `-- penstock: danger={}` above it, so that readers of the file see it", danger.name())]
    Undeclared { file: String, line: usize, danger: Danger, message: &'static str },
    #[error(
        "{holder} migrates since {since}, and its lease ends in {left_ms} ms{running}\nhint: wait with `--wait 60s`, or look at that process"
    )]
    Locked { holder: String, since: String, left_ms: i64, running: String },
    #[error("the lock was lost: {0}\nhint: run it again; it goes on where this one stopped")]
    LockLost(String),
    #[error(
        "{statement}, was sent at {started} and nobody can tell whether it was carried out: {why}\nhint: {advice}"
    )]
    Unknown { statement: String, started: String, why: String, advice: String },
    #[error(
        "{file}, statement {statement}, still runs on {host} after {waited_s} s\nhint: run it again later; it will be waited for"
    )]
    StillRunning { file: String, statement: u32, host: String, waited_s: u64 },
    #[error(
        "{file}, statement {statement}, failed on {host}: {message}\nhint: mend it and run `penstock migrate up` again; what was done before it stays done"
    )]
    Statement { file: String, statement: u32, host: String, message: String },
    #[error(
        "{file}: `verify` is not true on {host} although every statement was carried out\nhint: look at what the SELECT finds"
    )]
    NotVerified { file: String, host: String },
    #[error("the plan is {found} and not {expected}\nhint: look at `penstock migrate plan` again")]
    PlanDiffers { expected: String, found: String },
    #[error(
        "{0} cannot be taken back: it has no down file\nhint: write one, or a new migration that undoes it"
    )]
    NoDown(String),
    #[error(
        "{0} is taken back in part\nhint: `penstock migrate down` ends that, or `mark` says what became of it"
    )]
    HalfTakenBack(String),
    #[error(
        "{0} is not wholly run\nhint: `penstock migrate up` ends it, or `penstock migrate mark` says what became of it"
    )]
    Unfinished(String),
    #[error(
        "{table} on {host} needs {needed} bytes free for its largest part, and {free} are\nhint: free some, or go on with `--skip-disk-check`"
    )]
    Disk { host: String, table: String, needed: u64, free: u64 },
    #[error(
        "{file}, statement {statement}, does not work in a scratch database: {message}\nhint: nothing was run; if it needs what is not in the migrations, `--no-shadow`"
    )]
    Shadow { file: String, statement: u32, message: String },
    #[error(
        "it was cancelled before {file}, statement {statement}\nhint: what was done before stays done; `up` goes on there"
    )]
    Cancelled { file: String, statement: u32 },
    #[error(
        "the server answered something else than was asked for: {0}\nhint: check that the address is that of a ClickHouse server"
    )]
    Answer(String),
}
