//! `penstock table` against a real server: sizes, codecs, merging and writing again, as a user calls them.
//!
//! It refuses to know how they work inside; what the server's own tables say afterwards is what counts.

use serde_json::Value;

use crate::harness::{ClickHouse, Database, Kafka, Penstock, PenstockConfig, Servers};
use crate::scene::DEADLINE;

pub struct Bench {
    pub ch: ClickHouse,
    pub database: Database,
    pub folder: tempfile::TempDir,
    pub config: PenstockConfig,
}

impl Bench {
    pub fn new() -> Bench {
        let ch = Servers::shared().clickhouse.clone();
        let database = ch.fresh_database();
        let folder = tempfile::tempdir().unwrap();
        let config = PenstockConfig::new(&Kafka::at("127.0.0.1:1"), &[&ch], &database.name, folder.path());
        Bench { ch, database, folder, config }
    }

    /// Writes the table file of a table.
    pub fn table_file(&self, table: &str, text: &str) {
        std::fs::create_dir_all(self.folder.path().join(table)).unwrap();
        std::fs::write(self.folder.path().join(table).join("table.yaml"), text).unwrap();
    }

    /// Exit code and everything that was printed.
    pub fn call(&self, arguments: &[&str]) -> (Option<i32>, String) {
        Penstock::output(&self.config, arguments, DEADLINE)
    }

    /// Calls and expects this exit code; the output read as JSON, logs left out.
    #[track_caller]
    pub fn json(&self, expected: i32, arguments: &[&str]) -> Value {
        let quiet = [&["--log", "error", "--output", "json"], arguments].concat();
        let (code, log) = self.call(&quiet);
        assert_eq!(code, Some(expected), "{arguments:?}: {log}");
        serde_json::from_str(&log).unwrap_or_else(|error| panic!("{error}: {log}"))
    }

    /// Calls and expects an error with this exit code and these words.
    #[track_caller]
    pub fn refused(&self, expected: i32, words: &str, arguments: &[&str]) {
        let (code, log) = self.call(arguments);
        assert!(code == Some(expected) && log.contains(words) && log.contains("hint: "), "{code:?} {log}");
    }

    /// Asks within the database.
    pub fn sql(&self, query: &str) -> String {
        self.ch.query(
            &query
                .replace("DB.", &format!("{}.", self.database.name))
                .replace("DB'", &format!("{}'", self.database.name)),
        )
    }

    /// Actions of the audit trail with their phases.
    pub fn trail(&self) -> String {
        self.sql("SELECT action, phase, count() FROM DB.penstock_migrations_audit GROUP BY ALL ORDER BY ALL")
    }
}

/// Three partitions, the first in five parts, the others in one; the server merges nothing by itself.
fn three_partitions(bench: &Bench) {
    bench.sql("CREATE TABLE DB.t (p UInt8, n UInt64, s String) ENGINE = MergeTree PARTITION BY p ORDER BY n SETTINGS min_bytes_for_wide_part = 0, \
               max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1");
    for _ in 0..5 {
        bench.sql("INSERT INTO DB.t SELECT 1, number, toString(number) FROM numbers(1000)");
    }
    bench.sql("INSERT INTO DB.t SELECT 2 + number % 2, number, randomPrintableASCII(50) FROM numbers(20000)");
}

const PARTS: &str = "SELECT partition_id, count(), sum(rows) FROM system.parts WHERE active AND database = 'DB' AND table = 't' GROUP BY 1 ORDER BY 1";

#[test]
fn sizes_are_those_of_the_server_in_the_order_asked_for() {
    let bench = Bench::new();
    three_partitions(&bench);
    bench.sql("CREATE TABLE DB.small (n UInt64) ENGINE = MergeTree ORDER BY n");
    bench.sql("INSERT INTO DB.small SELECT number FROM numbers(90000)");
    let name = bench.database.name.as_str();
    let sizes = bench.json(0, &["table", "sizes", "--database", name, "--partitions"]);
    let told = |level: &str, key: &str| -> Vec<String> {
        sizes[level].as_array().unwrap().iter().map(|one| one[key].to_string()).collect()
    };
    assert_eq!(
        (told("databases", "rows"), told("tables", "rows")),
        (vec!["115000".to_owned()], vec!["25000".to_owned(), "90000".to_owned()])
    );
    let bytes = bench.sql("SELECT sum(bytes_on_disk), sum(data_uncompressed_bytes) FROM system.parts WHERE active AND database = 'DB' AND table = 't'");
    assert_eq!(
        format!("{}\t{}", told("tables", "bytes_on_disk")[0], told("tables", "uncompressed_bytes")[0]),
        bytes
    );
    assert_eq!(sizes["partitions"].as_array().unwrap().len(), 4);
    assert!(
        sizes["tables"][0]["ratio"].as_f64().unwrap() > 1.0
            && sizes["disks"][0]["free_bytes"].as_u64().unwrap() > 0
    );
    let by_rows = bench.json(0, &["table", "sizes", "--database", name, "--sort", "rows"]);
    assert_eq!(by_rows["tables"][0]["table"], "small");
    let one = bench.json(0, &["table", "sizes", "small", "--database", name]);
    assert_eq!(
        (one["tables"].as_array().unwrap().len(), one["partitions"].as_array().unwrap().len()),
        (1, 0)
    );
    let (code, text) = bench.call(&["table", "sizes"]);
    assert!(code == Some(0) && text.contains(&format!("{name}.t ")) && !text.contains("system."), "{text}");
}

#[test]
fn codec_advice_is_measured_and_leaves_no_table_behind() {
    let bench = Bench::new();
    bench.sql(
        "CREATE TABLE DB.t (id UInt64, at DateTime64(3), noise UInt64, word LowCardinality(String), price Nullable(Float64) CODEC(LZ4), \
         twice UInt64 ALIAS id * 2) ENGINE = MergeTree ORDER BY id SETTINGS min_bytes_for_wide_part = 0",
    );
    bench.sql("INSERT INTO DB.t (id, at, noise, word, price) SELECT number * 7, toDateTime64('2026-01-01 00:00:00', 3) + number, rand64(), toString(number % 9), number FROM numbers(200000)");
    let report = bench.json(0, &["table", "compression", "t", "--codec", "ZSTD(19)"]);
    let column = |name: &str| {
        report["columns"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
    };
    assert_eq!((report["rows"].as_u64(), report["columns"].as_array().unwrap().len()), (Some(200_000), 5));
    assert_eq!(report["compact_bytes"].as_u64(), Some(0));
    for name in ["id", "at"] {
        let advice = &column(name)["advice"];
        assert!(advice["codec"].as_str().unwrap().contains("Delta"), "{name}: {advice}");
        assert!(advice["saves_percent"].as_u64().unwrap() > 50, "{name}: {advice}");
    }
    assert_eq!(column("noise")["advice"], Value::Null, "noise cannot be compressed: {}", column("noise"));
    let tried = column("noise")["measured"].as_array().unwrap().clone();
    assert!(tried.len() > 9 && tried.iter().any(|one| one["codec"] == "ZSTD(19)"), "{tried:?}");
    assert_eq!(
        (column("price")["measured"][0]["codec"].as_str(), column("word")["codec"].as_str()),
        (Some("LZ4"), Some(""))
    );

    // What is advised works, and takes what was measured.
    let before: u64 = bench.ch.value(&format!(
        "SELECT data_compressed_bytes FROM system.columns WHERE database = '{}' AND name = 'id'",
        bench.database.name
    ));
    bench.sql(column("id")["advice"]["sql"].as_str().unwrap());
    let codec = format!("id={}", column("id")["advice"]["codec"].as_str().unwrap());
    bench.json(0, &["table", "recompress", "t", "--all-partitions", "--codec", &codec]);
    let after: u64 = bench.ch.value(&format!(
        "SELECT data_compressed_bytes FROM system.columns WHERE database = '{}' AND name = 'id'",
        bench.database.name
    ));
    let saved = before - after;
    let told = column("id")["advice"]["saves_bytes"].as_u64().unwrap();
    assert!(told.abs_diff(saved) < saved / 5, "{told} bytes told, {saved} saved");

    // A codec that the server does not know fails, and its scratch table is gone as well.
    bench.refused(1, "NoSuchCodec", &["table", "compression", "t", "--codec", "NoSuchCodec"]);
    bench.refused(2, "no column `twice`", &["table", "compression", "t", "--column", "twice"]);
    bench.sql("CREATE TABLE DB.compact (n UInt64) ENGINE = MergeTree ORDER BY n");
    bench.sql("INSERT INTO DB.compact SELECT number FROM numbers(1000)");
    let compact = bench.json(0, &["table", "compression", "compact", "--sample-rows", "0"]);
    assert!(compact["compact_bytes"].as_u64().unwrap() > 0, "{compact}");
    let plain = bench.json(0, &["table", "compression", "t", "--column", "id", "--sample-rows", "0"]);
    assert_eq!(plain["columns"][0]["measured"], serde_json::json!([]));
    assert_eq!(
        bench.sql(
            "SELECT count() FROM system.tables WHERE database = 'DB' AND startsWith(name, 'penstock_codec_')"
        ),
        "0"
    );
    let trail = bench.trail();
    assert!(
        trail.contains("table.compression\tdone\t1") && trail.contains("table.compression\tfailed\t1"),
        "{trail}"
    );
    assert!(trail.contains("table.compression\tintent\t2"), "what measures nothing makes nothing: {trail}");
}

#[test]
fn parts_are_merged_as_far_as_asked_for() {
    let bench = Bench::new();
    three_partitions(&bench);
    let parts = || bench.sql(PARTS);
    let before = parts();
    let planned = bench.json(0, &["table", "optimize", "t", "--final", "--dry-run"]);
    let one = &planned["tables"][0];
    assert!(one["after"].is_null() && one["sql"].as_str().unwrap().ends_with("`.`t` FINAL"), "{one}");
    let of_the_first: u64 = bench.ch.value(&format!(
        "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = '{}' AND partition_id = '1'",
        bench.database.name
    ));
    assert_eq!(one["bytes_to_write"].as_u64(), Some(of_the_first), "the others have one part each");
    assert_eq!(parts(), before, "a dry run does nothing");

    bench.json(0, &["table", "optimize", "t", "--final", "--partition", "1"]);
    assert_eq!(parts(), "1\t1\t5000\n2\t1\t10000\n3\t1\t10000");
    let done = bench.json(
        0,
        &["table", "optimize", "t", "--final", "--partition", "1", "--deduplicate", "--by", "p", "--by", "n"],
    );
    assert_eq!(
        (done["tables"][0]["before"]["rows"].as_u64(), done["tables"][0]["after"]["rows"].as_u64()),
        (Some(5000), Some(1000))
    );
    assert_eq!(parts(), "1\t1\t1000\n2\t1\t10000\n3\t1\t10000");

    bench.sql("CREATE TABLE DB.u AS DB.t");
    bench.sql("CREATE TABLE DB.log (n UInt8) ENGINE = Log");
    (0..2).for_each(|_| drop(bench.sql("INSERT INTO DB.u VALUES (1, 1, 'a')")));
    let all = bench.json(
        0,
        &["table", "optimize", "--all", "--except", "t", "--except", "penstock_migrations_audit", "--final"],
    );
    let names: Vec<&str> =
        all["tables"].as_array().unwrap().iter().map(|one| one["table"]["name"].as_str().unwrap()).collect();
    assert_eq!((names, all["tables"][0]["after"]["parts"].as_u64()), (vec!["u"], Some(1)));

    bench.refused(2, "no partition 9", &["table", "optimize", "t", "--partition", "9"]);
    bench.refused(2, "but Log", &["table", "optimize", "log"]);
    bench.refused(2, "there is no table", &["table", "optimize", "nope"]);
    assert_eq!(bench.call(&["table", "optimize"]).0, Some(2));
    bench.refused(2, "no endpoint", &["table", "optimize", "t", "--endpoint", "elsewhere:1"]);
    let failed = bench.call(&["table", "optimize", "t", "--final", "--deduplicate", "--by", "nope"]);
    assert!(failed.0 == Some(1) && failed.1.contains("failed   "), "{failed:?}");
    let trail = bench.trail();
    assert!(
        trail.contains("table.optimize\tdone\t3") && trail.contains("table.optimize\tfailed\t1"),
        "{trail}"
    );
}

#[test]
fn a_partition_is_written_again_with_another_codec_and_the_others_are_not() {
    let bench = Bench::new();
    three_partitions(&bench);
    bench.sql("ALTER TABLE DB.t MODIFY COLUMN s CODEC(NONE)");
    bench.sql("OPTIMIZE TABLE DB.t FINAL SETTINGS optimize_skip_merged_partitions = 0, alter_sync = 2");
    let bytes = "SELECT partition_id, column_data_compressed_bytes FROM system.parts_columns WHERE active AND database = 'DB' AND table = 't' AND column = 's' ORDER BY 1";
    let before = bench.sql(bytes);
    let call = ["table", "recompress", "t", "--partition", "1", "--codec", "s=ZSTD(3)"];
    let planned = bench.json(0, &[&call[..], &["--dry-run"]].concat());
    assert!(
        planned["statements"][0].as_str().unwrap().ends_with("MODIFY COLUMN `s` CODEC(ZSTD(3))"),
        "{planned}"
    );
    assert_eq!((bench.sql(bytes), planned["partitions"][0]["after"].is_null()), (before.clone(), true));
    let done = bench.json(0, &call);
    let (was, is) = (&done["partitions"][0]["before"]["bytes"], &done["partitions"][0]["after"]["bytes"]);
    assert!(is.as_u64().unwrap() < was.as_u64().unwrap(), "{done}");
    let after = bench.sql(bytes);
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    assert!(old[0] != new[0] && old[1..] == new[1..], "{before}\n{after}");
    bench.refused(2, "no partition 7", &["table", "recompress", "t", "--partition", "7"]);
    assert_eq!(
        bench.call(&["table", "recompress", "t", "--partition", "1", "--codec", "s=ZSTD; DROP"]).0,
        Some(2)
    );
    assert_eq!(bench.call(&["table", "recompress", "t"]).0, Some(2));
    assert!(bench.trail().contains("table.recompress\tdone\t1"), "{}", bench.trail());
}
