//! Looking at the cluster from outside the group: are the topics there, one record by its position, and the
//! deletion of records.
//!
//! Refuses to touch offsets and membership. Every call blocks and is bounded by a time-out; async code
//! calls it from a blocking thread.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResourceResult, NewTopic, OwnedResourceSpecifier, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use super::{Config, Error, client};
use crate::record::{Offset, OwnedRecord, Partition, Position, TopicPartition};

pub(super) const METADATA_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two looks for a topic that was just created.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What a topic is expected to be there for, which decides how its absence is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Source,
    DeadLetters,
}

/// Checks that every topic exists and may be seen; the number of partitions of each. Blocks up to ten seconds for each.
pub fn check_topics(config: &Config, topics: &[(String, Purpose)]) -> Result<Vec<usize>, Error> {
    let probe: BaseConsumer = client::probe(config).create().map_err(Error::Create)?;
    let count = |(topic, purpose): &(String, Purpose)| Ok(partitions(&probe, config, topic, *purpose)?.len());
    topics.iter().map(count).collect()
}

/// How many partitions a topic has. Blocks up to ten seconds.
pub fn partition_count(config: &Config, topic: &str) -> Result<u64, Error> {
    let probe: BaseConsumer = client::probe(config).create().map_err(Error::Create)?;
    Ok(partitions(&probe, config, topic, Purpose::Source)?.len() as u64)
}

/// The partitions of a topic; there is at least one. Blocks up to ten seconds.
pub(super) fn partitions(
    probe: &BaseConsumer,
    config: &Config,
    topic: &str,
    purpose: Purpose,
) -> Result<Vec<Partition>, Error> {
    let metadata = probe
        .fetch_metadata(Some(topic), METADATA_TIMEOUT)
        .map_err(|source| unreachable_brokers(config, source))?;
    let topic = topic.to_owned();
    let found = metadata.topics().iter().find(|t| t.name() == topic);
    match found.map(|t| (t.error().map(RDKafkaErrorCode::from), t.partitions())) {
        Some((None, all @ [_, ..])) => Ok(all.iter().map(|p| Partition(p.id())).collect()),
        Some((Some(RDKafkaErrorCode::TopicAuthorizationFailed), _)) => {
            Err(Error::Forbidden { topic, reason: "not authorized".to_owned() })
        }
        _ => Err(match purpose {
            Purpose::Source => Error::MissingTopic { topic },
            Purpose::DeadLetters => Error::MissingDeadLetterTopic { topic },
        }),
    }
}

/// The largest message that each topic takes; those are missing which this user may not see. Cancel-safe.
pub async fn message_bytes_max(config: &Config, topics: &[&str]) -> Result<BTreeMap<String, u64>, Error> {
    setting(config, topics, "max.message.bytes").await
}

/// How long each topic keeps records, in milliseconds; those are missing which keep them for ever, or which this user
/// may not see. Cancel-safe.
pub async fn retention_ms(config: &Config, topics: &[&str]) -> Result<BTreeMap<String, u64>, Error> {
    setting(config, topics, "retention.ms").await
}

/// A setting of each topic, where it is a number.
async fn setting(config: &Config, topics: &[&str], name: &str) -> Result<BTreeMap<String, u64>, Error> {
    let admin: AdminClient<DefaultClientContext> = client::probe(config).create().map_err(Error::Create)?;
    let asked: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let options = AdminOptions::new().request_timeout(Some(METADATA_TIMEOUT));
    let results = admin
        .describe_configs(&asked, &options)
        .await
        .map_err(|source| unreachable_brokers(config, source))?;
    let value = |result: ConfigResourceResult| {
        let resource = result.ok()?;
        let value = resource.get(name)?.value.as_ref()?.parse().ok()?;
        match resource.specifier {
            OwnedResourceSpecifier::Topic(topic) => Some((topic, value)),
            _ => None,
        }
    };
    Ok(results.into_iter().filter_map(value).collect())
}

/// Deletes the records of a partition below `before`. Cancel-safe; the broker may still do it.
pub async fn delete_before(config: &Config, source: &TopicPartition, before: Offset) -> Result<(), Error> {
    let failed = |reason: String| Error::Delete { partition: source.clone(), reason };
    let admin: AdminClient<DefaultClientContext> = client::probe(config).create().map_err(Error::Create)?;
    let options = AdminOptions::new().operation_timeout(Some(METADATA_TIMEOUT));
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&source.topic, source.partition.0, KafkaOffset::Offset(before.0))
        .map_err(|error| failed(error.to_string()))?;
    let done = admin.delete_records(&list, &options).await.map_err(|error| failed(error.to_string()))?;
    match done.elements().first().map(|element| element.error()) {
        Some(Err(error)) => Err(failed(error.to_string())),
        _ => Ok(()),
    }
}

/// The names of all topics that this user may see. Blocks up to ten seconds.
pub fn topics(config: &Config) -> Result<Vec<String>, Error> {
    let probe: BaseConsumer = client::probe(config).create().map_err(Error::Create)?;
    let metadata =
        probe.fetch_metadata(None, METADATA_TIMEOUT).map_err(|source| unreachable_brokers(config, source))?;
    Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
}

/// Creates a topic unless it exists, and waits up to ten seconds until brokers tell of it. `partitions` counts from 1.
/// Cancel-safe; the broker may still do it.
pub async fn create_topic(config: &Config, topic: &str, partitions: i32) -> Result<(), Error> {
    let admin: AdminClient<DefaultClientContext> = client::probe(config).create().map_err(Error::Create)?;
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
    let options = AdminOptions::new().operation_timeout(Some(METADATA_TIMEOUT));
    let results =
        admin.create_topics([&new], &options).await.map_err(|source| unreachable_brokers(config, source))?;
    match results.into_iter().next() {
        Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => Err(Error::Operation {
            operation: "creating the topic",
            source: rdkafka::error::KafkaError::AdminOp(code),
        }),
        _ => {
            let topic = topic.to_owned();
            // It is created all the same; whoever needs it says if it is not there.
            let _ = tokio::task::spawn_blocking(move || await_topic(&admin, &topic)).await;
            Ok(())
        }
    }
}

/// The controller answers before the brokers that are asked for topics know of a new one.
fn await_topic(admin: &AdminClient<DefaultClientContext>, topic: &str) {
    let deadline = Instant::now() + METADATA_TIMEOUT;
    let is_known = || {
        let metadata = admin.inner().fetch_metadata(Some(topic), METADATA_TIMEOUT);
        metadata.is_ok_and(|all| {
            all.topics().iter().any(|found| found.error().is_none() && !found.partitions().is_empty())
        })
    };
    while Instant::now() < deadline && !is_known() {
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Reads one record again by its position. Blocks up to `timeout`.
pub fn refetch(config: &Config, position: &Position, timeout: Duration) -> Result<OwnedRecord, Error> {
    let failed = |reason: String| Error::Refetch { position: position.clone(), reason };
    // An assignment needs a group's name, though by assigning it never joins one.
    let mut settings = client::probe(config);
    settings.set("group.id", &config.group).set("auto.offset.reset", "error");
    let reader: BaseConsumer = settings.create().map_err(Error::Create)?;
    {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(
            &position.source.topic,
            position.source.partition.0,
            KafkaOffset::Offset(position.offset.0),
        )
        .map_err(|error| failed(error.to_string()))?;
        reader.assign(&list).map_err(|error| failed(error.to_string()))?;
    }
    let deadline = Instant::now() + timeout;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        match reader.poll(left) {
            Some(Ok(message)) if message.offset() == position.offset.0 => {
                return Ok(super::consumer::owned(&message));
            }
            Some(Ok(_)) => return Err(Error::Gone { position: position.clone() }),
            Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => {
                return Err(Error::Gone { position: position.clone() });
            }
            Some(Err(error)) => tracing::warn!(%error, %position, "reading a record again"),
            None => {}
        }
    }
    Err(failed("no answer in time".to_owned()))
}

pub(super) fn unreachable_brokers(config: &Config, source: rdkafka::error::KafkaError) -> Error {
    Error::Unreachable { brokers: config.brokers.join(","), timeout_s: METADATA_TIMEOUT.as_secs(), source }
}
