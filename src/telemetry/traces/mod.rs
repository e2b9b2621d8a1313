//! Traces: one span for each batch from its first record to its answer, with links to the producers of its records.
//!
//! Refuses to slow the line down: without an endpoint nothing is made and nothing looked at; with one, a batch costs a
//! few allocations, records are looked at by samples, and a full queue drops spans and counts them. OpenTelemetry's types
//! stay here; whoever reports hands over plain values, never a record's.
//!
//! | what | where |
//! |---|---|
//! | producers' contexts | `context` |
//! | spans of one batch, and which are kept | `span` |
//! | the queue, and the way to the receiver | `export`, `client` |

mod client;
pub mod context;
mod export;
mod span;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::SpanKind;
use opentelemetry::{TraceId, Value};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample};

pub use client::Error;
pub use context::Links;
pub use export::{Exporter, start};
pub use span::{Step, Trace};

use export::Queue;

/// Makes traces, or nothing at all; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    queue: Queue,
    sampler: Sampler,
    group: String,
}

/// What is known of a batch when it is closed.
#[derive(Debug)]
pub struct Batch<'a> {
    pub table: &'a str,
    /// Where all of its records come from, if that is one place.
    pub topic: Option<&'a str>,
    pub partition: Option<i32>,
    pub rows: usize,
    pub bytes: usize,
    pub trigger: &'static str,
    pub age: Duration,
    pub links: Links,
}

impl Tracer {
    fn new(queue: Queue, ratio: f64, group: &str) -> Tracer {
        let sampler = Sampler::TraceIdRatioBased(ratio);
        Tracer(Some(Arc::new(Inner { queue, sampler, group: group.to_owned() })))
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The trace of a batch that was just closed.
    pub fn batch(&self, batch: &Batch<'_>) -> Trace {
        self.0.as_ref().map_or_else(Trace::default, |inner| Trace::new(inner, batch))
    }
}

impl Inner {
    /// Whether a trace is kept that no producer's decision asks for.
    fn draws(&self, trace_id: TraceId) -> bool {
        let drawn = self.sampler.should_sample(None, trace_id, "", &SpanKind::Consumer, &[], &[]);
        drawn.decision == SamplingDecision::RecordAndSample
    }
}

/// A name with a value, as it is sent.
fn attribute(key: &str, value: impl Into<Value>) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value.into().into()), ..KeyValue::default() }
}
