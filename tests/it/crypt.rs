//! `penstock crypt` as its users meet it: a ring, a password that is encrypted and used, rotation by both ways, and what is
//! refused.
//!
//! It refuses to know what an envelope looks like inside.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::admin::{Admin, json_of, seen};
use crate::care::Bench;
use crate::harness::{Penstock, PenstockConfig, wait_for};
use crate::scene::DEADLINE;

const PURPOSE: &str = "clickhouse.password_file";

struct Place {
    bench: Bench,
    /// Where the password lies, in the clear and encrypted.
    plain: PathBuf,
    sealed: PathBuf,
}

impl Place {
    /// A ring, and a password that is encrypted with it.
    fn new() -> Place {
        let mut bench = Bench::new();
        let folder = bench.folder.path().to_owned();
        let (plain, sealed) = (folder.join("password"), folder.join("password.enc"));
        std::fs::write(&plain, bench.config.text("clickhouse.password")).unwrap();
        bench.config = bench.config.set("crypt.keyring_file", folder.join("ring").to_str().unwrap());
        let place = Place { bench, plain, sealed };
        place.done(&["keygen"]);
        place.seal(PURPOSE);
        place
    }

    fn run(&self, config: &PenstockConfig, arguments: &[&str]) -> (Option<i32>, String) {
        Penstock::output(config, &[&["--log", "off"], arguments].concat(), DEADLINE)
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let (code, log) = self.run(&self.bench.config, &[&["crypt"], arguments].concat());
        assert_eq!(code, Some(0), "{arguments:?}: {log}");
        log
    }

    #[track_caller]
    fn refused(&self, words: &str, arguments: &[&str]) {
        let (code, log) = self.run(&self.bench.config, &[&["crypt"], arguments].concat());
        assert!(code == Some(2) && log.contains(words) && log.contains("hint: "), "{code:?} {log}");
    }

    fn seal(&self, purpose: &str) {
        let text = self.done(&["encrypt", "--context", purpose, "--file", self.plain.to_str().unwrap()]);
        std::fs::write(&self.sealed, text).unwrap();
    }

    /// A configuration that has the password in no other way.
    fn encrypted(&self) -> PenstockConfig {
        let mut config = self.bench.config.clone().set(PURPOSE, self.sealed.to_str().unwrap());
        config.value["clickhouse"].as_object_mut().unwrap().remove("password");
        config
    }

    fn keys(&self) -> Vec<(String, String, u64)> {
        let folder = self.bench.folder.path().to_str().unwrap();
        let status: Value =
            serde_json::from_str(&self.done(&["status", folder, "--output", "json"])).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let one = |key: &Value| (text(&key["id"]), text(&key["state"]), key["envelopes"].as_u64().unwrap());
        status["keys"].as_array().unwrap().iter().map(one).collect()
    }
}

#[test]
fn a_password_in_an_envelope_is_used_and_every_changed_one_is_refused() {
    let place = Place::new();
    let config = place.encrypted();
    let (code, log) = place.run(&config, &["query", "SELECT 40 + 2", "--format", "TSV"]);
    assert_eq!((code, log.trim()), (Some(0), "42"));
    let password = place.bench.config.text("clickhouse.password").to_owned();
    let sealed = place.sealed.to_str().unwrap();
    assert_eq!(place.done(&["decrypt", "--context", PURPOSE, "--file", sealed]), password);
    let (_, dump) = place.run(&config, &["config", "dump"]);
    assert!(dump.contains("<redacted>"), "{dump}");

    let whole = std::fs::read_to_string(&place.sealed).unwrap();
    assert!(!whole.contains(&password));
    for (changed, words) in [
        (format!("{}//{}", &whole[..12], &whole[14..]), "it is of a version"),
        (format!("{}//{}", &whole[..80], &whole[82..]), "cannot be opened"),
        (whole[..whole.len() - 3].to_owned(), "no base64"),
    ] {
        std::fs::write(&place.sealed, changed).unwrap();
        let (code, log) = place.run(&config, &["query", "SELECT 1"]);
        assert!(code == Some(2) && log.contains(PURPOSE) && log.contains(words), "{words} {code:?} {log}");
    }
    place.seal("kafka.security.password_file");
    let (code, log) = place.run(&config, &["query", "SELECT 1"]);
    assert!(code == Some(2) && log.contains("made for another purpose"), "{code:?} {log}");
    place.refused(
        "it is no envelope",
        &["decrypt", "--context", "x", "--file", place.plain.to_str().unwrap()],
    );
    let without = place.bench.config.clone().set("crypt.keyring_file", Value::Null);
    let (code, log) = place.run(&without, &["crypt", "status"]);
    assert!(code == Some(2) && log.contains("no key ring is configured"), "{code:?} {log}");
}

#[test]
fn keys_are_rotated_and_destroyed_when_nothing_needs_them() {
    let place = Place::new();
    let folder = place.bench.folder.path().to_str().unwrap();
    let first = place.keys()[0].0.clone();
    let second = place.done(&["keygen"]).trim().to_owned();
    let state = |key: &str, state: &str, envelopes| (key.to_owned(), state.to_owned(), envelopes);
    assert_eq!(place.keys(), [state(&first, "primary", 1), state(&second, "readable", 0)]);
    assert!(place.done(&["rotate", "--to", &second, "--dry-run"]).contains("would be"));
    place.done(&["rotate", "--to", &second, "--from", &first]);
    place.refused("is `", &["rotate", "--from", &first]);
    place.refused("is needed by", &["destroy", &first, folder]);
    assert!(place.done(&["rewrap", folder, "--dry-run"]).contains("planned"));
    assert_eq!(place.keys()[0], state(&first, "readable", 1));
    assert!(place.done(&["rewrap", folder]).contains("password.enc"));
    assert_eq!(place.run(&place.encrypted(), &["query", "SELECT 1"]).0, Some(0), "it opens all the same");
    place.refused("is the primary key", &["destroy", &second, folder]);
    place.done(&["destroy", &first, folder, "--dry-run"]);
    place.done(&["destroy", &first, folder]);
    assert_eq!(place.keys(), [state(&second, "primary", 1)]);
    std::fs::remove_file(place.bench.folder.path().join("ring")).unwrap();
    place.done(&["keygen"]);
    let (code, log) = place.run(&place.bench.config, &["crypt", "status", folder]);
    assert!(code == Some(3) && log.contains("password.enc needs a key that is not there"), "{code:?} {log}");
}

#[test]
fn the_ring_is_looked_at_and_rotated_by_rest() {
    let admin = Admin::start();
    let status = admin.ask("GET", "/v1/crypt/status", &admin.token("auditor"), &Value::Null).status;
    assert_eq!(status, 404, "there is no ring");
    drop(admin);

    let admin = Admin::start_with(|config| {
        let place = format!("{}.ring", config.text("admin.audit.file"));
        config.set("crypt.keyring_file", place).set("admin.health.interval", "250ms")
    });
    let (code, log) = admin.run(&["crypt", "keygen"]);
    assert_eq!(code, Some(0), "{log}");
    let (_, second) = admin.run(&["crypt", "keygen"]);
    let (security, auditor) = (admin.token("security_admin"), admin.token("auditor"));
    let status = admin.get("/v1/crypt/status", &auditor);
    let first = status["keys"][0]["id"].clone();
    assert_eq!(status["keys"][1]["id"], second.trim(), "{status}");
    let rotate =
        |query: &str, body: Value| admin.ask("POST", &format!("/v1/crypt/rotate{query}"), &security, &body);
    let tried = json_of(&rotate("?dry_run=true", json!({ "from": first, "to": second.trim() })));
    assert_eq!((&tried["primary"], &tried["is_new"]), (&json!(second.trim()), &json!(false)));
    assert_eq!(admin.get("/v1/crypt/status", &auditor), status, "a trial rotates nothing");
    assert_eq!(rotate("", json!({ "from": first, "to": "none" })).status, 404);
    assert_eq!(rotate("", json!({ "from": first })).status, 200);
    assert_eq!(rotate("", json!({ "from": first })).status, 409, "asked twice, done once");
    let after = admin.get("/v1/crypt/status", &auditor);
    let states: Vec<_> = after["keys"].as_array().unwrap().iter().map(|key| key["state"].clone()).collect();
    assert_eq!(states, ["readable", "readable", "primary"], "{after}");
    assert!(!after.to_string().contains("\"key\""), "no bytes of keys");
    let trail = admin.trail();
    assert_eq!((seen(&trail, "crypt.rotate", "done"), seen(&trail, "crypt.rotate", "failed")), (1, 2));
    assert_eq!(seen(&trail, "crypt.keygen", "done"), 2);
    let age_s = wait_for(DEADLINE, "the age of the primary key", || {
        admin.process.metric("penstock_admin_key_age_seconds", &["purpose=\"data\""])
    });
    assert!((0.0..600.0).contains(&age_s), "{age_s}");
}
