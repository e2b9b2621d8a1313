//! Taking partitions over with `exactly_once`: what their last owner committed is read before the first record.
//!
//! Refuses to guess. The group's offsets are asked for after the assignment has arrived, so that the answer
//! holds every commit that the last owner was or will be told of; a plan that cannot be read halts its
//! partition.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt as _;

use super::Error;
use super::planning::Planning;
use super::seal::Batch;
use super::worker::{Answer, Worker};
use crate::batch::{Slot, Trigger};
use crate::delivery::plan::Terms;
use crate::delivery::{Ledger, Lineage, Plan};
use crate::faults::Point;
use crate::kafka;
use crate::record::{Offset, OffsetRange, TopicPartition};

/// How long the coordinator may take for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);

/// Partitions that wait for what their last owner committed.
#[derive(Debug)]
pub struct Takeover {
    pub partitions: Vec<(Slot, TopicPartition)>,
}

/// What the group has for each of them: offset and text.
pub type Found = Result<Vec<(TopicPartition, Option<Offset>, String)>, kafka::Error>;

impl Worker {
    /// Asks what the last owners committed, after `pause`. The answer comes as [`Answer::Found`].
    pub(super) fn ask_for_plans(&self, takeover: Takeover, pause: Duration) {
        let (committer, answer_to) = (self.consumer.committer(), self.answer_to.clone());
        let sources: Vec<_> = takeover.partitions.iter().map(|(_, source)| source.clone()).collect();
        self.runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            let asked = tokio::task::spawn_blocking(move || committer.committed(&sources, ANSWER_MAX)).await;
            let found = asked.unwrap_or_else(|error| Err(kafka::Error::Fatal(error.to_string())));
            // Without a receiver the worker has ended and takes nothing over.
            let _ = answer_to.send(Answer::Found(takeover, found)).await;
        });
    }

    /// Goes on where the last owners stood; asks again if the coordinator did not answer.
    pub(super) fn take_over(&mut self, takeover: Takeover, found: Found, now: Instant) -> Result<(), Error> {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the group's offsets are not known yet, asking again");
                self.ask_for_plans(takeover, PAUSE);
                return Ok(());
            }
        };
        self.flusher.faults.point(Point::OffsetsFetched);
        let (mut accepted, mut halted) = (Vec::new(), Vec::new());
        for (slot, source) in takeover.partitions {
            let one = found.iter().find(|(found, ..)| *found == source);
            let (base, text) = one.map_or((None, ""), |(_, base, text)| (*base, text.as_str()));
            let Some(base) = self.begin(slot, base, text, now) else { continue };
            if self.line.partitions.get(slot).is_some_and(|owned| owned.halted.is_some()) {
                halted.push(source.clone());
            }
            accepted.push((source, base));
        }
        // An assignment that the group took back meanwhile is no longer waited for.
        if !accepted.is_empty() {
            self.consumer.accept_at(&accepted)?;
            self.consumer.pause(&halted)?;
            let accepted: Vec<_> = accepted.into_iter().map(|(source, _)| source).collect();
            self.begin_held(&accepted, now)?;
        }
        Ok(())
    }

    /// Begins one partition; gives where reading starts, or nothing if it was taken away meanwhile.
    fn begin(
        &mut self,
        slot: Slot,
        base: Option<Offset>,
        text: &str,
        now: Instant,
    ) -> Option<Option<Offset>> {
        let now_ms = self.flusher.faults.unix_ms();
        let ticket = self.line.tickets.next();
        let owned = self.line.partitions.get_mut(slot)?;
        let lane = self.line.lanes.get_mut(owned.lane)?;
        owned.open = lane.open_one(ticket);
        owned.committed = base;
        let parsed = base.map_or(Ok(None), |base| Ledger::parse(text, base));
        let ledger = parsed.unwrap_or_else(|error| {
            owned.halt(error.to_string());
            None
        });
        let former_until = ledger.as_ref().map_or(now, |ledger| now + time_left(ledger, now_ms));
        let terms = Terms {
            fingerprint: lane.target.fingerprint,
            lease: self.settings.lease,
            intents_max: INTENTS_MAX,
        };
        tracing::debug!(source = %owned.source, ?base, text, "what the last owner committed");
        if let Some(found) = &ledger {
            let planned = found.intents.len();
            if planned != 0 {
                tracing::info!(source = %owned.source, planned, "batches of the last owner are cut again");
            }
            if planned != 0 && found.fingerprint != terms.fingerprint {
                tracing::warn!(
                    source = %owned.source,
                    "they were planned with another table file; each lands once, in the old or the new shape"
                );
            }
        }
        let plan = Plan::begin(terms, base, ledger, Lineage(rand::rng().random()));
        owned.plan = Some(Planning::new(plan, former_until));
        Some(base)
    }
}

impl Worker {
    /// Has somebody look whether the range holds records. The answer comes as [`Answer::Gone`].
    pub(super) fn ask_whether_gone(&self, slot: Slot, source: TopicPartition, range: OffsetRange) {
        let (kafka, answer_to) = (Arc::clone(&self.flusher.kafka), self.answer_to.clone());
        self.runtime.spawn_blocking(move || {
            let gone = kafka::scan::is_empty(&kafka, &source, range);
            // Without a receiver the worker has ended.
            let _ = answer_to.blocking_send(Answer::Gone(slot, range, gone));
        });
    }

    /// Ends a stretch whose last records are gone; asks again later if they are not, or nobody could tell.
    pub(super) fn cut_what_is_gone(
        &mut self,
        slot: Slot,
        range: OffsetRange,
        gone: Result<bool, kafka::Error>,
        now: Instant,
    ) -> Result<(), Error> {
        let Some(owned) = self.line.partitions.get_mut(slot) else { return Ok(()) };
        owned.quiet_looks = 0;
        let unread = owned.plan.as_ref().and_then(Planning::unread);
        match gone {
            Ok(true) if unread == Some(range) => self.line.seal(Batch::Of(slot), Trigger::Replay, now),
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!(source = %owned.source, %range, %error, "whether planned records are gone is not known yet");
                Ok(())
            }
        }
    }
}

/// Batches of one partition that may be open; a search for refused rows cuts some of them further.
const INTENTS_MAX: usize = 16;

/// How long what the last owner sent may still land. Its clock may differ from ours, so never longer than its
/// whole lease.
fn time_left(ledger: &Ledger, now_ms: i64) -> Duration {
    let age_ms = u64::try_from(now_ms.saturating_sub(ledger.written_ms)).unwrap_or(0);
    ledger.lease.saturating_sub(Duration::from_millis(age_ms))
}
