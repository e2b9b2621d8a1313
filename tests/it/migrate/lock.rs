//! Two processes at once: one works, the other waits or says who holds the lock.

use serde_json::json;

use super::{Bench, DEADLINE};
use crate::harness::Penstock;

fn paused(bench: &Bench, after: u32) -> (Penstock, std::path::PathBuf) {
    let go = bench.folder.path().join("go");
    let faults = json!({ "pause_at": "migration_journalled", "after": after, "release_file": go });
    let mut process = bench.start(faults, &["up"]);
    process.wait_log("fault point reached: migration_journalled", DEADLINE);
    (process, go)
}

fn counted(bench: &Bench) {
    bench.write("V1__t.sql", "CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x");
    bench.write("V2__row.sql", "INSERT INTO t VALUES (1)");
    bench.write("V3__row.sql", "INSERT INTO t VALUES (2)");
}

#[test]
fn one_works_and_the_others_wait_or_say_who_holds_it() {
    let bench = Bench::new();
    counted(&bench);
    let (mut first, go) = paused(&bench, 2);
    let (code, log) = bench.call(&["up"]);
    assert_eq!(code, Some(7), "{log}");
    assert!(
        log.contains(&format!("process {}", first.id()))
            && log.contains("migrates since")
            && log.contains("hint: "),
        "{log}"
    );
    assert!(bench.call(&["status"]).1.contains(&format!("process {} migrates since", first.id())));
    let mut waiting: Vec<Penstock> =
        (0..3).map(|_| bench.start(json!({}), &["up", "--wait", "60s"])).collect();
    std::fs::write(go, "").unwrap();
    assert_eq!(first.wait_exit(DEADLINE), Some(0), "{}", first.log());
    for process in &mut waiting {
        assert_eq!(process.wait_exit(DEADLINE), Some(0), "{}", process.log());
        assert!(process.log().contains("nothing to do"), "{}", process.log());
    }
    assert_eq!(bench.sql("SELECT count() FROM DB.t"), "2");
}

#[test]
fn eight_at_the_same_moment_run_each_statement_once() {
    let bench = Bench::new();
    counted(&bench);
    let mut all: Vec<Penstock> =
        (0..8).map(|_| bench.start(json!({}), &["up", "--wait", "60s", "--no-shadow"])).collect();
    for process in &mut all {
        assert_eq!(process.wait_exit(DEADLINE), Some(0), "{}", process.log());
    }
    assert_eq!(bench.sql("SELECT count() FROM DB.t"), "2");
    assert_eq!(bench.sql("SELECT count(), uniqExact(seq) FROM DB.penstock_migrations"), "6\t6");
}

#[test]
fn a_frozen_process_loses_the_lock_and_sends_nothing_any_more() {
    let mut bench = Bench::new();
    bench.config = bench.config.set("migrations.lock_lease", "1s").set("migrations.shadow", false);
    counted(&bench);
    let (mut zombie, go) = paused(&bench, 2);
    zombie.stop();
    let log = bench.done(&["up", "--wait", "60s"]);
    assert!(log.contains("query log is complete and does not know it"), "{log}");
    std::fs::write(go, "").unwrap();
    zombie.cont();
    assert_eq!(zombie.wait_exit(DEADLINE), Some(1), "{}", zombie.log());
    assert!(zombie.log().contains("the lock was lost"), "{}", zombie.log());
    assert_eq!(bench.sql("SELECT count() FROM DB.t"), "2");
}
