//! Turns a record's bytes into column values by the compiled table, validating in the same pass.
//!
//! Refuses to do I/O and to know where records come from or go. It never panics, whatever the bytes,
//! and a rejected record leaves no trace in the columns (invariant I6).

pub mod reject;

pub use reject::{Reason, Rejection};

/// What became of one record, and so of its offset.
#[derive(Debug)]
pub enum Verdict {
    /// A row was appended; the offset completes when the row's batch is written.
    Decoded,
    /// Left out by a rule that was asked for; the offset completes at once.
    Filtered,
    /// Nothing was appended; the offset completes when the dead letter is acknowledged.
    Rejected(Box<Rejection>),
}
