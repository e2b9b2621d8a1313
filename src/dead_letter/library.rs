//! Reads dead-letter topics: their letters, each with what has become of it.
//!
//! Refuses to hold letters: they are handed over one by one. A topic is read twice, since what was done with
//! a letter is told by a marker after it: once for the markers, once for the letters. Both readings end where
//! the topic ended when it was opened. Blocks: async code calls it from a blocking thread.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Error;
use super::letter::{Filter, Letter};
use super::marker::{self, Ledger, Marker, State};
use crate::kafka::admin::Purpose;
use crate::kafka::scan::{self, Progress, Scan, Stretch};
use crate::kafka::{self, Message};
use crate::record::{Offset, OwnedRecord, Partition, Position, TopicPartition};

/// Time to read one letter by its position.
const GET_TIMEOUT: Duration = Duration::from_secs(30);

/// How a long reading is watched and stopped.
#[derive(Clone)]
pub struct Watch {
    pub cancel: CancellationToken,
    /// Told every thousand records or so.
    pub progress: Arc<dyn Fn(Progress) + Send + Sync>,
}

impl Watch {
    /// Nobody watches.
    pub fn none() -> Watch {
        Watch { cancel: CancellationToken::new(), progress: Arc::new(|_| {}) }
    }
}

/// Dead-letter topics as they were when they were opened.
pub struct Library {
    pub(super) kafka: kafka::Config,
    pub(super) topics: Vec<Topic>,
    pub(super) watch: Watch,
}

/// One dead-letter topic.
pub struct Topic {
    pub name: String,
    pub extent: Vec<Stretch>,
    pub ledgers: BTreeMap<Partition, Ledger>,
}

/// What to do after a letter.
pub type Flow = Result<ControlFlow<()>, Error>;

impl Library {
    /// Looks what the topics hold, and what has become of it.
    pub fn open(kafka: &kafka::Config, topics: &[String], watch: Watch) -> Result<Library, Error> {
        let mut library = Library { kafka: kafka.clone(), topics: Vec::new(), watch };
        for name in topics {
            let extent = scan::extent(kafka, name, Purpose::DeadLetters)?;
            let mut topic = Topic { name: name.clone(), extent, ledgers: BTreeMap::new() };
            let mut ledgers = BTreeMap::new();
            let _whole = library.scan(&topic, |message| {
                if let Some(found) = marker_of(&message) {
                    let record = message.record();
                    let ledger: &mut Ledger = ledgers.entry(record.partition).or_default();
                    ledger.apply(record.offset, found);
                }
                Ok(ControlFlow::Continue(()))
            })?;
            topic.ledgers = ledgers;
            library.topics.push(topic);
        }
        Ok(library)
    }

    /// The letters that are meant, in the order in which they lie within each partition.
    pub fn read(&self, filter: &Filter, mut on: impl FnMut(Letter) -> Flow) -> Result<(), Error> {
        self.walk(|_, _, entry| match entry {
            Some(letter) if filter.matches(&letter) => on(letter),
            _ => Ok(ControlFlow::Continue(())),
        })
    }

    /// The newest letters that are meant, newest last and with so many bytes of their values; and how many there are.
    pub fn newest(
        &self,
        filter: &Filter,
        limit: usize,
        value_bytes_max: usize,
    ) -> Result<(Vec<Letter>, u64), Error> {
        let mut newest: BinaryHeap<Reverse<ByTime>> = BinaryHeap::new();
        let mut found = 0;
        self.read(filter, |letter| {
            found += 1;
            let payload = letter.payload.filter(|_| 0 < value_bytes_max);
            let payload = payload.map(|bytes| shortened(bytes, value_bytes_max));
            newest.push(Reverse(ByTime(Letter { payload, ..letter })));
            if limit < newest.len() {
                newest.pop();
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let mut all: Vec<ByTime> = newest.into_iter().map(|Reverse(one)| one).collect();
        all.sort();
        Ok((all.into_iter().map(|ByTime(letter)| letter).collect(), found))
    }

    /// One letter by its position in an opened topic.
    pub fn get(&self, position: &Position) -> Result<Letter, Error> {
        let record = kafka::admin::refetch(&self.kafka, position, GET_TIMEOUT)?;
        let topic = self.topics.iter().find(|topic| *topic.name == *position.source.topic);
        match (topic, record.headers.iter().any(|(name, _)| name == marker::HEADER)) {
            (Some(topic), false) => Ok(Letter::read(record, topic.state(position))),
            _ => Err(Error::NotALetter { position: position.clone() }),
        }
    }

    /// Every letter; `None` where a marker lies.
    pub(super) fn walk(
        &self,
        mut on: impl FnMut(&Topic, (Partition, Offset), Option<Letter>) -> Flow,
    ) -> Result<(), Error> {
        for topic in &self.topics {
            let flow = self.scan(topic, |message| {
                let record = message.record();
                let at = (record.partition, record.offset);
                if message.header(marker::HEADER).is_some() {
                    return on(topic, at, None);
                }
                let record: OwnedRecord = message.to_owned();
                let state = topic.state(&record.position);
                on(topic, at, Some(Letter::read(record, state)))
            })?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn scan(&self, topic: &Topic, mut on: impl FnMut(Message<'_>) -> Flow) -> Flow {
        let mut scan = Scan::start(&self.kafka, &topic.name, &topic.extent, self.watch.cancel.clone())?;
        let mut count = 0_u64;
        while let Some(message) = scan.next_record()? {
            if on(message)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            count += 1;
            if count.is_multiple_of(1024) {
                (self.watch.progress)(scan.progress());
            }
        }
        (self.watch.progress)(scan.progress());
        Ok(ControlFlow::Continue(()))
    }
}

impl Topic {
    fn state(&self, position: &Position) -> State {
        let ledger = self.ledgers.get(&position.source.partition);
        ledger.map_or(State::Waiting, |ledger| ledger.state(position.offset))
    }

    pub(super) fn source(&self, partition: Partition) -> TopicPartition {
        TopicPartition { topic: self.name.as_str().into(), partition }
    }
}

/// The first bytes of a value; of text no half of a character.
fn shortened(mut bytes: Vec<u8>, bytes_max: usize) -> Vec<u8> {
    if bytes_max < bytes.len() {
        let end = match std::str::from_utf8(&bytes) {
            Ok(text) => (0..=bytes_max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0),
            Err(_) => bytes_max,
        };
        bytes.truncate(end);
        bytes.shrink_to_fit();
    }
    bytes
}

/// The marker that a message is, if it is one.
pub(super) fn marker_of(message: &Message<'_>) -> Option<Marker> {
    message.header(marker::HEADER)?;
    let parsed = message.record().payload.and_then(Marker::parse);
    if parsed.is_none() {
        let record = message.record();
        tracing::warn!(topic = record.topic, partition = %record.partition, offset = %record.offset, "a marker cannot be read, it is left out");
    }
    parsed
}

/// Orders letters by when they were refused, then by where they lie.
struct ByTime(Letter);

impl ByTime {
    fn key(&self) -> (Option<i64>, &Position) {
        (self.0.refused_ms, &self.0.position)
    }
}

impl PartialEq for ByTime {
    fn eq(&self, other: &ByTime) -> bool {
        self.key() == other.key()
    }
}

impl Eq for ByTime {}

impl PartialOrd for ByTime {
    fn partial_cmp(&self, other: &ByTime) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByTime {
    fn cmp(&self, other: &ByTime) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
