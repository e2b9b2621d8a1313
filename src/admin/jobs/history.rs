//! What is remembered of jobs beyond the process: a table that is only ever added to, one row for each change of state.
//!
//! Refuses to say that a job runs because it did once: a row holds for a lease, by the server's clock, and whoever runs
//! the job renews it. What was running and is not renewed is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Ask, Job, State, UNWRITTEN_AFTER, stamp};
use crate::admin::migrate::journal::{is_missing, number};
use crate::admin::rows::{self, Keeping};
use crate::clickhouse::{self, Client, Params, quote_identifier};

/// Of a result or an error no more is kept.
const VALUE_BYTES_MAX: usize = 64 << 10;

const COLUMNS: &str = "toString(id), any(instance), any(action), any(actor), any(key), any(fingerprint), any(schedule), \
     any(due_s), toString(any(began_ms)), toString(argMax(ended_ms, seq)), argMax(state, seq), \
     argMax(is_cancelled, seq), argMax(steps, seq), argMax(result, seq), argMax(error, seq), \
     argMax(at + toIntervalMillisecond(lease_ms), seq) > now64(3)";

/// The table of jobs, on the first endpoint.
#[derive(Clone)]
pub struct History {
    client: Client,
    /// As it stands in a statement.
    table: String,
    keeping: Keeping,
    keep_days: u64,
    lease: Duration,
}

/// Where the table is.
pub struct Setup<'a> {
    pub clickhouse: &'a clickhouse::Config,
    pub config: &'a super::Config,
    pub keeping: Keeping,
}

/// A job as the table has it.
pub struct Remembered {
    pub job: Job,
    pub key: String,
    pub fingerprint: String,
}

impl History {
    /// Connects to nothing yet. Needs a runtime around the call.
    ///
    /// # Errors
    /// A configuration that cannot work.
    pub fn new(setup: &Setup<'_>) -> Result<History, clickhouse::Error> {
        let Setup { clickhouse, config, keeping } = setup;
        let endpoints: Vec<String> = clickhouse.endpoints.iter().take(1).cloned().collect();
        let client = Client::new(&clickhouse::Config { endpoints, ..(*clickhouse).clone() })?;
        let table = format!("{}.{}", quote_identifier(&clickhouse.database), quote_identifier(&config.table));
        let keep_days = config.keep.0.as_secs().div_ceil(86_400).max(1);
        Ok(History { client, table, keeping: keeping.clone(), keep_days, lease: config.lease.0 })
    }

    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// The same request, by its key. Where the table does not answer, what may go unwritten is taken for new.
    pub async fn same(&self, ask: &Ask, except: &str) -> Result<Option<Remembered>, clickhouse::Error> {
        Ok(unless_away(ask, Box::pin(self.by_key(ask, except))).await?.flatten())
    }

    /// Adds the first row; whether it is there. Where the table does not answer, what may go unwritten begins without.
    pub async fn begin(&self, job: &Job, ask: &Ask, seq: u32) -> Result<bool, clickhouse::Error> {
        Ok(unless_away(ask, Box::pin(self.put(job, ask, seq))).await?.is_some())
    }

    /// Adds a row; makes the table if it is missing.
    pub async fn put(&self, job: &Job, ask: &Ask, seq: u32) -> Result<(), clickhouse::Error> {
        let began_ms = DateTime::parse_from_rfc3339(&job.began).map_or(0, |at| at.timestamp_millis());
        let ended_ms = DateTime::parse_from_rfc3339(&job.ended).map_or(0, |at| at.timestamp_millis());
        let lease_ms = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        let run = ask.run.as_ref();
        let row = [
            ("id", "UUID", json!(job.id)),
            ("seq", "UInt32", json!(seq)),
            ("lease_ms", "UInt64", json!(lease_ms)),
            ("instance", "String", json!(job.instance)),
            ("action", "String", json!(job.action)),
            ("actor", "String", json!(job.actor)),
            ("key", "String", json!(ask.key.clone().unwrap_or_default())),
            ("fingerprint", "String", json!(ask.fingerprint)),
            ("schedule", "String", json!(run.map(|run| run.schedule.clone()).unwrap_or_default())),
            ("due_s", "Int64", json!(run.and_then(|run| run.due_s).unwrap_or_default())),
            ("began_ms", "Int64", json!(began_ms)),
            ("ended_ms", "Int64", json!(ended_ms)),
            ("state", "String", json!(job.state.name())),
            ("is_cancelled", "UInt8", json!(u8::from(job.is_cancelled))),
            ("steps", "UInt64", json!(job.steps)),
            ("result", "String", json!(text(job.result.as_ref()))),
            ("error", "String", json!(text(job.error.as_ref()))),
        ];
        match rows::append(&self.client, &self.table, &row).await {
            Err(error) if is_missing(&error) => {
                self.create().await?;
                rows::append(&self.client, &self.table, &row).await
            }
            // A row that is there twice says the same.
            other => other,
        }
    }

    async fn create(&self) -> Result<(), clickhouse::Error> {
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'), id UUID, seq UInt32, \
             lease_ms UInt64, instance String, action LowCardinality(String), actor String, key String, \
             fingerprint String, schedule LowCardinality(String), due_s Int64, began_ms Int64, \
             began DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(began_ms, 'UTC'), ended_ms Int64, \
             state LowCardinality(String), is_cancelled UInt8, steps UInt64, result String, error String, \
             INDEX by_id id TYPE bloom_filter GRANULARITY 1, INDEX by_key key TYPE bloom_filter GRANULARITY 1) \
             ENGINE = {} PARTITION BY toDate(at) ORDER BY (began_ms, id, seq) TTL toDateTime(at) + toIntervalDay({}) \
             COMMENT 'jobs of penstock admin, by change of state'",
            self.table,
            self.keeping.engine(),
            self.keep_days
        );
        self.keeping.create(&self.client, &sql).await
    }

    /// The latest, newest first; of one schedule, or all.
    pub async fn list(
        &self,
        schedule: Option<&str>,
        count_max: usize,
    ) -> Result<Vec<Remembered>, clickhouse::Error> {
        let condition = if schedule.is_some() { "schedule = {schedule:String}" } else { "1" };
        // The first rows of the latest say from where on to read.
        let sql = format!(
            "{condition} AND began_ms >= (SELECT min(began_ms) FROM (SELECT began_ms FROM {} WHERE seq = 1 AND {condition} \
             ORDER BY began_ms DESC LIMIT {{limit:UInt64}})) \
             GROUP BY id ORDER BY any(began_ms) DESC, id LIMIT {{limit:UInt64}}",
            self.table
        );
        let limit = ("limit", json!(count_max));
        match schedule {
            Some(schedule) => self.read(&sql, &[("schedule", json!(schedule)), limit]).await,
            None => self.read(&sql, &[limit]).await,
        }
    }

    pub async fn find(&self, id: &str) -> Result<Option<Remembered>, clickhouse::Error> {
        // What is no id has no job.
        let sql = "id = toUUIDOrZero({id:String}) GROUP BY id";
        Ok(self.read(sql, &[("id", json!(id))]).await?.into_iter().next())
    }

    /// The job that this actor asked for by this key, but for this one.
    async fn by_key(&self, ask: &Ask, except: &str) -> Result<Option<Remembered>, clickhouse::Error> {
        let Some(key) = &ask.key else { return Ok(None) };
        let sql = "actor = {actor:String} AND key = {key:String} AND id != toUUIDOrZero({except:String}) GROUP BY id \
                   HAVING argMax(state, seq) != 'skipped' ORDER BY any(began_ms), id LIMIT 1";
        let params = [("actor", json!(ask.actor)), ("key", json!(key)), ("except", json!(except))];
        Ok(self.read(sql, &params).await?.into_iter().next())
    }

    /// Runs of this schedule that are under way somewhere.
    pub async fn open(&self, schedule: &str) -> Result<Vec<Remembered>, clickhouse::Error> {
        // Whoever runs it has renewed it within its lease.
        let sql = "schedule = {schedule:String} AND at > now64(3) - toIntervalMillisecond(lease_ms) \
                   AND at > now64(3) - toIntervalDay(1) GROUP BY id HAVING argMax(state, seq) = 'running' LIMIT 10";
        self.read(sql, &[("schedule", json!(schedule))]).await
    }

    /// The last due time of each schedule that a run was begun for or that was passed over, in seconds since 1970.
    pub async fn last_due(&self) -> Result<BTreeMap<String, i64>, clickhouse::Error> {
        let sql =
            format!("SELECT schedule, max(due_s) FROM {} WHERE schedule != '' GROUP BY schedule", self.table);
        let rows = self.query(&sql, &[]).await?;
        let one = |row: &Vec<Value>| {
            let name = row.first()?.as_str()?.to_owned();
            Some((name, i64::try_from(number(row.get(1)?)?).ok()?))
        };
        Ok(rows.iter().filter_map(one).collect())
    }

    async fn read(&self, rest: &str, params: Params<'_>) -> Result<Vec<Remembered>, clickhouse::Error> {
        let sql = format!("SELECT {COLUMNS} FROM {} WHERE {rest}", self.table);
        Ok(self.query(&sql, params).await?.iter().map(|row| remembered(row)).collect())
    }

    async fn query(&self, sql: &str, params: Params<'_>) -> Result<Vec<Vec<Value>>, clickhouse::Error> {
        match self.client.query(sql, params).await {
            Ok(rows) => Ok(rows.rows),
            // There was no job yet.
            Err(error) if is_missing(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// Nothing where the table does not answer, or not soon, and that stands in no way.
async fn unless_away<T>(
    ask: &Ask,
    work: impl Future<Output = Result<T, clickhouse::Error>>,
) -> Result<Option<T>, clickhouse::Error> {
    if !ask.may_go_unwritten {
        return work.await.map(Some);
    }
    match timeout(UNWRITTEN_AFTER, work).await {
        Ok(Ok(found)) => return Ok(Some(found)),
        Ok(Err(error)) => tracing::warn!(%error, action = ask.action, "the table of jobs is left out"),
        Err(_) => tracing::warn!(action = ask.action, "the table of jobs does not answer, and is left out"),
    }
    Ok(None)
}

/// A value as it is kept; of one that is too large, that it was.
fn text(value: Option<&Value>) -> String {
    let text = value.map(Value::to_string).unwrap_or_default();
    if text.len() <= VALUE_BYTES_MAX { text } else { json!({ "left_out_bytes": text.len() }).to_string() }
}

fn remembered(row: &[Value]) -> Remembered {
    let text = |at: usize| row.get(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let count = |at: usize| row.get(at).and_then(number).unwrap_or_default();
    let time = |at: usize| match text(at).parse::<i64>().ok().filter(|ms| *ms != 0) {
        Some(ms) => DateTime::<Utc>::from_timestamp_millis(ms).map(stamp).unwrap_or_default(),
        None => String::new(),
    };
    let value = |at: usize| serde_json::from_str(&text(at)).ok();
    let is_held = row.get(15).is_some_and(|held| held.as_bool() == Some(true) || number(held) == Some(1));
    let state = match State::parse(&text(10)) {
        State::Running if !is_held => State::Lost,
        state => state,
    };
    let error = value(14).or_else(|| (state == State::Lost).then(lost));
    let due_s = i64::try_from(count(7)).ok().filter(|due_s| *due_s != 0);
    let due = due_s.and_then(|due_s| DateTime::<Utc>::from_timestamp(due_s, 0));
    Remembered {
        job: Job {
            id: text(0),
            instance: text(1),
            action: text(2),
            actor: text(3),
            schedule: text(6),
            due: due.map(stamp).unwrap_or_default(),
            state,
            is_cancelled: count(11) == 1,
            began: time(8),
            ended: time(9),
            steps: count(12),
            events: std::collections::VecDeque::new(),
            result: value(13),
            error,
        },
        key: text(4),
        fingerprint: text(5),
    }
}

/// What is said of a job whose process is no more.
fn lost() -> Value {
    json!({
        "type": "urn:penstock:problem:lost", "title": "Lost", "status": 500,
        "detail": "the process that ran it has ended, or cannot reach ClickHouse",
        "hint": "the audit trail and the tables say how far it came; what was begun in the server may have gone on",
    })
}
