//! A set of offsets as half-open ranges, so that a thousand neighbours cost as much as one.
//!
//! Refuses to know what the offsets stand for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::Offset;

/// Written as a list of pairs, `[[first, next], …]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "Vec<(i64, i64)>", into = "Vec<(i64, i64)>")]
pub struct Ranges {
    /// The end of each range by its first offset; disjoint, and never touching.
    ends: BTreeMap<i64, i64>,
}

impl Ranges {
    pub fn insert(&mut self, offset: Offset) {
        self.insert_range(offset.0, offset.next().0);
    }

    pub fn extend(&mut self, other: &Ranges) {
        other.ends.iter().for_each(|(first, next)| self.insert_range(*first, *next));
    }

    pub fn contains(&self, offset: Offset) -> bool {
        self.ends.range(..=offset.0).next_back().is_some_and(|(_, next)| offset.0 < *next)
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many offsets are in it.
    pub fn len(&self) -> u64 {
        self.ends.iter().map(|(first, next)| next.saturating_sub(*first).unsigned_abs()).sum()
    }

    pub fn first(&self) -> Option<Offset> {
        self.ends.keys().next().copied().map(Offset)
    }

    /// The same set in parts of at most so many ranges.
    pub fn parts(&self, ranges_max: usize) -> Vec<Ranges> {
        let all: Vec<(i64, i64)> = self.clone().into();
        all.chunks(ranges_max.max(1)).map(|part| Ranges::from(part.to_vec())).collect()
    }

    fn insert_range(&mut self, mut first: i64, mut next: i64) {
        if next <= first {
            return;
        }
        // Whatever begins before our end and ends at or after our begin becomes part of us.
        while let Some((&known_first, &known_next)) = self.ends.range(..=next).next_back() {
            if known_next < first {
                break;
            }
            self.ends.remove(&known_first);
            first = first.min(known_first);
            next = next.max(known_next);
        }
        self.ends.insert(first, next);
    }
}

impl From<Vec<(i64, i64)>> for Ranges {
    fn from(all: Vec<(i64, i64)>) -> Ranges {
        let mut ranges = Ranges::default();
        all.into_iter().for_each(|(first, next)| ranges.insert_range(first, next));
        ranges
    }
}

impl From<Ranges> for Vec<(i64, i64)> {
    fn from(ranges: Ranges) -> Vec<(i64, i64)> {
        ranges.ends.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(pairs in prop::collection::vec((0i64..60, 0i64..8), 0..20)) {
            let (mut ranges, mut plain) = (Ranges::default(), BTreeSet::new());
            for (first, length) in pairs {
                ranges.extend(&Ranges::from(vec![(first, first + length)]));
                plain.extend(first..first + length);
            }
            for offset in 0..80 {
                prop_assert_eq!(ranges.contains(Offset(offset)), plain.contains(&offset));
            }
            prop_assert_eq!(ranges.len(), plain.len() as u64);
            let all: Vec<(i64, i64)> = ranges.clone().into();
            prop_assert!(all.windows(2).all(|pair| pair[0].1 < pair[1].0), "never touching: {:?}", all);
            let mut joined = Ranges::default();
            ranges.parts(3).iter().for_each(|part| joined.extend(part));
            prop_assert_eq!(joined, ranges);
        }
    }
}
