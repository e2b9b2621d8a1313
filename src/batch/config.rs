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
    /// Inserts per second into one table by the whole consumer group; each process takes its share by the
    /// number of members. Without it only the table's parts limit them.
    #[schemars(range(min = 0.001, max = 1_000_000.0))]
    pub inserts_per_second_max: Option<f64>,
    /// Distinct partition keys of the table that one insert may touch, each of which becomes a part of its
    /// own. A batch with more is sent in several inserts. ClickHouse refuses more than 100 by default.
    #[schemars(range(min = 1, max = 10_000))]
    pub partition_keys_max: u16,
    /// How batches adapt to the table's parts and merges.
    pub pressure: Pressure,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            rows_max: 250_000,
            bytes_max: ByteSize::mib(32),
            age_max: Span::millis(750),
            in_flight_max: 4,
            inserts_per_second_max: None,
            partition_keys_max: 50,
            pressure: Pressure::default(),
        }
    }
}

/// How batches adapt to what ClickHouse says of the table's parts and merges: before it would delay or
/// refuse inserts, batches grow and fewer are sent.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pressure {
    /// Whether they do. Otherwise batches stay as configured, and the table waits when it is refused.
    pub enabled: bool,
    /// Time between two looks at a table; a fifth of it while inserts wait for one.
    pub interval: Span,
    /// Age of the oldest row at which a batch is closed under the highest pressure.
    pub age_max: Span,
    /// Rows at which a batch is closed under the highest pressure. `bytes_max` holds all the same.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub rows_max: u32,
}

impl Default for Pressure {
    fn default() -> Self {
        Pressure { enabled: true, interval: Span::secs(5), age_max: Span::secs(30), rows_max: 1_000_000 }
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
