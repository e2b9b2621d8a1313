//! What was done with dead letters, written into their own topic, so that no other store is needed.
//!
//! Refuses to do it. A marker lies in the partition of the letters that it speaks of and after them, so
//! whatever deletes the marker has deleted them before. It is told from a letter by its header; its value
//! is JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ranges::Ranges;
use crate::record::{Header, Offset, Partition, TopicPartition};

/// Tells a marker from a letter.
pub const HEADER: &str = "penstock-marker";

/// One entry of the log of what was done.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "marker", rename_all = "snake_case")]
pub enum Marker {
    /// These letters are about to be published again.
    Begun(Begun),
    /// The begun marker at this offset is settled: of its letters these are published.
    Done { begun: i64, letters: Ranges },
    /// These letters are to be left out from now on.
    Purged { letters: Ranges },
}

/// A replay of some letters of one partition, under way.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Begun {
    pub letters: Ranges,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Where they go; whatever this replay publishes lies at or after these offsets.
    pub targets: Vec<Target>,
}

/// A partition that is published to, and its end before that.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Target {
    pub topic: String,
    pub partition: i32,
    pub end: i64,
}

impl Target {
    pub fn source(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.as_str().into(), partition: Partition(self.partition) }
    }
}

impl Marker {
    pub fn headers(&self) -> Vec<Header> {
        let kind = match self {
            Marker::Begun(_) => "begun",
            Marker::Done { .. } => "done",
            Marker::Purged { .. } => "purged",
        };
        vec![(HEADER.to_owned(), Some(kind.as_bytes().to_vec()))]
    }

    /// The letters that it speaks of.
    pub fn letters(&self) -> &Ranges {
        match self {
            Marker::Begun(begun) => &begun.letters,
            Marker::Done { letters, .. } | Marker::Purged { letters } => letters,
        }
    }

    /// Reads a marker's value. One that cannot be read is of a later version or not ours.
    pub fn parse(payload: &[u8]) -> Option<Marker> {
        serde_json::from_slice(payload).ok()
    }
}

/// What has become of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Waiting,
    /// Published again, and acknowledged.
    Replayed,
    /// To be left out; the broker has not deleted it since letters before it are still wanted.
    Purged,
}

/// What all markers of one partition say together.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    replayed: Ranges,
    purged: Ranges,
    /// Replays that began and are not settled, by the offsets of their markers.
    open: BTreeMap<Offset, Begun>,
}

impl Ledger {
    /// Takes over the next marker of the partition.
    pub fn apply(&mut self, at: Offset, marker: Marker) {
        match marker {
            Marker::Begun(begun) => {
                self.open.insert(at, begun);
            }
            Marker::Done { begun, letters } => {
                self.open.remove(&Offset(begun));
                self.replayed.extend(&letters);
            }
            Marker::Purged { letters } => self.purged.extend(&letters),
        }
    }

    pub fn state(&self, letter: Offset) -> State {
        if self.purged.contains(letter) {
            State::Purged
        } else if self.replayed.contains(letter) {
            State::Replayed
        } else {
            State::Waiting
        }
    }

    /// Replays that nobody has settled.
    pub fn open(&self) -> impl Iterator<Item = (Offset, &Begun)> {
        self.open.iter().map(|(at, begun)| (*at, begun))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(all: &[(i64, i64)]) -> Ranges {
        Ranges::from(all.to_vec())
    }

    #[test]
    fn markers_read_as_they_are_written_and_fold_in_order() {
        let target = Target { topic: "clicks".to_owned(), partition: 2, end: 90 };
        let begun = Begun { letters: ranges(&[(3, 6)]), at_ms: 7, targets: vec![target] };
        let markers = [
            Marker::Begun(begun.clone()),
            Marker::Done { begun: 10, letters: ranges(&[(3, 5)]) },
            Marker::Begun(begun),
            Marker::Purged { letters: ranges(&[(4, 5), (8, 9)]) },
        ];
        let mut ledger = Ledger::default();
        for (at, marker) in (10..).zip(&markers) {
            let written = serde_json::to_vec(marker).unwrap();
            let read = Marker::parse(&written).unwrap();
            assert_eq!((&read, read.headers()[0].0.as_str()), (marker, HEADER));
            ledger.apply(Offset(at), read);
        }
        let states: Vec<State> = (3..10).map(|offset| ledger.state(Offset(offset))).collect();
        use State::{Purged, Replayed, Waiting};
        assert_eq!(states, [Replayed, Purged, Waiting, Waiting, Waiting, Purged, Waiting]);
        let open: Vec<Offset> = ledger.open().map(|(at, _)| at).collect();
        assert_eq!(open, [Offset(12)], "the first was settled, the second was not");
        assert!(Marker::parse(b"{}").is_none() && Marker::parse(b"\xff").is_none());
    }
}
