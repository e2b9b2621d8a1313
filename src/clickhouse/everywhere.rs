//! One statement, sent to every endpoint at once: each may be a server with rows of its own.
//!
//! Refuses to retry and to make one answer of several: whoever asks knows what it means that one is silent.

use std::sync::Arc;

use serde_json::Value;

use super::Client;
use super::endpoint::Endpoint;
use super::error::Error;
use super::query::{self, Params};

/// Rows of one endpoint's answer.
pub type Answer = Result<Vec<Vec<Value>>, Error>;

impl Client {
    /// Asks every endpoint, whatever its gate. A table or database that is not there has no rows. Cancel-safe.
    ///
    /// # Errors
    /// A parameter that is none, or a client that is closed. What an endpoint failed with stands in its place.
    pub async fn query_everywhere(
        &self,
        sql: &str,
        params: Params<'_>,
        bytes_max: u64,
    ) -> Result<Vec<Answer>, Error> {
        self.check_open()?;
        let params = query::parameters(params)?;
        let endpoints = self.shared.members.get();
        let answers = endpoints.iter().map(|endpoint| self.ask(endpoint, sql, &params, bytes_max));
        Ok(futures_util::future::join_all(answers).await)
    }

    /// Runs a statement that gives no rows and may be carried out twice, such as one with `IF NOT EXISTS`, once on every
    /// endpoint, whatever its gate; gives those that failed. Cancel-safe.
    ///
    /// # Errors
    /// A client that is closed. What an endpoint failed with stands beside its name.
    pub async fn execute_everywhere(&self, sql: &str) -> Result<Vec<(String, Error)>, Error> {
        self.check_open()?;
        let endpoints = self.shared.members.get();
        let timeout = self.config().request_timeout.0;
        let one = |endpoint: Arc<Endpoint>| async move {
            let query = query::prepare(&endpoint, sql, &[]).with_setting("wait_end_of_query", "1");
            let failed = |e| Error::from_crate(e, endpoint.name(), timeout);
            let running = async { query.execute().await.map_err(failed) };
            let result = endpoint.statement(timeout, running).await;
            result.err().map(|error| (endpoint.name().to_owned(), error))
        };
        let all = futures_util::future::join_all(endpoints.iter().cloned().map(one)).await;
        Ok(all.into_iter().flatten().collect())
    }

    async fn ask(
        &self,
        endpoint: &Arc<Endpoint>,
        sql: &str,
        params: &[(String, String)],
        bytes_max: u64,
    ) -> Answer {
        let prepared = query::prepare(endpoint, sql, params);
        let reading = query::fetch(endpoint, prepared, "JSONCompactEachRow", bytes_max);
        let bytes = match endpoint.statement(self.config().request_timeout.0, reading).await {
            Err(error) if error.is_missing() => return Ok(Vec::new()),
            answer => answer?,
        };
        let rows = serde_json::Deserializer::from_slice(&bytes).into_iter::<Vec<Value>>();
        rows.collect::<Result<_, _>>().map_err(|error| Error::Answer {
            endpoint: endpoint.name().to_owned(),
            message: error.to_string(),
        })
    }
}
