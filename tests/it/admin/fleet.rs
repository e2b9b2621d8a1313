//! Several admin processes over one group and one database: who leads, what is run by schedule, and how often.
//!
//! It refuses to take a process's word for what was run: the table of jobs says it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Admin, DEADLINE, json_of, seen};
use crate::harness::{Penstock, Servers, free_port, wait_for, wait_until};

/// Of the leader that is killed or frozen.
const SESSION: Duration = Duration::from_secs(3);
/// How long nothing may be run when it is: its session, the group's change, and the lease of what it was running.
const HANDOVER_MAX: Duration = Duration::from_secs(10);

fn ticking() -> Value {
    json!([{ "name": "tick", "what": "migrate verify", "every": "1s" }])
}

/// A process and another one with the same configuration.
struct Pair {
    admin: Admin,
    other: Penstock,
}

impl Pair {
    fn start() -> Pair {
        let kafka = Servers::shared().kafka.clone();
        let admin = Admin::start_with(|config| {
            config
                .set("kafka.brokers", json!([kafka.brokers]))
                .set("admin.schedules", ticking())
                .set("admin.leader.session_timeout", "3s")
                .set("admin.jobs.lease", "2s")
                .set("admin.health.interval", "500ms")
        });
        let listen = format!("127.0.0.1:{}", free_port());
        let mut other = Penstock::start(&admin.config.clone().set("admin.listen", listen), &["admin"]);
        other.wait_ready();
        let pair = Pair { admin, other };
        wait_until(DEADLINE, "one of two leads", || pair.leaders() == (1, 0) || pair.leaders() == (0, 1));
        pair.wait_runs(3);
        pair
    }

    fn leaders(&self) -> (i64, i64) {
        (leads(&self.admin.process), leads(&self.other))
    }

    /// Runs that came to something, with the process that ran them.
    fn runs(&self, condition: &str) -> u64 {
        let sql = format!("SELECT uniqExact(id) FROM DB.penstock_jobs WHERE state = 'done' AND {condition}");
        self.admin.bench.sql(&sql).parse().unwrap_or(0)
    }

    fn wait_runs(&self, more: u64) {
        let table = || self.admin.bench.sql("EXISTS TABLE DB.penstock_jobs") == "1";
        wait_until(DEADLINE, "there is a table of jobs", table);
        let before = self.runs("1");
        wait_until(DEADLINE, "it is run again", || self.runs("1") >= before + more);
    }

    /// The leader and the other one.
    fn by_role(&mut self) -> (&mut Penstock, &mut Penstock) {
        match self.leaders() {
            (1, 0) => (&mut self.admin.process, &mut self.other),
            _ => (&mut self.other, &mut self.admin.process),
        }
    }

    /// No due time was begun twice, and each that was settled came to one thing.
    fn check_once(&self) {
        let twice = self.admin.bench.sql(
            "SELECT count() FROM (SELECT due_s, uniqExact(id) AS ids FROM DB.penstock_jobs WHERE due_s != 0 \
             GROUP BY due_s HAVING ids > 1)",
        );
        assert_eq!(twice, "0", "{}", self.all());
    }

    fn all(&self) -> String {
        self.admin.bench.sql(
            "SELECT due_s, id, instance, groupArray(state), any(error) FROM (SELECT * FROM DB.penstock_jobs ORDER BY seq) \
             GROUP BY due_s, id, instance ORDER BY due_s",
        )
    }

    /// Longest time between two runs, in seconds.
    fn longest_gap(&self) -> f64 {
        self.admin
            .bench
            .sql(
                "SELECT max(gap) / 1000 FROM (SELECT began - lagInFrame(began, 1, began) OVER (ORDER BY began) AS gap \
                 FROM (SELECT any(began_ms) AS began FROM DB.penstock_jobs WHERE due_s != 0 GROUP BY id \
                 HAVING argMax(state, seq) = 'done'))",
            )
            .parse()
            .unwrap()
    }
}

fn leads(process: &Penstock) -> i64 {
    // A gauge of 0 or 1.
    i64::from(process.metric("penstock_admin_leader", &[]).unwrap_or(0.0) > 0.5)
}

/// Whether it tells what is left to do on tables.
fn counts(process: &Penstock) -> bool {
    process.metric("penstock_admin_legal_holds", &[]).is_some()
}

fn runs_of(pair: &Pair, process: u32) -> u64 {
    pair.runs(&format!("endsWith(instance, 'process {process}')"))
}

#[test]
fn each_due_time_runs_once_and_a_leader_that_is_killed_is_followed_by_the_other() {
    let mut pair = Pair::start();
    pair.wait_runs(5);
    pair.check_once();
    let (leader, other) = pair.by_role();
    let (killed, survivor) = (leader.id(), other.id());
    leader.kill9();
    let begun = Instant::now();
    let before = runs_of(&pair, survivor);
    wait_until(DEADLINE, "the other one runs it", || runs_of(&pair, survivor) > before);
    let took = begun.elapsed();
    eprintln!("fleet: run by the other {:.1} s after a kill, session {SESSION:?}", took.as_secs_f64());
    assert!(took < HANDOVER_MAX, "{took:?}");
    pair.wait_runs(3);
    pair.check_once();
    assert!(runs_of(&pair, killed) >= 3 && pair.longest_gap() < HANDOVER_MAX.as_secs_f64(), "{}", pair.all());
    let trail = pair.admin.trail();
    let of_schedule = |line: &&Value| line["action"] == "schedule.run" && line["actor"] == "schedule tick";
    assert!(trail.iter().filter(of_schedule).count() >= 10, "each run is in the trail");
    assert!(seen(&trail, "schedule.run", "done") <= seen(&trail, "schedule.run", "intent"));
}

#[test]
fn a_leader_that_was_frozen_runs_nothing_when_it_wakes() {
    let mut pair = Pair::start();
    let (leader, other) = pair.by_role();
    let (frozen, survivor) = (leader.id(), other.id());
    leader.stop();
    let (before, of_frozen) = (runs_of(&pair, survivor), runs_of(&pair, frozen));
    wait_until(DEADLINE, "the other one runs it", || runs_of(&pair, survivor) >= before + 3);
    let (waking, _) = match pair.admin.process.id() == frozen {
        true => (&pair.admin.process, &pair.other),
        false => (&pair.other, &pair.admin.process),
    };
    waking.cont();
    // It comes back as one that follows, and the other goes on meanwhile.
    let follows =
        || waking.metric("penstock_admin_health", &["check=\"leader\"", "state=\"ok\""]) == Some(1.0);
    wait_until(DEADLINE, "the one that woke follows", || leads(waking) == 0 && follows());
    let before = runs_of(&pair, survivor);
    wait_until(DEADLINE, "the other one goes on", || runs_of(&pair, survivor) >= before + 5);
    // A run that was under way when it was frozen may have come to its end.
    let after = runs_of(&pair, frozen);
    assert!(after <= of_frozen + 1, "{of_frozen} runs before, {after} after\n{}", pair.all());
    pair.check_once();
    assert_eq!(pair.leaders().0 + pair.leaders().1, 1);
}

#[test]
fn a_leader_that_leaves_in_order_is_followed_at_once() {
    let mut pair = Pair::start();
    let (leader, other) = pair.by_role();
    let (left, survivor) = (leader.id(), other.id());
    wait_until(DEADLINE, "the leader alone counts what is left to do", || counts(leader) && !counts(other));
    leader.sigterm();
    assert_eq!(leader.wait_exit(DEADLINE), Some(0));
    let begun = Instant::now();
    let before = runs_of(&pair, survivor);
    wait_until(DEADLINE, "the other one runs it", || runs_of(&pair, survivor) > before);
    let took = begun.elapsed();
    wait_until(DEADLINE, "it counts as well", || counts(&pair.admin.process) || counts(&pair.other));
    eprintln!("fleet: run by the other {:.1} s after a leader had left", took.as_secs_f64());
    assert!(took < SESSION, "{took:?}");
    pair.check_once();
    assert!(runs_of(&pair, left) >= 3);
    // A rolling restart leaves out nothing.
    assert!(pair.longest_gap() < 4.0, "{}", pair.all());
}

#[test]
fn runs_of_one_schedule_never_overlap_whoever_begins_them() {
    let schedules = json!([{ "name": "slow", "what": "migrate verify", "every": "30d" }]);
    let admin =
        Admin::start_with(|config| config.set("admin.schedules", schedules).set("migrations.shadow", false));
    let slow = "-- penstock: verify=SELECT sum(s) = 0 FROM (SELECT sleepEachRow(2) AS s FROM numbers(4) SETTINGS max_block_size = 1)\n\
                CREATE TABLE t (x UInt8) ENGINE = Memory";
    admin.bench.write("V1__t.sql", slow);
    let token = admin.token("data_admin");
    let up = json!({ "plan": admin.plan_hash(&token, "") });
    assert_eq!(admin.job("/v1/migrations/up", &token, &up)["state"], "done");
    let first = admin.ask("POST", "/v1/schedules/slow/run", &token, &Value::Null);
    assert_eq!(first.status, 202, "{}", first.body);
    let running = "SELECT count() FROM DB.penstock_jobs WHERE schedule = 'slow' AND state = 'running'";
    wait_until(DEADLINE, "it is written down", || admin.bench.sql(running) != "0");
    let second = admin.ask("POST", "/v1/schedules/slow/run", &token, &Value::Null);
    assert_eq!(second.status, 409, "of the same process: {}", second.body);
    let (code, log) = admin.run(&["schedule", "run", "slow"]);
    assert!(
        code == Some(7) && log.contains("another run of slow is under way"),
        "of another process: {code:?} {log}"
    );
    let place = first.header("location").unwrap();
    assert_eq!(admin.ended(place, &token)["state"], "done");
    assert_eq!(admin.run(&["schedule", "run", "slow"]).0, Some(0), "it has ended");
}

#[test]
fn without_kafka_nobody_leads_and_it_is_said() {
    let admin = Admin::start_with(|config| {
        config
            .set("admin.schedules", ticking())
            .set("admin.health.interval", "200ms")
            .set("admin.health.timeout", "500ms")
    });
    let token = admin.token("viewer");
    let health = wait_for(DEADLINE, "the brokers are missed", || {
        let health = admin.get("/v1/health", &token);
        let all = health["checks"].as_array().unwrap();
        // At the first look it is still joining.
        let is_told = all.iter().any(|check| check["name"] == "leader");
        (is_told && health["state"] == "failing").then_some(health)
    });
    let check = |name: &str| {
        let all = health["checks"].as_array().unwrap();
        all.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{health}")).clone()
    };
    assert_eq!(
        (&check("kafka")["state"], &check("leader")["state"]),
        (&json!("failing"), &json!("degraded"))
    );
    assert!(check("leader")["sentence"].as_str().unwrap().contains("nobody leads"), "{health}");
    assert_eq!(check("clickhouse")["state"], "ok", "{health}");
    let listed = admin.get("/v1/schedules", &token);
    assert_eq!((&listed["schedules"][0]["last"], leads(&admin.process)), (&Value::Null, 0));
    assert_eq!(admin.bench.sql("EXISTS TABLE DB.penstock_jobs"), "0", "nothing is run");
}

#[test]
fn a_schedule_is_listed_run_by_hand_and_remembered_by_all_three_ways() {
    let schedules = json!([
        { "name": "merge", "what": "table optimize t", "when": "0 3 * * *", "timezone": "Europe/Berlin" },
        { "name": "trail", "what": "audit verify", "every": "6h", "catch_up": true },
        { "name": "broken", "what": "table optimize nothing_here", "every": "1d" },
    ]);
    let admin = Admin::start_with(|config| config.set("admin.schedules", schedules));
    admin.bench.sql("CREATE TABLE DB.t (x UInt64) ENGINE = MergeTree ORDER BY x");
    for n in 0..3 {
        admin.bench.sql(&format!("INSERT INTO DB.t VALUES ({n})"));
    }
    let parts = || {
        admin.bench.sql(
            "SELECT count() FROM system.parts WHERE active AND database = 'DB' AND table = 't'"
                .replace("DB'", &format!("{}'", admin.bench.database.name))
                .as_str(),
        )
    };
    let token = admin.token("operator");
    let listed = admin.get("/v1/schedules", &token);
    assert_eq!(listed["schedules"].as_array().unwrap().len(), 3);
    assert!(listed["schedules"][0]["next_due"].as_str().unwrap().ends_with(":00:00Z"), "{listed}");

    // By REST: who may not merge by hand may not have it done by schedule.
    let run = "/v1/schedules/merge/run";
    assert_eq!(admin.ask("POST", run, &admin.token("viewer"), &Value::Null).status, 403);
    assert_eq!(admin.ask("POST", "/v1/schedules/trail/run", &token, &Value::Null).status, 403, "audit_read");
    assert_eq!(admin.ask("POST", "/v1/schedules/none/run", &token, &Value::Null).status, 404);
    let before = parts();
    let tried = json_of(&admin.ask("POST", &format!("{run}?dry_run=true"), &token, &Value::Null));
    assert!(tried["tables"][0]["sql"].as_str().unwrap().contains("OPTIMIZE TABLE"), "{tried}");
    assert_eq!(parts(), before, "a trial merges nothing");
    let job = admin.job(run, &token, &Value::Null);
    assert_eq!(
        (&job["state"], &job["schedule"], &job["actor"]),
        (&json!("done"), &json!("merge"), &json!("it-operator"))
    );
    assert_eq!(parts(), "1");
    let failed = admin.job("/v1/schedules/broken/run", &token, &Value::Null);
    assert_eq!(failed["state"], "failed");
    assert!(failed["error"]["detail"].as_str().unwrap().contains("nothing_here"), "{failed}");

    // By the command line, over the same table.
    let json = |arguments: &[&str]| {
        let (code, log) = Penstock::output(
            &admin.config,
            &[&["--log", "error", "--output", "json"], arguments].concat(),
            DEADLINE,
        );
        (code, serde_json::from_str::<Value>(&log).unwrap_or_else(|error| panic!("{error}: {log}")))
    };
    let (code, job) = json(&["schedule", "run", "trail"]);
    assert_eq!(
        (code, &job["state"], &job["result"]["broken"]),
        (Some(0), &json!("done"), &Value::Null),
        "{job}"
    );
    assert_eq!(admin.run(&["schedule", "run", "broken"]).0, Some(1));
    assert_eq!(admin.run(&["schedule", "run", "none"]).0, Some(2));
    let (code, listed) = json(&["schedule", "list"]);
    assert_eq!((code, &listed["schedules"][1]["last"]["state"]), (Some(0), &json!("done")), "{listed}");
    let (_, history) = json(&["schedule", "history", "broken"]);
    assert_eq!(history["runs"].as_array().unwrap().len(), 2, "{history}");
    let by_rest = admin.get("/v1/schedules/broken/runs?limit=1", &token);
    assert_eq!(by_rest["runs"][0]["id"], history["runs"][0]["id"], "both ways tell the same");
    let trail = admin.trail();
    assert_eq!(seen(&trail, "schedule.run", "refused"), 2, "both refusals are written down");
    assert_eq!((seen(&trail, "schedule.run", "done"), seen(&trail, "schedule.run", "failed")), (2, 2));
    assert_eq!(seen(&trail, "table.optimize", "done"), 1);
}
