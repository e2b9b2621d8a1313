//! A scratch database in which the history is replayed: definitions only, no rows.
//!
//! Refuses to touch anything outside of it. What would reach further (other databases, users, tables that consume
//! from queues, clusters, paths in Keeper) is left out or made local, and what was left out is told.

use std::time::Duration;

use serde_json::json;

use super::definition::neutral;
use super::error::Error;
use super::files::Migration;
use super::host::Host;
use super::lexer::Token;
use super::migrator::{scratch_name, scratch_prefix};
use super::statement::{Class, Effect, Object, Reading, What};
use super::values::Values;
use crate::clickhouse::{self, Client, quote_identifier};

/// Tables that would take messages away from those for whom they are.
const CONSUMING: [&str; 7] =
    ["Kafka", "RabbitMQ", "NATS", "S3Queue", "AzureQueue", "FileLog", "MaterializedPostgreSQL"];
const STATEMENT_MAX: Duration = Duration::from_secs(60);

/// What could not be replayed.
#[derive(Debug, Default)]
pub struct Coverage {
    /// One sentence each.
    pub notes: Vec<String>,
    /// Objects are missing, so that what builds on them may fail.
    has_gaps: bool,
}

/// What becomes of a statement in the scratch database.
#[derive(Debug, PartialEq, Eq)]
enum Translated {
    Run(String),
    /// It is about rows, of which there are none.
    Rows,
    /// It reaches further.
    Beyond(&'static str),
}

/// An empty database on the first host.
pub struct Scratch {
    /// Connected to it.
    host: Host,
    control: Client,
    pub name: String,
    database: String,
}

impl Scratch {
    /// # Errors
    /// No right to make databases, or a server that does not answer.
    pub async fn create(first: &Host, clickhouse: &clickhouse::Config) -> Result<Scratch, Error> {
        let database = clickhouse.database.clone();
        let name = scratch_name(&database);
        let control = first.client.clone();
        control
            .execute_idempotent(&format!("CREATE DATABASE IF NOT EXISTS {}", quote_identifier(&name)), &[])
            .await?;
        let endpoints = clickhouse.endpoints.first().cloned().into_iter().collect();
        let own = clickhouse::Config { endpoints, database: name.clone(), ..clickhouse.clone() };
        let host = Host { name: first.name.clone(), client: Client::new(&own)? };
        Ok(Scratch { host, control, name, database })
    }

    /// Removes what processes that were killed have left. Only under the lock, or it could be in use.
    pub async fn sweep(first: &Host, database: &str) -> Result<(), Error> {
        let sql = "SELECT name FROM system.databases WHERE startsWith(name, {prefix:String})";
        let rows = first.client.query(sql, &[("prefix", json!(scratch_prefix(database)))]).await?;
        for name in rows.rows.iter().flatten().filter_map(|value| value.as_str()) {
            first
                .client
                .execute_idempotent(&format!("DROP DATABASE IF EXISTS {} SYNC", quote_identifier(name)), &[])
                .await?;
        }
        Ok(())
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Runs one statement of ours in it.
    pub async fn execute(&self, sql: &str) -> Result<(), Error> {
        let tokens = neutral(sql, &self.database);
        let sql: String = tokens.iter().map(|token| token.text).collect();
        Ok(self.host.client.execute(&sql, &[]).await?)
    }

    /// Runs the statements of a migration that `wanted` names by number.
    ///
    /// # Errors
    /// A statement that does not work.
    pub async fn replay(
        &self,
        migration: &Migration,
        values: &Values,
        wanted: impl Fn(u32) -> bool,
        coverage: &mut Coverage,
    ) -> Result<(), Error> {
        for (number, statement) in (1..).zip(&migration.up.statements).filter(|(number, _)| wanted(*number)) {
            let file = migration.file.clone();
            let filled = values
                .fill(&statement.text)
                .map_err(|message| Error::Values { file: file.clone(), message })?;
            let sql = match translate(&filled.sql, &self.database) {
                Translated::Run(sql) => sql,
                Translated::Rows => continue,
                Translated::Beyond(why) => {
                    coverage.has_gaps = true;
                    coverage.notes.push(format!("{file}, statement {number}: {why}"));
                    continue;
                }
            };
            let query_id = format!("{}-{}", self.name, uuid::Uuid::new_v4().simple());
            let settings = statement.pragmas.settings.clone();
            match self.host.run(&sql, &query_id, settings, STATEMENT_MAX).await {
                Ok(()) => {}
                Err(error) if coverage.has_gaps && error.exception().is_some() => {
                    coverage.notes.push(format!("{file}, statement {number}: builds on what was left out"));
                }
                Err(error) => {
                    let message = filled.hide(&error.to_string());
                    return Err(Error::Shadow { file, statement: number, message });
                }
            }
        }
        Ok(())
    }

    /// Removes it. What remains is removed by the next one that has the lock.
    pub async fn remove(self) {
        let sql = format!("DROP DATABASE IF EXISTS {} SYNC", quote_identifier(&self.name));
        if let Err(error) = self.control.execute_idempotent(&sql, &[]).await {
            tracing::warn!(%error, database = self.name, "the scratch database could not be removed");
        }
    }
}

fn translate(sql: &str, database: &str) -> Translated {
    let reading = Reading::of(sql);
    let tokens = neutral(sql, database);
    let is_other = |object: &Object| object.database.as_deref().is_some_and(|name| name != database);
    let elsewhere = "it works on another database";
    match &reading.effect {
        Effect::Insert(_) | Effect::Delete(_) | Effect::Truncate(_) | Effect::Optimize(_) => {
            return Translated::Rows;
        }
        Effect::Create { what: What::Database | What::Global, .. }
        | Effect::Drop { what: What::Database | What::Global, .. } => {
            return Translated::Beyond("it works on more than this database");
        }
        Effect::Create { object, .. } | Effect::Drop { object, .. } if is_other(object) => {
            return Translated::Beyond(elsewhere);
        }
        Effect::Create { .. } if consumes(&tokens) => {
            return Translated::Beyond("the table would consume messages");
        }
        Effect::Rename(pairs) if pairs.iter().any(|(from, to)| is_other(from) || is_other(to)) => {
            return Translated::Beyond(elsewhere);
        }
        Effect::Alter { object, .. } if is_other(object) => return Translated::Beyond(elsewhere),
        // Partitions that are attached or moved are not there.
        Effect::Alter { commands, .. }
            if commands.iter().any(|one| one.class() == Class::Parts && !one.action.starts_with("DROP")) =>
        {
            return Translated::Rows;
        }
        Effect::Other(word) if word == "EXCHANGE" && tokens.iter().any(|token| token.is_mark('.')) => {
            return Translated::Beyond(elsewhere);
        }
        Effect::Other(word) if word == "EXCHANGE" => {}
        Effect::Other(word) if ["SELECT", "WITH", "SYSTEM", "SHOW", "CHECK"].contains(&word.as_str()) => {
            return Translated::Rows;
        }
        Effect::Other(_) => return Translated::Beyond("what it does is not known"),
        _ => {}
    }
    Translated::Run(tokens.iter().map(|token| token.text).collect())
}

fn consumes(tokens: &[Token<'_>]) -> bool {
    let said: Vec<&Token<'_>> = tokens.iter().filter(|token| token.is_significant()).collect();
    said.windows(3).any(|three| match three {
        [engine, equals, name] => {
            engine.is_word("ENGINE") && equals.is_mark('=') && CONSUMING.iter().any(|one| name.is_word(one))
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_stay_within_the_scratch_database() {
        let run = |sql: &str| Translated::Run(sql.to_owned());
        for (sql, expected) in [
            ("CREATE TABLE db.t (x Int8) ENGINE = Memory", run("CREATE TABLE t (x Int8) ENGINE = Memory")),
            (
                "CREATE VIEW v AS SELECT * FROM `db`.t, other.t",
                run("CREATE VIEW v AS SELECT * FROM t, other.t"),
            ),
            ("DROP TABLE t ON CLUSTER c SYNC", run("DROP TABLE t SYNC")),
            (
                "CREATE TABLE t (x Int8) ENGINE = ReplicatedReplacingMergeTree('/p', '{r}', x) ORDER BY x",
                run("CREATE TABLE t (x Int8) ENGINE = ReplacingMergeTree(x) ORDER BY x"),
            ),
            ("RENAME TABLE db.a TO db.b", run("RENAME TABLE a TO b")),
            ("ALTER TABLE t UPDATE a = 1 WHERE 1", run("ALTER TABLE t UPDATE a = 1 WHERE 1")),
            ("ALTER TABLE t ATTACH PARTITION 1", Translated::Rows),
            ("INSERT INTO t VALUES (1)", Translated::Rows),
            ("SYSTEM FLUSH LOGS", Translated::Rows),
        ] {
            assert_eq!(translate(sql, "db"), expected, "{sql}");
        }
        for sql in [
            "DROP TABLE other.t",
            "CREATE DATABASE x",
            "DROP DATABASE db",
            "CREATE USER u",
            "GRANT SELECT ON *.* TO u",
            "RENAME TABLE a TO other.a",
            "EXCHANGE TABLES a AND other.b",
            "CREATE TABLE q (x Int8) ENGINE = Kafka SETTINGS kafka_topic_list = 't'",
            "KILL MUTATION WHERE 1",
        ] {
            assert!(matches!(translate(sql, "db"), Translated::Beyond(_)), "{sql}");
        }
    }
}
