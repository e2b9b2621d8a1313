//! Who is let in: every route, by nobody, by every role, and by those who try too often.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Admin, ROLES, json_of, seen};
use crate::harness::request;

#[test]
fn every_route_wants_a_token_and_a_role_and_both_refusals_are_written_down() {
    let admin = Admin::start_with(|config| config.set("admin.access.failures_max", 1000));
    let tokens = ROLES.map(|role| (role, admin.token(role)));
    let description = admin.get("/v1/openapi.json", &tokens[0].1);
    let rights = include_str!("../../../docs/access.md");
    let mut routes = BTreeSet::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let method = method.to_uppercase();
            let action = operation["operationId"].as_str().unwrap();
            let called =
                path.replace("{id}", "00000000-0000-0000-0000-000000000000").replace("{name}", "none");
            let none = admin.ask(&method, &called, "", &Value::Null);
            assert_eq!(none.status, 401, "{method} {path}: {}", none.body);
            assert_eq!(none.header("www-authenticate"), Some("Bearer"));
            assert_eq!(none.header("content-type"), Some("application/problem+json"));
            assert!(json_of(&none)["hint"].as_str().unwrap().contains("Authorization"), "{}", none.body);
            let row = rights.lines().find(|line| line.starts_with(&format!("| `{method} {path}` |")));
            let row = row.unwrap_or_else(|| panic!("docs/access.md has no {method} {path}"));
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let mut refused = 0;
            for (column, (role, token)) in tokens.iter().enumerate() {
                // A parameter that no route has: whoever is let in changes nothing.
                let answer = admin.ask(&method, &format!("{called}?nothing=1"), token, &Value::Null);
                let allowed = cells[column + 2] == "yes";
                assert_eq!(
                    answer.status,
                    if allowed { 400 } else { 403 },
                    "{role} {method} {path}: {}",
                    answer.body
                );
                refused += usize::from(!allowed);
            }
            let trail = admin.trail();
            assert_eq!(seen(&trail, action, "refused"), 1 + refused, "{method} {path}");
            let strangers =
                trail.iter().filter(|line| line["action"] == action && line["actor"] == "unknown");
            assert_eq!(strangers.count(), 1, "{method} {path}");
            routes.insert(format!("| `{method} {path}` |"));
        }
    }
    let documented =
        rights.lines().filter(|line| line.starts_with("| `GET ") || line.starts_with("| `POST "));
    assert_eq!(documented.count(), routes.len(), "the description has every route of docs/access.md");
    assert!(routes.len() >= 35, "{routes:?}");
    let text = format!("{}{:?}", admin.process.log(), admin.trail());
    assert!(
        tokens.iter().all(|(_, token)| !text.contains(token.as_str())),
        "a token is in the log or the trail"
    );
    assert!(admin.process.metric("penstock_admin_requests_total", &["status=\"403\""]).unwrap() > 10.0);
}

#[test]
fn nothing_but_a_whole_good_request_gets_through() {
    // Everything that any part of it would ever log.
    let admin = Admin::start_with(|config| {
        config.set("telemetry.log.level", "trace").set("telemetry.log.lines_per_second_max", 1_000_000)
    });
    let token = admin.token("data_admin");
    let status = |method: &str, path: &str, body: &Value| admin.ask(method, path, &token, body).status;
    assert_eq!(status("GET", "/v1/nothing", &Value::Null), 404);
    assert_eq!(status("POST", "/v1/migrations", &json!({})), 405);
    assert_eq!(
        status("POST", "/v1/migrations/up?dry-run=true", &json!({ "plan": "x" })),
        400,
        "a misspelt trial is none"
    );
    assert_eq!(status("POST", "/v1/migrations/up?dry_run=yes", &json!({ "plan": "x" })), 400);
    assert_eq!(status("POST", "/v1/migrations/up?dry_run=true&dry_run=false", &json!({ "plan": "x" })), 400);
    assert_eq!(status("POST", "/v1/migrations/up", &json!({ "plan": "x", "palm": 1 })), 422);
    assert_eq!(status("POST", "/v1/migrations/up", &json!({ "plan": "x", "allow": ["everything"] })), 422);
    assert_eq!(status("POST", "/v1/migrations/up", &json!({})), 422, "nobody has looked at a plan");
    assert_eq!(status("POST", "/v1/migrations/up", &json!({ "plan": "x".repeat(70_000) })), 413);
    assert_eq!(status("GET", "/v1/jobs?limit=0", &Value::Null), 400);
    assert_eq!(status("GET", "/v1/jobs/none", &Value::Null), 404);
    let bearer = format!("Bearer {token}");
    let plain = [("Authorization", bearer.as_str()), ("Content-Type", "text/plain")];
    assert_eq!(request(&admin.listen, "POST", "/v1/migrations/up", &plain, b"{}").unwrap().status, 415);
    let key = [("Idempotency-Key", "k")];
    assert_eq!(admin.ask_with(("GET", "/v1/jobs"), &token, &Value::Null, &key).status, 400);
    // A token in the address is no token, and is not told back.
    let answer = admin.ask("GET", &format!("/v1/self?access_token={token}"), "", &Value::Null);
    assert_eq!(answer.status, 401);
    let answer = admin.ask("GET", &format!("/v1/self?access_token={token}"), &token, &Value::Null);
    assert!(answer.status == 400 && !answer.body.contains(&token), "{}", answer.body);
    let answer = admin.ask("GET", "/v1/self", &token, &Value::Null);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(admin.get("/v1/jobs", &token)["jobs"], json!([]), "nothing of all that began");
    let log = admin.process.log();
    assert!(log.contains("TRACE") && !log.contains(&token), "a token is in the log");
}

#[test]
fn an_address_that_tries_too_often_waits() {
    let admin = Admin::start_with(|config| config.set("admin.access.failures_max", 3));
    let good = admin.token("viewer");
    let forged = format!("{}x", &good[..good.len() - 1]);
    for _ in 0..3 {
        assert_eq!(admin.ask("GET", "/v1/self", &forged, &Value::Null).status, 401);
    }
    for token in [forged.as_str(), good.as_str(), ""] {
        let answer = admin.ask("GET", "/v1/self", token, &Value::Null);
        assert_eq!(answer.status, 429, "{}", answer.body);
        assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() <= 61);
    }
    assert_eq!(seen(&admin.trail(), "token.show", "refused"), 3, "waiting fills no trail");
}

#[test]
fn connections_bodies_and_patience_are_bounded() {
    let admin = Admin::start_with(|config| {
        config.set("admin.connections_max", 2).set("admin.request_timeout", "500ms")
    });
    let token = admin.token("data_admin");
    let connect = || TcpStream::connect(&admin.listen).unwrap();
    let send = |mut stream: &TcpStream, text: &str| stream.write_all(text.as_bytes()).unwrap();
    let answer = |mut stream: &TcpStream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    // A body that never comes.
    let stream = connect();
    let head = format!(
        "POST /v1/migrations/up HTTP/1.0\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: 10\r\n\r\n"
    );
    send(&stream, &head);
    assert!(answer(&stream).starts_with("HTTP/1.0 504"));
    drop(stream);
    // Two that say nothing take both places; a third waits for one of them.
    let silent = [connect(), connect()];
    let third = connect();
    send(&third, "GET /v1/self HTTP/1.0\r\n\r\n");
    third.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let waited = (&third).read(&mut [0]).unwrap_err();
    assert_eq!(waited.kind(), ErrorKind::WouldBlock, "it is not answered yet");
    third.set_read_timeout(None).unwrap();
    drop(silent);
    assert!(answer(&third).starts_with("HTTP/1.0 401"));
}

#[test]
fn tokens_are_made_shown_and_refreshed() {
    let admin = Admin::start();
    let security = admin.token("security_admin");
    let wanted = json!({ "subject": "bob", "roles": ["viewer", "auditor"], "life": "10m" });
    let tried = json_of(&admin.ask("POST", "/v1/tokens?dry_run=true", &security, &wanted));
    assert!(tried["token"].is_null() && tried["subject"] == "bob", "{tried}");
    assert_eq!(seen(&admin.trail(), "token.issue", "done"), 1, "only that of the security_admin");
    let made = json_of(&admin.ask("POST", "/v1/tokens", &security, &wanted));
    let bob = made["token"].as_str().unwrap().to_owned();
    let myself = admin.get("/v1/self", &bob);
    assert_eq!((&myself["subject"], &myself["roles"]), (&json!("bob"), &json!(["viewer", "auditor"])));
    let refreshed = json_of(&admin.ask("POST", "/v1/tokens/refresh", &bob, &Value::Null));
    assert!(refreshed["token"] != made["token"] && refreshed["subject"] == "bob", "{refreshed}");
    admin.get("/v1/audit", refreshed["token"].as_str().unwrap());
    let long = json!({ "subject": "bob", "roles": ["viewer"], "life": "48h" });
    assert_eq!(admin.ask("POST", "/v1/tokens", &security, &long).status, 422);
    let trail = admin.trail();
    assert_eq!((seen(&trail, "token.issue", "done"), seen(&trail, "token.refresh", "done")), (2, 1));
    assert!(trail.iter().any(|line| line["details"]["id"] == made["id"]), "the number of the token is known");

    let file = admin.bench.keys.path().join("token");
    std::fs::write(&file, &bob).unwrap();
    let file = file.to_str().unwrap();
    let (code, log) = admin.run(&["token", "verify", "--file", file]);
    assert!(code == Some(0) && log.contains("bob, viewer, auditor") && log.contains("audit_read"), "{log}");
    let (code, log) = admin.run(&["token", "refresh", "--file", file]);
    assert!(code == Some(0) && admin.get("/v1/self", log.trim())["subject"] == "bob", "{log}");
    std::fs::write(file, bob.replace('.', "x")).unwrap();
    let (code, log) = admin.run(&["token", "verify", "--file", file, "--output", "json"]);
    assert!(code == Some(3) && log.contains("\"valid\": false"), "{log}");
    let (code, log) = admin.run(&["token", "permissions"]);
    assert!(code == Some(0) && ROLES.iter().all(|role| log.contains(role)), "{log}");
    let (code, log) = admin.run(&["token", "issue", "--subject", "x", "--role", "root"]);
    assert!(code == Some(2) && log.contains("security_admin"), "{log}");
}
