//! What became of each offset of one assignment of one partition, as counts, until a stretch is committed.
//!
//! Refuses to remember single offsets. A record costs a few additions; what is held grows with what is not yet
//! committed, in segments of many offsets, and is bounded.

use std::collections::VecDeque;

use crate::record::{Offset, OffsetRange};

/// Offsets of one segment at most: a commit in the middle of one leaves it for the next time.
const SEGMENT_OFFSETS: i64 = 65_536;
/// Segments held; beyond it the last one grows.
const SEGMENTS_MAX: usize = 1_024;

/// The offsets that this process took in, from the first one on.
#[derive(Debug, Default)]
pub struct Tally {
    /// In the order of offsets, each beginning where the one before ends.
    segments: VecDeque<Stretch>,
    /// First offset not taken in yet.
    next: Option<Offset>,
    /// What was given back, to be told with the next.
    held: Option<Stretch>,
    /// The next offset begins a segment: else one that is slow to fill would be told of after hours.
    is_cut: bool,
}

/// What the offsets of a range came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub range: OffsetRange,
    pub rows: u64,
    pub filtered: u64,
    pub rejected: u64,
    /// Offsets that Kafka handed no record out for.
    pub absent: u64,
    /// Sum of the rows' offsets modulo 2^64, and of their squares.
    pub sum: u64,
    pub squares: u64,
}

impl Stretch {
    fn empty(first: Offset) -> Stretch {
        let range = OffsetRange { first, next: first };
        Stretch { range, rows: 0, filtered: 0, rejected: 0, absent: 0, sum: 0, squares: 0 }
    }

    /// The stretch that follows is added to this one.
    fn extend(&mut self, later: &Stretch) {
        self.range.next = later.range.next;
        self.rows += later.rows;
        self.filtered += later.filtered;
        self.rejected += later.rejected;
        self.absent += later.absent;
        self.sum = self.sum.wrapping_add(later.sum);
        self.squares = self.squares.wrapping_add(later.squares);
    }

    fn row(&mut self, offset: Offset) {
        let offset = offset.0.unsigned_abs();
        self.rows += 1;
        self.sum = self.sum.wrapping_add(offset);
        self.squares = self.squares.wrapping_add(offset.wrapping_mul(offset));
    }

    fn unrow(&mut self, offset: Offset) {
        let offset = offset.0.unsigned_abs();
        self.rows = self.rows.saturating_sub(1);
        self.sum = self.sum.wrapping_sub(offset);
        self.squares = self.squares.wrapping_sub(offset.wrapping_mul(offset));
    }
}

impl Tally {
    /// The record became a row.
    pub fn row(&mut self, offset: Offset) {
        if let Some(segment) = self.reach(offset) {
            segment.row(offset);
        }
    }

    /// The record was left out by rule.
    pub fn filtered(&mut self, offset: Offset) {
        if let Some(segment) = self.reach(offset) {
            segment.filtered += 1;
        }
    }

    /// The record becomes a dead letter.
    pub fn rejected(&mut self, offset: Offset) {
        if let Some(segment) = self.reach(offset) {
            segment.rejected += 1;
        }
    }

    /// The record's row was refused by the server, and became a dead letter. To be called before it is committed.
    pub fn refused(&mut self, offset: Offset) {
        let mut later = self.segments.iter_mut().rev();
        if let Some(segment) = later.find(|segment| segment.range.first <= offset) {
            segment.unrow(offset);
            segment.rejected += 1;
        }
    }

    /// The segment that this offset is counted in; `None` for a record that is delivered again, which counts once.
    fn reach(&mut self, offset: Offset) -> Option<&mut Stretch> {
        let next = self.next.unwrap_or(offset);
        let gap = u64::try_from(offset.0.checked_sub(next.0)?).ok()?;
        let is_over = self.segments.back().is_none_or(|last| {
            (self.is_cut || SEGMENT_OFFSETS <= last.range.next.0.saturating_sub(last.range.first.0))
                && self.segments.len() < SEGMENTS_MAX
        });
        if is_over {
            self.segments.push_back(Stretch::empty(next));
            self.is_cut = false;
        }
        self.next = Some(offset.next());
        let segment = self.segments.back_mut()?;
        segment.absent += gap;
        segment.range.next = offset.next();
        Some(segment)
    }

    /// Everything below `offset` is committed: gives what it came to since the last call, as far as whole segments go.
    /// The last segment ends here, so that the next call gives it.
    pub fn committed(&mut self, offset: Offset) -> Option<Stretch> {
        let mut whole = self.held.take();
        while let Some(segment) = self.segments.front()
            && segment.range.next <= offset
        {
            match &mut whole {
                Some(whole) => whole.extend(segment),
                None => whole = Some(*segment),
            }
            self.segments.pop_front();
        }
        self.is_cut = true;
        whole
    }

    /// Takes a stretch back, to be given again with what follows it.
    pub fn give_back(&mut self, stretch: Stretch) {
        self.held = Some(stretch);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stretch_is_told_once_it_is_committed() {
        let mut tally = Tally::default();
        assert_eq!(tally.committed(Offset(5)), None);
        tally.row(Offset(10));
        tally.filtered(Offset(11));
        tally.rejected(Offset(15));
        tally.row(Offset(16));
        tally.row(Offset(16));
        assert_eq!(tally.committed(Offset(16)), None, "the segment goes on beyond it");
        tally.refused(Offset(16));
        let range = OffsetRange { first: Offset(10), next: Offset(17) };
        let expected = Stretch { range, rows: 1, filtered: 1, rejected: 2, absent: 3, sum: 10, squares: 100 };
        assert_eq!(tally.committed(Offset(17)), Some(expected));
        tally.give_back(expected);
        tally.row(Offset(18));
        let more = tally.committed(Offset(19)).unwrap();
        assert_eq!(
            (more.range.first, more.range.next, more.rows, more.absent),
            (Offset(10), Offset(19), 2, 4)
        );
        tally.row(Offset(12));
        tally.row(Offset(20));
        let after = tally.committed(Offset(21)).unwrap();
        assert_eq!((after.range.first, after.rows, after.absent), (Offset(19), 1, 1));
    }

    #[test]
    fn what_goes_on_without_end_is_told_by_and_by() {
        let mut tally = Tally::default();
        let mut told = Vec::new();
        for n in 0..100 {
            tally.row(Offset(n));
            // The newest offset is never committed.
            if n % 10 == 5 {
                told.extend(
                    tally.committed(Offset(n)).map(|stretch| (stretch.range.first.0, stretch.range.next.0)),
                );
            }
        }
        let expected: Vec<_> =
            std::iter::once((0, 6)).chain((0..8).map(|n| (n * 10 + 6, n * 10 + 16))).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut tally = Tally::default();
        let step = SEGMENT_OFFSETS / 2;
        let all = 10 * i64::try_from(SEGMENTS_MAX).unwrap();
        for n in 0..all {
            tally.row(Offset(n * step));
        }
        assert!(tally.segments.len() <= SEGMENTS_MAX);
        let stretch = tally.committed(Offset(all * step)).unwrap();
        assert_eq!(i64::try_from(stretch.rows), Ok(all));
        assert!(tally.segments.is_empty());
    }

    proptest! {
        /// Whatever is committed when: the stretches follow each other, and each offset is counted once.
        #[test]
        fn stretches_add_up(
            records in prop::collection::vec((1i64..40_000, 0u8..4), 1..200),
            commits in prop::collection::vec(0usize..200, 0..5),
        ) {
            let mut tally = Tally::default();
            let (mut told, mut offset, mut rows) = (Vec::new(), 0, 0);
            let first = records[0].0;
            for (index, (step, kind)) in records.iter().enumerate() {
                offset += step;
                match kind {
                    0 => tally.filtered(Offset(offset)),
                    1 => tally.rejected(Offset(offset)),
                    _ => { tally.row(Offset(offset)); rows += 1; }
                }
                if *kind == 3 {
                    tally.refused(Offset(offset));
                    rows -= 1;
                }
                if commits.contains(&index) {
                    told.extend(tally.committed(Offset(offset - step / 2)));
                }
            }
            told.extend(tally.committed(Offset(offset + 1)));
            prop_assert_eq!(told.first().map(|s| s.range.first.0), Some(first));
            prop_assert_eq!(told.last().map(|s| s.range.next.0), Some(offset + 1));
            prop_assert!(told.windows(2).all(|pair| pair[0].range.next == pair[1].range.first));
            for s in &told {
                let offsets = s.range.first.0.abs_diff(s.range.next.0);
                prop_assert_eq!(s.rows + s.filtered + s.rejected + s.absent, offsets);
            }
            prop_assert_eq!(told.iter().map(|s| s.rows).sum::<u64>(), rows);
        }
    }
}
