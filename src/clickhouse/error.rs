//! What can go wrong between here and a server, each with a class, a stable code and a hint.
//!
//! Refuses to carry credentials: endpoints are named by host and port. A failure after the request was
//! sent says that its outcome is unknown, for then the statement may have been carried out.

use std::error::Error as _;
use std::time::Duration;

use super::class::{self, Class};
use super::native;
use super::retry::Reason;

/// Longest text of a server that is kept; messages can quote whole rows.
const MESSAGE_BYTES_MAX: usize = 2048;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{message}\nhint: {hint}")]
    Config { message: String, hint: &'static str },
    #[error("no free connection to {endpoint} within {waited:?}")]
    PoolExhausted { endpoint: String, waited: Duration },
    #[error("cannot connect to {endpoint}: {message}")]
    Connect { endpoint: String, message: String },
    #[error("no answer from {endpoint} within {after:?}")]
    Timeout { endpoint: String, after: Duration },
    #[error("the connection to {endpoint} broke before the answer was complete: {message}")]
    Interrupted { endpoint: String, message: String },
    #[error("{endpoint} refused: {message}")]
    Exception { endpoint: String, exception: u32, message: String },
    #[error("{endpoint} answered without an exception of ClickHouse: {message}")]
    Status { endpoint: String, status: Option<u16>, message: String },
    #[error("the result of {endpoint} is larger than {limit} bytes")]
    ResultTooLarge { endpoint: String, limit: u64 },
    #[error("the answer of {endpoint} cannot be read: {message}")]
    Answer { endpoint: String, message: String },
    #[error("the parameter `{name}` cannot be sent: {message}")]
    Parameter { name: String, message: String },
    #[error("the batch cannot be encoded: {0}")]
    Encode(#[from] native::Error),
    /// Holds what the endpoints failed with last.
    #[error("the gates of all endpoints are shut: {0}")]
    GateShut(String),
    #[error("given up after {attempts} attempts ({}): {last}", reason_text(*reason))]
    RetriesExhausted {
        attempts: u32,
        reason: Reason,
        /// Whether any of the attempts may have been carried out.
        outcome_unknown: bool,
        #[source]
        last: Box<Error>,
    },
    /// Nothing of this attempt is written: the deadline stands in the statement itself.
    #[error("the deadline of the insert had passed by the clock of {by}")]
    DeadlinePassed { by: String },
    #[error("the table {table} is not there, or the user may not see it")]
    NoTable { table: String },
    #[error("no time was left to send anything")]
    NoTimeLeft,
    #[error("rows of {table} that were acknowledged are not there, though they were put back several times")]
    RowsMissing { table: String },
    #[error(
        "a batch for {table} is older than the table remembers tokens, so whether it landed cannot be told"
    )]
    TokenForgotten { table: String },
    #[error("an earlier insert of the same rows into {table} is still running")]
    StillRunning { table: String },
    #[error("the client is closed")]
    Closed,
}

/// The server quotes the row that breaks a constraint; messages go to logs and health, rows must not.
fn without_values(text: &str) -> String {
    match text.split_once(" Column values: ") {
        Some((before, _)) => format!("{before} (VIOLATED_CONSTRAINT)"),
        None => text.to_owned(),
    }
}

fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::NotRetryable => "repeating does not help",
        Reason::Deadline => "the deadline passed",
        Reason::Budget => "the retry budget is empty",
    }
}

impl Error {
    /// What the error asks for.
    pub fn class(&self) -> Class {
        match self {
            Error::Connect { .. } | Error::Timeout { .. } | Error::Interrupted { .. } => Class::Elsewhere,
            Error::Exception { exception, message, .. } => class::class_of(*exception, message),
            Error::Status { status, .. } => status.map_or(Class::Later, class::class_of_status),
            Error::PoolExhausted { .. }
            | Error::RowsMissing { .. }
            | Error::TokenForgotten { .. }
            | Error::StillRunning { .. }
            | Error::GateShut(_)
            | Error::Answer { .. }
            | Error::DeadlinePassed { .. }
            | Error::NoTimeLeft => Class::Later,
            Error::Config { .. }
            | Error::ResultTooLarge { .. }
            | Error::Parameter { .. }
            | Error::Encode(_)
            | Error::NoTable { .. }
            | Error::Closed => Class::Stop,
            Error::RetriesExhausted { last, .. } => last.class(),
        }
    }

    /// Whether the statement may have been carried out although it failed.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Error::Timeout { .. } | Error::Interrupted { .. } | Error::Answer { .. } => true,
            Error::Exception { exception, .. } => class::outcome_unknown(*exception),
            Error::Status { status, .. } => matches!(status, None | Some(200..=399 | 408 | 500..=599)),
            Error::RetriesExhausted { outcome_unknown, .. } => *outcome_unknown,
            _ => false,
        }
    }

    /// Whether no server answered at all.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Error::Connect { .. } | Error::Timeout { .. } | Error::GateShut(_) => true,
            Error::RetriesExhausted { last, .. } => last.is_unreachable(),
            _ => false,
        }
    }

    /// Whether the statement surely was not even begun.
    pub fn surely_not_executed(&self) -> bool {
        matches!(
            self,
            Error::Connect { .. } | Error::PoolExhausted { .. } | Error::GateShut(_) | Error::NoTimeLeft
        )
    }

    /// Whether the last attempt was refused because it came after the insert's deadline. That attempt wrote
    /// nothing; [`Error::outcome_unknown`] tells whether an earlier one may have.
    pub fn deadline_passed(&self) -> bool {
        match self {
            Error::DeadlinePassed { .. } => true,
            Error::RetriesExhausted { last, .. } => last.deadline_passed(),
            _ => false,
        }
    }

    /// Whether the rows, or some of them, may be in the table or behind it, or may still come: an exception may
    /// come after some of the views or partitions were written.
    pub fn is_doubtful(&self) -> bool {
        match self {
            Error::RetriesExhausted { outcome_unknown: true, .. } => true,
            Error::RetriesExhausted { last, .. } => last.is_doubtful(),
            Error::Exception { .. } => self.class() != Class::Data || self.is_from_a_view(),
            _ => self.outcome_unknown(),
        }
    }

    /// Whether a materialized view refused rows, which may be in the table itself already.
    pub fn is_from_a_view(&self) -> bool {
        match self {
            Error::Exception { message, .. } => message.contains("while pushing to view"),
            Error::RetriesExhausted { last, .. } => last.is_from_a_view(),
            _ => false,
        }
    }

    /// Whether it speaks against the endpoint, and not against what was asked of it.
    pub fn counts_against_endpoint(&self) -> bool {
        match self {
            Error::PoolExhausted { .. } => false,
            Error::Answer { .. } => true,
            _ => self.class() == Class::Elsewhere,
        }
    }

    /// How often it was tried; 1 unless retried.
    pub fn attempts(&self) -> u32 {
        match self {
            Error::RetriesExhausted { attempts, .. } => *attempts,
            _ => 1,
        }
    }

    /// The number of ClickHouse's exception, if it was one.
    pub fn exception(&self) -> Option<u32> {
        match self {
            Error::Exception { exception, .. } => Some(*exception),
            Error::RetriesExhausted { last, .. } => last.exception(),
            _ => None,
        }
    }

    /// Whether there is no such table or database.
    pub fn is_missing(&self) -> bool {
        const UNKNOWN: [u32; 2] = [60, 81];
        self.exception().is_some_and(|number| UNKNOWN.contains(&number))
    }

    /// A name that stays the same over versions, for programs that read it.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Config { .. } => "config.invalid",
            Error::PoolExhausted { .. } => "connection.pool_exhausted",
            Error::Connect { .. } => "connection.refused",
            Error::Timeout { .. } => "connection.timeout",
            Error::Interrupted { .. } => "connection.interrupted",
            Error::Status { status: Some(401 | 403), .. } => "connection.authentication",
            Error::Status { .. } | Error::Answer { .. } => "connection.bad_answer",
            Error::Exception { exception, .. } => exception_name(*exception),
            Error::ResultTooLarge { .. } => "query.result_too_large",
            Error::Parameter { .. } => "query.parameter",
            Error::Encode(_) => "data.encode",
            Error::GateShut(_) => "operational.gate_shut",
            Error::RetriesExhausted { reason: Reason::NotRetryable, last, .. } => last.code(),
            Error::RetriesExhausted { .. } => "operational.retries_exhausted",
            Error::DeadlinePassed { .. } => "operational.deadline_passed",
            Error::NoTable { .. } => "query.unknown_name",
            Error::NoTimeLeft => "operational.no_time_left",
            Error::RowsMissing { .. } => "data.rows_missing",
            Error::TokenForgotten { .. } => "data.token_forgotten",
            Error::StillRunning { .. } => "operational.still_running",
            Error::Closed => "operational.closed",
        }
    }

    /// What to look at, in a sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Error::Config { hint, .. } => hint,
            Error::PoolExhausted { .. } => {
                "raise clickhouse.connections_max, or find out why the server is slow"
            }
            Error::Connect { .. } => {
                "check the address, the port and the certificates, and that the server runs"
            }
            Error::Timeout { .. } | Error::Interrupted { .. } => {
                "look at the server's load and at what lies between; the statement may have been carried out"
            }
            Error::Status { status: Some(401 | 403), .. } => {
                "check user, password and the rules of the proxy"
            }
            Error::Status { .. } | Error::Answer { .. } => {
                "check that the address is ClickHouse's HTTP interface and not another service"
            }
            Error::Exception { exception, .. } => exception_hint(*exception),
            Error::ResultTooLarge { .. } => "ask for fewer rows, or raise clickhouse.result_bytes_max",
            Error::Parameter { .. } => {
                "name it with letters, digits and `_`, and give it a value of its type"
            }
            Error::Encode(_) => "the batch does not fit its own schema; this is a fault of the program",
            Error::GateShut(_) => "see the logs of the endpoints for why their gates are shut",
            Error::RetriesExhausted { last, .. } => last.hint(),
            Error::DeadlinePassed { .. } => {
                "a batch that waited too long is planned anew; check that the clocks agree"
            }
            Error::NoTable { .. } => {
                "create the table, check clickhouse.database and the name, or grant SHOW TABLES on it"
            }
            Error::NoTimeLeft => "the call waited too long for its turn: see why the server is slow",
            Error::StillRunning { .. } => "it ends by itself; look at the server's load if it takes long",
            Error::TokenForgotten { .. } => {
                "look by hand what landed, then `penstock ledger rewind`; columns from: $partition and $offset \
                 let penstock look by itself"
            }
            Error::RowsMissing { .. } => "find out what removes rows or kills the server; it is tried again",
            Error::Closed => "the process is stopping",
        }
    }

    /// Sorts what the `clickhouse` crate gives back. Its server errors are text; the number is in it.
    pub(super) fn from_crate(error: clickhouse::error::Error, endpoint: &str, after: Duration) -> Error {
        use clickhouse::error::Error as E;
        let owned = endpoint.to_owned();
        match error {
            E::BadResponse(text) => match class::exception_code(&text) {
                Some((exception, text)) => Error::refused(endpoint, exception, text),
                None => {
                    let status = text.split(' ').next().and_then(|word| word.parse().ok());
                    Error::Status { endpoint: owned, status, message: shorten(text) }
                }
            },
            E::TimedOut => Error::Timeout { endpoint: owned, after },
            E::Network(source) => {
                use hyper_util::client::legacy::Error as HyperError;
                match source.downcast_ref::<HyperError>() {
                    Some(error) => Error::from_connection(endpoint, error),
                    None => Error::Interrupted { endpoint: owned, message: chain(source.as_ref()) },
                }
            }
            E::InvalidParams(source) => {
                Error::Parameter { name: "request".to_owned(), message: chain(source.as_ref()) }
            }
            other => {
                let message = other.source().map_or_else(|| other.to_string(), chain_of);
                Error::Answer { endpoint: owned, message: shorten(message) }
            }
        }
    }

    /// A request that got no answer: it was surely not sent only if there was no connection to send it on.
    pub(super) fn from_connection(endpoint: &str, error: &hyper_util::client::legacy::Error) -> Error {
        let (endpoint, message) = (endpoint.to_owned(), chain(error));
        if error.is_connect() {
            Error::Connect { endpoint, message }
        } else {
            Error::Interrupted { endpoint, message }
        }
    }

    /// An answer that is not a success: an exception by its number in the header or in the text, or whatever
    /// else speaks there in place of ClickHouse.
    pub(super) fn from_answer(endpoint: &str, status: u16, exception: Option<u32>, text: &str) -> Error {
        let in_text = class::exception_code(text)
            .filter(|(code, text)| text.starts_with(&format!("Code: {code}. DB::")));
        match (exception, in_text) {
            (Some(code), Some((_, text))) | (None, Some((code, text))) => {
                Error::refused(endpoint, code, text)
            }
            (Some(code), None) => Error::refused(endpoint, code, &format!("Code: {code}. {text}")),
            (None, None) => {
                let message = shorten(format!("{status} {}", text.trim()));
                Error::Status { endpoint: endpoint.to_owned(), status: Some(status), message }
            }
        }
    }

    fn refused(endpoint: &str, exception: u32, text: &str) -> Error {
        let message = shorten(without_values(text));
        Error::Exception { endpoint: endpoint.to_owned(), exception, message }
    }
}

fn exception_name(code: u32) -> &'static str {
    match code {
        192..=195 | 516 => "connection.authentication",
        62 => "query.syntax",
        159 | 160 => "query.timeout",
        394 => "query.cancelled",
        6 | 26 | 27 | 32 | 38 | 41 | 43 | 53 | 69 | 70 | 72 | 349 => "query.data_type",
        469 => "query.constraint",
        16 | 47 | 60 | 81 => "query.unknown_name",
        164 | 497 => "query.rights",
        _ => "query.refused",
    }
}

fn exception_hint(code: u32) -> &'static str {
    match code {
        192..=195 | 516 => "check clickhouse.user and clickhouse.password",
        60 | 81 => "create the table, or check clickhouse.database and the name",
        16 | 47 => "compare the columns of the table file with those of the table",
        115 => "check clickhouse.settings against the server's version",
        164 | 497 => "grant the user the rights that the message names",
        201 => "the user's quota is used up: raise it or wait",
        252 => "larger batches make fewer parts; rows of one batch may touch 100 partitions at most",
        241 => "the server lacks memory: smaller batches, fewer at once, or a higher limit",
        62 => "correct the statement at the place the message names",
        469 => "the row breaks a CHECK constraint of the table",
        225 | 242 | 999 => "look at ClickHouse Keeper and at the table's replicas",
        _ => "look the number up in ClickHouse's list of error codes, and in the server's log",
    }
}

/// An error with all of its causes on one line.
pub(super) fn chain(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    chain_of(error)
}

fn chain_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    shorten(text)
}

fn shorten(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clickhouse::error::Error as E;

    #[test]
    fn answers_are_sorted_by_number_or_status() {
        let cases = [
            ("Code: 469. DB::Exception: no", "query.constraint", Class::Data, false),
            ("Code: 516. DB::Exception: no", "connection.authentication", Class::Stop, false),
            ("Code: 319. DB::Exception: no", "query.refused", Class::Later, true),
            ("503 Service Unavailable", "connection.bad_answer", Class::Elsewhere, true),
            ("403 Forbidden", "connection.authentication", Class::Stop, false),
            ("<html>who are you</html>", "connection.bad_answer", Class::Later, true),
        ];
        for (text, code, class, unknown) in cases {
            let error = Error::from_crate(E::BadResponse(text.to_owned()), "h:1", Duration::ZERO);
            assert_eq!(
                (error.code(), error.class(), error.outcome_unknown()),
                (code, class, unknown),
                "{text}"
            );
            assert!(!error.hint().is_empty());
        }
        let error = Error::from_crate(E::TimedOut, "h:1", Duration::from_secs(3));
        assert!(error.outcome_unknown() && error.counts_against_endpoint());
    }
}
