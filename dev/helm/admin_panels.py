"""What the dashboard of the admin process shows: backups, schedules, the servers, and who asks for what.

Knows nothing of Grafana, as `panels`.
"""

from __future__ import annotations

from grafana import Board, Panel
from parts import RATE, lines, rate, tile

BACKUP_AGE = "time() - max by (policy) (<admin_backup_last_success_timestamp_seconds>)"
DISK_FREE = "min by (host, disk) (<admin_clickhouse_disk_free_bytes> / <admin_clickhouse_disk_bytes>)"
DISK_IN_A_DAY = (
    "min by (host, disk) (<admin_clickhouse_disk_free_bytes> + 4 * delta(<admin_clickhouse_disk_free_bytes>[6h]))"
)

OLDEST_BACKUP = tile(
    "Oldest of the newest backups",
    (f"max({BACKUP_AGE})", ""),
    unit="s",
    note="By policy it is on the dashboard of the admin process. Nothing here means that no backup is known.",
)
FULLEST_DISK = tile(
    "Fullest disk, free", (f"min({DISK_FREE})", ""), unit="percentunit", note="PenstockDiskNearlyFull below 10 %."
)
UNWELL = tile(
    "Checks that are not ok",
    ('sum(max by (check, state) (<admin_health state!="ok">))', ""),
    note="`penstock health` says in sentences what they are.",
)
DISKS = (
    lines(
        "Disks, free part",
        (DISK_FREE, "{{host}} {{disk}}"),
        unit="percentunit",
        note="PenstockDiskNearlyFull below 10 %.",
    ),
    lines(
        "Disks, free in a day",
        (DISK_IN_A_DAY, "{{host}} {{disk}}"),
        unit="bytes",
        note="By the course of six hours; below 0 it is full by then (PenstockDiskWillFill).",
    ),
)
MERGES = lines(
    "Merges and mutations",
    ("max by (host) (<admin_clickhouse_merges>)", "merges {{host}}"),
    ("max by (host) (<admin_clickhouse_mutations>)", "mutations {{host}}"),
)
NOW = (
    OLDEST_BACKUP,
    tile(
        "Damaged backups",
        ("sum(max by (policy) (<admin_backup_damaged>))", ""),
        alerts=(("PenstockBackupDamaged", 0),),
    ),
    tile(
        "Since one was proven sound",
        ("max(time() - max by (policy) (<admin_backup_verified_timestamp_seconds>))", ""),
        unit="s",
        alerts=(("PenstockBackupUnverified", 691200),),
    ),
    FULLEST_DISK,
    UNWELL,
    tile(
        "Leaders",
        ("sum(<admin_leader>)", ""),
        note="One, where something is scheduled.",
        alerts=(("PenstockAdminTwoLeaders", 1),),
    ),
    tile(
        "Runs that failed or were missed, 1 d",
        ('sum(increase(<admin_schedule_runs_total outcome="failed">[1d]))', "failed"),
        ("sum(increase(<admin_schedule_missed_total>[1d]))", "missed"),
        unit="short",
    ),
    tile("Processes", ("count(<build_info>)", "processes")),
)
BACKUPS = (
    lines(
        "Age of the newest good backup",
        (BACKUP_AGE, "{{policy}}"),
        ("max by (policy) (<admin_backup_age_max_seconds>)", "allowed {{policy}}"),
        unit="s",
        note="PenstockBackupMissing where a line is above its bound, or has none.",
    ),
    lines(
        "Bytes of the newest",
        ("max by (policy) (<admin_backup_last_total_bytes>)", "all {{policy}}"),
        ("max by (policy) (<admin_backup_last_new_bytes>)", "new {{policy}}"),
        note="One that is much smaller than those before lacks tables.",
    ),
    lines(
        "Time that it took",
        ("max by (policy) (<admin_backup_last_duration_seconds>)", "{{policy}}"),
        ("max by (policy) (<admin_backup_restore_drill_duration_seconds>)", "restored {{policy}}"),
    ),
    lines(
        "Backups that are kept, and length of the chain",
        ("max by (policy) (<admin_backup_stored>)", "kept {{policy}}"),
        ("max by (policy) (<admin_backup_chain_length>)", "chain {{policy}}"),
    ),
    lines(
        "Backups by outcome",
        (
            f"sum by (policy, kind, outcome) (increase(<admin_backup_runs_total>{RATE}))",
            "{{policy}} {{kind}} {{outcome}}",
        ),
        unit="short",
    ),
)
SCHEDULES = (
    lines(
        "Runs of schedules",
        (f"sum by (schedule, outcome) (increase(<admin_schedule_runs_total>{RATE}))", "{{schedule}} {{outcome}}"),
        unit="short",
        note="failed: PenstockScheduleFailed. skipped: one was still under way.",
    ),
    lines(
        "Due times without a run",
        (f"sum by (schedule) (increase(<admin_schedule_missed_total>{RATE}))", "{{schedule}}"),
        unit="short",
    ),
    lines(
        "Jobs",
        (f"sum by (action, outcome) (increase(<admin_jobs_total>{RATE}))", "{{action}} {{outcome}}"),
        unit="short",
    ),
    lines("Who leads", ("max by (pod) (<admin_leader>)", "{{pod}}")),
    Panel("table", "What is scheduled", (("max by (schedule, command, policy) (<admin_schedule_info>)", ""),)),
)
UPKEEP = (
    lines(
        "Migrations that are not applied",
        ('max by (standing) (<admin_migrations standing!="applied">)', "{{standing}}"),
        ("max(<admin_migrations_altered>)", "file altered"),
        note="partial, failed, in_doubt for long and nobody migrates: PenstockMigrationUnfinished.",
    ),
    lines(
        "Time that migrations took, mean",
        (
            "sum by (direction) (increase(<admin_migration_duration_seconds_sum>[1d]))"
            " / sum by (direction) (increase(<admin_migration_duration_seconds_count>[1d]))",
            "{{direction}}",
        ),
        note="Those of this process; what the command line or the chart's job ran is in the journal.",
    ),
    lines(
        "Definitions that differ",
        ("max by (pod) (<admin_schema_drift_objects>)", "tables {{pod}}"),
        ("max(<admin_lifecycle_drift_tables>)", "TTLs"),
        note="Tables: since `migrate drift` was run last, by pod. TTLs: `penstock lifecycle drift`.",
        alerts=(("PenstockSchemaDrift", 0),),
    ),
    lines(
        "Bytes past their age",
        ("max by (table) (<admin_lifecycle_expired_bytes>)", "{{table}}"),
        ("max by (table) (<admin_lifecycle_droppable_bytes>)", "whole partitions {{table}}"),
        ("max by (table) (<admin_lifecycle_held_bytes>)", "held {{table}}"),
        note="Whole partitions that are there for more than a day: PenstockRetentionOverdue.",
    ),
    lines("Rows past their age", ("max by (table) (<admin_lifecycle_expired_rows>)", "{{table}}")),
    lines(
        "Subjects that are to be erased, and holds",
        ('max by (stage) (<admin_erasures stage!="verified">)', "{{stage}}"),
        ("max(<admin_legal_holds>)", "holds"),
        unit="short",
    ),
    lines(
        "Oldest erasure that is not verified",
        ("max(<admin_erasure_oldest_open_seconds>)", "age"),
        alerts=(("PenstockErasureOverdue", 14400),),
    ),
    lines(
        "Since it was looked at",
        ("time() - max by (what) (<admin_upkeep_looked_timestamp_seconds>)", "{{what}}"),
        unit="s",
        note="By the process that leads. A line that ends cannot be looked at; the log says why.",
    ),
)
SERVERS = (
    *DISKS,
    lines("Smallest query", ("max by (host) (<admin_clickhouse_probe_seconds>)", "{{host}}")),
    lines("Mean time of the queries", ("max by (host) (<admin_clickhouse_query_mean_seconds>)", "{{host}}")),
    lines(
        "Queries and connections",
        ("max by (host) (<admin_clickhouse_queries>)", "queries {{host}}"),
        ("max by (host, protocol) (<admin_clickhouse_connections>)", "{{protocol}} {{host}}"),
    ),
    lines("Parts", ("max by (host) (<admin_clickhouse_parts>)", "{{host}}"), note="Of all tables."),
    MERGES,
    lines(
        "Replica that is furthest behind",
        ("max by (host) (<admin_clickhouse_replica_delay_seconds>)", "{{host}}"),
        alerts=(("PenstockServerReplicaLate", 300),),
    ),
)
ACCESS = (
    lines(
        "Requests by answer",
        rate("admin_requests_total", "status"),
        stack="normal",
        note="401 and 403 in number: somebody tries.",
    ),
    Panel(
        "table",
        "What is asked for most",
        ((f"topk(20, sum by (action, status) (rate(<admin_requests_total>{RATE})))", ""),),
    ),
    lines("Requests that another one answered", rate("admin_query_coalesced_total", "action")),
    lines("Tokens that were taken back", ("max(<admin_revoked_tokens>)", "tokens")),
    lines("Age of the newest key", ("max by (purpose) (<admin_key_age_seconds>)", "{{purpose}}")),
    lines("Checks that are not ok", ('max by (check, state) (<admin_health state!="ok">) > 0', "{{check}} {{state}}")),
    lines(
        "Told to the webhook",
        (f"sum by (outcome) (increase(<admin_webhooks_total>{RATE}))", "{{outcome}}"),
        unit="short",
    ),
)

ADMIN = Board(
    "penstock-admin",
    "penstock: admin",
    "The admin process of one release: backups, schedules, servers, requests. Runbooks: docs/runbooks.",
    (
        ("Now", NOW),
        ("Backups", BACKUPS),
        ("Schedules and jobs", SCHEDULES),
        ("What is left to do", UPKEEP),
        ("Servers", SERVERS),
        ("Requests and health", ACCESS),
    ),
    is_admin=True,
)
