//! The trail: what of it is found when somebody was at it, and that nothing runs without it.

use std::fs;

use serde_json::{Value, json};

use super::{Admin, DEADLINE, seen};
use crate::harness::{Penstock, PenstockConfig, wait_until};
use crate::migrate::Bench;

/// Migrations on the command line, with a chained trail.
fn with_trail() -> (Bench, PenstockConfig) {
    let bench = Bench::new();
    let at = |name: &str| bench.keys.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("key"), "k".repeat(40)).unwrap();
    let config =
        bench.config.clone().set("admin.audit.file", at("trail")).set("admin.audit.key_file", at("key"));
    (bench, config)
}

#[test]
fn a_changed_byte_and_a_cut_end_are_found() {
    let (bench, config) = with_trail();
    bench.write("V1__t.sql", "CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x");
    let call =
        |arguments: &[&str]| Penstock::output(&config, &[&["--log", "off"], arguments].concat(), DEADLINE);
    assert_eq!(call(&["migrate", "up"]).0, Some(0));
    let (code, log) = call(&["audit", "verify"]);
    assert!(code == Some(0) && log.contains("2 lines, 2 checkpoints; everything up to line 2"), "{log}");
    let (code, log) = call(&["audit", "tail", "-n", "1"]);
    assert!(code == Some(0) && log.contains("done     migrate.up") && log.lines().count() == 1, "{log}");

    let path = bench.keys.path().join("trail");
    let whole = fs::read(&path).unwrap();
    let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for (at, line) in [(0, 1), (second - 2, 1), (second, 2), (second + 100, 2), (whole.len() - 1, 2)] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        let (code, log) = call(&["audit", "verify"]);
        assert!(code == Some(3) && log.contains(&format!("trail:{line}:")), "byte {at}: {log}");
    }
    fs::write(&path, &whole[..second]).unwrap();
    let (code, log) = call(&["audit", "verify", "--output", "json"]);
    let verdict: Value = serde_json::from_str(&log).unwrap();
    assert_eq!(
        (code, &verdict["broken"]["line"], &verdict["lines"]),
        (Some(3), &json!(2), &json!(1)),
        "{log}"
    );

    bench.write("V2__u.sql", "CREATE TABLE u (x UInt64) ENGINE = MergeTree ORDER BY x");
    let (code, log) = call(&["migrate", "up"]);
    assert!(code == Some(1) && log.contains("was not run") && log.contains("audit verify"), "{code:?} {log}");
    assert_eq!(bench.sql("EXISTS TABLE DB.u"), "0", "nothing runs on a broken trail");
    fs::write(&path, &whole).unwrap();
    assert_eq!(call(&["migrate", "up"]).0, Some(0));
    assert_eq!(call(&["audit", "verify"]).0, Some(0));
}

#[test]
fn a_trail_is_followed_while_it_grows() {
    let (bench, config) = with_trail();
    let call = |arguments: &[&str]| Penstock::output(&config, arguments, DEADLINE);
    assert_eq!(call(&["audit", "verify"]).0, Some(0), "an empty one is whole");
    assert_eq!(call(&["migrate", "repair", "--accept"]).0, Some(0));
    let mut follower = Penstock::start(&config, &["audit", "tail", "-n", "0", "--follow"]);
    // It says nothing of what was there before, so it is known to follow by the first line that it shows.
    wait_until(DEADLINE, "the follower shows what is done", || {
        assert_eq!(call(&["migrate", "repair", "--accept"]).0, Some(0));
        follower.log().contains("done     migrate.repair")
    });
    follower.sigterm();
    assert_eq!(follower.wait_exit(DEADLINE), Some(0), "{}", follower.log());
    drop(bench);
}

#[test]
fn the_process_does_not_start_without_keys_or_a_trail_that_can_be_written() {
    let (bench, config) = with_trail();
    let key = bench.keys.path().join("key").to_str().unwrap().to_owned();
    let start = |config: &PenstockConfig| Penstock::output(config, &["admin"], DEADLINE);
    let (code, log) = start(&config);
    assert!(code == Some(2) && log.contains("hint: set admin.access.key_file"), "{log}");
    let config = config.set("admin.access.key_file", key).set("admin.listen", "127.0.0.1:0");
    for (name, value, expected) in [
        ("admin.audit.file", Value::Null, 2),
        ("admin.audit.key_file", json!("/nowhere/key"), 2),
        ("admin.audit.file", json!("/nowhere/trail"), 1),
        ("admin.listen", json!("nowhere"), 2),
        ("admin.access.skew_max", json!("2m"), 2),
        ("admin.access.jwks_url", json!("http://example.com/keys"), 2),
        ("admin.tls.cert_file", json!("/nowhere/cert"), 2),
    ] {
        let (code, log) = start(&config.clone().set(name, value));
        assert!(code == Some(expected) && log.contains("hint: "), "{name}: {code:?} {log}");
    }
}

#[test]
fn a_broken_trail_can_be_looked_at_and_lets_nothing_run() {
    let admin = Admin::start();
    admin.two();
    let (token, auditor) = (admin.token("data_admin"), admin.token("auditor"));
    let plan = admin.plan_hash(&token, "");
    assert_eq!(admin.job("/v1/audit/verify", &auditor, &Value::Null)["result"]["broken"], Value::Null);
    let lines = admin.get("/v1/audit?limit=3", &auditor)["lines"].as_array().unwrap().clone();
    assert!(
        lines.len() == 3 && lines[2]["action"] == "audit.tail" && lines[2]["actor"] == "it-auditor",
        "{lines:?}"
    );

    let path = admin.bench.keys.path().join("trail");
    let whole = fs::read_to_string(&path).unwrap();
    let kept: String = whole.split_inclusive('\n').take(2).collect();
    fs::write(&path, &kept).unwrap();
    let verdict = admin.job("/v1/audit/verify", &auditor, &Value::Null);
    assert_eq!(verdict["result"]["broken"]["line"], 3, "{verdict}");
    assert_eq!(admin.get("/v1/audit", &auditor)["lines"].as_array().unwrap().len(), 2);
    let refused = admin.job("/v1/migrations/up", &token, &json!({ "plan": plan }));
    assert_eq!(
        (&refused["state"], &refused["error"]["status"]),
        (&json!("failed"), &json!(503)),
        "{refused}"
    );
    assert_eq!(admin.bench.sql("EXISTS TABLE DB.t"), "0");
    let security = admin.token_without_trail("security_admin");
    let body = json!({ "subject": "x", "roles": ["viewer"] });
    assert_eq!(admin.ask("POST", "/v1/tokens", &security, &body).status, 503);
    assert_eq!(admin.ask("GET", "/v1/audit", &token, &Value::Null).status, 403, "refused all the same");
    assert_eq!(admin.ask("GET", "/v1/audit", "", &Value::Null).status, 401);
    fs::write(&path, &whole).unwrap();
    assert_eq!(admin.job("/v1/migrations/up", &token, &json!({ "plan": plan }))["state"], "done");
    assert_eq!(seen(&admin.trail(), "migrate.up", "done"), 1);
}
