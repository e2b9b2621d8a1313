//! The search for the rows for which a batch was refused, one task after the other.
//!
//! Refuses to judge rows: that is the server's. With `exactly_once` every task is a range of its own in the
//! plan, from where the settled part of the batch ends; it is sent when a commit lists it.

use std::ops::Range;
use std::sync::Arc;

use super::flush::{Flushed, Job, Target, Task};
use super::partitions::Partitions;
use crate::batch::Slot;
use crate::clickhouse;
use crate::dead_letter::bisect::{Bisect, Step};
use crate::record::{Offset, OffsetRange};
use crate::telemetry::metrics::METRICS;

/// Inserts that the search may cost before the table pauses.
const INSERTS_MAX: usize = 256;

/// The search within one batch.
#[derive(Debug)]
pub struct Search {
    bisect: Bisect<Arc<clickhouse::Error>>,
    /// Refused rows whose records are at rest.
    buried: usize,
}

/// What becomes of a batch after one of its tasks.
#[derive(Debug)]
pub enum Outcome {
    /// Every row is in the table or a dead letter.
    Done,
    /// The next task goes at once.
    Next,
    /// The next task goes after a pause.
    Paused(String),
    /// The same task goes once earlier batches of its partition are done.
    Later,
}

impl Job {
    /// Takes in how the task went, and sets the next one.
    pub fn advance(&mut self, flushed: Flushed, partitions: &mut Partitions) -> Outcome {
        if let Flushed::Parked { reason } = flushed {
            return Outcome::Paused(reason);
        }
        if self.search.is_none() && matches!(flushed, Flushed::Refused(_)) && !self.is_head(partitions) {
            return Outcome::Later;
        }
        self.parked = 0;
        // What was refused in doubt goes on in doubt: some of its rows may be there, and each part is looked for.
        if !matches!(flushed, Flushed::Refused(_)) && self.search.is_none() {
            self.doubt = None;
        }
        if !matches!(flushed, Flushed::Refused(_)) {
            self.settle_task(partitions);
        }
        let rows = self.sealed.rows();
        let search = match (&mut self.search, flushed) {
            (None, Flushed::Refused(error)) => {
                tracing::warn!(rows, %error, "batch refused for its data, looking for the rows");
                self.search.insert(Search { bisect: Bisect::new(rows, error, INSERTS_MAX), buried: 0 })
            }
            (None, _) => return Outcome::Done,
            (Some(search), flushed) => {
                match flushed {
                    Flushed::Refused(error) => search.bisect.answer(Err(error)),
                    Flushed::Written => search.bisect.answer(Ok(())),
                    Flushed::Buried | Flushed::Parked { .. } => search.buried += 1,
                }
                search
            }
        };
        let mut pause = None;
        let mut step = search.bisect.step();
        if step == Step::Paused {
            search.bisect.allow(INSERTS_MAX);
            step = search.bisect.step();
            pause = Some(format!(
                "many rows are refused for their data: {} found with {INSERTS_MAX} more inserts, \
                 the search goes on after a pause",
                search.buried
            ));
        }
        self.task = match (search.bisect.guilty().get(search.buried), step) {
            (Some((row, error)), _) => Task::Bury(*row, Arc::clone(error)),
            (None, Step::Insert(piece)) => Task::Insert(piece),
            (None, Step::Done | Step::Paused) => return Outcome::Done,
        };
        self.plan_task(partitions);
        pause.map_or(Outcome::Next, Outcome::Paused)
    }

    /// Whether nothing of its partition is open before it. Only then is it cut into parts, which leave the plan as
    /// they land; a plan that grew with every part would outgrow what a commit can hold.
    fn is_head(&self, partitions: &Partitions) -> bool {
        let Some(planned) = &self.planned else { return true };
        let owned = partitions.get(planned.slot);
        owned.and_then(|owned| owned.plan.as_ref()).is_none_or(|p| p.plan.is_head(planned.range))
    }

    /// How many rows of it became dead letters.
    pub fn dead_letters(&self) -> usize {
        self.search.as_ref().map_or(0, |search| search.buried)
    }

    /// Before the first attempt: orders the batch into pieces if it touches too many of the table's partition keys
    /// for one insert, and gives the rows of the first.
    pub fn spread(&mut self, target: &Target) -> Option<Range<usize>> {
        let by = target.partition_by.as_ref().filter(|_| self.parked == 0 && self.search.is_none())?;
        let batch = self.payload.columns()?;
        let keys = by.keys(&batch)?;
        METRICS.pressure.partition_keys.with_label_values(&[&target.table]).observe(keys as f64);
        self.trace.set("penstock.partition_keys", i64::try_from(keys).unwrap_or(i64::MAX));
        if keys <= target.partition_keys_max {
            return None;
        }
        let (batch, ends) = match self.sealed.spread(&batch, by, target.partition_keys_max) {
            Ok(spread) => spread?,
            // The server judges the batch as it is.
            Err(error) => {
                tracing::error!(table = %target.table, %error, "the batch cannot be ordered by partition key");
                return None;
            }
        };
        self.payload = batch.into();
        let inserts_max = INSERTS_MAX.saturating_add(ends.len());
        let mut bisect = Bisect::pieces(ends, inserts_max);
        let Step::Insert(first) = bisect.step() else { return None };
        self.task = Task::Insert(first.clone());
        self.search = Some(Search { bisect, buried: 0 });
        Some(first)
    }

    /// The record that its task makes a dead letter of.
    pub fn buried(&self) -> Option<(Slot, Offset)> {
        match &self.task {
            Task::Bury(row, _) => self.sealed.locate(*row),
            Task::Insert(_) => None,
        }
    }

    /// The task's range has landed.
    fn settle_task(&mut self, partitions: &mut Partitions) {
        let Some(planned) = &mut self.planned else { return };
        let Some(owned) = partitions.get_mut(planned.slot) else { return };
        let Some(planning) = &mut owned.plan else { return };
        planning.plan.landed(planned.range);
        owned.watermark.settle_below(self.ticket, planned.range.next);
        planning.plan.settle(&owned.watermark);
        planned.range.first = planned.range.next;
    }

    /// Cuts the rest of the batch so that the task has a range of its own at its head.
    fn plan_task(&mut self, partitions: &mut Partitions) {
        let next = self.task_end();
        let Some(planned) = &mut self.planned else { return };
        let rest = OffsetRange { first: planned.range.first, next: planned.end };
        planned.range.next = next.unwrap_or(planned.end);
        let cuts: Vec<Offset> =
            (planned.range.next < rest.next).then_some(planned.range.next).into_iter().collect();
        let owned = partitions.get_mut(planned.slot);
        if let Some(planning) = owned.and_then(|owned| owned.plan.as_mut()) {
            planning.plan.recut(rest, &cuts);
        }
    }

    /// The offset at which the task's range ends; `None` at the end of the batch.
    fn task_end(&self) -> Option<Offset> {
        match &self.task {
            Task::Bury(row, _) if row + 1 < self.sealed.rows() => self.offset_of(*row).map(Offset::next),
            Task::Insert(rows) if rows.end < self.sealed.rows() => self.offset_of(rows.end),
            _ => None,
        }
    }
}
