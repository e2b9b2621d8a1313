//! Hands what is committed to the audit.
//!
//! Refuses to compare anything and to wait: it takes the counts of each partition now and then, and when the
//! partition goes or the member ends. A stretch that finds no room is offered again with the next.

use std::time::{Duration, Instant};

use super::partitions::{Owned, Partitions};
use crate::audit::continuous::{Check, Checker};

#[derive(Debug)]
pub struct Audit {
    /// `None` where nothing is audited.
    checker: Option<Checker>,
    interval: Duration,
    due: Instant,
}

impl Audit {
    pub fn new(checker: Option<Checker>, interval: Duration, now: Instant) -> Audit {
        Audit { checker, interval, due: now + interval }
    }

    /// Offers what was committed since the last time, once an interval.
    pub fn turn(&mut self, partitions: &mut Partitions, now: Instant) {
        if self.due <= now {
            self.due = now + self.interval;
            self.offer_all(partitions);
        }
    }

    pub fn offer_all(&self, partitions: &mut Partitions) {
        partitions.iter_mut().for_each(|owned| self.offer(owned));
    }

    /// Offers what this partition has committed. What nobody audits is dropped, so that it does not pile up.
    pub fn offer(&self, owned: &mut Owned) {
        let Some(stretch) = owned.committed.and_then(|offset| owned.tally.committed(offset)) else { return };
        let Some(checker) = self.checker.as_ref().filter(|checker| checker.audits(owned.lane)) else {
            return;
        };
        let check = Check { table: owned.lane, source: owned.source.clone(), stretch };
        if let Err(stretch) = checker.offer(check) {
            owned.tally.give_back(stretch);
        }
    }
}
