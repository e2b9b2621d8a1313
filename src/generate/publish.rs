//! Publishes many messages at a given rate, with a bounded number on their way.
//!
//! Refuses to know what they hold. It ends only when the brokers have acknowledged every message, and an
//! unacknowledged one is an error, never a shortfall.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::Error;
use crate::kafka::producer::{Outgoing, Placed, Producer, Refusal};

/// Messages that may wait for their acknowledgement.
const IN_FLIGHT_MAX: usize = 50_000;
/// The rate is kept over spans of this length.
const PACE_INTERVAL: Duration = Duration::from_millis(10);

pub struct Publisher<'a> {
    producer: &'a Producer,
    topic: &'a str,
    in_flight: FuturesUnordered<BoxFuture<'static, Result<Placed, crate::kafka::Error>>>,
    per_second: Option<u32>,
    started: Instant,
    sent: u64,
    acknowledged: u64,
    bytes: u64,
}

/// What was published so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    pub messages: u64,
    pub bytes: u64,
}

impl<'a> Publisher<'a> {
    pub fn new(producer: &'a Producer, topic: &'a str, per_second: Option<u32>) -> Publisher<'a> {
        Publisher {
            producer,
            topic,
            in_flight: FuturesUnordered::new(),
            per_second,
            started: Instant::now(),
            sent: 0,
            acknowledged: 0,
            bytes: 0,
        }
    }

    /// Puts one message on its way, waiting while there is no room or while the rate says so.
    pub async fn send(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.keep_pace().await;
        loop {
            let outgoing = Outgoing {
                topic: self.topic,
                partition: None,
                key: None,
                payload: Some(payload),
                headers: &[],
                timestamp_ms: None,
            };
            match self.producer.enqueue(outgoing) {
                Ok(delivery) => {
                    self.in_flight.push(Box::pin(delivery));
                    break;
                }
                Err(Refusal::QueueFull) => self.acknowledge_one().await?,
                Err(Refusal::Failed(error)) => return Err(Error::Publish(error)),
            }
        }
        self.sent += 1;
        self.bytes += payload.len() as u64;
        while IN_FLIGHT_MAX <= self.in_flight.len() {
            self.acknowledge_one().await?;
        }
        Ok(())
    }

    /// Waits for the acknowledgement of everything.
    pub async fn finish(mut self) -> Result<Published, Error> {
        while !self.in_flight.is_empty() {
            self.acknowledge_one().await?;
        }
        Ok(self.published())
    }

    pub fn published(&self) -> Published {
        Published { messages: self.acknowledged, bytes: self.bytes }
    }

    async fn acknowledge_one(&mut self) -> Result<(), Error> {
        match self.in_flight.next().await {
            Some(result) => {
                result.map_err(Error::Publish)?;
                self.acknowledged += 1;
            }
            // The client's queue is full of what it has not yet told about.
            None => tokio::time::sleep(PACE_INTERVAL).await,
        }
        Ok(())
    }

    async fn keep_pace(&mut self) {
        let Some(per_second) = self.per_second else { return };
        let due = self.started + Duration::from_secs_f64(self.sent as f64 / f64::from(per_second.max(1)));
        if Instant::now() + PACE_INTERVAL < due {
            tokio::time::sleep_until(due).await;
        }
    }
}
