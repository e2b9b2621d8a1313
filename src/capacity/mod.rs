//! How much is needed for so many rows a second: cores, members, pods, memory, partitions, inserts, parts and disk.
//!
//! Refuses to measure and to ask: rates, sizes and the throughput of a core are told. Every formula stands in
//! docs/capacity.md with its reason, and what the plan rests on is in the plan, so that it can be checked.

mod inserts;

use serde::Serialize;

use inserts::Batches;

/// Rows for one table.
#[derive(Clone, Debug)]
pub struct Demand {
    pub table: String,
    pub rows_per_s: f64,
    /// Partitions of the topics that fill it.
    pub partitions: u32,
    /// Bytes of a row's columns, before compression.
    pub row_bytes: f64,
    /// Bytes of a row on ClickHouse's disk.
    pub row_disk_bytes: f64,
    /// How long rows are kept.
    pub retention_s: f64,
    /// Partition keys of the table that a batch touches; each becomes a part.
    pub partition_keys: u32,
    /// Time that one partition key takes in rows.
    pub partition_key_s: f64,
    /// Parts of a partition key from which inserts are delayed.
    pub parts_to_delay: u64,
}

/// What rows are written with.
#[derive(Clone, Debug)]
pub struct Means {
    pub rows_per_s_per_core: f64,
    /// Part of a core that may be used in quiet times; the rest catches up after an outage.
    pub load_max: f64,
    /// Members in each pod.
    pub consumers: u32,
    pub pods_min: u32,
    /// Whether a batch is of one partition.
    pub is_exactly_once: bool,
    pub batch_rows_max: f64,
    pub batch_bytes_max: f64,
    pub batch_age_max_s: f64,
    pub in_flight_max: f64,
    /// The configured budget, and what of it Kafka's client fetches ahead.
    pub budget_bytes: f64,
    pub prefetch_bytes: f64,
    /// Percent of a pod's memory limit that the budget is.
    pub budget_percent: f64,
    /// Copies of each row.
    pub replicas: u32,
    /// Part of a disk that may be full.
    pub disk_fill_max: f64,
}

/// What is needed.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    pub rows_per_s: f64,
    /// Busy at this rate, without room to catch up.
    pub cores_busy: f64,
    pub cores: f64,
    pub members: u32,
    pub pods: u32,
    pub cores_per_pod: f64,
    /// Bytes that rows and bodies of a pod take at this rate; the budget must be larger.
    pub budget_needed_bytes: f64,
    pub memory_limit_bytes: f64,
    pub partitions_min: u32,
    /// Seconds that an hour's backlog takes to be caught up.
    pub catch_up_of_an_hour_s: f64,
    pub inserts_per_s: f64,
    pub disk_bytes: f64,
    pub tables: Vec<TablePlan>,
    pub hints: Vec<String>,
}

/// What one table gets.
#[derive(Clone, Debug, Serialize)]
pub struct TablePlan {
    pub table: String,
    pub rows_per_s: f64,
    pub partitions: u32,
    /// What closes its batches: age, rows or bytes.
    pub closed_by: &'static str,
    pub rows_per_insert: f64,
    pub inserts_per_s: f64,
    pub parts_per_s: f64,
    /// Parts of a partition key while merges keep up, roughly.
    pub parts_per_partition_key: f64,
    /// How long merges may stand still before inserts are delayed.
    pub merges_may_stop_s: f64,
    /// Of one copy, with the room that merges need.
    pub disk_bytes: f64,
}

/// Members that share the partitions: more than there are partitions have nothing to do.
fn members_for(rows_per_s: f64, means: &Means) -> f64 {
    (rows_per_s / (means.rows_per_s_per_core * means.load_max)).ceil().max(1.0)
}

/// What is needed for these tables.
pub fn plan(demands: &[Demand], means: &Means) -> Plan {
    let rows_per_s: f64 = demands.iter().map(|demand| demand.rows_per_s).sum();
    let cores_busy = rows_per_s / means.rows_per_s_per_core;
    let cores = cores_busy / means.load_max;
    let consumers = f64::from(means.consumers.max(1));
    let wanted = members_for(rows_per_s, means);
    let pods = (wanted / consumers).ceil().max(f64::from(means.pods_min));
    let members = pods * consumers;
    let largest = demands.iter().map(|demand| demand.partitions).max().unwrap_or(1);
    // Members beyond the partitions of all topics get none.
    let partitions: f64 = demands.iter().map(|demand| f64::from(demand.partitions)).sum();
    let batches = Batches { means, members: members.min(partitions.max(1.0)) };
    let tables: Vec<TablePlan> = demands.iter().map(|demand| batches.table(demand)).collect();
    let budget_needed_bytes = budget(demands, means, members);
    let spare = members * means.rows_per_s_per_core / rows_per_s - 1.0;
    let mut plan = Plan {
        rows_per_s,
        cores_busy,
        cores,
        members: whole(members),
        pods: whole(pods),
        cores_per_pod: cores / pods,
        budget_needed_bytes,
        memory_limit_bytes: means.budget_bytes.max(budget_needed_bytes) * 100.0 / means.budget_percent,
        partitions_min: whole(members),
        catch_up_of_an_hour_s: if spare > 0.0 { 3600.0 / spare } else { f64::INFINITY },
        inserts_per_s: tables.iter().map(|table| table.inserts_per_s).sum(),
        disk_bytes: tables.iter().map(|table| table.disk_bytes).sum::<f64>()
            * f64::from(means.replicas.max(1)),
        tables,
        hints: Vec::new(),
    };
    plan.hints = hints(&plan, means, largest);
    plan
}

/// Rows of a batch that is collected, one that is encoded beside its body, and those on their way, in each pod.
fn budget(demands: &[Demand], means: &Means, members: f64) -> f64 {
    let consumers = f64::from(means.consumers.max(1));
    let held: f64 = demands
        .iter()
        .map(|demand| {
            let bytes_per_s = demand.rows_per_s / members * consumers * demand.row_bytes;
            // Collected until it is closed, then held once more for as long as an insert takes at worst.
            let batch = (bytes_per_s * means.batch_age_max_s).min(means.batch_bytes_max * consumers);
            batch * (1.0 + means.in_flight_max.min(2.0))
        })
        .sum();
    held + means.prefetch_bytes
}

fn hints(plan: &Plan, means: &Means, largest_topic_partitions: u32) -> Vec<String> {
    let mut hints = Vec::new();
    let mut say = |is_so: bool, words: String| {
        if is_so {
            hints.push(words);
        }
    };
    say(
        plan.members > largest_topic_partitions,
        format!(
            "{} members, and no topic has more than {largest_topic_partitions} partitions: the others would idle; \
             more partitions, or fewer pods with a faster core",
            plan.members
        ),
    );
    say(
        plan.budget_needed_bytes > means.budget_bytes,
        format!(
            "a pod holds {:.0} MiB at this rate, more than memory.budget ({:.0} MiB): raise it",
            mib(plan.budget_needed_bytes),
            mib(means.budget_bytes)
        ),
    );
    say(
        plan.catch_up_of_an_hour_s > 3600.0,
        format!(
            "an hour's backlog takes {:.1} hours to be caught up: a lower --load-max leaves more room",
            plan.catch_up_of_an_hour_s / 3600.0
        ),
    );
    for table in &plan.tables {
        say(
            table.parts_per_s > inserts::PARTS_PER_S_MAX,
            format!(
                "{}: {:.1} parts a second are more than merges are known to keep up with ({}): raise batch.age_max, \
                 or let a batch touch fewer partition keys",
                table.table,
                table.parts_per_s,
                inserts::PARTS_PER_S_MAX
            ),
        );
        say(
            table.rows_per_insert < inserts::ROWS_PER_INSERT_MIN && table.inserts_per_s > 1.0,
            format!(
                "{}: {:.0} rows in each insert, and more than one a second: raise batch.age_max",
                table.table, table.rows_per_insert
            ),
        );
        say(
            table.merges_may_stop_s < 60.0,
            format!(
                "{}: if merges stand still, inserts are delayed after {:.0} s: fewer partition keys in a batch, or \
                 older batches",
                table.table, table.merges_may_stop_s
            ),
        );
    }
    hints
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

/// A count; what is too large for one saturates.
fn whole(count: f64) -> u32 {
    // Bounded on both sides, so nothing is cut.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let count = count.ceil().clamp(0.0, f64::from(u32::MAX)) as u32;
    count
}

#[cfg(test)]
mod tests;
