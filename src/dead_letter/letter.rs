//! A dead letter as it is read back: what our headers say, beside the record as it was.
//!
//! Refuses to judge. Headers that are missing or unreadable leave their field empty, so that a message that
//! somebody else put into the topic is shown as well.

use super::envelope::{self, header, header_text};
use super::marker::State;
use crate::record::{Header, Offset, OwnedRecord, Partition, Position, content_bytes};

/// One letter of a dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Where the letter itself lies.
    pub position: Position,
    pub state: State,
    /// Where the record came from.
    pub origin: Option<Position>,
    pub reason: String,
    pub path: String,
    pub detail: String,
    pub table: String,
    pub group: String,
    /// When it was refused, milliseconds since 1970; without our header, when it was published.
    pub refused_ms: Option<i64>,
    /// The record's own time, milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    pub attempt: u32,
    /// The letter that the record was a replay of.
    pub replay_of: Option<String>,
    /// How many bytes of the value were cut off, since the topic would not take them.
    pub payload_cut_bytes: u64,
    pub key: Option<Vec<u8>>,
    /// Left out where only a list is wanted.
    pub payload: Option<Vec<u8>>,
    /// Length of the value as it lies in the letter; `None` is a tombstone.
    pub payload_bytes: Option<u64>,
    pub headers: Vec<Header>,
}

impl Letter {
    pub fn read(record: OwnedRecord, state: State) -> Letter {
        let OwnedRecord { position, timestamp_ms, key, payload, headers } = record;
        let text = |name: &str| header_text(&headers, name).unwrap_or_default().to_owned();
        let number = |name: &str| header_text(&headers, name).and_then(|value| value.parse::<i64>().ok());
        Letter {
            state,
            origin: envelope::origin(&headers),
            reason: text("reason"),
            path: text("path"),
            detail: text("detail"),
            table: text("table"),
            group: text("group"),
            refused_ms: number("refused-ms").or(timestamp_ms),
            timestamp_ms: number("timestamp-ms"),
            attempt: header_text(&headers, "attempt").and_then(|v| v.parse().ok()).unwrap_or(0),
            replay_of: header(&headers, envelope::REPLAY_OF).map(str::to_owned),
            payload_cut_bytes: number("payload-cut-bytes").map_or(0, |n| n.max(0).unsigned_abs()),
            payload_bytes: payload.as_ref().map(|bytes| bytes.len() as u64),
            position,
            key,
            payload,
            headers,
        }
    }

    /// Whether it is the whole record, so that it can be published again as it is.
    pub fn is_whole(&self) -> bool {
        self.payload_cut_bytes == 0 && header_text(&self.headers, "cut").is_none()
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        content_bytes(self.key.as_deref(), self.payload.as_deref(), &self.headers)
    }
}

/// What each of our headers says, for people.
pub const HEADERS: [(&str, &str); 16] = [
    ("penstock-reason", "why it was refused, a stable code"),
    ("penstock-path", "the field, empty for the record itself"),
    ("penstock-detail", "what was expected and what was found"),
    ("penstock-table", "the table that it was meant for"),
    ("penstock-topic", "the topic that it came from"),
    ("penstock-partition", "its partition there"),
    ("penstock-offset", "its offset there"),
    ("penstock-timestamp-ms", "its Kafka timestamp; of a replay, that of the first record"),
    ("penstock-group", "the consumer group that refused it"),
    ("penstock-refused-ms", "when it was refused"),
    ("penstock-attempt", "how often it has been refused"),
    ("penstock-version", "the version that refused it"),
    ("penstock-replay-of", "the letter that this record was a replay of"),
    ("penstock-payload-bytes", "bytes of the whole value"),
    (
        "penstock-payload-cut-bytes",
        "bytes of the value that are not in the letter, since its topic would not take them",
    ),
    ("penstock-cut", "what was left out of the letter, since its topic would not take it"),
];

/// Which letters are meant; every condition that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub topic: Option<String>,
    pub table: Option<String>,
    pub reason: Option<String>,
    pub path: Option<String>,
    /// Refused at or after, milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Refused before.
    pub until_ms: Option<i64>,
    pub partition: Option<Partition>,
    pub offset: Option<Offset>,
    /// Only those in this state; purged ones are meant only if they are asked for here.
    pub state: Option<State>,
}

impl Filter {
    pub fn matches(&self, letter: &Letter) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let origin = letter.origin.as_ref();
        let time = letter.refused_ms;
        is(&self.table, &letter.table)
            && is(&self.reason, &letter.reason)
            && is(&self.path, &letter.path)
            && self.topic.as_deref().is_none_or(|t| origin.is_some_and(|o| *o.source.topic == *t))
            && self.partition.is_none_or(|p| origin.is_some_and(|o| o.source.partition == p))
            && self.offset.is_none_or(|n| origin.is_some_and(|o| o.offset == n))
            && self.since_ms.is_none_or(|since| time.is_some_and(|ms| since <= ms))
            && self.until_ms.is_none_or(|until| time.is_some_and(|ms| ms < until))
            && self.state.map_or(letter.state != State::Purged, |state| letter.state == state)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::record::TopicPartition;

    /// A letter at this offset, refused for this.
    pub fn letter(offset: i64, reason: &str, path: &str, detail: &str) -> Letter {
        let header = |name: &str, value: &str| (format!("penstock-{name}"), Some(value.as_bytes().to_vec()));
        let record = OwnedRecord {
            position: Position {
                source: TopicPartition { topic: "t.dead".into(), partition: Partition(0) },
                offset: Offset(offset),
            },
            timestamp_ms: Some(1),
            key: None,
            payload: Some(b"{}".to_vec()),
            headers: vec![
                header("reason", reason),
                header("path", path),
                header("detail", detail),
                header("table", "events"),
                header("topic", "t"),
                header("partition", "3"),
                header("offset", &(offset * 10).to_string()),
                header("refused-ms", &(offset * 1000).to_string()),
                header("attempt", "2"),
            ],
        };
        Letter::read(record, State::Waiting)
    }

    #[test]
    fn what_the_headers_say_is_read_and_filtered_by() {
        let letter = letter(7, "out_of_range", "n", "too large");
        assert_eq!(letter.origin.as_ref().unwrap().to_string(), "t/3@70");
        assert_eq!((letter.attempt, letter.refused_ms, letter.is_whole()), (2, Some(7000), true));
        let all = Filter::default();
        assert!(all.matches(&letter));
        let matching = Filter {
            topic: Some("t".into()),
            table: Some("events".into()),
            reason: Some("out_of_range".into()),
            path: Some("n".into()),
            since_ms: Some(7000),
            until_ms: Some(7001),
            partition: Some(Partition(3)),
            offset: Some(Offset(70)),
            state: Some(State::Waiting),
        };
        assert!(matching.matches(&letter));
        let others = [
            Filter { topic: Some("u".into()), ..all.clone() },
            Filter { table: Some("u".into()), ..all.clone() },
            Filter { reason: Some("u".into()), ..all.clone() },
            Filter { path: Some(String::new()), ..all.clone() },
            Filter { since_ms: Some(7001), ..all.clone() },
            Filter { until_ms: Some(7000), ..all.clone() },
            Filter { partition: Some(Partition(7)), ..all.clone() },
            Filter { offset: Some(Offset(7)), ..all.clone() },
            Filter { state: Some(State::Replayed), ..all.clone() },
        ];
        for other in others {
            assert!(!other.matches(&letter), "{other:?}");
        }
        assert!(!all.matches(&Letter { state: State::Purged, ..letter }));
    }

    #[test]
    fn a_message_of_somebody_else_is_a_letter_without_words() {
        let record = OwnedRecord { headers: Vec::new(), ..record_of(&letter(1, "r", "p", "d")) };
        let letter = Letter::read(record, State::Waiting);
        assert_eq!((letter.reason.as_str(), &letter.origin, letter.refused_ms), ("", &None, Some(1)));
    }

    fn record_of(letter: &Letter) -> OwnedRecord {
        OwnedRecord {
            position: letter.position.clone(),
            timestamp_ms: Some(1),
            key: letter.key.clone(),
            payload: letter.payload.clone(),
            headers: letter.headers.clone(),
        }
    }
}
