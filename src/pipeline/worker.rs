//! The loop of one group member: one thread that owns all of its state, without a lock.
//!
//! Refuses to wait for ClickHouse (invariant I7): it polls, takes records in, and between two polls looks
//! at what came back. All that it holds is bounded by the memory budget and by the limits of its lanes.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::audit::Audit;
use super::ceilings::Ceilings;
use super::commits::Commits;
use super::drain::{Revocation, Stopping};
use super::flush::{Flushed, Flusher, Job};
use super::lane::Lane;
use super::orders::Heard;
use super::recover::{Found, Takeover};
use super::regulate::Regulator;
use super::report::{Reporter, report_written};
use super::search::Outcome;
use super::stages::Stages;
use super::standing::Asked;
use super::update::Updates;
use super::{Error, Line};
use crate::batch::{Slot, Trigger};
use crate::delivery::Ticket;
use crate::faults::Point;
use crate::kafka::context::{Notice, Progress};
use crate::kafka::{self, Consumer, Event};
use crate::record::{OffsetRange, TopicPartition};
use crate::schema::subject::Erased;
use crate::telemetry::metrics::METRICS;

/// Records taken in between two looks at everything else.
const TURN_RECORDS_MAX: usize = 1024;
/// Longest wait for a record, so that answers and ages are looked at in time.
const POLL_MAX: Duration = Duration::from_millis(20);
/// Before a refused batch looks again whether those before it are done.
const LATER: Duration = Duration::from_millis(500);
/// Looks at the statistics, one a second, that have to find nothing more before it is asked what is gone.
const GONE_LOOKS: u32 = 3;
/// A member that slept hears what became of it with its next heartbeat, which comes every three seconds.
const HEARTBEAT_MAX: Duration = Duration::from_secs(4);

pub struct Worker {
    pub consumer: Consumer,
    pub line: Line,
    pub flusher: Flusher,
    pub runtime: Handle,
    pub answers: mpsc::Receiver<Answer>,
    pub answer_to: mpsc::Sender<Answer>,
    pub shutdown: CancellationToken,
    pub regulator: Regulator,
    pub ceilings: Ceilings,
    pub reporter: Reporter,
    pub stages: Stages,
    pub updates: Updates,
    pub orders: Heard,
    pub asked: Asked,
    /// Who was erased, as it was read last.
    pub erased: watch::Receiver<Arc<Erased>>,
    pub commits: Commits,
    pub audit: Audit,
    pub revocation: Option<Revocation>,
    pub stopping: Option<Stopping>,
    pub settings: Settings,
    /// Which lane takes which topic.
    pub topics: Vec<(Arc<str>, usize)>,
    /// Looks at the statistics in a row that found everything read; for `stop_at_end`.
    pub caught_up_looks: u32,
    pub was_assigned: bool,
    /// When the loop last turned.
    pub turned: Instant,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub drain_max: Duration,
    pub stop_at_end: bool,
    pub session_timeout: Duration,
    /// How long a committed batch may be sent.
    pub lease: Duration,
    /// How long batches of before may wait once somebody was erased.
    pub erasure_hold: Duration,
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
    /// What the last owners of partitions committed.
    Found(Takeover, Found),
    /// What the brokers say of partitions that are paused: committed, and end.
    Standing(Vec<(Slot, kafka::Standing)>),
    /// Whether a range that a former owner planned holds no record any more.
    Gone(Slot, OffsetRange, Result<bool, kafka::Error>),
}

impl Worker {
    /// Runs until stopped. `Ok(true)` when everything taken in was settled and committed.
    pub fn run(mut self) -> Result<bool, Error> {
        loop {
            self.update(Instant::now())?;
            self.forget_the_erased(Instant::now())?;
            if !self.regulator.holds() {
                self.take_in()?;
            }
            let now = Instant::now();
            self.notice_sleep(now);
            self.line.lanes.iter_mut().for_each(|lane| lane.adapt(now));
            while let Ok(answer) = self.answers.try_recv() {
                self.settle(answer, now)?;
            }
            self.line.seal_aged(now)?;
            self.heed(now)?;
            self.ask_where_paused_end(now);
            self.hand_out_letters();
            self.send_batches(now);
            self.regulate(now)?;
            self.commit(now);
            self.look_at_stages(now);
            self.finish_revocation(now)?;
            self.report(now);
            self.audit.turn(&mut self.line.partitions, now);
            if let Some(drained) = self.finish_stopping(now)? {
                self.audit.offer_all(&mut self.line.partitions);
                return Ok(drained);
            }
        }
    }

    /// Polls until nothing more is at hand, at most one turn's worth.
    fn take_in(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        self.line.now_ms = self.flusher.faults.unix_ms();
        if self.line.tracer.is_on() {
            self.line.lanes.iter_mut().for_each(Lane::look_for_producers);
        }
        let mut wait = self
            .line
            .lanes
            .iter()
            .filter_map(Lane::due)
            .fold(POLL_MAX, |wait, due| wait.min(due.saturating_duration_since(now)));
        let mut bytes_left = i64::try_from(self.line.budget.turn_bytes()).unwrap_or(i64::MAX);
        for _ in 0..self.ceilings.turn_records(self.regulator.turn_records(TURN_RECORDS_MAX)) {
            match self.consumer.poll(wait)? {
                Event::Record(message) => {
                    let record = message.record();
                    bytes_left -= record.bytes();
                    self.line.accept(&record, || message.to_owned(), now)?;
                }
                Event::Jumped(source, offset) => self.line.jumped(&source, offset),
                Event::Notice(notice) => self.notice(notice, now)?,
                Event::Idle => break,
            }
            if bytes_left <= 0 {
                break;
            }
            wait = Duration::ZERO;
        }
        self.stages.took_in(now.elapsed(), self.consumer.take_times());
        Ok(())
    }

    /// A member that was not running for a while may have lost its place without knowing it yet.
    fn notice_sleep(&mut self, now: Instant) {
        let slept = now.saturating_duration_since(self.turned);
        if self.settings.session_timeout / 2 < slept {
            tracing::warn!(slept_s = slept.as_secs_f64(), "the loop did not turn for a while");
            self.commits.quarantine(now + HEARTBEAT_MAX);
        }
        self.turned = now;
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
        self.flusher.faults.point(Point::Assigned);
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
        if self.line.is_exact && !partitions.is_empty() {
            let slots =
                |source: &TopicPartition| Some((self.line.partitions.slot_of(source)?, source.clone()));
            let takeover = Takeover { partitions: partitions.iter().filter_map(slots).collect() };
            self.ask_for_plans(takeover, Duration::ZERO);
        } else {
            self.consumer.accept(partitions)?;
            self.begin_held(partitions, now)?;
        }
        Ok(())
    }

    /// Takes over what the statistics say of the ends of the partitions.
    fn progress(&mut self, all: Vec<Progress>) {
        for one in all {
            let Some(slot) = self.line.partitions.slot_of(&one.source) else { continue };
            let Some(owned) = self.line.partitions.get_mut(slot) else { continue };
            // What the statistics say of it is of before, since nothing is fetched.
            if owned.is_held || owned.told_at.is_some() {
                continue;
            }
            owned.end = Some(one.end);
            owned.caught_up = one.caught_up;
            owned.quiet_looks = if one.caught_up { owned.quiet_looks + 1 } else { 0 };
            // What a former owner planned may end with records that are gone. The statistics only make one ask: those
            // of a partition that has just been assigned may still tell of its last assignment.
            let unread = owned.plan.as_ref().and_then(|planning| planning.unread());
            if owned.quiet_looks == GONE_LOOKS
                && let Some(range) = unread.filter(|range| range.next <= one.end)
            {
                self.ask_whether_gone(slot, one.source, range);
            }
        }
        let everything = self.was_assigned && self.line.partitions.iter().all(|owned| owned.caught_up);
        self.caught_up_looks = if everything { self.caught_up_looks + 1 } else { 0 };
    }

    /// Acts on what a task has come to. Offsets complete here and nowhere else.
    pub fn settle(&mut self, answer: Answer, now: Instant) -> Result<(), Error> {
        match answer {
            Answer::Found(takeover, found) => return self.take_over(takeover, found, now),
            Answer::Standing(all) => self.paused_stand(all, now),
            Answer::Gone(slot, range, gone) => return self.cut_what_is_gone(slot, range, gone, now),
            Answer::Committed(result) => self.commits.answered(result, &mut self.line.partitions)?,
            Answer::Buried { slot, ticket } => {
                self.line.totals.dead_letters(1);
                if let Some(owned) = self.line.partitions.get_mut(slot) {
                    owned.settle(ticket);
                }
            }
            Answer::Flush(job, flushed) => self.flushed(*job, flushed, now),
        }
        Ok(())
    }

    /// A batch is done, goes on with its next part, or waits.
    fn flushed(&mut self, mut job: Job, flushed: Flushed, now: Instant) {
        let Some(lane) = self.line.lanes.get_mut(job.lane) else { return };
        if !job.is_ours(&self.line.partitions) {
            // Its trace ends with it, as one of a batch that was given up.
            return lane.done();
        }
        if let (Flushed::Buried, Some((slot, offset))) = (&flushed, job.buried())
            && let Some(owned) = self.line.partitions.get_mut(slot)
        {
            owned.tally.refused(offset);
        }
        match job.advance(flushed, &mut self.line.partitions) {
            Outcome::Paused(reason) => {
                job.trace.event("parked", &[]);
                job.trace.want();
                lane.park(job, reason, now);
            }
            Outcome::Next => lane.push_front(job),
            Outcome::Later => lane.push_later(job, now + LATER),
            Outcome::Done => {
                lane.done();
                job.trace.end(None);
                for source in &job.sources {
                    if let Some(owned) = self.line.partitions.get_mut(source.share.slot) {
                        owned.settle(job.ticket);
                    }
                }
                let dead_letters = job.dead_letters();
                if let Some(first) = job.sources.first() {
                    self.ceilings.refused(&first.source.topic, dead_letters);
                }
                self.line.totals.dead_letters(dead_letters);
                self.line.totals.rows(job.sealed.rows().saturating_sub(dead_letters));
                report_written(&lane.name, &job, self.flusher.faults.unix_ms());
                self.flusher.faults.point(Point::BatchSettled);
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
            let faults = self.flusher.faults.clone();
            sink.enter();
            faults.point(Point::DeadLetterSent);
            let mut delivery = Box::pin(async move { sink.deliver(letter).await });
            // Begun here, so that letters enter the client's queue in their records' order.
            let _context = self.runtime.enter();
            let begun = delivery.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            self.runtime.spawn(async move {
                if begun.is_pending() {
                    delivery.await;
                }
                faults.point(Point::DeadLetterAcked);
                drop(permit);
                // The receiver is gone only when the worker has ended, which then commits nothing more.
                let _ = answer_to.send(Answer::Buried { slot, ticket }).await;
            });
        }
    }

    /// Starts the flushes that the lanes allow.
    pub fn send_batches(&mut self, now: Instant) {
        for lane in &mut self.line.lanes {
            while let Some(mut job) = lane.next_job(now, &self.line.partitions) {
                self.flusher.faults.point(Point::Sealed);
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
        self.line.seal_where(now, |_, _| Some(trigger))
    }
}
