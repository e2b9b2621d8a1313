//! Drift is told as SQL, and that SQL brings the tables back.

use serde_json::Value;

use super::Bench;

fn base(bench: &Bench) {
    bench.write(
        "V1__t.sql",
        "CREATE TABLE t (a UInt64, b String DEFAULT 'x;y' COMMENT 'b;' CODEC(ZSTD(3)), d DateTime, INDEX i b TYPE minmax, \
         CONSTRAINT k CHECK a < 1000) ENGINE = MergeTree PARTITION BY toYYYYMM(d) ORDER BY a TTL d + INTERVAL 1 YEAR \
         SETTINGS merge_with_ttl_timeout = 100 COMMENT 'it''s'",
    );
    bench.write(
        "V2__views.sql",
        "CREATE VIEW v AS SELECT a, b FROM t WHERE a > 1; CREATE TABLE sums (a UInt64, n UInt64) \
         ENGINE = SummingMergeTree ORDER BY a; CREATE MATERIALIZED VIEW m TO sums AS SELECT a, 1 AS n FROM t",
    );
    bench.write("V3__rows.sql", "INSERT INTO t (a, d) VALUES (1, now())");
    bench.done(&["up"]);
}

fn found(bench: &Bench) -> Vec<Value> {
    let (code, drift) = bench.json(&["drift"]);
    let findings = drift["findings"].as_array().unwrap().clone();
    assert_eq!(code, Some(if findings.is_empty() { 0 } else { 3 }), "{drift}");
    findings
}

#[test]
fn what_somebody_changed_by_hand_is_told_and_mended_by_what_is_told() {
    let bench = Bench::new();
    base(&bench);
    assert_eq!(found(&bench), Vec::<Value>::new());
    for change in [
        "ALTER TABLE DB.t ADD COLUMN extra Int8, MODIFY COLUMN b String DEFAULT 'z' COMMENT '' TTL d + INTERVAL 1 DAY",
        "ALTER TABLE DB.t DROP INDEX i, ADD INDEX j a TYPE minmax, DROP CONSTRAINT k",
        "ALTER TABLE DB.t MODIFY TTL d + INTERVAL 2 YEAR",
        "ALTER TABLE DB.t MODIFY SETTING merge_with_ttl_timeout = 200, max_parts_to_merge_at_once = 7",
        "ALTER TABLE DB.t MODIFY COMMENT 'other'",
        "CREATE OR REPLACE VIEW DB.v AS SELECT a, b FROM DB.t WHERE a > 2",
        "ALTER TABLE DB.m MODIFY QUERY SELECT a, 2 AS n FROM DB.t",
        "DROP TABLE DB.sums",
    ] {
        bench.sql(change);
    }
    let findings = found(&bench);
    let tables: Vec<_> = findings.iter().map(|one| one["table"].as_str().unwrap()).collect();
    assert_eq!(tables, ["m", "sums", "t", "v"], "{findings:#?}");
    assert_eq!(findings[2]["proven"], Value::Bool(true), "{findings:#?}");
    // What is missing is made before what refers to it.
    for finding in [1, 0, 2, 3].map(|n| &findings[n]) {
        for sql in finding["sql"].as_array().unwrap() {
            let sql = sql.as_str().unwrap();
            let (code, log) =
                crate::harness::Penstock::output(&bench.config, &["query", sql], super::DEADLINE);
            assert_eq!(code, Some(0), "{sql}: {log}");
        }
    }
    assert_eq!(found(&bench), Vec::<Value>::new());
    assert_eq!(bench.sql("SELECT count() FROM DB.t"), "1", "no row was lost");
}

#[test]
fn a_ttl_by_rules_of_age_is_no_drift_and_everything_else_of_the_table_is() {
    let bench = Bench::new();
    base(&bench);
    std::fs::create_dir(bench.folder.path().join("t")).unwrap();
    bench.write(
        "t/table.yaml",
        "table: t\ntopics: [x]\norder_by: [a]\nlifecycle: {time_column: d, delete_after: 3650d, clear: {b: 365d}}\n\
         columns: [{name: a, type: UInt64}, {name: b, type: String}, {name: d, type: DateTime}]\n",
    );
    bench.sql("ALTER TABLE DB.t MODIFY COLUMN b TTL d + INTERVAL 1 YEAR, MODIFY TTL d + INTERVAL 2 YEAR");
    let (code, drift) = bench.json(&["drift"]);
    assert_eq!((code, &drift["findings"]), (Some(0), &serde_json::json!([])), "{drift}");
    assert!(drift["notes"][0].as_str().unwrap().starts_with("the TTL of t has rules of age"), "{drift}");
    bench.sql("ALTER TABLE DB.t MODIFY COLUMN b DEFAULT 'z', DROP INDEX i");
    let findings = found(&bench);
    assert_eq!((findings.len(), &findings[0]["proven"]), (1, &Value::Bool(true)), "{findings:#?}");
    // Without the rules it is the migrations' again.
    std::fs::remove_dir_all(bench.folder.path().join("t")).unwrap();
    assert!(found(&bench)[0]["differences"].to_string().contains("TTL is not"));
}

#[test]
fn tables_of_nobody_are_told_unless_they_are_ignored_and_scratch_databases_go_away() {
    let mut bench = Bench::new();
    base(&bench);
    bench.sql("CREATE TABLE DB.tmp_x (x Int8) ENGINE = Memory");
    bench.sql("CREATE TABLE DB.other (x Int8) ENGINE = MergeTree ORDER BY x");
    let findings = found(&bench);
    let told: Vec<_> =
        findings.iter().map(|one| format!("{} {}", one["table"], one["differences"][0])).collect();
    assert_eq!(told, ["\"other\" \"comes from no migration\"", "\"tmp_x\" \"comes from no migration\""]);
    bench.config = bench.config.set("migrations.ignore", serde_json::json!(["tmp_*", "other"]));
    assert_eq!(found(&bench), Vec::<Value>::new());
    let left =
        format!("SELECT count() FROM system.databases WHERE name LIKE '{}\\_penstock%'", bench.database.name);
    assert_eq!(bench.ch.query(&left), "0");
}

#[test]
fn what_does_not_work_is_found_in_the_scratch_database_before_anything_is_run() {
    let bench = Bench::new();
    bench.write("V1__t.sql", "CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x");
    bench.write("V2__wrong.sql", "ALTER TABLE t ADD COLUMN y UInt8 AFTER nothing");
    let (code, log) = bench.call(&["up"]);
    assert!(
        code == Some(1) && log.contains("V2__wrong.sql, statement 1, does not work in a scratch database"),
        "{code:?} {log}"
    );
    assert_eq!(bench.sql("EXISTS TABLE DB.t"), "0", "not even the first");
}
