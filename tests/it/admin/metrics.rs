//! What the admin process tells Prometheus from its first moment on.
//!
//! It refuses to know how: a counter that is not there at zero hides its first event from `rate`.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Admin, DEADLINE};
use crate::harness::wait_until;

/// What is not there without a backup, a certificate, a key ring, a rule of age, a comparison or a second look.
const LATER: [&str; 24] = [
    "penstock_admin_backup_age_max_seconds",
    "penstock_admin_backup_chain_length",
    "penstock_admin_backup_damaged",
    "penstock_admin_backup_last_duration_seconds",
    "penstock_admin_backup_last_new_bytes",
    "penstock_admin_backup_last_success_timestamp_seconds",
    "penstock_admin_backup_last_total_bytes",
    "penstock_admin_backup_restore_drill_duration_seconds",
    "penstock_admin_backup_runs_total",
    "penstock_admin_backup_stored",
    "penstock_admin_backup_verified_timestamp_seconds",
    "penstock_admin_cert_not_after_timestamp_seconds",
    "penstock_admin_clickhouse_query_mean_seconds",
    "penstock_admin_clickhouse_table_bytes",
    "penstock_admin_clickhouse_table_rows",
    "penstock_admin_key_age_seconds",
    "penstock_admin_lifecycle_drift_tables",
    "penstock_admin_lifecycle_droppable_bytes",
    "penstock_admin_lifecycle_expired_bytes",
    "penstock_admin_lifecycle_expired_rows",
    "penstock_admin_lifecycle_held_bytes",
    "penstock_admin_revoked_tokens",
    "penstock_admin_schema_drift_compared_timestamp_seconds",
    "penstock_admin_schema_drift_objects",
];

#[test]
fn a_fresh_admin_process_has_every_family_and_its_counters_at_zero() {
    let schedule = json!([{"name": "nightly", "what": "migrate verify", "every": "1h"}]);
    let admin = Admin::start_with(|config| config.set("admin.schedules", schedule));
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    let wanted: BTreeSet<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| name.starts_with("penstock_admin_") && !LATER.contains(name))
        .collect();
    assert!(wanted.len() > 20, "{wanted:?}");
    let mut text = String::new();
    wait_until(DEADLINE, "everything was looked at once", || {
        text = admin.process.metrics().unwrap_or_default();
        wanted.iter().all(|name| text.contains(&format!("# TYPE {name} ")))
    });
    let has = |series: &str| assert!(text.contains(series), "{series} is missing:\n{text}");
    has("penstock_admin_requests_total{action=\"table.sizes\",status=\"500\"} 0");
    has("penstock_admin_request_duration_seconds_count{action=\"health.show\"} 0");
    has("penstock_admin_auth_failures_total{reason=\"revoked\"} 0");
    has("penstock_admin_authz_denied_total{action=\"schedule.run\"} 0");
    has("penstock_admin_schedule_runs_total{outcome=\"failed\",schedule=\"nightly\"} 0");
    has("penstock_admin_schedule_info{command=\"migrate verify\",policy=\"\",schedule=\"nightly\"} 1");
    has("penstock_admin_migration_duration_seconds_count{direction=\"down\"} 0");
    has("penstock_admin_query_coalesced_total{action=\"table.sizes\"} 0");
    has("penstock_admin_schedule_missed_total{schedule=\"nightly\"} 0");
    has("penstock_admin_jobs_total{action=\"schedule.run\",outcome=\"failed\"} 0");
    has("penstock_admin_webhooks_total{outcome=\"dropped\"} 0");
    has("penstock_admin_audit_records_total{phase=\"refused\"} 0");
    has("penstock_admin_audit_chain_ok 1");
    has("process_resident_memory_bytes ");

    let before = |series: &str| admin.process.metric(series, &[]).unwrap_or_default();
    let answer = admin.ask("GET", "/v1/health", "no token", &json!({}));
    assert_eq!(answer.status, 401);
    assert_eq!(before("penstock_admin_auth_failures_total"), 1.0);
}
