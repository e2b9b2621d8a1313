//! The keys of open objects, to find one that stands twice.
//!
//! Refuses to know which keys are wanted. Checked when an object closes, by sorting hashes, so that an
//! object of a million keys costs no more than sorting them.

use ahash::RandomState;

use super::Cursor;
use crate::decode::fault::{Fault, Result};
use crate::decode::reject::Reason;

#[derive(Debug)]
pub struct Keys {
    /// The keys of all open objects one after another, unescaped.
    text: String,
    entries: Vec<Entry>,
    hasher: RandomState,
    scratch: String,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    start: usize,
    end: usize,
}

/// Where an object's keys begin.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    text: usize,
    entries: usize,
}

impl Default for Keys {
    fn default() -> Self {
        Keys::new()
    }
}

impl Keys {
    pub fn new() -> Self {
        Keys {
            text: String::new(),
            entries: Vec::new(),
            // Colliding hashes cost a comparison of texts and nothing more, so fixed seeds do no harm.
            hasher: RandomState::with_seeds(1, 2, 3, 4),
            scratch: String::new(),
        }
    }

    pub fn clear(&mut self) {
        self.text.clear();
        self.entries.clear();
    }

    pub fn mark(&self) -> Mark {
        Mark { text: self.text.len(), entries: self.entries.len() }
    }

    pub fn add(&mut self, key: &str) {
        let start = self.text.len();
        self.text.push_str(key);
        self.entries.push(Entry { hash: self.hasher.hash_one(key), start, end: self.text.len() });
    }

    /// Reads the key at the cursor and adds it.
    pub fn read(&mut self, cursor: &mut Cursor<'_>) -> Result {
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = cursor.string(&mut scratch).map(|key| self.add(key));
        self.scratch = scratch;
        result
    }

    /// The key added last.
    pub fn last(&self) -> &str {
        let entry = self.entries.last();
        entry.and_then(|entry| self.text.get(entry.start..entry.end)).unwrap_or_default()
    }

    /// Drops the keys added since.
    pub fn forget(&mut self, mark: Mark) {
        self.entries.truncate(mark.entries);
        self.text.truncate(mark.text);
    }

    /// Ends the object: a fault if two of its keys are the same.
    #[inline]
    pub fn close(&mut self, mark: Mark) -> Result {
        if self.entries.len() == mark.entries { Ok(()) } else { self.close_filled(mark) }
    }

    fn close_filled(&mut self, mark: Mark) -> Result {
        let Keys { text, entries, .. } = self;
        let key = |entry: &Entry| text.get(entry.start..entry.end).unwrap_or_default();
        let own = entries.get_mut(mark.entries..).unwrap_or_default();
        own.sort_unstable_by(|a, b| a.hash.cmp(&b.hash).then_with(|| key(a).cmp(key(b))));
        let twice = own.windows(2).find_map(|pair| match pair {
            [a, b] if a.hash == b.hash && key(a) == key(b) => Some(key(a).to_owned()),
            _ => None,
        });
        self.forget(mark);
        match twice {
            Some(key) => Err(duplicate(&key)),
            None => Ok(()),
        }
    }
}

/// A key stands twice somewhere inside a value whose keys are data, not fields.
#[cold]
pub fn duplicate_within() -> Fault {
    Fault::new(Reason::DuplicateKey, "a key stands twice in one object of the value")
}

#[cold]
pub fn duplicate(key: &str) -> Fault {
    Fault::new(Reason::DuplicateKey, "the key stands twice in one object").at_key(key)
}
