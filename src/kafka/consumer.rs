//! One member of the consumer group, polled by one thread.
//!
//! Refuses to know what becomes of a message. Messages are borrowed from librdkafka's buffer; nothing is
//! committed that was not passed to [`Committer::commit`]. No `TopicPartitionList` outlives a call, since
//! one that is still alive keeps the client from being destroyed.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use super::context::{Context, Notice, acknowledge, count_error};
use super::{Config, Error, client};
use crate::record::{Header, Offset, OwnedRecord, Partition, Position, Record, TopicPartition};

/// What one call of [`Consumer::poll`] brought.
pub enum Event<'a> {
    Record(Message<'a>),
    Notice(Notice),
    Idle,
}

/// One message in librdkafka's buffer.
pub struct Message<'a>(BorrowedMessage<'a>);

pub struct Consumer {
    inner: Arc<BaseConsumer<Context>>,
    context: Arc<Context>,
}

/// Commits for a consumer, while that is polled elsewhere.
///
/// librdkafka tells the outcome of an asynchronous commit only to a callback that rdkafka's consumer does
/// not set, so commits are synchronous and the waiting is done off the polling thread.
pub struct Committer(Arc<BaseConsumer<Context>>);

impl Committer {
    /// Commits, each offset with its text, and waits for the answer. Blocks.
    pub fn commit(&self, offsets: &[(TopicPartition, Offset, String)]) -> Result<(), Error> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (source, offset, metadata) in offsets {
            let mut element = list.add_partition(&source.topic, source.partition.0);
            element.set_offset(KafkaOffset::Offset(offset.0)).map_err(operation("preparing a commit"))?;
            element.set_metadata(metadata);
        }
        self.0.commit(&list, CommitMode::Sync).map_err(operation("committing"))
    }
}

impl<'a> Message<'a> {
    pub(super) fn new(message: BorrowedMessage<'a>) -> Message<'a> {
        Message(message)
    }

    pub fn record(&self) -> Record<'_> {
        Record {
            topic: self.0.topic(),
            partition: Partition(self.0.partition()),
            offset: Offset(self.0.offset()),
            timestamp_ms: self.0.timestamp().to_millis(),
            key: self.0.key(),
            payload: self.0.payload(),
        }
    }

    /// The value of the first header of this name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.0.headers()?.iter().find(|header| header.key == name)?.value
    }

    /// A copy of the whole message.
    pub fn to_owned(&self) -> OwnedRecord {
        owned(&self.0)
    }
}

pub(super) fn owned(message: &BorrowedMessage<'_>) -> OwnedRecord {
    OwnedRecord {
        position: Position {
            source: TopicPartition {
                topic: message.topic().into(),
                partition: Partition(message.partition()),
            },
            offset: Offset(message.offset()),
        },
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().map(<[u8]>::to_vec),
        headers: headers(message),
    }
}

fn headers(message: &BorrowedMessage<'_>) -> Vec<Header> {
    message
        .headers()
        .map(|all| all.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect())
        .unwrap_or_default()
}

impl Consumer {
    /// Joins the group and subscribes. `member` tells the members of one process apart.
    pub fn new(config: &Config, topics: &[&str], member: usize) -> Result<Consumer, Error> {
        let inner: BaseConsumer<Context> = client::consumer(config, member)
            .create_with_context(Context::default())
            .map_err(Error::Create)?;
        let context = Arc::clone(inner.context());
        inner.subscribe(topics).map_err(Error::Subscribe)?;
        Ok(Consumer { inner: Arc::new(inner), context })
    }

    /// Waits at most `timeout` for the next event. Errors are those that end the membership.
    pub fn poll(&self, timeout: Duration) -> Result<Event<'_>, Error> {
        if let Some(notice) = self.context.take() {
            return Ok(Event::Notice(notice));
        }
        match self.inner.poll(timeout) {
            Some(Ok(message)) => Ok(Event::Record(Message(message))),
            Some(Err(error)) => judge(&error).map(|()| Event::Idle),
            None => Ok(self.context.take().map_or(Event::Idle, Event::Notice)),
        }
    }

    /// Starts fetching newly assigned partitions from the group's offsets.
    pub fn accept(&self, partitions: &[TopicPartition]) -> Result<(), Error> {
        let list = list_of(partitions);
        acknowledge(&self.inner, &list, true).map_err(operation("accepting an assignment"))
    }

    /// Gives partitions back to the group. What is to be committed must be committed before.
    pub fn release(&self, partitions: &[TopicPartition]) -> Result<(), Error> {
        let list = list_of(partitions);
        acknowledge(&self.inner, &list, false).map_err(operation("giving back partitions"))
    }

    /// A handle for committing from another thread.
    pub fn committer(&self) -> Committer {
        Committer(Arc::clone(&self.inner))
    }

    /// Stops fetching these partitions, while polling goes on.
    pub fn pause(&self, partitions: &[TopicPartition]) -> Result<(), Error> {
        self.inner.pause(&list_of(partitions)).map_err(operation("pausing"))
    }

    pub fn resume(&self, partitions: &[TopicPartition]) -> Result<(), Error> {
        self.inner.resume(&list_of(partitions)).map_err(operation("resuming"))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.context.close();
    }
}

fn list_of(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for p in partitions {
        list.add_partition(&p.topic, p.partition.0);
    }
    list
}

fn operation(operation: &'static str) -> impl Fn(KafkaError) -> Error {
    move |source| Error::Operation { operation, source }
}

/// Passing trouble is counted and logged, since librdkafka goes on by itself; the rest ends the member.
pub(super) fn judge(error: &KafkaError) -> Result<(), Error> {
    use RDKafkaErrorCode as Code;
    count_error(error);
    let fatal = match error {
        KafkaError::MessageConsumptionFatal(_) => true,
        KafkaError::MessageConsumption(code) => matches!(
            code,
            Code::GroupAuthorizationFailed
                | Code::TopicAuthorizationFailed
                | Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::AutoOffsetReset
                | Code::InvalidGroupId
                | Code::InconsistentGroupProtocol
        ),
        _ => false,
    };
    if fatal {
        return Err(Error::Fatal(error.to_string()));
    }
    tracing::warn!(%error, "kafka consumer error, it goes on");
    Ok(())
}
