//! The client against scripted servers: what it does when they refuse, hang, lie or vanish.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arrow_array::{ArrayRef, Int32Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
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
        batch: RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]).unwrap().into(),
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
        Reply::with(500, "X-ClickHouse-Exception-Code: 469\r\n", "what a proxy made of it: Code: 241"),
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
async fn whoever_is_not_clickhouse_cannot_acknowledge() {
    let cases = [
        Reply::with(200, "Content-Type: text/html\r\n", "<html>Welcome</html>"),
        Reply::with(200, "", "Error Code: 7 of something else"),
        Reply::with(204, "", ""),
        Reply::with(302, "Location: /login\r\n", ""),
        Reply::Raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned()),
    ];
    for reply in cases {
        let case = format!("{reply:?}");
        let fake = Fake::start(move |_| reply.clone()).await;
        let mut config = config(&[&fake.url]);
        config.retry.budget_max = 0;
        let error = Client::new(&config).unwrap().insert(&insert()).await.unwrap_err();
        assert!(error.outcome_unknown() && error.exception().is_none(), "{case}: {error}");
        assert!(matches!(error.class(), Class::Later | Class::Elsewhere), "{case}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_early_leaves_doubt() {
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Cli",
        "",
    ];
    for answer in answers {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let transport = transport(&format!("http://{address}"), Compression::None);
        let parameters = BTreeMap::new();
        let post = transport.post(&parameters, Bytes::from_static(b"rows"), None);
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            read_until(&mut socket, b"\r\n\r\nrows").await;
            socket.write_all(answer.as_bytes()).await.unwrap();
        };
        let (result, ()) = tokio::join!(post, serve);
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Interrupted { .. }) && error.outcome_unknown(), "{answer}: {error}");
    }
}

fn transport(url: &str, compression: Compression) -> transport::Transport {
    let uri: hyper::Uri = url.parse().unwrap();
    let tls = tls::client_config(&Tls::default(), false).unwrap();
    let http = http::client(tls, Duration::from_secs(5), http::Connections::new("t"));
    let config = Config { compression, ..Config::default() };
    transport::Transport::new(&config, &uri, "t".to_owned(), http).unwrap()
}

async fn read_until(socket: &mut TcpStream, end: &[u8]) {
    let mut seen = Vec::new();
    while !seen.ends_with(end) {
        assert_ne!(socket.read_buf(&mut seen).await.unwrap(), 0, "closed after {} bytes", seen.len());
    }
}

#[tokio::test]
async fn a_large_body_that_is_refused_early_still_tells_why() {
    let body = Bytes::from(vec![7; 200_000_000]);
    for (status, code) in [(404, 60), (403, 516)] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let transport = transport(&format!("http://{}", listener.local_addr().unwrap()), Compression::None);
        let parameters = BTreeMap::new();
        let post = transport.post(&parameters, body.clone(), None);
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 1 << 16];
            socket.read_exact(&mut buffer).await.unwrap();
            assert!(String::from_utf8_lossy(&buffer).contains("content-length: 200000000\r\n"));
            let text = format!("Code: {code}. DB::Exception: no\n");
            let answer = format!(
                "HTTP/1.1 {status} X\r\nX-ClickHouse-Exception-Code: {code}\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            );
            socket.write_all(answer.as_bytes()).await.unwrap();
            // As ClickHouse does: what is still on its way is read and thrown away.
            let mut seen = buffer.len();
            while seen < 200_000_000 {
                match socket.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(more) => seen += more,
                }
            }
        };
        let (result, ()) = tokio::join!(post, serve);
        let error = result.unwrap_err();
        assert_eq!((error.exception(), error.outcome_unknown()), (Some(code), false), "{error}");
    }
}

#[tokio::test]
async fn the_answer_to_a_request_given_up_is_never_taken_for_that_of_another() {
    let told = Arc::new(Notify::new());
    let (late, count) = (told.clone(), AtomicU32::new(0));
    let fake = Fake::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::ok(""),
        1 => Reply::Late(late.clone(), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned()),
        _ => Reply::exception(469, "no"),
    })
    .await;
    let mut config = config(&[&fake.url]);
    config.insert_timeout = Span::millis(300);
    config.retry.deadline = Span::millis(300);
    let client = Client::new(&config).unwrap();
    client.insert(&insert()).await.unwrap();
    let before = client.endpoints()[0].opened;
    let error = client.insert(&insert()).await.unwrap_err();
    assert!(error.outcome_unknown(), "{error}");
    told.notify_one();
    let error = client.insert(&insert()).await.unwrap_err();
    assert_eq!(error.exception(), Some(469), "{error}");
    assert!(client.endpoints()[0].opened > before, "on a connection of its own");
}

#[tokio::test]
async fn the_request_is_whole_before_it_is_sent_and_names_nobody_in_its_address() {
    let fake = Fake::start(|_| Reply::ok("")).await;
    for compression in [Compression::Lz4, Compression::Zstd, Compression::None] {
        let mut config = Config { compression, ..config(&[&fake.url]) };
        (config.user, config.password) =
            ("ann".to_owned(), Some(crate::units::Secret::new("hunter2".to_owned())));
        let insert = Insert { query_id_prefix: Some("run-7".to_owned()), ..insert() };
        let batch = insert.batch.columns().unwrap();
        Client::new(&config).unwrap().insert(&insert).await.unwrap();
        let request = fake.inserts().pop().unwrap();
        let length = request.body.len().to_string();
        for (name, value) in [
            ("content-length", Some(length.as_str())),
            ("transfer-encoding", None),
            ("expect", None),
            ("content-encoding", compression.content_encoding()),
            ("x-clickhouse-user", Some("ann")),
            ("x-clickhouse-key", Some("hunter2")),
        ] {
            assert_eq!(request.header(name), value, "{name}");
        }
        assert!(!request.target.contains("ann") && !request.target.contains("hunter2"), "{}", request.target);
        assert!(request.parameter("query_id").unwrap().starts_with("run-7-"));
        assert_eq!(request.parameter("database"), Some("default"));
        assert_eq!(request.body, body::encode(b"", batch, (Format::Native, compression)).unwrap().bytes);
    }
    let control =
        Config { password: Some(crate::units::Secret::new("a\nb".to_owned())), ..Config::default() };
    assert!(matches!(Client::new(&control), Err(Error::Config { .. })));
}

#[tokio::test]
async fn past_its_deadline_an_insert_is_not_repeated_and_leaves_no_doubt() {
    let fake = Fake::start(|_| Reply::exception(395, "Value passed to 'throwIf': penstock deadline")).await;
    let client = Client::new(&config(&[&fake.url])).unwrap();
    let in_time = Insert { begin_before: Some(Instant::now() + Duration::from_secs(60)), ..insert() };
    let error = client.insert(&in_time).await.unwrap_err();
    assert!(error.deadline_passed() && !error.outcome_unknown() && error.class() == Class::Later, "{error}");
    assert_eq!(fake.inserts().len(), 1);
    let error = client.insert(&Insert { begin_before: Some(Instant::now()), ..insert() }).await.unwrap_err();
    assert!(error.deadline_passed() && fake.inserts().len() == 1, "not even sent: {error}");

    let count = AtomicU32::new(0);
    let fake = Fake::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Close,
        _ => Reply::exception(395, "penstock deadline"),
    })
    .await;
    let error = Client::new(&config(&[&fake.url])).unwrap().insert(&in_time).await.unwrap_err();
    assert!(error.deadline_passed() && error.outcome_unknown(), "the first may have landed: {error}");
}

#[tokio::test]
async fn a_call_gives_up_when_told() {
    let fake = Fake::start(|_| Reply::exception(241, "memory")).await;
    let client = Client::new(&config(&[&fake.url])).unwrap();
    let start = Instant::now();
    let soon = Insert { give_up_at: Some(start + Duration::from_millis(100)), ..insert() };
    let error = client.insert(&soon).await.unwrap_err();
    assert!(matches!(error, Error::RetriesExhausted { reason: Reason::Deadline, .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2));
    let sent = fake.inserts().len();
    let error = client.insert(&Insert { give_up_at: Some(start), ..insert() }).await.unwrap_err();
    assert!(error.surely_not_executed() && !error.outcome_unknown(), "{error}");
    assert_eq!(fake.inserts().len(), sent);
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
