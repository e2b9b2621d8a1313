//! Sends watermarks and plans to Kafka, one commit under way at a time.
//!
//! Refuses to compute offsets: what is committed is the partition's low watermark or its plan, as it stands
//! (invariant I1). A failed commit loses nothing; the next one carries the same or more.
//!
//! librdkafka stamps a commit with the member's generation at the moment it is sent. No partition is given back
//! while a commit is under way (see `drain`), so none goes out under a generation in which the partition is
//! already somebody else's (invariant I2).

use std::time::{Duration, Instant};

use super::partitions::{Owned, Partitions};
use super::worker::{Answer, Worker};
use crate::batch::Slot;
use crate::delivery::plan::Snapshot;
use crate::faults::Point;
use crate::kafka;
use crate::record::Offset;
use crate::telemetry::metrics::METRICS;

/// Between two commits when something waits for them.
const HURRIED_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub struct Commits {
    interval: Duration,
    due: Instant,
    sent: Option<Instant>,
    under_way: Vec<(Slot, Commit)>,
    /// The last answer was a refusal.
    failed: bool,
    /// Until when nothing is committed, since the member slept and may have lost its place.
    quarantined_until: Option<Instant>,
}

/// Why a commit is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// To move offsets.
    Closing,
    /// To plan batches, or to go on being allowed to send them.
    Plan,
    /// To take over what a former owner planned.
    Takeover,
    /// To plan a refused batch anew.
    Recut,
}

/// What one partition's commit says.
#[derive(Clone, Debug)]
pub struct Commit {
    pub offset: Offset,
    pub snapshot: Option<Snapshot>,
}

impl Commits {
    pub fn new(interval: Duration, now: Instant) -> Commits {
        Commits {
            interval,
            due: now,
            sent: None,
            under_way: Vec::new(),
            failed: false,
            quarantined_until: None,
        }
    }

    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Kafka answered the commit under way.
    ///
    /// # Errors
    /// Those after which nothing more may be committed: somebody else's commit stands in the place of ours, the
    /// brokers keep no plans, or a topic was made anew.
    pub fn answered(
        &mut self,
        result: Result<(), kafka::Error>,
        partitions: &mut Partitions,
    ) -> Result<(), kafka::Error> {
        let under_way = std::mem::take(&mut self.under_way);
        let outcome = if result.is_ok() { "ok" } else { "error" };
        METRICS.offset_commits.with_label_values(&[outcome]).inc();
        self.failed = result.is_err();
        match result {
            Ok(()) => {
                for (slot, commit) in under_way {
                    if let Some(owned) = partitions.get_mut(slot) {
                        owned.acknowledged(&commit);
                    }
                }
            }
            Err(error) if error.ends_membership() => return Err(error),
            Err(error) => tracing::warn!(%error, "commit refused, the next one repeats it"),
        }
        Ok(())
    }

    /// Makes the next commit go out at once, or soon after one that has just failed.
    pub fn hurry(&mut self) {
        if let Some(sent) = self.sent {
            self.due = self.due.min(if self.failed { sent + HURRIED_INTERVAL } else { sent });
        }
    }

    /// Nothing is committed before this: by then the coordinator has told a member that slept what became of it.
    pub fn quarantine(&mut self, until: Instant) {
        self.quarantined_until = Some(until);
    }

    /// Whether a commit would go out were it not for the one under way.
    pub fn is_late(&self, now: Instant) -> bool {
        self.due <= now && !self.is_idle()
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due <= now && self.is_idle() && self.quarantined_until.is_none_or(|until| until <= now)
    }
}

impl Owned {
    /// What is settled or planned but not yet committed.
    pub fn to_commit(&self, now: Instant, now_ms: i64) -> Option<Commit> {
        if self.halted.is_some() {
            return None;
        }
        let Some(planning) = &self.plan else {
            let low = self.watermark.low().filter(|low| self.committed != Some(*low));
            return low.map(|offset| Commit { offset, snapshot: None });
        };
        let snapshot = planning.plan.snapshot(now, now_ms)?;
        let is_new = self.committed != Some(snapshot.offset) || planning.plan.awaits_commit(now);
        is_new.then_some(Commit { offset: snapshot.offset, snapshot: Some(snapshot) })
    }

    /// Whether batches wait for a commit to be sent.
    fn awaits_commit(&self, now: Instant) -> bool {
        self.halted.is_none() && self.plan.as_ref().is_some_and(|planning| planning.plan.awaits_commit(now))
    }

    fn kind(&self, now: Instant) -> Kind {
        match &self.plan {
            Some(planning) if planning.plan.awaits_recut(now) => Kind::Recut,
            Some(planning) if planning.boundary().is_some() => Kind::Takeover,
            Some(planning) if planning.plan.awaits_commit(now) => Kind::Plan,
            _ => Kind::Closing,
        }
    }

    /// Whether everything is settled and committed.
    pub fn is_committed(&self, now: Instant) -> bool {
        let settled = self.plan.as_ref().is_none_or(|planning| planning.is_settled());
        settled && self.watermark.is_settled() && self.to_commit(now, 0).is_none()
    }

    pub fn acknowledged(&mut self, commit: &Commit) {
        self.committed = Some(commit.offset);
        if let (Some(planning), Some(snapshot)) = (&mut self.plan, &commit.snapshot) {
            planning.plan.acknowledged(snapshot);
        }
    }
}

/// Where a commit of this kind can be broken: before it leaves, and once it is answered.
fn places(kind: Kind) -> (Point, &'static [Point]) {
    match kind {
        Kind::Closing => (Point::ClosingCommitSent, &[Point::ClosingCommitted]),
        Kind::Plan => (Point::IntentCommitSent, &[Point::IntentCommitted]),
        Kind::Takeover => (Point::IntentCommitSent, &[Point::Recommitted, Point::IntentCommitted]),
        Kind::Recut => (Point::IntentCommitSent, &[Point::ReplanCommitted, Point::IntentCommitted]),
    }
}

impl Worker {
    /// Sends a commit when one is due and there is something to commit.
    pub fn commit(&mut self, now: Instant) {
        if self.line.is_exact && self.line.partitions.iter().any(|owned| owned.awaits_commit(now)) {
            self.commits.hurry();
        }
        if !self.commits.is_due(now) {
            return;
        }
        let now_ms = self.flusher.faults.unix_ms();
        let partitions = self.line.partitions.slots();
        let all: Vec<_> = partitions
            .filter_map(|(slot, owned)| Some((slot, owned, owned.to_commit(now, now_ms)?)))
            .collect();
        if all.is_empty() {
            return;
        }
        let kind = all.iter().map(|(_, owned, _)| owned.kind(now)).max().unwrap_or(Kind::Closing);
        let text = |commit: &Commit| commit.snapshot.as_ref().map_or_else(String::new, |s| s.text.clone());
        let list: Vec<_> = all
            .iter()
            .map(|(_, owned, commit)| (owned.source.clone(), commit.offset, text(commit)))
            .collect();
        self.commits.due = now + self.commits.interval;
        self.commits.sent = Some(now);
        self.commits.under_way = all.into_iter().map(|(slot, _, commit)| (slot, commit)).collect();
        let (committer, answer_to) = (self.consumer.committer(), self.answer_to.clone());
        let faults = self.flusher.faults.clone();
        self.runtime.spawn_blocking(move || {
            let (sent, answered) = places(kind);
            faults.point(sent);
            let begun = Instant::now();
            let result = committer.commit(&list);
            METRICS.stages.busy.with_label_values(&["commit"]).inc_by(begun.elapsed().as_secs_f64());
            answered.iter().for_each(|place| faults.point(*place));
            // Without a receiver the worker has ended and waits for nothing.
            let _ = answer_to.blocking_send(Answer::Committed(result));
        });
    }
}
