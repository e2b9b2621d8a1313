//! The metrics of backups, one set for each policy; those that were made by hand have an empty one.
//!
//! Refuses to compute anything, as `metrics.rs`, which it is a part of.

use prometheus::{IntCounterVec, IntGaugeVec};

use super::catalogue::Builder;

pub struct Backup {
    pub runs: IntCounterVec,
    pub last_success: IntGaugeVec,
    pub last_duration: IntGaugeVec,
    pub last_bytes: IntGaugeVec,
    pub last_new_bytes: IntGaugeVec,
    pub chain_length: IntGaugeVec,
    pub stored: IntGaugeVec,
    pub verified: IntGaugeVec,
    pub drill_duration: IntGaugeVec,
    pub age_max: IntGaugeVec,
    pub damaged: IntGaugeVec,
}

impl Backup {
    pub(super) fn new(b: &Builder) -> Backup {
        Backup {
            runs: b.counter(
                "admin_backup_runs_total",
                "Backups by kind, full or incremental, that ended: ok, error, cancelled",
                &["policy", "kind", "outcome"],
            ),
            last_success: b.gauge(
                "admin_backup_last_success_timestamp_seconds",
                "When the last good backup was begun, in seconds since 1970",
                &["policy"],
            ),
            last_duration: b.gauge(
                "admin_backup_last_duration_seconds",
                "Seconds that the last good backup took",
                &["policy"],
            ),
            last_bytes: b.gauge(
                "admin_backup_last_total_bytes",
                "Bytes of everything in the last good backup",
                &["policy"],
            ),
            last_new_bytes: b.gauge(
                "admin_backup_last_new_bytes",
                "Bytes that the last good backup added",
                &["policy"],
            ),
            chain_length: b.gauge(
                "admin_backup_chain_length",
                "Incremental backups on the last full one",
                &["policy"],
            ),
            stored: b.gauge("admin_backup_stored", "Backups that are kept", &["policy"]),
            verified: b.gauge(
                "admin_backup_verified_timestamp_seconds",
                "When a backup was last verified and found sound, in seconds since 1970",
                &["policy"],
            ),
            age_max: b.gauge(
                "admin_backup_age_max_seconds",
                "Age that the newest good backup may have, as configured for the policy",
                &["policy"],
            ),
            damaged: b.gauge(
                "admin_backup_damaged",
                "Backups that are kept and were found damaged, or need one that was",
                &["policy"],
            ),
            drill_duration: b.gauge(
                "admin_backup_restore_drill_duration_seconds",
                "Seconds that the last restore for a look took, with the comparison of all rows",
                &["policy"],
            ),
        }
    }
}
