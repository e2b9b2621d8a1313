//! The loop of one group member: one thread that owns all of its state, without a lock.
//!
//! Refuses to wait for ClickHouse (invariant I7): it polls, takes records in, and between two polls looks
//! at what came back. All that it holds is bounded by the memory budget and by the limits of its lanes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::commits::Commits;
use super::drain::{Revocation, Stopping};
use super::flush::{Flushed, Flusher, Job, unix_ms};
use super::regulate::Regulator;
use super::report::{Reporter, report_written};
use super::{Error, Line};
use crate::batch::{Slot, Trigger};
use crate::delivery::Ticket;
use crate::kafka::context::{Notice, Progress};
use crate::kafka::{self, Consumer, Event};
use crate::record::TopicPartition;
use crate::telemetry::metrics::METRICS;

/// Records taken in between two looks at everything else.
const TURN_RECORDS_MAX: usize = 1024;
/// Longest wait for a record, so that answers and ages are looked at in time.
const POLL_MAX: Duration = Duration::from_millis(20);

pub struct Worker {
    pub consumer: Consumer,
    pub line: Line,
    pub flusher: Flusher,
    pub runtime: Handle,
    pub answers: mpsc::Receiver<Answer>,
    pub answer_to: mpsc::Sender<Answer>,
    pub shutdown: CancellationToken,
    pub regulator: Regulator,
    pub reporter: Reporter,
    pub commits: Commits,
    pub revocation: Option<Revocation>,
    pub stopping: Option<Stopping>,
    pub settings: Settings,
    /// Which lane takes which topic.
    pub topics: Vec<(Arc<str>, usize)>,
    /// Looks at the statistics in a row that found everything read; for `stop_at_end`.
    pub caught_up_looks: u32,
    pub was_assigned: bool,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub drain_max: Duration,
    pub stop_at_end: bool,
}

/// What comes back from the tasks.
pub enum Answer {
    Flush(Box<Job>, Flushed),
    /// A dead letter was acknowledged.
    Buried {
        slot: Slot,
        ticket: Ticket,
    },
    /// Kafka's answer to the commit under way.
    Committed(Result<(), kafka::Error>),
}

impl Worker {
    /// Runs until stopped. `Ok(true)` when everything taken in was settled and committed.
    pub fn run(mut self) -> Result<bool, Error> {
        loop {
            if !self.regulator.holds() {
                self.take_in()?;
            }
            let now = Instant::now();
            self.line.lanes.iter_mut().for_each(|lane| lane.adapt(now));
            while let Ok(answer) = self.answers.try_recv() {
                self.settle(answer, now);
            }
            self.line.seal_where(now, |lane| lane.buffer.tick(now))?;
            self.hand_out_letters();
            self.send_batches(now);
            self.regulate(now)?;
            self.commit(now);
            self.finish_revocation(now)?;
            self.report(now);
            if let Some(drained) = self.finish_stopping(now)? {
                return Ok(drained);
            }
        }
    }

    /// Polls until nothing more is at hand, at most one turn's worth.
    fn take_in(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        self.line.now_ms = unix_ms();
        let mut wait = self
            .line
            .lanes
            .iter()
            .filter_map(|lane| lane.buffer.due())
            .fold(POLL_MAX, |wait, due| wait.min(due.saturating_duration_since(now)));
        let mut bytes_left = i64::try_from(self.line.budget.turn_bytes()).unwrap_or(i64::MAX);
        for _ in 0..self.regulator.turn_records(TURN_RECORDS_MAX) {
            match self.consumer.poll(wait)? {
                Event::Record(message) => {
                    bytes_left -= message.record().bytes();
                    self.line.accept(&message.record(), || message.to_owned(), now)?;
                }
                Event::Notice(notice) => self.notice(notice, now)?,
                Event::Idle => break,
            }
            if bytes_left <= 0 {
                break;
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }

    fn notice(&mut self, notice: Notice, now: Instant) -> Result<(), Error> {
        match notice {
            Notice::Assigned(partitions) => self.assign(&partitions, now),
            Notice::Revoked { partitions, lost } => self.revoke(partitions, lost, now),
            Notice::Progress(all) => {
                self.progress(all);
                Ok(())
            }
        }
    }

    fn assign(&mut self, partitions: &[TopicPartition], now: Instant) -> Result<(), Error> {
        METRICS.rebalances.with_label_values(&["assign"]).inc();
        tracing::info!(partitions = partitions.len(), "partitions assigned");
        self.was_assigned = true;
        self.caught_up_looks = 0;
        for source in partitions {
            match self.topics.iter().find(|(topic, _)| *topic == source.topic) {
                Some((_, lane)) => {
                    let slot = self.line.partitions.add(source.clone(), *lane, now);
                    // Who is leaving takes nothing more in; the next owner reads it.
                    if let (true, Some(owned)) = (self.stopping.is_some(), self.line.partitions.get_mut(slot))
                    {
                        owned.closing = true;
                    }
                }
                None => {
                    tracing::error!(%source, "a partition was assigned that no table takes; it is not read")
                }
            }
        }
        self.consumer.accept(partitions)?;
        Ok(())
    }

    /// Takes over what the statistics say of the ends of the partitions.
    fn progress(&mut self, all: Vec<Progress>) {
        for one in all {
            if let Some(owned) = self.line.partitions.by_source(&one.source) {
                owned.end = Some(one.end);
                owned.caught_up = one.caught_up;
            }
        }
        let everything = self.was_assigned && self.line.partitions.iter().all(|owned| owned.caught_up);
        self.caught_up_looks = if everything { self.caught_up_looks + 1 } else { 0 };
    }

    /// Acts on what a task has come to. Offsets complete here and nowhere else.
    pub fn settle(&mut self, answer: Answer, now: Instant) {
        match answer {
            Answer::Committed(result) => self.commits.answered(result, &mut self.line.partitions),
            Answer::Buried { slot, ticket } => {
                self.line.totals.dead_letters(1);
                if let Some(owned) = self.line.partitions.get_mut(slot) {
                    owned.watermark.settle(ticket);
                }
            }
            Answer::Flush(job, flushed) => {
                let Some(lane) = self.line.lanes.get_mut(job.lane) else { return };
                let dead_letters = match flushed {
                    Flushed::Written => 0,
                    Flushed::Poisoned { dead_letters } => dead_letters,
                    Flushed::Parked { reason } => return lane.park(*job, reason, now),
                };
                lane.done();
                for source in &job.sources {
                    if let Some(owned) = self.line.partitions.get_mut(source.share.slot) {
                        owned.watermark.settle(job.ticket);
                    }
                }
                self.line.totals.dead_letters(dead_letters);
                self.line.totals.rows(job.sealed.batch.num_rows().saturating_sub(dead_letters));
                report_written(&lane.name, &job);
            }
        }
    }

    /// Hands rejected records to the sink, as far as it has room.
    fn hand_out_letters(&mut self) {
        while self.flusher.letters.has_room()
            && let Some(letter) = self.line.letters.pop_front()
        {
            let (slot, ticket) = (letter.slot, letter.ticket);
            let (letter, permit) = letter.address(&self.flusher.kafka.group, self.line.now_ms);
            let (sink, answer_to) = (self.flusher.letters.clone(), self.answer_to.clone());
            sink.enter();
            self.runtime.spawn(async move {
                sink.deliver(letter).await;
                drop(permit);
                // The receiver is gone only when the worker has ended, which then commits nothing more.
                let _ = answer_to.send(Answer::Buried { slot, ticket }).await;
            });
        }
    }

    /// Starts the flushes that the lanes allow.
    pub fn send_batches(&mut self, now: Instant) {
        for lane in &mut self.line.lanes {
            while let Some(mut job) = lane.next_job(now) {
                let (flusher, target, answer_to) =
                    (self.flusher.clone(), Arc::clone(&lane.target), self.answer_to.clone());
                self.runtime.spawn(async move {
                    let flushed = Box::pin(flusher.flush(&mut job, &target)).await;
                    // As above: without a receiver nothing is committed any more.
                    let _ = answer_to.send(Answer::Flush(Box::new(job), flushed)).await;
                });
            }
        }
    }

    /// Closes every open batch, whatever it holds.
    pub fn seal_all(&mut self, trigger: Trigger, now: Instant) -> Result<(), Error> {
        self.line.seal_where(now, |_| Some(trigger))
    }
}
