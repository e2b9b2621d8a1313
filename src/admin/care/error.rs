//! What can go wrong with table care, each with a hint.
//!
//! Refuses to repeat what the server's own errors say.

use crate::admin::command;
use crate::admin::desk::{self, TableName};
use crate::clickhouse;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Desk(#[from] desk::Error),
    #[error(transparent)]
    Command(#[from] command::Error),
    #[error(
        "{table} is no table of the MergeTree family, but {engine}\nhint: only these have parts that can be merged"
    )]
    NoParts { table: TableName, engine: String },
    #[error("{table} has no partition {id}\nhint: `penstock table sizes {} --partitions` lists them", table.name)]
    NoPartition { table: TableName, id: String },
    #[error("{table} has no column `{column}` that is stored\nhint: `penstock table compression {}` lists them", table.name)]
    NoColumn { table: TableName, column: String },
    #[error("there is nothing to work on\nhint: name tables, or take `--all`")]
    NoTarget,
    #[error(
        "the rows that were to be measured were merged away three times\nhint: try again when fewer merges run"
    )]
    NoSample,
}

impl From<clickhouse::Error> for Error {
    fn from(error: clickhouse::Error) -> Self {
        Error::Desk(error.into())
    }
}
