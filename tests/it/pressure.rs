//! Merge pressure on a real server: tables with small limits of parts, floods of tiny batches, many partition keys.
//!
//! The servers of the flood are private, since what is counted there (delayed and refused inserts) is counted for
//! the whole server.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{ClickHouse, Penstock, Servers, wait_until};
use crate::scene::{DEADLINE, PARTITIONS, Scene, events_table};

const DELAY_AT: u64 = 30;
const THROW_AT: u64 = 50;
/// Above this nothing at all is sent.
const STOP_AT: u64 = THROW_AT * 4 / 5;
/// How long the flood lasts while the server merges, in seconds, and its rows per second: a hundred inserts if
/// batches stayed as they are configured.
const FLOOD_S: u64 = 15;
const FLOOD_ROWS_PER_SECOND: u64 = 1_000;

/// A flood of batches of at most 10 rows and 50 ms into a table that takes 50 parts.
fn flooded(servers: &Servers, ch: &ClickHouse) -> Scene {
    let settings =
        format!("settings: {{parts_to_delay_insert: {DELAY_AT}, parts_to_throw_insert: {THROW_AT}}}\n");
    let mut scene = Scene::with_table(&servers.kafka, ch, |topic| events_table(topic, &settings));
    scene.config = scene
        .config
        .set("batch.age_max", "50ms")
        .set("batch.rows_max", 10)
        .set("batch.pressure.interval", "1s")
        .set("batch.pressure.age_max", "500ms");
    scene
}

fn parts(scene: &Scene) -> u64 {
    let database = &scene.database.name;
    scene.ch.value(&format!("SELECT count() FROM system.parts WHERE active AND database = '{database}'"))
}

/// Inserts that the server has refused for their parts, and those it has delayed.
fn refused_and_delayed(ch: &ClickHouse) -> (u64, u64) {
    let refused = "SELECT (SELECT sum(value) FROM system.errors WHERE name = 'TOO_MANY_PARTS') \
        + (SELECT sum(value) FROM system.events WHERE event = 'RejectedInserts')";
    let delayed = "SELECT sum(value) FROM system.events WHERE event = 'DelayedInserts'";
    (ch.value(refused), ch.value(delayed))
}

fn state(process: &Penstock, name: &str) -> bool {
    process.metric("penstock_pressure_state", &[&format!("state=\"{name}\"")]) == Some(1.0)
}

#[test]
fn a_flood_of_tiny_batches_is_never_refused_for_its_parts() {
    let (servers, ch) = (Servers::shared(), ClickHouse::start_private());
    let mut scene = flooded(servers, &ch);
    let rate = json!({ "events": { "records_per_second": FLOOD_ROWS_PER_SECOND } });
    scene.config = scene.config.set("limits.tables", rate);
    scene.publish(FLOOD_S * FLOOD_ROWS_PER_SECOND / u64::from(PARTITIONS.unsigned_abs()));
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    let (start, mut most) = (Instant::now(), 0);
    wait_until(Duration::from_secs(FLOOD_S) + DEADLINE, "the flood is over", || {
        most = most.max(parts(&scene));
        scene.landed() == scene.published()
    });
    scene.expect_all(DEADLINE);
    let (refused, delayed) = refused_and_delayed(&ch);
    let inserts = process.metric("penstock_insert_attempts_total", &[]).unwrap_or(0.0);
    eprintln!(
        "{} rows in {:?}, {inserts} inserts, {most} parts at most, {refused} refused, {delayed} delayed, {} failed",
        scene.published(),
        start.elapsed(),
        process.metric("penstock_insert_retries_total", &[]).unwrap_or(0.0),
    );
    assert_eq!(refused, 0);
    assert!(most < THROW_AT, "{most} parts");
    assert_eq!(scene.sql("count() - uniqExact(_partition, _offset)"), "0", "nothing is there twice");
    for (name, labels) in [
        ("ch_parts_limit", &["limit=\"delay\""][..]),
        ("ch_max_parts_per_partition", &[]),
        ("batch_limit", &["limit=\"rows\""]),
        ("group_members", &[]),
    ] {
        let value = process.metric(&format!("penstock_{name}"), labels);
        assert!(value.is_some_and(|value| 0.0 < value), "{name}: {value:?}");
    }
}

#[test]
fn without_merges_rows_wait_in_kafka_and_land_when_merges_are_back() {
    let (servers, ch) = (Servers::shared(), ClickHouse::start_private());
    let mut scene = flooded(servers, &ch);
    let table = format!("{}.events", scene.database.name);
    ch.query(&format!("SYSTEM STOP MERGES {table}"));
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    wait_until(DEADLINE, "nothing is sent any more", || {
        scene.publish(20);
        parts(&scene) == STOP_AT
    });
    wait_until(DEADLINE, "health says that inserts wait for merges", || {
        process
            .health()
            .is_some_and(|(status, text)| status == 200 && text.contains("inserts wait for merges"))
    });
    scene.publish(2_000);
    assert!(state(&process, "throttled"));
    assert_eq!(parts(&scene), STOP_AT);
    assert!(scene.landed() <= scene.published() - 8_000, "rows wait in Kafka");
    ch.query(&format!("SYSTEM START MERGES {table}"));
    scene.expect_all(DEADLINE);
    scene.expect_committed(DEADLINE);
    assert_eq!(refused_and_delayed(&ch).0, 0);
    wait_until(DEADLINE, "the table is at ease again", || !state(&process, "throttled"));
}

#[test]
fn a_batch_of_many_partition_keys_is_sent_in_pieces_and_nothing_is_lost_or_doubled() {
    let servers = Servers::shared();
    let mut scene = Scene::with_table(&servers.kafka, &servers.clickhouse, |topic| {
        events_table(topic, "partition_by: n\n")
    });
    // ClickHouse takes at most 100 in one insert.
    scene.ch.query(&format!("ALTER TABLE {}.events ADD CONSTRAINT c CHECK n != 123", scene.database.name));
    scene.config = scene.config.set("batch.age_max", "2s");
    scene.publish(240);
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    wait_until(DEADLINE, "all rows but the guilty ones are there", || scene.landed() == 4 * 239);
    scene.expect_committed(DEADLINE);
    assert_eq!(scene.sql("count(), countIf(n = 123)"), "956\t0");
    assert_eq!(scene.kafka.read_all(&scene.dead_topic()).len(), 4);
    let keys = process.metric("penstock_batch_partition_keys_sum", &[]).unwrap();
    assert!(240.0 <= keys, "{keys}");
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0));
    assert!(!process.log().contains("partitions for single INSERT"), "{}", process.log());
}
