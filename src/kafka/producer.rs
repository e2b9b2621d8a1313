//! Publishing with the broker's acknowledgement.
//!
//! Refuses to know what is published. A message counts as taken only when all in-sync replicas have it;
//! the idempotent producer keeps its own retries from doubling it. It connects with its first message: most members
//! never have a dead letter, and an idle client still costs threads and connections.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header as KafkaHeader, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use super::{Config, Error, client};
use crate::record::{Header, Offset, Partition};

/// Cheap to clone; all clones are one client.
#[derive(Clone)]
pub struct Producer {
    settings: Arc<ClientConfig>,
    inner: Arc<Mutex<Option<FutureProducer>>>,
}

/// A message to publish, borrowed until it is in the client's queue.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    pub topic: &'a str,
    /// By the key's hash without it.
    pub partition: Option<Partition>,
    pub key: Option<&'a [u8]>,
    pub payload: Option<&'a [u8]>,
    pub headers: &'a [Header],
    pub timestamp_ms: Option<i64>,
}

/// Where an acknowledged message lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub partition: Partition,
    pub offset: Offset,
}

impl Producer {
    /// `produce_timeout` bounds how long the client itself tries to deliver one message.
    pub fn new(config: &Config, produce_timeout: Duration) -> Result<Producer, Error> {
        Producer::with(&client::producer(config, produce_timeout))
    }

    /// The same, with another compression, by librdkafka's name of it.
    pub fn compressed(
        config: &Config,
        produce_timeout: Duration,
        compression: &str,
    ) -> Result<Producer, Error> {
        let mut settings = client::producer(config, produce_timeout);
        Producer::with(settings.set("compression.type", compression))
    }

    /// The same, but each message travels alone: brokers judge the size of whole batches, so that this one
    /// tells whether a message itself is too large.
    pub fn one_by_one(config: &Config, produce_timeout: Duration) -> Result<Producer, Error> {
        let mut settings = client::producer(config, produce_timeout);
        Producer::with(settings.set("batch.num.messages", "1"))
    }

    /// Settings that librdkafka does not know or take are told here.
    fn with(settings: &ClientConfig) -> Result<Producer, Error> {
        settings.create_native_config().map_err(Error::Create)?;
        Ok(Producer { settings: Arc::new(settings.clone()), inner: Arc::default() })
    }

    fn client(&self) -> Result<FutureProducer, Error> {
        let mut inner = self.inner.lock();
        if let Some(client) = &*inner {
            return Ok(client.clone());
        }
        let client: FutureProducer = self.settings.create().map_err(Error::Create)?;
        *inner = Some(client.clone());
        Ok(client)
    }

    /// Publishes and waits for the acknowledgement. Not cancel-safe: a dropped call may still deliver.
    pub async fn produce(&self, outgoing: Outgoing<'_>) -> Result<Placed, Error> {
        match self.enqueue(outgoing) {
            Ok(delivery) => delivery.await,
            Err(Refusal::QueueFull) => Err(Error::Produce("the client's queue is full".to_owned())),
            Err(Refusal::Failed(error)) => Err(error),
        }
    }

    /// Puts the message into the client's queue; the returned future ends with the acknowledgement.
    pub fn enqueue(
        &self,
        outgoing: Outgoing<'_>,
    ) -> Result<impl Future<Output = Result<Placed, Error>> + use<>, Refusal> {
        let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(outgoing.topic);
        record.partition = outgoing.partition.map(|partition| partition.0);
        record.key = outgoing.key;
        record.payload = outgoing.payload;
        record.timestamp = outgoing.timestamp_ms;
        if !outgoing.headers.is_empty() {
            let all = OwnedHeaders::new_with_capacity(outgoing.headers.len());
            record.headers = Some(
                outgoing
                    .headers
                    .iter()
                    .fold(all, |all, (key, value)| all.insert(KafkaHeader { key, value: value.as_deref() })),
            );
        }
        let client = self.client().map_err(Refusal::Failed)?;
        let delivery = client.send_result(record).map_err(|(error, _)| match error {
            KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => Refusal::QueueFull,
            other => Refusal::Failed(refused(outgoing.topic, &other)),
        })?;
        let topic = outgoing.topic.to_owned();
        Ok(async move {
            match delivery.await {
                Ok(Ok(done)) => {
                    Ok(Placed { partition: Partition(done.partition), offset: Offset(done.offset) })
                }
                Ok(Err((error, _))) => Err(refused(&topic, &error)),
                Err(_) => Err(Error::Produce("the producer was closed".to_owned())),
            }
        })
    }

    /// Waits until everything in the queue is delivered or given up. Blocks: not for async code.
    pub fn flush(&self, timeout: Duration) -> Result<(), Error> {
        let Some(client) = self.inner.lock().clone() else { return Ok(()) };
        client
            .flush(timeout)
            .map_err(|source| Error::Operation { operation: "flushing the producer", source })
    }
}

/// What it means that a message was not taken.
fn refused(topic: &str, error: &KafkaError) -> Error {
    use RDKafkaErrorCode as Code;
    let topic = topic.to_owned();
    match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => Error::TooLarge { topic },
        Some(Code::TopicAuthorizationFailed) => Error::ForbiddenWrite { topic },
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => Error::MissingTopic { topic },
        _ => Error::Produce(error.to_string()),
    }
}

/// Why a message was not put into the client's queue.
#[derive(Debug)]
pub enum Refusal {
    /// Try again after some deliveries.
    QueueFull,
    Failed(Error),
}
