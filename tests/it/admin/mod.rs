//! `penstock admin` as its users meet it: a process, tokens, requests; and the trail that all of it leaves.
//!
//! It refuses to know the library: tokens come from `penstock token`, and the list of routes from the process itself.

mod access;
mod console;
mod due;
mod fleet;
mod health;
mod jobs;
mod letters;
mod line;
mod metrics;
mod remembered;
mod tables;
mod trail;
mod upkeep;

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Penstock, PenstockConfig, Response, free_port, request, wait_for};
use crate::migrate::Bench;

pub const DEADLINE: Duration = Duration::from_secs(60);
pub const ROLES: [&str; 6] = ["viewer", "analyst", "operator", "data_admin", "security_admin", "auditor"];

/// The process, with a folder of migrations and a database.
pub struct Admin {
    pub bench: Bench,
    pub config: PenstockConfig,
    pub listen: String,
    pub process: Penstock,
}

impl Admin {
    pub fn start() -> Admin {
        Admin::start_with(|config| config)
    }

    pub fn start_with(change: impl FnOnce(PenstockConfig) -> PenstockConfig) -> Admin {
        let bench = Bench::new();
        let listen = format!("127.0.0.1:{}", free_port());
        let keys = bench.keys.path();
        std::fs::write(keys.join("token-key"), "t".repeat(48)).unwrap();
        std::fs::write(keys.join("audit-key"), "a".repeat(48)).unwrap();
        let at = |name: &str| keys.join(name).to_str().unwrap().to_owned();
        let config = bench
            .config
            .clone()
            .set("admin.listen", listen.as_str())
            .set("admin.access.key_file", at("token-key"))
            .set("admin.audit.file", at("trail"))
            .set("admin.audit.key_file", at("audit-key"))
            .set("admin.audit.checkpoint_file", at("points"));
        let config = change(config);
        let mut process = Penstock::start(&config, &["admin"]);
        process.wait_ready();
        Admin { bench, config, listen, process }
    }

    pub fn token(&self, role: &str) -> String {
        let (code, log) = self.run(&["token", "issue", "--subject", &format!("it-{role}"), "--role", role]);
        assert_eq!(code, Some(0), "{log}");
        log.trim().to_owned()
    }

    /// Of an operator who may see personal data.
    pub fn token_for_values(&self) -> String {
        let (code, log) =
            self.run(&["token", "issue", "--subject", "it-values", "--role", "operator", "--pii"]);
        assert_eq!(code, Some(0), "{log}");
        log.trim().to_owned()
    }

    /// One that is made where the trail is not known.
    pub fn token_without_trail(&self, role: &str) -> String {
        let config = self.config.clone().set("admin.audit", json!({}));
        let (code, log) =
            Penstock::output(&config, &["token", "issue", "--subject", role, "--role", role], DEADLINE);
        assert_eq!(code, Some(0), "{log}");
        log.trim().to_owned()
    }

    /// Another command with the same configuration; exit code and everything that it printed.
    pub fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        Penstock::output(&self.config, &[&["--log", "off"], arguments].concat(), DEADLINE)
    }

    pub fn ask(&self, method: &str, path: &str, token: &str, body: &Value) -> Response {
        self.ask_with((method, path), token, body, &[])
    }

    pub fn ask_with(&self, what: (&str, &str), token: &str, body: &Value, more: &[(&str, &str)]) -> Response {
        let (method, path) = what;
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("Content-Type", "application/json")];
        if !token.is_empty() {
            headers.push(("Authorization", &bearer));
        }
        headers.extend_from_slice(more);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        request(&self.listen, method, path, &headers, body.as_bytes()).unwrap()
    }

    /// What a GET answers, as JSON.
    pub fn get(&self, path: &str, token: &str) -> Value {
        let answer = self.ask("GET", path, token, &Value::Null);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        json_of(&answer)
    }

    /// Starts a job and waits for its end.
    pub fn job(&self, path: &str, token: &str, body: &Value) -> Value {
        let answer = self.ask("POST", path, token, body);
        assert_eq!(answer.status, 202, "{path}: {}", answer.body);
        let place = answer.header("location").unwrap().to_owned();
        self.ended(&place, token)
    }

    pub fn ended(&self, place: &str, token: &str) -> Value {
        wait_for(DEADLINE, "the job ends", || {
            let job = self.get(place, token);
            (job["state"] != "running").then_some(job)
        })
    }

    /// Every line of the trail.
    pub fn trail(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.bench.keys.path().join("trail")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn plan_hash(&self, token: &str, query: &str) -> String {
        self.get(&format!("/v1/migrations/plan{query}"), token)["hash"].as_str().unwrap().to_owned()
    }

    /// Two migrations that can be taken back.
    pub fn two(&self) {
        self.bench.write("V1__t.sql", "CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x");
        self.bench.write("V1__t.down.sql", "-- penstock: danger=drop\nDROP TABLE t SYNC");
        self.bench.write("V2__rows.sql", "INSERT INTO t VALUES (1), (2)");
        self.bench.write("V2__rows.down.sql", "-- penstock: danger=delete\nTRUNCATE TABLE t");
    }
}

pub fn json_of(answer: &Response) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.body))
}

/// What the entries have in these fields.
pub fn seen(trail: &[Value], action: &str, phase: &str) -> usize {
    trail.iter().filter(|line| line["action"] == json!(action) && line["phase"] == json!(phase)).count()
}
