//! What brokers know of many partitions at a time: what a group has committed of them, and where they end.
//!
//! Refuses to move anything, and to give an answer that is not there: one partition that cannot be told of is an error of
//! the whole. Every call is bounded by a time-out, and no list outlives it.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList, TopicPartitionListElem};

use super::Error;
use crate::record::{Offset, Partition, TopicPartition};

/// In the order of `partitions`.
pub(super) fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &[TopicPartition],
    timeout: Duration,
) -> Result<Vec<(TopicPartition, Option<Offset>, String)>, Error> {
    let failed = || operation("reading committed offsets");
    let answer = consumer.committed_offsets(list_of(partitions), timeout).map_err(failed())?;
    let mut all = Vec::with_capacity(partitions.len());
    for source in partitions {
        let element = answered(&answer, &source.topic, source.partition).map_err(failed())?;
        all.push((source.clone(), offset_of(&element), element.metadata().to_owned()));
    }
    Ok(all)
}

/// Where each of `partitions` ends for this consumer, in their order; one request goes to each broker. Blocks.
pub(super) fn ends<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &[TopicPartition],
    timeout: Duration,
) -> Result<Vec<Offset>, Error> {
    let failed = || operation("asking where partitions end");
    let mut asked = list_of(partitions);
    // In place of a time it stands for the end.
    asked.set_all_offsets(KafkaOffset::End).map_err(failed())?;
    let answer = consumer.offsets_for_times(asked, timeout).map_err(failed())?;
    let end = |source: &TopicPartition| {
        let element = answered(&answer, &source.topic, source.partition).map_err(failed())?;
        offset_of(&element).ok_or_else(|| failed()(KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset)))
    };
    partitions.iter().map(end).collect()
}

/// What was answered of a partition, unless that is an error of its own.
pub(super) fn answered<'a>(
    answer: &'a TopicPartitionList,
    topic: &str,
    partition: Partition,
) -> Result<TopicPartitionListElem<'a>, KafkaError> {
    let missing = KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition);
    let element = answer.find_partition(topic, partition.0).ok_or(missing)?;
    element.error()?;
    Ok(element)
}

pub(super) fn offset_of(element: &TopicPartitionListElem<'_>) -> Option<Offset> {
    match element.offset() {
        KafkaOffset::Offset(offset) if 0 <= offset => Some(Offset(offset)),
        _ => None,
    }
}

pub(super) fn list_of(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for p in partitions {
        list.add_partition(&p.topic, p.partition.0);
    }
    list
}

pub(super) fn operation(operation: &'static str) -> impl Fn(KafkaError) -> Error {
    move |source| Error::Operation { operation, source }
}
