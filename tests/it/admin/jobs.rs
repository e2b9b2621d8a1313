//! Migrations as jobs: planned, run, watched, cancelled, repeated, and waited for at the end.

use serde_json::{Value, json};

use super::{Admin, DEADLINE, json_of, seen};
use crate::harness::wait_until;

#[test]
fn migrations_are_planned_run_and_taken_back_by_jobs() {
    let admin = Admin::start();
    admin.two();
    let token = admin.token("data_admin");
    let status = admin.get("/v1/migrations", &token);
    assert_eq!(status["migrations"][1]["standing"], "pending");
    let plan = admin.get("/v1/migrations/plan", &token);
    assert_eq!(plan["statements"].as_array().unwrap().len(), 2);
    let tried = admin.ask("POST", "/v1/migrations/up?dry_run=true", &token, &json!({}));
    assert_eq!((tried.status, &json_of(&tried)["hash"]), (200, &plan["hash"]));
    assert_eq!(admin.bench.sql("EXISTS TABLE DB.t"), "0", "a trial runs nothing");

    let wrong = admin.job("/v1/migrations/up", &token, &json!({ "plan": "0000000000000000" }));
    assert_eq!((&wrong["state"], &wrong["error"]["status"]), (&json!("failed"), &json!(409)), "{wrong}");
    assert!(wrong["error"]["type"].as_str().unwrap().ends_with("plan_differs"), "{wrong}");
    let done = admin.job("/v1/migrations/up", &token, &json!({ "plan": plan["hash"] }));
    assert_eq!((&done["state"], &done["steps"]), (&json!("done"), &json!(2)), "{done}");
    assert_eq!(done["result"]["events"].as_array().unwrap().len(), 2);
    assert_eq!(done["events"], done["result"]["events"], "the progress is what the run tells");
    assert_eq!(admin.bench.sql("SELECT count() FROM DB.t"), "2");
    let durations = ("penstock_admin_migration_duration_seconds_count", ["direction=\"up\""]);
    assert_eq!(admin.process.metric(durations.0, &durations.1), Some(2.0));
    assert_eq!(admin.job("/v1/migrations/verify", &token, &Value::Null)["result"]["findings"], json!([]));
    assert_eq!(admin.job("/v1/migrations/drift", &token, &Value::Null)["result"]["findings"], json!([]));

    let down = json!({ "to": "0", "plan": admin.plan_hash(&token, "?direction=down&to=0") });
    let refused = admin.job("/v1/migrations/down", &token, &down);
    assert_eq!(
        (&refused["state"], &refused["error"]["status"]),
        (&json!("failed"), &json!(422)),
        "{refused}"
    );
    let allowed = json!({ "to": "0", "plan": down["plan"], "allow": ["drop", "delete"] });
    assert_eq!(admin.job("/v1/migrations/down", &token, &allowed)["state"], "done");
    assert_eq!(admin.bench.sql("EXISTS TABLE DB.t"), "0");

    let trail = admin.trail();
    assert_eq!((seen(&trail, "migrate.up", "intent"), seen(&trail, "migrate.up", "done")), (2, 1));
    assert_eq!((seen(&trail, "migrate.up", "failed"), seen(&trail, "migrate.down", "done")), (1, 1));
    let line = trail.iter().find(|line| line["action"] == "migrate.up").unwrap();
    assert!(
        line["actor"] == "it-data_admin" && line["origin"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{line}"
    );
    let table =
        admin.bench.sql("SELECT count() FROM DB.penstock_migrations_audit WHERE actor = 'it-data_admin'");
    assert_eq!(table, "8", "the table of the trail has the same");
    let jobs = admin.get("/v1/jobs?limit=2", &token);
    assert_eq!(
        (jobs["jobs"].as_array().unwrap().len(), &jobs["jobs"][0]["action"]),
        (2, &json!("migrate.down"))
    );
    assert!(admin.process.metric("penstock_admin_jobs_total", &["outcome=\"done\""]).unwrap() >= 4.0);
}

#[test]
fn the_journal_is_written_by_baseline_mark_and_repair_after_a_look() {
    let admin = Admin::start();
    admin.two();
    let token = admin.token("data_admin");
    let tried = |path: &str, body: &Value| {
        let answer = admin.ask("POST", &format!("{path}?dry_run=true"), &token, body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        json_of(&answer)["events"].as_array().unwrap().len()
    };
    assert_eq!(tried("/v1/migrations/baseline", &json!({ "to": "1" })), 1);
    assert_eq!(admin.get("/v1/migrations", &token)["migrations"][0]["standing"], "pending");
    assert_eq!(admin.job("/v1/migrations/baseline", &token, &json!({ "to": "1" }))["state"], "done");
    assert_eq!(admin.get("/v1/migrations", &token)["migrations"][0]["standing"], "applied");
    let mark = json!({ "migration": "V2", "done": true, "note": "looked" });
    assert_eq!(tried("/v1/migrations/mark", &mark), 1);
    assert_eq!(admin.job("/v1/migrations/mark", &token, &mark)["state"], "done");
    admin.bench.write("V2__rows.sql", "INSERT INTO t VALUES (3)");
    assert_eq!(tried("/v1/migrations/repair", &json!({ "accept": true })), 1);
    assert_eq!(admin.ask("POST", "/v1/migrations/repair", &token, &json!({ "accept": false })).status, 422);
    assert_eq!(admin.job("/v1/migrations/repair", &token, &json!({ "accept": true }))["state"], "done");
    assert_eq!(admin.get("/v1/migrations", &token)["migrations"][1]["changed"], false);
    let missing = admin.ask(
        "POST",
        "/v1/migrations/mark?dry_run=true",
        &token,
        &json!({ "migration": "V9", "done": true }),
    );
    assert_eq!(missing.status, 404, "{}", missing.body);
}

#[test]
fn the_same_request_is_one_job_and_another_with_its_key_is_refused() {
    let admin = Admin::start();
    admin.two();
    let token = admin.token("data_admin");
    let body = json!({ "plan": admin.plan_hash(&token, "") });
    let key = [("Idempotency-Key", "once")];
    let ask = |body: &Value| admin.ask_with(("POST", "/v1/migrations/up"), &token, body, &key);
    let (first, again) = (ask(&body), ask(&body));
    assert_eq!((first.status, again.status), (202, 202));
    assert_eq!(json_of(&first)["id"], json_of(&again)["id"]);
    assert_eq!(
        (first.header("idempotent-replayed"), again.header("idempotent-replayed")),
        (None, Some("true"))
    );
    assert_eq!(ask(&json!({ "plan": "other" })).status, 409);
    let elsewhere = admin.ask_with(("POST", "/v1/migrations/verify"), &token, &Value::Null, &key);
    assert_eq!(elsewhere.status, 409);
    admin.ended(first.header("location").unwrap(), &token);
    assert_eq!(seen(&admin.trail(), "migrate.up", "intent"), 1);
    assert_eq!(admin.bench.sql("SELECT count() FROM DB.t"), "2");
}

/// Two statements, of which the first takes four seconds.
fn slow(admin: &Admin) {
    admin.bench.sql("CREATE TABLE DB.gate (x UInt8) ENGINE = Memory");
    let slow = "INSERT INTO gate SELECT sleepEachRow(1) FROM numbers(4) SETTINGS max_block_size = 1";
    admin.bench.write("V1__slow.sql", slow);
    admin.bench.write("V2__after.sql", "CREATE TABLE after (x UInt8) ENGINE = Memory");
}

fn wait_for_the_slow_one(admin: &Admin) {
    let sql = format!(
        "SELECT count() FROM system.processes WHERE current_database = '{}' AND query LIKE 'INSERT INTO gate%'",
        admin.bench.database.name
    );
    wait_until(DEADLINE, "the slow statement runs", || admin.bench.ch.query(&sql) == "1");
}

#[test]
fn a_job_is_cancelled_between_two_statements() {
    let admin = Admin::start_with(|config| config.set("migrations.shadow", false));
    slow(&admin);
    let token = admin.token("data_admin");
    let started =
        admin.ask("POST", "/v1/migrations/up", &token, &json!({ "plan": admin.plan_hash(&token, "") }));
    let place = started.header("location").unwrap().to_owned();
    wait_for_the_slow_one(&admin);
    let cancel = format!("{place}/cancel");
    let tried = json_of(&admin.ask("POST", &format!("{cancel}?dry_run=true"), &token, &Value::Null));
    assert_eq!((&tried["state"], &tried["is_cancelled"]), (&json!("running"), &json!(false)));
    assert_eq!(admin.ask("POST", &cancel, &admin.token("viewer"), &Value::Null).status, 403);
    let asked = json_of(&admin.ask("POST", &cancel, &token, &Value::Null));
    assert_eq!(asked["is_cancelled"], true, "{asked}");
    let ended = admin.ended(&place, &token);
    assert_eq!((&ended["state"], &ended["steps"]), (&json!("cancelled"), &json!(1)), "{ended}");
    assert!(ended["error"]["detail"].as_str().unwrap().contains("V2__after.sql"), "{ended}");
    assert_eq!(admin.ask("POST", &cancel, &token, &Value::Null).status, 409);
    assert_eq!(admin.bench.sql("EXISTS TABLE DB.after"), "0");
    assert_eq!(seen(&admin.trail(), "job.cancel", "done"), 1);
    let rest = admin.job("/v1/migrations/up", &token, &json!({ "plan": admin.plan_hash(&token, "") }));
    assert_eq!((&rest["state"], &rest["steps"]), (&json!("done"), &json!(1)), "it goes on where it stopped");
}

#[test]
fn sigterm_lets_the_statement_end_and_begins_no_other() {
    let mut admin = Admin::start_with(|config| config.set("migrations.shadow", false));
    let token = admin.token("data_admin");
    slow(&admin);
    admin.ask("POST", "/v1/migrations/up", &token, &json!({ "plan": admin.plan_hash(&token, "") }));
    wait_for_the_slow_one(&admin);
    admin.process.sigterm();
    assert_eq!(admin.process.wait_exit(DEADLINE), Some(0), "{}", admin.process.log());
    assert_eq!(admin.bench.journal("outcome"), "sent\ndone");
    let trail = admin.trail();
    assert_eq!((seen(&trail, "migrate.up", "failed"), seen(&trail, "admin.stop", "done")), (1, 1));
    assert_eq!(admin.run(&["audit", "verify"]).0, Some(0));
}

#[test]
fn a_job_that_waits_for_the_lock_is_cancelled_there() {
    let admin = Admin::start();
    admin.two();
    let token = admin.token("data_admin");
    let plan = admin.plan_hash(&token, "");
    let paused = json!({ "pause_at": "migration_journalled" });
    let other = admin.bench.start(paused, &["up"]);
    let locked = || !admin.get("/v1/migrations", &token)["holder"].is_null();
    wait_until(DEADLINE, "another process holds the lock", locked);
    let refused = admin.job("/v1/migrations/up", &token, &json!({ "plan": plan }));
    assert!(refused["error"]["type"].as_str().unwrap().ends_with("locked"), "{refused}");
    let waiting = json!({ "plan": plan, "wait": "10m" });
    let started = admin.ask("POST", "/v1/migrations/up", &token, &waiting);
    let place = started.header("location").unwrap().to_owned();
    assert_eq!(admin.ask("POST", &format!("{place}/cancel"), &token, &Value::Null).status, 200);
    assert_eq!(admin.ended(&place, &token)["state"], "cancelled");
    drop(other);
}
