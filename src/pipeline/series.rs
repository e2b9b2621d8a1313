//! Every label set of the line's metrics, at zero from the moment that tables and topics are known.
//!
//! Refuses to count. A counter that is born at 1 is invisible to `rate`: the first event of each kind, the one that an
//! alert waits for, would be missed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::report::PAUSES;
use crate::batch::Trigger;
use crate::batch::memory::Holder;
use crate::clickhouse::Class;
use crate::decode::Reason;
use crate::kafka::admin::Purpose;
use crate::kafka::{self, context};
use crate::schema::Table;
use crate::telemetry::memory::FETCHED;
use crate::telemetry::metrics::METRICS;
use crate::telemetry::stages::STAGES;

/// What a table's inserts end as, one attempt each.
const ATTEMPTS: [&str; 3] = ["ok", "retryable", "fatal"];
/// Why records are left out on purpose.
const RULES: [&str; 2] = ["tombstone", "erased"];

/// `topics` with the index of the table that each goes to; `members` consumers read them.
pub fn create(tables: &[Arc<Table>], topics: &[(Arc<str>, usize)], members: u16) {
    of_the_process(members);
    tables.iter().for_each(|table| of_table(&table.name));
    for (topic, table) in topics {
        of_topic(METRICS.topics.of(topic));
        if let Some(table) = tables.get(*table) {
            let labels = [METRICS.topics.of(topic), table.name.as_str()];
            METRICS.inserted_rows.with_label_values(&labels);
        }
    }
}

/// How many partitions the topics have that are read, and how long these keep records.
pub async fn tell_of_topics(kafka: &kafka::Config, topics: &[(String, Purpose)], partitions: &[usize]) {
    let read: Vec<_> =
        topics.iter().zip(partitions).filter(|((_, what), _)| *what == Purpose::Source).collect();
    let names: Vec<&str> = read.iter().map(|((topic, _), _)| topic.as_str()).collect();
    let retention = match kafka::admin::retention_ms(kafka, &names).await {
        Ok(retention) => retention,
        Err(error) => {
            tracing::debug!(%error, "how long the topics keep records cannot be seen");
            BTreeMap::new()
        }
    };
    for ((topic, _), partitions) in read {
        let label = [METRICS.topics.of(topic)];
        let partitions = i64::try_from(*partitions).unwrap_or(i64::MAX);
        METRICS.consume.topic_partitions.with_label_values(&label).set(partitions);
        let seconds = retention.get(topic).map_or(0.0, |ms| *ms as f64 / 1000.0);
        METRICS.consume.topic_retention.with_label_values(&label).set(seconds);
    }
}

fn of_the_process(members: u16) {
    for kind in ["assign", "revoke", "lost"] {
        METRICS.rebalances.with_label_values(&[kind]);
    }
    for outcome in ["ok", "error"] {
        METRICS.offset_commits.with_label_values(&[outcome]);
    }
    for kind in context::KINDS {
        METRICS.kafka_errors.with_label_values(&[kind]);
    }
    for stage in STAGES {
        METRICS.stages.busy.with_label_values(&[stage]);
        METRICS.stages.backpressure.with_label_values(&[stage]);
        METRICS.stages.workers.with_label_values(&[stage]);
    }
    for component in Holder::ALL.map(Holder::name).into_iter().chain([FETCHED]) {
        METRICS.memory.component.with_label_values(&[component]);
    }
    // What is sent at a time changes with the pressure of the tables, and is told by each member.
    for stage in ["fetch", "decode", "commit"] {
        METRICS.stages.workers.with_label_values(&[stage]).set(i64::from(members));
    }
    for stage in ["insert", "dead_letter"] {
        METRICS.stages.queue_depth.with_label_values(&[stage]);
    }
}

fn of_table(table: &str) {
    let one = &[table];
    for trigger in Trigger::ALL {
        METRICS.flushes.with_label_values(&[table, trigger.name()]);
    }
    for outcome in ATTEMPTS {
        METRICS.insert_attempts.with_label_values(&[table, outcome]);
        METRICS.insert_duration.with_label_values(&[table, outcome]);
    }
    for class in [Class::Elsewhere, Class::Later] {
        METRICS.insert_retries.with_label_values(&[table, class.name()]);
    }
    let histograms = [&METRICS.batch_rows, &METRICS.batch_bytes, &METRICS.batch_age];
    histograms.iter().for_each(|histogram| drop(histogram.with_label_values(one)));
    METRICS.pressure.partition_keys.with_label_values(one);
    let counters = [
        &METRICS.unknown_fields,
        &METRICS.inserted_bytes,
        &METRICS.deduplicated_batches,
        &METRICS.replayed_batches,
        &METRICS.replay_gone_records,
        &METRICS.read_backs,
        &METRICS.repaired_rows,
    ];
    counters.iter().for_each(|counter| drop(counter.with_label_values(one)));
    METRICS.inflight_batches.with_label_values(one);
}

fn of_topic(topic: &str) {
    let one = &[topic];
    let counters = [
        &METRICS.consumed_records,
        &METRICS.consumed_bytes,
        &METRICS.decoded_records,
        &METRICS.dlq_bytes,
        &METRICS.consume.future_records,
    ];
    counters.iter().for_each(|counter| drop(counter.with_label_values(one)));
    for rule in RULES {
        METRICS.filtered_records.with_label_values(&[topic, rule]);
    }
    for reason in Reason::ALL {
        METRICS.schema_errors.with_label_values(&[topic, reason.code()]);
        for outcome in ["ok", "error"] {
            METRICS.dlq_records.with_label_values(&[topic, reason.code(), outcome]);
        }
    }
    METRICS.e2e_latency.with_label_values(one);
    METRICS.consume.record_size.with_label_values(one);
    METRICS.assigned_partitions.with_label_values(one);
    for reason in PAUSES {
        METRICS.paused_partitions.with_label_values(&[topic, reason]);
    }
    for outcome in ["compared", "not_compared"] {
        METRICS.audit_offsets.with_label_values(&[topic, outcome]);
    }
    METRICS.audit_missing_rows.with_label_values(one);
    METRICS.audit_surplus_rows.with_label_values(one);
}
