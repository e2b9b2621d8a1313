//! How far a partition may be committed: only the head of the line proves progress.
//!
//! Refuses to know what is awaited: a [`Ticket`] stands for a batch or a dead letter. Whatever settles
//! behind an unsettled ticket waits, so the low watermark never passes a record that is neither written,
//! filtered nor dead-lettered (invariant I1). Offsets that Kafka never hands out (compacted records,
//! transaction markers) are covered by the next record that it does.

use std::collections::VecDeque;

use crate::record::Offset;

/// Names one thing that has to be settled; unique within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The unsettled records of one assignment of one partition, in offset order.
#[derive(Debug, Default)]
pub struct Watermark {
    entries: VecDeque<Entry>,
    low: Option<Offset>,
}

#[derive(Debug)]
struct Entry {
    /// `None` is settled.
    ticket: Option<Ticket>,
    /// Offset of the entry's first record.
    first: Offset,
    /// First offset after the entry's last record.
    next: Offset,
    /// Kafka timestamp of the entry's first record.
    first_ms: Option<i64>,
}

impl Watermark {
    /// A record went into what `ticket` stands for. Offsets rise from call to call, but for records that the
    /// client delivers again.
    pub fn track(&mut self, ticket: Ticket, offset: Offset, timestamp_ms: Option<i64>) {
        if let Some(last) = self.entries.back_mut()
            && last.ticket == Some(ticket)
        {
            last.next = offset.next();
            return;
        }
        let (first, next) = (offset, offset.next());
        self.entries.push_back(Entry { ticket: Some(ticket), first, next, first_ms: timestamp_ms });
    }

    /// A record was left out on purpose: settled from the start.
    pub fn pass(&mut self, offset: Offset) {
        match self.entries.back_mut() {
            None => self.low = self.low.max(Some(offset.next())),
            Some(last) if last.ticket.is_none() => last.next = offset.next(),
            Some(_) => {
                let (first, next) = (offset, offset.next());
                self.entries.push_back(Entry { ticket: None, first, next, first_ms: None });
            }
        }
    }

    /// What `ticket` stood for is written, or dead-lettered and acknowledged.
    pub fn settle(&mut self, ticket: Ticket) {
        for entry in &mut self.entries {
            if entry.ticket == Some(ticket) {
                entry.ticket = None;
            }
        }
        self.advance();
    }

    /// The same for the part of it that lies below `end`.
    pub fn settle_below(&mut self, ticket: Ticket, end: Offset) {
        let mut index = 0;
        while let Some(entry) = self.entries.get_mut(index) {
            if entry.ticket == Some(ticket) && entry.next <= end {
                entry.ticket = None;
            } else if entry.ticket == Some(ticket) && entry.first < end {
                let settled = Entry { ticket: None, first: entry.first, next: end, first_ms: None };
                entry.first = end;
                self.entries.insert(index, settled);
                index += 1;
            }
            index += 1;
        }
        self.advance();
    }

    /// Whether every record below `end` is settled.
    pub fn is_settled_below(&self, end: Offset) -> bool {
        self.entries.front().is_none_or(|head| end <= head.first)
    }

    fn advance(&mut self) {
        while let Some(head) = self.entries.front()
            && head.ticket.is_none()
        {
            // A record that came twice must not take the watermark back.
            self.low = self.low.max(Some(head.next));
            self.entries.pop_front();
        }
    }

    /// The offset to commit: everything below it is settled. `None` until something was.
    pub fn low(&self) -> Option<Offset> {
        self.low
    }

    /// Whether records are still on their way.
    pub fn is_settled(&self) -> bool {
        self.entries.is_empty()
    }

    /// Kafka timestamp of the oldest record still on its way.
    pub fn oldest_ms(&self) -> Option<i64> {
        self.entries.iter().find_map(|entry| entry.first_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_head_moves_the_watermark() {
        let mut w = Watermark::default();
        w.track(Ticket(1), Offset(10), Some(5));
        w.track(Ticket(1), Offset(11), Some(6));
        w.track(Ticket(2), Offset(15), Some(7));
        w.pass(Offset(16));
        w.track(Ticket(1), Offset(17), Some(8));
        assert_eq!((w.low(), w.oldest_ms()), (None, Some(5)));
        w.settle(Ticket(2));
        assert_eq!(w.low(), None);
        w.settle(Ticket(1));
        assert_eq!((w.low(), w.is_settled()), (Some(Offset(18)), true));
        w.pass(Offset(30));
        assert_eq!(w.low(), Some(Offset(31)));
        w.track(Ticket(3), Offset(12), None);
        w.settle(Ticket(3));
        w.pass(Offset(13));
        assert_eq!(w.low(), Some(Offset(31)), "records that come again take nothing back");
    }

    #[test]
    fn a_part_of_a_batch_is_settled_alone() {
        let mut w = Watermark::default();
        (10..15).for_each(|n| w.track(Ticket(1), Offset(n), Some(n)));
        w.track(Ticket(2), Offset(15), Some(15));
        (16..20).for_each(|n| w.track(Ticket(1), Offset(n), Some(n)));
        w.settle_below(Ticket(1), Offset(13));
        assert_eq!((w.low(), w.is_settled_below(Offset(13))), (Some(Offset(13)), true));
        assert!(!w.is_settled_below(Offset(14)));
        w.settle_below(Ticket(1), Offset(18));
        assert_eq!((w.low(), w.is_settled_below(Offset(16))), (Some(Offset(15)), false), "the letter is out");
        w.settle(Ticket(2));
        assert_eq!(w.low(), Some(Offset(18)));
        w.settle(Ticket(1));
        assert_eq!((w.low(), w.is_settled()), (Some(Offset(20)), true));
    }

    proptest! {
        /// Against the plain definition: the low watermark is one past the longest settled prefix.
        #[test]
        fn agrees_with_the_definition(
            records in prop::collection::vec((prop::option::of(0u64..5), 1i64..4), 1..60),
            settled in prop::collection::vec(0u64..5, 0..8),
        ) {
            let mut w = Watermark::default();
            let mut offset = 0;
            let mut log = Vec::new();
            for (ticket, gap) in records {
                offset += gap;
                match ticket {
                    Some(t) => w.track(Ticket(t), Offset(offset), Some(offset)),
                    None => w.pass(Offset(offset)),
                }
                log.push((ticket, offset));
            }
            for t in &settled {
                w.settle(Ticket(*t));
            }
            let unsettled = |t: &Option<u64>| t.is_some_and(|t| !settled.contains(&t));
            let expected = log.iter().take_while(|(t, _)| !unsettled(t)).last().map(|(_, o)| Offset(o + 1));
            prop_assert_eq!(w.low(), expected);
            prop_assert_eq!(w.is_settled(), !log.iter().any(|(t, _)| unsettled(t)));
        }
    }
}
