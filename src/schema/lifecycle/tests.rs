//! The section from text to TTL, and every way in which it can be wrong.

use std::path::Path;

use super::{plain, ttl_of};
use crate::schema::{Error, Table, ddl, parse_table};

const HEAD: &str = "table: t\ntopics: [t]\npartition_by: toYYYYMM(time)\norder_by: [site, user]\ncolumns:\n\
    - {name: time, type: DateTime64(3)}\n- {name: day, type: Date}\n- {name: site, type: String}\n\
    - {name: user, type: UInt64}\n- {name: clicks, type: UInt64}\n- {name: email, type: String}\n\
    - {name: maybe, type: Nullable(DateTime)}\nlifecycle:\n";

fn parse(lines: &str) -> Result<Table, Error> {
    parse_table(&format!("{HEAD}{lines}"), Path::new("t.yaml"))
}

#[test]
fn rules_become_the_ttl_that_the_server_prints() {
    let table = parse(
        "  time_column: time\n  min_retention: 7d\n  delete_after: 90d\n  move: [{after: 36h, to_volume: \"it's\"}, {after: 8d, to_disk: s3}]\n\
         \x20 recompress: [{after: 90m, codec: 'ZSTD( 9 )'}]\n\
         \x20 roll_up: [{after: 30d, group_by: [site], set: {clicks: sum(clicks)}}]\n  clear: {email: 10d}\n",
    )
    .unwrap_or_else(|error| panic!("{error}"));
    let rules = table.lifecycle.as_ref().unwrap();
    let others = r"toDateTime(time) + toIntervalHour(36) TO VOLUME 'it\'s', toDateTime(time) + toIntervalDay(8) TO DISK 's3', toDateTime(time) + toIntervalMinute(90) RECOMPRESS CODEC(ZSTD(9))";
    let whole = format!(
        "toDateTime(time) + toIntervalDay(90), {others}, toDateTime(time) + toIntervalDay(30) GROUP BY site SET clicks = sum(clicks)"
    );
    assert_eq!(rules.table_ttl(false).unwrap(), whole);
    assert_eq!(rules.table_ttl(true).unwrap(), others, "a hold leaves nothing that destroys");
    let sql = ddl::create_table(&table, true);
    assert!(sql.contains(&format!("\nTTL {whole}")), "{sql}");
    assert!(sql.contains("`email` String TTL toDateTime(time) + toIntervalDay(10)"), "{sql}");
    assert_eq!(rules.column_ttl("email", true), None);

    let days = parse("  time_column: day\n  delete_after: 2d\n").unwrap();
    assert_eq!(days.lifecycle.unwrap().table_ttl(false).unwrap(), "day + toIntervalDay(2)");
    let dropped = parse("  time_column: day\n  delete_after: 2d\n  method: drop_partition\n").unwrap();
    assert_eq!(dropped.lifecycle.as_ref().unwrap().table_ttl(false), None);
    assert!(!ddl::create_table(&dropped, true).contains("TTL"));
}

#[test]
fn each_fault_is_found() {
    for (lines, path, message) in [
        ("delete_after: 1d", "lifecycle", "`time_column` is missing"),
        ("time_column: tiem", "lifecycle.time_column", "no column `tiem`"),
        ("time_column: site", "lifecycle.time_column", "is no time"),
        ("time_column: maybe", "lifecycle.time_column", "is no time"),
        ("time_column: time\n  delete_after: soon", "lifecycle.delete_after", "soon"),
        ("time_column: time\n  delete_after: 0d", "lifecycle.delete_after", "no age"),
        ("time_column: time\n  delete_after: 1500ms", "lifecycle.delete_after", "no age"),
        ("time_column: time\n  delete_afte: 1d", "lifecycle.delete_afte", "unknown key"),
        ("time_column: time\n  method: both", "lifecycle.method", "both"),
        ("time_column: time\n  move: [{after: 1d}]", "lifecycle.move[0]", "not one place"),
        (
            "time_column: time\n  move: [{after: 1d, to_disk: a, to_volume: b}]",
            "lifecycle.move[0]",
            "not one place",
        ),
        (
            "time_column: time\n  recompress: [{after: 1d, codec: 'ZSTD; x'}]",
            "lifecycle.recompress[0].codec",
            "no codec",
        ),
        ("time_column: time\n  recompress: [{after: 1d}]", "lifecycle.recompress[0]", "`codec` is missing"),
        (
            "time_column: time\n  roll_up: [{after: 1d, group_by: [user], set: {clicks: x}}]",
            "lifecycle.roll_up[0].group_by",
            "first columns",
        ),
        (
            "time_column: time\n  roll_up: [{after: 1d, group_by: [site], set: {site: x}}]",
            "lifecycle.roll_up[0].set.site",
            "same value",
        ),
        (
            "time_column: time\n  roll_up: [{after: 1d, group_by: [site], set: {nope: x}}]",
            "lifecycle.roll_up[0].set.nope",
            "no column",
        ),
        ("time_column: time\n  clear: {nope: 1d}", "lifecycle.clear.nope", "no column"),
        ("time_column: time\n  clear: {site: 1d}", "lifecycle.clear.site", "part of a key"),
        (
            "time_column: time\n  min_retention: 30d\n  delete_after: 29d",
            "lifecycle.min_retention",
            "`delete after 29d` acts before 30d",
        ),
        (
            "time_column: time\n  min_retention: 30d\n  clear: {email: 1d}",
            "lifecycle.min_retention",
            "clear `email`",
        ),
    ] {
        let error = parse(&format!("  {lines}\n")).expect_err(lines);
        let found = error.faults();
        assert!(
            found.iter().any(|one| one.path == path && one.message.contains(message)),
            "{lines}: {found:#?}"
        );
        assert!(found.iter().all(|one| !one.hint.is_empty()));
    }
    let log = HEAD.replace("table: t\n", "table: t\nengine: Log\n") + "  time_column: time\n";
    let error = parse_table(&log, Path::new("t.yaml")).expect_err("an engine without parts");
    assert!(error.to_string().contains("the engine Log keeps no ages"), "{error}");
}

#[test]
fn the_live_ttl_is_found_outside_of_quotes() {
    let full = "MergeTree PARTITION BY (`TTL`, f('TTL x')) ORDER BY a TTL toDateTime(`t`) + toIntervalDay(3) TO DISK ' SETTINGS ' SETTINGS index_granularity = 1";
    assert_eq!(ttl_of(full), Some("toDateTime(`t`) + toIntervalDay(3) TO DISK ' SETTINGS '"));
    assert_eq!(ttl_of("MergeTree ORDER BY TTLS SETTINGS x = 'TTL'"), None);
    assert_eq!(ttl_of("MergeTree ORDER BY a TTL b + 1"), Some("b + 1"));
    assert_eq!(plain("a  +`b`"), "a+b");
}
