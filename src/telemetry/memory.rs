//! The metrics of memory: what may be held, what is, and in what.
//!
//! Refuses to compute anything, as `metrics.rs`, which it is a part of. The set of components is closed.

use prometheus::{IntGauge, IntGaugeVec};

use super::catalogue::{Builder, opts};

/// What the client of Kafka has fetched and nobody has taken yet, which is beside the budget.
pub const FETCHED: &str = "fetched";

pub struct Memory {
    pub budget: IntGauge,
    pub used: IntGauge,
    pub component: IntGaugeVec,
}

impl Memory {
    pub(super) fn new(b: &Builder) -> Memory {
        Memory {
            budget: b.add(IntGauge::with_opts(opts(
                "memory_budget_bytes",
                "Bytes that may be held, what Kafka's client fetches ahead left out",
            ))),
            used: b.add(IntGauge::with_opts(opts(
                "memory_used_bytes",
                "Bytes held by batches with the bodies they become, and by dead letters",
            ))),
            component: b.gauge(
                "memory_component_bytes",
                "Bytes held by open batches with room for their bodies (open), by those that wait to be sent (sealed), \
                 that are being sent (sending), and by dead_letters, which are the used bytes together; \
                 and what Kafka's client has fetched ahead (fetched)",
                &["component"],
            ),
        }
    }
}

/// As a gauge holds it.
pub fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
