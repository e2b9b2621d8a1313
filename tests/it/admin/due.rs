//! What a schedule does when it is due: with its own rights, since nobody asked for it.
//!
//! It refuses to know what the commands do. Each one that can be scheduled becomes due here, so that none is refused
//! for a right that only those have who run it by hand.

use serde_json::{Value, json};

use penstock::admin::schedule::commands::COMMANDS;

use super::{Admin, DEADLINE};
use crate::backup::with_backups;
use crate::harness::{Servers, wait_until};

const TABLE: &str = "table: t\ntopics: [TOPIC]\npartition_by: toYYYYMM(day)\norder_by: [n]\n\
    lifecycle: {time_column: day, delete_after: 30d}\n\
    columns:\n- {name: day, type: Date}\n- {name: n, type: UInt64}\n";

#[test]
fn what_is_due_may_do_all_that_it_does() {
    let whats = [
        "lifecycle apply t",
        "table optimize t",
        "backup run daily",
        "backup verify daily",
        "backup prune daily",
        "migrate verify",
        "migrate drift",
        "audit verify",
    ];
    let is_tried = |words: &str| whats.iter().any(|what| what.starts_with(words));
    let left: Vec<_> = COMMANDS.iter().map(|one| one.words).filter(|words| !is_tried(words)).collect();
    assert!(left.is_empty(), "never due here: {left:?}");

    let schedules: Vec<Value> = whats
        .iter()
        .enumerate()
        .map(|(n, what)| json!({ "name": format!("s{n}"), "what": what, "every": "2s" }))
        .collect();
    let servers = Servers::shared();
    let admin = Admin::start_with(|config| {
        let database = config.text("clickhouse.database").to_owned();
        with_backups(config, &servers.clickhouse, &database)
            .set(
                "admin.backup.policies",
                json!({ "daily": { "tables": ["t"], "verify": "restore", "prune": true } }),
            )
            .set("admin.schedules", Value::from(schedules))
            .set("kafka.brokers", json!([servers.kafka.brokers]))
    });
    admin.bench.write(
        "V1__t.sql",
        "CREATE TABLE t (day Date, n UInt64) ENGINE = MergeTree PARTITION BY toYYYYMM(day) ORDER BY n;\n\
         INSERT INTO t SELECT today() - number, number FROM numbers(100)",
    );
    std::fs::create_dir_all(admin.bench.folder.path().join("t")).unwrap();
    admin.bench.write("t/table.yaml", &TABLE.replace("TOPIC", &servers.kafka.fresh_topic(1)));
    admin.bench.done(&["up"]);
    let token = admin.token("data_admin");
    let done = |n: usize| {
        let runs = &admin.get(&format!("/v1/schedules/s{n}/runs"), &token)["runs"];
        runs.as_array().unwrap().iter().filter(|run| run["state"] == "done").count()
    };
    for (n, what) in whats.iter().enumerate() {
        // Rules of age have set a TTL by the time that the tables are compared, and that is no drift.
        let before = done(n);
        wait_until(DEADLINE, &format!("`{what}` is done when it is due"), || done(n) > before);
    }
    assert!(
        admin.bench.sql("SELECT count() FROM DB.t").parse::<u32>().unwrap() < 100,
        "what is over is gone"
    );
    let refused: Vec<Value> =
        admin.trail().into_iter().filter(|entry| entry["phase"] == json!("refused")).collect();
    assert_eq!(refused, Vec::<Value>::new());
}
