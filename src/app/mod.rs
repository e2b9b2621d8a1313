//! Puts the parts together: from a checked configuration to a running pipeline, or to one answer.
//!
//! Refuses to parse arguments and to print: what a command found is given back. Each error says whether
//! the use was wrong, a server could not be reached, or something failed.

pub mod admin;
pub mod audit;
pub mod backup;
pub mod capacity;
pub mod care;
mod control;
pub mod crypt;
mod desk;
pub mod dlq;
pub mod erase;
mod fleet;
pub mod generate;
pub mod health;
pub mod ledger;
mod levels;
pub mod lifecycle;
pub mod line;
pub mod migrate;
pub mod progress;
pub mod query;
mod reload;
pub mod run;
pub mod schedule;
pub mod tables;
pub mod token;
pub mod top;
pub mod trail;

use std::fmt;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::admin::backup::Refusal;
use crate::config::Config;
use crate::{clickhouse, dead_letter, kafka};

/// How long a server may take to show that it is there.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(15);

/// An error with what it says about its cause.
#[derive(Debug)]
pub enum Error {
    /// Configuration, table files, or what they name is wrong.
    WrongUse(anyhow::Error),
    /// A server could not be reached.
    Unreachable(anyhow::Error),
    /// Another process does the same.
    Locked(anyhow::Error),
    Failed(anyhow::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Error::WrongUse(error)
        | Error::Unreachable(error)
        | Error::Locked(error)
        | Error::Failed(error)) = self;
        error.fmt(f)
    }
}

impl Error {
    /// The same for the admin side, which only passes it on.
    fn refusal(&self) -> Refusal {
        let text = self.to_string();
        match self {
            Error::WrongUse(_) | Error::Locked(_) => Refusal::WrongUse(text),
            Error::Unreachable(_) => Refusal::Unreachable(text),
            Error::Failed(_) => Refusal::Failed(text),
        }
    }
}

impl From<clickhouse::Error> for Error {
    fn from(error: clickhouse::Error) -> Self {
        let class = error.class();
        let hint = error.hint();
        let unreachable = error.is_unreachable();
        let text = error.to_string();
        let error = if text.contains("hint: ") {
            anyhow::Error::msg(text)
        } else {
            anyhow::Error::msg(format!("{text}\nhint: {hint}"))
        };
        match class {
            _ if unreachable => Error::Unreachable(error),
            clickhouse::Class::Stop => Error::WrongUse(error),
            _ => Error::Failed(error),
        }
    }
}

impl From<kafka::Error> for Error {
    fn from(error: kafka::Error) -> Self {
        let wrong = matches!(
            error,
            kafka::Error::MissingTopic { .. }
                | kafka::Error::MissingDeadLetterTopic { .. }
                | kafka::Error::Forbidden { .. }
                | kafka::Error::GroupNotEmpty { .. }
                | kafka::Error::ForbiddenWrite { .. }
                | kafka::Error::Gone { .. }
                | kafka::Error::Create(_)
        );
        match error {
            error if error.is_unreachable() => Error::Unreachable(error.into()),
            error if wrong => Error::WrongUse(error.into()),
            error => Error::Failed(error.into()),
        }
    }
}

impl From<dead_letter::Error> for Error {
    fn from(error: dead_letter::Error) -> Self {
        match error {
            dead_letter::Error::Kafka(error) => error.into(),
            error @ dead_letter::Error::NotALetter { .. } => Error::WrongUse(error.into()),
            error => Error::Failed(error.into()),
        }
    }
}

impl From<crate::pipeline::Error> for Error {
    fn from(error: crate::pipeline::Error) -> Self {
        match error {
            crate::pipeline::Error::Kafka(error) => error.into(),
            crate::pipeline::Error::Audit(error) => error.into(),
            crate::pipeline::Error::Erased(error) => error.into(),
            error @ (crate::pipeline::Error::Decode { .. }
            | crate::pipeline::Error::TopicTwice { .. }
            | crate::pipeline::Error::Pattern { .. }
            | crate::pipeline::Error::NoTopics) => Error::WrongUse(error.into()),
            error => Error::Failed(error.into()),
        }
    }
}

impl From<crate::pipeline::ErasedError> for Error {
    fn from(error: crate::pipeline::ErasedError) -> Self {
        match error {
            crate::pipeline::ErasedError::Unread { ref source, .. } if source.is_unreachable() => {
                Error::Unreachable(error.into())
            }
            error => Error::Failed(error.into()),
        }
    }
}

/// The runtime for everything that waits: requests, dead letters, signals. Decoding has its own threads.
fn runtime() -> Result<Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("penstock")
        .build()
        .map_err(|error| Error::Failed(anyhow::Error::new(error).context("the runtime cannot be started")))
}

/// A client that has had an answer from at least one endpoint.
async fn connect(config: &Config) -> Result<clickhouse::Client, Error> {
    let client = clickhouse::Client::new(&config.clickhouse)?;
    let mut last = None;
    let first_answer = async {
        loop {
            for health in client.health_check().await {
                match health.result {
                    Ok(_) => return Ok(()),
                    Err(error) if error.class() == clickhouse::Class::Stop => return Err(error),
                    Err(error) => last = Some(error),
                }
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    match tokio::time::timeout(FIRST_ANSWER_MAX, first_answer).await {
        Ok(Ok(())) => Ok(client),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => {
            let why = last.map_or_else(String::new, |error| format!(": {error}"));
            Err(Error::Unreachable(anyhow::anyhow!(
                "no endpoint of ClickHouse answered within {} s{why}\nhint: check clickhouse.endpoints ({}), \
                 and whether the server listens there",
                FIRST_ANSWER_MAX.as_secs(),
                config.clickhouse.endpoints.join(", "),
            )))
        }
    }
}
