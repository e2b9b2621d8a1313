//! Closing batches: which, when, and what they stand for from then on.
//!
//! Refuses to send them. With `exactly_once` a batch is one stretch of one partition, and closing it plans the
//! stretch; stretches that became no row are planned as well, so that the offset moves.

use std::time::{Duration, Instant};

use super::flush::{Job, PlannedRange, Source, Task};
use super::lane::{Closed, Lane};
use super::planning::Admission;
use super::{Error, Line};
use crate::batch::{Sealed, Slot, Trigger};
use crate::record::Record;
use crate::telemetry::metrics::METRICS;
use crate::telemetry::traces::{self, Links, Trace, Tracer};

/// Which open batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// The one that all partitions of this lane share.
    Shared(usize),
    /// The one of this partition.
    Of(Slot),
}

impl Line {
    /// Ends stretches that a former owner ended before this record, and halts a partition whose log went back.
    pub(super) fn cut_before(&mut self, record: &Record<'_>, now: Instant) -> Result<(), Error> {
        while let Some((slot, owned)) = self.partitions.find(record.topic, record.partition)
            && let Some(planning) = &owned.plan
        {
            match planning.admit(record.offset) {
                Admission::Take => break,
                Admission::Cut => self.seal(Batch::Of(slot), Trigger::Replay, now)?,
                Admission::Gap => owned.plan_gap(record.offset),
                Admission::WentBack => owned.halt(format!(
                    "offset {} came after a later one: the topic was cut or made anew; compare with \
                     `penstock audit-rows`, then go on with `penstock ledger rewind`",
                    record.offset
                )),
            }
        }
        Ok(())
    }

    /// Closes one open batch and queues it; with `exactly_once` also an empty one whose records became no rows.
    pub(super) fn seal(&mut self, batch: Batch, trigger: Trigger, now: Instant) -> Result<(), Error> {
        match batch {
            Batch::Shared(lane) => self.seal_shared(lane, trigger, now),
            Batch::Of(slot) => self.seal_planned(slot, trigger, now),
        }
    }

    fn seal_shared(&mut self, lane: usize, trigger: Trigger, now: Instant) -> Result<(), Error> {
        let Some(lane) = self.lanes.get_mut(lane) else { return Ok(()) };
        if let Some(closed) = lane.seal(0, trigger, self.tickets.next(), now)? {
            let shares = closed.sealed.provenance.shares().into_iter();
            let partitions = &self.partitions;
            let sources = shares
                .filter_map(|share| {
                    Some(Source { source: partitions.get(share.slot)?.source.clone(), share })
                })
                .collect();
            lane.push(Job::new(lane, closed, sources, &self.tracer));
        }
        Ok(())
    }

    fn seal_planned(&mut self, slot: Slot, trigger: Trigger, now: Instant) -> Result<(), Error> {
        let Some(owned) = self.partitions.get_mut(slot) else { return Ok(()) };
        let Some(lane) = self.lanes.get_mut(owned.lane) else { return Ok(()) };
        let Some(planning) = &mut owned.plan else { return Ok(()) };
        if trigger != Trigger::Replay && !planning.may_cut() {
            return Ok(());
        }
        let sealed = lane.seal(owned.open, trigger, self.tickets.next(), now)?;
        let rows = sealed.as_ref().map_or(0, |closed| closed.batch.num_rows());
        let planned = match planning.cut(rows) {
            Ok(Some(planned)) => planned,
            Ok(None) => return Ok(()),
            Err(diverged) => {
                owned.halt(diverged.to_string());
                return Ok(());
            }
        };
        let lineage = planning.plan.lineage();
        let doubt = planned.replay.then(|| planning.former_until());
        if planned.replay {
            METRICS.replayed_batches.with_label_values(&[&lane.name]).inc();
            METRICS.replay_gone_records.with_label_values(&[&lane.name]).inc_by(u64::from(planned.gone));
        }
        match sealed {
            Some(closed) => {
                let share = closed.sealed.provenance.shares().into_iter().next();
                let source = owned.source.clone();
                let sources = share.map(|share| Source { source, share }).into_iter().collect();
                let mut job = Job::new(lane, closed, sources, &self.tracer);
                job.planned =
                    Some(PlannedRange { slot, lineage, range: planned.range, end: planned.range.next });
                job.doubt = doubt;
                lane.push(job);
            }
            None => planning.plan.settle(&owned.watermark),
        }
        Ok(())
    }

    /// Closes every open batch whose age is over.
    pub(super) fn seal_aged(&mut self, now: Instant) -> Result<(), Error> {
        self.seal_where(now, |line, batch| match batch {
            Batch::Shared(lane) => line.lanes.get_mut(lane)?.opens.first_mut()?.buffer.tick(now),
            Batch::Of(slot) => {
                let owned = line.partitions.get_mut(slot)?;
                let lane = line.lanes.get_mut(owned.lane)?;
                let aged = lane.opens.get_mut(owned.open)?.buffer.tick(now);
                let due = owned.plan.as_mut()?.is_due(lane.limits.age_max, now);
                aged.or(due.then_some(Trigger::Age))
            }
        })
    }

    /// Closes every open batch for which `why` gives a reason; the flush tasks take them from there.
    pub(super) fn seal_where(
        &mut self,
        now: Instant,
        mut why: impl FnMut(&mut Line, Batch) -> Option<Trigger>,
    ) -> Result<(), Error> {
        for batch in self.batches() {
            if let Some(trigger) = why(self, batch) {
                self.seal(batch, trigger, now)?;
            }
        }
        Ok(())
    }

    /// Closes the open batch that holds most.
    pub(super) fn seal_largest(&mut self, now: Instant) -> Result<(), Error> {
        let bytes = |batch: &Batch| match *batch {
            Batch::Shared(lane) => self.lanes.get(lane).and_then(|lane| lane.opens.first()),
            Batch::Of(slot) => {
                let owned = self.partitions.get(slot);
                owned.and_then(|owned| self.lanes.get(owned.lane)?.opens.get(owned.open))
            }
        };
        let bytes = |batch: &Batch| bytes(batch).map_or(0, |open| open.buffer.columns.bytes());
        match self.batches().into_iter().max_by_key(bytes) {
            Some(largest) => self.seal(largest, Trigger::Memory, now),
            None => Ok(()),
        }
    }

    /// Every open batch.
    fn batches(&self) -> Vec<Batch> {
        if self.is_exact {
            return self.partitions.slots().map(|(slot, _)| Batch::Of(slot)).collect();
        }
        (0..self.lanes.len()).map(Batch::Shared).collect()
    }
}

impl Job {
    fn new(lane: &Lane, closed: Closed, sources: Vec<Source>, tracer: &Tracer) -> Job {
        let Closed { ticket, batch, sealed, links, erasures } = closed;
        let task = Task::Insert(0..batch.num_rows());
        let trace = match tracer.is_on() {
            true => tracer.batch(&about(&lane.name, &sealed, &sources, links)),
            false => Trace::default(),
        };
        Job {
            lane: lane.index,
            ticket,
            sealed,
            payload: batch.into(),
            sources,
            planned: None,
            lease: None,
            not_before: None,
            task,
            parked: 0,
            erasures,
            search: None,
            doubt: None,
            trace,
        }
    }
}

/// What a batch's trace tells of it.
fn about<'a>(table: &'a str, sealed: &Sealed, sources: &'a [Source], links: Links) -> traces::Batch<'a> {
    let first = sources.first().map(|source| &source.source);
    let topic = first.filter(|first| sources.iter().all(|other| other.source.topic == first.topic));
    let partition = first.filter(|_| sources.len() == 1).map(|first| first.partition.0);
    traces::Batch {
        table,
        topic: topic.map(|first| &*first.topic),
        partition,
        rows: sealed.rows(),
        bytes: sealed.bytes,
        trigger: sealed.trigger.name(),
        age: Duration::from_millis(sealed.age_ms),
        links,
    }
}
