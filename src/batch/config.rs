//! What can be set about batches and the memory they may hold.
//!
//! Refuses to know tables. The memory budget is one for the process, whatever the number of tables.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};

/// When a batch is closed and sent: rows, bytes or age, whichever comes first.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Rows at which a batch is closed.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub rows_max: u32,
    /// Bytes of column data at which a batch is closed.
    pub bytes_max: ByteSize,
    /// Age of the oldest row at which a batch is closed.
    pub age_max: Span,
    /// Batches of one table that may wait for ClickHouse's answer at a time.
    #[schemars(range(min = 1, max = 256))]
    pub in_flight_max: u16,
}

impl Default for Config {
    fn default() -> Self {
        Config { rows_max: 100_000, bytes_max: ByteSize::mib(32), age_max: Span::secs(1), in_flight_max: 4 }
    }
}

/// What the process may hold.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Bytes that rows, bodies and dead letters may hold together. At the budget the partitions are
    /// paused. What Kafka's client fetches ahead (`kafka.prefetch`) is counted within it.
    pub budget: ByteSize,
}

impl Default for Memory {
    fn default() -> Self {
        Memory { budget: ByteSize::mib(512) }
    }
}
