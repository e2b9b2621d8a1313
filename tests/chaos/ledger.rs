//! What was published, where Kafka put it, and what has to become of it. The judge's memory.
//!
//! It refuses to assume: an event counts only when its acknowledgement came, and one of which nobody can know
//! whether it was committed is neither asked for nor held against anyone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

/// Where an event lies. The topic may be made anew, and then positions come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    pub incarnation: u32,
    pub partition: i32,
    pub offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    pub incarnation: u32,
    pub producer: u32,
    pub number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Good,
    /// No row can be made of it.
    Bad,
    /// ClickHouse refuses its row.
    Poison,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Acknowledged, and not of an open or aborted transaction.
    Committed,
    Aborted,
    /// The answer to the end of its transaction never came.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub id: Id,
    pub kind: Kind,
    pub position: Position,
}

impl Event {
    /// The key under which it is published.
    pub fn key(id: Id, kind: Kind) -> String {
        format!("{}:{}:{}:{kind:?}", id.incarnation, id.producer, id.number)
    }

    /// Reads a key back.
    pub fn parse_key(key: &[u8]) -> Option<(Id, Kind)> {
        let text = std::str::from_utf8(key).ok()?;
        let mut parts = text.split(':');
        let mut next = || parts.next();
        let id = Id {
            incarnation: next()?.parse().ok()?,
            producer: next()?.parse().ok()?,
            number: next()?.parse().ok()?,
        };
        let kind = match next()? {
            "Good" => Kind::Good,
            "Bad" => Kind::Bad,
            "Poison" => Kind::Poison,
            _ => return None,
        };
        Some((id, kind))
    }
}

/// What a person did to the group's offsets, and so to what may be expected of these positions.
#[derive(Clone, Copy, Debug)]
struct Moved {
    incarnation: u32,
    partition: i32,
    from: i64,
    to: i64,
    back: bool,
}

#[derive(Default)]
struct Inner {
    events: HashMap<Position, (Event, Fate)>,
    moved: Vec<Moved>,
}

#[derive(Default)]
pub struct Ledger {
    inner: Mutex<Inner>,
    /// Counts how often the topic was made anew. Producers hold it while they publish.
    pub incarnation: RwLock<u32>,
    /// Poison rows still to be published.
    pub poison: AtomicU32,
    pub unacknowledged: AtomicU64,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn record(&self, events: impl IntoIterator<Item = Event>, fate: Fate) {
        let mut inner = self.lock();
        for event in events {
            inner.events.insert(event.position, (event, fate));
        }
    }

    pub fn count(&self, fate: Fate) -> usize {
        self.lock().events.values().filter(|(_, one)| *one == fate).count()
    }

    pub fn events(&self) -> Vec<(Event, Fate)> {
        let mut all: Vec<_> = self.lock().events.values().copied().collect();
        all.sort_by_key(|(event, _)| event.position);
        all
    }

    /// The group was set back or forward: positions from `from` up to `to` are read again, or not at all.
    pub fn moved(&self, (incarnation, partition): (u32, i32), from: i64, to: i64, back: bool) {
        self.lock().moved.push(Moved { incarnation, partition, from, to, back });
    }

    /// How often a position may be in the table.
    pub fn copies_max(&self, position: Position) -> u64 {
        let moved = &self.lock().moved;
        let again = moved.iter().filter(|one| one.back && covers(one, position)).count();
        1 + u64::try_from(again).unwrap_or(u64::MAX)
    }

    /// Whether a person had the group leave this position out.
    pub fn is_skipped(&self, position: Position) -> bool {
        self.lock().moved.iter().any(|one| !one.back && covers(one, position))
    }

    /// Whether a person moved the group over this position.
    pub fn is_moved(&self, position: Position) -> bool {
        self.lock().moved.iter().any(|one| covers(one, position))
    }

    /// Takes one of the poison rows that are asked for.
    pub fn takes_poison(&self) -> bool {
        let taken = self.poison.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1));
        taken.is_ok()
    }
}

fn covers(one: &Moved, position: Position) -> bool {
    one.incarnation == position.incarnation
        && one.partition == position.partition
        && (one.from..one.to).contains(&position.offset)
}
