//! What is promised about each record, and the bookkeeping that keeps the promise.
//!
//! Refuses to know Kafka's client and ClickHouse's: positions and tickets only. `at_least_once` rests on
//! one rule kept by [`Watermark`]: an offset may be committed only when everything below it is settled
//! (invariant I1). `exactly_once` adds a [`Plan`] of what may have been sent, which travels with the commits as a
//! [`ledger`] (invariant I14). [`token`] names a batch by what is in it, so that a repeated insert of the same batch
//! can be recognised by the server; [`Tally`] counts what became of each offset, for the audit.

pub mod ledger;
pub mod plan;
pub mod tally;
pub mod token;
pub mod watermark;

pub use ledger::{Ledger, Lineage};
pub use plan::Plan;
pub use tally::{Stretch, Tally};
pub use watermark::{Ticket, Watermark};
