//! Dead letters over REST, against the real broker: the same answers as `penstock dlq`, with rights.
//!
//! It refuses to take a job's word for what was sent: the topic says it.

use serde_json::{Value, json};

use super::{Admin, DEADLINE, json_of, seen};
use crate::dlq::{expect_each_once, make_letters, replays};
use crate::harness::{Servers, wait_until};
use crate::scene::{PARTITIONS, Scene};

/// A topic with letters, and an admin process that knows its table.
fn letters(per_partition: u64) -> (Scene, Admin) {
    let servers = Servers::shared();
    let mut scene = Scene::new(&servers.kafka, &servers.clickhouse);
    make_letters(&mut scene, per_partition);
    let admin = Admin::start_with(|config| {
        config
            .set("kafka.brokers", scene.config.value["kafka"]["brokers"].clone())
            .set("tables.path", scene.config.value["tables"]["path"].clone())
    });
    (scene, admin)
}

#[test]
fn letters_are_told_to_viewers_and_their_values_to_few_who_are_written_down() {
    let (scene, admin) = letters(2);
    let (viewer, operator) = (admin.token("viewer"), admin.token_for_values());
    let all = 2 * u64::from(PARTITIONS.unsigned_abs());
    let topic = scene.topic.as_str();

    let groups = admin.get(&format!("/v1/dead-letters/groups?topic={topic}"), &viewer);
    let group = &groups["groups"][0];
    assert_eq!(
        (&group["count"], &group["waiting"], &group["topic"]),
        (&json!(all), &json!(all), &json!(topic))
    );
    assert_eq!((&group["reason"], &group["path"]), (&json!("missing_field"), &json!("text")));
    assert_eq!(
        (&groups["scanned"], &groups["complete"], &groups["others"]),
        (&json!(all), &json!(true), &json!(0))
    );
    let everything = admin.get("/v1/dead-letters/groups", &viewer);
    assert_eq!(everything["groups"], groups["groups"], "of all tables, which are one");

    let list = admin.get(&format!("/v1/dead-letters?topic={topic}&limit=3"), &viewer);
    assert_eq!(
        (list["letters"].as_array().unwrap().len(), &list["found"], &list["masked"]),
        (3, &json!(all), &json!(true))
    );
    assert!(
        list["letters"][0]["payload"].is_null() && list["letters"][0]["payload_bytes"] == json!(7),
        "{list}"
    );
    let one =
        admin.get(&format!("/v1/dead-letters?topic={topic}&partition=1&offset=0&state=waiting"), &viewer);
    assert_eq!(one["found"], json!(1));

    let with_values = format!("/v1/dead-letters?topic={topic}&bodies=true&why=ticket-7");
    let refused = admin.ask("GET", &with_values, &viewer, &Value::Null);
    assert_eq!(refused.status, 403, "{}", refused.body);
    let without = admin.ask("GET", &with_values, &admin.token("operator"), &Value::Null);
    assert_eq!(without.status, 403, "the role alone: {}", without.body);
    let shown = admin.get(&with_values, &operator);
    assert_eq!(shown["masked"], json!(false));
    assert!(
        shown["letters"]
            .as_array()
            .unwrap()
            .iter()
            .all(|letter| letter["payload"].as_str().unwrap().starts_with("{\"n\":"))
    );
    let trail = admin.trail();
    for (phase, times) in [("refused", 2), ("intent", 1), ("done", 1)] {
        assert_eq!(seen(&trail, "dead_letter.values", phase), times, "{phase}");
    }
    let done = trail.iter().rev().find(|line| line["action"] == "dead_letter.values").unwrap();
    assert!(done["resource"] == json!(topic) && done.to_string().contains("ticket-7"), "{done}");

    for (query, status) in [
        ("topic=nobody-takes-it", 404),
        ("since=yesterday", 422),
        ("state=purged", 422),
        ("partition=x", 400),
        ("bodies=yes", 400),
    ] {
        let answer = admin.ask("GET", &format!("/v1/dead-letters?{query}"), &operator, &Value::Null);
        assert_eq!(answer.status, status, "{query}: {}", answer.body);
    }
}

#[test]
fn what_a_table_hides_is_shown_to_nobody_over_rest() {
    let (scene, admin) = letters(1);
    let operator = admin.token_for_values();
    let path = format!("/v1/dead-letters?topic={}&bodies=true&why=ticket-8", scene.topic);
    let payloads = || -> Vec<Value> {
        let shown = admin.get(&path, &operator);
        shown["letters"].as_array().unwrap().iter().map(|letter| letter["payload"].clone()).collect()
    };
    assert!(payloads().iter().all(|payload| *payload == json!("{\"n\":0}")), "{:?}", payloads());

    let file = scene.config.value["tables"]["path"].as_str().unwrap();
    let table = std::fs::read_to_string(file).unwrap();
    let hiding = table.replace("name: n, type: UInt64", "name: n, type: String, protect: redact");
    assert_ne!(hiding, table);
    std::fs::write(file, hiding).unwrap();
    assert!(payloads().iter().all(|payload| *payload == json!("{\"n\":\"***\"}")), "{:?}", payloads());
}

#[test]
fn a_replay_is_tried_then_done_once_and_what_was_replayed_is_purged_by_few() {
    let (scene, admin) = letters(3);
    let tokens = ["viewer", "operator", "data_admin"].map(|role| admin.token(role));
    let [viewer, operator, data_admin] = &tokens;
    let all = 3 * usize::try_from(PARTITIONS).unwrap();
    let topic = scene.topic.as_str();
    let wanted = json!({ "topic": topic, "reason": "missing_field", "rate": 10_000 });

    assert_eq!(admin.ask("POST", "/v1/dead-letters/replay", viewer, &wanted).status, 403);
    let tried = json_of(&admin.ask("POST", "/v1/dead-letters/replay?dry_run=true", operator, &wanted));
    assert_eq!((&tried["would_send"], &tried["groups"][0]["count"]), (&json!(all), &json!(all)));
    assert_eq!(replays(&scene, topic).len(), 0);
    let nothing = json!({ "topic": topic, "reason": "out_of_range" });
    let tried = json_of(&admin.ask("POST", "/v1/dead-letters/replay?dry_run=true", operator, &nothing));
    assert_eq!(tried["would_send"], json!(0));

    let key = [("Idempotency-Key", "replay-1")];
    let ask = || admin.ask_with(("POST", "/v1/dead-letters/replay"), operator, &wanted, &key);
    let (first, second) = (ask(), ask());
    assert_eq!((first.status, second.header("idempotent-replayed")), (202, Some("true")), "{}", first.body);
    assert_eq!(json_of(&first)["id"], json_of(&second)["id"]);
    let job = admin.ended(first.header("location").unwrap(), operator);
    assert_eq!((&job["state"], &job["result"]["sent"]), (&json!("done"), &json!(all)), "{job}");
    expect_each_once(&scene, all);
    let waiting = admin.get(&format!("/v1/dead-letters/groups?topic={topic}&state=waiting"), viewer);
    assert_eq!(waiting["groups"], json!([]));
    let again = admin.job("/v1/dead-letters/replay", operator, &wanted);
    assert_eq!(again["result"]["sent"], json!(0), "each letter once");

    let purge = json!({ "topic": topic, "state": "replayed" });
    assert_eq!(admin.ask("POST", "/v1/dead-letters/purge", operator, &purge).status, 403);
    let tried = json_of(&admin.ask("POST", "/v1/dead-letters/purge?dry_run=true", data_admin, &purge));
    assert_eq!((&tried["done"], &tried["deleted"]), (&json!(false), &json!(all)));
    let job = admin.job("/v1/dead-letters/purge", data_admin, &purge);
    assert_eq!((&job["result"]["done"], &job["result"]["deleted"]), (&json!(true), &json!(all)), "{job}");
    assert_eq!(admin.get(&format!("/v1/dead-letters?topic={topic}"), viewer)["found"], json!(0));
    let trail = admin.trail();
    assert_eq!(
        (seen(&trail, "dead_letter.replay", "intent"), seen(&trail, "dead_letter.purge", "intent")),
        (2, 1)
    );
}

#[test]
fn a_replay_that_is_cancelled_stops_and_another_one_sends_the_rest() {
    let (scene, admin) = letters(10);
    let operator = admin.token("operator");
    let all = 10 * usize::try_from(PARTITIONS).unwrap();
    let slow = json!({ "topic": scene.topic, "rate": 1 });
    let answer = admin.ask("POST", "/v1/dead-letters/replay", &operator, &slow);
    assert_eq!(answer.status, 202, "{}", answer.body);
    let place = answer.header("location").unwrap().to_owned();
    wait_until(DEADLINE, "a letter is sent", || !replays(&scene, &scene.topic).is_empty());
    let cancelled = admin.ask("POST", &format!("{place}/cancel"), &operator, &Value::Null);
    assert_eq!(cancelled.status, 200, "{}", cancelled.body);
    let job = admin.ended(&place, &operator);
    assert_eq!(job["state"], json!("cancelled"), "{job}");
    let sent = replays(&scene, &scene.topic).len();
    assert!(0 < sent && sent < all, "{sent}");
    assert!(job["error"]["detail"].as_str().unwrap().contains(&format!("{sent} letters were sent")), "{job}");
    let rest = admin.job("/v1/dead-letters/replay", &operator, &json!({ "topic": scene.topic }));
    assert_eq!(rest["result"]["sent"], json!(all - sent), "{rest}");
    expect_each_once(&scene, all);
}
