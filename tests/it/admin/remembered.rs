//! What outlives a process: jobs with what came of them, the keys of requests, and tokens that were taken back.

use serde_json::{Value, json};

use super::{Admin, DEADLINE, json_of, seen};
use crate::harness::{Penstock, wait_for, wait_until};

impl Admin {
    /// The same process anew, on the same address.
    fn restart(&mut self) {
        self.process = Penstock::start(&self.config, &["admin"]);
        self.process.wait_ready();
    }
}

#[test]
fn jobs_and_the_keys_of_their_requests_are_known_after_a_restart() {
    let mut admin = Admin::start();
    admin.two();
    let token = admin.token("data_admin");
    let body = json!({ "plan": admin.plan_hash(&token, "") });
    let key = [("Idempotency-Key", "deploy-1")];
    let ask = |admin: &Admin, body: &Value| admin.ask_with(("POST", "/v1/migrations/up"), &token, body, &key);
    let started = ask(&admin, &body);
    let place = started.header("location").unwrap().to_owned();
    let done = admin.ended(&place, &token);
    assert_eq!(done["state"], "done", "{done}");
    admin.process.sigterm();
    assert_eq!(admin.process.wait_exit(DEADLINE), Some(0));
    admin.restart();

    let known = admin.get(&place, &token);
    for field in ["id", "action", "actor", "state", "began", "ended", "steps", "result", "instance"] {
        assert_eq!(known[field], done[field], "{field}: {known}");
    }
    let listed = admin.get("/v1/jobs", &token);
    assert_eq!((&listed["jobs"][0]["id"], &listed["complete"]), (&done["id"], &json!(true)), "{listed}");
    let again = ask(&admin, &body);
    assert_eq!((again.status, again.header("idempotent-replayed")), (202, Some("true")), "{}", again.body);
    assert_eq!(json_of(&again)["id"], done["id"]);
    assert_eq!(ask(&admin, &json!({ "plan": "other" })).status, 409, "the key is another request's");
    assert_eq!(seen(&admin.trail(), "migrate.up", "intent"), 1, "it ran once");
    assert_eq!(
        admin.ask("POST", &format!("{place}/cancel"), &token, &Value::Null).status,
        409,
        "it has ended"
    );
    assert_eq!(admin.ask("GET", "/v1/jobs/none", &token, &Value::Null).status, 404);
}

#[test]
fn a_job_whose_process_was_killed_is_lost_and_its_key_runs_nothing_again() {
    let mut admin =
        Admin::start_with(|config| config.set("migrations.shadow", false).set("admin.jobs.lease", "1s"));
    admin.bench.sql("CREATE TABLE DB.gate (x UInt8) ENGINE = Memory");
    let slow = "INSERT INTO gate SELECT sleepEachRow(1) FROM numbers(4) SETTINGS max_block_size = 1";
    admin.bench.write("V1__slow.sql", slow);
    let token = admin.token("data_admin");
    let body = json!({ "plan": admin.plan_hash(&token, "") });
    let key = [("Idempotency-Key", "k")];
    let started = admin.ask_with(("POST", "/v1/migrations/up"), &token, &body, &key);
    let place = started.header("location").unwrap().to_owned();
    let running = "SELECT count() FROM DB.penstock_jobs WHERE state = 'running'";
    wait_until(DEADLINE, "it is written down", || {
        admin.bench.sql("EXISTS TABLE DB.penstock_jobs") == "1" && admin.bench.sql(running) != "0"
    });
    let sent = || {
        admin.bench.sql("EXISTS TABLE DB.penstock_migrations") == "1"
            && admin.bench.journal("outcome") == "sent"
    };
    wait_until(DEADLINE, "the statement runs", sent);
    admin.process.kill9();
    admin.restart();
    let lost = wait_for(DEADLINE, "it counts as lost", || {
        let job = admin.get(&place, &token);
        (job["state"] == "lost").then_some(job)
    });
    assert!(lost["error"]["hint"].as_str().unwrap().contains("audit trail"), "{lost}");
    assert_eq!(admin.get("/v1/jobs", &token)["jobs"][0]["state"], "lost");
    let again = admin.ask_with(("POST", "/v1/migrations/up"), &token, &body, &key);
    assert_eq!((again.status, &json_of(&again)["id"]), (202, &lost["id"]), "{}", again.body);
    assert_eq!(seen(&admin.trail(), "migrate.up", "intent"), 1);
}

#[test]
fn what_cannot_be_written_down_is_no_job() {
    // A table of this name with other columns takes no row.
    let admin = Admin::start();
    admin.two();
    admin.bench.sql("CREATE TABLE DB.penstock_jobs (x UInt8) ENGINE = Memory");
    let token = admin.token("data_admin");
    let body = json!({ "plan": admin.plan_hash(&token, "") });
    let job = admin.ask("POST", "/v1/migrations/up", &token, &body);
    assert_eq!(job.status, 202);
    let ended = admin.ended(job.header("location").unwrap(), &token);
    assert_eq!((&ended["state"], &ended["error"]["status"]), (&json!("failed"), &json!(503)), "{ended}");
    assert!(ended["error"]["type"].as_str().unwrap().ends_with("unwritten"), "{ended}");
    assert_eq!(seen(&admin.trail(), "migrate.up", "intent"), 0, "nothing was begun");
    assert_eq!(admin.bench.sql("EXISTS TABLE DB.t"), "0");
    let listed = admin.get("/v1/jobs", &token);
    assert_eq!(listed["complete"], false, "{listed}");
    let keyed = admin.ask_with(("POST", "/v1/migrations/up"), &token, &body, &[("Idempotency-Key", "k")]);
    assert_eq!(keyed.status, 503, "nobody knows whether it is a repetition: {}", keyed.body);
}

#[test]
fn a_token_that_is_revoked_is_refused_at_once_and_after_a_restart() {
    let mut admin = Admin::start_with(|config| config.set("admin.access.revoked_refresh", "100ms"));
    let (viewer, security) = (admin.token("viewer"), admin.token("security_admin"));
    let id = |admin: &Admin, token: &str| admin.get("/v1/self", token)["id"].as_str().unwrap().to_owned();
    let (of_viewer, reason) = (id(&admin, &viewer), "laptop lost");
    let body = json!({ "id": of_viewer, "reason": reason });
    assert_eq!(admin.ask("POST", "/v1/tokens/revoke", &viewer, &body).status, 403);
    let tried = admin.ask("POST", "/v1/tokens/revoke?dry_run=true", &security, &body);
    assert_eq!(
        (tried.status, admin.ask("GET", "/v1/self", &viewer, &Value::Null).status),
        (200, 200),
        "{}",
        tried.body
    );
    let revoked = admin.ask("POST", "/v1/tokens/revoke", &security, &body);
    assert_eq!(revoked.status, 200, "{}", revoked.body);
    let refused = |admin: &Admin, token: &str| {
        let answer = admin.ask("GET", "/v1/self", token, &Value::Null);
        assert_eq!(answer.status, 401, "{}", answer.body);
        assert!(json_of(&answer)["type"].as_str().unwrap().ends_with(":revoked"), "{}", answer.body);
    };
    refused(&admin, &viewer);
    let listed = admin.get("/v1/tokens/revoked", &security);
    assert_eq!(
        (&listed["revoked"][0]["id"], &listed["revoked"][0]["reason"]),
        (&json!(of_viewer), &json!(reason))
    );
    let line = admin
        .trail()
        .into_iter()
        .rev()
        .find(|line| line["action"] == "token.show" && line["phase"] == "refused");
    assert!(line.unwrap()["error"].as_str().unwrap().contains("revoked"));
    assert_eq!(seen(&admin.trail(), "token.revoke", "done"), 1);

    // Elsewhere, here by the command line, it takes until the list is read again.
    let operator = admin.token("operator");
    let (code, log) = admin.run(&["token", "revoke", "--id", &id(&admin, &operator), "--reason", "left"]);
    assert_eq!(code, Some(0), "{log}");
    wait_until(DEADLINE, "the list is read again", || {
        admin.ask("GET", "/v1/self", &operator, &Value::Null).status == 401
    });
    admin.process.kill9();
    admin.restart();
    for token in [&viewer, &operator] {
        refused(&admin, token);
    }
    let (code, log) = admin.run(&["token", "revoked"]);
    assert!(code == Some(0) && log.contains(&of_viewer) && log.contains("left"), "{log}");
    for body in [json!({ "id": "" }), json!({ "id": "x", "until": "2020-01-01T00:00:00Z" })] {
        assert_eq!(admin.ask("POST", "/v1/tokens/revoke", &security, &body).status, 422);
    }
    assert_eq!(
        admin.ask("POST", "/v1/tokens/revoke", &security, &json!({ "id": "x", "until": "soon" })).status,
        422
    );
    assert!(admin.process.metric("penstock_admin_revoked_tokens", &[]).unwrap() >= 2.0);
}
