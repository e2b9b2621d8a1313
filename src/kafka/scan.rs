//! Reads a span of a topic once, from the outside: no group, no commits, from an offset to another.
//!
//! Refuses to keep what it reads: records are handed over one by one, borrowed, and what the client fetches
//! ahead is bounded. It ends by itself at the ends that stood when it began, whatever is published meanwhile,
//! and gives up with an error when nothing moves. Blocks: async code calls it from a blocking thread.

use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::admin::{self, Purpose};
use super::consumer::{Message, judge};
use super::{Config, Error, client};
use crate::record::{Offset, OffsetRange, Partition, TopicPartition};

/// Longest silence of the brokers before a scan gives up.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How often a scan that waits looks whether it was cancelled.
const POLL_MAX: Duration = Duration::from_millis(200);
const WATERMARKS_TIMEOUT: Duration = Duration::from_secs(10);
/// What the client may fetch ahead, in KiB.
const PREFETCH_KIB: &str = "16384";

/// One partition's part of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub partition: Partition,
    pub range: OffsetRange,
}

/// What each partition of a topic holds now. Blocks up to ten seconds for each.
pub fn extent(config: &Config, topic: &str, purpose: Purpose) -> Result<Vec<Stretch>, Error> {
    let probe: BaseConsumer = client::probe(config).create().map_err(Error::Create)?;
    let mut all = Vec::new();
    for partition in admin::partitions(&probe, config, topic, purpose)? {
        let (first, next) = probe
            .fetch_watermarks(topic, partition.0, WATERMARKS_TIMEOUT)
            .map_err(|source| admin::unreachable_brokers(config, source))?;
        all.push(Stretch { partition, range: OffsetRange { first: Offset(first), next: Offset(next) } });
    }
    Ok(all)
}

/// How far a scan is, in offsets; gaps that compaction and transactions leave count as read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub read: u64,
    pub total: u64,
}

type Reader = BaseConsumer<Context>;

/// Leaves out what is no error to a scan.
struct Context;

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            tracing::warn!(%error, reason, "kafka client error");
        }
    }
}

impl ConsumerContext for Context {}

/// A reading of one topic under way.
pub struct Scan {
    reader: Reader,
    topic: String,
    open: Vec<Open>,
    total: u64,
    cancel: CancellationToken,
    heard: Instant,
}

/// A partition that is not read to its end yet.
#[derive(Debug)]
struct Open {
    partition: Partition,
    /// First offset not handed over.
    next: i64,
    end: i64,
}

/// Whether a range of one partition holds no record any more that this group would be handed. Blocks, for a minute
/// at most after the last sign of life.
pub fn is_empty(config: &Config, source: &TopicPartition, range: OffsetRange) -> Result<bool, Error> {
    let stretch = Stretch { partition: source.partition, range };
    let mut scan = Scan::start(config, &source.topic, &[stretch], CancellationToken::new())?;
    Ok(scan.next_record()?.is_none())
}

impl Scan {
    /// Starts to read these stretches, which must lie within the topic's extent.
    pub fn start(
        config: &Config,
        topic: &str,
        stretches: &[Stretch],
        cancel: CancellationToken,
    ) -> Result<Scan, Error> {
        let mut settings = client::probe(config);
        settings
            // An assignment needs a group's name, though by assigning it never joins one.
            .set("group.id", &config.group)
            // What retention has deleted since the extent was asked for cannot be read any more.
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.queue.backoff.ms", "20")
            .set("queued.max.messages.kbytes", PREFETCH_KIB)
            .set("isolation.level", config.isolation.name());
        let reader: Reader = settings.create_with_context(Context).map_err(Error::Create)?;
        let mut list = TopicPartitionList::new();
        let mut open = Vec::new();
        for stretch in stretches {
            let (next, end) = (stretch.range.first.0, stretch.range.next.0);
            if next < end {
                list.add_partition_offset(topic, stretch.partition.0, KafkaOffset::Offset(next))
                    .map_err(operation)?;
                open.push(Open { partition: stretch.partition, next, end });
            }
        }
        reader.assign(&list).map_err(operation)?;
        let total = left(&open);
        Ok(Scan { reader, topic: topic.to_owned(), open, total, cancel, heard: Instant::now() })
    }

    /// Everything that the topic holds now.
    pub fn whole(
        config: &Config,
        topic: &str,
        purpose: Purpose,
        cancel: CancellationToken,
    ) -> Result<Scan, Error> {
        Scan::start(config, topic, &extent(config, topic, purpose)?, cancel)
    }

    pub fn progress(&self) -> Progress {
        Progress { read: self.total.saturating_sub(left(&self.open)), total: self.total }
    }

    /// The next record; `None` once every stretch is read. In order within a partition. Blocks, for a minute
    /// at most.
    pub fn next_record(&mut self) -> Result<Option<Message<'_>>, Error> {
        loop {
            if self.open.is_empty() {
                return Ok(None);
            }
            if self.cancel.is_cancelled() {
                return Err(Error::Cancelled { topic: self.topic.clone() });
            }
            match self.reader.poll(POLL_MAX) {
                Some(Ok(message)) => {
                    self.heard = Instant::now();
                    let message = Message::new(message);
                    let (partition, offset) = {
                        let record = message.record();
                        (record.partition, record.offset)
                    };
                    if advance(&mut self.open, &self.reader, &self.topic, (partition, offset))? {
                        return Ok(Some(message));
                    }
                }
                // Up to here everything that can be read was handed over, though the last offsets may be gaps.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.heard = Instant::now();
                    self.open.retain(|open| open.partition.0 != partition);
                }
                Some(Err(error))
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed) =>
                {
                    let reason = error.to_string();
                    return Err(Error::Forbidden { topic: self.topic.clone(), reason });
                }
                Some(Err(error)) => judge(&error)?,
                None => {}
            }
            if SILENCE_MAX < self.heard.elapsed() {
                return Err(Error::Silent { topic: self.topic.clone(), timeout_s: SILENCE_MAX.as_secs() });
            }
        }
    }
}

/// Notes that a record came; says whether it belongs to what is asked for.
fn advance(
    open: &mut Vec<Open>,
    reader: &Reader,
    topic: &str,
    (partition, offset): (Partition, Offset),
) -> Result<bool, Error> {
    let Some(index) = open.iter().position(|open| open.partition == partition) else { return Ok(false) };
    let Some(one) = open.get_mut(index) else { return Ok(false) };
    let wanted = offset.0 < one.end;
    one.next = offset.next().0.min(one.end);
    if one.end <= one.next {
        open.swap_remove(index);
        if !open.is_empty() {
            // What follows is not asked for, so it is not fetched either.
            let mut list = TopicPartitionList::new();
            list.add_partition(topic, partition.0);
            reader.pause(&list).map_err(operation)?;
        }
    }
    Ok(wanted)
}

fn left(open: &[Open]) -> u64 {
    open.iter().map(|open| open.end.saturating_sub(open.next).max(0).unsigned_abs()).sum()
}

fn operation(source: KafkaError) -> Error {
    Error::Operation { operation: "reading a topic's span", source }
}

/// A partition's stretch from `first` on, as far as the topic's extent has it.
pub fn from(extent: &[Stretch], partition: Partition, first: Offset) -> Option<Stretch> {
    let whole = extent.iter().find(|stretch| stretch.partition == partition)?;
    let first = first.max(whole.range.first);
    (first < whole.range.next)
        .then_some(Stretch { partition, range: OffsetRange { first, next: whole.range.next } })
}

/// The partition as a value of its own.
pub fn source(topic: &str, stretch: &Stretch) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition: stretch.partition }
}
