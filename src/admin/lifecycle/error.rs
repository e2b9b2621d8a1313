//! What can go wrong with lifecycle, each with a hint.
//!
//! Refuses to repeat what the server's own errors say.

use crate::admin::command;
use crate::admin::desk::{self, TableName};
use crate::clickhouse;
use crate::schema;
use crate::units::Span;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Desk(#[from] desk::Error),
    #[error(transparent)]
    Command(#[from] command::Error),
    #[error(transparent)]
    Files(#[from] schema::Error),
    #[error(
        "{holder} changes tables by their age since {since}\nhint: wait until that is done, or look at that process"
    )]
    Locked { holder: String, since: String },
    #[error("there is no table file for `{0}`\nhint: `penstock lifecycle status` lists tables with rules")]
    NoTableFile(String),
    #[error(
        "the table file of `{0}` has no section `lifecycle`\nhint: docs/lifecycle.md tells how rules are written"
    )]
    NoRules(String),
    #[error(
        "`{table}`: `{rule}` acts before {floor}, which `lifecycle.min_retention` of the configuration forbids\nhint: let the rule act later"
    )]
    Floor { table: String, rule: String, floor: Span },
    #[error("the plan is {found} and not {expected}\nhint: look at `penstock lifecycle plan` again")]
    PlanDiffers { expected: String, found: String },
    #[error(
        "the TTL of {0} is not that of its rules\nhint: `penstock lifecycle plan` tells what differs, and `apply` sets it"
    )]
    Drifted(TableName),
    #[error("{table} has no partition {id}\nhint: `penstock table sizes {} --partitions` lists them", table.name)]
    NoPartition { table: TableName, id: String },
    #[error("{table} is held by {holds}\nhint: `penstock lifecycle release` lets it go")]
    Held { table: TableName, holds: String },
    #[error("there is a hold `{0}` already\nhint: take another name, or release that one first")]
    HoldExists(String),
    #[error("there is no hold `{0}`\nhint: `penstock lifecycle holds` lists them")]
    NoHold(String),
    #[error("the hold ends at {0}, which is over\nhint: name a later time, or leave `--until` out")]
    HoldOver(String),
    #[error(
        "{table} has a TTL that is not from its table file: {ttl}\nhint: the hold is not put, because that TTL would not honour it; describe it in `lifecycle` of the table file, or take it off"
    )]
    ForeignTtl { table: TableName, ttl: String },
    #[error(
        "{table}, partition {partition}, is larger than the server lets go at once: {message}\nhint: raise max_partition_size_to_drop, or create the file that the server's message names"
    )]
    TooLarge { table: TableName, partition: String, message: String },
}

impl From<clickhouse::Error> for Error {
    fn from(error: clickhouse::Error) -> Self {
        Error::Desk(error.into())
    }
}
