//! The metrics of the line's stages: how long each was at work, how many it has at work, how long it waited for the next.
//!
//! Refuses to compute anything, as `metrics.rs`, which it is a part of. The set of stages is closed.

use prometheus::{CounterVec, IntGaugeVec};

use super::catalogue::{Builder, opts};

/// The stages in the order in which a record meets them.
pub const STAGES: [&str; 5] = ["fetch", "decode", "batch", "insert", "commit"];

pub struct Stages {
    pub busy: CounterVec,
    pub workers: IntGaugeVec,
    pub backpressure: CounterVec,
    pub queue_depth: IntGaugeVec,
}

impl Stages {
    pub(super) fn new(b: &Builder) -> Stages {
        Stages {
            busy: b.add(CounterVec::new(
                opts(
                    "stage_busy_seconds_total",
                    "Time at work, by stage: fetch, decode, batch, insert, commit; its rate by stage_workers is the utilisation",
                ),
                &["stage"],
            )),
            workers: b.gauge(
                "stage_workers",
                "How many may be at work at a time, by stage; fetch and decode are the same threads",
                &["stage"],
            ),
            backpressure: b.add(CounterVec::new(
                opts(
                    "backpressure_seconds_total",
                    "Time that a stage stood still, or that what it had done lay waiting, since the next one was busy",
                ),
                &["stage"],
            )),
            queue_depth: b.gauge(
                "queue_depth",
                "Batches or dead letters that wait before a stage: insert, dead_letter",
                &["stage"],
            ),
        }
    }
}
