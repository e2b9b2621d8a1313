//! Who was erased does not come back: not by reading topics again, not by a letter that is replayed, and not after a
//! restore; and what they publish later is theirs again.
//!
//! It refuses to know how the line remembers; what counts is the table, the account of offsets, and the metric.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{ClickHouse, Kafka, Message, Penstock, Servers, wait_until};
use crate::scene::{DEADLINE, Scene, events_table};

/// Events whose number is who they are of.
fn scene(kafka: &Kafka, ch: &ClickHouse, delivery: &str) -> Scene {
    let more = "subject_columns: [n]\nsettings: {non_replicated_deduplication_window: 10000}\n";
    let mut scene = Scene::with_table(kafka, ch, |topic| events_table(topic, more));
    scene.config = scene
        .config
        .set("delivery", delivery)
        .set("lifecycle.erasure_grace", "0ms")
        .set("lifecycle.erasures_refresh", "100ms");
    scene
}

fn erase(scene: &Scene, n: u64) {
    scene.call(&["erase", "--subject", &format!("n={n}"), "--reason", "request"]);
}

/// Rows, those of subject 7, and how many others there are.
fn rows(scene: &Scene) -> String {
    scene.sql("count(), countIf(n = 7), uniqExactIf((_partition, _offset), n != 7)")
}

fn account(scene: &Scene) -> Value {
    let log = scene.call(&["--log", "off", "audit-rows", "--deep", "--output", "json"]);
    serde_json::from_str(&log).unwrap_or_else(|error| panic!("{error}: {log}"))
}

fn comes_back_by_no_way(delivery: &str) {
    let servers = Servers::shared();
    let mut scene = scene(&servers.kafka, &servers.clickhouse, delivery);
    let table = format!("{}.events", scene.database.name);
    scene.ch.query(&format!("ALTER TABLE {table} ADD CONSTRAINT c CHECK text != 'refuse me'"));
    scene.publish(1_000);
    // Two letters, one of them of the subject.
    for n in [7, 2_000] {
        scene.kafka.produce(&scene.topic, 0, [format!("{{\"n\":{n},\"text\":\"refuse me\"}}")]);
    }
    scene.run_to_end();
    assert_eq!(rows(&scene), "4000\t4\t3996");
    assert_eq!(scene.kafka.read_all(&scene.dead_topic()).len(), 2);
    erase(&scene, 7);
    assert_eq!(rows(&scene), "3996\t0\t3996");
    let found = account(&scene);
    let total = |found: &Value, name: &str| found["total"][name].as_u64().unwrap();
    assert_eq!(
        (
            &found["complete"],
            total(&found, "filtered"),
            total(&found, "rows_found"),
            total(&found, "dead_lettered")
        ),
        (&Value::Bool(true), 4, 3_996, 2),
        "{found:#}"
    );

    // As after a restore: the rows of before are there again, and what is committed is not.
    scene.ch.query(&format!("TRUNCATE TABLE {table}"));
    scene.ch.query(&format!("ALTER TABLE {table} DROP CONSTRAINT c"));
    scene.rewind();
    scene.run_to_end();
    assert_eq!(rows(&scene), "3997\t0\t3997", "the letter that is nobody's is a row now");
    scene.ch.query(&format!("ALTER TABLE {table} DELETE WHERE n = 2000 SETTINGS mutations_sync = 2"));
    scene.call(&["dlq", "replay", "--topic", &scene.topic, "--yes"]);
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    wait_until(DEADLINE, "the letter of somebody else lands", || rows(&scene) == "3997\t0\t3997");
    scene.expect_committed(DEADLINE);
    let filtered = || process.metric("penstock_filtered_records_total", &["rule=\"erased\""]);
    wait_until(DEADLINE, "the letter of the subject is counted", || filtered() == Some(1.0));

    // What is published after the erasure is a row; of before, it is none, though the line runs.
    let event = |n: u64, timestamp_ms| Message {
        partition: 0,
        offset: 0,
        timestamp_ms,
        key: None,
        payload: Some(format!("{{\"n\":{n},\"text\":\"late\"}}").into_bytes()),
        headers: Vec::new(),
    };
    let before = chrono::Utc::now().timestamp_millis();
    scene.kafka.produce_message(&scene.topic, &event(7, None));
    wait_until(DEADLINE, "the subject is back on its own account", || rows(&scene) == "3998\t1\t3997");
    erase(&scene, 8);
    wait_until(DEADLINE, "the line knows", || process.log().contains("subjects=2"));
    scene.kafka.produce_message(&scene.topic, &event(8, Some(before)));
    wait_until(DEADLINE, "it is left out", || filtered() == Some(2.0));
    assert_eq!(scene.sql("countIf(n = 8)"), "0");
    scene.kafka.produce_message(&scene.topic, &event(8, None));
    wait_until(DEADLINE, "and is back", || scene.sql("countIf(n = 8)") == "1");
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0), "{}", process.log());
    assert_eq!(account(&scene)["complete"], true);
}

#[test]
fn at_least_once_brings_nobody_back() {
    comes_back_by_no_way("at_least_once");
}

#[test]
fn exactly_once_brings_nobody_back() {
    comes_back_by_no_way("exactly_once");
}

#[test]
fn a_line_that_cannot_know_who_was_erased_does_not_begin() {
    let servers = Servers::shared();
    let mut scene = scene(&servers.kafka, &servers.clickhouse, "at_least_once");
    scene.publish(10);
    scene
        .ch
        .query(&format!("CREATE TABLE {}.penstock_erasures (x UInt8) ENGINE = Memory", scene.database.name));
    let (code, log) = Penstock::output(&scene.config, &["run", "--stop-at-end"], DEADLINE);
    assert!(
        code == Some(1) && log.contains("who was erased cannot be read") && log.contains("hint: "),
        "{code:?} {log}"
    );
    assert_eq!(scene.landed(), 0);
    // Tables that name nobody ask nobody.
    std::fs::write(scene.folder.path().join("table.yaml"), events_table(&scene.topic, "")).unwrap();
    scene.run_to_end();
    scene.expect_all(Duration::from_secs(5));
}

/// A table that cannot take its rows, and somebody erased meanwhile: the rows that wait do not land afterwards.
#[test]
fn a_batch_that_waits_longer_than_erasures_do_brings_nobody_back() {
    let servers = Servers::shared();
    let mut scene = scene(&servers.kafka, &servers.clickhouse, "at_least_once");
    scene.config = scene.config.clone().set("lifecycle.erasure_grace", "500ms");
    let database = scene.database.name.clone();
    scene.ch.query(&format!("CREATE TABLE {database}.target (n UInt64) ENGINE = MergeTree ORDER BY n"));
    scene.ch.query(&format!(
        "CREATE MATERIALIZED VIEW {database}.view TO {database}.target AS SELECT n FROM {database}.events"
    ));
    let mut line = Penstock::start(&scene.config, &["run"]);
    line.wait_ready();
    // Inserts fail behind a view whose table is gone; all else goes on.
    scene.ch.query(&format!("DROP TABLE {database}.target SYNC"));
    scene.publish(1_000);
    line.wait_log("table paused", DEADLINE);
    erase(&scene, 7);
    let code = line.wait_exit(DEADLINE);
    let log = line.log();
    assert!(
        code.is_some_and(|code| code != 0) && log.contains("before somebody was erased"),
        "{code:?} {log}"
    );
    assert_eq!(rows(&scene), "0\t0\t0");
    scene.ch.query(&format!("DROP VIEW {database}.view SYNC"));
    scene.run_to_end();
    assert_eq!(rows(&scene), "3996\t0\t3996");
}
