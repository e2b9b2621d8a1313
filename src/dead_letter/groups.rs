//! Dead letters by what they have in common: their error's signature.
//!
//! Refuses to keep letters; a bounded number of signatures is counted, and what comes beyond is counted
//! together.

use std::collections::HashMap;

use super::letter::Letter;
use super::marker::State;
use crate::record::Position;

/// Signatures that are told apart.
pub const GROUPS_MAX: usize = 10_000;

/// What makes two letters the same kind of trouble.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signature {
    /// Source topic.
    pub topic: String,
    pub table: String,
    pub reason: String,
    /// Positions in arrays are left out.
    pub path: String,
    /// Numbers and quoted values are left out.
    pub detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub signature: Signature,
    pub count: u64,
    /// Those that were neither replayed nor purged.
    pub waiting: u64,
    pub first_ms: Option<i64>,
    pub last_ms: Option<i64>,
    /// Where the newest one lies.
    pub sample: Position,
}

#[derive(Debug, Default)]
pub struct Groups {
    all: HashMap<Signature, Group>,
    others: u64,
}

impl Groups {
    pub fn add(&mut self, letter: &Letter) {
        let signature = Signature {
            topic: letter.origin.as_ref().map(|o| o.source.topic.to_string()).unwrap_or_default(),
            table: letter.table.clone(),
            reason: letter.reason.clone(),
            path: normalise(&letter.path),
            detail: normalise(&letter.detail),
        };
        if GROUPS_MAX <= self.all.len() && !self.all.contains_key(&signature) {
            self.others += 1;
            return;
        }
        let group = self.all.entry(signature.clone()).or_insert_with(|| Group {
            signature,
            count: 0,
            waiting: 0,
            first_ms: letter.refused_ms,
            last_ms: None,
            sample: letter.position.clone(),
        });
        group.count += 1;
        group.waiting += u64::from(letter.state == State::Waiting);
        group.first_ms = group.first_ms.into_iter().chain(letter.refused_ms).min();
        if group.last_ms <= letter.refused_ms {
            group.last_ms = letter.refused_ms;
            group.sample = letter.position.clone();
        }
    }

    /// Letters whose signature came after the limit.
    pub fn others(&self) -> u64 {
        self.others
    }

    /// Most frequent first.
    pub fn sorted(self) -> Vec<Group> {
        let mut all: Vec<Group> = self.all.into_values().collect();
        all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.signature.cmp(&b.signature)));
        all
    }
}

/// The text without what differs from one letter to the next: numbers that stand alone become `N`, what is
/// quoted becomes `…`. Numbers within words stay, as in `UInt8`.
pub(super) fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut in_word = false;
    while let Some(c) = chars.next() {
        let opens_quote = matches!(c, '"' | '\'') && !in_word;
        if opens_quote && chars.clone().any(|other| other == c) {
            chars.by_ref().find(|other| *other == c);
            out.push_str(&format!("{c}…{c}"));
        } else if c.is_ascii_digit() && !in_word {
            while chars.next_if(|next| next.is_ascii_digit()).is_some() {}
            out.push('N');
        } else {
            out.push(c);
        }
        in_word = c.is_alphabetic() || c == '_' || (in_word && c.is_ascii_digit());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::letter;
    use super::*;

    #[test]
    fn numbers_and_quoted_values_do_not_tell_apart() {
        for (text, expected) in [
            ("300 does not fit UInt8", "N does not fit UInt8"),
            ("lines[2].price", "lines[N].price"),
            ("at byte 17: expected `,`, found \"x 1\"", "at byte N: expected `,`, found \"…\""),
            ("'a' doesn't fit 'b'", "'…' doesn't fit '…'"),
            ("an open \" quote -12.5", "an open \" quote -N.N"),
            ("", ""),
        ] {
            assert_eq!(normalise(text), expected);
        }
    }

    #[test]
    fn groups_are_counted_and_the_largest_comes_first() {
        let mut groups = Groups::default();
        groups.add(&letter(1, "missing_field", "n", ""));
        for offset in 2..5 {
            groups.add(&letter(offset, "out_of_range", "a[1]", &format!("{offset} is above 10")));
        }
        let replayed =
            Letter { state: State::Replayed, ..letter(9, "out_of_range", "a[7]", "3 is above 11") };
        groups.add(&replayed);
        let all = groups.sorted();
        assert_eq!(all.len(), 2);
        let first = &all[0];
        assert_eq!((first.count, first.waiting, first.signature.path.as_str()), (4, 3, "a[N]"));
        assert_eq!((first.first_ms, first.last_ms), (Some(2000), Some(9000)));
        assert_eq!(first.sample.to_string(), "t.dead/0@9");
    }

    #[test]
    fn what_comes_beyond_the_limit_is_counted_together() {
        let mut groups = Groups::default();
        for n in 0..GROUPS_MAX + 5 {
            // Letters make a word, so that each is a signature of its own.
            groups.add(&letter(1, &format!("reason_{n}"), "", ""));
        }
        assert_eq!((groups.others(), groups.sorted().len()), (5, GROUPS_MAX));
    }
}
