//! The Kafka side: membership, messages, commits, dead-letter production.
//!
//! Refuses to know tables and ClickHouse. rdkafka's types stay in here; what leaves are our own records,
//! positions and events. The polling thread never waits for anything but Kafka (invariant I7).

pub mod admin;
pub mod client;
pub mod config;
pub mod consumer;
pub mod context;
pub mod group;
pub mod leader;
#[allow(unsafe_code, reason = "its head says why it is sound")]
mod native;
mod offsets;
pub mod producer;
pub mod scan;
pub mod span;

pub use config::Config;
pub use consumer::{Committer, Consumer, Event, Message};
pub use producer::Producer;
pub use scan::Scan;

/// What the group has committed of a partition, and where it ends.
pub type Standing = (Option<crate::record::Offset>, crate::record::Offset);

/// What can go wrong with Kafka.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "kafka client could not be created: {0}\nhint: names with ssl and sasl come from kafka.security, others from kafka.client or the setting of kafka that they sound like"
    )]
    Create(#[source] rdkafka::error::KafkaError),
    #[error(
        "no broker answered within {timeout_s} s at {brokers}: {source}\nhint: check kafka.brokers, the network and kafka.security"
    )]
    Unreachable { brokers: String, timeout_s: u64, source: rdkafka::error::KafkaError },
    #[error("topic `{topic}` does not exist\nhint: create it, or correct `topics` in the table file")]
    MissingTopic { topic: String },
    #[error("dead-letter topic `{topic}` does not exist\nhint: create it, or set dead_letter.topic")]
    MissingDeadLetterTopic { topic: String },
    #[error(
        "topic `{topic}` may not be read or described: {reason}\nhint: grant READ and DESCRIBE on it to this user"
    )]
    Forbidden { topic: String, reason: String },
    #[error(
        "topic `{topic}` was deleted and made anew while it was read\nhint: start again; the group's offsets went with the old topic, so the new one is read from where kafka.start says"
    )]
    TopicReplaced { topic: String },
    #[error("subscribing failed: {0}")]
    Subscribe(#[source] rdkafka::error::KafkaError),
    #[error("the consumer cannot go on: {0}")]
    Fatal(String),
    #[error("{operation} failed: {source}")]
    Operation { operation: &'static str, source: rdkafka::error::KafkaError },
    #[error(
        "group `{group}` has members\nhint: end every process of the group; one that was killed stays a member until kafka.session_timeout is over"
    )]
    GroupNotEmpty { group: String },
    #[error("the group has given the partitions to somebody else")]
    Lost,
    #[error(
        "the commit of {source_partition} was overwritten at once, by somebody who writes to the same group"
    )]
    Overwritten { source_partition: crate::record::TopicPartition },
    #[error(
        "the brokers do not keep what is written beside an offset: of {wrote} bytes for {source_partition} they have {found}\nhint: delivery `exactly_once` needs brokers that keep commit metadata; raise offset.metadata.max.bytes on the brokers, or deliver at_least_once"
    )]
    MetadataLost { source_partition: crate::record::TopicPartition, wrote: usize, found: usize },
    #[error("record {position} could not be read again: {reason}")]
    Refetch { position: crate::record::Position, reason: String },
    #[error("record {position} is no longer in the topic")]
    Gone { position: crate::record::Position },
    #[error("the broker did not take the message: {0}")]
    Produce(String),
    #[error(
        "the message is larger than `{topic}` takes\nhint: raise max.message.bytes of that topic to somewhat more than that of the source topic"
    )]
    TooLarge { topic: String },
    #[error("topic `{topic}` may not be written\nhint: grant WRITE on it to this user")]
    ForbiddenWrite { topic: String },
    #[error(
        "topic `{topic}` was silent for {timeout_s} s while it was read\nhint: check that the brokers are well and reachable"
    )]
    Silent { topic: String, timeout_s: u64 },
    #[error("reading `{topic}` was cancelled")]
    Cancelled { topic: String },
    #[error(
        "records of {partition} could not be deleted: {reason}\nhint: grant DELETE on the topic to this user, and let its cleanup.policy contain `delete`"
    )]
    Delete { partition: crate::record::TopicPartition, reason: String },
}

impl Error {
    /// Whether the group refused a commit because this member is none of it any more.
    pub fn is_fenced(&self) -> bool {
        use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
        let refused = [Code::UnknownMemberId, Code::IllegalGeneration, Code::FencedInstanceId];
        match self {
            Error::Lost | Error::Overwritten { .. } => true,
            Error::Operation { source: KafkaError::ConsumerCommit(code), .. } => refused.contains(code),
            _ => false,
        }
    }

    /// Whether nothing more may be committed by this member after it.
    pub fn ends_membership(&self) -> bool {
        matches!(
            self,
            Error::Overwritten { .. }
                | Error::MetadataLost { .. }
                | Error::TopicReplaced { .. }
                | Error::Fatal(_)
        )
    }

    /// Whether the brokers could not be reached at all, as opposed to having refused.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Error::Unreachable { .. } | Error::Silent { .. })
    }
}
