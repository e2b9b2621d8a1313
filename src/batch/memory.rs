//! One budget of bytes for everything the line holds.
//!
//! Refuses to know what the bytes are. A [`Permit`] gives its bytes back when it is dropped, so nothing
//! that is forgotten can leak budget. Taking never fails: the reader looks at [`Budget::is_full`] before
//! each turn and takes in no more than [`Budget::turn_bytes`], which is kept free for that; only a single
//! record that is larger than a turn can go over (invariant I4).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Enough for a thousand records of a few kilobytes between two looks at everything else.
const TURN_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug)]
pub struct Budget {
    bytes_max: u64,
    turn_bytes: u64,
    /// A turn of every reader.
    reserve: u64,
    used: AtomicU64,
}

impl Budget {
    /// A budget shared by this many readers.
    pub fn new(bytes_max: u64, readers: u64) -> Arc<Budget> {
        let turn_bytes = (bytes_max / 16 / readers.max(1)).min(TURN_BYTES_MAX);
        // What is taken in counts up to twice, see `Buffer`.
        let reserve = turn_bytes.saturating_mul(2 * readers);
        Arc::new(Budget { bytes_max, turn_bytes, reserve, used: AtomicU64::new(0) })
    }

    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
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
    pub fn permit(self: &Arc<Self>) -> Permit {
        Permit { budget: Arc::clone(self), bytes: AtomicU64::new(0) }
    }
}

/// Bytes taken from the budget until dropped.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    bytes: AtomicU64,
}

impl Permit {
    /// Makes the permit stand for this many bytes from now on.
    pub fn set(&self, bytes: u64) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        if before < bytes {
            self.budget.used.fetch_add(bytes - before, Ordering::Relaxed);
        } else {
            self.budget.used.fetch_sub(before - bytes, Ordering::Relaxed);
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
        let a = budget.permit();
        let b = budget.permit();
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
}
