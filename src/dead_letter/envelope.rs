//! A dead letter: the record as it was, and headers that say why and from where.
//!
//! Refuses to change the record: key, value and the producer's headers stay as they are, so that a replay
//! sends what was sent. Our headers start with `penstock-`; older ones of ours are replaced.

use crate::record::{Header, Offset, OwnedRecord, Partition, Position, TopicPartition};

const PREFIX: &str = "penstock-";

/// Why a record was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// One of the stable codes of `decode::Reason`.
    pub reason: &'static str,
    pub path: String,
    pub detail: String,
}

#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub record: OwnedRecord,
    pub cause: Cause,
    pub table: String,
    /// The consumer group that refused it.
    pub group: String,
    /// Milliseconds since 1970 when it was refused.
    pub refused_ms: i64,
}

impl DeadLetter {
    /// The headers to publish: the producer's own, then ours.
    pub fn headers(&self) -> Vec<Header> {
        let position = &self.record.position;
        let mut headers: Vec<Header> =
            self.record.headers.iter().filter(|(name, _)| !name.starts_with(PREFIX)).cloned().collect();
        let mut put = |name: &str, value: String| {
            headers.push((format!("{PREFIX}{name}"), Some(value.into_bytes())));
        };
        put("reason", self.cause.reason.to_owned());
        put("path", self.cause.path.clone());
        put("detail", self.cause.detail.clone());
        put("table", self.table.clone());
        put("topic", position.source.topic.to_string());
        put("partition", position.source.partition.to_string());
        put("offset", position.offset.to_string());
        if let Some(ms) = self.record.timestamp_ms {
            put("timestamp-ms", ms.to_string());
        }
        put("group", self.group.clone());
        put("refused-ms", self.refused_ms.to_string());
        put("attempt", (self.attempts_before() + 1).to_string());
        put("version", env!("CARGO_PKG_VERSION").to_owned());
        headers
    }

    /// Bytes held while it is on its way.
    pub fn bytes(&self) -> usize {
        self.record.bytes() + self.cause.path.len() + self.cause.detail.len()
    }

    /// How often this record was refused before, if it comes from a replay.
    fn attempts_before(&self) -> u32 {
        header_text(&self.record.headers, "attempt").and_then(|value| value.parse().ok()).unwrap_or(0)
    }
}

/// The first header of ours of this name as text, named without its prefix.
pub fn header_text<'h>(headers: &'h [Header], name: &str) -> Option<&'h str> {
    let (_, value) = headers.iter().find(|(known, _)| known.strip_prefix(PREFIX) == Some(name))?;
    std::str::from_utf8(value.as_deref()?).ok()
}

/// Where a letter's record came from.
pub fn origin(headers: &[Header]) -> Option<Position> {
    let partition = header_text(headers, "partition")?.parse().ok()?;
    let source =
        TopicPartition { topic: header_text(headers, "topic")?.into(), partition: Partition(partition) };
    Some(Position { source, offset: Offset(header_text(headers, "offset")?.parse().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_tell_origin_and_reason_and_count_attempts() {
        let mut letter = DeadLetter {
            record: OwnedRecord {
                position: Position {
                    source: TopicPartition { topic: "clicks".into(), partition: Partition(3) },
                    offset: Offset(77),
                },
                timestamp_ms: Some(5),
                key: None,
                payload: Some(b"{".to_vec()),
                headers: vec![("trace".into(), Some(b"x".to_vec()))],
            },
            cause: Cause { reason: "invalid_json", path: String::new(), detail: "truncated".into() },
            table: "clicks".into(),
            group: "g".into(),
            refused_ms: 9,
        };
        let text = |letter: &DeadLetter, name: &str| -> String {
            let headers = letter.headers();
            let found: Vec<_> = headers.iter().filter(|(n, _)| n == name).collect();
            assert_eq!(found.len(), 1, "{name}");
            String::from_utf8(found[0].1.clone().unwrap()).unwrap()
        };
        assert_eq!(text(&letter, "trace"), "x");
        assert_eq!(text(&letter, "penstock-partition"), "3");
        assert_eq!(text(&letter, "penstock-offset"), "77");
        assert_eq!(text(&letter, "penstock-reason"), "invalid_json");
        assert_eq!(text(&letter, "penstock-attempt"), "1");
        letter.record.headers = letter.headers();
        assert_eq!(text(&letter, "penstock-attempt"), "2");
    }
}
