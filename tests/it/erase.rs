//! `penstock erase` against a real server: what goes, what stays, and what is remembered.
//!
//! It refuses to know how it works inside.

use crate::care::Bench;

const COLUMNS: &str = "topics: [events]\norder_by: [day]\npartition_by: day\ncolumns:\n- {name: day, type: Date}\n- {name: user_id, type: Nullable(UInt64)}\n- {name: email, type: LowCardinality(String)}\n";

/// Erasures wait for no line here.
fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.config = bench.config.set("lifecycle.erasure_grace", "0ms");
    tables(&bench);
    bench
}

/// Two tables with 1,000 rows each in four partitions, ten rows of each of 100 subjects.
fn tables(bench: &Bench) {
    for (table, subjects) in [("clicks", "[user_id, email]"), ("orders", "[user_id]"), ("plain", "[]")] {
        let rules = if table == "plain" { "" } else { "lifecycle: {time_column: day}\n" };
        bench.table_file(table, &format!("table: {table}\n{COLUMNS}subject_columns: {subjects}\n{rules}"));
    }
    assert_eq!(bench.call(&["schema", "create"]).0, Some(0));
    for table in ["clicks", "orders", "plain"] {
        bench.sql(&format!(
            "INSERT INTO DB.{table} SELECT toDate('2026-01-01') + number % 4, number % 100, concat('it''s ', toString(number % 100)) FROM numbers(1000)"
        ));
    }
}

fn left(bench: &Bench, table: &str) -> (String, String) {
    (
        bench.sql(&format!("SELECT count() FROM DB.{table}")),
        bench.sql(&format!("SELECT count() FROM DB.{table} WHERE user_id = 7")),
    )
}

#[test]
fn rows_of_a_subject_go_from_every_table_that_declares_the_column_and_from_no_other() {
    let bench = bench();
    let dry = bench.json(0, &["erase", "--subject", "user_id=7", "--dry-run"]);
    let told = |value: &serde_json::Value| -> Vec<(String, u64)> {
        let all = value["tables"].as_array().unwrap().iter();
        all.map(|one| (one["table"]["name"].as_str().unwrap().to_owned(), one["rows"].as_u64().unwrap()))
            .collect()
    };
    let expected = vec![("clicks".to_owned(), 10), ("orders".to_owned(), 10)];
    assert_eq!(told(&dry), expected);
    assert_eq!(
        (left(&bench, "clicks").0, bench.sql("EXISTS TABLE DB.penstock_erasures")),
        ("1000".to_owned(), "0".to_owned())
    );

    let erased = bench.json(0, &["erase", "--subject", "user_id=7", "--reason", "request 88"]);
    assert_eq!(told(&erased), expected);
    for table in ["clicks", "orders"] {
        assert_eq!(left(&bench, table), ("990".to_owned(), "0".to_owned()), "{table}");
    }
    assert_eq!(left(&bench, "plain"), ("1000".to_owned(), "10".to_owned()), "its file declares no subject");
    let stages = bench.sql("SELECT stage, column, rows, reason FROM DB.penstock_erasures ORDER BY at");
    assert_eq!(
        stages,
        "received\tuser_id\t20\trequest 88\ndeleted\tuser_id\t20\trequest 88\nverified\tuser_id\t20\trequest 88"
    );
    let found = bench.sql(
        "SELECT count() FROM DB.penstock_erasures WHERE digest = lower(hex(SHA256('user_id\\0' || '7')))",
    );
    assert_eq!(found, "3", "who knows the value finds the record");

    // Text with a quote in it, lightweight, in the one table that declares it; to erase again does no harm.
    for rows in [10, 0] {
        let erased = bench.json(0, &["erase", "--subject", "email=it's 9", "--reason", "r", "--lightweight"]);
        assert_eq!(told(&erased), [("clicks".to_owned(), rows)]);
    }
    assert_eq!(left(&bench, "clicks").0, "980");
    let seen = bench.sql("SELECT count() FROM DB.penstock_migrations_audit WHERE position(concat(details, error, resource), 'it''s 9') > 0");
    assert_eq!(seen, "0", "the trail has the digest alone");
    assert!(bench.trail().contains("erase.subject\tdone\t3"), "{}", bench.trail());
}

#[test]
fn what_is_held_is_not_erased_and_wrong_subjects_are_refused() {
    let bench = bench();
    bench.json(
        0,
        &["lifecycle", "hold", "orders", "--id", "case-1", "--reason", "x", "--partition", "20260102"],
    );
    bench.refused(2, "held by `case-1`", &["erase", "--subject", "user_id=1", "--reason", "r"]);
    assert_eq!(left(&bench, "clicks").0, "1000", "nothing was erased anywhere");
    // Subject 2 has no row on the day that is held.
    bench.json(0, &["erase", "--subject", "user_id=2", "--reason", "r"]);
    assert_eq!(left(&bench, "orders").0, "990");
    bench.refused(2, "no table file declares `name`", &["erase", "--subject", "name=x", "--reason", "r"]);
    bench.refused(
        2,
        "the value is none of column `user_id`",
        &["erase", "--subject", "user_id=seven", "--reason", "r"],
    );
    assert_eq!(bench.call(&["erase", "--subject", "user_id=3"]).0, Some(2), "a reason is demanded");
    assert_eq!(left(&bench, "clicks").0, "990");
}
