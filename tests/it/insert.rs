//! Inserts against a real ClickHouse where it matters what became of them: deadlines, tokens, large bodies.
//!
//! Refuses to know Kafka: batches and tokens only. Servers as in `clickhouse`.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use penstock::clickhouse::{Class, Client, Compression, Config, Insert, Quorum};
use penstock::units::Span;
use serde_json::json;
use tokio::time::Instant;

use crate::clickhouse::{batch, config, fresh, into, ints};

/// The same with a time by which the server has to begin.
fn in_time(insert: Insert) -> Insert {
    Insert { begin_before: Some(Instant::now() + Duration::from_secs(60)), ..insert }
}

const REMEMBERS: &str = "ENGINE = MergeTree ORDER BY k SETTINGS non_replicated_deduplication_window = 100";

async fn counts(client: &Client, table: &str) -> Vec<serde_json::Value> {
    let sql = format!("SELECT count(), uniqExact(k) FROM {table}");
    client.query(&sql, &[]).await.unwrap().rows.remove(0)
}

#[tokio::test]
async fn after_its_deadline_the_server_takes_nothing() {
    let client = fresh("penstock_deadline", config()).await;
    client.execute(&format!("CREATE TABLE t (k Int32, d UInt8 DEFAULT 9) {REMEMBERS}"), &[]).await.unwrap();
    let rows = || into("t", ints((0..2_500_000).collect()));
    let late =
        Insert { settings: vec![("param_begin_before".to_owned(), "5".to_owned())], ..in_time(rows()) };
    let error = client.insert(&late).await.unwrap_err();
    assert!(error.deadline_passed() && !error.outcome_unknown(), "the server itself refuses: {error}");
    let error = client.insert(&Insert { begin_before: Some(Instant::now()), ..rows() }).await.unwrap_err();
    assert!(error.deadline_passed() && !error.outcome_unknown(), "{error}");
    assert_eq!(counts(&client, "t").await, [json!(0), json!(0)]);

    client.insert(&in_time(rows())).await.unwrap();
    client.insert(&in_time(rows())).await.unwrap();
    client.insert(&rows()).await.unwrap();
    assert_eq!(
        counts(&client, "t").await,
        [json!(2_500_000), json!(2_500_000)],
        "one token, with and without"
    );
    let parts = "SELECT count(), max(level) FROM system.parts WHERE database = currentDatabase() AND active";
    assert_eq!(client.query(parts, &[]).await.unwrap().rows, [[json!(1), json!(0)]]);
    let defaults = client.query("SELECT DISTINCT d FROM t", &[]).await.unwrap();
    assert_eq!(defaults.rows, [[json!(9)]], "a column that is left out keeps its default");
}

#[tokio::test]
async fn a_data_error_stays_one_with_a_deadline() {
    let client = fresh("penstock_deadline_data", config()).await;
    let ddl = "CREATE TABLE t (k Int32, CONSTRAINT small CHECK k < 10) ENGINE = MergeTree ORDER BY k";
    client.execute(ddl, &[]).await.unwrap();
    let insert = in_time(into("t", ints(vec![1, 50])));
    let error = client.insert(&insert).await.unwrap_err();
    assert_eq!((error.class(), error.exception(), error.deadline_passed()), (Class::Data, Some(469), false));
}

#[tokio::test]
async fn a_quorum_is_asked_for_and_the_query_is_found_by_its_prefix() {
    let client = fresh("penstock_quorum", config()).await;
    client.execute(&format!("CREATE TABLE t (k Int32) {REMEMBERS}"), &[]).await.unwrap();
    let insert = Insert {
        quorum: Quorum::Auto,
        query_id_prefix: Some("penstock-it".to_owned()),
        ..into("t", ints(vec![1, 2]))
    };
    client.insert(&insert).await.unwrap();
    assert_eq!(counts(&client, "t").await, [json!(2), json!(2)]);
}

#[tokio::test]
async fn a_wide_table_has_its_statement_in_the_body() {
    for (name, compression) in [("penstock_wide", Compression::Lz4), ("penstock_wide_raw", Compression::None)]
    {
        let client = fresh(name, Config { compression, ..config() }).await;
        // Beyond what fits into an address, and with a deadline beyond what servers read by default.
        let names: Vec<String> = (0..900).map(|n| format!("column {n} {}", "x".repeat(100))).collect();
        let ddl: Vec<String> = names.iter().map(|name| format!("`{name}` Int64")).collect();
        let ddl = format!("CREATE TABLE t ({}) ENGINE = MergeTree ORDER BY tuple()", ddl.join(", "));
        client.execute(&ddl, &[]).await.unwrap();
        let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let columns = || names.iter().map(|name| (name.as_str(), "Int64", values.clone())).collect();
        client.insert(&into("t", batch(columns()))).await.unwrap();
        client.insert(&in_time(into("t", batch(columns())))).await.unwrap();
        let rows = client.query(&format!("SELECT count(), sum(`{}`) FROM t", names[899]), &[]).await.unwrap();
        assert_eq!(rows.rows, [[json!(6), json!(12)]]);
    }
}

/// 200 MB that do not compress.
fn noise() -> RecordBatch {
    let mut state = 1_u64;
    let values = std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.cast_signed()
    });
    batch(vec![("k", "Int64", Arc::new(Int64Array::from_iter_values(values.take(25_000_000))))])
}

#[tokio::test]
async fn a_large_body_that_the_server_refuses_at_once_still_tells_why() {
    let config = Config { compression: Compression::None, ..config() };
    let client = fresh("penstock_large", config).await;
    let rows = noise();
    let error = client.insert(&into("nowhere", rows.clone())).await.unwrap_err();
    assert_eq!((error.exception(), error.outcome_unknown()), (Some(60), false), "{error}");

    let elsewhere = Insert { database: Some("penstock_nowhere".to_owned()), ..into("t", rows) };
    let error = client.insert(&elsewhere).await.unwrap_err();
    assert_eq!((error.class(), error.exception()), (Class::Stop, Some(81)), "{error}");
}

#[tokio::test]
async fn a_client_that_gives_up_does_not_disturb_the_token() {
    let client = fresh("penstock_orphan", config()).await;
    client.execute(&format!("CREATE TABLE t (k Int32) {REMEMBERS}"), &[]).await.unwrap();
    let slow = "CREATE MATERIALIZED VIEW v ENGINE = MergeTree ORDER BY k \
                SETTINGS non_replicated_deduplication_window = 100 AS SELECT k, sleepEachRow(0.2) AS s FROM t";
    client.execute(slow, &[]).await.unwrap();
    let impatient = Config {
        database: "penstock_orphan".to_owned(),
        insert_timeout: Span::millis(500),
        retry: penstock::clickhouse::retry::Config { deadline: Span::millis(500), ..Default::default() },
        ..config()
    };
    let insert = into("t", ints((0..10).collect()));
    let error = Client::new(&impatient).unwrap().insert(&insert).await.unwrap_err();
    assert!(error.outcome_unknown(), "{error}");
    let patient =
        Insert { give_up_at: Some(tokio::time::Instant::now() + Duration::from_secs(25)), ..insert };
    client.insert(&patient).await.unwrap();
    for table in ["t", "v"] {
        assert_eq!(counts(&client, table).await, [json!(10), json!(10)], "{table}");
    }
}
