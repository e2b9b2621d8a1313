//! The console against a real line: the summary once and as a stream, and what changes it.
//!
//! It refuses to look at the page: what is shown comes from here.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Admin, DEADLINE, json_of};
use crate::harness::{Penstock, Servers};
use crate::scene::Scene;

/// What the bar of the console is measured with; tests run beside others on few cores.
const NOTICED_MAX: Duration = Duration::from_secs(5);

/// An open stream of summaries.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(admin: &Admin, token: &str) -> Stream {
        let mut stream = TcpStream::connect(&admin.listen).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = format!("GET /v1/summary/stream HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.contains("200"), "{line}");
        let mut is_event_stream = false;
        while line.trim() != "" {
            line.clear();
            reader.read_line(&mut line).unwrap();
            is_event_stream |= line.to_ascii_lowercase().trim() == "content-type: text/event-stream";
        }
        assert!(is_event_stream);
        Stream(reader)
    }

    /// The next event; none at the end.
    fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }

    /// The first event for which it holds, and how long that took.
    fn until(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> (Value, Duration) {
        let begun = Instant::now();
        loop {
            let event = self.next().unwrap_or_else(|| panic!("the stream ended before: {what}"));
            if holds(&event) {
                return (event, begun.elapsed());
            }
            assert!(begun.elapsed() < DEADLINE, "{what}: {event}");
        }
    }
}

fn scene() -> Scene {
    let servers = Servers::shared();
    Scene::new(&servers.kafka, &servers.clickhouse)
}

fn admin_of(lines: &[String]) -> Admin {
    let brokers: Vec<&str> = Servers::shared().kafka.brokers.split(',').collect();
    Admin::start_with(|config| {
        config
            .set("kafka.brokers", json!(brokers))
            .set("admin.console.lines", json!(lines))
            .set("admin.console.name", "it-eu")
            .set("admin.console.runbook_url", "https://runbooks.example")
            .set("admin.console.streams_max", 1)
    })
}

#[test]
fn the_stream_shows_what_the_line_does_within_two_seconds_of_it() {
    let mut scene = scene();
    let mut line = Penstock::run(&scene.config);
    line.wait_ready();
    let admin = admin_of(&[format!("http://{}", line.telemetry())]);
    let viewer = admin.token("viewer");
    let mut stream = Stream::open(&admin, &viewer);
    let is = |event: &Value, level: &str| event["verdict"]["level"] == level;
    let (first, _) =
        stream.until("it is well", |event| is(event, "healthy") && event["partitions_total"] == 4);
    assert_eq!((&first["name"], &first["actor"]["name"]), (&json!("it-eu"), &json!("it-viewer")));
    assert!(first["actor"]["permissions"].as_array().unwrap().contains(&json!("health_read")), "{first}");
    assert_eq!((first["pods"].as_array().unwrap().len(), &first["pods"][0]["reachable"]), (1, &json!(true)));
    assert_eq!(first["pods"][0]["address"], json!(line.telemetry()));
    assert_eq!(first["flow"]["stages"].as_array().unwrap().len(), 5);
    assert_eq!(first["flow"]["gates"][0]["state"], json!("open"));

    let busy = admin.ask("GET", "/v1/summary/stream", &viewer, &Value::Null);
    assert_eq!((busy.status, json_of(&busy)["type"].as_str()), (503, Some("urn:penstock:problem:busy")));

    let published = Instant::now();
    scene.publish(500);
    let flows = |event: &Value| event["totals"]["in_records_per_s"].as_f64().is_some_and(|rate| 0.0 < rate);
    stream.until("records come in", flows);
    let produced = published.elapsed();
    let written = |event: &Value| {
        event["tables"].as_array().unwrap().iter().any(|table| table["batch_rows"].as_f64() > Some(1.0))
    };
    stream.until("rows are written", written);
    scene.publish_raw("no json");
    let (bad, _) =
        stream.until("a dead letter is told", |event| !event["problems"].as_array().unwrap().is_empty());
    assert_eq!(bad["problems"][0]["link"], json!(format!("dead-letters?topic={}", scene.topic)));

    line.kill9();
    let (dead, killed) = stream.until("the line is dead", |event| is(event, "failing"));
    assert_eq!(dead["pods"][0]["reachable"], json!(false), "grey, and there");
    assert!(dead["timeline"].as_array().unwrap().iter().any(|event| event["kind"] == "pod"), "{dead}");
    eprintln!("noticed after {produced:?} (records), {killed:?} (a process that was killed)");
    assert!(produced < NOTICED_MAX && killed < NOTICED_MAX, "{produced:?} {killed:?}");

    let once = admin.get("/v1/summary", &viewer);
    assert_eq!(
        (&once["verdict"]["level"], &once["runbook_url"]),
        (&json!("failing"), &json!("https://runbooks.example"))
    );
    drop(stream);
}

#[test]
fn without_a_line_nothing_is_called_well_and_a_stream_ends_with_its_token() {
    let admin = admin_of(&[]);
    let security = admin.token("security_admin");
    let summary = admin.get("/v1/summary", &security);
    assert_eq!(summary["verdict"]["level"], json!("unknown"));
    assert!(summary["verdict"]["what_to_do"].as_str().unwrap().contains("admin.console.lines"), "{summary}");
    let flush = admin.ask("POST", "/v1/line/flush", &admin.token("operator"), &json!({}));
    assert_eq!(
        (flush.status, json_of(&flush)["type"].as_str()),
        (409, Some("urn:penstock:problem:no_control"))
    );
    let wanted = json!({ "subject": "brief", "roles": ["viewer"], "life": "3s" });
    let made = json_of(&admin.ask("POST", "/v1/tokens", &security, &wanted));
    let begun = Instant::now();
    let mut stream = Stream::open(&admin, made["token"].as_str().unwrap());
    let mut events = 0;
    while stream.next().is_some() {
        events += 1;
    }
    assert!(0 < events && begun.elapsed() < Duration::from_secs(10), "{events} in {:?}", begun.elapsed());
    // The place is free again; the process ends in order while a stream is open.
    let stream = Stream::open(&admin, &security);
    let mut process = admin.process;
    process.sigterm();
    assert_eq!(process.wait_exit(DEADLINE), Some(0));
    drop(stream);
}
