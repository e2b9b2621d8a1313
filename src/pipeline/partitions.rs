//! The partitions this member owns, each with its watermark.
//!
//! Refuses to talk to Kafka. An assignment gets a [`Slot`] of its own; taking the partition away removes
//! the slot, and whatever still refers to it finds nothing (invariant I2).

use std::sync::Arc;
use std::time::Instant;

use ahash::AHashMap;

use super::planning::{Admission, Planning};
use crate::batch::Slot;
use crate::delivery::{Tally, Ticket, Watermark};
use crate::record::{Offset, Partition, Record, TopicPartition};

/// One owned partition.
#[derive(Debug)]
pub struct Owned {
    pub source: TopicPartition,
    /// Index of the lane that its records go to.
    pub lane: usize,
    /// Which of the lane's open batches they go into.
    pub open: usize,
    pub watermark: Watermark,
    /// What may have been sent; only with `exactly_once`.
    pub plan: Option<Planning>,
    /// Why nothing more is taken in until somebody looks.
    pub halted: Option<String>,
    /// What became of each offset, until it is audited.
    pub tally: Tally,
    /// The offset that Kafka has acknowledged.
    pub committed: Option<Offset>,
    /// The group wants it back: nothing more is taken in.
    pub closing: bool,
    /// Since when it is paused.
    pub paused: Option<Instant>,
    /// When the brokers last told where it ends, since it is paused.
    pub told_at: Option<Instant>,
    /// Too many of its topic's records are refused.
    pub is_capped: bool,
    /// An operator holds its topic back.
    pub is_held: bool,
    /// Since the ceiling of dead letters was last looked at.
    pub judged: Judged,
    /// Kafka timestamp of the last record taken in.
    pub last_ms: Option<i64>,
    /// First offset that was taken in.
    pub first: Option<Offset>,
    /// Where the group stood, of one that is paused.
    pub found: Option<Offset>,
    pub end: Option<Offset>,
    /// Since when there is something to read, of one that is paused; milliseconds since 1970.
    pub waiting_since_ms: Option<i64>,
    pub caught_up: bool,
    /// Looks at the statistics in a row that found everything read, without a record in between.
    pub quiet_looks: u32,
    pub since: Instant,
    /// Since they were last reported.
    pub counts: Counts,
}

/// A sample is enough to know how large records are, and costs next to nothing.
pub const OFFSETS_PER_SIZE: i64 = 64;
/// Of one partition between two reports.
const SIZES_MAX: usize = 4096;

#[derive(Debug, Default)]
pub struct Counts {
    pub records: u64,
    pub bytes: u64,
    pub decoded: u64,
    /// Of `filtered`, those whose subject was erased.
    pub erased: u64,
    pub filtered: u64,
    /// Bytes of the records whose offsets are multiples of [`OFFSETS_PER_SIZE`].
    pub sizes: Vec<i64>,
}

#[derive(Debug, Default)]
pub struct Judged {
    pub records: u64,
    pub refused: u64,
}

impl Owned {
    /// A record came from here.
    pub fn take_in(&mut self, record: &Record<'_>) {
        self.first.get_or_insert(record.offset);
        self.last_ms = record.timestamp_ms.or(self.last_ms);
        self.caught_up = false;
        self.waiting_since_ms = None;
        self.quiet_looks = 0;
        self.counts.records += 1;
        self.judged.records += 1;
        let bytes = record.bytes();
        self.counts.bytes += bytes.unsigned_abs();
        if record.offset.0 % OFFSETS_PER_SIZE == 0 && self.counts.sizes.len() < SIZES_MAX {
            self.counts.sizes.push(bytes);
        }
        if let Some(planning) = &mut self.plan {
            planning.take_in(record);
        }
    }

    /// Whether the record at this offset may be taken in as it comes.
    pub fn admit(&self, offset: Offset) -> Admission {
        self.plan.as_ref().map_or(Admission::Take, |planning| planning.admit(offset))
    }

    /// What the brokers say of it while it is paused: nothing is fetched then that would tell.
    pub fn stands(&mut self, committed: Option<Offset>, end: Offset, now_ms: i64) {
        (self.found, self.end) = (committed, Some(end));
        let Some(durable) = self.durable() else { return };
        let is_behind = durable < end;
        if is_behind && (self.caught_up || self.last_ms.is_none()) {
            self.waiting_since_ms.get_or_insert(now_ms);
        }
        if !is_behind {
            self.waiting_since_ms = None;
        }
        self.caught_up = !is_behind;
    }

    /// It is not paused any more: from now on fetching tells where it ends.
    pub fn fetch_again(&mut self) {
        (self.paused, self.told_at) = (None, None);
    }

    /// Up to where all is settled, as far as that is known.
    pub fn durable(&self) -> Option<Offset> {
        self.watermark.low().or(self.committed).or(self.first).or(self.found)
    }

    /// Whether it is not to be read whatever its table allows.
    pub fn has_to_wait(&self) -> bool {
        self.is_capped || self.is_held
    }

    /// Whether another batch of it may be planned.
    pub fn has_room(&self) -> bool {
        self.plan.as_ref().is_none_or(|planning| planning.plan.has_room())
    }

    /// Whether the stretch being read ends after the last record, as a former owner planned it.
    pub fn ends_here(&self) -> bool {
        self.plan.as_ref().is_some_and(Planning::ends_here)
    }

    /// Plans what is missing before the record at `next`, and lets the offset move over it.
    pub fn plan_gap(&mut self, next: Offset) {
        let Some(planning) = &mut self.plan else { return };
        match planning.plan_gap(next) {
            Ok(()) => planning.plan.settle(&self.watermark),
            Err(diverged) => self.halt(diverged.to_string()),
        }
    }

    /// What the ticket stands for is written, or dead-lettered and acknowledged.
    pub fn settle(&mut self, ticket: Ticket) {
        self.watermark.settle(ticket);
        if let Some(planning) = &mut self.plan {
            planning.plan.settle(&self.watermark);
        }
    }

    /// Takes nothing more in, and says why, until somebody has looked.
    pub fn halt(&mut self, reason: String) {
        tracing::error!(source = %self.source, %reason, "partition halted, nothing of it is lost or committed");
        self.halted = Some(reason);
    }
}

#[derive(Debug, Default)]
pub struct Partitions {
    topics: Vec<Topic>,
    /// The topic of the last record: the next one is mostly of the same.
    last: usize,
    owned: AHashMap<Slot, Owned>,
    slots_given: u64,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    /// By partition number; never longer than the highest number assigned.
    slots: Vec<Option<Slot>>,
}

impl Topic {
    fn slot(&self, partition: Partition) -> Option<Slot> {
        *self.slots.get(usize::try_from(partition.0).ok()?)?
    }
}

impl Partitions {
    /// Takes over a partition. One that was already owned starts anew.
    pub fn add(&mut self, source: TopicPartition, lane: usize, now: Instant) -> Slot {
        self.slots_given += 1;
        let slot = Slot(self.slots_given);
        if let Some(cell) = self.cell(&source) {
            let before = cell.replace(slot);
            if let Some(before) = before {
                self.owned.remove(&before);
            }
        }
        let owned = Owned {
            source,
            lane,
            open: 0,
            watermark: Watermark::default(),
            plan: None,
            halted: None,
            tally: Tally::default(),
            committed: None,
            closing: false,
            paused: None,
            told_at: None,
            is_capped: false,
            is_held: false,
            judged: Judged::default(),
            last_ms: None,
            first: None,
            found: None,
            waiting_since_ms: None,
            end: None,
            caught_up: false,
            quiet_looks: 0,
            since: now,
            counts: Counts::default(),
        };
        self.owned.insert(slot, owned);
        slot
    }

    /// Fences a partition off: what is on its way for it can no longer be committed.
    pub fn remove(&mut self, source: &TopicPartition) -> Option<Owned> {
        let slot = self.cell(source)?.take()?;
        self.owned.remove(&slot)
    }

    /// The partition that a record belongs to; `None` when it is not ours or is being given back.
    pub fn find(&mut self, topic: &str, partition: Partition) -> Option<(Slot, &mut Owned)> {
        if self.topics.get(self.last).is_none_or(|last| *last.name != *topic) {
            self.last = self.topics.iter().position(|t| *t.name == *topic)?;
        }
        let slot = self.topics.get(self.last)?.slot(partition)?;
        let owned = self.owned.get_mut(&slot)?;
        (!owned.closing && owned.halted.is_none()).then_some((slot, owned))
    }

    pub fn get(&self, slot: Slot) -> Option<&Owned> {
        self.owned.get(&slot)
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Owned> {
        self.owned.get_mut(&slot)
    }

    pub fn by_source(&mut self, source: &TopicPartition) -> Option<&mut Owned> {
        let slot = self.slot(&source.topic, source.partition)?;
        self.owned.get_mut(&slot)
    }

    pub fn slot_of(&self, source: &TopicPartition) -> Option<Slot> {
        self.slot(&source.topic, source.partition)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Owned> {
        self.owned.values()
    }

    pub fn slots(&self) -> impl Iterator<Item = (Slot, &Owned)> {
        self.owned.iter().map(|(slot, owned)| (*slot, owned))
    }

    pub fn slots_mut(&mut self) -> impl Iterator<Item = (Slot, &mut Owned)> {
        self.owned.iter_mut().map(|(slot, owned)| (*slot, owned))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Owned> {
        self.owned.values_mut()
    }

    fn slot(&self, topic: &str, partition: Partition) -> Option<Slot> {
        self.topics.iter().find(|t| *t.name == *topic)?.slot(partition)
    }

    fn cell(&mut self, source: &TopicPartition) -> Option<&mut Option<Slot>> {
        let number = usize::try_from(source.partition.0).ok()?;
        let index = self.topics.iter().position(|t| t.name == source.topic).unwrap_or_else(|| {
            self.topics.push(Topic { name: Arc::clone(&source.topic), slots: Vec::new() });
            self.topics.len() - 1
        });
        let slots = &mut self.topics.get_mut(index)?.slots;
        if slots.len() <= number {
            slots.resize(number + 1, None);
        }
        slots.get_mut(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_paused_is_behind_since_the_first_record_that_it_does_not_read() {
        let source = TopicPartition { topic: "t".into(), partition: Partition(0) };
        let mut all = Partitions::default();
        let slot = all.add(source, 0, Instant::now());
        let owned = all.get_mut(slot).unwrap();
        owned.stands(Some(Offset(5)), Offset(5), 100);
        assert_eq!((owned.caught_up, owned.waiting_since_ms, owned.durable()), (true, None, Some(Offset(5))));
        owned.stands(Some(Offset(5)), Offset(6), 200);
        owned.stands(Some(Offset(5)), Offset(9), 300);
        assert_eq!((owned.caught_up, owned.waiting_since_ms, owned.end), (false, Some(200), Some(Offset(9))));
        // One that was behind already goes on by the time of its last record.
        (owned.waiting_since_ms, owned.last_ms) = (None, Some(7));
        owned.stands(Some(Offset(5)), Offset(9), 400);
        assert_eq!(owned.waiting_since_ms, None);
    }

    #[test]
    fn a_new_assignment_has_nothing_of_the_old_one() {
        let source = TopicPartition { topic: "t".into(), partition: Partition(2) };
        let mut all = Partitions::default();
        let old = all.add(source.clone(), 0, Instant::now());
        all.get_mut(old).unwrap().watermark.track(Ticket(1), Offset(5), None);
        assert!(all.remove(&source).is_some());
        assert!(all.get(old).is_none() && all.find("t", Partition(2)).is_none());
        let new = all.add(source.clone(), 0, Instant::now());
        assert_ne!(old, new);
        assert!(all.get(old).is_none());
        let (slot, owned) = all.find("t", Partition(2)).unwrap();
        assert!(slot == new && owned.watermark.is_settled() && owned.watermark.low().is_none());
        owned.closing = true;
        assert!(all.find("t", Partition(2)).is_none());
    }
}
