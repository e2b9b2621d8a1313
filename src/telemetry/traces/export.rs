//! The queue of spans and the task that carries them to the receiver.
//!
//! Refuses to make anybody wait: a full queue drops the span and counts it. What the receiver does not take after a few
//! tries is given up and counted; the line goes on either way.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::config::Traces;
use super::super::metrics::METRICS;
use super::client::{Client, Error, Sent};
use super::{Tracer, attribute};

/// Spans that wait for being sent.
const QUEUE_SPANS_MAX: usize = 2048;
/// Spans of one request.
const REQUEST_SPANS_MAX: usize = 512;
/// How long a request waits for more spans after its first.
const GATHER_MAX: Duration = Duration::from_secs(1);
const TRIES_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// What becomes of spans.
const OUTCOMES: [&str; 4] = ["exported", "refused", "failed", "dropped"];

/// Where spans are put.
#[derive(Clone, Debug)]
pub struct Queue(mpsc::Sender<Span>);

impl Queue {
    pub(super) fn new(sender: mpsc::Sender<Span>) -> Queue {
        Queue(sender)
    }

    /// Takes the span, or drops it if there is no room.
    pub fn send(&self, span: Span) {
        if self.0.try_send(span).is_err() {
            count("dropped", 1);
        }
    }
}

fn count(outcome: &'static str, spans: u64) {
    METRICS.trace_spans.with_label_values(&[outcome]).inc_by(spans);
}

/// The task that sends.
#[derive(Debug)]
pub struct Exporter {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Exporter {
    /// Sends what is queued, as far as it goes within `deadline`. Spans that come later are dropped.
    pub async fn stop(self, deadline: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(deadline, self.task).await.is_err() {
            tracing::warn!("the last spans could not be sent in time");
        }
    }
}

/// Begins to trace, if an endpoint is configured; has to be called within a runtime.
///
/// # Errors
/// A configuration that cannot work.
pub fn start(config: &Traces, group: &str) -> Result<(Tracer, Option<Exporter>), Error> {
    for outcome in OUTCOMES {
        count(outcome, 0);
    }
    let Some(endpoint) = &config.endpoint else { return Ok((Tracer::default(), None)) };
    let client = Client::new(config, endpoint)?;
    let (sender, spans) = mpsc::channel(QUEUE_SPANS_MAX);
    let stop = CancellationToken::new();
    let carrier = Carrier { client, resource: resource(config), spans, stop: stop.clone() };
    let task = tokio::spawn(carrier.run());
    tracing::info!(endpoint, ratio = config.sample_ratio, "batches are traced");
    let tracer = Tracer::new(Queue::new(sender), config.sample_ratio, group);
    Ok((tracer, Some(Exporter { stop, task })))
}

/// Who the spans are from. What is configured wins.
fn resource(config: &Traces) -> Resource {
    let own = [
        ("service.name", "penstock".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", uuid::Uuid::new_v4().to_string()),
    ];
    let own = own.into_iter().filter(|(key, _)| !config.resource.contains_key(*key));
    let own = own.map(|(key, value)| attribute(key, value));
    let given = config.resource.iter().map(|(key, value)| attribute(key, value.clone()));
    Resource { attributes: own.chain(given).collect(), ..Resource::default() }
}

struct Carrier {
    client: Client,
    resource: Resource,
    spans: mpsc::Receiver<Span>,
    stop: CancellationToken,
}

impl Carrier {
    async fn run(mut self) {
        loop {
            let spans = self.gather().await;
            if spans.is_empty() {
                return;
            }
            self.carry(spans).await;
        }
    }

    /// The spans of the next request; none once it is to end and everything is sent.
    async fn gather(&mut self) -> Vec<Span> {
        let mut gathered = Vec::new();
        let stop = self.stop.clone();
        let is_first = tokio::select! {
            taken = self.spans.recv_many(&mut gathered, REQUEST_SPANS_MAX) => 0 < taken,
            () = stop.cancelled() => false,
        };
        if is_first {
            let more = async {
                while gathered.len() < REQUEST_SPANS_MAX {
                    let room = REQUEST_SPANS_MAX - gathered.len();
                    if self.spans.recv_many(&mut gathered, room).await == 0 {
                        break;
                    }
                }
            };
            tokio::select! {
                () = more => {}
                () = tokio::time::sleep(GATHER_MAX) => {}
                () = stop.cancelled() => {}
            }
            return gathered;
        }
        self.spans.close();
        self.spans.recv_many(&mut gathered, REQUEST_SPANS_MAX).await;
        gathered
    }

    async fn carry(&self, spans: Vec<Span>) {
        let number = spans.len() as u64;
        let scope = InstrumentationScope {
            name: "penstock".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }],
                schema_url: String::new(),
            }],
        };
        let mut tries = 0;
        loop {
            tries += 1;
            match self.client.send(&request).await {
                Sent::Taken { refused } => {
                    count("refused", refused.min(number));
                    return count("exported", number.saturating_sub(refused));
                }
                Sent::Refused(why) => {
                    tracing::warn!(why, spans = number, "the receiver of traces refuses spans");
                    return count("refused", number);
                }
                Sent::Later(why) if TRIES_MAX <= tries || self.stop.is_cancelled() => {
                    tracing::warn!(why, spans = number, "spans could not be sent and are given up");
                    return count("failed", number);
                }
                Sent::Later(why) => {
                    tracing::debug!(why, "spans are sent again");
                    tokio::time::sleep(PAUSE * tries).await;
                }
            }
        }
    }
}
