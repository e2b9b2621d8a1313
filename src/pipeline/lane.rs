//! One table's part of the line on one consumer: its decoder, its open batch and the batches on their way.
//!
//! Refuses to know Kafka. A lane whose queue is full, whose table is parked or whose rate is used up says
//! so, and reading for it stops; nothing in here drops a row.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Error;
use super::flush::{Job, Source, Target};
use super::pace::Pace;
use super::partitions::Partitions;
use crate::batch::{Budget, Buffer, Trigger};
use crate::decode::Decoder;
use crate::delivery::Ticket;
use crate::telemetry::metrics::METRICS;

/// First pause of a parked table; doubled each time up to the longest.
const PARK_MIN: Duration = Duration::from_secs(1);
const PARK_MAX: Duration = Duration::from_secs(30);

pub struct Lane {
    pub index: usize,
    pub name: String,
    pub target: Arc<Target>,
    pub decoder: Decoder,
    pub buffer: Buffer,
    /// Stands for the open batch.
    pub ticket: Ticket,
    /// Records taken in since the limit of speed was last looked at.
    pub taken: u64,
    pace: Option<Pace>,
    paced_until: Option<Instant>,
    queue: VecDeque<Job>,
    in_flight: usize,
    in_flight_max: usize,
    parked: Option<Parked>,
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
            buffer: Buffer::new(limits, decoder.columns(), budget),
            decoder,
            // Tickets given out start at 1.
            ticket: Ticket(0),
            taken: 0,
            pace: None,
            paced_until: None,
            queue: VecDeque::new(),
            in_flight: 0,
            in_flight_max: limits.in_flight_max,
            parked: None,
        }
    }

    /// Takes over what the table's parts allow now.
    pub fn adapt(&mut self, now: Instant) {
        let limits = self.target.valve.limits(now);
        self.in_flight_max = limits.in_flight_max;
        self.buffer.set_limits(limits);
    }

    /// Limits how fast records are taken in.
    pub fn limit(&mut self, records_per_second: u32, now: Instant) {
        self.pace = Some(Pace::new(records_per_second, now));
    }

    /// Counts what was taken in against the limit of speed.
    pub fn spend(&mut self, now: Instant) {
        let taken = std::mem::take(&mut self.taken);
        if let Some(pace) = &mut self.pace {
            pace.spend(taken);
            self.paced_until = Some(now + pace.pause(now));
        }
    }

    /// Closes the open batch and queues it. `next` becomes the ticket of the one that follows.
    pub fn seal(
        &mut self,
        trigger: Trigger,
        next: Ticket,
        partitions: &Partitions,
        now: Instant,
    ) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let sealed = self.buffer.seal(trigger, now)?;
        let labels = [self.name.as_str()];
        METRICS.flushes.with_label_values(&[labels[0], trigger.name()]).inc();
        METRICS.batch_rows.with_label_values(&labels).observe(sealed.batch.num_rows() as f64);
        METRICS.batch_bytes.with_label_values(&labels).observe(sealed.bytes as f64);
        METRICS.batch_age.with_label_values(&labels).observe(sealed.age_ms as f64 / 1000.0);
        let shares = sealed.provenance.shares().into_iter();
        let sources = shares
            .filter_map(|share| Some(Source { source: partitions.get(share.slot)?.source.clone(), share }))
            .collect();
        let ticket = std::mem::replace(&mut self.ticket, next);
        self.queue.push_back(Job {
            lane: self.index,
            ticket,
            sealed,
            sources,
            parked: 0,
            search: None,
            buried: 0,
        });
        Ok(())
    }

    /// The next batch that may be sent now.
    pub fn next_job(&mut self, now: Instant) -> Option<Job> {
        if self.parked.as_ref().is_some_and(|p| now < p.until) || self.in_flight_max <= self.in_flight {
            return None;
        }
        // One batch tries a parked table, the others wait for how it fares.
        if self.parked.is_some() && 0 < self.in_flight {
            return None;
        }
        let job = self.queue.pop_front()?;
        self.in_flight += 1;
        Some(job)
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
        let queue_max = if blocked { self.in_flight_max / 2 } else { self.in_flight_max };
        queue_max < self.queue.len() + usize::from(self.parked.is_some())
            || self.paced_until.is_some_and(|until| now < until)
    }

    /// Whether nothing of this lane is on its way.
    pub fn is_settled(&self) -> bool {
        self.buffer.is_empty() && self.queue.is_empty() && self.in_flight == 0
    }
}
