//! The metrics of what is left to do about tables: migrations, drift, rows past their age, holds, erasures.
//!
//! Refuses to compute anything, as `metrics.rs`, which it is a part of. None of them is there before somebody looked: 0
//! would be a lie.

use prometheus::IntGaugeVec;

use super::catalogue::Builder;

pub struct Upkeep {
    pub migrations: IntGaugeVec,
    pub migrations_altered: IntGaugeVec,
    pub migrations_running: IntGaugeVec,
    pub drift: IntGaugeVec,
    pub drift_compared: IntGaugeVec,
    pub ttl_drift: IntGaugeVec,
    pub expired_rows: IntGaugeVec,
    pub expired_bytes: IntGaugeVec,
    pub droppable_bytes: IntGaugeVec,
    pub held_bytes: IntGaugeVec,
    pub holds: IntGaugeVec,
    pub erasures: IntGaugeVec,
    pub oldest_erasure: IntGaugeVec,
    pub looked: IntGaugeVec,
}

impl Upkeep {
    pub(super) fn new(b: &Builder) -> Upkeep {
        let one = |name: &str, help: &str| b.gauge(name, help, &[]);
        let by_table = |name: &str, help: &str| b.gauge(name, help, &["table"]);
        Upkeep {
            migrations: b.gauge(
                "admin_migrations",
                "Migrations of the folder by how they stand: pending, applied, partial, failed, in_doubt",
                &["standing"],
            ),
            migrations_altered: one(
                "admin_migrations_altered",
                "Migrations that were run and whose file was changed afterwards or is gone",
            ),
            migrations_running: one(
                "admin_migrations_running",
                "1 while somebody has the lock of migrations",
            ),
            drift: one(
                "admin_schema_drift_objects",
                "Tables, views and dictionaries that were not as the migrations make them, when this process compared them",
            ),
            drift_compared: one(
                "admin_schema_drift_compared_timestamp_seconds",
                "When this process compared them last, in seconds since 1970",
            ),
            ttl_drift: one(
                "admin_lifecycle_drift_tables",
                "Tables with rules of age that are missing, or whose TTL is not that of their rules",
            ),
            expired_rows: by_table(
                "admin_lifecycle_expired_rows",
                "Rows that are past their age, still there, and not held",
            ),
            expired_bytes: by_table(
                "admin_lifecycle_expired_bytes",
                "Their bytes on disk, in proportion to the rows",
            ),
            droppable_bytes: by_table(
                "admin_lifecycle_droppable_bytes",
                "Of these the bytes in partitions that are over as a whole: `penstock lifecycle apply` drops them",
            ),
            held_bytes: by_table(
                "admin_lifecycle_held_bytes",
                "Bytes of rows that are past their age and stay, since they are held",
            ),
            holds: one("admin_legal_holds", "Legal holds that are in force"),
            erasures: b.gauge(
                "admin_erasures",
                "Subjects by how far their latest erasure is: received, deleted, verified",
                &["stage"],
            ),
            oldest_erasure: one(
                "admin_erasure_oldest_open_seconds",
                "Age of the oldest erasure that was not verified since; 0 without one",
            ),
            looked: b.gauge(
                "admin_upkeep_looked_timestamp_seconds",
                "When migrations, erasures, holds and lifecycle were looked at last, in seconds since 1970",
                &["what"],
            ),
        }
    }
}
