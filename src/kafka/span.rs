//! What brokers tell of a topic from outside of any group: offsets by time, compaction.
//!
//! Refuses to move anything: it looks and never joins. Every call is bounded by a time-out.

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use super::admin::{METADATA_TIMEOUT, unreachable_brokers};
use super::offsets::{answered, offset_of};
use super::{Config, Error, client};
use crate::record::{Offset, Partition};

/// For each partition the first offset whose timestamp is `at_ms` (milliseconds since 1970) or later; `None`
/// where there is no such record. Blocks up to ten seconds.
pub fn offsets_at(
    config: &Config,
    topic: &str,
    partitions: &[Partition],
    at_ms: i64,
) -> Result<Vec<Option<Offset>>, Error> {
    let probe: BaseConsumer = client::probe(config).create().map_err(Error::Create)?;
    let failed = |source| unreachable_brokers(config, source);
    let mut asked = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        asked.add_partition_offset(topic, partition.0, KafkaOffset::Offset(at_ms)).map_err(failed)?;
    }
    let answer = probe.offsets_for_times(asked, METADATA_TIMEOUT).map_err(failed)?;
    let found = |partition: &Partition| {
        let element = answered(&answer, topic, *partition).map_err(failed)?;
        Ok(offset_of(&element))
    };
    partitions.iter().map(found).collect()
}

/// Whether the broker deletes single records of the topic by their key; `None` when this user may not see it.
/// Cancel-safe.
pub async fn is_compacted(config: &Config, topic: &str) -> Result<Option<bool>, Error> {
    let admin: AdminClient<DefaultClientContext> = client::probe(config).create().map_err(Error::Create)?;
    let options = AdminOptions::new().request_timeout(Some(METADATA_TIMEOUT));
    let answer = admin
        .describe_configs(&[ResourceSpecifier::Topic(topic)], &options)
        .await
        .map_err(|source| unreachable_brokers(config, source))?;
    let Some(Ok(resource)) = answer.into_iter().next() else { return Ok(None) };
    let policy = resource.get("cleanup.policy").and_then(|entry| entry.value.as_deref());
    Ok(policy.map(|policy| policy.contains("compact")))
}
