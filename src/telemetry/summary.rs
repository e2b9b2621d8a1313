//! What one process of the line tells about itself at once: counters, gauges, health, as one small document.
//!
//! Refuses to compute rates: it gives sums, and whoever asks twice has the difference. Families are read by name, so
//! that one which is not there is merely left out. Bounded, whatever labels there are.

use std::collections::{BTreeMap, HashMap};

use prometheus::proto::{Metric, MetricFamily, MetricType};
use serde::{Deserialize, Serialize};

use super::health::{Health, Status};
use super::metrics::METRICS;

/// Partitions that are told, those that lag most first.
pub const PARTITIONS_MAX: usize = 1000;
/// Topics, tables, endpoints and components that are told of each.
const NAMES_MAX: usize = 500;

/// A process at one moment. What an older or newer version does not tell is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// By the clock of the process, milliseconds since 1970.
    pub at_ms: i64,
    /// When the process began to count; another one counts from zero.
    pub started_ms: i64,
    pub version: String,
    /// Hash of the configuration in effect.
    pub config: String,
    pub state: String,
    pub sentence: String,
    pub is_live: bool,
    pub components: BTreeMap<String, Component>,
    pub topics: BTreeMap<String, Topic>,
    pub partitions: Vec<Partition>,
    pub partitions_total: u64,
    pub tables: BTreeMap<String, Table>,
    /// From the time of each record until its row was acknowledged, in seconds.
    pub e2e: Buckets,
    pub stages: BTreeMap<String, Stage>,
    pub memory_used_bytes: u64,
    pub memory_budget_bytes: u64,
    /// Bytes by what holds them.
    pub memory_components: BTreeMap<String, u64>,
    /// By endpoint: open, limited, shut.
    pub gates: BTreeMap<String, String>,
    pub rebalances: u64,
    pub reloads: u64,
    /// Whether it takes orders.
    pub control: bool,
}

/// A part of the process that is not well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Component {
    /// Degraded or down.
    pub status: String,
    pub sentence: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Topic {
    pub records: u64,
    pub bytes: u64,
    pub dead_letters: u64,
    pub assigned: u64,
    /// Partitions paused by backpressure, by the ceiling of dead letters, and by an operator.
    pub paused: u64,
    pub capped: u64,
    pub held: u64,
    pub missing_rows: u64,
    pub surplus_rows: u64,
    /// Refused records by reason.
    pub reasons: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Partition {
    pub topic: String,
    pub partition: i32,
    pub lag_records: Option<u64>,
    pub lag_s: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Table {
    pub rows: u64,
    pub batches: u64,
    pub batch_rows: f64,
    pub insert: Buckets,
    pub parts: Option<u64>,
    /// Parts from which inserts are delayed.
    pub parts_delay: Option<u64>,
    pub flushes: BTreeMap<String, u64>,
    pub delivery: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stage {
    pub busy_s: f64,
    pub workers: f64,
}

/// A histogram: how many were at most each bound, and last how many there were.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Buckets {
    pub bounds: Vec<f64>,
    pub counts: Vec<u64>,
}

impl Buckets {
    /// Adds those of a series with the same bounds; others cannot be added up, and are left out.
    pub fn add(&mut self, other: &Buckets) {
        if self.counts.is_empty() {
            self.clone_from(other);
        } else if self.bounds == other.bounds && self.counts.len() == other.counts.len() {
            self.counts
                .iter_mut()
                .zip(&other.counts)
                .for_each(|(sum, more)| *sum = sum.saturating_add(*more));
        }
    }

    fn of(metric: &Metric) -> Buckets {
        let histogram = metric.get_histogram();
        let finite = histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
        let (bounds, mut counts): (Vec<f64>, Vec<u64>) =
            finite.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count())).unzip();
        counts.push(histogram.get_sample_count());
        Buckets { bounds, counts }
    }
}

impl Snapshot {
    /// How this process is now.
    pub fn take(health: &Health) -> Snapshot {
        let families = METRICS.gather();
        let families = Families(families.iter().map(|family| (family.name(), family)).collect());
        let report = health.report();
        let told = |(name, status): (String, Status)| {
            let (status, sentence) = match status {
                Status::Ok => return None,
                Status::Degraded(sentence) => ("degraded", sentence),
                Status::Down(sentence) => ("down", sentence),
            };
            Some((name, Component { status: status.to_owned(), sentence }))
        };
        let state = serde_json::to_value(report.state).unwrap_or_default();
        let mut snapshot = Snapshot {
            at_ms: chrono::Utc::now().timestamp_millis(),
            started_ms: health.started_ms(),
            version: report.version.to_owned(),
            state: state.as_str().unwrap_or_default().to_owned(),
            sentence: report.sentence,
            is_live: report.is_live,
            components: report.components.into_iter().filter_map(told).take(NAMES_MAX).collect(),
            ..Snapshot::default()
        };
        families.process(&mut snapshot);
        families.topics(&mut snapshot.topics);
        families.partitions(&mut snapshot);
        families.tables(&mut snapshot.tables);
        for (table, level) in report.delivery {
            if let Some(table) = entry(&mut snapshot.tables, &table) {
                table.delivery = Some(level.to_owned());
            }
        }
        snapshot
    }
}

/// What was gathered, by name.
struct Families<'f>(HashMap<&'f str, &'f MetricFamily>);

impl<'f> Families<'f> {
    /// The series of a family, each with its value.
    fn of(&self, name: &str) -> impl Iterator<Item = (&'f Metric, f64)> + use<'f> {
        let family = self.0.get(format!("penstock_{name}").as_str()).copied();
        family.into_iter().flat_map(|family| {
            let is_gauge = family.get_field_type() == MetricType::GAUGE;
            family.get_metric().iter().map(move |metric| {
                let value =
                    if is_gauge { metric.get_gauge().get_value() } else { metric.get_counter().get_value() };
                (metric, value)
            })
        })
    }

    fn sum(&self, name: &str) -> u64 {
        whole(self.of(name).map(|(_, value)| value).sum())
    }

    fn process(&self, snapshot: &mut Snapshot) {
        snapshot.memory_used_bytes = self.sum("memory_used_bytes");
        snapshot.memory_budget_bytes = self.sum("memory_budget_bytes");
        for (metric, value) in self.of("memory_component_bytes").take(NAMES_MAX) {
            snapshot.memory_components.insert(label(metric, "component").to_owned(), whole(value));
        }
        snapshot.rebalances = self.sum("rebalances_total");
        let reloads = self.of("config_reloads_total").filter(|(metric, _)| label(metric, "outcome") == "ok");
        snapshot.reloads = whole(reloads.map(|(_, value)| value).sum());
        let config = self.of("config_info").find(|(_, value)| 0.0 < *value);
        snapshot.config = config.map(|(metric, _)| label(metric, "hash").to_owned()).unwrap_or_default();
        for (metric, _) in self.of("gate_state").filter(|(_, value)| 0.0 < *value).take(NAMES_MAX) {
            snapshot.gates.insert(label(metric, "endpoint").to_owned(), label(metric, "state").to_owned());
        }
        for (metric, value) in self.of("stage_busy_seconds_total") {
            if let Some(stage) = entry(&mut snapshot.stages, label(metric, "stage")) {
                stage.busy_s += value;
            }
        }
        for (metric, value) in self.of("stage_workers") {
            if let Some(stage) = entry(&mut snapshot.stages, label(metric, "stage")) {
                stage.workers += value;
            }
        }
        for (metric, _) in self.of("e2e_latency_seconds") {
            snapshot.e2e.add(&Buckets::of(metric));
        }
    }

    fn topics(&self, topics: &mut BTreeMap<String, Topic>) {
        type Field = fn(&mut Topic) -> &mut u64;
        let fields: [(&str, Field); 5] = [
            ("consumed_records_total", |topic| &mut topic.records),
            ("consumed_bytes_total", |topic| &mut topic.bytes),
            ("assigned_partitions", |topic| &mut topic.assigned),
            ("audit_missing_rows", |topic| &mut topic.missing_rows),
            ("audit_surplus_rows", |topic| &mut topic.surplus_rows),
        ];
        for (name, field) in fields {
            for (metric, value) in self.of(name) {
                if let Some(topic) = entry(topics, label(metric, "topic")) {
                    *field(topic) += whole(value);
                }
            }
        }
        for (metric, value) in self.of("paused_partitions") {
            let Some(topic) = entry(topics, label(metric, "topic")) else { continue };
            match label(metric, "reason") {
                "dead_letter_ceiling" => topic.capped += whole(value),
                "operator" => topic.held += whole(value),
                _ => topic.paused += whole(value),
            }
        }
        for (metric, value) in self.of("dlq_records_total") {
            if let Some(topic) =
                entry(topics, label(metric, "topic")).filter(|_| label(metric, "outcome") == "ok")
            {
                topic.dead_letters += whole(value);
                *topic.reasons.entry(label(metric, "kind").to_owned()).or_default() += whole(value);
            }
        }
    }

    fn partitions(&self, snapshot: &mut Snapshot) {
        let mut all: BTreeMap<(&str, &str), Partition> = BTreeMap::new();
        for (metric, lag_s) in self.of("lag_seconds") {
            let (topic, number) = (label(metric, "topic"), label(metric, "partition"));
            let partition = Partition {
                topic: topic.to_owned(),
                partition: number.parse().unwrap_or(-1),
                lag_records: None,
                lag_s: if lag_s.is_finite() { lag_s } else { 0.0 },
            };
            all.insert((topic, number), partition);
        }
        for (metric, lag) in self.of("lag_records") {
            if let Some(partition) = all.get_mut(&(label(metric, "topic"), label(metric, "partition"))) {
                partition.lag_records = Some(whole(lag));
            }
        }
        snapshot.partitions_total = all.len() as u64;
        snapshot.partitions = all.into_values().collect();
        snapshot.partitions.sort_by(|a, b| b.lag_s.total_cmp(&a.lag_s));
        snapshot.partitions.truncate(PARTITIONS_MAX);
    }

    fn tables(&self, tables: &mut BTreeMap<String, Table>) {
        for (metric, value) in self.of("inserted_rows_total") {
            if let Some(table) = entry(tables, label(metric, "table")) {
                table.rows += whole(value);
            }
        }
        for (metric, _) in self.of("batch_rows") {
            if let Some(table) = entry(tables, label(metric, "table")) {
                table.batches += metric.get_histogram().get_sample_count();
                table.batch_rows += metric.get_histogram().get_sample_sum();
            }
        }
        for (metric, _) in self.of("insert_duration_seconds") {
            if let Some(table) = entry(tables, label(metric, "table")) {
                table.insert.add(&Buckets::of(metric));
            }
        }
        for (metric, value) in self.of("flushes_total") {
            if let Some(table) = entry(tables, label(metric, "table")) {
                *table.flushes.entry(label(metric, "trigger").to_owned()).or_default() += whole(value);
            }
        }
        for (metric, value) in self.of("ch_max_parts_per_partition") {
            if let Some(table) = entry(tables, label(metric, "table")) {
                table.parts = Some(whole(value));
            }
        }
        for (metric, value) in
            self.of("ch_parts_limit").filter(|(metric, _)| label(metric, "limit") == "delay")
        {
            if let Some(table) = entry(tables, label(metric, "table")) {
                table.parts_delay = Some(whole(value));
            }
        }
    }
}

/// The entry of a name, unless there are too many.
fn entry<'m, T: Default>(all: &'m mut BTreeMap<String, T>, name: &str) -> Option<&'m mut T> {
    (all.contains_key(name) || all.len() < NAMES_MAX).then(|| all.entry(name.to_owned()).or_default())
}

fn label<'m>(metric: &'m Metric, name: &str) -> &'m str {
    let pair = metric.get_label().iter().find(|pair| pair.name() == name);
    pair.map(|pair| pair.value()).unwrap_or_default()
}

/// A count that a metric holds as a float.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Cut at both ends.
fn whole(value: f64) -> u64 {
    if value.is_finite() { value.max(0.0) as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::health::State;
    use super::*;

    #[test]
    fn a_process_is_told_whole_and_what_is_well_is_left_out() {
        let health = Health::new(Duration::from_secs(30));
        health.set_state(State::Running, "consumer 0 reads 2 partitions");
        health.set_component("clickhouse a:8123", Status::Ok);
        health.set_component("table snap_t, consumer 0", Status::Down("paused, nothing is lost".to_owned()));
        health.set_level("snap_t", "exact");
        let topic = "snap_topic";
        METRICS.consumed_records.with_label_values(&[topic]).inc_by(7);
        METRICS.dlq_records.with_label_values(&[topic, "missing_field", "ok"]).inc_by(2);
        METRICS.dlq_records.with_label_values(&[topic, "missing_field", "error"]).inc_by(5);
        METRICS.paused_partitions.with_label_values(&[topic, "dead_letter_ceiling"]).set(1);
        METRICS.lag_seconds.with_label_values(&[topic, "3"]).set(2.5);
        METRICS.lag_records.with_label_values(&[topic, "3"]).set(41);
        METRICS.inserted_rows.with_label_values(&[topic, "snap_t"]).inc_by(5);
        METRICS.insert_duration.with_label_values(&["snap_t", "ok"]).observe(0.2);
        METRICS.insert_duration.with_label_values(&["snap_t", "retryable"]).observe(2.0);
        METRICS.flushes.with_label_values(&["snap_t", "rows"]).inc();
        METRICS.memory.component.with_label_values(&["sealed"]).set(11);

        let told = Snapshot::take(&health);
        assert_eq!(
            (told.state.as_str(), told.is_live, told.version.as_str()),
            ("running", true, env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(told.components.keys().collect::<Vec<_>>(), ["table snap_t, consumer 0"]);
        assert!(0 < told.started_ms && told.started_ms <= told.at_ms);
        let seen = &told.topics[topic];
        assert_eq!((seen.records, seen.dead_letters, seen.capped), (7, 2, 1));
        assert_eq!(seen.reasons["missing_field"], 2);
        let partition = told.partitions.iter().find(|one| one.topic == topic).unwrap();
        assert_eq!((partition.partition, partition.lag_records, partition.lag_s), (3, Some(41), 2.5));
        let table = &told.tables["snap_t"];
        assert_eq!((table.rows, table.delivery.as_deref(), table.flushes["rows"]), (5, Some("exact"), 1));
        assert_eq!(table.insert.counts.last(), Some(&2), "of all outcomes");

        assert_eq!(told.memory_components["sealed"], 11);

        let text = serde_json::to_string(&told).unwrap();
        assert_eq!(serde_json::from_str::<Snapshot>(&text).unwrap(), told);
        assert!(serde_json::from_str::<Snapshot>("{\"is_new\": 1}").unwrap().topics.is_empty());
    }

    #[test]
    fn there_are_never_more_names_than_the_bound() {
        let mut all: BTreeMap<String, Topic> = BTreeMap::new();
        for n in 0..NAMES_MAX + 10 {
            entry(&mut all, &n.to_string());
        }
        assert_eq!(all.len(), NAMES_MAX);
        assert!(entry(&mut all, "0").is_some() && entry(&mut all, "new").is_none());
    }

    #[test]
    fn histograms_with_other_bounds_are_not_added_up() {
        let mut sum = Buckets::default();
        let one = Buckets { bounds: vec![1.0], counts: vec![1, 2] };
        sum.add(&one);
        sum.add(&one);
        sum.add(&Buckets { bounds: vec![2.0], counts: vec![9, 9] });
        assert_eq!(sum, Buckets { bounds: vec![1.0], counts: vec![2, 4] });
        assert_eq!((whole(-1.0), whole(f64::NAN), whole(2.9)), (0, 0, 2));
    }
}
