//! Building a pipeline from its parts and running its members.
//!
//! Refuses to read configuration files. Nothing is consumed before every topic was seen to exist; the
//! first member that cannot go on stops the others.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::audit::Audit;
use super::ceilings::Ceilings;
use super::commits::Commits;
use super::config::Limits;
use super::erased::Register;
use super::flush::{Exact, Flusher, Target};
use super::lane::Lane;
use super::partitions::Partitions;
use super::pressure::{Valve, Watch, Watched};
use super::regulate::Regulator;
use super::report::{Reporter, Snapshot};
use super::stages::Stages;
use super::standing::Asked;
use super::target::target;
use super::update::{Control, Update};
use super::worker::{Settings, Worker};
use super::{Error, Line, Tickets, Totals, series, topics};
use crate::audit::continuous::{self, Checker};
use crate::batch::{self, Budget};
use crate::clickhouse;
use crate::dead_letter::{self, Sink};
use crate::decode::{self, Decoder};
use crate::faults::Faults;
use crate::kafka::{self, Consumer, Producer};
use crate::schema::Table;
use crate::schema::subject::Erased;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::METRICS;
use crate::telemetry::traces::Tracer;

/// Answers that may wait for the worker to look; a task with an answer waits beyond it.
const ANSWERS_MAX: usize = 4096;
/// How long the end waits for the audit of the last offsets.
const AUDIT_END_MAX: Duration = Duration::from_secs(15);

/// Which lane takes which topic.
pub(super) type Topics = Vec<(Arc<str>, usize)>;

/// Everything that a pipeline is made of.
pub struct Parts {
    pub kafka: kafka::Config,
    pub batch: batch::Config,
    pub dead_letter: dead_letter::Config,
    pub decode: decode::Config,
    pub audit: crate::audit::Config,
    /// Rows may come twice after a fault, by the level of delivery.
    pub doubles_allowed: bool,
    pub limits: Limits,
    pub memory_bytes_max: u64,
    pub drain_max: Duration,
    pub faults: Faults,
    /// End once everything published so far is durable.
    pub stop_at_end: bool,
    /// How rows are written exactly once; without it `at_least_once`.
    pub exact: Option<ExactlyOnce>,
    pub tables: Vec<Arc<Table>>,
    pub client: clickhouse::Client,
    pub health: Health,
    /// Who was erased.
    pub register: Register,
    /// Traces batches, or does nothing.
    pub tracer: Tracer,
}

/// What `exactly_once` works with.
pub struct ExactlyOnce {
    /// How long a committed batch may be sent without being committed again.
    pub lease: Duration,
    /// By the table's name; every table is here.
    pub tables: BTreeMap<String, Exact>,
}

pub struct Pipeline {
    parts: Parts,
    totals: Arc<Totals>,
    budget: Arc<Budget>,
    checker: Option<Checker>,
    /// By table, as the tables.
    targets: Vec<Arc<Target>>,
    control: Control,
    erased: watch::Sender<Arc<Erased>>,
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
        METRICS.memory.budget.set(i64::try_from(parts.memory_bytes_max).unwrap_or(i64::MAX));
        let valves = Valve::all(&parts.batch, &parts.tables);
        let tables = parts.tables.iter().zip(&valves);
        let targets =
            tables.map(|(table, valve)| target(&parts, table, valve)).collect::<Result<_, Error>>()?;
        let control = Control::new(update(&parts), valves);
        let erased = watch::Sender::new(Arc::default());
        Ok(Pipeline { parts, totals: Arc::default(), budget, checker: None, targets, control, erased })
    }

    /// Changes what can be changed while it runs.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The sums to watch while it runs.
    pub fn totals(&self) -> Arc<Totals> {
        Arc::clone(&self.totals)
    }

    /// Runs until `shutdown`, or until everything is read when `stop_at_end` was asked for. Not cancel-safe:
    /// dropping it leaves the members running until their next look at `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<Summary, Error> {
        let topics = resolve_topics(&self.parts.kafka, &self.parts.dead_letter, &self.parts.tables).await?;
        self.control.orders().know(topics.iter().map(|(topic, _)| topic.to_string()));
        series::create(&self.parts.tables, &topics, self.parts.kafka.consumers);
        topics::check(&self.parts, &topics).await?;
        let produce_timeout = self.parts.dead_letter.produce_timeout.0;
        let producers = (
            Producer::new(&self.parts.kafka, produce_timeout)?,
            Producer::one_by_one(&self.parts.kafka, produce_timeout)?,
        );
        let stop = shutdown.child_token();
        let audit = self.start_audit(&topics)?;
        // Ends with the run, and not with the wish to end: what is held still goes through the valves.
        let _watch = self.watch_pressure();
        let _register = self.watch_register().await?;
        let mut ends = FuturesUnordered::new();
        for member in 0..usize::from(self.parts.kafka.consumers) {
            let worker = self.worker(member, &topics, producers.clone(), stop.clone())?;
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
        // The members' handles are gone, and with this one the audit ends after what is queued.
        drop(self.checker.take());
        if tokio::time::timeout(AUDIT_END_MAX, audit).await.is_err() {
            tracing::warn!("the audit of the last offsets was cut short; `penstock audit-rows` does it");
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(Summary { drained, totals: self.totals.snapshot() }),
        }
    }

    /// Starts the comparison of what is committed with the tables.
    fn start_audit(&mut self, topics: &Topics) -> Result<JoinHandle<()>, Error> {
        let parts = &self.parts;
        let of_lane = |lane: usize| topics.iter().filter(|(_, other)| *other == lane).count();
        let lookups = continuous::lookups(&parts.audit, &parts.tables, of_lane)?;
        let audited: Vec<&str> = lookups.iter().flatten().map(|lookup| lookup.table.as_str()).collect();
        tracing::info!(tables = %audited.join(", "), "what is committed is compared with these tables");
        let (client, health) = (parts.client.clone(), parts.health.clone());
        let (checker, task) =
            Checker::start(&Handle::current(), client, lookups, health, parts.doubles_allowed);
        self.checker = Some(checker);
        Ok(task)
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

    /// Reads who was erased, and goes on doing so until the guard is dropped.
    async fn watch_register(&self) -> Result<Option<DropGuard>, Error> {
        let register = self.parts.register.clone();
        let Some(read) = register.load(&self.parts.tables).await? else { return Ok(None) };
        self.erased.send_replace(Arc::clone(&read.erased));
        let (told, health) = (self.erased.clone(), self.parts.health.clone());
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(register.watch(read, told, health)).await });
        Ok(Some(stop.drop_guard()))
    }

    fn worker(
        &self,
        member: usize,
        topics: &Topics,
        producers: (Producer, Producer),
        shutdown: CancellationToken,
    ) -> Result<Worker, Error> {
        let parts = &self.parts;
        let now = Instant::now();
        let lanes = self.lanes()?;
        let (answer_to, answers) = mpsc::channel(ANSWERS_MAX);
        let names: Vec<&str> = topics.iter().map(|(topic, _)| &**topic).collect();
        Ok(Worker {
            consumer: Consumer::new(&parts.kafka, &names, member)?,
            regulator: Regulator::new(lanes.len()),
            ceilings: Ceilings::new(
                &parts.dead_letter.ceiling,
                topics.iter().map(|(topic, _)| Arc::clone(topic)),
            ),
            line: Line {
                partitions: Partitions::default(),
                lanes,
                letters: VecDeque::new(),
                tickets: Tickets::default(),
                budget: Arc::clone(&self.budget),
                totals: Arc::clone(&self.totals),
                tracer: parts.tracer.clone(),
                is_exact: parts.exact.is_some(),
                now_ms: 0,
            },
            flusher: Flusher {
                client: parts.client.clone(),
                letters: Sink::new(producers, parts.dead_letter.clone()),
                kafka: Arc::new(parts.kafka.clone()),
                faults: parts.faults.clone(),
                erased: self.erased.subscribe(),
            },
            runtime: Handle::current(),
            answers,
            answer_to,
            shutdown,
            updates: self.control.subscribe(),
            orders: self.control.orders().subscribe(),
            asked: Asked::default(),
            erased: self.subscribe_to_erased(),
            stages: Stages::new(now),
            reporter: Reporter::new(parts.health.clone(), member, now),
            commits: Commits::new(parts.kafka.commit_interval.0, now),
            audit: Audit::new(self.checker.clone(), parts.audit.interval.0, now),
            revocation: None,
            stopping: None,
            settings: Settings {
                erasure_hold: self.parts.register.grace.saturating_sub(self.parts.register.interval),
                drain_max: parts.drain_max,
                stop_at_end: parts.stop_at_end,
                session_timeout: parts.kafka.session_timeout.0,
                lease: parts.exact.as_ref().map_or(Duration::ZERO, |exact| exact.lease),
            },
            topics: topics.clone(),
            caught_up_looks: 0,
            was_assigned: false,
            turned: now,
        })
    }

    /// Its first look finds what is known then.
    fn subscribe_to_erased(&self) -> watch::Receiver<Arc<Erased>> {
        let mut receiver = self.erased.subscribe();
        receiver.mark_changed();
        receiver
    }

    fn lanes(&self) -> Result<Vec<Lane>, Error> {
        let mut lanes = Vec::new();
        for (index, (table, target)) in self.parts.tables.iter().zip(&self.targets).enumerate() {
            let decoder = Decoder::new(Arc::clone(table), &self.parts.decode)
                .map_err(|source| Error::Decode { table: table.name.clone(), source })?;
            lanes.push(Lane::new(index, decoder, target, &self.budget));
        }
        Ok(lanes)
    }
}

/// What holds at the start of what can be changed.
fn update(parts: &Parts) -> Update {
    Update {
        limits: parts.limits.clone(),
        batch: parts.batch.clone(),
        ceiling: parts.dead_letter.ceiling.clone(),
        decode: parts.decode.clone(),
        tables: parts.tables.clone(),
    }
}

/// Which table takes which topic, by its index. Patterns stand for the topics that match them now; dead-letter
/// topics are left out, or letters would be read as records.
pub async fn resolve_topics(
    kafka: &kafka::Config,
    dead_letter: &dead_letter::Config,
    tables: &[Arc<Table>],
) -> Result<Vec<(Arc<str>, usize)>, Error> {
    let mut names = named(tables);
    if names.iter().any(|(name, _)| name.starts_with('^')) {
        let kafka = kafka.clone();
        let all = blocking(move || kafka::admin::topics(&kafka)).await?;
        let letters: HashSet<String> = all.iter().map(|t| dead_letter.topic_for(t)).collect();
        let candidates: Vec<String> = all.into_iter().filter(|t| !letters.contains(t)).collect();
        names = expand(names, &candidates)?;
    }
    lanes_by_topic(tables, &names)
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
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, kafka::Error> + Send + 'static,
) -> Result<T, Error> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|error| Error::Task(error.to_string()))??)
}

/// The topics and patterns that the table files name, each with the index of its table.
fn named(tables: &[Arc<Table>]) -> Vec<(String, usize)> {
    let indexed = tables.iter().enumerate();
    indexed.flat_map(|(lane, table)| table.topics.iter().map(move |topic| (topic.clone(), lane))).collect()
}

/// Puts the topics that match in the place of each pattern; each name with the index of its table.
pub fn expand(names: Vec<(String, usize)>, topics: &[String]) -> Result<Vec<(String, usize)>, Error> {
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
