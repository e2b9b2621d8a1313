//! A set of offsets as runs of neighbours, and the sums by which two sets are compared.
//!
//! Refuses to know what the offsets stand for. A run costs sixteen bytes however long it is.

use crate::record::{Offset, OffsetRange};

/// Offsets, each once. Complete only after [`Offsets::seal`].
#[derive(Clone, Debug, Default)]
pub struct Offsets {
    /// Half-open, sorted and apart from each other once sealed.
    runs: Vec<(i64, i64)>,
}

impl Offsets {
    pub fn insert(&mut self, offset: Offset) {
        let (first, next) = (offset.0, offset.next().0);
        match self.runs.last_mut() {
            Some(run) if run.1 == first => run.1 = next,
            Some(run) if run.0 <= first && first < run.1 => {}
            _ => self.runs.push((first, next)),
        }
    }

    /// Sorts and joins the runs; to be called after the last insertion.
    pub fn seal(&mut self) {
        self.runs.sort_unstable();
        self.runs.dedup_by(|later, earlier| {
            let touches = later.0 <= earlier.1;
            if touches {
                earlier.1 = earlier.1.max(later.1);
            }
            touches
        });
        self.runs.shrink_to_fit();
    }

    pub fn contains(&self, offset: Offset) -> bool {
        let after = self.runs.partition_point(|run| run.0 <= offset.0);
        after.checked_sub(1).and_then(|index| self.runs.get(index)).is_some_and(|run| offset.0 < run.1)
    }

    /// How many lie within the range.
    pub fn count_in(&self, range: OffsetRange) -> u64 {
        let start = self.runs.partition_point(|run| run.1 <= range.first.0);
        let within = self.runs.iter().skip(start).take_while(|run| run.0 < range.next.0);
        within.map(|run| run.1.min(range.next.0).abs_diff(run.0.max(range.first.0))).sum()
    }
}

/// What is compared instead of the offsets themselves: how many rows, how many distinct offsets, and the power
/// sums of the rows' offsets modulo 2^64, each offset counted from the start of its chunk. Sets of equal size
/// that differ in up to three offsets always differ in one of the sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub rows: u64,
    pub distinct: u64,
    pub sum: u64,
    pub squares: u64,
    pub cubes: u64,
}

impl Sums {
    /// Adds an offset that was not added before, counted from the start of the chunk.
    pub fn add(&mut self, offset: u64) {
        let square = offset.wrapping_mul(offset);
        self.rows += 1;
        self.distinct += 1;
        self.sum = self.sum.wrapping_add(offset);
        self.squares = self.squares.wrapping_add(square);
        self.cubes = self.cubes.wrapping_add(square.wrapping_mul(offset));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_hold_what_was_inserted(all in prop::collection::vec(0i64..60, 0..80), range in (0i64..60, 0i64..60)) {
            let mut offsets = Offsets::default();
            all.iter().for_each(|offset| offsets.insert(Offset(*offset)));
            offsets.seal();
            let plain: BTreeSet<i64> = all.into_iter().collect();
            for offset in -1..61 {
                prop_assert_eq!(offsets.contains(Offset(offset)), plain.contains(&offset), "{}", offset);
            }
            let (first, next) = (range.0.min(range.1), range.0.max(range.1));
            let expected = plain.range(first..next).count() as u64;
            let range = OffsetRange { first: Offset(first), next: Offset(next) };
            prop_assert_eq!(offsets.count_in(range), expected);
        }

        /// Up to three offsets in place of others never go unnoticed.
        #[test]
        fn sums_tell_small_differences(
            all in prop::collection::btree_set(0u64..100_000, 6..50),
            others in prop::collection::btree_set(100_000u64..200_000, 3),
            exchanged in 1usize..=3,
        ) {
            let sums = |offsets: &mut dyn Iterator<Item = u64>| {
                let mut sums = Sums::default();
                offsets.for_each(|offset| sums.add(offset));
                sums
            };
            let whole = sums(&mut all.iter().copied());
            let changed = all.iter().skip(exchanged).chain(others.iter().take(exchanged));
            prop_assert_ne!(whole, sums(&mut changed.copied()));
        }
    }
}
