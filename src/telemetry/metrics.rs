//! Every metric of the process in one place: name, labels and meaning. Those of merge pressure are beside it.
//!
//! Refuses to compute anything: stages report what happened. Labels come from closed sets, from the
//! configuration or from the broker's assignment, so their number is bounded. Hot paths add up in plain
//! integers and report once per turn of the loop.

use std::sync::LazyLock;

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Registry,
};

use super::admin::Admin;
use super::backup::Backup;
use super::catalogue::{Builder, Family, exponential, opts};
use super::consume::Consume;
use super::fleet::Fleet;
use super::labels::{Bounded, TOPICS_MAX};
use super::memory::Memory;
use super::pressure::Pressure;
use super::stages::Stages;
use super::upkeep::Upkeep;

/// The process's metrics, created at first use.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

pub struct Metrics {
    registry: Registry,
    families: Vec<Family>,
    /// What stands in the label of a topic.
    pub topics: Bounded,

    pub build_info: IntGaugeVec,
    pub config_info: IntGaugeVec,
    pub config_reloads: IntCounterVec,
    pub reload_ok: IntGauge,
    pub reload_time: Gauge,
    /// One of starting, running, paused, draining, degraded, stopped is 1.
    pub state: IntGaugeVec,

    pub consumed_records: IntCounterVec,
    pub consumed_bytes: IntCounterVec,
    pub lag_records: IntGaugeVec,
    pub lag_seconds: GaugeVec,
    pub assigned_partitions: IntGaugeVec,
    pub paused_partitions: IntGaugeVec,
    pub rebalances: IntCounterVec,
    pub offset_commits: IntCounterVec,
    pub kafka_errors: IntCounterVec,
    pub last_poll_timestamp: Gauge,

    pub decoded_records: IntCounterVec,
    pub unknown_fields: IntCounterVec,
    pub filtered_records: IntCounterVec,
    pub schema_errors: IntCounterVec,
    pub dlq_records: IntCounterVec,
    pub dlq_bytes: IntCounterVec,

    pub flushes: IntCounterVec,
    pub batch_rows: HistogramVec,
    pub batch_bytes: HistogramVec,
    pub batch_age: HistogramVec,

    pub insert_duration: HistogramVec,
    pub insert_attempts: IntCounterVec,
    pub insert_retries: IntCounterVec,
    pub inserted_rows: IntCounterVec,
    pub inserted_bytes: IntCounterVec,
    pub deduplicated_batches: IntCounterVec,
    pub replayed_batches: IntCounterVec,
    pub replay_gone_records: IntCounterVec,
    pub read_backs: IntCounterVec,
    pub repaired_rows: IntCounterVec,
    pub delivery_level: IntGaugeVec,
    pub inflight_batches: IntGaugeVec,
    /// One of open, limited, shut is 1 for each endpoint.
    pub gate_state: IntGaugeVec,
    pub gate_transitions: IntCounterVec,
    pub endpoint_requests_in_flight: IntGaugeVec,
    pub endpoint_connections_opened: IntCounterVec,

    pub audit_offsets: IntCounterVec,
    pub audit_missing_rows: IntGaugeVec,
    pub audit_surplus_rows: IntGaugeVec,

    pub consume: Consume,
    pub admin: Admin,
    pub trace_spans: IntCounterVec,
    pub backup: Backup,
    pub e2e_latency: HistogramVec,
    pub memory: Memory,
    pub ch_up: IntGaugeVec,
    pub scrapes: IntCounter,
    pub drain_duration: Histogram,
    pub pressure: Pressure,
    pub stages: Stages,
    pub fleet: Fleet,
    pub upkeep: Upkeep,
}

/// Seconds from a millisecond to a minute.
const SECONDS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

impl Metrics {
    #[allow(clippy::too_many_lines)] // A list, one entry per metric.
    fn new() -> Metrics {
        let b = Builder::new();
        b.section("Both processes");
        b.register(ProcessCollector::for_self());
        let overflow = b.counter(
            "metrics_label_overflow_total",
            "Reports under `_other`, since there are too many values for series of their own",
            &["label"],
        );
        let (batch_rows, batch_bytes) = (exponential(10.0, 4.0, 10), exponential(4096.0, 4.0, 9));
        let declared = Metrics {
            build_info: b.gauge("build_info", "Always 1; identifies the build", &["version"]),
            config_info: b.gauge(
                "config_info",
                "Always 1; hash of the effective configuration without secrets",
                &["hash"],
            ),
            config_reloads: b.counter(
                "config_reloads_total",
                "Reloads of configuration and table files: ok, refused, unchanged",
                &["outcome"],
            ),
            reload_ok: b.add(IntGauge::with_opts(opts(
                "config_last_reload_successful",
                "1 if the configuration that was read last is in force, 0 if it was refused",
            ))),
            reload_time: b.add(Gauge::with_opts(opts(
                "config_last_reload_success_timestamp_seconds",
                "When the configuration in force was read, in seconds since 1970",
            ))),
            state: b.gauge(
                "state",
                "starting, running, paused, draining, degraded, stopped (one is 1)",
                &["state"],
            ),
            scrapes: b.add(IntCounter::with_opts(opts("scrapes_total", "Times these metrics were read"))),
            trace_spans: b.counter(
                "trace_spans_total",
                "Spans by what became of them: exported, refused by the receiver, failed on the way, dropped since the queue was full",
                &["outcome"],
            ),
            topics: {
                b.section("Reading from Kafka");
                Bounded::new("topic", TOPICS_MAX, &overflow)
            },
            consume: Consume::new(&b),
            consumed_records: b.counter(
                "consumed_records_total",
                "Records handed over by the Kafka client",
                &["topic"],
            ),
            consumed_bytes: b.counter(
                "consumed_bytes_total",
                "Uncompressed key and value bytes of those records",
                &["topic"],
            ),
            lag_records: b.gauge(
                "lag_records",
                "High watermark minus durable offset, only for owned partitions",
                &["topic", "partition"],
            ),
            lag_seconds: b.add(GaugeVec::new(
                opts(
                    "lag_seconds",
                    "Age of the oldest record not yet durable in ClickHouse; 0 when caught up",
                ),
                &["topic", "partition"],
            )),
            assigned_partitions: b.gauge(
                "assigned_partitions",
                "Partitions owned by this process",
                &["topic"],
            ),
            paused_partitions: b.gauge(
                "paused_partitions",
                "Owned partitions paused, by reason: backpressure, dead_letter_ceiling, operator",
                &["topic", "reason"],
            ),
            rebalances: b.counter("rebalances_total", "Rebalance events: assign, revoke, lost", &["kind"]),
            offset_commits: b.counter("offset_commits_total", "Offset commits: ok, error", &["outcome"]),
            kafka_errors: b.counter("kafka_errors_total", "Errors of the Kafka client by kind", &["kind"]),
            last_poll_timestamp: b.add(Gauge::with_opts(opts(
                "last_poll_timestamp_seconds",
                "Last time the consumer loop turned",
            ))),
            decoded_records: {
                b.section("Decoding and dead letters");
                b.counter("decoded_records_total", "Records decoded successfully", &["topic"])
            },
            unknown_fields: b.counter(
                "unknown_fields_total",
                "Fields that no column takes, left out by policy",
                &["table"],
            ),
            filtered_records: b.counter(
                "filtered_records_total",
                "Records removed on purpose by configuration",
                &["topic", "rule"],
            ),
            schema_errors: b.counter("schema_errors_total", "Rejected records by reason", &["topic", "kind"]),
            dlq_records: b.counter(
                "dlq_records_total",
                "Records sent to the dead-letter topic by reason and outcome",
                &["topic", "kind", "outcome"],
            ),
            dlq_bytes: b.counter("dlq_bytes_total", "Bytes sent to the dead-letter topic", &["topic"]),
            flushes: {
                b.section("Batches and inserts");
                b.counter(
                "flushes_total",
                "Batches closed by rows, bytes, age, memory, replay, revoke, reload, operator, shutdown",
                &["table", "trigger"],
            )
            },
            batch_rows: b.histogram("batch_rows", "Rows per insert", &["table"], &batch_rows),
            batch_bytes: b.histogram(
                "batch_bytes",
                "Bytes per insert before compression",
                &["table"],
                &batch_bytes,
            ),
            batch_age: b.histogram(
                "batch_age_seconds",
                "First record buffered until the batch is closed",
                &["table"],
                &SECONDS,
            ),
            insert_duration: b.histogram(
                "insert_duration_seconds",
                "One insert attempt, request start to answer",
                &["table", "outcome"],
                &SECONDS,
            ),
            insert_attempts: b.counter(
                "insert_attempts_total",
                "ok, retryable, fatal",
                &["table", "outcome"],
            ),
            insert_retries: b.counter(
                "insert_retries_total",
                "Insert attempts repeated, by class of the error",
                &["table", "class"],
            ),
            inserted_rows: b.counter(
                "inserted_rows_total",
                "Rows acknowledged by ClickHouse",
                &["topic", "table"],
            ),
            inserted_bytes: b.counter("inserted_bytes_total", "Uncompressed bytes acknowledged", &["table"]),
            deduplicated_batches: b.counter(
                "deduplicated_batches_total",
                "Batches sent again after an unknown outcome",
                &["table"],
            ),
            replayed_batches: b.counter(
                "replayed_batches_total",
                "Batches that a former owner had planned, cut again at the same offsets",
                &["table"],
            ),
            replay_gone_records: b.counter(
                "replay_gone_records_total",
                "Records of such batches that are no longer in the topic",
                &["table"],
            ),
            read_backs: b.counter(
                "read_backs_total",
                "Times a batch's rows were counted in the table before or after a doubtful insert",
                &["table"],
            ),
            repaired_rows: b.counter(
                "repaired_rows_total",
                "Rows put back that a killed server had lost after it had kept their token",
                &["table"],
            ),
            delivery_level: b.gauge(
                "delivery_level",
                "exact, exact_unless_disk_lost, effectively_once, at_least_once (one is 1)",
                &["table", "level"],
            ),
            inflight_batches: b.gauge("inflight_batches", "Inserts waiting for an answer", &["table"]),
            gate_state: b.gauge("gate_state", "open, limited, shut (one is 1)", &["endpoint", "state"]),
            gate_transitions: b.counter(
                "gate_transitions_total",
                "Changes of an endpoint's gate",
                &["endpoint", "to"],
            ),
            endpoint_requests_in_flight: b.gauge(
                "endpoint_requests_in_flight",
                "Requests waiting for this endpoint's answer",
                &["endpoint"],
            ),
            endpoint_connections_opened: b.counter(
                "endpoint_connections_opened_total",
                "Connections made to this endpoint",
                &["endpoint"],
            ),
            audit_offsets: {
                b.section("Audit of what was committed");
                b.counter(
                "audit_offsets_total",
                "Committed offsets by whether the table could be asked for their rows: compared, not_compared",
                &["topic", "outcome"],
            )
            },
            audit_missing_rows: b.gauge(
                "audit_missing_rows",
                "Rows that committed offsets must have and the table has not, since the start",
                &["topic"],
            ),
            audit_surplus_rows: b.gauge(
                "audit_surplus_rows",
                "Rows beyond those that committed offsets must have, since the start",
                &["topic"],
            ),
            e2e_latency: {
                b.section("Latency, memory, endpoints");
                b.histogram(
                "e2e_latency_seconds",
                "Kafka record timestamp until ClickHouse acknowledged the row, weighted by rows",
                &["topic"],
                &exponential(0.01, 2.0, 16),
            )
            },
            memory: Memory::new(&b),
            ch_up: b.gauge("ch_up", "1 if the last health check of this endpoint worked", &["host"]),
            drain_duration: b.add(Histogram::with_opts(
                HistogramOpts::from(opts(
                    "rebalance_duration_seconds",
                    "Time spent draining before a revoke is acknowledged",
                ))
                .buckets(SECONDS.to_vec()),
            )),
            pressure: {
                b.section("Merge pressure");
                Pressure::new(&b)
            },
            stages: {
                b.section("Stages");
                Stages::new(&b)
            },
            admin: {
                b.section("Admin interface");
                Admin::new(&b)
            },
            fleet: {
                b.section("Admin processes: leading, schedules, servers");
                Fleet::new(&b)
            },
            upkeep: {
                b.section("Admin processes: what is left to do");
                Upkeep::new(&b)
            },
            backup: {
                b.section("Backups");
                Backup::new(&b)
            },
            families: Vec::new(),
            registry: Registry::new(),
        };
        let (registry, families) = b.families();
        Metrics { registry, families, ..declared }
    }

    /// Everything that is declared, in the order of the document.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// Every family with its series, by name.
    pub(super) fn gather(&self) -> Vec<prometheus::proto::MetricFamily> {
        self.registry.gather()
    }

    /// The text exposition format, version 0.0.4.
    pub fn render(&self) -> String {
        self.scrapes.inc();
        let mut text = String::new();
        if let Err(error) = prometheus::TextEncoder::new().encode_utf8(&self.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be rendered");
        }
        text
    }

    /// Sets a state set: the gauge labelled with `now` to 1 and those of the `others` to 0.
    pub fn set_state(gauge: &IntGaugeVec, labels: &[&str], now: &str, all: &[&str]) {
        for state in all {
            let values: Vec<&str> = labels.iter().copied().chain([*state]).collect();
            gauge.with_label_values(&values).set(i64::from(*state == now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_declared_once_with_a_valid_name() {
        let text = METRICS.render();
        assert!(text.contains("penstock_scrapes_total"));
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            assert!(line.starts_with("penstock_") || line.starts_with("process_"), "{line}");
        }
    }
}
