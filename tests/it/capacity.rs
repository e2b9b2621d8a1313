//! `penstock plan-capacity` against a run: what it says of the rate that is being published is what then happens.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Penstock, PenstockConfig, Servers, fresh_name, wait_for, wait_until};
use crate::scene::DEADLINE;

const ROWS_PER_S: f64 = 2000.0;
const PARTITIONS: f64 = 4.0;
/// Inserts that are waited for; their number is counted to one.
const INSERTS: f64 = 24.0;
/// Ratio up to which the plan and the run may differ: of rates, and of what merges leave.
const RATE_OFF_MAX: f64 = 1.2;
const PARTS_OFF_MAX: f64 = 4.0;

fn off(one: f64, other: f64) -> f64 {
    (one / other).max(other / one)
}

fn inserts(process: &Penstock) -> f64 {
    process.metric("penstock_insert_attempts_total", &["outcome=\"ok\""]).unwrap_or_default()
}

fn holds(delivery: &str, age: &str) {
    let servers = Servers::shared();
    let database = servers.clickhouse.fresh_database();
    let (tables, topic) = (TempDir::new().unwrap(), fresh_name("clicks"));
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/clicks/table.yaml");
    let table =
        fs::read_to_string(shipped).unwrap().replace("topics: [clicks]", &format!("topics: [{topic}]"));
    fs::create_dir(tables.path().join("clicks")).unwrap();
    fs::write(tables.path().join("clicks/table.yaml"), table).unwrap();
    let config = PenstockConfig::new(&servers.kafka, &[&servers.clickhouse], &database.name, tables.path())
        .set("delivery", delivery)
        .set("exactly_once.level_min", "at_least_once")
        .set("batch.age_max", age);
    let (code, log) = Penstock::output(&config, &["schema", "create"], DEADLINE);
    assert_eq!(code, Some(0), "{log}");
    let publish = ["generate", "clicks", "--topic", &topic, "--rate", "2000", "--count", "1000000"];
    let _producer = Penstock::start(&config, &publish);
    wait_until(DEADLINE, "records are published", || {
        servers.kafka.try_watermarks(&topic, 0).is_ok_and(|(_, next)| 0 < next)
    });
    let mut process = Penstock::run(&config);
    process.wait_ready();
    wait_until(DEADLINE, "it has caught up", || 3.0 < inserts(&process));

    let (begun, before) = (Instant::now(), inserts(&process));
    // A partition key takes in a month; so far it has the rows of about fifteen seconds.
    let arguments = ["plan-capacity", "--rows-per-s-per-core", "400000", "--window", "3s", "--pods-min", "1"];
    let more = ["--partition-key", "15s", "--output", "json"];
    let (code, log) = Penstock::output(&config, &[&arguments[..], &more].concat(), DEADLINE);
    assert_eq!(code, Some(0), "{log}");
    let plan: Value = serde_json::from_str(&log[log.find('{').unwrap()..]).unwrap();
    let planned = |name: &str| plan["tables"][0][name].as_f64().unwrap();
    let told = |process: &Penstock| {
        let now = inserts(process);
        (INSERTS <= now - before).then(|| (now - before) / begun.elapsed().as_secs_f64())
    };
    let parts_now = format!(
        "SELECT count() FROM system.parts WHERE active AND database = '{}' AND table = 'clicks'",
        database.name
    );
    let mut parts: f64 = 0.0;
    let measured = wait_for(DEADLINE + Duration::from_secs(60), "so many inserts", || {
        parts = parts.max(servers.clickhouse.value(&parts_now));
        told(&process)
    });
    eprintln!(
        "{delivery}, {age}: {:.0} rows/s planned for {ROWS_PER_S}; {:.2} inserts/s planned, {measured:.2} seen; \
         {:.0} parts planned, {parts} seen at most",
        planned("rows_per_s"),
        planned("inserts_per_s"),
        planned("parts_per_partition_key"),
    );
    assert_eq!(planned("partitions"), PARTITIONS);
    assert!(off(planned("rows_per_s"), ROWS_PER_S) < RATE_OFF_MAX, "{plan}");
    assert!(off(planned("inserts_per_s"), measured) < RATE_OFF_MAX, "{measured} inserts/s, planned {plan}");
    assert!(off(planned("parts_per_partition_key"), parts) < PARTS_OFF_MAX, "{parts} parts, planned {plan}");
    assert_eq!(plan["pods"], json!(1));
}

#[test]
fn the_inserts_and_parts_of_a_run_are_those_that_were_planned() {
    holds("at_least_once", "500ms");
}

#[test]
fn with_exactly_once_each_partition_has_inserts_of_its_own_as_planned() {
    holds("exactly_once", "1s");
}
