//! One sealed batch on its way into ClickHouse: it ends as written, poisoned or parked.
//!
//! Refuses to own anything but its batch: many flushes run at once and share only the client and the
//! dead-letter sink. Whatever ClickHouse answers, a row is counted as done only when it is in the table or
//! its record is acknowledged as a dead letter (invariants I1, I8).

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Error;
use super::pressure::Valve;
use crate::batch::{self, PartitionBy, Sealed, Share};
use crate::clickhouse::{self, Class, Insert};
use crate::dead_letter::bisect::{Bisect, Step};
use crate::dead_letter::{Cause, DeadLetter, Sink};
use crate::decode::Reason;
use crate::delivery::{Ticket, token};
use crate::kafka;
use crate::record::{OwnedRecord, Position, TopicPartition};
use crate::schema::Table;
use crate::telemetry::metrics::METRICS;

/// Inserts that the search for refused rows may cost; beyond it the fault is not in single rows.
const ISOLATION_INSERTS_MAX: usize = 256;
/// Time to read a refused row's record again from Kafka.
const REFETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// What became of a batch, and so of its offsets.
#[derive(Debug)]
pub enum Flushed {
    /// All rows are in the table: the offsets complete.
    Written,
    /// Some rows were refused for their data and are acknowledged dead letters, the others are in the
    /// table: the offsets complete.
    Poisoned { dead_letters: usize },
    /// Nothing is decided: the table pauses and the same batch is sent again later; no offset moves.
    Parked { reason: String },
}

/// A sealed batch with everything that its flush needs.
#[derive(Debug)]
pub struct Job {
    /// Index of the lane it belongs to.
    pub lane: usize,
    pub ticket: Ticket,
    pub sealed: Sealed,
    pub sources: Vec<Source>,
    /// How often it has been parked.
    pub parked: u32,
    /// The search for refused rows, once the batch was refused for its data.
    pub search: Option<Search>,
    /// How many of the refused rows are acknowledged dead letters.
    pub buried: usize,
}

type Search = Bisect<Arc<clickhouse::Error>>;

impl Job {
    /// The pieces to insert when the batch touches too many of the table's partition keys for one insert.
    fn spread(&mut self, target: &Target) -> Option<Search> {
        let by = target.partition_by.as_ref().filter(|_| self.parked == 0)?;
        let keys = by.keys(&self.sealed.batch)?;
        METRICS.pressure.partition_keys.with_label_values(&[&target.table]).observe(keys as f64);
        if keys <= target.partition_keys_max {
            return None;
        }
        match self.sealed.spread(by, target.partition_keys_max) {
            Ok(ends) => ends.map(|ends| {
                let inserts_max = ISOLATION_INSERTS_MAX.saturating_add(ends.len());
                Bisect::pieces(ends, inserts_max)
            }),
            // The server judges the batch as it is.
            Err(error) => {
                tracing::error!(table = %target.table, %error, "the batch cannot be ordered by partition key");
                None
            }
        }
    }
}

/// One partition's share of a batch.
#[derive(Clone, Debug)]
pub struct Source {
    pub source: TopicPartition,
    pub share: Share,
}

/// The table a job goes to.
#[derive(Debug)]
pub struct Target {
    pub database: Option<String>,
    pub table: String,
    /// What each insert passes through.
    pub valve: Arc<Valve>,
    /// As far as it is understood.
    pub partition_by: Option<PartitionBy>,
    pub partition_keys_max: usize,
}

impl Target {
    pub fn new(table: &Table, valve: &Arc<Valve>, config: &batch::Config) -> Target {
        Target {
            database: table.database.clone(),
            table: table.name.clone(),
            valve: Arc::clone(valve),
            partition_by: table.partition_by.as_deref().and_then(PartitionBy::parse),
            partition_keys_max: usize::from(config.partition_keys_max),
        }
    }
}

/// What all flushes share; cheap to clone.
#[derive(Clone)]
pub struct Flusher {
    pub client: clickhouse::Client,
    pub letters: Sink,
    pub kafka: Arc<kafka::Config>,
}

impl Flusher {
    /// Sends the batch, or goes on where an earlier try of it was interrupted. Not cancel-safe: a dropped
    /// flush may still land; the token makes it recognisable.
    pub async fn flush(&self, job: &mut Job, target: &Target) -> Flushed {
        let mut search = match job.search.take().or_else(|| job.spread(target)) {
            Some(search) => search,
            None => {
                let rows = job.sealed.batch.num_rows();
                match self.insert(job, target, 0..rows).await {
                    Attempt::Written => return Flushed::Written,
                    Attempt::Failed(error) => return Flushed::Parked { reason: error.to_string() },
                    Attempt::Refused(error) => {
                        tracing::warn!(table = %target.table, rows, %error, "batch refused for its data, looking for the rows");
                        Bisect::new(rows, error, ISOLATION_INSERTS_MAX)
                    }
                }
            }
        };
        let outcome = self.isolate(job, target, &mut search).await;
        job.search = Some(search);
        match outcome {
            Ok(dead_letters) => Flushed::Poisoned { dead_letters },
            Err(reason) => Flushed::Parked { reason },
        }
    }

    /// Finds the refused rows and dead-letters them; gives their number, or why it could not go on.
    async fn isolate(&self, job: &mut Job, target: &Target, search: &mut Search) -> Result<usize, String> {
        loop {
            match search.step() {
                Step::Insert(piece) => match self.insert(job, target, piece).await {
                    Attempt::Written => search.answer(Ok(())),
                    Attempt::Refused(error) => search.answer(Err(error)),
                    Attempt::Failed(error) => return Err(error.to_string()),
                },
                Step::Done => {
                    self.bury(job, target, search.guilty()).await.map_err(|error| error.to_string())?;
                    return Ok(search.guilty().len());
                }
                Step::Paused => {
                    search.allow(ISOLATION_INSERTS_MAX);
                    let found = search.guilty().len();
                    return Err(format!(
                        "many rows are refused for their data: {found} found with {ISOLATION_INSERTS_MAX} more inserts, \
                         the search goes on after a pause"
                    ));
                }
            }
        }
    }

    async fn insert(&self, job: &Job, target: &Target, piece: Range<usize>) -> Attempt {
        // With the number of rows, so that a batch of the same range that holds other rows, since the table
        // file has changed meanwhile, is never taken for this one.
        let order = if job.sealed.is_spread() { " by key" } else { "" };
        let part = format!("{}-{} of {}{order}", piece.start, piece.end, job.sealed.batch.num_rows());
        let ranges: Vec<_> = job.sources.iter().map(|s| (s.source.clone(), s.share.range)).collect();
        let insert = Insert {
            database: target.database.clone(),
            table: target.table.clone(),
            batch: job.sealed.batch.slice(piece.start, piece.len()),
            token: token::token(&target.table, &ranges, &part),
            settings: Vec::new(),
        };
        let pass = target.valve.admit().await;
        let result = self.client.insert(&insert).await;
        pass.end(&result);
        match result {
            Ok(_) => Attempt::Written,
            Err(error) if error.class() == Class::Data => Attempt::Refused(Arc::new(error)),
            Err(error) => Attempt::Failed(Arc::new(error)),
        }
    }

    /// Dead-letters refused rows with the bytes of their records, and waits for each acknowledgement. Goes on
    /// after those that were buried before.
    async fn bury(
        &self,
        job: &mut Job,
        target: &Target,
        guilty: &[(usize, Arc<clickhouse::Error>)],
    ) -> Result<(), Error> {
        for (row, error) in guilty.iter().skip(job.buried) {
            let position = position_of(job, *row).ok_or(Error::LostRow { row: *row })?;
            let cause = Cause {
                reason: Reason::RefusedByServer.code(),
                path: String::new(),
                detail: error.to_string(),
            };
            let letter = self.letter(position, cause, target).await?;
            self.letters.enter();
            self.letters.deliver(letter).await;
            job.buried += 1;
        }
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
            refused_ms: unix_ms(),
        })
    }
}

/// How one insert ended.
enum Attempt {
    Written,
    Refused(Arc<clickhouse::Error>),
    Failed(Arc<clickhouse::Error>),
}

fn position_of(job: &Job, row: usize) -> Option<Position> {
    let (slot, offset) = job.sealed.locate(row)?;
    let source = job.sources.iter().find(|s| s.share.slot == slot)?.source.clone();
    Some(Position { source, offset })
}

/// Milliseconds since 1970 by the system's clock.
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
