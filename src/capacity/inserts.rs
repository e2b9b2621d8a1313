//! How many inserts and parts come of so many rows a second.
//!
//! Refuses to know how batches adapt to pressure: it is the course without any.

use super::{Demand, Means, TablePlan};

/// What ClickHouse's documentation calls reasonable is one insert a second; this is where trouble is usual.
pub const PARTS_PER_S_MAX: f64 = 10.0;
/// Below this an insert costs more than its rows.
pub const ROWS_PER_INSERT_MIN: f64 = 1000.0;
/// Parts that the simple selector of merges joins at a time, as measured; see docs/capacity.md.
const MERGE_FAN_IN: f64 = 8.0;
/// Parts that are new and not looked at yet.
const MERGE_LATENCY_S: f64 = 1.0;
/// Room for the largest merges beside what they replace.
const MERGE_ROOM: f64 = 1.2;

/// How batches are collected.
pub struct Batches<'a> {
    pub means: &'a Means,
    pub members: f64,
}

impl Batches<'_> {
    /// A batch begins with its first row, so that the time between two is the age and the wait for that row.
    fn closed_after_s(&self, rows_per_s: f64, row_bytes: f64) -> (f64, &'static str) {
        let by = [
            (self.means.batch_age_max_s + 1.0 / rows_per_s, "age"),
            (self.means.batch_rows_max / rows_per_s, "rows"),
            (self.means.batch_bytes_max / (rows_per_s * row_bytes.max(1.0)), "bytes"),
        ];
        by.into_iter().fold((f64::INFINITY, "age"), |least, one| if one.0 < least.0 { one } else { least })
    }

    pub fn table(&self, demand: &Demand) -> TablePlan {
        let partitions = f64::from(demand.partitions.max(1));
        // With exactly_once each partition has batches of its own; otherwise each member has.
        let sources = if self.means.is_exactly_once { partitions } else { self.members.min(partitions) };
        let of_one = demand.rows_per_s / sources;
        let (seconds, closed_by) = self.closed_after_s(of_one, demand.row_bytes);
        let inserts_per_s = sources / seconds;
        let rows_per_insert = of_one * seconds;
        let keys = f64::from(demand.partition_keys.max(1));
        let parts_per_s = inserts_per_s * keys;
        let disk_bytes = demand.rows_per_s * demand.retention_s * demand.row_disk_bytes;
        let rows_per_key = demand.rows_per_s / keys * demand.partition_key_s.min(demand.retention_s);
        TablePlan {
            table: demand.table.clone(),
            rows_per_s: demand.rows_per_s,
            partitions: demand.partitions,
            closed_by,
            rows_per_insert,
            inserts_per_s,
            parts_per_s,
            parts_per_partition_key: parts(rows_per_key, rows_per_insert / keys, parts_per_s / keys),
            merges_may_stop_s: precise(demand.parts_to_delay) / (parts_per_s / keys),
            disk_bytes: disk_bytes * MERGE_ROOM / self.means.disk_fill_max,
        }
    }
}

/// Half of the parts of each level are there on average, and those that are new.
fn parts(rows_of_key: f64, rows_of_part: f64, parts_per_s: f64) -> f64 {
    let levels = (rows_of_key / rows_of_part.max(1.0)).max(1.0).ln() / MERGE_FAN_IN.ln();
    1.0 + levels * (MERGE_FAN_IN - 1.0) / 2.0 + parts_per_s * MERGE_LATENCY_S
}

fn precise(count: u64) -> f64 {
    // Far below 2^53.
    #[allow(clippy::cast_precision_loss)]
    let count = count as f64;
    count
}
