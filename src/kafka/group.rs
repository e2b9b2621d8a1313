//! The consumer group as seen from outside: who is in it, what it has committed, and writing that anew.
//!
//! Refuses to join. What it commits names no generation, so that the brokers themselves refuse it while the group
//! has members. Every call blocks and is bounded by a time-out.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use super::admin::unreachable_brokers;
use super::{Config, Error, client, offsets};
use crate::record::{Offset, OffsetRange, Partition, TopicPartition};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How many members the consumer group has now. Blocks up to ten seconds.
pub fn members(config: &Config) -> Result<usize, Error> {
    Ok(Outsider::new(config)?.group()?.members.len())
}

/// What the brokers say about the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// `Stable`, `PreparingRebalance`, `CompletingRebalance`, `Empty` or `Dead`.
    pub state: String,
    pub members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: String,
    pub host: String,
}

pub struct Outsider {
    client: BaseConsumer,
    config: Config,
}

impl Outsider {
    pub fn new(config: &Config) -> Result<Outsider, Error> {
        let mut settings = client::probe(config);
        settings.set("group.id", &config.group);
        let client = settings.create().map_err(Error::Create)?;
        Ok(Outsider { client, config: config.clone() })
    }

    /// A group that nobody has used yet is `Dead` and has no members.
    pub fn group(&self) -> Result<Group, Error> {
        let name = &self.config.group;
        let list = self.client.fetch_group_list(Some(name), ANSWER_TIMEOUT);
        let list = list.map_err(|source| unreachable_brokers(&self.config, source))?;
        let Some(found) = list.groups().iter().find(|group| group.name() == name) else {
            return Ok(Group { state: "Dead".to_owned(), members: Vec::new() });
        };
        let member = |m: &rdkafka::groups::GroupMemberInfo| Member {
            id: m.id().to_owned(),
            host: m.client_host().trim_start_matches('/').to_owned(),
        };
        let members = found.members().iter().map(member).collect();
        Ok(Group { state: found.state().to_owned(), members })
    }

    /// # Errors
    /// Also when there is no such topic.
    pub fn partitions(&self, topic: &str) -> Result<Vec<TopicPartition>, Error> {
        let metadata = self.client.fetch_metadata(Some(topic), ANSWER_TIMEOUT);
        let metadata = metadata.map_err(|source| unreachable_brokers(&self.config, source))?;
        let found = metadata.topics().iter().find(|t| t.name() == topic && t.error().is_none());
        let found = found.ok_or_else(|| Error::MissingTopic { topic: topic.to_owned() })?;
        let topic: std::sync::Arc<str> = topic.into();
        let one = |id| TopicPartition { topic: topic.clone(), partition: Partition(id) };
        let mut all: Vec<_> = found.partitions().iter().map(|p| one(p.id())).collect();
        all.sort();
        Ok(all)
    }

    /// From the oldest record to the end, as a consumer may read it.
    pub fn log(&self, source: &TopicPartition) -> Result<OffsetRange, Error> {
        let found = self.client.fetch_watermarks(&source.topic, source.partition.0, ANSWER_TIMEOUT);
        let failed = |source| Error::Operation { operation: "asking for the end of a partition", source };
        let (first, next) = found.map_err(failed)?;
        Ok(OffsetRange { first: Offset(first), next: Offset(next) })
    }

    /// Offset and text of each of these partitions.
    pub fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Option<Offset>, String)>, Error> {
        offsets::committed(&self.client, partitions, ANSWER_TIMEOUT)
    }

    /// Commits offsets without texts.
    ///
    /// # Errors
    /// Also when the group has members; then nothing is committed.
    pub fn commit(&self, offsets: &[(TopicPartition, Offset)]) -> Result<(), Error> {
        let failed = |source| Error::Operation { operation: "committing", source };
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (source, offset) in offsets {
            let topic = &source.topic;
            list.add_partition_offset(topic, source.partition.0, KafkaOffset::Offset(offset.0))
                .map_err(failed)?;
        }
        match self.client.commit(&list, CommitMode::Sync) {
            Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::UnknownMemberId)) => Err(self.not_empty()),
            result => result.map_err(failed),
        }
    }

    pub fn not_empty(&self) -> Error {
        Error::GroupNotEmpty { group: self.config.group.clone() }
    }
}
