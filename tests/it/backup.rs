//! `penstock backup` against real servers: made, damaged, verified, pruned, brought back, and read again from Kafka.
//!
//! It refuses to know how it works inside: what counts is what a restored table has, and what is on the disk.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::admin::{Admin, json_of, seen};
use crate::care::Bench;
use crate::harness::{ClickHouse, Penstock, PenstockConfig, Servers, wait_until};
use crate::scene::{DEADLINE, PARTITIONS, Scene, events_table};

/// The folder of this database's backups, as the server and this process see it.
fn place(ch: &ClickHouse, database: &str) -> PathBuf {
    let data = PathBuf::from(ch.query("SELECT path FROM system.disks WHERE name = 'default'"));
    data.parent().unwrap().join("backups").join(database)
}

pub fn with_backups(config: PenstockConfig, ch: &ClickHouse, database: &str) -> PenstockConfig {
    config
        .set("admin.backup.destination.path", database)
        .set("admin.backup.files_path", place(ch, database).to_str().unwrap())
}

/// A table `t` of three partitions and one more row in each with every call of `more`.
struct Vault {
    bench: Bench,
    folder: PathBuf,
}

impl Vault {
    fn new() -> Vault {
        Vault::with(|config| config)
    }

    fn with(change: impl FnOnce(PenstockConfig) -> PenstockConfig) -> Vault {
        let mut bench = Bench::new();
        let folder = place(&bench.ch, &bench.database.name);
        bench.config = change(with_backups(bench.config.clone(), &bench.ch, &bench.database.name));
        bench.sql("CREATE TABLE DB.t (p UInt8, n UInt64, s Nullable(String)) ENGINE = MergeTree PARTITION BY p ORDER BY n");
        bench.sql("INSERT INTO DB.t SELECT number % 3, number, if(number % 7 = 0, NULL, randomPrintableASCII(50)) FROM numbers(9000)");
        Vault { bench, folder }
    }

    fn more(&self) {
        self.bench.sql("INSERT INTO DB.t SELECT number % 3, rand64(), 'more' FROM numbers(300)");
    }

    fn create(&self, arguments: &[&str]) -> (String, Value) {
        let made = self.bench.json(0, &[&["backup", "create"], arguments].concat());
        (made["id"].as_str().unwrap().to_owned(), made)
    }

    /// Number and hash of the rows of a table.
    fn rows(&self, table: &str) -> String {
        self.bench.sql(&format!("SELECT count(), sum(cityHash64(p, n, ifNull(s, '-'))) FROM {table}"))
    }

    /// The largest file of the backup's own data.
    fn data_file(&self, id: &str) -> PathBuf {
        let mut files = Vec::new();
        let mut folders = vec![self.folder.join(id)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "bin") {
                    files.push((path.metadata().unwrap().len(), path));
                }
            }
        }
        files.into_iter().max().unwrap().1
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        // The server's data goes with the run anyway.
        let _removed = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn full_and_incremental_backups_come_back_under_other_names_and_never_over_rows() {
    let vault = Vault::new();
    let bench = &vault.bench;
    let planned = bench.json(0, &["backup", "create", "t", "--dry-run"]);
    assert_eq!((&planned["base"], &planned["tables"]), (&Value::Null, &json!(["t"])));
    assert_eq!(bench.sql("EXISTS TABLE DB.penstock_backups"), "0");
    bench.refused(2, "there is none to add to", &["backup", "create", "t", "--incremental"]);
    let (full, made) = vault.create(&["t"]);
    assert_eq!((&made["manifest"]["base"], &made["state"]), (&Value::Null, &json!("done")));
    let before = vault.rows("DB.t");
    vault.more();
    let (more, made) = vault.create(&["t"]);
    assert_eq!(made["manifest"]["base"], json!(full));
    let bytes = |key: &str| made["manifest"][key].as_u64().unwrap();
    assert!(bytes("new_bytes") * 4 < bytes("bytes"), "{made}");
    let after = vault.rows("DB.t");

    for level in ["files", "sample", "restore"] {
        let verified = bench.json(0, &["backup", "verify", &more, "--level", level, "--percent", "100"]);
        assert_eq!(verified["findings"], json!([]), "{level}");
    }
    let scratch = format!("SHOW DATABASES LIKE '{}_penstock_verify%'", bench.database.name);
    assert_eq!(bench.ch.query(&scratch), "", "nothing is left of the look");

    bench.refused(2, "has 9300 rows", &["backup", "restore", &more]);
    for (id, name, expected) in [(&full, "then", &before), (&more, "now", &after)] {
        let dry = bench.json(0, &["backup", "restore", id, "--as", name, "--dry-run"]);
        assert_eq!(dry["tables"][0]["target"]["name"], name);
        assert_eq!(bench.sql(&format!("EXISTS TABLE DB.{name}")), "0");
        let restored = bench.json(0, &["backup", "restore", id, "--as", name]);
        assert_eq!(restored["findings"], json!([]), "{restored}");
        assert_eq!(&vault.rows(&format!("DB.{name}")), expected);
    }
    let other = format!("{}_other", bench.database.name);
    bench.json(0, &["backup", "restore", &more, "--database", &other, "--partition", "1"]);
    assert_eq!(bench.ch.query(&format!("SELECT groupUniqArray(p), count() FROM {other}.t")), "[1]\t3100");
    bench.ch.query(&format!("DROP DATABASE {other}"));
    bench.sql("TRUNCATE TABLE DB.t");
    bench.json(0, &["backup", "restore", &more]);
    assert_eq!(vault.rows("DB.t"), after, "an empty table takes its rows back");

    bench.refused(2, &format!("cannot be restored without it: {more}"), &["backup", "delete", &full]);
    bench.refused(2, "there is no backup nothing", &["backup", "delete", "nothing"]);
    bench.json(0, &["backup", "hold", &more, "--reason", "case 17"]);
    bench.refused(2, "it is held: case 17", &["backup", "delete", &more]);
    bench.json(0, &["backup", "release", &more, "--reason", "settled"]);
    bench.json(0, &["backup", "delete", &more, "--dry-run"]);
    assert!(vault.folder.join(&more).exists());
    for id in [&more, &full] {
        bench.json(0, &["backup", "delete", id]);
        assert!(!vault.folder.join(id).exists());
        bench.refused(2, "cannot be restored", &["backup", "restore", id, "--as", "gone"]);
    }
    assert_eq!(bench.json(0, &["backup", "list"])["backups"], json!([]));
    assert_eq!(bench.json(0, &["backup", "list", "--all"])["backups"].as_array().unwrap().len(), 2);
    let trail = bench.trail();
    for line in [
        "backup.create\tdone\t2",
        "backup.restore\tdone\t4",
        "backup.delete\tdone\t2",
        "backup.verify\tintent\t3",
    ] {
        assert!(trail.contains(line), "{line}: {trail}");
    }
}

#[test]
fn copies_that_a_killed_verification_left_are_dropped_however_large_and_those_at_work_are_not() {
    let limit = json!({ "max_table_size_to_drop": "1" });
    let vault = Vault::with(|config| config.set("clickhouse.settings", limit));
    let (id, _) = vault.create(&["t"]);
    let ch = &vault.bench.ch;
    let copy = |ends_s: u64| {
        let name = format!("{}_penstock_verify_{ends_s}_0badcafe", vault.bench.database.name);
        ch.query(&format!("CREATE DATABASE {name}"));
        ch.query(&format!(
            "CREATE TABLE {name}.t ENGINE = MergeTree ORDER BY n AS SELECT number AS n FROM numbers(1000)"
        ));
        name
    };
    let (_left, at_work) = (copy(1), copy(4_000_000_000));
    assert_eq!(vault.bench.json(0, &["backup", "verify", &id])["findings"], json!([]));
    let copies = format!("SHOW DATABASES LIKE '{}_penstock_verify%'", vault.bench.database.name);
    assert_eq!(ch.query(&copies), at_work);
    ch.query(&format!("DROP DATABASE {at_work}"));
}

#[test]
fn a_disk_of_the_server_serves_as_well_as_a_folder() {
    let vault = Vault::with(|config| {
        let database = config.text("clickhouse.database").to_owned();
        let disk = place(&Servers::shared().clickhouse, "disk").join(&database);
        config
            .set("admin.backup.destination", json!({ "kind": "disk", "name": "backups", "path": database }))
            .set("admin.backup.files_path", disk.to_str().unwrap())
    });
    let bench = &vault.bench;
    let (full, _) = vault.create(&["t"]);
    vault.more();
    let (more, made) = vault.create(&["t"]);
    assert_eq!(made["manifest"]["base"], json!(full));
    for level in ["sample", "restore"] {
        let verified = bench.json(0, &["backup", "verify", &more, "--level", level, "--percent", "100"]);
        assert_eq!(verified["findings"], json!([]), "{level}");
    }
    let before = vault.rows("DB.t");
    bench.sql("DROP TABLE DB.t SYNC");
    bench.json(0, &["backup", "restore", &more]);
    assert_eq!(vault.rows("DB.t"), before);
    let folder = place(&bench.ch, "disk").join(&bench.database.name);
    assert!(folder.join(&full).exists());
    bench.json(0, &["backup", "delete", &more]);
    bench.json(0, &["backup", "delete", &full]);
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
}

#[test]
fn a_damaged_base_is_found_and_nothing_more_is_built_on_it() {
    let vault =
        Vault::with(|config| config.set("admin.backup.policies", json!({ "daily": { "tables": ["t"] } })));
    let bench = &vault.bench;
    let (full, _) = vault.create(&["--policy", "daily"]);
    vault.more();
    let (more, _) = vault.create(&["--policy", "daily", "--incremental"]);
    let file = vault.data_file(&full);
    let mut damaged = std::fs::read(&file).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&file, &damaged).unwrap();
    // A flipped bit is not seen by sizes, but by checksums, and by a restore.
    assert_eq!(bench.json(0, &["backup", "verify", &more, "--level", "files"])["findings"], json!([]));
    let found = bench.json(3, &["backup", "verify", &more, "--level", "sample", "--percent", "100"]);
    let finding = found["findings"][0].as_str().unwrap();
    assert!(finding.starts_with(&full) && finding.contains("other bytes"), "{found}");
    bench.refused(
        2,
        &format!("{full} is damaged"),
        &["backup", "create", "--policy", "daily", "--incremental"],
    );
    bench.refused(2, "is damaged", &["backup", "restore", &more, "--as", "x"]);
    let (fresh, made) = vault.create(&["--policy", "daily"]);
    assert_eq!(made["manifest"]["base"], Value::Null, "a full one in its place: {made}");

    // A file that is gone is found by the next incremental one itself.
    std::fs::remove_file(vault.data_file(&fresh)).unwrap();
    vault.more();
    bench.refused(
        2,
        &format!("{fresh} is damaged"),
        &["backup", "create", "--policy", "daily", "--incremental"],
    );
    let planned = bench.json(0, &["backup", "create", "--policy", "daily", "--dry-run"]);
    assert_eq!(planned["base"], Value::Null, "{planned}");
    let shown = bench.json(0, &["backup", "show", &fresh]);
    assert!(shown["verification"]["findings"][0].as_str().unwrap().contains("is gone"), "{shown}");
    let ran = bench.json(0, &["backup", "run", "daily"]);
    assert_eq!(
        (&ran["backup"]["manifest"]["base"], &ran["verification"]["level"]),
        (&Value::Null, &json!("restore"))
    );
}

#[test]
fn where_files_cannot_be_reached_a_restore_finds_the_damage_and_leaves_nothing_behind() {
    let vault = Vault::with(|config| config.set("admin.backup.files_path", Value::Null));
    let bench = &vault.bench;
    let (full, _) = vault.create(&["t"]);
    vault.more();
    let (more, made) = vault.create(&["t"]);
    assert_eq!(made["manifest"]["base"], json!(full));
    bench.refused(2, "cannot be reached", &["backup", "verify", &more, "--level", "files"]);
    std::fs::remove_file(vault.data_file(&full)).unwrap();
    bench.refused(1, "could not restore", &["backup", "restore", &more, "--as", "half"]);
    assert_eq!(bench.sql("EXISTS TABLE DB.half"), "0", "the server leaves an empty table; it is dropped");
    bench.sql("CREATE TABLE DB.mine (p UInt8, n UInt64, s Nullable(String)) ENGINE = MergeTree PARTITION BY p ORDER BY n");
    bench.refused(1, "could not restore", &["backup", "restore", &more, "--as", "mine"]);
    assert_eq!(
        bench.sql("SELECT count() FROM DB.mine"),
        "0",
        "a table that was there stays, and stays empty"
    );
    // To the server that is no reason to refuse an incremental one.
    let (third, made) = vault.create(&["t"]);
    assert_eq!(made["manifest"]["base"], json!(more));
    let found = bench.json(3, &["backup", "verify", &third]);
    assert!(found["findings"][0].as_str().unwrap().contains("could not restore"), "{found}");
    bench.refused(2, "is damaged", &["backup", "create", "t", "--incremental"]);
    let deleted = bench.json(0, &["backup", "delete", &third]);
    assert_eq!(deleted["files_left"], true);
    assert!(vault.folder.join(&third).exists());
}

#[test]
fn what_pruning_keeps_can_be_restored_and_nothing_goes_unverified_or_unseen() {
    let keep = json!({ "hourly": 0, "daily": 0, "weekly": 0, "monthly": 0, "yearly": 0, "min_count": 2, "min_age": "0ms" });
    let vault = Vault::with(|config| {
        config
            .set(
                "admin.backup.policies",
                json!({ "p": { "tables": ["t"], "keep": keep, "verify": "restore" } }),
            )
            .set("admin.backup.chain_max", 2)
    });
    let bench = &vault.bench;
    let (mut rows, mut ids) = (BTreeMap::new(), Vec::new());
    for _ in 0..8 {
        vault.more();
        let (id, made) = vault.create(&["--policy", "p"]);
        ids.push((id.clone(), made["manifest"]["base"].is_null()));
        rows.insert(id, vault.rows("DB.t"));
    }
    let newest = ids[7].0.clone();
    let is_full: Vec<bool> = ids.iter().map(|(_, is_full)| *is_full).collect();
    assert_eq!(
        is_full,
        [true, false, false, true, false, false, true, false],
        "two incremental ones on each full one"
    );

    let plan = bench.json(6, &["backup", "prune"]);
    let hash = plan["hash"].as_str().unwrap().to_owned();
    assert!(plan["plans"][0]["refused"].as_str().unwrap().contains("not verified"), "{plan}");
    bench.refused(2, "not verified", &["backup", "prune", "--plan", &hash]);
    bench.json(0, &["backup", "verify", &newest]);
    // The newest two are the last full one and what adds to it; one of the middle is held with what it needs.
    let held = ids[4].0.clone();
    bench.json(0, &["backup", "hold", &held, "--reason", "case"]);
    let plan = bench.json(6, &["backup", "prune", "--policy", "p"]);
    let hash = plan["hash"].as_str().unwrap().to_owned();
    let deleted: Vec<&str> = plan["plans"][0]["deleted"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    let kept: Vec<String> = plan["plans"][0]["kept"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((deleted.len(), kept.len()), (4, 4), "{plan}");
    bench.refused(2, "the plan is ", &["backup", "prune", "--policy", "p", "--plan", "0000000000000000"]);
    let done = bench.json(0, &["backup", "prune", "--policy", "p", "--plan", &hash]);
    assert_eq!(done["deleted"].as_array().unwrap().len(), 4, "{done}");
    assert_eq!(bench.json(0, &["backup", "prune"])["plans"][0]["deleted"], json!([]));

    let left = bench.json(0, &["backup", "list"]);
    assert_eq!(left["backups"].as_array().unwrap().len(), 4);
    for (n, id) in kept.iter().enumerate() {
        let name = format!("r{n}");
        bench.json(0, &["backup", "restore", id, "--as", &name]);
        assert_eq!(vault.rows(&format!("DB.{name}")), rows[id], "{id}");
    }
    for id in rows.keys().filter(|id| !kept.contains(id)) {
        assert!(
            !vault.folder.join(id).exists() && !vault.folder.join(format!("{id}.penstock.json")).exists()
        );
    }
}

#[test]
fn a_whole_database_comes_back_after_its_loss_by_what_stands_beside_the_backup() {
    let vault = Vault::new();
    let bench = &vault.bench;
    bench.sql("CREATE TABLE DB.sums (p UInt8, n UInt64) ENGINE = SummingMergeTree ORDER BY p");
    bench.sql("CREATE MATERIALIZED VIEW DB.view TO DB.sums AS SELECT p, toUInt64(1) AS n FROM DB.t");
    bench.sql("CREATE TABLE DB.small (n UInt8) ENGINE = Log");
    bench.sql("INSERT INTO DB.small VALUES (1), (2)");
    vault.more();
    vault.more();
    let (id, made) = vault.create(&[]);
    let names: Vec<&str> = made["manifest"]["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert!(["small", "sums", "t", "view"].iter().all(|name| names.contains(name)), "{names:?}");
    let verified = bench.json(0, &["backup", "verify", &id]);
    assert_eq!(verified["findings"], json!([]));
    let (before, sums) =
        (vault.rows("DB.t"), bench.sql("SELECT p, sum(n) FROM DB.sums GROUP BY p ORDER BY p"));
    bench.sql(&format!("DROP DATABASE {} SYNC", bench.database.name));
    bench.sql(&format!("CREATE DATABASE {}", bench.database.name));
    bench.refused(2, "there is no backup", &["backup", "restore", &id]);
    assert_eq!(bench.json(0, &["backup", "scan"])["found"], json!([id]));
    let restored = bench.json(0, &["backup", "restore", &id]);
    assert_eq!(restored["findings"], json!([]), "{restored}");
    assert_eq!(vault.rows("DB.t"), before);
    assert_eq!(bench.sql("SELECT p, sum(n) FROM DB.sums GROUP BY p ORDER BY p"), sums);
    assert_eq!(bench.sql("SELECT sum(n) FROM DB.small"), "3");
    vault.more();
    assert_eq!(bench.sql("SELECT sum(n) FROM DB.sums"), "900", "the view works again");
    assert_eq!(bench.json(0, &["backup", "scan"])["found"], json!([]));
}

#[test]
fn a_backup_that_is_ended_by_a_signal_leaves_nothing_and_the_next_one_works() {
    let vault = Vault::new();
    let bench = &vault.bench;
    bench.sql("INSERT INTO DB.t SELECT number % 100, number, randomPrintableASCII(200) FROM numbers(400000)");
    let config =
        bench.config.clone().set("clickhouse.settings", json!({ "max_backup_bandwidth": "2000000" }));
    let mut process = Penstock::start(&config, &["backup", "create", "t"]);
    let running =
        "SELECT count() FROM system.backups WHERE status = 'CREATING_BACKUP' AND id LIKE 'manual-%'";
    wait_until(DEADLINE, "the server makes it", || bench.ch.query(running) != "0");
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(1), "{}", process.log());
    assert!(process.log().contains("was cancelled"), "{}", process.log());
    let all = bench.json(0, &["backup", "list", "--all"]);
    let (state, id) = (&all["backups"][0]["state"], all["backups"][0]["id"].as_str().unwrap());
    assert_eq!((state, vault.folder.join(id).exists()), (&json!("failed"), false), "{all}");
    vault.create(&["t"]);
}

fn exact_scene() -> Scene {
    let servers = Servers::shared();
    let mut scene = Scene::with_table(&servers.kafka, &servers.clickhouse, |topic| {
        events_table(topic, "settings: {non_replicated_deduplication_window: 10000}\n")
    });
    scene.config = with_backups(scene.config.clone(), &scene.ch, &scene.database.name)
        .set("delivery", "exactly_once")
        .set("kafka.session_timeout", "6s")
        .set("clickhouse.insert_timeout", "5s")
        .set("exactly_once.lease", "20s");
    scene
}

fn told(scene: &Scene, expected: i32, arguments: &[&str]) -> Value {
    let quiet = [&["--log", "error", "--output", "json"], arguments].concat();
    let (code, log) = Penstock::output(&scene.config, &quiet, DEADLINE);
    assert_eq!(code, Some(expected), "{arguments:?}: {log}");
    serde_json::from_str(&log).unwrap_or_else(|error| panic!("{error}: {log}"))
}

/// It comes back under another name while the line runs, as far as the group had come, or up to a moment before that.
fn under_another_name(scene: &Scene, id: &str, until: &str) {
    let other = told(scene, 0, &["backup", "restore", id, "--as", "other", "--then-replay"]);
    let far: i64 =
        other["replayed"].as_array().unwrap().iter().map(|one| one["next"].as_i64().unwrap()).sum();
    let count = |table: &str| {
        let sql =
            format!("SELECT count(), uniqExact(_partition, _offset) FROM {}.{table}", scene.database.name);
        scene.ch.query(&sql)
    };
    assert_eq!(count("other"), format!("{0}\t{0}", far - 1));
    let then = ["backup", "restore", id, "--as", "then", "--then-replay", "--until", until];
    told(scene, 0, &then);
    assert_eq!(count("then"), "16000\t16000");
    let early = ["backup", "restore", id, "--as", "early", "--then-replay", "--until", "2026-01-01"];
    let (code, log) = Penstock::output(&scene.config, &early, DEADLINE);
    assert!(code == Some(2) && log.contains("was made after"), "{code:?} {log}");
}

#[test]
fn a_table_that_was_dropped_after_the_backup_comes_back_with_exactly_what_was_acknowledged() {
    let mut scene = exact_scene();
    let mut line = Penstock::run(&scene.config);
    line.wait_ready();
    scene.publish(2_000);
    wait_until(DEADLINE, "rows land", || scene.landed() > 1_000);
    // Events flow while the backup is made: some rows beyond its offsets are in it, and some are not.
    scene.publish(2_000);
    let made = told(&scene, 0, &["backup", "create", "events"]);
    let id = made["id"].as_str().unwrap().to_owned();
    let cut: i64 =
        made["manifest"]["cut"].as_array().unwrap().iter().map(|cut| cut["offset"].as_i64().unwrap()).sum();
    assert_eq!(made["manifest"]["cut"].as_array().unwrap().len(), PARTITIONS as usize);
    // Records tell when they were published, to a millisecond.
    let until = chrono::Utc::now() + chrono::TimeDelta::milliseconds(5);
    wait_until(DEADLINE, "the moment is over", || {
        until + chrono::TimeDelta::milliseconds(5) < chrono::Utc::now()
    });
    let until = until.to_rfc3339();
    scene.publish_raw("not json");
    scene.publish(3_000);
    let all = scene.published() - 1;
    wait_until(DEADLINE, "all of it lands", || scene.landed() == all);
    scene.expect_committed(DEADLINE);
    scene.ch.query(&format!("DROP TABLE {}.events SYNC", scene.database.name));
    // More comes while there is no table; the line waits with it.
    scene.publish(500);
    let (code, log) = Penstock::output(&scene.config, &["backup", "restore", &id, "--then-replay"], DEADLINE);
    assert!(code == Some(2) && log.contains("has members") && log.contains("hint: "), "{code:?} {log}");
    assert_eq!(
        scene.ch.query(&format!("EXISTS TABLE {}.events", scene.database.name)),
        "0",
        "nothing was restored"
    );
    under_another_name(&scene, &id, &until);
    line.kill9();

    let members = || scene.kafka.committed(scene.config.text("kafka.group"), &scene.topic, &[0, 1, 2, 3]);
    let committed: i64 = members().into_iter().map(|offset| offset.unwrap()).sum();
    let restored = crate::harness::wait_for(DEADLINE, "the member that was killed is gone", || {
        let arguments = ["--log", "error", "--output", "json", "backup", "restore", &id, "--then-replay"];
        let (code, log) = Penstock::output(&scene.config, &arguments, DEADLINE);
        assert!(code == Some(0) || log.contains("has members"), "{code:?} {log}");
        (code == Some(0)).then(|| serde_json::from_str::<Value>(&log).unwrap())
    });
    assert_eq!(restored["findings"], json!([]), "{restored}");
    let sum = |key: &str| -> i64 {
        restored["replayed"].as_array().unwrap().iter().map(|one| one[key].as_i64().unwrap()).sum()
    };
    assert_eq!((sum("first"), sum("next"), sum("gone")), (cut, committed, 0));
    eprintln!(
        "backup: {} rows counted below {cut}, {} of {} put in again up to {committed}",
        restored["tables"][0]["rows"],
        sum("inserted"),
        sum("rows")
    );
    // Every offset below the committed ones has its row, once, and the letter has none.
    assert_eq!(scene.sql("count(), uniqExact(_partition, _offset)"), format!("{0}\t{0}", committed - 1));
    let again = told(&scene, 0, &["backup", "replay", &id]);
    assert!(again["replayed"].as_array().unwrap().iter().all(|one| one["inserted"] == 0), "{again}");

    // The line goes on where it stood.
    scene.run_to_end();
    assert_eq!(scene.landed(), scene.published() - 1);
    assert_eq!(scene.sql("count() - uniqExact(_partition, _offset)"), "0");
    assert_eq!(scene.sql("count() - uniqExact(_partition, n)"), "0");
    let (code, log) = Penstock::output(&scene.config, &["audit-rows"], DEADLINE);
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn records_that_the_topic_no_longer_has_are_told_and_the_rest_is_read_again() {
    let mut scene = exact_scene();
    scene.publish(1_000);
    scene.run_to_end();
    let id = told(&scene, 0, &["backup", "create", "events"])["id"].as_str().unwrap().to_owned();
    scene.publish(1_000);
    scene.run_to_end();
    scene.ch.query(&format!("DROP TABLE {}.events SYNC", scene.database.name));
    scene.kafka.delete_below(&scene.topic, 0, 1_400);
    let dry = told(&scene, 3, &["backup", "restore", &id, "--then-replay", "--dry-run"]);
    assert_eq!(dry["replayed"][0]["gone"], 400, "{dry}");
    assert_eq!(scene.ch.query(&format!("EXISTS TABLE {}.events", scene.database.name)), "0");
    let restored = told(&scene, 3, &["backup", "restore", &id, "--then-replay"]);
    assert_eq!(
        (&restored["replayed"][0]["inserted"], &restored["replayed"][1]["inserted"]),
        (&json!(600), &json!(1_000))
    );
    assert_eq!(scene.sql("count(), uniqExact(_partition, _offset)"), "7600\t7600");
    // As if it had been cut off: what is missing is put in, and nothing else.
    scene.ch.query(&format!(
        "DELETE FROM {}.events WHERE _offset >= 1500 AND _offset % 7 = 3",
        scene.database.name
    ));
    let left: u64 = scene.sql("count()").parse().unwrap();
    assert!(left < 7_400, "{left}");
    let again = told(&scene, 3, &["backup", "replay", &id]);
    let inserted = again["replayed"].as_array().unwrap().iter().map(|one| one["inserted"].as_u64().unwrap());
    assert_eq!(inserted.sum::<u64>(), 7_600 - left, "{again}");
    assert_eq!(
        scene.sql("count(), uniqExact(_partition, _offset), uniqExact(_partition, n)"),
        "7600\t7600\t7600"
    );
}

#[test]
fn a_subject_that_was_erased_since_does_not_come_back() {
    let vault = Vault::with(|config| config.set("lifecycle.erasure_grace", "0ms"));
    let bench = &vault.bench;
    let columns = "topics: [events]\norder_by: [user_id]\ncolumns:\n- {name: user_id, type: Nullable(UInt64)}\n- {name: email, type: String}\n- {name: code, type: FixedString(6)}\nsubject_columns: [user_id, email, code]\n";
    bench.table_file(
        "clicks",
        &format!("table: clicks\n{}", columns.replace("order_by: [user_id]", "order_by: []")),
    );
    assert_eq!(bench.call(&["schema", "create"]).0, Some(0));
    bench.sql("INSERT INTO DB.clicks SELECT number % 100, concat('a', toString(number % 50), '@b'), toString(number % 200) FROM numbers(1000)");
    let (id, _) = vault.create(&["clicks", "--without-offsets"]);
    let before = bench.json(0, &["backup", "restore", &id, "--as", "then"]);
    assert_eq!(before["erased_rows"], 0, "nobody was erased yet");
    bench.json(0, &["erase", "--subject", "user_id=7", "--reason", "r"]);
    bench.json(0, &["erase", "--subject", "email=a3@b", "--reason", "r"]);
    // The column pads it with zero bytes, which are no part of the value.
    bench.json(0, &["erase", "--subject", "code=11", "--reason", "r"]);
    let after = bench.json(0, &["backup", "restore", &id, "--as", "now"]);
    assert_eq!(after["erased_rows"], 35, "{after}");
    assert_eq!(
        bench.sql("SELECT count(), countIf(user_id = 7 OR email = 'a3@b' OR code = '11') FROM DB.now"),
        "965\t0"
    );
    // Whoever comes back after that is in later backups by right.
    bench.sql("INSERT INTO DB.clicks VALUES (7, 'new@b', 'new')");
    let (id, _) = vault.create(&["clicks", "--without-offsets"]);
    let later = bench.json(0, &["backup", "restore", &id, "--as", "later"]);
    assert_eq!(later["erased_rows"], 0, "{later}");
    assert_eq!(bench.sql("SELECT count(), countIf(user_id = 7) FROM DB.later"), "966\t1");
}

#[test]
fn the_routes_do_the_same_by_the_same_words() {
    let admin = Admin::start_with(|config| {
        let database = config.text("clickhouse.database").to_owned();
        with_backups(config, &Servers::shared().clickhouse, &database)
            .set("admin.backup.policies", json!({ "daily": { "tables": ["t"], "verify": "files" } }))
    });
    let bench = &admin.bench;
    bench.sql("CREATE TABLE DB.t (p UInt8, s String) ENGINE = MergeTree PARTITION BY p ORDER BY p");
    bench.sql("INSERT INTO DB.t SELECT number % 3, randomPrintableASCII(20) FROM numbers(900)");
    let (token, viewer) = (admin.token("data_admin"), admin.token("viewer"));
    let post = |path: &str, token: &str, body: Value| admin.ask("POST", path, token, &body);
    assert_eq!(post("/v1/backups", &viewer, json!({ "tables": ["t"] })).status, 403);
    assert_eq!(post("/v1/backups?dry_run=true", &token, json!({ "tables": ["x"] })).status, 422);
    let tried = json_of(&post("/v1/backups?dry_run=true", &token, json!({ "policy": "daily" })));
    assert_eq!((&tried["base"], &tried["tables"]), (&Value::Null, &json!(["t"])));
    assert_eq!(admin.get("/v1/backups", &viewer)["backups"], json!([]));

    let ran = admin.job("/v1/backups/run", &token, &json!({ "policy": "daily" }));
    assert_eq!(
        (&ran["state"], &ran["result"]["verification"]["findings"]),
        (&json!("done"), &json!([])),
        "{ran}"
    );
    let id = ran["result"]["backup"]["id"].as_str().unwrap().to_owned();
    let more = admin.job("/v1/backups", &token, &json!({ "policy": "daily", "kind": "incremental" }));
    assert_eq!(more["result"]["manifest"]["base"], json!(id), "{more}");
    assert_eq!(admin.get(&format!("/v1/backups/{id}"), &viewer)["state"], "done");
    let at = |verb: &str| format!("/v1/backups/{id}/{verb}");
    assert_eq!(admin.job(&at("verify"), &token, &json!({}))["result"]["level"], "restore");
    assert_eq!(post(&at("verify"), &token, json!({ "percent": 101 })).status, 422);
    assert_eq!(post(&at("restore"), &token, json!({ "until": "yesterday" })).status, 422);
    let over = post(&format!("{}?dry_run=true", at("restore")), &token, json!({}));
    assert_eq!(
        (over.status, json_of(&over)["type"].as_str().unwrap().ends_with("not_empty")),
        (409, true),
        "{}",
        over.body
    );
    let restored = admin.job(&at("restore"), &token, &json!({ "as": "u" }));
    assert_eq!(
        (&restored["state"], &restored["result"]["findings"]),
        (&json!("done"), &json!([])),
        "{restored}"
    );
    assert_eq!(bench.sql("SELECT count() FROM DB.u"), "900");
    assert_eq!(
        post(&format!("{}?dry_run=true", at("delete")), &token, json!(null)).status,
        409,
        "another needs it"
    );
    assert_eq!(
        post(&at("hold"), &token, json!({ "reason": "case", "until": "2099-01-01T00:00:00Z" })).status,
        200
    );
    assert_eq!(post(&at("release"), &token, json!({ "reason": "settled" })).status, 200);
    assert_eq!(post(&at("replay?dry_run=true"), &token, json!({})).status, 422, "no topic fills it");
    let plan = admin.get("/v1/backups/prune?policy=daily", &viewer);
    assert_eq!(post("/v1/backups/prune", &token, json!({ "policy": "daily" })).status, 422);
    let pruned = admin.job("/v1/backups/prune", &token, &json!({ "policy": "daily", "plan": plan["hash"] }));
    assert_eq!((&pruned["state"], &pruned["result"]["deleted"]), (&json!("done"), &json!([])), "{pruned}");
    assert_eq!(admin.job("/v1/backups/scan", &token, &Value::Null)["result"]["found"], json!([]));
    assert_eq!(admin.ask("GET", "/v1/backups/nothing", &viewer, &Value::Null).status, 404);
    assert_eq!(admin.process.metric("penstock_admin_backup_stored", &["policy=\"daily\""]), Some(2.0));
    assert_eq!(admin.process.metric("penstock_admin_backup_chain_length", &["policy=\"daily\""]), Some(1.0));
    let trail = admin.trail();
    assert_eq!((seen(&trail, "backup.create", "done"), seen(&trail, "backup.create", "refused")), (2, 1));
    assert_eq!((seen(&trail, "backup.restore", "done"), seen(&trail, "backup.show", "done")), (1, 2));
    let _removed = std::fs::remove_dir_all(place(&bench.ch, &bench.database.name));
}

#[test]
fn what_could_not_be_read_again_exactly_is_refused_before_anything_is_restored() {
    let servers = Servers::shared();
    let plain = |topic: &str| {
        let file = events_table(topic, "").replace("order_by: [_partition, _offset]", "order_by: [n]");
        let is_kept = |line: &&str| !line.contains("$partition") && !line.contains("$offset");
        file.lines().filter(is_kept).collect::<Vec<_>>().join("\n")
    };
    let summing = |topic: &str| events_table(topic, "engine: SummingMergeTree\n");
    for (file, words) in
        [(&plain as &dyn Fn(&str) -> String, "no column for $partition"), (&summing, "was merged away")]
    {
        let mut scene = Scene::with_table(&servers.kafka, &servers.clickhouse, file);
        scene.config = with_backups(scene.config.clone(), &scene.ch, &scene.database.name);
        scene.publish(100);
        scene.run_to_end();
        let before = scene.sql("count(), sum(n)");
        let id = told(&scene, 0, &["backup", "create", "events"])["id"].as_str().unwrap().to_owned();
        scene.ch.query(&format!("DROP TABLE {}.events SYNC", scene.database.name));
        for more in [&["--then-replay", "--dry-run"][..], &["--then-replay"]] {
            let arguments = [&["backup", "restore", &id], more].concat();
            let (code, log) = Penstock::output(&scene.config, &arguments, DEADLINE);
            assert!(code == Some(2) && log.contains(words) && log.contains("hint: "), "{code:?} {log}");
        }
        assert_eq!(scene.ch.query(&format!("EXISTS TABLE {}.events", scene.database.name)), "0");
        told(&scene, 0, &["backup", "restore", &id]);
        assert_eq!(scene.sql("count(), sum(n)"), before);
    }
    // Without Kafka there are no offsets, and that is said.
    let vault = Vault::new();
    vault.bench.table_file("t", "table: t\ntopics: [x]\norder_by: []\ncolumns:\n- {name: n, type: UInt64}\n");
    let (code, log) = vault.bench.call(&["backup", "create", "t"]);
    assert!(code == Some(4) && log.contains("--without-offsets"), "{code:?} {log}");
    vault.create(&["t", "--without-offsets"]);
}

#[test]
fn a_policy_is_carried_out_by_schedule_for_whoever_may_do_it_by_hand() {
    let admin = Admin::start_with(|config| {
        let database = config.text("clickhouse.database").to_owned();
        with_backups(config, &Servers::shared().clickhouse, &database)
            .set("admin.backup.policies", json!({ "daily": { "tables": ["t"], "verify": "files" } }))
            .set(
                "admin.schedules",
                json!([
                    { "name": "nightly", "what": "backup run daily", "every": "1d" },
                    { "name": "proof", "what": "backup verify daily", "every": "1d" },
                    { "name": "room", "what": "backup prune daily", "every": "1d" },
                ]),
            )
    });
    admin.bench.sql("CREATE TABLE DB.t (n UInt64) ENGINE = MergeTree ORDER BY n");
    admin.bench.sql("INSERT INTO DB.t SELECT number FROM numbers(100)");
    let run = "/v1/schedules/nightly/run";
    assert_eq!(admin.ask("POST", run, &admin.token("operator"), &Value::Null).status, 403, "it may prune");
    let token = admin.token("data_admin");
    let tried = json_of(&admin.ask("POST", &format!("{run}?dry_run=true"), &token, &Value::Null));
    assert_eq!(tried["tables"], json!(["t"]), "{tried}");
    let job = admin.job(run, &token, &Value::Null);
    assert_eq!((&job["state"], &job["schedule"]), (&json!("done"), &json!("nightly")), "{job}");
    let backups = &admin.get("/v1/backups?policy=daily", &token)["backups"];
    assert_eq!(backups.as_array().unwrap().len(), 1, "{backups}");
    assert_eq!(backups[0]["id"], job["result"]["backup"]["id"]);
    let tried = admin.ask("POST", "/v1/schedules/proof/run?dry_run=true", &token, &Value::Null);
    assert_eq!(json_of(&tried)["id"], backups[0]["id"], "what would be verified");
    let proof = admin.job("/v1/schedules/proof/run", &token, &Value::Null);
    assert_eq!((&proof["state"], &proof["result"]["level"]), (&json!("done"), &json!("files")), "{proof}");
    let room = admin.job("/v1/schedules/room/run", &token, &Value::Null);
    assert_eq!((&room["state"], &room["result"]["deleted"]), (&json!("done"), &json!([])), "{room}");
}
