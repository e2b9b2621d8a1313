//! What a server said about one table's parts, as numbers that can be compared.
//!
//! Refuses to know how it was asked, and to decide: it says how far the limits are.

use super::adapt::RAMP_TO;

/// Inserts lead at most to this share of the limit from which inserts are delayed.
const CEILING: f64 = 0.95;
/// Nothing at all is sent above this share of the limit from which they are refused.
const REFUSAL: f64 = 0.8;

/// What a server said about one table.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Most parts that any of the table's partition keys has.
    pub parts: u64,
    /// From how many on inserts are delayed; 0 where they never are.
    pub delay_at: u64,
    /// From how many on inserts are refused; 0 for a table without parts of its own.
    pub refuse_at: u64,
    /// Parts of all partition keys, and how many the table may have; 0 for no limit.
    pub total: u64,
    pub total_max: u64,
    /// The worst of what else wears out, as a share of its limit: inactive parts, the queue of a replica, its
    /// delay, Keeper.
    pub strain: f64,
    /// Whether the server has delayed or refused inserts since the last reading.
    pub delayed: bool,
}

impl Reading {
    /// Above this many parts nothing is sent at all.
    pub fn refusal(&self) -> f64 {
        self.refuse_at as f64 * REFUSAL
    }

    /// Parts that the inserts may lead to.
    pub fn ceiling(&self) -> f64 {
        let refuse = self.refusal();
        match self.delay_at {
            0 => refuse,
            delay_at => refuse.min((delay_at as f64 * CEILING).floor()),
        }
    }

    /// Parts of one key that the table has room for, if each insert touches this many keys.
    pub fn free(&self, keys: u16) -> f64 {
        let free = self.ceiling() - self.parts as f64;
        let free_in_total = self.total_max as f64 * REFUSAL - self.total as f64;
        let of_total = free_in_total / f64::from(keys.max(1));
        if self.total_max == 0 { free } else { free.min(of_total) }.max(0.0)
    }

    /// Parts as a share of the limit that comes first.
    pub fn parts_share(&self) -> f64 {
        let limit = if self.delay_at == 0 { self.refuse_at } else { self.refuse_at.min(self.delay_at) };
        if limit == 0 { 0.0 } else { self.parts as f64 / limit as f64 }
    }

    /// Where on the way to the limit this is. Only parts lead beyond the ramp: the rest makes batches grow,
    /// and does not stop them.
    pub fn share(&self) -> f64 {
        self.parts_share().max(self.strain.min(RAMP_TO))
    }
}
