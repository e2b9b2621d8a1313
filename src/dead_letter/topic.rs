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
use crate::kafka::producer::Outgoing;
use crate::kafka::{self, Producer};
use crate::telemetry::metrics::METRICS;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Warns of dead-letter topics (first of each pair) that do not take every message of their source topic.
pub async fn warn_of_small(kafka: &kafka::Config, pairs: &[(String, String)]) {
    let names: Vec<&str> = pairs.iter().flat_map(|(dead, source)| [dead.as_str(), source.as_str()]).collect();
    let limits = match kafka::admin::message_bytes_max(kafka, &names).await {
        Ok(limits) => limits,
        Err(error) => return tracing::debug!(%error, "the topics' limits cannot be seen"),
    };
    for (dead, source) in pairs {
        if let (Some(taken), Some(needed)) = (limits.get(dead), limits.get(source))
            && taken < needed
        {
            tracing::warn!(
                "dead-letter topic `{dead}` takes messages of {taken} bytes, `{source}` of {needed}: larger dead \
                 letters are cut\nhint: set max.message.bytes of `{dead}` to somewhat more than {needed}"
            );
        }
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Sink {
    producer: Producer,
    /// For letters that were refused for their size, perhaps because of others in their batch.
    one_by_one: Producer,
    config: Arc<Config>,
    in_flight: Arc<AtomicUsize>,
    failing: Arc<AtomicUsize>,
}

impl Sink {
    pub fn new((producer, one_by_one): (Producer, Producer), config: Config) -> Sink {
        let config = Arc::new(config);
        Sink { producer, one_by_one, config, in_flight: Arc::default(), failing: Arc::default() }
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
    pub async fn deliver(&self, mut letter: DeadLetter) {
        let topic = self.config.topic_for(&letter.record.position.source.topic);
        let source = Arc::clone(&letter.record.position.source.topic);
        let labels = [METRICS.topics.of(&source), letter.cause.reason];
        let mut pauses = backon::ExponentialBuilder::default()
            .with_min_delay(PAUSE_MIN)
            .with_max_delay(PAUSE_MAX)
            .with_jitter()
            .without_max_times()
            .build();
        let mut failed = false;
        let mut producer = &self.producer;
        let mut is_alone = false;
        loop {
            let headers = letter.headers();
            let outgoing = Outgoing {
                topic: &topic,
                partition: None,
                key: letter.record.key.as_deref(),
                payload: letter.record.payload.as_deref(),
                headers: &headers,
                // The original time stands in a header: as the message's own time it would let retention
                // delete an old record's letter at once.
                timestamp_ms: None,
            };
            match producer.produce(outgoing).await {
                Ok(_) => break,
                Err(kafka::Error::TooLarge { .. }) if !is_alone => {
                    (producer, is_alone) = (&self.one_by_one, true);
                    continue;
                }
                Err(error @ kafka::Error::TooLarge { .. }) if letter.cut() => {
                    tracing::warn!(%error, position = %letter.record.position, "dead letter cut; the whole record stays where it is");
                    continue;
                }
                Err(error) => {
                    let error = match error {
                        kafka::Error::MissingTopic { topic } => {
                            kafka::Error::MissingDeadLetterTopic { topic }
                        }
                        other => other,
                    };
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
