//! `delivery: exactly_once` against real servers: every record once, whoever is killed, frozen or replaced.
//!
//! The table remembers tokens and keeps where each row came from, so every count is by offset.

use std::time::Duration;

use crate::harness::{ClickHouse, Kafka, Penstock, Servers, wait_until};
use crate::scene::{DEADLINE, PARTITIONS, Scene, events_table};

/// A scene that delivers exactly once, with a session as short as brokers accept.
fn exact_scene(kafka: &Kafka, ch: &ClickHouse) -> Scene {
    let mut scene = Scene::with_table(kafka, ch, |topic| {
        events_table(topic, "settings: {non_replicated_deduplication_window: 10000}\n")
    });
    scene.config = scene
        .config
        .set("delivery", "exactly_once")
        .set("kafka.session_timeout", "6s")
        .set("clickhouse.insert_timeout", "5s")
        .set("exactly_once.lease", "20s");
    scene
}

fn expect_no_doubles(scene: &Scene) {
    assert_eq!(scene.sql("count() - uniqExact(_partition, _offset)"), "0", "nothing is there twice");
}

#[test]
fn every_record_lands_once_and_is_committed() {
    let servers = Servers::shared();
    let mut scene = exact_scene(&servers.kafka, &servers.clickhouse);
    scene.publish(5_000);
    scene.publish_raw("not json");
    scene.run_to_end();
    assert_eq!(scene.sql("count()"), (scene.published() - 1).to_string());
    expect_no_doubles(&scene);
    scene.expect_committed(Duration::from_secs(5));
    assert_eq!(scene.kafka.read_all(&scene.dead_topic()).len(), 1);
    scene.run_to_end();
    assert_eq!(
        scene.sql("count()"),
        (scene.published() - 1).to_string(),
        "what is committed is not read again"
    );
}

#[test]
fn three_refused_rows_in_a_hundred_thousand_cost_few_inserts() {
    let servers = Servers::shared();
    let mut scene = exact_scene(&servers.kafka, &servers.clickhouse);
    scene.config = scene.config.set("batch.age_max", "30s").set("batch.rows_max", 100_000);
    scene.ch.query(&format!(
        "ALTER TABLE {}.events ADD CONSTRAINT not_magic CHECK n NOT IN (7, 44444, 99999)",
        scene.database.name
    ));
    scene.kafka.produce(&scene.topic, 2, (0..100_000).map(|n| format!("{{\"n\":{n},\"text\":\"\"}}")));
    let mut process = Penstock::run(&scene.config);
    wait_until(DEADLINE, "the others land", || scene.landed() == 99_997);
    wait_until(DEADLINE, "the refused ones are dead letters", || {
        process.metric("penstock_dlq_records_total", &["outcome=\"ok\""]) == Some(3.0)
    });
    let inserts = process.metric("penstock_insert_attempts_total", &[]).unwrap();
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0));
    eprintln!("{inserts} inserts");
    assert!(inserts <= 65.0, "{inserts} inserts: one, and at most 64 to find the rows");
    assert_eq!(scene.sql("count(), countIf(n IN (7, 44444, 99999))"), "99997\t0");
    expect_no_doubles(&scene);
    scene.expect_committed(Duration::from_secs(5));
}

#[test]
fn killed_again_and_again_every_record_is_there_once() {
    let servers = Servers::shared();
    let mut scene = exact_scene(&servers.kafka, &servers.clickhouse);
    scene.config = scene.config.set("batch.age_max", "50ms");
    for round in 0..6 {
        let mut process = Penstock::run(&scene.config);
        process.wait_ready();
        let before = scene.landed();
        scene.publish(500);
        wait_until(DEADLINE, "rows go on being written", || before < scene.landed());
        scene.publish(100 * (round + 1));
        process.kill9();
    }
    scene.run_to_end();
    scene.expect_all(DEADLINE);
    expect_no_doubles(&scene);
    scene.expect_committed(Duration::from_secs(5));
}

#[test]
fn a_zombie_changes_nothing() {
    let servers = Servers::shared();
    let mut scene = exact_scene(&servers.kafka, &servers.clickhouse);
    let mut zombie = Penstock::run(&scene.config);
    zombie.wait_ready();
    scene.publish(2_000);
    wait_until(DEADLINE, "rows go on being written", || 0 < scene.landed());
    scene.publish(2_000);
    zombie.stop();
    let stopped = std::time::Instant::now();
    let mut other = Penstock::run(&scene.config);
    other.wait_ready();
    scene.expect_all(DEADLINE);
    wait_until(DEADLINE, "three session timeouts", || Duration::from_secs(18) <= stopped.elapsed());
    scene.publish(500);
    zombie.cont();
    scene.publish(500);
    scene.expect_all(DEADLINE);
    let owned = |p: &Penstock| p.metric("penstock_assigned_partitions", &[]).unwrap_or(0.0);
    wait_until(DEADLINE, "the zombie is a member again", || {
        owned(&zombie) + owned(&other) == f64::from(PARTITIONS) && 0.0 < owned(&zombie)
    });
    scene.publish(500);
    scene.expect_all(DEADLINE);
    expect_no_doubles(&scene);
    for process in [&mut zombie, &mut other] {
        process.sigterm();
        assert_eq!(process.wait_exit(DEADLINE), Some(0));
    }
    expect_no_doubles(&scene);
    scene.expect_committed(Duration::from_secs(5));
}

/// Ends the process at this place of the line, the first time that it is come to.
fn run_to_crash(scene: &Scene, place: &str) {
    let config = scene.config.clone().set("faults.crash_at", place);
    let mut process = Penstock::run(&config);
    assert_eq!(process.wait_exit(DEADLINE), None, "it died at {place}: {}", process.log());
}

/// Lets it run until everything is committed; gives what these metrics say then.
fn recover(scene: &Scene, metrics: &[&str]) -> Vec<f64> {
    let mut process = Penstock::run(&scene.config);
    scene.expect_committed(DEADLINE);
    let level = process.metric("penstock_delivery_level", &["level=\"exact\""]);
    assert_eq!(level, Some(1.0), "what is promised is told");
    assert!(process.health().is_some_and(|(_, body)| body.contains("\"events\":\"exact\"")));
    let values = metrics.iter().map(|name| process.metric(name, &[]).unwrap_or(0.0)).collect();
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0));
    values
}

fn quick_scene(servers: &Servers) -> Scene {
    quick_scene_of(&servers.kafka, &servers.clickhouse)
}

/// A scene whose leases are over soon after a crash.
fn quick_scene_of(kafka: &Kafka, ch: &ClickHouse) -> Scene {
    let mut scene = exact_scene(kafka, ch);
    scene.config = scene.config.set("clickhouse.insert_timeout", "3s").set("exactly_once.lease", "6s");
    scene
}

#[test]
fn rows_whose_token_was_kept_without_them_are_put_back() {
    let mut scene = quick_scene(Servers::shared());
    scene.publish(50);
    run_to_crash(&scene, "batch_settled");
    assert!(0 < scene.landed());
    // The table remembers the tokens of rows that are deleted, as after a kill between token and part.
    let table = format!("{}.events", scene.database.name);
    scene.ch.query(&format!("ALTER TABLE {table} DELETE WHERE 1 SETTINGS mutations_sync = 2"));
    assert_eq!(scene.landed(), 0);
    assert!(0.0 < recover(&scene, &["penstock_repaired_rows_total"])[0]);
    scene.expect_all(Duration::from_secs(5));
    expect_no_doubles(&scene);
}

#[test]
fn what_landed_before_a_crash_is_found_and_not_sent_again() {
    let mut scene = quick_scene(Servers::shared());
    scene.publish(50);
    run_to_crash(&scene, "batch_settled");
    let values = recover(&scene, &["penstock_read_backs_total", "penstock_repaired_rows_total"]);
    assert!(0.0 < values[0] && values[1] == 0.0, "{values:?}");
    scene.expect_all(Duration::from_secs(5));
    expect_no_doubles(&scene);
}

#[test]
fn a_planned_batch_whose_records_are_gone_is_told_and_the_rest_lands() {
    let mut scene = quick_scene(Servers::shared());
    scene.publish(50);
    run_to_crash(&scene, "intent_committed");
    let first: Vec<(i32, i64)> = (0..PARTITIONS).map(|partition| (partition, 10)).collect();
    scene.kafka.delete_records(&scene.topic, &first).unwrap();
    let values = recover(&scene, &["penstock_replay_gone_records_total", "penstock_replayed_batches_total"]);
    assert!(0.0 < values[0] && 0.0 < values[1], "{values:?}");
    assert_eq!(scene.sql("count(), uniqExact(_partition, _offset), min(_offset)"), "160\t160\t10");
}

#[test]
fn deleted_records_that_a_killed_broker_has_again_halt_nothing() {
    let kafka = Kafka::start_private();
    let mut scene = quick_scene_of(&kafka, &Servers::shared().clickhouse);
    scene.publish(50);
    let at = |offset| (0..PARTITIONS).map(move |partition| (partition, offset));
    let committed: Vec<_> = at(5).map(|(partition, offset)| (partition, offset, String::new())).collect();
    scene.kafka.reset_offsets(scene.config.text("kafka.group"), &scene.topic, &committed).unwrap();
    scene.kafka.delete_records(&scene.topic, &at(20).collect::<Vec<_>>()).unwrap();
    run_to_crash(&scene, "intent_committed");
    // Where a log begins is written down once a minute, so that it begins earlier again.
    kafka.kill(0);
    kafka.restart(0);
    recover(&scene, &[]);
    // With nothing open before them the group had moved past them when the broker died.
    assert_eq!(
        scene.sql("countIf(20 <= _offset), uniqExactIf((_partition, _offset), 20 <= _offset)"),
        "120\t120"
    );
    expect_no_doubles(&scene);
}

#[test]
fn less_than_what_is_demanded_is_refused_with_what_to_change() {
    let servers = Servers::shared();
    let scene = Scene::new(&servers.kafka, &servers.clickhouse);
    let config = scene.config.set("delivery", "exactly_once");
    let (code, log) = Penstock::output(&config, &["run", "--stop-at-end"], DEADLINE);
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("exactly_once.level_min"), "{log}");
    assert!(log.contains("non_replicated_deduplication_window"), "{log}");
    let config = config.set("exactly_once.level_min", "at_least_once");
    let (code, log) = Penstock::output(&config, &["run", "--stop-at-end"], DEADLINE);
    assert_eq!(code, Some(0), "{log}");
}
