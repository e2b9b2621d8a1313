//! Who published: trace contexts of producers, as Kafka headers carry them, and what is told to ClickHouse.
//!
//! Refuses to look at every record: only so many in each turn of the loop and in each batch are looked at, and only
//! while tracing is on. The text is the W3C's; OpenTelemetry's own propagator reads it.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// Records that are looked at in one turn of the loop.
const LOOKS_PER_TURN: u8 = 4;
/// Records of one batch that are looked at.
const LOOKS_PER_BATCH: u16 = 256;
/// Producers that one batch is linked to.
pub const LINKS_MAX: usize = 32;
/// A longer header is no trace context.
const HEADER_BYTES_MAX: usize = 1024;

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

/// A header of a record: its name and value.
pub type Header = (String, Option<Vec<u8>>);

/// The sampled producers of one open batch.
#[derive(Debug, Default)]
pub struct Links {
    /// Looks that are left in this turn. Nothing looks while this is zero, and so never without tracing.
    left: u8,
    looks: u16,
    pub(super) sampled: Vec<SpanContext>,
}

impl Links {
    /// Whether the record at hand is to be looked at.
    pub fn wants(&self) -> bool {
        0 < self.left
    }

    /// A turn of the loop begins.
    pub fn turn(&mut self) {
        let is_done = LINKS_MAX <= self.sampled.len() || LOOKS_PER_BATCH <= self.looks;
        self.left = if is_done { 0 } else { LOOKS_PER_TURN };
    }

    /// Takes over the record's context, if it has one that is sampled and new.
    pub fn look(&mut self, headers: &[Header]) {
        self.left = self.left.saturating_sub(1);
        self.looks = self.looks.saturating_add(1);
        let Some(context) = parse(headers).filter(SpanContext::is_sampled) else { return };
        if self.sampled.len() < LINKS_MAX && !self.sampled.contains(&context) {
            self.sampled.push(context);
        }
    }
}

struct Headers<'a>(&'a [Header]);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let (_, value) = self.0.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(key))?;
        let value = value.as_deref().filter(|value| value.len() <= HEADER_BYTES_MAX)?;
        std::str::from_utf8(value).ok()
    }

    fn keys(&self) -> Vec<&str> {
        vec![PARENT, STATE]
    }
}

/// The context in these headers, if there is one that makes sense.
fn parse(headers: &[Header]) -> Option<SpanContext> {
    let headers = Headers(headers);
    headers.get(PARENT)?;
    // Nothing is taken from the thread: the context to add to is an empty one.
    let read = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
    let context = read.span().span_context().clone();
    context.is_valid().then_some(context)
}

/// What a request carries that is to continue this span.
pub(super) fn traceparent(trace_id: &[u8], span_id: &[u8], is_sampled: bool) -> String {
    format!("00-{}-{}-{:02x}", hex(trace_id), hex(span_id), u8::from(is_sampled))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn header(name: &str, value: &str) -> Header {
        (name.to_owned(), Some(value.as_bytes().to_vec()))
    }

    fn producer(span: u64, flags: &str) -> Vec<Header> {
        vec![header(PARENT, &format!("00-{TRACE}-{span:016x}-{flags}")), header(STATE, "vendor=1")]
    }

    #[test]
    fn sampled_producers_are_linked_once_and_the_rest_is_passed_over() {
        let mut links = Links::default();
        links.look(&producer(1, "01"));
        links.look(&producer(1, "01"));
        links.look(&producer(2, "00"));
        links.look(&[]);
        let wrong = ["", "00-zz-00-01", &format!("00-{TRACE}-0000000000000000-01"), &"0".repeat(5000)];
        wrong.iter().for_each(|text| links.look(&[header(PARENT, text)]));
        links.look(&[(PARENT.to_owned(), Some(vec![0xff, 0xfe])), (PARENT.to_owned(), None)]);
        assert_eq!(links.sampled.len(), 1, "{links:?}");
        assert_eq!(links.sampled[0].trace_state().header(), "vendor=1");
        assert_eq!(links.sampled[0].trace_id().to_string(), TRACE);
    }

    #[test]
    fn looks_and_links_are_bounded() {
        let mut links = Links::default();
        assert!(!links.wants(), "without tracing nobody begins a turn");
        links.turn();
        let mut looked = 0;
        while links.wants() {
            looked += 1;
            links.look(&[]);
        }
        assert_eq!(looked, LOOKS_PER_TURN);
        for span in 1..100 {
            links.turn();
            if links.wants() {
                links.look(&producer(span, "01"));
            }
        }
        assert_eq!(links.sampled.len(), LINKS_MAX);
        assert!(!links.wants());
        let mut plain = Links::default();
        let looks = (0..10_000).filter(|_| {
            plain.turn();
            plain.wants().then(|| plain.look(&[])).is_some()
        });
        assert_eq!(looks.count(), usize::from(LOOKS_PER_BATCH));
    }

    #[test]
    fn what_is_passed_on_reads_as_it_was_written() {
        let text = traceparent(&[0xab; 16], &[0x01; 8], true);
        assert_eq!(text, format!("00-{}-{}-01", "ab".repeat(16), "01".repeat(8)));
        let read = parse(&[header("TraceParent", &text)]).unwrap();
        assert!(read.is_sampled() && read.trace_id().to_bytes() == [0xab; 16]);
    }
}
