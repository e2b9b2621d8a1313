//! The metrics of the admin processes: who leads, what schedules came to, how the servers are.
//!
//! Refuses to compute anything, as `metrics.rs`, which it is a part of.

use prometheus::{GaugeVec, IntCounterVec, IntGauge, IntGaugeVec};

use super::catalogue::{Builder, opts};

pub struct Fleet {
    pub leader: IntGauge,
    pub schedule_info: IntGaugeVec,
    pub schedule_runs: IntCounterVec,
    pub schedule_missed: IntCounterVec,
    /// One of ok, degraded, failing is 1 for each check.
    pub health: IntGaugeVec,
    pub webhooks: IntCounterVec,
    pub revoked_tokens: IntGauge,
    pub probe: GaugeVec,
    pub query_mean: GaugeVec,
    pub queries: IntGaugeVec,
    pub connections: IntGaugeVec,
    pub disk_total: IntGaugeVec,
    pub disk_free: IntGaugeVec,
    pub parts: IntGaugeVec,
    pub merges: IntGaugeVec,
    pub mutations: IntGaugeVec,
    pub replica_delay: IntGaugeVec,
    pub table_bytes: IntGaugeVec,
    pub table_rows: IntGaugeVec,
}

impl Fleet {
    pub(super) fn new(b: &Builder) -> Fleet {
        Fleet {
            leader: b.add(IntGauge::with_opts(opts("admin_leader", "1 if this admin process leads"))),
            schedule_info: b.gauge(
                "admin_schedule_info",
                "1 for each schedule that is configured, with its command and, of a backup, the policy",
                &["schedule", "command", "policy"],
            ),
            schedule_runs: b.counter(
                "admin_schedule_runs_total",
                "Runs of schedules that ended: done, failed, cancelled, skipped",
                &["schedule", "outcome"],
            ),
            schedule_missed: b.counter(
                "admin_schedule_missed_total",
                "Due times that passed without a run of their own",
                &["schedule"],
            ),
            health: b.gauge(
                "admin_health",
                "ok, degraded, failing by what is looked at (one is 1)",
                &["check", "state"],
            ),
            webhooks: b.counter(
                "admin_webhooks_total",
                "Changes of health that were told to the webhook, or could not be: delivered, given_up, dropped",
                &["outcome"],
            ),
            revoked_tokens: b.add(IntGauge::with_opts(opts(
                "admin_revoked_tokens",
                "Tokens that were taken back before their end, as this process knows them",
            ))),
            probe: b.add(GaugeVec::new(opts("admin_clickhouse_probe_seconds", "Time of the smallest query, from request to answer"), &["host"])),
            query_mean: b.add(GaugeVec::new(opts("admin_clickhouse_query_mean_seconds", "Mean time of the server's queries since the look before"), &["host"])),
            queries: b.gauge("admin_clickhouse_queries", "Queries that run on the server", &["host"]),
            connections: b.gauge(
                "admin_clickhouse_connections",
                "Open connections of the server by protocol: http, tcp",
                &["host", "protocol"],
            ),
            disk_total: b.gauge("admin_clickhouse_disk_bytes", "Size of a disk", &["host", "disk"]),
            disk_free: b.gauge(
                "admin_clickhouse_disk_free_bytes",
                "Unreserved bytes of a disk",
                &["host", "disk"],
            ),
            parts: b.gauge("admin_clickhouse_parts", "Active parts of all tables", &["host"]),
            merges: b.gauge("admin_clickhouse_merges", "Merges that run", &["host"]),
            mutations: b.gauge("admin_clickhouse_mutations", "Mutations that are not done", &["host"]),
            replica_delay: b.gauge(
                "admin_clickhouse_replica_delay_seconds",
                "Delay of the replica that is furthest behind",
                &["host"],
            ),
            table_bytes: b.gauge(
                "admin_clickhouse_table_bytes",
                "Compressed bytes of a table's active parts; of the 50 largest tables of clickhouse.database",
                &["host", "table"],
            ),
            table_rows: b.gauge(
                "admin_clickhouse_table_rows",
                "Rows in the active parts of the same tables",
                &["host", "table"],
            ),
        }
    }
}
