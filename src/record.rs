//! What one Kafka message is to us: a borrowed view of its bytes and its place in the log.
//!
//! Refuses to know Kafka's client, formats and tables. Every integer that could be mistaken for
//! another is a type of its own, so that an offset never ends up where a partition belongs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Number of a Kafka partition within its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub i32);

/// Offset of a record within its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl Offset {
    /// The offset a consumer asks for after this record.
    pub fn next(self) -> Offset {
        Offset(self.0.saturating_add(1))
    }
}

/// One partition of one topic; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: Partition,
}

/// Where one record lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub source: TopicPartition,
    pub offset: Offset,
}

/// Half-open range of offsets, `[first, next)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OffsetRange {
    pub first: Offset,
    pub next: Offset,
}

/// One Kafka message, borrowed from the client's buffer for the time of a call.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub topic: &'a str,
    pub partition: Partition,
    pub offset: Offset,
    /// Milliseconds since 1970, as the broker or the producer stamped it.
    pub timestamp_ms: Option<i64>,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
}

impl Record<'_> {
    /// Bytes of key and value.
    pub fn bytes(&self) -> i64 {
        let bytes = self.key.map_or(0, <[u8]>::len) + self.payload.map_or(0, <[u8]>::len);
        // A slice is never longer than the largest i64.
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.source, self.offset)
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.first, self.next)
    }
}

impl FromStr for Position {
    type Err = String;

    /// Reads what is printed: `topic/partition@offset`.
    fn from_str(text: &str) -> Result<Position, String> {
        let parse = || {
            let (source, offset) = text.rsplit_once('@')?;
            let (topic, partition) = source.rsplit_once('/')?;
            let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
            let is_sound = !topic.is_empty() && 0 <= partition && 0 <= offset;
            is_sound.then(|| Position {
                source: TopicPartition { topic: topic.into(), partition: Partition(partition) },
                offset: Offset(offset),
            })
        };
        parse().ok_or_else(|| format!("`{text}` is no position; write TOPIC/PARTITION@OFFSET"))
    }
}

/// A message header: name and value.
pub type Header = (String, Option<Vec<u8>>);

/// A Kafka message taken out of the client's buffer: only for records that leave the straight way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    pub position: Position,
    pub timestamp_ms: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub headers: Vec<Header>,
}

impl OwnedRecord {
    /// A copy of a record whose headers were copied already.
    pub fn new(record: &Record<'_>, headers: Vec<Header>) -> OwnedRecord {
        let source = TopicPartition { topic: record.topic.into(), partition: record.partition };
        OwnedRecord {
            position: Position { source, offset: record.offset },
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            payload: record.payload.map(<[u8]>::to_vec),
            headers,
        }
    }

    /// Bytes of key, value and headers.
    pub fn bytes(&self) -> usize {
        content_bytes(self.key.as_deref(), self.payload.as_deref(), &self.headers)
    }
}

/// Bytes of a key, a value and headers.
pub fn content_bytes(key: Option<&[u8]>, payload: Option<&[u8]>, headers: &[Header]) -> usize {
    let headers = headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len));
    key.map_or(0, <[u8]>::len) + payload.map_or(0, <[u8]>::len) + headers.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_as_it_prints() {
        let position: Position = "clicks.dead/3@77".parse().unwrap();
        assert_eq!((position.source.partition, position.offset), (Partition(3), Offset(77)));
        assert_eq!(position.to_string(), "clicks.dead/3@77");
        for text in ["", "clicks", "clicks/3", "clicks@3", "/3@7", "clicks/-1@7", "clicks/3@x"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }
}
