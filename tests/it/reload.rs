//! Configuration and table files that change under a running process, against real servers.
//!
//! Every count is by offset, and the group must not notice: no member leaves, no partition moves.

use std::time::Duration;

use serde_json::json;

use crate::harness::{ClickHouse, Penstock, Servers, wait_until};
use crate::scene::{DEADLINE, PARTITIONS, Scene, events_table};

const DEDUPLICATES: &str = "settings: {non_replicated_deduplication_window: 10000}\n";

fn scene(exact: bool) -> Scene {
    let servers = Servers::shared();
    let mut scene =
        Scene::with_table(&servers.kafka, &servers.clickhouse, |topic| events_table(topic, DEDUPLICATES));
    // By signal alone unless a test watches.
    scene.config = scene.config.set("reload.watch", false);
    if exact {
        scene.config = scene
            .config
            .set("delivery", "exactly_once")
            .set("kafka.session_timeout", "6s")
            .set("clickhouse.insert_timeout", "5s")
            .set("exactly_once.lease", "20s");
    }
    scene
}

fn write_table(scene: &Scene, change: impl Fn(String) -> String) {
    let text = change(events_table(&scene.topic, DEDUPLICATES));
    std::fs::write(scene.folder.path().join("table.yaml"), text).expect("a table file");
}

fn reloads(process: &Penstock, outcome: &str) -> f64 {
    process.metric("penstock_config_reloads_total", &[&format!("outcome=\"{outcome}\"")]).unwrap_or(0.0)
}

/// Has the process reload and waits until it has.
fn reload(process: &Penstock, outcome: &str) {
    let before = reloads(process, outcome);
    process.sighup();
    wait_until(DEADLINE, &format!("a reload is {outcome}"), || before < reloads(process, outcome));
}

fn rebalances(process: &Penstock) -> f64 {
    process.metric("penstock_rebalances_total", &[]).unwrap_or(0.0)
}

fn batch_rows(process: &Penstock) -> f64 {
    process.metric("penstock_batch_limit", &["limit=\"rows\""]).unwrap_or(0.0)
}

fn tables_change_under_load(exact: bool) {
    let mut scene = scene(exact);
    scene.publish(500);
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    scene.expect_all(DEADLINE);
    scene.expect_committed(DEADLINE);
    let assigned = rebalances(&process);

    // A constraint: what was valid before is a dead letter from an offset on.
    let each_before = scene.published() / PARTITIONS as u64;
    write_table(&scene, |text| text.replace("{name: n, type: UInt64}", "{name: n, type: UInt64, max: 699}"));
    scene.publish(100);
    reload(&process, "ok");
    wait_until(DEADLINE, "the new rules hold", || {
        process.log().contains("new rows go by the new table file")
    });
    scene.publish(200);
    wait_until(DEADLINE, "700 of each partition's 800 land", || scene.landed() == 700 * PARTITIONS as u64);
    wait_until(DEADLINE, "the others are dead letters", || {
        scene.kafka.read_all(&scene.dead_topic()).len() == 100 * PARTITIONS as usize
    });
    assert_eq!(each_before, 500);
    assert_eq!(scene.sql("max(_offset), max(n)"), "699\t699");

    // A column, once the table has it.
    scene
        .ch
        .query(&format!("ALTER TABLE {}.events ADD COLUMN extra String DEFAULT 'none'", scene.database.name));
    write_table(&scene, |text| {
        text.replace(
            "- {name: _partition",
            "- {name: extra, type: String, default: absent}\n- {name: _partition",
        )
    });
    reload(&process, "ok");
    let renewed = || process.log().matches("new rows go by the new table file").count();
    wait_until(DEADLINE, "the column is filled", || renewed() == 2);
    scene.publish(100);
    wait_until(DEADLINE, "they land", || scene.landed() == 800 * PARTITIONS as u64);
    assert_eq!(scene.sql("countIf(extra = 'absent'), minIf(_offset, extra = 'absent')"), "400\t800");

    scene.expect_committed(DEADLINE);
    assert_eq!(scene.sql("count() - uniqExact(_partition, _offset)"), "0", "nothing is there twice");
    assert_eq!(rebalances(&process), assigned);
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0));
}

#[test]
fn constraints_and_columns_change_at_least_once() {
    tables_change_under_load(false);
}

#[test]
fn constraints_and_columns_change_exactly_once() {
    tables_change_under_load(true);
}

#[test]
fn limits_change_what_is_wrong_is_refused_and_what_cannot_change_is_named() {
    let mut scene = scene(false);
    scene.config = scene.config.set("batch.rows_max", 1_000).set("batch.pressure.interval", "1s");
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    wait_until(DEADLINE, "it owns the partitions", || 0.0 < rebalances(&process));
    let assigned = rebalances(&process);

    let slow = json!({ "events": { "records_per_second": 1 } });
    let changed = scene.config.clone().set("limits.tables", slow).set("batch.rows_max", 77);
    process.reconfigure(&changed.clone().set("kafka.commit_interval", "300ms"));
    reload(&process, "ok");
    wait_until(DEADLINE, "batches are as configured now", || batch_rows(&process) == 77.0);
    wait_until(DEADLINE, "the log names what needs a restart", || {
        process.log().contains("kafka.commit_interval")
    });
    scene.publish(500);
    wait_until(DEADLINE, "a first few land", || 0 < scene.landed());
    assert!(scene.landed() < scene.published(), "the limit of speed holds");

    // Two faults, in two files.
    let hash =
        |process: &Penstock| process.metrics().map(|text| text.matches("penstock_config_info{").count());
    write_table(&scene, |text| text.replace("UInt64", "UInt65"));
    process.reconfigure(&changed.clone().set("batch.rows_maximum", 5));
    reload(&process, "refused");
    wait_until(DEADLINE, "health says why", || {
        process.health().is_some_and(|(status, text)| {
            status == 200
                && text.contains("the last reload was refused")
                && text.contains("rows_maximum")
                && text.contains("UInt65")
        })
    });
    // A column that the table does not have.
    write_table(&scene, |text| {
        text.replace("- {name: text", "- {name: missing, type: String, default: x}\n- {name: text")
    });
    process.reconfigure(&changed);
    reload(&process, "refused");
    wait_until(DEADLINE, "health names the column", || {
        process.health().is_some_and(|(_, text)| text.contains("missing"))
    });
    assert_eq!((batch_rows(&process), hash(&process)), (77.0, Some(1)));

    // Without the limit everything lands, by the old table file.
    write_table(&scene, |text| text);
    process.reconfigure(&scene.config);
    reload(&process, "ok");
    scene.expect_all(DEADLINE);
    scene.expect_committed(DEADLINE);
    reload(&process, "unchanged");
    wait_until(DEADLINE, "health is well", || {
        process.health().is_some_and(|(_, text)| !text.contains("refused"))
    });
    assert_eq!(rebalances(&process), assigned);
}

#[test]
fn changed_files_are_seen_without_a_signal() {
    let mut scene = scene(false);
    scene.config = scene.config.set("reload", json!({ "watch": true, "interval": "100ms" }));
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    process.reconfigure(&scene.config.clone().set("batch.rows_max", 77));
    wait_until(Duration::from_secs(20), "the configuration file is read", || reloads(&process, "ok") == 1.0);
    write_table(&scene, |text| text.replace("{name: n, type: UInt64}", "{name: n, type: UInt64, max: 9}"));
    wait_until(Duration::from_secs(20), "the table file is read", || reloads(&process, "ok") == 2.0);
    scene.publish(20);
    wait_until(DEADLINE, "ten of each partition land", || scene.landed() == 10 * PARTITIONS as u64);
}

#[test]
fn endpoints_change_and_servers_that_do_not_answer_are_refused() {
    let mut scene = scene(false);
    let other = ClickHouse::start_private();
    let table = format!("{}.events", scene.database.name);
    let definition = scene.ch.query(&format!("SHOW CREATE TABLE {table} FORMAT TSVRaw"));
    other.query(&format!("CREATE DATABASE {}", scene.database.name));
    other.query(&definition);
    scene.publish(100);
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    scene.expect_all(DEADLINE);
    let (before, assigned) = (scene.landed(), rebalances(&process));

    process.reconfigure(&scene.config.clone().set("clickhouse.endpoints", vec!["http://127.0.0.1:1"]));
    reload(&process, "refused");
    let endpoints = vec![scene.ch.url(), other.url()];
    process.reconfigure(&scene.config.clone().set("clickhouse.endpoints", endpoints));
    reload(&process, "ok");
    process.reconfigure(&scene.config.clone().set("clickhouse.endpoints", vec![other.url()]));
    reload(&process, "ok");
    scene.publish(100);
    let landed = |ch: &ClickHouse| ch.query(&format!("SELECT uniqExact(_partition, _offset) FROM {table}"));
    wait_until(DEADLINE, "all of the new events are on the new server", || {
        landed(&other) == before.to_string()
    });
    assert_eq!(scene.landed(), before, "nothing more went to the old one");
    let host = |ch: &ClickHouse| format!("host=\"{}\"", ch.url().trim_start_matches("http://"));
    assert_eq!(process.metric("penstock_ch_up", &[&host(&other)]), Some(1.0));
    assert_eq!(
        process.metric("penstock_ch_up", &[&host(&scene.ch)]),
        None,
        "nothing is told of what has left"
    );
    scene.expect_committed(DEADLINE);
    assert_eq!(rebalances(&process), assigned);
}
