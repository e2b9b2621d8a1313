//! Order and deadlines of stopping: partitions that the group wants back, and the whole member.
//!
//! Refuses to let go before what is on its way has settled or its time is over. Fence first, then
//! acknowledge (invariant I2): the slots are gone before the group hears that the partitions are free.

use std::time::{Duration, Instant};

use super::Error;
use super::worker::Worker;
use crate::batch::Trigger;
use crate::faults::Point;
use crate::record::TopicPartition;
use crate::telemetry::health::State;
use crate::telemetry::metrics::METRICS;

/// The group waits for us meanwhile, so this is short; what does not settle is read again by the next
/// owner.
const REVOKE_MAX: Duration = Duration::from_secs(10);
/// Looks at the statistics that have to agree that everything is read.
const CAUGHT_UP_LOOKS: u32 = 2;

/// Partitions being given back.
#[derive(Debug)]
pub struct Revocation {
    partitions: Vec<TopicPartition>,
    since: Instant,
    deadline: Instant,
}

/// The member is leaving.
#[derive(Debug)]
pub struct Stopping {
    deadline: Instant,
}

impl Worker {
    pub fn revoke(&mut self, partitions: Vec<TopicPartition>, lost: bool, now: Instant) -> Result<(), Error> {
        METRICS.rebalances.with_label_values(&[if lost { "lost" } else { "revoke" }]).inc();
        tracing::info!(partitions = partitions.len(), lost, "partitions revoked");
        self.flusher.faults.point(Point::RevokeBegun);
        // The group waits for one answer at a time; a second call means that it no longer waits for the first.
        if let Some(pending) = self.revocation.take() {
            self.let_go(&pending.partitions)?;
        }
        // While the slots are there, so that every row of the batches can be traced to its record.
        self.seal_all(Trigger::Revoke, now)?;
        if lost {
            return self.let_go(&partitions);
        }
        for source in &partitions {
            if let Some(owned) = self.line.partitions.by_source(source) {
                owned.closing = true;
            }
        }
        let deadline = now + REVOKE_MAX.min(self.settings.drain_max);
        self.revocation = Some(Revocation { partitions, since: now, deadline });
        Ok(())
    }

    /// Gives revoked partitions back once they are settled and committed, or at the deadline.
    pub fn finish_revocation(&mut self, now: Instant) -> Result<(), Error> {
        let Some(revocation) = self.revocation.take() else { return Ok(()) };
        let settled = revocation
            .partitions
            .iter()
            .all(|source| self.line.partitions.by_source(source).is_none_or(|o| o.watermark.is_settled()));
        let committed = revocation
            .partitions
            .iter()
            .all(|source| self.line.partitions.by_source(source).is_none_or(|o| o.to_commit().is_none()));
        if now < revocation.deadline && !(settled && committed && self.commits.is_idle()) {
            if settled {
                self.commits.hurry();
            }
            self.revocation = Some(revocation);
            return Ok(());
        }
        if !settled {
            tracing::warn!("revoked partitions had rows on their way; the next owner reads them again");
        }
        METRICS.drain_duration.observe(now.saturating_duration_since(revocation.since).as_secs_f64());
        self.let_go(&revocation.partitions)
    }

    fn let_go(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        for source in partitions {
            if let Some(owned) = self.line.partitions.remove(source) {
                self.reporter.forget(owned);
            }
        }
        self.flusher.faults.point(Point::RevokeReleased);
        self.consumer.release(partitions)?;
        Ok(())
    }

    /// Starts leaving when asked to, or when all is read and `stop_at_end` was asked for; says whether
    /// everything was drained once the member may end.
    pub fn finish_stopping(&mut self, now: Instant) -> Result<Option<bool>, Error> {
        let Some(stopping) = &self.stopping else {
            let at_end = self.settings.stop_at_end && CAUGHT_UP_LOOKS <= self.caught_up_looks;
            if at_end || self.shutdown.is_cancelled() {
                self.begin_stopping(now)?;
            }
            return Ok(None);
        };
        let settled = self.line.is_settled() && self.line.partitions.iter().all(|o| o.watermark.is_settled());
        let committed = self.line.partitions.iter().all(|owned| owned.to_commit().is_none());
        if settled && committed && self.commits.is_idle() {
            return Ok(Some(true));
        }
        if stopping.deadline <= now {
            tracing::error!("stopped before everything was settled; it is read again at the next start");
            return Ok(Some(false));
        }
        if settled {
            self.commits.hurry();
        }
        Ok(None)
    }

    fn begin_stopping(&mut self, now: Instant) -> Result<(), Error> {
        tracing::info!("stopping: sending what is held, then committing");
        self.reporter.health.set_state(State::Draining, "sending what is held, then committing");
        self.stopping = Some(Stopping { deadline: now + self.settings.drain_max });
        let mut all = Vec::new();
        for owned in self.line.partitions.iter_mut() {
            owned.closing = true;
            owned.paused = true;
            all.push(owned.source.clone());
        }
        self.consumer.pause(&all)?;
        self.seal_all(Trigger::Shutdown, now)?;
        Ok(())
    }
}
