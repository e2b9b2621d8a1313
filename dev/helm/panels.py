"""What the dashboards of the line show: the whole fleet, and one table with its topics. The admin process has `admin_panels`.

Knows nothing of Grafana. Metrics are written as `grafana` explains; what each one means comes from the catalogue, so
that a note here says only how to read the panel.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import admin_panels
import grafana
from chart import CHART
from grafana import Board, Panel
from parts import RATE, lines, mean, quantile, quantiles, rate, tile

PARTS = 'max by (table) (<ch_max_parts_per_partition>) / min by (table) (<ch_parts_limit limit="{}">)'
PARTS_DELAY, PARTS_THROW = PARTS.format("delay"), PARTS.format("throw")
BUDGET_LEFT = "1 - (1 - avg_over_time(<:freshness_good:bool>[30d])) / 0.001"
CATCH_UP = (
    "sum by (topic) (<lag_records>) / (-1 * sum by (topic) (deriv(<lag_records>[15m])) > 0)"
    " and sum by (topic) (<lag_records>) > 0"
)

LAG = lines(
    "Lag in seconds by topic",
    ("max by (topic) (<lag_seconds>)", "{{topic}}"),
    note="The worst partition of each topic. It grows when anything at all is stuck.",
    alerts=(("PenstockStalled", 120), ("PenstockLagWillNotDrain", 300)),
    drill="topic",
)
OLDEST = Panel(
    "table",
    "Partitions by age of their oldest record",
    (("topk(50, max by (topic, partition) (<lag_seconds>))", ""),),
    note="The 50 that are behind most. One far above the others of its topic is PenstockPartitionStuck.",
    alerts=(("PenstockPartitionStuck", 300),),
)
FLOW = (
    lines(
        "In and out",
        rate("consumed_records_total", "topic", "in"),
        rate("inserted_rows_total", "topic", "out"),
        note="They agree in the long run, but for dead letters and what is filtered.",
        drill="topic",
    ),
    LAG,
    lines("From the record's time to its row", *quantiles("e2e_latency_seconds")),
    Panel(
        "heatmap",
        "From the record's time to its row, all of it",
        ((f"sum by (le) (increase(<e2e_latency_seconds_bucket>{RATE}))", "{{le}}"),),
    ),
    OLDEST,
    lines(
        "Time until the backlog is gone",
        (CATCH_UP, "{{topic}}"),
        unit="s",
        note="At the speed of the last 15 minutes. A topic with a backlog and no line is not getting smaller.",
        alerts=(("PenstockLagWillNotDrain", 1800),),
        drill="topic",
    ),
)
BATCHES = (
    lines(
        "Why batches are closed",
        rate("flushes_total", "trigger"),
        stack="percent",
        note="Mostly age: little traffic. Mostly rows or bytes: much. Memory: too little budget.",
    ),
    lines("Rows of an insert", (mean("batch_rows"), "{{table}}"), unit="short", note="The mean.", drill="table"),
    lines("Bytes of an insert", (mean("batch_bytes"), "{{table}}"), unit="bytes", note="The mean.", drill="table"),
    lines(
        "Partition keys of a batch",
        (quantile(0.95, "batch_partition_keys", "table"), "{{table}}"),
        unit="short",
        note="95 of a hundred batches have no more.",
        drill="table",
    ),
)
WAITING = lines(
    "Partitions that are paused",
    ("sum by (topic, reason) (<paused_partitions>)", "{{topic}} {{reason}}"),
    note="backpressure: memory or a table's queue is full. dead_letter_ceiling: most records of the topic are bad. operator: somebody paused it.",
    drill="topic",
)
STAGES = lines(
    "Where a batch spends its time",
    (quantile(0.5, "batch_age_seconds"), "collecting, p50"),
    (quantile(0.99, "batch_age_seconds"), "collecting, p99"),
    (quantile(0.5, "insert_duration_seconds", more=' outcome="ok"'), "inserting, p50"),
    (quantile(0.99, "insert_duration_seconds", more=' outcome="ok"'), "inserting, p99"),
    note="Collecting is bounded by batch.age_max. If inserting is the larger part, look at ClickHouse.",
)
INSERTS = (
    lines(
        "Slowest inserts",
        (quantile(0.99, "insert_duration_seconds", "table", ' outcome="ok"'), "{{table}}"),
        note="99 of a hundred that worked were faster.",
        alerts=(("PenstockInsertsSlow", 10),),
        drill="table",
    ),
    lines("Inserts by outcome", rate("insert_attempts_total", "table, outcome"), drill="table"),
    lines(
        "Part of the inserts that fails",
        (
            f'sum by (table) (rate(<insert_attempts_total outcome!="ok">{RATE}))'
            f" / (sum by (table) (rate(<insert_attempts_total>{RATE})) > 0)",
            "{{table}}",
        ),
        unit="percentunit",
        alerts=(("PenstockInsertsFail", 0.1),),
        drill="table",
    ),
    lines("Repeated inserts by class of the error", rate("insert_retries_total", "table, class"), drill="table"),
    lines(
        "Parts, as part of the number at which inserts are delayed",
        (PARTS_DELAY, "{{table}}"),
        unit="percentunit",
        note="The worst partition key on the worst server.",
        alerts=(("PenstockPartsPressure", 0.6),),
        drill="table",
    ),
    lines(
        "Parts, as part of the number at which inserts are refused",
        (PARTS_THROW, "{{table}}"),
        unit="percentunit",
        alerts=(("PenstockPartsNearRejection", 0.8),),
        drill="table",
    ),
    lines(
        "Tables that are not free of pressure",
        ('max by (table, state) (<pressure_state state!="free">) > 0', "{{table}} {{state}}"),
        note="growing: batches are made larger. throttled: inserts wait for merges. unknown: the parts cannot be read.",
        drill="table",
    ),
    lines("Inserts on their way", ("sum by (table) (<inflight_batches>)", "{{table}}"), drill="table"),
)
REPLICAS = (
    lines(
        "Replicas behind",
        ("max by (table) (<ch_replica_delay_seconds>)", "{{table}}"),
        alerts=(("PenstockReplicaLate", 300),),
        drill="table",
    ),
    lines(
        "Replicas: read-only, and tasks in the queue",
        ("max by (table) (<ch_readonly_replicas>)", "read-only {{table}}"),
        ("max by (table) (<ch_replica_queue_tasks>)", "tasks {{table}}"),
        drill="table",
    ),
)
SERVERS = (
    lines("Time of a request to Keeper", ("max(<ch_keeper_latency_seconds>)", "mean")),
    lines("Inserts that the servers hold back", ("max(<ch_delayed_inserts>)", "delayed")),
    lines(
        "Gates that are not open",
        ('max by (endpoint, state) (<gate_state state!="open">) > 0', "{{endpoint}} {{state}}"),
        note="limited: one probe at a time. shut: not used. By the pod that sees it worst.",
    ),
    lines(
        "Requests on their way by server",
        ("sum by (endpoint) (<endpoint_requests_in_flight>)", "{{endpoint}}"),
        note="One that stays high while the others fall hangs.",
    ),
    lines("Connections made", rate("endpoint_connections_opened_total", "endpoint")),
    lines("Health checks", ("min by (host) (<ch_up>)", "{{host}}"), note="0: at least one pod finds it down."),
)
VERDICTS = (
    lines("Rejected records by reason", rate("schema_errors_total", "topic, kind"), stack="normal", drill="topic"),
    lines(
        "Dead letters by reason and outcome",
        rate("dlq_records_total", "topic, kind, outcome"),
        stack="normal",
        note="`penstock dlq groups` says what is wrong. error: not published yet, its partition waits.",
        drill="topic",
    ),
    lines(
        "Audit: rows missing and too many",
        ("sum by (topic) (<audit_missing_rows>)", "missing {{topic}}"),
        ("sum by (topic) (<audit_surplus_rows>)", "surplus {{topic}}"),
        note="`penstock audit-rows` names the offsets.",
        alerts=(("PenstockRowsMissing", 0),),
        drill="topic",
    ),
    lines("Audit: offsets looked at", rate("audit_offsets_total", "topic, outcome"), drill="topic"),
    lines(
        "Bytes of a record",
        (quantile(0.5, "record_size_bytes"), "p50"),
        (quantile(0.99, "record_size_bytes"), "p99"),
        unit="bytes",
        note="Of a sample.",
    ),
    lines("Left out by rule", rate("filtered_records_total", "topic, rule"), drill="topic"),
    lines("Fields that no column takes", rate("unknown_fields_total", "table"), drill="table"),
)
REPAIRS = lines(
    "Doubtful and repeated batches",
    rate("read_backs_total", "table", "looked for"),
    rate("deduplicated_batches_total", "table", "sent again"),
    rate("replayed_batches_total", "table", "taken over"),
    rate("replay_gone_records_total", "table", "gone records"),
    rate("repaired_rows_total", "table", "rows put back"),
    note="Faults and restarts raise them; in quiet times all are 0.",
)

WORST_LAG = tile("Worst lag", ("max(<lag_seconds>)", ""), alerts=(("PenstockStalled", 120),))
THROUGH = tile(
    "Records in, rows out",
    (f"sum(rate(<consumed_records_total>{RATE}))", "in"),
    (f"sum(rate(<inserted_rows_total>{RATE}))", "out"),
)
DEAD_LETTERS = tile("Dead letters", (f'sum(rate(<dlq_records_total outcome="ok">{RATE})) * 60', ""), unit="cpm")
ROWS_MISSING = tile("Rows missing", ("sum(<audit_missing_rows>)", ""), alerts=(("PenstockRowsMissing", 0),))
FLEET = Board(
    "penstock-fleet",
    "penstock: fleet",
    "All pods of one release: is it late, is it losing anything, and where is the time. Runbooks: docs/runbooks.",
    (
        (
            "Now",
            (
                WORST_LAG,
                tile(
                    "Freshness budget left",
                    (BUDGET_LEFT, ""),
                    unit="percentunit",
                    note="0.1 % of 30 days may be late. Below 0: spent. Needs the chart's recording rules.",
                ),
                replace(THROUGH, note="The difference is dead letters, what is filtered, and what is on its way."),
                DEAD_LETTERS,
                tile(
                    "ClickHouse servers in use",
                    ('sum(max by (endpoint) (<gate_state state="open">))', "open"),
                    ("count(count by (endpoint) (<gate_state>))", "of"),
                    note="A server is in use while a pod has its gate open.",
                ),
                tile(
                    "Parts of the worst table",
                    (f"max({PARTS_DELAY})", ""),
                    unit="percentunit",
                    note="As part of the number at which ClickHouse delays inserts.",
                    alerts=(("PenstockPartsPressure", 0.6),),
                ),
                ROWS_MISSING,
                tile(
                    "Pods, members",
                    ("count(<build_info>)", "pods"),
                    ("max(<group_members>)", "members"),
                    note="Members are kafka.consumers for each pod.",
                ),
                replace(admin_panels.OLDEST_BACKUP, width=8),
                replace(admin_panels.FULLEST_DISK, width=8),
                replace(admin_panels.UNWELL, width=8),
            ),
        ),
        ("Flow", FLOW),
        (
            "Where the time is",
            (
                STAGES,
                WAITING,
                lines(
                    "Memory, as part of the budget",
                    ("max by (pod) (<memory_used_bytes> / <memory_budget_bytes>)", "{{pod}}"),
                    unit="percentunit",
                    alerts=(("PenstockMemoryBudgetFull", 0.85),),
                ),
                lines(
                    "Memory by what holds it",
                    ("sum by (component) (<memory_component_bytes>)", "{{component}}"),
                    ('sum(<memory_budget_bytes>)', "budget"),
                    note="Mostly open: many tables or partitions. Mostly sealed or sending: ClickHouse. fetched is beside the budget.",
                ),
                *BATCHES,
                lines("Draining at a revoke", (quantile(0.99, "rebalance_duration_seconds"), "p99")),
            ),
        ),
        ("ClickHouse", (*INSERTS, *REPLICAS, *SERVERS, *admin_panels.DISKS, admin_panels.MERGES)),
        (
            "Group and quality",
            (
                lines("Rebalances", rate("rebalances_total", "kind")),
                lines("Partitions by pod", ("sum by (pod) (<assigned_partitions>)", "{{pod}}"), stack="normal"),
                lines("Offset commits", rate("offset_commits_total", "outcome")),
                lines("Errors of the Kafka client", rate("kafka_errors_total", "kind")),
                *VERDICTS,
                REPAIRS,
                lines(
                    "States of the pods",
                    ("max by (pod, state) (<state>) > 0", "{{pod}} {{state}}"),
                    note="degraded: /health says what is not well.",
                ),
                lines(
                    "Time since a consumer loop turned",
                    ("time() - max by (pod) (<last_poll_timestamp_seconds>)", "{{pod}}"),
                    alerts=(("PenstockLoopStuck", 60),),
                ),
                lines(
                    "Configurations in force",
                    ("count(count by (hash) (<config_info> == 1))", "configurations"),
                    alerts=(("PenstockConfigSkew", 1),),
                ),
                lines("Reloads", (f"sum by (outcome) (increase(<config_reloads_total>{RATE}))", "{{outcome}}")),
            ),
        ),
    ),
)

TABLE = Board(
    "penstock-table",
    "penstock: one table",
    "One table and the topics that feed it. Servers and pods are on the dashboard of the fleet.",
    (
        (
            "Now",
            (
                replace(WORST_LAG, width=4),
                replace(THROUGH, width=5),
                tile("Bytes out", (f"sum(rate(<inserted_bytes_total>{RATE}))", ""), width=3),
                DEAD_LETTERS,
                ROWS_MISSING,
                tile(
                    "What is promised",
                    ("max by (level) (<delivery_level>) == 1", "{{level}}"),
                    width=6,
                    note="With exactly_once alone; the log of the start has the reasons.",
                ),
            ),
        ),
        ("Flow", FLOW),
        (
            "Batches",
            (
                STAGES,
                WAITING,
                *BATCHES,
                lines(
                    "Rows that a batch may have now",
                    ('max by (table) (<batch_limit limit="rows">)', "{{table}}"),
                    note="It grows while merges do not keep up.",
                ),
                lines(
                    "Inserts that may be sent now",
                    ('min by (table) (<batch_limit limit="in_flight">)', "at once {{table}}"),
                    ('min by (table) (<batch_limit limit="inserts_per_reading">)', "until the next look {{table}}"),
                    note="They fall while merges do not keep up.",
                ),
            ),
        ),
        ("ClickHouse", (*INSERTS, *REPLICAS)),
        ("Quality", (*VERDICTS, REPAIRS, lines("Bytes of dead letters", rate("dlq_bytes_total", "topic")))),
    ),
    {"table": "unknown_fields_total", "topic": "inserted_rows_total"},
)


def generate() -> dict[Path, str]:
    """What the files should hold, by path."""
    folder = CHART / "files" / "dashboards"
    return {
        folder / f"{board.uid.removeprefix('penstock-')}.json": grafana.make(board)
        for board in (FLEET, TABLE, admin_panels.ADMIN)
    }
