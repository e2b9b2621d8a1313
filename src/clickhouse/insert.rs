//! One batch into one table: encoded once, sent as one block under one token, tried again as it is.
//!
//! Refuses to change the batch: every attempt carries the same bytes and the same token (invariant I3).
//! What only differs is the attempt's query id, by which it is found in the server's log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Client;
use super::class::Class;
use super::endpoint::Endpoint;
use super::error::Error;
use super::payload::Payload;
use super::request::{self, DEADLINE_MESSAGE, Request};
use super::retry::Next;
use super::settings::{self, Attempt, Known};
use crate::telemetry::metrics::METRICS;
use crate::telemetry::traces::{Step, Trace};

/// ClickHouse's exception for a setting it does not know.
const UNKNOWN_SETTING: u32 = 115;

/// ClickHouse's exception for a condition that was made to throw.
const THROWN: u32 = 395;

/// How many replicas of a replicated table must have the rows before an insert counts as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quorum {
    /// Nothing is said about it: what the server's profile says counts, which is one by default.
    #[default]
    Off,
    /// The majority, and one insert into the table at a time: the server refuses others until the quorum is
    /// reached (code 286). Tables that are not replicated take no notice.
    Auto,
}

/// One batch and where it goes.
#[derive(Clone, Debug)]
pub struct Insert {
    /// The database; the client's own if none.
    pub database: Option<String>,
    pub table: String,
    /// The rows, which are encoded the first time they are sent.
    pub batch: Payload,
    /// The same for every try of the same rows, and for no others.
    pub token: String,
    /// Further settings; they win over those of the client.
    pub settings: Vec<(String, String)>,
    /// The server itself refuses an attempt with which it has not begun by then, nor within [`BEGIN_MAX`] of its
    /// sending, so that no attempt lands much later.
    pub begin_before: Option<Instant>,
    /// Begins the id of each attempt's query, by which all of them are found on the server.
    pub query_id_prefix: Option<String>,
    /// When the call ends, even if the retry deadline of the configuration is later.
    pub give_up_at: Option<Instant>,
    pub quorum: Quorum,
    /// Whether an attempt is repeated that may have landed. Who can look into the table looks first.
    pub repeat_doubtful: bool,
    /// Where its attempts are told.
    pub trace: Trace,
}

impl Default for Insert {
    /// No rows into a table without a name, to be filled in.
    fn default() -> Self {
        Insert {
            database: None,
            table: String::new(),
            batch: Payload::default(),
            token: String::new(),
            settings: Vec::new(),
            begin_before: None,
            repeat_doubtful: true,
            query_id_prefix: None,
            give_up_at: None,
            quorum: Quorum::Off,
            trace: Trace::default(),
        }
    }
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

/// An attempt that the server has not begun with after this long is refused by it, so that what hangs on its
/// way cannot land at any time.
pub const BEGIN_MAX: Duration = Duration::from_secs(5);

impl Client {
    /// Encodes the rows as [`Client::insert`] does, if they are not yet, and lets go of their columns.
    ///
    /// # Errors
    /// A batch that does not fit its own schema.
    pub async fn encode(&self, insert: &Insert) -> Result<(), Error> {
        self.request(insert).await.map(|_| ())
    }

    async fn request(&self, insert: &Insert) -> Result<Arc<Request>, Error> {
        let encoding = (self.config().insert_format, self.config().compression);
        insert.batch.request(request::statement(insert, encoding.0)?, encoding).await
    }

    /// Writes the batch, and repeats it as its error asks for until the retry deadline or `give_up_at`.
    ///
    /// Not cancel-safe: a dropped call may or may not have written the rows. Call it again with the
    /// same batch and the same token.
    ///
    /// # Errors
    /// The last attempt's error, with the number of attempts and whether any of them may have landed. Past
    /// the insert's deadline that is [`Error::deadline_passed`].
    pub async fn insert(&self, insert: &Insert) -> Result<Inserted, Error> {
        self.check_open()?;
        if insert.batch.rows() == 0 {
            let endpoint = String::new();
            return Ok(Inserted { attempts: 0, endpoint, bytes_raw: 0, duplicates_possible: false });
        }
        let request = self.request(insert).await?;
        let _in_flight = InFlight::new(&insert.table);
        let unknown = AtomicBool::new(false);
        let classify = |error: &Error| note(insert, error, &unknown);
        let (endpoint, attempts) = self
            .with_retry(insert.give_up_at, classify, |endpoint, left| {
                let request = request.clone();
                async move { self.attempt(&endpoint, insert, &request, left).await }
            })
            .await?;
        let table = &[insert.table.as_str()];
        METRICS.inserted_bytes.with_label_values(table).inc_by(request.bytes_raw);
        let duplicates_possible = unknown.load(Ordering::Relaxed);
        if duplicates_possible {
            METRICS.deduplicated_batches.with_label_values(table).inc();
        }
        Ok(Inserted { attempts, endpoint, bytes_raw: request.bytes_raw, duplicates_possible })
    }

    /// The span of one attempt, by OpenTelemetry's conventions for databases.
    fn begin(&self, endpoint: &Endpoint, insert: &Insert, request: &Request, query_id: &str) -> Step {
        if !insert.trace.is_on() {
            return Step::default();
        }
        let mut step = insert.trace.call(&format!("INSERT {}", insert.table));
        let (host, port) = endpoint.name().rsplit_once(':').unwrap_or((endpoint.name(), ""));
        step.set("db.system.name", "clickhouse");
        step.set("db.operation.name", "INSERT");
        step.set("db.namespace", insert.database.as_ref().unwrap_or(&self.config().database).clone());
        step.set("db.collection.name", insert.table.clone());
        step.set("db.operation.batch.size", i64::try_from(insert.batch.rows()).unwrap_or(i64::MAX));
        step.set("server.address", host.to_owned());
        step.set("server.port", port.parse::<i64>().unwrap_or(0));
        step.set("penstock.query_id", query_id.to_owned());
        step.set("penstock.insert.bytes", i64::try_from(request.bytes_raw).unwrap_or(i64::MAX));
        step
    }

    async fn attempt(
        &self,
        endpoint: &Endpoint,
        insert: &Insert,
        request: &Request,
        left: Duration,
    ) -> Result<String, Error> {
        let timeout = self.config().insert_timeout.0.min(left);
        let start = Instant::now();
        let query_id = query_id(insert.query_id_prefix.as_deref());
        let step = self.begin(endpoint, insert, request, &query_id);
        let identity = Identity { query_id, traceparent: step.traceparent() };
        let sending = send(endpoint, insert, request, (start + timeout, identity));
        let result = endpoint.request(timeout, sending).await;
        end(step, result.as_ref().err());
        let outcome = match &result {
            Ok(()) => "ok",
            Err(error) if matches!(error.class(), Class::Elsewhere | Class::Later) => "retryable",
            Err(_) => "fatal",
        };
        let labels = &[insert.table.as_str(), outcome];
        METRICS.insert_attempts.with_label_values(labels).inc();
        METRICS.insert_duration.with_label_values(labels).observe(start.elapsed().as_secs_f64());
        result.map(|()| endpoint.name().to_owned())
    }
}

/// By what one attempt is found elsewhere.
struct Identity {
    query_id: String,
    traceparent: Option<String>,
}

/// Tells how an attempt went: the kind of its error, never the text, which may quote values.
fn end(mut step: Step, error: Option<&Error>) {
    if let Some(code) = error.and_then(Error::exception) {
        step.set("db.response.status_code", code.to_string());
    }
    step.end(error.map(|error| error.class().name()));
}

/// Counts a failed attempt and says what comes next.
fn note(insert: &Insert, error: &Error, unknown: &AtomicBool) -> Next {
    let table = insert.table.as_str();
    if error.is_doubtful() {
        unknown.store(true, Ordering::Relaxed);
    }
    let next = match error.class() {
        // Time does not go back.
        _ if error.deadline_passed() => Next::Never,
        _ if error.is_doubtful() && !insert.repeat_doubtful => Next::Never,
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

/// One attempt at one endpoint, over by `end`.
async fn send(
    endpoint: &Endpoint,
    insert: &Insert,
    request: &Request,
    (end, identity): (Instant, Identity),
) -> Result<(), Error> {
    let known = settings::known(endpoint, end).await?;
    let timeout = end.saturating_duration_since(Instant::now());
    if timeout.is_zero() {
        return Err(Error::NoTimeLeft);
    }
    let begin = insert.begin_before.map(|before| begin(before, Instant::now(), &known)).transpose()?;
    let attempt = Attempt {
        token: &insert.token,
        query_id: identity.query_id,
        quorum: insert.quorum,
        timeout,
        // A server ends what its client has given up, so that an orphan cannot land much later.
        execution_s: timeout.as_secs().max(1),
        begin_unix_s: begin,
        extra: &insert.settings,
    };
    let transport = endpoint.transport();
    let mut parameters = settings::of(transport.settings(), &known.settings, &attempt);
    if let Some(bytes) = request.query_bytes_max() {
        parameters.insert("max_query_size".to_owned(), bytes.to_string());
    }
    if let Some(statement) = request.statement() {
        parameters.insert("query".to_owned(), statement.to_owned());
    }
    let late = || Error::Timeout { endpoint: endpoint.name().to_owned(), after: timeout };
    let parent = identity.traceparent.as_deref();
    let sent = timeout_at(end, transport.post(&parameters, request.body.clone(), parent)).await;
    match sent.unwrap_or_else(|_| Err(late())) {
        Err(Error::Exception { exception: THROWN, message, .. }) if message.contains(DEADLINE_MESSAGE) => {
            // If that was too early, the server's clock was set meanwhile.
            endpoint.set_known(None);
            Err(Error::DeadlinePassed { by: endpoint.name().to_owned() })
        }
        // The server changed under us: ask again what it knows.
        Err(error) if error.exception() == Some(UNKNOWN_SETTING) => {
            endpoint.set_known(None);
            Err(error)
        }
        other => other,
    }
}

fn query_id(prefix: Option<&str>) -> String {
    let id = uuid::Uuid::new_v4();
    prefix.map_or_else(|| id.to_string(), |prefix| format!("{prefix}-{id}"))
}

/// The second, by the server's own clock, after which it must not begin with an attempt.
fn begin(before: Instant, now: Instant, known: &Known) -> Result<i64, Error> {
    let left = before.saturating_duration_since(now);
    if left.is_zero() {
        return Err(Error::DeadlinePassed { by: "this host".to_owned() });
    }
    let left_ms = i64::try_from(left.min(BEGIN_MAX).as_millis()).unwrap_or(i64::MAX);
    Ok(known.clock_ms(now).saturating_add(left_ms) / 1000)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_begins_soon_by_the_servers_clock_or_never() {
        let now = Instant::now();
        let known = Known { settings: std::collections::HashSet::new(), asked: now, server_ms: 7_000_400 };
        let at = |ms: u64| now + Duration::from_millis(ms);
        assert_eq!(begin(at(2_000), now, &known).unwrap(), 7_002);
        assert_eq!(begin(at(60_000), now, &known).unwrap(), 7_000 + 5, "never later than it is waited for");
        assert_eq!(begin(at(60_000), at(30_000), &known).unwrap(), 7_030 + 5, "the clock goes on");
        assert!(begin(now, now, &known).is_err_and(|error| error.deadline_passed()));
    }
}
