//! Traces as an operator meets them: spans in a receiver, joined to producers on one side and to ClickHouse on the other.
//!
//! It refuses to look inside the process: everything is read from what was sent, by OpenTelemetry's own types.

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::harness::{
    HangingServer, Kafka, Message, Penstock, PenstockConfig, Receiver, Servers, attribute, hex, wait_for,
    wait_until,
};
use crate::scene::{DEADLINE, Scene};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn traced(config: PenstockConfig, receiver: &Receiver, ratio: f64) -> PenstockConfig {
    config
        .set("telemetry.traces.endpoint", receiver.url())
        .set("telemetry.traces.sample_ratio", ratio)
        .set("telemetry.traces.headers.authorization", "Bearer hunter2")
        .set("telemetry.traces.resource", serde_json::json!({"deployment.environment.name": "test"}))
}

/// An event with the context of its producer.
fn publish_traced(kafka: &Kafka, topic: &str, payload: &str, parent: &str) {
    let message = Message {
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: None,
        payload: Some(payload.as_bytes().to_vec()),
        headers: vec![
            ("traceparent".to_owned(), Some(parent.as_bytes().to_vec())),
            ("tracestate".to_owned(), Some(b"vendor=7".to_vec())),
        ],
    };
    kafka.produce_message(topic, &message);
}

fn of_kind(spans: &[Span], kind: SpanKind) -> Vec<Span> {
    spans.iter().filter(|span| span.kind == i32::from(kind)).cloned().collect()
}

#[test]
fn a_batch_is_one_span_with_links_to_producers_and_the_query_of_its_insert() {
    let servers = Servers::shared();
    let (scene, receiver) = (Scene::new(&servers.kafka, &servers.clickhouse), Receiver::start());
    publish_traced(
        &scene.kafka,
        &scene.topic,
        "{\"n\":1,\"text\":\"\"}",
        &format!("00-{TRACE}-00f067aa0ba902b7-01"),
    );
    publish_traced(
        &scene.kafka,
        &scene.topic,
        "{\"n\":2,\"text\":\"\"}",
        &format!("00-{TRACE}-00f067aa0ba902b8-00"),
    );
    let config = traced(scene.config.clone(), &receiver, 0.0);
    let env = [("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=pod-7,deployment.environment.name=other,a=b%20c")];
    let mut process = Penstock::start_with_env(&config, &["run"], &env);
    process.wait_ready();
    let batch = wait_for(DEADLINE, "the batch's span", || {
        of_kind(&receiver.spans(), SpanKind::Consumer).into_iter().next()
    });
    assert_eq!(batch.name, format!("process {}", scene.topic));
    let about = |key: &str| attribute(&batch.attributes, key);
    assert_eq!(about("messaging.system"), "kafka");
    assert_eq!(about("messaging.destination.name"), scene.topic);
    assert_eq!(about("messaging.destination.partition.id"), "0");
    assert_eq!(about("messaging.consumer.group.name"), scene.config.text("kafka.group"));
    assert_eq!(
        (about("messaging.batch.message_count").as_str(), about("penstock.table").as_str()),
        ("2", "events")
    );
    let [link] = batch.links.as_slice() else { panic!("the sampled producer alone: {:?}", batch.links) };
    assert_eq!((hex(&link.trace_id), hex(&link.span_id)), (TRACE.to_owned(), "00f067aa0ba902b7".to_owned()));
    assert_eq!(link.trace_state, "vendor=7");
    assert!(batch.status.is_none() && batch.start_time_unix_nano < batch.end_time_unix_nano);

    let spans = receiver.spans();
    let [insert] = of_kind(&spans, SpanKind::Client).try_into().expect("one attempt");
    let [encode] = of_kind(&spans, SpanKind::Internal).try_into().expect("encoded once");
    for child in [&insert, &encode] {
        assert_eq!((&child.trace_id, &child.parent_span_id), (&batch.trace_id, &batch.span_id), "{child:?}");
        assert!(batch.start_time_unix_nano <= child.start_time_unix_nano);
    }
    let of_insert = |key: &str| attribute(&insert.attributes, key);
    assert_eq!(
        (of_insert("db.system.name"), of_insert("db.collection.name")),
        ("clickhouse".into(), "events".into())
    );
    assert_eq!(of_insert("db.operation.batch.size"), "2");
    let address = format!("{}:{}", of_insert("server.address"), of_insert("server.port"));
    assert_eq!(address, servers.clickhouse.address());
    let id = of_insert("penstock.query_id");
    scene.ch.query("SYSTEM FLUSH LOGS");
    let sql =
        format!("SELECT written_rows FROM system.query_log WHERE query_id = '{id}' AND type = 'QueryFinish'");
    assert_eq!(scene.ch.query(&sql), "2", "the span names the query in the server's log");

    let post = &receiver.posts()[0];
    assert!(post.head.starts_with("post /v1/traces http/1.1\n"), "{}", post.head);
    assert!(post.head.contains("authorization: bearer hunter2\n"), "{}", post.head);
    let resource = post.body.resource_spans[0].resource.clone().expect("a resource").attributes;
    assert_eq!(attribute(&resource, "service.name"), "penstock");
    assert_eq!(attribute(&resource, "k8s.pod.name"), "pod-7");
    assert_eq!(attribute(&resource, "a"), "b c");
    assert_eq!(attribute(&resource, "deployment.environment.name"), "test", "the configuration wins");
    assert!(!attribute(&resource, "service.instance.id").is_empty());
    assert!(!process.log().contains("hunter2"));
    wait_until(DEADLINE, "what was sent is counted", || {
        process.metric("penstock_trace_spans_total", &["outcome=\"exported\""]) == Some(3.0)
    });
}

#[test]
fn the_servers_own_spans_continue_the_attempt() {
    let servers = Servers::shared();
    let (mut scene, receiver) = (Scene::new(&servers.kafka, &servers.clickhouse), Receiver::start());
    scene.publish(10);
    let mut process = Penstock::run(&traced(scene.config.clone(), &receiver, 1.0));
    process.wait_ready();
    let insert = wait_for(DEADLINE, "an attempt's span", || {
        of_kind(&receiver.spans(), SpanKind::Client).into_iter().next()
    });
    let sql = format!(
        "SELECT count() FROM system.opentelemetry_span_log WHERE lower(hex(trace_id)) = '{}' OR \
         replaceAll(toString(trace_id), '-', '') = '{0}'",
        hex(&insert.trace_id)
    );
    wait_until(DEADLINE, "ClickHouse has spans of the same trace", || {
        scene.ch.query("SYSTEM FLUSH LOGS");
        scene.ch.value::<u64>(&sql) > 0
    });
}

#[test]
fn without_a_sampled_producer_and_at_ratio_zero_only_errors_are_traced() {
    let servers = Servers::shared();
    // The table takes what the table file allows, but for one number.
    let (mut scene, receiver) = (Scene::new(&servers.kafka, &servers.clickhouse), Receiver::start());
    scene.ch.query(&format!("ALTER TABLE {}.events ADD CONSTRAINT c CHECK n != 12", scene.database.name));
    scene.publish(5);
    let mut process = Penstock::run(&traced(scene.config.clone(), &receiver, 0.0));
    process.wait_ready();
    scene.expect_all(DEADLINE);
    scene.publish(10);
    wait_until(DEADLINE, "four rows are dead letters", || {
        process.metric("penstock_dlq_records_total", &["outcome=\"ok\""]) == Some(4.0)
    });
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0), "{}", process.log());
    let spans = receiver.spans();
    let batches = of_kind(&spans, SpanKind::Consumer);
    assert!(!batches.is_empty(), "the batch with refused rows is told");
    for batch in &batches {
        let attempts: Vec<_> = of_kind(&spans, SpanKind::Client);
        let of_it = attempts.iter().filter(|span| span.trace_id == batch.trace_id);
        let failed = of_it.filter(|span| attribute(&span.attributes, "error.type") == "data");
        assert!(failed.count() > 0, "a batch without an error was sent: {batch:?}");
        let buried = batch.events.iter().filter(|event| event.name == "dead_letter");
        assert!(buried.count() > 0, "{batch:?}");
        assert_eq!(attribute(&batch.events[0].attributes, "penstock.reason"), "refused_by_server");
    }
    let refused = of_kind(&spans, SpanKind::Client);
    let refused = refused.iter().find(|span| attribute(&span.attributes, "error.type") == "data").unwrap();
    assert_eq!(attribute(&refused.attributes, "db.response.status_code"), "469");
    assert!(format!("{spans:?}").find("Constraint").is_none(), "no text of an error, which may quote values");
}

#[test]
fn a_receiver_that_hangs_holds_up_nothing_and_what_is_dropped_is_counted() {
    let servers = Servers::shared();
    let (mut scene, hanging) = (Scene::new(&servers.kafka, &servers.clickhouse), HangingServer::start());
    let config = scene
        .config
        .clone()
        .set("telemetry.traces.endpoint", hanging.url())
        .set("telemetry.traces.sample_ratio", 1.0)
        .set("telemetry.traces.timeout", "60s")
        .set("batch.rows_max", 1)
        .set("batch.pressure.enabled", false);
    scene.publish(400);
    let mut process = Penstock::run(&config);
    process.wait_ready();
    scene.expect_all(DEADLINE);
    assert_eq!(hanging.connections(), 1);
    // Three spans for each of 1600 batches, of which the queue and one request hold 2560.
    wait_until(DEADLINE, "spans are dropped", || {
        process.metric("penstock_trace_spans_total", &["outcome=\"dropped\""]).is_some_and(|n| n > 1000.0)
    });
    let begun = std::time::Instant::now();
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0), "{}", process.log());
    assert!(begun.elapsed() < Duration::from_secs(20), "the end does not wait for the receiver");
}
