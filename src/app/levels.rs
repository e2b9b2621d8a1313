//! What `exactly_once` is worth for each table: found out before the first record, told in the log, on `/health`
//! and as a metric, and refused where it is less than the configuration demands.
//!
//! Refuses to change a table. The rules are `clickhouse::level`'s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::Error;
use crate::clickhouse::inspect::Role;
use crate::clickhouse::{Client, Conditions, Freshness, Inspection, Judgement, Level, Quorum, level};
use crate::config::Config;
use crate::kafka;
use crate::pipeline::{self, Exact, ExactlyOnce, PlaceColumns};
use crate::schema::Table;
use crate::schema::model::{Meta, Source};
use crate::telemetry::health::Health;
use crate::telemetry::metrics::{METRICS, Metrics};

const LEVELS: [Level; 4] =
    [Level::Exact, Level::ExactUnlessDiskLost, Level::EffectivelyOnce, Level::AtLeastOnce];

/// How the tables are filled exactly once.
///
/// # Errors
/// A table for which less can be promised than is demanded, with what to change.
pub async fn exactly_once(
    config: &Config,
    client: &Client,
    tables: &[Arc<Table>],
    health: &Health,
) -> Result<ExactlyOnce, Error> {
    let partitions = partitions(config, tables).await?;
    let (mut all, mut faults) = (BTreeMap::new(), Vec::new());
    for (index, table) in tables.iter().enumerate() {
        let database = table.database.as_ref().unwrap_or(&config.clickhouse.database);
        let inspection = client.inspect(database, &table.name).await?;
        let exact = exact(config, table, &inspection);
        let needed = partitions.get(index).copied().unwrap_or(1);
        let conditions = conditions(config, table, exact.columns.is_some(), needed);
        let judgement = level::judge(&inspection, &conditions);
        tell(&table.name, &judgement, health);
        if judgement.level < config.exactly_once.level_min {
            faults.extend(judgement.reasons.iter().map(|reason| format!("table `{}`: {reason}", table.name)));
        }
        all.insert(table.name.clone(), exact);
    }
    if faults.is_empty() {
        return Ok(ExactlyOnce { lease: config.exactly_once.lease.0, tables: all });
    }
    let demanded = config.exactly_once.level_min.name();
    Err(Error::WrongUse(anyhow::anyhow!(
        "less can be promised than exactly_once.level_min demands, `{demanded}`:\n{}",
        faults.join("\n")
    )))
}

fn tell(table: &str, judgement: &Judgement, health: &Health) {
    let name = judgement.level.name();
    tracing::info!(table, level = name, "what is promised");
    for reason in &judgement.reasons {
        tracing::warn!(table, at_most = reason.level.name(), hint = reason.hint, "{}", reason.sentence);
    }
    health.set_level(table, name);
    Metrics::set_state(&METRICS.delivery_level, &[table], name, &LEVELS.map(Level::name));
}

fn exact(config: &Config, table: &Table, inspection: &Inspection) -> Exact {
    let database = table.database.as_ref().unwrap_or(&config.clickhouse.database);
    let facts = inspection.tables.first();
    let is_replicated = facts.is_some_and(|facts| 0 < facts.replicas || facts.engine.starts_with("Shared"));
    // Where rows vanish by themselves, one that is not there says nothing; and where views hang on the table, one
    // that is there does not say that the views have it, which only sending it again makes sure of.
    let has_views = inspection.tables.iter().any(|facts| matches!(facts.role, Role::ViewTarget { .. }));
    let keeps_rows = facts.is_some_and(|facts| !facts.merges_rows && !facts.expires_rows) && !has_views;
    let has_quorum = config.exactly_once.quorum && facts.is_some_and(|facts| 1 < facts.replicas);
    Exact {
        group: config.kafka.group.clone(),
        name: format!("{database}.{}", table.name),
        quorum: if has_quorum { Quorum::Auto } else { Quorum::Off },
        turn: has_quorum.then(|| Arc::new(Semaphore::new(1))),
        columns: place_columns(table).filter(|_| keeps_rows),
        freshness: match (is_replicated, has_quorum) {
            (_, true) => Freshness::Sequential,
            (true, false) => Freshness::Synced,
            (false, false) => Freshness::Server,
        },
        loses_rows: !is_replicated,
        token_life: facts.and_then(|facts| facts.window).map(|window| window / 2),
        insert_max: insert_max(config),
    }
}

fn conditions(config: &Config, table: &Table, can_read_back: bool, partitions: u64) -> Conditions {
    let window_needed = (config.exactly_once.lease.0 + insert_max(config)) * 2;
    let age_ms = config.batch.age_max.0.as_millis().max(1);
    let batches = u64::try_from(window_needed.as_millis().div_ceil(age_ms)).unwrap_or(u64::MAX);
    Conditions {
        quorum: config.exactly_once.quorum,
        can_read_back,
        endpoints: config.clickhouse.endpoints.len(),
        blocks_needed: batches.saturating_mul(partitions),
        window_needed,
        columns_sent: table.columns.iter().map(|column| column.name.clone()).collect(),
    }
}

/// How long one insert may take.
fn insert_max(config: &Config) -> Duration {
    config.clickhouse.insert_timeout.min(config.clickhouse.retry.deadline).0
}

/// How many partitions feed each table.
async fn partitions(config: &Config, tables: &[Arc<Table>]) -> Result<Vec<u64>, Error> {
    let topics = pipeline::resolve_topics(&config.kafka, &config.dead_letter, tables).await?;
    let kafka = config.kafka.clone();
    let counted = tokio::task::spawn_blocking(move || {
        let mut counts: Vec<u64> = Vec::new();
        for (topic, table) in topics {
            let count = kafka::admin::partition_count(&kafka, &topic)?;
            if counts.len() <= table {
                counts.resize(table + 1, 0);
            }
            if let Some(sum) = counts.get_mut(table) {
                *sum += count;
            }
        }
        Ok::<_, kafka::Error>(counts)
    });
    Ok(counted.await.map_err(|error| Error::Failed(error.into()))??)
}

/// The columns by which a row can be traced to its record, if the table has all that it takes.
fn place_columns(table: &Table) -> Option<PlaceColumns> {
    let named = |meta: Meta| {
        let found = table.columns.iter().find(|column| column.source == Source::Meta(meta));
        found.map(|column| column.name.clone())
    };
    let is_one_topic = matches!(table.topics.as_slice(), [topic] if !topic.starts_with('^'));
    let topic = named(Meta::Topic);
    if topic.is_none() && !is_one_topic {
        return None;
    }
    Some(PlaceColumns { topic, partition: named(Meta::Partition)?, offset: named(Meta::Offset)? })
}
