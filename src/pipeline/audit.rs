//! Hands what is committed to the audit.
//!
//! Refuses to compare anything and to wait: it takes the counts of each partition now and then, and when the
//! partition goes or the member ends. A stretch that finds no room is offered again with the next.

use std::time::{Duration, Instant};

use super::partitions::{Owned, Partitions};
use crate::audit::continuous::{Check, Checker};

/// How often what is committed is offered while rows are about to be erased.
const HURRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Audit {
    /// `None` where nothing is audited.
    checker: Option<Checker>,
    interval: Duration,
    due: Instant,
    /// Until then rows may be erased that were committed; they are compared before.
    hurries_until: Option<Instant>,
}

impl Audit {
    pub fn new(checker: Option<Checker>, interval: Duration, now: Instant) -> Audit {
        Audit { checker, interval, due: now + interval, hurries_until: None }
    }

    /// Offers what is committed now, and soon again until then: rows that go afterwards are not missing.
    pub fn hurry(&mut self, now: Instant, until: Instant) {
        self.due = now;
        self.hurries_until = Some(until);
    }

    /// Offers what was committed since the last time, once an interval.
    pub fn turn(&mut self, partitions: &mut Partitions, now: Instant) {
        if self.due <= now {
            let hurries = self.hurries_until.is_some_and(|until| now < until);
            self.due = now + if hurries { self.interval.min(HURRY) } else { self.interval };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_is_compared_before_somebody_is_erased() {
        let (now, interval, second) = (Instant::now(), Duration::from_secs(60), Duration::from_secs(1));
        let mut partitions = Partitions::default();
        let mut audit = Audit::new(None, interval, now);
        audit.turn(&mut partitions, now);
        assert_eq!(audit.due, now + interval, "nothing is due yet");
        audit.hurry(now, now + 20 * second);
        audit.turn(&mut partitions, now);
        assert_eq!(audit.due, now + HURRY, "it was offered at once, and soon is again");
        audit.turn(&mut partitions, now + 20 * second);
        assert_eq!(audit.due, now + 20 * second + interval);
    }
}
