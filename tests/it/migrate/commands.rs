//! Each verb as a user calls it, with its exit code.

use serde_json::json;

use super::{Bench, DEADLINE};
use crate::harness::Penstock;

fn two(bench: &Bench) {
    bench.write("V1__t.sql", "CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x");
    bench.write("V1__t.down.sql", "-- penstock: danger=drop\nDROP TABLE t SYNC");
    bench.write("V2__rows.sql", "INSERT INTO t VALUES (1), (2)");
    bench.write("V2__rows.down.sql", "-- penstock: danger=delete\nTRUNCATE TABLE t");
}

#[test]
fn a_new_file_is_planned_run_told_and_taken_back() {
    let bench = Bench::new();
    two(&bench);
    let files = bench.json(&["new", "later"]).1;
    assert!(files["files"][1].as_str().unwrap().ends_with("__later.down.sql"), "{files}");
    let (code, log) = bench.call(&["plan"]);
    assert!(code == Some(2) && log.contains("later.sql:1: the file holds no statement"), "{code:?} {log}");
    for file in files["files"].as_array().unwrap() {
        std::fs::remove_file(file.as_str().unwrap()).unwrap();
    }

    assert_eq!(bench.call(&["status"]).0, Some(6));
    let (code, plan) = bench.json(&["plan"]);
    assert_eq!((code, plan["statements"].as_array().unwrap().len()), (Some(6), 2), "{plan}");
    assert_eq!(bench.json(&["plan"]).1["hash"], plan["hash"], "the same plan has the same name");
    let (code, log) = bench.call(&["up", "--plan", "0000000000000000"]);
    assert!(code == Some(2) && log.contains("hint: look at `penstock migrate plan` again"), "{log}");
    bench.done(&["up", "--to", "1"]);
    let (code, log) = bench.call(&["up", "--plan", plan["hash"].as_str().unwrap()]);
    assert!(code == Some(2), "part of it was run meanwhile: {log}");
    let rest = bench.json(&["plan"]).1;
    bench.done(&["up", "--plan", rest["hash"].as_str().unwrap()]);
    assert_eq!(bench.sql("SELECT count() FROM DB.t"), "2");
    assert_eq!(
        (bench.call(&["status"]).0, bench.call(&["plan"]).0, bench.call(&["verify"]).0),
        (Some(0), Some(0), Some(0))
    );

    let (code, log) = bench.call(&["down", "--to", "1"]);
    assert!(code == Some(2) && log.contains("--allow delete"), "{code:?} {log}");
    bench.done(&["down", "--to", "1", "--allow", "delete"]);
    assert_eq!(bench.sql("SELECT count() FROM DB.t"), "0");
    assert_eq!(bench.json(&["status"]).1["migrations"][1]["standing"], json!("pending"));
    bench.done(&["up"]);
    bench.done(&["down", "--to", "0", "--allow", "delete", "--allow", "drop"]);
    assert_eq!(bench.sql("EXISTS TABLE DB.t"), "0");
    bench.done(&["up"]);
    assert_eq!(bench.sql("SELECT count() FROM DB.t"), "2");
    let trail = bench
        .sql("SELECT action, phase, count() FROM DB.penstock_migrations_audit GROUP BY ALL ORDER BY ALL");
    assert!(trail.contains("migrate.down\tdone\t2") && trail.contains("migrate.up\tintent\t6"), "{trail}");
}

#[test]
fn a_taking_back_that_is_cut_off_goes_on() {
    let mut bench = Bench::new();
    bench.config = bench.config.set("migrations.lock_lease", "1s");
    two(&bench);
    bench.done(&["up"]);
    let down = ["down", "--to", "0", "--allow", "delete", "--allow", "drop", "--wait", "30s"];
    for _ in 0..2 {
        let mut process = bench.start(super::crash_at("migration_answered", 1), &down);
        assert_eq!(process.wait_exit(DEADLINE), None, "{}", process.log());
    }
    let (code, log) = bench.call(&["up", "--wait", "30s"]);
    assert!(code == Some(1) && log.contains("V1__t.sql is taken back in part"), "{code:?} {log}");
    bench.done(&down);
    assert_eq!(bench.sql("EXISTS TABLE DB.t"), "0");
    assert_eq!(
        bench.sql("SELECT count() FROM DB.penstock_migrations WHERE direction = 'down' AND outcome = 'done'"),
        "2"
    );
}

#[test]
fn dangers_must_be_in_the_file_and_allowed() {
    let bench = Bench::new();
    bench.write("V1__t.sql", "CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x; DROP TABLE t");
    let (code, log) = bench.call(&["up", "--allow", "drop"]);
    assert!(code == Some(2) && log.contains("danger=drop") && log.contains("line 1"), "{code:?} {log}");
    let (code, log) = bench.call(&["lint"]);
    assert!(code == Some(3) && log.contains("V1__t.sql:1: fault:"), "{code:?} {log}");
    bench.write(
        "V1__t.sql",
        "CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x;\n-- penstock: danger=drop\nDROP TABLE t",
    );
    let (code, log) = bench.call(&["up"]);
    assert!(code == Some(2) && log.contains("`--allow drop`"), "{code:?} {log}");
    assert_eq!(bench.sql("EXISTS TABLE DB.t"), "0", "nothing was run");
    bench.done(&["up", "--allow", "drop"]);
    bench.write(
        "V2__block.sql",
        "-- penstock: blocking\nCREATE TABLE u (x UInt64) ENGINE = MergeTree ORDER BY x",
    );
    assert!(bench.call(&["up"]).1.contains("--allow blocking"));
    bench.done(&["up", "--allow", "blocking"]);
    bench.write("V1.5__late.sql", "SELECT 1");
    assert!(bench.call(&["up"]).1.contains("--allow out_of_order"));
    bench.done(&["up", "--allow", "out_of_order"]);
}

#[test]
fn changed_files_are_found_and_accepted_only_by_name() {
    let bench = Bench::new();
    two(&bench);
    bench.done(&["up"]);
    bench.write(
        "V1__t.sql",
        "-- a comment is no change\nCREATE TABLE t\n(x UInt64) ENGINE = MergeTree ORDER BY x;",
    );
    assert_eq!(bench.call(&["status"]).0, Some(0));
    bench.write("V1__t.sql", "CREATE TABLE t (x UInt32) ENGINE = MergeTree ORDER BY x");
    assert_eq!((bench.call(&["status"]).0, bench.call(&["verify"]).0), (Some(3), Some(3)));
    let (code, log) = bench.call(&["up"]);
    assert!(
        code == Some(1) && log.contains("V1__t.sql") && log.contains("repair --accept"),
        "{code:?} {log}"
    );
    assert_eq!(bench.call(&["repair"]).0, Some(2));
    bench.done(&["repair", "--accept"]);
    assert_eq!((bench.call(&["status"]).0, bench.call(&["up"]).0), (Some(0), Some(0)));
    std::fs::remove_file(bench.folder.path().join("V2__rows.sql")).unwrap();
    std::fs::remove_file(bench.folder.path().join("V2__rows.down.sql")).unwrap();
    assert_eq!(bench.call(&["status"]).0, Some(3));
    assert!(bench.call(&["up"]).1.contains("the journal knows V2"));
}

#[test]
fn repeatable_files_run_again_when_they_change_and_baselines_run_first_or_not_at_all() {
    let bench = Bench::new();
    bench.write("B3__base.sql", "CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x");
    bench.write("V2__covered.sql", "SELECT throwIf(1)");
    bench.write("V4__y.sql", "ALTER TABLE t ADD COLUMN y UInt8");
    bench.write("R__v.sql", "CREATE OR REPLACE VIEW v AS SELECT 1 AS one");
    bench.done(&["up"]);
    bench.write("R__v.sql", "CREATE OR REPLACE VIEW v AS SELECT 2 AS one");
    let log = bench.done(&["up"]);
    assert!(log.contains("R__v.sql") && !log.contains("V4__y.sql"), "{log}");
    assert_eq!(bench.sql("SELECT * FROM DB.v"), "2");
    assert!(bench.done(&["up"]).contains("nothing to do"));

    let old = Bench::new();
    old.sql("CREATE TABLE DB.t (x UInt64) ENGINE = MergeTree ORDER BY x");
    two(&old);
    old.done(&["baseline", "--to", "1"]);
    old.done(&["up"]);
    assert_eq!(old.sql("SELECT count() FROM DB.t"), "2");
    assert_eq!(old.journal("outcome"), "marked\nsent\ndone");
}

#[test]
fn values_come_from_the_environment_and_are_never_shown() {
    let bench = Bench::new();
    bench.write(
        "V1__t.sql",
        "CREATE TABLE t (x String DEFAULT '${SECRET_TEXT}', ${COLUMN} Int8) ENGINE = MergeTree ORDER BY x",
    );
    bench.write("V2__bad.sql", "INSERT INTO t (x) SELECT throwIf(x = '${SECRET_TEXT}', 'seen ${SECRET_TEXT}') FROM (SELECT '${SECRET_TEXT}' AS x)");
    let (code, log) = bench.call(&["up"]);
    assert!(code == Some(2) && log.contains("SECRET_TEXT` is not set"), "{code:?} {log}");
    assert_eq!(bench.sql("EXISTS TABLE DB.t"), "0");
    let environment = [("SECRET_TEXT", "it's;\\ hunter2"), ("COLUMN", "plain_1")];
    let mut process = Penstock::start_with_env(&bench.config, &["migrate", "up"], &environment);
    assert_eq!(process.wait_exit(DEADLINE), Some(1), "{}", process.log());
    assert!(
        process.log().contains("seen <redacted>") && !process.log().contains("hunter2"),
        "{}",
        process.log()
    );
    let stored = bench.sql("SELECT create_table_query FROM system.tables WHERE name = 't' AND create_table_query LIKE '%plain\\_1%hunter2%' \
                            OR create_table_query LIKE '%hunter2%plain\\_1%' LIMIT 1");
    assert!(stored.contains("hunter2"), "the value itself is in the table: {stored}");
    let told = bench.sql("SELECT count() FROM DB.penstock_migrations WHERE error LIKE '%hunter2%'");
    let trail = bench.sql("SELECT count() FROM DB.penstock_migrations_audit WHERE error LIKE '%hunter2%' OR details LIKE '%hunter2%'");
    assert_eq!((told.as_str(), trail.as_str()), ("0", "0"));
}

#[test]
fn pragmas_skip_verify_and_set() {
    let bench = Bench::new();
    bench.write("V1__skipped.sql", "-- penstock: skip_if=SELECT 1\nSELECT throwIf(1); SELECT throwIf(1)");
    bench.write("V2__one.sql", "CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x;\n-- penstock: skip_if=SELECT count() = 0 FROM t\nSELECT throwIf(1)");
    bench.write("V3__set.sql", "-- penstock: settings={max_threads=3}, verify=SELECT count() = 1 FROM t WHERE x = 3\nINSERT INTO t SELECT getSetting('max_threads')");
    bench.write("V4__false.sql", "-- penstock: verify=SELECT count() = 5 FROM t\nINSERT INTO t VALUES (4)");
    let (code, log) = bench.call(&["up"]);
    assert!(code == Some(1) && log.contains("V4__false.sql: `verify` is not true"), "{code:?} {log}");
    assert_eq!(bench.journal("outcome").lines().filter(|line| *line == "skipped").count(), 3);
    assert_eq!(bench.sql("SELECT sum(x) FROM DB.t"), "7");
    let (code, log) = bench.call(&["verify"]);
    assert!(code == Some(3) && log.contains("V4__false.sql"), "{code:?} {log}");
}

#[test]
fn a_plan_tells_what_is_dear() {
    let bench = Bench::new();
    bench.sql("CREATE TABLE DB.t (x UInt64, s String) ENGINE = MergeTree ORDER BY x SETTINGS min_bytes_for_wide_part = 0");
    bench.sql("INSERT INTO DB.t SELECT number, randomString(100) FROM numbers(10000)");
    bench.write("V1__meta.sql", "ALTER TABLE t ADD COLUMN IF NOT EXISTS y UInt8");
    bench.write("V2__column.sql", "ALTER TABLE t MODIFY COLUMN x Int64");
    bench.write("V3__all.sql", "ALTER TABLE t UPDATE s = '' WHERE 1");
    let statements = bench.json(&["plan"]).1["statements"].take();
    let told: Vec<_> = (0..3)
        .map(|n| (statements[n]["class"].as_str().unwrap(), statements[n]["cost"]["bytes"].as_u64().unwrap()))
        .collect();
    assert_eq!(told[0], ("metadata", 0));
    assert!(told[1].0 == "rewrite" && told[1].1 > 10_000 && told[1].1 < 200_000, "one column: {told:?}");
    assert!(told[2].0 == "mutation" && told[2].1 > 900_000, "the whole table: {told:?}");
}

#[test]
fn table_files_become_migrations() {
    let mut bench = Bench::new();
    let tables = tempfile::tempdir().unwrap();
    bench.config = bench.config.set("tables.path", tables.path().to_str().unwrap());
    std::fs::create_dir(tables.path().join("t")).unwrap();
    let table = |columns: &str| {
        let text =
            format!("table: t\ntopics: [t]\norder_by: [x]\ncolumns: [{{name: x, type: UInt64}}{columns}]\n");
        std::fs::write(tables.path().join("t/table.yaml"), text).unwrap();
    };
    let schema =
        |arguments: &[&str]| Penstock::output(&bench.config, &[&["schema"], arguments].concat(), DEADLINE);
    for columns in ["", ", {name: y, type: String}"] {
        table(columns);
        assert_eq!(schema(&["plan"]).0, Some(3));
        let (code, log) = schema(&["plan", "--migration", &format!("step{}", columns.len())]);
        assert!(code == Some(0) && log.contains("-- written to "), "{code:?} {log}");
        bench.done(&["up"]);
        let (code, log) = schema(&["diff"]);
        assert_eq!(code, Some(0), "{log}");
        // Versions are told by seconds.
        let version = bench.journal("version").lines().last().unwrap().to_owned();
        crate::harness::wait_until(DEADLINE, "the next second", || {
            chrono::Utc::now().format("%Y%m%dT%H%M%S").to_string() > version
        });
    }
    assert_eq!(bench.call(&["drift"]).0, Some(0));
    bench.done(&["down", "--to", "0", "--allow", "drop"]);
    assert_eq!(bench.sql("EXISTS TABLE DB.t"), "0");
}
