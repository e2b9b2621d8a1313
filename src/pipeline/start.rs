//! Building a pipeline from its parts and running its members.
//!
//! Refuses to read configuration files. Nothing is consumed before every topic was seen to exist; the
//! first member that cannot go on stops the others.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::commits::Commits;
use super::config::Limits;
use super::flush::{Flusher, Target};
use super::lane::Lane;
use super::partitions::Partitions;
use super::pressure::{Valve, Watch, Watched};
use super::regulate::Regulator;
use super::report::{Reporter, Snapshot};
use super::worker::{Settings, Worker};
use super::{Error, Line, Tickets, Totals};
use crate::batch::{self, Budget};
use crate::clickhouse;
use crate::dead_letter::{self, Sink};
use crate::decode::{self, Decoder};
use crate::kafka::admin::{Purpose, check_topics};
use crate::kafka::{self, Consumer, Producer};
use crate::schema::Table;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::METRICS;

/// Answers that may wait for the worker to look; a task with an answer waits beyond it.
const ANSWERS_MAX: usize = 4096;

/// Which lane takes which topic.
type Topics = Vec<(Arc<str>, usize)>;

/// Everything that a pipeline is made of.
pub struct Parts {
    pub kafka: kafka::Config,
    pub batch: batch::Config,
    pub dead_letter: dead_letter::Config,
    pub decode: decode::Config,
    pub limits: Limits,
    pub memory_bytes_max: u64,
    pub drain_max: Duration,
    /// End once everything published so far is durable.
    pub stop_at_end: bool,
    pub tables: Vec<Arc<Table>>,
    pub client: clickhouse::Client,
    pub health: Health,
}

pub struct Pipeline {
    parts: Parts,
    totals: Arc<Totals>,
    budget: Arc<Budget>,
    /// By table, as the tables.
    targets: Vec<Arc<Target>>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// Whether everything that was taken in is settled and committed.
    pub drained: bool,
    pub totals: Snapshot,
}

impl Pipeline {
    /// Checks that the parts fit together. No I/O.
    pub fn new(parts: Parts) -> Result<Pipeline, Error> {
        lanes_by_topic(&parts.tables, &named(&parts.tables))?;
        let budget = Budget::new(parts.memory_bytes_max, u64::from(parts.kafka.consumers));
        METRICS.memory_budget.set(i64::try_from(parts.memory_bytes_max).unwrap_or(i64::MAX));
        let valves = Valve::all(&parts.batch, &parts.tables);
        let tables = parts.tables.iter().zip(&valves);
        let targets =
            tables.map(|(table, valve)| Arc::new(Target::new(table, valve, &parts.batch))).collect();
        Ok(Pipeline { parts, totals: Arc::default(), budget, targets })
    }

    /// The sums to watch while it runs.
    pub fn totals(&self) -> Arc<Totals> {
        Arc::clone(&self.totals)
    }

    /// Runs until `shutdown`, or until everything is read when `stop_at_end` was asked for. Not cancel-safe:
    /// dropping it leaves the members running until their next look at `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) -> Result<Summary, Error> {
        let topics = self.topics().await?;
        self.check_topics(&topics).await?;
        let producer = Producer::new(&self.parts.kafka, self.parts.dead_letter.produce_timeout.0)?;
        let stop = shutdown.child_token();
        // Ends with the run, and not with the wish to end: what is held still goes through the valves.
        let _watch = self.watch_pressure();
        let mut ends = FuturesUnordered::new();
        for member in 0..usize::from(self.parts.kafka.consumers) {
            let worker = self.worker(member, &topics, producer.clone(), stop.clone())?;
            ends.push(start(member, worker)?);
        }
        let mut drained = true;
        let mut failure = None;
        while let Some(end) = ends.next().await {
            match end {
                Ok(Ok(all)) => drained &= all,
                Ok(Err(error)) => failure = failure.or(Some(error)),
                Err(_) => failure = failure.or(Some(Error::Task("a consumer thread panicked".to_owned()))),
            }
            if failure.is_some() {
                stop.cancel();
            }
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(Summary { drained, totals: self.totals.snapshot() }),
        }
    }

    /// Reads the pressure of the tables until the guard is dropped.
    fn watch_pressure(&self) -> Option<DropGuard> {
        let parts = &self.parts;
        if !parts.batch.pressure.enabled {
            return None;
        }
        let now = Instant::now();
        let watch = Watch {
            client: parts.client.clone(),
            kafka: Arc::new(parts.kafka.clone()),
            health: parts.health.clone(),
            interval: parts.batch.pressure.interval.0,
            tables: self.targets.iter().map(|target| Watched::new(&target.valve, now)).collect(),
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(watch.run()).await });
        Some(stop.drop_guard())
    }

    /// Which lane takes which topic. Patterns stand for the topics that match them now; dead-letter topics
    /// are left out, or letters would be read as records.
    async fn topics(&self) -> Result<Topics, Error> {
        let tables = &self.parts.tables;
        let mut names = named(tables);
        if names.iter().any(|(name, _)| name.starts_with('^')) {
            let kafka = self.parts.kafka.clone();
            let all = blocking(move || kafka::admin::topics(&kafka)).await?;
            let letters: HashSet<String> = all.iter().map(|t| self.parts.dead_letter.topic_for(t)).collect();
            let candidates: Vec<String> = all.into_iter().filter(|t| !letters.contains(t)).collect();
            names = expand(names, &candidates)?;
        }
        lanes_by_topic(tables, &names)
    }

    async fn check_topics(&self, topics: &Topics) -> Result<(), Error> {
        let mut all = Vec::new();
        for (topic, _) in topics {
            all.push((topic.to_string(), Purpose::Source));
            let letters = (self.parts.dead_letter.topic_for(topic), Purpose::DeadLetters);
            if !all.contains(&letters) {
                all.push(letters);
            }
        }
        let kafka = self.parts.kafka.clone();
        blocking(move || check_topics(&kafka, &all)).await
    }

    fn worker(
        &self,
        member: usize,
        topics: &Topics,
        producer: Producer,
        shutdown: CancellationToken,
    ) -> Result<Worker, Error> {
        let parts = &self.parts;
        let now = Instant::now();
        let lanes = self.lanes(now)?;
        let (answer_to, answers) = mpsc::channel(ANSWERS_MAX);
        let names: Vec<&str> = topics.iter().map(|(topic, _)| &**topic).collect();
        let slowest =
            parts.limits.topics.values().chain(parts.limits.tables.values()).map(|r| r.records_per_second);
        Ok(Worker {
            consumer: Consumer::new(&parts.kafka, &names, member)?,
            regulator: Regulator::new(lanes.len(), slowest.min()),
            line: Line {
                partitions: Partitions::default(),
                lanes,
                letters: VecDeque::new(),
                tickets: Tickets::default(),
                budget: Arc::clone(&self.budget),
                totals: Arc::clone(&self.totals),
                now_ms: 0,
            },
            flusher: Flusher {
                client: parts.client.clone(),
                letters: Sink::new(producer, parts.dead_letter.clone()),
                kafka: Arc::new(parts.kafka.clone()),
            },
            runtime: Handle::current(),
            answers,
            answer_to,
            shutdown,
            reporter: Reporter::new(parts.health.clone(), member, now),
            commits: Commits::new(parts.kafka.commit_interval.0, now),
            revocation: None,
            stopping: None,
            settings: Settings { drain_max: parts.drain_max, stop_at_end: parts.stop_at_end },
            topics: topics.clone(),
            caught_up_looks: 0,
            was_assigned: false,
        })
    }

    fn lanes(&self, now: Instant) -> Result<Vec<Lane>, Error> {
        let mut lanes = Vec::new();
        for (index, (table, target)) in self.parts.tables.iter().zip(&self.targets).enumerate() {
            let decoder = Decoder::new(Arc::clone(table), &self.parts.decode)
                .map_err(|source| Error::Decode { table: table.name.clone(), source })?;
            let mut lane = Lane::new(index, decoder, target, &self.budget);
            let limits = &self.parts.limits;
            let rates = table
                .topics
                .iter()
                .filter_map(|t| limits.topics.get(t))
                .chain(limits.tables.get(&table.name));
            if let Some(rate) = rates.map(|r| r.records_per_second).min() {
                // The members share the limit.
                lane.limit((rate / u32::from(self.parts.kafka.consumers)).max(1), now);
            }
            lanes.push(lane);
        }
        Ok(lanes)
    }
}

/// Starts a member's thread; the receiver ends with its result.
fn start(member: usize, worker: Worker) -> Result<oneshot::Receiver<Result<bool, Error>>, Error> {
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new()
        .name(format!("consumer-{member}"))
        .spawn(move || {
            // Nobody waits any more when the pipeline was dropped.
            let _ = ended.send(worker.run());
        })
        .map_err(Error::Thread)?;
    Ok(end)
}

/// Runs what blocks on a thread for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, kafka::Error> + Send + 'static,
) -> Result<T, Error> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|error| Error::Task(error.to_string()))??)
}

/// The topics and patterns that the table files name, each with the index of its table.
fn named(tables: &[Arc<Table>]) -> Vec<(String, usize)> {
    let indexed = tables.iter().enumerate();
    indexed.flat_map(|(lane, table)| table.topics.iter().map(move |topic| (topic.clone(), lane))).collect()
}

/// Puts the topics that match in the place of each pattern.
fn expand(names: Vec<(String, usize)>, topics: &[String]) -> Result<Vec<(String, usize)>, Error> {
    let mut all = Vec::new();
    for (name, lane) in names {
        if !name.starts_with('^') {
            all.push((name, lane));
            continue;
        }
        let pattern = regex::Regex::new(&name)
            .map_err(|error| Error::Pattern { pattern: name.clone(), message: error.to_string() })?;
        let matching = topics.iter().filter(|topic| pattern.is_match(topic));
        all.extend(matching.map(|topic| (topic.clone(), lane)));
    }
    Ok(all)
}

fn lanes_by_topic(tables: &[Arc<Table>], names: &[(String, usize)]) -> Result<Topics, Error> {
    let mut topics: Topics = Vec::new();
    for (topic, lane) in names {
        let table = |lane: usize| tables.get(lane).map_or_else(String::new, |table| table.name.clone());
        match topics.iter().find(|(taken, _)| **taken == **topic) {
            Some((_, first)) if first == lane => {}
            Some((_, first)) => {
                let (first, second) = (table(*first), table(*lane));
                return Err(Error::TopicTwice { topic: topic.clone(), first, second });
            }
            None => topics.push((Arc::from(topic.as_str()), *lane)),
        }
    }
    if topics.is_empty() { Err(Error::NoTopics) } else { Ok(topics) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_the_topics_that_match() {
        let topics = ["orders.de", "orders.fr", "clicks"].map(str::to_owned);
        let names = vec![("^orders[.]".to_owned(), 0), ("clicks".to_owned(), 1)];
        let expected = [("orders.de", 0), ("orders.fr", 0), ("clicks", 1)].map(|(t, l)| (t.to_owned(), l));
        assert_eq!(expand(names, &topics).unwrap(), expected);
        assert!(matches!(expand(vec![("^(".to_owned(), 0)], &topics), Err(Error::Pattern { .. })));
    }
}
