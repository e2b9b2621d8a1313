//! What the servers say of one table's parts, merges, replicas and Keeper.
//!
//! Refuses to judge: it reads what is there beside the limits that hold for it. Asked of every endpoint whose
//! gate is open, since each may be a server with parts of its own, and the worst of the answers counts. Each
//! answer is one small statement over tables in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::error::Error;
use super::gate::State;
use super::{Client, query};

/// Beyond this an answer comes too late to be of use, and the server has more important things to do.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Name and value of everything that is read; all of it is a few rows, whatever the size of the table.
const STATEMENT: &str = "
SELECT found.1 AS name, toString(found.2) AS value FROM (
    SELECT arrayJoin([('parts', max(live)), ('parts_inactive', max(dead)), ('parts_total', sum(live))]) AS found
    FROM (
        SELECT countIf(active) AS live, countIf(NOT active) AS dead FROM system.parts
        WHERE database = if({database:String} = '', currentDatabase(), {database:String}) AND table = {table:String}
        GROUP BY partition_id
    )
)
UNION ALL SELECT 'engine', engine_full FROM system.tables
    WHERE database = if({database:String} = '', currentDatabase(), {database:String}) AND name = {table:String}
UNION ALL SELECT name, value FROM system.merge_tree_settings WHERE name IN {limits:Array(String)}
UNION ALL SELECT concat('replicated_', name), value FROM system.replicated_merge_tree_settings
    WHERE name IN {limits:Array(String)}
UNION ALL SELECT metric, toString(value) FROM system.metrics WHERE metric = 'DelayedInserts'
UNION ALL SELECT concat('total_', event), toString(value) FROM system.events
    WHERE event IN ('DelayedInserts', 'RejectedInserts', 'ZooKeeperWaitMicroseconds', 'ZooKeeperTransactions')
UNION ALL SELECT found.1, toString(found.2) FROM (
    SELECT arrayJoin([('queue', toUInt64(queue_size)), ('inserts_in_queue', toUInt64(inserts_in_queue)),
        ('delay', toUInt64(absolute_delay)), ('readonly', toUInt64(is_readonly))]) AS found
    FROM system.replicas
    WHERE database = if({database:String} = '', currentDatabase(), {database:String}) AND table = {table:String}
)";

const LIMITS: [&str; 6] = [
    "parts_to_delay_insert",
    "parts_to_throw_insert",
    "inactive_parts_to_delay_insert",
    "inactive_parts_to_throw_insert",
    "max_parts_in_total",
    "max_replicated_merges_in_queue",
];

/// What was read of one table; the worst of all servers that were asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Servers that answered.
    pub servers: usize,
    /// Most active parts that any of the table's partition keys has.
    pub parts: u64,
    /// Most parts that were merged and are not yet removed.
    pub parts_inactive: u64,
    pub parts_total: u64,
    /// `None` for a table that has no parts of its own, such as a Distributed one.
    pub limits: Option<Limits>,
    /// Inserts that the servers hold back right now, into whatever table.
    pub delayed_inserts: u64,
    /// Tasks in the replica's queue, and those of them that fetch what was inserted elsewhere.
    pub queue: u64,
    pub inserts_in_queue: u64,
    /// Seconds that the replica is behind.
    pub delay_s: u64,
    pub readonly_replicas: u64,
    /// Since the servers' start, summed.
    pub totals: Totals,
}

/// Counters since the servers' start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub delayed: u64,
    pub refused: u64,
    pub keeper_wait_us: u64,
    pub keeper_requests: u64,
}

/// The limits that hold for a table; 0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub delay_at: u64,
    pub refuse_at: u64,
    pub inactive_delay_at: u64,
    pub inactive_refuse_at: u64,
    pub total_max: u64,
    pub queue_max: u64,
}

impl Client {
    /// Reads how the table fares. An endpoint whose gate is shut is left out; one that does not answer in time
    /// is an error, as what is not known is not fine. Nothing is retried: the next look comes soon. Cancel-safe.
    ///
    /// # Errors
    /// See [`Error`]; with all gates shut [`Error::GateShut`].
    pub async fn pressure(&self, database: Option<&str>, table: &str) -> Result<Pressure, Error> {
        self.check_open()?;
        let params = [
            ("database", json!(database.unwrap_or_default())),
            ("table", json!(table)),
            ("limits", json!(LIMITS)),
        ];
        let params = query::parameters(&params)?;
        let endpoints = self.shared.members.get();
        let open = endpoints.iter().filter(|e| e.breaker().state() == State::Open);
        let answers = open.map(|endpoint| ask(endpoint, &params, self.config().result_bytes_max.0));
        let answers = futures_util::future::try_join_all(answers).await?;
        answers.into_iter().reduce(|a, b| a.worst(&b)).ok_or_else(|| self.gate_shut())
    }
}

async fn ask(endpoint: &Arc<Endpoint>, params: &[(String, String)], limit: u64) -> Result<Pressure, Error> {
    let start = Instant::now();
    let reading =
        query::fetch(endpoint, query::prepare(endpoint, STATEMENT, params), "JSONCompactEachRow", limit);
    let bytes = endpoint.statement(TIMEOUT, reading).await?;
    let unreadable = |message: String| Error::Answer { endpoint: endpoint.name().to_owned(), message };
    let mut values = HashMap::new();
    for row in serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>() {
        match row.map(serde_json::from_value::<(String, String)>) {
            Ok(Ok((name, value))) => values.insert(name, value),
            Ok(Err(error)) | Err(error) => return Err(unreadable(error.to_string())),
        };
    }
    tracing::trace!(endpoint = endpoint.name(), took = ?start.elapsed(), "read a table's parts");
    let engine = values.get("engine").ok_or_else(|| unreadable("it shows no such table".to_owned()))?;
    Ok(Pressure::from_values(engine, &values))
}

impl Pressure {
    fn from_values(engine: &str, values: &HashMap<String, String>) -> Pressure {
        let number = |name: &str| values.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        let limit = |name: &str| {
            let server = if engine.starts_with("Replicated") || engine.starts_with("Shared") {
                number(&format!("replicated_{name}"))
            } else {
                number(name)
            };
            setting(engine, name).unwrap_or(server)
        };
        let [delay_at, refuse_at, inactive_delay_at, inactive_refuse_at, total_max, queue_max] =
            LIMITS.map(limit);
        let limits =
            Limits { delay_at, refuse_at, inactive_delay_at, inactive_refuse_at, total_max, queue_max };
        let has_parts = engine.split([' ', '(']).next().is_some_and(|name| name.ends_with("MergeTree"));
        Pressure {
            servers: 1,
            parts: number("parts"),
            parts_inactive: number("parts_inactive"),
            parts_total: number("parts_total"),
            limits: has_parts.then_some(limits),
            delayed_inserts: number("DelayedInserts"),
            queue: number("queue"),
            inserts_in_queue: number("inserts_in_queue"),
            delay_s: number("delay"),
            readonly_replicas: number("readonly"),
            totals: Totals {
                delayed: number("total_DelayedInserts"),
                refused: number("total_RejectedInserts"),
                keeper_wait_us: number("total_ZooKeeperWaitMicroseconds"),
                keeper_requests: number("total_ZooKeeperTransactions"),
            },
        }
    }

    fn worst(&self, other: &Pressure) -> Pressure {
        let worse = if self.parts_share() < other.parts_share() { other } else { self };
        Pressure {
            servers: self.servers + other.servers,
            parts: worse.parts,
            limits: worse.limits,
            parts_inactive: self.parts_inactive.max(other.parts_inactive),
            parts_total: self.parts_total.max(other.parts_total),
            delayed_inserts: self.delayed_inserts.saturating_add(other.delayed_inserts),
            queue: self.queue.max(other.queue),
            inserts_in_queue: self.inserts_in_queue.max(other.inserts_in_queue),
            delay_s: self.delay_s.max(other.delay_s),
            readonly_replicas: self.readonly_replicas.saturating_add(other.readonly_replicas),
            totals: self.totals.plus(other.totals),
        }
    }

    fn parts_share(&self) -> f64 {
        self.limits.map_or(0.0, |limits| self.parts as f64 / limits.refuse_at.max(1) as f64)
    }

    /// What was counted between an earlier look and this one. Nothing when other servers answered then.
    pub fn since(&self, before: &Pressure) -> Totals {
        if self.servers != before.servers {
            return Totals::default();
        }
        let (now, before) = (self.totals, before.totals);
        Totals {
            delayed: now.delayed.saturating_sub(before.delayed),
            refused: now.refused.saturating_sub(before.refused),
            keeper_wait_us: now.keeper_wait_us.saturating_sub(before.keeper_wait_us),
            keeper_requests: now.keeper_requests.saturating_sub(before.keeper_requests),
        }
    }
}

impl Totals {
    fn plus(self, other: Totals) -> Totals {
        Totals {
            delayed: self.delayed.saturating_add(other.delayed),
            refused: self.refused.saturating_add(other.refused),
            keeper_wait_us: self.keeper_wait_us.saturating_add(other.keeper_wait_us),
            keeper_requests: self.keeper_requests.saturating_add(other.keeper_requests),
        }
    }

    /// Mean seconds of one request to Keeper; `None` when there was none.
    pub fn keeper_latency_s(&self) -> Option<f64> {
        (self.keeper_requests != 0)
            .then(|| self.keeper_wait_us as f64 / self.keeper_requests as f64 / 1_000_000.0)
    }
}

/// A whole number among the table's own settings.
fn setting(engine: &str, name: &str) -> Option<u64> {
    let (_, settings) = engine.rsplit_once(" SETTINGS ")?;
    let mut pairs = settings.split(", ").filter_map(|pair| pair.split_once(" = "));
    pairs.find(|(found, _)| *found == name)?.1.trim_matches('\'').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressure(engine: &str, values: &[(&str, u64)]) -> Pressure {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect();
        Pressure::from_values(engine, &values)
    }

    #[test]
    fn the_limits_are_the_tables_own_or_those_of_its_kind() {
        let values = [
            ("parts_to_delay_insert", 1000),
            ("parts_to_throw_insert", 3000),
            ("replicated_parts_to_throw_insert", 2000),
            ("max_parts_in_total", 100_000),
        ];
        let limits = |engine: &str| pressure(engine, &values).limits.map(|l| (l.delay_at, l.refuse_at));
        assert_eq!(limits("MergeTree ORDER BY a"), Some((1000, 3000)));
        let own = "MergeTree ORDER BY a SETTINGS parts_to_delay_insert = 30, index_granularity = 8192";
        assert_eq!(limits(own), Some((30, 3000)));
        let own = "ReplicatedMergeTree('/a', 'b') ORDER BY a SETTINGS parts_to_delay_insert = '7'";
        assert_eq!(limits(own), Some((7, 2000)));
        assert_eq!(limits("Distributed('c', 'd', 't', rand())"), None);
        assert_eq!(limits("Null"), None);
    }

    #[test]
    fn the_worst_server_counts_and_counters_are_compared_among_the_same() {
        let limits = ("parts_to_throw_insert", 100);
        let one = pressure("MergeTree", &[limits, ("parts", 10), ("total_DelayedInserts", 5), ("queue", 9)]);
        let two = pressure("MergeTree", &[limits, ("parts", 70), ("total_DelayedInserts", 1), ("queue", 2)]);
        let both = one.worst(&two);
        assert_eq!((both.servers, both.parts, both.queue, both.totals.delayed), (2, 70, 9, 6));
        assert_eq!(both.since(&one).delayed, 0, "another server has counted there");
        assert_eq!((one.since(&two).delayed, two.since(&one).delayed), (4, 0));
        let asked = pressure(
            "MergeTree",
            &[("total_ZooKeeperTransactions", 4), ("total_ZooKeeperWaitMicroseconds", 6000)],
        );
        assert_eq!((asked.totals.keeper_latency_s(), one.totals.keeper_latency_s()), (Some(0.0015), None));
    }
}
