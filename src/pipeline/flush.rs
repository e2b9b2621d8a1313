//! One sealed batch on its way into ClickHouse: one insert of it, or of a part of it, or one dead letter.
//!
//! Refuses to own anything but its batch: many flushes run at once and share only the client and the
//! dead-letter sink. Whatever ClickHouse answers, a row is counted as done only when it is in the table or
//! its record is acknowledged as a dead letter (invariants I1, I8).

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::OptionFuture;
use tokio::sync::{Semaphore, watch};

use super::Error;
use super::partitions::Partitions;
use super::pressure::Valve;
use super::search::Search;
use crate::batch::{PartitionBy, Sealed, Share, Slot};
use crate::clickhouse::{self, Class, Freshness, Insert, Payload, Place, Quorum};
use crate::dead_letter::{Cause, DeadLetter, Sink};
use crate::decode::Reason;
use crate::delivery::plan::Lease;
use crate::delivery::{Lineage, Ticket, token};
use crate::faults::{Faults, Point};
use crate::kafka;
use crate::record::{Offset, OffsetRange, OwnedRecord, Position, TopicPartition};
use crate::schema::subject::Erased;
use crate::telemetry::metrics::METRICS;
use crate::telemetry::traces::Trace;

/// Time to read a refused row's record again from Kafka.
const REFETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// What became of a batch's task, and so of its offsets.
#[derive(Debug)]
pub enum Flushed {
    /// The rows are in the table.
    Written,
    /// The refused row's record is an acknowledged dead letter.
    Buried,
    /// The rows are refused for their data, and surely none of them landed.
    Refused(Arc<clickhouse::Error>),
    /// Nothing is decided: the table pauses and the same is tried again later; no offset moves.
    Parked { reason: String },
}

/// A sealed batch with everything that its flush needs.
#[derive(Debug)]
pub struct Job {
    /// Index of the lane it belongs to.
    pub lane: usize,
    pub ticket: Ticket,
    pub sealed: Sealed,
    /// Its rows, in the order that they are sent.
    pub payload: Payload,
    pub sources: Vec<Source>,
    /// With `exactly_once`, the range that the task is about.
    pub planned: Option<PlannedRange>,
    /// Until when the task may be sent; set whenever it is.
    pub lease: Option<Lease>,
    pub task: Task,
    /// It is not sent before this.
    pub not_before: Option<Instant>,
    /// How often it has been parked.
    pub parked: u32,
    /// How many erasures were known when its first row was made.
    pub erasures: u64,
    /// The search for refused rows, once the batch was refused for its data.
    pub search: Option<Search>,
    /// An attempt of the task whose outcome is not known may begin until then.
    pub doubt: Option<Instant>,
    /// What is told of its way.
    pub trace: Trace,
}

/// What a flush does.
#[derive(Clone, Debug)]
pub enum Task {
    /// Inserts these rows of the batch.
    Insert(Range<usize>),
    /// Publishes the record of this row as a dead letter.
    Bury(usize, Arc<clickhouse::Error>),
}

/// What a planned task stands for.
#[derive(Clone, Copy, Debug)]
pub struct PlannedRange {
    pub slot: Slot,
    pub lineage: Lineage,
    pub range: OffsetRange,
    /// Where the batch ends, of which the range may be a part.
    pub end: Offset,
}

/// One partition's share of a batch.
#[derive(Clone, Debug)]
pub struct Source {
    pub source: TopicPartition,
    pub share: Share,
}

/// The table a job goes to.
#[derive(Clone, Debug)]
pub struct Target {
    pub database: Option<String>,
    pub table: String,
    /// Of the table file and what records are read of the topics.
    pub fingerprint: u32,
    /// What an insert of `exactly_once` needs.
    pub exact: Option<Exact>,
    /// What each insert passes through.
    pub valve: Arc<Valve>,
    /// As far as it is understood.
    pub partition_by: Option<PartitionBy>,
    pub partition_keys_max: usize,
}

/// How rows are written to a table exactly once.
#[derive(Clone, Debug)]
pub struct Exact {
    /// The consumer group and the table's full name, which stand in every token.
    pub group: String,
    pub name: String,
    pub quorum: Quorum,
    /// The right to the one insert at a time that a quorum allows; other processes are told apart by the server.
    pub turn: Option<Arc<Semaphore>>,
    /// The columns by which rows can be found again, if the table has them.
    pub columns: Option<PlaceColumns>,
    /// Which of the acknowledged rows a reading sees.
    pub freshness: Freshness,
    /// Whether a server that is killed may keep a token without the rows.
    pub loses_rows: bool,
    /// How long after it was first committed a range's token still proves anything; none if for ever.
    pub token_life: Option<Duration>,
    /// How long an insert may run that has begun.
    pub insert_max: Duration,
}

/// The names of the columns that hold where a row came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceColumns {
    pub topic: Option<String>,
    pub partition: String,
    pub offset: String,
}

/// What all flushes share; cheap to clone.
#[derive(Clone)]
pub struct Flusher {
    pub client: clickhouse::Client,
    pub letters: Sink,
    pub kafka: Arc<kafka::Config>,
    pub faults: Faults,
    pub erased: watch::Receiver<Arc<Erased>>,
}

impl Job {
    /// Whether anybody here still answers for it: a planned batch is its next owner's once the partition is
    /// taken away.
    pub fn is_ours(&self, partitions: &Partitions) -> bool {
        self.planned.is_none_or(|planned| partitions.get(planned.slot).is_some_and(|o| o.halted.is_none()))
    }

    pub fn offset_of(&self, row: usize) -> Option<Offset> {
        self.sealed.locate(row).map(|(_, offset)| offset)
    }

    /// Makes columns of the payload again if only a part of its rows goes: more parts will follow.
    async fn unpack_for(&mut self, rows: &Range<usize>) -> Result<(), clickhouse::Error> {
        if rows.len() < self.payload.rows() && self.payload.columns().is_none() {
            self.payload = self.payload.batch().await?.into();
            self.sealed.hold(None);
        }
        Ok(())
    }

    fn position_of(&self, row: usize) -> Option<Position> {
        let (slot, offset) = self.sealed.locate(row)?;
        let source = self.sources.iter().find(|s| s.share.slot == slot)?.source.clone();
        Some(Position { source, offset })
    }
}

impl Target {
    /// Whether an attempt whose outcome is not known is waited out and looked for before it is repeated.
    pub fn looks_before_repeating(&self) -> bool {
        self.exact.as_ref().is_some_and(|exact| exact.loses_rows && exact.columns.is_some())
    }

    /// Where the rows of one partition lie in the table, if it has the columns that say so.
    pub fn place(&self, source: &TopicPartition) -> Option<Place> {
        let exact = self.exact.as_ref()?;
        let columns = exact.columns.as_ref()?;
        Some(Place {
            database: self.database.clone(),
            table: self.table.clone(),
            topic: columns.topic.clone().map(|column| (column, source.topic.to_string())),
            partition: (columns.partition.clone(), i64::from(source.partition.0)),
            offset: columns.offset.clone(),
            freshness: exact.freshness,
        })
    }
}

impl Flusher {
    /// Does the job's task. Not cancel-safe: a dropped insert may still land; the token makes it recognisable.
    pub async fn flush(&self, job: &mut Job, target: &Target) -> Flushed {
        match job.task.clone() {
            Task::Insert(rows) => {
                if let Err(error) = job.unpack_for(&rows).await {
                    return Flushed::Parked { reason: error.to_string() };
                }
                match (job.planned, &target.exact) {
                    (Some(planned), Some(exact)) => {
                        self.insert_planned(job, target, (&planned, exact), rows).await
                    }
                    _ => {
                        let rows = job.spread(target).unwrap_or(rows);
                        self.insert_free(job, target, rows).await
                    }
                }
            }
            Task::Bury(row, error) => match self.bury(job, target, row, &error).await {
                Ok(()) => Flushed::Buried,
                Err(error) => Flushed::Parked { reason: error.to_string() },
            },
        }
    }

    /// An insert of `at_least_once`.
    async fn insert_free(&self, job: &Job, target: &Target, rows: Range<usize>) -> Flushed {
        // With the number of rows, so that a batch of the same range that holds other rows, since the table
        // file has changed meanwhile, is never taken for this one.
        let order = if job.sealed.is_spread() { " by key" } else { "" };
        // And with when its records were published: a topic that is made anew has others at the same offsets.
        let times_ms = job.sealed.timestamps_ms.iter().fold(0_i64, |sum, (_, ms)| sum.wrapping_add(*ms));
        let part = format!("{}-{} of {}{order}, {times_ms}", rows.start, rows.end, job.sealed.rows());
        let ranges: Vec<_> = job.sources.iter().map(|s| (s.source.clone(), s.share.range)).collect();
        let insert = Insert {
            database: target.database.clone(),
            table: target.table.clone(),
            token: token::token(&target.table, &ranges, &part),
            ..Insert::default()
        };
        match self.insert_rows(insert, (job, target), rows).await {
            Ok(_) => Flushed::Written,
            Err(error) if error.class() == Class::Data => Flushed::Refused(Arc::new(error)),
            Err(error) => Flushed::Parked { reason: error.to_string() },
        }
    }

    /// Inserts these rows of the job: all of them as they lie encoded from the first time on, or a part that is taken
    /// out of them.
    pub(super) async fn insert_rows(
        &self,
        insert: Insert,
        (job, target): (&Job, &Target),
        rows: Range<usize>,
    ) -> Result<clickhouse::Inserted, clickhouse::Error> {
        let is_whole = rows.len() == job.payload.rows();
        let batch = match is_whole {
            true => job.payload.clone(),
            false => job.payload.batch().await?.slice(rows.start, rows.len()).into(),
        };
        let insert = Insert { batch, trace: job.trace.clone(), ..insert };
        let begun = Instant::now();
        let mut step = job.trace.step("encode");
        step.set("penstock.rows", i64::try_from(rows.len()).unwrap_or(i64::MAX));
        let encoded = self.client.encode(&insert).await;
        step.end(encoded.is_err().then_some("encode"));
        encoded?;
        METRICS.stages.busy.with_label_values(&["batch"]).inc_by(begun.elapsed().as_secs_f64());
        job.sealed.hold(job.payload.body_bytes());
        self.insert(&insert, (job, target)).await
    }

    /// One insert through the table's valve, between the places where it can be broken.
    pub(super) async fn insert(
        &self,
        insert: &Insert,
        (job, target): (&Job, &Target),
    ) -> Result<clickhouse::Inserted, clickhouse::Error> {
        let turn = target.exact.as_ref().and_then(|exact| exact.turn.clone());
        // Nobody closes it; without a turn the server says itself that another is at work.
        let _turn = OptionFuture::from(turn.map(Semaphore::acquire_owned)).await;
        let begun = Instant::now();
        let pass = target.valve.admit().await;
        let waited = begun.elapsed();
        METRICS.stages.backpressure.with_label_values(&["insert"]).inc_by(waited.as_secs_f64());
        let _under_way = job.sealed.under_way();
        self.faults.point(Point::InsertStarted);
        let answer = self.client.insert(insert).await;
        self.faults.point(Point::InsertAnswered);
        let busy = begun.elapsed().saturating_sub(waited);
        METRICS.stages.busy.with_label_values(&["insert"]).inc_by(busy.as_secs_f64());
        pass.end(&answer);
        answer
    }

    /// Dead-letters a refused row with the bytes of its record, and waits for the acknowledgement.
    async fn bury(
        &self,
        job: &Job,
        target: &Target,
        row: usize,
        error: &clickhouse::Error,
    ) -> Result<(), Error> {
        let position = job.position_of(row).ok_or(Error::LostRow { row })?;
        let cause =
            Cause { reason: Reason::RefusedByServer.code(), path: String::new(), detail: error.to_string() };
        let letter = self.letter(position, cause, target).await?;
        self.letters.enter();
        self.faults.point(Point::DeadLetterSent);
        let offset = letter.record.position.offset.to_string();
        self.letters.deliver(letter).await;
        let about =
            [("penstock.reason", Reason::RefusedByServer.code()), ("messaging.kafka.offset", &offset)];
        job.trace.event("dead_letter", &about);
        job.trace.want();
        self.faults.point(Point::DeadLetterAcked);
        Ok(())
    }

    /// The refused row's record, read again from Kafka.
    async fn letter(
        &self,
        position: Position,
        mut cause: Cause,
        target: &Target,
    ) -> Result<DeadLetter, Error> {
        let (config, again) = (Arc::clone(&self.kafka), position.clone());
        let refetched =
            tokio::task::spawn_blocking(move || kafka::admin::refetch(&config, &again, REFETCH_TIMEOUT))
                .await
                .map_err(|error| Error::Task(error.to_string()))?;
        let record = match refetched {
            Ok(record) => record,
            // Waiting does not bring it back; that it was there and why it was refused is still told.
            Err(kafka::Error::Gone { .. }) => {
                cause.detail.push_str("; its bytes are no longer in the topic");
                OwnedRecord { position, timestamp_ms: None, key: None, payload: None, headers: Vec::new() }
            }
            Err(error) => return Err(error.into()),
        };
        Ok(DeadLetter {
            record,
            cause,
            table: target.table.clone(),
            group: self.kafka.group.clone(),
            refused_ms: self.faults.unix_ms(),
            cut: None,
        })
    }
}
