//! Statements that are not batches: DDL, reads for people and programs.
//!
//! Refuses to paste values into statements: they travel beside them as typed parameters (I11). Reads
//! are repeated; anything else only if it surely was not begun, or if the caller says that it may be.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::class::{self, Class};
use super::endpoint::Endpoint;
use super::error::Error;
use super::retry::Next;
use super::{Client, sql};

/// Parameters of a statement, each for a `{name:Type}` in it; `{name:Identifier}` takes a name.
pub type Params<'a> = &'a [(&'a str, Value)];

/// A statement that is sent once, under an id of the caller's by which the server's logs know it.
#[derive(Clone, Copy, Debug)]
pub struct Once<'a> {
    pub sql: &'a str,
    pub params: Params<'a>,
    pub query_id: &'a str,
    pub settings: &'a [(String, String)],
    /// Longest wait for its end; it may go on in the server.
    pub timeout: Duration,
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ResultColumn {
    pub name: String,
    /// ClickHouse's name of the type.
    #[serde(rename = "type")]
    pub data_type: String,
}

/// A result. Integers beyond 64 bits lose digits, so ask for them by `toString`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    pub columns: Vec<ResultColumn>,
    pub rows: Vec<Vec<Value>>,
    /// From the request to the whole answer, retries included.
    pub elapsed: Duration,
}

/// The format JSONCompact.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    meta: Vec<ResultColumn>,
    #[serde(default)]
    data: Vec<Vec<Value>>,
    /// Where a server writes what went wrong after the first rows were sent.
    exception: Option<String>,
}

impl Client {
    /// Runs a statement that gives no rows. Repeated only if it surely was not begun.
    ///
    /// # Errors
    /// See [`Error`]; with `outcome_unknown` the statement may have been carried out.
    pub async fn execute(&self, sql: &str, params: Params<'_>) -> Result<(), Error> {
        self.statement(sql, params, false).await
    }

    /// The same for a statement that may be carried out twice, such as one with `IF NOT EXISTS`.
    ///
    /// # Errors
    /// As [`Client::execute`], after retries.
    pub async fn execute_idempotent(&self, sql: &str, params: Params<'_>) -> Result<(), Error> {
        self.statement(sql, params, true).await
    }

    /// Sends a statement once, to one endpoint, whatever comes of it. A connection may be waited for as long as a
    /// request may take.
    ///
    /// # Errors
    /// See [`Error`]; with `outcome_unknown` the statement may have been carried out, or may be running.
    pub async fn execute_once(&self, once: Once<'_>) -> Result<(), Error> {
        self.check_open()?;
        let Once { sql, params, query_id, settings, timeout } = once;
        let params = parameters(params)?;
        let turn = Instant::now() + self.config().request_timeout.0;
        let endpoint = self.endpoint(&Mutex::default(), turn).await?;
        let query = endpoint.client().query_raw(sql).with_setting("wait_end_of_query", "1");
        let all = settings.iter().chain(&params);
        let query = all.fold(query, |query, (name, value)| query.with_setting(name, value));
        let query = query.with_setting("query_id", query_id);
        let failed = |e| Error::from_crate(e, endpoint.name(), timeout);
        endpoint.statement(timeout, async { query.execute().await.map_err(failed) }).await
    }

    /// Runs the statement once for each set of parameters, in order, and stops at the first error.
    ///
    /// # Errors
    /// The index of the set that failed, with its error; those before it were carried out.
    pub async fn execute_many(&self, sql: &str, sets: &[Params<'_>]) -> Result<(), (usize, Error)> {
        for (index, params) in sets.iter().enumerate() {
            self.execute(sql, params).await.map_err(|error| (index, error))?;
        }
        Ok(())
    }

    /// Reads a result as rows of JSON values. The statement must not name a format.
    ///
    /// # Errors
    /// See [`Error`]; a result above `result_bytes_max` is refused.
    pub async fn query(&self, sql: &str, params: Params<'_>) -> Result<Rows, Error> {
        let start = Instant::now();
        let (bytes, endpoint) = self.read(None, sql, params, "JSONCompact").await?;
        let answer: Answer = serde_json::from_slice(&bytes)
            .map_err(|e| Error::Answer { endpoint: endpoint.clone(), message: e.to_string() })?;
        match answer.exception {
            None => Ok(Rows { columns: answer.meta, rows: answer.data, elapsed: start.elapsed() }),
            Some(text) => {
                let text = clickhouse::error::Error::BadResponse(text);
                Err(Error::from_crate(text, &endpoint, start.elapsed()))
            }
        }
    }

    /// Reads a result in the format named, as the server wrote it.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn query_raw(&self, sql: &str, params: Params<'_>, format: &str) -> Result<Bytes, Error> {
        Ok(self.read(None, sql, params, format).await?.0)
    }

    /// Reads a result of any size piece by piece, from one endpoint. What was read cannot be read again,
    /// so nothing is retried.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn query_stream(&self, sql: &str, params: Params<'_>, format: &str) -> Result<Stream, Error> {
        self.check_open()?;
        let params = parameters(params)?;
        let timeout = self.config().request_timeout.0;
        let endpoint = self.endpoint(&Mutex::default(), Instant::now() + timeout).await?;
        let cursor = prepare(&endpoint, sql, &params)
            .fetch_bytes(format)
            .map_err(|e| Error::from_crate(e, endpoint.name(), timeout))?;
        Ok(Stream { cursor, endpoint, timeout })
    }

    /// Reads a whole result and names the endpoint that gave it. `before` is run there first.
    pub(super) async fn read(
        &self,
        before: Option<&str>,
        sql: &str,
        params: Params<'_>,
        format: &str,
    ) -> Result<(Bytes, String), Error> {
        let params = parameters(params)?;
        let limit = self.config().result_bytes_max;
        let ((bytes, endpoint), _) = self
            .with_retry(
                None,
                |error| next(error, true),
                |endpoint, left| {
                    let (timeout, params) = (self.config().request_timeout.0.min(left), &params);
                    async move {
                        let reading = async {
                            if let Some(before) = before {
                                let failed = |e| Error::from_crate(e, endpoint.name(), timeout);
                                prepare(&endpoint, before, &[]).execute().await.map_err(failed)?;
                            }
                            fetch(&endpoint, prepare(&endpoint, sql, params), format, limit.0).await
                        };
                        let bytes = endpoint.statement(timeout, reading).await?;
                        Ok((bytes, endpoint.name().to_owned()))
                    }
                },
            )
            .await?;
        Ok((bytes, endpoint))
    }

    async fn statement(&self, sql: &str, params: Params<'_>, idempotent: bool) -> Result<(), Error> {
        let params = parameters(params)?;
        self.with_retry(
            None,
            |error| next(error, idempotent),
            |endpoint, left| {
                let (timeout, params) = (self.config().request_timeout.0.min(left), &params);
                async move {
                    // The whole answer is waited for, so that a late exception is not missed.
                    let query = prepare(&endpoint, sql, params).with_setting("wait_end_of_query", "1");
                    let failed = |e| Error::from_crate(e, endpoint.name(), timeout);
                    let running = async { query.execute().await.map_err(failed) };
                    endpoint.statement(timeout, running).await
                }
            },
        )
        .await
        .map(|_| ())
    }
}

fn next(error: &Error, repeatable: bool) -> Next {
    let passing = error.exception().is_none_or(class::is_transient);
    match error.class() {
        _ if !repeatable && !error.surely_not_executed() => Next::Never,
        // What was too slow once is too slow again, and loads the next server as well.
        _ if matches!(error, Error::Timeout { .. }) => Next::Never,
        Class::Elsewhere => Next::Now,
        Class::Later if passing => Next::Later,
        _ => Next::Never,
    }
}

pub(super) fn parameters(params: Params<'_>) -> Result<Vec<(String, String)>, Error> {
    let one = |(name, value): &(&str, Value)| {
        if sql::is_parameter_name(name) {
            return Ok((format!("param_{name}"), sql::parameter(value)));
        }
        Err(Error::Parameter { name: (*name).to_owned(), message: "it is not a name".to_owned() })
    };
    params.iter().map(one).collect()
}

pub(super) fn prepare(
    endpoint: &Endpoint,
    sql: &str,
    params: &[(String, String)],
) -> clickhouse::query::Query {
    let id = uuid::Uuid::new_v4().to_string();
    let query = endpoint.client().query_raw(sql).with_setting("query_id", id);
    params.iter().fold(query, |query, (name, value)| query.with_setting(name, value))
}

/// A result that arrives in pieces, which may end anywhere within a row.
pub struct Stream {
    cursor: clickhouse::query::BytesCursor,
    endpoint: Arc<Endpoint>,
    timeout: Duration,
}

impl Stream {
    /// The next piece; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// See [`Error`]; a piece that does not come within the request time-out is one.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let name = self.endpoint.name();
        match tokio::time::timeout(self.timeout, self.cursor.next()).await {
            Ok(piece) => piece.map_err(|e| Error::from_crate(e, name, self.timeout)),
            Err(_) => Err(Error::Timeout { endpoint: name.to_owned(), after: self.timeout }),
        }
    }
}

/// Reads the answer up to `limit` bytes; beyond it the connection is dropped and the server stops.
pub(super) async fn fetch(
    endpoint: &Endpoint,
    query: clickhouse::query::Query,
    format: &str,
    limit: u64,
) -> Result<Bytes, Error> {
    let start = Instant::now();
    let failed = |e| Error::from_crate(e, endpoint.name(), start.elapsed());
    let mut cursor = query.fetch_bytes(format).map_err(failed)?;
    let mut bytes = BytesMut::new();
    while let Some(chunk) = cursor.next().await.map_err(failed)? {
        bytes.extend_from_slice(&chunk);
        if u64::try_from(bytes.len()).is_ok_and(|len| len > limit) {
            return Err(Error::ResultTooLarge { endpoint: endpoint.name().to_owned(), limit });
        }
    }
    Ok(bytes.freeze())
}
