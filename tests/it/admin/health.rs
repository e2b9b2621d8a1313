//! The health watch as its readers meet it: what is looked at, who is told of a change, and who is not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::{Admin, DEADLINE};
use crate::harness::{Mode, Penstock, Servers, TcpProxy, free_port, wait_for, wait_until};

/// A request that the receiver got: its signature and its body.
#[derive(Clone, Debug)]
struct Got {
    signature: String,
    body: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Answers what is about ClickHouse with these statuses, one after the other, and then and to all else with 200.
struct Receiver {
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    fn start(statuses: Vec<u16>) -> Receiver {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let kept = Arc::clone(&got);
        // It ends with the process: nothing connects to it any more.
        std::thread::spawn(move || {
            let mut statuses = statuses.into_iter();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let got = read(&stream);
                let is_meant = got.json()["name"] == "clickhouse";
                kept.lock().unwrap().push(got);
                let status = if is_meant { statuses.next().unwrap_or(200) } else { 200 };
                let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        Receiver { url: format!("http://127.0.0.1:{port}/hook"), got }
    }

    fn all(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// Those about one check.
    fn about(&self, check: &str) -> Vec<Got> {
        self.all().into_iter().filter(|got| got.json()["name"] == check).collect()
    }
}

/// The request that comes over this connection.
fn read(stream: &TcpStream) -> Got {
    let mut reader = BufReader::new(stream);
    let (mut signature, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        match line.trim().split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value)) {
            Some((name, value)) if name == "penstock-signature" => signature = value.to_owned(),
            Some((name, value)) if name == "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Got { signature, body: String::from_utf8(body).unwrap() }
}

/// As a receiver checks it: by a key made of the file's for this purpose.
fn is_signed(got: &Got, key: &str) -> bool {
    let master = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&master, b"penstock webhook").as_ref());
    let tag = hmac::sign(&key, got.body.as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    got.signature == format!("sha256={hex}")
}

#[test]
fn a_change_is_told_also_when_the_first_tries_fail_and_nothing_without_a_change() {
    let servers = Servers::shared();
    let proxy = TcpProxy::start(servers.clickhouse.address());
    let receiver = Receiver::start(vec![500, 500]);
    let key = "w".repeat(48);
    let admin = Admin::start_with(|config| {
        let folder = std::path::Path::new(config.text("admin.audit.file")).parent().unwrap().to_owned();
        std::fs::write(folder.join("hook-key"), &key).unwrap();
        config
            .set("kafka.brokers", json!([servers.kafka.brokers]))
            .set("clickhouse.endpoints", json!([proxy.url()]))
            .set("admin.health.interval", "100ms")
            .set("admin.health.timeout", "2s")
            .set("admin.health.webhook.url", receiver.url.as_str())
            .set("admin.health.webhook.key_file", folder.join("hook-key").to_str().unwrap())
            .set("admin.health.webhook.backoff_min", "20ms")
    });
    let token = admin.token_without_trail("viewer");
    let state = |name: &str| {
        let health = admin.get("/v1/health", &token);
        let all = health["checks"].as_array().unwrap().clone();
        all.iter().find(|check| check["name"] == name).map_or(Value::Null, |check| check["state"].clone())
    };
    wait_until(DEADLINE, "everything is looked at", || state("clickhouse") == "ok");
    assert_eq!(receiver.about("clickhouse").len(), 0, "what is well from the start is no news");

    proxy.set(Mode::Refuse);
    wait_until(DEADLINE, "it is delivered at the third try", || receiver.about("clickhouse").len() >= 3);
    let got = receiver.about("clickhouse");
    let first = got[0].json();
    assert_eq!((&first["before"], &first["state"]), (&json!("ok"), &json!("failing")), "{first}");
    assert!(!first["sentence"].as_str().unwrap().is_empty() && !first["hint"].as_str().unwrap().is_empty());
    assert!(got.iter().take(3).all(|one| one.body == got[0].body), "each try sends the same: {got:?}");
    assert!(got.iter().all(|one| is_signed(one, &key)) && !is_signed(&got[0], "another"), "{got:?}");
    let delivered = || admin.process.metric("penstock_admin_webhooks_total", &["outcome=\"delivered\""]);
    wait_until(DEADLINE, "it counts as delivered", || delivered().unwrap_or(0.0) >= 1.0);

    proxy.set(Mode::Pass);
    wait_until(DEADLINE, "that it is well again is told", || {
        receiver.about("clickhouse").last().is_some_and(|got| got.json()["state"] == "ok")
    });
    let told = receiver.about("clickhouse").len();
    // Twenty more looks change nothing, and nobody is told.
    let looks = || admin.get("/v1/health", &token)["looked_at"].as_str().unwrap().to_owned();
    for _ in 0..20 {
        let before = looks();
        wait_until(DEADLINE, "it is looked again", || looks() != before);
    }
    assert_eq!(receiver.about("clickhouse").len(), told, "{:?}", receiver.all());
    let (_, live) = admin.process.health().unwrap();
    let live: Value = serde_json::from_str(&live).unwrap();
    assert_eq!(
        live["components"]["clickhouse"]["status"], "ok",
        "the process's own health has it too: {live}"
    );
}

#[test]
fn health_is_looked_at_from_the_command_line_and_measured() {
    let kafka = Servers::shared().kafka.clone();
    let admin = Admin::start_with(|config| config.set("kafka.brokers", json!([kafka.brokers])));
    let look = |config| {
        let (code, log) = Penstock::output(config, &["--log", "off", "--output", "json", "health"], DEADLINE);
        (code, serde_json::from_str::<Value>(&log).unwrap_or_else(|error| panic!("{error}: {log}")))
    };
    let (code, report) = look(&admin.config);
    let names: Vec<&str> =
        report["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["audit_trail", "clickhouse", "disks", "kafka", "mutations", "parts", "replicas"]);
    let cannot = |check: &Value| check["sentence"].as_str().unwrap().contains("cannot be looked at");
    assert!(!report["checks"].as_array().unwrap().iter().any(cannot), "{report}");
    // Other tests use the same server, and may have a disk, parts or mutations that are unwell.
    assert_eq!(code, if report["state"] == "ok" { Some(0) } else { Some(3) }, "{report}");
    let away =
        admin.config.clone().set("kafka.brokers", json!(["127.0.0.1:1"])).set("admin.health.timeout", "1s");
    let (code, report) = look(&away);
    assert_eq!((code, &report["state"]), (Some(3), &json!("failing")), "{report}");
    // A byte of the trail is changed.
    let file = admin.bench.keys.path().join("trail");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("admin.start", "admin.stars", 1)).unwrap();
    let (code, report) = look(&admin.config);
    assert_eq!((code, &report["checks"][0]["state"]), (Some(3), &json!("failing")), "{report}");

    let of_server =
        ["probe_seconds", "queries", "connections", "disk_free_bytes", "parts", "merges", "mutations"];
    for name in of_server {
        let name = format!("penstock_admin_clickhouse_{name}");
        wait_for(DEADLINE, &name, || admin.process.metric(&name, &["host="]));
    }
    assert!(admin.process.metric("penstock_admin_clickhouse_disk_free_bytes", &[]).unwrap() > 0.0);
    assert!(admin.process.metric("penstock_admin_health", &["check=\"kafka\"", "state=\"ok\""]) == Some(1.0));
}
