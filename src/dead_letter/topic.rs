//! Publishes dead letters to their topic and reports each when the broker has it.
//!
//! Refuses to give up: a letter that cannot be delivered is tried again with growing pauses, while the
//! reader sees the limit of letters on their way and pauses. The number of letters held is bounded by
//! that limit, which the owner keeps by looking at [`Sink::has_room`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backon::BackoffBuilder as _;

use super::config::Config;
use super::envelope::DeadLetter;
use crate::kafka::Producer;
use crate::kafka::producer::Outgoing;
use crate::telemetry::metrics::METRICS;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Cheap to clone.
#[derive(Clone)]
pub struct Sink {
    producer: Producer,
    config: Arc<Config>,
    in_flight: Arc<AtomicUsize>,
    failing: Arc<AtomicUsize>,
}

impl Sink {
    pub fn new(producer: Producer, config: Config) -> Sink {
        Sink { producer, config: Arc::new(config), in_flight: Arc::default(), failing: Arc::default() }
    }

    /// Whether another letter may be handed in.
    pub fn has_room(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) < self.config.records_in_flight_max as usize
    }

    /// How many letters have failed at least once and are being tried again.
    pub fn failing(&self) -> usize {
        self.failing.load(Ordering::Relaxed)
    }

    /// Counts the letter as on its way from now on; [`Sink::deliver`] is to follow.
    pub fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Publishes until the broker acknowledges. Not cancel-safe: a dropped call may still deliver, so a
    /// letter can arrive twice, never not at all.
    pub async fn deliver(&self, letter: DeadLetter) {
        let topic = self.config.topic_for(&letter.record.position.source.topic);
        let headers = letter.headers();
        let labels = [letter.record.position.source.topic.as_ref(), letter.cause.reason];
        let mut pauses = backon::ExponentialBuilder::default()
            .with_min_delay(PAUSE_MIN)
            .with_max_delay(PAUSE_MAX)
            .with_jitter()
            .without_max_times()
            .build();
        let mut failed = false;
        loop {
            let outgoing = Outgoing {
                topic: &topic,
                key: letter.record.key.as_deref(),
                payload: letter.record.payload.as_deref(),
                headers: &headers,
                // The original time stands in a header: as the message's own time it would let retention
                // delete an old record's letter at once.
                timestamp_ms: None,
            };
            match self.producer.produce(outgoing).await {
                Ok(()) => break,
                Err(error) => {
                    METRICS.dlq_records.with_label_values(&[labels[0], labels[1], "error"]).inc();
                    tracing::error!(%error, %topic, position = %letter.record.position, "dead letter not delivered, trying again");
                }
            }
            if !failed {
                failed = true;
                self.failing.fetch_add(1, Ordering::Relaxed);
            }
            tokio::time::sleep(pauses.next().unwrap_or(PAUSE_MAX)).await;
        }
        if failed {
            self.failing.fetch_sub(1, Ordering::Relaxed);
        }
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        METRICS.dlq_records.with_label_values(&[labels[0], labels[1], "ok"]).inc();
        METRICS.dlq_bytes.with_label_values(&[labels[0]]).inc_by(letter.bytes() as u64);
    }
}
