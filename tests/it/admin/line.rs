//! Acting on the running line: real processes of one group, an admin process, and whoever is not let in.
//!
//! It refuses to take a process's word for what it does not read: the brokers and the table say it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Admin, DEADLINE, json_of, seen};
use crate::harness::{Penstock, PenstockConfig, Response, Servers, free_port, post, wait_for, wait_until};
use crate::scene::{Scene, events_table};

/// Far beyond the test, so that nothing is written by its age.
const AGE: &str = "10m";
const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";

/// A topic, two places for processes of its line, and an admin process that knows both.
struct Bench {
    scene: Scene,
    places: [String; 2],
    admin: Admin,
}

impl Bench {
    fn new() -> Bench {
        Bench::of(|scene| scene)
    }

    /// With what the change makes of the line's configuration.
    fn of(change: impl FnOnce(PenstockConfig) -> PenstockConfig) -> Bench {
        let servers = Servers::shared();
        let mut scene = Scene::with_table(&servers.kafka, &servers.clickhouse, |topic| {
            events_table(topic, "settings: {non_replicated_deduplication_window: 10000}\n")
        });
        let key = scene.folder.path().join("control-key");
        std::fs::write(&key, KEY).unwrap();
        let key = key.to_str().unwrap().to_owned();
        scene.config = change(scene.config.clone())
            .set("batch.age_max", AGE)
            .set("telemetry.control.key_file", key.as_str());
        let places = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let urls = places.clone().map(|place| format!("http://{place}"));
        let brokers: Vec<&str> = scene.kafka.brokers.split(',').collect();
        let admin = Admin::start_with(|config| {
            config
                .set("kafka.brokers", json!(brokers))
                .set("admin.console.lines", json!(urls))
                .set("admin.console.control_key_file", key.as_str())
        });
        Bench { scene, places, admin }
    }

    fn line(&self, place: usize) -> Penstock {
        let config: PenstockConfig =
            self.scene.config.clone().set("telemetry.listen", self.places[place].as_str());
        let mut line = Penstock::run(&config);
        line.wait_ready();
        line
    }

    /// Closes what is open, which must be everything that was published.
    fn expect_flushed(&self, lines: &[&Penstock], token: &str) {
        let all = self.scene.published();
        wait_until(DEADLINE, "everything is taken in", || {
            f64::from(u32::try_from(all).unwrap()) <= read(lines)
        });
        let begun = Instant::now();
        let job = self.admin.job("/v1/line/flush", token, &json!({ "topic": self.scene.topic }));
        assert_eq!(job["state"], "done", "{job}");
        self.scene.expect_all(Duration::from_secs(20));
        eprintln!("flushed and landed in {:?}", begun.elapsed());
    }
}

/// Sums over processes.
fn sum(lines: &[&Penstock], name: &str, labels: &[&str]) -> f64 {
    lines.iter().map(|line| line.metric(name, labels).unwrap_or(0.0)).sum()
}

fn read(lines: &[&Penstock]) -> f64 {
    sum(lines, "penstock_consumed_records_total", &[])
}

fn held(lines: &[&Penstock]) -> f64 {
    sum(lines, "penstock_paused_partitions", &["reason=\"operator\""])
}

/// The second leaves while all is paused and there is something to read: what the first takes over begins paused.
fn expect_taken_over_paused(scene: &mut Scene, first: &Penstock, second: &mut Penstock) {
    wait_until(DEADLINE, "all is paused", || held(&[first, second]) == 4.0);
    scene.publish(10);
    let so_far = || (read(&[first]), first.log().matches("reading paused").count());
    let before = so_far();
    second.sigterm();
    assert_eq!(second.wait_exit(DEADLINE), Some(0));
    wait_until(DEADLINE, "the first takes over, paused", || {
        first.metric("penstock_assigned_partitions", &[]) == Some(4.0) && held(&[first]) == 4.0
    });
    assert_eq!(so_far(), before, "not a record was read, and nothing had to be paused again");
}

fn expect_shared_and_paused(lines: [&Penstock; 2]) {
    wait_until(DEADLINE, "the second process takes its share, and is paused too", || {
        lines.map(|line| line.metric("penstock_assigned_partitions", &[])) == [Some(2.0); 2]
            && lines.map(|line| held(&[line])) == [2.0; 2]
    });
}

#[test]
fn a_topic_is_paused_in_every_process_until_its_end_or_sooner_and_nothing_is_lost() {
    let mut bench = Bench::new();
    let (operator, viewer) = (bench.admin.token("operator"), bench.admin.token("viewer"));
    bench.scene.publish(20);
    let first = bench.line(0);
    bench.expect_flushed(&[&first], &operator);

    let topic = bench.scene.topic.clone();
    let wanted = json!({ "topic": topic, "for_s": 600, "reason": "ticket 812" });
    let pause = |token: &str, body: &Value| bench.admin.ask("POST", "/v1/line/pause", token, body);
    assert_eq!(pause(&viewer, &wanted).status, 403);
    for wrong in [json!({ "for_s": 0 }), json!({ "for_s": 86_401 }), json!({ "reason": " " })] {
        let mut body = wanted.clone();
        wrong.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
        assert_eq!(pause(&operator, &body).status, 422, "{body}");
    }
    let begun = pause(&operator, &wanted);
    let place = begun.header("location").unwrap().to_owned();
    assert_eq!(begun.status, 202, "{}", begun.body);
    wait_until(DEADLINE, "all is paused", || held(&[&first]) == 4.0);
    let mut second = bench.line(1);
    let lines = [&first, &second];
    expect_shared_and_paused(lines);
    bench.scene.publish(10);
    // Known by the statistics that come with polling, and not read.
    wait_until(DEADLINE, "both know of the records", || sum(&lines, "penstock_lag_records", &[]) == 40.0);
    assert_eq!((read(&lines), bench.scene.landed()), (80.0, 80));
    let (status, health) = first.health().unwrap();
    assert!(status == 200 && health.contains("paused by it-operator until"), "{health}");
    let summary = wait_for(DEADLINE, "the summary says who paused it", || {
        let summary = bench.admin.get("/v1/summary", &viewer);
        let paused: Vec<&str> =
            summary["partitions"].as_array()?.iter().filter_map(|one| one["paused"].as_str()).collect();
        let is_told =
            |text: &&str| text.starts_with("by it-operator until ") && text.ends_with(": ticket 812");
        (paused.len() == 4 && paused.iter().all(is_told)).then(|| summary.clone())
    });
    assert_eq!((&summary["control"], &summary["verdict"]["level"]), (&json!(true), &json!("paused")));

    let file = bench.admin.bench.keys.path().join("operator.token");
    std::fs::write(&file, &operator).unwrap();
    let url = format!("http://{}", bench.admin.listen);
    let by = ["--url", &url, "--token-file", file.to_str().unwrap()];
    let (code, out) = bench.admin.run(&[&["line", "resume", "--topic", &topic], &by[..]].concat());
    assert!(code == Some(0) && out.matches("it is read again").count() == 2, "{out}");
    let ended = bench.admin.ended(&place, &operator);
    assert!(
        ended["state"] == "done" && ended["result"].to_string().contains("resumed by it-operator"),
        "{ended}"
    );
    bench.expect_flushed(&lines, &operator);

    let trail = bench.admin.trail();
    for (action, phase, times) in [
        ("line.pause", "refused", 1),
        ("line.pause", "intent", 1),
        ("line.pause", "done", 1),
        ("line.resume", "done", 1),
    ] {
        assert_eq!(seen(&trail, action, phase), times, "{action} {phase}");
    }
    assert!(trail.iter().any(|line| line["details"]["reason"] == "ticket 812"), "the reason is written down");

    let again = bench.admin.ask("POST", "/v1/line/pause", &operator, &wanted);
    assert_eq!(again.status, 202, "{}", again.body);
    expect_taken_over_paused(&mut bench.scene, &first, &mut second);
}

#[test]
fn exactly_once_begins_paused_where_it_takes_over_and_ends_by_itself_or_by_its_job() {
    let mut bench = Bench::of(|config| {
        config
            .set("delivery", "exactly_once")
            .set("clickhouse.insert_timeout", "5s")
            .set("exactly_once.lease", "20s")
    });
    let operator = bench.admin.token("operator");
    let topic = bench.scene.topic.clone();
    let (first, mut second) = (bench.line(0), bench.line(1));
    let owned = |line: &Penstock| line.metric("penstock_assigned_partitions", &[]);
    wait_until(DEADLINE, "both share the partitions", || {
        (owned(&first), owned(&second)) == (Some(2.0), Some(2.0))
    });
    let wanted = json!({ "topic": topic, "for_s": 600, "reason": "ticket 813" });
    let begun = bench.admin.ask("POST", "/v1/line/pause", &operator, &wanted);
    let place = begun.header("location").unwrap().to_owned();
    expect_taken_over_paused(&mut bench.scene, &first, &mut second);
    let lines = [&first];
    assert_eq!((read(&lines), bench.scene.landed()), (0.0, 0), "not a record on the way");
    let cancelled = bench.admin.ask("POST", &format!("{place}/cancel"), &operator, &Value::Null);
    assert_eq!(cancelled.status, 200, "{}", cancelled.body);
    assert_eq!(bench.admin.ended(&place, &operator)["state"], "cancelled");
    bench.expect_flushed(&lines, &operator);

    let file = bench.admin.bench.keys.path().join("operator.token");
    std::fs::write(&file, &operator).unwrap();
    let url = format!("http://{}", bench.admin.listen);
    let by = ["--url", &url, "--token-file", file.to_str().unwrap()];
    let brief = ["line", "pause", "--topic", &topic, "--for", "3s", "--reason", "brief", "--output", "json"];
    let (code, out) = bench.admin.run(&[&brief, &by[..]].concat());
    let came: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
    assert_eq!((code, came["pods"].as_array().unwrap().len()), (Some(0), 2), "{out}");
    wait_until(DEADLINE, "it is paused", || held(&lines) == 4.0);
    bench.scene.publish(5);
    let job = bench.admin.ended(&format!("/v1/jobs/{}", came["job"].as_str().unwrap()), &operator);
    assert_eq!(job["state"], "done", "{job}");
    bench.expect_flushed(&lines, &operator);
    wait_until(DEADLINE, "nothing is held any more", || held(&lines) == 0.0);
    assert_eq!(bench.scene.sql("count() - uniqExact(_partition, _offset)"), "0", "nothing is there twice");
}

/// A token for the body; the changes make it wrong.
fn token(key: &str, body: &str, changes: &Value) -> String {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let digest: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    let age_s = changes["age_s"].as_u64().unwrap_or(0);
    let claims = json!({
        "aud": changes["aud"].as_str().unwrap_or("penstock-line-control"), "iat": now_s - age_s,
        "exp": now_s - age_s + 20, "jti": crate::harness::fresh_name("jti"), "body": digest,
    });
    encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(key.as_bytes())).unwrap()
}

fn order(place: &str, token: &str, body: &str) -> Response {
    post(place, "/v1/control", &[("Authorization", &format!("Bearer {token}"))], body.as_bytes()).unwrap()
}

#[test]
fn only_orders_of_the_key_are_heard_and_what_nobody_did_is_a_failure() {
    let bench = Bench::new();
    let line = bench.line(0);
    let place = bench.places[0].as_str();
    let body = json!({ "actor": "it", "act": "reload" }).to_string();
    let good = token(KEY, &body, &json!({}));
    for (what, bad, body) in [
        ("another key", token(&"x".repeat(48), &body, &json!({})), body.clone()),
        ("an old token", token(KEY, &body, &json!({ "age_s": 60 })), body.clone()),
        ("another purpose", token(KEY, &body, &json!({ "aud": "penstock" })), body.clone()),
        ("another body", good.clone(), body.replace("\"it\"", "\"me\"")),
        ("no token", String::new(), body.clone()),
    ] {
        let answer = order(place, &bad, &body);
        assert_eq!(answer.status, 401, "{what}: {}", answer.body);
    }
    let heard = order(place, &good, &body);
    assert!(heard.status == 200 && heard.body.contains("nothing has changed"), "{}", heard.body);
    assert_eq!(order(place, &good, &body).status, 401, "once");
    assert_eq!(order(bench.admin.process.telemetry(), &good, &body).status, 404, "there is no key");
    assert!(!line.log().contains(&good) && line.log().contains("an order to the line was refused"));

    let operator = bench.admin.token("operator");
    let job = bench.admin.job("/v1/line/reload", &operator, &json!({}));
    let pods = job["result"]["pods"].as_array().unwrap();
    let by_ok = |ok: bool| pods.iter().filter(|pod| pod["ok"] == json!(ok)).count();
    assert!(job["state"] == "done" && (by_ok(true), by_ok(false)) == (1, 1), "one is not there: {job}");
    let endpoint = bench.scene.ch.url().trim_start_matches("http://").to_owned();
    for (path, body, said) in [
        ("/v1/line/probe", json!({ "endpoint": endpoint, "reason": "why" }), "not shut"),
        ("/v1/line/flush", json!({ "topic": "nobodys" }), "no table reads"),
        ("/v1/line/pause", json!({ "topic": "nobodys", "for_s": 60, "reason": "why" }), "no table reads"),
    ] {
        let job = bench.admin.job(path, &operator, &body);
        assert!(
            job["state"] == "failed" && job["error"]["detail"].to_string().contains(said),
            "{path}: {job}"
        );
    }
    let tried = bench.admin.ask("POST", "/v1/line/reload?dry_run=true", &operator, &json!({}));
    assert_eq!((tried.status, json_of(&tried)["pods"].as_array().unwrap().len()), (200, 2), "{}", tried.body);
}

#[test]
fn a_process_that_only_shows_changes_nothing_for_anybody() {
    let admin = Admin::start_with(|config| config.set("admin.console.read_only", true));
    let roles = super::ROLES.iter().flat_map(|role| ["--role", role]);
    let issue: Vec<&str> = ["token", "issue", "--subject", "all", "--pii"].into_iter().chain(roles).collect();
    let (code, token) = admin.run(&issue);
    assert_eq!(code, Some(0), "{token}");
    let token = token.trim();
    let description = admin.get("/v1/openapi.json", token);
    let mut refused = 0;
    for (path, operations) in description["paths"].as_object().unwrap() {
        let Some(operation) = operations.get("post") else { continue };
        let parameters = operation["parameters"].as_array().unwrap();
        let changes = parameters.iter().any(|one| one["name"] == "dry_run");
        let called = path.replace("{id}", "none").replace("{name}", "none");
        let answer = admin.ask("POST", &called, token, &Value::Null);
        if changes && path != "/v1/tokens/refresh" {
            assert_eq!(json_of(&answer)["type"], "urn:penstock:problem:read_only", "{path}: {}", answer.body);
            assert_eq!(answer.status, 403, "{path}");
            refused += 1;
        } else {
            assert_ne!(answer.status, 403, "{path}: {}", answer.body);
        }
    }
    assert!(refused >= 20, "{refused}");
    assert_eq!(seen(&admin.trail(), "line.pause", "refused"), 1);
}
