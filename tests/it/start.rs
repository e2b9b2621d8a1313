//! Starts that cannot work: a clear error with a hint, the right exit code, and no endless retry.

use std::time::Duration;

use serde_json::json;

use crate::harness::{HangingServer, Penstock, PenstockConfig, Servers, fresh_name};
use crate::scene::{Scene, events_table};

/// Whatever is wrong is said within this time.
const SAID_WITHIN: Duration = Duration::from_secs(60);

fn refuses(config: &PenstockConfig, arguments: &[&str], code: i32, words: &[&str]) {
    let (exit, log) = Penstock::output(config, arguments, SAID_WITHIN);
    assert_eq!(exit, Some(code), "{log}");
    assert!(log.contains("hint: "), "no hint in\n{log}");
    for word in words {
        assert!(log.contains(word), "{word:?} is not in\n{log}");
    }
}

fn scene() -> Scene {
    let servers = Servers::shared();
    Scene::new(&servers.kafka, &servers.clickhouse)
}

#[test]
fn servers_that_do_not_answer() {
    let scene = scene();
    let dead = scene.config.clone().set("kafka.brokers", json!(["127.0.0.1:1"]));
    refuses(&dead, &["run"], 4, &["127.0.0.1:1"]);
    let dead = scene.config.clone().set("clickhouse.endpoints", json!(["http://127.0.0.1:1"]));
    refuses(&dead, &["run"], 4, &["127.0.0.1:1"]);
    let hanging = HangingServer::start();
    let dead = scene.config.set("clickhouse.endpoints", json!([hanging.url()]));
    refuses(&dead, &["run"], 4, &[]);
}

#[test]
fn things_that_are_not_there() {
    let scene = scene();
    scene.kafka.delete_topic(&scene.dead_topic());
    refuses(&scene.config, &["run"], 2, &[&scene.dead_topic()]);
    let missing = fresh_name("missing");
    let file = scene.folder.path().join("missing.yaml");
    std::fs::write(&file, events_table(&missing, "")).unwrap();
    let config = scene.config.clone().set("tables.path", file.to_str().unwrap());
    refuses(&config, &["run"], 2, &[&missing]);
    scene.ch.query(&format!("DROP TABLE {}.events", scene.database.name));
    refuses(&scene.config, &["run"], 2, &["events", "penstock schema create"]);
}

#[test]
fn credentials_and_rights() {
    let scene = scene();
    let wrong = scene.config.clone().set("clickhouse.password", "not-the-password-1234");
    let (exit, log) = Penstock::output(&wrong, &["run"], SAID_WITHIN);
    assert_eq!(exit, Some(2), "{log}");
    assert!(log.contains("hint: "), "{log}");
    assert!(!log.contains("not-the-password-1234"), "{log}");
    let nobody = scene.config.set("clickhouse.user", "nobody").set("clickhouse.password", "nobody");
    let (exit, log) = Penstock::output(&nobody, &["run"], SAID_WITHIN);
    assert!(matches!(exit, Some(1 | 2)), "{exit:?} {log}");
    assert!(log.contains("hint: "), "{log}");
}

#[test]
fn broken_files() {
    let scene = scene();
    let broken = scene
        .config
        .clone()
        .set("kafka.groop", "x")
        .set("batch.rows_max", "many")
        .set("clickhouse.endpoints", json!([]));
    refuses(&broken, &["run"], 2, &["kafka.groop", "batch.rows_max", "clickhouse.endpoints"]);
    let file = scene.folder.path().join("broken.yaml");
    std::fs::write(&file, events_table("t", "colour: red\n").replace("UInt64", "UInt65")).unwrap();
    let config = scene.config.clone().set("tables.path", file.to_str().unwrap());
    refuses(&config, &["run"], 2, &["UInt65", "colour"]);
    std::fs::write(&file, "table: [").unwrap();
    refuses(&config, &["run"], 2, &["broken.yaml"]);
    let certificate = scene.folder.path().join("ca.pem");
    std::fs::write(&certificate, "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
        .unwrap();
    let config = scene
        .config
        .clone()
        .set("clickhouse.endpoints", json!(["https://127.0.0.1:1"]))
        .set("clickhouse.tls.ca_file", certificate.to_str().unwrap());
    refuses(&config, &["run"], 2, &["ca.pem"]);
    let config = scene
        .config
        .set("kafka.security.protocol", "ssl")
        .set("kafka.security.ca_file", certificate.to_str().unwrap());
    refuses(&config, &["run"], 2, &["kafka"]);
}
