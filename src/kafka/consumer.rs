//! One member of the consumer group, polled by one thread.
//!
//! Refuses to know what becomes of a message. Messages are borrowed from librdkafka's buffer; nothing is
//! committed that was not passed to [`Committer::commit`]. No `TopicPartitionList` outlives a call, since
//! one that is still alive keeps the client from being destroyed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use super::context::{Context, Notice, acknowledge, count_error};
use super::native::{self, Batch, Queue};
use super::offsets::{list_of, operation};
use super::{Config, Error, Standing, client, offsets};
use crate::record::{Header, Offset, OwnedRecord, Partition, Record, TopicPartition};

/// What one call of [`Consumer::poll`] brought.
pub enum Event<'a> {
    Record(native::Message<'a>),
    /// This partition was to be read at this offset and is read on at a later one, since the log begins later. Told
    /// before the first record that it concerns.
    Jumped(TopicPartition, Offset),
    Notice(Notice),
    /// Nothing is at hand.
    Idle,
}

/// One message in librdkafka's buffer, as rdkafka polls it.
pub struct Message<'a>(BorrowedMessage<'a>);

pub struct Consumer {
    /// What was taken out of librdkafka and not handed over yet. Dropped before the client.
    batch: Batch<Context>,
    /// What a message is taken to be large.
    message_bytes: usize,
    /// Told before the next record.
    jumps: BTreeMap<TopicPartition, Offset>,
    inner: Arc<BaseConsumer<Context>>,
    context: Arc<Context>,
    /// Accepted and not released: giving back what librdkafka does not hold would be an error.
    held: Mutex<BTreeSet<TopicPartition>>,
}

/// Commits for a consumer, while that is polled elsewhere.
///
/// librdkafka tells the outcome of an asynchronous commit only to a callback that rdkafka's consumer does
/// not set, so commits are synchronous and the waiting is done off the polling thread.
pub struct Committer(Arc<BaseConsumer<Context>>);

/// What is taken out of librdkafka at once: enough to share the cost of the call, and little beside a turn of the line.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_MESSAGES_MAX: usize = 256;

/// How long reading a commit back may take.
const READ_BACK_TIMEOUT: Duration = Duration::from_secs(10);

impl Committer {
    /// Commits, each offset with its text, and waits for the answer. Blocks.
    ///
    /// Whether brokers keep texts at all, and how long ones, is tried out: a commit with a longer text than any
    /// that was found kept before is read back.
    ///
    /// # Errors
    /// Also when a single partition was refused; others of the call may have been committed. Nothing is sent once
    /// the assignment is lost: the client names no generation then, and an empty group would take it.
    pub fn commit(&self, offsets: &[(TopicPartition, Offset, String)]) -> Result<(), Error> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (source, offset, metadata) in offsets {
            let mut element = list.add_partition(&source.topic, source.partition.0);
            element.set_offset(KafkaOffset::Offset(offset.0)).map_err(operation("preparing a commit"))?;
            element.set_metadata(metadata);
        }
        self.refuse_if_lost()?;
        self.0.commit(&list, CommitMode::Sync).map_err(operation("committing"))?;
        self.refuse_if_lost()?;
        let kept = &self.0.context().text_kept;
        let longest = offsets.iter().map(|(.., text)| text.len()).max().unwrap_or(0);
        if kept.load(Ordering::Acquire) < longest {
            self.compare(offsets)?;
            kept.fetch_max(longest, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Offset and text of each of these partitions, as the brokers have them. Blocks.
    ///
    /// # Errors
    /// Also when a single partition could not be asked for.
    pub fn committed(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Option<Offset>, String)>, Error> {
        offsets::committed(&self.0, partitions, timeout)
    }

    /// What the group has committed of each of these partitions, and where each ends. Blocks.
    ///
    /// # Errors
    /// Also when a single partition could not be asked for.
    pub fn standing(&self, sources: &[TopicPartition], timeout: Duration) -> Result<Vec<Standing>, Error> {
        let committed = self.committed(sources, timeout)?;
        let ends = offsets::ends(&self.0, sources, timeout)?;
        Ok(committed.into_iter().zip(ends).map(|((_, committed, _), end)| (committed, end)).collect())
    }

    fn refuse_if_lost(&self) -> Result<(), Error> {
        refuse_replaced(self.0.context())?;
        if self.0.assignment_lost() { Err(Error::Lost) } else { Ok(()) }
    }

    fn compare(&self, wrote: &[(TopicPartition, Offset, String)]) -> Result<(), Error> {
        let sources: Vec<_> = wrote.iter().map(|(source, ..)| source.clone()).collect();
        let found = self.committed(&sources, READ_BACK_TIMEOUT)?;
        for ((source, offset, text), (_, found_offset, found_text)) in wrote.iter().zip(found) {
            if found_offset != Some(*offset) {
                return Err(Error::Overwritten { source_partition: source.clone() });
            }
            if found_text != *text {
                let (wrote, found) = (text.len(), found_text.len());
                return Err(Error::MetadataLost { source_partition: source.clone(), wrote, found });
            }
        }
        Ok(())
    }
}

impl<'a> Message<'a> {
    pub(super) fn new(message: BorrowedMessage<'a>) -> Message<'a> {
        Message(message)
    }

    pub fn record(&self) -> Record<'_> {
        record(&self.0)
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
    OwnedRecord::new(&record(message), headers(message))
}

fn record<'a>(message: &'a BorrowedMessage<'_>) -> Record<'a> {
    Record {
        topic: message.topic(),
        partition: Partition(message.partition()),
        offset: Offset(message.offset()),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key(),
        payload: message.payload(),
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
        let inner = Arc::new(inner);
        let queue = Queue::new(Arc::clone(&inner)).ok_or(Error::Create(KafkaError::ClientCreation(
            "librdkafka gave no queue for messages".to_owned(),
        )))?;
        Ok(Consumer {
            batch: Batch::new(queue),
            message_bytes: BATCH_BYTES,
            jumps: BTreeMap::new(),
            inner,
            context,
            held: Mutex::default(),
        })
    }

    /// Time at work in the client's queue, and time of waiting for a message, since the last call.
    pub fn take_times(&mut self) -> (Duration, Duration) {
        self.batch.take_times()
    }

    /// Waits at most `timeout` for the next event. Errors are those that end the membership.
    ///
    /// Changes of the assignment are told between two batches, so that nothing that was taken before one is handed
    /// over after it was answered.
    pub fn poll(&mut self, timeout: Duration) -> Result<Event<'_>, Error> {
        if self.batch.is_empty() {
            if let Some(notice) = self.context.take() {
                return Ok(Event::Notice(notice));
            }
            self.refill(timeout)?;
        }
        if let Some((source, offset)) = self.jumps.pop_first() {
            return Ok(Event::Jumped(source, offset));
        }
        match self.batch.next() {
            Some(Ok(message)) => Ok(Event::Record(message)),
            Some(Err(error)) => judge(&error).map(|()| Event::Idle),
            None => Ok(self.context.take().map_or(Event::Idle, Event::Notice)),
        }
    }

    /// Takes the next messages, then hears everything else. In this order: librdkafka tells of a topic made anew, and
    /// of a stretch of the log that is gone, before it reads what comes after that.
    fn refill(&mut self, timeout: Duration) -> Result<(), Error> {
        let messages_max = (BATCH_BYTES / self.message_bytes.max(1)).clamp(1, BATCH_MESSAGES_MAX);
        let bytes = self.batch.take(messages_max, timeout);
        if let Some(mean) = bytes.checked_div(self.batch.len()) {
            // Fewer at once as soon as they are larger, more only after a while.
            self.message_bytes = mean.max(self.message_bytes.midpoint(mean));
        }
        while self.batch.queue().has_others() {
            match self.inner.poll(Duration::ZERO) {
                Some(Err(error)) => judge(&error)?,
                // Its place in the order is not known any more.
                Some(Ok(message)) => {
                    let (topic, partition) = (message.topic(), message.partition());
                    return Err(Error::Fatal(format!(
                        "a message of {topic}/{partition} came by the group's queue"
                    )));
                }
                None => {}
            }
        }
        refuse_replaced(&self.context)?;
        self.jumps.append(&mut self.context.take_jumps());
        Ok(())
    }

    /// Starts fetching newly assigned partitions from the group's offsets.
    pub fn accept(&self, partitions: &[TopicPartition]) -> Result<(), Error> {
        let partitions: Vec<_> = partitions.iter().map(|source| (source.clone(), None)).collect();
        self.accept_at(&partitions)
    }

    /// Starts fetching newly assigned partitions, each at its offset; without one at the group's, and where the
    /// group has none, where the configuration says.
    pub fn accept_at(&self, partitions: &[(TopicPartition, Option<Offset>)]) -> Result<(), Error> {
        let failed = || operation("accepting an assignment");
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for (source, offset) in partitions {
            let mut element = list.add_partition(&source.topic, source.partition.0);
            if let Some(offset) = offset {
                element.set_offset(KafkaOffset::Offset(offset.0)).map_err(failed())?;
            }
            self.batch.queue().lead(source).map_err(failed())?;
        }
        acknowledge(&self.inner, &list, true).map_err(failed())?;
        self.context.unanswered.lock().take();
        self.held.lock().extend(partitions.iter().map(|(source, _)| source.clone()));
        Ok(())
    }

    /// Gives partitions back to the group. What is to be committed must be committed before, and the answer
    /// must be there: a later commit could be stamped with a generation in which they are somebody else's.
    /// Those that are not held are passed over; the group is answered in any case.
    pub fn release(&self, partitions: &[TopicPartition]) -> Result<(), Error> {
        let mut held = self.held.lock();
        let ours: Vec<_> = partitions.iter().filter(|source| held.remove(source)).cloned().collect();
        drop(held);
        acknowledge(&self.inner, &list_of(&ours), false).map_err(operation("giving back partitions"))?;
        self.context.unanswered.lock().take();
        Ok(())
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
        // Without an answer librdkafka would wait for ever to be closed.
        let unanswered = self.context.unanswered.lock().take();
        let answer = match unanswered {
            Some(Notice::Assigned(partitions)) => self.accept(&partitions),
            Some(Notice::Revoked { partitions, .. }) => self.release(&partitions),
            _ => Ok(()),
        };
        if let Err(error) = answer {
            tracing::warn!(%error, "a rebalance could not be answered while closing");
        }
    }
}

fn refuse_replaced(context: &Context) -> Result<(), Error> {
    let replaced = context.replaced.get();
    replaced.map_or(Ok(()), |topic| Err(Error::TopicReplaced { topic: topic.clone() }))
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
