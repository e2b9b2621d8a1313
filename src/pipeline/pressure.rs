//! One valve per table, which all members of this process send through, and the task that reads the pressure.
//!
//! Refuses to decide how much may pass: `batch::adapt` does. A single task asks the servers for all tables at a
//! bounded pace; an answer that fails makes the view older and nothing else. An insert waits here for its turn,
//! on a task of its own and never on a polling thread (invariants I7, I12).

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::batch::adapt::{Admission, Outcome, State};
use crate::batch::{self, Controller, Limits, Reading};
use crate::clickhouse::pressure::Totals;
use crate::clickhouse::{self, Pressure};
use crate::kafka;
use crate::schema::Table;
use crate::telemetry::health::{Health, Status};
use crate::telemetry::metrics::{METRICS, Metrics};

/// Tables that are asked about at the same time.
const ASKED_AT_ONCE_MAX: usize = 4;
/// How many times sooner than usual a table is asked about that inserts wait for.
const HURRY: u32 = 5;
/// How often the members of the group are counted, and how soon again while our own are not all among them.
const MEMBERS_INTERVAL: Duration = Duration::from_secs(30);
const MEMBERS_INTERVAL_JOINING: Duration = Duration::from_secs(3);
/// Shares of what has no limit of its own in ClickHouse: seconds that a replica is behind (the server's own
/// measure of a replica that is not to be read from), and seconds that Keeper takes for a request.
const REPLICA_DELAY_S: f64 = 300.0;
const KEEPER_LATENCY_S: f64 = 0.5;

const TOO_MANY_PARTS: u32 = 252;
const MEMORY_LIMIT: u32 = 241;

/// One table's valve.
#[derive(Debug)]
pub struct Valve {
    database: Option<String>,
    table: String,
    interval: Duration,
    controller: Mutex<Controller>,
    /// Told when something has changed for those who wait.
    turned: Notify,
    /// Told when somebody waits for a reading.
    wanted: Arc<Notify>,
}

/// The right to one insert.
#[derive(Debug)]
pub struct Pass {
    valve: Arc<Valve>,
    number: u64,
    outcome: Outcome,
}

impl Valve {
    pub fn all(config: &batch::Config, tables: &[Arc<Table>]) -> Vec<Arc<Valve>> {
        let wanted = Arc::new(Notify::new());
        let valve = |table: &Arc<Table>| {
            Arc::new(Valve {
                database: table.database.clone(),
                table: table.name.clone(),
                interval: config.pressure.interval.0,
                controller: Mutex::new(Controller::new(config)),
                turned: Notify::new(),
                wanted: Arc::clone(&wanted),
            })
        };
        tables.iter().map(valve).collect()
    }

    /// Goes on with other settings.
    pub fn set_config(&self, config: &batch::Config) {
        self.controller.lock().set_config(config);
        self.turned.notify_waiters();
    }

    /// What the table's batches may be now.
    pub fn limits(&self, now: Instant) -> Limits {
        self.controller.lock().limits(now)
    }

    /// Waits until an insert may be sent. Every single wait is bounded, their number is the table's affair: the
    /// rows are kept meanwhile, and reading stops behind them. Cancel-safe.
    pub async fn admit(self: &Arc<Self>) -> Pass {
        loop {
            let turned = self.turned.notified();
            tokio::pin!(turned);
            turned.as_mut().enable();
            let now = Instant::now();
            let (admission, wants) = {
                let mut controller = self.controller.lock();
                (controller.begin(now), controller.wants_reading())
            };
            if wants {
                self.wanted.notify_one();
            }
            let until = match admission {
                Admission::Go(number) => {
                    return Pass { valve: Arc::clone(self), number, outcome: Outcome::Other };
                }
                Admission::Wait(until) => until,
            };
            let wait = until.saturating_duration_since(now).min(self.interval);
            // Whichever comes first; both lead to another look.
            let _ = tokio::time::timeout(wait, turned).await;
        }
    }
}

impl Pass {
    /// Tells how the insert ended. A pass that is only dropped stands for one of which nothing is known.
    pub fn end<T>(mut self, result: &Result<T, clickhouse::Error>) {
        self.outcome = match result.as_ref().map_err(clickhouse::Error::exception) {
            Ok(_) => Outcome::Written,
            Err(Some(MEMORY_LIMIT)) => Outcome::OutOfMemory,
            Err(Some(TOO_MANY_PARTS)) => Outcome::TooManyParts,
            Err(_) => Outcome::Other,
        };
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.valve.controller.lock().end(self.number, self.outcome);
    }
}

/// What was read, in the terms of the controller.
fn reading(pressure: &Pressure, since: Totals) -> Reading {
    let Some(limits) = pressure.limits else { return Reading::default() };
    let of = |value: u64, limit: u64| if limit == 0 { 0.0 } else { value as f64 / limit as f64 };
    let strains = [
        of(pressure.parts_inactive, limits.inactive_delay_at),
        of(pressure.parts_inactive, limits.inactive_refuse_at),
        of(pressure.queue, limits.queue_max),
        pressure.delay_s as f64 / REPLICA_DELAY_S,
        since.keeper_latency_s().unwrap_or(0.0) / KEEPER_LATENCY_S,
    ];
    Reading {
        parts: pressure.parts,
        delay_at: limits.delay_at,
        refuse_at: limits.refuse_at,
        total: pressure.parts_total,
        total_max: limits.total_max,
        strain: strains.into_iter().fold(0.0, f64::max),
        delayed: 0 < since.delayed || 0 < since.refused || 0 < pressure.delayed_inserts,
    }
}

/// The one task of this process that reads the pressure of all tables.
pub struct Watch {
    pub client: clickhouse::Client,
    pub kafka: Arc<kafka::Config>,
    pub health: Health,
    pub interval: Duration,
    pub tables: Vec<Watched>,
}

/// A table with what was read last.
pub struct Watched {
    valve: Arc<Valve>,
    last: Option<Pressure>,
    due: Instant,
}

impl Watched {
    pub fn new(valve: &Arc<Valve>, now: Instant) -> Watched {
        Watched { valve: Arc::clone(valve), last: None, due: now }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due <= now || self.valve.controller.lock().wants_reading()
    }
}

impl Watch {
    /// Reads for ever. Cancel-safe.
    pub async fn run(mut self) {
        let Some(wanted) = self.tables.first().map(|watched| Arc::clone(&watched.valve.wanted)) else {
            return;
        };
        let mut members = Members { due: Instant::now(), task: None };
        loop {
            let pause = self.interval.mul_f64(rand::random_range(0.9..1.1));
            if let Some(found) = members.turn(&self.kafka, Instant::now()).await {
                METRICS.pressure.group_members.set(i64::try_from(found).unwrap_or(i64::MAX));
                for watched in &self.tables {
                    watched.valve.controller.lock().set_share(usize::from(self.kafka.consumers), found);
                }
            }
            let (client, health, now) = (&self.client, &self.health, Instant::now());
            let asked = self.tables.iter_mut().filter(|watched| watched.is_due(now));
            futures_util::stream::iter(asked)
                .for_each_concurrent(ASKED_AT_ONCE_MAX, |watched| {
                    watched.due = now + pause;
                    watched.read(client, health)
                })
                .await;
            let soonest = pause / HURRY;
            tokio::time::sleep(soonest).await;
            let next = self.tables.iter().map(|watched| watched.due).min().unwrap_or(now);
            let wait = next.saturating_duration_since(Instant::now());
            // Whichever comes first; the next turn finds out.
            let _ = tokio::time::timeout(wait, wanted.notified()).await;
        }
    }
}

impl Watched {
    async fn read(&mut self, client: &clickhouse::Client, health: &Health) {
        let valve = &self.valve;
        let asked = valve.controller.lock().asking();
        let result = client.pressure(valve.database.as_deref(), &valve.table).await;
        let now = Instant::now();
        match &result {
            Ok(pressure) => {
                let since = self.last.as_ref().map_or_else(Totals::default, |last| pressure.since(last));
                valve.controller.lock().read(reading(pressure, since), asked, now);
                valve.turned.notify_waiters();
                report_reading(&valve.table, pressure, since);
            }
            Err(error) => tracing::debug!(table = %valve.table, %error, "its parts could not be read"),
        }
        let (state, limits, window) = {
            let controller = valve.controller.lock();
            (controller.state(now), controller.limits(now), controller.window())
        };
        report_limits(&valve.table, state, &limits, window);
        if let Ok(pressure) = result {
            self.last = Some(pressure);
        }
        let status = self.status(state);
        health.set_component(&format!("table {}, parts", self.valve.table), status);
    }

    fn status(&self, state: State) -> Status {
        match (state, self.last.as_ref()) {
            (State::Unknown, _) => Status::Degraded(
                "its parts cannot be read, so at most one insert a second is sent; the user needs SELECT on system.parts".to_owned(),
            ),
            (State::Throttled, Some(pressure)) => Status::Degraded(format!(
                "inserts wait for merges, nothing is lost: a partition key has {} parts, inserts are delayed from {} on",
                pressure.parts,
                pressure.limits.map_or(0, |limits| limits.delay_at)
            )),
            _ => Status::Ok,
        }
    }
}

/// Counts the members of the group now and then, beside everything else.
struct Members {
    due: Instant,
    task: Option<JoinHandle<Result<usize, kafka::Error>>>,
}

impl Members {
    /// The number of members if it has just become known; what cannot be known leaves it as it was.
    async fn turn(&mut self, config: &Arc<kafka::Config>, now: Instant) -> Option<usize> {
        if let Some(task) = self.task.take_if(|task| task.is_finished()) {
            return match task.await {
                Ok(Ok(members)) if usize::from(config.consumers) <= members => Some(members),
                Ok(Ok(_)) => {
                    self.due = now + MEMBERS_INTERVAL_JOINING;
                    None
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "the members of the group could not be counted");
                    None
                }
                Err(_) => None,
            };
        }
        if self.task.is_none() && self.due <= now {
            self.due = now + MEMBERS_INTERVAL;
            let config = Arc::clone(config);
            self.task = Some(tokio::task::spawn_blocking(move || kafka::group::members(&config)));
        }
        None
    }
}

fn report_reading(table: &str, pressure: &Pressure, since: Totals) {
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let (metrics, table) = (&METRICS.pressure, &[table]);
    metrics.parts_max.with_label_values(table).set(count(pressure.parts));
    metrics.replica_queue.with_label_values(table).set(count(pressure.queue));
    metrics.replica_delay.with_label_values(table).set(count(pressure.delay_s));
    metrics.readonly_replicas.with_label_values(table).set(count(pressure.readonly_replicas));
    metrics.delayed_inserts.set(count(pressure.delayed_inserts));
    if let Some(latency) = since.keeper_latency_s() {
        metrics.keeper_latency.set(latency);
    }
    for (name, limit) in pressure.limits.iter().flat_map(|l| [("delay", l.delay_at), ("throw", l.refuse_at)])
    {
        metrics.parts_limit.with_label_values(&[table[0], name]).set(count(limit));
    }
}

fn report_limits(table: &str, state: State, limits: &Limits, window: f64) {
    let metrics = &METRICS.pressure;
    Metrics::set_state(&metrics.state, &[table], state.name(), &State::ALL);
    let count = |n: usize| n as f64;
    let values = [
        ("rows", count(limits.rows_max)),
        ("bytes", count(limits.bytes_max)),
        ("age_seconds", limits.age_max.as_secs_f64()),
        ("in_flight", count(limits.in_flight_max)),
        ("inserts_per_reading", window),
    ];
    for (name, value) in values {
        metrics.limits.with_label_values(&[table, name]).set(value);
    }
}
