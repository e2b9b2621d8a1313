//! The commands besides `run`, as a user calls them.

use std::time::{Duration, Instant};

use crate::harness::{ClickHouse, Kafka, Penstock, PenstockConfig, Servers, fresh_name};
use crate::scene::{DEADLINE, Scene};

fn call(config: &PenstockConfig, arguments: &[&str]) -> (Option<i32>, String) {
    Penstock::output(config, arguments, DEADLINE)
}

/// The configuration with the tables that ship with penstock, in a database of its own.
fn shipped(kafka: &Kafka, ch: &ClickHouse, database: &str) -> PenstockConfig {
    PenstockConfig::new(
        kafka,
        &[ch],
        database,
        &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas"),
    )
}

#[test]
fn every_shipped_table_passes_its_examples_and_can_be_created() {
    let servers = Servers::shared();
    let database = servers.clickhouse.fresh_database();
    let config = shipped(&servers.kafka, &servers.clickhouse, &database.name);
    let (code, log) = call(&config, &["check"]);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.matches(": ok, ").count() >= 3, "{log}");

    let (code, log) = call(&config, &["schema", "diff"]);
    assert_eq!(code, Some(3), "{log}");
    for _ in 0..2 {
        let (code, log) = call(&config, &["schema", "create"]);
        assert_eq!(code, Some(0), "{log}");
    }
    let (code, log) = call(&config, &["schema", "diff"]);
    assert_eq!(code, Some(0), "{log}");
    servers.clickhouse.query(&format!("ALTER TABLE {}.clicks DROP COLUMN price", database.name));
    let (code, log) = call(&config, &["schema", "diff", "clicks", "--output", "json"]);
    assert_eq!(code, Some(3), "{log}");
    assert!(
        log.contains("price") && log.contains("\"fillable\": false") && log.contains("ALTER TABLE"),
        "{log}"
    );
    let (code, log) = call(&config, &["schema", "ddl", "flights"]);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("CREATE TABLE") && log.contains("flights"), "{log}");
}

#[test]
fn an_example_that_does_not_do_as_its_name_says_is_told() {
    let servers = Servers::shared();
    let scene = Scene::new(&servers.kafka, &servers.clickhouse);
    let examples = scene.folder.path().join("examples");
    std::fs::create_dir(&examples).unwrap();
    std::fs::write(examples.join("ok-one.json"), "{\"n\":1,\"text\":\"\"}").unwrap();
    std::fs::write(examples.join("bad-two.json"), "{\"n\":2,\"text\":\"\"}").unwrap();
    std::fs::write(examples.join("bad-two.reason"), "wrong_type n").unwrap();
    let (code, log) = call(&scene.config, &["check"]);
    assert_eq!(code, Some(3), "{log}");
    assert!(
        log.contains("bad-two.json") && log.contains("it decodes") && !log.contains("ok-one.json:"),
        "{log}"
    );
}

#[test]
fn synthetic_clicks_travel_the_line_without_a_dead_letter() {
    let servers = Servers::shared();
    let database = servers.clickhouse.fresh_database();
    let config = shipped(&servers.kafka, &servers.clickhouse, &database.name);
    let config = config.set("tables.only", serde_json::json!(["clicks"]));
    // The topic's name stands in the table file, so this is the one test that may use it.
    let generate = ["generate", "clicks", "--count", "20000", "--partitions", "3"];
    let started = Instant::now();
    let (code, log) = call(&config, &[&generate[..], &["--rate", "8000", "--compression", "zstd"]].concat());
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("20,000 messages"), "{log}");
    assert!(Duration::from_millis(2_400) < started.elapsed(), "8,000 a second, no faster: {log}");
    let (code, log) = call(&config, &["schema", "create", "clicks"]);
    assert_eq!(code, Some(0), "{log}");
    let (code, log) = call(&config, &["run", "--stop-at-end", "--progress", "always"]);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("20,000 rows") && log.contains("dead letters 0"), "{log}");
    let sql = "SELECT count() = 20000 AND uniqExact(event_id) = 20000 AS same FROM clicks WHERE user_id >= {least:UInt64}";
    let (code, log) = call(&config, &["query", sql, "--param", "least=1", "--format", "TSV"]);
    assert_eq!((code, log.trim()), (Some(0), "1"));
    let sql = "SELECT dateDiff('millisecond', min(time), max(time)) FROM clicks";
    let (code, log) = call(&config, &["query", sql, "--format", "TSV"]);
    assert_eq!((code, log.trim()), (Some(0), "2499"), "times pass at the rate");
}

#[test]
fn a_query_that_fails_says_why() {
    let servers = Servers::shared();
    let database = servers.clickhouse.fresh_database();
    let config = shipped(&servers.kafka, &servers.clickhouse, &database.name);
    let missing = fresh_name("missing");
    let (code, log) = call(&config, &["query", &format!("SELECT * FROM {missing}")]);
    assert!(matches!(code, Some(1 | 2)), "{code:?} {log}");
    assert!(log.contains(&missing) && log.contains("hint: "), "{log}");
}
