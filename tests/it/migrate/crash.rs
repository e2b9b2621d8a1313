//! The process dies at every place where it can, and each statement has its effect once all the same.

use std::time::Duration;

use serde_json::json;

use super::{Bench, DEADLINE, crash_at, thirty};
use crate::harness::{wait_for, wait_until};

const UP: [&str; 5] = ["up", "--allow", "drop", "--wait", "30s"];

/// What an uninterrupted run of the thirty leaves.
fn uninterrupted() -> (Bench, usize) {
    let bench = Bench::new();
    let statements = thirty(&bench);
    let log = bench.done(&UP);
    assert_eq!(log.matches("\ndone ").count() + usize::from(log.starts_with("done ")), statements, "{log}");
    (bench, statements)
}

/// Runs and dies again and again until a run comes to its end; how often it died, and how often a loaded machine let
/// it lose the lock, which ends it as well.
fn crashed(bench: &Bench, point: &str, after: u32) -> (usize, usize) {
    let (mut deaths, mut losses) = (0, 0);
    loop {
        let mut process = bench.start(crash_at(point, after), &UP);
        match process.wait_exit(DEADLINE) {
            None if deaths < 100 => deaths += 1,
            Some(0) => return (deaths, losses),
            Some(1) if process.log().contains("the lock was lost") => losses += 1,
            code => panic!("{code:?} {}", process.log()),
        }
    }
}

fn impatient(mut bench: Bench) -> Bench {
    bench.config = bench.config.set("migrations.lock_lease", "500ms").set("migrations.shadow", false);
    bench
}

#[test]
fn killed_after_each_statement_in_turn_each_has_its_effect_once() {
    let (calm, statements) = uninterrupted();
    let bench = impatient(Bench::new());
    thirty(&bench);
    let (deaths, _) = crashed(&bench, "migration_answered", 1);
    assert_eq!(deaths, statements, "it died after each statement once");
    assert_eq!(bench.contents(), calm.contents());
    assert_eq!(
        bench.sql("SELECT max(counter) FROM DB.events"),
        calm.sql("SELECT max(counter) FROM DB.events")
    );
    let found_out =
        bench.sql("SELECT count() FROM DB.penstock_migrations WHERE outcome = 'done' AND note != ''");
    assert_eq!(found_out, statements.to_string(), "the outcome of each was found out by the next process");
    let rest = bench
        .sql("SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE '%_lock_%'");
    assert_eq!(rest, "", "no lock is left");
    assert!(bench.done(&["up"]).contains("nothing to do"));
}

#[test]
fn killed_before_each_statement_in_turn_each_has_its_effect_once() {
    let (calm, statements) = uninterrupted();
    let bench = impatient(Bench::new());
    thirty(&bench);
    // The first time is that of the statement before which the last process died.
    let (deaths, losses) = crashed(&bench, "migration_journalled", 2);
    assert!(deaths + losses >= statements - 1, "{deaths} {losses}");
    assert_eq!(bench.contents(), calm.contents());
    let undone = bench
        .sql(&format!("SELECT count() >= {deaths} FROM DB.penstock_migrations WHERE outcome = 'undone'"));
    assert_eq!(undone, "1");
}

/// A table, and an INSERT that writes row by row into it, with a pause of so many seconds before each.
fn slow_insert(bench: &Bench, pause_s: f64, rows: u32) {
    bench.write("V1__t.sql", "CREATE TABLE t (x UInt64, s UInt8) ENGINE = MergeTree ORDER BY x");
    let settings = "max_block_size=1, max_threads=1, min_insert_block_size_rows=1";
    let insert = format!("INSERT INTO t SELECT number, sleepEachRow({pause_s}) FROM numbers({rows})");
    bench.write("V2__slow.sql", &format!("-- penstock: settings={{{settings}}}\n{insert}"));
}

#[test]
fn killed_while_a_statement_runs_in_the_server_it_is_waited_for_and_not_sent_again() {
    let bench = impatient(Bench::new());
    slow_insert(&bench, 0.1, 15);
    let mut process = bench.start(json!({}), &["up"]);
    let running = "SELECT count() FROM system.processes WHERE query LIKE 'INSERT INTO t SELECT number, sleepEachRow(0.1)%' \
                   AND current_database = 'DB.'";
    let running = running.replace("'DB.'", &format!("'{}'", bench.database.name));
    wait_until(DEADLINE, "the statement runs", || bench.ch.query(&running) == "1");
    process.kill9();
    assert_eq!(bench.ch.query(&running), "1", "it runs on without the client");
    let (code, log) = bench.call(&["up"]);
    assert!(code == Some(7), "its lease holds, or its statement runs: {code:?} {log}");
    let log = bench.done(&UP);
    assert!(log.contains("query log has its end"), "{log}");
    assert_eq!(bench.sql("SELECT count() FROM DB.t"), "15");
}

#[test]
fn a_statement_that_was_refused_is_mended_and_run_and_those_before_it_are_not() {
    let bench = Bench::new();
    bench.write("V1__a.sql", "CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x;\nINSERT INTO t VALUES (1);\nINSERT INTO nowhere VALUES (2);");
    let (code, log) = bench.call(&["up", "--no-shadow"]);
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("V1__a.sql, statement 3, failed") && log.contains("nowhere") && log.contains("hint: "),
        "{log}"
    );
    let (code, status) = bench.json(&["status"]);
    assert_eq!((code, &status["migrations"][0]["standing"]), (Some(6), &json!("failed")));
    bench.write("V1__a.sql", "CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x;\nINSERT INTO t VALUES (1);\nINSERT INTO t VALUES (2);");
    bench.done(&["up"]);
    assert_eq!(bench.sql("SELECT groupArray(x) FROM (SELECT x FROM DB.t ORDER BY x)"), "[1,2]");
    assert_eq!(bench.call(&["status"]).0, Some(0));
}

#[test]
fn what_cannot_be_found_out_stops_with_what_to_look_at_and_a_mark_goes_on() {
    let ch = crate::harness::ClickHouse::start_private();
    let mut bench = impatient(Bench::on(&ch, &[&*ch]));
    bench.config = bench.config.set("clickhouse.retry.deadline", "2s");
    slow_insert(&bench, 0.2, 100);
    let mut process = bench.start(json!({}), &["up"]);
    wait_until(DEADLINE, "some rows are in", || {
        bench
            .ch
            .try_query(&format!("SELECT count() > 2 FROM {}.t", bench.database.name))
            .is_ok_and(|n| n == "1")
    });
    bench.ch.query("SYSTEM FLUSH LOGS");
    ch.kill();
    let code = process.wait_exit(Duration::from_secs(120));
    assert!(matches!(code, Some(1 | 4)), "{code:?} {}", process.log());
    ch.restart();
    let (code, log) = bench.call(&UP);
    assert_eq!(code, Some(1), "{log}");
    for words in [
        "V2__slow.sql, statement 1",
        "nobody can tell",
        "look at `t`",
        "penstock migrate mark V2 --statement 1 --as done",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
    assert_eq!(bench.json(&["status"]).1["migrations"][1]["standing"], json!("in_doubt"));
    bench.done(&["mark", "V2", "--statement", "1", "--as", "done", "--note", "enough rows"]);
    assert!(bench.done(&["up"]).contains("nothing to do"));
    let note = wait_for(DEADLINE, "the journal", || Some(bench.journal("note")));
    assert!(note.ends_with("enough rows"), "{note}");
}

/// Statements whose effect can be seen in what they work on.
const SEEN: &str = "CREATE TABLE a (x UInt64, gone UInt8, n UInt64) ENGINE = MergeTree ORDER BY x;
    CREATE TABLE b (x UInt64) ENGINE = MergeTree ORDER BY x;
    ALTER TABLE a ADD COLUMN c String;
    -- penstock: verify=SELECT count() = 2 FROM a
    INSERT INTO a (x) VALUES (1), (2);
    ALTER TABLE a DROP COLUMN gone, ADD COLUMN d String;
    ALTER TABLE a RENAME COLUMN d TO e;
    RENAME TABLE b TO b2;
    CREATE VIEW v AS SELECT x FROM a;
    DROP VIEW v;";

#[test]
fn without_the_query_log_the_objects_themselves_tell() {
    let ch = crate::harness::ClickHouse::start_private();
    let forget = || {
        ch.query("SYSTEM FLUSH LOGS");
        ch.query("TRUNCATE TABLE IF EXISTS system.query_log SYNC");
    };
    let run = |point: &str, after: u32, last: &str| {
        let mut bench = Bench::on(&ch, &[&*ch]);
        bench.config = bench.config.set("migrations.lock_lease", "1s").set("migrations.shadow", false);
        bench.write("V1__seen.sql", &format!("-- penstock: danger=drop\n{SEEN}{last}"));
        let mut deaths = 0;
        loop {
            let mut process = bench.start(crash_at(point, after), &UP);
            let Some(code) = process.wait_exit(DEADLINE) else {
                deaths += 1;
                assert!(deaths < 100, "{}", bench.journal("statement, outcome, note"));
                forget();
                continue;
            };
            assert_eq!(code, 0, "{}", process.log());
            break;
        }
        assert!(bench.done(&UP).contains("nothing to do"));
        (bench, deaths)
    };
    let (after, deaths) = run("migration_answered", 1, "ALTER TABLE a UPDATE n = n + 1 WHERE 1");
    assert_eq!(deaths, 10);
    assert_eq!(after.sql("SELECT n FROM DB.a"), "1\n1");
    let (before, deaths) = run("migration_journalled", 2, "");
    assert_eq!(deaths, 8);
    before.sql("ALTER TABLE DB.a UPDATE n = n + 1 WHERE 1 SETTINGS mutations_sync = 2");
    assert_eq!(before.contents(), after.contents());
    let known = after.sql("SELECT count() FROM DB.penstock_migrations WHERE note LIKE '%query log%'");
    assert_eq!(known, "0", "the log told nothing");
}
