//! Tokens that were taken back before their end: a table that is only ever added to, and what this process knows of it.
//!
//! Refuses to let anybody in before it knows the list, and to forget it when the table cannot be read for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use parking_lot::RwLock;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::admin::audit::Trail;
use crate::admin::command::{self, Actor, Command};
use crate::admin::migrate::journal::{is_missing, number};
use crate::admin::rows::{self, Keeping};
use crate::clickhouse::{self, Client, quote_identifier};
use crate::telemetry::metrics::METRICS;

/// More are refused: whoever takes back so many wants another key.
pub const REVOKED_MAX: usize = 100_000;
const ID_CHARS_MAX: usize = 200;
/// Before the list is known for the first time.
const FIRST_RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the id of a token is 1 to {ID_CHARS_MAX} characters\nhint: it is the claim jti; `penstock token verify` tells it"
    )]
    Id,
    #[error("the token has ended by then, and is not taken anyway")]
    Over,
    #[error(
        "{REVOKED_MAX} tokens are taken back, and no more can be\nhint: a new key in admin.access.key_file ends all tokens"
    )]
    TooMany,
    #[error("the table of revoked tokens cannot be used")]
    ClickHouse(#[from] clickhouse::Error),
    #[error(transparent)]
    Command(#[from] command::Error),
}

/// A token that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Revoked {
    /// The claim `jti`.
    pub id: String,
    /// When it would have ended; then it is left out.
    pub until: String,
    pub reason: String,
    pub actor: String,
    pub at: String,
}

/// What is to be taken back.
#[derive(Clone, Debug)]
pub struct Request {
    pub id: String,
    pub until: DateTime<Utc>,
    pub reason: String,
}

struct Shared {
    client: Client,
    table: String,
    keeping: Keeping,
    /// Ids, with the second in which each ends.
    known: RwLock<HashMap<String, i64>>,
    is_loaded: AtomicBool,
}

/// The list; clones share it.
#[derive(Clone)]
pub struct Revocations(Arc<Shared>);

impl Revocations {
    /// Reads nothing yet. Needs a runtime around the call.
    ///
    /// # Errors
    /// A configuration that cannot work.
    pub fn new(
        clickhouse: &clickhouse::Config,
        table: &str,
        keeping: Keeping,
    ) -> Result<Revocations, clickhouse::Error> {
        let endpoints: Vec<String> = clickhouse.endpoints.iter().take(1).cloned().collect();
        let client = Client::new(&clickhouse::Config { endpoints, ..clickhouse.clone() })?;
        let table = format!("{}.{}", quote_identifier(&clickhouse.database), quote_identifier(table));
        let (known, is_loaded) = (RwLock::default(), AtomicBool::new(false));
        Ok(Revocations(Arc::new(Shared { client, table, keeping, known, is_loaded })))
    }

    /// Whether the token is taken back; `None` as long as the list is not known.
    pub fn is_revoked(&self, id: &str, now: DateTime<Utc>) -> Option<bool> {
        if !self.0.is_loaded.load(Ordering::Acquire) {
            return None;
        }
        Some(!id.is_empty() && self.0.known.read().get(id).is_some_and(|until_s| *until_s > now.timestamp()))
    }

    /// Reads the list again and again, until it is to end.
    pub async fn watch(self, interval: Duration, stop: CancellationToken) {
        loop {
            let pause = match self.load(Utc::now()).await {
                Ok(()) => interval,
                Err(error) => {
                    tracing::warn!(%error, "the list of revoked tokens cannot be read; the last one stays in force");
                    if self.0.is_loaded.load(Ordering::Acquire) { interval } else { FIRST_RETRY }
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Reads the list. What this process took back meanwhile stays.
    ///
    /// # Errors
    /// A table that cannot be read; a missing one is an empty list.
    pub async fn load(&self, now: DateTime<Utc>) -> Result<(), Error> {
        let all = self.list(now).await?;
        let mut known = self.0.known.write();
        known.retain(|_, until_s| *until_s > now.timestamp());
        for one in all {
            let until_s = DateTime::parse_from_rfc3339(&one.until).map_or(0, |until| until.timestamp());
            known.entry(one.id).and_modify(|known| *known = until_s.max(*known)).or_insert(until_s);
        }
        METRICS.fleet.revoked_tokens.set(i64::try_from(known.len()).unwrap_or(i64::MAX));
        drop(known);
        self.0.is_loaded.store(true, Ordering::Release);
        Ok(())
    }

    /// Every token that is taken back and has not ended, the latest first.
    ///
    /// # Errors
    /// A table that cannot be read.
    pub async fn list(&self, now: DateTime<Utc>) -> Result<Vec<Revoked>, Error> {
        let sql = format!(
            "SELECT id, max(until_s), argMax(reason, at), argMax(actor, at), toString(max(toUnixTimestamp(at))) FROM {} \
             GROUP BY id HAVING max(until_s) > {{now:Int64}} ORDER BY max(at) DESC, id LIMIT {{limit:UInt64}}",
            self.0.table
        );
        let params = [("now", json!(now.timestamp())), ("limit", json!(REVOKED_MAX))];
        match self.0.client.query(&sql, &params).await {
            Ok(rows) => Ok(rows.rows.iter().map(|row| revoked(row)).collect()),
            // Nobody has taken one back yet.
            Err(error) if is_missing(&error) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a token back: at once in this process, in others when they read the list again.
    ///
    /// # Errors
    /// See [`Error`]. A list that cannot be written keeps the token in force.
    pub async fn revoke(
        &self,
        trail: &Trail,
        actor: &Actor,
        command: Command,
        request: &Request,
    ) -> Result<(), Error> {
        let work = async {
            self.create().await?;
            let row = [
                ("id", "String", json!(request.id)),
                ("until_s", "Int64", json!(request.until.timestamp())),
                ("reason", "String", json!(request.reason)),
                ("actor", "String", json!(actor.to_string())),
            ];
            // A row that is there twice says the same.
            rows::append(&self.0.client, &self.0.table, &row).await?;
            self.0.known.write().insert(request.id.clone(), request.until.timestamp());
            Ok::<(), Error>(())
        };
        Box::pin(command::run(trail, actor, command, Box::pin(work))).await
    }

    /// # Errors
    /// An id that is none, or an end that has passed.
    pub fn check(&self, request: &Request, now: DateTime<Utc>) -> Result<(), Error> {
        if request.id.is_empty() || request.id.chars().count() > ID_CHARS_MAX {
            return Err(Error::Id);
        }
        if request.until <= now {
            return Err(Error::Over);
        }
        if self.0.known.read().len() >= REVOKED_MAX { Err(Error::TooMany) } else { Ok(()) }
    }

    async fn create(&self) -> Result<(), clickhouse::Error> {
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'), id String, until_s Int64, \
             reason String, actor String) ENGINE = {} ORDER BY (id, at) COMMENT 'tokens that were taken back'",
            self.0.table,
            self.0.keeping.engine()
        );
        self.0.keeping.create(&self.0.client, &sql).await
    }
}

fn revoked(row: &[Value]) -> Revoked {
    let text = |at: usize| row.get(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let time = |at: usize| {
        let seconds = row.get(at).and_then(number).and_then(|seconds| i64::try_from(seconds).ok());
        let time = seconds.and_then(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0));
        time.map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true)).unwrap_or_default()
    };
    Revoked { id: text(0), until: time(1), reason: text(2), actor: text(3), at: time(4) }
}
