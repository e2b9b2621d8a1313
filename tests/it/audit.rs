//! The proof of completeness against real servers: what is accounted for, and what is told when it is not.

use serde_json::Value;

use crate::harness::{Message, Penstock, Servers, wait_until};
use crate::scene::{DEADLINE, PARTITIONS, Scene, events_table, merging_table};

fn scene() -> Scene {
    let servers = Servers::shared();
    Scene::with_table(&servers.kafka, &servers.clickhouse, |topic| events_table(topic, "tombstones: skip\n"))
}

fn tombstone(partition: i32) -> Message {
    Message { partition, offset: 0, timestamp_ms: None, key: None, payload: None, headers: Vec::new() }
}

fn event(n: u64) -> String {
    format!("{{\"n\":{n},\"text\":\"\"}}")
}

/// Every fate that an offset can have; 100 rows in each partition besides.
fn every_fate(scene: &mut Scene) {
    scene.ch.query(&format!("ALTER TABLE {}.events ADD CONSTRAINT c CHECK n != 4444", scene.database.name));
    scene.publish(100);
    let (kafka, topic) = (&scene.kafka, &scene.topic);
    // Refused by the server.
    kafka.produce(topic, 0, [event(4444)]);
    kafka.produce_message(topic, &tombstone(1));
    // Rejected by the decoder.
    kafka.produce(topic, 2, ["{"]);
    kafka.produce_transaction(topic, 3, (0..5).map(event), true);
    kafka.produce_transaction(topic, 3, (5..10).map(event), false);
    kafka.produce(topic, 3, [event(10)]);
}

fn audit(scene: &Scene, arguments: &[&str]) -> (Option<i32>, String) {
    let arguments = [&["audit-rows"], arguments].concat();
    Penstock::output(&scene.config, &arguments, DEADLINE)
}

fn report(scene: &Scene, arguments: &[&str]) -> (Option<i32>, Value) {
    let (code, log) = audit(scene, &[arguments, &["--output", "json"]].concat());
    let value = serde_json::from_str(&log).unwrap_or_else(|error| panic!("{error}: {log}"));
    (code, value)
}

fn total(report: &Value) -> [u64; 8] {
    [
        "records",
        "rows_expected",
        "rows_found",
        "filtered",
        "dead_lettered",
        "absent",
        "deleted",
        "surplus_rows",
    ]
    .map(|name| report["total"][name].as_u64().unwrap())
}

#[test]
fn every_offset_is_accounted_for() {
    let mut scene = scene();
    every_fate(&mut scene);
    scene.run_to_end();
    for arguments in [&[][..], &["--deep"]] {
        let (code, found) = report(&scene, arguments);
        assert_eq!(code, Some(0), "{found:#}");
        assert_eq!(found["complete"], true);
        assert_eq!(total(&found), [409, 406, 406, 1, 2, 7, 0, 0], "{found:#}");
        let rows = found["rows"].as_array().unwrap();
        assert!(PARTITIONS as usize <= rows.len());
        assert!(rows.iter().all(|row| row["hour"].as_str().is_some_and(|hour| hour.ends_with(":00Z"))));
    }
    let (code, text) = audit(&scene, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("complete: each of 416 offsets is accounted for, 406 of them are rows"), "{text}");

    // Retention: what is in the table is still known, what is not cannot be told any more.
    scene.kafka.delete_below(&scene.topic, 0, 50);
    let table = format!("{}.events", scene.database.name);
    scene.ch.query(&format!(
        "ALTER TABLE {table} DELETE WHERE _partition = 0 AND _offset = 10 SETTINGS mutations_sync = 1"
    ));
    let (code, found) = report(&scene, &[]);
    assert_eq!(code, Some(0), "{found:#}");
    assert_eq!(total(&found), [359, 405, 405, 1, 2, 7, 1, 0], "{found:#}");
    let later = ["--since", "2100-01-01T00:00:00Z"];
    assert_eq!(total(&report(&scene, &later).1), [0; 8]);
    assert_eq!(total(&report(&scene, &["--since", "1h", "--until", "2100-01-01T00:00:00Z"]).1)[0], 359);
}

#[test]
fn what_is_missing_or_too_much_is_named() {
    let mut scene = scene();
    every_fate(&mut scene);
    scene.run_to_end();
    let (table, topic) = (format!("{}.events", scene.database.name), scene.topic.clone());
    let delete = |condition: &str| {
        scene.ch.query(&format!("ALTER TABLE {table} DELETE WHERE {condition} SETTINGS mutations_sync = 1"));
    };
    delete("_partition = 1 AND _offset = 7");
    let (code, text) = audit(&scene, &[]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains(&format!("{topic}/1 offset 7: no row and no dead letter\n")), "{text}");
    assert!(text.ends_with("not complete: 1 rows are missing\n"), "{text}");
    let of_one =
        |bounds: &[&str]| audit(&scene, &[&["--topic", topic.as_str(), "--partition", "1"], bounds].concat());
    assert_eq!(of_one(&["--from-offset", "7", "--to-offset", "8"]).0, Some(3));
    assert_eq!(of_one(&["--from-offset", "8"]).0, Some(0));
    assert_eq!(of_one(&["--to-offset", "7"]).0, Some(0));

    // As many rows as there must be, but not the right ones: a double, and one with a dead letter.
    delete("_partition = 2 AND _offset IN (20, 21)");
    scene.ch.query(&format!("INSERT INTO {table} VALUES (1, '', 2, 30), (1, '', 2, 100)"));
    let (code, found) = report(&scene, &["--table", "events"]);
    assert_eq!(code, Some(3), "{found:#}");
    let sentences: Vec<&str> =
        found["findings"].as_array().unwrap().iter().map(|f| f["sentence"].as_str().unwrap()).collect();
    let expected = [
        format!("{topic}/1 offset 7: no row and no dead letter"),
        format!("{topic}/2 offsets 20 to 21: no row and no dead letter"),
        format!("{topic}/2 offset 30: 1 rows too many: doubled, at_least_once allows it after a fault"),
        format!("{topic}/2 offset 100: 1 rows, and a dead letter too"),
    ];
    assert_eq!(sentences, expected);
    assert_eq!((&found["total"]["missing_rows"], &found["total"]["surplus_rows"]), (&3.into(), &2.into()));

    // Rows of an aborted record and of a tombstone.
    scene.ch.query(&format!("INSERT INTO {table} VALUES (1, '', 1, 100), (1, '', 3, 106)"));
    let (_, text) = audit(&scene, &[]);
    for place in ["1 offset 100", "3 offset 106"] {
        let sentence = format!("{topic}/{place}: 1 rows, but there is no record that they could come from");
        assert!(text.contains(&sentence), "{text}");
    }
}

#[test]
fn a_rejected_record_without_a_letter_is_told() {
    let mut scene = scene();
    scene.publish_raw("{");
    scene.run_to_end();
    let dead_topic = scene.dead_topic();
    assert_eq!(report(&scene, &[]).0, Some(0));
    // Letters that are not of this group prove nothing.
    let mut other = scene.config.clone();
    std::mem::swap(&mut scene.config, &mut other);
    scene.config = scene.config.clone().set("dead_letter.topic", format!("{dead_topic}.other"));
    scene.kafka.create_topic(&format!("{dead_topic}.other"), 1, 1, &[]);
    let (code, text) = audit(&scene, &[]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("/0 offset 0: rejected, but there is neither a dead letter nor a row"), "{text}");
    // Once letters may have been deleted, a letter that is not there proves nothing.
    std::mem::swap(&mut scene.config, &mut other);
    scene.kafka.delete_below(&dead_topic, 0, 1);
    let (code, text) = audit(&scene, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("may have lost letters to retention"), "{text}");
}

#[test]
fn rows_of_records_that_were_compacted_away_are_no_surplus() {
    let servers = Servers::shared();
    let mut scene = scene();
    let topic = crate::harness::fresh_name("compacted");
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "100"),
    ];
    servers.kafka.create_topic(&topic, 1, 1, &settings);
    servers.kafka.create_topic(&format!("{topic}.dead"), 1, 1, &[]);
    let file = scene.folder.path().join("table.yaml");
    std::fs::write(&file, events_table(&topic, "tombstones: skip\n")).unwrap();
    scene.topic = topic;
    let publish = |scene: &Scene, n: u64| {
        let payload = Some(event(n).into_bytes());
        scene
            .kafka
            .produce_message(&scene.topic, &Message { key: Some(b"k".to_vec()), payload, ..tombstone(0) });
    };
    (0..10).for_each(|n| publish(&scene, n));
    scene.run_to_end();
    // The broker may have begun already.
    let rows: u64 = scene.sql("count()").parse().unwrap();
    assert!((1..=10).contains(&rows), "{rows} rows");
    // Closed segments only are compacted, and a record closes the one before its own.
    let mut n = 10;
    wait_until(DEADLINE, "the topic is compacted", || {
        publish(&scene, n);
        n += 1;
        scene.kafka.read_all(&scene.topic).first().is_some_and(|message| 10 <= message.offset)
    });
    let (code, found) = report(&scene, &[]);
    assert_eq!(code, Some(0), "{found:#}");
    let expected = total(&found);
    assert_eq!(expected[..3], [0, rows, rows], "{found:#}");
    assert_eq!(
        expected.iter().sum::<u64>(),
        10 + rows,
        "each offset is a row of old or no record: {found:#}"
    );
    assert_eq!(found["total"]["rows_of_old"], rows);
}

#[test]
fn what_keeps_it_from_proving_anything_is_told() {
    let servers = Servers::shared();
    let mut scene = Scene::with_table(&servers.kafka, &servers.clickhouse, |topic| {
        format!("table: events\ntopics: [{topic}]\norder_by: []\ncolumns: [{{name: n, type: UInt8}}]\n")
    });
    let (code, text) = audit(&scene, &[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("no column for $partition") && text.contains("hint: add a column"), "{text}");
    scene.config = scene.config.set("audit.enabled", "always");
    let (code, text) = Penstock::output(&scene.config, &["run", "--stop-at-end"], DEADLINE);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("no column for $partition"), "{text}");

    let mut scene = self::scene();
    let (code, text) = audit(&scene, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("has committed nothing of"), "{text}");
    let (code, text) = audit(&scene, &["--topic", "elsewhere"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("the topics are"), "{text}");
    scene.config = scene.config.set("kafka.brokers", serde_json::json!(["127.0.0.1:9"]));
    assert_eq!(audit(&scene, &[]).0, Some(4));
}

#[test]
fn a_line_that_runs_compares_what_it_commits() {
    let mut scene = scene();
    scene.config = scene.config.set("audit.interval", "1s");
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    every_fate(&mut scene);
    let compared = ["outcome=\"compared\""];
    wait_until(DEADLINE, "all that was committed is compared", || {
        process.metric("penstock_audit_offsets_total", &compared) == Some(416.0)
    });
    assert_eq!(process.metric("penstock_audit_missing_rows", &[]), Some(0.0));
    assert_eq!(process.metric("penstock_audit_surplus_rows", &[]), Some(0.0));
    let table = format!("{}.events", scene.database.name);
    scene.ch.query(&format!("INSERT INTO {table} VALUES (1, '', 0, 101)"));
    scene.kafka.produce(&scene.topic, 0, [event(1)]);
    wait_until(DEADLINE, "the row that is there twice is seen", || {
        process.metric("penstock_audit_surplus_rows", &[]) == Some(1.0)
    });
    assert_eq!(process.metric("penstock_audit_missing_rows", &[]), Some(0.0));
    let (status, health) = process.health().unwrap();
    assert!(status == 200 && health.contains("audit of table events"), "{health}");
    let names = format!("--topic {} --partition 0 --from-offset 101 --to-offset 102", scene.topic);
    assert!(health.contains(&names), "{health}");
    process.wait_log(&names, DEADLINE);
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0));
}

#[test]
fn rows_that_the_table_did_not_keep_are_seen_at_the_end_of_a_run() {
    let servers = Servers::shared();
    // Two rows of one batch with the same `n` become one.
    let mut scene = Scene::with_table(&servers.kafka, &servers.clickhouse, merging_table);
    scene.config =
        scene.config.set("batch.rows_max", 2).set("batch.age_max", "1h").set("audit.enabled", "always");
    scene.kafka.produce(&scene.topic, 0, [event(5), event(5)]);
    let log = scene.run_to_end();
    assert!(log.contains("committed offsets and the table differ"), "{log}");
    assert!(log.contains("missing=1") && log.contains("surplus=0"), "{log}");
    let (code, text) = audit(&scene, &[]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("no row and no dead letter") && text.contains("merges rows away"), "{text}");
}

#[test]
fn topics_of_one_table_are_told_apart() {
    let servers = Servers::shared();
    let other = servers.kafka.fresh_topic(1);
    servers.kafka.create_topic(&format!("{other}.dead"), 1, 1, &[]);
    let mut scene = Scene::with_table(&servers.kafka, &servers.clickhouse, |topic| {
        let topic_column = "- {name: _topic, type: LowCardinality(String), from: $topic}\norder_by";
        events_table(&format!("{topic}, {other}"), "").replace("order_by", topic_column)
    });
    scene.publish(10);
    scene.kafka.produce(&other, 0, (0..10).map(event));
    let log = scene.run_to_end();
    assert!(!log.contains("the table differ"), "{log}");
    assert_eq!(total(&report(&scene, &[]).1)[..3], [50, 50, 50]);
    scene.ch.query(&format!(
        "ALTER TABLE {}.events DELETE WHERE _topic = '{other}' AND _offset = 3 SETTINGS mutations_sync = 1",
        scene.database.name
    ));
    let (code, text) = audit(&scene, &[]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains(&format!("{other}/0 offset 3: no row and no dead letter\n")), "{text}");
    assert_eq!(audit(&scene, &["--topic", &scene.topic]).0, Some(0));
}
