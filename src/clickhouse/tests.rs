//! The client against scripted servers: what it does when they refuse, hang, lie or vanish.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arrow_array::{ArrayRef, Int32Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use serde_json::json;
use tokio::time::Instant;

use super::balance::Strategy;
use super::fake::{Fake, Reply, Request};
use super::gate::State;
use super::*;
use crate::telemetry::metrics::METRICS;
use crate::units::Span;

fn config(endpoints: &[&str]) -> Config {
    Config {
        endpoints: endpoints.iter().map(|url| (*url).to_owned()).collect(),
        balance: Strategy::FirstAlive,
        health_interval: Span::millis(100),
        health_timeout: Span::millis(200),
        retry: retry::Config {
            deadline: Span::secs(20),
            backoff_min: Span::millis(10),
            backoff_max: Span::millis(50),
            ..retry::Config::default()
        },
        breaker: breaker::Config {
            backoff_min: Span::millis(50),
            backoff_max: Span::millis(100),
            ..Default::default()
        },
        ..Config::default()
    }
}

fn insert() -> Insert {
    let metadata = HashMap::from([("clickhouse.type".to_owned(), "Int32".to_owned())]);
    let field = Field::new("k", DataType::Int32, false).with_metadata(metadata);
    let column: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
    Insert {
        database: Some("d".to_owned()),
        table: "t".to_owned(),
        batch: RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]).unwrap(),
        token: "token-1".to_owned(),
        ..Insert::default()
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn gate(client: &Client, index: usize) -> State {
    client.endpoints()[index].gate
}

#[tokio::test]
async fn a_failed_insert_goes_elsewhere_with_the_same_token_and_body() {
    for broken in [Reply::Close, Reply::with(503, "", ""), Reply::exception(242, "read only")] {
        let reply = broken.clone();
        let bad = Fake::start(move |_| reply.clone()).await;
        let good = Fake::start(|_| Reply::ok("")).await;
        let client = Client::new(&config(&[&bad.url, &good.url])).unwrap();
        let inserted = client.insert(&insert()).await.unwrap();
        assert_eq!((inserted.attempts, inserted.duplicates_possible), (2, true), "{broken:?}");
        assert!(good.url.ends_with(&inserted.endpoint));
        let (first, second) = (bad.inserts().remove(0), good.inserts().remove(0));
        assert_eq!(first.body, second.body);
        for setting in
            ["insert_deduplication_token", "async_insert", "deduplicate_insert", "max_insert_block_size"]
        {
            assert!(first.parameter(setting).is_some(), "{setting}");
            assert_eq!(first.parameter(setting), second.parameter(setting), "{setting}");
        }
        assert_eq!(first.parameter("use_strict_insert_block_limits"), None, "the server does not know it");
        assert_ne!(first.parameter("query_id"), second.parameter("query_id"));
    }
}

#[tokio::test]
async fn a_refused_connection_leaves_no_doubt() {
    let good = Fake::start(|_| Reply::ok("")).await;
    let client = Client::new(&config(&["http://127.0.0.1:1", &good.url])).unwrap();
    let inserted = client.insert(&insert()).await.unwrap();
    assert!(!inserted.duplicates_possible);
    client.close().await;
}

#[tokio::test]
async fn answers_that_look_like_success_are_errors() {
    let text = "Code: 469. DB::Exception: Constraint violated. (VIOLATED_CONSTRAINT) (version 26.7 (official build))\n";
    let tag = "abcdefghijklmnop";
    let tagged = format!("\r\n__exception__\r\n{tag}\r\n{text}{} {tag}\r\n__exception__\r\n", text.len());
    let cases = [
        Reply::with(200, "X-ClickHouse-Exception-Code: 469\r\n", text),
        Reply::with(200, "X-ClickHouse-Exception-Code: 469\r\n", ""),
        Reply::with(200, "", text),
        Reply::with(200, &format!("X-ClickHouse-Exception-Tag: {tag}\r\n"), &tagged),
    ];
    for reply in cases {
        let case = format!("{reply:?}");
        let fake = Fake::start(move |_| reply.clone()).await;
        let client = Client::new(&config(&[&fake.url])).unwrap();
        let error = client.insert(&insert()).await.unwrap_err();
        assert_eq!((error.class(), error.exception()), (Class::Data, Some(469)), "{case}");
        assert_eq!(fake.inserts().len(), 1, "a data error is not repeated");
    }
}

#[tokio::test]
async fn a_truncated_answer_is_an_unknown_outcome() {
    let fake =
        Fake::start(|_| Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_owned())).await;
    let mut config = config(&[&fake.url]);
    config.insert_timeout = Span::millis(200);
    config.retry.deadline = Span::millis(500);
    let error = Client::new(&config).unwrap().insert(&insert()).await.unwrap_err();
    assert!(error.outcome_unknown() && error.attempts() >= 2, "{error}");
    assert_eq!(error.code(), "operational.retries_exhausted");
}

#[tokio::test]
async fn classes_decide_about_repeating() {
    let tries = Arc::new(AtomicU32::new(0));
    let counter = tries.clone();
    let fake = Fake::start(move |_| match counter.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::exception(252, "Too many parts (300)"),
        1 => Reply::exception(123_456, "nobody knows this"),
        _ => Reply::ok(""),
    })
    .await;
    let client = Client::new(&config(&[&fake.url])).unwrap();
    let measured = Insert { table: "measured".to_owned(), ..insert() };
    let inserted = client.insert(&measured).await.unwrap();
    assert_eq!(inserted.attempts, 3);
    let attempts = |outcome| METRICS.insert_attempts.with_label_values(&["measured", outcome]).get();
    assert_eq!((attempts("ok"), attempts("retryable"), attempts("fatal")), (1, 2, 0));
    let durations = METRICS.insert_duration.with_label_values(&["measured", "retryable"]);
    assert_eq!(durations.get_sample_count(), 2);
    assert_eq!(METRICS.insert_retries.with_label_values(&["measured", "later"]).get(), 2);
    assert_eq!(METRICS.inserted_bytes.with_label_values(&["measured"]).get(), inserted.bytes_raw);
    assert_eq!(METRICS.deduplicated_batches.with_label_values(&["measured"]).get(), 1);
    assert_eq!(METRICS.inflight_batches.with_label_values(&["measured"]).get(), 0);

    let fake = Fake::start(|_| Reply::exception(60, "no table")).await;
    let client = Client::new(&config(&[&fake.url])).unwrap();
    let error = client.insert(&insert()).await.unwrap_err();
    assert_eq!((error.class(), error.attempts(), fake.inserts().len()), (Class::Stop, 1, 1));
    assert_eq!(gate(&client, 0), State::Open, "an exception is an answer");
}

#[tokio::test]
async fn the_budget_and_the_deadline_bound_retries() {
    let fake = Fake::start(|_| Reply::exception(241, "memory")).await;
    let mut config = config(&[&fake.url]);
    config.retry.budget_max = 3;
    config.retry.budget_per_second = 0.0;
    let error = Client::new(&config).unwrap().insert(&insert()).await.unwrap_err();
    assert!(matches!(error, Error::RetriesExhausted { attempts: 4, reason: Reason::Budget, .. }), "{error}");
    config.retry = retry::Config { deadline: Span::millis(100), ..config.retry };
    config.retry.budget_max = 1000;
    let start = Instant::now();
    let error = Client::new(&config).unwrap().insert(&insert()).await.unwrap_err();
    assert!(matches!(error, Error::RetriesExhausted { reason: Reason::Deadline, .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_hanging_endpoint_is_shut_its_requests_move_and_it_comes_back() {
    let hanging = Fake::start(|_| Reply::ok("")).await;
    let good = Fake::start(|_| Reply::ok("")).await;
    let client = Client::new(&config(&[&hanging.url, &good.url])).unwrap();
    client.insert(&insert()).await.unwrap();
    assert_eq!(hanging.inserts().len(), 1, "first alive");

    hanging.hang(true);
    let start = Instant::now();
    let inserted = client.insert(&insert()).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "not the insert time-out");
    assert!(inserted.duplicates_possible && good.url.ends_with(&inserted.endpoint));
    assert_eq!(
        hanging.inserts().last().map(|r| r.body.clone()),
        good.inserts().last().map(|r| r.body.clone())
    );
    assert_ne!(gate(&client, 0), State::Open);

    hanging.hang(false);
    until("the gate opens without traffic", || gate(&client, 0) == State::Open).await;
    let inserted = client.insert(&insert()).await.unwrap();
    assert!(hanging.url.ends_with(&inserted.endpoint));

    let name = inserted.endpoint.as_str();
    for state in State::ALL {
        assert!(METRICS.gate_transitions.with_label_values(&[name, state]).get() >= 1, "{state}");
    }
    assert_eq!(METRICS.gate_state.with_label_values(&[name, "open"]).get(), 1);
    assert_eq!(METRICS.ch_up.with_label_values(&[name]).get(), 1);
    assert_eq!(METRICS.endpoint_requests_in_flight.with_label_values(&[name]).get(), 0);
    assert!(METRICS.endpoint_connections_opened.with_label_values(&[name]).get() >= 2);
}

#[tokio::test]
async fn a_call_waits_for_a_gate_to_open_and_ends_at_the_deadline() {
    let fake = Fake::start(|_| Reply::ok("")).await;
    fake.hang(true);
    let mut config = config(&[&fake.url]);
    config.retry.deadline = Span::millis(300);
    let client = Client::new(&config).unwrap();
    until("the gate is shut", || gate(&client, 0) != State::Open).await;
    let error = client.insert(&insert()).await.unwrap_err();
    assert_eq!((error.code(), error.outcome_unknown()), ("operational.gate_shut", false), "{error}");
    assert!(error.to_string().contains("no answer from 127.0.0.1"), "the cause is told: {error}");
    config.retry.deadline = Span::secs(20);
    let client = Client::new(&config).unwrap();
    until("the gate is shut", || gate(&client, 0) != State::Open).await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.insert(&insert()).await }
    });
    fake.hang(false);
    assert_eq!(waiting.await.unwrap().unwrap().attempts, 1);
}

#[tokio::test]
async fn statements_are_repeated_only_when_that_is_safe() {
    let bad = Fake::start(|_| Reply::Close).await;
    let good = Fake::start(|_| Reply::ok("")).await;
    let client = Client::new(&config(&[&bad.url, &good.url])).unwrap();
    let error = client.execute("CREATE TABLE t", &[]).await.unwrap_err();
    assert!(error.outcome_unknown(), "{error}");
    assert_eq!(good.requests().iter().filter(|r| r.body.starts_with(b"CREATE")).count(), 0);
    client.execute_idempotent("CREATE TABLE IF NOT EXISTS t", &[]).await.unwrap();
    let refused = Client::new(&config(&["http://127.0.0.1:1", &good.url])).unwrap();
    refused.execute("CREATE TABLE t", &[]).await.unwrap();
}

#[tokio::test]
async fn reads_carry_parameters_beside_the_text_and_are_bounded() {
    let answer = r#"{"meta":[{"name":"x","type":"UInt64"}],"data":[[18446744073709551615]],"rows":1}"#;
    let fake = Fake::start(move |_: &Request| Reply::ok(answer)).await;
    let mut config = config(&[&fake.url]);
    let client = Client::new(&config).unwrap();
    let evil = json!("'; DROP TABLE t");
    let rows = client.query("SELECT {x:String}", &[("x", evil.clone())]).await.unwrap();
    assert_eq!(rows.rows, [[json!(u64::MAX)]]);
    assert_eq!(rows.columns[0].data_type, "UInt64");
    let request = fake.requests().into_iter().find(|r| r.body.starts_with(b"--")).unwrap();
    let body = String::from_utf8(request.body).unwrap();
    assert!(body.contains("SELECT {x:String}\r\n") && body.contains("\r\n'; DROP TABLE t\r\n"), "{body}");
    assert!(client.query("SELECT 1", &[("a b", evil)]).await.is_err());

    config.result_bytes_max = crate::units::ByteSize(10);
    let error = Client::new(&config).unwrap().query("SELECT 1, 2", &[]).await.unwrap_err();
    assert_eq!(error.code(), "query.result_too_large");
}

#[tokio::test]
async fn statistics_tell_what_happened() {
    let fake = Fake::start(|_| Reply::exception(60, "no table")).await;
    let client = Client::new(&config(&[&fake.url])).unwrap();
    let _ = client.insert(&insert()).await;
    let health = client.health_check().await;
    assert!(health[0].result.is_ok());
    let statistics = client.endpoints().remove(0);
    assert!(statistics.opened >= 1 && statistics.in_use == 0, "{statistics:?}");
    assert_eq!((statistics.requests, statistics.failures), (1, 1));
    let clone = client.clone();
    client.close().await;
    assert!(matches!(clone.insert(&insert()).await, Err(Error::Closed)));
}
