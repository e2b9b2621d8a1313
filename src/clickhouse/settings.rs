//! The settings of an insert: all of them said each time, so that no profile on the server changes what it
//! means.
//!
//! Refuses to guess versions: a setting that not every server has is sent only where it is known.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::endpoint::Endpoint;
use super::error::Error;
use super::insert::Quorum;
use super::request::BEGIN;
use super::sql;

/// More rows than any batch has: the server cuts a batch into blocks at this many.
const ONE_BLOCK: &str = "1000000000";

/// One block, one sink, nothing queued, nothing left out, every table behind it by the same token.
const ALWAYS: [(&str, &str); 12] = [
    ("async_insert", "0"),
    ("wait_for_async_insert", "1"),
    ("insert_deduplicate", "1"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    ("max_insert_block_size", ONE_BLOCK),
    ("min_insert_block_size_rows", ONE_BLOCK),
    ("min_insert_block_size_bytes", "0"),
    ("max_insert_threads", "1"),
    ("input_format_parallel_parsing", "0"),
    ("materialized_views_ignore_errors", "0"),
    ("input_format_skip_unknown_fields", "0"),
    ("send_progress_in_http_headers", "0"),
];

/// The same for settings that not every version has; a server refuses one that it does not know.
const IF_KNOWN: [(&str, &str); 4] = [
    ("deduplicate_insert", "enable"),
    ("max_insert_block_size_bytes", "0"),
    ("use_strict_insert_block_limits", "0"),
    ("distributed_foreground_insert", "1"),
];

/// A server without this one is no ClickHouse.
const OF_ALL: &str = "max_insert_block_size";

/// Clocks drift, and servers are replaced by newer ones behind the same address.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What a server said about itself.
#[derive(Debug)]
pub struct Known {
    /// Those of the settings that differ between versions which it has.
    pub settings: HashSet<String>,
    /// When its answer was here.
    pub asked: Instant,
    /// Its clock, somewhat before.
    pub server_ms: i64,
}

impl Known {
    /// The server's clock in milliseconds since 1970, late by the way of its answer.
    pub fn clock_ms(&self, now: Instant) -> i64 {
        let since = now.saturating_duration_since(self.asked).as_millis();
        self.server_ms.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }
}

/// What differs between inserts and between attempts.
pub struct Attempt<'a> {
    pub token: &'a str,
    pub query_id: String,
    pub quorum: Quorum,
    /// The client's patience with this attempt.
    pub timeout: Duration,
    /// Seconds that the server may work on it.
    pub execution_s: u64,
    /// The second after which the server must not begin, by its own clock.
    pub begin_unix_s: Option<i64>,
    /// Settings of the caller, which win.
    pub extra: &'a [(String, String)],
}

/// `base` with everything that an insert says for itself.
pub fn of(
    base: BTreeMap<String, String>,
    known: &HashSet<String>,
    attempt: &Attempt<'_>,
) -> BTreeMap<String, String> {
    let mut all = base;
    let mut set = |name: &str, value: &str| {
        all.insert(name.to_owned(), value.to_owned());
    };
    let if_known = IF_KNOWN.iter().filter(|(name, _)| known.contains(*name));
    ALWAYS.iter().chain(if_known).for_each(|(name, value)| set(name, value));
    set("insert_deduplication_token", attempt.token);
    set("query_id", &attempt.query_id);
    set("max_execution_time", &attempt.execution_s.to_string());
    if let Some(begin) = attempt.begin_unix_s {
        set(&format!("param_{BEGIN}"), &begin.clamp(0, i64::from(u32::MAX)).to_string());
    }
    if attempt.quorum == Quorum::Auto {
        set("insert_quorum", "auto");
        // In parallel, ClickHouse merges parts before their quorum: if that fails, the rows stay in the merged part
        // while their token is forgotten, and a repeated insert brings them twice.
        set("insert_quorum_parallel", "0");
        // The server's own "not known" must come before the client stops to listen.
        let timeout_ms = (attempt.timeout.as_millis() * 3 / 4).max(1);
        set("insert_quorum_timeout", &timeout_ms.to_string());
    }
    attempt.extra.iter().for_each(|(name, value)| set(name, value));
    all
}

/// Which of the settings that differ between versions this server has, and what time it is there; asked before the
/// first insert and once in a while, which also proves that a ClickHouse answers there.
pub async fn known(endpoint: &Endpoint, deadline: Instant) -> Result<Arc<Known>, Error> {
    if let Some(known) = endpoint.known().filter(|known| known.asked.elapsed() < ASK_AGAIN) {
        return Ok(known);
    }
    let names: Vec<String> =
        IF_KNOWN.iter().map(|(name, _)| *name).chain([OF_ALL]).map(sql::quote_string).collect();
    let text = format!(
        "SELECT name FROM system.settings WHERE name IN ({}) \
         UNION ALL SELECT toString(toUnixTimestamp64Milli(now64(3)))",
        names.join(", ")
    );
    let query = async { endpoint.client().query_raw(&text).fetch_bytes("TabSeparated")?.collect().await };
    let start = Instant::now();
    let answer = timeout_at(deadline, query).await.unwrap_or(Err(clickhouse::error::Error::TimedOut));
    let answer = answer.map_err(|e| not_sent(Error::from_crate(e, endpoint.name(), start.elapsed())))?;
    // After its answer, so that the server's clock is never taken to be later than it is.
    let asked = Instant::now();
    let mut settings: HashSet<String> = String::from_utf8_lossy(&answer).lines().map(str::to_owned).collect();
    let clock = settings.iter().find_map(|line| line.parse::<i64>().ok());
    let Some(server_ms) = clock.filter(|_| settings.contains(OF_ALL)) else {
        let message = "it does not list ClickHouse's settings".to_owned();
        return Err(Error::Connect { endpoint: endpoint.name().to_owned(), message });
    };
    settings.retain(|line| line.parse::<i64>().is_err());
    endpoint.set_known(Some(Known { settings, asked, server_ms }));
    endpoint.known().ok_or(Error::Closed)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_insert_says_everything_for_itself_and_the_caller_wins() {
        let base = BTreeMap::from([("async_insert".to_owned(), "1".to_owned())]);
        let known = HashSet::from(["deduplicate_insert".to_owned()]);
        let extra = [("max_threads".to_owned(), "7".to_owned())];
        let attempt = Attempt {
            token: "t",
            query_id: "q".to_owned(),
            quorum: Quorum::Auto,
            timeout: Duration::from_secs(40),
            execution_s: 9,
            begin_unix_s: Some(5),
            extra: &extra,
        };
        let all = of(base, &known, &attempt);
        for (name, value) in [
            ("async_insert", "0"),
            ("deduplicate_insert", "enable"),
            ("max_execution_time", "9"),
            ("param_begin_before", "5"),
            ("insert_quorum", "auto"),
            ("insert_quorum_parallel", "0"),
            ("insert_quorum_timeout", "30000"),
            ("max_threads", "7"),
        ] {
            assert_eq!(all.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(!all.contains_key("use_strict_insert_block_limits"), "not known there");
        let off = of(BTreeMap::new(), &known, &Attempt { quorum: Quorum::Off, ..attempt });
        assert!(!off.contains_key("insert_quorum"));
    }
}
