//! penstock's own tables: how they are kept, and their rows, which are only ever added.
//!
//! Refuses to paste values into statements: each travels beside it, with its type (I11). Replicated tables are made on
//! every endpoint, so that whoever asks another one finds the same rows and does not take a missing table for an empty one.

use serde_json::Value;

use super::migrate;
use super::migrate::config::Engine;
use crate::clickhouse::{self, Client, quote_identifier};

/// How penstock's own tables are kept.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// As it stands behind `ENGINE =`.
    engine: String,
    /// Of every endpoint, where each has a replica of the tables.
    everywhere: Option<Client>,
}

impl Keeping {
    /// Connects to nothing yet. Needs a runtime around the call.
    ///
    /// # Errors
    /// A configuration that cannot work.
    pub fn new(
        clickhouse: &clickhouse::Config,
        migrations: &migrate::Config,
    ) -> Result<Keeping, clickhouse::Error> {
        let everywhere = match migrations.engine {
            Engine::MergeTree => None,
            Engine::ReplicatedMergeTree => Some(Client::new(clickhouse)?),
        };
        Ok(Keeping { engine: migrations.engine_sql(), everywhere })
    }

    /// On one server alone, with this engine.
    pub fn alone(engine: &str) -> Keeping {
        Keeping { engine: engine.to_owned(), everywhere: None }
    }

    /// As it stands behind `ENGINE =`.
    pub fn engine(&self) -> &str {
        &self.engine
    }

    pub fn is_replicated(&self) -> bool {
        self.everywhere.is_some()
    }

    /// Makes a table, by a statement with `IF NOT EXISTS`: here, and where it is replicated on every endpoint that answers.
    ///
    /// # Errors
    /// What the server said last.
    pub async fn create(&self, client: &Client, sql: &str) -> Result<(), clickhouse::Error> {
        client.execute_idempotent(sql, &[]).await?;
        let Some(everywhere) = &self.everywhere else { return Ok(()) };
        for (endpoint, error) in everywhere.execute_everywhere(sql).await? {
            tracing::warn!(endpoint, %error, "a table of penstock's own was not made there; it is made with the next command");
        }
        Ok(())
    }

    /// Waits until this server has what others wrote to the table before. One that cannot be reached while it alone has
    /// something is an error: what is not known is not taken as nothing.
    ///
    /// # Errors
    /// What the server said last; that there is no such table is none.
    pub async fn catch_up(&self, client: &Client, table: &str) -> Result<(), clickhouse::Error> {
        if !self.is_replicated() {
            return Ok(());
        }
        match client.execute_idempotent(&format!("SYSTEM SYNC REPLICA {table} LIGHTWEIGHT"), &[]).await {
            Err(error) if error.is_missing() => Ok(()),
            other => other,
        }
    }
}

/// The name of a table as it stands in statements.
pub fn qualified(database: &str, table: &str) -> String {
    format!("{}.{}", quote_identifier(database), quote_identifier(table))
}

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
