//! Collects decoded rows per table until a batch is worth sending.
//!
//! Refuses to know records' bytes and servers. An open batch grows; a sealed one never changes
//! (invariant I3). All of them together stay within one budget of bytes (invariant I4).

pub mod adapt;
pub mod buffer;
pub mod config;
pub mod memory;
pub mod provenance;
pub mod reading;
pub mod spread;

pub use adapt::{Controller, Limits};
pub use buffer::{Buffer, ROWS_PER_TIMESTAMP, Sealed, Trigger};
pub use config::Config;
pub use memory::Budget;
pub use provenance::{Provenance, Share, Slot};
pub use reading::Reading;
pub use spread::PartitionBy;
