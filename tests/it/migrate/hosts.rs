//! Several endpoints that know nothing of each other, and the library's verbs.

use std::collections::BTreeSet;

use penstock::admin::command::{Actor, Permission};
use penstock::admin::migrate::pragma::Danger;
use penstock::admin::migrate::{Config, Error, Migrator, Options, Setup, Values};
use penstock::clickhouse;
use penstock::faults::Faults;
use serde_json::json;

use super::{Bench, DEADLINE, crash_at};
use crate::harness::{ClickHouse, Servers};

#[test]
fn each_endpoint_gets_every_statement_once_also_one_that_joins_later() {
    let servers = ClickHouse::start_private_set(2);
    let [one, two] = [&*servers[0], &*servers[1]];
    let mut bench = Bench::on(one, &[one, two]);
    bench.config = bench.config.set("migrations.lock_lease", "1s");
    bench.write("V1__t.sql", "CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x;\n-- penstock: target=one\nINSERT INTO t VALUES (1)");
    bench.write("V2__row.sql", "INSERT INTO t VALUES (2)");
    bench.write("V1__t.down.sql", "-- penstock: danger=drop\nDROP TABLE t");
    bench.write("V2__row.down.sql", "-- penstock: danger=delete\nTRUNCATE TABLE t");
    let mut deaths = 0;
    while bench
        .start(crash_at("migration_answered", 1), &["up", "--wait", "30s"])
        .wait_exit(DEADLINE)
        .is_none()
    {
        deaths += 1;
    }
    assert_eq!(deaths, 5, "two statements on two endpoints, one on one");
    let rows = |ch: &ClickHouse| {
        ch.query(&format!("SELECT groupArray(x) FROM (SELECT x FROM {}.t ORDER BY x)", bench.database.name))
    };
    assert_eq!((rows(one), rows(two)), ("[1,2]".to_owned(), "[2]".to_owned()));
    assert_eq!(bench.call(&["status"]).0, Some(0));
    assert_eq!(bench.call(&["drift"]).0, Some(0));
    two.query(&format!("ALTER TABLE {}.t ADD COLUMN y Int8", bench.database.name));
    let (code, drift) = bench.json(&["drift"]);
    assert_eq!((code, drift["findings"].as_array().unwrap().len()), (Some(3), 1), "{drift}");
    assert_eq!(drift["findings"][0]["host"], json!(two.address()));
    bench.done(&["down", "--to", "0", "--allow", "drop", "--allow", "delete"]);
    let gone = |ch: &ClickHouse| ch.query(&format!("EXISTS TABLE {}.t", bench.database.name));
    assert_eq!((gone(one).as_str(), gone(two).as_str()), ("0", "0"));
    assert_eq!(bench.call(&["status"]).0, Some(6));
}

fn setup<'a>(clickhouse: &'a clickhouse::Config, config: &'a Config, actor: Actor) -> Setup<'a> {
    Setup {
        clickhouse,
        config,
        actor,
        values: Values::default(),
        faults: Faults::default(),
        places: Vec::new(),
        age_rules: std::sync::Arc::new(|| Ok(BTreeSet::new())),
    }
}

#[tokio::test]
async fn the_four_verbs_of_the_library() {
    let ch = &Servers::shared().clickhouse;
    // Without a guard that makes it: initialize does.
    let database = crate::harness::fresh_name("it_verbs");
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("V1__t.sql", "CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x");
    write("V2__u.sql", "CREATE TABLE u (x UInt64) ENGINE = MergeTree ORDER BY x");
    write("V2__u.down.sql", "DROP TABLE u");
    let clickhouse: clickhouse::Config = serde_json::from_value(json!({
        "endpoints": [ch.url()], "database": database, "user": ch.user, "password": ch.password,
    }))
    .unwrap();
    let config = Config { path: folder.path().to_owned(), ..Config::default() };
    let migrator = Migrator::new(setup(&clickhouse, &config, Actor::local("somebody", "here"))).unwrap();
    migrator.initialize().await.unwrap();
    let options = Options::default();
    assert_eq!(migrator.apply_migration("1", &options).await.unwrap().events.len(), 1);
    assert!(migrator.status().await.unwrap().is_pending());
    assert_eq!(migrator.run_migrations(folder.path(), &options).await.unwrap().events.len(), 1);
    assert!(!migrator.status().await.unwrap().is_pending());
    let refused = migrator.rollback_migration("V2", &options).await.unwrap_err();
    assert!(matches!(refused, Error::Danger { danger: Danger::Drop, .. }), "{refused}");
    let allowed = Options { allow: BTreeSet::from([Danger::Drop]), ..Options::default() };
    assert_eq!(migrator.rollback_migration("V2", &allowed).await.unwrap().events.len(), 1);
    let refused = migrator.rollback_migration("V1", &allowed).await.unwrap_err();
    assert!(matches!(refused, Error::NoDown(_)), "{refused}");

    let reader = Actor::with("reader", "there", vec![Permission::MigrateDown]);
    let reader = Migrator::new(setup(&clickhouse, &config, reader)).unwrap();
    let refused = reader.run_migrations(folder.path(), &options).await.unwrap_err();
    assert!(refused.to_string().contains("reader at there may not migrate.up"), "{refused}");
    let trail = ch.query(&format!(
        "SELECT actor, action, phase FROM {database}.penstock_migrations_audit ORDER BY at DESC LIMIT 1"
    ));
    assert_eq!(trail, "reader\tmigrate.up\trefused");
    ch.query(&format!("DROP DATABASE {database}"));
}
