//! One batch into one table: encoded once, sent as one block under one token, tried again as it is.
//!
//! Refuses to change the batch: every attempt carries the same bytes and the same token (invariant I3).
//! What only differs is the attempt's query id, by which it is found in the server's log.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_array::RecordBatch;
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::class::Class;
use super::endpoint::Endpoint;
use super::error::Error;
use super::retry::Next;
use super::{Client, native, sql};
use crate::telemetry::metrics::METRICS;

/// Bytes that are compressed and handed to the connection at once; the server holds a frame whole.
const CHUNK_BYTES: usize = 1 << 20;

/// More rows than any batch has: the server cuts a batch into blocks at this many.
const ONE_BLOCK: &str = "1000000000";

/// What every insert says for itself, so that no profile on the server changes what it means.
const SETTINGS: [(&str, &str); 10] = [
    ("async_insert", "0"),
    ("insert_deduplicate", "1"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    ("max_insert_block_size", ONE_BLOCK),
    ("min_insert_block_size_rows", ONE_BLOCK),
    ("min_insert_block_size_bytes", "0"),
    ("input_format_parallel_parsing", "0"),
    ("materialized_views_ignore_errors", "0"),
    ("input_format_skip_unknown_fields", "0"),
    ("send_progress_in_http_headers", "0"),
];

/// The same for settings that not every version has; a server refuses one that it does not know.
const SETTINGS_IF_KNOWN: [(&str, &str); 4] = [
    ("deduplicate_insert", "enable"),
    ("max_insert_block_size_bytes", "0"),
    ("use_strict_insert_block_limits", "0"),
    ("distributed_foreground_insert", "1"),
];

/// A server without this one is no ClickHouse.
const SETTING_OF_ALL: &str = "max_insert_block_size";

/// ClickHouse's exception for a setting it does not know.
const UNKNOWN_SETTING: u32 = 115;

/// One batch and where it goes.
#[derive(Clone, Debug)]
pub struct Insert {
    /// The database; the client's own if none.
    pub database: Option<String>,
    pub table: String,
    /// The rows, with the type for the wire in each field's metadata.
    pub batch: RecordBatch,
    /// The same for every try of the same rows, and for no others.
    pub token: String,
    /// Further settings; they win over those of the client.
    pub settings: Vec<(String, String)>,
}

/// What became of a batch that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inserted {
    pub attempts: u32,
    /// The endpoint that acknowledged it; empty for a batch without rows, which is not sent.
    pub endpoint: String,
    /// Bytes of the body before compression.
    pub bytes_raw: u64,
    /// Whether an earlier attempt may have landed too. The token then keeps the rows from being there
    /// twice, if the table remembers tokens.
    pub duplicates_possible: bool,
}

/// The parts of an insert that stay the same in every attempt.
struct Request {
    table: String,
    sql: String,
    body: Bytes,
    settings: Vec<(String, String)>,
}

impl Client {
    /// Writes the batch, and repeats it as its error asks for until the retry deadline.
    ///
    /// Not cancel-safe: a dropped call may or may not have written the rows. Call it again with the
    /// same batch and the same token.
    ///
    /// # Errors
    /// The last attempt's error, with the number of attempts and whether any of them may have landed.
    pub async fn insert(&self, insert: &Insert) -> Result<Inserted, Error> {
        self.check_open()?;
        if insert.batch.num_rows() == 0 {
            let endpoint = String::new();
            return Ok(Inserted { attempts: 0, endpoint, bytes_raw: 0, duplicates_possible: false });
        }
        let request = Arc::new(Request::new(insert, self.config().insert_timeout.0)?);
        let _in_flight = InFlight::new(&request.table);
        let unknown = AtomicBool::new(false);
        let classify = |error: &Error| note(&request.table, error, &unknown);
        let (endpoint, attempts) = self
            .with_retry(classify, |endpoint, left| {
                let (client, request) = (self.clone(), request.clone());
                async move { client.attempt(&endpoint, &request, left).await }
            })
            .await?;
        let table = &[request.table.as_str()];
        let bytes_raw = u64::try_from(request.body.len()).unwrap_or(u64::MAX);
        METRICS.inserted_bytes.with_label_values(table).inc_by(bytes_raw);
        let duplicates_possible = unknown.load(Ordering::Relaxed);
        if duplicates_possible {
            METRICS.deduplicated_batches.with_label_values(table).inc();
        }
        Ok(Inserted { attempts, endpoint, bytes_raw, duplicates_possible })
    }

    async fn attempt(&self, endpoint: &Endpoint, request: &Request, left: Duration) -> Result<String, Error> {
        let timeout = self.config().insert_timeout.0.min(left);
        let start = Instant::now();
        // The attempt ends itself at its time-out, so that nothing of it goes on; the guard around it
        // only fires if that fails.
        let guard = timeout.saturating_mul(2);
        let result = endpoint.request(guard, send(endpoint, request, start + timeout)).await;
        let outcome = match &result {
            Ok(()) => "ok",
            Err(error) if matches!(error.class(), Class::Elsewhere | Class::Later) => "retryable",
            Err(_) => "fatal",
        };
        let labels = &[request.table.as_str(), outcome];
        METRICS.insert_attempts.with_label_values(labels).inc();
        METRICS.insert_duration.with_label_values(labels).observe(start.elapsed().as_secs_f64());
        result.map(|()| endpoint.name().to_owned())
    }
}

/// Counts a failed attempt and says what comes next.
fn note(table: &str, error: &Error, unknown: &AtomicBool) -> Next {
    // An exception may come after some of the views or partitions were written.
    if error.outcome_unknown() || error.exception().is_some() {
        unknown.store(true, Ordering::Relaxed);
    }
    let next = match error.class() {
        Class::Elsewhere => Next::Now,
        Class::Later => Next::Later,
        Class::Data | Class::Stop => Next::Never,
    };
    if next != Next::Never {
        METRICS.insert_retries.with_label_values(&[table, error.class().name()]).inc();
        tracing::warn!(table, %error, code = error.code(), "insert attempt failed");
    }
    next
}

impl Request {
    fn new(insert: &Insert, timeout: Duration) -> Result<Request, Error> {
        let schema = insert.batch.schema_ref();
        let columns: Vec<String> = schema.fields().iter().map(|f| sql::quote_identifier(f.name())).collect();
        let mut target = insert.database.as_deref().map(sql::quote_identifier).unwrap_or_default();
        if !target.is_empty() {
            target.push('.');
        }
        target.push_str(&sql::quote_identifier(&insert.table));
        let mut settings: Vec<(String, String)> = owned(&SETTINGS);
        settings.push(("insert_deduplication_token".to_owned(), insert.token.clone()));
        // A server ends what its client has given up, so an orphan cannot land much later.
        settings.push(("max_execution_time".to_owned(), timeout.as_secs().max(1).to_string()));
        settings.extend(insert.settings.iter().cloned());
        Ok(Request {
            table: insert.table.clone(),
            sql: format!("INSERT INTO {target} ({}) FORMAT Native", columns.join(", ")),
            body: native::encode(&insert.batch)?,
            settings,
        })
    }
}

fn owned(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// One attempt at one endpoint.
async fn send(endpoint: &Endpoint, request: &Request, deadline: Instant) -> Result<(), Error> {
    let start = Instant::now();
    let known = known_settings(endpoint, deadline).await?;
    let mut client = endpoint.client().clone().with_setting("query_id", uuid::Uuid::new_v4().to_string());
    for (name, value) in SETTINGS_IF_KNOWN.iter().filter(|(name, _)| known.contains(*name)) {
        client.set_setting(*name, *value);
    }
    for (name, value) in &request.settings {
        client.set_setting(name, value);
    }
    let fail = |error| Error::from_crate(error, endpoint.name(), start.elapsed());
    let mut insert = client.insert_formatted_with(request.sql.as_str());
    let mut body = request.body.clone();
    let sending = async {
        while !body.is_empty() {
            let chunk = body.split_to(body.len().min(CHUNK_BYTES));
            insert.send(chunk).await?;
        }
        Ok(())
    };
    let sent = timeout_at(deadline, sending).await.unwrap_or(Err(clickhouse::error::Error::TimedOut));
    let result = match sent {
        Ok(()) => {
            let left = deadline.saturating_duration_since(Instant::now());
            insert.with_timeouts(None, Some(left)).end().await
        }
        Err(error) => Err(error),
    };
    result.map_err(fail).inspect_err(|error| {
        // The server changed under us: ask again what it knows.
        if error.exception() == Some(UNKNOWN_SETTING) {
            endpoint.set_known_settings(None);
        }
    })
}

/// Which of the settings that differ between versions this server has; asked once, before the first
/// insert, which also proves that a ClickHouse answers there.
async fn known_settings(endpoint: &Endpoint, deadline: Instant) -> Result<Arc<HashSet<String>>, Error> {
    if let Some(known) = endpoint.known_settings() {
        return Ok(known);
    }
    let names: Vec<String> = SETTINGS_IF_KNOWN
        .iter()
        .map(|(name, _)| *name)
        .chain([SETTING_OF_ALL])
        .map(sql::quote_string)
        .collect();
    let text = format!("SELECT name FROM system.settings WHERE name IN ({})", names.join(", "));
    let query = async { endpoint.client().query_raw(&text).fetch_bytes("TabSeparated")?.collect().await };
    let start = Instant::now();
    let answer = timeout_at(deadline, query).await.unwrap_or(Err(clickhouse::error::Error::TimedOut));
    let answer = answer.map_err(|e| not_sent(Error::from_crate(e, endpoint.name(), start.elapsed())))?;
    let known: HashSet<String> = String::from_utf8_lossy(&answer).lines().map(str::to_owned).collect();
    if !known.contains(SETTING_OF_ALL) {
        let message = "it does not list ClickHouse's settings".to_owned();
        return Err(Error::Connect { endpoint: endpoint.name().to_owned(), message });
    }
    endpoint.set_known_settings(Some(known));
    endpoint.known_settings().ok_or(Error::Closed)
}

/// A question that broke leaves no doubt about the insert, which was not sent yet.
fn not_sent(error: Error) -> Error {
    match error {
        Error::Timeout { endpoint, after } => {
            Error::Connect { endpoint, message: format!("no answer about settings within {after:?}") }
        }
        Error::Interrupted { endpoint, message } => Error::Connect { endpoint, message },
        other => other,
    }
}

/// Counts a batch while its insert runs, however it ends.
struct InFlight<'a>(&'a str);

impl<'a> InFlight<'a> {
    fn new(table: &'a str) -> Self {
        METRICS.inflight_batches.with_label_values(&[table]).inc();
        InFlight(table)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        METRICS.inflight_batches.with_label_values(&[self.0]).dec();
    }
}
