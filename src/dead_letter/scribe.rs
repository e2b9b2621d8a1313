//! Publishes for a replay: markers, and letters as the records that they were.
//!
//! Refuses to decide which.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;

use super::Error;
use super::envelope::REPLAY_OF;
use super::letter::Letter;
use super::marker::Marker;
use crate::kafka::producer::{Outgoing, Placed, Refusal};
use crate::kafka::{self, Producer};
use crate::record::{Header, Offset, TopicPartition};

/// How long the client tries to publish one record.
const PRODUCE_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes markers.
#[derive(Clone)]
pub struct Scribe {
    pub producer: Producer,
    /// For records that were refused for their size, perhaps because of others in their batch.
    pub one_by_one: Producer,
    pub runtime: Handle,
}

impl Scribe {
    pub fn new(kafka: &kafka::Config, runtime: Handle) -> Result<Scribe, Error> {
        let producer = Producer::new(kafka, PRODUCE_TIMEOUT)?;
        Ok(Scribe { producer, one_by_one: Producer::one_by_one(kafka, PRODUCE_TIMEOUT)?, runtime })
    }

    /// Writes a marker into the partition of its letters; gives its offset.
    pub fn mark(&self, source: &TopicPartition, marker: &Marker) -> Result<Offset, Error> {
        let payload = serde_json::to_vec(marker).map_err(|error| Error::Marker(error.to_string()))?;
        // A key of its own, so that a compacted topic takes it and keeps it.
        let key = uuid::Uuid::new_v4().to_string();
        let outgoing = Outgoing {
            topic: &source.topic,
            partition: Some(source.partition),
            key: Some(key.as_bytes()),
            payload: Some(&payload),
            headers: &marker.headers(),
            timestamp_ms: None,
        };
        Ok(self.runtime.block_on(self.producer.produce(outgoing))?.offset)
    }

    /// Publishes all of them and waits for their acknowledgement; gives for each where it lies, or that it is
    /// larger than its topic takes.
    pub(super) fn publish(&self, items: &[Item]) -> Result<Vec<Option<Placed>>, Error> {
        self.runtime.block_on(async {
            let mut under_way = FuturesUnordered::new();
            let mut placed: Vec<Option<Placed>> = vec![None; items.len()];
            let mut put = |(index, result): (usize, Result<Placed, kafka::Error>)| match result {
                Err(kafka::Error::TooLarge { .. }) => Ok(()),
                other => other.map(|at| placed.get_mut(index).into_iter().for_each(|cell| *cell = Some(at))),
            };
            for (index, item) in items.iter().enumerate() {
                let headers = item.headers();
                let delivery = loop {
                    match self.producer.enqueue(item.outgoing(&headers)) {
                        Ok(delivery) => break delivery,
                        Err(Refusal::QueueFull) => match under_way.next().await {
                            Some(one) => put(one)?,
                            None => tokio::time::sleep(Duration::from_millis(10)).await,
                        },
                        Err(Refusal::Failed(error)) => return Err(error.into()),
                    }
                };
                under_way.push(async move { (index, delivery.await) });
            }
            while let Some(one) = under_way.next().await {
                put(one)?;
            }
            for (item, cell) in items.iter().zip(&mut placed).filter(|(_, cell)| cell.is_none()) {
                let headers = item.headers();
                match self.one_by_one.produce(item.outgoing(&headers)).await {
                    Ok(at) => *cell = Some(at),
                    Err(kafka::Error::TooLarge { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(placed)
        })
    }
}

/// One letter and where it goes.
#[derive(Debug)]
pub struct Item {
    pub letter: Letter,
    pub target: TopicPartition,
}

impl Item {
    fn headers(&self) -> Vec<Header> {
        let mut headers: Vec<_> =
            self.letter.headers.iter().filter(|(name, _)| name != REPLAY_OF).cloned().collect();
        headers.push((REPLAY_OF.to_owned(), Some(self.letter.position.to_string().into_bytes())));
        headers
    }

    fn outgoing<'a>(&'a self, headers: &'a [Header]) -> Outgoing<'a> {
        Outgoing {
            topic: &self.target.topic,
            partition: Some(self.target.partition),
            key: self.letter.key.as_deref(),
            payload: self.letter.payload.as_deref(),
            headers,
            // Its own time would let retention delete an old record before it is read.
            timestamp_ms: None,
        }
    }
}
