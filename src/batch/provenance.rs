//! Which records the rows of a batch came from.
//!
//! Refuses to know topics: a [`Slot`] stands for one assignment of one partition. Rows are remembered as
//! runs of neighbouring offsets, so that a million rows of a busy partition cost a few words, and any
//! row can still be traced to its record.

use crate::record::{Offset, OffsetRange};

/// One assignment of one partition. Never used again within a process, so what belongs to an assignment
/// that was taken away can no longer be mistaken for a later one's (invariant I2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u64);

#[derive(Clone, Debug, Default)]
pub struct Provenance {
    runs: Vec<Run>,
    rows: usize,
}

/// What one slot contributed to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub slot: Slot,
    /// From its first to its last row.
    pub range: OffsetRange,
    pub rows: usize,
}

#[derive(Clone, Debug)]
struct Run {
    slot: Slot,
    row: usize,
    first: Offset,
    next: Offset,
}

impl Provenance {
    /// The next row is this record.
    pub fn push(&mut self, slot: Slot, offset: Offset) {
        match self.runs.last_mut() {
            Some(run) if run.slot == slot && run.next == offset => run.next = offset.next(),
            _ => self.runs.push(Run { slot, row: self.rows, first: offset, next: offset.next() }),
        }
        self.rows += 1;
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The record that became this row.
    pub fn locate(&self, row: usize) -> Option<(Slot, Offset)> {
        let after = self.runs.partition_point(|run| run.row <= row);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let offset = run.first.0.checked_add(i64::try_from(row - run.row).ok()?)?;
        (offset < run.next.0).then_some((run.slot, Offset(offset)))
    }

    /// What each slot contributed, in order of appearance.
    pub fn shares(&self) -> Vec<Share> {
        let mut shares: Vec<Share> = Vec::new();
        for (index, run) in self.runs.iter().enumerate() {
            let end = self.runs.get(index + 1).map_or(self.rows, |after| after.row);
            let rows = end - run.row;
            match shares.iter_mut().find(|share| share.slot == run.slot) {
                Some(share) => {
                    share.range.next = run.next;
                    share.rows += rows;
                }
                None => {
                    let range = OffsetRange { first: run.first, next: run.next };
                    shares.push(Share { slot: run.slot, range, rows });
                }
            }
        }
        shares
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.runs.len() * size_of::<Run>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_finds_its_record() {
        let pushed = [(1, 10), (1, 11), (2, 5), (1, 12), (1, 14), (1, 15), (2, 6)];
        let mut p = Provenance::default();
        for (slot, offset) in pushed {
            p.push(Slot(slot), Offset(offset));
        }
        for (row, (slot, offset)) in pushed.into_iter().enumerate() {
            assert_eq!(p.locate(row), Some((Slot(slot), Offset(offset))));
        }
        assert_eq!((p.locate(7), p.rows()), (None, 7));
        let share = |slot, first, next, rows| Share {
            slot: Slot(slot),
            range: OffsetRange { first: Offset(first), next: Offset(next) },
            rows,
        };
        assert_eq!(p.shares(), [share(1, 10, 16, 5), share(2, 5, 7, 2)]);
    }
}
