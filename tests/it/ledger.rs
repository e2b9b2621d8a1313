//! `penstock ledger` against a broker: what it shows of each kind of plan, and what it sets back or refuses to.

use std::time::Duration;

use penstock::delivery::ledger::{Intent, Ledger, Lineage, Read};
use penstock::record::{Offset, OffsetRange};
use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use serde_json::{Value, json};

use crate::harness::{Penstock, Servers, wait_until};
use crate::scene::{DEADLINE, Scene};

/// Commits as a stranger to the group, which has no members.
fn commit(scene: &Scene, partition: i32, offset: i64, text: &str) {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &scene.kafka.brokers)
        .set("group.id", scene.config.text("kafka.group"))
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition(&scene.topic, partition);
    element.set_offset(rdkafka::Offset::Offset(offset)).unwrap();
    element.set_metadata(text);
    client.commit(&list, CommitMode::Sync).unwrap();
}

fn open_plan(first: i64, lengths: &[i64]) -> String {
    let mut first = Offset(first);
    let mut intents = Vec::new();
    for length in lengths {
        let range = OffsetRange { first, next: Offset(first.0 + length) };
        intents.push(Intent { range, read: Read { records: 7, digest: 10 } });
        first = range.next;
    }
    let written_ms = chrono::Utc::now().timestamp_millis();
    let lease = Duration::from_secs(600);
    Ledger { lineage: Lineage(0xabc), fingerprint: 1, written_ms, lease, since_ms: written_ms, intents }
        .encode()
}

fn scene() -> Scene {
    let servers = Servers::shared();
    let mut scene = Scene::new(&servers.kafka, &servers.clickhouse);
    scene.publish(100);
    scene
}

fn call(scene: &Scene, arguments: &[&str]) -> (Option<i32>, String) {
    Penstock::output(&scene.config, &[&["ledger"], arguments].concat(), DEADLINE)
}

fn shown(scene: &Scene) -> (Option<i32>, Value) {
    let (code, log) = call(scene, &["show", "--output", "json"]);
    (code, serde_json::from_str(&log).unwrap_or_else(|error| panic!("{error}: {log}")))
}

#[test]
fn every_kind_of_plan_is_shown() {
    let scene = scene();
    commit(&scene, 0, 10, &open_plan(10, &[20, 30]));
    commit(&scene, 1, 11, &open_plan(11, &[]));
    commit(&scene, 2, 12, "of somebody else");
    let (code, found) = shown(&scene);
    assert_eq!(code, Some(0), "{found}");
    let plans: Vec<_> = (0..4).map(|n| found["partitions"][n]["plan"].as_str().unwrap()).collect();
    assert_eq!(plans, ["in_flight", "settled", "foreign", "none"]);
    let first = &found["partitions"][0];
    assert_eq!((&first["committed"], &first["log_end"]), (&json!(10), &json!(100)));
    assert_eq!(first["lineage"], "0000000000000abc");
    let second = json!({ "first": 30, "next": 60, "records": 7, "digest": "0000000a" });
    assert_eq!(first["ranges"][1], second);
    assert!(first["lease_left_ms"].as_i64().unwrap() > 500_000, "{first}");
    assert_eq!((&found["state"], &found["members"]), (&json!("Empty"), &json!([])));

    commit(&scene, 3, 13, "penstock/1 cut");
    let (code, log) = call(&scene, &["show", "--topic", &scene.topic, "--partition", "3"]);
    assert_eq!(code, Some(3), "{log}");
    assert!(log.contains("a damaged plan") && !log.contains(&format!("{}/0", scene.topic)), "{log}");
    let (code, log) = call(&scene, &["show", "--partition", "9"]);
    assert!(code == Some(2) && log.contains("hint: "), "{code:?} {log}");
}

#[test]
fn a_rewind_says_what_it_means_drops_the_plan_and_is_read_again() {
    let scene = scene();
    scene.run_to_end();
    commit(&scene, 0, 40, &open_plan(40, &[60]));
    let rewind = ["rewind", "--topic", &scene.topic, "--partition", "0", "--to"];
    let committed =
        || scene.kafka.committed(scene.config.text("kafka.group"), &scene.topic, &[0, 1])[..].to_vec();

    let (code, log) = call(&scene, &[&rewind[..], &["30", "--dry-run"]].concat());
    assert_eq!((code, committed()), (Some(0), vec![Some(40), Some(100)]), "{log}");
    assert!(log.contains("from 40 to 30; 10 offsets are read again, 0 are skipped"), "{log}");
    assert!(
        log.contains("batch 40 to 100: 7 records") && log.contains("may or may not have landed"),
        "{log}"
    );
    let (code, log) = call(&scene, &[&rewind[..], &["30"]].concat());
    assert!(code == Some(2) && log.contains("--yes"), "nobody can be asked: {code:?} {log}");
    let (code, log) = call(&scene, &[&rewind[..], &["101", "--yes"]].concat());
    assert!(code == Some(2) && log.contains("has no offset 101"), "{code:?} {log}");
    assert_eq!(committed(), [Some(40), Some(100)]);

    let (code, log) = call(&scene, &[&rewind[..], &["committed", "--yes"]].concat());
    assert_eq!((code, committed()), (Some(0), vec![Some(40), Some(100)]), "{log}");
    assert_eq!(shown(&scene).1["partitions"][0]["plan"], "none");

    let all = [
        "rewind",
        "--topic",
        &scene.topic,
        "--all-partitions",
        "--to",
        "earliest",
        "--yes",
        "--output",
        "json",
    ];
    let (code, log) = call(&scene, &all);
    let found: Value = serde_json::from_str(&log).unwrap();
    assert_eq!((code, &found["done"], committed()), (Some(0), &json!(true), vec![Some(0), Some(0)]));
    assert_eq!(found["changes"][1]["read_again"], 100);
    scene.run_to_end();
    scene.expect_all(Duration::from_secs(5));
    assert_eq!(scene.sql("count()"), "800", "the rows of everything, twice");
}

#[test]
fn a_group_with_members_is_not_set_back() {
    let scene = scene();
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    scene.expect_committed(DEADLINE);
    wait_until(DEADLINE, "the member is seen", || shown(&scene).1["members"].as_array().unwrap().len() == 1);
    let rewind = ["rewind", "--topic", &scene.topic, "--all-partitions", "--to", "earliest", "--yes"];
    let (code, log) = call(&scene, &rewind);
    assert!(code == Some(2) && log.contains("has members") && log.contains("hint: "), "{code:?} {log}");
    scene.expect_committed(DEADLINE);
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0));
    let (code, log) = call(&scene, &rewind);
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn brokers_that_do_not_answer_are_told() {
    let scene = scene();
    let mut away = scene;
    away.config = away.config.set("kafka.brokers", json!(["127.0.0.1:1"]));
    for arguments in [&["show"][..], &["rewind", "--topic", "t", "--partition", "0", "--to", "0", "--yes"]] {
        let (code, log) = call(&away, arguments);
        assert!(code == Some(4) && log.contains("hint: "), "{code:?} {log}");
    }
}
