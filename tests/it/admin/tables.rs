//! Table care, lifecycle and erasure by REST: the words and answers of the command line, with rights, jobs and trials.

use serde_json::{Value, json};

use super::{Admin, json_of, seen};

const EVENTS: &str = "table: events\ntopics: [events]\norder_by: [time]\npartition_by: toYYYYMMDD(time)\nsubject_columns: [user_id]\ncolumns:\n\
    - {name: time, type: DateTime}\n- {name: user_id, type: UInt64}\n- {name: body, type: String}\n";

/// The table `events` with ten rows of each of 100 subjects on each of three days, in two parts each.
fn admin() -> Admin {
    let admin = Admin::start_with(|config| config.set("lifecycle.erasure_grace", "0ms"));
    rules(&admin, "");
    let (code, log) = admin.run(&["schema", "create"]);
    assert_eq!(code, Some(0), "{log}");
    admin.bench.sql("SYSTEM STOP MERGES DB.events");
    for _ in 0..2 {
        admin.bench.sql(
            "INSERT INTO DB.events SELECT toDateTime(today() - 50 * (number % 3)) + 60, intDiv(number, 15), repeat('x', 100) FROM numbers(1500)",
        );
    }
    admin.bench.sql("SYSTEM START MERGES DB.events");
    admin
}

fn rules(admin: &Admin, rules: &str) {
    let folder = admin.bench.folder.path().join("events");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("table.yaml"), format!("{EVENTS}{rules}")).unwrap();
}

/// What the command line answers.
fn said(admin: &Admin, arguments: &[&str]) -> Value {
    let (_, text) = admin.run(&[arguments, &["--output", "json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn tried(admin: &Admin, path: &str, token: &str, body: &Value) -> Value {
    let answer = admin.ask("POST", &format!("{path}?dry_run=true"), token, body);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    json_of(&answer)
}

fn problem(job: &Value) -> &str {
    job["error"]["type"].as_str().unwrap_or_default().trim_start_matches("urn:penstock:problem:")
}

#[test]
fn tables_are_told_of_merged_and_written_again() {
    let admin = admin();
    let (viewer, operator) = (admin.token("viewer"), admin.token("operator"));
    let database = &admin.bench.database.name;
    let path = format!("/v1/tables?database={database}&tables=events&partitions=true&sort=name");
    let sizes = admin.get(&path, &viewer);
    let arguments = ["table", "sizes", "events", "--partitions", "--sort", "name", "--database", database];
    let mut expected = said(&admin, &arguments);
    expected["disks"] = sizes["disks"].clone();
    assert_eq!(sizes, expected, "the same answer as on the command line");
    assert_eq!((&sizes["tables"][0]["rows"], &sizes["tables"][0]["parts"]), (&json!(3000), &json!(6)));
    let columns = admin.get("/v1/tables/events/compression", &viewer);
    assert_eq!((&columns["rows"], columns["columns"].as_array().unwrap().len()), (&json!(3000), 3));

    let measured = admin.job(
        "/v1/tables/events/compression",
        &operator,
        &json!({ "columns": ["body"], "codecs": ["ZSTD(9)"] }),
    );
    let measured = measured["result"]["columns"][0]["measured"].as_array().unwrap();
    assert!(measured.iter().any(|one| one["codec"] == "ZSTD(9)"), "{measured:?}");

    let merge = json!({ "final": true });
    let plan = tried(&admin, "/v1/tables/events/optimize", &operator, &merge);
    assert_eq!(
        (&plan["tables"][0]["before"]["parts"], &plan["tables"][0]["after"]),
        (&json!(6), &Value::Null)
    );
    let done = admin.job("/v1/tables/events/optimize", &operator, &merge);
    assert_eq!(
        (&done["state"], &done["result"]["tables"][0]["after"]["parts"]),
        (&json!("done"), &json!(3)),
        "{done}"
    );
    let all = tried(&admin, "/v1/tables/optimize", &operator, &json!({ "all": true, "except": ["none"] }));
    // The table, and those of jobs and the trail.
    assert_eq!(all["tables"].as_array().unwrap().len(), 3, "{all}");

    let rewrite = json!({ "all_partitions": true, "codecs": [{ "column": "body", "codec": "ZSTD(9)" }] });
    let done = admin.job("/v1/tables/events/recompress", &operator, &rewrite);
    assert_eq!(
        (&done["state"], done["result"]["partitions"].as_array().unwrap().len()),
        (&json!("done"), 3),
        "{done}"
    );
    let columns = admin.get("/v1/tables/events/compression", &viewer);
    let codecs: Vec<_> = columns["columns"].as_array().unwrap().iter().map(|one| &one["codec"]).collect();
    assert!(codecs.contains(&&json!("CODEC(ZSTD(9))")), "{codecs:?}");

    let status = |path: &str, body: Value| admin.ask("POST", path, &operator, &body).status;
    assert_eq!(status("/v1/tables/events/optimize?dry_run=true&endpoint=none", json!({})), 422);
    assert_eq!(status("/v1/tables/none/optimize?dry_run=true", json!({})), 404);
    assert_eq!(status("/v1/tables/events/optimize?dry_run=true", json!({ "partition": "none" })), 404);
    assert_eq!(status("/v1/tables/events/optimize", json!({ "by": ["time"] })), 422);
    assert_eq!(status("/v1/tables/optimize", json!({})), 422);
    assert_eq!(status("/v1/tables/events/recompress", json!({})), 422);
    assert_eq!(
        status(
            "/v1/tables/events/recompress",
            json!({ "all_partitions": true, "codecs": [{ "column": "body", "codec": "') --" }] })
        ),
        422
    );
    assert_eq!(admin.ask("GET", "/v1/tables/none/compression", &viewer, &Value::Null).status, 404);
    let trail = admin.trail();
    for action in ["table.optimize", "table.recompress", "table.compression"] {
        assert_eq!((seen(&trail, action, "intent"), seen(&trail, action, "done")), (1, 1), "{action}");
    }
    let mine = trail.iter().find(|line| line["action"] == "table.optimize").unwrap();
    assert!(
        mine["actor"] == "it-operator" && mine["resource"].as_str().unwrap().ends_with(".events"),
        "{mine}"
    );
}

#[test]
fn rules_of_age_are_planned_applied_and_held_off() {
    let admin = admin();
    rules(&admin, "lifecycle:\n  time_column: time\n  delete_after: 70d\n");
    let (data, security) = (admin.token("data_admin"), admin.token("security_admin"));
    let plan = admin.get("/v1/lifecycle/plan", &data);
    assert_eq!(plan, said(&admin, &["lifecycle", "plan"]), "the same answer as on the command line");
    assert_eq!(plan["tables"][0]["drops"].as_array().unwrap().len(), 1);
    assert_eq!(admin.get("/v1/lifecycle/drift?tables=events", &data), said(&admin, &["lifecycle", "drift"]));

    let hold = json!({ "id": "case-1", "table": "events", "reason": "r", "until": "2099-01-01T00:00:00Z" });
    tried(&admin, "/v1/lifecycle/holds", &security, &hold);
    assert_eq!(admin.get("/v1/lifecycle/holds", &data), json!({ "holds": [] }), "a trial puts none");
    assert_eq!(admin.job("/v1/lifecycle/holds", &security, &hold)["result"]["hold"], "case-1");
    assert_eq!(problem(&admin.job("/v1/lifecycle/holds", &security, &hold)), "hold_exists");
    assert_eq!(admin.get("/v1/lifecycle/holds", &data), said(&admin, &["lifecycle", "holds"]));
    let stale = json!({ "plan": plan["hash"] });
    assert_eq!(problem(&admin.job("/v1/lifecycle/apply", &data, &stale)), "plan_differs");
    assert_eq!(problem(&admin.job("/v1/lifecycle/expire", &data, &json!({ "tables": ["events"] }))), "held");
    let release = json!({ "reason": "over" });
    let path = "/v1/lifecycle/holds/case-1/release";
    assert_eq!(tried(&admin, path, &security, &release)["hold"]["id"], "case-1");
    assert_eq!(admin.job(path, &security, &release)["state"], "done");
    assert_eq!(problem(&admin.job(path, &security, &release)), "no_hold");

    assert_eq!(admin.ask("POST", "/v1/lifecycle/apply", &data, &json!({})).status, 422, "nobody has looked");
    let again = tried(&admin, "/v1/lifecycle/apply", &data, &json!({}));
    let key = [("Idempotency-Key", "once")];
    let apply =
        || admin.ask_with(("POST", "/v1/lifecycle/apply"), &data, &json!({ "plan": again["hash"] }), &key);
    let (first, second) = (apply(), apply());
    assert_eq!(json_of(&first)["id"], json_of(&second)["id"], "one job");
    let done = admin.ended(first.header("location").unwrap(), &data);
    assert_eq!(done["result"]["tables"][0]["partitions"][0]["outcome"], "dropped", "{done}");
    assert_eq!(admin.bench.sql("SELECT count() FROM DB.events"), "2000");
    assert_eq!(admin.job("/v1/lifecycle/materialize", &data, &json!({ "table": "events" }))["state"], "done");
    assert_eq!(admin.ask("GET", "/v1/lifecycle/plan?tables=none", &data, &Value::Null).status, 404);
    let past = json!({ "id": "case-2", "table": "events", "reason": "r", "until": "2001-01-01" });
    assert_eq!(admin.ask("POST", "/v1/lifecycle/holds?dry_run=true", &security, &past).status, 422);
    let trail = admin.trail();
    assert_eq!((seen(&trail, "lifecycle.hold", "done"), seen(&trail, "lifecycle.apply", "done")), (1, 1));
    rules(&admin, "columns: wrong\n");
    assert_eq!(
        admin.ask("GET", "/v1/lifecycle/plan", &data, &Value::Null).status,
        422,
        "files are read anew"
    );
}

#[test]
fn subjects_are_erased_and_the_value_is_told_to_nobody() {
    let admin = admin();
    let (data, auditor) = (admin.token("data_admin"), admin.token("auditor"));
    assert_eq!(admin.get("/v1/erasures", &auditor), json!({ "erasures": [] }));
    let subject = json!({ "column": "user_id", "value": "00000000077" });
    let counted = tried(&admin, "/v1/erasures", &data, &subject);
    assert_eq!(counted["tables"][0]["rows"], 30, "{counted}");
    assert_eq!(admin.ask("POST", "/v1/erasures", &data, &subject).status, 422, "a reason is demanded");
    let erasure = json!({ "column": "user_id", "value": "00000000077", "reason": "request 88" });
    let done = admin.job("/v1/erasures", &data, &erasure);
    assert_eq!((&done["state"], &done["result"]["digests"]), (&json!("done"), &counted["digests"]), "{done}");
    assert_eq!(admin.bench.sql("SELECT count() FROM DB.events"), "2970");
    let listed = admin.get("/v1/erasures?limit=5", &auditor);
    let record = &listed["erasures"][0];
    assert_eq!(
        (&record["stage"], &record["digests"], &record["id"]),
        (&json!("verified"), &counted["digests"], &done["result"]["id"]),
        "{listed}"
    );
    assert_eq!(record["actor"].as_str().unwrap().split(' ').next(), Some("it-data_admin"));
    let told = format!("{}{}{:?}", admin.get("/v1/jobs", &data), listed, admin.trail());
    assert!(!told.contains("00000000077") && !told.contains("\"77\""), "{told}");
    let strange = json!({ "column": "user_id", "value": "seven" });
    let answer = admin.ask("POST", "/v1/erasures?dry_run=true", &data, &strange);
    assert!(answer.status == 422 && !answer.body.contains("seven"), "{}", answer.body);
    let nobody = json!({ "column": "body", "value": "x" });
    assert_eq!(admin.ask("POST", "/v1/erasures?dry_run=true", &data, &nobody).status, 404);
}
