//! The metrics of what is read: the topics as the brokers tell of them, and what came over the wire.
//!
//! Refuses to compute anything, as `metrics.rs`, which it is a part of.

use prometheus::{GaugeVec, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec};

use super::catalogue::{Builder, exponential, opts};

pub struct Consume {
    pub wire_bytes: IntCounter,
    pub topic_partitions: IntGaugeVec,
    pub topic_retention: GaugeVec,
    pub future_records: IntCounterVec,
    pub record_size: HistogramVec,
}

impl Consume {
    pub(super) fn new(b: &Builder) -> Consume {
        Consume {
            wire_bytes: b.add(IntCounter::with_opts(opts(
                "fetch_wire_bytes_total",
                "Bytes that came from the brokers, compressed as they are; carried over once a second",
            ))),
            topic_partitions: b.gauge(
                "topic_partitions",
                "Partitions of the topic, as the brokers told at the start",
                &["topic"],
            ),
            topic_retention: b.add(GaugeVec::new(
                opts(
                    "topic_retention_seconds",
                    "How long the topic keeps records, as the brokers told at the start; 0 for ever, or not known",
                ),
                &["topic"],
            )),
            future_records: b.counter(
                "future_records_total",
                "Records whose timestamp was more than a minute ahead when they were written, estimated from every 64th row",
                &["topic"],
            ),
            record_size: b.histogram(
                "record_size_bytes",
                "Key and value bytes of a record, of those whose offset is a multiple of 64",
                &["topic"],
                // To the size that brokers take where nobody set another one, and beyond.
                &exponential(64.0, 4.0, 9),
            ),
        }
    }
}
