//! Whether the process lives, what it is doing, and how its parts are: told in sentences.
//!
//! Refuses to know Kafka and ClickHouse: parts report about themselves. Liveness depends on the loops'
//! turning alone, never on a server downstream, so that an outage there does not restart us.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;

use super::metrics::{METRICS, Metrics};

/// What the process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Starting,
    Running,
    /// Alive, but taking nothing in: memory or a table's server does not allow it.
    Paused,
    Draining,
    Stopped,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Running => "running",
            State::Paused => "paused",
            State::Draining => "draining",
            State::Stopped => "stopped",
        }
    }
}

/// Values of the label of `penstock_state`.
const METRIC_STATES: [&str; 6] = ["starting", "running", "paused", "draining", "degraded", "stopped"];

/// How a part is. The sentence says what is wrong and what is done about it; no values, no secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", content = "sentence", rename_all = "snake_case")]
pub enum Status {
    Ok,
    Degraded(String),
    Down(String),
}

/// Handle to the process's health; cheap to clone.
#[derive(Clone)]
pub struct Health(Arc<Shared>);

struct Shared {
    since: Instant,
    started_ms: i64,
    stalled_after: Duration,
    now: Mutex<Now>,
}

struct Now {
    state: State,
    sentence: String,
    components: BTreeMap<String, Status>,
    delivery: BTreeMap<String, &'static str>,
    /// Milliseconds after `since` of each loop's last turn.
    hearts: BTreeMap<String, Arc<AtomicU64>>,
}

/// One loop's heartbeat. Dropping it says that the loop ended, and is no longer expected to turn.
pub struct Heart {
    health: Health,
    name: String,
    last_ms: Arc<AtomicU64>,
}

/// The answer to "how are you".
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `ok` or `stalled`: liveness.
    pub status: &'static str,
    pub state: State,
    pub sentence: String,
    pub components: BTreeMap<String, Status>,
    /// By table, what is promised about its rows.
    pub delivery: BTreeMap<String, &'static str>,
    pub version: &'static str,
    #[serde(skip)]
    pub is_live: bool,
    /// Whether records are being taken in, or would be if the memory allowed it.
    #[serde(skip)]
    pub is_ready: bool,
}

impl Health {
    /// `stalled_after`: time without a turn after which a loop counts as stuck.
    pub fn new(stalled_after: Duration) -> Health {
        Health::at(stalled_after, Instant::now())
    }

    fn at(stalled_after: Duration, since: Instant) -> Health {
        let now = Now {
            state: State::Starting,
            sentence: "starting".to_owned(),
            components: BTreeMap::new(),
            delivery: BTreeMap::new(),
            hearts: BTreeMap::new(),
        };
        now.mirror();
        METRICS.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_ms = i64::try_from(unix.as_millis()).unwrap_or(i64::MAX);
        Health(Arc::new(Shared { since, started_ms, stalled_after, now: Mutex::new(now) }))
    }

    /// When this process began, milliseconds since 1970.
    pub fn started_ms(&self) -> i64 {
        self.0.started_ms
    }

    /// The sentence says what is being done or waited for.
    pub fn set_state(&self, state: State, sentence: impl Into<String>) {
        let mut now = self.0.now.lock();
        now.state = state;
        now.sentence = sentence.into();
        now.mirror();
    }

    pub fn state(&self) -> State {
        self.0.now.lock().state
    }

    /// Names come from the code or the configuration, so their number is bounded.
    pub fn set_component(&self, name: &str, status: Status) {
        let mut now = self.0.now.lock();
        now.components.insert(name.to_owned(), status);
        now.mirror();
    }

    /// What is promised about the rows of a table.
    pub fn set_level(&self, table: &str, level: &'static str) {
        self.0.now.lock().delivery.insert(table.to_owned(), level);
    }

    /// A loop that must turn from now on. Names are unique.
    pub fn heart(&self, name: &str) -> Heart {
        let last_ms = Arc::new(AtomicU64::new(self.0.ms(Instant::now())));
        self.0.now.lock().hearts.insert(name.to_owned(), Arc::clone(&last_ms));
        Heart { health: self.clone(), name: name.to_owned(), last_ms }
    }

    pub fn report(&self) -> Report {
        self.report_at(Instant::now())
    }

    fn report_at(&self, at: Instant) -> Report {
        let now = self.0.now.lock();
        let stalled_ms = u64::try_from(self.0.stalled_after.as_millis()).unwrap_or(u64::MAX);
        let at_ms = self.0.ms(at);
        let stalled = now.hearts.iter().find_map(|(name, last)| {
            let idle_ms = at_ms.saturating_sub(last.load(Ordering::Relaxed));
            (idle_ms > stalled_ms).then(|| format!("{name} has not turned for {} s", idle_ms / 1000))
        });
        let is_live = stalled.is_none() && now.state != State::Stopped;
        Report {
            status: if is_live { "ok" } else { "stalled" },
            state: now.state,
            is_ready: is_live && matches!(now.state, State::Running | State::Paused),
            sentence: stalled.unwrap_or_else(|| now.sentence.clone()),
            components: now.components.clone(),
            delivery: now.delivery.clone(),
            version: env!("CARGO_PKG_VERSION"),
            is_live,
        }
    }
}

impl Shared {
    fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.since).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Now {
    fn mirror(&self) {
        Metrics::set_state(&METRICS.state, &[], self.metric_state(), &METRIC_STATES);
    }

    fn metric_state(&self) -> &'static str {
        let all_well = self.components.values().all(|status| *status == Status::Ok);
        match self.state {
            State::Running if !all_well => "degraded",
            state => state.name(),
        }
    }
}

impl Heart {
    /// To be called at every turn of the loop, at least every few seconds. Takes no lock.
    pub fn beat(&self) {
        self.beat_at(Instant::now());
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        METRICS.last_poll_timestamp.set(unix.as_secs_f64());
    }

    fn beat_at(&self, at: Instant) {
        self.last_ms.store(self.health.0.ms(at), Ordering::Relaxed);
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.health.0.now.lock().hearts.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn alive_while_every_loop_turns() {
        let start = Instant::now();
        let health = Health::at(LIMIT, start);
        let at = |s: u64| start + Duration::from_secs(s);
        assert!(health.report_at(at(1000)).is_live, "nothing turns yet while starting");

        health.set_state(State::Running, "consuming 3 partitions");
        let (one, two) = (health.heart("consumer 0"), health.heart("consumer 1"));
        one.beat_at(at(100));
        two.beat_at(at(100));
        assert!(health.report_at(at(110)).is_live);
        one.beat_at(at(120));
        let report = health.report_at(at(120));
        assert!(!report.is_live && !report.is_ready);
        assert_eq!(report.sentence, "consumer 1 has not turned for 20 s");
        drop(two);
        one.beat();
        assert!(METRICS.last_poll_timestamp.get() > 0.0);
        one.beat_at(at(120));
        assert!(health.report_at(at(120)).is_ready);
    }

    #[test]
    fn a_server_that_is_down_is_told_but_kills_nobody() {
        let health = Health::new(LIMIT);
        health.set_state(State::Running, "consuming");
        health.set_component("clickhouse", Status::Down("no endpoint answers".to_owned()));
        let report = health.report();
        assert!(report.is_live && report.is_ready);
        assert_eq!(health.0.now.lock().metric_state(), "degraded");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["components"]["clickhouse"]["status"], "down");
        assert_eq!(json["components"]["clickhouse"]["sentence"], "no endpoint answers");
        assert_eq!(json["status"], "ok");
    }

    #[test]
    fn readiness_follows_the_state() {
        let health = Health::new(LIMIT);
        let expected = [
            (State::Starting, true, false),
            (State::Running, true, true),
            (State::Paused, true, true),
            (State::Draining, true, false),
            (State::Stopped, false, false),
        ];
        for (state, live, ready) in expected {
            health.set_state(state, "so");
            let report = health.report();
            assert_eq!((report.is_live, report.is_ready), (live, ready), "{state:?}");
            assert!(METRIC_STATES.contains(&health.0.now.lock().metric_state()), "{state:?}");
        }
    }
}
