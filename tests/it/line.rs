//! The happy way through real servers, the bad-input corpus, and orderly ends.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::corpus::{self, Expect};
use crate::harness::{Message, Penstock, Servers, wait_until};
use crate::scene::{DEADLINE, PARTITIONS, Scene, events_table};

#[test]
fn every_record_lands_and_is_committed() {
    let servers = Servers::shared();
    let mut scene = Scene::new(&servers.kafka, &servers.clickhouse);
    scene.publish(5_000);
    scene.run_to_end();
    scene.expect_all(Duration::from_secs(5));
    assert_eq!(scene.sql("count()"), "20000", "nothing is there twice");
    scene.expect_committed(Duration::from_secs(5));
    // What is committed is not read again.
    scene.run_to_end();
    assert_eq!(scene.sql("count()"), "20000");
}

#[test]
fn the_corpus_of_bad_input_goes_to_dead_letters_and_its_neighbours_land() {
    let servers = Servers::shared();
    let scene = Scene::with_table(&servers.kafka, &servers.clickhouse, |topic| {
        format!("{}\ntopics: [{topic}]\n", corpus::table_yaml().replace("topics: [corpus]\n", ""))
    });
    let cases = corpus::cases();
    for (number, case) in cases.iter().enumerate() {
        scene.kafka.produce_message(
            &scene.topic,
            &Message {
                partition: 0,
                offset: 0,
                timestamp_ms: None,
                key: Some(case.name.as_bytes().to_vec()),
                payload: case.payload.clone(),
                headers: vec![("number".to_owned(), Some(number.to_string().into_bytes()))],
            },
        );
    }
    let (code, log) = Penstock::output(&scene.config, &["run", "--stop-at-end"], DEADLINE);
    assert_eq!(code, Some(0), "{log}");

    let letters: BTreeMap<String, Message> = scene
        .kafka
        .read_all(&scene.dead_topic())
        .into_iter()
        .map(|letter| (String::from_utf8(letter.key.clone().unwrap()).unwrap(), letter))
        .collect();
    let mut landed = 0;
    for (number, case) in cases.iter().enumerate() {
        match (&case.expect, letters.get(case.name)) {
            (Expect::Lands, None) => landed += 1,
            (Expect::Lands, Some(letter)) => panic!("{}: refused: {:?}", case.name, letter.headers),
            (Expect::Rejected(..), None) => panic!("{}: no dead letter", case.name),
            (Expect::Rejected(reason, path), Some(letter)) => {
                let header = |name: &str| letter.header(&format!("penstock-{name}"));
                assert_eq!(header("reason").as_deref(), Some(reason.code()), "{}", case.name);
                assert_eq!(header("path").as_deref(), Some(*path), "{}", case.name);
                assert_eq!(header("topic").as_ref(), Some(&scene.topic), "{}", case.name);
                assert_eq!(header("partition").as_deref(), Some("0"), "{}", case.name);
                assert_eq!(header("offset"), Some(number.to_string()), "{}", case.name);
                assert_eq!(letter.header("number"), Some(number.to_string()), "{}", case.name);
                assert_eq!(letter.payload, case.payload, "{}: original bytes", case.name);
            }
        }
    }
    assert!(0 < landed && !letters.is_empty(), "the corpus has both kinds");
    let table = format!("{}.corpus", scene.database.name);
    assert_eq!(scene.ch.value::<usize>(&format!("SELECT count() FROM {table}")), landed);
    scene.expect_committed(Duration::from_secs(5));
}

#[test]
fn rows_that_clickhouse_refuses_are_found_and_the_others_land() {
    let servers = Servers::shared();
    let scene = Scene::new(&servers.kafka, &servers.clickhouse);
    scene.ch.query(&format!(
        "ALTER TABLE {}.events ADD CONSTRAINT not_magic CHECK n NOT IN (7, 4444, 9999)",
        scene.database.name
    ));
    scene.kafka.produce(&scene.topic, 2, (0..10_000).map(|n| format!("{{\"n\":{n},\"text\":\"\"}}")));
    let log = scene.run_to_end();
    assert_eq!(scene.sql("count(), uniqExact(_offset)"), "9997\t9997", "{log}");
    assert_eq!(scene.sql("countIf(n IN (7, 4444, 9999))"), "0");
    let letters = scene.kafka.read_all(&scene.dead_topic());
    let mut payloads: Vec<String> =
        letters.iter().map(|l| String::from_utf8(l.payload.clone().unwrap()).unwrap()).collect();
    payloads.sort();
    let expected = ["{\"n\":4444,\"text\":\"\"}", "{\"n\":7,\"text\":\"\"}", "{\"n\":9999,\"text\":\"\"}"];
    assert_eq!(payloads, expected);
    for letter in &letters {
        assert_eq!(letter.header("penstock-reason").as_deref(), Some("refused_by_server"));
        assert!(letter.header("penstock-detail").unwrap().contains("469"), "{:?}", letter.headers);
    }
    scene.expect_committed(Duration::from_secs(5));
}

#[test]
fn sigterm_sends_what_is_held_and_commits_it() {
    let servers = Servers::shared();
    let mut scene = Scene::new(&servers.kafka, &servers.clickhouse);
    // Nothing but the end itself can close this batch.
    scene.config = scene.config.set("batch.age_max", "1h").set("batch.rows_max", 1_000_000);
    scene.publish(1_000);
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    wait_until(DEADLINE, "all records are taken in", || {
        process.metric("penstock_decoded_records_total", &[]) == Some(4_000.0)
    });
    assert_eq!(scene.landed(), 0);
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0));
    scene.expect_all(Duration::from_secs(5));
    scene.expect_committed(Duration::from_secs(5));
}

#[test]
fn a_limit_of_speed_holds() {
    let servers = Servers::shared();
    let mut scene = Scene::new(&servers.kafka, &servers.clickhouse);
    let mut topics = serde_json::Map::new();
    topics.insert(scene.topic.clone(), json!({ "records_per_second": 1000 }));
    scene.config = scene.config.set("limits.topics", topics);
    scene.publish(1_500);
    let started = std::time::Instant::now();
    scene.run_to_end();
    // 6,000 records at 1,000 a second, of which the first 1,000 are free.
    assert!(Duration::from_millis(4_500) < started.elapsed(), "{:?}", started.elapsed());
    scene.expect_all(Duration::from_secs(5));
}

#[test]
fn a_second_member_takes_over_its_share_and_nothing_is_lost() {
    let servers = Servers::shared();
    let mut scene = Scene::new(&servers.kafka, &servers.clickhouse);
    scene.publish(2_000);
    let mut first = Penstock::run(&scene.config);
    first.wait_ready();
    let owned = |p: &Penstock| p.metric("penstock_assigned_partitions", &[]).unwrap_or(0.0);
    wait_until(DEADLINE, "the first member owns all", || owned(&first) == f64::from(PARTITIONS));
    let mut second = Penstock::run(&scene.config);
    second.wait_ready();
    wait_until(DEADLINE, "the members share the partitions", || {
        scene.publish(50);
        owned(&first) == 2.0 && owned(&second) == 2.0
    });
    scene.publish(2_000);
    first.sigterm();
    assert_eq!(first.wait_exit(DEADLINE), Some(0));
    scene.publish(500);
    scene.expect_all(DEADLINE);
    scene.expect_committed(DEADLINE);
    second.sigterm();
    assert_eq!(second.wait_exit(DEADLINE), Some(0));
    assert_eq!(
        scene.sql("count() - uniqExact(_partition, _offset)"),
        "0",
        "an orderly hand-over doubles nothing"
    );
}

#[test]
fn tombstones_are_skipped_where_the_table_says_so() {
    let servers = Servers::shared();
    let mut scene = Scene::with_table(&servers.kafka, &servers.clickhouse, |topic| {
        events_table(topic, "tombstones: skip\n")
    });
    scene.publish(1);
    let tombstone = Message {
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: None,
        payload: None,
        headers: Vec::new(),
    };
    scene.kafka.produce_message(&scene.topic, &tombstone);
    scene.run_to_end();
    assert_eq!(scene.sql("count()"), PARTITIONS.to_string());
    scene.expect_committed(Duration::from_secs(5));
    assert_eq!(scene.kafka.read_all(&scene.dead_topic()), []);
}

#[test]
fn several_members_of_one_process_read_the_topics_that_match_a_pattern() {
    let servers = Servers::shared();
    // The dead-letter topic matches as well and must be left out.
    let mut scene = Scene::with_table(&servers.kafka, &servers.clickhouse, |topic| {
        events_table(&format!("\"^{topic}\""), "")
    });
    scene.config = scene.config.set("kafka.consumers", 2).set("kafka.prefetch", "32MiB");
    scene.publish(2_000);
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    scene.publish_raw("{");
    scene.publish(100);
    wait_until(DEADLINE, "both members own their share", || {
        process.metric("penstock_assigned_partitions", &[]) == Some(f64::from(PARTITIONS))
    });
    scene.expect_committed(DEADLINE);
    assert_eq!(scene.landed(), scene.published() - 1);
    assert_eq!(scene.kafka.read_all(&scene.dead_topic()).len(), 1);
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0));
}

#[test]
fn many_refused_rows_are_found_in_several_goes_and_nothing_is_doubled() {
    let servers = Servers::shared();
    let scene = Scene::new(&servers.kafka, &servers.clickhouse);
    let database = &scene.database.name;
    scene.ch.query(&format!("ALTER TABLE {database}.events ADD CONSTRAINT c CHECK n % 50 != 7"));
    scene.kafka.produce(&scene.topic, 0, (0..3_000).map(|n| format!("{{\"n\":{n},\"text\":\"\"}}")));
    let log = scene.run_to_end();
    assert!(
        log.contains("the search goes on after a pause"),
        "the test is about a search that pauses\n{log}"
    );
    assert_eq!(scene.sql("count(), uniqExact(_offset), countIf(n % 50 = 7)"), "2940\t2940\t0");
    assert_eq!(scene.kafka.read_all(&scene.dead_topic()).len(), 60);
    scene.expect_committed(Duration::from_secs(5));
}
