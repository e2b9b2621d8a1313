//! What stands behind a table, read from a real ClickHouse and judged.
//!
//! Refuses to know Kafka. Servers as in `clickhouse`; replicated tables need two of them and a Keeper, so
//! their rules are tested beside the code.

use std::time::Duration;

use penstock::clickhouse::inspect::Role;
use penstock::clickhouse::level::judge;
use penstock::clickhouse::{Client, Conditions, Judgement, Level};

use crate::clickhouse::{config, fresh};

const WINDOW: &str = "SETTINGS non_replicated_deduplication_window = 500";

async fn create(client: &Client, statements: &[&str]) {
    for statement in statements {
        client.execute(&statement.replace("WINDOW", WINDOW), &[]).await.unwrap();
    }
}

fn conditions() -> Conditions {
    Conditions {
        quorum: true,
        can_read_back: true,
        endpoints: 1,
        blocks_needed: 400,
        window_needed: Duration::from_secs(600),
        columns_sent: vec!["k".to_owned()],
    }
}

async fn judged(client: &Client, database: &str, table: &str) -> Judgement {
    judge(&client.inspect(database, table).await.unwrap(), &conditions())
}

#[tokio::test]
async fn a_plain_table_is_exact_only_alone_and_with_a_window() {
    let db = "penstock_inspect";
    let client = fresh(db, config()).await;
    create(
        &client,
        &[
            "CREATE TABLE good (k Int32) ENGINE = MergeTree ORDER BY k WINDOW",
            "CREATE TABLE none (k Int32) ENGINE = MergeTree ORDER BY k",
            "CREATE TABLE few (k Int32) ENGINE = MergeTree ORDER BY k SETTINGS non_replicated_deduplication_window = 10",
            "CREATE TABLE merging (k Int32) ENGINE = ReplacingMergeTree ORDER BY k WINDOW",
            "CREATE TABLE `a b` (k Int32) ENGINE = Null",
            "CREATE TABLE clock (k Int32, ts DateTime DEFAULT now(), d Date MATERIALIZED toDate(ts)) \
             ENGINE = MergeTree PARTITION BY toYYYYMM(d) ORDER BY k WINDOW",
        ],
    )
    .await;
    let found = client.inspect(db, "good").await.unwrap();
    assert_eq!((found.tables.len(), found.tables[0].window_blocks, found.tables[0].window), (1, 500, None));
    for (table, level, words) in [
        ("good", Level::Exact, ""),
        ("none", Level::AtLeastOnce, "non_replicated_deduplication_window is 0"),
        ("few", Level::EffectivelyOnce, "10 blocks, and 400"),
        ("merging", Level::EffectivelyOnce, "merges rows"),
        ("a b", Level::AtLeastOnce, "engine Null"),
        ("clock", Level::AtLeastOnce, "now()"),
    ] {
        let found = judged(&client, db, table).await;
        assert_eq!(found.level, level, "{table}: {found:?}");
        let text = found.reasons.first().map(ToString::to_string).unwrap_or_default();
        assert!(text.contains(words), "{table}: {text}");
    }
    let clock = client.inspect(db, "clock").await.unwrap();
    let sent = Conditions { columns_sent: vec!["ts".to_owned()], ..conditions() };
    assert_eq!(judge(&clock, &sent).level, Level::Exact, "{clock:?}");
    let error = client.inspect(db, "nowhere").await.unwrap_err();
    assert_eq!(error.code(), "query.unknown_name");
}

#[tokio::test]
async fn the_hints_on_windows_work() {
    let db = "penstock_inspect_hint";
    let client = fresh(db, config()).await;
    create(&client, &["CREATE TABLE `it's` (k Int32) ENGINE = MergeTree ORDER BY k"]).await;
    let found = judged(&client, db, "it's").await;
    client.execute(&found.reasons[0].hint, &[]).await.unwrap();
    assert_eq!(judged(&client, db, "it's").await.level, Level::Exact);
}

#[tokio::test]
async fn views_are_followed_to_the_last_table() {
    let db = "penstock_inspect_views";
    let client = fresh(db, config()).await;
    create(
        &client,
        &[
            "CREATE TABLE src (k Int32) ENGINE = MergeTree ORDER BY k WINDOW",
            "CREATE TABLE d1 (k Int32) ENGINE = MergeTree ORDER BY k WINDOW",
            "CREATE TABLE `d 2` (k Int32, n DateTime) ENGINE = MergeTree PARTITION BY toDate(n) ORDER BY k WINDOW",
            "CREATE MATERIALIZED VIEW v1 TO d1 AS SELECT k FROM src",
            "CREATE MATERIALIZED VIEW `v 2` TO `d 2` AS SELECT k, now() AS n FROM d1",
            "CREATE MATERIALIZED VIEW v3 ENGINE = AggregatingMergeTree ORDER BY k WINDOW AS SELECT k FROM src",
        ],
    )
    .await;
    let found = client.inspect(db, "src").await.unwrap();
    let mut names: Vec<_> = found.tables.iter().map(|table| table.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(&names[1..], ["d 2", "d1", "src"]);
    assert!(names[0].starts_with(".inner_id."), "{names:?}");
    let last = found.tables.iter().find(|table| table.name == "d 2").unwrap();
    let view = Role::ViewTarget {
        view: "`penstock_inspect_views`.`v 2`".to_owned(),
        volatile: Some("now".to_owned()),
    };
    assert_eq!(last.role, view);
    let found = judged(&client, db, "src").await;
    assert_eq!(found.level, Level::EffectivelyOnce, "{found:?}");
    for words in ["has views behind it", "calls now()", "`.inner_id."] {
        assert!(found.reasons.iter().any(|reason| reason.sentence.contains(words)), "{words}: {found:?}");
    }

    create(&client, &["CREATE MATERIALIZED VIEW v4 ENGINE = MergeTree ORDER BY k AS SELECT k FROM `d 2`"])
        .await;
    let found = judged(&client, db, "src").await;
    assert_eq!(found.level, Level::AtLeastOnce);
    assert!(found.reasons[0].sentence.contains("`penstock_inspect_views`.`v4`"), "{found:?}");
}
