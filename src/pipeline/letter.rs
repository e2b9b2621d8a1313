//! A rejected record between its verdict and the dead-letter topic.
//!
//! Refuses to decide where it goes. It holds the original bytes and their share of the memory budget.

use std::sync::Arc;

use crate::batch::memory::{Holder, Permit};
use crate::batch::{Budget, Slot};
use crate::dead_letter::{Cause, DeadLetter};
use crate::decode::Rejection;
use crate::delivery::Ticket;
use crate::record::OwnedRecord;
use crate::telemetry::metrics::METRICS;

/// Waiting to be handed to the dead-letter sink.
pub struct Letter {
    pub slot: Slot,
    pub ticket: Ticket,
    record: OwnedRecord,
    cause: Cause,
    table: String,
    permit: Permit,
}

impl Letter {
    pub fn new(
        (slot, ticket): (Slot, Ticket),
        record: OwnedRecord,
        rejection: Rejection,
        table: &str,
        budget: &Arc<Budget>,
    ) -> Letter {
        let labels = [METRICS.topics.of(&record.position.source.topic), rejection.reason.code()];
        METRICS.schema_errors.with_label_values(&labels).inc();
        tracing::debug!(position = %record.position, %rejection, "record rejected");
        let permit = budget.permit(Holder::Letter);
        permit.set(u64::try_from(record.bytes()).unwrap_or(u64::MAX));
        let cause = Cause { reason: rejection.reason.code(), path: rejection.path, detail: rejection.detail };
        Letter { slot, ticket, record, cause, table: table.to_owned(), permit }
    }

    /// The letter to publish, and the permit to hold until it is acknowledged.
    pub fn address(self, group: &str, now_ms: i64) -> (DeadLetter, Permit) {
        let letter = DeadLetter {
            record: self.record,
            cause: self.cause,
            table: self.table,
            group: group.to_owned(),
            refused_ms: now_ms,
            cut: None,
        };
        (letter, self.permit)
    }
}
