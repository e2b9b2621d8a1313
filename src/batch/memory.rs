//! One budget of bytes for everything the line holds.
//!
//! Refuses to know what the bytes are, but for the name under which they are told. A [`Permit`] gives its bytes back
//! when it is dropped, so nothing that is forgotten can leak budget. Taking never fails: the reader looks at [`Budget::is_full`] before
//! each turn and takes in no more than [`Budget::turn_bytes`], which is kept free for that; only a single
//! record that is larger than a turn can go over (invariant I4).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Enough for a thousand records of a few kilobytes between two looks at everything else.
const TURN_BYTES_MAX: u64 = 4 << 20;

/// In what the bytes are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A batch that takes rows.
    Open,
    /// A batch that waits to be sent, as columns or as a body.
    Sealed,
    /// A batch whose insert is under way.
    Sending,
    /// A rejected record until it is acknowledged.
    Letter,
}

impl Holder {
    pub const ALL: [Holder; 4] = [Holder::Open, Holder::Sealed, Holder::Sending, Holder::Letter];

    pub fn name(self) -> &'static str {
        match self {
            Holder::Open => "open",
            Holder::Sealed => "sealed",
            Holder::Sending => "sending",
            Holder::Letter => "dead_letters",
        }
    }
}

#[derive(Debug)]
pub struct Budget {
    bytes_max: u64,
    turn_bytes: u64,
    /// A turn of every reader.
    reserve: u64,
    used: AtomicU64,
    /// The same by holder, in the order of [`Holder::ALL`].
    held: [AtomicU64; 4],
}

impl Budget {
    /// A budget shared by this many readers.
    pub fn new(bytes_max: u64, readers: u64) -> Arc<Budget> {
        let turn_bytes = (bytes_max / 16 / readers.max(1)).min(TURN_BYTES_MAX);
        // What is taken in counts up to twice, see `Buffer`.
        let reserve = turn_bytes.saturating_mul(2 * readers);
        Arc::new(Budget { bytes_max, turn_bytes, reserve, used: AtomicU64::new(0), held: Default::default() })
    }

    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Of the bytes used those in that holder; a moment in which some pass from one to another shows them in neither.
    pub fn held(&self, holder: Holder) -> u64 {
        self.cell(holder as usize).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    fn cell(&self, holder: usize) -> Option<&AtomicU64> {
        self.held.get(holder)
    }

    /// Bytes that one turn of one reader may take in.
    pub fn turn_bytes(&self) -> u64 {
        self.turn_bytes
    }

    /// Whether there is no room for another turn of every reader.
    pub fn is_full(&self) -> bool {
        self.bytes_max < self.used().saturating_add(self.reserve)
    }

    /// Whether so much is free again that reading may go on after a stop.
    pub fn has_recovered(&self) -> bool {
        self.used().saturating_add(self.reserve) <= self.bytes_max / 5 * 4
    }

    /// A permit over no bytes yet.
    pub fn permit(self: &Arc<Self>, holder: Holder) -> Permit {
        let holder = AtomicUsize::new(holder as usize);
        Permit { budget: Arc::clone(self), bytes: AtomicU64::new(0), holder }
    }
}

/// Bytes taken from the budget until dropped. One at a time changes it, though it may be another thread each time.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    bytes: AtomicU64,
    holder: AtomicUsize,
}

impl Permit {
    /// Makes the permit stand for this many bytes from now on.
    pub fn set(&self, bytes: u64) {
        let holder = self.holder.load(Ordering::Relaxed);
        self.change(holder, bytes);
    }

    /// From now on they are held in this.
    pub fn pass(&self, holder: Holder) {
        self.change(holder as usize, self.bytes.load(Ordering::Relaxed));
    }

    fn change(&self, holder: usize, bytes: u64) {
        let was = self.holder.swap(holder, Ordering::Relaxed);
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        if before < bytes {
            self.budget.used.fetch_add(bytes - before, Ordering::Relaxed);
        } else {
            self.budget.used.fetch_sub(before - bytes, Ordering::Relaxed);
        }
        if let (Some(was), Some(is)) = (self.budget.cell(was), self.budget.cell(holder)) {
            was.fetch_sub(before, Ordering::Relaxed);
            is.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_return_what_they_took() {
        let budget = Budget::new(320, 2);
        assert_eq!(budget.turn_bytes(), 10);
        let a = budget.permit(Holder::Open);
        let b = budget.permit(Holder::Letter);
        a.set(200);
        b.set(81);
        assert!(budget.is_full(), "no room for the turns of both");
        b.set(80);
        assert!(!budget.is_full() && !budget.has_recovered());
        a.set(10);
        assert_eq!((budget.used(), budget.has_recovered()), (90, true));
        drop(b);
        drop(a);
        assert_eq!(budget.used(), 0);
    }
    #[test]
    fn every_byte_has_one_holder() {
        let budget = Budget::new(1_000, 1);
        let held = |budget: &Budget| Holder::ALL.map(|holder| budget.held(holder));
        let (batch, letter) = (budget.permit(Holder::Open), budget.permit(Holder::Letter));
        batch.set(100);
        letter.set(7);
        assert_eq!(held(&budget), [100, 0, 0, 7]);
        batch.pass(Holder::Sealed);
        assert_eq!(held(&budget), [0, 100, 0, 7]);
        batch.pass(Holder::Sending);
        batch.set(60);
        assert_eq!((held(&budget), budget.used()), ([0, 0, 60, 7], 67));
        drop(batch);
        drop(letter);
        assert_eq!((held(&budget), budget.used()), ([0; 4], 0));
    }
}
