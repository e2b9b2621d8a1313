//! What is left to do about tables, as the metrics of the admin process tell it and take it back.
//!
//! It refuses to know how it is looked at.

use serde_json::{Value, json};

use super::{Admin, DEADLINE};
use crate::harness::wait_until;

const TABLE: &str = "table: events\ntopics: [events]\norder_by: [at]\npartition_by: toYYYYMMDD(at)\ncolumns:\n- {name: at, type: Date}\n\
    - {name: user_id, type: UInt64}\nsubject_columns: [user_id]\nlifecycle: {time_column: at, delete_after: 90d}\n";

fn admin() -> Admin {
    Admin::start_with(|config| {
        config
            .set("admin.health.interval", "250ms")
            .set("admin.health.lifecycle_interval", "250ms")
            .set("lifecycle.erasure_grace", "0ms")
    })
}

/// Waits until the series has the value; with none until it is not there.
fn shows(admin: &Admin, series: &str, labels: &[&str], value: Option<f64>) {
    let name = format!("penstock_admin_{series}");
    wait_until(DEADLINE, &format!("{name} {labels:?} is {value:?}"), || {
        admin.process.metric(&name, labels) == value
    });
}

#[test]
fn what_is_left_of_migrations_is_counted_and_drift_once_it_was_looked_for() {
    let admin = admin();
    let standing = |name: &str, count: f64| {
        shows(&admin, "migrations", &[&format!("standing=\"{name}\"")], Some(count));
    };
    standing("applied", 0.0);
    admin.two();
    standing("pending", 2.0);
    let token = admin.token("data_admin");
    let up = |plan: &str| admin.job("/v1/migrations/up", &token, &json!({ "plan": plan }));
    assert_eq!(up(&admin.plan_hash(&token, ""))["state"], "done");
    standing("applied", 2.0);
    standing("pending", 0.0);
    admin.bench.write("V3__bad.sql", "INSERT INTO missing VALUES (1)");
    admin.bench.write("V2__rows.sql", "INSERT INTO t VALUES (1), (3)");
    shows(&admin, "migrations_altered", &[], Some(1.0));
    admin.two();
    shows(&admin, "migrations_altered", &[], Some(0.0));
    let (code, log) = admin.run(&["migrate", "up", "--no-shadow"]);
    assert_ne!(code, Some(0), "{log}");
    standing("failed", 1.0);
    shows(&admin, "migrations_running", &[], Some(0.0));
    // What was not done of it may be mended.
    admin.bench.write("V3__bad.sql", "INSERT INTO t VALUES (9)");
    let (code, log) = admin.run(&["migrate", "up"]);
    assert_eq!(code, Some(0), "{log}");
    standing("failed", 0.0);
    standing("applied", 3.0);

    let drift = |objects: f64| {
        assert_eq!(admin.job("/v1/migrations/drift", &token, &Value::Null)["state"], "done");
        shows(&admin, "schema_drift_objects", &[], Some(objects));
    };
    assert_eq!(admin.process.metric("penstock_admin_schema_drift_objects", &[]), None, "nobody has looked");
    admin.bench.sql("ALTER TABLE DB.t ADD COLUMN y UInt8");
    drift(1.0);
    admin.bench.sql("ALTER TABLE DB.t DROP COLUMN y");
    drift(0.0);
    std::fs::remove_dir_all(admin.bench.folder.path()).unwrap();
    shows(&admin, "migrations", &["applied"], None);
    std::fs::create_dir(admin.bench.folder.path()).unwrap();
}

#[test]
fn rows_past_their_age_holds_and_erasures_are_counted_until_they_are_gone() {
    let admin = admin();
    let of_events = |series: &str, value: f64| shows(&admin, series, &["events"], Some(value));
    let folder = admin.bench.folder.path().join("events");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("table.yaml"), TABLE).unwrap();
    shows(&admin, "lifecycle_drift_tables", &[], Some(1.0));
    admin.bench.sql(
        "CREATE TABLE DB.events (at Date, user_id UInt64) ENGINE = MergeTree PARTITION BY toYYYYMMDD(at) ORDER BY at",
    );
    let (_, plan) = admin.run(&["lifecycle", "plan", "--output", "json"]);
    let plan: Value = serde_json::from_str(&plan).unwrap_or_else(|error| panic!("{error}: {plan}"));
    let done = |arguments: &[&str]| {
        let (code, log) = admin.run(arguments);
        assert_eq!(code, Some(0), "{log}");
    };
    done(&["lifecycle", "apply", "--plan", plan["hash"].as_str().unwrap()]);
    shows(&admin, "lifecycle_drift_tables", &[], Some(0.0));
    shows(&admin, "legal_holds", &[], Some(0.0));
    let day = admin.bench.sql("SELECT toString(toYYYYMMDD(today() - 200))");
    done(&["lifecycle", "hold", "events", "--id", "h", "--reason", "r", "--partition", &day]);
    shows(&admin, "legal_holds", &[], Some(1.0));
    // The hold has taken the TTL away, so nothing but the command deletes them.
    let rows = "SELECT today() - 100 * (1 + number % 2), number FROM numbers(200)";
    admin.bench.sql(&format!("INSERT INTO DB.events {rows}"));
    of_events("lifecycle_expired_rows", 100.0);
    let bytes =
        |series: &str| admin.process.metric(&format!("penstock_admin_lifecycle_{series}"), &["events"]);
    wait_until(DEADLINE, "both partitions are there", || {
        ["droppable_bytes", "held_bytes"].iter().all(|series| bytes(series).is_some_and(|bytes| 0.0 < bytes))
    });
    done(&["lifecycle", "expire"]);
    of_events("lifecycle_droppable_bytes", 0.0);
    of_events("lifecycle_expired_rows", 0.0);
    done(&["lifecycle", "release", "h", "--reason", "r"]);
    shows(&admin, "legal_holds", &[], Some(0.0));
    of_events("lifecycle_expired_rows", 100.0);

    shows(&admin, "erasures", &["received"], Some(0.0));
    done(&["erase", "--subject", "user_id=3", "--reason", "r"]);
    shows(&admin, "erasures", &["verified"], Some(1.0));
    shows(&admin, "erasure_oldest_open_seconds", &[], Some(0.0));
    // One that was cut off an hour ago, until the same subject is erased again.
    let again = |stage: &str, ago: u32| {
        admin.bench.sql(&format!(
            "INSERT INTO DB.penstock_erasures (at, id, stage, column, digest) SELECT now64(6, 'UTC') - {ago}, generateUUIDv4(), \
             '{stage}', 'user_id', repeat('a', 64)"
        ));
    };
    again("received", 3600);
    shows(&admin, "erasures", &["received"], Some(1.0));
    let age = || admin.process.metric("penstock_admin_erasure_oldest_open_seconds", &[]);
    wait_until(DEADLINE, "it is an hour old", || age().is_some_and(|age| (3600.0..3900.0).contains(&age)));
    again("verified", 0);
    shows(&admin, "erasures", &["verified"], Some(2.0));
    shows(&admin, "erasure_oldest_open_seconds", &[], Some(0.0));
}
