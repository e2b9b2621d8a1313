//! A dead letter: the record as it was, and headers that say why and from where.
//!
//! Refuses to change the record: key, value and the producer's headers stay as they are, so that a replay
//! sends what was sent. Our headers start with `penstock-`; older ones of ours are replaced.

use crate::record::{Header, Offset, OwnedRecord, Partition, Position, TopicPartition};

const PREFIX: &str = "penstock-";
/// Names the letter that a record was published again from, as `topic/partition@offset`.
pub const REPLAY_OF: &str = "penstock-replay-of";
/// When the record was published that a letter is of.
const TIMESTAMP: &str = "penstock-timestamp-ms";
/// What is kept of a value that the dead-letter topic would not take.
const CUT_BYTES: usize = 16 << 10;

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
    /// Set by [`DeadLetter::cut`].
    pub cut: Option<Cut>,
}

/// What had to be left out of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Of the whole value.
    payload_bytes: usize,
    /// Also key, value and the producer's headers.
    bare: bool,
}

/// When a record was published, in milliseconds since 1970: of a replay, when the record was that the letter is of.
pub fn published_ms(record: &OwnedRecord) -> Option<i64> {
    let of_letter = || header(&record.headers, TIMESTAMP)?.parse().ok();
    header(&record.headers, REPLAY_OF).and_then(|_| of_letter()).or(record.timestamp_ms)
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
        if let Some(ms) = published_ms(&self.record) {
            put("timestamp-ms", ms.to_string());
        }
        put("group", self.group.clone());
        put("refused-ms", self.refused_ms.to_string());
        put("attempt", (self.attempts_before() + 1).to_string());
        put("version", env!("CARGO_PKG_VERSION").to_owned());
        if let Some(of) = header(&self.record.headers, REPLAY_OF) {
            put("replay-of", of.to_owned());
        }
        if let Some(cut) = self.cut {
            put("payload-bytes", cut.payload_bytes.to_string());
            let kept = self.record.payload.as_ref().map_or(0, Vec::len);
            put("payload-cut-bytes", cut.payload_bytes.saturating_sub(kept).to_string());
            if cut.bare {
                put("cut", "key and producer's headers".to_owned());
            }
        }
        headers
    }

    /// Makes it smaller, since its topic does not take it: first the value is cut, then all else that is
    /// not ours goes. Says whether there was something to cut. The whole record stays in its own topic, at
    /// the position that the letter names.
    pub fn cut(&mut self) -> bool {
        let payload_bytes = self.record.payload.as_ref().map_or(0, Vec::len);
        match &mut self.cut {
            None => {
                self.cut = Some(Cut { payload_bytes, bare: false });
                if let Some(payload) = &mut self.record.payload {
                    payload.truncate(CUT_BYTES);
                    payload.shrink_to_fit();
                }
                true
            }
            Some(cut) if !cut.bare => {
                cut.bare = true;
                self.record.payload = None;
                self.record.key = None;
                self.record.headers.retain(|(name, _)| name.starts_with(PREFIX));
                let detail = &mut self.cause.detail;
                let whole = (0..=CUT_BYTES).rev().find(|end| detail.is_char_boundary(*end));
                detail.truncate(whole.unwrap_or(0));
                true
            }
            Some(_) => false,
        }
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

/// The first header of this name as text.
pub fn header<'h>(headers: &'h [Header], name: &str) -> Option<&'h str> {
    let (_, value) = headers.iter().find(|(known, _)| known == name)?;
    std::str::from_utf8(value.as_deref()?).ok()
}

/// The same for a header of ours, named without its prefix.
pub fn header_text<'h>(headers: &'h [Header], name: &str) -> Option<&'h str> {
    let (_, value) = headers.iter().find(|(known, _)| known.strip_prefix(PREFIX) == Some(name))?;
    std::str::from_utf8(value.as_deref()?).ok()
}

/// Puts the producer's headers of the whole record into a letter that was cut, and takes out what says so.
pub fn restore(headers: &mut Vec<Header>, whole: Vec<Header>) {
    let about_cut = ["payload-bytes", "payload-cut-bytes", "cut"];
    headers.retain(|(name, _)| name.strip_prefix(PREFIX).is_some_and(|name| !about_cut.contains(&name)));
    headers.extend(whole.into_iter().filter(|(name, _)| !name.starts_with(PREFIX)));
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
            cut: None,
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
        letter.record.headers.push((REPLAY_OF.into(), Some(b"clicks.dead/0@5".to_vec())));
        assert_eq!(text(&letter, "penstock-attempt"), "2");
        assert_eq!(text(&letter, "penstock-replay-of"), "clicks.dead/0@5");
        assert_eq!(origin(&letter.headers()), Some(letter.record.position.clone()));

        letter.record.payload = Some(vec![b'x'; CUT_BYTES + 5]);
        assert!(letter.cut());
        assert_eq!(text(&letter, "penstock-payload-cut-bytes"), "5");
        assert_eq!(text(&letter, "trace"), "x");
        assert!(letter.cut());
        assert_eq!(text(&letter, "penstock-payload-bytes"), (CUT_BYTES + 5).to_string());
        assert_eq!(text(&letter, "penstock-payload-cut-bytes"), (CUT_BYTES + 5).to_string());
        assert_eq!(text(&letter, "penstock-attempt"), "2");
        assert!(header(&letter.headers(), "trace").is_none() && letter.record.payload.is_none());
        assert!(!letter.cut(), "nothing is left to cut");
    }
}
