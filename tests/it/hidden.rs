//! Columns whose values are hidden, through the whole line: what lands, what a second reading makes of the same records,
//! what dead letters show, how values are opened again, and what becomes of a key that is needed.
//!
//! It refuses to know how values are hidden: pseudonyms and envelopes are asked of `penstock crypt`.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::harness::{ClickHouse, Kafka, Penstock, Servers};
use crate::scene::{DEADLINE, PARTITIONS, Scene, events_table};

const EVENTS: u64 = 200;
const PEOPLE: u64 = 20;

/// A key ring of one key, and its name.
fn ring(scene: &mut Scene) -> String {
    let ring = scene.folder.path().join("ring");
    scene.config = scene.config.clone().set("crypt.keyring_file", ring.to_str().unwrap());
    call(scene, &["crypt", "keygen"]).trim().to_owned()
}

fn output(scene: &Scene, arguments: &[&str]) -> (Option<i32>, String) {
    Penstock::output(&scene.config, &[&["--log", "off"], arguments].concat(), DEADLINE)
}

fn call(scene: &Scene, arguments: &[&str]) -> String {
    let (code, log) = output(scene, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {log}");
    log
}

fn columns(topic: &str, key: &str) -> String {
    let hidden = format!(
        "- {{name: email, type: String, pattern: '@', protect: {{pseudonym: {key}}}}}\n\
         - {{name: card, type: Nullable(String), protect: {{encrypt: {key}}}}}\n\
         - {{name: phone, type: LowCardinality(String), default: '', protect: {{keep_last: 3}}}}\n\
         - {{name: note, type: Nullable(String), protect: redact}}\n\
         - {{name: _partition"
    );
    let more = "subject_columns: [email]\nsettings: {non_replicated_deduplication_window: 10000}\n";
    events_table(topic, more).replace("- {name: _partition", &hidden)
}

/// Events of some people, each with an email address, a card, a phone and a note.
fn scene(kafka: &Kafka, ch: &ClickHouse) -> (Scene, String) {
    let mut scene = Scene::with_table(kafka, ch, |topic| events_table(topic, ""));
    let key = ring(&mut scene);
    std::fs::write(scene.folder.path().join("table.yaml"), columns(&scene.topic, &key)).unwrap();
    scene.ch.query(&format!("DROP TABLE {}.events SYNC", scene.database.name));
    call(&scene, &["schema", "create"]);
    scene.config = scene
        .config
        .clone()
        .set("delivery", "exactly_once")
        .set("lifecycle.erasure_grace", "0ms")
        .set("lifecycle.erasures_refresh", "100ms");
    (scene, key)
}

fn publish(scene: &Scene) {
    for partition in 0..PARTITIONS {
        let payload = |n: u64| {
            let who = n % PEOPLE;
            format!(
                "{{\"n\":{n},\"text\":\"x\",\"email\":\"{}\",\"card\":\"card-{n}\",\"phone\":\"555-0{who:02}\",\"note\":\"n\"}}",
                email(who)
            )
        };
        scene.kafka.produce(&scene.topic, partition, (0..EVENTS).map(payload));
    }
}

fn email(who: u64) -> String {
    format!("secret{who}@example.org")
}

/// What `crypt pseudonym` or `crypt decrypt` makes of a text.
fn crypt(scene: &Scene, arguments: &[&str], text: &str) -> String {
    let file = scene.folder.path().join("value");
    std::fs::write(&file, text).unwrap();
    call(scene, &[&["crypt"], arguments, &["--file", file.to_str().unwrap()]].concat())
}

/// All rows as one number.
fn sum(scene: &Scene) -> String {
    scene.sql("count(), sum(cityHash64(* EXCEPT text)), uniqExact(email), uniqExact(card), any(note)")
}

#[test]
fn values_are_hidden_before_they_land_and_the_same_when_they_are_read_again() {
    let servers = Servers::shared();
    let (scene, key) = scene(&servers.kafka, &servers.clickhouse);
    publish(&scene);
    scene.run_to_end();
    let first = sum(&scene);
    let all = PARTITIONS.unsigned_abs() as u64 * EVENTS;
    assert_eq!(first.split('\t').next().unwrap(), all.to_string());
    let shown: Vec<&str> = first.split('\t').skip(2).collect();
    assert_eq!(shown, [PEOPLE.to_string().as_str(), all.to_string().as_str(), "***"]);
    assert_eq!(
        scene.sql("countIf(match(toString(tuple(*)), 'secret|card-|555-'))"),
        "0",
        "nothing is readable"
    );
    let pseudonym = crypt(&scene, &["pseudonym", "--key", &key], &format!("{}\n", email(7)));
    assert_eq!(
        scene.sql(&format!("countIf(email = '{}' AND n % {PEOPLE} = 7)", pseudonym.trim())),
        (all / PEOPLE).to_string()
    );
    assert_eq!(
        scene.sql(&format!("countIf(phone = '****007' AND n % {PEOPLE} = 7)")),
        (all / PEOPLE).to_string()
    );
    let card = scene.sql("anyIf(card, n = 41)");
    assert_eq!(crypt(&scene, &["decrypt", "--context", "events.card"], &card), "card-41");

    // Into an empty table, so that nothing is taken for the same by its token.
    let table = format!("{}.events", scene.database.name);
    scene.ch.query(&format!("DROP TABLE {table} SYNC"));
    call(&scene, &["schema", "create"]);
    scene.rewind();
    scene.run_to_end();
    assert_eq!(sum(&scene), first, "to the byte");
    let account = call(&scene, &["audit-rows", "--deep", "--output", "json"]);
    let account: Value = serde_json::from_str(&account).unwrap();
    assert_eq!(account["complete"], Value::Bool(true), "{account}");

    call(&scene, &["erase", "--subject", &format!("email={}", pseudonym.trim()), "--reason", "request"]);
    scene.rewind();
    scene.run_to_end();
    assert_eq!(scene.sql(&format!("countIf(n % {PEOPLE} = 7)")), "0", "who was erased stays away");
}

#[test]
fn dead_letters_show_hidden_fields_only_to_who_asks_for_them() {
    let servers = Servers::shared();
    let (scene, _) = scene(&servers.kafka, &servers.clickhouse);
    scene.kafka.produce(
        &scene.topic,
        0,
        [
            "{\"n\":\"x\",\"text\":\"seen\",\"email\":\"secret@x\",\"card\":\"secret\",\"note\":\"secret\"}",
            "{\"n\":1,\"text\":\"seen\",\"email\":\"secret\"}",
            "{\"email\":\"secret@x\"",
        ],
    );
    let log = scene.run_to_end();
    assert!(!log.contains("secret"), "{log}");
    let at = |n: usize| format!("{}/0@{n}", scene.dead_topic());
    for (n, seen) in [(0, true), (1, true), (2, false)] {
        for output in ["text", "json"] {
            let shown = call(&scene, &["dlq", "show", &at(n), "--output", output]);
            assert!(!shown.contains("secret") && shown.contains("***"), "{shown}");
            assert_eq!(shown.contains("seen"), seen, "{shown}");
        }
        let plain = call(&scene, &["dlq", "show", &at(n), "--plain"]);
        assert!(plain.contains("secret"), "{plain}");
    }
    let reasons = call(&scene, &["dlq", "list", "--output", "json"]);
    assert!(!reasons.contains("secret"), "{reasons}");
    let kept: BTreeSet<bool> = scene
        .kafka
        .read_all(&scene.dead_topic())
        .iter()
        .map(|letter| {
            String::from_utf8_lossy(letter.payload.as_deref().unwrap_or_default()).contains("secret")
        })
        .collect();
    assert_eq!(kept, BTreeSet::from([true]), "the letters themselves have what the records had");
}

#[test]
fn a_line_without_its_keys_does_not_begin_and_keys_of_columns_are_not_destroyed() {
    let servers = Servers::shared();
    let (mut scene, key) = scene(&servers.kafka, &servers.clickhouse);
    publish(&scene);
    let second = call(&scene, &["crypt", "keygen"]).trim().to_owned();
    call(&scene, &["crypt", "rotate", "--to", &second]);
    let status = call(&scene, &["crypt", "status"]);
    assert!(status.contains("events.email") && status.contains("events.card"), "{status}");
    let folder = scene.folder.path().to_str().unwrap().to_owned();
    let (code, log) = output(&scene, &["crypt", "destroy", &key, &folder]);
    assert!(code == Some(2) && log.contains("the column events.email"), "{code:?} {log}");
    // Table files are judged where there are no keys; rows are not made there.
    let with_ring = scene.config.clone();
    scene.config = scene.config.clone().set("crypt.keyring_file", Value::Null);
    call(&scene, &["check", Path::new(&folder).join("table.yaml").to_str().unwrap()]);
    let (code, log) = output(&scene, &["run", "--stop-at-end"]);
    assert!(code == Some(2) && log.contains("events.email") && log.contains("hint: "), "{code:?} {log}");
    assert_eq!(scene.sql("count()"), "0");
    scene.config = with_ring;
    scene.run_to_end();
    let all = PARTITIONS.unsigned_abs() as u64 * EVENTS;
    assert_eq!(scene.sql("count()"), all.to_string(), "a key need not be primary");
}
