//! What is asked of each ClickHouse server: whether it answers, and whether its disks, parts, replicas and mutations are
//! well.
//!
//! Refuses to change anything, and to take one server's word for another.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Config, Finding, State};
use crate::admin::migrate::journal::number;
use crate::clickhouse::{self, Client};
use crate::telemetry::metrics::METRICS;
use crate::units::Span;

/// Disks that are shown of one server.
const DISKS_MAX: usize = 20;

const DISKS: &str = "SELECT name, total_space, unreserved_space FROM system.disks WHERE total_space > 0 \
     AND total_space < 4611686018427387904 ORDER BY unreserved_space / total_space, name LIMIT 20";
const REPLICAS: &str = "SELECT countIf(is_readonly), max(absolute_delay), \
     argMax(concat(database, '.', table), absolute_delay), anyIf(concat(database, '.', table), is_readonly) \
     FROM system.replicas";
const MUTATIONS: &str = "SELECT concat(database, '.', table), mutation_id, \
     greatest(0, dateDiff('second', create_time, now())), latest_fail_reason FROM system.mutations \
     WHERE NOT is_done AND NOT is_killed AND (latest_fail_reason != '' OR create_time < now() - {age:UInt64}) \
     ORDER BY latest_fail_reason = '', create_time LIMIT 1";
/// The table that is closest to its limit, its parts, and the limit.
const PARTS: &str = "WITH ifNull((SELECT toUInt64(value) FROM system.merge_tree_settings WHERE name = 'parts_to_throw_insert'), 3000) \
     AS throws SELECT concat(p.database, '.', p.table), p.parts, \
     toUInt64OrDefault(extract(t.engine_full, 'parts_to_throw_insert = \\'?([0-9]+)'), throws) AS own FROM \
     (SELECT database, table, max(parts) AS parts FROM (SELECT database, table, partition_id, count() AS parts \
     FROM system.parts WHERE active GROUP BY database, table, partition_id) GROUP BY database, table) AS p \
     INNER JOIN system.tables AS t ON t.database = p.database AND t.name = p.table \
     ORDER BY p.parts / greatest(own, 1) DESC LIMIT 1";
const NUMBERS: &str = "SELECT metric, toFloat64(value) FROM system.metrics WHERE metric IN \
     ('Query', 'HTTPConnection', 'TCPConnection', 'Merge') UNION ALL \
     SELECT concat('all', event), toFloat64(value) FROM system.events WHERE event IN ('Query', 'QueryTimeMicroseconds') UNION ALL \
     SELECT 'parts', toFloat64(count()) FROM system.parts WHERE active UNION ALL \
     SELECT 'mutations', toFloat64(count()) FROM system.mutations WHERE NOT is_done AND NOT is_killed UNION ALL \
     SELECT 'delay', toFloat64(max(absolute_delay)) FROM system.replicas";

/// Each is two series of this server.
const TABLES: &str = "SELECT table, sum(bytes_on_disk), sum(rows) FROM system.parts \
     WHERE active AND database = currentDatabase() GROUP BY table ORDER BY 2 DESC, 1 LIMIT 50";

/// One server by itself.
pub struct Server {
    pub host: String,
    pub client: Client,
    /// The tables that have series.
    tables: Mutex<BTreeSet<String>>,
}

/// Queries, and the time that they took, since the server began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counted {
    pub queries: f64,
    pub time_us: f64,
}

impl Server {
    /// One for each endpoint.
    ///
    /// # Errors
    /// A configuration that cannot work.
    pub fn all(config: &clickhouse::Config, timeout: Span) -> Result<Vec<Server>, clickhouse::Error> {
        let one = |address: &String| {
            let retry = clickhouse::retry::Config { deadline: timeout, ..config.retry.clone() };
            let endpoints = vec![address.clone()];
            let client = Client::new(&clickhouse::Config { endpoints, retry, ..config.clone() })?;
            let host = client.endpoints().first().map(|one| one.endpoint.clone()).unwrap_or_default();
            Ok(Server { host, client, tables: Mutex::default() })
        };
        config.endpoints.iter().map(one).collect()
    }

    /// # Errors
    /// What it says, or that it says nothing.
    pub async fn answers(&self) -> Result<(), clickhouse::Error> {
        let begun = Instant::now();
        let answered = self.client.query("SELECT 1", &[]).await.map(|_| ());
        if answered.is_ok() {
            METRICS.fleet.probe.with_label_values(&[&self.host]).set(begun.elapsed().as_secs_f64());
        }
        answered
    }

    pub async fn disks(&self, config: &Config) -> Result<Finding, clickhouse::Error> {
        let mut worst = Finding::ok("the disks have room");
        for row in self.client.query(DISKS, &[]).await?.rows.iter().take(DISKS_MAX) {
            let (name, total, free) = (text(row, 0), count(row, 1), count(row, 2));
            METRICS.fleet.disk_total.with_label_values(&[&self.host, &name]).set(gauge(total));
            METRICS.fleet.disk_free.with_label_values(&[&self.host, &name]).set(gauge(free));
            worst = worst.worse(disk(&name, (total, free), config));
        }
        Ok(worst)
    }

    pub async fn replicas(&self, config: &Config) -> Result<Finding, clickhouse::Error> {
        let rows = self.client.query(REPLICAS, &[]).await?.rows;
        let row = rows.first().map(Vec::as_slice).unwrap_or_default();
        Ok(replica((count(row, 0), text(row, 3)), (count(row, 1), text(row, 2)), config))
    }

    pub async fn mutations(&self, config: &Config) -> Result<Finding, clickhouse::Error> {
        let age = json!(config.mutation_age_max.0.as_secs());
        let rows = self.client.query(MUTATIONS, &[("age", age)]).await?.rows;
        let Some(row) = rows.first() else { return Ok(Finding::ok("no mutation is stuck")) };
        let what = format!("mutation {} of {}", text(row, 1), text(row, 0));
        let sentence = match text(row, 3).as_str() {
            "" => format!("{what} is not done after {} s", count(row, 2)),
            why => format!("{what} fails: {}", why.lines().next().unwrap_or_default()),
        };
        let hint = "look at system.mutations; KILL MUTATION ends one that cannot be done";
        Ok(Finding::new(State::Degraded, &sentence, hint))
    }

    pub async fn parts(&self, config: &Config) -> Result<Finding, clickhouse::Error> {
        let rows = self.client.query(PARTS, &[]).await?.rows;
        let Some(row) = rows.first() else { return Ok(Finding::ok("there are no parts")) };
        Ok(part(&text(row, 0), (count(row, 1), count(row, 2)), config))
    }

    /// Sets the gauges of the server.
    pub async fn measure(&self, before: Counted) -> Result<Counted, clickhouse::Error> {
        let fleet = &METRICS.fleet;
        let (mut now, host) = (Counted::default(), self.host.as_str());
        for row in self.client.query(NUMBERS, &[]).await?.rows {
            let value = row.get(1).and_then(Value::as_f64).unwrap_or_default();
            match text(&row, 0).as_str() {
                "allQuery" => now.queries = value,
                "allQueryTimeMicroseconds" => now.time_us = value,
                "Query" => fleet.queries.with_label_values(&[host]).set(whole(value)),
                "HTTPConnection" => fleet.connections.with_label_values(&[host, "http"]).set(whole(value)),
                "TCPConnection" => fleet.connections.with_label_values(&[host, "tcp"]).set(whole(value)),
                "Merge" => fleet.merges.with_label_values(&[host]).set(whole(value)),
                "parts" => fleet.parts.with_label_values(&[host]).set(whole(value)),
                "mutations" => fleet.mutations.with_label_values(&[host]).set(whole(value)),
                "delay" => fleet.replica_delay.with_label_values(&[host]).set(whole(value)),
                _ => {}
            }
        }
        if let Some(mean_s) = mean_s(before, now) {
            fleet.query_mean.with_label_values(&[host]).set(mean_s);
        }
        self.measure_tables().await?;
        Ok(now)
    }

    /// Sets the gauges of its largest tables, and removes those of others.
    async fn measure_tables(&self) -> Result<(), clickhouse::Error> {
        let fleet = &METRICS.fleet;
        let mut found = BTreeSet::new();
        for row in self.client.query(TABLES, &[]).await?.rows {
            let table = text(&row, 0);
            let labels = [self.host.as_str(), table.as_str()];
            fleet.table_bytes.with_label_values(&labels).set(gauge(count(&row, 1)));
            fleet.table_rows.with_label_values(&labels).set(gauge(count(&row, 2)));
            found.insert(table);
        }
        let before = std::mem::replace(&mut *self.tables.lock(), found.clone());
        for gone in before.difference(&found) {
            let labels = [self.host.as_str(), gone.as_str()];
            // They were made at an earlier look.
            let _ = fleet.table_bytes.remove_label_values(&labels);
            let _ = fleet.table_rows.remove_label_values(&labels);
        }
        Ok(())
    }
}

/// Mean seconds of the queries between two looks; none when there was none, or the server began anew.
fn mean_s(before: Counted, now: Counted) -> Option<f64> {
    let (queries, time_us) = (now.queries - before.queries, now.time_us - before.time_us);
    (queries > 0.0 && time_us >= 0.0 && before.queries > 0.0).then(|| time_us / queries / 1e6)
}

fn disk(name: &str, (total, free): (u64, u64), config: &Config) -> Finding {
    let percent = u128::from(free) * 100 / u128::from(total.max(1));
    let min = u128::from(config.disk_free_percent_min);
    let state = match percent {
        _ if percent * 2 < min => State::Failing,
        _ if percent < min => State::Degraded,
        _ => return Finding::ok("the disks have room"),
    };
    let sentence = format!("disk {name} has {percent} % free, {free} of {total} bytes");
    Finding::new(state, &sentence, "free some: `penstock lifecycle expire`, `penstock table sizes`")
}

fn replica((readonly, which): (u64, String), (delay_s, late): (u64, String), config: &Config) -> Finding {
    if readonly > 0 {
        let sentence = format!("{readonly} replicas are read-only, {which} among them");
        let hint = "check Keeper; SYSTEM RESTORE REPLICA where its data there is gone";
        return Finding::new(State::Failing, &sentence, hint);
    }
    if delay_s > config.replica_delay_max.0.as_secs() {
        let sentence = format!("{late} is {delay_s} s behind");
        return Finding::new(State::Degraded, &sentence, "look at system.replication_queue");
    }
    Finding::ok("the replicas keep up")
}

fn part(table: &str, (parts, limit): (u64, u64), config: &Config) -> Finding {
    let percent = u128::from(parts) * 100 / u128::from(limit.max(1));
    let state = match percent {
        100.. => State::Failing,
        _ if percent > u128::from(config.parts_percent_max) => State::Degraded,
        _ => return Finding::ok("merges keep up"),
    };
    let sentence = format!("a partition of {table} has {parts} parts, and inserts are refused at {limit}");
    Finding::new(state, &sentence, "fewer and larger inserts; look at system.merges")
}

fn text(row: &[Value], at: usize) -> String {
    row.get(at).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn count(row: &[Value], at: usize) -> u64 {
    row.get(at).and_then(number).unwrap_or_default()
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A count that came as a fraction.
fn whole(value: f64) -> i64 {
    // Beyond 2^53 nothing is counted here.
    let is_count = value.is_finite() && (0.0..9e15).contains(&value);
    #[allow(clippy::cast_possible_truncation)]
    if is_count { value as i64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_part_well_from_unwell() {
        let config = Config::default();
        let disk = |free| disk("d", (1000, free), &config).state;
        assert_eq!(
            (disk(100), disk(99), disk(50), disk(40)),
            (State::Ok, State::Degraded, State::Degraded, State::Failing)
        );
        let replica = |readonly, delay_s| {
            replica((readonly, "d.t".to_owned()), (delay_s, "d.u".to_owned()), &config).state
        };
        assert_eq!(
            (replica(0, 300), replica(0, 301), replica(1, 0)),
            (State::Ok, State::Degraded, State::Failing)
        );
        let part = |parts| part("d.t", (parts, 3000), &config).state;
        assert_eq!((part(1500), part(1531), part(3000)), (State::Ok, State::Degraded, State::Failing));
    }

    #[test]
    fn the_mean_is_of_what_came_since_the_look_before() {
        let counted = |queries, time_us| Counted { queries, time_us };
        assert_eq!(mean_s(counted(10.0, 1e6), counted(14.0, 3e6)), Some(0.5));
        assert_eq!(mean_s(Counted::default(), counted(14.0, 3e6)), None, "the first look knows no before");
        assert_eq!(mean_s(counted(14.0, 3e6), counted(2.0, 1e3)), None, "it began anew");
    }
}
