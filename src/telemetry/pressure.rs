//! The metrics of merge pressure: what was read of the tables, and what batches may be because of it.
//!
//! Refuses to compute anything, as `metrics.rs`, which it is a part of.

use prometheus::{Gauge, GaugeVec, HistogramVec, IntGauge, IntGaugeVec};

use super::catalogue::{Builder, exponential, opts};

pub struct Pressure {
    pub parts_max: IntGaugeVec,
    pub parts_limit: IntGaugeVec,
    pub delayed_inserts: IntGauge,
    pub replica_queue: IntGaugeVec,
    pub replica_delay: IntGaugeVec,
    pub readonly_replicas: IntGaugeVec,
    pub keeper_latency: Gauge,
    pub group_members: IntGauge,
    /// One of free, growing, throttled, unknown is 1 for each table.
    pub state: IntGaugeVec,
    pub limits: GaugeVec,
    pub partition_keys: HistogramVec,
}

impl Pressure {
    pub(super) fn new(b: &Builder) -> Pressure {
        Pressure {
            parts_max: b.gauge(
                "ch_max_parts_per_partition",
                "Most active parts of any partition key, on the worst server",
                &["table"],
            ),
            parts_limit: b.gauge(
                "ch_parts_limit",
                "Parts from which the table's inserts are delayed (delay) and refused (throw)",
                &["table", "limit"],
            ),
            delayed_inserts: b.add(IntGauge::with_opts(opts(
                "ch_delayed_inserts",
                "Inserts that the servers hold back right now",
            ))),
            replica_queue: b.gauge("ch_replica_queue_tasks", "Tasks in the replica's queue", &["table"]),
            replica_delay: b.gauge("ch_replica_delay_seconds", "Replication delay", &["table"]),
            readonly_replicas: b.gauge("ch_readonly_replicas", "Replicas in read-only state", &["table"]),
            keeper_latency: b.add(Gauge::with_opts(opts(
                "ch_keeper_latency_seconds",
                "Mean time of one request to Keeper since the look before",
            ))),
            group_members: b.add(IntGauge::with_opts(opts(
                "group_members",
                "Members of the consumer group, when they were counted last",
            ))),
            state: b.gauge(
                "pressure_state",
                "free, growing, throttled, unknown (one is 1)",
                &["table", "state"],
            ),
            limits: b.add(GaugeVec::new(
                opts(
                    "batch_limit",
                    "What batches may be now: rows, bytes, age_seconds, in_flight, inserts_per_reading",
                ),
                &["table", "limit"],
            )),
            partition_keys: b.histogram(
                "batch_partition_keys",
                "Partition keys of the table touched by one batch; each becomes a part",
                &["table"],
                &exponential(1.0, 2.0, 11),
            ),
        }
    }
}
