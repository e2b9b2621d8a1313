//! START HERE. The line from Kafka to ClickHouse, on one screen.
//!
//! Refuses to know how a stage does its work; it is the only place that sees two stages at once. An event
//! is polled, decoded, buffered, flushed and committed, or it becomes a dead letter; there is no other way
//! for an offset to move.
//!
//! Each member of the consumer group is one thread that polls, decodes and buffers ([`worker`]); what it
//! seals is sent by tasks that own nothing but their batch ([`flush`]). The thread never waits for
//! ClickHouse (invariant I7): their answers come back over a bounded channel.

mod audit;
mod ceilings;
mod commits;
pub mod config;
mod drain;
mod erased;
mod exact;
mod flush;
mod lane;
mod letter;
pub mod orders;
mod pace;
mod partitions;
mod planning;
mod pressure;
mod recover;
mod regulate;
mod report;
mod seal;
mod search;
mod series;
mod stages;
mod standing;
mod start;
mod target;
mod topics;
pub mod update;
mod worker;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::batch::{Budget, Trigger};
use crate::dead_letter::envelope;
use crate::decode::Verdict;
use crate::delivery::Ticket;
use crate::record::{Offset, OwnedRecord, Record, TopicPartition};
use crate::telemetry::traces::Tracer;
use lane::Lane;
use letter::Letter;
use partitions::Partitions;
use planning::Admission;
use seal::Batch;

pub use erased::{Error as ErasedError, Register};
pub use flush::{Exact, PlaceColumns};
pub use report::{Snapshot, Totals};
pub use start::{ExactlyOnce, Parts, Pipeline, Summary, expand, resolve_topics};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Kafka(#[from] crate::kafka::Error),
    #[error(transparent)]
    Erased(#[from] erased::Error),
    #[error(transparent)]
    Audit(#[from] crate::audit::Error),
    #[error("columns of a batch do not fit together: {0}")]
    Columns(#[from] crate::columns::Error),
    #[error("table `{table}`: {source}")]
    Decode { table: String, source: crate::decode::Error },
    #[error(
        "topic `{topic}` is taken by two tables, `{first}` and `{second}`\nhint: one topic feeds one table in this version"
    )]
    TopicTwice { topic: String, first: String, second: String },
    #[error("no table file names a topic\nhint: set `topics` in the table files under tables.path")]
    NoTopics,
    #[error("`{pattern}` is not a regular expression: {message}\nhint: correct `topics` in the table file")]
    Pattern { pattern: String, message: String },
    #[error("nothing is known of how table `{table}` could be filled exactly once")]
    NotExact { table: String },
    #[error(
        "table `{table}` waits with rows from before somebody was erased, longer than erasures wait for lines (lifecycle.erasure_grace)\nhint: nothing is lost: start the process again, which reads their records anew and leaves out who was erased"
    )]
    Outdated { table: String },
    #[error("row {row} of a batch cannot be traced to its record")]
    LostRow { row: usize },
    #[error("a task ended early: {0}")]
    Task(String),
    #[error("a thread could not be started: {0}")]
    Thread(#[source] std::io::Error),
}

/// What one member of the group holds between its poll and its flushes.
pub(crate) struct Line {
    partitions: Partitions,
    lanes: Vec<Lane>,
    letters: VecDeque<Letter>,
    tickets: Tickets,
    budget: Arc<Budget>,
    totals: Arc<Totals>,
    tracer: Tracer,
    /// Whether batches are planned (`exactly_once`).
    is_exact: bool,
    /// Wall clock of the current turn, milliseconds since 1970.
    now_ms: i64,
}

/// Gives out tickets, each once.
#[derive(Debug, Default)]
struct Tickets(u64);

impl Tickets {
    fn next(&mut self) -> Ticket {
        self.0 += 1;
        Ticket(self.0)
    }
}

impl Line {
    /// One record's way: decode → buffer → (full?) seal, or → dead letter. Its offset is tracked under the
    /// ticket of the batch or letter that it went into, and completes only with that. `original` copies the
    /// whole message and is called for rejected ones, those of erased subjects, and with tracing for a few samples.
    fn accept(
        &mut self,
        record: &Record<'_>,
        original: impl Fn() -> OwnedRecord,
        now: Instant,
    ) -> Result<(), Error> {
        // A record of a partition that was taken away, or is being given back, is its next owner's.
        let Some((slot, owned)) = self.partitions.find(record.topic, record.partition) else { return Ok(()) };
        if owned.admit(record.offset) != Admission::Take {
            self.cut_before(record, now)?;
            return self.accept(record, original, now);
        }
        let Some(lane) = self.lanes.get_mut(owned.lane) else { return Ok(()) };
        let Some(open) = lane.opens.get_mut(owned.open) else { return Ok(()) };
        owned.take_in(record);
        lane.taken += 1;
        let columns = &mut open.buffer.columns;
        let mut verdict = lane.decoder.decode(record, self.now_ms, columns);
        if matches!(verdict, Verdict::Decoded)
            && lane.decoder.takes_back(columns, || envelope::published_ms(&original()))
        {
            owned.counts.erased += 1;
            verdict = Verdict::Filtered;
        }
        match verdict {
            Verdict::Decoded => {
                owned.counts.decoded += 1;
                owned.tally.row(record.offset);
                open.buffer.push(slot, record.offset, record.timestamp_ms);
                owned.watermark.track(open.ticket, record.offset, record.timestamp_ms);
                if open.links.wants() {
                    open.links.look(&original().headers);
                }
            }
            Verdict::Filtered => {
                owned.counts.filtered += 1;
                owned.tally.filtered(record.offset);
                owned.watermark.pass(record.offset);
            }
            Verdict::Rejected(rejection) => {
                let ticket = self.tickets.next();
                owned.tally.rejected(record.offset);
                owned.judged.refused += 1;
                owned.watermark.track(ticket, record.offset, record.timestamp_ms);
                let letter = Letter::new((slot, ticket), original(), *rejection, &lane.name, &self.budget);
                self.letters.push_back(letter);
            }
        }
        let batch = if owned.plan.is_some() { Batch::Of(slot) } else { Batch::Shared(lane.index) };
        match open.buffer.full() {
            _ if owned.ends_here() => self.seal(batch, Trigger::Replay, now),
            Some(trigger) => self.seal(batch, trigger, now),
            None => Ok(()),
        }
    }

    /// The log of this partition begins later than `offset`, at which reading was to go on.
    fn jumped(&mut self, source: &TopicPartition, offset: Offset) {
        if let Some(planning) = self.partitions.by_source(source).and_then(|owned| owned.plan.as_mut()) {
            planning.jumped(offset);
        }
    }

    /// Whether nothing is on its way.
    fn is_settled(&self) -> bool {
        self.letters.is_empty() && self.lanes.iter().all(Lane::is_settled)
    }
}

#[cfg(test)]
mod tests;
