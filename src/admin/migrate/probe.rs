//! What became of a statement that was sent and whose answer nobody has: found out instead of guessed.
//!
//! Refuses to decide without evidence. In this order: is it still running, what do the server's logs say of its id,
//! what does `verify` find, does a second time harm at all, is the object there or gone.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::alter::Alter;
use super::error::Error;
use super::host::Host;
use super::statement::{Effect, Object, Reading, What};

const LOOK_MIN: Duration = Duration::from_millis(20);
const LOOK_MAX: Duration = Duration::from_secs(2);
/// The server writes its logs at least so often, where nobody may tell it to.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(10);
/// A mutation was created and has not ended, or has failed: the statement's error is not its end.
pub const UNFINISHED: u32 = 341;

/// What was found out, with how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Done(&'static str),
    /// It left no effect, or may harmlessly be sent again.
    NotDone(&'static str),
    Unknown(String),
}

/// A statement in doubt.
pub struct Doubt<'a> {
    pub query_id: &'a str,
    /// When it was sent, by the first host's clock, in UTC.
    pub started: &'a str,
    pub reading: &'a Reading,
    pub verify: Option<&'a str>,
    pub database: &'a str,
}

/// What the server's log of queries says.
enum Logged {
    Finished,
    Refused,
    /// It failed after it had begun, with so many rows written.
    Failed {
        exception: u64,
        written_rows: u64,
    },
    /// Its beginning is there and no end: the server ended first.
    Begun,
    /// The log is complete and does not know it.
    Never,
    Unknown(String),
}

impl Host {
    /// Waits until no statement with this id runs; whether that was so in time.
    pub async fn wait_for_end(&self, query_id: &str, longest: Duration) -> Result<bool, Error> {
        let (give_up_at, mut pause) = (Instant::now() + longest, LOOK_MIN);
        while self.is_running(query_id).await? {
            if Instant::now() >= give_up_at {
                return Ok(false);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_MAX);
        }
        Ok(true)
    }

    /// What became of a statement that does not run any more.
    pub async fn find_out(&self, doubt: &Doubt<'_>) -> Result<Found, Error> {
        let why = match self.logged(doubt).await? {
            Logged::Finished => return Ok(Found::Done("the server's query log has its end")),
            Logged::Refused => return Ok(Found::NotDone("the server refused it before it began")),
            Logged::Never => {
                return Ok(Found::NotDone("the server's query log is complete and does not know it"));
            }
            Logged::Failed { exception, written_rows: 0 } if exception != u64::from(UNFINISHED) => {
                let is_data = matches!(doubt.reading.effect, Effect::Insert(_));
                if is_data {
                    return Ok(Found::NotDone("it failed before it had written a row"));
                }
                format!("it failed with code {exception} after it had begun")
            }
            Logged::Failed { exception, written_rows } => {
                format!("it failed with code {exception} after {written_rows} rows were written")
            }
            Logged::Begun => "the server ended while it ran".to_owned(),
            Logged::Unknown(why) => why,
        };
        if let Some(verify) = doubt.verify {
            return Ok(match self.is_true(verify).await? {
                true => Found::Done("`verify` finds its effect"),
                false => Found::NotDone("`verify` does not find its effect"),
            });
        }
        if doubt.reading.is_repeatable() {
            return Ok(Found::NotDone("a second time does no harm"));
        }
        // With ON CLUSTER this host does not tell for the others.
        let told = if doubt.reading.cluster.is_none() { self.effect(doubt).await? } else { None };
        Ok(told.unwrap_or(Found::Unknown(why)))
    }

    async fn logged(&self, doubt: &Doubt<'_>) -> Result<Logged, Error> {
        let marker = format!("{}-probe-{}", doubt.query_id, uuid::Uuid::new_v4().simple());
        if let Err(error) = self.run("SELECT 1", &marker, [], LOOK_MAX).await {
            return Ok(Logged::Unknown(format!("the server did not answer: {error}")));
        }
        let flushed = self.client.execute_idempotent("SYSTEM FLUSH LOGS", &[]).await.is_ok();
        let give_up_at = Instant::now() + if flushed { Duration::ZERO } else { FLUSH_WAIT_MAX };
        loop {
            let found = match self.read_log(doubt, &marker).await {
                Ok(found) => found,
                Err(Error::ClickHouse(error)) if error.exception().is_some() => {
                    return Ok(Logged::Unknown(format!("the server's query log cannot be read ({error})")));
                }
                Err(error) => return Err(error),
            };
            match found {
                Some(logged) => return Ok(logged),
                None if Instant::now() >= give_up_at => {
                    return Ok(Logged::Unknown("the server writes no query log".to_owned()));
                }
                None => tokio::time::sleep(LOOK_MAX).await,
            }
        }
    }

    /// `None` as long as what was just run is not in the log either.
    async fn read_log(&self, doubt: &Doubt<'_>, marker: &str) -> Result<Option<Logged>, Error> {
        // A log that begins later than the statement, or lost its last rows in a restart, proves nothing.
        let sql = "SELECT countIf(query_id = {marker:String}), \
             min(event_time_microseconds) <= parseDateTime64BestEffort({started:String}, 6, 'UTC') \
             AND now64(6) - toIntervalSecond(uptime()) <= parseDateTime64BestEffort({started:String}, 6, 'UTC'), \
             countIf(query_id = {id:String} AND type = 'QueryStart'), \
             countIf(query_id = {id:String} AND type = 'QueryFinish'), \
             countIf(query_id = {id:String} AND type = 'ExceptionBeforeStart'), \
             countIf(query_id = {id:String} AND type = 'ExceptionWhileProcessing'), \
             maxIf(exception_code, query_id = {id:String}), maxIf(written_rows, query_id = {id:String}) \
             FROM system.query_log WHERE event_date >= toDate(parseDateTime64BestEffort({started:String}, 6, 'UTC')) - 2";
        let params =
            [("marker", json!(marker)), ("started", json!(doubt.started)), ("id", json!(doubt.query_id))];
        let rows = self.client.query(sql, &params).await?;
        let row: Vec<u64> = rows.rows.iter().flatten().filter_map(super::journal::number).collect();
        let [marked, covered, begun, finished, refused, failed, exception, written_rows] = row.as_slice()
        else {
            return Err(Error::Answer("its query log".to_owned()));
        };
        Ok(match (*finished, *refused, *failed, *begun) {
            (1.., ..) => Some(Logged::Finished),
            (_, 1.., ..) => Some(Logged::Refused),
            (_, _, 1.., _) => Some(Logged::Failed { exception: *exception, written_rows: *written_rows }),
            _ if *marked == 0 => None,
            (.., 1..) => Some(Logged::Begun),
            _ if *covered == 1 => Some(Logged::Never),
            _ => Some(Logged::Unknown("the server's query log does not reach back to it".to_owned())),
        })
    }

    /// What the objects themselves tell.
    async fn effect(&self, doubt: &Doubt<'_>) -> Result<Option<Found>, Error> {
        match &doubt.reading.effect {
            Effect::Create { what, object, .. } if *what != What::Global => {
                // One that was there before would have made the statement fail.
                let made = self.exists(doubt, *what, object, true).await?;
                let there = self.exists(doubt, *what, object, false).await?;
                Ok(match (made, there) {
                    (true, _) => Some(Found::Done("the object was made since")),
                    (false, false) => Some(Found::NotDone("the object is not there")),
                    (false, true) => None,
                })
            }
            Effect::Drop { what, object, .. } if *what != What::Global => {
                Ok(Some(match self.exists(doubt, *what, object, false).await? {
                    true => Found::NotDone("the object is still there"),
                    false => Found::Done("the object is gone"),
                }))
            }
            Effect::Rename(pairs) => {
                let mut moved = Vec::new();
                for (from, to) in pairs {
                    let from = self.exists(doubt, What::Table, from, false).await?;
                    moved.push((from, self.exists(doubt, What::Table, to, false).await?));
                }
                Ok(match moved.as_slice() {
                    all if all.iter().all(|one| *one == (false, true)) => {
                        Some(Found::Done("the new names are there"))
                    }
                    all if all.iter().all(|one| *one == (true, false)) => {
                        Some(Found::NotDone("the old names are there"))
                    }
                    _ => None,
                })
            }
            Effect::Alter { object, commands } => self.altered(doubt, object, commands).await,
            _ => Ok(None),
        }
    }

    async fn altered(
        &self,
        doubt: &Doubt<'_>,
        object: &Object,
        commands: &[Alter],
    ) -> Result<Option<Found>, Error> {
        let mut told = Vec::new();
        for command in commands {
            told.push(match (command.action, &command.name) {
                ("ADD COLUMN", Some(name)) => Some(self.has_column(doubt, object, name).await?),
                ("DROP COLUMN", Some(name)) => Some(!self.has_column(doubt, object, name).await?),
                ("RENAME COLUMN", Some(name)) => Some(!self.has_column(doubt, object, name).await?),
                ("UPDATE" | "DELETE", _) => match self.mutated(doubt, object).await? {
                    true => Some(true),
                    // One that was never begun and one that was cleaned up look the same.
                    false => None,
                },
                _ if command.is_repeatable() => continue,
                _ => None,
            });
        }
        Ok(match told.as_slice() {
            [] => None,
            all if all.iter().all(|one| *one == Some(true)) => {
                Some(Found::Done("the table is as it would leave it"))
            }
            all if all.iter().all(|one| *one == Some(false)) => {
                Some(Found::NotDone("the table is as it was before"))
            }
            _ => None,
        })
    }

    async fn exists(
        &self,
        doubt: &Doubt<'_>,
        what: What,
        object: &Object,
        since: bool,
    ) -> Result<bool, Error> {
        let sql = match (what, since) {
            (What::Database, false) => "SELECT count() FROM system.databases WHERE name = {name:String}",
            // Databases do not say when they were made.
            (What::Database, true) => return Ok(false),
            (_, false) => {
                "SELECT count() FROM system.tables WHERE database = {database:String} AND name = {name:String}"
            }
            (_, true) => {
                "SELECT count() FROM system.tables WHERE database = {database:String} AND name = {name:String} \
                 AND metadata_modification_time >= toDateTime(parseDateTime64BestEffort({started:String}, 3, 'UTC'))"
            }
        };
        let mut params = named(doubt, object);
        params.push(("started", json!(doubt.started)));
        Ok(self.number(sql, &params).await? > 0)
    }

    async fn has_column(&self, doubt: &Doubt<'_>, object: &Object, column: &str) -> Result<bool, Error> {
        let sql = "SELECT count() FROM system.columns WHERE database = {database:String} AND table = {name:String} \
                   AND name = {column:String}";
        let mut params = named(doubt, object);
        params.push(("column", json!(column)));
        Ok(self.number(sql, &params).await? > 0)
    }

    async fn mutated(&self, doubt: &Doubt<'_>, object: &Object) -> Result<bool, Error> {
        let sql = "SELECT count() FROM system.mutations WHERE database = {database:String} AND table = {name:String} \
                   AND create_time >= toDateTime(parseDateTime64BestEffort({started:String}, 3, 'UTC')) AND NOT is_killed";
        let mut params = named(doubt, object);
        params.push(("started", json!(doubt.started)));
        Ok(self.number(sql, &params).await? > 0)
    }
}

fn named<'a>(doubt: &Doubt<'_>, object: &Object) -> Vec<(&'a str, Value)> {
    let database = object.database.as_deref().unwrap_or(doubt.database);
    vec![("database", json!(database)), ("name", json!(object.name))]
}
