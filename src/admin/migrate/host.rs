//! One endpoint as migrations see it: asked and told by itself, never another one in its place.
//!
//! Refuses to know migrations. Statements go out once, under an id by which they are found again.

use std::time::Duration;

use serde_json::{Value, json};

use super::error::Error;
use crate::clickhouse::{self, Client, Once, Params};

/// Settings under which the server remembers every statement, and answers only when its effect is there.
const SETTINGS: [(&str, &str); 9] = [
    ("log_queries", "1"),
    ("log_queries_min_type", "QUERY_START"),
    ("log_queries_min_query_duration_ms", "0"),
    ("log_queries_probability", "1"),
    ("alter_sync", "2"),
    ("mutations_sync", "2"),
    ("async_insert", "0"),
    ("insert_distributed_sync", "1"),
    ("distributed_ddl_output_mode", "throw"),
];

#[derive(Clone)]
pub struct Host {
    /// Host and port.
    pub name: String,
    pub client: Client,
}

impl Host {
    /// One for each endpoint, in the order of the configuration.
    ///
    /// # Errors
    /// A configuration that cannot work.
    pub fn all(config: &clickhouse::Config) -> Result<Vec<Host>, Error> {
        let one = |endpoint: &String| {
            let client =
                Client::new(&clickhouse::Config { endpoints: vec![endpoint.clone()], ..config.clone() })?;
            let name =
                client.endpoints().first().map(|endpoint| endpoint.endpoint.clone()).unwrap_or_default();
            Ok(Host { name, client })
        };
        config.endpoints.iter().map(one).collect()
    }

    /// Sends the statement once and waits for its end.
    pub async fn run(
        &self,
        sql: &str,
        query_id: &str,
        settings: impl IntoIterator<Item = (String, String)>,
        timeout: Duration,
    ) -> Result<(), clickhouse::Error> {
        let mut all: Vec<(String, String)> =
            SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.push(("distributed_ddl_task_timeout".to_owned(), timeout.as_secs().to_string()));
        all.extend(settings);
        self.client.execute_once(Once { sql, params: &[], query_id, settings: &all, timeout }).await
    }

    /// The first value of the first row.
    pub async fn value(&self, sql: &str, params: Params<'_>) -> Result<Value, Error> {
        let rows = self.client.query(sql, params).await?;
        let value = rows.rows.into_iter().next().and_then(|row| row.into_iter().next());
        value.ok_or_else(|| Error::Answer(format!("{}: no row for {sql}", self.name)))
    }

    pub async fn number(&self, sql: &str, params: Params<'_>) -> Result<u64, Error> {
        let value = self.value(sql, params).await?;
        super::journal::number(&value)
            .ok_or_else(|| Error::Answer(format!("{}: {value} is no number", self.name)))
    }

    /// Whether what the SELECT gives is true.
    pub async fn is_true(&self, select: &str) -> Result<bool, Error> {
        Ok(match self.value(select, &[]).await? {
            Value::Bool(value) => value,
            Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
            Value::String(text) => !matches!(text.as_str(), "" | "0" | "false"),
            _ => false,
        })
    }

    /// Milliseconds since 1970, and the same as text in UTC, by the server's clock.
    pub async fn now(&self) -> Result<(i64, String), Error> {
        let rows = self
            .client
            .query("SELECT toUnixTimestamp64Milli(now64(3)) AS ms, toString(now64(3, 'UTC'))", &[])
            .await?;
        let row = rows.rows.first().map(Vec::as_slice);
        match row {
            Some([ms, Value::String(text)]) => {
                let ms = super::journal::number(ms).and_then(|ms| i64::try_from(ms).ok());
                Ok((ms.ok_or_else(|| Error::Answer("its time".to_owned()))?, text.clone()))
            }
            _ => Err(Error::Answer("its time".to_owned())),
        }
    }

    /// Whether a statement with this id, or with one that begins so, is running.
    pub async fn is_running(&self, query_id_prefix: &str) -> Result<bool, Error> {
        let sql = "SELECT count() FROM system.processes WHERE startsWith(query_id, {prefix:String})";
        Ok(self.number(sql, &[("prefix", json!(query_id_prefix))]).await? > 0)
    }
}
