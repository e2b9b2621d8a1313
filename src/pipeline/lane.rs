//! One table's part of the line on one consumer: its decoder, its open batches and the batches on their way.
//!
//! Refuses to know Kafka. A lane whose queue is full, whose table is parked or whose rate is used up says
//! so, and reading for it stops; nothing in here drops a row that anybody still answers for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;

use super::flush::{Job, Target};
use super::pace::Pace;
use super::partitions::Partitions;
use super::update::Renewal;
use crate::batch::{Budget, Buffer, Limits, Sealed, Trigger};
use crate::decode::Decoder;
use crate::delivery::Ticket;
use crate::delivery::plan::Lease;
use crate::schema::subject::Erased;
use crate::telemetry::metrics::METRICS;
use crate::telemetry::traces::Links;

/// First pause of a parked table; doubled each time up to the longest.
const PARK_MIN: Duration = Duration::from_secs(1);
const PARK_MAX: Duration = Duration::from_secs(30);

pub struct Lane {
    pub index: usize,
    pub name: String,
    pub target: Arc<Target>,
    pub decoder: Decoder,
    erased: Arc<Erased>,
    /// How often somebody was erased by this table's columns since the start, and when it was learned last.
    erasures: (u64, Option<Instant>),
    /// What follows the decoder once the open batches are closed.
    pub renewal: Option<Renewal>,
    /// With `at_least_once` one, which all partitions share; with `exactly_once` one for each partition.
    pub opens: Vec<Open>,
    /// Open batches that no partition has at the moment.
    free: Vec<usize>,
    /// Records taken in since the limit of speed was last looked at.
    pub taken: u64,
    pub limits: Limits,
    budget: Arc<Budget>,
    rate: Option<u32>,
    pace: Option<Pace>,
    paced_until: Option<Instant>,
    queue: VecDeque<Job>,
    in_flight: usize,
    parked: Option<Parked>,
}

/// A batch that is being filled.
pub struct Open {
    pub buffer: Buffer,
    /// Stands for it in the watermarks.
    pub ticket: Ticket,
    /// How many erasures were known when it was empty.
    erasures: u64,
    /// Producers whose traces lead to it.
    pub links: Links,
}

/// A batch that was closed.
pub struct Closed {
    pub ticket: Ticket,
    pub batch: RecordBatch,
    pub sealed: Sealed,
    pub links: Links,
    /// How many erasures were known before its first row.
    pub erasures: u64,
}

#[derive(Debug)]
struct Parked {
    until: Instant,
    reason: String,
}

impl Lane {
    pub fn new(index: usize, decoder: Decoder, target: &Arc<Target>, budget: &Arc<Budget>) -> Lane {
        let limits = target.valve.limits(Instant::now());
        Lane {
            index,
            name: target.table.clone(),
            target: Arc::clone(target),
            // Tickets given out start at 1.
            opens: vec![Open {
                buffer: Buffer::new(limits, decoder.columns(), budget),
                ticket: Ticket(0),
                links: Links::default(),
                erasures: 0,
            }],
            free: Vec::new(),
            decoder,
            erased: Arc::default(),
            erasures: (0, None),
            renewal: None,
            taken: 0,
            limits,
            budget: Arc::clone(budget),
            rate: None,
            pace: None,
            paced_until: None,
            queue: VecDeque::new(),
            in_flight: 0,
            parked: None,
        }
    }

    /// Takes over what the table's parts allow now.
    pub fn adapt(&mut self, now: Instant) {
        self.limits = self.target.valve.limits(now);
        self.opens.iter_mut().for_each(|open| open.buffer.set_limits(self.limits));
    }

    /// Limits how fast records are taken in, or no longer does.
    pub fn limit(&mut self, records_per_second: Option<u32>, now: Instant) {
        if self.rate != records_per_second {
            self.rate = records_per_second;
            self.pace = records_per_second.map(|rate| Pace::new(rate, now));
            self.paced_until = None;
        }
    }

    /// Goes on with the decoder that waits, if one does; gives its table file's fingerprint. Nothing may be open but
    /// what is never sent.
    pub fn renew(&mut self) -> Option<u32> {
        let Renewal { decoder, fingerprint } = self.renewal.take()?;
        self.count_unknown_fields();
        self.decoder = decoder;
        self.decoder.leave_out(&self.erased);
        self.target = Arc::new(Target { fingerprint, ..(*self.target).clone() });
        for open in &mut self.opens {
            open.buffer = Buffer::new(self.limits, self.decoder.columns(), &self.budget);
            open.erasures = self.erasures.0;
        }
        tracing::info!(table = %self.name, "new rows go by the new table file");
        Some(fingerprint)
    }

    /// From now on no row is made of what these published before they were erased.
    pub fn leave_out(&mut self, erased: &Arc<Erased>, now: Instant) {
        self.erased = Arc::clone(erased);
        self.decoder.leave_out(erased);
        if self.decoder.table().subject_columns.iter().any(|column| erased.has(column)) {
            self.erasures = (self.erasures.0 + 1, Some(now));
        }
        let known = self.erasures.0;
        self.opens.iter_mut().filter(|open| open.buffer.is_empty()).for_each(|open| open.erasures = known);
    }

    /// Whether the paused table has waited with rows of before an erasure for longer than erasures wait.
    pub fn is_outdated(&self, hold: Duration, now: Instant) -> bool {
        let (known, learned) = self.erasures;
        self.parked.is_some()
            && learned.is_some_and(|at| hold <= now.saturating_duration_since(at))
            && self.queue.iter().any(|job| job.erasures < known)
    }

    /// Reports the fields that no column took.
    pub fn count_unknown_fields(&mut self) {
        METRICS.unknown_fields.with_label_values(&[&self.name]).inc_by(self.decoder.take_unknown_fields());
    }

    /// Counts what was taken in against the limit of speed.
    pub fn spend(&mut self, now: Instant) {
        let taken = std::mem::take(&mut self.taken);
        if let Some(pace) = &mut self.pace {
            pace.spend(taken);
            self.paced_until = Some(now + pace.pause(now));
        }
    }

    /// An open batch for one partition alone; its index.
    pub fn open_one(&mut self, ticket: Ticket) -> usize {
        if let Some(index) = self.free.pop()
            && let Some(open) = self.opens.get_mut(index)
        {
            open.ticket = ticket;
            open.erasures = self.erasures.0;
            return index;
        }
        let erasures = self.erasures.0;
        self.opens.push(Open { buffer: self.buffer(), ticket, erasures, links: Links::default() });
        self.opens.len() - 1
    }

    /// Throws away what is in a partition's open batch: its next owner reads it again.
    pub fn close_one(&mut self, index: usize) {
        let buffer = self.buffer();
        if let Some(open) = self.opens.get_mut(index) {
            open.buffer = buffer;
            open.links = Links::default();
            self.free.push(index);
        }
    }

    fn buffer(&self) -> Buffer {
        Buffer::new(self.limits, self.decoder.columns(), &self.budget)
    }

    /// Closes an open batch, unless it is empty. `next` becomes the ticket of the one that follows.
    pub fn seal(
        &mut self,
        index: usize,
        trigger: Trigger,
        next: Ticket,
        now: Instant,
    ) -> Result<Option<Closed>, crate::columns::Error> {
        let Some(open) = self.opens.get_mut(index).filter(|open| !open.buffer.is_empty()) else {
            return Ok(None);
        };
        let (batch, sealed) = open.buffer.seal(trigger, now)?;
        let labels = [self.name.as_str()];
        METRICS.flushes.with_label_values(&[labels[0], trigger.name()]).inc();
        METRICS.batch_rows.with_label_values(&labels).observe(sealed.rows() as f64);
        METRICS.batch_bytes.with_label_values(&labels).observe(sealed.bytes as f64);
        METRICS.batch_age.with_label_values(&labels).observe(sealed.age_ms as f64 / 1000.0);
        let ticket = std::mem::replace(&mut open.ticket, next);
        let links = std::mem::take(&mut open.links);
        let erasures = std::mem::replace(&mut open.erasures, self.erasures.0);
        if 1 < self.opens.len() {
            // A closed batch leaves room for as many rows again; for each of many partitions, that is memory
            // which nobody counts.
            let buffer = self.buffer();
            if let Some(open) = self.opens.get_mut(index) {
                open.buffer = buffer;
            }
        }
        Ok(Some(Closed { ticket, batch, sealed, links, erasures }))
    }

    /// From here on some of the next records are asked who published them.
    pub fn look_for_producers(&mut self) {
        self.opens.iter_mut().for_each(|open| open.links.turn());
    }

    /// Queues a batch.
    pub fn push(&mut self, job: Job) {
        self.queue.push_back(job);
    }

    /// Puts a batch back that goes on: another part of it is to be sent.
    pub fn push_front(&mut self, job: Job) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.queue.push_front(job);
    }

    /// The next batch that may be sent now. A planned one may when an acknowledged commit lists it; one whose
    /// partition was taken away is dropped, since its next owner sends it.
    pub fn next_job(&mut self, now: Instant, partitions: &Partitions) -> Option<Job> {
        self.queue.retain(|job| job.is_ours(partitions));
        let in_flight_max = self.limits.in_flight_max;
        if self.parked.as_ref().is_some_and(|p| now < p.until) || in_flight_max <= self.in_flight {
            return None;
        }
        // One batch tries a parked table, the others wait for how it fares.
        if self.parked.is_some() && 0 < self.in_flight {
            return None;
        }
        let looks = self.target.looks_before_repeating();
        let lease = |job: &Job| -> Option<Option<Lease>> {
            let Some(planned) = &job.planned else { return Some(None) };
            if job.not_before.is_some_and(|at| now < at) || (looks && job.doubt.is_some_and(|at| now < at)) {
                return None;
            }
            partitions.get(planned.slot)?.plan.as_ref()?.plan.lease(planned.range, now).map(Some)
        };
        let index = self.queue.iter().position(|job| lease(job).is_some())?;
        let mut job = self.queue.remove(index)?;
        job.lease = lease(&job)?;
        self.in_flight += 1;
        Some(job)
    }

    /// A batch that has to wait for others of its partition.
    pub fn push_later(&mut self, mut job: Job, at: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        job.not_before = Some(at);
        self.queue.push_back(job);
    }

    /// A flush ended with its batch done.
    pub fn done(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.parked = None;
    }

    /// A flush ended undecided: the batch goes back to the front and the table pauses.
    pub fn park(&mut self, mut job: Job, reason: String, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let pause = PARK_MAX.min(PARK_MIN * 2u32.saturating_pow(job.parked.min(10)));
        job.parked = job.parked.saturating_add(1);
        tracing::error!(table = %self.name, %reason, pause_s = pause.as_secs(), "table paused, nothing is lost");
        self.queue.push_front(job);
        self.parked = Some(Parked { until: now + pause, reason });
    }

    /// Why the table is paused, if it is.
    pub fn parked_reason(&self) -> Option<&str> {
        self.parked.as_ref().map(|p| p.reason.as_str())
    }

    /// Whether reading for this lane has to stop. `blocked` is what it was before: the queue has to shrink
    /// by half before reading goes on, so that the two do not alternate with every batch.
    pub fn is_blocked(&self, blocked: bool, now: Instant) -> bool {
        // Batches of partitions that began together are closed together.
        let most = self.limits.in_flight_max.max(self.opens.len() - self.free.len());
        let queue_max = if blocked { most / 2 } else { most };
        queue_max < self.queue.len() + usize::from(self.parked.is_some())
            || self.paced_until.is_some_and(|until| now < until)
    }

    /// When an open batch's age is over, the soonest.
    pub fn due(&self) -> Option<Instant> {
        self.opens.iter().filter_map(|open| open.buffer.due()).min()
    }

    /// Closed batches that wait to be sent.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing of this lane is on its way.
    pub fn is_settled(&self) -> bool {
        self.opens.iter().all(|open| open.buffer.is_empty()) && self.is_idle()
    }

    /// Whether no closed batch is on its way.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.in_flight == 0
    }
}
