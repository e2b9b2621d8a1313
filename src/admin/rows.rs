//! Rows of penstock's own tables, which are only ever added.
//!
//! Refuses to paste values into statements: each travels beside it, with its type (I11).

use serde_json::Value;

use crate::clickhouse::{self, Client};

/// Adds a row of these columns, each with its type and value, to a table that is named as in a statement. It may be
/// there twice after a failure in between, so the row must mean the same then.
///
/// # Errors
/// What the server said last.
pub async fn append(
    client: &Client,
    table: &str,
    row: &[(&str, &str, Value)],
) -> Result<(), clickhouse::Error> {
    let names: Vec<&str> = row.iter().map(|(name, ..)| *name).collect();
    let values: Vec<String> = row.iter().map(|(name, ty, _)| format!("{{{name}:{ty}}}")).collect();
    let sql = format!("INSERT INTO {table} ({}) SELECT {}", names.join(", "), values.join(", "));
    let params: Vec<(&str, Value)> = row.iter().map(|(name, _, value)| (*name, value.clone())).collect();
    client.execute_idempotent(&sql, &params).await
}
