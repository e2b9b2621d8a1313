//! The spans of one batch, kept until it is known whether they are wanted.
//!
//! Refuses to lose an error: whatever was drawn at the start, the first step that fails makes the whole trace one that is
//! sent. A batch that waits for long shows its failed attempts at once and its own span when it ends. Spans and events of
//! one trace are bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::{SpanId, TraceId, Value};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use parking_lot::Mutex;

use super::{Batch, Inner, attribute, context};

/// Steps that are kept of a trace while nobody wants it; later ones are left out.
const STEPS_KEPT_MAX: usize = 64;
const EVENTS_MAX: usize = 32;
/// A batch that was never ended: its partition was taken away, or the process stops.
const ABANDONED: &str = "abandoned";

/// The trace of one batch; clones are the same. Without tracing it does nothing.
#[derive(Clone, Debug, Default)]
pub struct Trace(Option<Arc<Active>>);

#[derive(Debug)]
struct Active {
    inner: Arc<Inner>,
    trace_id: TraceId,
    span_id: SpanId,
    is_wanted: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// The batch's own span until it ends.
    batch: Option<Span>,
    steps: Vec<Span>,
}

/// Something that is done for a batch, such as one attempt of its insert. Nothing is told of one that is not ended.
#[derive(Debug, Default)]
pub struct Step(Option<(Arc<Active>, Box<Span>)>);

impl Trace {
    pub(super) fn new(inner: &Arc<Inner>, batch: &Batch<'_>) -> Trace {
        let (trace_id, span_id) =
            (TraceId::from(rand::random::<u128>()), SpanId::from(rand::random::<u64>()));
        let is_wanted = !batch.links.sampled.is_empty() || inner.draws(trace_id);
        let span = batch_span(inner, (trace_id, span_id), batch);
        Trace(Some(Arc::new(Active {
            inner: Arc::clone(inner),
            trace_id,
            span_id,
            is_wanted: AtomicBool::new(is_wanted),
            held: Mutex::new(Held { batch: Some(span), steps: Vec::new() }),
        })))
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Adds what becomes known later to the batch's span.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        let Some(active) = &self.0 else { return };
        if let Some(span) = &mut active.held.lock().batch {
            span.attributes.push(attribute(key, value));
        }
    }

    /// Something that happened to the batch at this moment.
    pub fn event(&self, name: &'static str, about: &[(&'static str, &str)]) {
        let Some(active) = &self.0 else { return };
        let mut held = active.held.lock();
        let Some(span) = &mut held.batch else { return };
        if EVENTS_MAX <= span.events.len() {
            span.dropped_events_count += 1;
            return;
        }
        let attributes = about.iter().map(|(key, value)| attribute(key, (*value).to_owned()));
        span.events.push(Event {
            time_unix_nano: now_ns(),
            name: name.to_owned(),
            attributes: attributes.collect(),
            dropped_attributes_count: 0,
        });
    }

    /// Work of this process for the batch begins.
    pub fn step(&self, name: &str) -> Step {
        self.begin(name, SpanKind::Internal)
    }

    /// A call of a server for the batch begins.
    pub fn call(&self, name: &str) -> Step {
        self.begin(name, SpanKind::Client)
    }

    fn begin(&self, name: &str, kind: SpanKind) -> Step {
        let Some(active) = &self.0 else { return Step::default() };
        let span = Span {
            trace_id: active.trace_id.to_bytes().to_vec(),
            span_id: rand::random::<[u8; 8]>().to_vec(),
            parent_span_id: active.span_id.to_bytes().to_vec(),
            name: name.to_owned(),
            kind: kind.into(),
            start_time_unix_nano: now_ns(),
            ..Span::default()
        };
        Step(Some((Arc::clone(active), Box::new(span))))
    }

    /// From here on the trace is one that is sent, with what was kept of it.
    pub fn want(&self) {
        if let Some(active) = &self.0 {
            active.want();
        }
    }

    /// The batch has come to its end, and with an error to a bad one. Later calls do nothing.
    pub fn end(&self, error: Option<&str>) {
        if let Some(active) = &self.0 {
            active.end(error);
        }
    }
}

impl Step {
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some((_, span)) = &mut self.0 {
            span.attributes.push(attribute(key, value));
        }
    }

    /// What a request carries, so that the server's own spans continue this one.
    pub fn traceparent(&self) -> Option<String> {
        let (active, span) = self.0.as_ref()?;
        let is_wanted = active.is_wanted.load(Ordering::Relaxed);
        Some(context::traceparent(&span.trace_id, &span.span_id, is_wanted))
    }

    /// It is done, or has failed with an error of this kind.
    pub fn end(self, error: Option<&str>) {
        let Some((active, mut span)) = self.0 else { return };
        finish(&mut span, error);
        if error.is_some() {
            active.want();
        }
        active.keep(*span);
    }
}

impl Active {
    fn keep(&self, span: Span) {
        if self.is_wanted.load(Ordering::Acquire) {
            return self.inner.queue.send(span);
        }
        let mut held = self.held.lock();
        if held.steps.len() < STEPS_KEPT_MAX {
            held.steps.push(span);
        }
    }

    fn want(&self) {
        if !self.is_wanted.swap(true, Ordering::AcqRel) {
            let steps = std::mem::take(&mut self.held.lock().steps);
            steps.into_iter().for_each(|span| self.inner.queue.send(span));
        }
    }

    fn end(&self, error: Option<&str>) {
        let Some(mut span) = self.held.lock().batch.take() else { return };
        finish(&mut span, error);
        if error.is_some() {
            self.want();
        }
        if self.is_wanted.load(Ordering::Acquire) {
            self.inner.queue.send(span);
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.end(Some(ABANDONED));
    }
}

fn batch_span(inner: &Inner, (trace_id, span_id): (TraceId, SpanId), batch: &Batch<'_>) -> Span {
    let now = now_ns();
    let age = u64::try_from(batch.age.as_nanos()).unwrap_or(u64::MAX);
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let mut about = vec![
        attribute("messaging.system", "kafka"),
        attribute("messaging.operation.name", "process"),
        attribute("messaging.operation.type", "process"),
        attribute("messaging.consumer.group.name", inner.group.clone()),
        attribute("messaging.batch.message_count", count(batch.rows)),
        attribute("penstock.table", batch.table.to_owned()),
        attribute("penstock.batch.trigger", batch.trigger),
        attribute("penstock.batch.bytes", count(batch.bytes)),
    ];
    about.extend(batch.topic.map(|topic| attribute("messaging.destination.name", topic.to_owned())));
    let partition = batch.partition.map(|partition| partition.to_string());
    about.extend(partition.map(|partition| attribute("messaging.destination.partition.id", partition)));
    let link = |producer: &opentelemetry::trace::SpanContext| Link {
        trace_id: producer.trace_id().to_bytes().to_vec(),
        span_id: producer.span_id().to_bytes().to_vec(),
        trace_state: producer.trace_state().header(),
        flags: u32::from(producer.trace_flags().to_u8()),
        ..Link::default()
    };
    Span {
        trace_id: trace_id.to_bytes().to_vec(),
        span_id: span_id.to_bytes().to_vec(),
        name: format!("process {}", batch.topic.unwrap_or(batch.table)),
        kind: SpanKind::Consumer.into(),
        start_time_unix_nano: now.saturating_sub(age),
        attributes: about,
        links: batch.links.sampled.iter().map(link).collect(),
        ..Span::default()
    }
}

fn finish(span: &mut Span, error: Option<&str>) {
    span.end_time_unix_nano = now_ns();
    if let Some(error) = error {
        span.attributes.push(attribute("error.type", error.to_owned()));
        span.status = Some(Status { message: String::new(), code: StatusCode::Error.into() });
    }
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
    use tokio::sync::mpsc;

    use super::super::export::Queue;
    use super::super::{Links, Tracer};
    use super::*;

    const PRODUCER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn tracer(ratio: f64, room: usize) -> (Tracer, mpsc::Receiver<Span>) {
        let (queue, spans) = mpsc::channel(room);
        (Tracer::new(Queue::new(queue), ratio, "g"), spans)
    }

    fn batch(tracer: &Tracer, links: Links) -> Trace {
        let age = Duration::from_secs(2);
        let (topic, partition) = (Some("t"), Some(3));
        tracer.batch(&Batch { table: "e", topic, partition, rows: 5, bytes: 9, trigger: "age", age, links })
    }

    fn sent(spans: &mut mpsc::Receiver<Span>) -> Vec<Span> {
        std::iter::from_fn(|| spans.try_recv().ok()).collect()
    }

    fn error_of(span: &Span) -> Option<String> {
        let found = span.attributes.iter().find(|one| one.key == "error.type")?;
        match &found.value.as_ref()?.value {
            Some(Any::StringValue(text)) => Some(text.clone()),
            _ => None,
        }
    }

    #[test]
    fn without_tracing_nothing_is_made() {
        let trace = batch(&Tracer::default(), Links::default());
        assert!(!trace.is_on() && trace.call("INSERT e").traceparent().is_none());
        trace.end(None);
    }

    #[test]
    fn a_trace_that_nobody_wants_is_sent_from_its_first_error_on() {
        let (tracer, mut spans) = tracer(0.0, 100);
        let trace = batch(&tracer, Links::default());
        trace.step("encode").end(None);
        let first = trace.call("INSERT e");
        assert!(first.traceparent().unwrap().ends_with("-00"));
        assert!(sent(&mut spans).is_empty());
        first.end(Some("later"));
        let at_once = sent(&mut spans);
        assert_eq!(at_once.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["encode", "INSERT e"]);
        let second = trace.call("INSERT e");
        assert!(second.traceparent().unwrap().ends_with("-01"), "the server keeps its spans as well");
        second.end(None);
        trace.end(None);
        trace.end(Some("late"));
        let rest = sent(&mut spans);
        assert_eq!(rest.len(), 2, "the batch ends once");
        assert!(rest[1].name == "process t" && error_of(&rest[1]).is_none());
        let length = rest[1].end_time_unix_nano - rest[1].start_time_unix_nano;
        assert!(length >= 2_000_000_000, "from its first record on");
    }

    #[test]
    fn what_is_wanted_is_drawn_or_asked_for_by_a_producer() {
        let (none, mut of_none) = tracer(0.0, 100);
        batch(&none, Links::default()).end(None);
        assert!(sent(&mut of_none).is_empty());
        let mut links = Links::default();
        links.look(&[("traceparent".to_owned(), Some(PRODUCER.as_bytes().to_vec()))]);
        batch(&none, links).end(None);
        assert_eq!(sent(&mut of_none)[0].links.len(), 1);
        let (some, mut of_some) = tracer(0.5, 10_000);
        (0..1000).for_each(|_| batch(&some, Links::default()).end(None));
        let number = sent(&mut of_some).len();
        assert!((350..650).contains(&number), "{number} of 1000");
    }

    #[test]
    fn a_batch_that_is_dropped_is_told_and_events_are_bounded() {
        let (tracer, mut spans) = tracer(0.0, 100);
        let trace = batch(&tracer, Links::default());
        (0..EVENTS_MAX + 5).for_each(|_| trace.event("parked", &[]));
        (0..STEPS_KEPT_MAX + 5).for_each(|_| trace.step("encode").end(None));
        drop(trace);
        let all = sent(&mut spans);
        assert_eq!(all.len(), STEPS_KEPT_MAX + 1);
        let last = all.last().unwrap();
        assert_eq!(error_of(last).as_deref(), Some(ABANDONED));
        assert_eq!((last.events.len(), last.dropped_events_count), (EVENTS_MAX, 5));
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let dropped =
            || super::super::super::metrics::METRICS.trace_spans.with_label_values(&["dropped"]).get();
        let before = dropped();
        let (tracer, mut spans) = tracer(1.0, 3);
        (0..10).for_each(|_| batch(&tracer, Links::default()).end(None));
        assert!(dropped() >= before + 7);
        assert_eq!(sent(&mut spans).len(), 3);
    }
}
