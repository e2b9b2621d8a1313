//! What librdkafka calls back with, turned into notices for the owner of the polling thread.
//!
//! Refuses to decide anything: a rebalance is only written down here; the pipeline acknowledges it when
//! it has fenced what was taken away (invariant I2). Callbacks run inside `poll`, on the polling thread.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use crate::record::{Offset, Partition, TopicPartition};
use crate::telemetry::memory::{self, FETCHED};
use crate::telemetry::metrics::METRICS;

/// What errors of the client are counted under.
pub const KINDS: [&str; 7] = ["transport", "auth", "coordinator", "metadata", "tls", "fetch", "other"];

/// Something that happened besides messages.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// Fetching starts once [`super::Consumer::accept`] is called.
    Assigned(Vec<TopicPartition>),
    /// The group waits until [`super::Consumer::release`] is called. With `lost` the partitions already
    /// belong to somebody else and nothing of them may be committed.
    Revoked { partitions: Vec<TopicPartition>, lost: bool },
    /// How far each owned partition is read, from librdkafka's statistics.
    Progress(Vec<Progress>),
}

/// One partition's place in its log.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    pub source: TopicPartition,
    /// First offset that no consumer may read yet: last stable offset or high watermark.
    pub end: Offset,
    /// Everything below `end` was handed over.
    pub caught_up: bool,
}

#[derive(Default)]
pub struct Context {
    notices: Mutex<VecDeque<Notice>>,
    pending: AtomicBool,
    closing: AtomicBool,
    /// The change of the assignment that librdkafka waits for an answer to; never more than one.
    pub(super) unanswered: Mutex<Option<Notice>>,
    /// A topic that was deleted and made anew under its name, with other records at the same offsets.
    pub(super) replaced: OnceLock<String>,
    /// Partitions whose next record lies behind a stretch that the log has lost, with where that begins.
    jumps: Mutex<BTreeMap<TopicPartition, Offset>>,
    /// What had come from the brokers at the last look at the statistics.
    received_bytes: AtomicU64,
    /// What had been fetched and waited then.
    fetched_bytes: AtomicI64,
    /// Bytes of the longest text of a commit that the brokers were found to keep.
    pub(super) text_kept: AtomicUsize,
}

impl Context {
    /// The oldest notice not yet taken.
    pub fn take(&self) -> Option<Notice> {
        if !self.pending.load(Ordering::Acquire) {
            return None;
        }
        let mut notices = self.notices.lock();
        let notice = notices.pop_front();
        self.pending.store(!notices.is_empty(), Ordering::Release);
        notice
    }

    /// Where the log was found to begin later than at the offset that was asked for, since the last call.
    pub(super) fn take_jumps(&self) -> BTreeMap<TopicPartition, Offset> {
        std::mem::take(&mut *self.jumps.lock())
    }

    /// From now on rebalances are acknowledged at once: nobody is left to do it.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// The members of one process share the gauge, so each adds what has changed for it.
    fn tell_fetched(&self, bytes: i64) {
        let before = self.fetched_bytes.swap(bytes, Ordering::Relaxed);
        METRICS.memory.component.with_label_values(&[FETCHED]).add(bytes - before);
    }

    fn put(&self, notice: Notice) {
        let mut notices = self.notices.lock();
        notices.push_back(notice);
        self.pending.store(true, Ordering::Release);
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.tell_fetched(0);
    }
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        let received = u64::try_from(statistics.rx_bytes).unwrap_or(0);
        let before = self.received_bytes.swap(received, Ordering::Relaxed);
        METRICS.consume.wire_bytes.inc_by(received.saturating_sub(before));
        // Every partition feeds the one queue of the consumer, and each is told with all that lies in it.
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        self.tell_fetched(memory::whole(partitions.map(|p| p.fetchq_size).max().unwrap_or(0)));
        let mut all = Vec::new();
        for (name, topic) in &statistics.topics {
            let name: Arc<str> = Arc::from(name.as_str());
            for (number, p) in &topic.partitions {
                let end = if 0 <= p.ls_offset { p.ls_offset } else { p.hi_offset };
                if *number < 0 || !p.desired || end < 0 {
                    continue;
                }
                all.push(Progress {
                    source: TopicPartition { topic: Arc::clone(&name), partition: Partition(*number) },
                    end: Offset(end),
                    caught_up: end <= p.next_offset && p.fetchq_cnt == 0 && p.fetch_state == "active",
                });
            }
        }
        self.put(Notice::Progress(all));
    }

    /// That a topic has another id, or that reading goes on elsewhere since the offset is out of range, is told in
    /// the log alone; it is told before anything is read there.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if let Some(topic) = replaced(message) {
            let _ = self.replaced.set(topic.to_owned());
        }
        if let Some((source, offset)) = jumped(message) {
            self.jumps.lock().insert(source, offset);
        }
        DefaultClientContext.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        count_error(&error);
        tracing::warn!(%error, reason, "kafka client error");
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assigned = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            if let Err(error) = acknowledge(consumer, list, assigned) {
                tracing::warn!(%error, "rebalance while closing could not be acknowledged");
            }
            return;
        }
        let partitions = list
            .elements()
            .iter()
            .map(|e| TopicPartition { topic: e.topic().into(), partition: Partition(e.partition()) })
            .collect();
        let notice = if assigned {
            Notice::Assigned(partitions)
        } else {
            Notice::Revoked { partitions, lost: consumer.assignment_lost() }
        };
        *self.unanswered.lock() = Some(notice.clone());
        self.put(notice);
    }
}

/// The topic that this line of librdkafka's log says has another id than before.
fn replaced(message: &str) -> Option<&str> {
    /// What an unknown id looks like: 16 bytes of zero.
    const NONE: &str = "AAAAAAAAAAAAAAAAAAAAAA";
    let (before, ids) = message.split_once(" changed id from ")?;
    let (_, topic) = before.rsplit_once("Topic ")?;
    let (old, new) = ids.split_once(" to ")?;
    (old != NONE && new != NONE).then_some(topic)
}

/// The partition that this line of librdkafka's log says is read on elsewhere, and the offset that it was to be
/// read at.
fn jumped(message: &str) -> Option<(TopicPartition, Offset)> {
    let (before, after) = message.split_once("]: offset reset (at offset ")?;
    let (name, partition) = before.rsplit_once(" [")?;
    let topic = name.rsplit_once(' ').map_or(name, |(_, topic)| topic);
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    let source = TopicPartition { topic: topic.into(), partition: Partition(partition.parse().ok()?) };
    Some((source, Offset(digits.parse().ok()?)))
}

/// Tells librdkafka that an assignment or its taking away has been acted upon.
pub(super) fn acknowledge(
    consumer: &BaseConsumer<Context>,
    list: &TopicPartitionList,
    assigned: bool,
) -> KafkaResult<()> {
    let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
    match (cooperative, assigned) {
        (true, true) => consumer.incremental_assign(list),
        (true, false) => consumer.incremental_unassign(list),
        (false, true) => consumer.assign(list),
        (false, false) => consumer.unassign(),
    }
}

/// Counts an error under one of a closed set of kinds.
pub(super) fn count_error(error: &KafkaError) {
    use RDKafkaErrorCode as Code;
    let kind = match error.rdkafka_error_code() {
        Some(
            Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve | Code::NetworkException,
        ) => "transport",
        Some(Code::Authentication | Code::SaslAuthenticationFailed) => "auth",
        Some(Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed) => "auth",
        Some(Code::CoordinatorNotAvailable | Code::NotCoordinator | Code::CoordinatorLoadInProgress) => {
            "coordinator"
        }
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => "metadata",
        Some(Code::SSL) => "tls",
        Some(_) if matches!(error, KafkaError::MessageConsumption(_)) => "fetch",
        _ => "other",
    };
    METRICS.kafka_errors.with_label_values(&[kind]).inc();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_topic_that_had_another_id_was_made_anew() {
        let line = |old, new| format!("[thrd:main]: Topic a.b changed id from {old} to {new}");
        let none = "AAAAAAAAAAAAAAAAAAAAAA";
        assert_eq!(replaced(&line("lR24vUzyRI6tT1oQsaS2dQ", "qRqdeajnTbOt/hMOGSpz8A")), Some("a.b"));
        assert_eq!(replaced(&line(none, "qRqdeajnTbOt/hMOGSpz8A")), None);
        assert_eq!(replaced(&line("qRqdeajnTbOt/hMOGSpz8A", none)), None);
        assert_eq!(replaced("[thrd:main]: Topic a.b partition 0 Leader 1"), None);
    }

    #[test]
    fn where_a_stretch_of_the_log_is_missing_is_read_from_the_log() {
        let line = "[thrd:main]: a.b [2]: offset reset (at offset 184 (leader epoch 0), broker 1) to offset BEGINNING \
                    (leader epoch -1): fetch failed due to requested offset not available on the broker: Broker: \
                    Offset out of range";
        let source = TopicPartition { topic: "a.b".into(), partition: Partition(2) };
        assert_eq!(jumped(line), Some((source.clone(), Offset(184))));
        let none =
            "[thrd:main]: a.b [2]: offset reset (at offset STORED (leader epoch 0), broker 1) to offset 3: ";
        assert_eq!(jumped(none), None);
        let context = Context::default();
        context.log(RDKafkaLogLevel::Warning, "OFFSET", line);
        assert_eq!(context.take_jumps(), BTreeMap::from([(source, Offset(184))]));
        assert!(context.take_jumps().is_empty());
    }
}
