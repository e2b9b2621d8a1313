//! What `exactly_once` keeps for one partition while it is read: its plan, and the stretch that will be the next
//! batch.
//!
//! Refuses to send and to commit. A stretch ends where a former owner ended it, as long as there is one to
//! follow; after that wherever rows, bytes or age end it.

use std::time::{Duration, Instant};

use crate::delivery::Plan;
use crate::delivery::ledger::Read;
use crate::delivery::plan::{Diverged, Planned};
use crate::record::{Offset, OffsetRange, Record};

#[derive(Debug)]
pub struct Planning {
    pub plan: Plan,
    /// First offset of the stretch that nothing was read from yet: where the next record lies or behind it.
    position: Option<Offset>,
    /// The offset at which the stretch has to end, as a former owner planned it.
    boundary: Option<Offset>,
    /// The log begins later than this offset, at which reading was to go on.
    missing: Option<Offset>,
    first: Option<Offset>,
    read: Read,
    since: Option<Instant>,
    /// Until when what a former owner sent may still land.
    former_until: Instant,
}

/// What is to be done with a record that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Take,
    /// The stretch ends before it: cut, then ask again.
    Cut,
    /// Records are missing before it: plan the gap, then ask again.
    Gap,
    /// Its offset was read already: the log was cut or made anew.
    WentBack,
}

impl Planning {
    /// `former_until`: until when what a former owner sent may still land.
    pub fn new(plan: Plan, former_until: Instant) -> Planning {
        let (boundary, position) = (plan.boundary(), plan.base());
        let (missing, first, since) = (None, None, None);
        Planning { plan, position, boundary, missing, first, read: Read::default(), since, former_until }
    }

    pub fn former_until(&self) -> Instant {
        self.former_until
    }

    pub fn admit(&self, offset: Offset) -> Admission {
        match (self.boundary, self.position) {
            (_, Some(position)) if offset < position => Admission::WentBack,
            (Some(boundary), _) if boundary <= offset => Admission::Cut,
            (None, Some(position)) if position < offset && self.is_missing_before(offset) => {
                if self.read.records == 0 { Admission::Gap } else { Admission::Cut }
            }
            _ => Admission::Take,
        }
    }

    fn is_missing_before(&self, offset: Offset) -> bool {
        self.missing.is_some_and(|missing| missing <= offset)
    }

    /// The log begins later than `offset`, at which reading was to go on.
    pub fn jumped(&mut self, offset: Offset) {
        self.missing = Some(offset);
    }

    /// Plans what is missing before the record at `next` as a range of its own, of which nothing is known: a
    /// broker that dies soon after records were deleted has them again, and then whoever takes over sends them.
    ///
    /// # Errors
    /// None while no former owner's plan is followed, and only then is there a gap.
    pub fn plan_gap(&mut self, next: Offset) -> Result<(), Diverged> {
        let first = self.position.unwrap_or(next);
        self.plan.propose(first, next, Read::default(), 0)?;
        (self.position, self.missing) = (Some(next), None);
        Ok(())
    }

    pub fn take_in(&mut self, record: &Record<'_>) {
        if self.is_missing_before(record.offset) {
            self.missing = None;
        }
        self.first.get_or_insert(record.offset);
        self.position = Some(record.offset.next());
        self.read.add(record.offset, record.timestamp_ms, record.bytes());
    }

    /// Whether nothing was read that is not planned, and nothing that is planned is open.
    pub fn is_settled(&self) -> bool {
        self.plan.is_settled() && !self.has_read()
    }

    /// Whether anything was read that is not planned.
    pub fn has_read(&self) -> bool {
        self.read.records != 0
    }

    /// Whether the stretch has to end here.
    pub fn ends_here(&self) -> bool {
        self.boundary.is_some() && self.boundary <= self.position
    }

    /// The offset at which the stretch has to end, if a former owner planned it.
    pub fn boundary(&self) -> Option<Offset> {
        self.boundary
    }

    /// What is left to be read of the stretch that a former owner planned.
    pub fn unread(&self) -> Option<OffsetRange> {
        let range = OffsetRange { first: self.position?, next: self.boundary? };
        (range.first < range.next).then_some(range)
    }

    /// Whether the stretch may end now.
    pub fn may_cut(&self) -> bool {
        match self.boundary {
            Some(_) => self.ends_here(),
            None => self.read.records != 0 && self.plan.has_room(),
        }
    }

    /// Whether a stretch of which nothing became a row has lasted for `age_max`, so that it has to be cut for
    /// the offset to move.
    pub fn is_due(&mut self, age_max: Duration, now: Instant) -> bool {
        if self.read.records == 0 {
            return false;
        }
        let since = *self.since.get_or_insert(now);
        self.may_cut() && age_max <= now.saturating_duration_since(since)
    }

    /// Ends the stretch, which became `rows` rows, and plans it. `None` while nothing was read.
    ///
    /// # Errors
    /// A former owner planned it with other records.
    pub fn cut(&mut self, rows: usize) -> Result<Option<Planned>, Diverged> {
        let Some(next) = self.boundary.or(self.position) else { return Ok(None) };
        let first = self.first.take().unwrap_or(next);
        let planned = self.plan.propose(first, next, std::mem::take(&mut self.read), rows)?;
        self.boundary = self.plan.boundary();
        self.position = self.position.max(Some(next));
        self.since = None;
        Ok(Some(planned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::plan::Terms;
    use crate::delivery::{Ledger, Lineage};
    use crate::record::Partition;

    const TERMS: Terms = Terms { fingerprint: 1, lease: Duration::from_secs(60), intents_max: 4 };

    fn record(offset: i64) -> Record<'static> {
        Record {
            topic: "t",
            partition: Partition(0),
            offset: Offset(offset),
            timestamp_ms: Some(offset),
            key: None,
            payload: Some(b"{}"),
        }
    }

    #[test]
    fn stretches_end_where_a_former_owner_ended_them() {
        let mut one = Planning::new(Plan::begin(TERMS, Some(Offset(5)), None, Lineage(1)), Instant::now());
        for offset in [5, 6, 9] {
            assert_eq!(one.admit(Offset(offset)), Admission::Take);
            one.take_in(&record(offset));
        }
        assert_eq!(one.admit(Offset(9)), Admission::WentBack);
        assert!(one.may_cut());
        assert_eq!(one.cut(3).unwrap().unwrap().range.to_string(), "[5, 10)");
        one.take_in(&record(10));
        one.cut(1).unwrap();
        let committed = one.plan.snapshot(Instant::now(), 0).unwrap();

        let ledger = Ledger::parse(&committed.text, committed.offset).unwrap();
        let mut two =
            Planning::new(Plan::begin(TERMS, Some(committed.offset), ledger, Lineage(2)), Instant::now());
        assert!(!two.may_cut(), "age and size do not cut what is planned already");
        for offset in [5, 6, 9] {
            assert_eq!(two.admit(Offset(offset)), Admission::Take);
            two.take_in(&record(offset));
        }
        assert!(two.ends_here() && two.may_cut());
        assert!(two.cut(3).unwrap().unwrap().replay);
        // The record at 10 is gone; the next one shows that the stretch is over.
        assert_eq!(two.admit(Offset(12)), Admission::Cut);
        let gone = two.cut(0).unwrap().unwrap();
        assert_eq!((gone.range.to_string().as_str(), gone.gone), ("[10, 11)", 1));
        assert_eq!(two.admit(Offset(12)), Admission::Take);
        assert_eq!(two.admit(Offset(10)), Admission::WentBack);
    }
}
