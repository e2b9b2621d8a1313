//! What the line tells about itself: totals for people who watch a run, metrics, health.
//!
//! Refuses to slow the line down: stages count in plain integers, and a few times a second the sums are
//! carried to the metrics. Series of partitions that were given back are removed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::flush::Job;
use super::partitions::{Counts, Owned};
use super::worker::Worker;

use crate::batch::memory::Holder;
use crate::batch::{Budget, ROWS_PER_TIMESTAMP};
use crate::clickhouse::gate::State as Gate;
use crate::telemetry::health::{Health, Heart, State, Status};
use crate::telemetry::labels::OTHER;
use crate::telemetry::memory;
use crate::telemetry::metrics::METRICS;

/// Why partitions are paused.
pub const PAUSES: [&str; 3] = ["backpressure", "dead_letter_ceiling", "operator"];
/// A timestamp so far ahead is no clock that is a little wrong.
const FUTURE_MS: i64 = 60_000;

const REPORT_INTERVAL: Duration = Duration::from_millis(250);

/// Sums over all members of this process since its start.
#[derive(Debug, Default)]
pub struct Totals {
    records: AtomicU64,
    bytes: AtomicU64,
    rows: AtomicU64,
    dead_letters: AtomicU64,
    /// Records published but not yet durable, as far as known; one member's share is replaced at each
    /// report by the difference.
    lag: AtomicI64,
}

/// A look at the totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub records: u64,
    pub bytes: u64,
    pub rows: u64,
    pub dead_letters: u64,
    pub lag: u64,
}

impl Totals {
    pub fn rows(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub fn dead_letters(&self, letters: usize) {
        self.dead_letters.fetch_add(letters as u64, Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            rows: self.rows.load(Ordering::Relaxed),
            dead_letters: self.dead_letters.load(Ordering::Relaxed),
            lag: u64::try_from(self.lag.load(Ordering::Relaxed)).unwrap_or(0),
        }
    }
}

/// Partitions of one topic: assigned, and paused by each of [`PAUSES`].
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    assigned: i64,
    paused: [i64; PAUSES.len()],
}

impl Held {
    /// A partition that is paused for several reasons counts with the one that needs a person most.
    fn count(&mut self, owned: &Owned) {
        self.assigned += 1;
        let [backpressure, ceiling, operator] = &mut self.paused;
        match (owned.paused.is_some(), owned.is_capped, owned.is_held) {
            (false, ..) => {}
            (_, true, _) => *ceiling += 1,
            (_, _, true) => *operator += 1,
            _ => *backpressure += 1,
        }
    }
}

/// One member's reporting.
pub struct Reporter {
    pub health: Health,
    heart: Heart,
    due: Instant,
    /// This member's share of `Totals::lag`.
    lag: i64,
    /// This member's partitions by topic.
    topics: BTreeMap<String, Held>,
    member: usize,
}

impl Reporter {
    pub fn new(health: Health, member: usize, now: Instant) -> Reporter {
        let heart = health.heart(&format!("consumer {member}"));
        Reporter { health, heart, due: now, lag: 0, topics: BTreeMap::new(), member }
    }

    /// Removes the series of a partition that is no longer ours. Its last counts are published.
    pub fn forget(&self, mut owned: Owned) {
        publish(&mut owned);
        // Those that share one are told together.
        if METRICS.topics.of(&owned.source.topic) == OTHER {
            return;
        }
        if owned.halted.is_some() {
            self.health.set_component(&component(&owned), Status::Ok);
        }
        let number = owned.source.partition.to_string();
        let labels = [&*owned.source.topic, &number];
        // A series that was never made cannot be removed, which is as well.
        let _ = METRICS.lag_records.remove_label_values(&labels);
        let _ = METRICS.lag_seconds.remove_label_values(&labels);
    }

    /// Tells how far the partitions are behind whose topics share one series: the worst, and their sum.
    fn tell_others(&self, others: Option<(f64, i64)>) {
        let labels = [OTHER, &format!("{OTHER} {}", self.member)];
        match others {
            Some((seconds, records)) => {
                METRICS.lag_seconds.with_label_values(&labels).set(seconds);
                METRICS.lag_records.with_label_values(&labels).set(records);
            }
            None => {
                let _ = METRICS.lag_records.remove_label_values(&labels);
                let _ = METRICS.lag_seconds.remove_label_values(&labels);
            }
        }
    }
}

/// What a partition is called in `/health`.
fn component(owned: &Owned) -> String {
    format!("partition {}", owned.source)
}

/// Carries one partition's counts to the metrics.
fn publish(owned: &mut Owned) -> Counts {
    let counts = std::mem::take(&mut owned.counts);
    let topic = [METRICS.topics.of(&owned.source.topic)];
    METRICS.consumed_records.with_label_values(&topic).inc_by(counts.records);
    METRICS.consumed_bytes.with_label_values(&topic).inc_by(counts.bytes);
    METRICS.decoded_records.with_label_values(&topic).inc_by(counts.decoded);
    let tombstones = counts.filtered.saturating_sub(counts.erased);
    METRICS.filtered_records.with_label_values(&[topic[0], "tombstone"]).inc_by(tombstones);
    METRICS.filtered_records.with_label_values(&[topic[0], "erased"]).inc_by(counts.erased);
    let sizes = METRICS.consume.record_size.with_label_values(&topic);
    counts.sizes.iter().for_each(|bytes| sizes.observe(*bytes as f64));
    counts
}

/// Seconds since the oldest record that is not durable was published; 0 when all is.
fn lag_seconds(owned: &Owned, now: Instant, now_ms: i64) -> f64 {
    let age = |ms: i64| (now_ms.saturating_sub(ms).max(0)) as f64 / 1000.0;
    match (owned.watermark.oldest_ms().or(owned.waiting_since_ms), owned.last_ms) {
        (Some(oldest), _) => age(oldest),
        (None, _) if owned.caught_up => 0.0,
        (None, Some(last)) => age(last),
        (None, None) => now.saturating_duration_since(owned.since).as_secs_f64(),
    }
}

/// Records published and not yet durable; unknown until the first one is taken in.
fn lag_records(owned: &Owned) -> Option<i64> {
    match (owned.end, owned.durable()) {
        (Some(end), Some(durable)) => Some(end.0.saturating_sub(durable.0).max(0)),
        (Some(_), None) if owned.caught_up => Some(0),
        _ => None,
    }
}

/// A batch is in its table.
pub fn report_written(table: &str, job: &Job, now_ms: i64) {
    for source in &job.sources {
        let labels = [METRICS.topics.of(&source.source.topic), table];
        METRICS.inserted_rows.with_label_values(&labels).inc_by(source.share.rows as u64);
        let latency = METRICS.e2e_latency.with_label_values(&[labels[0]]);
        for (_, ms) in job.sealed.timestamps_ms.iter().filter(|(slot, _)| *slot == source.share.slot) {
            latency.observe(now_ms.saturating_sub(*ms).max(0) as f64 / 1000.0);
            if now_ms.saturating_add(FUTURE_MS) < *ms {
                let rows = u64::try_from(ROWS_PER_TIMESTAMP).unwrap_or(1);
                METRICS.consume.future_records.with_label_values(&[labels[0]]).inc_by(rows);
            }
        }
    }
}

fn tell_memory(budget: &Budget) {
    METRICS.memory.used.set(memory::whole(budget.used()));
    for holder in Holder::ALL {
        let held = memory::whole(budget.held(holder));
        METRICS.memory.component.with_label_values(&[holder.name()]).set(held);
    }
}

impl Worker {
    pub fn report(&mut self, now: Instant) {
        self.reporter.heart.beat();
        if now < self.reporter.due {
            return;
        }
        self.reporter.due = now + REPORT_INTERVAL;
        let mut topics: BTreeMap<String, Held> = BTreeMap::new();
        let (mut lag_all, mut others) = (0, None);
        let mut records = 0;
        for owned in self.line.partitions.iter_mut() {
            let counts = publish(owned);
            records += counts.records;
            self.line.totals.records.fetch_add(counts.records, Ordering::Relaxed);
            self.line.totals.bytes.fetch_add(counts.bytes, Ordering::Relaxed);
            let topic = METRICS.topics.of(&owned.source.topic);
            let (seconds, lag) = (lag_seconds(owned, now, self.line.now_ms), lag_records(owned));
            lag_all += lag.unwrap_or(0);
            if topic == OTHER {
                let (worst, sum) = others.get_or_insert((0.0_f64, 0));
                (*worst, *sum) = (worst.max(seconds), *sum + lag.unwrap_or(0));
            } else {
                let labels = [topic, &owned.source.partition.to_string()];
                METRICS.lag_seconds.with_label_values(&labels).set(seconds);
                if let Some(lag) = lag {
                    METRICS.lag_records.with_label_values(&labels).set(lag);
                }
            }
            topics.entry(topic.to_owned()).or_default().count(owned);
        }
        self.reporter.tell_others(others);
        if 0 < records {
            self.caught_up_looks = 0;
        }
        self.line.totals.lag.fetch_add(lag_all - self.reporter.lag, Ordering::Relaxed);
        self.reporter.lag = lag_all;
        // The members of one process share these gauges, so each adds what has changed for it.
        for (topic, _) in &self.topics {
            let topic = METRICS.topics.of(topic);
            let now = topics.get(topic).copied().unwrap_or_default();
            let before = self.reporter.topics.insert(topic.to_owned(), now).unwrap_or_default();
            METRICS.assigned_partitions.with_label_values(&[topic]).add(now.assigned - before.assigned);
            for (reason, (now, before)) in PAUSES.iter().zip(now.paused.iter().zip(before.paused)) {
                METRICS.paused_partitions.with_label_values(&[topic, reason]).add(now - before);
            }
        }
        self.report_stages();
        tell_memory(&self.line.budget);
        self.report_holds(now);
        self.report_health();
    }

    fn report_health(&mut self) {
        let member = self.reporter.member;
        for lane in &mut self.line.lanes {
            lane.count_unknown_fields();
            let status = match lane.parked_reason() {
                Some(reason) => Status::Down(format!("paused, nothing is lost: {reason}")),
                None => Status::Ok,
            };
            self.reporter.health.set_component(&format!("table {}, consumer {member}", lane.name), status);
        }
        for owned in self.line.partitions.iter() {
            if let Some(reason) = &owned.halted {
                let status = Status::Down(format!("halted, nothing of it is lost: {reason}"));
                self.reporter.health.set_component(&component(owned), status);
            }
        }
        for endpoint in self.flusher.client.endpoints() {
            let status = match endpoint.gate {
                Gate::Open => Status::Ok,
                gate => Status::Degraded(format!("its gate is {}, other endpoints are used", gate.name())),
            };
            self.reporter.health.set_component(&format!("clickhouse {}", endpoint.endpoint), status);
        }
        let failing = self.flusher.letters.failing();
        let status = match failing {
            0 => Status::Ok,
            n => Status::Down(format!("{n} dead letters cannot be published and are tried again")),
        };
        self.reporter.health.set_component("dead letters", status);
        self.ceilings.report(&self.reporter.health, member);
        if self.stopping.is_some() {
            return;
        }
        let owned = self.line.partitions.iter().count();
        let paused = self.line.partitions.iter().filter(|o| o.paused.is_some()).count();
        let state = if 0 < owned && owned == paused { State::Paused } else { State::Running };
        let sentence = format!("consumer {member} reads {owned} partitions, {paused} of them paused");
        self.reporter.health.set_state(state, sentence);
    }
}
