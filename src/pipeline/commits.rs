//! Sends watermarks to Kafka, one commit under way at a time.
//!
//! Refuses to compute offsets: what is committed is the partition's low watermark, as it stands
//! (invariant I1). A failed commit loses nothing; the next one carries the same or more.

use std::time::{Duration, Instant};

use super::partitions::{Owned, Partitions};
use super::worker::{Answer, Worker};
use crate::faults::Point;
use crate::kafka;
use crate::record::{Offset, TopicPartition};
use crate::telemetry::metrics::METRICS;

/// Between two commits when something waits for them.
const HURRIED_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub struct Commits {
    interval: Duration,
    due: Instant,
    sent: Option<Instant>,
    under_way: Vec<(TopicPartition, Offset)>,
}

impl Commits {
    pub fn new(interval: Duration, now: Instant) -> Commits {
        Commits { interval, due: now, sent: None, under_way: Vec::new() }
    }

    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Kafka answered the commit under way.
    pub fn answered(&mut self, result: Result<(), kafka::Error>, partitions: &mut Partitions) {
        let under_way = std::mem::take(&mut self.under_way);
        let outcome = if result.is_ok() { "ok" } else { "error" };
        METRICS.offset_commits.with_label_values(&[outcome]).inc();
        match result {
            Ok(()) => {
                for (source, offset) in under_way {
                    if let Some(owned) = partitions.by_source(&source) {
                        owned.committed = Some(offset);
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "commit refused, the next one repeats it"),
        }
    }

    /// Makes the next commit go out at once, or soon after one that has just failed.
    pub fn hurry(&mut self) {
        if let Some(sent) = self.sent {
            self.due = self.due.min(sent + HURRIED_INTERVAL);
        }
    }
}

impl Owned {
    /// The offset that is settled but not yet committed.
    pub fn to_commit(&self) -> Option<Offset> {
        self.watermark.low().filter(|low| self.committed != Some(*low))
    }
}

impl Worker {
    /// Sends a commit when one is due and there is something to commit.
    pub fn commit(&mut self, now: Instant) {
        if now < self.commits.due || !self.commits.is_idle() {
            return;
        }
        let partitions = self.line.partitions.iter();
        let all: Vec<_> = partitions
            .filter_map(|owned| Some((owned.source.clone(), owned.to_commit()?, String::new())))
            .collect();
        if all.is_empty() {
            return;
        }
        self.commits.due = now + self.commits.interval;
        self.commits.sent = Some(now);
        self.commits.under_way = all.iter().map(|(source, offset, _)| (source.clone(), *offset)).collect();
        let (committer, answer_to) = (self.consumer.committer(), self.answer_to.clone());
        let faults = self.flusher.faults.clone();
        self.runtime.spawn_blocking(move || {
            faults.point(Point::ClosingCommitSent);
            let result = committer.commit(&all);
            faults.point(Point::ClosingCommitted);
            // Without a receiver the worker has ended and waits for nothing.
            let _ = answer_to.blocking_send(Answer::Committed(result));
        });
    }
}
