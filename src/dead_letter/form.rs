//! How letters, groups and what was done with them are written as JSON, and how moments are read: the same words on the
//! command line and over REST.
//!
//! Refuses to show a value that is not asked for: without values a letter has none, nor anything that quotes one.

use serde_json::{Value, json};

use super::groups::{Group, normalise};
use super::letter::Letter;
use super::purge::Part;
use super::replay::Outcome;
use crate::record::Header;
use crate::units::Span;

/// How much of a letter is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Nothing that was in the record.
    Masked,
    /// All but the value and the headers.
    Line,
    Whole,
}

pub fn letter(letter: &Letter, show: Show) -> Value {
    let origin = letter.origin.as_ref();
    let detail = if show == Show::Masked { normalise(&letter.detail) } else { letter.detail.clone() };
    let key = letter.key.as_deref().filter(|_| show != Show::Masked);
    let mut value = json!({
        "letter": letter.position.to_string(),
        "state": letter.state,
        "topic": origin.map(|o| o.source.topic.to_string()),
        "partition": origin.map(|o| o.source.partition.0),
        "offset": origin.map(|o| o.offset.0),
        "reason": letter.reason,
        "path": letter.path,
        "detail": detail,
        "table": letter.table,
        "group": letter.group,
        "refused": time(letter.refused_ms),
        "refused_ms": letter.refused_ms,
        "timestamp_ms": letter.timestamp_ms,
        "attempt": letter.attempt,
        "replay_of": letter.replay_of,
        "payload_bytes": letter.payload_bytes,
        "payload_cut_bytes": letter.payload_cut_bytes,
        "key": key.map(text_or_hex),
    });
    if show == Show::Whole
        && let Value::Object(fields) = &mut value
    {
        let header = |(name, value): &Header| json!([name, value.as_deref().map(text_or_hex)]);
        fields.insert("headers".to_owned(), letter.headers.iter().map(header).collect());
        fields.insert("payload".to_owned(), json!(letter.payload.as_deref().map(text_or_hex)));
    }
    value
}

pub fn groups(groups: &[Group], others: u64) -> Value {
    let group = |group: &Group| {
        let signature = &group.signature;
        json!({
            "count": group.count, "waiting": group.waiting, "topic": signature.topic, "table": signature.table,
            "reason": signature.reason, "path": signature.path, "detail": signature.detail,
            "first_ms": group.first_ms, "last_ms": group.last_ms, "sample": group.sample.to_string(),
        })
    };
    json!({ "groups": groups.iter().map(group).collect::<Vec<_>>(), "others": others })
}

pub fn outcome(outcome: &Outcome) -> Value {
    let Outcome { sent, found, taken, too_large, without_origin, without_record } = *outcome;
    json!({
        "sent": sent, "found": found, "taken": taken, "too_large": too_large,
        "without_origin": without_origin, "without_record": without_record,
    })
}

/// What a purge does, or did.
pub fn purge(parts: &[Part], done: bool) -> Value {
    let partition = |part: &Part| {
        json!({
            "partition": part.source.to_string(), "delete_before": part.delete_before.map(|o| o.0),
            "deleted": part.deleted, "deleted_settled": part.deleted_settled, "marked": part.marked.len(),
        })
    };
    let sum = |count: fn(&Part) -> u64| parts.iter().map(count).sum::<u64>();
    json!({
        "done": done,
        "deleted": sum(|part| part.deleted),
        "deleted_settled": sum(|part| part.deleted_settled),
        "marked": sum(|part| part.marked.len()),
        "partitions": parts.iter().map(partition).collect::<Vec<_>>(),
    })
}

pub fn time(ms: Option<i64>) -> String {
    let time = ms.and_then(chrono::DateTime::from_timestamp_millis);
    time.map_or_else(|| "-".to_owned(), |time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}

/// Text as it is; `{"hex": …}` where it is none.
fn text_or_hex(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| json!({ "hex": hex(bytes) }), |text| json!(text))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A moment as people give it: RFC 3339, or a span back from now.
///
/// # Errors
/// Text that is neither.
pub fn moment_ms(text: &str, now_ms: i64) -> Result<i64, String> {
    if let Ok(span) = text.parse::<Span>() {
        return Ok(now_ms.saturating_sub(i64::try_from(span.0.as_millis()).unwrap_or(i64::MAX)));
    }
    match chrono::DateTime::parse_from_rfc3339(text) {
        Ok(time) => Ok(time.timestamp_millis()),
        Err(_) => Err(format!(
            "`{text}` is no moment; write it as 2026-03-14T09:26:53Z, or as a span back from now such as 2h"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::letter as sample;
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_a_span_back() {
        assert_eq!(moment_ms("2h", 10_000_000), Ok(2_800_000));
        assert_eq!(moment_ms("1970-01-01T00:00:05+00:00", 0), Ok(5000));
        assert!(moment_ms("yesterday", 0).unwrap_err().contains("2h"));
    }

    #[test]
    fn a_masked_letter_has_nothing_of_the_record() {
        let mut one = sample(7, "wrong_type", "n", "found \"secret 5\", 17 bytes");
        (one.key, one.payload) = (Some(b"secret key".to_vec()), Some(b"\xffsecret".to_vec()));
        one.headers.push(("trace".to_owned(), Some(b"secret".to_vec())));
        let masked = letter(&one, Show::Masked);
        assert!(!masked.to_string().contains("secret"), "{masked}");
        assert_eq!((&masked["key"], &masked["detail"]), (&Value::Null, &json!("found \"…\", N bytes")));
        let line = letter(&one, Show::Line);
        assert_eq!((&line["key"], line.get("payload")), (&json!("secret key"), None));
        let whole = letter(&one, Show::Whole);
        assert_eq!(whole["payload"], json!({ "hex": "ff736563726574" }));
        assert!(whole["headers"].as_array().unwrap().contains(&json!(["trace", "secret"])));
    }
}
