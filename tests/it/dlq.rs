//! Dead letters against real servers: listed, grouped, shown, replayed once whatever happens, purged, and held
//! below their ceiling.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use penstock::dead_letter::replay::{Options, Replay, Scribe};
use penstock::dead_letter::{Filter, Letter, Library, Watch};
use penstock::kafka;

use crate::harness::{Message, Penstock, Servers, wait_for, wait_until};
use crate::scene::{DEADLINE, PARTITIONS, Scene};

fn scene() -> Scene {
    let servers = Servers::shared();
    Scene::new(&servers.kafka, &servers.clickhouse)
}

/// Runs `penstock dlq ARGUMENTS`; exit code and everything it printed.
fn dlq(scene: &Scene, arguments: &[&str]) -> (Option<i32>, String) {
    Penstock::output(&scene.config, &[&["dlq", "--log", "error"], arguments].concat(), DEADLINE)
}

/// The same, as JSON.
fn dlq_json(scene: &Scene, arguments: &[&str]) -> Value {
    let (code, log) = dlq(scene, &[arguments, &["--output", "json"]].concat());
    assert_eq!(code, Some(0), "{log}");
    serde_json::from_str(&log).unwrap_or_else(|error| panic!("{error}: {log}"))
}

fn letters(scene: &Scene, arguments: &[&str]) -> Vec<Value> {
    let list = dlq_json(scene, &[&["list"], arguments].concat());
    list["letters"].as_array().unwrap().clone()
}

/// How often each letter was published again, by the header that names it.
pub fn replays(scene: &Scene, topic: &str) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for message in scene.kafka.read_all(topic) {
        if let Some(of) = message.header("penstock-replay-of") {
            *all.entry(of).or_default() += 1;
        }
    }
    all
}

pub fn expect_each_once(scene: &Scene, letters: usize) {
    let all = replays(scene, &scene.topic);
    assert_eq!(all.len(), letters, "{all:?}");
    assert!(all.values().all(|count| *count == 1), "{all:?}");
}

/// Publishes this many records without their text to each partition, and lets them become dead letters.
pub fn make_letters(scene: &mut Scene, per_partition: u64) {
    for partition in 0..PARTITIONS {
        let records = (0..per_partition).map(|n| format!("{{\"n\":{n}}}"));
        scene.kafka.produce(&scene.topic, partition, records);
    }
    scene.run_to_end();
    assert_eq!(scene.kafka.read_all(&scene.dead_topic()).len() as u64, per_partition * PARTITIONS as u64);
}

fn kafka_config(scene: &Scene) -> kafka::Config {
    kafka::Config {
        brokers: scene.kafka.brokers.split(',').map(str::to_owned).collect(),
        ..Default::default()
    }
}

fn open(scene: &Scene) -> Library {
    Library::open(&kafka_config(scene), &[scene.dead_topic()], Watch::none()).unwrap()
}

#[test]
fn letters_are_listed_grouped_and_shown() {
    let mut scene = scene();
    scene.publish(10);
    scene.kafka.produce(
        &scene.topic,
        1,
        ["{\"n\":1}", "{\"n\":\"x\",\"text\":\"\"}", "{\"n\":2}", "no json"],
    );
    let key = Some(b"\xff\x00".to_vec());
    let trace = vec![("trace".to_owned(), Some(b"abc".to_vec()))];
    let message = Message {
        partition: 2,
        offset: 0,
        timestamp_ms: None,
        key,
        payload: Some(b"\xfe\xff".to_vec()),
        headers: trace,
    };
    scene.kafka.produce_message(&scene.topic, &message);
    scene.run_to_end();

    let all = letters(&scene, &[]);
    assert_eq!(all.len(), 5);
    assert!(all.windows(2).all(|pair| pair[0]["refused_ms"].as_i64() <= pair[1]["refused_ms"].as_i64()));
    let missing = letters(&scene, &["--reason", "missing_field"]);
    assert_eq!(missing.len(), 2, "{missing:?}");
    assert_eq!((&missing[0]["path"], &missing[0]["topic"]), (&json!("text"), &json!(scene.topic)));
    assert_eq!((&missing[0]["attempt"], &missing[0]["state"]), (&json!(1), &json!("waiting")));
    let one = letters(&scene, &["--topic", &scene.topic, "--partition", "1", "--offset", "12"]);
    assert_eq!((one.len(), &one[0]["payload_bytes"]), (1, &json!(7)));
    for (arguments, expected) in [
        (&["--path", "n"][..], 1),
        (&["--table", "events"][..], 5),
        (&["--table", "other"][..], 0),
        (&["--since", "1h"][..], 5),
        (&["--until", "1h"][..], 0),
        (&["--since", "2100-01-01T00:00:00Z"][..], 0),
        (&["--state", "replayed"][..], 0),
        (&["--limit", "2"][..], 2),
    ] {
        assert_eq!(letters(&scene, arguments).len(), expected, "{arguments:?}");
    }
    let (code, text) = dlq(&scene, &["list", "--limit", "2"]);
    assert!(code == Some(0) && text.contains("REFUSED") && text.contains("the newest 2 of 5"), "{text}");

    let groups = dlq_json(&scene, &["groups"]);
    let groups = groups["groups"].as_array().unwrap();
    assert_eq!((&groups[0]["count"], &groups[0]["reason"]), (&json!(2), &json!("missing_field")));
    assert_eq!(groups[0]["waiting"], 2);

    let position = one[0]["letter"].as_str().unwrap();
    let (code, text) = dlq(&scene, &["show", position]);
    assert_eq!(code, Some(0), "{text}");
    for part in ["missing_field", "waiting", "    \"n\": 2", "(why it was refused"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let origin = format!("{}/2@10", scene.topic);
    let (code, text) = dlq(&scene, &["show", &origin, "--origin"]);
    assert_eq!(code, Some(0), "{text}");
    for part in ["00000000  fe ff", "trace = abc", "0xff00"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, text) = dlq(&scene, &["show", &format!("{}/2@0", scene.topic), "--origin"]);
    assert!(code == Some(2) && text.contains("hint: "), "{text}");
}

#[test]
fn wrong_use_is_told_with_what_to_do() {
    let scene = scene();
    let (code, text) = dlq(&scene, &["list", "--topic", "no-such-topic"]);
    assert!(
        code == Some(2) && text.contains("no-such-topic.dead") && text.contains("hint: create it"),
        "{text}"
    );
    let (code, text) = dlq(&scene, &["replay", "--topic", &scene.topic]);
    assert!(code == Some(2) && text.contains("--dry-run"), "{text}");
    let (code, text) = dlq(&scene, &["list", "--since", "yesterday"]);
    assert!(code == Some(2) && text.contains("2h"), "{text}");
    let (code, text) = dlq(&scene, &["show", &format!("{}/0@5", scene.dead_topic())]);
    assert!(code == Some(2) && text.contains("no longer in the topic"), "{text}");
    assert!(letters(&scene, &[]).is_empty());
}

#[test]
fn a_replayed_record_that_is_refused_again_counts_its_attempts() {
    let mut scene = scene();
    make_letters(&mut scene, 2);
    let plan = dlq_json(&scene, &["replay", "--dry-run"]);
    assert_eq!((&plan["would_send"], &plan["groups"][0]["count"]), (&json!(8), &json!(8)));
    assert!(replays(&scene, &scene.topic).is_empty(), "a dry run sends nothing");

    let done = dlq_json(&scene, &["replay", "--partition", "3", "--yes"]);
    assert_eq!(done["sent"], 2);
    expect_each_once(&scene, 2);
    let sent: Vec<Message> =
        scene.kafka.read_all(&scene.topic).into_iter().filter(|m| 2 <= m.offset).collect();
    assert!(sent.iter().all(|message| message.partition == 3), "{sent:?}");
    let payloads: Vec<_> =
        sent.iter().map(|m| String::from_utf8_lossy(m.payload.as_ref().unwrap())).collect();
    assert_eq!(payloads, ["{\"n\":0}", "{\"n\":1}"], "in the order of their origin");
    assert_eq!(letters(&scene, &["--state", "replayed"]).len(), 2);
    assert_eq!(dlq_json(&scene, &["replay", "--partition", "3", "--yes"])["sent"], 0, "once is enough");

    scene.run_to_end();
    let again = letters(&scene, &["--partition", "3", "--state", "waiting"]);
    assert_eq!(again.len(), 2, "{again:?}");
    assert!(again.iter().all(|letter| letter["attempt"] == 2), "{again:?}");
    assert!(again[0]["replay_of"].as_str().unwrap().starts_with(&scene.dead_topic()));
    let sent =
        |arguments: &[&str]| dlq_json(&scene, &[&["replay", "--yes"], arguments].concat())["sent"].clone();
    assert_eq!(sent(&["--limit", "3", "--to", &scene.topic]), 3);
    assert_eq!(sent(&[]), 5, "the limit left these");
    assert_eq!(sent(&[]), 0);
    assert_eq!(sent(&["--again"]), 10);
}

/// Each letter is sent once, wherever a replay was cut off.
#[test]
fn a_replay_cut_off_at_any_point_sends_each_letter_once() {
    let mut scene = scene();
    make_letters(&mut scene, 10);
    let library = open(&scene);
    let mut all: Vec<Letter> = Vec::new();
    library
        .read(&Filter::default(), |letter| {
            all.push(letter);
            Ok(std::ops::ControlFlow::Continue(()))
        })
        .unwrap();
    let source = all[0].position.source.clone();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let scribe = Scribe::new(&kafka_config(&scene), runtime.handle().clone()).unwrap();
    // What was begun before the process was gone, of four parcels: nothing sent, half, all, all and said so.
    for (number, sent) in [0, 4, 8, 8].into_iter().enumerate() {
        let mut replay = Replay::new(&library, scribe.clone(), Options::default());
        let mut parcel = replay.begin(&source, all[number * 8..][..8].to_vec()).unwrap();
        replay.send(&mut parcel, sent).unwrap();
        if number == 3 {
            replay.finish(&parcel).unwrap();
        }
    }
    // The next one is cut off as well, after it has found out what there was.
    let library = open(&scene);
    let options = Options { settle: Duration::ZERO, ..Options::default() };
    let mut replay = Replay::new(&library, scribe.clone(), options.clone());
    replay.settle().unwrap();
    assert_eq!(replay.outcome.found, 12);
    let library = open(&scene);
    let mut replay = Replay::new(&library, scribe.clone(), options.clone());
    replay.run(&Filter::default()).unwrap();
    assert_eq!((replay.outcome.sent, replay.outcome.found), (20, 0));
    expect_each_once(&scene, 40);
    let library = open(&scene);
    let mut replay = Replay::new(&library, scribe, options);
    replay.run(&Filter::default()).unwrap();
    assert_eq!(replay.outcome.sent, 0, "everything is replayed");
    assert_eq!(letters(&scene, &["--state", "replayed"]).len(), 40);
}

#[test]
fn a_replay_that_was_killed_is_run_again_and_sends_each_letter_once() {
    let mut scene = scene();
    make_letters(&mut scene, 50);
    for rate in ["20", "400"] {
        let before = replays(&scene, &scene.topic).len();
        let mut process = Penstock::start(&scene.config, &["dlq", "replay", "--yes", "--rate", rate]);
        wait_until(DEADLINE, "some letters are sent", || before < replays(&scene, &scene.topic).len());
        process.kill9();
    }
    let done = dlq_json(&scene, &["replay", "--yes"]);
    expect_each_once(&scene, 200);
    assert!(done["sent"].as_u64().unwrap() < 200, "{done}");
    assert_eq!(letters(&scene, &["--state", "replayed", "--limit", "1000"]).len(), 200);
}

#[test]
fn a_replay_keeps_the_order_of_origin() {
    let mut scene = scene();
    scene.config = scene.config.set("dead_letter.ceiling.percent_max", 100);
    make_letters(&mut scene, 1500);
    assert_eq!(dlq_json(&scene, &["replay", "--yes", "--rate", "100000"])["sent"], 6000);
    expect_each_once(&scene, 6000);
    for partition in 0..PARTITIONS {
        let all = scene.kafka.read_all(&scene.topic).into_iter().filter(|m| m.partition == partition);
        let replayed = all.filter(|message| 1500 <= message.offset);
        let origins: Vec<i64> =
            replayed.map(|message| message.header("penstock-offset").unwrap().parse().unwrap()).collect();
        assert_eq!(origins, (0..1500).collect::<Vec<i64>>(), "partition {partition}");
    }
}

#[test]
fn two_replays_at_a_time_send_each_letter_once() {
    let mut scene = scene();
    make_letters(&mut scene, 100);
    let arguments = ["dlq", "replay", "--yes", "--rate", "200"];
    let mut processes = [0, 1].map(|_| Penstock::start(&scene.config, &arguments));
    for process in &mut processes {
        let code = process.wait_exit(DEADLINE);
        assert_eq!(code, Some(0), "{}", process.log());
    }
    expect_each_once(&scene, 400);
}

#[test]
fn purging_deletes_what_it_can_and_marks_the_rest() {
    let scene = scene();
    // Letters that are made at the same time may change places; these must not.
    for payloads in [&["{\"n\":1}", "{\"n\":2}"][..], &["bad"], &["{\"n\":3}", "bad", "{\"n\":4}"]] {
        scene.kafka.produce(&scene.topic, 0, payloads);
        scene.run_to_end();
    }
    let purge = ["purge", "--reason", "missing_field"];
    let plan = dlq_json(&scene, &[&purge[..], &["--dry-run"]].concat());
    let counts = |value: &Value| ["deleted", "marked", "done"].map(|name| value[name].clone());
    assert_eq!(counts(&plan), [json!(2), json!(2), json!(false)]);
    assert_eq!(letters(&scene, &[]).len(), 6, "a dry run does nothing");
    let done = dlq_json(&scene, &[&purge[..], &["--yes"]].concat());
    assert_eq!(counts(&done), [json!(2), json!(2), json!(true)]);
    assert_eq!(scene.kafka.watermarks(&scene.dead_topic(), 0).0, 2, "the first two are deleted");
    assert!(letters(&scene, &["--reason", "missing_field"]).is_empty(), "the others are left out");
    assert_eq!(letters(&scene, &[]).len(), 2);
    assert_eq!(dlq_json(&scene, &["replay", "--dry-run"])["would_send"], 2);
    let done = dlq_json(&scene, &["purge", "--yes"]);
    assert_eq!(counts(&done), [json!(2), json!(0), json!(true)]);
    assert_eq!(done["deleted_settled"], 2);
    let (first, next) = scene.kafka.watermarks(&scene.dead_topic(), 0);
    assert_eq!(first, next, "nothing is left");
}

#[test]
fn a_topic_of_bad_records_pauses_instead_of_draining_away() {
    let scene = scene();
    scene.kafka.produce(&scene.topic, 0, (0..100_000).map(|n| format!("{{\"n\":{n}}}")));
    let mut process = Penstock::run(&scene.config);
    process.wait_ready();
    let labels = ["reason=\"dead_letter_ceiling\""];
    wait_until(DEADLINE, "the partition is paused", || {
        process.metric("penstock_paused_partitions", &labels).is_some_and(|paused| 0.0 < paused)
    });
    let (status, body) = process.health().unwrap();
    assert!(status == 200 && body.contains("the topic is paused, nothing is lost"), "{body}");
    assert!(body.contains(&format!("penstock dlq groups --topic {}", scene.topic)), "{body}");
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0));
    let letters = scene.kafka.watermarks(&scene.dead_topic(), 0).1;
    assert!((1000..3000).contains(&letters), "{letters} dead letters of 100,000 bad records");
}

#[test]
fn reading_goes_on_once_a_probe_is_good() {
    let mut scene = scene();
    scene.config = scene.config.set("dead_letter.ceiling", json!({ "window": "1s", "records_min": 1000 }));
    scene.kafka.produce(&scene.topic, 0, (0..1500).map(|n| format!("{{\"n\":{n}}}")));
    scene.kafka.produce(&scene.topic, 0, (0..2000).map(|n| format!("{{\"n\":{n},\"text\":\"\"}}")));
    let mut process = Penstock::run(&scene.config);
    process.wait_log("the topic is paused, nothing is lost", DEADLINE);
    wait_until(DEADLINE, "the good records land", || scene.landed() == 2000);
    wait_for(DEADLINE, "health is well again", || {
        process.health().filter(|(_, body)| !body.contains("the topic is paused"))
    });
    assert_eq!(scene.kafka.watermarks(&scene.dead_topic(), 0).1, 1500);
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0));
}

#[test]
fn a_letter_that_is_too_large_is_cut_and_replayed_whole() {
    let scene = scene();
    scene.kafka.delete_topic(&scene.dead_topic());
    wait_until(DEADLINE, "the topic is gone", || scene.kafka.partitions(&scene.dead_topic()).is_empty());
    scene.kafka.create_topic(&scene.dead_topic(), 1, 1, &[("max.message.bytes", "20000")]);
    let payload = format!("{{\"n\":1,\"other\":\"{}\"}}", noise(300_000));
    let trace = vec![("trace".to_owned(), Some(b"abc".to_vec()))];
    let message = Message {
        partition: 1,
        offset: 0,
        timestamp_ms: None,
        key: Some(b"k".to_vec()),
        payload: Some(payload.clone().into_bytes()),
        headers: trace,
    };
    scene.kafka.produce_message(&scene.topic, &message);
    let bare = vec![("large".to_owned(), Some(noise(50_000).into_bytes()))];
    scene.kafka.produce_message(&scene.topic, &Message { headers: bare, ..message.clone() });
    // A small one in the same batch is not to blame.
    scene.kafka.produce_message(&scene.topic, &Message { payload: Some(b"small".to_vec()), ..message });
    let log = scene.run_to_end();
    assert!(log.contains("larger dead letters are cut") && log.contains("hint: "), "{log}");
    scene.expect_committed(Duration::from_secs(5));
    let letters = letters(&scene, &[]);
    let mut cut: Vec<_> = letters.iter().map(|l| l["payload_cut_bytes"].as_u64().unwrap()).collect();
    cut.sort();
    assert_eq!(cut, [0, payload.len() as u64 - (16 << 10), payload.len() as u64], "{letters:?}");
    let letter = |offset: i64| {
        let found = letters.iter().find(|letter| letter["offset"] == offset).unwrap();
        found["letter"].as_str().unwrap()
    };
    let (code, text) = dlq(&scene, &["show", letter(0)]);
    assert!(
        code == Some(0) && text.contains(&format!("The whole record is at {}/1@0", scene.topic)),
        "{text}"
    );

    assert_eq!(dlq_json(&scene, &["replay", "--yes"])["sent"], 3);
    let sent = &scene.kafka.read_all(&scene.topic)[3..];
    assert_eq!(sent[2].payload.as_deref(), Some(&b"small"[..]));
    for (message, header) in sent.iter().zip(["trace", "large"]) {
        assert_eq!(message.payload.as_deref(), Some(payload.as_bytes()));
        assert!(message.header(header).is_some() && message.header("penstock-payload-cut-bytes").is_none());
        assert_eq!(
            (message.key.as_deref(), message.header("penstock-attempt").as_deref()),
            (Some(&b"k"[..]), Some("1"))
        );
    }
}

/// Text that does not compress.
fn noise(length: usize) -> String {
    (0..length).map(|_| char::from(rand::random_range(b'a'..=b'z'))).collect()
}
