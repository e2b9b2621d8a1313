//! The deduplication token of an INSERT: the same rows in the same table always get the same name.
//!
//! Refuses to know who sends it. Equal ranges give equal tokens in every process and version, since the
//! token is a hash of their text (UUID version 5, RFC 9562).

use std::fmt::Write as _;

use uuid::Uuid;

use super::Lineage;
use crate::record::{OffsetRange, TopicPartition};

/// Drawn once at random; changing it would make every token new.
const NAMESPACE: Uuid = Uuid::from_u128(0x6b1d_3c62_5a0e_4a55_9a3e_0d5c_4f1f_7b21);

/// The token for rows of these ranges going to this table. `part` tells apart which of the ranges' rows
/// they are, and which records lay there: those of a topic that was made anew are others.
pub fn token(table: &str, ranges: &[(TopicPartition, OffsetRange)], part: &str) -> String {
    let mut sorted: Vec<_> = ranges.iter().collect();
    sorted.sort_by(|a, b| (&a.0, a.1.first).cmp(&(&b.0, b.1.first)));
    let mut text = format!("{table}\n{part}");
    for (source, range) in sorted {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{source}{range}");
    }
    Uuid::new_v5(&NAMESPACE, text.as_bytes()).simple().to_string()
}

/// The token of a planned range of one partition (`exactly_once`). Whoever takes over names the same range the
/// same; `repair` counts the inserts that put back rows which the server lost after it had kept the token.
pub fn planned(
    (group, table): (&str, &str),
    lineage: Lineage,
    source: &TopicPartition,
    range: OffsetRange,
    repair: u32,
) -> String {
    let text = format!("planned\n{group}\n{table}\n{:016x}\n{source}{range}\n{repair}", lineage.0);
    Uuid::new_v5(&NAMESPACE, text.as_bytes()).simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Offset, Partition};

    fn range(partition: i32, first: i64, next: i64) -> (TopicPartition, OffsetRange) {
        (
            TopicPartition { topic: "t".into(), partition: Partition(partition) },
            OffsetRange { first: Offset(first), next: Offset(next) },
        )
    }

    #[test]
    fn the_token_depends_on_content_and_not_on_order() {
        let one = token("db.t", &[range(0, 1, 5), range(1, 0, 9)], "");
        assert_eq!(one, token("db.t", &[range(1, 0, 9), range(0, 1, 5)], ""));
        for other in [
            token("db.u", &[range(0, 1, 5), range(1, 0, 9)], ""),
            token("db.t", &[range(0, 1, 6), range(1, 0, 9)], ""),
            token("db.t", &[range(0, 1, 5)], ""),
            token("db.t", &[range(0, 1, 5), range(1, 0, 9)], "0-7"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn the_token_stays_the_same_between_versions() {
        assert_eq!(token("db.t", &[range(0, 1, 5)], ""), GOLDEN);
    }

    const GOLDEN: &str = "7cf4bbd0d0105516bdeb052a0eccc69a";

    #[test]
    fn a_planned_token_names_its_history() {
        let (source, one) = range(0, 1, 5);
        let (_, other) = range(0, 1, 6);
        let token = |group, table, lineage, range, repair| {
            planned((group, table), Lineage(lineage), &source, range, repair)
        };
        let all = [
            token("g", "db.t", 1, one, 0),
            token("h", "db.t", 1, one, 0),
            token("g", "db.u", 1, one, 0),
            token("g", "db.t", 2, one, 0),
            token("g", "db.t", 1, other, 0),
            token("g", "db.t", 1, one, 1),
        ];
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len());
        assert_eq!(all[0], token("g", "db.t", 1, one, 0));
        assert_eq!(all[0], PLANNED, "the same in every version");
    }

    const PLANNED: &str = "a93c222054d35474aeba5c60890a1cbf";
}
