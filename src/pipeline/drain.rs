//! Order and deadlines of stopping: partitions that the group wants back, and the whole member.
//!
//! Refuses to let go before what is on its way has settled or its time is over. Fence first, then
//! acknowledge (invariant I2): the slots are gone before the group hears that the partitions are free, and no
//! commit is under way any more. Until it hears, librdkafka does not join a new generation with which it could
//! stamp a commit that is late.

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
    /// Something was given up that was planned and may not have landed.
    left_behind: bool,
}

impl Worker {
    pub fn revoke(&mut self, partitions: Vec<TopicPartition>, lost: bool, now: Instant) -> Result<(), Error> {
        METRICS.rebalances.with_label_values(&[if lost { "lost" } else { "revoke" }]).inc();
        tracing::info!(partitions = partitions.len(), lost, "partitions revoked");
        self.flusher.faults.point(Point::RevokeBegun);
        let mut all = partitions;
        // The group waits for one answer at a time; a second call means that it no longer waits for the first.
        if let Some(pending) = self.revocation.take() {
            all.extend(pending.partitions);
        }
        let deadline = if lost {
            if !self.line.is_exact {
                // While the slots are there, so that every row of the batches can be traced to its record.
                self.seal_all(Trigger::Revoke, now)?;
            }
            self.fence(&all);
            now
        } else {
            self.seal_all(Trigger::Revoke, now)?;
            self.abandon(&all);
            for source in &all {
                if let Some(owned) = self.line.partitions.by_source(source) {
                    owned.closing = true;
                }
            }
            now + REVOKE_MAX.min(self.settings.drain_max)
        };
        self.revocation = Some(Revocation { partitions: all, since: now, deadline });
        Ok(())
    }

    /// Gives revoked partitions back once they are settled and committed, or at the deadline; never while a
    /// commit is under way.
    pub fn finish_revocation(&mut self, now: Instant) -> Result<(), Error> {
        let Some(revocation) = self.revocation.take() else { return Ok(()) };
        let partitions = &mut self.line.partitions;
        let mut each = revocation.partitions.iter();
        let committed = each.all(|source| partitions.by_source(source).is_none_or(|o| o.is_committed(now)));
        if now < revocation.deadline && !committed {
            self.commits.hurry();
            self.revocation = Some(revocation);
            return Ok(());
        }
        self.fence(&revocation.partitions);
        if !self.commits.is_idle() {
            self.revocation = Some(revocation);
            return Ok(());
        }
        if !committed {
            tracing::warn!("revoked partitions had rows on their way; the next owner reads them again");
        }
        METRICS.drain_duration.observe(now.saturating_duration_since(revocation.since).as_secs_f64());
        self.flusher.faults.point(Point::RevokeReleased);
        self.consumer.release(&revocation.partitions)?;
        Ok(())
    }

    /// Lets go of partitions that are still reading again what a former owner planned: the plan stays as it
    /// was committed, for the next owner. Says whether there were any.
    fn abandon(&mut self, partitions: &[TopicPartition]) -> bool {
        let is_replaying = |source: &&TopicPartition| {
            let owned = self.line.partitions.by_source(source);
            owned.and_then(|owned| owned.plan.as_ref()?.boundary()).is_some()
        };
        let replaying: Vec<_> = partitions.iter().filter(is_replaying).cloned().collect();
        self.fence(&replaying);
        !replaying.is_empty()
    }

    /// From here on nothing of these partitions is sent or committed.
    fn fence(&mut self, partitions: &[TopicPartition]) {
        for source in partitions {
            if let Some(mut owned) = self.line.partitions.remove(source) {
                self.audit.offer(&mut owned);
                if owned.plan.is_some()
                    && let Some(lane) = self.line.lanes.get_mut(owned.lane)
                {
                    lane.close_one(owned.open);
                }
                self.reporter.forget(owned);
            }
        }
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
        let mut going = self.line.partitions.iter().filter(|owned| owned.halted.is_none());
        let committed = going.all(|owned| owned.is_committed(now));
        if self.line.is_settled() && committed && self.commits.is_idle() {
            let halted = self.line.partitions.iter().any(|owned| owned.halted.is_some());
            return Ok(Some(!halted && !stopping.left_behind));
        }
        if stopping.deadline <= now {
            tracing::error!("stopped before everything was settled; it is read again at the next start");
            return Ok(Some(false));
        }
        if self.line.is_settled() {
            self.commits.hurry();
        }
        Ok(None)
    }

    fn begin_stopping(&mut self, now: Instant) -> Result<(), Error> {
        tracing::info!("stopping: sending what is held, then committing");
        self.reporter.health.set_state(State::Draining, "sending what is held, then committing");
        let mut all = Vec::new();
        for owned in self.line.partitions.iter_mut() {
            owned.closing = true;
            owned.paused.get_or_insert(now);
            all.push(owned.source.clone());
        }
        self.consumer.pause(&all)?;
        self.seal_all(Trigger::Shutdown, now)?;
        let left_behind = self.abandon(&all);
        self.stopping = Some(Stopping { deadline: now + self.settings.drain_max, left_behind });
        Ok(())
    }
}
