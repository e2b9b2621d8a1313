//! The load: threads that publish numbered events, each acknowledged one written into the ledger.
//!
//! They refuse to give up: whatever the brokers do, they go on with a client of their own until told to stop. A
//! number is used once, so an event that is published again is another event.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use crate::ledger::{Event, Fate, Id, Kind, Ledger, Position};
use crate::plan::Dice;

/// One event out of so many is bad.
const BAD_ONE_IN: u64 = 60;
const BATCH_EVENTS_MAX: u64 = 60;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct Target {
    pub brokers: String,
    pub topic: String,
    pub partitions: i32,
}

/// Collects the acknowledgements of the batch under way.
#[derive(Default)]
struct Acks {
    events: Mutex<Vec<Event>>,
    ledger: Arc<Ledger>,
}

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => {
                let Some((id, kind)) = message.key().and_then(Event::parse_key) else { return };
                let position = Position {
                    incarnation: id.incarnation,
                    partition: message.partition(),
                    offset: message.offset(),
                };
                let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
                events.push(Event { id, kind, position });
            }
            Err(_) => {
                self.ledger.unacknowledged.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Acks {
    fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub struct Publisher {
    pub target: Target,
    pub ledger: Arc<Ledger>,
    pub name: u32,
    pub transactional: bool,
    pub dice: Dice,
    next_number: u64,
    client: Option<(u32, BaseProducer<Acks>)>,
}

impl Publisher {
    pub fn new(target: Target, ledger: Arc<Ledger>, name: u32, transactional: bool, dice: Dice) -> Publisher {
        Publisher { target, ledger, name, transactional, dice, next_number: 0, client: None }
    }

    pub fn run(mut self, over: &AtomicBool) {
        while !over.load(Ordering::Acquire) {
            {
                let ledger = Arc::clone(&self.ledger);
                let incarnation = ledger.incarnation.read().unwrap_or_else(PoisonError::into_inner);
                if self.batch(*incarnation).is_err() {
                    self.forget();
                }
            }
            let pause = Duration::from_millis(self.dice.between(20, 150));
            match &self.client {
                Some((_, client)) => {
                    client.poll(pause);
                }
                None => std::thread::sleep(pause),
            }
        }
    }

    /// Drops a client of which something is not known. What it was told before counts all the same.
    fn forget(&mut self) {
        if let Some((_, client)) = self.client.take() {
            let fate = if self.transactional { Fate::Unknown } else { Fate::Committed };
            self.ledger.record(client.context().take(), fate);
        }
    }

    /// One good event to each partition, so that nothing but an event is the last there is.
    pub fn close(&mut self, incarnation: u32) -> Result<(), rdkafka::error::KafkaError> {
        for partition in 0..self.target.partitions {
            self.send(incarnation, partition, Kind::Good)?;
        }
        self.settle(incarnation, false)
    }

    fn client(&mut self, incarnation: u32) -> Result<&BaseProducer<Acks>, rdkafka::error::KafkaError> {
        if self.client.as_ref().is_none_or(|(made_for, _)| *made_for != incarnation) {
            let mut config = ClientConfig::new();
            config
                .set("bootstrap.servers", &self.target.brokers)
                .set("enable.idempotence", "true")
                .set("linger.ms", "5")
                .set("message.timeout.ms", "25000")
                .set("reconnect.backoff.max.ms", "500")
                .set("log_level", "0");
            if self.transactional {
                config
                    .set("transactional.id", format!("{}-{}", self.target.topic, self.name))
                    .set("transaction.timeout.ms", "10000")
                    .set("message.timeout.ms", "9000");
            }
            let acks = Acks { events: Mutex::default(), ledger: Arc::clone(&self.ledger) };
            let client: BaseProducer<Acks> = config.create_with_context(acks)?;
            if self.transactional {
                client.init_transactions(ANSWER_TIME_MAX)?;
            }
            self.client = Some((incarnation, client));
        }
        self.client.as_ref().map(|(_, client)| client).ok_or(rdkafka::error::KafkaError::Canceled)
    }

    fn batch(&mut self, incarnation: u32) -> Result<(), rdkafka::error::KafkaError> {
        let transactional = self.transactional;
        let client = self.client(incarnation)?;
        if transactional {
            client.begin_transaction()?;
        }
        let aborts = transactional && self.dice.one_in(4);
        let events = self.dice.between(1, BATCH_EVENTS_MAX);
        let partitions = u64::try_from(self.target.partitions).unwrap_or(1);
        for _ in 0..events {
            let partition = i32::try_from(self.dice.between(0, partitions - 1)).unwrap_or(0);
            let kind = match () {
                () if self.ledger.takes_poison() => Kind::Poison,
                () if self.dice.one_in(BAD_ONE_IN) => Kind::Bad,
                () => Kind::Good,
            };
            self.send(incarnation, partition, kind)?;
        }
        self.settle(incarnation, aborts)
    }

    fn send(
        &mut self,
        incarnation: u32,
        partition: i32,
        kind: Kind,
    ) -> Result<(), rdkafka::error::KafkaError> {
        let id = Id { incarnation, producer: self.name, number: self.next_number };
        self.next_number += 1;
        let (key, payload) = (Event::key(id, kind), payload(id, kind));
        let topic = self.target.topic.clone();
        let client = self.client(incarnation)?;
        let record = BaseRecord::to(&topic).partition(partition).key(&key).payload(&payload);
        client.send(record).map_err(|(error, _)| error)
    }

    /// Waits for the acknowledgements, ends the transaction if there is one, and writes down what is known.
    fn settle(&mut self, incarnation: u32, aborts: bool) -> Result<(), rdkafka::error::KafkaError> {
        let transactional = self.transactional;
        let ledger = Arc::clone(&self.ledger);
        let client = self.client(incarnation)?;
        let flushed = client.flush(ANSWER_TIME_MAX);
        let ended = match () {
            () if !transactional => flushed,
            () if aborts => client.abort_transaction(ANSWER_TIME_MAX),
            () => flushed.and_then(|()| client.commit_transaction(ANSWER_TIME_MAX)),
        };
        let fate = match (transactional, aborts, &ended) {
            (false, ..) | (true, false, Ok(())) => Fate::Committed,
            (true, true, Ok(())) => Fate::Aborted,
            (true, _, Err(_)) => Fate::Unknown,
        };
        ledger.record(client.context().take(), fate);
        ended
    }
}

fn payload(id: Id, kind: Kind) -> String {
    let Id { incarnation, producer, number } = id;
    let text = match kind {
        Kind::Poison => "poison",
        _ => "an event",
    };
    let whole = format!(
        "{{\"incarnation\":{incarnation},\"producer\":{producer},\"number\":{number},\"text\":\"{text}\"}}"
    );
    match kind {
        // Either no JSON, or JSON with a wrong type.
        Kind::Bad if number % 2 == 0 => whole[..whole.len() - 1].to_owned(),
        Kind::Bad => whole.replace("\"an event\"", "17"),
        _ => whole,
    }
}
