//! The open batch of one table, and what it becomes when it is closed.
//!
//! Refuses to decide where a batch goes. Rows, bytes or age close it, whichever comes first; a [`Sealed`]
//! batch has no method that changes its rows (invariant I3).

use std::sync::Arc;
use std::time::Instant;

use arrow_array::RecordBatch;

use super::adapt::Limits;
use super::memory::{Budget, Holder, Permit};
use super::provenance::{Provenance, Slot};
use crate::columns::{self, Columns};
use crate::record::Offset;

/// Every this many rows one timestamp is kept, from which the latency of all is estimated.
pub const ROWS_PER_TIMESTAMP: usize = 64;

/// Why a batch was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    Rows,
    Bytes,
    Age,
    Memory,
    /// A former owner closed it there.
    Replay,
    Revoke,
    /// The table file has changed.
    Reload,
    /// Somebody asked for it.
    Operator,
    Shutdown,
}

impl Trigger {
    pub const ALL: [Trigger; 9] = [
        Trigger::Rows,
        Trigger::Bytes,
        Trigger::Age,
        Trigger::Memory,
        Trigger::Replay,
        Trigger::Revoke,
        Trigger::Reload,
        Trigger::Operator,
        Trigger::Shutdown,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Trigger::Rows => "rows",
            Trigger::Bytes => "bytes",
            Trigger::Age => "age",
            Trigger::Memory => "memory",
            Trigger::Replay => "replay",
            Trigger::Revoke => "revoke",
            Trigger::Reload => "reload",
            Trigger::Operator => "operator",
            Trigger::Shutdown => "shutdown",
        }
    }
}

/// The open batch.
#[derive(Debug)]
pub struct Buffer {
    limits: Limits,
    pub columns: Columns,
    provenance: Provenance,
    timestamps_ms: Vec<(Slot, i64)>,
    opened: Option<Instant>,
    permit: Permit,
    budget: Arc<Budget>,
}

/// What is known of a closed batch beside its rows.
#[derive(Debug)]
pub struct Sealed {
    /// Once its rows are ordered by partition key: which row each was.
    pub(super) order: Option<Vec<u32>>,
    pub provenance: Provenance,
    /// Kafka timestamps of a sample of the rows, one in [`ROWS_PER_TIMESTAMP`].
    pub timestamps_ms: Vec<(Slot, i64)>,
    pub trigger: Trigger,
    pub age_ms: u64,
    /// Bytes of the columns.
    pub bytes: usize,
    permit: Permit,
}

impl Sealed {
    pub fn rows(&self) -> usize {
        self.provenance.rows()
    }

    /// Tells the budget that the rows lie encoded, in so many bytes; with `None` that they are columns (again).
    pub fn hold(&self, body_bytes: Option<usize>) {
        self.permit.set(held(body_bytes.unwrap_or(self.bytes.saturating_mul(2)), &self.provenance));
    }

    /// Tells the budget that it is under way, until what is given is dropped.
    pub fn under_way(&self) -> UnderWay<'_> {
        self.permit.pass(Holder::Sending);
        UnderWay(&self.permit)
    }
}

/// A batch whose insert is under way.
#[must_use]
pub struct UnderWay<'s>(&'s Permit);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.pass(Holder::Sealed);
    }
}

/// Bytes to take from the budget for rows that lie in so many.
fn held(bytes: usize, provenance: &Provenance) -> u64 {
    u64::try_from(bytes.saturating_add(provenance.bytes())).unwrap_or(u64::MAX)
}

impl Buffer {
    pub fn new(limits: Limits, columns: Columns, budget: &Arc<Budget>) -> Buffer {
        Buffer {
            limits,
            columns,
            provenance: Provenance::default(),
            timestamps_ms: Vec::new(),
            opened: None,
            permit: budget.permit(Holder::Open),
            budget: Arc::clone(budget),
        }
    }

    /// What closes the batch from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The decoder appended a row: this is the record it came from.
    pub fn push(&mut self, slot: Slot, offset: Offset, timestamp_ms: Option<i64>) {
        if self.provenance.rows().is_multiple_of(ROWS_PER_TIMESTAMP)
            && let Some(ms) = timestamp_ms
        {
            self.timestamps_ms.push((slot, ms));
        }
        self.provenance.push(slot, offset);
    }

    pub fn is_empty(&self) -> bool {
        self.provenance.rows() == 0
    }

    /// Whether rows or bytes call for closing now; cheap enough to ask after each row.
    pub fn full(&self) -> Option<Trigger> {
        if self.limits.rows_max <= self.provenance.rows() {
            Some(Trigger::Rows)
        } else if self.limits.bytes_max <= self.columns.bytes() || self.columns.is_full() {
            Some(Trigger::Bytes)
        } else {
            None
        }
    }

    /// Tells the budget what is held, starts the clock of a batch that has just begun, and says whether
    /// its time is over. Called once per turn of the loop.
    pub fn tick(&mut self, now: Instant) -> Option<Trigger> {
        if self.is_empty() {
            return None;
        }
        self.permit.set(self.held());
        let opened = *self.opened.get_or_insert(now);
        (self.limits.age_max <= now.saturating_duration_since(opened)).then_some(Trigger::Age)
    }

    /// Bytes to take from the budget. The columns count twice: for themselves, and for the body of at most about
    /// their size that stands beside them while it is made.
    fn held(&self) -> u64 {
        held(self.columns.bytes().saturating_mul(2), &self.provenance)
    }

    /// When [`Buffer::tick`] will call for closing by age; `None` while empty.
    pub fn due(&self) -> Option<Instant> {
        self.opened.and_then(|opened| opened.checked_add(self.limits.age_max))
    }

    /// Closes the batch and starts an empty one. An error means that the columns do not agree with each
    /// other, which no input can cause; the rows are read again after a restart.
    pub fn seal(&mut self, trigger: Trigger, now: Instant) -> Result<(RecordBatch, Sealed), columns::Error> {
        let bytes = self.columns.bytes();
        let held = self.held();
        let permit = std::mem::replace(&mut self.permit, self.budget.permit(Holder::Open));
        permit.set(held);
        permit.pass(Holder::Sealed);
        let age = self.opened.take().map_or_else(Default::default, |at| now.saturating_duration_since(at));
        let batch = self.columns.finish()?;
        let sealed = Sealed {
            order: None,
            provenance: std::mem::take(&mut self.provenance),
            timestamps_ms: std::mem::take(&mut self.timestamps_ms),
            trigger,
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            bytes,
            permit,
        };
        Ok((batch, sealed))
    }
}
