//! `penstock lifecycle` against a real server: what goes, what stays, and how little is written for it.
//!
//! It refuses to know how it works inside. Rows that are over are put into tables that have no TTL yet, since the
//! server would not keep them a moment otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use penstock::admin::care::{Care, Optimize, Targets};
use penstock::admin::command::{Actor, Permission};
use penstock::admin::desk::{Desk, Progress, Setup};
use penstock::admin::erase::{Eraser, Request, Subject};
use penstock::admin::lifecycle::{Config, Error, Expire, HoldRequest, Lifecycles, Materialize, Outcomes};
use penstock::admin::migrate;
use serde_json::{Value, json};

use crate::care::Bench;
use crate::harness::wait_until;

const COLUMNS: &str = "topics: [events]\norder_by: [site, time]\ncolumns:\n- {name: time, type: DateTime}\n- {name: site, type: UInt8}\n\
    - {name: body, type: String}\n- {name: email, type: String}\n";
const DEFINITION: &str = "(time DateTime, site UInt8, body String, email String) ENGINE = MergeTree";

/// A table file with rules, and the table without a TTL.
fn events(bench: &Bench, table: &str, partition_by: &str, rules: &str) {
    let key = if partition_by.is_empty() { String::new() } else { format!("partition_by: {partition_by}\n") };
    bench.table_file(
        table,
        &format!("table: {table}\n{key}{COLUMNS}lifecycle:\n  time_column: time\n{rules}"),
    );
    let key = if partition_by.is_empty() { String::new() } else { format!("PARTITION BY {partition_by}") };
    bench.sql(&format!("CREATE TABLE DB.{table} {DEFINITION} {key} ORDER BY (site, time)"));
}

/// Rows of one day, that many days ago.
fn day(bench: &Bench, table: &str, days: u32, rows: u32, bytes: u32) {
    bench.sql(&format!(
        "INSERT INTO DB.{table} SELECT toDateTime(today() - {days}) + number % 80000, 1, randomPrintableASCII({bytes}), 'a@b' FROM numbers({rows})"
    ));
}

fn ttl(bench: &Bench, table: &str) -> String {
    bench.sql(&format!("SELECT extract(engine_full, 'TTL (.*?)( SETTINGS|$)') FROM system.tables WHERE database = 'DB' AND name = '{table}'"))
}

fn count(bench: &Bench, table: &str) -> u64 {
    bench.sql(&format!("SELECT count() FROM DB.{table}")).parse().unwrap()
}

fn ids(partitions: &Value) -> usize {
    partitions.as_array().unwrap().len()
}

#[test]
fn partitions_that_are_over_are_dropped_and_hardly_anything_is_written() {
    let bench = Bench::new();
    events(&bench, "events", "toYYYYMMDD(time)", "  delete_after: 115d\n  clear: {email: 200d}\n");
    for partition in 0..20 {
        day(&bench, "events", partition * 10, 4_000, 1_000);
    }
    let of_the_table = |what: &str| {
        format!(
            "SELECT {what} FROM system.parts WHERE active AND database = '{}' AND table = 'events'",
            bench.database.name
        )
    };
    let over = "toDate(min_time) < today() - 115";
    let freed: u64 = bench.ch.value(&of_the_table(&format!("sumIf(bytes_on_disk, {over})")));

    let plan = bench.json(6, &["lifecycle", "plan"]);
    let table = &plan["tables"][0];
    assert_eq!((ids(&table["drops"]), ids(&table["rest"]), ids(&table["kept"])), (8, 0, 0), "{plan}");
    let planned: u64 =
        table["drops"].as_array().unwrap().iter().map(|one| one["bytes"].as_u64().unwrap()).sum();
    assert_eq!((planned, table["rules"][0]["rows"].as_u64()), (freed, Some(32_000)));
    assert_eq!(table["statements"].as_array().unwrap().len(), 2, "{table}");
    let hash = plan["hash"].as_str().unwrap();
    assert_eq!(bench.json(6, &["lifecycle", "plan"])["hash"], hash, "the same plan has the same name");
    bench.refused(2, "the plan is ", &["lifecycle", "apply", "--plan", "0000000000000000"]);
    assert_eq!(count(&bench, "events"), 80_000);

    let begun = bench.ch.query("SELECT toString(now64(6))");
    let done = bench.json(0, &["lifecycle", "apply", "--plan", hash]);
    let partitions = done["tables"][0]["partitions"].as_array().unwrap();
    assert!(partitions.len() == 8 && partitions.iter().all(|one| one["outcome"] == "dropped"), "{done}");
    assert_eq!(count(&bench, "events"), 48_000);
    assert_eq!(ttl(&bench, "events"), "toDateTime(time) + toIntervalDay(115)");
    assert_eq!(bench.sql("SELECT count() FROM system.mutations WHERE database = 'DB'"), "0", "metadata only");

    bench.ch.query("SYSTEM FLUSH LOGS");
    let written: u64 = bench.ch.value(&format!(
        "SELECT sum(size_in_bytes) FROM system.part_log WHERE database = '{}' AND table = 'events' AND event_type IN \
         ('NewPart', 'MergeParts', 'MutatePart') AND event_time_microseconds >= '{begun}'",
        bench.database.name
    ));
    eprintln!(
        "lifecycle: {written} bytes written for {freed} bytes freed, {:.4} %",
        100.0 * written as f64 / freed as f64
    );
    assert!(freed > 20_000_000 && written * 100 < freed, "{written} bytes written for {freed} freed");

    assert_eq!(bench.json(0, &["lifecycle", "plan"])["tables"][0]["statements"], serde_json::json!([]));
    assert_eq!(
        (bench.call(&["lifecycle", "drift"]).0, bench.call(&["schema", "diff"]).0),
        (Some(0), Some(0))
    );
    let trail = bench.trail();
    assert!(
        trail.contains("lifecycle.apply\tdone\t1") && trail.contains("lifecycle.apply\tintent\t1"),
        "{trail}"
    );
}

#[test]
fn a_ttl_that_was_changed_by_hand_is_drift() {
    let bench = Bench::new();
    events(
        &bench,
        "events",
        "toYYYYMM(time)",
        "  delete_after: 90d\n  recompress: [{after: 14d, codec: 'ZSTD(9)'}]\n  move: [{after: 7d, to_disk: default}]\n  clear: {email: 30d}\n",
    );
    bench.sql("DROP TABLE DB.events");
    assert_eq!(bench.call(&["lifecycle", "drift"]).0, Some(3), "a table that is not there");
    assert_eq!(bench.call(&["schema", "create"]).0, Some(0));
    let (code, log) = bench.call(&["lifecycle", "drift"]);
    assert_eq!(code, Some(0), "what `schema create` makes has the TTL of its rules: {log}");
    assert_eq!(bench.call(&["schema", "diff"]).0, Some(0));
    for (change, told) in [
        ("MODIFY TTL time + INTERVAL 91 DAY", "MODIFY TTL toDateTime(time) + toIntervalDay(90), "),
        ("REMOVE TTL", "MODIFY TTL toDateTime(time) + toIntervalDay(90), "),
        ("MODIFY COLUMN email REMOVE TTL", "MODIFY COLUMN `email` TTL toDateTime(time) + toIntervalDay(30)"),
        ("MODIFY COLUMN body TTL time + INTERVAL 5 DAY", "MODIFY COLUMN `body` REMOVE TTL"),
    ] {
        bench.sql(&format!("ALTER TABLE DB.events {change}"));
        let drift = bench.json(3, &["lifecycle", "drift", "events"]);
        let statements = drift["tables"][0]["statements"].as_array().unwrap();
        assert!(statements.len() == 1 && statements[0].as_str().unwrap().contains(told), "{change}: {drift}");
        if !change.contains("COLUMN") {
            let (code, log) = bench.call(&["schema", "diff"]);
            assert!(code == Some(3) && log.contains("lifecycle plan"), "{code:?} {log}");
        }
        let plan = bench.json(6, &["lifecycle", "plan"]);
        bench.json(0, &["lifecycle", "apply", "--plan", plan["hash"].as_str().unwrap()]);
        assert_eq!(bench.call(&["lifecycle", "drift"]).0, Some(0), "{change}");
    }
    // Rules that are taken away take their TTL with them, and a roll-up goes in.
    events_again(&bench, "  roll_up: [{after: 30d, group_by: [site], set: {body: any(body)}}]\n");
    let plan = bench.json(6, &["lifecycle", "plan"]);
    bench.json(0, &["lifecycle", "apply", "--plan", plan["hash"].as_str().unwrap()]);
    assert_eq!(
        ttl(&bench, "events"),
        "toDateTime(time) + toIntervalDay(30) GROUP BY site SET body = any(body)"
    );
    assert_eq!(bench.call(&["lifecycle", "drift"]).0, Some(0));
    events_again(&bench, "");
    let plan = bench.json(6, &["lifecycle", "plan"]);
    bench.json(0, &["lifecycle", "apply", "--plan", plan["hash"].as_str().unwrap()]);
    assert_eq!(ttl(&bench, "events"), "");
}

fn events_again(bench: &Bench, rules: &str) {
    bench.table_file(
        "events",
        &format!(
            "table: events\npartition_by: toYYYYMM(time)\n{COLUMNS}lifecycle:\n  time_column: time\n{rules}"
        ),
    );
}

#[test]
fn rows_that_no_partition_holds_alone_go_only_if_asked_for() {
    let bench = Bench::new();
    events(&bench, "cut", "toYYYYMM(time)", "  delete_after: 100d\n  method: drop_partition\n");
    events(&bench, "plain", "", "  delete_after: 100d\n");
    for table in ["cut", "plain"] {
        for days in [5, 99, 101, 300] {
            day(&bench, table, days, 1_000, 10);
        }
    }
    // 99 and 101 days ago may lie in one month or in two.
    let left: u64 = bench.ch.value("SELECT if(toYYYYMM(today() - 99) = toYYYYMM(today() - 101), 1000, 0)");
    let dry = bench.json(0, &["lifecycle", "expire", "--dry-run"]);
    assert_eq!(
        (
            ids(&dry["tables"][0]["rest"]) as u64 * 1000,
            ids(&dry["tables"][1]["rest"]),
            ids(&dry["tables"][1]["drops"])
        ),
        (left, 1, 0)
    );
    assert_eq!(dry["tables"][1]["rest"][0]["rows_over"].as_u64(), Some(2_000));
    assert_eq!((count(&bench, "cut"), count(&bench, "plain")), (4_000, 4_000));
    let done = bench.json(0, &["lifecycle", "expire"]);
    assert_eq!((count(&bench, "cut"), count(&bench, "plain")), (2_000 + left, 4_000), "{done}");
    assert_eq!(done["tables"][1]["left_rows"].as_u64(), Some(2_000));
    bench.json(0, &["lifecycle", "expire", "--rewrite"]);
    assert_eq!((count(&bench, "cut"), count(&bench, "plain")), (2_000, 2_000));
    assert_eq!(bench.sql("SELECT count() FROM DB.plain WHERE time < now() - INTERVAL 100 DAY"), "0");
    assert_eq!(
        (ttl(&bench, "cut"), ttl(&bench, "plain")),
        (String::new(), String::new()),
        "expire sets no TTL"
    );
    let plan = bench.json(6, &["lifecycle", "plan"]);
    assert_eq!(ids(&plan["tables"][0]["statements"]), 0, "partitions of `cut` go by penstock alone: {plan}");
}

#[test]
fn what_is_held_stays_until_it_is_let_go() {
    let bench = Bench::new();
    events(
        &bench,
        "events",
        "toYYYYMMDD(time)",
        "  delete_after: 30d\n  recompress: [{after: 7d, codec: 'ZSTD(3)'}]\n",
    );
    let apply = || {
        let plan = bench.json(6, &["lifecycle", "plan"]);
        bench.json(0, &["lifecycle", "apply", "--plan", plan["hash"].as_str().unwrap()])
    };
    apply();
    assert!(ttl(&bench, "events").starts_with("toDateTime(time) + toIntervalDay(30), "));
    let held: String = bench.ch.query("SELECT toString(toYYYYMMDD(today() - 60))");
    let hold = ["lifecycle", "hold", "events", "--id", "case-17", "--reason", "a claim"];
    bench.json(0, &[&hold[..], &["--partition", &held, "--until", "2999-01-01"]].concat());
    assert_eq!(
        ttl(&bench, "events"),
        "toDateTime(time) + toIntervalDay(7) RECOMPRESS CODEC(ZSTD(3))",
        "no TTL deletes while it holds"
    );
    assert_eq!(bench.call(&["lifecycle", "drift"]).0, Some(0), "which is as it should be");
    bench.refused(2, "there is a hold `case-17` already", &hold);

    for days in [60, 50, 1] {
        day(&bench, "events", days, 1_000, 10);
    }
    bench.sql("OPTIMIZE TABLE DB.events FINAL");
    assert_eq!(count(&bench, "events"), 3_000, "the server deletes nothing");
    let plan = bench.json(6, &["lifecycle", "plan"]);
    let table = &plan["tables"][0];
    assert_eq!((ids(&table["drops"]), &table["kept"][0]["partition_id"]), (1, &Value::from(held)), "{plan}");
    let done = bench.json(0, &["lifecycle", "expire"]);
    assert_eq!((count(&bench, "events"), done["tables"][0]["left_rows"].as_u64()), (2_000, Some(1_000)));

    let whole = ["lifecycle", "hold", "events", "--id", "case-18", "--reason", "all of it"];
    bench.json(0, &whole);
    bench.refused(2, "is held by `case-17`, `case-18`", &["lifecycle", "expire", "events"]);
    bench.refused(
        2,
        "which is over",
        &["lifecycle", "hold", "events", "--id", "old", "--reason", "x", "--until", "2020-01-01"],
    );
    assert_eq!(ids(&bench.json(0, &["lifecycle", "holds"])["holds"]), 2);
    bench.json(0, &["lifecycle", "release", "case-18", "--reason", "settled"]);
    let released = bench.json(0, &["lifecycle", "release", "case-17", "--reason", "settled"]);
    assert_eq!(ids(&released["pending"]), 1, "the TTL that deletes is wanted again: {released}");
    bench.refused(2, "there is no hold `case-17`", &["lifecycle", "release", "case-17", "--reason", "again"]);
    assert_eq!(
        bench.sql(
            "SELECT count() FROM DB.penstock_holds WHERE id = 'case-17' AND actor != '' AND reason != ''"
        ),
        "2",
        "nothing is forgotten"
    );
    apply();
    assert_eq!(count(&bench, "events"), 1_000);
    assert!(ttl(&bench, "events").starts_with("toDateTime(time) + toIntervalDay(30), "));
    assert!(bench.trail().contains("lifecycle.hold\tdone\t2"), "{}", bench.trail());
}

#[test]
fn a_hold_ends_by_itself_and_is_refused_where_it_would_not_hold() {
    let bench = Bench::new();
    events(&bench, "events", "toYYYYMMDD(time)", "  delete_after: 30d\n");
    let hold = ["lifecycle", "hold", "events", "--id", "case-17", "--reason", "a claim"];
    let soon: String = bench.ch.query("SELECT formatDateTime(now('UTC') + 15, '%Y-%m-%dT%H:%i:%SZ')");
    bench.json(0, &[&hold[..], &["--until", &soon]].concat());
    wait_until(Duration::from_secs(60), "the hold ends", || {
        ids(&bench.json(0, &["lifecycle", "holds"])["holds"]) == 0
    });
    bench.table_file("foreign", &format!("table: foreign\n{COLUMNS}"));
    bench.sql(&format!(
        "CREATE TABLE DB.foreign {DEFINITION} ORDER BY (site, time) TTL time + INTERVAL 1 DAY"
    ));
    bench.refused(
        2,
        "not from its table file",
        &["lifecycle", "hold", "foreign", "--id", "x", "--reason", "y"],
    );
    assert_eq!(bench.json(0, &["lifecycle", "holds"])["holds"], serde_json::json!([]));
}

#[test]
fn no_rule_undercuts_the_floor_of_the_configuration() {
    let mut bench = Bench::new();
    events(&bench, "events", "toYYYYMM(time)", "  delete_after: 30d\n");
    bench.config = bench.config.clone().set("lifecycle.min_retention", "31d");
    bench.refused(2, "`events`: `delete after 30d` acts before 31d", &["lifecycle", "expire"]);
    bench.config = bench.config.clone().set("lifecycle.min_retention", "30d");
    assert_eq!(bench.call(&["lifecycle", "expire"]).0, Some(0));
    bench.table_file("bare", &format!("table: bare\n{COLUMNS}"));
    bench.refused(2, "no section `lifecycle`", &["lifecycle", "status", "bare"]);
    bench.refused(2, "no table file for `nope`", &["lifecycle", "status", "nope"]);
    let (code, text) = bench.call(&["lifecycle", "status"]);
    assert!(code == Some(0) && text.contains("TTL differs") && !text.contains("bare"), "{text}");
}

#[test]
fn ages_are_counted_from_every_type_of_time() {
    let bench = Bench::new();
    let types = ["Date", "Date32", "DateTime", "DateTime64(3)", "DateTime64(6, 'Asia/Kolkata')"];
    let names = ["a", "b", "c", "d", "e"];
    for (name, ty) in names.iter().zip(types) {
        bench.table_file(
            name,
            &format!(
                "table: {name}\ntopics: [t{name}]\norder_by: [time]\npartition_by: toYYYYMMDD(time)\ncolumns: [{{name: time, type: \"{ty}\"}}]\n\
                 lifecycle: {{time_column: time, delete_after: 11d}}\n"
            ),
        );
    }
    assert_eq!(bench.call(&["schema", "create"]).0, Some(0), "the server takes every one of these TTLs");
    let (code, log) = bench.call(&["lifecycle", "drift"]);
    assert_eq!(code, Some(0), "{log}");
    for name in names {
        bench.sql(&format!("ALTER TABLE DB.{name} REMOVE TTL"));
        bench.sql(&format!("INSERT INTO DB.{name} SELECT today() - 3 * number FROM numbers(10)"));
    }
    let done = bench.json(0, &["lifecycle", "expire"]);
    for (at, (name, ty)) in names.iter().zip(types).enumerate() {
        // 0, 3, 6 and 9 days ago; nine days of the server's are up to ten and a quarter in Kolkata.
        assert_eq!((count(&bench, name), ids(&done["tables"][at]["partitions"])), (4, 6), "{ty}: {done}");
    }
}

#[test]
fn what_leaves_no_trace_is_not_run() {
    let bench = Bench::new();
    events(&bench, "events", "toYYYYMMDD(time)", "  delete_after: 30d\n");
    day(&bench, "events", 60, 1_000, 10);
    bench.sql("CREATE TABLE DB.penstock_migrations_audit (x UInt8) ENGINE = Memory");
    let plan = bench.json(6, &["lifecycle", "plan"]);
    let hash = plan["hash"].as_str().unwrap();
    for arguments in [
        &["lifecycle", "expire"][..],
        &["lifecycle", "apply", "--plan", hash],
        &["lifecycle", "hold", "events", "--id", "x", "--reason", "y"],
        &["table", "recompress", "events", "--all-partitions"],
    ] {
        bench.refused(1, "could not be written to the audit trail", arguments);
    }
    let (code, log) = bench.call(&["table", "optimize", "events", "--final"]);
    assert!(code == Some(1) && log.contains("could not be written to the audit trail"), "{code:?} {log}");
    assert_eq!((count(&bench, "events"), ttl(&bench, "events").as_str()), (1_000, ""));
    assert_eq!(bench.sql("EXISTS TABLE DB.penstock_holds"), "0");
}

#[test]
fn parts_that_are_there_come_under_the_ttl_only_if_asked_for() {
    let bench = Bench::new();
    events(&bench, "events", "toYYYYMMDD(time)", "  delete_after: 90d\n  clear: {email: 10d}\n");
    for days in [100, 20, 15, 1] {
        day(&bench, "events", days, 1_000, 10);
    }
    let call = ["lifecycle", "materialize", "events"];
    bench.refused(2, "is not that of its rules", &call);
    let plan = bench.json(6, &["lifecycle", "plan"]);
    bench.json(0, &["lifecycle", "apply", "--plan", plan["hash"].as_str().unwrap()]);
    let emails = || bench.sql("SELECT countIf(email != '') FROM DB.events");
    assert_eq!((count(&bench, "events"), emails()), (3_000, "3000".to_owned()), "metadata only");
    let dry = bench.json(0, &[&call[..], &["--dry-run"]].concat());
    assert_eq!((ids(&dry["partitions"]), emails()), (3, "3000".to_owned()));
    let first = dry["partitions"][0]["partition_id"].as_str().unwrap();
    assert_eq!(first, bench.ch.query("SELECT toString(toYYYYMMDD(today() - 20))"), "oldest first");
    bench.json(0, &[&call[..], &["--partition", first]].concat());
    assert_eq!(emails(), "2000");
    bench.refused(2, "no partition 19990101", &[&call[..], &["--partition", "19990101"]].concat());
    // A hold takes the clearing off, so that nothing is lost to it.
    bench.json(0, &["lifecycle", "hold", "events", "--id", "case", "--reason", "x"]);
    bench.json(0, &call);
    assert_eq!(emails(), "2000");
    bench.json(0, &["lifecycle", "release", "case", "--reason", "x"]);
    let plan = bench.json(6, &["lifecycle", "plan"]);
    bench.json(0, &["lifecycle", "apply", "--plan", plan["hash"].as_str().unwrap()]);
    bench.json(0, &call);
    assert_eq!((count(&bench, "events"), emails()), (3_000, "1000".to_owned()));
}

/// A desk of the library for somebody, and how often it told of progress.
fn desk(bench: &Bench, actor: Actor) -> (Desk, Arc<AtomicU32>) {
    let clickhouse: penstock::clickhouse::Config = serde_json::from_value(json!({
        "endpoints": [bench.ch.url()], "database": bench.database.name, "user": bench.ch.user, "password": bench.ch.password,
    }))
    .unwrap();
    let told = Arc::new(AtomicU32::new(0));
    let counter = told.clone();
    let observer = Arc::new(move |_: &Progress| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let (migrations, endpoint) = (&migrate::Config::default(), None);
    let setup = Setup { clickhouse: &clickhouse, migrations, actor, places: Vec::new(), endpoint, observer };
    (Desk::new(setup).unwrap(), told)
}

fn optimize() -> Optimize {
    Optimize {
        database: None,
        targets: Targets::Named(vec!["events".to_owned()]),
        to_one_part: true,
        partition: None,
        deduplicate: false,
        deduplicate_by: Vec::new(),
        dry_run: false,
        skip_disk_check: false,
        timeout: Duration::from_secs(60),
    }
}

#[tokio::test]
async fn who_has_no_right_is_refused_and_that_is_written_down() {
    let bench = Bench::new();
    events(&bench, "events", "toYYYYMMDD(time)", "  delete_after: 30d\n  clear: {email: 90d}\n");
    let file = bench.folder.path().join("events/table.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}subject_columns: [email]\n")).unwrap();
    day(&bench, "events", 60, 1_000, 10);
    day(&bench, "events", 60, 1_000, 10);
    let tables = || penstock::schema::load_dir(bench.folder.path()).unwrap();
    let stranger = |permission| Actor::with("stranger", "there", vec![permission]);
    let lifecycles = |actor| Lifecycles::new(desk(&bench, actor).0, &Config::default(), tables()).unwrap();

    let reader = lifecycles(stranger(Permission::TableCare));
    let plan = reader.plan(&[]).await.unwrap();
    assert_eq!(plan.tables[0].drops.len(), 1, "everybody may look");
    let hold = HoldRequest {
        id: "x".to_owned(),
        table: "events".to_owned(),
        partitions: Vec::new(),
        reason: String::new(),
        until: None,
        dry_run: false,
    };
    let mut refused = vec![
        reader.apply(&[], &plan.hash).await.unwrap_err().to_string(),
        reader.expire(&Expire::default()).await.unwrap_err().to_string(),
        reader.hold(&hold).await.unwrap_err().to_string(),
    ];
    let subject = Subject { column: "email".to_owned(), value: "a@b".to_owned() };
    let request = Request { subject, reason: String::new(), lightweight: false };
    let eraser = Eraser::new(lifecycles(stranger(Permission::Lifecycle)));
    refused.push(eraser.erase(&request).await.unwrap_err().to_string());
    let care = Care::new(desk(&bench, stranger(Permission::LegalHold)).0);
    refused.push(care.optimize(&optimize()).await.unwrap().tables[0].error.clone().unwrap());
    for (message, needs) in
        refused.iter().zip(["lifecycle", "lifecycle", "legal_hold", "erase", "table_care"])
    {
        assert!(message.contains("stranger at there may not") && message.contains(needs), "{message}");
    }
    assert_eq!((count(&bench, "events"), ttl(&bench, "events").as_str()), (2_000, ""));
    assert_eq!(bench.sql("SELECT count() FROM DB.penstock_migrations_audit WHERE phase = 'refused'"), "5");

    // The right ones may, and who waits is told of progress.
    let (desk, told) = desk(&bench, stranger(Permission::TableCare));
    let done = Care::new(desk).optimize(&optimize()).await.unwrap();
    assert_eq!(done.tables[0].after.unwrap().parts, 1, "{done:?}");
    assert!(told.load(Ordering::Relaxed) > 0);
    let master = lifecycles(stranger(Permission::Lifecycle));
    master.apply(&[], &plan.hash).await.unwrap();
    assert_eq!(count(&bench, "events"), 0);
    let materialize = Materialize { table: "events".to_owned(), ..Materialize::default() };
    assert!(master.materialize(&materialize).await.unwrap().partitions.is_empty(), "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_a_time_are_one_after_the_other_or_one_is_refused() {
    let bench = Bench::new();
    events(&bench, "events", "toYYYYMMDD(time)", "  delete_after: 30d\n");
    day(&bench, "events", 60, 1_000, 10);
    let hash = bench.json(6, &["lifecycle", "plan"])["hash"].as_str().unwrap().to_owned();
    let held = |expires_ms: i64| {
        bench.sql(&format!(
            "CREATE TABLE DB.penstock_holds_lock_1 (x UInt8) ENGINE = Memory COMMENT \
             '{{\"owner\":\"somebody\",\"token\":\"abc\",\"since\":\"noon\",\"expires_ms\":{expires_ms}}}'"
        ))
    };
    held(i64::MAX);
    for arguments in [&["apply", "--plan", &hash][..], &["expire"], &["materialize", "events"]] {
        let arguments = [&["lifecycle"], arguments].concat();
        bench.refused(7, "somebody changes tables by their age since noon", &arguments);
    }
    assert_eq!(count(&bench, "events"), 1_000);
    bench.sql("DROP TABLE DB.penstock_holds_lock_1 SYNC");
    held(1);
    let tables = || penstock::schema::load_dir(bench.folder.path()).unwrap();
    let master = || {
        let actor = Actor::with("one", "here", vec![Permission::Lifecycle]);
        Lifecycles::new(desk(&bench, actor).0, &Config::default(), tables()).unwrap()
    };
    let (one, other) = (master(), master());
    let (first, second) = tokio::join!(one.apply(&[], &hash), other.apply(&[], &hash));
    let dropped = |done: &Result<Outcomes, Error>| {
        done.as_ref().map_or(0, |done| done.tables.iter().map(|table| table.partitions.len()).sum())
    };
    assert_eq!(dropped(&first) + dropped(&second), 1, "{first:?} {second:?}");
    for refused in [first, second].into_iter().filter_map(Result::err) {
        assert!(matches!(refused, Error::Locked { .. } | Error::PlanDiffers { .. }), "{refused}");
    }
    assert_eq!(count(&bench, "events"), 0);
    assert_eq!(
        bench.sql("SELECT count() FROM system.tables WHERE database = 'DB' AND name LIKE '%lock%'"),
        "0"
    );
}
