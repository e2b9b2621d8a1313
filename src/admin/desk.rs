//! What table care and lifecycle stand on: one server, the trail, and who asks.
//!
//! Refuses to change anything outside of a command. Statements go out once, under an id of their own, and what a
//! server prints is read by place and never trusted to be there.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::audit::{Place, Trail};
use super::command::{self, Actor, Command, Permission};
use super::migrate;
use super::migrate::lock::Lock;
use super::rows::Keeping;
use crate::clickhouse::{self, Client, Once, Params, quote_identifier};

/// How often a statement that runs is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// What a merge writes may be this much more than what it reads, in hundredths.
const SPARE_PERCENT: u64 = 10;

/// Of one endpoint's answer, where all are asked.
const ANSWER_BYTES_MAX: u64 = 32 << 20;

/// Free bytes on the disks of the table's storage policy; plenty where it has none.
pub const FREE_BYTES: &str = "SELECT if(count() = 0, toUInt64(-1), max(unreserved_space)) FROM system.disks \
     WHERE name IN (SELECT arrayJoin(disks) FROM system.storage_policies WHERE policy_name IN (SELECT storage_policy \
     FROM system.tables WHERE database = {database:String} AND name = {table:String}))";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    ClickHouse(#[from] clickhouse::Error),
    #[error("{0} is no endpoint\nhint: the endpoints are {1}")]
    NoEndpoint(String, String),
    #[error(
        "there is no table {0}\nhint: `penstock table sizes` lists them; tables of another database need `--database`"
    )]
    NoTable(TableName),
    #[error(
        "{what} still runs after {waited_s} s\nhint: it goes on in the server, see system.merges and system.mutations; wait longer with `--timeout`"
    )]
    StillRunning { what: String, waited_s: u64 },
    #[error(
        "{table} needs {needed} bytes free for what is written again, and {free} are\nhint: free some, take one partition at a time, or go on with `--skip-disk-check`"
    )]
    Disk { table: TableName, needed: u64, free: u64 },
    #[error(transparent)]
    Lock(#[from] Box<migrate::Error>),
    #[error(
        "it was asked to end before `{0}`\nhint: what was done before stays done; ask for the rest when it is wanted"
    )]
    Cancelled(String),
    #[error(
        "the server answered something else than was asked for: {0}\nhint: check that the address is that of a ClickHouse server"
    )]
    Answer(String),
}

/// A table within its database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, JsonSchema)]
pub struct TableName {
    pub database: String,
    pub name: String,
}

impl TableName {
    /// As it stands in a statement.
    pub fn sql(&self) -> String {
        format!("{}.{}", quote_identifier(&self.database), quote_identifier(&self.name))
    }

    /// The values of `{database:String}` and `{table:String}`.
    pub fn params(&self) -> Vec<(&'static str, Value)> {
        vec![("database", json!(self.database)), ("table", json!(self.name))]
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.database, self.name)
    }
}

/// A row of an answer, read by place.
pub struct Row(Vec<Value>);

impl Row {
    pub fn text(&self, at: usize) -> String {
        self.0.get(at).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    pub fn texts(&self, at: usize) -> Vec<String> {
        let all = self.0.get(at).and_then(Value::as_array);
        all.into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
    }

    pub fn number(&self, at: usize) -> u64 {
        self.0.get(at).and_then(migrate::journal::number).unwrap_or_default()
    }

    pub fn float(&self, at: usize) -> f64 {
        self.0.get(at).and_then(Value::as_f64).unwrap_or_default()
    }

    pub fn flag(&self, at: usize) -> bool {
        self.0
            .get(at)
            .is_some_and(|value| value.as_bool() == Some(true) || migrate::journal::number(value) == Some(1))
    }
}

/// How far the merges of a table are.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Progress {
    pub table: String,
    pub merges: u64,
    /// Bytes that they read, and of these the share that is done.
    pub bytes: u64,
    pub done: f64,
}

/// Told of progress as it is seen.
pub type Observer = Arc<dyn Fn(&Progress) + Send + Sync>;

/// One server, the trail, and who asks.
#[derive(Clone)]
pub struct Desk {
    pub client: Client,
    /// Of every endpoint, for what must be known of all.
    all: Client,
    pub host: String,
    /// Of tables that are named without one.
    pub database: String,
    /// How its own tables are kept.
    pub keeping: Keeping,
    actor: Actor,
    trail: Trail,
    observer: Observer,
    stop: CancellationToken,
    /// Without which no statement goes out, where there is one.
    lock: Option<Arc<Lock>>,
}

/// What a [`Desk`] is made of.
#[derive(Clone)]
pub struct Setup<'a> {
    pub clickhouse: &'a clickhouse::Config,
    pub migrations: &'a migrate::Config,
    pub actor: Actor,
    /// Where commands are written down beside the log and the table.
    pub places: Vec<Place>,
    /// Host and port of the endpoint to work on; the first without it.
    pub endpoint: Option<String>,
    pub observer: Observer,
}

impl Desk {
    /// Connects to nothing yet. Needs a runtime around the call.
    ///
    /// # Errors
    /// A configuration that cannot work, or an endpoint that is not in it.
    pub fn new(setup: Setup<'_>) -> Result<Desk, Error> {
        let Setup { clickhouse, migrations, actor, places, endpoint, observer } = setup;
        let hosts = hosts(clickhouse);
        let is_wanted = |host: &String| endpoint.as_ref().is_none_or(|wanted| wanted == host);
        let found = clickhouse.endpoints.iter().zip(&hosts).find(|(_, host)| is_wanted(host));
        let no_endpoint = || Error::NoEndpoint(endpoint.clone().unwrap_or_default(), hosts.join(", "));
        let (address, host) = found.ok_or_else(no_endpoint)?;
        let config = clickhouse::Config { endpoints: vec![address.clone()], ..clickhouse.clone() };
        let (client, host, all) = (Client::new(&config)?, host.clone(), Client::new(clickhouse)?);
        let database = clickhouse.database.clone();
        let keeping = Keeping::new(clickhouse, migrations)?;
        let trail = migrate::trail(places, client.clone(), (&database, &migrations.table), &keeping);
        Ok(Desk {
            client,
            all,
            host,
            database,
            keeping,
            actor,
            trail,
            observer,
            stop: CancellationToken::new(),
            lock: None,
        })
    }

    /// Tells of progress, and ends before the next statement once it is to stop.
    pub fn observed(self, observer: Observer, stop: CancellationToken) -> Desk {
        Desk { observer, stop, ..self }
    }

    /// The same for somebody else, over the same connections.
    pub fn acting(&self, actor: Actor) -> Desk {
        Desk { actor, ..self.clone() }
    }

    /// The same under a lock: statements go out while it is held, under ids that tell whose they are.
    pub fn under(&self, lock: Arc<Lock>) -> Desk {
        Desk { lock: Some(lock), ..self.clone() }
    }

    /// Cancelled when its work is to end.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The table, in the database of the configuration unless another one is named.
    pub fn table(&self, database: Option<&str>, name: &str) -> TableName {
        TableName { database: database.unwrap_or(&self.database).to_owned(), name: name.to_owned() }
    }

    pub async fn rows(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Error> {
        Ok(self.client.query(sql, params).await?.rows.into_iter().map(Row).collect())
    }

    /// The rows of every endpoint, each of which must answer; a table that is not there has none.
    pub async fn rows_everywhere(&self, sql: &str) -> Result<Vec<Row>, Error> {
        let mut all = Vec::new();
        for answer in self.all.query_everywhere(sql, &[], ANSWER_BYTES_MAX).await? {
            all.extend(answer?.into_iter().map(Row));
        }
        Ok(all)
    }

    /// The only row.
    pub async fn row(&self, sql: &str, params: Params<'_>) -> Result<Row, Error> {
        let row = self.rows(sql, params).await?.into_iter().next();
        row.ok_or_else(|| Error::Answer(format!("no row for {sql}")))
    }

    /// Seconds since 1970 by the server's clock.
    pub async fn now(&self) -> Result<u64, Error> {
        Ok(self.row("SELECT toUInt64(toUnixTimestamp(now()))", &[]).await?.number(0))
    }

    /// The one path of everything that changes something.
    pub async fn audited<T, E: From<command::Error> + std::fmt::Display>(
        &self,
        action: &'static str,
        needs: Permission,
        about: (&TableName, Value),
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let command = Command { action, resource: about.0.to_string(), details: about.1, needs };
        Box::pin(command::run(&self.trail, &self.actor, command, work)).await
    }

    /// Sends a statement once and waits for its end, telling of the table's merges meanwhile.
    pub async fn run(
        &self,
        table: &TableName,
        sql: &str,
        settings: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<(), Error> {
        self.run_with(table, (sql, &[]), settings, timeout).await
    }

    /// The same with values beside the statement.
    pub async fn run_with(
        &self,
        table: &TableName,
        (sql, params): (&str, Params<'_>),
        settings: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<(), Error> {
        if self.stop.is_cancelled() {
            return Err(Error::Cancelled(sql.to_owned()));
        }
        let all: Vec<(String, String)> =
            [("alter_sync", "2"), ("mutations_sync", "2")].iter().chain(settings).map(owned).collect();
        let mut query_id = "penstock-".to_owned();
        if let Some(lock) = &self.lock {
            lock.check().map_err(Box::new)?;
            query_id = lock.query_prefix();
        }
        query_id += &uuid::Uuid::new_v4().to_string();
        let once = Once { sql, params, query_id: &query_id, settings: &all, timeout };
        let work = self.client.execute_once(once);
        tokio::pin!(work);
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        loop {
            tokio::select! {
                result = &mut work => return result.map_err(|error| late(error, sql, timeout)),
                _ = ticks.tick() => {
                    // What cannot be looked at is not shown.
                    if let Ok(progress) = self.progress(table).await {
                        (self.observer)(&progress);
                    }
                }
            }
        }
    }

    async fn progress(&self, table: &TableName) -> Result<Progress, Error> {
        let sql = "SELECT count(), sum(total_size_bytes_compressed), \
                   sum(progress * total_size_bytes_compressed) / greatest(sum(total_size_bytes_compressed), 1) \
                   FROM system.merges WHERE database = {database:String} AND table = {table:String}";
        let row = self.row(sql, &table.params()).await?;
        Ok(Progress {
            table: table.to_string(),
            merges: row.number(0),
            bytes: row.number(1),
            done: row.float(2),
        })
    }

    /// Waits until none of the merges and mutations that run now does.
    pub async fn outwait(&self, table: &TableName, timeout: Duration) -> Result<(), Error> {
        let running = "SELECT result_part_name FROM system.merges \
                       WHERE database = {database:String} AND table = {table:String} UNION ALL \
                       SELECT mutation_id FROM system.mutations \
                       WHERE database = {database:String} AND table = {table:String} AND NOT is_done AND NOT is_killed";
        let names = |rows: Vec<Row>| rows.iter().map(|row| row.text(0)).collect::<Vec<_>>();
        let give_up_at = Instant::now() + timeout;
        let before = names(self.rows(running, &table.params()).await?);
        let mut left = before.clone();
        while !left.is_empty() {
            if Instant::now() >= give_up_at {
                let what = format!("a merge of {table} that began before");
                return Err(Error::StillRunning { what, waited_s: timeout.as_secs() });
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
            left = names(self.rows(running, &table.params()).await?);
            left.retain(|name| before.contains(name));
        }
        Ok(())
    }

    /// Refuses what is to be written again if no disk of the table has room for it.
    pub async fn check_disk(&self, table: &TableName, bytes: u64) -> Result<(), Error> {
        let free = self.row(FREE_BYTES, &table.params()).await?.number(0);
        room(table, bytes, free)
    }
}

/// Host and port of every endpoint.
pub fn hosts(clickhouse: &clickhouse::Config) -> Vec<String> {
    let host = |address: &String| {
        let authority = address.split_once("://").map_or(address.as_str(), |(_, rest)| rest);
        authority.split('/').next().unwrap_or_default().to_owned()
    };
    clickhouse.endpoints.iter().map(host).collect()
}

fn room(table: &TableName, bytes: u64, free: u64) -> Result<(), Error> {
    let needed = bytes.saturating_add(bytes / 100 * SPARE_PERCENT);
    if needed > free { Err(Error::Disk { table: table.clone(), needed, free }) } else { Ok(()) }
}

impl From<migrate::Error> for Error {
    fn from(error: migrate::Error) -> Self {
        match error {
            migrate::Error::ClickHouse(error) => error.into(),
            error => Box::new(error).into(),
        }
    }
}

fn owned((name, value): &(&str, &str)) -> (String, String) {
    ((*name).to_owned(), (*value).to_owned())
}

fn late(error: clickhouse::Error, sql: &str, timeout: Duration) -> Error {
    match error {
        clickhouse::Error::Timeout { .. } => {
            Error::StillRunning { what: format!("`{sql}`"), waited_s: timeout.as_secs() }
        }
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_by_place_and_missing_values_are_nothing() {
        let row =
            Row(vec![json!("a"), json!("18446744073709551615"), json!(2.5), json!(["x", "y"]), json!(1)]);
        assert_eq!((row.text(0), row.number(1), row.float(2)), ("a".to_owned(), u64::MAX, 2.5));
        assert_eq!(
            (row.texts(3), row.flag(4), row.flag(0)),
            (vec!["x".to_owned(), "y".to_owned()], true, false)
        );
        assert_eq!((row.text(9), row.number(9), row.texts(9).len()), (String::new(), 0, 0));
    }

    #[test]
    fn what_finds_no_room_is_refused() {
        let table = TableName { database: "d".to_owned(), name: "t".to_owned() };
        assert!(room(&table, 1_000, 1_100).is_ok() && room(&table, 0, 0).is_ok());
        let refused = room(&table, 1_000, 1_099).unwrap_err().to_string();
        assert!(refused.contains("d.t needs 1100 bytes") && refused.contains("hint: "), "{refused}");
    }

    #[test]
    fn names_are_quoted_in_statements_and_plain_for_people() {
        let table = TableName { database: "d`".to_owned(), name: "t.u".to_owned() };
        assert_eq!((table.sql().as_str(), table.to_string().as_str()), (r"`d\``.`t.u`", "d`.t.u"));
    }
}
