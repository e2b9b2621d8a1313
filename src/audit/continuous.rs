//! The audit of a line that runs: stretches of committed offsets, with the line's own counts, against the table.
//!
//! Refuses to read Kafka again and to hold the line up: stretches come over a bounded queue, and one that finds it
//! full is brought again later. The first look compares sums; only what differs is counted exactly, and only what
//! still differs a little later is told, since a replica may be behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::config::Enabled;
use super::lookup::Measure;
use super::{Config, Error, Lookup};
use crate::clickhouse::Client;
use crate::delivery::Stretch;
use crate::record::TopicPartition;
use crate::schema::Table;
use crate::telemetry::health::{Health, Status};
use crate::telemetry::metrics::METRICS;

/// Stretches that may wait.
const QUEUE_MAX: usize = 1_024;
/// Stretches asked for in one question.
const STRETCHES_MAX: usize = 32;
/// Replicas may take this long to show a row.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(5);

/// A committed stretch of a partition, to be compared.
#[derive(Clone, Debug)]
pub struct Check {
    /// Index of the table.
    pub table: usize,
    pub source: TopicPartition,
    pub stretch: Stretch,
}

/// Hands stretches to the task that compares them; cheap to clone. The task ends when all clones are gone.
#[derive(Clone, Debug)]
pub struct Checker {
    queue: mpsc::Sender<Check>,
    audited: Arc<[bool]>,
}

struct Task {
    client: Client,
    /// By the index of the table; `None` is not audited.
    lookups: Vec<Option<Lookup>>,
    health: Health,
    doubles_allowed: bool,
    /// Missing and surplus rows by table since the start.
    differences: BTreeMap<String, (u64, u64)>,
}

/// Which tables are audited while the line runs; `topics` says from how many topics each is filled.
pub fn lookups(
    config: &Config,
    tables: &[Arc<Table>],
    topics: impl Fn(usize) -> usize,
) -> Result<Vec<Option<Lookup>>, Error> {
    let one = |(index, table): (usize, &Arc<Table>)| {
        let lookup = Lookup::new(table, 1 < topics(index));
        match config.enabled {
            Enabled::Never => Ok(None),
            Enabled::Always => lookup.map(Some),
            Enabled::Auto => Ok(lookup.ok().filter(|_| keeps_every_row(&table.engine))),
        }
    };
    tables.iter().enumerate().map(one).collect()
}

/// Engines that merge rows away have fewer than were inserted, and nothing is wrong with it.
pub fn keeps_every_row(engine: &str) -> bool {
    let name = engine.split('(').next().unwrap_or_default().trim();
    let name = name.strip_prefix("Replicated").or(name.strip_prefix("Shared")).unwrap_or(name);
    name == "MergeTree"
}

impl Checker {
    /// Starts the task.
    pub fn start(
        runtime: &Handle,
        client: Client,
        lookups: Vec<Option<Lookup>>,
        health: Health,
        doubles_allowed: bool,
    ) -> (Checker, JoinHandle<()>) {
        let (queue, checks) = mpsc::channel(QUEUE_MAX);
        let audited = lookups.iter().map(Option::is_some).collect();
        let task = Task { client, lookups, health, doubles_allowed, differences: BTreeMap::new() };
        (Checker { queue, audited }, runtime.spawn(task.run(checks)))
    }

    /// Whether the table is audited.
    pub fn audits(&self, table: usize) -> bool {
        self.audited.get(table).copied().unwrap_or(false)
    }

    /// Queues the stretch; gives it back when the queue is full.
    pub fn offer(&self, check: Check) -> Result<(), Stretch> {
        self.queue.try_send(check).map_err(|error| match error {
            mpsc::error::TrySendError::Full(check) | mpsc::error::TrySendError::Closed(check) => {
                check.stretch
            }
        })
    }
}

impl Task {
    async fn run(mut self, mut checks: mpsc::Receiver<Check>) {
        let mut batch = Vec::new();
        while 0 < checks.recv_many(&mut batch, QUEUE_MAX).await {
            let differing = self.look(std::mem::take(&mut batch), false).await;
            if !differing.is_empty() {
                tokio::time::sleep(SECOND_LOOK_AFTER).await;
                let differing: Vec<_> = differing.into_iter().map(|(check, _)| check).collect();
                for (check, measure) in self.look(differing, true).await {
                    self.tell(&check, measure);
                }
            }
        }
    }

    /// Compares, and gives what differs. Counts what was compared for good: with `exact` everything, else what
    /// agrees.
    async fn look(&self, mut checks: Vec<Check>, exact: bool) -> Vec<(Check, Measure)> {
        let mut differing = Vec::new();
        checks.sort_by_key(|check| check.table);
        for group in checks.chunk_by(|a, b| a.table == b.table).flat_map(|group| group.chunks(STRETCHES_MAX))
        {
            let lookup = group.first().and_then(|check| self.lookups.get(check.table)?.as_ref());
            let Some(lookup) = lookup else { continue };
            let stretches: Vec<_> = group.iter().map(|check| (&check.source, check.stretch.range)).collect();
            let answer = lookup.measure(&self.client, &stretches, exact).await;
            let measures = answer.unwrap_or_else(|error| {
                tracing::warn!(table = %lookup.table, %error, "committed offsets could not be compared with the table; `penstock audit-rows` does it later");
                group.iter().for_each(|check| count(check, "not_compared"));
                Vec::new()
            });
            for (check, measure) in group.iter().zip(measures) {
                let agrees = agrees(&check.stretch, &measure);
                if agrees || exact {
                    count(check, "compared");
                }
                if !agrees {
                    differing.push((check.clone(), measure));
                }
            }
        }
        differing
    }

    /// A difference that stayed: metrics, log and health.
    fn tell(&mut self, check: &Check, measure: Measure) {
        let (missing, surplus) = differences(&check.stretch, &measure);
        let labels = [METRICS.topics.of(&check.source.topic)];
        let add = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        METRICS.audit_missing_rows.with_label_values(&labels).add(add(missing));
        METRICS.audit_surplus_rows.with_label_values(&labels).add(add(surplus));
        let table = self.lookups.get(check.table).and_then(Option::as_ref).map(|lookup| lookup.table.clone());
        let table = table.unwrap_or_default();
        let (source, range) = (&check.source, check.stretch.range);
        let doubled = match self.doubles_allowed && 0 < surplus {
            true => " (doubled, at_least_once allows it after a fault)",
            false => "",
        };
        let hint = format!(
            "`penstock audit-rows --table {table} --topic {} --partition {} --from-offset {} --to-offset {}` names them",
            source.topic, source.partition, range.first, range.next
        );
        tracing::error!(
            %table, topic = %source.topic, partition = %source.partition, %range, missing, surplus,
            "committed offsets and the table differ{doubled}; {hint}"
        );
        let all = self.differences.entry(table.clone()).or_default();
        *all = (all.0 + missing, all.1 + surplus);
        let sentence = format!(
            "since the start {} rows are missing and {} are there too often{doubled}, last seen in {source} {range}: {hint}",
            all.0, all.1
        );
        self.health.set_component(&format!("audit of table {table}"), Status::Degraded(sentence));
    }
}

fn count(check: &Check, outcome: &str) {
    let range = check.stretch.range;
    let offsets = range.next.0.abs_diff(range.first.0);
    METRICS
        .audit_offsets
        .with_label_values(&[METRICS.topics.of(&check.source.topic), outcome])
        .inc_by(offsets);
}

fn agrees(stretch: &Stretch, measure: &Measure) -> bool {
    (stretch.rows, stretch.sum, stretch.squares) == (measure.rows, measure.sum, measure.squares)
}

/// Missing and surplus rows, at least: where a row that must not be there makes up for one that is missing, one of
/// each is told.
fn differences(stretch: &Stretch, exact: &Measure) -> (u64, u64) {
    let missing = stretch.rows.saturating_sub(exact.distinct);
    let surplus = exact.rows.saturating_sub(exact.distinct.min(stretch.rows));
    if missing == 0 && surplus == 0 { (1, 1) } else { (missing, surplus) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Offset, OffsetRange};
    use crate::schema::parse_table;

    #[test]
    fn differences_are_missing_or_surplus_rows() {
        let range = OffsetRange { first: Offset(0), next: Offset(4) };
        let stretch = Stretch { range, rows: 3, filtered: 1, rejected: 0, absent: 0, sum: 4, squares: 10 };
        let measure = |rows, sum, squares, distinct| Measure { rows, sum, squares, distinct };
        assert!(agrees(&stretch, &measure(3, 4, 10, 0)));
        let cases = [
            (measure(2, 1, 1, 2), (1, 0)),
            (measure(4, 7, 19, 3), (0, 1)),
            (measure(4, 2, 2, 2), (1, 2)),
            (measure(4, 6, 14, 4), (0, 1)),
            (measure(3, 5, 13, 3), (1, 1)),
            (measure(0, 0, 0, 0), (3, 0)),
        ];
        for (measure, expected) in cases {
            assert!(!agrees(&stretch, &measure));
            assert_eq!(differences(&stretch, &measure), expected, "{measure:?}");
        }
    }

    #[test]
    fn tables_are_chosen_by_columns_and_engine() {
        let table = |columns: &str, engine: &str| {
            let text = format!("table: t\ntopics: [a]\norder_by: [o]\nengine: {engine}\ncolumns:\n{columns}");
            Arc::new(parse_table(&text, std::path::Path::new("t.yaml")).unwrap())
        };
        let with = "- {name: p, type: Int32, from: $partition}\n- {name: o, type: Int64, from: $offset}\n";
        let without = "- {name: o, type: Int64, from: $offset}\n";
        let tables =
            [table(with, "MergeTree"), table(without, "MergeTree"), table(with, "ReplacingMergeTree")];
        let chosen = |enabled, topics: usize| {
            let config = Config { enabled, ..Config::default() };
            let found = lookups(&config, &tables, |_| topics)?;
            Ok::<_, Error>(found.iter().map(Option::is_some).collect::<Vec<_>>())
        };
        assert_eq!(chosen(Enabled::Auto, 1).unwrap(), [true, false, false]);
        assert_eq!(chosen(Enabled::Auto, 2).unwrap(), [false; 3]);
        assert_eq!(chosen(Enabled::Never, 1).unwrap(), [false; 3]);
        assert!(matches!(chosen(Enabled::Always, 1), Err(Error::MissingColumn { .. })));
        for engine in ["MergeTree", "ReplicatedMergeTree('/a', '{replica}')", "SharedMergeTree"] {
            assert!(keeps_every_row(engine), "{engine}");
        }
        for engine in ["SummingMergeTree(n)", "ReplicatedReplacingMergeTree", "Null", "Distributed(c, d, t)"]
        {
            assert!(!keeps_every_row(engine), "{engine}");
        }
    }
}
